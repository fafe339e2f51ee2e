"""sysfs: what programs ask of it about CPUs, memory and devices (Documentation/ABI). Every file is read-only."""

from sentry.fs.procfs_pid import list_text, mask_text
from sentry.fs.procfs_system import memory_of
from sentry.fs.pseudo import LazyDir, PseudoDir, TextInode, fixed
from sentry.kernel import machine
from sentry.vfs.inode import FileSystem
from sentry.vfs.mount import register_filesystem

SYSFS_MAGIC = 0x62656572

EMPTY = (
    "block", "bus", "class/block", "class/power_supply", "class/thermal", "class/tty", "dev/block", "dev/char",
    "devices/platform", "devices/virtual", "firmware", "fs/cgroup", "hypervisor", "module", "power",
    "kernel/debug", "kernel/tracing", "kernel/security", "kernel/config", "fs/fuse/connections",
)  # fmt: skip
TOP = (b"block", b"bus", b"class", b"dev", b"devices", b"firmware", b"fs", b"hypervisor", b"kernel", b"module", b"power")
LOOPBACK = {
    "address": "00:00:00:00:00:00", "addr_assign_type": "0", "addr_len": "6", "broadcast": "00:00:00:00:00:00",
    "carrier": "1", "dev_id": "0x0", "dormant": "0", "flags": "0x9", "ifalias": "", "ifindex": "1", "iflink": "1",
    "link_mode": "0", "mtu": "65536", "operstate": "unknown", "tx_queue_len": "1000", "type": "772",
}  # fmt: skip
STATISTICS = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped", "collisions")
TEXTS = {
    "kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never",
    "kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise [never] deny force",
    "kernel/mm/transparent_hugepage/use_zero_page": "1",
    "kernel/mm/transparent_hugepage/khugepaged/defrag": "1",
    "kernel/mm/ksm/run": "0",
    "kernel/uevent_seqnum": "0",
    "kernel/profiling": "0",
    "kernel/kexec_loaded": "0",
    "kernel/fscaps": "1",
    "devices/system/cpu/isolated": "",
    "devices/system/cpu/nohz_full": "(null)",
    "devices/system/cpu/offline": "",
    "devices/system/cpu/smt/active": "0",
    "devices/system/cpu/smt/control": "notimplemented",
    "devices/system/clocksource/clocksource0/available_clocksource": "tsc",
    "devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "devices/system/node/online": "0",
    "devices/system/node/possible": "0",
    "devices/system/node/has_cpu": "0",
    "devices/system/node/has_memory": "0",
    "devices/system/node/has_normal_memory": "0",
}


class SysFS(FileSystem):
    type_name = "sysfs"
    magic = SYSFS_MAGIC

    def __init__(self, kernel):
        FileSystem.__init__(self)
        self.source = b"sysfs"
        self.last_ino = 0
        self.host = kernel.host
        self.root = PseudoDir(self)
        for name in TOP:
            self.root.add(name, LazyDir(self, self.fill))

    def fill(self, directory) -> None:
        """One of the root's directories is looked into: make them all."""
        host, self.host = self.host, None
        if host is not None:
            fill(self, host)

    def new_ino(self) -> int:
        self.last_ino += 1
        return self.last_ino


class SysText(TextInode):
    """A file of one text, with the size that sysfs gives to all."""

    __slots__ = ()

    def __init__(self, fs, text: bytes):
        TextInode.__init__(self, fs, 0o444, fixed(text))
        self.size = 4096


def cpus_online(t):
    return list_text(machine.view(t)["cpus"]) + b"\n"


