/* Options and questions that few programs have. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

static struct sockaddr_in to = {.sin_family = AF_INET};

static void send_to(int fd, const char *data) { sendto(fd, data, strlen(data), 0, (void *)&to, sizeof to); }

static int get(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(fd, level, option, &value, &length);
    return value;
}

/* When the last datagram came, peers' names, timeouts and interfaces by their newer options. */
int main(void)
{
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0), index = 1, none = 77;
    long when[2] = {0, 0}, timeout[2] = {0, 100000};
    struct timespec now;
    struct sockaddr_in name;
    char data[8];
    socklen_t length = sizeof name;
    GUARD(60);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(b, (void *)&to, sizeof to);
    getsockname(b, (void *)&to, &length);
    RES(ioctl(b, 0x8906, when)); /* SIOCGSTAMP */
    send_to(a, "one");
    RES(recv(b, data, 8, 0));
    RES(ioctl(b, 0x8907, when));
    send_to(a, "two");
    RES(recv(b, data, 8, 0));
    RES(ioctl(b, 0x8906, when));
    clock_gettime(CLOCK_REALTIME, &now);
    IS(now.tv_sec - when[0] >= 0 && now.tv_sec - when[0] < 10 && when[1] < 1000000);
    RES(getsockopt(a, SOL_SOCKET, 28, &name, &length)); /* SO_PEERNAME */
    getsockname(b, (void *)&name, &length);
    connect(a, (void *)&name, length);
    memset(&name, 0, sizeof name);
    RES(getsockopt(a, SOL_SOCKET, 28, &name, &length));
    IS(ntohs(name.sin_port) == ntohs(to.sin_port));
    RES(setsockopt(b, SOL_SOCKET, 66, timeout, sizeof timeout)); /* SO_RCVTIMEO_NEW */
    RES(recv(b, data, 8, 0));
    length = sizeof timeout;
    RES(getsockopt(b, SOL_SOCKET, SO_RCVTIMEO, timeout, &length));
    NUM(timeout[1]);
    RES(setsockopt(a, SOL_SOCKET, 62, &none, sizeof none)); /* SO_BINDTOIFINDEX */
    RES(setsockopt(a, SOL_SOCKET, 62, &index, sizeof index));
    NUM(get(a, SOL_SOCKET, 62));
    RES(getsockopt(tcp, 0, 80, data, &length)); /* SO_ORIGINAL_DST */
    close(a), close(b), close(tcp);
    return 0;
}
