/* Filters that choose among the sockets of a SO_REUSEPORT group, and filters of raw sockets. */
#include "sockfilter.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

static void groups(void)
{
    int s[3], one = 1, a = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof to;
    /* the payload's first byte is the socket's number */
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, '0'), BPF_STMT(BPF_RET | BPF_A, 0)};
    SECTION("groups");
    for (int i = 0; i < 3; i++) {
        s[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (i == 0)
            RES(attach_as(s[0], SO_ATTACH_REUSEPORT_CBPF, code, 3));
        setsockopt(s[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        bind(s[i], (void *)&to, sizeof to);
        getsockname(s[i], (void *)&to, &length);
    }
    RES(attach_as(s[1], SO_ATTACH_REUSEPORT_CBPF, code, 3));
    sendto(a, "0 zero", 6, 0, (void *)&to, sizeof to);
    sendto(a, "2 two", 5, 0, (void *)&to, sizeof to);
    sendto(a, "1 one", 5, 0, (void *)&to, sizeof to);
    sendto(a, "2 again", 7, 0, (void *)&to, sizeof to);
    for (int i = 0; i < 3; i++)
        drain(i == 0 ? "first" : i == 1 ? "second" : "third", s[i]), close(s[i]);
    close(a);
    RES(attach_as(a = socket(AF_UNIX, SOCK_DGRAM, 0), SO_ATTACH_REUSEPORT_CBPF, code, 3));
    close(a);
}

static void raw(void)
{
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), ping = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {htons(7), htons(9)}};
    unsigned char data[256];
    echo.checksum = ~htons(ntohs(echo.un.echo.id) + ntohs(echo.un.echo.sequence) + (ICMP_ECHO << 8));
    SECTION("raw sockets: replies only");
    RES(ATTACH(fd, BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
               BPF_STMT(BPF_RET | BPF_K, 24), BPF_STMT(BPF_RET | BPF_K, 0)));
    RES(sendto(ping, &echo, sizeof echo, 0, (void *)&to, sizeof to));
    struct pollfd p = {fd, POLLIN, 0};
    NUM(poll(&p, 1, 5000));
    RES(recv(fd, data, sizeof data, MSG_DONTWAIT));
    NUM(data[9]);
    NUM(data[20]);
    RES(recv(fd, data, sizeof data, MSG_DONTWAIT));
    close(fd), close(ping);
}

int main(void)
{
    GUARD(60);
    groups();
    raw();
    return 0;
}
