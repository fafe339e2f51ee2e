/* Large transfers: through pipes and socket pairs in odd steps, from and to devices, at the edge of memory. Each is made more
 * often than a call site traps before it is rewritten, so both roads are met. */
#include "check.h"

#define LARGE (3 << 20)

static char *data, *back;
static unsigned long seed = 12345;

static unsigned random_below(unsigned limit)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned)(seed >> 33) % limit;
}

/* The stream's bytes can be told apart wherever it is cut. */
static void fill(char *to, long count)
{
    for (long i = 0; i < count; i++)
        to[i] = (char)(i * 7 + (i >> 8) * 13 + (i >> 16) * 31);
}

static void transfer(const char *what, int fds[2], unsigned most_written, unsigned most_read)
{
    long done = 0, n, wrong = 0;
    memset(back, 0, LARGE);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        while (done < LARGE) {
            long step = most_written == LARGE ? LARGE : 1 + random_below(most_written);
            n = write(fds[1], data + done, step < LARGE - done ? step : LARGE - done);
            if (n <= 0)
                _exit(1);
            done += n;
        }
        _exit(0);
    }
    close(fds[1]);
    while ((n = read(fds[0], back + done, most_read > 20000 ? most_read : 1 + random_below(most_read))) > 0)
        done += n;
    for (long i = 0; i < LARGE; i++)
        wrong += data[i] != back[i];
    close(fds[0]);
    reap(what, pid);
    NUM(done);
    NUM(wrong);
}

static void *nothing(void *unused)
{
    pause();
    return unused;
}

/* Buffers of which only a part can be used. */
static void edges(const char *what, int zero, int null)
{
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + (1 << 19), 1 << 19, PROT_NONE);
    say("# edges, %s", what);
    RES(read(zero, area + (1 << 19) - 8192, 1 << 19));
    RES(read(zero, area + (1 << 19) - 100000, 100000));
    RES(read(zero, area + (1 << 19), 1 << 19));
    RES(read(zero, (void *)-4096, 8192));
    RES(pread(zero, area + (1 << 19) - 8192, 65536, 5));
    RES(write(null, area + (1 << 19), 1 << 19));
    RES(write(zero, area + (1 << 19), 100));
    RES(write(null, (void *)-4096, 8192));
    struct iovec parts[2] = {{area, 4096}, {area + (1 << 19), 4096}};
    RES(writev(null, parts, 2));
    RES(readv(zero, parts, 2));
    munmap(area, 1 << 20);
}

static void on_alarm(int number) { (void)number; }

int main(void)
{
    int p[2];
    long n;
    pthread_t thread;
    GUARD(60);
    data = malloc(LARGE);
    back = malloc(LARGE);
    fill(data, LARGE);

    SECTION("pipes");
    static const unsigned sizes[][2] = {{LARGE, 16384}, {LARGE, 5000}, {200000, 200000}, {70000, 20000}, {5000, 131072}, {65536, LARGE}};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pipe(p);
        transfer("writer", p, sizes[i][0], sizes[i][1]);
    }
    SECTION("socket pairs");
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, p);
        transfer("writer", p, sizes[i][0], sizes[i][1]);
    }

    SECTION("a writer that is interrupted");
    pipe(p);
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction action = {.sa_handler = on_alarm};
        sigaction(SIGUSR1, &action, NULL);
        RES(write(p[1], data, LARGE));
        _exit(0);
    }
    await_state(pid, 'S');
    RES(read(p[0], back, 30000));
    await_state(pid, 'S');
    kill(pid, SIGUSR1);
    reap("writer", pid);
    IS(!memcmp(data, back, 30000));
    close(p[0]);
    close(p[1]);

    SECTION("a writer whose reader goes");
    pipe(p);
    signal(SIGPIPE, SIG_IGN);
    pid = fork();
    if (pid == 0) {
        close(p[0]);
        RES(write(p[1], data, LARGE));
        RES(write(p[1], data, LARGE));
        _exit(0);
    }
    close(p[1]);
    await_state(pid, 'S');
    RES(read(p[0], back, 4096));
    await_state(pid, 'S');
    close(p[0]);
    reap("writer", pid);

    SECTION("memory that ends");
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + (1 << 19), 1 << 19, PROT_NONE);
    pipe(p);
    fcntl(p[1], F_SETFL, O_NONBLOCK);
    RES(write(p[1], area + (1 << 19) - 16384, 40000));
    RES(write(p[1], area + (1 << 19), 40000));
    RES(write(p[1], data, LARGE));
    RES(read(p[0], area + (1 << 19), 40000));
    RES(read(p[0], area + (1 << 19) - 20480, 40960));
    n = 0;
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    for (long got; (got = read(p[0], back, 100000)) > 0;)
        n += got;
    IS(n > 0);
    close(p[0]);
    close(p[1]);

    SECTION("devices");
    int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR), full = open("/dev/full", O_RDWR);
    for (int i = 0; i < 30; i++) {
        memset(back, 'x', LARGE);
        n = read(zero, back + i, 1000 + i * 100000);
        long wrong = n != 1000 + i * 100000;
        for (long at = 0; at < LARGE; at++)
            wrong += back[at] != (at < i || at >= n + i ? 'x' : 0);
        if (wrong || write(null, back, n) != n || write(zero, back, n) != n)
            say("%d: %ld wrong", i, wrong);
    }
    RES(read(full, back, 100000));
    RES(write(full, back, 100000));
    RES(write(full, (void *)8, 100000));
    edges("one thread", zero, null);
    pthread_create(&thread, NULL, nothing, NULL);
    edges("two threads", zero, null);
    return 0;
}
