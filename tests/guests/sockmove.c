/* Sockets with the other calls that move data and tell of readiness: sendmmsg, recvmmsg, sendfile, splice, tee, epoll. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/un.h>

static char buf[1 << 17];

static void pair(int type, int *s)
{
    if (socketpair(AF_UNIX, type, 0, s))
        say("socketpair: %s", errname(errno));
}

static void many(int type)
{
    int s[2];
    struct iovec out[5], in[5];
    struct mmsghdr to[5] = {0}, from[5] = {0};
    char data[5][10], *text[5] = {"one", "two", "", "four", "five"};
    say("## type %d", type);
    pair(type, s);
    for (int i = 0; i < 5; i++) {
        out[i] = (struct iovec){text[i], strlen(text[i])};
        in[i] = (struct iovec){data[i], 3};
        to[i].msg_hdr = (struct msghdr){.msg_iov = out + i, .msg_iovlen = 1};
        from[i].msg_hdr = (struct msghdr){.msg_iov = in + i, .msg_iovlen = 1};
    }
    RES(sendmmsg(s[0], to, 5, 0));
    for (int i = 0; i < 5; i++)
        NUM(to[i].msg_len);
    RES(recvmmsg(s[1], from, 5, MSG_DONTWAIT, NULL));
    for (int i = 0; i < 5; i++)
        say("%d: length %d flags %#x \"%.3s\"", i, from[i].msg_len, from[i].msg_hdr.msg_flags, data[i]);
    RES(recvmmsg(s[1], from, 5, MSG_DONTWAIT, NULL));
    RES(recvmmsg(s[1], from, 0, MSG_DONTWAIT, NULL));
    RES(recvmmsg(s[1], (void *)8, 1, MSG_DONTWAIT, NULL));
    struct timespec limit = {0, 2000000000};
    RES(recvmmsg(s[1], from, 1, 0, &limit));
    write(s[0], "x", 1);
    RES(recvmmsg(s[1], from, 5, MSG_WAITFORONE, NULL));
    write(s[0], "x", 1);
    limit = (struct timespec){0, 1};
    RES(recvmmsg(s[1], from, 5, 0, &limit));
    to[1].msg_hdr.msg_iov = (void *)8;
    RES(sendmmsg(s[0], to, 3, 0));
    RES(sendmmsg(s[0], to + 1, 2, 0));
    RES(recv(s[1], buf, 60, MSG_DONTWAIT));
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        write(s[0], "a", 1);
        sleep_ms(20);
        write(s[0], "b", 1);
        _exit(0);
    }
    RES(recvmmsg(s[1], from, 2, 0, NULL));
    reap("child", pid);
    close(s[0]);
    RES(recvmmsg(s[1], from, 2, MSG_DONTWAIT, NULL));
    RES(sendmmsg(s[1], to, 1, MSG_NOSIGNAL));
    RES(sendmmsg(999, to, 1, 0));
    RES(recvmmsg(0, from, 1, 0, NULL));
    close(s[1]);
}

static void moves(void)
{
    int s[2], p[2], q[2], fd = open("/tmp/moved", O_RDWR | O_CREAT | O_TRUNC, 0600);
    loff_t at = 3;
    off_t from = 2;
    write(fd, "0123456789abcdef", 16);
    pair(SOCK_STREAM, s);
    RES(sendfile(s[0], fd, &from, 6));
    NUM(from);
    lseek(fd, 10, SEEK_SET);
    RES(sendfile(s[0], fd, NULL, 100));
    RES(sendfile(fd, s[1], NULL, 5));
    memset(buf, 0, 64);
    RES(read(s[1], buf, 64));
    SHOW(buf, 12);
    pipe(p);
    pipe(q);
    write(s[0], "through the pipe", 16);
    RES(splice(s[1], NULL, p[1], NULL, 7, 0));
    RES(splice(s[1], NULL, p[1], NULL, 70, 0));
    RES(splice(s[1], NULL, p[1], NULL, 70, SPLICE_F_NONBLOCK));
    RES(tee(p[0], q[1], 100, 0));
    RES(splice(q[0], NULL, s[1], NULL, 9, 0));
    RES(splice(p[0], NULL, s[1], NULL, 100, 0));
    memset(buf, 0, 64);
    RES(read(s[0], buf, 64));
    SHOW(buf, 25);
    RES(splice(s[1], &at, p[1], NULL, 7, 0));
    RES(splice(s[1], NULL, s[0], NULL, 7, 0));
    RES(splice(p[0], NULL, s[1], &at, 7, SPLICE_F_NONBLOCK));
    RES(copy_file_range(fd, NULL, s[0], NULL, 5, 0));
    shutdown(s[0], SHUT_WR);
    RES(splice(s[1], NULL, p[1], NULL, 70, 0));
    write(p[1], "x", 1);
    signal(SIGPIPE, SIG_DFL);
    close(s[0]);
    CHILD("splice", RES(splice(p[0], NULL, s[1], NULL, 1, 0)));
    CHILD("sendfile", lseek(fd, 0, SEEK_SET); RES(sendfile(s[1], fd, NULL, 5)));
    signal(SIGPIPE, SIG_IGN);
    RES(sendfile(s[1], fd, &from, 5));
    close(s[1]);
    pair(SOCK_DGRAM, s);
    write(s[0], "first", 5);
    write(s[0], "second", 6);
    RES(splice(s[1], NULL, p[1], NULL, 3, 0));
    RES(splice(s[1], NULL, p[1], NULL, 100, 0));
    RES(read(p[0], buf, 64));
    close(s[0]), close(s[1]);
    /* much: all of a file, through a socket that is smaller */
    memset(buf, 'y', sizeof buf);
    for (int i = 0; i < 8; i++)
        pwrite(fd, buf, sizeof buf, i * (long)sizeof buf);
    pair(SOCK_STREAM, s);
    pid_t pid = fork();
    if (pid == 0) {
        close(s[1]);
        from = 0;
        long left = 8 * sizeof buf, n;
        while (left && (n = sendfile(s[0], fd, &from, left)) > 0)
            left -= n;
        _exit(left != 0);
    }
    close(s[0]);
    long total = 0, n;
    while ((n = read(s[1], buf, sizeof buf)) > 0)
        total += n;
    NUM(total);
    reap("sender", pid);
    close(s[1]), close(fd);
}

