/* Unix sockets: stream, dgram, seqpacket; names, accept, options, SCM_RIGHTS, credentials, errors. */
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static char block[1 << 18];

static int bind_to(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_to(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static void name_of(const char *what, int fd, int peer)
{
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    int result = (peer ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &length);
    if (result < 0)
        say("%s: %s", what, errname(errno));
    else
        say("%s: length %d family %d path '%s'", what, length, address.sun_family, length > 2 ? address.sun_path : "");
}

static int send_fd(int socket, int fd, const char *data)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(char *)data, strlen(data)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(socket, &message, 0);
}

static int receive_fd(int socket, int flags, int space)
{
    char control[256], data[64];
    struct iovec iov = {data, sizeof data};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = space};
    int fd = -1;
    errno = 0;
    long n = recvmsg(socket, &message, flags);
    struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    say("received %ld %s, flags %#x, control %ld, descriptor %s", n, n < 0 ? errname(errno) : "", message.msg_flags & ~MSG_CMSG_CLOEXEC,
        (long)message.msg_controllen, fd >= 0 ? "yes" : "no");
    return fd;
}

int main(void)
{
    int s[2], d[2], q[2], fd, listener, client, server, value;
    socklen_t length;
    char buf[64];
    GUARD(60);
    signal(SIGPIPE, SIG_IGN);

    SECTION("making");
    RES(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    RES(socket(AF_UNIX, 99, 0));
    RES(socket(AF_UNIX, SOCK_STREAM, 99));
    RES(socket(99, SOCK_STREAM, 0));
    RES(socket(AF_UNIX, SOCK_STREAM | 0x100000, 0));
    RES(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    RES(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, d));
    RES(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, q));
    RES(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0}));
    RES(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8));
    HEX(fcntl(s[0], F_GETFL));
    HEX(fcntl(q[0], F_GETFL));
    HEX(fcntl(d[0], F_GETFD));
    struct stat st;
    RES(fstat(s[0], &st));
    OCT(st.st_mode);
    name_of("unnamed", s[0], 0);
    name_of("its peer", s[0], 1);

    SECTION("stream pair");
    RES(write(s[0], "hello", 5));
    RES(send(s[0], " world", 6, 0));
    RES(ioctl(s[1], FIONREAD, &value));
    NUM(value);
    RES(recv(s[1], buf, 3, MSG_PEEK));
    RES(recv(s[1], buf, 8, 0));
    SHOW(buf, 8);
    RES(read(s[1], buf, 60));
    RES(recv(s[1], buf, 10, MSG_DONTWAIT));
    RES(write(s[0], "abc", 3));
    RES(write(s[0], "def", 3));
    RES(recv(s[1], buf, 6, MSG_WAITALL));
    SHOW(buf, 6);
    RES(lseek(s[0], 0, SEEK_SET));
    RES(pread(s[0], buf, 1, 0));
    RES(sendto(s[0], "x", 1, 0, (struct sockaddr *)buf, 3));
    RES(write(s[0], (void *)8, 5));
    RES(write(s[0], "x", 1));
    RES(read(s[1], (void *)8, 5));
    RES(recv(s[1], buf, 5, MSG_OOB));
    fcntl(s[0], F_SETFL, O_NONBLOCK);
    fcntl(s[1], F_SETFL, O_NONBLOCK);
    long sent = 0, got = 0, n;
    while ((n = write(s[0], block, 10000)) > 0)
        sent += n;
    IS(sent > 50000);
    while ((n = read(s[1], block, sizeof block)) > 0)
        got += n;
    IS(got == sent || got == sent + 1);
    RES(shutdown(s[0], SHUT_WR));
    RES(write(s[0], "x", 1));
    RES(read(s[1], buf, 10));
    RES(write(s[1], "back", 4));
    RES(read(s[0], buf, 10));
    RES(shutdown(s[0], 99));
    close(s[1]);
    RES(read(s[0], buf, 10));
    RES(write(s[0], "x", 1));
    close(s[0]);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    write(s[0], "unread", 6);
    close(s[1]);
    RES(read(s[0], buf, 10));
    RES(send(s[0], "x", 1, MSG_NOSIGNAL));

    SECTION("datagrams and packets");
    RES(send(d[0], "one", 3, 0));
    RES(send(d[0], "second", 6, 0));
    RES(send(d[0], "", 0, 0));
    RES(recv(d[1], buf, 2, 0));
    RES(recv(d[1], buf, 3, MSG_TRUNC));
    RES(recv(d[1], buf, 60, 0));
    RES(recv(d[1], buf, 60, MSG_DONTWAIT));
    RES(send(q[0], "packet", 6, 0));
    RES(send(q[0], "two", 3, 0));
    struct iovec iov = {buf, 4};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    RES(recvmsg(q[1], &message, 0));
    HEX(message.msg_flags);
    RES(recvmsg(q[1], &message, 0));
    HEX(message.msg_flags);
    RES(read(q[1], buf, 10));
    close(q[0]);
    RES(read(q[1], buf, 10));
    close(d[0]);
    RES(send(d[1], "x", 1, 0));

    SECTION("named");
    RES(listener = socket(AF_UNIX, SOCK_STREAM, 0));
    RES(listen(listener, 5));
    RES(bind_to(listener, "sock"));
    RES(bind_to(listener, "again"));
    RES(stat("sock", &st));
    OCT(st.st_mode);
    RES(open("sock", O_RDWR));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    RES(bind_to(fd, "sock"));
    RES(bind_to(fd, "none/sock"));
    RES(connect_to(fd, "sock"));
    RES(connect_to(fd, "none"));
    put("plain", "");
    RES(connect_to(fd, "plain"));
    RES(accept(listener, NULL, NULL));
    RES(listen(listener, 5));
    RES(connect_to(fd, "sock"));
    RES(connect_to(fd, "sock"));
    struct sockaddr_un from;
    length = sizeof from;
    RES(server = accept(listener, (struct sockaddr *)&from, &length));
    NUM(length);
    name_of("listener", listener, 0);
    name_of("server end", server, 0);
    name_of("server's peer", server, 1);
    name_of("client's peer", fd, 1);
    name_of("listener's peer", listener, 1);
    RES(write(fd, "request", 7));
    RES(read(server, buf, 60));
    struct ucred cred;
    length = sizeof cred;
    RES(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length));
    IS(cred.pid == getpid() && cred.uid == 0 && cred.gid == 0);
    RES(read(listener, buf, 1));
    RES(write(listener, buf, 1));
    close(fd);
    RES(read(server, buf, 60));
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    RES(connect_to(client, "sock"));
    RES(write(client, "early", 5));
    RES(accept4(listener, NULL, NULL, 0x1000));
    RES(server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    HEX(fcntl(server, F_GETFL));
    RES(read(server, buf, 60));
    RES(read(server, buf, 60));
    fcntl(listener, F_SETFL, O_NONBLOCK);
    RES(accept(listener, NULL, NULL));
    unlink("sock");
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    RES(connect_to(fd, "sock"));
    fcntl(listener, F_SETFL, 0);
    bind_to(fd, "other");
    listen(fd, 1);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        client = socket(AF_UNIX, SOCK_STREAM, 0);
        RES(connect_to(client, "other"));
        write(client, "from the child", 14);
        _exit(0);
    }
    server = accept(fd, NULL, NULL);
    reap("client", pid); /* both print: one after the other */
    IS(server >= 0);
    RES(read(server, buf, 60));

    SECTION("abstract names");
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    RES(bind(fd, (struct sockaddr *)&abstract, 2 + 9));
    client = socket(AF_UNIX, SOCK_DGRAM, 0);
    RES(bind(client, (struct sockaddr *)&abstract, 2 + 9));
    RES(bind(client, (struct sockaddr *)&abstract, 2));
    RES(sendto(client, "to a name", 9, 0, (struct sockaddr *)&abstract, 2 + 9));
    length = sizeof from;
    RES(recvfrom(fd, buf, 60, 0, (struct sockaddr *)&from, &length));
    NUM(length);
    RES(sendto(client, "x", 1, 0, (struct sockaddr *)&abstract, 2 + 8));
    RES(connect(client, (struct sockaddr *)&abstract, 2 + 9));
    RES(send(client, "connected", 9, 0));
    RES(recv(fd, buf, 60, 0));
    abstract.sun_family = AF_UNSPEC;
    RES(connect(client, (struct sockaddr *)&abstract, sizeof abstract));
    RES(send(client, "x", 1, 0));
    RES(bind(fd, (struct sockaddr *)&abstract, 1));
    RES(bind(fd, (struct sockaddr *)&abstract, 200));

    SECTION("options");
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    length = sizeof value;
    RES(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &length));
    NUM(value);
    RES(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &value, &length));
    NUM(value);
    RES(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &value, &length));
    NUM(value);
    RES(getsockopt(s[0], SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
    NUM(value);
    RES(getsockopt(s[0], SOL_SOCKET, 9999, &value, &length));
    value = 1;
    RES(setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, sizeof value));
    RES(getsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, &length));
    NUM(value);
    RES(setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, 1));
    RES(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, (void *)8, sizeof value));
    value = 0;
    setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &value, sizeof value);
    struct timeval timeout = {0, 30000};
    RES(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    long start = now_ms();
    RES(read(s[0], buf, 1));
    IS(now_ms() - start >= 25);
    RES(getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &length));
    RES(getsockopt(999, SOL_SOCKET, SO_TYPE, &value, &length));

    SECTION("passing descriptors");
    put("passed", "content");
    fd = open("passed", O_RDONLY);
    RES(send_fd(s[0], fd, "fd"));
    close(fd);
    fd = receive_fd(s[1], 0, 256);
    RES(read(fd, buf, 60));
    SHOW(buf, 7);
    HEX(fcntl(fd, F_GETFD));
    lseek(fd, 3, SEEK_SET);
    RES(send_fd(s[0], fd, "again"));
    fd = receive_fd(s[1], MSG_CMSG_CLOEXEC, 256);
    HEX(fcntl(fd, F_GETFD));
    RES(lseek(fd, 0, SEEK_CUR));
    RES(send_fd(s[0], 999, "bad"));
    RES(send_fd(s[0], fd, "no room"));
    receive_fd(s[1], 0, 0);
    RES(send_fd(s[0], fd, "plain read"));
    RES(read(s[1], buf, 60));
    RES(send_fd(s[0], fd, "ab"));
    RES(write(s[0], "cd", 2));
    receive_fd(s[1], 0, 256);
    receive_fd(s[1], 0, 256);
    RES(send_fd(s[0], fd, "peek"));
    close(receive_fd(s[1], MSG_PEEK, 256));
    close(receive_fd(s[1], 0, 256));
    int p[2];
    pipe(p);
    RES(send_fd(s[0], p[1], "in flight"));
    close(p[1]);
    struct pollfd poll_pipe = {p[0], POLLIN, 0};
    RES(poll(&poll_pipe, 1, 0));
    close(s[0]);
    close(s[1]);
    RES(poll(&poll_pipe, 1, 0));
    HEX(poll_pipe.revents);
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    pid = fork();
    if (pid == 0) {
        fd = receive_fd(s[1], 0, 256);
        write(fd, "via child", 9);
        _exit(0);
    }
    pipe(p);
    send_fd(s[0], p[1], "x");
    close(p[1]);
    RES(read(p[0], buf, 60));
    reap("child", pid);

    SECTION("sendmmsg, recvmmsg");
    socketpair(AF_UNIX, SOCK_DGRAM, 0, d);
    struct iovec iovs[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr messages[3] = {{{.msg_iov = iovs, .msg_iovlen = 1}, 0}, {{.msg_iov = iovs + 1, .msg_iovlen = 1}, 0}, {{.msg_iov = iovs + 2, .msg_iovlen = 1}, 0}};
    RES(sendmmsg(d[0], messages, 3, 0));
    NUM(messages[2].msg_len);
    char in[3][8];
    for (int i = 0; i < 3; i++)
        iovs[i] = (struct iovec){in[i], 8};
    RES(recvmmsg(d[1], messages, 3, MSG_DONTWAIT, NULL));
    NUM(messages[1].msg_len);
    RES(recvmmsg(d[1], messages, 3, MSG_DONTWAIT, NULL));
    return 0;
}
