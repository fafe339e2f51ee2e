/* large: transfers of tens of kilobytes between files, pipes and sockets and memory of all kinds: no byte is lost, wrong, or
 * written next to where it belongs, also where memory ends before the transfer does. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define MOST 200000L
#define ROOM (1L << 19)

static const long SIZES[] = {16384, 16385, 32768, 32769, 65536, 100000, 131071, 131072, 131073, MOST};
#define NSIZES (long)(sizeof SIZES / sizeof *SIZES)

enum { REGULAR, PIPE, LOCAL, TCP, KINDS };
static const char *const NAMES[] = {"file", "pipe", "unix", "tcp"};

static char *pattern;

/* Two ends of what carries the bytes. */
static void connect_ends(int kind, int ends[2])
{
    if (kind == REGULAR) {
        ends[0] = open("large-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
        ends[1] = open("large-file", O_RDWR);
    } else if (kind == PIPE) {
        pipe(ends);
    } else if (kind == LOCAL) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    } else {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof at;
        int server = socket(AF_INET, SOCK_STREAM, 0);
        ends[1] = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(server, (void *)&at, sizeof at) || listen(server, 1) || getsockname(server, (void *)&at, &length) ||
            connect(ends[1], (void *)&at, sizeof at))
            say("connection: %s", errname(errno));
        ends[0] = accept(server, NULL, NULL);
        close(server);
    }
}

/* Writes all that can be read there; how much. */
static long write_all(int fd, const char *from, long size)
{
    long done = 0, n;
    while (done < size && (n = write(fd, from + done, size - done)) > 0)
        done += n;
    return done;
}

/* Reads `size` bytes, what finds no place at `to` into memory that is there. Whether all are right. */
static int read_all(int fd, char *to, long size)
{
    char *rest = malloc(MOST);
    long done = 0, n = 0, at;
    int faults = 0, right = 1;
    while (done < size && !faults) {
        n = read(fd, to + done, size - done);
        if (n > 0)
            done += n;
        else if (n < 0 && errno == EFAULT)
            faults = 1;
        else
            break;
    }
    right &= memcmp(to, pattern, done) == 0;
    for (at = done; faults && at < size && (n = read(fd, rest, size - at)) > 0; at += n)
        right &= memcmp(rest, pattern + at, n) == 0;
    free(rest);
    return right && at == size;
}

/* Sends `size` bytes from `from`, of which `readable` can be read, and receives them at `to`. */
static int carry(int kind, const char *from, long readable, char *to, long size)
{
    int ends[2], right;
    long *sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    connect_ends(kind, ends);
    if (kind == REGULAR) {
        *sent = write_all(ends[1], from, size);
        right = read_all(ends[0], to, *sent);
    } else {
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            *sent = write_all(ends[1], from, size);
            _exit(0);
        }
        close(ends[1]);
        ends[1] = -1;
        if (readable < size) { /* how much comes is not known before */
            waitpid(child, NULL, 0);
            right = read_all(ends[0], to, *sent);
        } else {
            right = read_all(ends[0], to, size);
            waitpid(child, NULL, 0);
        }
    }
    right &= readable == size ? *sent == size : *sent <= readable;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    munmap(sent, 4096);
    return right;
}

static char *memory(int prot, int flags, int fd)
{
    return mmap(NULL, ROOM, prot, flags, fd, 0);
}

/* Memory in which only the first `size` bytes from the result can be used. */
static char *before_end(long size)
{
    char *area = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    long end = (size + 4095) & ~4095L;
    munmap(area + end, ROOM - end);
    return area + end - size;
}

