"""What the files of /proc/PID and /proc/PID/task/TID say (proc(5), fs/proc/array.c, fs/proc/base.c).

Each function answers the bytes of one file, or -errno: `name(t, task, whole)`, where `t` is the reader, `task` the
thread (of a process: its leader) and `whole` tells whether the process is meant or that thread only. Memory in use
is not known to the Sentry (the host does not tell it): "resident" is the size of the areas that may be used.
"""

from sentry.abi.errno import EACCES, EINVAL, EPERM, ERANGE, ESRCH
from sentry.core.creds import CAP_AUDIT_CONTROL, CAP_SYS_RESOURCE
from sentry.kernel import cputime, machine, seccomp, signals
from sentry.kernel.access import may_access
from sentry.kernel.clone import INHERITED_DATA, VforkWait
from sentry.kernel.memstat import Sizes
from sentry.kernel.task import RLIM_INFINITY, RLIMIT_RSS, RLIMIT_SIGPENDING
from sentry.mm.vma import PROT_EXEC, PROT_READ, PROT_WRITE, VMA, SharedAnon
from sentry.platform.base import PAGE, MemFault

TICK = 10_000_000  # ns of a clock tick (USER_HZ 100)
STATES = {"R": b"R (running)", "S": b"S (sleeping)", "D": b"D (disk sleep)", "T": b"T (stopped)", "t": b"t (tracing stop)", "Z": b"Z (zombie)"}
PF_FORKNOEXEC, PF_RANDOMIZE = 0x40, 0x400000

ENTRIES = {}  # name -> (mode, show, store)


def entry(name: str, mode: int = 0o444, store=None):
    """Register a file of every process directory."""

    def register(show):
        ENTRIES[name.encode()] = (mode, show, store)
        return show

    return register


def state(task) -> str:
    if task.dead:
        return "Z"
    if signals.is_stopped_task(task):
        return "T"
    if task.ptrace is not None and task.ptrace.stopped:
        return "t"
    if task.wait is None:
        return "R"
    return "D" if type(task.wait) is VforkWait else "S"


def escape_comm(comm: bytes) -> bytes:
    return comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")


def times_of(task, whole: bool) -> "tuple[int, int]":
    return cputime.process(task.tg) if whole else cputime.thread(task)


def signal_masks(task) -> "tuple[int, int]":
    """Masks of ignored and of caught signals."""
    ignored = caught = 0
    for signo, action in enumerate(task.tg.sighand.actions):
        if action[0] == 1:
            ignored |= 1 << (signo - 1)
        elif action[0] > 1:
            caught |= 1 << (signo - 1)
    return ignored, caught


