"""prctl arch_prctl personality (prctl(2), kernel/sys.c)."""

from struct import pack

from sentry.abi.errno import EINVAL, ENODEV, ENOMEM, EPERM
from sentry.abi.signal import NSIG
from sentry.core import log
from sentry.core.creds import (
    CAP_LAST_CAP,
    CAP_SETPCAP,
    CAP_SYS_RESOURCE,
)
from sentry.core.syscall import PARTIAL, Int, ULong, syscall
from sentry.kernel import seccomp
from sentry.kernel.clone import INHERITED_DATA
from sentry.platform.base import TASK_LIMIT
from sentry.syscalls.sys_creds import commit
from sentry.syscalls.sys_seccomp import set_by_prctl

SECURE_ALL_BITS, SECURE_ALL_LOCKS = 0x55, 0xAA  # NOROOT, NO_SETUID_FIXUP, KEEP_CAPS, NO_CAP_AMBIENT_RAISE
SECBIT_KEEP_CAPS, SECBIT_KEEP_CAPS_LOCKED, SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 4, 1 << 5, 1 << 6
DEFAULT_SLACK = 50_000  # ns

INHERITED_DATA += ["timer_slack", "thp_disable"]


def set_pdeathsig(t, signo, b, c, d):
    if signo > NSIG:
        return -EINVAL
    t.pdeath_signal = signo
    return 0


def get_pdeathsig(t, addr, b, c, d):
    t.write(addr, pack("<i", t.pdeath_signal))
    return 0


def get_dumpable(t, a, b, c, d):
    return t.dumpable


def set_dumpable(t, value, b, c, d):
    if value > 1:
        return -EINVAL
    for task in t.tg.tasks:
        task.dumpable = value
    return 0


def get_keepcaps(t, a, b, c, d):
    return int(bool(t.creds.securebits & SECBIT_KEEP_CAPS))


def set_keepcaps(t, value, b, c, d):
    if value > 1:
        return -EINVAL
    bits = t.creds.securebits
    if bits & SECBIT_KEEP_CAPS_LOCKED:
        return -EPERM
    new = t.creds.copy()
    new.securebits = bits | SECBIT_KEEP_CAPS if value else bits & ~SECBIT_KEEP_CAPS
    return commit(t, new)


def get_timing(t, a, b, c, d):
    return 0  # PR_TIMING_STATISTICAL


def set_timing(t, value, b, c, d):
    return 0 if value == 0 else -EINVAL


def set_name(t, addr, b, c, d):
    t.comm = t.read_cstr(addr, 15)[:15]
    return 0


def get_name(t, addr, b, c, d):
    t.write(addr, t.comm.ljust(16, b"\0"))
    return 0


def get_seccomp(t, a, b, c, d):
    return seccomp.mode(t)


def capbset_read(t, cap, b, c, d):
    if cap > CAP_LAST_CAP:
        return -EINVAL
    return t.creds.bounding >> cap & 1


def capbset_drop(t, cap, b, c, d):
    if not t.creds.capable(CAP_SETPCAP):
        return -EPERM
    if cap > CAP_LAST_CAP:
        return -EINVAL
    new = t.creds.copy()
    new.bounding &= ~(1 << cap)
    return commit(t, new)


def get_tsc(t, addr, b, c, d):
    t.write(addr, pack("<i", 1))  # PR_TSC_ENABLE
    return 0


def set_tsc(t, value, b, c, d):
    return 0 if value == 1 else -EINVAL


def get_securebits(t, a, b, c, d):
    return t.creds.securebits


def set_securebits(t, bits, b, c, d):
    # security/commoncap.c:cap_task_prctl
    old = t.creds.securebits
    if (
        ((old & SECURE_ALL_LOCKS) >> 1) & (old ^ bits)
        or (old & SECURE_ALL_LOCKS & ~bits)
        or bits & ~(SECURE_ALL_LOCKS | SECURE_ALL_BITS)
        or not t.creds.capable(CAP_SETPCAP)
    ):
        return -EPERM
    new = t.creds.copy()
    new.securebits = bits
    return commit(t, new)


def set_timerslack(t, value, b, c, d):
    signed = value - (1 << 64) if value >> 63 else value
    t.data["timer_slack"] = DEFAULT_SLACK if signed <= 0 else value
    return 0


def get_timerslack(t, a, b, c, d):
    return min(t.data.get("timer_slack", DEFAULT_SLACK), (1 << 63) - 1)


def accept(t, a, b, c, d):
    return 0


def set_mm(t, option, b, c, d):
    return -EINVAL if t.creds.capable(CAP_SYS_RESOURCE) else -EPERM


def set_child_subreaper(t, value, b, c, d):
    t.tg.subreaper = bool(value)
    return 0


def get_child_subreaper(t, addr, b, c, d):
    t.write(addr, pack("<i", t.tg.subreaper))
    return 0


def set_no_new_privs(t, value, b, c, d):
    if value != 1 or b or c or d:
        return -EINVAL
    t.no_new_privs = True
    return 0


def get_no_new_privs(t, a, b, c, d):
    if a or b or c or d:
        return -EINVAL
    return int(t.no_new_privs)


def get_tid_address(t, addr, b, c, d):
    t.write(addr, pack("<Q", t.thread.clear_child_tid))
    return 0


