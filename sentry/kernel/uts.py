"""UTS namespace: what uname(2) calls nodename and domainname."""


class UTS:
    __slots__ = ("hostname", "domainname", "ino")
    next_ino = 0xEFFFFFE0  # PROC_UTS_INIT_INO is 0xEFFFFFFE; later ones count down

    def __init__(self, hostname=b"localhost", domainname=b"(none)"):
        self.hostname = hostname
        self.domainname = domainname
        UTS.next_ino -= 1
        self.ino = UTS.next_ino

    def copy(self) -> "UTS":
        return UTS(self.hostname, self.domainname)
