"""Classic BPF (net/core/filter.c): checks and runs programs, those of seccomp and those of sockets.

A program is struct sock_filter[] as bytes. What a checked program does is bounded: jumps go forwards, and every load is compared
with what there is to be seen.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset
from posix.stdlib cimport random

cdef enum:
    INSNS_MAX = 4096
    MEMORY = 16
    NLATTR = 4  # bytes of struct nlattr

cdef uint32_t AD_OFF = 0xFFFFF000  # SKF_AD_OFF: numbers about a packet
cdef int64_t NET_OFF = -0x100000
cdef int64_t LL_OFF = -0x200000

# Instructions: class | size, mode or operation | source.
LD_W_ABS, LD_W_LEN, LD_IMM, LD_MEM, LDX_W_LEN, LDX_IMM, LDX_MEM, ST, STX = 0x20, 0x80, 0x00, 0x60, 0x81, 0x01, 0x61, 0x02, 0x03
JA, RET_K, RET_A, TAX, TXA, NEG = 0x05, 0x06, 0x16, 0x07, 0x87, 0x84
ALU = tuple(0x04 | operation | source for operation in (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0) for source in (0, 8))
JUMPS = tuple(0x05 | operation | source for operation in (0x10, 0x20, 0x30, 0x40) for source in (0, 8))
MOD_K, MOD_X = 0x94, 0x9C
LOADS = (0x28, 0x30, 0x40, 0x48, 0x50, 0xB1)  # halves and bytes, those at X + k, the length of an IPv4 header
# What seccomp takes (seccomp_check_filter), and what sockets take beside that (chk_code_allowed).
SECCOMP_CODES = frozenset(
    (LD_W_ABS, LD_W_LEN, LD_IMM, LD_MEM, LDX_W_LEN, LDX_IMM, LDX_MEM, ST, STX, JA, RET_K, RET_A, TAX, TXA, NEG) + ALU + JUMPS
)
SOCKET_CODES = SECCOMP_CODES | {MOD_K, MOD_X} | frozenset(LOADS)
# Offsets from SKF_AD_OFF that a load may name.
(
    AD_PROTOCOL, AD_PKTTYPE, AD_IFINDEX, AD_NLATTR, AD_NLATTR_NEST, AD_MARK, AD_QUEUE, AD_HATYPE, AD_RXHASH, AD_CPU, AD_ALU_XOR_X,
    AD_VLAN_TAG, AD_VLAN_TAG_PRESENT, AD_PAY_OFFSET, AD_RANDOM, AD_VLAN_TPID,
) = range(0, 64, 4)  # fmt: skip


cdef bint verify(bytes code, frozenset codes, int64_t seen) except -1:
    """Whether the kernel would take this program (bpf_check_classic). codes: instructions that are known; seen: bytes that loads
    of words may name (seccomp), or -1: any, and the numbers about a packet."""
    cdef const sock_filter *insns = <const sock_filter *>PyBytes_AS_STRING(code)
    cdef Py_ssize_t n = len(code) // sizeof(sock_filter), pc
    cdef uint32_t k
    cdef uint16_t op
    if len(code) % sizeof(sock_filter) or not 0 < n <= INSNS_MAX:
        return False
    for pc in range(n):
        op, k = insns[pc].code, insns[pc].k
        if op not in codes:
            return False
        if op == 0x20 or op == 0x28 or op == 0x30:
            if seen >= 0 and (k >= seen or k & 3):
                return False
            if k >= AD_OFF and (k - AD_OFF > 60 or k & 3):
                return False
        elif op == 0x34 or op == 0x94:  # division by a constant
            if k == 0:
                return False
        elif op == 0x64 or op == 0x74:  # shifts by a constant
            if k >= 32:
                return False
        elif op == 0x60 or op == 0x61 or op == 0x02 or op == 0x03:
            if k >= MEMORY:
                return False
        elif op == 0x05:
            if k >= <uint32_t>(n - pc - 1):
                return False
        elif op & 7 == 5:
            if pc + insns[pc].jt + 1 >= n or pc + insns[pc].jf + 1 >= n:
                return False
    return (insns[n - 1].code == 0x06 or insns[n - 1].code == 0x16) and stores_before_loads(code)


cdef bint stores_before_loads(bytes code) except -1:
    """Whether no cell of the scratch memory is read that was not written before (check_load_and_stores)."""
    cdef const sock_filter *insns = <const sock_filter *>PyBytes_AS_STRING(code)
    cdef Py_ssize_t n = len(code) // sizeof(sock_filter), pc
    cdef uint16_t masks[INSNS_MAX]
    cdef uint16_t valid = 0, op
    cdef uint32_t k
    memset(masks, 0xFF, sizeof(masks))
    for pc in range(n):
        valid &= masks[pc]
        op, k = insns[pc].code, insns[pc].k
        if op == 0x02 or op == 0x03:
            valid |= <uint16_t>(1 << k)
        elif op == 0x60 or op == 0x61:
            if not valid >> k & 1:
                return False
        elif op == 0x05:
            masks[pc + 1 + k] &= valid
            valid = 0xFFFF
        elif op & 7 == 5:
            masks[pc + 1 + insns[pc].jt] &= valid
            masks[pc + 1 + insns[pc].jf] &= valid
            valid = 0xFFFF
    return True


cdef int load(cbpf_view *view, int64_t offset, int width, uint32_t *value) noexcept:
    """1, and the number of `width` bytes at an offset (bpf_internal_load_pointer_neg_helper); 0: there is none."""
    cdef int64_t at
    cdef int i
    if view.own_order:
        if offset >= view.known:
            view.unknown = True
            return 0
        memcpy(value, view.data + offset, 4)  # `verify` has compared the offset with the size
        return 1
    if offset >= 0:
        at = view.start + offset
    elif offset >= NET_OFF and view.network >= 0:
        at = view.network + offset - NET_OFF
    elif NET_OFF > offset >= LL_OFF and view.link >= 0:
        at = view.link + offset - LL_OFF
    else:
        return 0
    if at < 0 or at > view.size - width:
        return 0
    value[0] = 0
    for i in range(width):
        value[0] = value[0] << 8 | view.data[at + i]
    return 1


cdef uint32_t attribute(cbpf_view *view, int64_t at, uint32_t kind, bint nested) noexcept:
    """SKF_AD_NLATTR: where behind `at` the netlink attribute of this kind is, 0: nowhere."""
    cdef const uint8_t *data = view.data + view.start
    cdef int64_t end = view.size - view.start
    cdef int64_t length
    if end < NLATTR or at > end - NLATTR:
        return 0
    if nested:
        length = data[at] | data[at + 1] << 8
        if length > end - at:
            return 0
        end = at + length
        at += NLATTR
    while end - at >= NLATTR:
        length = data[at] | data[at + 1] << 8
        if length < NLATTR or length > end - at:
            return 0
        if <uint32_t>((data[at + 2] | data[at + 3] << 8) & 0x3FFF) == kind:
            return <uint32_t>at
        at += (length + 3) & ~3
    return 0


cdef int about(cbpf_view *view, uint32_t what, uint32_t *a, uint32_t x) noexcept:
    """A number about the packet into the accumulator; 0: the program ends."""
    if what == 0:
        a[0] = view.protocol
    elif what == 8 or what == 28:  # of a device, if it came by one
        if not view.interface:
            return 0
        a[0] = view.interface if what == 8 else view.hardware
    elif what == 12 or what == 16:
        a[0] = attribute(view, a[0], x, what == 16)
    elif what == 20:
        a[0] = view.mark
    elif what == 40:
        a[0] ^= x
    elif what == 52:
        a[0] = <uint32_t>view.payload
    elif what == 56:
        a[0] = <uint32_t>random() ^ <uint32_t>random() << 16
    else:  # PACKET_HOST; one queue, no hash, no VLAN; CPU 0, which serves all
        a[0] = 0
    return 1


cdef uint32_t run(bytes code, cbpf_view *view) noexcept:
    """What a verified program says about what `view` shows; 0 where it looks for what is not there."""
    cdef const sock_filter *at = <const sock_filter *>PyBytes_AS_STRING(code)
    cdef uint32_t a = 0, x = 0, k, operand
    cdef uint32_t memory[MEMORY]
    cdef uint16_t op
    memset(memory, 0, sizeof(memory))
    while True:
        op, k = at.code, at.k
        at += 1
        operand = x if op & 8 else k
        if op == 0x20 or op == 0x28 or op == 0x30:
            if k >= AD_OFF:
                if not about(view, k - AD_OFF, &a, x):
                    return 0
            elif not load(view, <int32_t>k, 4 if op == 0x20 else 2 if op == 0x28 else 1, &a):
                return 0
        elif op == 0x06:
            return k
        elif op == 0x16:
            return a
        elif op == 0x15 or op == 0x1D:
            at += (at - 1).jt if a == operand else (at - 1).jf
        elif op == 0x25 or op == 0x2D:
            at += (at - 1).jt if a > operand else (at - 1).jf
        elif op == 0x35 or op == 0x3D:
            at += (at - 1).jt if a >= operand else (at - 1).jf
        elif op == 0x45 or op == 0x4D:
            at += (at - 1).jt if a & operand else (at - 1).jf
        elif op == 0x05:
            at += k
        elif op == 0x40 or op == 0x48 or op == 0x50:
            if not load(view, <int32_t>(x + k), 4 if op == 0x40 else 2 if op == 0x48 else 1, &a):
                return 0
        elif op == 0xB1:
            if not load(view, <int32_t>k, 1, &x):
                return 0
            x = (x & 15) * 4
        elif op == 0x80:
            a = <uint32_t>(view.size - view.start)
        elif op == 0x81:
            x = <uint32_t>(view.size - view.start)
        elif op == 0x00:
            a = k
        elif op == 0x01:
            x = k
        elif op == 0x60:
            a = memory[k]
        elif op == 0x61:
            x = memory[k]
        elif op == 0x02:
            memory[k] = a
        elif op == 0x03:
            memory[k] = x
        elif op == 0x07:
            x = a
        elif op == 0x87:
            a = x
        elif op == 0x84:
            a = 0 - a
        elif op == 0x04 or op == 0x0C:
            a += operand
        elif op == 0x14 or op == 0x1C:
            a -= operand
        elif op == 0x24 or op == 0x2C:
            a *= operand
        elif op == 0x34 or op == 0x3C:
            if operand == 0:
                return 0
            a = a // operand
        elif op == 0x94 or op == 0x9C:
            if operand == 0:
                return 0
            a = a % operand
        elif op == 0x44 or op == 0x4C:
            a |= operand
        elif op == 0x54 or op == 0x5C:
            a &= operand
        elif op == 0x64 or op == 0x6C:
            a <<= operand & 31
        elif op == 0x74 or op == 0x7C:
            a >>= operand & 31
        else:  # 0xA4, 0xAC: `verify` has seen the others off
            a ^= operand


cdef class SocketProgram:
    """A program of a socket (SO_ATTACH_FILTER). ValueError if the kernel would not take it. code: struct sock_filter[]."""
    cdef readonly bytes code

    def __init__(self, bytes code):
        if not verify(code, SOCKET_CODES, -1):
            raise ValueError("not a program for sockets")
        self.code = code

    def run(self, bytes packet, long start, long network, long payload, int protocol, int interface, bint loopback):
        """How many bytes from `start` on the socket takes: 0 none. packet: what loads may see; network: where in it the network
        header begins, -1 without one; payload: of the transport layer, from `start`; protocol: of Ethernet; interface: an
        index, 0 for none."""
        cdef cbpf_view view
        memset(&view, 0, sizeof(view))
        view.data, view.size = <const uint8_t *>PyBytes_AS_STRING(packet), len(packet)
        view.start, view.network, view.link, view.payload = start, network, -1, payload
        view.protocol, view.interface = protocol, interface
        view.hardware = 772 if loopback else 1  # ARPHRD_LOOPBACK, ARPHRD_ETHER
        return run(self.code, &view)
