/* SOL_SOCKET options of Unix sockets: values, lengths, errors, effects. */
#include "check.h"

/* What the host offers beyond: security labels, filters, devices, pacing, statistics. */
static const int beyond[] = {25, 26, 27, 28, 32, 33, 37, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 61, 62, 65, 66, 67, 68, 70, 71, 72, 73, 74, 78, 79, 80, 81, 84, 85, 86, 87, 88, 89};

static int is_beyond(int option)
{
    for (unsigned i = 0; i < sizeof beyond / sizeof *beyond; i++)
        if (beyond[i] == option)
            return 1;
    return 0;
}

static void stamps(int type, int option)
{
    int s[2], one = 1;
    char control[256], buf[8];
    struct iovec iov = {buf, sizeof buf};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct timespec now;
    socketpair(AF_UNIX, type, 0, s);
    write(s[1], "0", 1);
    setsockopt(s[0], SOL_SOCKET, option, &one, sizeof one);
    write(s[1], "1", 1);
    for (int i = 0; i < 2; i++) {
        m.msg_controllen = sizeof control;
        if (recvmsg(s[0], &m, MSG_DONTWAIT) < 0)
            break;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        clock_gettime(CLOCK_REALTIME, &now);
        if (c)
            say("type %d option %d: message type %d length %ld, recent: %d", type, option, c->cmsg_type, (long)c->cmsg_len,
                now.tv_sec - *(long *)CMSG_DATA(c) < 5);
        else
            say("type %d option %d: none", type, option);
    }
    for (int other = 29; other < 65; other = other == 29 ? 35 : other == 35 ? 63 : other + 1) {
        int value = -1;
        socklen_t length = sizeof value;
        getsockopt(s[0], SOL_SOCKET, other, &value, &length);
        NUM(value);
    }
    close(s[0]), close(s[1]);
}

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

int main(void)
{
    int s[2];
    unsigned char value[64];
    socklen_t length;
    GUARD(60);
    for (int i = 0; i < 3; i++) {
        SECTION("values");
        socketpair(AF_UNIX, types[i], 0, s);
        for (int option = 0; option < 90; option++) {
            if (is_beyond(option) || option == 77) /* a new descriptor each time */
                continue;
            memset(value, 0xee, sizeof value);
            length = sizeof value;
            errno = 0;
            int r = getsockopt(s[0], SOL_SOCKET, option, value, &length);
            if (option == SO_PEERCRED)
                memset(value, 0, 4);
            if (r < 0)
                say("type %d option %d: %s", types[i], option, errname(errno));
            else {
                char line[200];
                int at = 0;
                for (unsigned k = 0; k < length && k < 16; k++)
                    at += sprintf(line + at, "%02x", value[k]);
                line[at] = 0;
                say("type %d option %d: length %d %s", types[i], option, length, line);
            }
        }
        SECTION("set");
        for (int option = 0; option < 90; option++) {
            static const long tries[] = {1, 0, -1, 7, 5000};
            if (is_beyond(option))
                continue;
            for (unsigned k = 0; k < 5; k++) {
                int number = tries[k], back = -1;
                if (number < 0 && (option == SO_SNDBUF || option == SO_RCVBUF)) /* the limits are the host's */
                    continue;
                errno = 0;
                int r = setsockopt(s[0], SOL_SOCKET, option, &number, sizeof number), e = r ? errno : 0;
                length = sizeof back;
                if (getsockopt(s[0], SOL_SOCKET, option, &back, &length))
                    back = -2;
                if (option == SO_PEERCRED)
                    back = 0;
                if (option == 77 && back >= 0)
                    close(back), back = 0;
                say("type %d set %d to %d: %s, then %d", types[i], option, number, errname(e), back);
            }
        }
        RES(getsockopt(s[0], 0, 1, value, &length));
        RES(setsockopt(s[0], 0, 1, value, 4));
        RES(getsockopt(s[0], 6, 1, value, &length));
        RES(setsockopt(s[0], 6, 1, value, 4));
        RES(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, value, 3));
        RES(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, (void *)8, 4));
        RES(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, value, -1));
        length = 2;
        RES(getsockopt(s[0], SOL_SOCKET, SO_TYPE, value, &length));
        NUM(length);
        length = -1;
        RES(getsockopt(s[0], SOL_SOCKET, SO_TYPE, value, &length));
        RES(getsockopt(s[0], SOL_SOCKET, SO_TYPE, value, (void *)8));
        length = 4;
        RES(getsockopt(s[0], SOL_SOCKET, SO_TYPE, (void *)8, &length));
        close(s[0]), close(s[1]);
        SECTION("timestamps");
        stamps(types[i], SO_TIMESTAMP);
        stamps(types[i], SO_TIMESTAMPNS);
        stamps(types[i], 63);
        stamps(types[i], 64);
    }
    return 0;
}
