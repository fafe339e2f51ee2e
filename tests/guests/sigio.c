/* SIGIO, SIGURG and who gets them: O_ASYNC, F_SETOWN, F_SETSIG on sockets, pipes and terminals. */
#include "check.h"
#include <sys/ioctl.h>
#include <sys/un.h>
#include <termios.h>

static sigset_t all;

/* The signals that are pending, each with what it carries. */
static void pending(const char *what)
{
    siginfo_t info;
    struct timespec none = {0, 0};
    int n = 0, sig;
    while ((sig = sigtimedwait(&all, &info, &none)) > 0) {
        n++;
        if (info.si_code == SI_KERNEL)
            say("%s: signal %d from the kernel", what, sig);
        else
            say("%s: signal %d code %d band %#lx fd %d", what, sig, info.si_code, info.si_band, info.si_fd);
    }
    if (!n)
        say("%s: none", what);
}

static void async(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);
    RES(fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC));
}

int main(void)
{
    int s[2], p[2], value;
    char buf[64];
    GUARD(60);
    sigemptyset(&all);
    sigaddset(&all, SIGIO);
    sigaddset(&all, SIGURG);
    sigaddset(&all, SIGUSR1);
    sigaddset(&all, SIGCHLD);
    sigaddset(&all, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &all, NULL);

    SECTION("socket");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    RES(fcntl(s[0], F_GETOWN));
    write(s[1], "x", 1);
    pending("not asked");
    async(s[0], 1);
    IS((fcntl(s[0], F_GETFL) & O_ASYNC) != 0);
    write(s[1], "x", 1);
    pending("without owner");
    RES(fcntl(s[0], F_SETOWN, getpid()));
    pending("owner set");
    write(s[1], "x", 1);
    pending("data");
    write(s[1], "x", 1);
    write(s[1], "x", 1);
    pending("data twice");
    RES(fcntl(s[0], F_SETSIG, SIGRTMIN + 3));
    write(s[1], "x", 1);
    write(s[1], "x", 1);
    pending("queued");
    RES(fcntl(s[0], F_SETSIG, SIGCHLD));
    write(s[1], "x", 1);
    pending("a signal with codes of its own");
    RES(fcntl(s[0], F_SETSIG, SIGUSR1));
    write(s[1], "x", 1);
    pending("another");
    RES(send(s[1], "!", 1, MSG_OOB));
    pending("urgent");
    RES(fcntl(s[0], F_SETSIG, 0));
    RES(send(s[1], "!", 1, MSG_OOB));
    pending("urgent");
    async(s[0], 0);
    RES(send(s[1], "!", 1, MSG_OOB));
    pending("urgent without O_ASYNC");
    write(s[1], "x", 1);
    pending("off");
    value = 1;
    RES(ioctl(s[0], FIOASYNC, &value));
    IS((fcntl(s[0], F_GETFL) & O_ASYNC) != 0);
    int copy = dup(s[0]);
    close(s[0]);
    fcntl(copy, F_SETSIG, SIGRTMIN + 3);
    write(s[1], "x", 1);
    pending("the descriptor is closed, a copy is not");
    shutdown(s[1], SHUT_WR);
    pending("shutdown");
    close(s[1]);
    pending("the peer has gone");
    close(copy);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    async(s[0], 1);
    value = getpid();
    RES(ioctl(s[0], FIOSETOWN, &value));
    value = 0;
    RES(ioctl(s[0], FIOGETOWN, &value));
    IS(value == getpid());
    write(s[1], "x", 1);
    pending("datagram");
    RES(fcntl(s[0], F_SETOWN, -getpgrp()));
    IS(fcntl(s[0], F_GETOWN) == -getpgrp());
    write(s[1], "x", 1);
    pending("group");
    struct f_owner_ex owner = {F_OWNER_TID, gettid()};
    RES(fcntl(s[0], F_SETOWN_EX, &owner));
    write(s[1], "x", 1);
    pending("thread");
    owner = (struct f_owner_ex){F_OWNER_PID, 0};
    RES(fcntl(s[0], F_SETOWN_EX, &owner));
    write(s[1], "x", 1);
    pending("nobody");
    RES(fcntl(s[0], F_SETOWN, 999999));
    RES(fcntl(s[0], F_SETOWN, -999999));
    owner = (struct f_owner_ex){9, 0};
    RES(fcntl(s[0], F_SETOWN_EX, &owner));
    pid_t pid = fork();
    if (pid == 0) {
        fcntl(s[0], F_SETOWN, getpid());
        write(s[1], "x", 1);
        pending("child");
        _exit(0);
    }
    reap("child", pid);
    while (sigtimedwait(&all, NULL, &(struct timespec){0, 0}) > 0)
        ;
    write(s[1], "x", 1);
    pending("its owner has ended");
    setresuid(-1, 55, -1);
    setresuid(-1, 0, -1);
    close(s[0]), close(s[1]);

    SECTION("listener");
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0sigio"};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, (void *)&address, 8);
    fcntl(listener, F_SETOWN, getpid());
    async(listener, 1);
    listen(listener, 3);
    pending("listens");
    connect(client, (void *)&address, 8);
    pending("connected");
    int server = accept(listener, NULL, NULL);
    pending("accepted");
    NUM((fcntl(server, F_GETFL) & O_ASYNC) != 0);
    close(server), close(client), close(listener);

    SECTION("pipe");
    pipe(p);
    for (int i = 0; i < 2; i++) {
        fcntl(p[i], F_SETOWN, getpid());
        fcntl(p[i], F_SETSIG, SIGRTMIN + 3);
    }
    async(p[0], 1);
    write(p[1], "x", 1);
    pending("data");
    read(p[0], buf, 1);
    pending("read");
    close(p[1]);
    pending("no writer");
    close(p[0]);

    SECTION("terminal");
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master), unlockpt(master);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    fcntl(slave, F_SETOWN, getpid());
    fcntl(slave, F_SETSIG, SIGRTMIN + 3);
    async(slave, 1);
    write(master, "line\n", 5);
    for (int i = 0; i < 100 && (ioctl(slave, FIONREAD, &value), value < 5); i++)
        sleep_ms(1);
    siginfo_t info;
    IS(sigtimedwait(&all, &info, &(struct timespec){1, 0}) == SIGRTMIN + 3);
    NUM(info.si_code);
    HEX(info.si_band);

    SECTION("others");
    value = 1;
    int fd = open("/tmp/plain", O_RDWR | O_CREAT, 0600);
    RES(ioctl(fd, FIOASYNC, &value));
    async(fd, 1);
    HEX(fcntl(fd, F_GETFL) & O_ASYNC);
    RES(fcntl(fd, F_SETOWN, getpid()));
    return 0;
}
