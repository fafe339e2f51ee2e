"""Calls on host sockets that answer a value or -errno. No descriptor here ever blocks; every buffer has its own bounds."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.string cimport memset

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    int c_socket "socket"(int family, int kind, int protocol)
    int c_bind "bind"(int fd, const sockaddr *addr, socklen_t length)
    int c_connect "connect"(int fd, const sockaddr *addr, socklen_t length)
    int c_listen "listen"(int fd, int backlog)
    int c_accept4 "accept4"(int fd, sockaddr *addr, socklen_t *length, int flags)
    int c_getsockname "getsockname"(int fd, sockaddr *addr, socklen_t *length)
    int c_getpeername "getpeername"(int fd, sockaddr *addr, socklen_t *length)
    int c_shutdown "shutdown"(int fd, int how)
    int c_getsockopt "getsockopt"(int fd, int level, int option, void *value, socklen_t *length)
    int c_setsockopt "setsockopt"(int fd, int level, int option, const void *value, socklen_t length)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    ssize_t c_recvmsg "recvmsg"(int fd, msghdr *message, int flags)

cdef extern from "<sys/ioctl.h>" nogil:
    int c_ioctl "ioctl"(int fd, unsigned long request, void *arg)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, unsigned long count, int timeout)

cdef enum:
    NONBLOCK_CLOEXEC = 0o2004000
    ADDR_ROOM = 128
    CONTROL_ROOM = 4096
    OPTION_ROOM = 4096
    MSG_DONTWAIT = 0x40
    MSG_NOSIGNAL = 0x4000
    ASKED = 1 | 2 | 4 | 0x2000  # POLLIN, POLLPRI, POLLOUT, POLLRDHUP

cdef char CONTROL[CONTROL_ROOM]


def socket(int family, int type_, int protocol):
    """A new descriptor, non-blocking and close-on-exec."""
    cdef int fd = c_socket(family, type_ | NONBLOCK_CLOEXEC, protocol)
    return fd if fd >= 0 else -errno


def bind(int fd, bytes addr):
    return 0 if c_bind(fd, <const sockaddr *>PyBytes_AS_STRING(addr), <socklen_t>PyBytes_GET_SIZE(addr)) == 0 else -errno


def connect(int fd, bytes addr):
    return 0 if c_connect(fd, <const sockaddr *>PyBytes_AS_STRING(addr), <socklen_t>PyBytes_GET_SIZE(addr)) == 0 else -errno


def listen(int fd, int backlog):
    return 0 if c_listen(fd, backlog) == 0 else -errno


def accept(int fd):
    """The descriptor of a new connection."""
    cdef int new = c_accept4(fd, NULL, NULL, NONBLOCK_CLOEXEC)
    return new if new >= 0 else -errno


def shutdown(int fd, int how):
    return 0 if c_shutdown(fd, how) == 0 else -errno


def name(int fd, bint peer):
    """getsockname(2) or getpeername(2): struct sockaddr as bytes."""
    cdef char addr[ADDR_ROOM]
    cdef socklen_t length = ADDR_ROOM
    cdef int error
    error = c_getpeername(fd, <sockaddr *>addr, &length) if peer else c_getsockname(fd, <sockaddr *>addr, &length)
    if error:
        return -errno
    return addr[:min(<int>length, ADDR_ROOM)]


def get_option(int fd, int level, int option, int room):
    """The value, at most `room` bytes of it."""
    cdef char value[OPTION_ROOM]
    cdef socklen_t length = <socklen_t>min(max(room, 0), OPTION_ROOM)
    memset(value, 0, OPTION_ROOM)
    if c_getsockopt(fd, level, option, value, &length):
        return -errno
    return value[:min(<int>length, OPTION_ROOM)]


def set_option(int fd, int level, int option, bytes value):
    return 0 if c_setsockopt(fd, level, option, PyBytes_AS_STRING(value), <socklen_t>PyBytes_GET_SIZE(value)) == 0 else -errno


def number(int fd, unsigned long request):
    """An ioctl whose answer is a number, none below 0."""
    cdef int value = 0
    return value if c_ioctl(fd, request, &value) >= 0 else -errno


def ready(int fd):
    """Poll bits."""
    cdef pollfd one
    one.fd, one.events, one.revents = fd, ASKED, 0
    c_poll(&one, 1, 0)
    return one.revents


def send(int fd, bytes data, bytes addr, bytes control, int flags):
    """Bytes sent. addr, control: bytes, or None."""
    cdef msghdr message
    cdef iovec part
    cdef ssize_t n
    memset(&message, 0, sizeof(message))
    part.iov_base, part.iov_len = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    message.msg_iov, message.msg_iovlen = &part, 1
    if addr is not None:
        message.msg_name, message.msg_namelen = PyBytes_AS_STRING(addr), <socklen_t>PyBytes_GET_SIZE(addr)
    if control is not None:
        message.msg_control, message.msg_controllen = PyBytes_AS_STRING(control), PyBytes_GET_SIZE(control)
    n = c_sendmsg(fd, &message, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    return n if n >= 0 else -errno


def receive(int fd, Py_ssize_t count, int flags):
    """(data, length, address, control data, flags) of a message; `length` may be more than there is of data."""
    cdef msghdr message
    cdef iovec part
    cdef char addr[ADDR_ROOM]
    cdef ssize_t n
    cdef bytes data = PyBytes_FromStringAndSize(NULL, count)
    memset(&message, 0, sizeof(message))
    part.iov_base, part.iov_len = PyBytes_AS_STRING(data), count
    message.msg_iov, message.msg_iovlen = &part, 1
    message.msg_name, message.msg_namelen = addr, ADDR_ROOM
    message.msg_control, message.msg_controllen = CONTROL, CONTROL_ROOM
    n = c_recvmsg(fd, &message, flags | MSG_DONTWAIT)
    if n < 0:
        return -errno
    if n < count:
        data = data[:n]
    return data, n, addr[:min(<int>message.msg_namelen, ADDR_ROOM)], CONTROL[:min(<int>message.msg_controllen, CONTROL_ROOM)], message.msg_flags
