"""Registers of traced tasks as tracers see them (arch/x86/kernel/ptrace.c, asm/user_64.h): struct user_regs_struct, and
the FP state, which the platform keeps in the form of a signal frame."""

from struct import Struct

from sentry.abi.errno import EFAULT, EINVAL, EIO

TF = 0x100
FLAGS = 0x54DD5  # what a tracer may set: CF PF AF ZF SF TF DF OF NT RF AC
USER_CS, USER_SS = 0x33, 0x2B
ADDRESS_END = 0x7FFFFFFFF000
MASK64 = (1 << 64) - 1

REGS = Struct("<27Q")
# Places of base.Regs' order (r15 … orig_rax rip rsp eflags fs_base gs_base) in struct user_regs_struct, which has
# rip cs eflags rsp ss fs_base gs_base ds es fs gs behind orig_rax.
PLACES = (*range(17), 19, 18, 21, 22)
CS, SS, DS, ES, FS, GS = 17, 20, 23, 24, 25, 26
SEGMENTS = {CS: USER_CS, SS: USER_SS, DS: 0, ES: 0, FS: 0, GS: 0}
EFLAGS, FS_BASE, GS_BASE = 18, 21, 22

FX_SIZE, FX_SW, MXCSR, MXCSR_MASK, HEADER = 512, 464, 24, 28, 64
SW = Struct("<IIQI28x")  # magic1, size with the trailing magic, features, size
X87, SSE, AVX = 1, 2, 4
AVX_AT, AVX_END = 576, 832


def get_regs(regs) -> "list[int]":
    """The 27 registers of struct user_regs_struct."""
    out = [0] * 27
    for place, value in zip(PLACES, regs.copy()):
        out[place] = value
    for place, value in SEGMENTS.items():
        out[place] = value
    return out


def set_regs(regs, values: "dict[int, int]") -> int:
    """Change registers (index -> value), in order; 0, or -EIO at the first value that cannot be."""
    now = list(regs.copy())
    error = 0
    for place, value in values.items():
        if place in SEGMENTS:
            # There are no other selectors: no LDT, no 32-bit programs.
            if value & 0xFFFF != SEGMENTS[place]:
                error = -EIO
        elif place in (FS_BASE, GS_BASE) and value >= ADDRESS_END:
            error = -EIO
        else:
            at = PLACES.index(place)
            now[at] = now[at] & ~FLAGS | value & FLAGS if place == EFLAGS else value
        if error:
            break
    regs.load(tuple(now))
    return error


# -- FP state --------------------------------------------------------------------------------------


def sizes(image: bytes) -> "tuple[int, int]":
    """(bytes of the XSAVE area, features) of a frame; (FX_SIZE, 3) without XSAVE."""
    magic, _, features, size = SW.unpack_from(image, FX_SW)
    return (size, features) if magic == 0x46505853 and size > FX_SIZE else (FX_SIZE, 3)


def initial_fp(image: bytes) -> bytes:
    """The initial state, in the form of this frame."""
    out = bytearray(len(image))
    out[0:2] = b"\x7f\x03"
    out[MXCSR : MXCSR + 2] = b"\x80\x1f"
    out[MXCSR_MASK : MXCSR_MASK + 4] = image[MXCSR_MASK : MXCSR_MASK + 4]
    out[FX_SW:FX_SIZE] = image[FX_SW:FX_SIZE]
    size, _ = sizes(image)
    if size > FX_SIZE:
        out[size:] = image[size:]
    return bytes(out)


def xstate(image: bytes) -> bytes:
    """NT_X86_XSTATE: what is in its initial state is shown so."""
    size, features = sizes(image)
    out = bytearray(image[:size])
    out[416:FX_SW] = bytes(FX_SW - 416)
    out[FX_SW:FX_SIZE] = features.to_bytes(8, "little") + bytes(40)
    if size == FX_SIZE:
        return bytes(out)
    used = int.from_bytes(image[FX_SIZE : FX_SIZE + 8], "little")
    if not used & X87:
        out[0:MXCSR] = b"\x7f\x03" + bytes(MXCSR - 2)
        out[32:160] = bytes(128)
    if not used & SSE:
        out[160:416] = bytes(256)
        if not used & AVX:
            out[MXCSR : MXCSR + 4] = b"\x80\x1f\0\0"
    if not used & ~(X87 | SSE):
        out[AVX_AT:] = bytes(size - AVX_AT)
    elif not used & AVX and size >= AVX_END:
        out[AVX_AT:AVX_END] = bytes(AVX_END - AVX_AT)
    return bytes(out)