static void events(const char *what, int e)
{
    struct epoll_event found[8];
    int n = epoll_wait(e, found, 8, 0);
    char line[200] = "";
    for (int i = 0; i < n; i++)
        sprintf(line + strlen(line), " %d:%#x", found[i].data.fd, found[i].events);
    say("%s:%s", what, n ? line : " nothing");
}

static int control(int e, int op, int fd, unsigned events, int tag)
{
    struct epoll_event event = {events, {.fd = tag}};
    return epoll_ctl(e, op, fd, &event);
}

static void readiness(int type)
{
    int s[2], e = epoll_create1(0);
    say("## type %d", type);
    pair(type, s);
    RES(control(e, EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLRDHUP, 1));
    RES(control(e, EPOLL_CTL_ADD, s[1], EPOLLIN | EPOLLOUT | EPOLLET, 2));
    RES(control(e, EPOLL_CTL_ADD, s[1], EPOLLIN, 2));
    events("made", e);
    events("again", e);
    write(s[1], "a", 1);
    events("data for the level", e);
    events("again", e);
    write(s[0], "b", 1);
    events("data for the edge", e);
    events("again", e);
    write(s[0], "c", 1);
    events("more for the edge", e);
    read(s[1], buf, 1);
    events("partly read", e);
    RES(control(e, EPOLL_CTL_MOD, s[1], EPOLLIN | EPOLLONESHOT, 3));
    events("one shot", e);
    events("again", e);
    write(s[0], "d", 1);
    events("disarmed", e);
    RES(control(e, EPOLL_CTL_MOD, s[1], EPOLLIN | EPOLLONESHOT, 4));
    events("armed", e);
    RES(control(e, EPOLL_CTL_MOD, s[1], EPOLLOUT | EPOLLET, 5));
    events("out", e);
    fcntl(s[1], F_SETFL, O_NONBLOCK);
    memset(buf, 0, sizeof buf);
    while (write(s[1], buf, 30000) > 0)
        ;
    events("full", e);
    while (recv(s[0], buf, sizeof buf, MSG_DONTWAIT) > 0)
        ;
    events("drained", e);
    events("again", e);
    RES(control(e, EPOLL_CTL_DEL, s[1], 0, 0));
    RES(control(e, EPOLL_CTL_DEL, s[1], 0, 0));
    RES(control(e, EPOLL_CTL_MOD, s[1], 0, 0));
    RES(control(e, EPOLL_CTL_ADD, s[1], EPOLLIN | EPOLLEXCLUSIVE, 6));
    events("exclusive", e);
    RES(control(e, EPOLL_CTL_MOD, s[1], EPOLLIN, 6));
    RES(control(e, 9, s[1], 0, 0));
    RES(control(e, EPOLL_CTL_ADD, e, EPOLLIN, 0));
    RES(control(e, EPOLL_CTL_ADD, 999, EPOLLIN, 0));
    RES(epoll_ctl(e, EPOLL_CTL_MOD, s[0], (void *)8));
    shutdown(s[1], SHUT_WR);
    events("half shut", e);
    int copy = dup(s[0]);
    close(s[0]);
    events("closed but for a copy", e);
    close(copy);
    events("closed", e);
    close(s[1]);
    events("all closed", e);
    close(e);
}

