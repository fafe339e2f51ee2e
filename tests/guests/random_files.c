/* Thousands of random file calls, the same on both sides: results, errnos and data of each block of them become one
 * number. The calls stand in one place each, so that after the first few they come from rewritten sites, and the kernel's
 * fast handlers meet every odd argument that its plain ones meet. "random_files" with a block's number as argument prints
 * each call of that block. */
#include "check.h"
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#define BLOCKS 60
#define CALLS 400
#define FDS 24
#define ROOM (96 << 10)

static uint64_t state = 88172645463325252ull, sum;
static int verbose = -1, block;
static long here; /* length of the working directory's name, with its end */
static char entries[32768];
static unsigned char *data; /* ROOM bytes; the page behind them is missing */

static unsigned draw(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % n);
}

static void mix(uint64_t value) { sum = (sum ^ value) * 0x100000001b3ull + (sum >> 47); }

static void note(const char *what, long a, long b, long c, long result)
{
    long seen = result < 0 ? -errno : result;
    mix((uint64_t)seen);
    if (block == verbose)
        say("%s(%ld, %ld, %ld) = %ld", what, a, b, c, seen);
}


static long length(void)
{
    switch (draw(8)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return draw(20);
    case 3: return 4096;
    case 4: return draw(5000);
    case 5: return draw(20000);
    case 6: return draw(40000);
    default: return draw(ROOM);
    }
}

static long place(void)
{
    switch (draw(6)) {
    case 0: return 0;
    case 1: return draw(100);
    case 2: return 4096 * (long)draw(40);
    case 3: return -(long)draw(3);
    case 4: return draw(700000);
    default: return draw(30000);
    }
}

/* Where a transfer of n bytes begins: nearly always good; else before nothing, or nowhere. */
static void *buffer(long n)
{
    switch (draw(40)) {
    case 0: return NULL;
    case 1: return data + ROOM;
    case 2: return (void *)0xffff800000000000;
    default: return draw(2) ? data : data + ROOM - n;
    }
}

static const char *const names[] = {
    "small", "large", "dir", "dir/", "dir/in", "dir/none", "none", "link", "link/in", "dangling", "loop", "dir/../small", "./small",
    "small/", "small/x", "", "/", "dir/up/small", "//dir//", "dir/up/link/.//in",
};
#define NAMES (sizeof names / sizeof *names)

static int any_fd(void) { return draw(30) ? 10 + (int)draw(FDS) : (int)draw(3) * 1000 - 1; }

static void note_stat(const char *what, long a, const struct stat *st, long result)
{
    note(what, a, 0, 0, result);
    if (result)
        return;
    mix(st->st_mode);
    mix(st->st_rdev);
    if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
        mix(st->st_nlink), mix((uint64_t)st->st_size), mix(st->st_uid);
}

