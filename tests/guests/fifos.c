/* mknod of every kind, FIFOs by name: opening rules, blocking, hang-up. */
#include "check.h"
#include <poll.h>
#include <sys/sysmacros.h>

static void handler(int number) { (void)number; }

int main(void)
{
    struct stat st;
    int fd, fd2;
    char buf[64];
    GUARD(60);

    SECTION("mknod");
    RES(mknod("reg", S_IFREG | 0640, 0));
    RES(stat("reg", &st));
    OCT(st.st_mode);
    RES(mknod("plain", 0600, 0));
    RES(stat("plain", &st));
    OCT(st.st_mode);
    RES(mknod("fifo", S_IFIFO | 0644, 0));
    RES(mknod("fifo", S_IFIFO | 0644, 0));
    RES(mknod("sock", S_IFSOCK | 0600, 0));
    RES(stat("sock", &st));
    OCT(st.st_mode);
    RES(open("sock", O_RDONLY));
    RES(mknod("dir", S_IFDIR | 0755, 0));
    RES(mknod("link", S_IFLNK | 0755, 0));
    RES(mknod("odd", 0170000, 0));
    RES(mknod("none/x", S_IFREG, 0));
    RES(mkfifoat(99, "x", 0600));
    CHILD("no device for a user", setresuid(1000, 1000, 1000); RES(mknod("dev", S_IFCHR | 0600, makedev(1, 3))));

    SECTION("opening a FIFO");
    RES(open("fifo", O_WRONLY | O_NONBLOCK));
    RES(fd = open("fifo", O_RDONLY | O_NONBLOCK));
    RES(read(fd, buf, 1));
    struct pollfd p = {fd, POLLIN, 0};
    RES(poll(&p, 1, 0));
    RES(fd2 = open("fifo", O_WRONLY | O_NONBLOCK));
    RES(read(fd, buf, 1));
    RES(write(fd2, "data", 4));
    RES(poll(&p, 1, 0));
    HEX(p.revents);
    close(fd2);
    RES(poll(&p, 1, 0));
    HEX(p.revents);
    RES(read(fd, buf, 60));
    RES(read(fd, buf, 60));
    RES(poll(&p, 1, 0));
    HEX(p.revents);
    close(fd);
    RES(fd = open("fifo", O_RDWR));
    RES(write(fd, "self", 4));
    RES(read(fd, buf, 60));
    close(fd);
    RES(truncate("fifo", 0));
    RES(fd = open("fifo", O_RDWR | O_TRUNC));
    close(fd);

    SECTION("blocking");
    pid_t pid = fork();
    if (pid == 0) {
        fd = open("fifo", O_WRONLY);
        write(fd, "from the child", 14);
        _exit(0);
    }
    await_state(pid, 'S');
    RES(fd = open("fifo", O_RDONLY));
    RES(read(fd, buf, 60));
    RES(read(fd, buf, 60));
    reap("writer", pid);
    close(fd);
    pid = fork();
    if (pid == 0) {
        fd = open("fifo", O_RDONLY);
        long n = read(fd, buf, 60);
        _exit(n);
    }
    await_state(pid, 'S');
    RES(fd = open("fifo", O_WRONLY));
    RES(write(fd, "xyz", 3));
    reap("reader", pid);
    signal(SIGPIPE, SIG_IGN);
    RES(write(fd, "xyz", 3));
    close(fd);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    pid = fork();
    if (pid == 0) {
        await_state(getppid(), 'S');
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    RES(open("fifo", O_RDONLY));
    reap("interrupter", pid);

    SECTION("unlinked and renamed");
    fd = open("fifo", O_RDWR);
    write(fd, "kept", 4);
    rename("fifo", "moved");
    fd2 = open("moved", O_RDONLY | O_NONBLOCK);
    RES(read(fd2, buf, 2));
    unlink("moved");
    RES(read(fd, buf, 60));
    close(fd);
    RES(read(fd2, buf, 60));
    RES(link("sock", "sock2"));
    CHILD("data does not outlive the last close", mkfifo("again", 0600); fd = open("again", O_RDWR); write(fd, "lost", 4); close(fd); fd = open("again", O_RDONLY | O_NONBLOCK); RES(read(fd, buf, 60)));
    return 0;
}
