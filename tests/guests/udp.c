/* UDP over loopback, IPv4 and IPv6: names, errors, connected sockets, ancillary data, the error queue, multicast. */
#include "check.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

static char block[1 << 17];
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

static long send_to(int fd, const void *data, long length, const char *host, int port)
{
    struct sockaddr_storage s;
    socklen_t size = make(&s, host, port);
    return sendto(fd, data, length, 0, (void *)&s, size);
}

static int port_of(int fd)
{
    struct sockaddr_storage s;
    socklen_t length = sizeof s;
    getsockname(fd, (void *)&s, &length);
    return ntohs(((struct sockaddr_in *)&s)->sin_port);
}

static void show_address(const char *what, struct sockaddr_storage *s, socklen_t length)
{
    char text[64] = "";
    void *at = s->ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)s)->sin6_addr : (void *)&((struct sockaddr_in *)s)->sin_addr;
    inet_ntop(s->ss_family, at, text, sizeof text);
    say("%s: length %d family %d %s port %s", what, length, s->ss_family, text, ((struct sockaddr_in *)s)->sin_port ? "set" : "0");
}

static void name_of(const char *what, int fd, int peer)
{
    struct sockaddr_storage s = {0};
    socklen_t length = sizeof s;
    if ((peer ? getpeername : getsockname)(fd, (void *)&s, &length) < 0)
        say("%s: %s", what, errname(errno));
    else
        show_address(what, &s, length);
}

static void events(const char *what, int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0};
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

static int set(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }

static int get(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) < 0 ? -errno : value;
}

static int family(void) { return six ? AF_INET6 : AF_INET; }
static const char *host(void) { return six ? "::1" : "127.0.0.1"; }
static const char *any(void) { return six ? "::" : "0.0.0.0"; }

static void receive(const char *what, int fd, int flags)
{
    char control[512];
    struct sockaddr_storage s = {0};
    struct iovec iov = {block, 100};
    struct msghdr m = {&s, sizeof s, &iov, 1, control, sizeof control, 0};
    long n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
    if (n < 0) {
        say("%s: %s", what, errname(errno));
        return;
    }
    say("%s: %ld bytes, flags %#x", what, n, m.msg_flags);
    if (m.msg_namelen)
        show_address("  from", &s, m.msg_namelen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        say("  control level %d type %d length %d", c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *p = (void *)CMSG_DATA(c);
            say("  interface %d local %s", p->ipi_ifindex, inet_ntoa(p->ipi_spec_dst));
            say("  to %s", inet_ntoa(p->ipi_addr));
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            show("  to", CMSG_DATA(c), 20);
        } else if (c->cmsg_type == IP_RECVERR || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            struct sock_extended_err *e = (void *)CMSG_DATA(c);
            say("  error %s origin %d type %d code %d", errname(e->ee_errno), e->ee_origin, e->ee_type, e->ee_code);
        } else if (c->cmsg_level != SOL_SOCKET) {
            say("  value %d", *(unsigned char *)CMSG_DATA(c));
        }
    }
}

