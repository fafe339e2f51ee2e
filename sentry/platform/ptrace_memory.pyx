"""Guest memory by process_vm_*, for the ptrace platform. `tid`: a live thread of the address space; 0: it has none."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

from sentry.platform.ptrace_host cimport TR_LIMIT, TR_TOP, guest_copy

from sentry.platform.base import MemFault


cdef object read_guest(int tid, where, Py_ssize_t length, bint partial):
    cdef uint64_t addr
    cdef object data
    cdef size_t got
    if length <= 0:
        return b""
    if not tid or not 0 <= where < TR_LIMIT or (not partial and <uint64_t>length > TR_LIMIT - where):
        raise MemFault(where)
    addr = where
    data = PyBytes_FromStringAndSize(NULL, length)
    got = guest_copy(tid, addr, PyBytes_AS_STRING(data), length, TR_LIMIT, 0)
    if got == <size_t>length:
        return data
    if got == 0 or not partial:
        raise MemFault(addr + got)
    return data[:got]


cdef Py_ssize_t write_guest(int tid, where, data, bint partial) except -1:
    cdef Py_buffer view
    cdef uint64_t addr = where if 0 <= where < TR_LIMIT else TR_LIMIT
    cdef size_t got, length
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    length = view.len
    got = 0
    if tid and (partial or length <= TR_LIMIT - addr):
        got = guest_copy(tid, addr, view.buf, length, TR_LIMIT, 1)
    PyBuffer_Release(&view)
    if length and (got == 0 or (got < length and not partial)):
        raise MemFault(where + got)
    return got


cdef bytes read_above(int tid, uint64_t addr, size_t length):
    """Memory above the guest's addresses; b"" if it cannot be read."""
    data = PyBytes_FromStringAndSize(NULL, length)
    return data if guest_copy(tid, addr, PyBytes_AS_STRING(data), length, TR_TOP, 0) == length else b""
