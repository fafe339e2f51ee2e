"""What seccomp filters bring about (kernel/seccomp.c), and the filter of a container's configuration (OCI runtime-spec,
config-linux.md "Seccomp"). The filters themselves: seccomp_filter.pyx."""

from sentry.abi import siginfo
from sentry.abi.errno import EACCES, ENOSYS, EPERM
from sentry.abi.syscall_names import NUMBERS as NAMES
from sentry.core import log
from sentry.core.result import NO_RETURN
from sentry.kernel import exit, ptrace, signals
from sentry.kernel.seccomp_filter import Profile, Strict, attach

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
USER_NOTIF, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
ACTION_FULL, DATA = 0xFFFF0000, 0xFFFF
MODE_DISABLED, MODE_STRICT, MODE_FILTER = 0, 1, 2
AUDIT_ARCH_X86_64 = 0xC000003E
SYS_SECCOMP = 1  # si_code
SIGKILL, SIGSYS = 9, 31
MAX_ERRNO = 4095
MASK64 = (1 << 64) - 1
STRICT = Strict()

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD, "SCMP_ACT_KILL_THREAD": KILL_THREAD, "SCMP_ACT_KILL_PROCESS": KILL_PROCESS, "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": TRACE, "SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_LOG": LOG,
}  # fmt: skip
NAMES_OF_ACTIONS = {KILL_PROCESS: "kill_process", KILL_THREAD: "kill_thread", TRAP: "trap", ERRNO: "errno", USER_NOTIF: "user_notif",
                    TRACE: "trace", LOG: "log"}  # fmt: skip


def mode(task) -> int:
    """As prctl(PR_GET_SECCOMP) and /proc/PID/status name it."""
    return MODE_DISABLED if task.seccomp is None else MODE_STRICT if task.seccomp is STRICT else MODE_FILTER


def asks(task, nr: int) -> bool:
    """Whether a call has to be seen by the task's filters: nothing may answer it without them."""
    return task.seccomp is not None and task.seccomp.bars(nr)


def set_chain(task, chain) -> None:
    """Give the task another chain of filters."""
    attach(task, chain)
    if task.thread is not None:
        task.thread.forget_answers()
        signals.announce(task)


def check(task, thread):
    """A call, before it is served. None: it is allowed; else its result, or NO_RETURN."""
    nr = thread.nr
    if not task.seccomp.bars(nr):
        return None
    result, match = task.seccomp.decide(nr, thread.regs.rip, thread.args)
    action, data = result & ACTION_FULL, result & DATA
    if action == ALLOW:
        return None
    if action not in (ERRNO, TRAP, TRACE, USER_NOTIF) or (match is not None and match.logs):
        name = NAMES_OF_ACTIONS.get(action, "kill_process")
        log.once(("seccomp", nr, name), log.INFO, f"seccomp: {name}: call {nr} of task {task.tid} ({task.comm!r})")
    if action == LOG:
        return None
    if action == ERRNO:
        return -min(data, MAX_ERRNO)
    if action == USER_NOTIF and match is not None and match.listener is not None:
        return match.listener.ask(task, thread)
    if action == TRACE and task.ptrace is not None and task.ptrace.enabled(ptrace.EVENT_SECCOMP):
        return ptrace.seccomp_event(task, data)
    if action in (TRACE, USER_NOTIF):  # nobody traces, nobody listens
        return -ENOSYS
    task.in_call = -1
    info = siginfo.sys(SIGSYS, SYS_SECCOMP, data, thread.regs.rip, nr, AUDIT_ARCH_X86_64)
    if action == TRAP:
        thread.regs.rax = nr & MASK64
        signals.force(task, SIGSYS, info)
        if task.ptrace is not None:
            task.in_call = nr
            ptrace.leave(task, nr)
        else:
            task.kernel.back_to_guest(task, None)
    elif task.seccomp is STRICT:
        exit.exit_task(task, SIGKILL)
    elif action == KILL_THREAD and len(task.tg.tasks) > 1:
        exit.exit_task(task, SIGSYS)
    else:
        task.tg.data["killable"] = True
        task.work = True
        signals.default_action(task, SIGSYS)
        task.kernel.back_to_guest(task, None)
    return NO_RETURN


# -- of a container


def profile(config) -> "Profile | None":
    """The filter of `linux.seccomp`, which sandbox/oci.py has checked; None if there is none.

    A rule without arguments counts before those with some. Rules of one call with arguments count in their order; several
    conditions on one argument of a rule are alternatives, as with runc. Names that are no calls here are left out.
    """
    if not config:
        return None
    default = action(config["defaultAction"], config.get("defaultErrnoRet"))
    always, conditional = {}, {}
    for rule in config.get("syscalls") or ():
        result = action(rule["action"], rule.get("errnoRet"))
        conditions = [condition(entry) for entry in rule.get("args") or ()]
        for name in rule["names"]:
            nr = NAMES.get(name)
            if nr is None or result == default:
                continue
            if not conditions:
                always[nr] = result
            elif len({index for index, _, _, _ in conditions}) < len(conditions):
                conditional.setdefault(nr, []).extend((result, (one,)) for one in conditions)
            else:
                conditional.setdefault(nr, []).append((result, tuple(conditions)))
    for nr in always:
        conditional.pop(nr, None)
    refuses = default & ACTION_FULL in (ERRNO, TRAP, KILL_THREAD, KILL_PROCESS)
    named = [NAMES[name] for rule in config.get("syscalls") or () for name in rule["names"] if name in NAMES]
    new = Profile(default, ERRNO | ENOSYS if refuses and named else default, max(named, default=-1), always, conditional)
    new.logs = "SECCOMP_FILTER_FLAG_LOG" in (config.get("flags") or ())
    return new


def action(name, number) -> int:
    result = ACTIONS[name]
    if result in (ERRNO, TRACE):
        result |= EPERM if number is None else number & DATA
    return result


def condition(entry) -> tuple:
    op = entry["op"].removeprefix("SCMP_CMP_")
    value, other = entry["value"], entry.get("valueTwo") or 0
    return entry["index"], op, value, other


def may_filter(task) -> int:
    """0, or -EACCES: a filter must not be able to fool programs with more rights (no_new_privs, or CAP_SYS_ADMIN)."""
    return 0 if task.no_new_privs or task.creds.capable(21) else -EACCES
