"""Reading and writing the time structures of x86-64. Times are ints in nanoseconds."""

from struct import Struct

from sentry.abi.errno import EINVAL

NSEC = 1000000000
FOREVER = 1 << 62  # more than any deadline; what is later is as good as never
PAIR = Struct("<qq")
ITIMERSPEC = Struct("<qqqq")


def get_timespec(t, addr: int) -> int:
    """A timespec as ns, at most FOREVER; -EINVAL if it is not a valid one (negative, nanoseconds out of range)."""
    return timespec_ns(*PAIR.unpack(t.read(addr, 16)))


def timespec_ns(sec: int, nsec: int) -> int:
    if sec < 0 or not 0 <= nsec < NSEC:
        return -EINVAL
    return min(sec * NSEC + nsec, FOREVER)


def timeval_ns(sec: int, usec: int) -> int:
    if sec < 0 or not 0 <= usec < 1000000:
        return -EINVAL
    return min(sec * NSEC + usec * 1000, FOREVER)


def timespec(ns: int) -> bytes:
    return PAIR.pack(ns // NSEC, ns % NSEC)


def timeval(ns: int) -> bytes:
    return PAIR.pack(ns // NSEC, ns % NSEC // 1000)
