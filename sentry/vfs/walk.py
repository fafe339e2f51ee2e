"""The path walk (fs/namei.c).

    resolve(t, dirfd, path, flags) -> Path | -errno       the file itself
    parent(t, dirfd, path, flags) -> Last | -errno        the directory and the last name, for create and remove

`flags`: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH; RESOLVE_* shifted left by RESOLVE_SHIFT (openat2); WALK_DIRECTORY.
`t` needs `fs` (FsContext), `creds`, and `files` where dirfd is a descriptor.
"""

from sentry.abi.errno import EACCES, EAGAIN, EBADF, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV
from sentry.abi.fs import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    MAY_EXEC,
    MS_NOSYMFOLLOW,
    NAME_MAX,
    PATH_MAX,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    S_IFLNK,
    S_IFMT,
    SYMLOOP_MAX,
)
from sentry.vfs.atime import touch
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.perm import permission

RESOLVE_SHIFT = 32
WALK_DIRECTORY = 1 << 48  # the result must be a directory

NO_XDEV = RESOLVE_NO_XDEV << RESOLVE_SHIFT
NO_MAGICLINKS = RESOLVE_NO_MAGICLINKS << RESOLVE_SHIFT
NO_SYMLINKS = RESOLVE_NO_SYMLINKS << RESOLVE_SHIFT
BENEATH = RESOLVE_BENEATH << RESOLVE_SHIFT
IN_ROOT = RESOLVE_IN_ROOT << RESOLVE_SHIFT
CACHED = RESOLVE_CACHED << RESOLVE_SHIFT
SCOPED = BENEATH | IN_ROOT
RESOLVE_ANY = NO_XDEV | NO_MAGICLINKS | NO_SYMLINKS | SCOPED | CACHED

SLASH = b"/"  # in the stack of names: what has been reached must be a directory
MISSING = object()

# fs.protected_symlinks, as every distribution sets it (proc(5))
protected_symlinks = True


class Last:
    """A directory and the last component below it, not looked up."""

    __slots__ = ("mount", "dir", "name", "slashes", "links", "root")

    def __init__(self, mount, directory, name, slashes, links, root):
        self.mount = mount
        self.dir = directory
        self.name = name  # None if the path was "/" (only slashes)
        self.slashes = slashes  # the path ended with "/"
        self.links = links  # symbolic links followed so far
        self.root = root

    @property
    def normal(self) -> bool:
        """Is the name something else than ".", ".." or the root?"""
        return self.name is not None and self.name != b"." and self.name != b".."

    def lookup(self) -> "Dentry | None | int":
        """The dentry of the name (mounts on it not entered), None if it does not exist, or -errno."""
        if self.dir.dead:
            return None
        child = self.dir.children.get(self.name, MISSING)
        if child is MISSING or self.mount.revalidate:
            child = lookup_child(self.dir, self.name, child)
        return child


def lookup_child(d: Dentry, name: bytes, child=MISSING) -> "Dentry | None | int":
    """Ask the file system for `name`; `child` is what the cache says (MISSING: nothing)."""
    if d.dead:
        return None
    if len(name) > NAME_MAX:
        return -ENAMETOOLONG
    if child is not MISSING and child is not None and child.mounted:
        return child
    inode = d.inode.lookup(name)
    if type(inode) is int:
        if inode != -ENOENT:
            return inode
        if d.inode.fs.revalidate:
            d.drop(name)
        else:
            d.known_missing(name)
        return None
    if child is not MISSING and child is not None:
        old = child.inode
        if old is inode:
            return child
        if old.ino == inode.ino and (old.mode ^ inode.mode) & S_IFMT == 0:
            child.inode = inode
            return child
        child.dead = True
    return d.add(name, inode)


def names_of(path: bytes) -> "list[bytes]":
    """Components of `path`, last first; a trailing slash becomes SLASH at the front."""
    stack = [name for name in path.split(b"/") if name]
    stack.reverse()
    if path[-1] == 0x2F and stack:
        stack.insert(0, SLASH)
    return stack


def start_of(t, dirfd: int, path: bytes, flags: int):
    """(mount, dentry, root mount, root dentry) where the walk begins, or -errno."""
    fs = t.fs
    root = fs.root
    if path and path[0] == 0x2F and not flags & SCOPED:
        return root.mount, root.dentry, root.mount, root.dentry
    if path and path[0] == 0x2F and flags & BENEATH:
        return -EXDEV
    if dirfd == AT_FDCWD:
        start = fs.cwd
    else:
        file = t.files.get(dirfd)
        if file is None:
            return -EBADF
        start = file.path
        if start is None:
            if path:
                return -ENOTDIR
            start = Path(None, Dentry(None, b"", file.inode))
        elif path and start.dentry.children is None:
            return -ENOTDIR
    if flags & SCOPED:
        return start.mount, start.dentry, start.mount, start.dentry
    return start.mount, start.dentry, root.mount, root.dentry


