/* micro ROW…: measures what one operation costs, in nanoseconds, and prints "row median" for each.
 *
 * The same static program runs natively, in other runtimes and in stockade. Each row is timed in
 * several batches; the median batch counts. `micro list` prints the rows. The batch length adapts
 * to the speed of the operation (about 30 ms, STOCKADE_BENCH_MS changes it). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7

static int file, pair[2], back[2];
static char block[65536], path[4096], self[4096];
static char *pages;
static volatile int word, stop;
static pid_t child;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void row_getppid(long n) { while (n--) syscall(SYS_getppid); }
static void row_getpid(long n) { while (n--) syscall(SYS_getpid); }
static void row_lseek(long n) { while (n--) lseek(file, 5, SEEK_SET); }
static void row_read1(long n) { while (n--) pread(file, block, 1, 0); }
static void row_write1(long n) { while (n--) pwrite(file, block, 1, 0); }
static void row_pread4k(long n) { while (n--) pread(file, block, 4096, 0); }
static void row_pwrite4k(long n) { while (n--) pwrite(file, block, 4096, 0); }
static void row_pread64k(long n) { while (n--) pread(file, block, 65536, 0); }
static void row_stat(long n) { struct stat st; while (n--) stat(path, &st); }
static void row_stat_none(long n) { struct stat st; while (n--) stat("/none/at/all", &st); }
static void row_fstat(long n) { struct stat st; while (n--) fstat(file, &st); }
static void row_open(long n) { while (n--) close(open(path, O_RDONLY)); }
static void row_create(long n)
{
    char name[4200];
    snprintf(name, sizeof name, "%s.new", path);
    while (n--) {
        close(open(name, O_CREAT | O_WRONLY, 0600));
        unlink(name);
    }
}
static void row_pipe(long n)
{
    while (n--) {
        write(pair[1], block, 1);
        read(pair[0], block, 1);
    }
}
static void row_dup(long n) { while (n--) close(dup(file)); }

static void handler(int number) { (void)number; }
static void row_signal(long n) { while (n--) raise(SIGUSR1); }
static void row_sigprocmask(long n)
{
    sigset_t set;
    sigemptyset(&set);
    while (n--)
        sigprocmask(SIG_SETMASK, &set, NULL);
}
static void row_mmap(long n)
{
    while (n--)
        munmap(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 65536);
}
static void row_fault(long n)
{
    while (n > 0) {
        long chunk = n < 1024 ? n : 1024;
        pages = mmap(NULL, chunk * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        madvise(pages, chunk * 4096, MADV_NOHUGEPAGE);
        for (long i = 0; i < chunk; i++)
            pages[i * 4096] = 1;
        munmap(pages, chunk * 4096);
        n -= chunk;
    }
}
static volatile unsigned long sink;
static void row_cpu(long n)
{
    unsigned long x = 1;
    while (n--)
        for (int i = 0; i < 1000; i++)
            x = x * 6364136223846793005UL + 1442695040888963407UL;
    sink = x;
}
static void row_clock(long n) { struct timespec t; while (n--) clock_gettime(CLOCK_REALTIME, &t); }
static void row_fork(long n)
{
    while (n--) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
    }
}
static void row_exec(long n)
{
    while (n--) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(self, self, "nothing", NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
    }
}
static void row_vfork_exec(long n)
{
    while (n--) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl(self, self, "nothing", NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
    }
}
static void *nothing(void *argument) { return argument; }
static void row_thread(long n)
{
    while (n--) {
        pthread_t thread;
        pthread_create(&thread, NULL, nothing, NULL);
        pthread_join(thread, NULL);
    }
}

static void futex_wait(volatile int *at, int value) { syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void futex_wake(volatile int *at) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
static void *futex_partner(void *argument)
{
    for (;;) {
        while (word != 1 && !stop)
            futex_wait(&word, 0);
        if (stop)
            return argument;
        word = 0;
        futex_wake(&word);
    }
}
static void row_futex(long n)
{
    pthread_t thread;
    stop = word = 0;
    pthread_create(&thread, NULL, futex_partner, NULL);
    while (n--) {
        word = 1;
        futex_wake(&word);
        while (word == 1)
            futex_wait(&word, 1);
    }
    stop = 1;
    word = 2; /* a partner about to sleep must not */
    futex_wake(&word);
    pthread_join(thread, NULL);
}
static void row_pingpong(long n)
{
    char byte = 0;
    while (n--) {
        write(pair[1], &byte, 1);
        read(back[0], &byte, 1);
    }
}
static void start_partner(void)
{
    pipe(back);
    child = fork();
    if (child == 0) {
        char byte;
        close(pair[1]);
        while (read(pair[0], &byte, 1) == 1)
            write(back[1], &byte, 1);
        _exit(0);
    }
}

