"""User and group ids, supplementary groups, capabilities (credentials(7), capabilities(7), kernel/sys.c)."""

from struct import pack, unpack

from sentry.abi.errno import EINVAL, EPERM, ESRCH
from sentry.core.creds import (
    ALL_CAPS,
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_LINUX_IMMUTABLE,
    CAP_MAC_OVERRIDE,
    CAP_MKNOD,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_SETUID,
)
from sentry.core.syscall import U32, Int, OutStruct, Ptr, syscall
from sentry.kernel.container import maps_ids

NONE = 0xFFFFFFFF  # "leave it" in setre*id and setres*id, invalid elsewhere
SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS = 1 << 2, 1 << 4
NGROUPS_MAX = 65536
CAP_FS_SET = sum(
    1 << cap
    for cap in (
        CAP_CHOWN, CAP_MKNOD, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MAC_OVERRIDE,
        CAP_LINUX_IMMUTABLE,
    )
)  # fmt: skip


def commit(t, new) -> int:
    """Give the task its new credentials (kernel/cred.c:commit_creds)."""
    old = t.creds
    if (
        (old.euid, old.egid, old.fsuid, old.fsgid) != (new.euid, new.egid, new.fsuid, new.fsgid)
        or new.permitted & ~old.permitted
    ):
        for task in t.tg.tasks:  # an attribute of the address space on Linux
            task.dumpable = 0
        t.pdeath_signal = 0
    t.creds = new
    t.thread.forget_answers()
    return 0


def fix_caps(old, new) -> None:
    """What a change of user ids does to the capability sets (security/commoncap.c:cap_emulate_setxuid)."""
    if old.securebits & SECBIT_NO_SETUID_FIXUP:
        return
    if 0 in (old.uid, old.euid, old.suid) and 0 not in (new.uid, new.euid, new.suid):
        if not old.securebits & SECBIT_KEEP_CAPS:
            new.permitted = new.effective = 0
        new.ambient = 0
    if old.euid == 0 and new.euid != 0:
        new.effective = 0
    if old.euid != 0 and new.euid == 0:
        new.effective = new.permitted


# -- asking
@syscall("getuid", 102, lasting=True)
def sys_getuid(t):
    return t.creds.uid


@syscall("geteuid", 107, lasting=True)
def sys_geteuid(t):
    return t.creds.euid


@syscall("getgid", 104, lasting=True)
def sys_getgid(t):
    return t.creds.gid


@syscall("getegid", 108, lasting=True)
def sys_getegid(t):
    return t.creds.egid


@syscall("getresuid", 118, (OutStruct(4), OutStruct(4), OutStruct(4)))
def sys_getresuid(t, ruid, euid, suid):
    creds = t.creds
    t.write(ruid, pack("<I", creds.uid))
    t.write(euid, pack("<I", creds.euid))
    t.write(suid, pack("<I", creds.suid))
    return 0


@syscall("getresgid", 120, (OutStruct(4), OutStruct(4), OutStruct(4)))
def sys_getresgid(t, rgid, egid, sgid):
    creds = t.creds
    t.write(rgid, pack("<I", creds.gid))
    t.write(egid, pack("<I", creds.egid))
    t.write(sgid, pack("<I", creds.sgid))
    return 0


# -- user ids
@syscall("setuid", 105, (U32,))
def sys_setuid(t, uid):
    if uid == NONE or not maps_ids(t, "uid", uid):
        return -EINVAL
    old = t.creds
    new = old.copy()
    if old.capable(CAP_SETUID):
        new.uid = new.suid = uid
    elif uid != old.uid and uid != old.suid:
        return -EPERM
    new.euid = new.fsuid = uid
    fix_caps(old, new)
    return commit(t, new)


@syscall("setreuid", 113, (U32, U32))
def sys_setreuid(t, ruid, euid):
    if not maps_ids(t, "uid", ruid, euid):
        return -EINVAL
    old = t.creds
    new = old.copy()
    privileged = old.capable(CAP_SETUID)
    if ruid != NONE:
        new.uid = ruid
        if ruid not in (old.uid, old.euid) and not privileged:
            return -EPERM
    if euid != NONE:
        new.euid = euid
        if euid not in (old.uid, old.euid, old.suid) and not privileged:
            return -EPERM
    if ruid != NONE or (euid != NONE and euid != old.uid):
        new.suid = new.euid
    new.fsuid = new.euid
    fix_caps(old, new)
    return commit(t, new)


@syscall("setresuid", 117, (U32, U32, U32))
def sys_setresuid(t, ruid, euid, suid):
    if not maps_ids(t, "uid", ruid, euid, suid):
        return -EINVAL
    old = t.creds
    if not old.capable(CAP_SETUID):
        mine = (old.uid, old.euid, old.suid, NONE)
        if ruid not in mine or euid not in mine or suid not in mine:
            return -EPERM
    new = old.copy()
    if ruid != NONE:
        new.uid = ruid
    if euid != NONE:
        new.euid = euid
    if suid != NONE:
        new.suid = suid
    new.fsuid = new.euid
    fix_caps(old, new)
    return commit(t, new)


@syscall("setfsuid", 122, (U32,))
def sys_setfsuid(t, uid):
    old = t.creds
    allowed = uid in (old.uid, old.euid, old.suid, old.fsuid) or old.capable(CAP_SETUID)
    if uid != NONE and uid != old.fsuid and allowed and maps_ids(t, "uid", uid):
        new = old.copy()
        new.fsuid = uid
        if not old.securebits & SECBIT_NO_SETUID_FIXUP:
            if old.fsuid == 0:
                new.effective &= ~CAP_FS_SET
            elif uid == 0:
                new.effective |= CAP_FS_SET & new.permitted
        commit(t, new)
    return old.fsuid