static void call(void)
{
    static const int flags[] = {
        O_RDONLY, O_RDWR, O_WRONLY, O_RDWR | O_APPEND, O_RDONLY | O_DIRECTORY, O_RDONLY | O_NOFOLLOW, O_RDWR | O_NONBLOCK | O_CLOEXEC,
        O_RDONLY | O_CLOEXEC, O_WRONLY | O_TRUNC, O_RDWR | O_CREAT, O_PATH, O_RDONLY | O_NOCTTY | O_LARGEFILE,
    };
    static const int commands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, 12345};
    static const unsigned long requests[] = {TCGETS, FIONREAD, TIOCGWINSZ, FIOCLEX, FIONCLEX, TIOCGPGRP, 0x1234};
    int fd = any_fd(), other = any_fd(), f;
    unsigned name = draw(NAMES), pick;
    long n = length(), at = place(), result;
    void *to = buffer(n);
    struct stat st;
    char text[300];

    switch (draw(27)) {
    case 0: case 1: case 2:
        result = read(fd, to, (size_t)n);
        note("read", fd, n, to == data, result);
        if (result > 0)
            for (long i = 0; i < result; i += 61)
                mix(((unsigned char *)to)[i]);
        break;
    case 3: case 4:
        result = pread(fd, to, (size_t)n, at);
        note("pread", fd, n, at, result);
        if (result > 0)
            for (long i = 0; i < result; i += 61)
                mix(((unsigned char *)to)[i]);
        break;
    case 5: case 6: case 7: case 8:
        if ((unsigned char *)to < data || (unsigned char *)to >= data + ROOM || n == 0)
            to = data; /* what Linux does not touch it does not find missing: a device takes any address */
        data[draw(ROOM)] ^= (unsigned char)draw(256);
        if (draw(2))
            note("write", fd, n, 0, write(fd, to, (size_t)n));
        else
            note("pwrite", fd, n, at, pwrite(fd, to, (size_t)n, at));
        break;
    case 9: case 10:
        f = draw(20) ? (int)draw(5) : (int)draw(1000) - 500;
        if ((f == SEEK_DATA || f == SEEK_HOLE) && fd != 12)
            f = SEEK_CUR; /* where holes are is the file system's business */
        if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
            at = f = 0; /* positions in directories are the file system's business, too */
        note("lseek", fd, at, f, lseek(fd, at, f));
        break;
    case 11:
        note("dup", fd, 0, 0, result = dup(fd));
        if (result >= 0)
            close((int)result);
        break;
    case 12:
        note("dup2", fd, other, 0, other < 10 ? -1 : dup2(fd, other));
        break;
    case 13:
        pick = (unsigned)(draw(8) ? 0 : 1 + draw(100));
        note("dup3", fd, other, pick, other < 10 ? -1 : dup3(fd, other, (int)pick ? (int)pick : O_CLOEXEC));
        break;
    case 14: case 15:
        pick = draw(sizeof flags / sizeof *flags);
        f = open(names[name], flags[pick], 0644);
        note("open", name, flags[pick], 0, f);
        if (f >= 0) {
            note("move", f, fd, 0, fd < 10 ? 0 : dup2(f, fd));
            close(f);
        }
        break;
    case 16:
        note("close", fd, 0, 0, fd < 10 ? -1 : close(fd));
        break;
    case 17:
        pick = draw(sizeof commands / sizeof *commands);
        f = draw(3) ? (int)draw(40) : (int)draw(2) * (O_APPEND | O_NONBLOCK);
        if (commands[pick] == F_SETFL)
            f |= O_NONBLOCK; /* nothing here may wait */
        result = fcntl(fd, commands[pick], f);
        note("fcntl", fd, commands[pick], f, result);
        if ((commands[pick] == F_DUPFD || commands[pick] == F_DUPFD_CLOEXEC) && result >= 0)
            close((int)result);
        break;
    case 18:
        pick = draw(sizeof requests / sizeof *requests);
        f = 0;
        result = ioctl(fd, requests[pick], text);
        memcpy(&f, text, 4);
        note("ioctl", fd, (long)requests[pick], 0, result);
        if (requests[pick] == FIONREAD && result == 0)
            mix((uint64_t)f);
        break;
    case 19:
        note_stat("stat", name, &st, stat(names[name], &st));
        break;
    case 20:
        note_stat("lstat", name, &st, lstat(names[name], &st));
        break;
    case 21:
        note_stat("fstat", fd, &st, fstat(fd, &st));
        break;
    case 22:
        other = draw(3) ? AT_FDCWD : fd;
        f = draw(4) ? 0 : draw(2) ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
        note_stat("fstatat", name, &st, fstatat(other, names[name], &st, f));
        break;
    case 23:
        note("access", name, at & 15, 0, access(names[name], (int)(at & 15)));
        break;
    case 24:
        memset(text, 0, sizeof text);
        n = draw(4) ? 200 : (long)draw(6);
        result = readlink(names[name], text, (size_t)n);
        note("readlink", name, n, 0, result);
        for (long i = 0; i < result; i++)
            mix((unsigned char)text[i]);
        break;
    case 25:
        n = draw(4) ? 200 : here - 2 + (long)draw(4);
        result = syscall(SYS_getcwd, text, n);
        note("getcwd", 0, 0, 0, result < 0 ? result : result - here);
        break;
    default:
        result = syscall(SYS_getdents64, fd, entries, draw(4) ? sizeof entries : draw(100));
        note("getdents", fd, 0, 0, result > 0 ? 1 : result);
    }
}

int main(int argc, char **argv)
{
    int ends[2];
    struct rlimit limit = {400000, RLIM_INFINITY};
    GUARD(90);
    if (argc > 1)
        verbose = atoi(argv[1]);
    here = syscall(SYS_getcwd, entries, sizeof entries);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 1024;
    setrlimit(RLIMIT_NOFILE, &limit);
    data = mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(data + ROOM, 4096);
    for (long i = 0; i < ROOM; i++)
        data[i] = (unsigned char)draw(256);
    mkdir("dir", 0755);
    close(open("dir/in", O_CREAT | O_WRONLY, 0600));
    symlink("dir", "link");
    symlink("none/at/all", "dangling");
    symlink("loop", "loop");
    symlink("..", "dir/up");
    for (block = 0; block < BLOCKS; block++) {
        int list[FDS], count = 0;
        list[count++] = open("small", O_RDWR | O_CREAT, 0644);
        list[count++] = open("large", O_RDWR | O_CREAT, 0644);
        list[count++] = open("small", O_RDWR | O_APPEND);
        list[count++] = open("dir", O_RDONLY | O_DIRECTORY);
        list[count++] = open("/dev/null", O_RDWR);
        list[count++] = open("/dev/zero", O_RDWR);
        list[count++] = eventfd(0, EFD_NONBLOCK);
        list[count++] = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE);
        for (int i = 0; i < 3; i++) {
            pipe2(ends, O_NONBLOCK | (i == 2 ? O_DIRECT : 0));
            list[count++] = ends[0];
            list[count++] = ends[1];
        }
        /* first past the places where they shall be, so that none is overwritten */
        for (int i = 0; i < count; i++) {
            int high = fcntl(list[i], F_DUPFD, 100);
            close(list[i]);
            list[i] = high;
        }
        for (int i = 0; i < FDS; i++)
            dup2(list[i % count], 10 + i);
        for (int i = 0; i < count; i++)
            close(list[i]);
        sum = 14695981039346656037ull;
        for (int i = 0; i < CALLS; i++) {
            call();
            if (block == verbose)
                say("    %016llx", (unsigned long long)sum);
        }
        say("block %d: %016llx", block, (unsigned long long)sum);
        for (int i = 0; i < FDS; i++)
            close(10 + i);
    }
    return 0;
}
