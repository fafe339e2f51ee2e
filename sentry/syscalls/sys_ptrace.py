"""ptrace(2): the requests (kernel/ptrace.c, arch/x86/kernel/ptrace.c)."""

from struct import Struct

from sentry.abi import siginfo
from sentry.abi.errno import E2BIG, EFAULT, EINVAL, EIO, EPERM, ESRCH
from sentry.abi.signal import NSIG, SIGKILL, SIGTRAP, UNBLOCKABLE
from sentry.core.syscall import PARTIAL, Long, ULong, syscall
from sentry.kernel import ptrace, ptrace_regs, signals
from sentry.kernel.access import may_access
from sentry.platform.base import MemFault

(TRACEME, PEEKTEXT, PEEKDATA, PEEKUSER, POKETEXT, POKEDATA, POKEUSER, CONT, KILL, SINGLESTEP) = range(10)
GETREGS, SETREGS, GETFPREGS, SETFPREGS = 12, 13, 14, 15
ATTACH, DETACH, OLDSETOPTIONS, SYSCALL = 16, 17, 21, 24
SYSEMU, SYSEMU_SINGLESTEP = 31, 32
SETOPTIONS, GETEVENTMSG, GETSIGINFO, SETSIGINFO, GETREGSET, SETREGSET = range(0x4200, 0x4206)
SEIZE, INTERRUPT, LISTEN, PEEKSIGINFO, GETSIGMASK, SETSIGMASK = range(0x4206, 0x420C)
GET_SYSCALL_INFO = 0x420E

NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE = 1, 2, 0x202
PEEKSIGINFO_SHARED = 1
SI_DETHREAD, NSIGPOLL = -7, 6
CODES = {4: 11, 8: 15, 11: 10, 7: 5, 5: 6, 17: 6, 31: 2}  # highest si_code of signals that have their own
AUDIT_ARCH = 0xC000003E
INFO_NONE, INFO_ENTRY, INFO_EXIT, INFO_SECCOMP = 0, 1, 2, 3

WORD = Struct("<Q")
REGS = ptrace_regs.REGS
USER_SIZE, DEBUG_AT = 928, 848  # struct user; u_debugreg in it

REQUESTS = {}


def request(*numbers):
    """Register the handler of a request: (t, task, trace, addr, data)."""

    def register(function):
        for number in numbers:
            REQUESTS[number] = function
        return function

    return register


@syscall("ptrace", 101, (Long, Long, ULong, ULong), level=PARTIAL, note="no PTRACE_SINGLEBLOCK, 32-bit tracees or watchpoints for reading", blocks=True)
def sys_ptrace(t, number, pid, addr, data):
    if number == TRACEME:
        return ptrace.traceme(t)
    task = t.tg.pids.tasks.get(pid) if 0 < pid < 1 << 31 else None
    if task is None:
        return -ESRCH
    if number in (ATTACH, SEIZE):
        return attach(t, task, number == SEIZE, addr, data)
    trace = task.ptrace
    if trace is None or trace.tracer is not t or task.dead:
        return -ESRCH
    if number == KILL:
        signals.send(task.tg, SIGKILL, siginfo.kill(SIGKILL, siginfo.SI_USER, t.tg.pid, t.creds.uid))
        return 0
    if number == INTERRUPT:
        if not trace.seized:
            return -EIO
        ptrace.interrupt(trace)
        return 0
    if not trace.stopped or trace.listening or (task.dying and not trace.final):
        return -ESRCH
    handler = REQUESTS.get(number)
    return handler(t, task, trace, addr, data) if handler is not None else -EIO


def check_options(options: int) -> int:
    return -EINVAL if options & ~ptrace.O_MASK else 0


def attach(t, task, seize, addr, options) -> int:
    if seize:
        if addr or options & ~(ptrace.O_MASK | 1 << 21):
            return -EIO
        error = check_options(options)
        if error:
            return error
    if task.tg is t.tg or not may_access(t, task, True) or task.dead or task.ptrace is not None:
        return -EPERM
    ptrace.attach(t, task, seize, options if seize else 0)
    return 0


# -- going on --------------------------------------------------------------------------------------


@request(CONT)
def cont(t, task, trace, addr, data):
    return go_on(trace, data)


@request(SYSCALL)
def to_syscall(t, task, trace, addr, data):
    return go_on(trace, data, syscalls=True)


@request(SINGLESTEP)
def single_step(t, task, trace, addr, data):
    return go_on(trace, data, step=True)


@request(SYSEMU)
def emulate(t, task, trace, addr, data):
    return go_on(trace, data, emulate=True)


