"""memfd_create."""

from sentry.abi.errno import EINVAL, ENOSYS
from sentry.core.syscall import Str, U32, syscall
from sentry.fs.memfd import F_SEAL_EXEC, F_SEAL_SEAL, new_memfd
from sentry.syscalls.fdpair import install_new
from sentry.vfs.file import O_LARGEFILE, O_RDWR

MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC = 1, 2, 4, 8, 16
HUGE_SIZE_MASK = 0x3F << 26
NAME_MAX = 249


@syscall("memfd_create", 319, (Str, U32))
def sys_memfd_create(t, name_addr, flags):
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC
    if flags & MFD_HUGETLB:
        known |= HUGE_SIZE_MASK
    if flags & ~known or flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL:
        return -EINVAL
    name = t.read_cstr(name_addr, NAME_MAX + 1)
    if len(name) > NAME_MAX:
        return -EINVAL
    if flags & MFD_HUGETLB:
        return -ENOSYS  # as without huge pages (CONFIG_HUGETLBFS off)
    seals = F_SEAL_SEAL
    mode = 0o777
    if flags & MFD_NOEXEC_SEAL:
        mode, seals = 0o666, F_SEAL_EXEC
    elif flags & MFD_ALLOW_SEALING:
        seals = 0
    inode, path = new_memfd(t.creds.fsuid, t.creds.fsgid, name, mode, seals)
    file = inode.open(t, path, O_RDWR | O_LARGEFILE)
    return install_new(t, file, bool(flags & MFD_CLOEXEC))
