/* Filters of sockets: SO_ATTACH_FILTER and its kin. */
#include "sockfilter.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static int readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0);
}

/* The first byte must be 'y'. */
#define FIRST_Y(load)                                                                             \
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, load), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),     \
        BPF_STMT(BPF_RET | BPF_K, 0xffff), BPF_STMT(BPF_RET | BPF_K, 0)

static void errors(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0), one = 1, zero = 0, value;
    socklen_t length;
    struct sock_filter yes[] = {BPF_STMT(BPF_RET | BPF_K, 0xffffffff)};
    struct sock_fprog program = {1, yes}, empty = {0, yes}, null = {1, NULL}, wild = {1, (void *)8}, many = {5000, yes};
    SECTION("errors");
    RES(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 4));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 3));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 20));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &empty, sizeof empty));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &null, sizeof null));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &wild, sizeof wild));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &many, sizeof many));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_IMM, 1)));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_MEM, 1), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_MEM, 16), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 0), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(0xffff, 0), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + 1), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + 64), BPF_STMT(BPF_RET | BPF_A, 0)));
    RES(ATTACH(fd, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU), BPF_STMT(BPF_RET | BPF_A, 0)));
    SECTION("what there is");
    length = 0;
    RES(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &length));
    NUM(length);
    struct sock_filter back[8];
    length = 1;
    RES(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, back, &length));
    length = 8;
    RES(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, back, &length));
    NUM(length);
    HEX(back[0].k);
    HEX(back[1].code);
    SECTION("locks");
    length = sizeof value;
    RES(getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, &length));
    NUM(value);
    RES(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, 2));
    RES(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    RES(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    RES(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &zero, sizeof zero));
    RES(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof one));
    RES(getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, &length));
    NUM(value);
    RES(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &zero, sizeof zero));
    RES(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof one));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    RES(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    close(fd);
    SECTION("extended programs");
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    int bad = 77;
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &bad, sizeof bad));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &fd, sizeof fd));
    RES(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program));
    close(fd);
}

static void unix_sockets(int type)
{
    int s[2], one = 1;
    say("# Unix sockets, type %d", type);
    socketpair(AF_UNIX, type, 0, s);
    RES(ATTACH(s[1], FIRST_Y(0)));
    RES(send(s[0], "yes", 3, 0));
    RES(send(s[0], "no", 2, 0));
    RES(send(s[0], "yet", 3, 0));
    RES(send(s[0], "", 0, 0));
    drain("taken", s[1]);
    SECTION("cut");
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 2), BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "abcdef", 6, 0);
    send(s[0], "ab", 2, 0);
    send(s[0], "a", 1, 0);
    drain("cut", s[1]);
    SECTION("loads");
    RES(ATTACH(s[1], BPF_STMT(BPF_LDX | BPF_IMM, 1), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 1), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x6364, 0, 1),
               BPF_STMT(BPF_RET | BPF_K, 100), BPF_STMT(BPF_RET | BPF_K, 0)));
    send(s[0], "abcd", 4, 0);
    send(s[0], "abc", 3, 0);
    send(s[0], "abce", 4, 0);
    send(s[0], "xxcdyy", 6, 0);
    drain("indirect", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0), BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "a2345678", 8, 0);
    drain("msh", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 7), BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "a2345678", 8, 0);
    drain("mod", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_X, 0),
               BPF_STMT(BPF_RET | BPF_K, 4)));
    send(s[0], "a2345678", 8, 0);
    drain("mod 0", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_IFINDEX), BPF_STMT(BPF_RET | BPF_K, 4)));
    send(s[0], "no device", 9, 0);
    drain("ifindex", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 3), BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "packet type", 11, 0);
    drain("pkttype", s[1]);
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_STMT(BPF_LDX | BPF_IMM, 6), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_ALU_XOR_X),
               BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "xor", 3, 0);
    send(s[0], "xorxor", 6, 0);
    drain("xor", s[1]);
    /* a netlink attribute of type 3 at 4 */
    RES(ATTACH(s[1], BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_LDX | BPF_IMM, 3), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR),
               BPF_STMT(BPF_RET | BPF_A, 0)));
    send(s[0], "\6\0\1\0ab\0\0\5\0\3\0c\0\0\0", 16, 0);
    send(s[0], "\6\0\1\0ab\0\0\5\0\4\0c\0\0\0", 16, 0);
    drain("nlattr", s[1]);
    SECTION("detached");
    RES(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    send(s[0], "no", 2, 0);
    drain("all", s[1]);
    close(s[0]), close(s[1]);
}

static void streams(void)
{
    int s[2];
    SECTION("streams of Unix sockets have no filters");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    RES(ATTACH(s[1], BPF_STMT(BPF_RET | BPF_K, 0)));
    send(s[0], "data", 4, 0);
    drain("stream", s[1]);
    close(s[0]), close(s[1]);
}

static void udp(int family)
{
    int a = socket(family, SOCK_DGRAM, 0), b = socket(family, SOCK_DGRAM, 0);
    struct sockaddr_storage to = {.ss_family = family};
    socklen_t length = sizeof to;
    say("# UDP, family %d", family);
    if (family == AF_INET)
        ((struct sockaddr_in *)&to)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&to)->sin6_addr = in6addr_loopback;
    bind(b, (void *)&to, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    getsockname(b, (void *)&to, &length);
    connect(a, (void *)&to, length);
    RES(ATTACH(b, FIRST_Y(8)));
    RES(send(a, "no", 2, 0));
    NUM(readable(b));
    RES(send(a, "yes", 3, 0));
    NUM(readable(b));
    RES(send(a, "none", 4, 0));
    drain("taken", b);
    SECTION("the port, and a cut");
    RES(ATTACH(b, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohs(((struct sockaddr_in *)&to)->sin_port), 0, 1),
               BPF_STMT(BPF_RET | BPF_K, 11), BPF_STMT(BPF_RET | BPF_K, 0)));
    send(a, "abcdef", 6, 0);
    drain("cut", b);
    RES(ATTACH(b, BPF_STMT(BPF_RET | BPF_K, 1)));
    send(a, "abcdef", 6, 0);
    drain("cut to nothing", b);
    SECTION("lengths and headers");
    RES(ATTACH(b, BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 14, 0, 1), BPF_STMT(BPF_RET | BPF_K, 100),
               BPF_STMT(BPF_RET | BPF_K, 0)));
    send(a, "abcdef", 6, 0);
    send(a, "abcde", 5, 0);
    drain("length", b);
    RES(ATTACH(b, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF + (family == AF_INET ? 9 : 6)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 17, 0, 1),
               BPF_STMT(BPF_RET | BPF_K, 100), BPF_STMT(BPF_RET | BPF_K, 0)));
    send(a, "protocol", 8, 0);
    drain("network header", b);
    RES(ATTACH(b, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL),
               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, family == AF_INET ? 0x800 : 0x86dd, 0, 3),
               BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_IFINDEX), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
               BPF_STMT(BPF_RET | BPF_K, 100), BPF_STMT(BPF_RET | BPF_K, 0)));
    send(a, "numbers", 7, 0);
    drain("numbers", b);
    RES(ATTACH(b, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PAY_OFFSET), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 4), BPF_STMT(BPF_RET | BPF_A, 0)));
    send(a, "payload offset", 14, 0);
    drain("payload", b);
    close(a), close(b);
}

int main(void)
{
    GUARD(60);
    errors();
    unix_sockets(SOCK_DGRAM);
    unix_sockets(SOCK_SEQPACKET);
    streams();
    udp(AF_INET);
    udp(AF_INET6);
    return 0;
}
