"""Signal frames on the guest's stack (arch/x86/kernel/signal_64.c, asm/sigframe.h), and sigaltstack(2).

    struct rt_sigframe { char *pretcode; struct ucontext uc; struct siginfo info; }   440 bytes
    fp_size bytes above it, 64-byte aligned: the FP state, written by the platform
"""

from struct import Struct

from sentry.abi.errno import EINVAL, ENOMEM, EPERM
from sentry.abi.signal import (
    MINSIGSTKSZ,
    SA_ONSTACK,
    SA_RESTORER,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    UNBLOCKABLE,
)

UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS = 1, 2, 4
UC_FLAGS = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
MASK64 = (1 << 64) - 1
USER_CS, USER_SS = 0x33, 0x2B
REDZONE = 128
DF, TF, RF = 0x400, 0x100, 0x10000
FIX_EFLAGS = 0x50DD5  # flags that sigreturn may set: AC OF DF TF SF ZF AF PF CF RF

# pretcode | uc_flags uc_link | ss_sp ss_flags ss_size | r8…r15 di si bp bx dx ax cx sp ip flags | cs gs fs ss |
# err trapno oldmask cr2 fpstate reserved[8] | sigmask | siginfo
FRAME = Struct("<QQQQi4xQ18QHHHH5Q64xQ128s")
SIZE = FRAME.size
assert SIZE == 440


def on_stack(altstack, sp: int) -> bool:
    """kernel: __on_sig_stack."""
    base, _, size = altstack
    return sp > base and sp - base <= size


def stack_flags(altstack, sp: int) -> int:
    """SS_ONSTACK, SS_DISABLE or 0 for a stack pointer (sas_ss_flags)."""
    if not altstack[2]:
        return SS_DISABLE
    if altstack[1] & SS_AUTODISARM:
        return 0
    return SS_ONSTACK if on_stack(altstack, sp) else 0


def make(task, signo: int, info: bytes, handler: int, flags: int, restorer: int, old_mask: int, fp_size: int):
    """Build the frame for a handler and set the registers for its first instruction.

    fp_size: room for the FP state, 0: none is saved and sigreturn resets it.
    Returns (frame address, bytes, FP address), or None, with nothing changed, if the frame cannot be.
    """
    if not flags & SA_RESTORER:
        return None
    regs = task.thread.regs
    altstack = task.altstack
    sp = regs.rsp
    nested = on_stack(altstack, sp) if altstack[2] and not altstack[1] & SS_AUTODISARM else False
    entering = False
    top = sp - REDZONE
    if flags & SA_ONSTACK and stack_flags(altstack, top) == 0:
        top = altstack[0] + altstack[2]
        entering = True
    fp_addr = (top - fp_size) & ~63 if fp_size else 0
    addr = (((fp_addr or top) - SIZE) & ~15) - 8
    if addr < 0 or ((nested or entering) and not on_stack(altstack, addr)):
        return None
    (
        r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, _, rip, rsp, eflags, _, _,
    ) = regs.copy()  # fmt: skip
    trapno, error, cr2 = task.data.get("trap", (0, 0, 0))
    ss_flags = altstack[1]
    frame = FRAME.pack(
        restorer, UC_FLAGS, 0, altstack[0], ss_flags - (1 << 32) if ss_flags >> 31 else ss_flags, altstack[2],
        r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags,
        USER_CS, 0, 0, USER_SS, error, trapno, old_mask, cr2, fp_addr, old_mask, info,
    )  # fmt: skip
    if altstack[1] & SS_AUTODISARM:
        task.altstack = (0, SS_DISABLE, 0)
    regs.rdi = signo
    regs.rsi = addr + SIZE - 128
    regs.rdx = addr + 8
    regs.rax = 0
    regs.rip = handler
    regs.rsp = addr
    regs.eflags = eflags & ~(DF | TF | RF)
    return addr, frame, fp_addr


def restore(task, frame: bytes) -> "tuple[int, int] | None":
    """rt_sigreturn: load registers and the alternate stack from a frame. Returns (signal mask, address of the FP
    state or 0), or None if the frame is not one that user code can return to."""
    (
        _, _, _, ss_sp, ss_flags, ss_size,
        r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags,
        cs, _, _, _, _, _, _, _, fp_addr, mask, _,
    ) = FRAME.unpack(frame)  # fmt: skip
    if cs | 3 != USER_CS or rip >> 47 or fp_addr & 63:
        return None
    regs = task.thread.regs
    values = list(regs.copy())
    values[:15] = (r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi)
    values[15] = MASK64
    values[16] = rip
    values[17] = rsp
    values[18] = values[18] & ~FIX_EFLAGS | eflags & FIX_EFLAGS
    regs.load(tuple(values))
    set_altstack(task, ss_sp, ss_flags & 0xFFFFFFFF, ss_size, rsp, MINSIGSTKSZ)  # errors do not matter here
    return mask & ~UNBLOCKABLE, fp_addr


def set_altstack(task, base: int, flags: int, size: int, sp: int, minimum: int) -> int:
    """sigaltstack(2): set a new stack while the stack pointer is `sp`."""
    if stack_flags(task.altstack, sp) == SS_ONSTACK:
        return -EPERM
    mode = flags & ~SS_AUTODISARM
    if mode not in (SS_DISABLE, SS_ONSTACK, 0):
        return -EINVAL
    if (base, flags, size) == task.altstack:
        return 0
    if mode == SS_DISABLE:
        base = size = 0
    elif size < minimum:
        return -ENOMEM
    task.altstack = (base, flags, size)
    return 0