static void waits(void)
{
    int s[2];
    pair(SOCK_STREAM, s);
    struct timeval limit = {0, 30000};
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    long start = now_ms();
    RES(recv(s[0], buf, 10, 0));
    IS(now_ms() - start >= 25);
    write(s[1], "abc", 3);
    start = now_ms();
    RES(recv(s[0], buf, 10, MSG_WAITALL));
    IS(now_ms() - start >= 25);
    struct iovec iov = {buf, 10};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf + 100, .msg_controllen = 100, .msg_flags = -1};
    write(s[1], "abc", 3);
    RES(recvmsg(s[0], &m, MSG_WAITALL));
    NUM(m.msg_controllen);
    HEX(m.msg_flags);
    RES(readv(s[0], &iov, 1));
    setsockopt(s[1], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    long total = 0, n;
    while ((n = write(s[1], buf, 100000)) == 100000)
        total += n;
    IS(n == -1 || n < 100000);
    RES(write(s[1], buf, 100000));
    /* a read that is waiting gets what arrives, in one piece or several */
    close(s[0]), close(s[1]);
    pair(SOCK_STREAM, s);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++) {
            sleep_ms(15);
            write(s[1], "12345", 5);
        }
        _exit(0);
    }
    RES(read(s[0], buf, 3));
    RES(read(s[0], buf, 3));
    RES(recv(s[0], buf, 10, MSG_WAITALL));
    reap("writer", pid);
    pid = fork();
    if (pid == 0) {
        char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(p + 4096, 4096);
        RES(read(s[0], p + 4090, 20));
        _exit(0);
    }
    await_state(pid, 'S');
    write(s[1], "0123456789", 10);
    reap("reader without memory", pid);
    RES(recv(s[0], buf, 60, MSG_DONTWAIT));
    pid = fork();
    if (pid == 0) {
        RES(read(s[0], buf, 60));
        _exit(0);
    }
    await_state(pid, 'S');
    kill(pid, SIGTERM);
    reap("killed reader", pid);
    write(s[1], "x", 1);
    RES(recv(s[0], buf, 60, MSG_DONTWAIT));
    /* select.. two readers, one message */
    for (int i = 0; i < 2; i++)
        if (fork() == 0)
            _exit(read(s[0], buf, 1) != 1);
    sleep_ms(20);
    write(s[1], "x", 1);
    sleep_ms(20);
    write(s[1], "y", 1);
    int status, bad = 0;
    while (wait(&status) > 0)
        bad += status != 0;
    NUM(bad);
}

int main(void)
{
    GUARD(60);
    signal(SIGPIPE, SIG_IGN);
    SECTION("many");
    many(SOCK_STREAM);
    many(SOCK_DGRAM);
    many(SOCK_SEQPACKET);
    SECTION("moves");
    moves();
    SECTION("readiness");
    readiness(SOCK_STREAM);
    readiness(SOCK_DGRAM);
    readiness(SOCK_SEQPACKET);
    SECTION("waits");
    waits();
    return 0;
}