@entry("stat")
def stat(t, task, whole):
    tg, mm = task.tg, task.mm
    permitted = may_access(t, task)
    sizes = Sizes(mm)
    user, system = times_of(task, whole)
    ignored, caught = signal_masks(task)
    pending = task.pending.mask & 0x7FFFFFFF
    session, group = tg.session, tg.pgrp
    tty = session.tty if session is not None else None
    foreground = tty.foreground if tty is not None else None
    policy, rt_priority = task.sched
    known = permitted and mm is not None
    start = task.start_time if not whole else tg.start_time
    children = (tg.utime_children // TICK, tg.stime_children // TICK) if whole else (0, 0)
    fields = (
        state(task), tg.kin_ppid, group.pgid if group is not None else 0, session.sid if session is not None else 0,
        getattr(tty, "rdev", 0) if tty is not None else 0, foreground.pgid if foreground is not None else -1,
        PF_RANDOMIZE | (0 if tg.did_exec else PF_FORKNOEXEC), 0, 0, 0, 0, user // TICK, system // TICK, *children,
        -1 - rt_priority if policy in (1, 2) else 20 + task.nice, task.nice, len(tg.tasks), 0,
        max(0, start - t.kernel.boot_time) // TICK, sizes.total, sizes.resident // PAGE, tg.rlimits[RLIMIT_RSS][0],
        mm.start_code if known else 0, mm.end_code if known else 0, mm.start_stack if known else 0, 0, 0,
        pending, task.sigmask & 0x7FFFFFFF, ignored & 0x7FFFFFFF, caught & 0x7FFFFFFF,
        0 if task.wait is None else 1, 0, 0, tg.exit_signal if task is tg.leader else -1,
        machine.view(t)["cpus"][0], rt_priority, policy, 0, 0, 0,
        mm.start_data if known else 0, mm.end_data if known else 0, mm.brk_start if known else 0,
        mm.arg_start if known else 0, mm.arg_end if known else 0, mm.env_start if known else 0,
        mm.env_end if known else 0, task.exit_code & 0xFFFF if permitted else 0,
    )  # fmt: skip
    return b"%d (%s) %s\n" % (task.tid, escape_comm(task.comm), " ".join(map(str, fields)).encode())


@entry("statm")
def statm(t, task, whole):
    sizes = Sizes(task.mm)
    shared = min(sizes.resident, sizes.shared + sizes.library + sizes.text)
    pages = (sizes.total, sizes.resident, shared, sizes.text, 0, sizes.data + sizes.stack, 0)
    return b"%d %d %d %d %d %d %d\n" % tuple(size // PAGE for size in pages)


@entry("status")
def status(t, task, whole):
    tg, creds, mm = task.tg, task.creds, task.mm
    lines = [
        b"Name:\t" + escape_comm(task.comm),
        b"Umask:\t%04o" % task.fs.umask if task.fs is not None else None,
        b"State:\t" + STATES[state(task)],
        b"Tgid:\t%d" % tg.pid,
        b"Ngid:\t0",
        b"Pid:\t%d" % task.tid,
        b"PPid:\t%d" % tg.kin_ppid,
        b"TracerPid:\t%d" % (task.ptrace.tracer.tid if task.ptrace is not None else 0),
        b"Uid:\t%d\t%d\t%d\t%d" % (creds.uid, creds.euid, creds.suid, creds.fsuid),
        b"Gid:\t%d\t%d\t%d\t%d" % (creds.gid, creds.egid, creds.sgid, creds.fsgid),
        b"FDSize:\t%d" % fd_size(task),
        b"Groups:\t%s " % b" ".join(b"%d" % group for group in creds.groups),
        b"NStgid:\t%d" % tg.pid,
        b"NSpid:\t%d" % task.tid,
        b"NSpgid:\t%d" % (tg.pgrp.pgid if tg.pgrp is not None else 0),
        b"NSsid:\t%d" % (tg.session.sid if tg.session is not None else 0),
        b"Kthread:\t0",
    ]
    if mm is not None:
        lines += memory_lines(mm)
    ignored, caught = signal_masks(task)
    queued = t.kernel.sig_queued.get(creds.uid, 0)
    host_cpus = machine.view(t)["cpus"]
    affinity = task.data.get("affinity", sum(1 << cpu for cpu in host_cpus))
    lines += [
        b"Threads:\t%d" % len(tg.tasks),
        b"SigQ:\t%d/%d" % (queued, min(tg.rlimits[RLIMIT_SIGPENDING][0], (1 << 63) - 1)),
        b"SigPnd:\t%016x" % task.pending.mask,
        b"ShdPnd:\t%016x" % tg.shared_pending.mask,
        b"SigBlk:\t%016x" % task.sigmask,
        b"SigIgn:\t%016x" % ignored,
        b"SigCgt:\t%016x" % caught,
        b"CapInh:\t%016x" % creds.inheritable,
        b"CapPrm:\t%016x" % creds.permitted,
        b"CapEff:\t%016x" % creds.effective,
        b"CapBnd:\t%016x" % creds.bounding,
        b"CapAmb:\t%016x" % creds.ambient,
        b"NoNewPrivs:\t%d" % task.no_new_privs,
        b"Seccomp:\t%d" % seccomp.mode(task),
        b"Seccomp_filters:\t%d" % (task.seccomp.count if task.seccomp is not None else 0),
        b"Speculation_Store_Bypass:\tunknown",
        b"SpeculationIndirectBranch:\tunknown",
        b"Cpus_allowed:\t" + mask_text(affinity, max(host_cpus) + 1),
        b"Cpus_allowed_list:\t" + list_text(cpu for cpu in host_cpus if affinity >> cpu & 1),
        b"Mems_allowed:\t1",
        b"Mems_allowed_list:\t0",
        b"voluntary_ctxt_switches:\t0",
        b"nonvoluntary_ctxt_switches:\t0",
    ]
    return b"".join(line + b"\n" for line in lines if line is not None)


def memory_lines(mm) -> "list[bytes]":
    sizes = Sizes(mm)
    rows = (
        (b"VmPeak", max(mm.peak_total, sizes.total)), (b"VmSize", sizes.total), (b"VmLck", sizes.locked), (b"VmPin", 0),
        (b"VmHWM", sizes.resident), (b"VmRSS", sizes.resident),
        (b"RssAnon", max(0, sizes.resident - sizes.shared - sizes.library - sizes.text)),
        (b"RssFile", min(sizes.resident, sizes.library + sizes.text)), (b"RssShmem", sizes.shared),
        (b"VmData", sizes.data), (b"VmStk", sizes.stack), (b"VmExe", sizes.text), (b"VmLib", sizes.library),
        (b"VmPTE", sizes.resident // 512 + 16384), (b"VmSwap", 0), (b"HugetlbPages", 0),
    )  # fmt: skip
    lines = [b"%s:\t%8d kB" % (name, size >> 10) for name, size in rows]
    return lines + [b"CoreDumping:\t0", b"THP_enabled:\t1", b"untag_mask:\t0xffffffffffffffff"]


def fd_size(task) -> int:
    """Slots of the descriptor table: a power of two, 64 at least (fs/file.c)."""
    size = 64
    while task.files is not None and size < len(task.files.slots):
        size *= 2
    return size


def mask_text(mask: int, bits: int) -> bytes:
    """Words of 32 bits in hexadecimal, highest first (bitmap_print_to_pagebuf)."""
    words = [mask >> 32 * i & 0xFFFFFFFF for i in range((bits + 31) // 32)]
    first = b"%x" % words[-1] if len(words) == 1 or bits % 32 == 0 else b"%0*x" % ((bits % 32 + 3) // 4, words[-1])
    if len(words) == 1:
        first = b"%0*x" % ((bits + 3) // 4, words[0])
    return b",".join([first] + [b"%08x" % word for word in reversed(words[:-1])])


def list_text(numbers) -> bytes:
    """As b"0-3,5"."""
    out = []
    start = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if start is not None:
            out.append(b"%d" % start if start == last else b"%d-%d" % (start, last))
        start = last = number
    if start is not None:
        out.append(b"%d" % start if start == last else b"%d-%d" % (start, last))
    return b",".join(out)


def set_comm(t, task, data):
    if task.tg is not t.tg:
        return -EINVAL
    task.comm = data.split(b"\0", 1)[0].rstrip(b"\n")[:15]
    return len(data)


@entry("comm", 0o644, set_comm)
def comm(t, task, whole):
    return task.comm + b"\n"


def peek(mm, start: int, end: int) -> bytes:
    """Guest memory [start, end), or as much as there is."""
    if end <= start:
        return b""
    try:
        return mm.peek(start, min(end - start, 1 << 21))
    except MemFault:
        return b""


@entry("cmdline")
def cmdline(t, task, whole):
    mm = task.mm
    if mm is None:
        return b""
    text = peek(mm, mm.arg_start, mm.arg_end)
    if text and text[-1]:
        # The program has written its own title over its arguments (fs/proc/base.c:get_mm_proctitle).
        text = (text + peek(mm, mm.arg_end, min(mm.env_end, mm.arg_end + PAGE))).split(b"\0", 1)[0]
    return text


@entry("environ", 0o400)
def environ(t, task, whole):
    mm = task.mm
    if mm is None:
        return b""
    return peek(mm, mm.env_start, mm.env_end) if may_access(t, task) else -EACCES


@entry("auxv", 0o400)
def auxv(t, task, whole):
    if task.mm is None:
        return b""
    return task.mm.auxv if may_access(t, task) else -EACCES


def area_name(mm, area, root) -> bytes:
    if area.name:
        return area.name
    backing = area.backing
    if type(backing) is SharedAnon:
        return b"/dev/zero (deleted)"
    if backing is not None:
        return backing.shown_name(root).replace(b"\n", b"\\012")
    return b""


def area_line(mm, area, root) -> bytes:
    """One line of maps (fs/proc/task_mmu.c:show_map_vma)."""
    backing = area.backing
    inode = getattr(backing, "inode", None)
    dev, ino = (inode.fs.dev, inode.ino) if inode is not None else (0, 0)
    if type(backing) is SharedAnon:
        dev, ino = 1, id(backing) & 0xFFFF
    prot = area.prot
    line = b"%08x-%08x %s%s%s%s %08x %02x:%02x %d " % (
        area.start, area.end, b"r" if prot & PROT_READ else b"-", b"w" if prot & PROT_WRITE else b"-",
        b"x" if prot & PROT_EXEC else b"-", b"s" if area.shared else b"p",
        area.offset if backing is not None else 0, dev >> 20, dev & 0xFFFFF, ino,
    )  # fmt: skip
    name = area_name(mm, area, root)
    return (line.ljust(73) + name if name else line) + b"\n"


VDSO_SIZE = 0x2000  # arch/x86/entry/vdso: two pages


def vdso_area(t) -> "list":
    """The vDSO is in every address space but in no list of areas, as it lies above the guest's addresses."""
    start = t.kernel.host.get("vdso")
    return [VMA(start, start + VDSO_SIZE, PROT_READ | PROT_EXEC, name=b"[vdso]")] if start else []


@entry("maps")
def maps(t, task, whole):
    mm = task.mm
    if mm is None:
        return b""
    if not may_access(t, task):
        return -EACCES
    root = t.fs.root if t.fs is not None else None
    return b"".join(area_line(mm, area, root) for area in [*mm.vmas, *vdso_area(t)])


SMAPS_ROWS = (
    b"Rss", b"Pss", b"Pss_Dirty", b"Shared_Clean", b"Shared_Dirty", b"Private_Clean", b"Private_Dirty", b"Referenced",
    b"Anonymous", b"KSM", b"LazyFree", b"AnonHugePages", b"ShmemPmdMapped", b"FilePmdMapped", b"Shared_Hugetlb",
    b"Private_Hugetlb", b"Swap", b"SwapPss", b"Locked",
)  # fmt: skip


def smaps_rows(area) -> dict:
    """KiB by row, as far as known: an area that may be used counts as resident."""
    size = area.end - area.start >> 10
    resident = size if area.prot and not area.flags & (VMA.NORESERVE | VMA.GROWSDOWN) else 0
    rows = dict.fromkeys(SMAPS_ROWS, 0)
    rows[b"Rss"] = rows[b"Pss"] = rows[b"Referenced"] = resident
    rows[b"Anonymous"] = resident if area.backing is None else 0
    kind = b"Shared_" if area.shared else b"Private_"
    rows[kind + (b"Dirty" if area.prot & PROT_WRITE else b"Clean")] = resident
    rows[b"Locked"] = resident if area.flags & VMA.LOCKED else 0
    return rows


def vm_flags(area) -> bytes:
    flags = [name for bit, name in ((PROT_READ, b"rd"), (PROT_WRITE, b"wr"), (PROT_EXEC, b"ex")) if area.prot & bit]
    if area.shared:
        flags.append(b"sh")
    flags.append(b"mr")
    if area.may_write:
        flags.append(b"mw")
    flags.append(b"me")
    if area.shared:
        flags.append(b"ms")
    for bit, name in ((VMA.GROWSDOWN, b"gd"), (VMA.LOCKED, b"lo"), (VMA.DONTFORK, b"dc"), (VMA.NORESERVE, b"nr"),
                      (VMA.DONTDUMP, b"dd"), (VMA.WIPEONFORK, b"wf")):  # fmt: skip
        if area.flags & bit:
            flags.append(name)
    return b" ".join(flags)


@entry("smaps")
def smaps(t, task, whole):
    mm = task.mm
    if mm is None:
        return b""
    if not may_access(t, task):
        return -EACCES
    root = t.fs.root if t.fs is not None else None
    out = []
    for area in mm.vmas:
        out.append(area_line(mm, area, root))
        out.append(b"%-16s%8d kB\n" % (b"Size:", area.end - area.start >> 10))
        out.append(b"KernelPageSize:        4 kB\nMMUPageSize:           4 kB\n")
        out += [b"%-16s%8d kB\n" % (name + b":", size) for name, size in smaps_rows(area).items()]
        out.append(b"THPeligible:           0\nVmFlags: %s \n" % vm_flags(area))
    return b"".join(out)


@entry("smaps_rollup")
def smaps_rollup(t, task, whole):
    mm = task.mm
    if mm is None:
        return -ESRCH
    if not may_access(t, task):
        return -EACCES
    totals = dict.fromkeys(SMAPS_ROWS, 0)
    areas = list(mm.vmas)
    for area in areas:
        for name, size in smaps_rows(area).items():
            totals[name] += size
    for name in (b"Pss_Anon", b"Pss_File", b"Pss_Shmem"):
        totals.setdefault(name, 0)
    first, last = (areas[0].start, areas[-1].end) if areas else (0, 0)
    head = (b"%08x-%08x ---p 00000000 00:00 0 " % (first, last)).ljust(73) + b"[rollup]\n"
    return head + b"".join(b"%-16s%8d kB\n" % (name + b":", size) for name, size in totals.items())


LIMIT_ROWS = (
    ("Max cpu time", "seconds"), ("Max file size", "bytes"), ("Max data size", "bytes"), ("Max stack size", "bytes"),
    ("Max core file size", "bytes"), ("Max resident set", "bytes"), ("Max processes", "processes"),
    ("Max open files", "files"), ("Max locked memory", "bytes"), ("Max address space", "bytes"),
    ("Max file locks", "locks"), ("Max pending signals", "signals"), ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""), ("Max realtime priority", ""), ("Max realtime timeout", "us"),
)  # fmt: skip


@entry("limits")
def limits(t, task, whole):
    lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
    for (name, unit), values in zip(LIMIT_ROWS, task.tg.rlimits, strict=True):
        soft, hard = ("unlimited" if value == RLIM_INFINITY else str(value) for value in values)
        lines.append(f"{name:<25} {soft:<20} {hard:<20} {unit:<{10 if unit else 0}}\n")
    return "".join(lines).encode()


@entry("mounts")
def mounts(t, task, whole):
    return task.fs.ns.mounts_text(task.fs.root) if task.fs is not None else -EINVAL


@entry("mountinfo")
def mountinfo(t, task, whole):
    return task.fs.ns.mountinfo_text(task.fs.root) if task.fs is not None else -EINVAL


@entry("mountstats", 0o400)
def mountstats(t, task, whole):
    if task.fs is None:
        return -EINVAL
    lines = []
    for line in task.fs.ns.mounts_text(task.fs.root).splitlines():
        source, place, kind = line.split(b" ")[:3]
        lines.append(b"device %s mounted on %s with fstype %s\n" % (source, place, kind))
    return b"".join(lines)


def adjust_badness(t, task, value: int, size: int) -> int:
    if not -1000 <= value <= 1000:
        return -EINVAL
    tg = task.tg
    if value < tg.oom_score_adj and not t.creds.capable(CAP_SYS_RESOURCE):
        return -EACCES
    tg.oom_score_adj = value
    return size


def set_oom_score_adj(t, task, data):
    try:
        value = int(data.strip(b" \t\n\0"))
    except ValueError:
        return -EINVAL
    return adjust_badness(t, task, value, len(data))


@entry("oom_score_adj", 0o644, set_oom_score_adj)
def oom_score_adj(t, task, whole):
    return b"%d\n" % task.tg.oom_score_adj


def set_oom_adj(t, task, data):
    try:
        value = int(data.strip(b" \t\n\0"))
    except ValueError:
        return -EINVAL
    if not -17 <= value <= 15:
        return -EINVAL
    return adjust_badness(t, task, 1000 if value == 15 else value * 1000 // 17, len(data))


@entry("oom_adj", 0o644, set_oom_adj)
def oom_adj(t, task, whole):
    value = task.tg.oom_score_adj
    return b"%d\n" % (15 if value == 1000 else int(value * 17 / 1000))


@entry("oom_score")
def oom_score(t, task, whole):
    """mm/oom_kill.c:oom_badness, scaled as fs/proc/base.c:proc_oom_score does."""
    if task.mm is None:
        return b"0\n"
    pages = machine.view(t)["mem_total"] // PAGE
    points = Sizes(task.mm).resident // PAGE + task.tg.oom_score_adj * pages // 1000
    return b"%d\n" % max(0, 1000 + int(points * 1000 / pages)) if points > -pages else b"0\n"


@entry("cgroup")
def cgroup(t, task, whole):
    return b"0::/\n"


@entry("cpuset")
def cpuset(t, task, whole):
    return b"/\n"


@entry("io", 0o400)
def io(t, task, whole):
    if not may_access(t, task):
        return -EACCES
    names = (b"rchar", b"wchar", b"syscr", b"syscw", b"read_bytes", b"write_bytes", b"cancelled_write_bytes")
    return b"".join(b"%s: 0\n" % name for name in names)


@entry("wchan")
def wchan(t, task, whole):
    return b"0"


@entry("stack", 0o400)
def stack(t, task, whole):
    return b""


@entry("syscall", 0o400)
def syscall(t, task, whole):
    if not may_access(t, task):
        return -EPERM
    if task.thread is None:
        return b"0 0x0 0x0\n"
    if task.wait is None:
        return b"running\n"
    thread = task.thread
    return b"%d %s 0x%x 0x%x\n" % (
        thread.nr, b" ".join(b"0x%x" % arg for arg in thread.args), thread.regs.rsp, thread.regs.rip
    )


@entry("personality", 0o400)
def personality(t, task, whole):
    return b"%08x\n" % task.personality if may_access(t, task) else -EPERM


ID_MAP = b"         0          0 4294967295\n"


@entry("uid_map", 0o644)
def uid_map(t, task, whole):
    return id_map(task, "uid")


@entry("gid_map", 0o644)
def gid_map(t, task, whole):
    return id_map(task, "gid")


def id_map(task, kind) -> bytes:
    """What the ids of the task's container stand for outside (OCI user namespace mappings)."""
    container = task.tg.container
    rows = container.id_maps.get(kind, "").splitlines() if container is not None else ()
    return b"".join(b"%10d %10d %10d\n" % tuple(map(int, row.split())) for row in rows) or ID_MAP


@entry("projid_map", 0o644)
def projid_map(t, task, whole):
    return ID_MAP


@entry("setgroups", 0o644)
def setgroups(t, task, whole):
    return b"allow\n"


INHERITED_DATA.append("login")
UNSET = 0xFFFFFFFF  # nobody has logged in
login_sessions = 0


def set_loginuid(t, task, data):
    """Once, by whoever logs a user in; later with CAP_AUDIT_CONTROL (kernel/audit.c: audit_set_loginuid)."""
    global login_sessions
    if task is not t:
        return -EPERM
    try:
        uid = int(data.strip(b" \t\n\0"))
    except ValueError:
        return -EINVAL
    if not 0 <= uid <= UNSET:
        return -ERANGE
    if task.data.get("login", (UNSET,))[0] != UNSET and not t.creds.capable(CAP_AUDIT_CONTROL):
        return -EPERM
    login_sessions += uid != UNSET
    task.data["login"] = (uid, login_sessions if uid != UNSET else UNSET)
    return len(data)


@entry("loginuid", 0o644, set_loginuid)
def loginuid(t, task, whole):
    return b"%d" % task.data.get("login", (UNSET, UNSET))[0]


@entry("sessionid")
def sessionid(t, task, whole):
    return b"%d" % task.data.get("login", (UNSET, UNSET))[1]


def set_timerslack(t, task, data):
    try:
        value = int(data.strip(b" \t\n\0"))
    except ValueError:
        return -EINVAL
    if task is not t and not may_access(t, task):
        return -EPERM
    task.data["timer_slack"] = value or 50_000
    return len(data)


@entry("timerslack_ns", 0o666, set_timerslack)
def timerslack_ns(t, task, whole):
    return b"%d\n" % task.data.get("timer_slack", 50_000)


def set_coredump_filter(t, task, data):
    try:
        task.tg.data["coredump_filter"] = int(data.strip(b" \t\n\0"), 0) & 0x1FF
    except ValueError:
        return -EINVAL
    return len(data)


@entry("coredump_filter", 0o644, set_coredump_filter)
def coredump_filter(t, task, whole):
    return b"%08x\n" % task.tg.data.get("coredump_filter", 0x33) if task.mm is not None else b""


@entry("schedstat")
def schedstat(t, task, whole):
    return b"%d 0 0\n" % sum(times_of(task, whole))


@entry("sched")
def sched(t, task, whole):
    user, system = times_of(task, whole)
    head = b"%s (%d, #threads: %d)\n" % (task.comm, task.tid, len(task.tg.tasks))
    rows = ((b"se.sum_exec_runtime", (user + system) / 1e6), (b"nr_switches", 0), (b"policy", task.sched[0]),
            (b"prio", 120 + task.nice))  # fmt: skip
    lines = [b"%-45s:%21s\n" % (name, (b"%.6f" if type(v) is float else b"%d") % v) for name, v in rows]
    return head + b"-" * 67 + b"\n" + b"".join(lines)


@entry("children")
def children(t, task, whole):
    return b"".join(b"%d " % child.pid for child in task.tg.children if child.parent_task is task)


@entry("numa_maps")
def numa_maps(t, task, whole):
    if task.mm is None:
        return b""
    if not may_access(t, task):
        return -EACCES
    return b"".join(b"%08x default\n" % area.start for area in task.mm.vmas)


@entry("timens_offsets", 0o644)
def timens_offsets(t, task, whole):
    return b"monotonic           0         0\nboottime            0         0\n"


# Only one of the two kinds of directories has these (proc(5)).
ONLY_PROCESS = {b"coredump_filter", b"mountstats", b"timerslack_ns", b"timens_offsets"}
ONLY_THREAD = {b"children"}