@request(SYSEMU_SINGLESTEP)
def emulate_step(t, task, trace, addr, data):
    return go_on(trace, data, emulate=True, step=True)


def go_on(trace, signo, **how) -> int:
    if signo > NSIG:
        return -EIO
    ptrace.resume(trace, signo, **how)
    return 0


@request(DETACH)
def detach(t, task, trace, addr, data):
    if data > NSIG:
        return -EIO
    ptrace.detach(task, data)
    return 0


@request(LISTEN)
def listen(t, task, trace, addr, data):
    if not trace.seized or trace.info is None or int.from_bytes(trace.info[8:12], "little", signed=True) >> 8 != ptrace.EVENT_STOP:
        return -EIO
    ptrace.listen(trace)
    return 0


@request(SETOPTIONS, OLDSETOPTIONS)
def set_options(t, task, trace, addr, data):
    error = check_options(data)
    if not error:
        trace.options = data
    return error


# -- memory ----------------------------------------------------------------------------------------


@request(PEEKTEXT, PEEKDATA)
def peek(t, task, trace, addr, data):
    try:
        word = task.mm.peek(addr, 8)
    except MemFault:
        return -EIO
    if len(word) < 8:
        return -EIO
    t.write(data, word)
    return 0


@request(POKETEXT, POKEDATA)
def poke(t, task, trace, addr, data):
    word = WORD.pack(data)
    try:
        task.mm.aspace.write(addr, word)
        return 0
    except MemFault:
        pass
    area = task.mm.find(addr)
    if area is None or addr + 8 > area.end:
        return -EIO
    return ptrace.force_write(t, task, addr, word, 0)


# -- registers -------------------------------------------------------------------------------------


