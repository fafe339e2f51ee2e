/* wait4 and waitid with all their options; what a parent learns. */
#include "check.h"

static void show_info(const char *what, siginfo_t *info, pid_t pid)
{
    const char *codes[] = {"0", "CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"};
    say("%s: %s %s status %d pid %s uid %d", what, signame(info->si_signo),
        info->si_code >= 0 && info->si_code < 7 ? codes[info->si_code] : "?", info->si_status,
        info->si_pid == pid ? "right" : info->si_pid == 0 ? "0" : "other", info->si_uid);
}

static pid_t exits(int code)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(code);
    return pid;
}

static pid_t pauses(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

int main(void)
{
    int status;
    siginfo_t info;
    struct rusage usage;
    pid_t pid;
    GUARD(60);

    SECTION("nothing to wait for");
    RES(wait(&status));
    RES(waitpid(-1, &status, WNOHANG));
    RES(waitpid(getpid(), &status, 0));
    RES(waitpid(1, &status, 0));
    RES(waitpid(99999, &status, 0));
    RES(waitpid(-99999, &status, 0));
    RES(waitpid(-1, &status, 0x100));
    RES(waitpid(INT_MIN, &status, 0));
    RES(waitid(P_ALL, 0, &info, WEXITED));
    RES(waitid(P_PID, 0, &info, WEXITED));
    RES(waitid(P_PID, -1, &info, WEXITED));
    RES(waitid(P_PGID, -5, &info, WEXITED));
    RES(waitid(P_ALL, 0, &info, 0));
    RES(waitid(P_ALL, 0, &info, WNOHANG));
    RES(waitid(77, 0, &info, WEXITED));
    RES(waitid(P_ALL, 0, &info, WEXITED | 0x100));

    SECTION("exits");
    reap("code 0", exits(0));
    reap("code 255", exits(255));
    pid = exits(3);
    IS(wait4(pid, &status, 0, &usage) == pid);
    show_status("wait4", status);
    IS(usage.ru_maxrss >= 0);
    pid = exits(4);
    IS(wait(NULL) == pid);
    pid = exits(4);
    RES(wait4(pid, (int *)8, 0, NULL));
    RES(wait4(pid, &status, 0, NULL));

    SECTION("kills");
    int signals[] = {SIGKILL, SIGTERM, SIGSEGV, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE, 40};
    for (int i = 0; i < 8; i++) {
        pid = pauses();
        kill(pid, signals[i]);
        reap(signame(signals[i]), pid);
    }

    SECTION("WNOHANG");
    pid = pauses();
    RES(waitpid(pid, &status, WNOHANG));
    memset(&info, 0x55, sizeof info);
    RES(waitid(P_PID, pid, &info, WEXITED | WNOHANG));
    NUM(info.si_pid);
    NUM(info.si_signo);
    kill(pid, SIGTERM);
    while ((status = -1, waitpid(pid, &status, WNOHANG)) == 0)
        sleep_ms(1);
    show_status("later", status);
    RES(waitpid(pid, &status, WNOHANG));

    SECTION("WNOWAIT");
    pid = exits(17);
    memset(&info, 0, sizeof info);
    RES(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    show_info("first", &info, pid);
    RES(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    show_info("second", &info, pid);
    RES(kill(pid, 0));
    RES(kill(pid, SIGTERM));
    say("state %c", state_of(pid));
    RES(waitid(P_PID, pid, &info, WEXITED));
    show_info("third", &info, pid);
    RES(waitid(P_PID, pid, &info, WEXITED));
    RES(kill(pid, 0));

    SECTION("waitid kinds");
    pid = exits(18);
    RES(waitid(P_ALL, 0, &info, WEXITED));
    show_info("P_ALL", &info, pid);
    pid = exits(19);
    RES(waitid(P_PGID, getpgrp(), &info, WEXITED));
    show_info("P_PGID", &info, pid);
    pid = exits(20);
    RES(waitid(P_PGID, 0, &info, WEXITED));
    show_info("P_PGID 0", &info, pid);
    pid = pauses();
    kill(pid, SIGKILL);
    RES(waitid(P_PID, pid, &info, WEXITED));
    show_info("killed", &info, pid);
    pid = exits(21);
    RES(waitid(P_PID, pid, NULL, WEXITED));
    pid = exits(22);
    RES(syscall(SYS_waitid, P_PID, pid, (void *)8, WEXITED, NULL));
    pid = exits(23);
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        RES(waitid(P_PIDFD, pidfd, &info, WEXITED));
        show_info("P_PIDFD", &info, pid);
    }
    RES(waitid(P_PIDFD, 999, &info, WEXITED));

    SECTION("stop and continue");
    pid = pauses();
    RES(kill(pid, SIGSTOP));
    IS(waitpid(pid, &status, WUNTRACED) == pid);
    show_status("WUNTRACED", status);
    RES(waitpid(pid, &status, WUNTRACED | WNOHANG));
    say("state %c", state_of(pid));
    RES(kill(pid, SIGCONT));
    IS(waitpid(pid, &status, WCONTINUED) == pid);
    show_status("WCONTINUED", status);
    RES(waitpid(pid, &status, WCONTINUED | WUNTRACED | WNOHANG));
    RES(kill(pid, SIGSTOP));
    RES(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT));
    show_info("stopped, WNOWAIT", &info, pid);
    RES(waitid(P_PID, pid, &info, WSTOPPED));
    show_info("stopped", &info, pid);
    RES(kill(pid, SIGCONT));
    RES(waitid(P_PID, pid, &info, WCONTINUED));
    show_info("continued", &info, pid);
    RES(kill(pid, SIGSTOP));
    waitpid(pid, &status, WUNTRACED);
    RES(kill(pid, SIGTERM));
    sleep_ms(5);
    RES(waitpid(pid, &status, WNOHANG));
    RES(kill(pid, SIGCONT));
    reap("pending TERM after CONT", pid);
    pid = pauses();
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    kill(pid, SIGKILL);
    reap("KILL while stopped", pid);

    SECTION("process groups");
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        _exit(30);
    }
    setpgid(pid, pid);
    RES(waitpid(0, &status, 0));
    IS(waitpid(-pid, &status, 0) == pid);
    show_status("own group", status);

    SECTION("SIGCHLD ignored: children vanish");
    signal(SIGCHLD, SIG_IGN);
    pid = exits(1);
    RES(waitpid(pid, &status, 0));
    pid = exits(1);
    RES(wait(&status));
    signal(SIGCHLD, SIG_DFL);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    RES(sigaction(SIGCHLD, &action, NULL));
    pid = exits(1);
    RES(waitpid(pid, &status, 0));
    signal(SIGCHLD, SIG_DFL);
    reap("again a zombie", exits(31));

    SECTION("order of several");
    pid_t first = exits(1);
    await_state(first, 'Z');
    pid_t second = exits(2);
    await_state(second, 'Z');
    IS(wait(&status) == first);
    IS(wait(&status) == second);
    RES(wait(&status));

    SECTION("usage of children");
    pid = fork();
    if (pid == 0) {
        struct rusage own;
        do
            getrusage(RUSAGE_SELF, &own);
        while (own.ru_utime.tv_usec + own.ru_stime.tv_usec + 1000000 * (own.ru_utime.tv_sec + own.ru_stime.tv_sec) < 30000);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    RES(getrusage(RUSAGE_CHILDREN, &usage));
    IS(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec >= 25000 || usage.ru_utime.tv_sec + usage.ru_stime.tv_sec > 0);
    return 0;
}