static void receiving(int kind)
{
    long wrong[10] = {0};
    int file = open("large-map", O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(file, 150000);
    for (long i = 0; i < NSIZES; i++) {
        long size = SIZES[i];
        char *fresh = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        wrong[0] += !carry(kind, pattern, size, fresh, size);
        wrong[0] += fresh[size] != 0;
        memset(fresh, 7, ROOM);
        wrong[1] += !carry(kind, pattern, size, fresh + 4099, size);
        wrong[1] += fresh[4098] != 7 || fresh[4099 + size] != 7;
        munmap(fresh, ROOM);

        wrong[2] += !carry(kind, pattern, size, before_end(size), size);
        wrong[3] += !carry(kind, pattern, size, before_end(size / 2), size);

        char *split = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        mprotect(split + 8192, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
        wrong[4] += !carry(kind, pattern, size, split, size);
        mprotect(split + 8192, 4096, PROT_READ);
        wrong[5] += !carry(kind, pattern, size, split, size);
        wrong[5] += memcmp(split + 8192, pattern + 8192, 4096) != 0; /* from before */
        munmap(split, ROOM);

        char *own = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
        wrong[6] += !carry(kind, pattern, size, own, size);
        munmap(own, ROOM);
        char *shared = memory(PROT_READ | PROT_WRITE, MAP_SHARED, file);
        wrong[7] += !carry(kind, pattern, size, shared, size);
        munmap(shared, ROOM);
        wrong[8] += !carry(kind, pattern, size, memory(PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1), size);
        wrong[9] += !carry(kind, pattern, size, memory(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), size);
    }
    close(file);
    for (int i = 0; i < 10; i++)
        say("%s: wrong with memory of kind %d: %ld", NAMES[kind], i, wrong[i]);
}

static void sending(int kind)
{
    long wrong[3] = {0};
    char *to = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (long i = 0; i < NSIZES; i++) {
        long size = SIZES[i];
        char *from = before_end(size);
        memcpy(from, pattern, size);
        wrong[0] += !carry(kind, from, size, to, size);
        from = before_end(9000);
        memcpy(from, pattern, 9000);
        wrong[1] += !carry(kind, from, 9000, to, size);
        wrong[2] += !carry(kind, memory(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0, to, size);
    }
    munmap(to, ROOM);
    for (int i = 0; i < 3; i++)
        say("%s: wrong from memory of kind %d: %ld", NAMES[kind], i, wrong[i]);
}

/* A call of one thread while another unmaps and maps its memory: whatever it gets, the bytes around it stay. */
static char *volatile moving;
static volatile int stop;

static void *mover(void *arg)
{
    while (!stop) {
        mmap(moving, 131072, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        mmap(moving, 131072, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return arg;
}

static void racing(void)
{
    SECTION("racing");
    char *area = memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memset(area, 7, ROOM);
    moving = area + 131072;
    pthread_t thread;
    int fd = open("large-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    long odd = 0;
    write_all(fd, pattern, 131072);
    pthread_create(&thread, NULL, mover, NULL);
    for (int i = 0; i < 300; i++) {
        errno = 0;
        long n = pread(fd, moving, 131072, 0);
        odd += !(n == -1 && errno == EFAULT) && !(n > 0 && n <= 131072);
    }
    stop = 1;
    pthread_join(thread, NULL);
    NUM(odd);
    NUM(pread(fd, moving, 131072, 0));
    IS(memcmp(moving, pattern, 131072) == 0);
    IS(area[131071] == 7 && area[262144] == 7);
    close(fd);
    munmap(area, ROOM);
}

/* What a tracer changes meanwhile does not get into the data. */
static void traced(void)
{
    SECTION("traced");
    int ends[2];
    struct user_fpregs_struct fp;
    static char got[65536];
    pipe(ends);
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        syscall(SYS_write, ends[1], pattern, 65536L);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (int i = 0; i < 4; i++) { /* up to the entry of write */
        struct user_regs_struct regs;
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        waitpid(child, NULL, 0);
        ptrace(PTRACE_GETREGS, child, NULL, &regs);
        if (regs.orig_rax == SYS_write)
            break;
    }
    NUM(ptrace(PTRACE_GETFPREGS, child, NULL, &fp));
    NUM(ptrace(PTRACE_SETFPREGS, child, NULL, &fp));
    ptrace(PTRACE_DETACH, child, NULL, NULL);
    reap("tracee", child);
    NUM(read(ends[0], got, 65536));
    IS(memcmp(got, pattern, 65536) == 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    unsigned long state = 88172645463325252ul;
    pattern = malloc(MOST);
    for (long i = 0; i < MOST; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        pattern[i] = state;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int kind = 0; kind < KINDS; kind++) {
        SECTION(NAMES[kind]);
        receiving(kind);
        sending(kind);
    }
    racing();
    traced();
    return 0;
}
