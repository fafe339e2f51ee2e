"""strace-like log of system calls (`--strace`): one line a call, with its arguments and its result.

Off it costs one test a call. The line is written when the result is known; a call that blocks gives a second
line, "resumed". Strings and buffers are shown up to LIMIT bytes.
"""

from errno import errorcode

from sentry.core import log
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.kernel import fastroad
from sentry.platform.base import MemFault

LIMIT = 64
RESTARTS = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"}


# How each byte is shown; a table, because the codec for escapes would have to be imported when first used.
ESCAPED = [chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in range(256)]
ESCAPED[9], ESCAPED[10], ESCAPED[13], ESCAPED[34], ESCAPED[92] = "\\t", "\\n", "\\r", '\\"', "\\\\"


def quote(data: bytes, more: bool) -> str:
    text = "".join([ESCAPED[c] for c in data])
    return f'"{text}"' + ("..." if more else "")


def show(t, arg, value: int, raw) -> str:
    """One argument by its kind in the call's row."""
    if arg.width == "i32":
        value &= 0xFFFFFFFF
        value -= (value & 0x80000000) << 1
        return str(value)
    if arg.kind == "str" and value:
        try:
            data = t.read_cstr(value, LIMIT)
        except MemFault:
            return hex(value)
        return quote(data, len(data) == LIMIT)
    if arg.kind == "in" and arg.length is not None and value:
        length = raw[arg.length]
        try:
            return quote(t.read(value, min(length, LIMIT)), length > LIMIT)
        except MemFault:
            return hex(value)
    if arg.width == "i64":
        return str(value - ((value & (1 << 63)) << 1))
    return hex(value) if value > 9 else str(value)


def outcome(result) -> str:
    if result == BLOCKED:
        return "(blocked)"
    if result == NO_RETURN:
        return "?"
    if -4096 < result < 0:
        return f"-1 {errorcode.get(-result) or RESTARTS.get(-result, -result)}"
    return str(result) if 0 <= result < 1 << 20 else hex(result & 0xFFFFFFFFFFFFFFFF)


def trace(t, nr, row, thread, result) -> None:
    """Kernel.trace: `row` is None for an unknown call, and `thread` for the end of a blocked one."""
    if thread is None:
        log.trace(f"[{t.tid}] {t.comm.decode('latin-1')} <... resumed> = {outcome(result)}")
        return
    if row is None:
        log.trace(f"[{t.tid}] {t.comm.decode('latin-1')} syscall_{nr}() = {outcome(result)}")
        return
    raw = thread.args
    args = ", ".join(show(t, arg, raw[i], raw) for i, arg in enumerate(row.args))
    log.trace(f"[{t.tid}] {t.comm.decode('latin-1')} {row.name}({args}) = {outcome(result)}")


def switch(kernel, on: bool) -> None:
    """Begin or end the log of calls while programs run. What their stubs have been told to answer on their own (getpid and the
    like) is forgotten first, so that all calls come."""
    if on == (kernel.trace is not None):
        return
    if on:
        fastroad.close(True)
        kernel.trace = trace
        for task in kernel.all_tasks():
            if task.thread is not None and not task.dead:
                task.thread.forget_answers()
    else:
        kernel.trace = None
        fastroad.close(bool(kernel.frozen))
