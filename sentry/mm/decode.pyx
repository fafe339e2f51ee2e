"""The code before a `syscall` instruction, decoded with Zydis: can it be replaced by a jump, and what does the jump
displace. Also the starts of functions in .eh_frame. Pure functions of bytes; the bytes are a guest's."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from cpython.bytes cimport PyBytes_AS_STRING

cdef extern from "decode.h" nogil:
    enum:
        DC_OK
        DC_MOST
    ctypedef struct dc_shape_t "struct dc_shape":
        uint32_t start, n
        uint8_t len[5]
    int dc_init()
    int dc_shape(const uint8_t *code, uint32_t size, uint32_t at, dc_shape_t *out)
    int dc_relative(const uint8_t *code, uint32_t size)
    int dc_rel32(const uint8_t *text, uint64_t size, uint64_t low, uint64_t high)
    uint32_t dc_fdes(const uint8_t *data, uint64_t size, uint64_t vaddr, int signal, uint64_t *out, uint32_t room)

# The reasons of dc_shape, by number.
REASONS = ("", "undecodable", "misaligned", "no syscall", "short", "fixed", "branch", "indirect")

if dc_init():
    raise ImportError("Zydis does not work in 64-bit mode")


def shape(bytes code not None, uint32_t at):
    """(start, lengths): the bytes from `start` to the `syscall` at offset `at` can be displaced; lengths are those of
    its instructions. Or a str of REASONS. code: a whole function, from its first byte."""
    cdef dc_shape_t out
    cdef int reason, i
    if len(code) > 1 << 30:
        return "undecodable"
    reason = dc_shape(<const uint8_t *>PyBytes_AS_STRING(code), <uint32_t>len(code), at, &out)
    if reason:
        return REASONS[reason]
    return out.start, tuple([out.len[i] for i in range(<int>out.n)])


def relative(bytes code not None, lengths not None):
    """What is relative in each of the instructions of these lengths at the beginning of `code`, which can be displaced:
    the offset of a 32-bit distance in the instruction, -1: it is a conditional jump of two bytes, 0: nothing."""
    cdef uint32_t at = 0
    found = []
    for length in lengths:
        if at + <uint32_t>length > <uint32_t>len(code):
            raise ValueError(lengths)
        found.append(dc_relative(<const uint8_t *>PyBytes_AS_STRING(code) + at, length))
        at += <uint32_t>length
    return tuple(found)


def may_branch(bytes text not None, uint64_t low, uint64_t high):
    """Could a branch with a 32-bit distance anywhere in `text` lead strictly between the offsets low and high?"""
    return bool(dc_rel32(<const uint8_t *>PyBytes_AS_STRING(text), <uint64_t>len(text), low, high))


def functions(bytes data not None, uint64_t vaddr, bint signal=False):
    """The functions that an .eh_frame section describes, linked at vaddr: list of (start, length), sorted. signal: only those
    that return from signal handlers."""
    cdef uint64_t *out
    cdef uint32_t n, i, room
    room = <uint32_t>min(len(data) // 16 + 1, 1 << 24)
    out = <uint64_t *>malloc(room * 16)
    if out == NULL:
        raise MemoryError()
    try:
        n = dc_fdes(<const uint8_t *>PyBytes_AS_STRING(data), <uint64_t>len(data), vaddr, signal, out, room)
        return [(out[2 * i], out[2 * i + 1]) for i in range(n)]
    finally:
        free(out)
