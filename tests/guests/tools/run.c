/* run DIRECTORY PROGRAM [ARGUMENT…]: runs a guest program as a child of init-like surroundings that
 * are the same natively and in the sandbox: a fresh working directory, descriptors 0 1 2 only, a
 * fixed environment, default signals, umask 022, its own session. Says how it ended. */
#include "../check.h"
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", NULL};
    if (argc < 3) {
        say("usage: run DIRECTORY PROGRAM [ARGUMENT...]");
        return 2;
    }
    /* A new network namespace has its loopback interface down; the sandbox's is up. */
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    close_range(3, ~0U, 0);
    umask(022);
    /* The kernel's own call: the C library keeps 32 and 33 to itself, and a caller may have left them ignored. */
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } deflt = {0};
    for (int i = 1; i < 65; i++)
        syscall(SYS_rt_sigaction, i, &deflt, NULL, 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct rlimit files = {1024, 4096}, core = {0, 0};
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    if (mkdir(argv[1], 0755) < 0 && errno != EEXIST) {
        say("mkdir %s: %s", argv[1], errname(errno));
        return 2;
    }
    if (chdir(argv[1]) < 0) {
        say("chdir %s: %s", argv[1], errname(errno));
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 0);
        setsid();
        execve(argv[2], argv + 2, environment);
        say("exec %s: %s", argv[2], errname(errno));
        _exit(127);
    }
    int status = 0, last = 0;
    for (;;) {
        pid_t got = wait(&status);
        if (got == pid) {
            last = status;
            show_status("program", status);
            kill(-pid, SIGKILL);
            break;
        }
        if (got < 0 && errno != EINTR) {
            say("wait: %s", errname(errno));
            break;
        }
    }
    return last ? 1 : 0;
}
