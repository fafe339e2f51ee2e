"""Memory of guest processes: copies to and from it, and the kernel's memory operations as the stub takes them."""

import os

from libc.stdint cimport uint64_t
from posix.unistd cimport close
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from sentry.platform.systrap_host cimport ST_FD_KEPT, ST_LIMIT, ST_OP_MMAP_KEPT, sh_vm_read, sh_vm_write

from sentry.platform.base import Kept, MemFault

cdef enum:
    WRITE_PIECE = 32768

MAP_SHARED_FIXED, MAP_PRIVATE_FIXED = 0x11, 0x12
MAP_ANON_FIXED, MAP_NORESERVE = 0x32, 0x4000


cdef bytes vm_read(int pid, uint64_t addr, uint64_t length, bint whole):
    cdef bytes out
    cdef long n
    if length == 0:
        return b""
    if addr >= ST_LIMIT or length > ST_LIMIT - addr:
        if whole or addr >= ST_LIMIT:
            raise MemFault(addr)
        length = ST_LIMIT - addr
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
    n = sh_vm_read(pid, PyBytes_AS_STRING(out), addr, length)
    if n <= 0 or (whole and <uint64_t>n != length):
        raise MemFault(addr)
    return out if <uint64_t>n == length else out[:n]


cdef long vm_write(int pid, uint64_t addr, data, bint whole) except -1:
    cdef Py_buffer view
    cdef long n
    cdef uint64_t length
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        length = <uint64_t>view.len
        if length == 0:
            return 0
        if addr >= ST_LIMIT or (whole and length > ST_LIMIT - addr):
            raise MemFault(addr)
        if length > ST_LIMIT - addr:
            length = ST_LIMIT - addr
        n = sh_vm_write(pid, view.buf, addr, length)
    finally:
        PyBuffer_Release(&view)
    if n <= 0 or (whole and <uint64_t>n != length):
        raise MemFault(addr)
    return n


cdef class HostFd:
    """A descriptor of our own to the file that a mapping was asked for, until it is made: the caller may close its own
    meanwhile, and the number may come to mean another file."""

    def __init__(self, int fd):
        self.fd = os.dup(fd)

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)


cdef list translate(list ops, long long kept, bint *uses_slot):
    """The operations of base.Thread.run_ops, checked and cut to the stub's size, as tuples (op, flags, addr, len, a, b,
    data, HostFd or errno, number of the caller's operation). kept: AddressSpace.kept. uses_slot: set if one needs the descriptor slot."""
    cdef uint64_t at
    cdef int index = 0
    cdef bytes data
    cdef list todo = []
    cdef dict files = {}  # descriptor -> HostFd, or an errno
    uses_slot[0] = False
    for entry in ops:
        op = entry[0]
        if op == OP_MMAP_ANON:
            _, addr, length, prot, noreserve = entry
            todo.append((op, MAP_ANON_FIXED | (MAP_NORESERVE if noreserve else 0), addr, length, prot, 0, None, None, index))
        elif op == OP_MMAP_FD:
            _, addr, length, prot, shared, fd, offset = entry
            flags = MAP_SHARED_FIXED if shared else MAP_PRIVATE_FIXED
            if type(fd) is Kept and not shared and fd.since <= kept and not fd.lost:
                fd.used = True
                todo.append((ST_OP_MMAP_KEPT, flags, addr, length, prot | (ST_FD_KEPT + fd.place) << 32, offset, None, fd, index))
                index += 1
                continue
            if fd not in files:
                try:
                    files[fd] = HostFd(fd)
                except OSError as error:  # EBADF, EMFILE: what the mapping shall fail with
                    files[fd] = error.errno
            todo.append((op, flags, addr, length, prot, offset, None, files[fd], index))
            uses_slot[0] = True
        elif op == OP_MUNMAP:
            _, addr, length = entry
            todo.append((op, 0, addr, length, 0, 0, None, None, index))
        elif op == OP_MPROTECT or op == OP_MADVISE:
            _, addr, length, prot = entry
            todo.append((op, 0, addr, length, prot, 0, None, None, index))
        elif op == OP_MREMAP:
            _, addr, length, new_length, new_addr = entry
            if length == 0 or new_addr + new_length > ST_LIMIT:
                op = OP_REFUSED
            todo.append((op, 0, addr, length, new_length, new_addr, None, None, index))
        elif op == OP_WRITE:
            data = bytes(entry[2])
            at = 0
            addr, length = entry[1], len(data)
            while at < <uint64_t>len(data):
                part = data[at:at + WRITE_PIECE]
                todo.append((op, 0, addr + at, len(part), 0, 0, part, None, index))
                at += <uint64_t>len(part)
        elif op == OP_ZERO:
            addr, length = entry[1], entry[2]
            todo.append((op, 0, addr, length, 0, 0, None, None, index))
        elif op == OP_POKE:
            _, addr, at = entry
            length = 8
            todo.append((OP_REFUSED if addr & 7 else op, 0, addr, length, at, 0, None, None, index))
        else:
            raise ValueError(f"operation {op}")
        if addr + length > ST_LIMIT and todo[-1][8] == index:
            todo[-1] = (OP_REFUSED, 0, 0, 0, 0, 0, None, None, index)
        index += 1
    return todo


cdef bytes vm_cstr(int pid, uint64_t addr, uint64_t limit):
    """The bytes before the NUL, or `limit` of them."""
    cdef uint64_t got = 0, n
    cdef bytes part
    cdef list parts = []
    cdef Py_ssize_t end
    while got < limit:
        n = min(limit - got, 4096 - ((addr + got) & 4095))  # up to the end of the page
        part = vm_read(pid, addr + got, n, True)
        end = part.find(b"\0")
        if end >= 0:
            parts.append(part[:end])
            return b"".join(parts)
        parts.append(part)
        got += n
    return b"".join(parts)
