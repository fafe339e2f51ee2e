/* poll, ppoll, select, pselect: readiness of each kind of descriptor, time limits, errors. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static void handler(int number) { (void)number; }
static char block[70000];

static void show_poll(const char *what, int fd, short events)
{
    struct pollfd p = {fd, events, 0};
    int n = poll(&p, 1, 0);
    say("%s: %d %#x", what, n, p.revents);
}
#define ALL (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)

int main(void)
{
    int p[2], q[2], sv[2];
    GUARD(60);
    pipe(p);
    pipe(q);
    socketpair(AF_UNIX, SOCK_STREAM, 0, sv);

    SECTION("kinds");
    int fd = open("file", O_RDWR | O_CREAT, 0600), event = eventfd(0, 0), ep = epoll_create1(0);
    show_poll("file", fd, ALL);
    show_poll("directory", open(".", O_RDONLY), ALL);
    show_poll("/dev/null", open("/dev/null", O_RDWR), ALL);
    show_poll("closed", 999, ALL);
    show_poll("negative", -1, ALL);
    show_poll("O_PATH", open(".", O_PATH), ALL);
    show_poll("pipe reader, empty", p[0], ALL);
    show_poll("pipe writer, empty", p[1], ALL);
    show_poll("no events asked", p[1], 0);
    write(p[1], "x", 1);
    show_poll("pipe reader, data", p[0], ALL);
    show_poll("pipe reader, other events", p[0], POLLOUT);
    fcntl(q[1], F_SETFL, O_NONBLOCK);
    while (write(q[1], block, 4096) > 0)
        ;
    show_poll("pipe writer, full", q[1], ALL);
    read(q[0], block, 4095);
    show_poll("pipe writer, 4095 free", q[1], ALL);
    read(q[0], block, 1);
    show_poll("pipe writer, 4096 free", q[1], ALL);
    close(p[1]);
    show_poll("reader without writer, data", p[0], ALL);
    read(p[0], block, 1);
    show_poll("reader without writer, empty", p[0], ALL);
    close(q[0]);
    show_poll("writer without reader", q[1], ALL);
    show_poll("socket", sv[0], ALL);
    write(sv[1], "x", 1);
    show_poll("socket, data", sv[0], ALL);
    shutdown(sv[1], SHUT_WR);
    show_poll("socket, peer shut down writing", sv[0], ALL);
    close(sv[1]);
    show_poll("socket, peer closed", sv[0], ALL);
    show_poll("eventfd 0", event, ALL);
    eventfd_write(event, 3);
    show_poll("eventfd 3", event, ALL);
    eventfd_read(event, &(eventfd_t){0});
    eventfd_write(event, 0xfffffffffffffffe);
    show_poll("eventfd full", event, ALL);
    show_poll("epoll, nothing", ep, ALL);
    struct epoll_event add = {.events = EPOLLIN};
    epoll_ctl(ep, EPOLL_CTL_ADD, event, &add);
    show_poll("epoll, ready", ep, ALL);

    SECTION("poll");
    pipe(p);
    struct pollfd set[3] = {{p[0], POLLIN, 99}, {p[1], POLLOUT, 99}, {-5, POLLIN, 99}};
    RES(poll(set, 3, 0));
    NUM(set[0].revents);
    NUM(set[1].revents);
    NUM(set[2].revents);
    RES(poll(NULL, 0, 0));
    RES(poll((void *)8, 1, 0));
    RES(poll(set, 100000, 0));
    RES(poll(set, 1, 0));
    long start = now_ms();
    RES(poll(set, 1, 50));
    IS(now_ms() - start >= 50);
    start = now_ms();
    RES(poll(NULL, 0, 30));
    IS(now_ms() - start >= 30);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        write(p[1], "x", 1);
        _exit(0);
    }
    RES(poll(set, 1, -1));
    NUM(set[0].revents);
    reap("writer", pid);
    read(p[0], block, 1);
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        sleep_ms(20);
        _exit(0);
    }
    close(p[1]);
    RES(poll(set, 1, 5000));
    NUM(set[0].revents);
    reap("closer", pid);

    SECTION("ppoll");
    pipe(p);
    set[0].fd = p[0];
    struct timespec zero = {0, 0}, bad = {0, 1000000000}, some = {0, 30000000};
    RES(ppoll(set, 1, &zero, NULL));
    RES(ppoll(set, 1, &bad, NULL));
    start = now_ms();
    RES(ppoll(set, 1, &some, NULL));
    IS(now_ms() - start >= 30);
    sigset_t mask, none;
    sigemptyset(&none);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    raise(SIGUSR1);
    RES(ppoll(set, 1, &some, NULL));
    RES(ppoll(set, 1, NULL, &none));
    raise(SIGUSR1);
    write(p[1], "x", 1);
    RES(ppoll(set, 1, NULL, &none));
    sigset_t pending;
    sigpending(&pending);
    NUM(sigismember(&pending, SIGUSR1));
    RES(syscall(SYS_ppoll, set, 1, NULL, &none, 4L));
    struct timespec left = {5, 0};
    RES(syscall(SYS_ppoll, set, 1, &left, NULL, 8L));
    IS(left.tv_sec == 4 || (left.tv_sec == 5 && left.tv_nsec == 0));

    SECTION("select");
    fd_set in, out, ex;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&ex);
    FD_SET(p[0], &in);
    FD_SET(p[1], &out);
    FD_SET(p[0], &ex);
    struct timeval none_left = {0, 0};
    RES(select(100, &in, &out, &ex, &none_left));
    NUM(FD_ISSET(p[0], &in) != 0);
    NUM(FD_ISSET(p[1], &out) != 0);
    NUM(FD_ISSET(p[0], &ex) != 0);
    read(p[0], block, 1);
    FD_SET(p[0], &in);
    RES(select(100, &in, NULL, NULL, &none_left));
    NUM(FD_ISSET(p[0], &in) != 0);
    RES(select(-1, NULL, NULL, NULL, &none_left));
    FD_ZERO(&in);
    FD_SET(200, &in);
    RES(select(201, &in, NULL, NULL, &none_left));
    RES(select(200, &in, NULL, NULL, &none_left));
    RES(select(100, (void *)8, NULL, NULL, &none_left));
    struct timeval negative = {-1, 0}, soon = {0, 30000};
    RES(select(0, NULL, NULL, NULL, &negative));
    start = now_ms();
    RES(select(0, NULL, NULL, NULL, &soon));
    IS(now_ms() - start >= 30);
    NUM(soon.tv_usec);
    FD_ZERO(&in);
    FD_SET(p[0], &in);
    close(p[1]);
    soon.tv_sec = 3;
    RES(select(100, &in, NULL, NULL, &soon));
    NUM(FD_ISSET(p[0], &in) != 0);
    IS(soon.tv_sec == 2 || soon.tv_usec == 0);
    raise(SIGUSR1);
    pipe(p);
    FD_ZERO(&in);
    FD_SET(p[0], &in);
    RES(pselect(100, &in, NULL, NULL, NULL, &none));
    RES(pselect(100, &in, NULL, NULL, &zero, &none));
    RES(pselect(100, NULL, NULL, NULL, &bad, NULL));

    SECTION("woken by another thread's close is not promised, by its write is");
    pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        write(p[1], "x", 1);
        _exit(0);
    }
    FD_ZERO(&in);
    FD_SET(p[0], &in);
    RES(select(p[0] + 1, &in, NULL, NULL, NULL));
    reap("writer", pid);
    return 0;
}