# -- group ids
@syscall("setgid", 106, (U32,))
def sys_setgid(t, gid):
    if gid == NONE or not maps_ids(t, "gid", gid):
        return -EINVAL
    old = t.creds
    new = old.copy()
    if old.capable(CAP_SETGID):
        new.gid = new.sgid = gid
    elif gid != old.gid and gid != old.sgid:
        return -EPERM
    new.egid = new.fsgid = gid
    return commit(t, new)


@syscall("setregid", 114, (U32, U32))
def sys_setregid(t, rgid, egid):
    if not maps_ids(t, "gid", rgid, egid):
        return -EINVAL
    old = t.creds
    new = old.copy()
    privileged = old.capable(CAP_SETGID)
    if rgid != NONE:
        new.gid = rgid
        if rgid not in (old.gid, old.egid) and not privileged:
            return -EPERM
    if egid != NONE:
        new.egid = egid
        if egid not in (old.gid, old.egid, old.sgid) and not privileged:
            return -EPERM
    if rgid != NONE or (egid != NONE and egid != old.gid):
        new.sgid = new.egid
    new.fsgid = new.egid
    return commit(t, new)


@syscall("setresgid", 119, (U32, U32, U32))
def sys_setresgid(t, rgid, egid, sgid):
    if not maps_ids(t, "gid", rgid, egid, sgid):
        return -EINVAL
    old = t.creds
    if not old.capable(CAP_SETGID):
        mine = (old.gid, old.egid, old.sgid, NONE)
        if rgid not in mine or egid not in mine or sgid not in mine:
            return -EPERM
    new = old.copy()
    if rgid != NONE:
        new.gid = rgid
    if egid != NONE:
        new.egid = egid
    if sgid != NONE:
        new.sgid = sgid
    new.fsgid = new.egid
    return commit(t, new)


@syscall("setfsgid", 123, (U32,))
def sys_setfsgid(t, gid):
    old = t.creds
    allowed = gid in (old.gid, old.egid, old.sgid, old.fsgid) or old.capable(CAP_SETGID)
    if gid != NONE and gid != old.fsgid and allowed and maps_ids(t, "gid", gid):
        new = old.copy()
        new.fsgid = gid
        commit(t, new)
    return old.fsgid


@syscall("getgroups", 115, (Int, Ptr))
def sys_getgroups(t, size, addr):
    groups = t.creds.groups
    if size < 0:
        return -EINVAL
    if size:
        if len(groups) > size:
            return -EINVAL
        if groups:
            t.write(addr, pack(f"<{len(groups)}I", *groups))
    return len(groups)


@syscall("setgroups", 116, (Int, Ptr))
def sys_setgroups(t, size, addr):
    if not t.creds.capable(CAP_SETGID):
        return -EPERM
    if size & 0xFFFFFFFF > NGROUPS_MAX:
        return -EINVAL
    groups = unpack(f"<{size}I", t.read(addr, 4 * size)) if size else ()
    if NONE in groups or not maps_ids(t, "gid", *groups):
        return -EINVAL
    new = t.creds.copy()
    new.groups = tuple(sorted(groups))
    return commit(t, new)


# -- capabilities
VERSIONS = {0x19980330: 1, 0x20071026: 2, 0x20080522: 2}  # version -> 32-bit words of each set
VERSION_3 = 0x20080522


def check_version(t, header) -> int:
    """Number of words, or -EINVAL after telling the caller the version to use."""
    (version,) = unpack("<I", t.read(header, 4))
    words = VERSIONS.get(version)
    if words is None:
        t.write(header, pack("<I", VERSION_3))
        return -EINVAL
    return words


@syscall("capget", 125, (Ptr, Ptr))
def sys_capget(t, header, data):
    words = check_version(t, header)
    if words < 0:
        return 0 if data == 0 else words
    if data == 0:
        return 0
    (pid,) = unpack("<i", t.read(header + 4, 4))
    if pid < 0:
        return -EINVAL
    task = t if pid == 0 else t.tg.pids.tasks.get(pid)
    if task is None:
        return -ESRCH
    creds = task.creds
    out = b""
    for word in range(words):
        shift = 32 * word
        out += pack("<III", *((caps >> shift) & NONE for caps in (creds.effective, creds.permitted, creds.inheritable)))
    t.write(data, out)
    return 0


@syscall("capset", 126, (Ptr, Ptr))
def sys_capset(t, header, data):
    words = check_version(t, header)
    if words < 0:
        return words
    (pid,) = unpack("<i", t.read(header + 4, 4))
    if pid != 0 and pid != t.tid:
        return -EPERM
    values = unpack(f"<{3 * words}I", t.read(data, 12 * words))
    effective = permitted = inheritable = 0
    for word in range(words):
        e, p, i = values[3 * word : 3 * word + 3]
        effective |= e << 32 * word
        permitted |= p << 32 * word
        inheritable |= i << 32 * word
    effective &= ALL_CAPS
    permitted &= ALL_CAPS
    inheritable &= ALL_CAPS
    # security/commoncap.c:cap_capset
    old = t.creds
    if not old.capable(CAP_SETPCAP) and inheritable & ~(old.inheritable | old.permitted):
        return -EPERM
    if inheritable & ~(old.inheritable | old.bounding):
        return -EPERM
    if permitted & ~old.permitted:
        return -EPERM
    if effective & ~permitted:
        return -EPERM
    new = old.copy()
    new.effective, new.permitted, new.inheritable = effective, permitted, inheritable
    new.ambient &= permitted & inheritable
    return commit(t, new)