static void plain(void)
{
    int a = socket(family(), SOCK_DGRAM, 0), b = socket(family(), SOCK_DGRAM, 0), value;
    struct sockaddr_storage s;
    SECTION("plain");
    events("new", a);
    name_of("new", a, 0);
    RES(send(a, "x", 1, 0));
    RES(listen(a, 1));
    RES(accept(a, NULL, NULL));
    RES(recv(a, block, 10, MSG_DONTWAIT));
    RES(send_to(a, "x", 1, host(), 0));
    RES(bind_to(b, any(), 0));
    int port = port_of(b);
    RES(send_to(a, "hello", 5, host(), port));
    name_of("sent", a, 0);
    events("there is one", b);
    RES(ioctl(b, FIONREAD, &value));
    NUM(value);
    RES(send_to(a, "", 0, host(), port));
    RES(send_to(a, "second", 6, host(), port));
    RES(recv(b, block, 3, MSG_PEEK | MSG_TRUNC));
    receive("first", b, MSG_PEEK);
    RES(recv(b, block, 3, MSG_TRUNC));
    receive("empty", b, 0);
    RES(recv(b, block, 3, 0));
    receive("none", b, 0);
    RES(send_to(a, block, 65507, host(), port));
    RES(recv(b, block, sizeof block, MSG_DONTWAIT));
    if (!six)
        RES(send_to(a, block, 65508, host(), port));
    RES(send_to(a, block, 65536, host(), port));
    make(&s, host(), port);
    RES(sendto(a, "x", 1, 0, (void *)&s, 4));
    s.ss_family = AF_UNIX;
    RES(sendto(a, "x", 1, 0, (void *)&s, sizeof s));
    RES(send(a, "x", 1, MSG_OOB));
    RES(recv(a, block, 1, MSG_OOB | MSG_DONTWAIT));
    RES(bind_to(a, host(), 0));
    if (!six)
        RES(send_to(a, "x", 1, "255.255.255.255", port) < 0 && (errno == EACCES || errno == ENETUNREACH));
    for (int i = 0; i < 2000; i++)
        send_to(a, block, 100, host(), port);
    int count = 0;
    while (recv(b, block, 100, MSG_DONTWAIT) > 0)
        count++;
    say("some are dropped: %d", count > 100 && count < 1000);
    RES(pread(b, block, 1, 0));
    RES(shutdown(a, SHUT_WR));
    RES(send_to(a, "x", 1, host(), port));
    events("shut", a);
    close(a);
    close(b);
    a = socket(family(), SOCK_DGRAM, 0);
    b = socket(family(), SOCK_DGRAM, 0);
    RES(bind_to(a, host(), 0));
    RES(bind_to(b, host(), port_of(a)));
    set(b, SOL_SOCKET, SO_REUSEADDR, 1);
    RES(bind_to(b, host(), port_of(a)));
    set(a, SOL_SOCKET, SO_REUSEADDR, 1);
    RES(bind_to(b, host(), port_of(a)));
    close(a);
    close(b);
}

static void connected(void)
{
    int a = socket(family(), SOCK_DGRAM, 0), b = socket(family(), SOCK_DGRAM, 0), c = socket(family(), SOCK_DGRAM, 0);
    struct sockaddr none = {AF_UNSPEC};
    SECTION("connected");
    bind_to(b, host(), 0);
    RES(connect_to(a, host(), port_of(b)));
    name_of("client", a, 0);
    name_of("client, peer", a, 1);
    RES(send(a, "hello", 5, 0));
    receive("server", b, 0);
    RES(connect_to(b, host(), port_of(a)));
    RES(send_to(c, "stranger", 8, host(), port_of(b)));
    RES(send(a, "friend", 6, 0));
    receive("server", b, 0);
    receive("server", b, 0);
    RES(send_to(a, "elsewhere", 9, host(), port_of(c)));
    RES(shutdown(b, SHUT_RD));
    events("shut", b);
    RES(recv(b, block, 10, 0));
    RES(shutdown(a, SHUT_WR));
    RES(send(a, "x", 1, MSG_NOSIGNAL));
    RES(connect(a, &none, sizeof none));
    name_of("free, peer", a, 1);
    RES(send(a, "x", 1, 0));
    close(b);
    b = socket(family(), SOCK_DGRAM, 0);
    bind_to(b, host(), 0);
    int port = port_of(b);
    close(b);
    close(a);
    a = socket(family(), SOCK_DGRAM, 0);
    RES(connect_to(a, host(), port));
    RES(send(a, "x", 1, 0));
    sleep_ms(2);
    events("refused", a);
    RES(send(a, "x", 1, 0));
    RES(send(a, "x", 1, 0));
    sleep_ms(2);
    NUM(so_error(a));
    RES(recv(a, block, 1, MSG_DONTWAIT));
    RES(send_to(c, "x", 1, host(), port));
    sleep_ms(2);
    NUM(so_error(c));
    RES(set(c, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVERR : IP_RECVERR, 1));
    RES(send_to(c, "lost", 4, host(), port));
    sleep_ms(2);
    events("error queue", c);
    receive("error", c, MSG_ERRQUEUE);
    receive("error", c, MSG_ERRQUEUE);
    NUM(so_error(c));
    close(a);
    close(c);
}

