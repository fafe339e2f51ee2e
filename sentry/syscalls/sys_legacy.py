"""Calls that only old programs make: sysfs ustat."""

from sentry.abi.errno import EINVAL
from sentry.core.syscall import Int, Ptr, U32, ULong, syscall
from sentry.vfs.mount import FILE_SYSTEMS


@syscall("sysfs", 139, (Int, ULong, Ptr))
def sys_sysfs(t, option, arg1, arg2):
    # fs/filesystems.c
    names = list(FILE_SYSTEMS)
    if option == 1:
        name = t.read_cstr(arg1, 4096)
        return names.index(name) if name in names else -EINVAL
    if option == 2:
        index = arg1 & 0xFFFFFFFF
        if index >= len(names):
            return -EINVAL
        t.write(arg2, names[index] + b"\0")
        return 0
    return len(names) if option == 3 else -EINVAL


@syscall("ustat", 136, (U32, Ptr))
def sys_ustat(t, dev, addr):
    # struct ustat: blocks, inodes free, two empty names
    for mount in t.fs.ns.mounts():
        fs = mount.fs
        if dev & 0xFFFFFFFF == fs.dev:
            numbers = fs.statfs()
            if type(numbers) is int:
                return numbers
            t.write(addr, (numbers[3] & 0xFFFFFFFF).to_bytes(8, "little") + numbers[6].to_bytes(8, "little") + bytes(16))
            return 0
    return -EINVAL
