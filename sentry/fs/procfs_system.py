"""The files at the top of /proc: what they say about the system (proc(5)).

Hardware is the host's, as captured before the Sentry was confined, memory the host's at the moment of reading; load,
CPU time and process counts are those of the sandbox.
"""

from time import monotonic_ns, time_ns

from sentry.abi.errno import EINVAL, EPERM
from sentry.core import hostinfo
from sentry.fs.pseudo import TextInode, fixed
from sentry.kernel import cputime, loadavg, machine
from sentry.kernel.uts import RELEASE, VERSION
from sentry.vfs.locks import locks_text
from sentry.vfs.mount import filesystems_text

TICK = 10_000_000
NS = 1_000_000_000


def used_time(kernel) -> "tuple[int, int]":
    """User and system time of everything that runs or has been waited for, in ns."""
    user = system = 0
    for tg in [tg for pids in kernel.pid_namespaces for tg in pids.groups.values()]:
        more_user, more_system = cputime.process(tg)
        user += more_user + tg.utime_children
        system += more_system + tg.stime_children
    return user, system


def uptime_ns(kernel) -> int:
    return monotonic_ns() - kernel.boot_time


def uptime(t):
    kernel = t.kernel
    up = uptime_ns(kernel)
    idle = max(0, up * len(machine.view(t)["cpus"]) - sum(used_time(kernel)))
    return b"%d.%02d %d.%02d\n" % (up // NS, up % NS // TICK, idle // NS, idle % NS // TICK)


def load(t):
    kernel = t.kernel
    averages = loadavg.load_averages(kernel)
    running = loadavg.running(kernel)
    return b"%.2f %.2f %.2f %d/%d %d\n" % (*averages, max(1, running), len(t.tg.pids.tasks), t.tg.pids.last_pid)


def stat(t):
    kernel = t.kernel
    cpus = machine.view(t)["cpus"]
    user, system = used_time(kernel)
    up = uptime_ns(kernel)
    each = (user // len(cpus) // TICK, system // len(cpus) // TICK)
    idle = max(0, up // TICK - sum(each))
    zeros = b" 0 0 0 0 0 0"
    lines = [b"cpu  %d 0 %d %d" % (user // TICK, system // TICK, idle * len(cpus)) + zeros]
    lines += [b"cpu%d %d 0 %d %d" % (cpu, *each, idle) + zeros for cpu in cpus]
    blocked = 0
    lines += [
        b"intr 0", b"ctxt 0", b"btime %d" % ((time_ns() - up) // NS), b"processes %d" % (kernel.forks + 1),
        b"procs_running %d" % max(1, loadavg.running(kernel)), b"procs_blocked %d" % blocked,
        b"softirq 0 0 0 0 0 0 0 0 0 0 0",
    ]  # fmt: skip
    return b"".join(line + b"\n" for line in lines)


def cpuinfo(t):
    return b"".join(block + b"\n\n" for block in machine.view(t)["cpuinfo"])


# Rows of meminfo in Linux's order. What the host's file has is shown, the rest is 0; None: not in every kernel.
MEMINFO = (
    "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)",
    "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Zswap",
    "Zswapped", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "KReclaimable", "Slab", "SReclaimable",
    "SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "NFS_Unstable", "Bounce", "WritebackTmp", "CommitLimit",
    "Committed_AS", "VmallocTotal", "VmallocUsed", "VmallocChunk", "Percpu", "AnonHugePages", "ShmemHugePages",
    "ShmemPmdMapped", "FileHugePages", "FilePmdMapped", "HugePages_Total", "HugePages_Free", "HugePages_Rsvd",
    "HugePages_Surp", "Hugepagesize", "Hugetlb",
)  # fmt: skip


def memory_of(t, recent=False) -> "dict[str, int]":
    """Rows of meminfo in KiB (`recent`: of a moment ago will do). With a limit, what is free is what of that is left, and the rest the container's own."""
    m = machine.of(t)
    total = m.view["mem_total"] >> 10
    values = hostinfo.recent_meminfo(m.host) if recent else hostinfo.read_meminfo(m.host)
    if not values:
        values = {"MemFree": total // 2, "MemAvailable": total // 2}
    if m.limited():
        used = m.used(getattr(getattr(t, "tg", None), "container", None)) >> 10
        stat = {name: value >> 10 for name, value in m.stat().items()}
        free = max(0, min(total - used, values.get("MemFree", total)))
        cached = stat.get("file", 0)
        values = {key: values[key] for key in ("VmallocTotal",) if key in values}
        values.update({
            "MemFree": free, "MemAvailable": min(total, free + cached), "Cached": cached, "Shmem": stat.get("shmem", 0),
            "AnonPages": stat.get("anon", max(0, used - cached)), "Mapped": stat.get("file_mapped", 0), "Dirty": stat.get("file_dirty", 0),
            "CommitLimit": total, "Committed_AS": used, "Unevictable": stat.get("unevictable", 0),
        })  # fmt: skip
        for name in ("anon", "file"):
            for state in ("active", "inactive"):
                values[f"{state.capitalize()}({name})"] = stat.get(f"{state}_{name}", 0)
        for state in ("Active", "Inactive"):
            values[state] = values[f"{state}(anon)"] + values[f"{state}(file)"]
    values["MemTotal"] = total
    return values


def meminfo(t):
    host = t.kernel.host
    values = memory_of(t)
    values["Hugepagesize"] = host["hugepage_size"] >> 10
    # Swap and huge pages of the host are not the guest's.
    for name in ("SwapTotal", "SwapFree", "SwapCached", "Zswap", "Zswapped", "HugePages_Total", "HugePages_Free",
                 "HugePages_Rsvd", "HugePages_Surp", "Hugetlb"):  # fmt: skip
        values[name] = 0
    values.setdefault("VmallocTotal", 34359738367)
    lines = []
    for name in MEMINFO:
        unit = "" if name.startswith("HugePages_") else " kB"
        lines.append(f"{name + ':':<15}{values.get(name, 0):>9}{unit}\n")
    return "".join(lines).encode()


def version(t):
    return b"Linux version %s (stockade@sandbox) (cpython) %s\n" % (RELEASE, VERSION)


def vmstat(t):
    values = memory_of(t)
    rows = {
        "nr_free_pages": values.get("MemFree", 0) >> 2, "nr_inactive_anon": values.get("Inactive(anon)", 0) >> 2,
        "nr_active_anon": values.get("Active(anon)", 0) >> 2, "nr_inactive_file": values.get("Inactive(file)", 0) >> 2,
        "nr_active_file": values.get("Active(file)", 0) >> 2, "nr_anon_pages": values.get("AnonPages", 0) >> 2,
        "nr_mapped": values.get("Mapped", 0) >> 2, "nr_file_pages": values.get("Cached", 0) >> 2,
        "nr_dirty": values.get("Dirty", 0) >> 2, "nr_writeback": values.get("Writeback", 0) >> 2,
        "nr_shmem": values.get("Shmem", 0) >> 2, "pgpgin": 0, "pgpgout": 0, "pswpin": 0, "pswpout": 0,
        "pgalloc_normal": 0, "pgfree": 0, "pgfault": 0, "pgmajfault": 0, "oom_kill": 0,
    }  # fmt: skip
    return "".join(f"{name} {value}\n" for name, value in rows.items()).encode()


def zoneinfo(t):
    pages = machine.view(t)["mem_total"] >> 12
    return b"Node 0, zone   Normal\n  pages free     %d\n        spanned  %d\n        present  %d\n        managed  %d\n" % (
        pages // 2, pages, pages, pages
    )  # fmt: skip


CGROUPS = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n" + b"".join(
    b"%s\t0\t1\t1\n" % name
    for name in (b"cpuset", b"cpu", b"cpuacct", b"blkio", b"memory", b"devices", b"freezer", b"net_cls", b"perf_event",
                 b"net_prio", b"hugetlb", b"pids", b"rdma", b"misc")
)  # fmt: skip
DEVICES = (
    b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n128 ptm\n136 pts\n\n"
    b"Block devices:\n"
)


def interrupts(t):
    cpus = machine.view(t)["cpus"]
    return b"    " + b"".join(b"%-11s" % (b"CPU%d" % cpu) for cpu in cpus).rjust(11 * len(cpus) + 7) + b"\n"


def softirqs(t):
    cpus = machine.view(t)["cpus"]
    head = b" " * 20 + b"".join(b"%-11s" % (b"CPU%d" % cpu) for cpu in cpus) + b"\n"
    names = (b"HI", b"TIMER", b"NET_TX", b"NET_RX", b"BLOCK", b"IRQ_POLL", b"TASKLET", b"SCHED", b"HRTIMER", b"RCU")
    return head + b"".join(b"%12s:" % name + b" %10d" % 0 * len(cpus) + b"\n" for name in names)


def refuse_trigger(t, data):
    return -EPERM


def unreadable(t):
    return -EINVAL


def locks(t):
    return locks_text()


def filesystems(t):
    return filesystems_text()


def fill(root) -> None:
    """Put the files into the root directory of a proc file system."""
    fs = root.fs

    def add(name, show, mode=0o444, store=None):
        root.add(name, TextInode(fs, mode, show, store))

    add(b"cgroups", fixed(CGROUPS))
    add(b"cmdline", fixed(b"stockade\n"))
    add(b"consoles", fixed(b""))
    add(b"cpuinfo", cpuinfo)
    add(b"crypto", fixed(b""))
    add(b"devices", fixed(DEVICES))
    add(b"diskstats", fixed(b""))
    add(b"filesystems", filesystems)
    add(b"interrupts", interrupts)
    add(b"kallsyms", fixed(b""))
    add(b"loadavg", load)
    add(b"locks", locks)
    add(b"meminfo", meminfo)
    add(b"misc", fixed(b""))
    add(b"modules", fixed(b""))
    add(b"partitions", fixed(b"major minor  #blocks  name\n\n"))
    add(b"softirqs", softirqs)
    add(b"stat", stat)
    add(b"swaps", fixed(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"))
    add(b"sysrq-trigger", unreadable, 0o200, refuse_trigger)
    add(b"uptime", uptime)
    add(b"version", version)
    add(b"vmstat", vmstat)
    add(b"zoneinfo", zoneinfo)
    for name in (b"bus", b"fs", b"irq", b"tty/driver", b"driver"):
        root.directory(name)
    root.directory(b"tty").add(b"drivers", TextInode(fs, 0o444, fixed(b"/dev/tty             /dev/tty        5       0 system:/dev/tty\n")))


def uuid(raw: bytes) -> bytes:
    """16 random bytes in the form of a version 4 UUID."""
    b = bytearray(raw)
    b[6] = b[6] & 0x0F | 0x40
    b[8] = b[8] & 0x3F | 0x80
    h = bytes(b).hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}\n".encode()