static void ancillary(void)
{
    int a = socket(family(), SOCK_DGRAM, 0), b = socket(family(), SOCK_DGRAM, 0);
    SECTION("ancillary data");
    bind_to(b, any(), 0);
    if (six) {
        RES(set(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
        RES(set(b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
        RES(set(b, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
        RES(set(a, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9));
        RES(set(a, IPPROTO_IPV6, IPV6_TCLASS, 0x20));
    } else {
        RES(set(b, IPPROTO_IP, IP_PKTINFO, 1));
        RES(set(b, IPPROTO_IP, IP_RECVTTL, 1));
        RES(set(b, IPPROTO_IP, IP_RECVTOS, 1));
        RES(set(a, IPPROTO_IP, IP_TTL, 9));
        RES(set(a, IPPROTO_IP, IP_TOS, 0x20));
    }
    RES(send_to(a, "hello", 5, host(), port_of(b)));
    receive("server", b, 0);
    RES(set(b, SOL_SOCKET, SO_TIMESTAMP, 1));
    RES(send_to(a, "hello", 5, host(), port_of(b)));
    receive("server", b, 0);
    NUM(get(a, SOL_SOCKET, SO_BROADCAST));
    NUM(get(a, IPPROTO_UDP, 1));
    NUM(get(a, IPPROTO_UDP, 77));
    NUM(get(a, IPPROTO_TCP, 1));
    NUM(set(a, IPPROTO_TCP, 1, 1) < 0 ? -errno : 0);
    close(a);
    close(b);
}

static void groups(void)
{
    struct ip_mreqn m = {{inet_addr("239.1.2.3")}, {htonl(INADDR_LOOPBACK)}, 0};
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
    SECTION("groups");
    set(b, SOL_SOCKET, SO_REUSEADDR, 1);
    set(c, SOL_SOCKET, SO_REUSEADDR, 1);
    RES(bind_to(b, "0.0.0.0", 0));
    RES(bind_to(c, "0.0.0.0", port_of(b)));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 8));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 8));
    RES(setsockopt(c, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 8));
    RES(setsockopt(c, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 4));
    RES(setsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_address, 4));
    RES(send_to(a, "all", 3, "239.1.2.3", port_of(b)));
    receive("one", b, 0);
    receive("two", c, 0);
    RES(setsockopt(c, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, 8));
    RES(setsockopt(c, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, 8));
    m.imr_multiaddr.s_addr = inet_addr("10.1.2.3");
    RES(setsockopt(c, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 8));
    RES(set(a, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    RES(send_to(a, "all", 3, "239.1.2.3", port_of(b)));
    receive("one", b, 0);
    RES(set(a, IPPROTO_IP, IP_MULTICAST_TTL, 300));
    NUM(get(a, IPPROTO_IP, IP_MULTICAST_TTL));
    close(a);
    close(b);
    close(c);
}

static void sources(void)
{
    struct ip_mreq_source m = {{inet_addr("239.1.2.4")}, {htonl(INADDR_LOOPBACK)}, {inet_addr("127.0.0.5")}};
    struct ip_mreq plain = {m.imr_multiaddr, m.imr_interface};
    struct group_source_req any = {.gsr_interface = 1};
    int a = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
    SECTION("chosen senders");
    RES(bind_to(a, "127.0.0.5", 0));
    RES(bind_to(other, "127.0.0.6", 0));
    RES(bind_to(b, "0.0.0.0", 0));
    setsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &plain.imr_interface, 4);
    setsockopt(other, IPPROTO_IP, IP_MULTICAST_IF, &plain.imr_interface, 4);
    set(b, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    RES(setsockopt(b, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, 8));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &plain, sizeof plain));
    RES(send_to(other, "other", 5, "239.1.2.4", port_of(b)));
    RES(send_to(a, "chosen", 6, "239.1.2.4", port_of(b)));
    receive("chosen", b, 0);
    receive("no more", b, MSG_DONTWAIT);
    RES(setsockopt(b, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &plain, sizeof plain));
    RES(setsockopt(b, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof m));
    RES(send_to(a, "blocked", 7, "239.1.2.4", port_of(b)));
    RES(send_to(other, "other", 5, "239.1.2.4", port_of(b)));
    receive("other", b, 0);
    receive("no more", b, MSG_DONTWAIT);
    RES(setsockopt(b, IPPROTO_IP, IP_UNBLOCK_SOURCE, &m, sizeof m));
    RES(setsockopt(b, IPPROTO_IP, IP_UNBLOCK_SOURCE, &m, sizeof m));
    RES(send_to(a, "again", 5, "239.1.2.4", port_of(b)));
    receive("again", b, 0);
    RES(setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &plain, sizeof plain));
    memcpy(&any.gsr_group, &(struct sockaddr_in){AF_INET, 0, m.imr_multiaddr}, sizeof(struct sockaddr_in));
    memcpy(&any.gsr_source, &(struct sockaddr_in){AF_INET, 0, m.imr_sourceaddr}, sizeof(struct sockaddr_in));
    RES(setsockopt(b, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &any, 100));
    RES(setsockopt(b, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &any, sizeof any));
    RES(send_to(other, "other", 5, "239.1.2.4", port_of(b)));
    RES(send_to(a, "any", 3, "239.1.2.4", port_of(b)));
    receive("any", b, 0);
    RES(setsockopt(b, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &any, sizeof any));
    close(a);
    close(b);
    close(other);
}

