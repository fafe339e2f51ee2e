"""What the three kinds of System V IPC have in common (svipc(7), ipc/util.c). One table of each kind for the sandbox: it has one
IPC namespace."""

from time import time

from sentry.abi.errno import EACCES, EEXIST, EINVAL, ENOENT, ENOSPC
from sentry.core.creds import CAP_IPC_OWNER, CAP_SYS_ADMIN

IPC_CREAT, IPC_EXCL, IPC_NOWAIT = 0o1000, 0o2000, 0o4000
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
PERMISSIONS = "<iIIIIIH2xI16x"  # struct ipc64_perm: key, uid, gid, cuid, cgid, mode, seq
INDEX_BITS = 15  # of an id; above them a sequence number
INDEX = (1 << INDEX_BITS) - 1
MAX_OF_KIND = 32000


class Object:
    """A semaphore set, message queue or memory segment. `mode`: nine permission bits, and what the kind has beside them."""

    def __init__(self, t, number: int, key: int, mode: int):
        self.id = number
        self.key = key
        self.mode = mode
        self.uid = self.cuid = t.creds.euid
        self.gid = self.cgid = t.creds.egid
        self.ctime = int(time())
        self.removed = False

    def permits(self, creds, wanted: int) -> bool:
        """Whether these credentials have the permission bits `wanted`, given in any of the three places (ipc/util.c: ipcperms)."""
        wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7
        granted = self.mode
        if creds.euid in (self.uid, self.cuid):
            granted >>= 6
        elif any(gid == creds.egid or gid in creds.groups for gid in (self.gid, self.cgid)):
            granted >>= 3
        return not wanted & ~granted or creds.capable(CAP_IPC_OWNER)

    def owned_by(self, creds) -> bool:
        return creds.euid in (self.uid, self.cuid)

    def may_control(self, creds) -> bool:
        """IPC_SET and IPC_RMID."""
        return self.owned_by(creds) or creds.capable(CAP_SYS_ADMIN)

    def permissions(self) -> tuple:
        """The fields of PERMISSIONS."""
        return self.key, self.uid, self.gid, self.cuid, self.cgid, self.mode, self.id >> INDEX_BITS & 0xFFFF, 0

    def set_permissions(self, fields: tuple) -> None:
        """IPC_SET; `fields`: those of PERMISSIONS."""
        self.uid, self.gid = fields[1], fields[2]
        self.mode = self.mode & ~0o777 | fields[5] & 0o777
        self.ctime = int(time())


class Table:
    """The objects of one kind."""

    def __init__(self, most: int):
        self.most = most
        self.by_id = {}
        self.by_key = {}
        self.sequence = 0

    def get(self, number: int) -> "Object | None":
        return self.by_id.get(number)

    def all(self) -> "list[Object]":
        return [self.by_id[number] for number in sorted(self.by_id)]

    def at(self, index: int) -> "Object | None":
        """For the *_STAT commands."""
        return next((found for found in self.all() if found.id & INDEX == index), None)

    def highest(self) -> int:
        return max((number & INDEX for number in self.by_id), default=0)

    def open(self, t, key: int, flags: int, fits, create) -> int:
        """semget(2), msgget(2): an id or -errno. fits(object): is it what is asked for, else EINVAL; create(number): a new Object,
        or -errno."""
        found = self.by_key.get(key) if key else None
        if found is None:
            if key and not flags & IPC_CREAT:
                return -ENOENT
            return self.add(key, create)
        if flags & IPC_CREAT and flags & IPC_EXCL:
            return -EEXIST
        if not fits(found):
            return -EINVAL
        return found.id if found.permits(t.creds, flags) else -EACCES

    def add(self, key: int, create) -> int:
        if len(self.by_id) >= self.most:
            return -ENOSPC
        used = {number & INDEX for number in self.by_id}
        index = next(i for i in range(self.most) if i not in used)
        number = (self.sequence & 0xFFFF) << INDEX_BITS | index
        new = create(number)
        if isinstance(new, int):
            return new
        self.sequence += 1
        self.by_id[number] = new
        if key:
            self.by_key[key] = new
        return number

    def remove(self, found: Object) -> None:
        found.removed = True
        del self.by_id[found.id]
        if found.key:
            self.by_key.pop(found.key, None)
