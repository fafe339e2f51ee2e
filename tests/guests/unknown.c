/* Calls that do not exist, or that no container may make: the error each gives. */
#include "check.h"
#include <sys/reboot.h>

int main(void)
{
    GUARD(60);

    SECTION("no such number");
    long numbers[] = {345, 400, 420, 600, 1000, 5000, 0x7fffffff, -1, -2, -1000, 0x100000000 + 39};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        errno = 0;
        long result = syscall(numbers[i], 0, 0, 0, 0, 0, 0);
        say("call %ld: %s", numbers[i], result == -1 ? errname(errno) : result == getpid() ? "the process id" : "a result");
    }

    SECTION("removed from Linux");
    long removed[] = {SYS__sysctl, SYS_create_module, SYS_get_kernel_syms, SYS_query_module, SYS_nfsservctl, SYS_getpmsg, SYS_putpmsg, SYS_afs_syscall,
                      SYS_tuxcall, SYS_security, SYS_vserver, SYS_epoll_ctl_old, SYS_epoll_wait_old, SYS_set_thread_area, SYS_get_thread_area};
    for (unsigned i = 0; i < sizeof removed / sizeof *removed; i++) {
        errno = 0;
        syscall(removed[i], 0, 0, 0, 0, 0, 0);
        say("call %ld: %s", removed[i], errname(errno));
    }

    SECTION("the machine's business, refused to a user");
    setresgid(1000, 1000, 1000);
    setresuid(1000, 1000, 1000);
    RES(reboot(RB_AUTOBOOT));
    RES(syscall(SYS_swapon, "x", 0));
    RES(syscall(SYS_swapoff, "x"));
    RES(syscall(SYS_acct, 0));
    RES(syscall(SYS_vhangup));
    RES(syscall(SYS_settimeofday, &(struct timeval){1, 0}, 0));
    RES(clock_settime(CLOCK_REALTIME, &(struct timespec){1, 0}));
    RES(syscall(SYS_syslog, 3, (void *)8, 100));

    SECTION("odd corners");
    RES(syscall(SYS_arch_prctl, 0x9999, 0));
    unsigned long base = 0;
    RES(syscall(SYS_arch_prctl, 0x1003, &base));
    IS(base != 0);
    RES(syscall(SYS_arch_prctl, 0x1003, 8));
    RES(syscall(SYS_arch_prctl, 0x1002, 0xffff800000000000));
    RES(syscall(SYS_personality, 0xffffffff));
    RES(syscall(SYS_sysfs, 3) > 0);
    RES(syscall(SYS_ustat, 0, 8));
    RES(syscall(SYS_set_tid_address, 0) == getpid());
    RES(syscall(SYS_membarrier, 0, 0, 0) > 0);
    RES(syscall(SYS_membarrier, 99999, 0, 0));
    RES(syscall(SYS_pidfd_open, -1, 0));
    RES(syscall(SYS_pidfd_open, 99999, 0));
    RES(syscall(SYS_pidfd_open, getpid(), 0x100));
    int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
    IS(pidfd >= 0);
    RES(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
    RES(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
    return 0;
}
