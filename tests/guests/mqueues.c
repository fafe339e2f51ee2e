/* POSIX message queues. */
#include "check.h"
#include <mqueue.h>

#define NAME "/stockade-test"

static void ignore(int number) { (void)number; }

static void take(mqd_t q, size_t size)
{
    char text[8192] = "";
    unsigned priority = 99;
    errno = 0;
    long n = mq_receive(q, text, size, &priority);
    say("%ld %s: %u %.20s", n, n < 0 ? errname(errno) : "", priority, text);
}

static struct timespec in(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += ms * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static int end_of(pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int main(void)
{
    struct mq_attr attr = {0, 3, 100, 0}, old;
    struct stat st;
    struct timespec soon;
    char data[200] = "data", status[100] = "";
    mqd_t q, r, w;
    pid_t pid;

    umask(022);
    SECTION("mq_open");
    RES(mq_open(NAME, O_RDWR));
    RES(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, NULL));
    RES(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, NULL));
    attr.mq_maxmsg = 0;
    RES(mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr));
    attr.mq_maxmsg = 3;
    IS((q = mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0666, &attr)) >= 0);
    RES(mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0666, &attr));
    IS((r = mq_open(NAME, O_RDONLY | O_NONBLOCK)) >= 0);
    IS((w = mq_open(NAME, O_WRONLY | O_CREAT | O_NONBLOCK, 0, NULL)) >= 0);
    RES(fstat(q, &st));
    OCT(st.st_mode);
    NUM(st.st_size);
    RES(mq_getattr(q, &old));
    say("%ld %ld %ld %ld", old.mq_flags, old.mq_maxmsg, old.mq_msgsize, old.mq_curmsgs);
    RES(mq_getattr(r, &old));
    OCT(old.mq_flags);
    attr.mq_flags = O_NONBLOCK | O_APPEND;
    RES(mq_setattr(q, &attr, NULL));
    attr.mq_flags = O_NONBLOCK;
    RES(mq_setattr(q, &attr, &old));
    OCT(old.mq_flags);

    SECTION("order");
    RES(mq_send(q, "one", 3, 1));
    RES(mq_send(w, "two", 3, 7));
    RES(mq_send(q, "three", 5, 1));
    RES(mq_send(q, "more", 4, 1));
    RES(mq_send(q, "x", 1, 32768));
    RES(mq_send(q, data, 101, 1));
    RES(mq_send(r, "x", 1, 1));
    RES(mq_send(0, "x", 1, 1));
    RES(mq_send(q, NULL, 1, 1));
    RES(mq_getattr(q, &old));
    NUM(old.mq_curmsgs);
    RES(read(q, status, sizeof status));
    say("%s", status);
    struct pollfd p = {q, POLLIN | POLLOUT};
    poll(&p, 1, 0);
    HEX(p.revents);
    take(q, 99);
    take(w, 200);
    take(q, 100);
    take(r, 200);
    take(q, 200);
    take(q, 200);
    poll(&p, 1, 0);
    HEX(p.revents);

    SECTION("waiting");
    attr.mq_flags = 0;
    RES(mq_setattr(q, &attr, NULL));
    soon = in(30);
    RES(mq_timedreceive(q, data, 200, NULL, &soon));
    soon.tv_nsec = -1;
    RES(mq_timedreceive(q, data, 200, NULL, &soon));
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = ignore}, NULL);
    ualarm(20000, 0);
    take(q, 200);
    pid = fork();
    if (!pid) {
        take(q, 200);
        _exit(0);
    }
    usleep(50000);
    RES(mq_send(q, "for the child", 13, 5));
    NUM(end_of(pid));
    for (int k = 0; k < 3; k++)
        RES(mq_send(q, "fill", 4, 0));
    soon = in(30);
    RES(mq_timedsend(q, "x", 1, 0, &soon));
    pid = fork();
    if (!pid)
        _exit(mq_send(q, "last", 4, 9) ? errno : 0);
    usleep(50000);
    NUM(waitpid(pid, NULL, WNOHANG));
    take(q, 200);
    NUM(end_of(pid));
    for (int k = 0; k < 3; k++)
        take(q, 200);

    SECTION("mq_notify");
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    RES(mq_notify(q, &event));
    RES(mq_notify(q, &event));
    CHILD("another", RES(mq_notify(q, &event)); RES(mq_notify(q, NULL)));
    RES(mq_send(q, "tell", 4, 0));
    soon = (struct timespec){2, 0};
    RES(sigtimedwait(&set, &info, &soon));
    NUM(info.si_code);
    NUM(info.si_value.sival_int);
    IS(info.si_pid == getpid());
    RES(mq_send(q, "silent", 6, 0));
    soon = (struct timespec){0, 10000000};
    RES(sigtimedwait(&set, &info, &soon));
    RES(mq_notify(q, &event));
    RES(mq_notify(q, NULL));
    event.sigev_notify = 77;
    RES(mq_notify(q, &event));
    event.sigev_notify = SIGEV_NONE;
    RES(mq_notify(q, &event));
    RES(mq_notify(q, &event));
    RES(mq_notify(0, NULL));

    SECTION("permissions, limits");
    CHILD("another user", {
        setgid(1000);
        setuid(1000);
        RES(mq_open(NAME, O_RDWR));
        OK(mq_open(NAME, O_RDONLY));
        RES(mq_unlink(NAME));
        struct mq_attr large = {0, 11, 100, 0};
        RES(mq_open("/other", O_RDWR | O_CREAT, 0600, &large));
        large = (struct mq_attr){0, 10, 8193, 0};
        RES(mq_open("/other", O_RDWR | O_CREAT, 0600, &large));
        struct rlimit limit = {1000, 1000};
        setrlimit(RLIMIT_MSGQUEUE, &limit);
        RES(mq_open("/other", O_RDWR | O_CREAT, 0600, NULL));
    });
    RES(mq_unlink(NAME));
    RES(mq_unlink(NAME));
    take(q, 200);
    RES(mq_open(NAME, O_RDWR));
    RES(mq_close(q));
    RES(mq_close(q));
    return 0;
}