def set_thp_disable(t, value, b, c, d):
    if b or c or d:
        return -EINVAL
    t.data["thp_disable"] = bool(value)
    return 0


def get_thp_disable(t, a, b, c, d):
    if a or b or c or d:
        return -EINVAL
    return int(t.data.get("thp_disable", False))


def cap_ambient(t, what, cap, c, d):
    if c or d:
        return -EINVAL
    old = t.creds
    if what == 4:  # PR_CAP_AMBIENT_CLEAR_ALL
        if cap:
            return -EINVAL
        new = old.copy()
        new.ambient = 0
        return commit(t, new)
    if cap > CAP_LAST_CAP:
        return -EINVAL
    if what == 1:  # IS_SET
        return old.ambient >> cap & 1
    if what not in (2, 3):  # RAISE, LOWER
        return -EINVAL
    new = old.copy()
    if what == 2:
        if not old.permitted >> cap & 1 or not old.inheritable >> cap & 1:
            return -EPERM
        if old.securebits & SECBIT_NO_CAP_AMBIENT_RAISE:
            return -EPERM
        new.ambient |= 1 << cap
    else:
        new.ambient &= ~(1 << cap)
    return commit(t, new)


def get_speculation(t, which, b, c, d):
    """Nothing is known about the CPU's mitigations here."""
    return -EINVAL if b or c or d else -ENODEV


def set_speculation(t, which, b, c, d):
    return -EINVAL if c or d else -ENODEV


def io_flusher(t, a, b, c, d):
    if not t.creds.capable(CAP_SYS_RESOURCE):
        return -EPERM
    return -EINVAL


def set_vma(t, what, addr, size, name):
    """PR_SET_VMA_ANON_NAME: the name is checked and forgotten."""
    if what != 0 or addr & 4095:
        return -EINVAL
    if name:
        text = t.read_cstr(name, 80)
        if len(text) == 80 or any(byte < 32 or byte > 126 or byte in b"\\`$[]" for byte in text):
            return -EINVAL
    size = (size + 4095) & -4096
    if addr + size >= TASK_LIMIT:
        return -ENOMEM if addr + size < 1 << 64 else -EINVAL
    return 0


def zero_rest(handler, used):
    """A command whose unused arguments must be zero."""

    def checked(t, *args):
        return -EINVAL if any(args[used:]) else handler(t, *args)

    return checked


PRCTL = {
    1: set_pdeathsig,
    2: get_pdeathsig,
    3: get_dumpable,
    4: set_dumpable,
    7: get_keepcaps,
    8: set_keepcaps,
    13: get_timing,
    14: set_timing,
    15: set_name,
    16: get_name,
    21: get_seccomp,
    22: set_by_prctl,
    23: capbset_read,
    24: capbset_drop,
    25: get_tsc,
    26: set_tsc,
    27: get_securebits,
    28: set_securebits,
    29: set_timerslack,
    30: get_timerslack,
    31: accept,  # PR_TASK_PERF_EVENTS_DISABLE, ENABLE: there are none
    32: accept,
    35: set_mm,
    36: set_child_subreaper,
    37: get_child_subreaper,
    38: set_no_new_privs,
    39: get_no_new_privs,
    40: get_tid_address,
    41: set_thp_disable,
    42: get_thp_disable,
    47: cap_ambient,
    52: get_speculation,
    53: set_speculation,
    57: io_flusher,
    58: io_flusher,
    0x53564D41: set_vma,
    0x59616D61: accept,  # PR_SET_PTRACER: only matters with Yama
}


@syscall("prctl", 157, (Int, ULong, ULong, ULong, ULong), level=PARTIAL, note="SET_MM, MDWE, SCHED_CORE, MCE: EINVAL")
def sys_prctl(t, option, a, b, c, d):
    handler = PRCTL.get(option & 0xFFFFFFFF)
    if handler is None:
        log.once(("prctl", option), log.DEBUG, f"prctl {option} is not implemented")
        return -EINVAL
    return handler(t, a, b, c, d)


ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012


@syscall("arch_prctl", 158, (Int, ULong), level=PARTIAL, note="no AMX permission, no shadow stack: EINVAL")
def sys_arch_prctl(t, option, addr):
    regs = t.thread.regs
    if option == ARCH_SET_FS or option == ARCH_SET_GS:
        if addr >= TASK_LIMIT:
            return -EPERM
        if option == ARCH_SET_FS:
            regs.fs_base = addr
        else:
            regs.gs_base = addr
        return 0
    if option == ARCH_GET_FS:
        t.write(addr, pack("<Q", regs.fs_base))
        return 0
    if option == ARCH_GET_GS:
        t.write(addr, pack("<Q", regs.gs_base))
        return 0
    if option == ARCH_GET_CPUID:
        return 1
    if option == ARCH_SET_CPUID:
        return -ENODEV
    return -EINVAL


@syscall("personality", 135, (ULong,), level=PARTIAL, note="but for ADDR_NO_RANDOMIZE recorded without effect")
def sys_personality(t, persona):
    persona &= 0xFFFFFFFF
    old = t.personality
    if persona != 0xFFFFFFFF:
        t.personality = persona
    return old
