/* TCP over loopback, IPv4 and IPv6: names, states, errors, half-closed connections, resets, options. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

static char block[1 << 16];
static int six;

static socklen_t make(struct sockaddr_storage *s, const char *host, int port)
{
    memset(s, 0, sizeof *s);
    if (strchr(host, ':')) {
        struct sockaddr_in6 *a = (void *)s;
        a->sin6_family = AF_INET6;
        a->sin6_port = htons(port);
        inet_pton(AF_INET6, host, &a->sin6_addr);
        return sizeof *a;
    }
    struct sockaddr_in *a = (void *)s;
    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    inet_pton(AF_INET, host, &a->sin_addr);
    return sizeof *a;
}

static int bind_to(int fd, const char *host, int port)
{
    struct sockaddr_storage s;
    return bind(fd, (void *)&s, make(&s, host, port));
}

static int connect_to(int fd, const char *host, int port)
{
    struct sockaddr_storage s;
    return connect(fd, (void *)&s, make(&s, host, port));
}

static int port_of(int fd)
{
    struct sockaddr_storage s;
    socklen_t length = sizeof s;
    getsockname(fd, (void *)&s, &length);
    return ntohs(((struct sockaddr_in *)&s)->sin_port);
}

static void name_of(const char *what, int fd, int peer)
{
    struct sockaddr_storage s = {0};
    socklen_t length = sizeof s;
    char text[64] = "";
    if ((peer ? getpeername : getsockname)(fd, (void *)&s, &length) < 0) {
        say("%s: %s", what, errname(errno));
        return;
    }
    void *at = s.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&s)->sin6_addr : (void *)&((struct sockaddr_in *)&s)->sin_addr;
    inet_ntop(s.ss_family, at, text, sizeof text);
    say("%s: length %d family %d %s port %s", what, length, s.ss_family, text, ((struct sockaddr_in *)&s)->sin_port ? "set" : "0");
}

static void events(const char *what, int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM, 0};
    poll(&p, 1, 0);
    say("%s: events %#x", what, p.revents);
}

static int so_error(int fd)
{
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length);
    return value;
}

static int state_of_tcp(int fd)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    return info.tcpi_state;
}

static int family(void) { return six ? AF_INET6 : AF_INET; }
static const char *host(void) { return six ? "::1" : "127.0.0.1"; }
static const char *any(void) { return six ? "::" : "0.0.0.0"; }

static int listener_on(const char *where, int backlog)
{
    int fd = socket(family(), SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bind_to(fd, where, 0);
    listen(fd, backlog);
    return fd;
}

static void pair(int s[2])
{
    int l = listener_on(host(), 5);
    s[0] = socket(family(), SOCK_STREAM, 0);
    connect_to(s[0], host(), port_of(l));
    s[1] = accept(l, NULL, NULL);
    close(l);
}

static void making(void)
{
    SECTION("making");
    OK(socket(family(), SOCK_STREAM, 0));
    OK(socket(family(), SOCK_STREAM, IPPROTO_TCP));
    OK(socket(family(), SOCK_DGRAM, IPPROTO_UDP));
    RES(socket(family(), SOCK_STREAM, IPPROTO_UDP));
    RES(socket(family(), SOCK_DGRAM, IPPROTO_TCP));
    RES(socket(family(), SOCK_SEQPACKET, 0));
    RES(socket(family(), SOCK_STREAM, -1));
    RES(socket(family(), SOCK_STREAM, 1000));
    RES(socket(family(), SOCK_RAW, 0));
    RES(socket(family(), 12, 0));
}

static void naming(void)
{
    struct sockaddr_storage s;
    SECTION("binding");
    int a = socket(family(), SOCK_STREAM, 0), b = socket(family(), SOCK_STREAM, 0), one = 1;
    name_of("new", a, 0);
    name_of("new, peer", a, 1);
    make(&s, host(), 0);
    RES(bind(a, (void *)&s, 8));
    s.ss_family = AF_UNIX;
    RES(bind(a, (void *)&s, sizeof s));
    s.ss_family = AF_UNSPEC;
    RES(bind(a, (void *)&s, sizeof s));
    RES(bind_to(a, six ? "2001:db8::1" : "192.0.2.1", 0));
    RES(bind_to(a, host(), 0));
    name_of("bound", a, 0);
    RES(bind_to(a, host(), 0));
    RES(bind_to(b, host(), port_of(a)));
    RES(bind_to(b, any(), port_of(a)));
    setsockopt(b, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    RES(bind_to(b, any(), port_of(a)));
    setsockopt(a, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    RES(bind_to(b, any(), port_of(a)));
    RES(listen(a, 1));
    RES(listen(b, 1));
    name_of("listening, peer", a, 1);
    RES(listen(a, 3));
    RES(connect_to(a, host(), 1));
    events("listener", a);
    RES(accept(b, NULL, NULL));
    RES(shutdown(b, SHUT_RDWR));
    RES(send(a, "x", 1, MSG_NOSIGNAL));
    RES(recv(a, block, 1, 0));
    close(a);
    close(b);
    a = socket(family(), SOCK_STREAM, 0);
    RES(listen(a, 1));
    name_of("listening without bind", a, 0);
    RES(listen(a, -1));
    close(a);
    a = socket(family(), SOCK_STREAM, 0);
    b = socket(family(), SOCK_STREAM, 0);
    setsockopt(a, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    RES(bind_to(a, host(), 0));
    RES(bind_to(b, host(), port_of(a)));
    setsockopt(b, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    RES(bind_to(b, host(), port_of(a)));
    RES(listen(a, 1));
    RES(listen(b, 1));
    close(a);
    close(b);
}

static void connecting(void)
{
    int l = listener_on(any(), 5), a, b, port = port_of(l);
    struct sockaddr_storage s;
    socklen_t length;
    SECTION("connecting");
    a = socket(family(), SOCK_STREAM, 0);
    events("new", a);
    RES(send(a, "x", 1, MSG_NOSIGNAL));
    RES(recv(a, block, 1, 0));
    RES(shutdown(a, SHUT_WR));
    RES(shutdown(a, 9));
    RES(connect(a, (void *)&s, 1));
    make(&s, host(), port);
    RES(connect(a, (void *)&s, 6));
    s.ss_family = AF_UNIX;
    RES(connect(a, (void *)&s, sizeof s));
    RES(connect_to(a, six ? "ff02::1" : "224.0.0.1", port));
    RES(connect_to(a, host(), port));
    name_of("client", a, 0);
    name_of("client, peer", a, 1);
    RES(connect_to(a, host(), port));
    events("connected", a);
    events("listener", l);
    length = sizeof s;
    b = accept(l, (void *)&s, &length);
    say("accepted: length %d family %d", length, s.ss_family);
    name_of("server", b, 0);
    name_of("server, peer", b, 1);
    NUM(state_of_tcp(a));
    NUM(state_of_tcp(l));
    NUM(state_of_tcp(b));
    RES(listen(a, 1));
    RES(bind_to(a, host(), 0));
    RES(accept(a, NULL, NULL));
    RES(fcntl(b, F_GETFL) & O_NONBLOCK);
    close(a);
    close(b);

    SECTION("connecting without waiting");
    a = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0);
    RES(connect_to(a, host(), port));
    events("on its way", a);
    RES(so_error(a));
    RES(connect_to(a, host(), port));
    RES(connect_to(a, host(), port));
    close(a);
    b = accept(l, NULL, NULL);
    RES(recv(b, block, 1, 0));
    close(b);
    RES(accept4(l, NULL, NULL, 77));
    fcntl(l, F_SETFL, O_NONBLOCK);
    RES(accept(l, NULL, NULL));
    close(l);
    a = socket(family(), SOCK_STREAM, 0);
    RES(connect_to(a, host(), port));
    events("refused", a);
    RES(connect_to(a, host(), port));
    close(a);
    a = socket(family(), SOCK_STREAM | SOCK_NONBLOCK, 0);
    RES(connect_to(a, host(), port));
    sleep_ms(5);
    events("refused", a);
    NUM(so_error(a));
    NUM(so_error(a));
    events("told", a);
    RES(connect_to(a, host(), port));
    RES(connect_to(a, host(), port));
    sleep_ms(5);
    RES(connect_to(a, host(), port));
    close(a);
}

static void ending(void)
{
    int s[2];
    struct linger hard = {1, 0};
    SECTION("half closed");
    pair(s);
    RES(send(s[0], "hello", 5, 0));
    RES(shutdown(s[0], SHUT_WR));
    events("ended", s[0]);
    events("other", s[1]);
    NUM(state_of_tcp(s[1]));
    RES(recv(s[1], block, 100, 0));
    RES(recv(s[1], block, 100, 0));
    RES(send(s[0], "x", 1, MSG_NOSIGNAL));
    RES(send(s[1], "back", 4, 0));
    RES(recv(s[0], block, 100, 0));
    RES(shutdown(s[1], SHUT_WR));
    events("both ended", s[0]);
    events("both ended", s[1]);
    NUM(state_of_tcp(s[0]));
    NUM(state_of_tcp(s[1]));
    RES(recv(s[0], block, 100, 0));
    RES(shutdown(s[0], SHUT_WR));
    RES(shutdown(s[1], SHUT_RD));
    name_of("ended, peer", s[0], 1);
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    close(s[0]);
    close(s[1]);

    SECTION("closed by the peer");
    pair(s);
    RES(send(s[0], "hello", 5, 0));
    close(s[0]);
    events("peer closed", s[1]);
    NUM(state_of_tcp(s[1]));
    RES(recv(s[1], block, 2, 0));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    events("after a send", s[1]);
    NUM(state_of_tcp(s[1]));
    RES(recv(s[1], block, 100, 0));
    RES(recv(s[1], block, 100, 0));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    close(s[1]);

    SECTION("closed with data unread");
    pair(s);
    RES(send(s[0], "hello", 5, 0));
    RES(send(s[1], "hello", 5, 0));
    close(s[0]);
    events("reset", s[1]);
    NUM(state_of_tcp(s[1]));
    RES(recv(s[1], block, 100, 0));
    RES(recv(s[1], block, 100, 0));
    RES(recv(s[1], block, 100, 0));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    name_of("reset, peer", s[1], 1);
    close(s[1]);

    SECTION("linger 0");
    pair(s);
    setsockopt(s[0], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s[0]);
    NUM(so_error(s[1]));
    RES(recv(s[1], block, 100, 0));
    close(s[1]);
    pair(s);
    setsockopt(s[0], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s[0]);
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    close(s[1]);

    SECTION("no reading any more");
    pair(s);
    RES(send(s[1], "hello", 5, 0));
    RES(shutdown(s[0], SHUT_RD));
    events("shut", s[0]);
    RES(recv(s[0], block, 100, 0));
    RES(recv(s[0], block, 100, 0));
    RES(send(s[1], "more", 4, 0));
    RES(recv(s[0], block, 100, 0));
    RES(recv(s[0], block, 100, 0));
    close(s[0]);
    close(s[1]);
    pair(s);
    RES(shutdown(s[0], SHUT_RDWR));
    events("shut both", s[0]);
    events("its peer", s[1]);
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    sleep_ms(2);
    NUM(so_error(s[1]));
    RES(send(s[1], "x", 1, MSG_NOSIGNAL));
    RES(recv(s[1], block, 100, 0));
    close(s[0]);
    close(s[1]);

    SECTION("listener closed");
    int l = listener_on(host(), 5), a = socket(family(), SOCK_STREAM, 0);
    RES(connect_to(a, host(), port_of(l)));
    close(l);
    events("never accepted", a);
    RES(recv(a, block, 1, 0));
    RES(recv(a, block, 1, 0));
    close(a);
    pair(s);
    struct sockaddr none = {AF_UNSPEC};
    RES(connect(s[0], &none, sizeof none));
    events("disconnected", s[0]);
    name_of("disconnected, peer", s[0], 1);
    RES(recv(s[1], block, 1, 0));
    close(s[0]);
    close(s[1]);
}

static void data(void)
{
    int s[2], value;
    SECTION("data");
    pair(s);
    RES(send(s[0], "abcdef", 6, 0));
    RES(ioctl(s[1], FIONREAD, &value));
    NUM(value);
    RES(recv(s[1], block, 3, MSG_PEEK));
    RES(recv(s[1], block, 3, 0));
    RES(write(s[0], "ghi", 3));
    RES(recv(s[1], block, 100, MSG_WAITALL | MSG_DONTWAIT));
    SHOW(block, 6);
    RES(recv(s[1], block, 100, MSG_DONTWAIT));
    RES(send(s[0], "", 0, 0));
    RES(recv(s[1], block, 100, MSG_DONTWAIT));
    RES(recv(s[1], block, 100, MSG_OOB));
    RES(sendto(s[0], "x", 1, 0, (void *)block, 3));
    RES(recv(s[1], block, 100, MSG_DONTWAIT));
    RES(pread(s[1], block, 1, 0));
    RES(lseek(s[1], 0, SEEK_CUR));
    close(s[0]);
    close(s[1]);
    pair(s);
    pid_t child = fork();
    if (!child) {
        close(s[1]);
        for (int i = 0; i < 300; i++) {
            memset(block, i, sizeof block);
            for (long done = 0; done < (long)sizeof block;)
                done += write(s[0], block + done, sizeof block - done);
        }
        _exit(0);
    }
    close(s[0]);
    long total = 0, sum = 0, n;
    while ((n = read(s[1], block, sizeof block)) > 0) {
        for (long i = 0; i < n; i++)
            sum += (unsigned char)block[i] * ((total + i) % 251);
        total += n;
    }
    say("received %ld, sum %ld", total, sum);
    reap("sender", child);
    close(s[1]);

    SECTION("full");
    pair(s);
    value = 8192;
    setsockopt(s[1], SOL_SOCKET, SO_RCVBUF, &value, sizeof value);
    setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof value);
    fcntl(s[0], F_SETFL, O_NONBLOCK);
    total = 0;
    while ((n = send(s[0], block, 1000, 0)) > 0)
        total += n;
    say("full: %s, more than 8192: %d", errname(errno), total > 8192);
    events("full", s[0]);
    struct timeval soon = {0, 20000};
    fcntl(s[0], F_SETFL, 0);
    setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    n = send(s[0], block, 100000, 0);
    say("with timeout: %d", n < 100000);
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    RES(recv(s[0], block, 1, 0));
    close(s[0]);
    close(s[1]);

    SECTION("urgent");
    pair(s);
    RES(send(s[0], "abc", 3, MSG_OOB));
    events("urgent", s[1]);
    RES(recv(s[1], block, 10, 0));
    RES(recv(s[1], block, 10, MSG_OOB));
    SHOW(block, 1);
    RES(recv(s[1], block, 10, MSG_OOB));
    close(s[0]);
    close(s[1]);
}

#define GET(fd, level, option)                                                                    \
    ({                                                                                            \
        int value_ = -1;                                                                          \
        socklen_t length_ = sizeof value_;                                                        \
        int result_ = getsockopt(fd, level, option, &value_, &length_);                           \
        if (result_ < 0)                                                                          \
            say("get " #option ": %s", errname(errno));                                           \
        else                                                                                      \
            say("get " #option ": %d, length %d", value_, length_);                               \
    })
#define SET(fd, level, option, number)                                                            \
    ({                                                                                            \
        int value_ = number;                                                                      \
        RES(setsockopt(fd, level, option, &value_, sizeof value_));                               \
        GET(fd, level, option);                                                                   \
    })

static void options(void)
{
    int s[2], fd = socket(family(), SOCK_STREAM, 0);
    char name[32];
    socklen_t length = sizeof name;
    SECTION("options");
    GET(fd, SOL_SOCKET, SO_TYPE);
    GET(fd, SOL_SOCKET, SO_DOMAIN);
    GET(fd, SOL_SOCKET, SO_PROTOCOL);
    GET(fd, SOL_SOCKET, SO_ACCEPTCONN);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 5);
    SET(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 4000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 1);
    GET(fd, IPPROTO_TCP, TCP_NODELAY);
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 7);
    SET(fd, IPPROTO_TCP, TCP_CORK, 1);
    GET(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 40000);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 128);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 2);
    for (int k = -1; k < 40; k += 4)
        SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, k);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1000);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, -5);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 50);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 500);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 0);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1234);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    GET(fd, IPPROTO_TCP, TCP_MAXSEG);
    RES(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &(int){20}, sizeof(int)));
    RES(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &(int){1000}, sizeof(int)));
    GET(fd, IPPROTO_TCP, 999);
    GET(fd, 999, 1);
    RES(setsockopt(fd, 999, 1, &(int){1}, 4));
    RES(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, 2));
    RES(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    RES(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    say("congestion %.16s length %d", name, length);
    RES(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "none-such", 9));
    if (six) {
        GET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS);
        SET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 5);
        SET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256);
        SET(fd, IPPROTO_IPV6, IPV6_TCLASS, 8);
    }
    GET(fd, IPPROTO_IP, IP_TTL);
    SET(fd, IPPROTO_IP, IP_TTL, 5);
    SET(fd, IPPROTO_IP, IP_TTL, 0);
    SET(fd, IPPROTO_IP, IP_TTL, 256);
    SET(fd, IPPROTO_IP, IP_TOS, 0x10);
    SET(fd, IPPROTO_IP, IP_RECVERR, 1);
    RES(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nope", 5));
    close(fd);
    pair(s);
    GET(s[0], IPPROTO_TCP, TCP_NODELAY);
    GET(s[1], SOL_SOCKET, SO_REUSEADDR);
    GET(s[0], SOL_SOCKET, SO_ERROR);
    close(s[0]);
    close(s[1]);
}

static void early(void)
{
    struct sockaddr_storage to;
    int fd = socket(family(), SOCK_STREAM, 0), l = listener_on(host(), 5), s, flags;
    socklen_t length = make(&to, host(), port_of(l));
    char text[20] = "";
    SECTION("MSG_FASTOPEN");
    RES(sendto(fd, "early", 5, MSG_FASTOPEN, NULL, 0));
    RES(sendto(fd, "early", 5, MSG_FASTOPEN, (void *)&to, length));
    RES(sendto(fd, "again", 5, MSG_FASTOPEN, (void *)&to, length));
    IS((s = accept(l, NULL, NULL)) >= 0);
    RES(recv(s, text, sizeof text, 0));
    SHOW(text, 5);
    close(s);
    close(fd);
    fd = socket(family(), SOCK_STREAM, 0);
    close(l);
    RES(sendto(fd, "early", 5, MSG_FASTOPEN, (void *)&to, length));
    close(fd);

    SECTION("TCP_DEFER_ACCEPT");
    l = listener_on(host(), 5);
    length = make(&to, host(), port_of(l));
    RES(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){30}, sizeof(int)));
    flags = fcntl(l, F_GETFL);
    fcntl(l, F_SETFL, flags | O_NONBLOCK);
    fd = socket(family(), SOCK_STREAM, 0);
    RES(connect(fd, (void *)&to, length));
    events("client", fd);
    RES(accept(l, NULL, NULL));
    events("listener", l);
    RES(send(fd, "first", 5, 0));
    poll(&(struct pollfd){l, POLLIN}, 1, 5000);
    events("listener", l);
    IS((s = accept(l, NULL, NULL)) >= 0);
    RES(recv(s, text, sizeof text, 0));
    close(s);
    close(fd);
    fd = socket(family(), SOCK_STREAM, 0);
    RES(connect(fd, (void *)&to, length));
    close(l);
    poll(&(struct pollfd){fd, POLLIN}, 1, 100);
    RES(send(fd, "late", 4, MSG_NOSIGNAL));
    RES(recv(fd, text, sizeof text, 0));
    close(fd);
}

static void dual(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0), a, b, on = 1;
    struct sockaddr_storage s;
    socklen_t length = sizeof s;
    SECTION("both families");
    bind_to(fd, "::", 0);
    listen(fd, 5);
    a = socket(AF_INET, SOCK_STREAM, 0);
    RES(connect_to(a, "127.0.0.1", port_of(fd)));
    b = accept(fd, (void *)&s, &length);
    name_of("server", b, 0);
    name_of("server, peer", b, 1);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    RES(bind_to(other, "0.0.0.0", port_of(fd)));
    RES(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    close(a);
    close(b);
    a = socket(AF_INET6, SOCK_STREAM, 0);
    RES(connect_to(a, "::ffff:127.0.0.1", port_of(fd)));
    name_of("mapped", a, 0);
    name_of("mapped, peer", a, 1);
    close(a);
    a = socket(AF_INET6, SOCK_STREAM, 0);
    RES(setsockopt(a, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    RES(connect_to(a, "::ffff:127.0.0.1", port_of(fd)));
    RES(bind_to(a, "::ffff:127.0.0.1", 0));
    RES(bind_to(a, "::", 0));
    b = socket(AF_INET, SOCK_STREAM, 0);
    RES(bind_to(b, "0.0.0.0", port_of(a)));
    close(a);
    close(b);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    bind_to(fd, "127.0.0.5", 0);
    listen(fd, 5);
    a = socket(AF_INET, SOCK_STREAM, 0);
    RES(connect_to(a, "127.0.0.1", port_of(fd)));
    close(a);
    a = socket(AF_INET, SOCK_STREAM, 0);
    RES(connect_to(a, "127.0.0.5", port_of(fd)));
    name_of("client", a, 0);
    close(a);
    a = socket(AF_INET, SOCK_STREAM, 0);
    RES(connect_to(a, "0.0.0.0", port_of(fd)));
    close(a);
    close(fd);
}

static void waiting(void)
{
    int l = listener_on(any(), 5), port = port_of(l), s[2], e, n;
    struct epoll_event ev = {EPOLLIN | EPOLLET | EPOLLOUT | EPOLLRDHUP, {0}}, got[4];
    SECTION("waiting");
    pid_t child = fork();
    if (!child) {
        int fd = socket(family(), SOCK_STREAM, 0);
        sleep_ms(20);
        connect_to(fd, host(), port);
        sleep_ms(20);
        send(fd, "late", 4, 0);
        n = recv(fd, block, 10, 0);
        _exit(n != 2);
    }
    int fd = accept(l, NULL, NULL);
    RES(recv(fd, block, 10, 0));
    sleep_ms(20);
    RES(send(fd, "ok", 2, 0));
    reap("child", child);
    RES(recv(fd, block, 10, 0));
    close(fd);
    close(l);
    pair(s);
    e = epoll_create1(0);
    epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev);
    n = epoll_wait(e, got, 4, 0);
    say("edge: %d %#x", n, n > 0 ? got[0].events : 0);
    n = epoll_wait(e, got, 4, 0);
    say("edge: %d", n);
    send(s[1], "a", 1, 0);
    n = epoll_wait(e, got, 4, 1000);
    say("edge: %d %#x", n, n > 0 ? got[0].events : 0);
    shutdown(s[1], SHUT_WR);
    n = epoll_wait(e, got, 4, 1000);
    say("edge: %d %#x", n, n > 0 ? got[0].events : 0);
    close(s[1]);
    close(s[0]);
    close(e);
}

int main(void)
{
    GUARD(60);
    signal(SIGPIPE, SIG_IGN);
    for (six = 0; six < 2; six++) {
        SECTION(six ? "IPv6" : "IPv4");
        making();
        naming();
        connecting();
        ending();
        data();
        options();
        early();
        waiting();
    }
    dual();
    return 0;
}
