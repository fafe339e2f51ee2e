"""UTS namespace: what uname(2) calls nodename and domainname; and the names that are the same everywhere."""

SYSNAME = b"Linux"
RELEASE = b"6.12.0-stockade"  # the version whose behaviour is the model
VERSION = b"#1 SMP PREEMPT_DYNAMIC stockade"
MACHINE = b"x86_64"


NEW_UTS_LEN = 64


class UTS:
    """`packed`: struct new_utsname of these names, made by the first uname(2); None after a change."""

    __slots__ = ("hostname", "domainname", "ino", "packed")
    next_ino = 0xEFFFFFFF  # PROC_UTS_INIT_INO of the first, later ones count down from there

    def __init__(self, hostname=b"localhost", domainname=b"(none)"):
        self.hostname = hostname
        self.domainname = domainname
        self.packed = None
        UTS.next_ino -= 1
        self.ino = UTS.next_ino

    def copy(self) -> "UTS":
        return UTS(self.hostname, self.domainname)

    def pack(self) -> bytes:
        fields = (SYSNAME, self.hostname, RELEASE, VERSION, MACHINE, self.domainname)
        self.packed = b"".join(field[:NEW_UTS_LEN].ljust(NEW_UTS_LEN + 1, b"\0") for field in fields)
        return self.packed