static const struct row {
    const char *name, *what;
    void (*run)(long);
} rows[] = {
    {"getppid", "getppid (a call without data)", row_getppid},
    {"getpid", "getpid", row_getpid},
    {"lseek", "lseek", row_lseek},
    {"read1", "read of 1 byte", row_read1},
    {"write1", "write of 1 byte", row_write1},
    {"pread4k", "pread of 4 KiB", row_pread4k},
    {"pwrite4k", "pwrite of 4 KiB", row_pwrite4k},
    {"pread64k", "pread of 64 KiB", row_pread64k},
    {"stat", "stat", row_stat},
    {"stat_none", "stat, ENOENT", row_stat_none},
    {"fstat", "fstat", row_fstat},
    {"open", "open and close", row_open},
    {"create", "create and unlink", row_create},
    {"pipe", "pipe write and read", row_pipe},
    {"dup", "dup and close", row_dup},
    {"signal", "signal to self, handler", row_signal},
    {"sigprocmask", "sigprocmask", row_sigprocmask},
    {"mmap", "mmap and munmap of 64 KiB", row_mmap},
    {"fault", "page fault", row_fault},
    {"cpu", "CPU loop", row_cpu},
    {"clock", "clock_gettime (vDSO)", row_clock},
    {"fork", "fork, exit, wait", row_fork},
    {"exec", "fork, exec, wait", row_exec},
    {"vfork_exec", "vfork, exec, wait", row_vfork_exec},
    {"thread", "thread create and join", row_thread},
    {"futex", "futex ping-pong of two threads", row_futex},
    {"pingpong", "pipe ping-pong of two processes", row_pingpong},
};
#define ROWS (sizeof rows / sizeof *rows)

static int by_value(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static double measure(const struct row *row)
{
    const char *text = getenv("STOCKADE_BENCH_MS");
    long long wanted = (text ? atoi(text) : 30) * 1000000LL;
    long n = 1;
    for (;;) {
        long long start = now();
        row->run(n);
        long long taken = now() - start;
        if (taken >= wanted / 4 || n > 1L << 30) {
            n = taken > wanted ? n : (long)(n * (double)wanted / (taken + 1)) + 1;
            break;
        }
        n *= taken < wanted / 100 ? 10 : 2;
    }
    double results[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        long long start = now();
        row->run(n);
        results[i] = (double)(now() - start) / n;
    }
    qsort(results, BATCHES, sizeof *results, by_value);
    return results[BATCHES / 2];
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "nothing"))
        return 0;
    if (argc > 1 && !strcmp(argv[1], "list")) {
        for (size_t i = 0; i < ROWS; i++)
            printf("%s\t%s\n", rows[i].name, rows[i].what);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "idle")) {
        puts("ready");
        fflush(stdout);
        for (;;)
            pause();
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return 1;
    self[length] = 0;
    const char *directory = getenv("STOCKADE_BENCH_DIR");
    snprintf(path, sizeof path, "%s/micro.%d", directory ? directory : "/tmp", getpid());
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, block, sizeof block) != sizeof block) {
        perror(path);
        return 1;
    }
    pipe(pair);
    signal(SIGUSR1, handler);
    for (size_t i = 0; i < ROWS; i++) {
        int chosen = argc < 2;
        for (int j = 1; j < argc; j++)
            chosen |= !strcmp(argv[j], rows[i].name);
        if (!chosen)
            continue;
        if (rows[i].run == row_pingpong)
            start_partner();
        printf("%s %.1f\n", rows[i].name, measure(&rows[i]));
        fflush(stdout);
        if (child) {
            close(pair[1]);
            waitpid(child, NULL, 0);
            child = 0;
        }
    }
    unlink(path);
    return 0;
}