static void mixed(void)
{
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET6, SOCK_DGRAM, 0);
    SECTION("both families");
    bind_to(b, "::", 0);
    RES(send_to(a, "four", 4, "127.0.0.1", port_of(b)));
    receive("six", b, 0);
    bind_to(a, "127.0.0.1", 0);
    int port = port_of(a);
    RES(send_to(b, "mapped", 6, "::ffff:127.0.0.1", port));
    receive("four", a, 0);
    RES(send_to(b, "short", 5, "127.0.0.1", port));
    receive("four", a, 0);
    close(a);
    close(b);
}

static void lite(void)
{
    const char *host = six ? "::1" : "127.0.0.1";
    int a = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 136), b = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 136);
    int udp = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
    SECTION("UDP-Lite");
    RES(bind_to(b, host, 0));
    IS(bind_to(udp, host, port_of(b)) == 0);
    NUM(get(a, SOL_SOCKET, SO_PROTOCOL));
    NUM(get(a, 136, 10) * 10 + get(a, 136, 11));
    RES(send_to(a, "whole", 5, host, port_of(b)));
    receive("whole", b, 0);
    receive("not UDP", udp, MSG_DONTWAIT);
    RES(set(a, 136, 10, 3));
    NUM(get(a, 136, 10));
    RES(send_to(a, "head only", 9, host, port_of(b)));
    receive("nobody asked", b, 0);
    RES(set(b, 136, 11, 10));
    RES(send_to(a, "too little", 10, host, port_of(b)));
    receive("too little", b, MSG_DONTWAIT);
    RES(set(a, 136, 10, 12));
    RES(send_to(a, "enough", 6, host, port_of(b)));
    receive("enough", b, 0);
    RES(send_to(a, "abc", 3, host, port_of(b)));
    receive("all of it", b, 0);
    RES(set(b, 136, 11, 0));
    RES(send_to(a, "partial", 7, host, port_of(b)));
    receive("partial", b, MSG_DONTWAIT);
    RES(set(a, 136, 10, 100000));
    NUM(get(a, 136, 10));
    RES(set(udp, 136, 10, 8));
    close(a);
    close(b);
    close(udp);
}

int main(void)
{
    GUARD(60);
    signal(SIGPIPE, SIG_IGN);
    for (six = 0; six < 2; six++) {
        SECTION(six ? "IPv6" : "IPv4");
        plain();
        connected();
        ancillary();
        lite();
    }
    groups();
    sources();
    mixed();
    return 0;
}
