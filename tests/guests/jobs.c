/* Sessions, process groups, orphans, subreapers, controlling terminals of background groups, kill's targets. */
#include "check.h"
#include <sys/prctl.h>

static void handler(int number) { (void)number; }

int main(int argc, char **argv)
{
    int p[2], status;
    if (argc > 1) {
        write(atoi(argv[1]), "x", 1);
        pause();
    }
    char byte;
    pid_t pid, me = getpid();
    GUARD(60);

    SECTION("this process leads its session");
    IS(getpgrp() == me);
    IS(getsid(0) == me);
    RES(setsid());
    RES(setpgid(0, 0));
    RES(setpgid(0, -1));
    RES(setpgid(-1, 0));
    RES(setpgid(99999, 0));
    RES(getpgid(99999));
    RES(getsid(99999));
    RES(getpgid(-1));
    IS(getpgid(0) == me);

    SECTION("groups of children");
    pid = fork();
    if (pid == 0) {
        IS(getpgrp() == me);
        RES(setpgid(0, 0));
        IS(getpgrp() == getpid());
        IS(getsid(0) == me);
        RES(setpgid(0, me));
        IS(getpgrp() == me);
        RES(setpgid(0, 77777));
        RES(setpgid(getppid(), 0));
        OK(setsid());
        IS(getsid(0) == getpid() && getpgrp() == getpid());
        RES(setpgid(0, me));
        CHILD("in another session", RES(setpgid(0, me)); IS(getsid(0) == getppid()));
        _exit(0);
    }
    reap("child", pid);
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    RES(setpgid(pid, pid));
    IS(getpgid(pid) == pid);
    kill(pid, SIGKILL);
    reap("killed", pid);
    pipe(p);
    pid = fork();
    if (pid == 0) {
        char text[20];
        sprintf(text, "%d", p[1]);
        execl("/proc/self/exe", "jobs", text, NULL);
    }
    RES(read(p[0], &byte, 1));
    RES(setpgid(pid, pid));
    kill(pid, SIGKILL);
    reap("after its exec a child may not be moved", pid);

    SECTION("kill and its targets");
    pid_t group = 0;
    pid_t members[3];
    for (int i = 0; i < 3; i++) {
        members[i] = fork();
        if (members[i] == 0) {
            for (;;)
                pause();
        }
        if (!group)
            group = members[i];
        setpgid(members[i], group);
    }
    RES(kill(-group, 0));
    RES(kill(-group, SIGTERM));
    for (int i = 0; i < 3; i++)
        reap("member", members[i]);
    RES(kill(-group, 0));
    RES(kill(-group, SIGTERM));
    signal(SIGUSR1, handler);
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        signal(SIGUSR1, SIG_DFL);
        RES(kill(0, SIGUSR1));
        _exit(0);
    }
    reap("kill(0) hits its own group", pid);
    pid = fork();
    if (pid == 0) {
        setresuid(1000, 1000, 1000);
        RES(kill(me, SIGUSR1));
        RES(kill(me, 0));
        RES(kill(me, SIGCONT));
        RES(kill(1, SIGCONT));
        RES(kill(getpid(), 0));
        _exit(0);
    }
    reap("a user may only continue its session", pid);

    SECTION("orphans");
    pipe(p);
    pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            while (getppid() == parent)
                sleep_ms(1);
            byte = getppid() == me ? 'm' : 'i';
            write(p[1], &byte, 1);
            _exit(0);
        }
        _exit(0);
    }
    reap("parent", pid);
    read(p[0], &byte, 1);
    say("adopted by %c (init or reaper, not me)", byte);
    NUM(prctl(PR_SET_CHILD_SUBREAPER, 1));
    prctl(PR_GET_CHILD_SUBREAPER, &status);
    NUM(status);
    pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        prctl(PR_GET_CHILD_SUBREAPER, &status);
        NUM(status);
        if (fork() == 0) {
            while (getppid() == parent)
                sleep_ms(1);
            byte = getppid() == me ? 'm' : 'i';
            write(p[1], &byte, 1);
            _exit(5);
        }
        _exit(0);
    }
    reap("parent", pid);
    read(p[0], &byte, 1);
    say("adopted by %c (me)", byte);
    IS(wait(&status) > 0);
    show_status("adopted child", status);
    prctl(PR_SET_CHILD_SUBREAPER, 0);

    SECTION("stop signals and orphaned groups");
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        raise(SIGTSTP);
        _exit(3);
    }
    waitpid(pid, &status, WUNTRACED);
    show_status("TSTP stops a group whose leader's parent is in the session", status);
    kill(pid, SIGCONT);
    reap("goes on", pid);
    pid = fork();
    if (pid == 0) {
        setsid();
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
        _exit(4);
    }
    reap("TSTP does nothing in an orphaned group", pid);
    pid = fork();
    if (pid == 0) {
        setsid();
        raise(SIGSTOP);
        _exit(5);
    }
    waitpid(pid, &status, WUNTRACED);
    show_status("but STOP does", status);
    kill(pid, SIGCONT);
    reap("goes on", pid);

    SECTION("a stopped group that becomes orphaned gets HUP and CONT");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid = fork();
    if (pid == 0) {
        setsid();
        pid_t middle = fork();
        if (middle == 0) {
            setpgid(0, 0);
            pid_t stopped = fork();
            if (stopped == 0) {
                raise(SIGSTOP);
                pause();
            }
            waitpid(stopped, &status, WUNTRACED);
            _exit(0);
        }
        waitpid(middle, &status, 0);
        _exit(6);
    }
    reap("session leader", pid);
    IS(wait(&status) > 0);
    show_status("the stopped one", status);
    prctl(PR_SET_CHILD_SUBREAPER, 0);

    SECTION("SIGCONT continues even when blocked or ignored");
    pid = fork();
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGCONT);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGSTOP);
        sigpending(&set);
        _exit(sigismember(&set, SIGCONT) ? 7 : 8);
    }
    waitpid(pid, &status, WUNTRACED);
    kill(pid, SIGCONT);
    reap("blocked", pid);
    pid = fork();
    if (pid == 0) {
        signal(SIGCONT, SIG_IGN);
        raise(SIGSTOP);
        _exit(9);
    }
    waitpid(pid, &status, WUNTRACED);
    kill(pid, SIGCONT);
    reap("ignored", pid);
    pid = fork();
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTSTP);
        sigaddset(&set, SIGCONT);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGTSTP);
        raise(SIGCONT);
        sigpending(&set);
        int first = sigismember(&set, SIGTSTP) * 2 + sigismember(&set, SIGCONT);
        raise(SIGTSTP);
        sigpending(&set);
        _exit(first * 10 + sigismember(&set, SIGTSTP) * 2 + sigismember(&set, SIGCONT));
    }
    reap("stop and CONT cancel each other while pending", pid);

    SECTION("SIGCHLD of stops");
    sigset_t chld;
    struct timespec zero = {0, 0};
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    while (sigtimedwait(&chld, NULL, &zero) > 0)
        ;
    siginfo_t info;
    pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    kill(pid, SIGSTOP);
    sigwaitinfo(&chld, &info);
    say("code %d status %d", info.si_code, info.si_status);
    kill(pid, SIGCONT);
    sigwaitinfo(&chld, &info);
    say("code %d status %d", info.si_code, info.si_status);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    RES(sigtimedwait(&chld, NULL, &zero));
    kill(pid, SIGKILL);
    sigwaitinfo(&chld, &info);
    say("code %d status %d", info.si_code, info.si_status);
    reap("killed", pid);
    return 0;
}
