"""Seccomp filters: classic BPF programs of guests (seccomp(2), kernel/seccomp.c, net/core/filter.c) and the profile of a
container's configuration. A task has a chain of them, newest first.

What a chain says of a call number whatever the arguments is found when a filter is added (as by seccomp_cache_prepare), so
that a call which is always allowed costs one look at `Filter.barred`, also on the fast road.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint16_t
from libc.string cimport memset

from sentry.core cimport cbpf
from sentry.core.cbpf cimport cbpf_view, sock_filter
from sentry.kernel.task cimport Task

from sentry.core.cbpf import SECCOMP_CODES

cdef enum:
    DATA_SIZE = 64
    ACTION_FULL = 0xFFFF0000
    ALLOW = 0x7FFF0000
    RT_SIGPROCMASK = 14
    RT_SIGRETURN = 15

cdef uint32_t NATIVE = 0xC000003E  # AUDIT_ARCH_X86_64


cdef int converted_length(bytes code) except -1:
    """Instructions that the kernel makes of a program (bpf_convert_filter): its limit counts those."""
    cdef const sock_filter *insns = <const sock_filter *>PyBytes_AS_STRING(code)
    cdef int length = 3  # both registers are cleared, the context is kept
    cdef Py_ssize_t pc
    cdef uint16_t op
    for pc in range(len(code) // <Py_ssize_t>sizeof(sock_filter)):
        op = insns[pc].code
        if op == 0x3C:  # division by X: compared with 0 before
            length += 5
        elif op == 0x06:
            length += 2
        elif op & 7 == 5 and op != 0x05:
            length += 2 if not op & 8 and insns[pc].k >> 31 else 1
            length += insns[pc].jf != 0 and (insns[pc].jt != 0 or op & 0xF0 == 0x40)
        else:
            length += 1
    return length


cdef class Filter:
    """One filter of a chain. `previous`: the one before it, or None."""

    def __init__(self, Filter previous):
        self.previous = previous
        self.count = 1 + (previous.count if previous is not None else 0)

    cdef uint32_t result(self, const seccomp_data *data, bint *constant) except? 0xFFFFFFFF:
        """What this filter alone says. constant: cleared where that depends on more than number and architecture, which
        then are all that is given."""
        return ALLOW

    cdef int prepare(self) except -1:
        """Fill `barred`."""
        cdef seccomp_data data
        cdef bint constant
        cdef uint32_t result
        cdef int nr
        memset(&data, 0, sizeof(data))
        data.arch = NATIVE
        for nr in range(NUMBERS):
            data.nr = <uint32_t>nr
            constant = True
            result = self.result(&data, &constant)
            self.barred[nr] = not constant or result & ACTION_FULL != ALLOW or (self.previous is not None and self.previous.barred[nr])
        if self.barred[RT_SIGRETURN]:
            self.barred[RT_SIGPROCMASK] = 1  # both or neither are answered by the stub
        return 0

    def bars(self, long nr):
        """Whether the filters have to be asked about a call with this number."""
        return not 0 <= nr < NUMBERS or self.barred[nr] != 0

    @property
    def guards_masks(self):
        """Whether the calls that the stub would answer on its own must be seen here."""
        return self.barred[RT_SIGPROCMASK] != 0

    def decide(self, long nr, uint64_t ip, args):
        """(result of the chain, the filter that it is of) for a call: number, address after it, six arguments."""
        cdef seccomp_data data
        cdef Filter f = self, match = None
        cdef uint32_t best = ALLOW, result
        cdef bint constant = False  # all is given
        cdef int i
        if 0 <= nr < NUMBERS and not self.barred[nr]:
            return ALLOW, None
        data.nr, data.arch, data.ip = <uint32_t>nr, NATIVE, ip
        for i in range(6):
            data.args[i] = args[i]
        while f is not None:
            result = f.result(&data, &constant)
            if <int32_t>(result & ACTION_FULL) < <int32_t>(best & ACTION_FULL):
                best, match = result, f
            f = f.previous
        return best, match

    def descends_from(self, ancestor):
        """Whether `ancestor` (a Filter, or None for no filter) is in this chain."""
        cdef Filter f = self
        while f is not None:
            if f is ancestor:
                return True
            f = f.previous
        return ancestor is None


cdef class Program(Filter):
    """A program of a guest. ValueError if the kernel would not take it."""
    cdef bytes code

    def __init__(self, Filter previous, bytes code):
        Filter.__init__(self, previous)
        if not cbpf.verify(code, SECCOMP_CODES, DATA_SIZE):
            raise ValueError("not a program for seccomp")
        self.code = code
        self.total = converted_length(code) + (previous.total + 4 if previous is not None else 0)
        self.prepare()

    cdef uint32_t result(self, const seccomp_data *data, bint *constant) except? 0xFFFFFFFF:
        cdef cbpf_view view
        cdef uint32_t answer
        memset(&view, 0, sizeof(view))
        view.data, view.size, view.own_order = <const uint8_t *>data, DATA_SIZE, True
        view.known = <int64_t>8 if constant[0] else DATA_SIZE
        answer = cbpf.run(self.code, &view)
        if view.unknown:
            constant[0] = False
        return answer


cdef class Strict(Filter):
    """SECCOMP_MODE_STRICT: read, write, exit and rt_sigreturn."""

    def __init__(self):
        Filter.__init__(self, None)
        self.count = 0
        self.prepare()

    cdef uint32_t result(self, const seccomp_data *data, bint *constant) except? 0xFFFFFFFF:
        return ALLOW if data.nr in (0, 1, 60, 15) else 0


cdef class Profile(Filter):
    """`linux.seccomp` of a container. default, beyond: results for calls that no rule names, and for those with numbers above
    `highest`; always: {number: result}; conditional: {number: [(result, ((argument, operator, value, value2), …)), …]},
    where the first rule counts all of whose comparisons hold."""
    cdef uint32_t default, beyond
    cdef int highest
    cdef dict always, conditional

    def __init__(self, uint32_t default, uint32_t beyond, int highest, dict always, dict conditional):
        Filter.__init__(self, None)
        self.default, self.beyond = default, beyond
        self.always, self.conditional = always, conditional
        self.highest = highest
        self.total = 1
        self.prepare()

    cdef uint32_t result(self, const seccomp_data *data, bint *constant) except? 0xFFFFFFFF:
        cdef object nr = data.nr
        if nr in self.conditional:
            if constant[0]:
                constant[0] = False
                return 0
            for result, comparisons in self.conditional[nr]:
                if holds(data, comparisons):
                    return result
        if nr in self.always:
            return self.always[nr]
        return self.beyond if data.nr <= 0x3FFFFFFF and <int>data.nr > self.highest else self.default


cdef bint holds(const seccomp_data *data, tuple comparisons) except -1:
    cdef uint64_t a, value, other
    cdef int i
    cdef str op
    for i, op, value, other in comparisons:
        a = data.args[i]
        if op == "NE":
            if a == value:
                return False
        elif op == "LT":
            if a >= value:
                return False
        elif op == "LE":
            if a > value:
                return False
        elif op == "EQ":
            if a != value:
                return False
        elif op == "GE":
            if a < value:
                return False
        elif op == "GT":
            if a <= value:
                return False
        elif a & value != other:  # MASKED_EQ
            return False
    return True


def attach(Task task, Filter chain):
    """Give the task this chain (None: no filter). Its thread must then forget what it answers on its own."""
    task.seccomp = chain
    task.barred = &chain.barred[0] if chain is not None else NULL
