/* Unix sockets: credentials, out-of-band data, peeking, limits of what is passed, cycles, ends of connections, accounting. */
#include "check.h"
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif

static char block[300000], buf[300000];


static void pair(int type, int *s)
{
    if (socketpair(AF_UNIX, type, 0, s))
        say("socketpair: %s", errname(errno));
}

static void both(int *s)
{
    close(s[0]);
    close(s[1]);
}

static void set(int fd, int option, int value)
{
    setsockopt(fd, SOL_SOCKET, option, &value, sizeof value);
}

static int get(int fd, int option)
{
    int value = -99;
    socklen_t length = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &length))
        return -errno;
    return value;
}

static struct sockaddr_un address_of(const char *name, socklen_t *length)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path + (name[0] == '@'), name + (name[0] == '@'));
    *length = name[0] == '@' ? 2 + strlen(name) : sizeof address;
    return address;
}

static int named(int type, const char *name)
{
    socklen_t length;
    struct sockaddr_un address = address_of(name, &length);
    int fd = socket(AF_UNIX, type, 0);
    if (bind(fd, (void *)&address, length))
        say("bind %s: %s", name, errname(errno));
    return fd;
}

static int to(int fd, const char *name)
{
    socklen_t length;
    struct sockaddr_un address = address_of(name, &length);
    return connect(fd, (void *)&address, length);
}

/* Receives a message and tells all of it; passed descriptors are closed. */
static long in(const char *what, int fd, int flags, long size, long space)
{
    char control[4096];
    struct iovec iov = {buf, size};
    struct sockaddr_un from = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = space, .msg_name = &from,
        .msg_namelen = sizeof from};
    errno = 0;
    long n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
    say("%s: %ld %s flags %#x control %ld name %d", what, n, n < 0 ? errname(errno) : "", n < 0 ? 0 : m.msg_flags,
        n < 0 ? 0 : (long)m.msg_controllen, n < 0 ? 0 : m.msg_namelen);
    if (n < 0)
        return n;
    show("  data", buf, n < 40 ? n : 40);
    if (m.msg_namelen == 8)
        say("  from an automatic name");
    else if (m.msg_namelen > 2)
        say("  from %c%s", from.sun_path[0] ? from.sun_path[0] : '@', from.sun_path + 1);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred u;
            memcpy(&u, CMSG_DATA(c), sizeof u);
            say("  credentials: pid %s uid %d gid %d", u.pid == getpid() ? "mine" : u.pid == 0 ? "0" : "another", u.uid, u.gid);
        } else {
            long count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            say("  type %d, %ld descriptors", c->cmsg_type, count);
            for (long i = 0; i < count; i++)
                close(((int *)CMSG_DATA(c))[i]);
        }
    }
    return n;
}

