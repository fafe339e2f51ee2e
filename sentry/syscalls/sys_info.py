"""What the system is and how it fares: uname sethostname setdomainname sysinfo getcpu getrandom syslog times getrusage."""

import os
from struct import Struct, pack
from time import monotonic_ns

from sentry.abi.errno import EAGAIN, EFAULT, EINVAL, EPERM
from sentry.core.creds import CAP_SYS_ADMIN, CAP_SYSLOG
from sentry.core.syscall import PARTIAL, U32, Int, OutBuf, OutStruct, Ptr, Size, syscall
from sentry.fs import procfs_system
from sentry.kernel import cputime, machine, memstat
from sentry.kernel.loadavg import load_averages
from sentry.kernel.uts import NEW_UTS_LEN
from sentry.kernel.wait import rusage_bytes

SYSINFO = Struct("<q3QQQQQQQHHxxxxQQI4x")


@syscall("uname", 63, (OutStruct(390),))
def sys_uname(t, addr):
    t.write(addr, t.uts.packed or t.uts.pack())
    return 0


@syscall("sethostname", 170, (Ptr, Int))
def sys_sethostname(t, addr, length):
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    if not 0 <= length <= NEW_UTS_LEN:
        return -EINVAL
    t.uts.hostname = t.read(addr, length).split(b"\0", 1)[0]
    t.uts.packed = None
    return 0


@syscall("setdomainname", 171, (Ptr, Int))
def sys_setdomainname(t, addr, length):
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    if not 0 <= length <= NEW_UTS_LEN:
        return -EINVAL
    t.uts.domainname = t.read(addr, length).split(b"\0", 1)[0]
    t.uts.packed = None
    return 0


@syscall("sysinfo", 99, (OutStruct(112),))
def sys_sysinfo(t, addr):
    kernel = t.kernel
    memory = procfs_system.memory_of(t, True)
    total = memory["MemTotal"] * 1024
    free = memory.get("MemFree", total >> 11) * 1024
    loads = [int(load * 65536) for load in load_averages(kernel)]
    uptime = (monotonic_ns() - kernel.boot_time) // 1_000_000_000
    data = SYSINFO.pack(
        uptime, *loads, total, free, memory.get("Shmem", 0) * 1024, memory.get("Buffers", 0) * 1024, 0, 0,
        min(len(t.tg.pids.tasks), 65535), 0, 0, 0, 1,
    )  # fmt: skip
    t.write(addr, data)
    return 0


@syscall("getcpu", 309, (OutStruct(4), OutStruct(4), Ptr), level=PARTIAL, note="the first CPU of the affinity mask")
def sys_getcpu(t, cpu, node, unused):
    if cpu:
        t.write(cpu, pack("<I", machine.view(t)["cpus"][0]))
    if node:
        t.write(node, pack("<I", 0))
    return 0


GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE = 1, 2, 4
CHUNK = 1 << 16


@syscall("getrandom", 318, (OutBuf(1), Size, U32))
def sys_getrandom(t, addr, count, flags):
    if flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE):
        return -EINVAL
    if flags & GRND_RANDOM and flags & GRND_INSECURE:
        return -EINVAL
    count = min(count, 0x7FFFF000)
    done = 0
    while done < count:
        part = min(CHUNK, count - done)
        try:
            data = os.getrandom(part, os.GRND_NONBLOCK)
        except BlockingIOError:  # the host's pool is not ready yet
            return done or -EAGAIN
        written = t.write_upto(addr + done, data)
        done += written
        if written < len(data):
            return done or -EFAULT
        if done < count and t.signal_pending():  # large requests can be interrupted (getrandom(2))
            break
    return done


@syscall("syslog", 103, (Int, Ptr, Int), level=PARTIAL, note="an empty log, for CAP_SYSLOG only")
def sys_syslog(t, kind, addr, length):
    # As with kernel.dmesg_restrict.
    if not t.creds.capable(CAP_SYSLOG) and not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    if kind in (2, 3, 4):  # READ, READ_ALL, READ_CLEAR
        return -EINVAL if not addr or length < 0 else 0
    if kind == 8:  # CONSOLE_LEVEL
        return 0 if 1 <= length <= 8 else -EINVAL
    if kind in (0, 1, 5, 6, 7, 9):
        return 0
    if kind == 10:  # SIZE_BUFFER
        return 1 << 17
    return -EINVAL


TICK = 10_000_000  # ns a clock tick (USER_HZ 100)


@syscall("times", 100, (OutStruct(32),))
def sys_times(t, addr):
    if addr:
        tg = t.tg
        user, system = cputime.process(tg)
        t.write(addr, pack("<4q", user // TICK, system // TICK, tg.utime_children // TICK, tg.stime_children // TICK))
    return (monotonic_ns() - t.kernel.boot_time) // TICK


RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD = 0, -1, 1


@syscall("getrusage", 98, (Int, OutStruct(144)), level=PARTIAL, note="times; maxrss as an upper bound; of a thread of several an estimate")
def sys_getrusage(t, who, addr):
    maxrss = memstat.peak(t.tg)
    if who == RUSAGE_SELF:
        user, system = cputime.process(t.tg)
    elif who == RUSAGE_CHILDREN:
        user, system = t.tg.utime_children, t.tg.stime_children
        maxrss = t.tg.maxrss_children
    elif who == RUSAGE_THREAD:
        user, system = cputime.thread(t)
    else:
        return -EINVAL
    t.write(addr, rusage_bytes(user, system, maxrss))
    return 0
