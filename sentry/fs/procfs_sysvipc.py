"""/proc/sysvipc: the objects of System V IPC (proc(5))."""

from sentry.fs.pseudo import TextInode
from sentry.kernel import msg, sem, shm
from sentry.mm.manager import page_up

MSG = b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n"
SEM = b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
SHM = (
    b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
    b"      atime      dtime      ctime                   rss                  swap\n"
)


def owners(found) -> tuple:
    return found.uid, found.gid, found.cuid, found.cgid


def queues(t) -> bytes:
    return MSG + b"".join(
        b"%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n"
        % (q.key, q.id, q.mode, q.bytes, len(q.messages), q.lspid, q.lrpid, *owners(q), q.stime, q.rtime, q.ctime)
        for q in msg.TABLE.all()
    )


def sets(t) -> bytes:
    return SEM + b"".join(
        b"%10d %10d  %4o %10d %5d %5d %5d %5d %10d %10d\n" % (s.key, s.id, s.mode, len(s.values), *owners(s), s.otime, s.ctime)
        for s in sem.TABLE.all()
    )


def segments(t) -> bytes:
    return SHM + b"".join(
        b"%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n"
        % (s.key, s.id, s.mode, s.size, s.cpid, s.lpid, s.attached(t.kernel), *owners(s), s.atime, s.dtime, s.ctime, page_up(s.size), 0)
        for s in shm.segments()
    )


def fill(root) -> None:
    """Put the directory into the root of a proc file system."""
    directory = root.directory(b"sysvipc")
    for name, text in ((b"msg", queues), (b"sem", sets), (b"shm", segments)):
        directory.add(name, TextInode(root.fs, 0o444, text))