@request(PEEKUSER)
def peek_user(t, task, trace, addr, data):
    if addr & 7 or addr >= USER_SIZE:
        return -EIO
    value = 0
    if addr < REGS.size:
        value = ptrace_regs.get_regs(task.thread.regs)[addr // 8]
    elif DEBUG_AT <= addr < DEBUG_AT + 64:
        value = trace.watch.get((addr - DEBUG_AT) // 8)
    t.write(data, WORD.pack(value))
    return 0


@request(POKEUSER)
def poke_user(t, task, trace, addr, data):
    if addr & 7 or addr >= USER_SIZE:
        return -EIO
    if addr < REGS.size:
        return ptrace_regs.set_regs(task.thread.regs, {addr // 8: data})
    if DEBUG_AT <= addr < DEBUG_AT + 64:
        return trace.watch.set((addr - DEBUG_AT) // 8, data)
    return -EIO


@request(GETREGS)
def get_regs(t, task, trace, addr, data):
    t.write(data, REGS.pack(*ptrace_regs.get_regs(task.thread.regs)))
    return 0


@request(SETREGS)
def set_regs(t, task, trace, addr, data):
    values = REGS.unpack(t.read(data, REGS.size))
    return ptrace_regs.set_regs(task.thread.regs, dict(enumerate(values)))


def show_fp(t, task, then) -> int:
    """Answer with then(FP state)."""
    return ptrace.in_tracee(t, task, 0, 0, [ptrace.SAVE_FP], lambda errno: then(task.thread.fp))


def give_fp(task, image) -> int:
    if isinstance(image, int):
        return image
    task.thread.fp = image
    return 0


@request(GETFPREGS)
def get_fpregs(t, task, trace, addr, data):
    return show_fp(t, task, lambda fp: t.write(data, ptrace_regs.fpregs(fp)) or 0)


@request(SETFPREGS)
def set_fpregs(t, task, trace, addr, data):
    given = t.read(data, ptrace_regs.FX_SIZE)
    return show_fp(t, task, lambda fp: give_fp(task, ptrace_regs.set_fpregs(fp, given)))


@request(GETREGSET)
def get_regset(t, task, trace, addr, data):
    base, length = regset_vector(t, data)
    if addr == NT_PRSTATUS:
        if length % 8:
            return -EINVAL
        return store_regset(t, data, base, length, REGS.pack(*ptrace_regs.get_regs(task.thread.regs)))
    if addr not in (NT_PRFPREG, NT_X86_XSTATE) or length % 8:
        return -EINVAL
    form = ptrace_regs.fpregs if addr == NT_PRFPREG else ptrace_regs.xstate
    return show_fp(t, task, lambda fp: store_regset(t, data, base, length, form(fp)))


@request(SETREGSET)
def set_regset(t, task, trace, addr, data):
    base, length = regset_vector(t, data)
    if addr not in (NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE) or length % 8:
        return -EINVAL
    if base >= ptrace_regs.ADDRESS_END:
        return -EFAULT
    if addr == NT_PRFPREG and length < ptrace_regs.FX_SIZE:
        return -EINVAL
    if addr == NT_PRSTATUS:
        length = min(length, REGS.size)
        given = t.read(base, length)
        error = ptrace_regs.set_regs(task.thread.regs, {i: WORD.unpack_from(given, 8 * i)[0] for i in range(length // 8)})
        return error or store_length(t, data, length)

    def change(fp):
        whole = ptrace_regs.FX_SIZE if addr == NT_PRFPREG else len(ptrace_regs.xstate(fp))
        if length < whole:
            return -EFAULT
        given = t.read(base, whole)
        error = give_fp(task, (ptrace_regs.set_fpregs if addr == NT_PRFPREG else ptrace_regs.set_xstate)(fp, given))
        return error or store_length(t, data, len(given))

    return show_fp(t, task, change)


def regset_vector(t, addr) -> "tuple[int, int]":
    return Struct("<QQ").unpack(t.read(addr, 16))


def store_regset(t, vector, base, length, image) -> int:
    image = image[:length]
    t.write(base, image)
    return store_length(t, vector, len(image))


def store_length(t, vector, length) -> int:
    t.write(vector + 8, WORD.pack(length))
    return 0


# -- signals, events -------------------------------------------------------------------------------


@request(GETEVENTMSG)
def get_event_message(t, task, trace, addr, data):
    t.write(data, WORD.pack(trace.message))
    return 0


@request(GETSIGINFO)
def get_siginfo(t, task, trace, addr, data):
    if trace.info is None:
        return -EINVAL
    t.write(data, trace.info)
    return 0


@request(SETSIGINFO)
def set_siginfo(t, task, trace, addr, data):
    info = t.read(data, siginfo.SIZE)
    if any(info[48:]) and not known_layout(*Struct("<i4xi").unpack_from(info)):
        return -E2BIG
    if trace.info is None:
        return -EINVAL
    trace.info = info
    return 0


def known_layout(signo: int, code: int) -> bool:
    """kernel/signal.c:known_siginfo_layout"""
    return code == siginfo.SI_KERNEL or SI_DETHREAD <= code <= CODES.get(signo, NSIGPOLL)


@request(PEEKSIGINFO)
def peek_siginfo(t, task, trace, addr, data):
    offset, flags, count = Struct("<QIi").unpack(t.read(addr, 16))
    if flags & ~PEEKSIGINFO_SHARED or count < 0:
        return -EINVAL
    pending = task.tg.shared_pending if flags & PEEKSIGINFO_SHARED else task.pending
    done = 0
    for entry in pending.queue[offset : offset + count]:
        try:
            t.write(data + done * siginfo.SIZE, entry.info)
        except MemFault:
            return done or -EFAULT
        done += 1
    return done


@request(GETSIGMASK)
def get_sigmask(t, task, trace, addr, data):
    if addr != 8:
        return -EINVAL
    t.write(data, WORD.pack(task.saved_sigmask if task.saved_sigmask is not None else task.sigmask))
    return 0


@request(SETSIGMASK)
def set_sigmask(t, task, trace, addr, data):
    if addr != 8:
        return -EINVAL
    (mask,) = WORD.unpack(t.read(data, 8))
    task.saved_sigmask = None
    signals.set_mask(task, mask & ~UNBLOCKABLE)
    return 0


def call_of(regs) -> bytes:
    """Number and arguments."""
    return Struct("<7Q").pack(regs[15], regs[14], regs[13], regs[12], regs[7], regs[9], regs[8])


@request(GET_SYSCALL_INFO)
def get_syscall_info(t, task, trace, addr, data):
    regs = ptrace_regs.get_regs(task.thread.regs)
    rip, rsp, rax = regs[16], regs[19], regs[10]
    code = int.from_bytes(trace.info[8:12], "little", signed=True) if trace.info is not None else 0
    kind, rest, size = INFO_NONE, b"", 24
    if code == SIGTRAP | ptrace.EVENT_SECCOMP << 8:
        kind, size = INFO_SECCOMP, 84
        rest = call_of(regs) + trace.message.to_bytes(4, "little")
    elif code == SIGTRAP | 0x80:
        if trace.message == ptrace.MESSAGE_ENTRY:
            kind, size = INFO_ENTRY, 80
            rest = call_of(regs)
        elif trace.message == ptrace.MESSAGE_EXIT:
            kind, size = INFO_EXIT, 33
            rest = WORD.pack(rax) + (b"\1" if -4095 <= ptrace.signed(rax) < 0 else b"\0")
    info = Struct("<B3xIQQ").pack(kind, AUDIT_ARCH, rip, rsp) + rest
    t.write(data, info[: min(addr, size)])
    return size
