/* Pipes: blocking, EOF, EPIPE, non-blocking limits, atomicity, sizes, FIFOs' plain cousins. */
#include "check.h"
#include <sys/ioctl.h>

static int handled;
static void on_pipe(int number) { handled = number; }
static char block[1 << 20];

static long fill(int fd)
{
    long total = 0, n;
    while ((n = write(fd, block, 4096)) > 0)
        total += n;
    return total;
}

int main(void)
{
    int p[2], q[2], available;
    char buf[128];
    pid_t pid;
    GUARD(60);
    struct sigaction action = {.sa_handler = on_pipe};
    sigaction(SIGPIPE, &action, NULL);

    SECTION("making");
    RES(pipe(p));
    NUM(p[0]);
    NUM(p[1]);
    HEX(fcntl(p[0], F_GETFL));
    HEX(fcntl(p[1], F_GETFL));
    RES(pipe((int *)8));
    RES(pipe2(q, O_CLOEXEC | O_NONBLOCK));
    HEX(fcntl(q[0], F_GETFL));
    HEX(fcntl(q[1], F_GETFD));
    RES(pipe2(q, O_APPEND));
    RES(pipe2(q, O_RDONLY | 1));
    struct stat st;
    RES(fstat(p[0], &st));
    OCT(st.st_mode);
    NUM(st.st_size);
    NUM(st.st_nlink);
    IS(S_ISFIFO(st.st_mode));

    SECTION("data");
    RES(write(p[1], "hello ", 6));
    RES(write(p[1], "world", 5));
    RES(ioctl(p[0], FIONREAD, &available));
    NUM(available);
    RES(read(p[0], buf, 3));
    SHOW(buf, 3);
    RES(read(p[0], buf, 100));
    SHOW(buf, 8);
    RES(write(p[1], "", 0));
    RES(read(p[0], buf, 0));
    RES(write(p[0], "x", 1));
    RES(read(p[1], buf, 1));
    RES(lseek(p[0], 0, SEEK_SET));
    RES(pread(p[0], buf, 1, 0));
    RES(pwrite(p[1], buf, 1, 0));
    RES(ftruncate(p[1], 0));
    RES(fsync(p[1]));
    RES(write(p[1], (void *)8, 3));
    RES(write(p[1], "abcdef", 6));
    RES(read(p[0], (void *)8, 3));
    RES(read(p[0], buf, 100));
    struct iovec two[2] = {{"ab", 2}, {"cde", 3}};
    RES(writev(p[1], two, 2));
    char x[3], y[10];
    struct iovec in[2] = {{x, 3}, {y, 10}};
    RES(readv(p[0], in, 2));
    SHOW(x, 3);
    SHOW(y, 2);

    SECTION("non-blocking");
    RES(fcntl(p[0], F_SETFL, O_NONBLOCK));
    RES(read(p[0], buf, 1));
    RES(fcntl(p[1], F_SETFL, O_NONBLOCK));
    NUM(fill(p[1]));
    RES(write(p[1], "x", 1));
    RES(read(p[0], block, 4096));
    RES(write(p[1], block, 4096));
    RES(write(p[1], block, 1));
    RES(read(p[0], block, 4095));
    RES(write(p[1], block, 4096));
    RES(read(p[0], block, 1));
    NUM(fill(p[1]));
    RES(read(p[0], block, sizeof block));
    RES(read(p[0], block, 1));
    RES(write(p[1], block, 100000));
    RES(read(p[0], block, sizeof block));

    SECTION("size");
    RES(fcntl(p[0], F_GETPIPE_SZ));
    RES(fcntl(p[1], F_SETPIPE_SZ, 4096));
    NUM(fill(p[1]));
    RES(read(p[0], block, sizeof block));
    RES(fcntl(p[1], F_SETPIPE_SZ, 5000));
    NUM(fill(p[1]));
    RES(fcntl(p[1], F_SETPIPE_SZ, 4096));
    RES(read(p[0], block, sizeof block));
    RES(fcntl(p[1], F_SETPIPE_SZ, 1 << 20));
    NUM(fill(p[1]));
    RES(read(p[0], block, sizeof block));
    RES(fcntl(p[1], F_SETPIPE_SZ, 0));
    RES(fcntl(0, F_GETPIPE_SZ));
    RES(fcntl(p[1], F_SETPIPE_SZ, 65536));

    SECTION("ends");
    RES(write(p[1], "last", 4));
    RES(close(p[1]));
    RES(read(p[0], buf, 10));
    RES(read(p[0], buf, 10));
    RES(read(p[0], buf, 10));
    RES(close(p[0]));
    RES(pipe(p));
    RES(close(p[0]));
    handled = 0;
    RES(write(p[1], "x", 1));
    NUM(handled);
    RES(close(p[1]));
    signal(SIGPIPE, SIG_DFL);
    CHILD("SIGPIPE kills", pipe(p); close(p[0]); write(p[1], "x", 1));
    signal(SIGPIPE, SIG_IGN);
    CHILD("SIGPIPE ignored", pipe(p); close(p[0]); RES(write(p[1], "x", 1)));

    SECTION("blocking reader");
    RES(pipe(p));
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        sleep_ms(20);
        write(p[1], "late", 4);
        _exit(0);
    }
    RES(read(p[0], buf, 10));
    close(p[1]);
    RES(read(p[0], buf, 10));
    reap("writer", pid);
    close(p[0]);

    SECTION("blocking writer");
    pipe(p);
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        RES(write(p[1], block, 300000));
        _exit(0);
    }
    close(p[1]);
    await_state(pid, 'S');
    long total = 0, n;
    while ((n = read(p[0], block, 10000)) > 0)
        total += n;
    NUM(total);
    reap("writer", pid);
    close(p[0]);

    SECTION("writer blocked when the reader goes");
    pipe(p);
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        RES(write(p[1], block, 100000));
        RES(write(p[1], block, 1));
        _exit(0);
    }
    close(p[1]);
    await_state(pid, 'S');
    close(p[0]);
    reap("writer", pid);

    SECTION("writes up to PIPE_BUF do not mix");
    pipe(p);
    for (int child = 0; child < 4; child++)
        if (fork() == 0) {
            memset(block, 'a' + child, 512);
            for (int i = 0; i < 64; i++)
                write(p[1], block, 512);
            _exit(0);
        }
    close(p[1]);
    int mixed = 0, blocks = 0;
    for (;;) {
        long got = 0;
        while (got < 512 && (n = read(p[0], block + got, 512 - got)) > 0)
            got += n;
        if (got < 512)
            break;
        blocks++;
        for (int i = 1; i < 512; i++)
            if (block[i] != block[0])
                mixed++;
    }
    NUM(blocks);
    NUM(mixed);
    while (wait(NULL) > 0)
        ;
    close(p[0]);

    SECTION("a pipeline of ten");
    int from = -1;
    for (int i = 0; i < 10; i++) {
        pipe(q);
        if (fork() == 0) {
            close(q[0]);
            if (from < 0)
                write(q[1], "x", 1);
            else {
                while ((n = read(from, buf, sizeof buf)) > 0)
                    write(q[1], buf, n);
                write(q[1], "y", 1);
            }
            _exit(0);
        }
        close(q[1]);
        if (from >= 0)
            close(from);
        from = q[0];
    }
    total = 0;
    while ((n = read(from, buf + total, sizeof buf - total)) > 0)
        total += n;
    SHOW(buf, total);
    while (wait(NULL) > 0)
        ;
    close(from);

    SECTION("through /proc/self/fd");
    pipe(p);
    snprintf(buf, sizeof buf, "/proc/self/fd/%d", p[1]);
    int again = open(buf, O_WRONLY | O_NONBLOCK);
    IS(again >= 0);
    RES(write(again, "via proc", 8));
    RES(read(p[0], buf, 100));
    close(again);
    snprintf(buf, sizeof buf, "/proc/self/fd/%d", p[0]);
    char target[64];
    n = readlink(buf, target, sizeof target);
    IS(n > 6 && memcmp(target, "pipe:[", 6) == 0);
    return 0;
}
