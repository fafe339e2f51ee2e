/* flock, POSIX record locks, open-file-description locks, leases' plain errors. */
#include "check.h"
#include <sys/file.h>

static int lock(int fd, int command, int type, long start, long length)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &l);
}

/* What another process (or description) would meet. */
static void test(const char *what, int fd, int command, int type, long start, long length)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    if (fcntl(fd, command, &l) < 0)
        say("%s: %s", what, errname(errno));
    else if (l.l_type == F_UNLCK)
        say("%s: free", what);
    else
        say("%s: %s lock %ld+%ld of %s", what, l.l_type == F_RDLCK ? "read" : "write", (long)l.l_start, (long)l.l_len,
            l.l_pid == -1 ? "a description" : l.l_pid == getppid() ? "the parent" : "another");
}

int main(void)
{
    int fd, fd2, p[2];
    char byte;
    pid_t pid;
    GUARD(60);
    put("file", "0123456789");
    fd = open("file", O_RDWR);
    fd2 = open("file", O_RDWR);

    SECTION("flock");
    RES(flock(fd, LOCK_SH));
    RES(flock(fd2, LOCK_SH));
    RES(flock(fd2, LOCK_EX | LOCK_NB));
    RES(flock(fd, LOCK_UN));
    RES(flock(fd2, LOCK_EX | LOCK_NB));
    RES(flock(fd, LOCK_SH | LOCK_NB));
    RES(flock(fd, 99));
    RES(flock(999, LOCK_SH));
    int copy = dup(fd2);
    close(fd2);
    RES(flock(fd, LOCK_SH | LOCK_NB));
    RES(flock(copy, LOCK_UN));
    RES(flock(fd, LOCK_SH | LOCK_NB));
    RES(flock(fd, LOCK_EX));
    CHILD("shared with the child", RES(flock(fd, LOCK_EX | LOCK_NB)); int own = open("file", O_RDONLY); RES(flock(own, LOCK_SH | LOCK_NB)); RES(flock(fd, LOCK_UN)); RES(flock(own, LOCK_SH | LOCK_NB)));
    pipe(p);
    fd2 = open("file", O_RDWR);
    flock(fd, LOCK_EX);
    pid = fork();
    if (pid == 0) {
        close(fd);
        int own = open("file", O_RDWR);
        int result = flock(own, LOCK_EX);
        write(p[1], result ? "n" : "y", 1);
        _exit(0);
    }
    await_state(pid, 'S');
    RES(flock(fd, LOCK_UN));
    read(p[0], &byte, 1);
    say("waiter got it: %c", byte);
    reap("waiter", pid);

    SECTION("record locks");
    RES(lock(fd, F_SETLK, F_WRLCK, 0, 5));
    RES(lock(fd, F_SETLK, F_RDLCK, 10, 5));
    RES(lock(fd2, F_SETLK, F_WRLCK, 0, 5));
    test("own locks do not conflict", fd, F_GETLK, F_WRLCK, 0, 0);
    CHILD("another process", test("0-0", fd, F_GETLK, F_WRLCK, 0, 1); test("read of 3", fd, F_GETLK, F_RDLCK, 3, 1); test("5-9", fd, F_GETLK, F_WRLCK, 5, 5);
          test("read of 12", fd, F_GETLK, F_RDLCK, 12, 1); test("write of 12", fd, F_GETLK, F_WRLCK, 12, 1); RES(lock(fd, F_SETLK, F_WRLCK, 4, 1)); RES(lock(fd, F_SETLK, F_RDLCK, 12, 1));
          RES(lock(fd, F_SETLK, F_WRLCK, 5, 5)); RES(lock(fd, F_SETLK, F_UNLCK, 0, 0)));
    RES(lock(fd, F_SETLK, F_UNLCK, 2, 1));
    CHILD("split", test("from 0", fd, F_GETLK, F_WRLCK, 0, 0); test("at 2", fd, F_GETLK, F_WRLCK, 2, 1); test("from 3", fd, F_GETLK, F_WRLCK, 3, 0));
    RES(lock(fd, F_SETLK, F_RDLCK, 1, 10));
    CHILD("changed in part", test("from 0", fd, F_GETLK, F_WRLCK, 0, 0); test("from 1", fd, F_GETLK, F_WRLCK, 1, 0); test("read from 1", fd, F_GETLK, F_RDLCK, 1, 0));
    RES(lock(fd, F_SETLK, F_WRLCK, 100, 0));
    CHILD("to the end", test("at a million", fd, F_GETLK, F_RDLCK, 1000000, 1); test("at 99", fd, F_GETLK, F_WRLCK, 99, 1));
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = -3};
    RES(fcntl(fd, F_SETLK, &l));
    CHILD("from the end, backwards", test("from 4", fd, F_GETLK, F_RDLCK, 4, 10));
    RES(lock(fd, F_SETLK, 99, 0, 1));
    RES(lock(fd, F_SETLK, F_WRLCK, -1, 1));
    RES(lock(fd, F_SETLK, F_WRLCK, 0, -1));
    RES(lock(fd, F_GETLK, F_UNLCK, 0, 1));
    RES(fcntl(fd, F_SETLK, (void *)8));
    RES(lock(999, F_SETLK, F_WRLCK, 0, 1));
    int ro = open("file", O_RDONLY);
    RES(lock(ro, F_SETLK, F_WRLCK, 0, 1));
    RES(lock(ro, F_SETLK, F_RDLCK, 0, 1));
    close(ro);
    CHILD("closing any descriptor releases all", test("free", fd, F_GETLK, F_WRLCK, 0, 0));
    lock(fd, F_SETLK, F_WRLCK, 0, 0);
    CHILD("not inherited", test("held by the parent", fd, F_GETLK, F_WRLCK, 0, 0); RES(lock(fd, F_SETLK, F_UNLCK, 0, 0)); test("still", fd, F_GETLK, F_WRLCK, 0, 0));
    pid = fork();
    if (pid == 0) {
        int result = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
        write(p[1], result ? "n" : "y", 1);
        _exit(0);
    }
    await_state(pid, 'S');
    RES(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    read(p[0], &byte, 1);
    say("waiter got it: %c", byte);
    reap("waiter", pid);

    SECTION("deadlock");
    lock(fd, F_SETLK, F_WRLCK, 0, 1);
    pid = fork();
    if (pid == 0) {
        lock(fd, F_SETLK, F_WRLCK, 1, 1);
        write(p[1], "r", 1);
        int result = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
        _exit(result ? 1 : 0);
    }
    read(p[0], &byte, 1);
    await_state(pid, 'S');
    RES(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
    lock(fd, F_SETLK, F_UNLCK, 0, 0);
    reap("the other", pid);

    SECTION("description locks");
    RES(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 5));
    RES(lock(fd2, F_OFD_SETLK, F_WRLCK, 3, 5));
    RES(lock(fd2, F_OFD_SETLK, F_WRLCK, 5, 5));
    test("by the other description", fd2, F_OFD_GETLK, F_WRLCK, 0, 1);
    test("posix meets it", fd2, F_GETLK, F_WRLCK, 0, 1);
    copy = dup(fd);
    close(fd);
    test("still held by a copy", fd2, F_OFD_GETLK, F_WRLCK, 0, 1);
    close(copy);
    test("released", fd2, F_OFD_GETLK, F_WRLCK, 0, 1);
    struct flock with_pid = {.l_type = F_WRLCK, .l_pid = 5};
    RES(fcntl(fd2, F_OFD_SETLK, &with_pid));

    SECTION("leases and others");
    RES(fcntl(fd2, F_GETLEASE));
    RES(fcntl(fd2, F_SETLEASE, 99));
    RES(lockf(fd2, F_TLOCK, 1));
    RES(lockf(fd2, F_ULOCK, 1));
    return 0;
}
