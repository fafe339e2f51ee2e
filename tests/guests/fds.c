/* Descriptor tables: dup family, fcntl, close-on-exec, close_range, limits. */
#include "check.h"
#include <linux/close_range.h>
#include <sys/ioctl.h>

int main(void)
{
    int fd, value;
    GUARD(60);
    put("f", "0123456789");

    SECTION("lowest number");
    RES(fd = open("f", O_RDONLY));
    RES(dup(fd));
    RES(dup(fd));
    RES(close(4));
    RES(open("f", O_RDONLY));
    RES(dup(-1));
    RES(dup(100));

    SECTION("dup2, dup3");
    RES(dup2(fd, 10));
    RES(dup2(fd, fd));
    RES(dup2(-1, 11));
    RES(dup2(99, 99));
    RES(dup2(fd, -1));
    RES(dup2(fd, 1024));
    RES(dup2(fd, 100000));
    RES(dup3(fd, fd, 0));
    RES(dup3(fd, 12, O_CLOEXEC));
    HEX(fcntl(12, F_GETFD));
    RES(dup3(fd, 12, 0));
    HEX(fcntl(12, F_GETFD));
    RES(dup3(fd, 13, 1));
    RES(dup3(99, 13, 0));
    RES(dup2(12, 10));
    RES(lseek(10, 5, SEEK_SET));
    RES(lseek(fd, 0, SEEK_CUR));

    SECTION("fcntl");
    RES(fcntl(fd, F_DUPFD, 0));
    RES(fcntl(fd, F_DUPFD, 20));
    RES(fcntl(fd, F_DUPFD, 20));
    RES(fcntl(fd, F_DUPFD, -1));
    RES(fcntl(fd, F_DUPFD, 1024));
    RES(fcntl(fd, F_DUPFD_CLOEXEC, 30));
    HEX(fcntl(30, F_GETFD));
    HEX(fcntl(20, F_GETFD));
    RES(fcntl(20, F_SETFD, FD_CLOEXEC));
    HEX(fcntl(20, F_GETFD));
    RES(fcntl(20, F_SETFD, 0xff));
    HEX(fcntl(20, F_GETFD));
    HEX(fcntl(21, F_GETFD));
    RES(fcntl(-1, F_GETFD));
    RES(fcntl(fd, 9999));
    HEX(fcntl(fd, F_GETFL));
    RES(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND));
    HEX(fcntl(20, F_GETFL));
    RES(fcntl(fd, F_SETFL, O_RDWR | O_CREAT));
    HEX(fcntl(fd, F_GETFL));
    RES(fcntl(fd, F_SETFL, 0));
    RES(ioctl(fd, FIOCLEX));
    HEX(fcntl(fd, F_GETFD));
    RES(ioctl(fd, FIONCLEX));
    HEX(fcntl(fd, F_GETFD));
    value = 1;
    RES(ioctl(fd, FIONBIO, &value));
    HEX(fcntl(fd, F_GETFL));
    value = 0;
    RES(ioctl(fd, FIONBIO, &value));
    RES(lseek(fd, 4, SEEK_SET));
    RES(ioctl(fd, FIONREAD, &value));
    NUM(value);
    RES(ioctl(fd, TCGETS, &value));
    RES(ioctl(-1, TCGETS, &value));
    RES(ioctl(fd, 0x12345678, &value));
    RES(isatty(fd));
    RES(fcntl(fd, F_GETOWN));
    RES(fcntl(fd, F_SETOWN, getpid()));
    IS(fcntl(fd, F_GETOWN) == getpid());
    RES(fcntl(fd, F_SETOWN, 0));
    RES(fcntl(fd, F_GETSIG));
    RES(fcntl(fd, F_SETSIG, SIGUSR1));
    RES(fcntl(fd, F_GETSIG));
    RES(fcntl(fd, F_SETSIG, 1000));
    RES(fcntl(fd, F_SETSIG, 0));

    SECTION("close_range");
    RES(close_range(20, 10, 0));
    RES(close_range(20, 40, 0x100));
    RES(close_range(20, 40, CLOSE_RANGE_CLOEXEC));
    HEX(fcntl(21, F_GETFD));
    RES(close_range(20, 40, 0));
    RES(fcntl(20, F_GETFD));
    RES(fcntl(30, F_GETFD));
    RES(fcntl(12, F_GETFD));
    RES(close_range(3, UINT_MAX, CLOSE_RANGE_UNSHARE));
    RES(fcntl(3, F_GETFD));
    RES(fd = open("f", O_RDONLY));

    SECTION("limit");
    struct rlimit limit = {16, 4096}, old;
    RES(getrlimit(RLIMIT_NOFILE, &old));
    RES(setrlimit(RLIMIT_NOFILE, &limit));
    int count = 0;
    while ((value = dup(fd)) >= 0)
        count++;
    NUM(count);
    RES(dup(fd));
    RES(open("f", O_RDONLY));
    RES(pipe((int[2]){0, 0}));
    RES(fcntl(fd, F_DUPFD, 16));
    RES(dup2(fd, 16));
    RES(setrlimit(RLIMIT_NOFILE, &old));
    RES(dup(fd));
    close_range(4, UINT_MAX, 0);

    SECTION("fork copies the table, threads share it");
    CHILD("child closes", RES(close(fd)); RES(close(fd)));
    HEX(fcntl(fd, F_GETFD));
    int second = dup(fd);
    NUM(second);
    CHILD("vfork-like files copy", dup2(fd, 50); close(second));
    RES(fcntl(50, F_GETFD));
    RES(fcntl(second, F_GETFD));

    SECTION("read through every copy");
    char buf[4];
    RES(lseek(fd, 0, SEEK_SET));
    RES(read(second, buf, 3));
    SHOW(buf, 3);
    RES(close(fd));
    RES(read(second, buf, 3));
    SHOW(buf, 3);
    RES(close(second));
    RES(read(second, buf, 3));
    RES(close_range(3, UINT_MAX, 0));
    return 0;
}