def resolve(t, dirfd: int, path: bytes, flags: int = 0) -> "Path | int":
    if not path:
        if not flags & AT_EMPTY_PATH:
            return -ENOENT
        start = start_of(t, dirfd, path, flags)
        if type(start) is int:
            return start
        if flags & WALK_DIRECTORY and start[1].children is None:
            return -ENOTDIR
        return Path(start[0], start[1])
    if len(path) >= PATH_MAX:
        return -ENAMETOOLONG
    start = start_of(t, dirfd, path, flags)
    if type(start) is int:
        return start
    mount, d, root_mount, root = start
    result = walk(t, mount, d, names_of(path), flags, 0, root_mount, root, False)
    if type(result) is int:
        return result
    if flags & WALK_DIRECTORY and result[1].children is None:
        return -ENOTDIR
    return Path(result[0], result[1])


def parent(t, dirfd: int, path: bytes, flags: int = 0) -> "Last | int":
    """Walk to the directory of the last component; a symbolic link there is not followed."""
    if not path:
        return -ENOENT
    if len(path) >= PATH_MAX:
        return -ENAMETOOLONG
    start = start_of(t, dirfd, path, flags)
    if type(start) is int:
        return start
    mount, d, root_mount, root = start
    return parent_from(t, mount, d, path, flags, 0, (root_mount, root))


def parent_from(t, mount, d, path, flags, links, root) -> "Last | int":
    stack = names_of(path)
    slashes = bool(stack) and stack[0] is SLASH
    if slashes:
        del stack[0]
    if not stack:
        return Last(mount, d, None, True, links, root)
    result = walk(t, mount, d, stack, flags, links, root[0], root[1], True)
    if type(result) is int:
        return result
    return Last(result[0], result[1], result[2], slashes, result[3], root)


def follow_last(t, last: Last, link: Dentry, flags: int) -> "Last | Path | int":
    """Open with O_CREAT met a symbolic link as the last component: go on to where it leads (a magic link
    leads to a Path at once)."""
    target = link_target(t, last.mount, last.dir, link, flags, last.links + 1, True)
    if type(target) is int or type(target) is Path:
        return target
    mount, d = last.mount, last.dir
    if target[0] == 0x2F:
        if flags & BENEATH:
            return -EXDEV
        mount, d = last.root
    return parent_from(t, mount, d, target, flags, last.links + 1, last.root)


def link_target(t, mount, d, link: Dentry, flags: int, links: int, trailing: bool):
    """Text of a symbolic link in directory `d`, or the Path of a magic one, or -errno (pick_link)."""
    if links > SYMLOOP_MAX or flags & NO_SYMLINKS or mount.flags & MS_NOSYMFOLLOW:
        return -ELOOP
    inode = link.inode
    if trailing and protected_symlinks and t.creds.fsuid != inode.uid:
        directory = d.inode
        if directory.mode & 0o1002 == 0o1002 and directory.uid != inode.uid:
            return -EACCES
    target = inode.follow(t)
    if target is not None:
        if type(target) is int:
            return target
        if flags & NO_MAGICLINKS:
            return -ELOOP
        if flags & SCOPED:
            return -EXDEV
        return target
    target = inode.readlink(t)
    if type(target) is not int:
        if not target:
            return -ENOENT
        touch(mount, inode)
    return target


def walk(t, mount, d, stack, flags, links, root_mount, root, want_parent):
    """Consume `stack`. Returns -errno, (mount, dentry), or with `want_parent` (mount, directory, last name,
    links followed)."""
    creds = t.creds
    revalidate = mount.revalidate if mount is not None else False
    while stack:
        name = stack.pop()
        children = d.children
        if children is None:
            return -ENOTDIR
        if name is SLASH:
            continue
        inode = d.inode
        if inode.mode & 0o111 != 0o111:
            error = permission(creds, inode, MAY_EXEC)
            if error:
                return error
        if want_parent and not stack:
            return mount, d, name, links
        if name == b".":
            continue
        if name == b"..":
            while True:
                if d is root and mount is root_mount:
                    if flags & BENEATH:
                        return -EXDEV
                    break
                if d is not mount.root:
                    if d.parent is not None:
                        d = d.parent
                    break
                if mount.parent is None:
                    break
                if flags & NO_XDEV:
                    return -EXDEV
                d, mount = mount.mountpoint, mount.parent
        else:
            child = children.get(name, MISSING)
            if child is MISSING or revalidate:
                if flags & CACHED:
                    return -EAGAIN
                child = lookup_child(d, name, child)
                if type(child) is int:
                    return child
            if child is None:
                return -ENOENT
            step = child
            if step.inode.mode & S_IFMT == S_IFLNK and (stack or not flags & AT_SYMLINK_NOFOLLOW):
                links += 1
                target = link_target(t, mount, d, step, flags, links, not stack)
                if type(target) is bytes:
                    stack.extend(names_of(target))
                    if target[0] == 0x2F:
                        if flags & BENEATH:
                            return -EXDEV
                        if flags & NO_XDEV and mount is not root_mount:
                            return -EXDEV
                        mount, d = root_mount, root
                    revalidate = mount.revalidate
                    continue
                if type(target) is int:
                    return target
                if flags & NO_XDEV and target.mount is not mount:
                    return -EXDEV
                mount, d = target.mount, target.dentry
                revalidate = mount.revalidate if mount is not None else False
                continue
            d = step
        if d.mounted:
            while d.mounted:
                over = mount.submounts.get(d)
                if over is None:
                    break
                if flags & NO_XDEV:
                    return -EXDEV
                mount, d = over, over.root
            revalidate = mount.revalidate
        elif name == b"..":
            revalidate = mount.revalidate
    return mount, d
