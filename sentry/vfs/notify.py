"""File events for inotify(7): file operations call these, `fs/inotify.py` listens in `Inode.watches`."""

from stat import S_ISDIR

from sentry.abi.fs import (
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
)

_cookie = 0
active = 0  # watches in the whole sandbox: nothing is looked at while this is 0


def fire(inode, mask: int, name: bytes = b"", cookie: int = 0) -> None:
    for watch in tuple(inode.watches):
        watch.event(mask, name, cookie)


def changed(d, mask: int) -> None:
    """Something happened to the file `d`: tell those who watch it and those who watch its directory."""
    if not active:
        return
    inode = d.inode
    if S_ISDIR(inode.mode):
        mask |= IN_ISDIR
    parent = d.parent
    if parent is not None and parent.inode.watches:
        fire(parent.inode, mask, d.name)
    if inode.watches:
        fire(inode, mask)


def created(directory, name: bytes, inode) -> None:
    if active and directory.watches:
        fire(directory, IN_CREATE | (IN_ISDIR if S_ISDIR(inode.mode) else 0), name)


def deleted(directory, name: bytes, inode) -> None:
    """A name is gone; `inode.nlink` is up to date."""
    if not active:
        return
    is_dir = IN_ISDIR if S_ISDIR(inode.mode) else 0
    if inode.watches and not is_dir:
        fire(inode, IN_ATTRIB)
    if directory.watches:
        fire(directory, IN_DELETE | is_dir, name)
    closed(inode)


def closed(inode) -> None:
    """The last name or the last open file may be gone: then the file is."""
    if inode.nlink == 0 and inode.opens == 0 and inode.watches:
        fire(inode, IN_DELETE_SELF)
        for watch in tuple(inode.watches or ()):
            watch.remove()


def moved(old_dir, old_name: bytes, new_dir, new_name: bytes, inode) -> None:
    global _cookie
    if not active:
        return
    _cookie += 1
    is_dir = IN_ISDIR if S_ISDIR(inode.mode) else 0
    if old_dir.watches:
        fire(old_dir, IN_MOVED_FROM | is_dir, old_name, _cookie)
    if new_dir.watches:
        fire(new_dir, IN_MOVED_TO | is_dir, new_name, _cookie)
    if inode.watches:
        fire(inode, IN_MOVE_SELF)


def replaced(inode) -> None:
    """A rename took the name of `inode`."""
    fire(inode, IN_ATTRIB)
    closed(inode)


def linked(directory, name: bytes, inode) -> None:
    """`inode` has got another name."""
    if not active:
        return
    if inode.watches:
        fire(inode, IN_ATTRIB)
    if directory.watches:
        fire(directory, IN_CREATE, name)
