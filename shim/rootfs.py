"""The mounts of a container's root, as containerd's snapshotters describe them (mount(2))."""

import os

from sandbox import _host

FLAGS = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "dirsync": 128, "noatime": 1024, "nodiratime": 2048,
    "bind": 4096, "rbind": 4096 | 16384, "relatime": 1 << 21, "strictatime": 1 << 24,
}  # fmt: skip
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MNT_DETACH = 2


def mount(entries, target) -> None:
    """Mount one above the other; entries have type, source, target and options. OSError."""
    for entry in entries:
        flags, data = 0, []
        for option in entry.options:
            if option in FLAGS:
                flags |= FLAGS[option]
            elif option not in ("rw", "defaults"):
                data.append(option)
        place = os.path.join(target, entry.target.lstrip("/")) if entry.target else target
        os.makedirs(place, 0o711, exist_ok=True)
        _host.mount(entry.source, place, None if flags & MS_BIND else entry.type, flags, ",".join(data))
        if flags & MS_BIND and flags & ~(MS_BIND | MS_REC):  # a bind mount takes its flags only afterwards
            _host.mount(None, place, None, flags & ~MS_REC | MS_REMOUNT)


def unmount(target) -> None:
    """Take all mounts on `target` away."""
    with open("/proc/self/mountinfo", "rb") as file:
        name = os.fsencode(os.path.realpath(target)).replace(b" ", b"\\040")
        count = sum(line.split(b" ")[4] == name for line in file)
    for _ in range(count):
        _host.umount2(target, MNT_DETACH)
