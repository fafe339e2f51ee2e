"""Calls that are deliberately not implemented, each with the errno that tells programs so and the reason. A number
without any entry answers ENOSYS as well, but is logged as unknown."""

from sentry.abi.errno import ENOSYS, EPERM
from sentry.core.syscall import UNSUPPORTED, syscall


def refuse(name, nr, errno, note):
    def handler(t):
        return -errno

    syscall(name, nr, (), level=UNSUPPORTED, note=note)(handler)


for _name, _nr, _errno, _note in (
    ("bpf", 321, EPERM, "as for an unprivileged user"),
    ("perf_event_open", 298, EPERM, "as with kernel.perf_event_paranoid 3"),
    ("userfaultfd", 323, EPERM, "as with vm.unprivileged_userfaultfd 0"),
    ("io_uring_setup", 425, ENOSYS, "as with CONFIG_IO_URING off"),
    ("io_uring_enter", 426, ENOSYS, "as with CONFIG_IO_URING off"),
    ("io_uring_register", 427, ENOSYS, "as with CONFIG_IO_URING off"),
    ("rseq", 334, ENOSYS, "needs the host kernel's scheduler; C libraries do without"),
    ("add_key", 248, ENOSYS, "no key rings"),
    ("request_key", 249, ENOSYS, "no key rings"),
    ("keyctl", 250, ENOSYS, "no key rings"),
    ("kexec_load", 246, EPERM, "no CAP_SYS_BOOT over the host"),
    ("kexec_file_load", 320, EPERM, "no CAP_SYS_BOOT over the host"),
    ("init_module", 175, EPERM, "no modules"),
    ("finit_module", 313, EPERM, "no modules"),
    ("delete_module", 176, EPERM, "no modules"),
    ("iopl", 172, EPERM, "no ports"),
    ("ioperm", 173, EPERM, "no ports"),
    ("swapon", 167, EPERM, "no swap"),
    ("swapoff", 168, EPERM, "no swap"),
    ("acct", 163, EPERM, "no process accounting"),
    ("quotactl", 179, ENOSYS, "no quotas"),
    ("quotactl_fd", 443, ENOSYS, "no quotas"),
    ("nfsservctl", 180, ENOSYS, "removed in Linux 3.1"),
    ("_sysctl", 156, ENOSYS, "removed in Linux 5.5"),
    ("create_module", 174, ENOSYS, "removed in Linux 2.6"),
    ("get_kernel_syms", 177, ENOSYS, "removed in Linux 2.6"),
    ("query_module", 178, ENOSYS, "removed in Linux 2.6"),
    ("uselib", 134, ENOSYS, "as with CONFIG_USELIB off"),
    ("getpmsg", 181, ENOSYS, "never in Linux"),
    ("putpmsg", 182, ENOSYS, "never in Linux"),
    ("afs_syscall", 183, ENOSYS, "never in Linux"),
    ("tuxcall", 184, ENOSYS, "never in Linux"),
    ("security", 185, ENOSYS, "never in Linux"),
    ("vserver", 236, ENOSYS, "never in Linux"),
    ("lookup_dcookie", 212, ENOSYS, "removed in Linux 6.7"),
    ("epoll_ctl_old", 214, ENOSYS, "never in Linux"),
    ("epoll_wait_old", 215, ENOSYS, "never in Linux"),
    ("set_thread_area", 205, ENOSYS, "no 32-bit programs"),
    ("get_thread_area", 211, ENOSYS, "no 32-bit programs"),
    ("modify_ldt", 154, ENOSYS, "as with CONFIG_MODIFY_LDT_SYSCALL off"),
    ("memfd_secret", 447, ENOSYS, "as with secretmem off"),
    ("landlock_create_ruleset", 444, ENOSYS, "as with CONFIG_SECURITY_LANDLOCK off"),
    ("landlock_add_rule", 445, ENOSYS, "as with CONFIG_SECURITY_LANDLOCK off"),
    ("landlock_restrict_self", 446, ENOSYS, "as with CONFIG_SECURITY_LANDLOCK off"),
    ("fanotify_init", 300, ENOSYS, "as with CONFIG_FANOTIFY off"),
    ("fanotify_mark", 301, ENOSYS, "as with CONFIG_FANOTIFY off"),
    ("map_shadow_stack", 453, ENOSYS, "no shadow stacks"),
    ("reboot", 169, EPERM, "the container's life is the runtime's business"),
    ("vhangup", 153, EPERM, "no console to hang up"),
):
    refuse(_name, _nr, _errno, _note)
