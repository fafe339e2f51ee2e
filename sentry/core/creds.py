"""Credentials (credentials(7), capabilities(7)). A Creds object is never changed once a task or file
holds it: changes go through `copy`."""

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL = 0, 1, 2, 3, 4, 5
CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_LINUX_IMMUTABLE, CAP_NET_BIND_SERVICE = 6, 7, 8, 9, 10
CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_IPC_OWNER = 11, 12, 13, 14, 15
CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_PACCT = 16, 17, 18, 19, 20
CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_NICE, CAP_SYS_RESOURCE, CAP_SYS_TIME = 21, 22, 23, 24, 25
CAP_SYS_TTY_CONFIG, CAP_MKNOD, CAP_LEASE, CAP_AUDIT_WRITE, CAP_AUDIT_CONTROL = 26, 27, 28, 29, 30
CAP_SETFCAP, CAP_MAC_OVERRIDE, CAP_MAC_ADMIN, CAP_SYSLOG, CAP_WAKE_ALARM = 31, 32, 33, 34, 35
CAP_BLOCK_SUSPEND, CAP_AUDIT_READ, CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE = 36, 37, 38, 39, 40
CAP_LAST_CAP = 40
ALL_CAPS = (1 << (CAP_LAST_CAP + 1)) - 1


class Creds:
    """User and group ids (ints, as the guest sees them), supplementary groups (tuple), capability sets
    (bit masks), securebits."""

    __slots__ = (
        "uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid", "groups",
        "permitted", "effective", "inheritable", "bounding", "ambient", "securebits",
    )  # fmt: skip

    def __init__(self, uid=0, gid=0, groups=(), caps=ALL_CAPS, bounding=ALL_CAPS):
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = tuple(groups)
        self.permitted = self.effective = caps
        self.inheritable = 0
        self.bounding = bounding
        self.ambient = 0
        self.securebits = 0

    def copy(self) -> "Creds":
        new = Creds.__new__(Creds)
        for name in Creds.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def capable(self, cap: int) -> bool:
        return bool(self.effective >> cap & 1)

    def in_group(self, gid: int) -> bool:
        """Is `gid` the file-system group or a supplementary one (kernel/groups.c:in_group_p)."""
        return gid == self.fsgid or gid in self.groups
