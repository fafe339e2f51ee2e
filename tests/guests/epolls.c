/* epoll: level and edge triggering, one-shot, exclusive, nesting, errors, closing. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static struct epoll_event events[16];
static char block[70000];

static int by_data(const void *a, const void *b)
{
    return (int)((const struct epoll_event *)a)->data.u32 - (int)((const struct epoll_event *)b)->data.u32;
}

/* The ready events now, by their data. */
static void ready(const char *what, int ep)
{
    int n = epoll_wait(ep, events, 16, 0);
    char text[400] = "";
    if (n > 0)
        qsort(events, n, sizeof *events, by_data);
    for (int i = 0; i < n; i++)
        sprintf(text + strlen(text), " %u:%#x", events[i].data.u32, events[i].events);
    say("%s: %d%s", what, n, text);
}

static int ctl(int ep, int op, int fd, unsigned mask, unsigned data)
{
    struct epoll_event event = {.events = mask, .data.u32 = data};
    return epoll_ctl(ep, op, fd, &event);
}

int main(void)
{
    int ep, ep2, p[2], q[2], sv[2];
    GUARD(60);
    pipe(p);
    pipe(q);

    SECTION("errors");
    RES(epoll_create(0));
    RES(epoll_create1(1));
    OK(ep = epoll_create1(EPOLL_CLOEXEC));
    HEX(fcntl(ep, F_GETFD));
    OK(ep2 = epoll_create(1));
    RES(ctl(ep, EPOLL_CTL_ADD, 999, EPOLLIN, 1));
    RES(ctl(999, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
    RES(ctl(p[1], EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
    RES(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 1));
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN, 1));
    RES(ctl(ep, EPOLL_CTL_DEL, p[0], 0, 0));
    RES(ctl(ep, 99, p[0], 0, 0));
    RES(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], (void *)8));
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    RES(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
    RES(ctl(ep, EPOLL_CTL_ADD, open(".", O_RDONLY), EPOLLIN, 1));
    RES(epoll_wait(ep, events, 0, 0));
    RES(epoll_wait(ep, events, -1, 0));
    RES(epoll_wait(fd, events, 1, 0));
    RES(epoll_wait(999, events, 1, 0));
    RES(read(ep, block, 1));
    RES(write(ep, block, 1));

    SECTION("level triggered");
    RES(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
    RES(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
    ready("empty", ep);
    write(p[1], "ab", 2);
    ready("data", ep);
    ready("data again", ep);
    read(p[0], block, 1);
    ready("one left", ep);
    read(p[0], block, 1);
    ready("empty", ep);
    RES(ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT, 2));
    ready("writable", ep);
    RES(ctl(ep, EPOLL_CTL_MOD, p[1], 0, 2));
    ready("nothing asked", ep);
    RES(ctl(ep, EPOLL_CTL_DEL, p[1], 0, 0));
    write(p[1], "x", 1);
    RES(epoll_wait(ep, (void *)8, 1, 0));
    ready("still there after EFAULT", ep);
    read(p[0], block, 1);

    SECTION("edge triggered");
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 3));
    write(p[1], "a", 1);
    ready("edge", ep);
    ready("no new edge", ep);
    write(p[1], "b", 1);
    ready("new edge", ep);
    read(p[0], block, 1);
    ready("after a partial read", ep);
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 3));
    ready("re-armed by MOD", ep);
    read(p[0], block, 10);
    RES(ctl(ep, EPOLL_CTL_ADD, q[1], EPOLLOUT | EPOLLET, 4));
    ready("writer at first", ep);
    ready("writer again", ep);
    fcntl(q[1], F_SETFL, O_NONBLOCK);
    while (write(q[1], block, 4096) > 0)
        ;
    ready("full", ep);
    read(q[0], block, 65536);
    ready("drained", ep);
    ready("drained again", ep);

    SECTION("one shot");
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 5));
    write(p[1], "a", 1);
    ready("first", ep);
    ready("disarmed", ep);
    write(p[1], "b", 1);
    ready("still disarmed", ep);
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 6));
    ready("armed again", ep);
    read(p[0], block, 10);

    SECTION("hang-up and errors are always told");
    RES(ctl(ep, EPOLL_CTL_MOD, p[0], 0, 7));
    close(p[1]);
    ready("writer closed", ep);
    RES(ctl(ep, EPOLL_CTL_MOD, q[1], 0, 8));
    close(q[0]);
    ready("reader closed", ep);
    close(p[0]);
    close(q[1]);
    ready("all closed", ep);

    SECTION("duplicates and closing");
    pipe(p);
    int copy = dup(p[0]);
    RES(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 10));
    RES(ctl(ep, EPOLL_CTL_ADD, copy, EPOLLIN, 11));
    write(p[1], "x", 1);
    ready("both", ep);
    close(p[0]);
    ready("closed descriptor, open description", ep);
    RES(ctl(ep, EPOLL_CTL_DEL, p[0], 0, 0));
    close(copy);
    ready("all closed", ep);
    close(p[1]);

    SECTION("sockets");
    socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
    RES(ctl(ep, EPOLL_CTL_ADD, sv[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 20));
    ready("at first", ep);
    write(sv[1], "x", 1);
    ready("data", ep);
    shutdown(sv[1], SHUT_WR);
    ready("shut down", ep);
    close(sv[1]);
    ready("closed", ep);
    close(sv[0]);

    SECTION("nested");
    int e = eventfd(0, 0);
    RES(ctl(ep2, EPOLL_CTL_ADD, e, EPOLLIN, 30));
    RES(ctl(ep, EPOLL_CTL_ADD, ep2, EPOLLIN, 31));
    RES(ctl(ep2, EPOLL_CTL_ADD, ep, EPOLLIN, 32));
    ready("outer, nothing", ep);
    eventfd_write(e, 1);
    ready("outer", ep);
    ready("inner", ep2);
    eventfd_read(e, &(eventfd_t){0});
    ready("outer after", ep);
    int chain[8];
    chain[0] = ep2;
    for (int i = 1; i < 8; i++) {
        chain[i] = epoll_create1(0);
        say("depth %d: %s", i, ctl(chain[i], EPOLL_CTL_ADD, chain[i - 1], EPOLLIN, i) ? errname(errno) : "ok");
    }
    ctl(ep, EPOLL_CTL_DEL, ep2, 0, 0);

    SECTION("maxevents and fairness");
    int many[10][2], seen[10] = {0};
    for (int i = 0; i < 10; i++) {
        pipe(many[i]);
        ctl(ep, EPOLL_CTL_ADD, many[i][0], EPOLLIN, i);
        write(many[i][1], "x", 1);
    }
    RES(epoll_wait(ep, events, 3, 0));
    for (int round = 0; round < 8; round++) {
        int n = epoll_wait(ep, events, 3, 0);
        for (int i = 0; i < n; i++)
            seen[events[i].data.u32]++;
    }
    int starved = 0;
    for (int i = 0; i < 10; i++)
        starved += seen[i] == 0;
    NUM(starved);

    SECTION("waiting");
    for (int i = 0; i < 10; i++)
        read(many[i][0], block, 1);
    long start = now_ms();
    RES(epoll_wait(ep, events, 16, 40));
    IS(now_ms() - start >= 40);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        write(many[4][1], "x", 1);
        _exit(0);
    }
    RES(epoll_wait(ep, events, 16, -1));
    NUM(events[0].data.u32);
    reap("writer", pid);
    sigset_t set;
    sigemptyset(&set);
    RES(epoll_pwait(ep, events, 16, 0, &set));
    struct timespec some = {0, 1000000};
    RES(syscall(SYS_epoll_pwait2, ep, events, 16, &some, NULL, 8L));
    RES(syscall(SYS_epoll_pwait, ep, events, 16, 0, &set, 4L));
    read(many[4][0], block, 1);
    RES(syscall(SYS_epoll_pwait2, ep, events, 16, &some, NULL, 8L));

    SECTION("exclusive");
    RES(ctl(ep2, EPOLL_CTL_ADD, many[0][0], EPOLLIN | EPOLLEXCLUSIVE, 40));
    RES(ctl(ep2, EPOLL_CTL_MOD, many[0][0], EPOLLIN, 40));
    RES(ctl(ep2, EPOLL_CTL_ADD, many[1][0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 40));
    write(many[0][1], "x", 1);
    ready("exclusive", ep2);
    return 0;
}