def fpregs(image: bytes) -> bytes:
    """struct user_fpregs_struct."""
    return xstate(image)[:416] + bytes(96)


def bad_mxcsr(image: bytes, mxcsr: bytes) -> bool:
    mask = int.from_bytes(image[MXCSR_MASK : MXCSR_MASK + 4], "little") or 0xFFBF
    return bool(int.from_bytes(mxcsr, "little") & ~mask)


def set_fpregs(image: bytes, data: bytes) -> "bytes | int":
    """The frame with this struct user_fpregs_struct; -errno."""
    if len(data) != FX_SIZE:
        return -EINVAL
    if bad_mxcsr(image, data[MXCSR : MXCSR + 4]):
        return -EINVAL
    out = bytearray(image)
    out[:FX_SW] = data[:MXCSR_MASK] + image[MXCSR_MASK : MXCSR_MASK + 4] + data[MXCSR_MASK + 4 : FX_SW]
    size, _ = sizes(image)
    if size > FX_SIZE:
        fill_unused(out, size)
        used = int.from_bytes(image[FX_SIZE : FX_SIZE + 8], "little") | X87 | SSE
        out[FX_SIZE : FX_SIZE + 8] = used.to_bytes(8, "little")
    return bytes(out)


def fill_unused(out: bytearray, size: int) -> None:
    """What is initial beyond the legacy area holds no stale bytes."""
    used = int.from_bytes(out[FX_SIZE : FX_SIZE + 8], "little")
    if not used & ~(X87 | SSE):
        out[AVX_AT:size] = bytes(size - AVX_AT)


def set_xstate(image: bytes, data: bytes) -> "bytes | int":
    """The frame with this NT_X86_XSTATE; -errno."""
    size, features = sizes(image)
    if size == FX_SIZE:
        return set_fpregs(image, data)
    if len(data) != size:
        return -EFAULT
    used = int.from_bytes(data[FX_SIZE : FX_SIZE + 8], "little")
    if used & ~features or any(data[FX_SIZE + 8 : FX_SIZE + HEADER]) or bad_mxcsr(image, data[MXCSR : MXCSR + 4]):
        return -EINVAL
    out = bytearray(image)
    out[:FX_SW] = data[:MXCSR_MASK] + image[MXCSR_MASK : MXCSR_MASK + 4] + data[MXCSR_MASK + 4 : FX_SW]
    out[FX_SIZE:size] = data[FX_SIZE:size]
    return bytes(out)


def from_frame(image: bytes, data: bytes) -> "bytes | None":
    """The state that rt_sigreturn takes from a signal frame's `data`, which may be shorter (fpu__restore_sig); None: the
    processor would refuse it."""
    if len(data) < FX_SIZE or bad_mxcsr(image, data[MXCSR : MXCSR + 4]):
        return None
    size, features = sizes(image)
    out = bytearray(image)
    out[:FX_SW] = data[:MXCSR_MASK] + image[MXCSR_MASK : MXCSR_MASK + 4] + data[MXCSR_MASK + 4 : FX_SW]
    if size == FX_SIZE:
        return bytes(out)
    whole = SW.unpack_from(data, FX_SW)[:1] + SW.unpack_from(data, FX_SW)[3:] == SW.unpack_from(image, FX_SW)[:1] + (size,)
    if whole and len(data) >= size + 4 and data[size : size + 4] == image[size : size + 4]:
        used = int.from_bytes(data[FX_SIZE : FX_SIZE + 8], "little")
        if used & ~features or any(data[FX_SIZE + 8 : FX_SIZE + HEADER]):
            return None
        out[FX_SIZE:size] = data[FX_SIZE:size]
        used &= SW.unpack_from(data, FX_SW)[2]
    else:
        used = X87 | SSE
        out[FX_SIZE + 8 : size] = bytes(size - FX_SIZE - 8)
    out[FX_SIZE : FX_SIZE + 8] = used.to_bytes(8, "little")
    return bytes(out)
