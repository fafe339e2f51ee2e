/* Control data of sendmsg, right and wrong ones by chance: what is refused, and what arrives. */
#include "check.h"

static unsigned state = 12345;

static unsigned chance(unsigned below)
{
    state = state * 1103515245 + 12345;
    return (state >> 8) % below;
}

int main(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    static const int lengths[] = {0, 1, 15, 16, 17, 20, 24, 28, 29, 32, 40, 1000, -1};
    static const int fds[] = {0, 1, 2, 999, -1, 0, 1};
    int one = 1;
    GUARD(60);
    for (int i = 0; i < 1500; i++) {
        int s[2];
        char control[512], data[8], line[300];
        int used = 0, pieces = chance(4), at = 0;
        socketpair(AF_UNIX, types[i % 3], 0, s);
        if (chance(2))
            setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
        memset(control, 0, sizeof control);
        for (int k = 0; k < pieces; k++) {
            struct cmsghdr head = {0};
            int body = 0, kind = chance(8);
            int *numbers = (int *)(control + used + 16);
            head.cmsg_level = chance(6) ? SOL_SOCKET : chance(3) * 41;
            head.cmsg_type = kind < 4 ? SCM_RIGHTS : kind < 6 ? SCM_CREDENTIALS : (int)chance(40);
            if (head.cmsg_type == SCM_RIGHTS) {
                body = chance(4);
                for (int n = 0; n < body; n++)
                    numbers[n] = chance(5) ? (int)chance(3) : fds[chance(7)];
                body *= 4;
            } else {
                body = 12;
                numbers[0] = chance(3) ? getpid() : chance(2) ? 1 : 999999;
                numbers[1] = numbers[2] = chance(4) ? 0 : 5;
            }
            head.cmsg_len = chance(8) ? (size_t)(16 + body) : (size_t)(long)lengths[chance(13)];
            memcpy(control + used, &head, 16);
            used += (16 + body + 7) & ~7;
        }
        if (!chance(6))
            used = chance(used + 20);
        struct iovec iov = {"data", 4};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = used};
        errno = 0;
        long n = sendmsg(s[0], &m, MSG_DONTWAIT);
        at = sprintf(line, "%d: %ld %s", i, n, n < 0 ? errname(errno) : "");
        iov = (struct iovec){data, sizeof data};
        memset(control, 0, sizeof control);
        m = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = chance(4) ? 200 : chance(60)};
        n = recvmsg(s[1], &m, MSG_DONTWAIT | (chance(4) ? 0 : MSG_PEEK));
        if (n >= 0)
            at += sprintf(line + at, ", received %ld flags %#x control %ld", n, m.msg_flags, (long)m.msg_controllen);
        for (struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL; c; c = CMSG_NXTHDR(&m, c)) {
            at += sprintf(line + at, " [%d %d %ld]", c->cmsg_level, c->cmsg_type, (long)c->cmsg_len);
            if (c->cmsg_type == SCM_RIGHTS)
                for (unsigned k = 0; k < (c->cmsg_len - 16) / 4; k++)
                    close(((int *)CMSG_DATA(c))[k]);
        }
        say("%s", line);
        close(s[0]), close(s[1]);
    }
    int fd = dup(0);
    NUM(fd);
    return 0;
}
