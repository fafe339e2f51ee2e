/* TCP_LINGER2: how long a closed end keeps its name while the other has not closed. TCP_QUICKACK as an option. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static struct sockaddr_in at(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bound(int port)
{
    struct sockaddr_in a = at(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), error = bind(fd, (void *)&a, sizeof a) ? errno : 0;
    close(fd);
    return error;
}

/* A connection from `port` whose client closes first; the server's end stays open. */
static void half(int port, int seconds, int set)
{
    struct sockaddr_in a = at(7301), own = at(port);
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s, one = 1, value;
    socklen_t length = sizeof value;
    char byte;
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bind(l, (void *)&a, sizeof a);
    listen(l, 5);
    bind(c, (void *)&own, sizeof own);
    if (set)
        RES(setsockopt(c, IPPROTO_TCP, TCP_LINGER2, &seconds, sizeof seconds));
    RES(getsockopt(c, IPPROTO_TCP, TCP_LINGER2, &value, &length));
    NUM(value);
    RES(connect(c, (void *)&a, sizeof a));
    s = accept(l, NULL, NULL);
    RES(close(c));
    RES(read(s, &byte, 1));
    if (seconds >= 0)
        say("bound at once: %s", errname(bound(port)));
    if (seconds) {
        long start = now_ms();
        while (bound(port) && now_ms() - start < 20000)
            sleep_ms(20);
        say("bound in time: %d", now_ms() - start < 20000);
    }
    close(s);
    close(l);
}

int main(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), value;
    socklen_t length = sizeof value;
    GUARD(60);
    SECTION("TCP_LINGER2");
    half(7302, 0, 0);
    half(7303, -1, 1);
    half(7304, 1, 1);
    half(7305, 0, 1);
    SECTION("TCP_QUICKACK");
    for (int k = -1; k < 4; k++) {
        RES(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &k, sizeof k));
        getsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &value, &length);
        NUM(value);
    }
    close(fd);
    return 0;
}
