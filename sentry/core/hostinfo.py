"""Facts about the host that the kernel shows to guests or needs itself, captured once, before the filter closes.

`capture()` returns a dict:
    cpus           list of the CPU numbers that the sandbox may use
    cpuinfo        list of bytes: the block of each of them in /proc/cpuinfo
    cache          list of dicts (file name -> text): /sys/devices/system/cpu/cpuN/cache/indexM of the first CPU
    mem_total      bytes
    hugepage_size  bytes; `thp_size`: of transparent huge pages
    meminfo_fd     descriptor of /proc/meminfo to be read again with pread, or -1
    hwcap, hwcap2, minsigstksz   of the auxiliary vector (getauxval(3))
    release        of the host kernel, for the log only
"""

import os
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, socket
from struct import iter_unpack
from time import monotonic_ns

AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ = 16, 26, 51
CACHE = ("level", "type", "size", "coherency_line_size", "ways_of_associativity", "number_of_sets", "shared_cpu_list")

# What a kernel without captured facts (unit tests) assumes.
MINIMAL = {
    "cpus": [0], "cpuinfo": [b"processor\t: 0"], "cache": [], "mem_total": 1 << 30,
    "hugepage_size": 2 << 20, "thp_size": 2 << 20, "meminfo_fd": -1, "hwcap": 0, "hwcap2": 0, "minsigstksz": 2048,
    "release": "",
}  # fmt: skip


def read_text(path: str) -> str:
    """The file's content, "" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def parse_cpuinfo(text: str, cpus) -> list:
    """The blocks of /proc/cpuinfo for the CPUs in `cpus`."""
    found = {}
    for block in text.strip().split("\n\n"):
        number = block.partition("\n")[0].partition(":")[2].strip()
        if block.startswith("processor") and number.isdigit():
            found[int(number)] = block.encode()
    return [found.get(cpu, b"processor\t: %d" % cpu) for cpu in cpus]


def files_of(folder: str, names) -> dict:
    texts = {}
    for name in names:
        text = read_text(f"{folder}/{name}").strip()
        if text:
            texts[name] = text
    return texts


def capture() -> dict:
    cpus = sorted(os.sched_getaffinity(0))
    host = {"cpus": cpus, "release": os.uname().release}
    host["cpuinfo"] = parse_cpuinfo(read_text("/proc/cpuinfo"), cpus)
    base = f"/sys/devices/system/cpu/cpu{cpus[0]}/cache/index"
    host["cache"] = [texts for level in range(4) if (texts := files_of(f"{base}{level}", CACHE))]
    meminfo = {}
    for line in read_text("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            meminfo[key] = int(value[0]) * 1024
    host["mem_total"] = meminfo.get("MemTotal", 1 << 30)
    host["hugepage_size"] = meminfo.get("Hugepagesize", 2 << 20)
    thp = read_text("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").strip()
    host["thp_size"] = int(thp) if thp.isdigit() else 2 << 20
    try:
        host["meminfo_fd"] = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        host["meminfo_fd"] = -1
    auxv = auxiliary_vector()
    host["hwcap"] = auxv.get(AT_HWCAP, 0)
    host["hwcap2"] = auxv.get(AT_HWCAP2, 0)
    host["minsigstksz"] = auxv.get(AT_MINSIGSTKSZ, 2048)
    return host


# /proc/net of the container's network namespace (--network=host), to be read again and again.
NET_FILES = (
    "arp dev dev_mcast if_inet6 igmp igmp6 ip6_flowlabel ipv6_route mcfilter netstat packet protocols psched ptype raw raw6 route "
    "rt_cache snmp snmp6 sockstat sockstat6 tcp tcp6 udp udp6 udplite udplite6 softnet_stat"
).split()
NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4


def open_network() -> dict:
    """Name -> descriptor: files of /proc/net as far as there are any, and "netlink:route", "netlink:diag"."""
    found = {}
    for name in NET_FILES:
        try:
            found[name] = os.open("/proc/thread-self/net/" + name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # a host without it
    for name, protocol in (("netlink:route", NETLINK_ROUTE), ("netlink:diag", NETLINK_SOCK_DIAG)):
        sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)
        found[name] = sock.detach()
    return found


def auxiliary_vector() -> dict:
    try:
        with open("/proc/self/auxv", "rb") as file:
            data = file.read()
    except OSError:
        return {}
    return dict(iter_unpack("<QQ", data[: len(data) & -16]))


def read_meminfo(host) -> dict:
    """Current /proc/meminfo of the host: name -> KiB (hugepage counts as they are)."""
    fd = host.get("meminfo_fd", -1)
    if fd < 0:
        return {}
    try:
        text = os.pread(fd, 16384, 0).decode("ascii", "replace")
    except OSError:
        return {}
    values = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdigit():
            values[key] = int(value[0])
    return values


def recent_meminfo(host) -> dict:
    """As it was at most a tenth of a second ago: qsort(3) of glibc asks in every program, and reading it takes 50 us."""
    now = monotonic_ns()
    until, values = host.get("meminfo", (0, None))
    if now >= until:
        values = read_meminfo(host)
        host["meminfo"] = now + 100_000_000, values
    return values
