"""Types of cbpf.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t


cdef struct sock_filter:  # include/uapi/linux/filter.h
    uint16_t code
    uint8_t jt
    uint8_t jf
    uint32_t k


cdef struct cbpf_view:
    const uint8_t *data  # all that loads may see
    int64_t size
    int64_t start  # of what loads without an offset of their own count from
    int64_t network  # start of the network header, -1: none
    int64_t link  # start of the link header, -1: none
    int64_t payload  # of the transport layer, counted from `start`
    bint own_order  # loads of seccomp filters: numbers as the machine has them
    int64_t known  # with `own_order`: bytes that are known
    bint unknown  # set where a load went beyond them
    uint32_t protocol, interface, hardware, mark  # SKF_AD_PROTOCOL, SKF_AD_IFINDEX (0: none), SKF_AD_HATYPE, SKF_AD_MARK


cdef bint verify(bytes code, frozenset codes, int64_t seen) except -1
cdef uint32_t run(bytes code, cbpf_view *view) noexcept