static long pass(int socket, const int *fds, int count, const char *data)
{
    static char control[CMSG_SPACE(sizeof(int) * 1000)];
    struct iovec iov = {(char *)data, strlen(data)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    return sendmsg(socket, &m, MSG_DONTWAIT);
}

static long send_creds(int socket, int pid, int uid, int gid)
{
    char control[CMSG_SPACE(sizeof(struct ucred))] = {0};
    struct ucred u = {pid, uid, gid};
    struct iovec iov = {"creds", 5};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    c->cmsg_len = CMSG_LEN(sizeof u);
    memcpy(CMSG_DATA(c), &u, sizeof u);
    return sendmsg(socket, &m, 0);
}

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

static void credentials(void)
{
    int s[2], listener, client, server;
    for (int i = 0; i < 3; i++) {
        say("## type %d", types[i]);
        pair(types[i], s);
        write(s[0], "ab", 2);
        in("without", s[1], 0, 60, 512);
        write(s[0], "ab", 2);
        set(s[1], SO_PASSCRED, 1);
        in("asked too late", s[1], 0, 60, 512);
        write(s[0], "ab", 2);
        write(s[0], "cd", 2);
        in("asked", s[1], 0, 60, 512);
        in("asked", s[1], 0, 60, 512);
        write(s[0], "ab", 2);
        in("no room", s[1], 0, 60, 0);
        write(s[0], "ab", 2);
        in("some room", s[1], 0, 60, 20);
        set(s[1], SO_PASSCRED, 0);
        set(s[0], SO_PASSCRED, 1);
        write(s[0], "ab", 2);
        set(s[1], SO_PASSCRED, 1);
        in("the sender asked", s[1], 0, 60, 512);
        set(s[0], SO_PASSCRED, 0);
        set(s[1], SO_PASSCRED, 0);
        write(s[0], "x", 1);
        set(s[1], SO_PASSCRED, 1);
        write(s[0], "y", 1);
        write(s[0], "z", 1);
        in("mixed", s[1], 0, 60, 512);
        in("mixed", s[1], 0, 60, 512);
        in("mixed", s[1], 0, 60, 512);
        RES(send_creds(s[0], getpid(), 0, 0));
        in("own", s[1], 0, 60, 512);
        RES(send_creds(s[0], 1, 5, 6));
        in("privileged", s[1], 0, 60, 512);
        RES(send_creds(s[0], 999999, 0, 0));
        pid_t pid = fork();
        if (pid == 0) {
            setresgid(11, 12, 13);
            setresuid(21, 22, 23);
            RES(send_creds(s[0], getpid(), 21, 11));
            RES(send_creds(s[0], getpid(), 22, 12));
            RES(send_creds(s[0], getpid(), 23, 13));
            RES(send_creds(s[0], getpid(), 0, 11));
            RES(send_creds(s[0], getpid(), 21, 0));
            RES(send_creds(s[0], getppid(), 21, 11));
            write(s[0], "w", 1);
            _exit(0);
        }
        reap("child", pid);
        for (int k = 0; k < 4; k++)
            in("child's", s[1], 0, 60, 512);
        both(s);
    }
    listener = named(SOCK_STREAM, "@creds");
    listen(listener, 5);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    RES(to(client, "@creds"));
    write(client, "early", 5);
    server = accept(listener, NULL, NULL);
    set(server, SO_PASSCRED, 1);
    in("sent before it was accepted", server, 0, 60, 512);
    close(server);
    close(client);
    set(listener, SO_PASSCRED, 1);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    set(client, SO_PASSCRED, 1);
    RES(to(client, "@creds"));
    server = accept(listener, NULL, NULL);
    NUM(get(server, SO_PASSCRED));
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    RES(getpeername(server, (void *)&name, &length));
    NUM(length);
    write(client, "hi", 2);
    in("inherited", server, 0, 60, 512);
    int pidfd = get(server, SO_PEERPIDFD);
    IS(pidfd >= 0);
    IS(fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    close(pidfd);
    close(server), close(client), close(listener);
}

static void urgent(void)
{
    int s[2], value = 7;
    pair(SOCK_STREAM, s);
    RES(send(s[0], "hello", 5, MSG_OOB));
    struct pollfd p = {s[1], POLLIN | POLLPRI | POLLOUT, 0};
    poll(&p, 1, 0);
    HEX(p.revents);
    RES(ioctl(s[1], SIOCATMARK, &value));
    NUM(value);
    RES(ioctl(s[1], SIOCINQ, &value));
    NUM(value);
    in("up to the mark", s[1], 0, 60, 0);
    RES(ioctl(s[1], SIOCATMARK, &value));
    NUM(value);
    in("peek", s[1], MSG_OOB | MSG_PEEK, 60, 0);
    in("oob", s[1], MSG_OOB, 60, 0);
    in("oob again", s[1], MSG_OOB, 60, 0);
    in("nothing", s[1], 0, 60, 0);
    send(s[0], "ab", 2, MSG_OOB);
    send(s[0], "cd", 2, MSG_OOB);
    in("two marks", s[1], 0, 60, 0);
    in("then", s[1], 0, 60, 0);
    in("gone", s[1], MSG_OOB, 60, 0);
    send(s[0], "ab", 2, MSG_OOB);
    write(s[0], "xy", 2);
    in("before", s[1], 0, 60, 0);
    in("behind", s[1], 0, 60, 0);
    in("gone", s[1], MSG_OOB, 60, 0);
    set(s[1], SO_OOBINLINE, 1);
    send(s[0], "ab", 2, MSG_OOB);
    in("inline", s[1], MSG_OOB, 60, 0);
    in("inline", s[1], 0, 60, 0);
    in("inline", s[1], 0, 60, 0);
    RES(send(s[0], "", 0, MSG_OOB));
    both(s);
    for (int i = 1; i < 3; i++) {
        pair(types[i], s);
        RES(send(s[0], "x", 1, MSG_OOB));
        RES(recv(s[1], buf, 1, MSG_OOB));
        RES(ioctl(s[0], SIOCATMARK, &value));
        both(s);
    }
}

static void peeking(void)
{
    int s[2];
    for (int i = 0; i < 3; i++) {
        say("## type %d", types[i]);
        pair(types[i], s);
        NUM(get(s[1], SO_PEEK_OFF));
        set(s[1], SO_PEEK_OFF, 1);
        write(s[0], "abc", 3);
        write(s[0], "defgh", 5);
        in("peek", s[1], MSG_PEEK, 2, 0);
        NUM(get(s[1], SO_PEEK_OFF));
        in("peek", s[1], MSG_PEEK, 4, 0);
        NUM(get(s[1], SO_PEEK_OFF));
        in("read", s[1], 0, 3, 0);
        NUM(get(s[1], SO_PEEK_OFF));
        in("peek", s[1], MSG_PEEK, 60, 0);
        in("peek", s[1], MSG_PEEK, 60, 0);
        set(s[1], SO_PEEK_OFF, -5);
        NUM(get(s[1], SO_PEEK_OFF));
        in("peek", s[1], MSG_PEEK, 60, 0);
        in("peek", s[1], MSG_PEEK | MSG_TRUNC, 2, 0);
        in("read", s[1], 0, 60, 0);
        write(s[0], "12", 2);
        write(s[0], "345", 3);
        in("waitall", s[1], MSG_WAITALL, 4, 0);
        in("waitall", s[1], MSG_WAITALL, 4, 0);
        in("no room", s[1], 0, 0, 0);
        both(s);
    }
}

static int high_descriptor(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void rights(void)
{
    int s[2], p[2], fds[300], lowest = high_descriptor();
    for (int i = 0; i < 300; i++)
        fds[i] = 0;
    pair(SOCK_STREAM, s);
    RES(pass(s[0], fds, 253, "most"));
    in("253", s[1], 0, 60, 4000);
    RES(pass(s[0], fds, 254, "too many"));
    RES(pass(s[0], fds, 10, "some"));
    in("room for four", s[1], 0, 60, CMSG_LEN(16));
    RES(pass(s[0], fds, 1, "a"));
    RES(pass(s[0], fds, 2, "b"));
    write(s[0], "c", 1);
    in("each alone", s[1], 0, 60, 512);
    in("each alone", s[1], 0, 60, 512);
    in("each alone", s[1], 0, 60, 512);
    RES(pass(s[0], fds, 1, ""));
    in("without data", s[1], 0, 60, 512);
    int path = open("/", O_PATH);
    RES(pass(s[0], &path, 1, "path"));
    in("O_PATH", s[1], 0, 60, 512);
    close(path);
    both(s);
    pair(SOCK_SEQPACKET, s);
    RES(pass(s[0], fds, 2, ""));
    in("without data", s[1], 0, 60, 512);
    RES(pass(s[0], fds, 2, "x"));
    in("peek", s[1], MSG_PEEK, 60, 512);
    in("cloexec", s[1], MSG_CMSG_CLOEXEC, 60, 512);
    both(s);

    /* a limit of files in flight for a user without privilege */
    CHILD("limit", {
        struct rlimit limit = {30, 30};
        setrlimit(RLIMIT_NOFILE, &limit);
        setresgid(77, 77, 77);
        setresuid(77, 77, 77);
        pair(SOCK_DGRAM, s);
        RES(pass(s[0], fds, 20, "x"));
        RES(pass(s[0], fds, 20, "x"));
        RES(pass(s[0], fds, 20, "x"));
        in("taken", s[1], 0, 60, 512);
        RES(pass(s[0], fds, 20, "x"));
    });

    /* a socket in its own queue, and two in each other's, are gone once another Unix socket ends */
    pipe(p);
    pair(SOCK_STREAM, s);
    pass(s[0], (int[]){s[1], s[0], p[1]}, 3, "cycle");
    both(s);
    pair(SOCK_STREAM, s);
    int t[2];
    pair(SOCK_DGRAM, t);
    pass(s[0], (int[]){t[0], t[1], p[1]}, 3, "x");
    pass(t[0], (int[]){s[0], s[1], p[1]}, 3, "x");
    both(s);
    both(t);
    int listener = named(SOCK_STREAM, "@cycle"), client = socket(AF_UNIX, SOCK_STREAM, 0);
    listen(listener, 3);
    to(client, "@cycle");
    pass(client, (int[]){listener, client, p[1]}, 3, "not accepted");
    close(listener), close(client);
    close(p[1]);
    struct pollfd waits = {p[0], POLLIN, 0};
    for (int i = 0; i < 100 && !poll(&waits, 1, 0); i++) {
        pair(SOCK_STREAM, s);
        both(s);
        sleep_ms(5);
    }
    NUM(poll(&waits, 1, 0));
    HEX(waits.revents);
    close(p[0]);
    /* what is still reachable is kept */
    pipe(p);
    pair(SOCK_STREAM, s);
    pair(SOCK_STREAM, t);
    pass(s[0], (int[]){t[0], t[1]}, 2, "kept");
    pass(t[0], (int[]){p[1]}, 1, "inner");
    both(t);
    close(p[1]);
    pair(SOCK_STREAM, t);
    both(t);
    sleep_ms(20);
    waits = (struct pollfd){p[0], POLLIN, 0};
    NUM(poll(&waits, 1, 0));
    both(s);
    sleep_ms(20);
    NUM(poll(&waits, 1, 1000));
    close(p[0]);
    /* a long chain, each in the queue of the next */
    int last[2];
    pair(SOCK_STREAM, last);
    for (int i = 0; i < 5000; i++) {
        pair(SOCK_STREAM, s);
        if (pass(s[0], last, 2, "x") != 1)
            say("chain: %s", errname(errno));
        both(last);
        last[0] = s[0], last[1] = s[1];
    }
    both(last);
    NUM(high_descriptor() - lowest);
}

static void ends(void)
{
    int s[2], value, listener, client, server;
    struct sockaddr_un name;
    socklen_t length;
    struct pollfd p;
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 3; i++) {
        say("## type %d", types[i]);
        pair(types[i], s);
        close(s[1]);
        length = sizeof name;
        RES(getpeername(s[0], (void *)&name, &length));
        p = (struct pollfd){s[0], POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
        poll(&p, 1, 0);
        HEX(p.revents);
        CHILD("writes", write(s[0], "x", 1));
        RES(send(s[0], "x", 1, MSG_NOSIGNAL));
        RES(send(s[0], "x", 1, MSG_NOSIGNAL));
        RES(recv(s[0], buf, 1, MSG_DONTWAIT));
        RES(recv(s[0], buf, 1, MSG_DONTWAIT));
        close(s[0]);
        for (int how = 0; how < 3; how++) {
            pair(types[i], s);
            write(s[0], "data", 4);
            write(s[1], "data", 4);
            RES(shutdown(s[0], how));
            p = (struct pollfd){s[0], POLLIN | POLLOUT | POLLRDHUP, 0};
            poll(&p, 1, 0);
            HEX(p.revents);
            p.fd = s[1];
            poll(&p, 1, 0);
            HEX(p.revents);
            for (int k = 0; k < 2; k++) {
                RES(recv(s[0], buf, 60, MSG_DONTWAIT));
                RES(recv(s[1], buf, 60, MSG_DONTWAIT));
            }
            RES(send(s[0], "x", 1, MSG_NOSIGNAL));
            RES(send(s[1], "x", 1, MSG_NOSIGNAL));
            CHILD("writes", write(s[0], "x", 1));
            CHILD("writes", write(s[1], "x", 1));
            both(s);
        }
        pair(types[i], s);
        write(s[0], "unread", 6);
        close(s[1]);
        NUM(get(s[0], SO_ERROR));
        NUM(get(s[0], SO_ERROR));
        close(s[0]);
    }
    signal(SIGPIPE, SIG_IGN);
    say("## backlog");
    listener = named(SOCK_STREAM, "@ends");
    RES(listen(listener, 1));
    int clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        RES(to(clients[i], "@ends"));
    }
    server = accept(listener, NULL, NULL);
    RES(to(clients[3], "@ends"));
    close(clients[0]);
    RES(read(server, buf, 1));
    close(listener);
    RES(read(clients[1], buf, 1));
    RES(read(clients[1], buf, 1));
    RES(to(clients[2], "@ends"));
    for (int i = 1; i < 4; i++)
        close(clients[i]);
    close(server);
    say("## the other's queue");
    int receiver = named(SOCK_DGRAM, "@queue");
    client = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    to(client, "@queue");
    for (value = 0; write(client, "x", 1) == 1; value++)
        ;
    say("%d messages, then %s", value, errname(errno));
    p = (struct pollfd){client, POLLOUT, 0};
    NUM(poll(&p, 1, 0));
    read(receiver, buf, 1);
    NUM(poll(&p, 1, 0));
    RES(write(client, "x", 1));
    int other = named(SOCK_DGRAM, "@other");
    RES(to(receiver, "@other"));
    RES(write(client, "x", 1));
    RES(to(client, "@other"));
    RES(write(other, "x", 1));
    close(other);
    RES(write(client, "x", 1));
    RES(write(client, "x", 1));
    RES(to(receiver, "@nobody"));
    RES(connect(receiver, &(struct sockaddr){AF_UNSPEC}, 2));
    close(receiver);
    close(client);
    say("## addresses");
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    name = (struct sockaddr_un){.sun_family = AF_UNIX};
    RES(connect(client, (void *)&name, 2));
    RES(connect(client, (void *)&name, 1));
    name.sun_family = AF_INET;
    RES(connect(client, (void *)&name, 20));
    RES(bind(client, (void *)&name, 20));
    name.sun_family = AF_UNIX;
    RES(bind(client, (void *)&name, 2));
    length = sizeof name;
    RES(getsockname(client, (void *)&name, &length));
    NUM(length);
    close(client);
    RES(named(SOCK_STREAM, "a/b/c") > 0);
    client = named(SOCK_STREAM, "twice");
    name = address_of("third", &length);
    RES(bind(client, (void *)&name, length));
    RES(access("third", F_OK));
    close(client);
    RES(access("twice", F_OK));
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    RES(to(client, "twice"));
    RES(link("twice", "linked"));
    RES(rename("linked", "renamed"));
    unlink("twice");
    listener = named(SOCK_STREAM, "twice");
    listen(listener, 5);
    rename("twice", "elsewhere");
    symlink("elsewhere", "link");
    RES(to(client, "link"));
    close(client);
    chmod("elsewhere", 0600);
    CHILD("stranger", {
        setresuid(9, 9, 9);
        client = socket(AF_UNIX, SOCK_STREAM, 0);
        RES(to(client, "elsewhere"));
    });
    close(listener);
}

static void accounting(void)
{
    static const int sizes[] = {1, 192, 193, 704, 705, 1728, 1729, 3776, 3777, 4096, 4288, 7872, 7873, 16064, 16065, 30000, 36544, 36545, 65536};
    int s[2], value;
    for (int i = 0; i < 3; i++) {
        for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            pair(types[i], s);
            long n = write(s[0], block, sizes[k]);
            ioctl(s[0], SIOCOUTQ, &value);
            say("type %d: %d bytes: %ld written, SIOCOUTQ %d", types[i], sizes[k], n, value);
            ioctl(s[1], SIOCINQ, &value);
            NUM(value);
            read(s[1], buf, sizeof buf);
            ioctl(s[0], SIOCOUTQ, &value);
            NUM(value);
            both(s);
        }
        pair(types[i], s);
        fcntl(s[0], F_SETFL, O_NONBLOCK);
        set(s[0], SO_SNDBUF, 5000);
        NUM(get(s[0], SO_SNDBUF));
        RES(write(s[0], block, 20000));
        RES(write(s[0], block, 9000));
        RES(write(s[0], block, 1000));
        RES(write(s[0], block, 1000));
        struct pollfd p = {s[0], POLLOUT, 0};
        NUM(poll(&p, 1, 0));
        RES(recv(s[1], buf, 100, MSG_DONTWAIT));
        NUM(poll(&p, 1, 0));
        RES(recv(s[1], buf, sizeof buf, MSG_DONTWAIT));
        NUM(poll(&p, 1, 0));
        both(s);
    }
    /* a blocking writer is woken as room appears, and all arrives in order */
    pair(SOCK_STREAM, s);
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = i * 7 + i / 251;
    pid_t pid = fork();
    if (pid == 0) {
        close(s[1]);
        for (int i = 0; i < 5; i++)
            RES(write(s[0], block, sizeof block));
        _exit(0);
    }
    close(s[0]);
    long total = 0, n, wrong = 0;
    while ((n = read(s[1], buf, 7001)) > 0)
        for (long i = 0; i < n; i++)
            wrong += buf[i] != block[(total + i) % sizeof block], total += i == n - 1 ? n : 0;
    close(s[1]);
    reap("writer", pid);
    NUM(total);
    NUM(wrong);
    /* vectors */
    pair(SOCK_STREAM, s);
    struct iovec out[40], inv[40];
    for (int i = 0; i < 40; i++) {
        out[i] = (struct iovec){block + 100 * i, i % 7 * 10};
        inv[i] = (struct iovec){buf + 100 * i, i % 5 * 20};
    }
    RES(writev(s[0], out, 10));
    RES(writev(s[0], out + 10, 30));
    RES(readv(s[1], inv, 10));
    RES(readv(s[1], inv + 10, 30));
    RES(readv(s[1], inv, 0));
    RES(writev(s[0], out, 0));
    RES(writev(s[0], out, -1));
    RES(writev(s[0], out, 1025));
    out[1].iov_base = (void *)8;
    RES(writev(s[0], out, 3));
    out[0] = (struct iovec){block, 10};
    RES(writev(s[0], out, 3));
    write(s[0], "abcdef", 6);
    inv[0] = (struct iovec){buf, 3};
    inv[1] = (struct iovec){(void *)8, 3};
    RES(readv(s[1], inv, 2));
    in("left", s[1], 0, 60, 0);
    both(s);
    pair(SOCK_DGRAM, s);
    RES(writev(s[0], out, 3));
    write(s[0], "abcdef", 6);
    RES(readv(s[1], inv, 2));
    in("left", s[1], 0, 60, 0);
    both(s);
}

static void table(void)
{
    char line[300];
    int listener = named(SOCK_STREAM, "@table"), file = named(SOCK_DGRAM, "/tmp/table");
    listen(listener, 1);
    for (int which = 0; which < 2; which++) {
    FILE *f = fopen("/proc/net/unix", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *at = strstr(line, which ? "/tmp/table" : "@table");
        if (!strncmp(line, "Num", 3))
            show("header", line, strlen(line));
        else if (at) {
            long flags, type, state;
            char path[200];
            IS(sscanf(line, "%*x: %*x %*x %lx %lx %lx %*d %199s", &flags, &type, &state, path) == 4);
            say("flags %lx type %lx state %lx path %s", flags, type, state, path);
        }
    }
    if (f)
        fclose(f);
    }
    close(listener), close(file);
    unlink("/tmp/table");
}

int main(void)
{
    GUARD(80);
    signal(SIGPIPE, SIG_IGN);
    SECTION("credentials");
    credentials();
    SECTION("urgent");
    urgent();
    SECTION("peeking");
    peeking();
    SECTION("rights");
    rights();
    SECTION("ends");
    ends();
    SECTION("accounting");
    accounting();
    SECTION("table");
    table();
    return 0;
}