def node_meminfo(t):
    """Memory of the only node, as drivers/base/node.c lays it out."""
    values = memory_of(t)
    total = values["MemTotal"]
    free = values.get("MemFree", total // 2)
    rows = [("MemTotal", total), ("MemFree", free), ("MemUsed", total - free)]
    rows += [(name, values.get(name, 0)) for name in ("Active", "Inactive", "Dirty", "Writeback", "Mapped", "AnonPages", "Shmem")]
    rows += [("HugePages_Total", 0), ("HugePages_Free", 0), ("HugePages_Surp", 0)]
    return "".join(
        f"Node 0 {name + ':':<15}{value:>9}{'' if name.startswith('HugePages') else ' kB'}\n" for name, value in rows
    ).encode()


def fields_of(block: bytes) -> dict:
    """The lines of one processor in /proc/cpuinfo."""
    out = {}
    for line in block.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon:
            out[key.strip()] = value.strip()
    return out


def fill(fs, host) -> None:
    root = fs.root
    for path in EMPTY:
        root.directory(path.encode())

    def put(path, text):
        where, _, name = path.encode().rpartition(b"/")
        if isinstance(text, str):
            text = text.encode()
        root.directory(where).add(name, SysText(fs, text + b"\n"))

    for path, text in TEXTS.items():
        put(path, text)
    for name, text in LOOPBACK.items():
        put(f"class/net/lo/{name}", text)
    for name in STATISTICS:
        put(f"class/net/lo/statistics/{name}", "0")
    put("kernel/mm/transparent_hugepage/hpage_pmd_size", str(host["thp_size"]))
    huge = host["hugepage_size"] >> 10
    for name in ("nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages"):
        put(f"kernel/mm/hugepages/hugepages-{huge}kB/{name}", "0")
    cpus = host["cpus"]
    online = list_text(cpus)
    for name in ("possible", "present"):
        put(f"devices/system/cpu/{name}", online)
    root.directory(b"devices/system/cpu").add(b"online", TextInode(fs, 0o444, cpus_online))
    put("devices/system/cpu/kernel_max", "8191")
    for cpu, block in zip(cpus, host["cpuinfo"], strict=True):
        fill_cpu(put, host, cpu, fields_of(block))
    node = "devices/system/node/node0"
    root.directory(node.encode()).add(b"cpulist", TextInode(fs, 0o444, cpus_online))
    put(f"{node}/cpumap", mask_text(sum(1 << cpu for cpu in cpus), max(cpus) + 1))
    put(f"{node}/distance", "10")
    root.directory(node.encode()).add(b"meminfo", TextInode(fs, 0o444, node_meminfo))
    vulnerabilities = ("meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds")
    for name in vulnerabilities:
        put(f"devices/system/cpu/vulnerabilities/{name}", "Unknown: sandbox")


def fill_cpu(put, host, cpu, fields) -> None:
    """Topology and caches of one CPU. SMT siblings and package members follow from /proc/cpuinfo."""
    base = f"devices/system/cpu/cpu{cpu}"
    bits = max(host["cpus"]) + 1

    def same(*keys):
        mine = [fields.get(key) for key in keys]
        others = (fields_of(block) for block in host["cpuinfo"])
        return [
            number for number, other in zip(host["cpus"], others, strict=True)
            if number == cpu or (None not in mine and [other.get(key) for key in keys] == mine)
        ]  # fmt: skip

    threads = same(b"physical id", b"core id")
    package = same(b"physical id")
    put(f"{base}/online", "1")
    put(f"{base}/topology/physical_package_id", fields.get(b"physical id", b"0"))
    put(f"{base}/topology/core_id", fields.get(b"core id", b"%d" % cpu))
    put(f"{base}/topology/die_id", "0")
    put(f"{base}/topology/cluster_id", "65535")
    for names, numbers in ((("thread_siblings", "core_cpus"), threads), (("core_siblings", "package_cpus", "die_cpus"), package)):
        for name in names:
            put(f"{base}/topology/{name}", mask_text(sum(1 << number for number in numbers), bits))
            put(f"{base}/topology/{name}_list", list_text(numbers))
    for index, cache in enumerate(host["cache"]):
        shared = package if cache.get("level") == "3" else threads
        for name, text in cache.items():
            if name != "shared_cpu_list":
                put(f"{base}/cache/index{index}/{name}", text)
        put(f"{base}/cache/index{index}/shared_cpu_list", list_text(shared))
        put(f"{base}/cache/index{index}/shared_cpu_map", mask_text(sum(1 << number for number in shared), bits))


def new_sysfs(t, source: bytes, data: bytes):
    fs = SysFS(t.kernel)
    if source:
        fs.source = source
    return fs


register_filesystem("sysfs", new_sysfs)
