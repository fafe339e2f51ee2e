/* Memory: mmap, munmap, mprotect, mremap, madvise, msync, mincore, mlock, brk; errors and contents. */
#include "check.h"
#include <setjmp.h>

#define PAGE 4096
static sigjmp_buf env;
static volatile int signal_seen, code_seen;

static void jump(int number, siginfo_t *info, void *context)
{
    (void)context;
    signal_seen = number;
    code_seen = info->si_code;
    siglongjmp(env, 1);
}

/* What a read of this address does: the byte, or the signal and its code. */
static void peek(const char *what, volatile unsigned char *at)
{
    if (sigsetjmp(env, 1) == 0)
        say("read %s: %d", what, *at);
    else
        say("read %s: %s code %d", what, signame(signal_seen), code_seen);
}

static void poke(const char *what, volatile unsigned char *at, int value)
{
    if (sigsetjmp(env, 1) == 0) {
        *at = value;
        say("write %s: ok", what);
    } else
        say("write %s: %s code %d", what, signame(signal_seen), code_seen);
}

/* Uses this many bytes of stack, a page at a time. */
static __attribute__((noinline)) int deep(long bytes)
{
    volatile char frame[PAGE];
    frame[0] = 1;
    frame[PAGE - 1] = bytes > 0 ? deep(bytes - PAGE) : 0;
    return frame[0] + frame[PAGE - 1] > 0;
}

#define MAP(...)                                                                                  \
    ({                                                                                            \
        errno = 0;                                                                                \
        unsigned char *p_ = mmap(__VA_ARGS__);                                                    \
        report_ok("mmap(" #__VA_ARGS__ ")", (long)p_);                                            \
        p_;                                                                                       \
    })

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

int main(void)
{
    GUARD(60);
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = jump;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    unsigned char *a, *b, *c;
    char text[64];

    SECTION("anonymous");
    a = MAP(NULL, 4 * PAGE, RW, ANON, -1, 0);
    IS(((long)a & (PAGE - 1)) == 0);
    peek("fresh", a);
    poke("fresh", a + 3 * PAGE, 7);
    peek("back", a + 3 * PAGE);
    MAP(NULL, 0, RW, ANON, -1, 0);
    MAP(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0);
    MAP(NULL, PAGE, RW, MAP_PRIVATE, -1, 0);
    MAP(NULL, PAGE, RW, MAP_PRIVATE, 999, 0);
    MAP(NULL, PAGE, RW, ANON, -1, 100);
    MAP((void *)(a + 1), PAGE, RW, ANON | MAP_FIXED, -1, 0);
    MAP(NULL, 1L << 60, RW, ANON, -1, 0);
    MAP((void *)0x7ffffffff000, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    MAP((void *)0xffff800000000000, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    MAP(NULL, SIZE_MAX, RW, ANON, -1, 0);
    b = MAP(a, PAGE, RW, ANON, -1, 0);
    IS(a != b);
    b = MAP(NULL, 100, RW, ANON, -1, 0);
    poke("rounded up", b + 4000, 1);

    SECTION("fixed");
    a[PAGE] = 5;
    b = MAP(a + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    IS(b == a + PAGE);
    peek("replaced", a + PAGE);
    peek("neighbour", a + 3 * PAGE);
    MAP(a + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    RES(munmap(a + PAGE, PAGE));
    b = MAP(a + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    IS(b == a + PAGE);

    SECTION("munmap");
    RES(munmap(a + PAGE, PAGE));
    peek("hole", a + PAGE);
    peek("before the hole", a);
    peek("after the hole", a + 2 * PAGE);
    RES(munmap(a, 4 * PAGE));
    peek("all gone", a + 3 * PAGE);
    RES(munmap(a, 4 * PAGE));
    RES(munmap(a + 1, PAGE));
    RES(munmap(a, 0));
    RES(munmap((void *)-PAGE, PAGE));

    SECTION("mprotect");
    a = MAP(NULL, 4 * PAGE, RW, ANON, -1, 0);
    memset(a, 9, 4 * PAGE);
    RES(mprotect(a + PAGE, PAGE, PROT_READ));
    poke("read-only", a + PAGE, 1);
    peek("read-only", a + PAGE);
    RES(mprotect(a + 2 * PAGE, PAGE, PROT_NONE));
    peek("none", a + 2 * PAGE);
    RES(mprotect(a, 4 * PAGE, RW));
    peek("kept its content", a + 2 * PAGE);
    RES(mprotect(a + 1, PAGE, RW));
    RES(mprotect(a, 0, RW));
    RES(mprotect(a, PAGE, 0x100));
    munmap(a + 2 * PAGE, PAGE);
    RES(mprotect(a, 4 * PAGE, PROT_READ));
    poke("before the hole all the same", a + PAGE, 1);
    RES(mprotect((void *)-PAGE, PAGE, RW));
    munmap(a, 4 * PAGE);
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    a = MAP(NULL, PAGE, RW, ANON, -1, 0);
    memcpy(a, code, sizeof code);
    RES(mprotect(a, PAGE, PROT_READ | PROT_EXEC));
    NUM(((int (*)(void))a)());
    munmap(a, PAGE);

    SECTION("files");
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 2 * PAGE + 100; i++) {
        char byte = i / PAGE + 'a';
        write(fd, &byte, 1);
    }
    a = MAP(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
    peek("first", a);
    peek("second page", a + PAGE);
    peek("tail", a + 2 * PAGE + 99);
    peek("rest of the last page", a + 2 * PAGE + 100);
    peek("beyond", a + 3 * PAGE);
    poke("shared", a + 1, 'X');
    RES(pread(fd, text, 3, 0));
    SHOW(text, 3);
    pwrite(fd, "Y", 1, 2);
    peek("written by pwrite", a + 2);
    b = MAP(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
    poke("private", b, 'P');
    peek("shared view", a);
    peek("private view", b);
    pwrite(fd, "Q", 1, 0);
    peek("shared view again", a);
    peek("private view again", b);
    c = MAP(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    peek("offset one page", c);
    poke("read-only view", c, 1);
    RES(mprotect(c, PAGE, RW));
    poke("now writable", c, 'W');
    peek("seen through the other", a + PAGE);
    MAP(NULL, PAGE, RW, MAP_SHARED, fd, 100);
    MAP(NULL, PAGE, RW, MAP_SHARED, fd, -PAGE);
    MAP(NULL, PAGE, RW, 0, fd, 0);
    MAP(NULL, PAGE, RW, MAP_SHARED | MAP_PRIVATE, fd, 0);
    RES(msync(a, 4 * PAGE, MS_SYNC));
    RES(msync(a, PAGE, MS_ASYNC));
    RES(msync(a, PAGE, MS_SYNC | MS_ASYNC));
    RES(msync(a + 1, PAGE, MS_SYNC));
    RES(msync(a, PAGE, 0x100));
    int ro = open("file", O_RDONLY), wo = open("file", O_WRONLY);
    MAP(NULL, PAGE, RW, MAP_SHARED, ro, 0);
    b = MAP(NULL, PAGE, RW, MAP_PRIVATE, ro, 0);
    poke("private of read-only file", b, 'p');
    c = MAP(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
    RES(mprotect(c, PAGE, RW));
    MAP(NULL, PAGE, PROT_READ, MAP_SHARED, wo, 0);
    MAP(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0);
    int dir = open(".", O_RDONLY), path = open("file", O_PATH), p[2];
    MAP(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0);
    MAP(NULL, PAGE, PROT_READ, MAP_PRIVATE, path, 0);
    pipe(p);
    MAP(NULL, PAGE, PROT_READ, MAP_PRIVATE, p[0], 0);
    int zero = open("/dev/zero", O_RDWR);
    b = MAP(NULL, PAGE, RW, MAP_PRIVATE, zero, 0);
    peek("/dev/zero", b);
    RES(close(fd));
    RES(unlink("file"));
    peek("mapped, closed, unlinked", a + 1);
    RES(munmap(a, 4 * PAGE));

    SECTION("file grows and shrinks below a mapping");
    fd = open("grow", O_RDWR | O_CREAT, 0600);
    a = MAP(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    peek("empty file", a);
    RES(ftruncate(fd, PAGE));
    peek("one page", a);
    poke("one page", a, 'g');
    RES(ftruncate(fd, 10));
    peek("kept", a);
    RES(ftruncate(fd, 0));
    peek("shrunk", a);
    RES(ftruncate(fd, PAGE));
    peek("grown again", a);

    SECTION("fork");
    a = MAP(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b = MAP(NULL, PAGE, RW, ANON, -1, 0);
    c = MAP(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    b[0] = 1;
    CHILD("writes", a[0] = 10; b[0] = 20; c[0] = 30; CHILD("grandchild", a[1] = 11));
    peek("shared anonymous", a);
    peek("shared anonymous by grandchild", a + 1);
    peek("private", b);
    peek("shared file", c);
    RES(madvise(b, PAGE, MADV_DONTFORK));
    CHILD("DONTFORK", peek("in the child", b));
    RES(madvise(b, PAGE, MADV_DOFORK));
    RES(madvise(b, PAGE, MADV_WIPEONFORK));
    CHILD("WIPEONFORK", peek("in the child", b));
    RES(madvise(b, PAGE, MADV_KEEPONFORK));
    CHILD("KEEPONFORK", peek("in the child", b));

    SECTION("mremap");
    a = MAP(NULL, 4 * PAGE, RW, ANON, -1, 0);
    for (int i = 0; i < 4; i++)
        a[i * PAGE] = i + 1;
    RES(mremap(a, 4 * PAGE, 2 * PAGE, 0) == a);
    peek("cut off", a + 2 * PAGE);
    RES(mremap(a, 2 * PAGE, 4 * PAGE, 0) == a);
    peek("grown in place", a + 2 * PAGE);
    b = MAP(a + 4 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    RES(mremap(a, 4 * PAGE, 8 * PAGE, 0));
    c = mremap(a, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    IS(c != MAP_FAILED && c != a);
    peek("moved", c + PAGE);
    peek("moved, new part", c + 5 * PAGE);
    peek("old place", a);
    a = MAP(NULL, 16 * PAGE, PROT_NONE, ANON, -1, 0);
    RES(mremap(c, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a + 2 * PAGE) == a + 2 * PAGE);
    peek("fixed", a + 3 * PAGE);
    RES(mremap(a + 2 * PAGE, PAGE, PAGE, MREMAP_FIXED, a));
    RES(mremap(a + 2 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a + 4 * PAGE));
    RES(mremap(a + 1, PAGE, PAGE, 0));
    RES(mremap(a + 2 * PAGE, PAGE, 0, 0));
    RES(mremap(a + 2 * PAGE, PAGE, PAGE, 0x80));
    RES(mremap((void *)0x10000000, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    RES(mremap(a, 12 * PAGE, 20 * PAGE, MREMAP_MAYMOVE));
    fd = open("remap", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 4 * PAGE);
    pwrite(fd, "3", 1, 3 * PAGE);
    a = MAP(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    b = mremap(a, PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    peek("file mapping grown", b + 3 * PAGE);
    b[0] = 'm';
    RES(pread(fd, text, 1, 0));
    SHOW(text, 1);
    c = mremap(b, 0, PAGE, MREMAP_MAYMOVE);
    IS(c != MAP_FAILED && c != b);
    peek("duplicate of a shared mapping", c);
    a = MAP(NULL, PAGE, RW, ANON, -1, 0);
    a[5] = 55;
    b = mremap(a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    IS(b != MAP_FAILED && b != a);
    peek("DONTUNMAP new", b + 5);
    peek("DONTUNMAP old", a + 5);

    SECTION("madvise");
    a = MAP(NULL, 4 * PAGE, RW, ANON, -1, 0);
    memset(a, 3, 4 * PAGE);
    RES(madvise(a + PAGE, PAGE, MADV_DONTNEED));
    peek("dropped", a + PAGE);
    peek("kept", a);
    RES(madvise(a, 4 * PAGE, MADV_NORMAL));
    RES(madvise(a, 4 * PAGE, MADV_WILLNEED));
    RES(madvise(a, 4 * PAGE, MADV_FREE));
    RES(madvise(a, 0, MADV_NORMAL));
    RES(madvise(a + 1, PAGE, MADV_NORMAL));
    RES(madvise(a, PAGE, 9999));
    munmap(a + PAGE, PAGE);
    RES(madvise(a, 4 * PAGE, MADV_DONTNEED));
    peek("after the hole", a + 2 * PAGE);
    fd = open("advise", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, PAGE);
    b = MAP(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    b[0] = 8;
    RES(madvise(b, PAGE, MADV_DONTNEED));
    peek("shared file after DONTNEED", b);
    c = MAP(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
    c[0] = 9;
    RES(madvise(c, PAGE, MADV_DONTNEED));
    peek("private file after DONTNEED", c);
    b = MAP(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b[0] = 8;
    RES(madvise(b, PAGE, MADV_DONTNEED));
    peek("shared anonymous after DONTNEED", b);

    SECTION("mincore and mlock");
    unsigned char vector[8];
    a = MAP(NULL, 4 * PAGE, RW, ANON, -1, 0);
    a[0] = 1;
    RES(mincore(a, 4 * PAGE, vector));
    NUM(vector[0] & 1);
    /* Of a page never touched: 0 natively, 1 in the sandbox (docs/differences.md). */
    RES(mincore(a + 1, PAGE, vector));
    RES(mincore(a, PAGE, (void *)8));
    munmap(a + 3 * PAGE, PAGE);
    RES(mincore(a, 4 * PAGE, vector));
    RES(mlock(a, PAGE));
    RES(mlock(a + 100, PAGE));
    RES(munlock(a, 2 * PAGE));
    RES(mlock(a, 4 * PAGE));
    RES(munlock(a, 4 * PAGE));
    RES(mlock2(a, PAGE, MLOCK_ONFAULT));
    RES(mlock2(a, PAGE, 0x80));
    RES(mlockall(0));
    RES(mlockall(0x80));
    RES(munlockall());

    SECTION("brk");
    unsigned char *start = sbrk(0);
    IS(start != (void *)-1);
    RES(brk(start + 10 * PAGE));
    IS(sbrk(0) == start + 10 * PAGE);
    peek("heap", start + 9 * PAGE);
    poke("heap", start + 9 * PAGE, 1);
    RES(brk(start + PAGE));
    peek("given back", start + 9 * PAGE);
    RES(brk(start + 10 * PAGE));
    peek("zero again", start + 9 * PAGE);
    IS(syscall(SYS_brk, 0) == (long)start + 10 * PAGE);
    IS(syscall(SYS_brk, 8) == (long)start + 10 * PAGE);
    IS(syscall(SYS_brk, -1L) == (long)start + 10 * PAGE);
    RES(brk(start));

    SECTION("grows down");
    a = MAP(NULL, 64 * PAGE, PROT_NONE, ANON, -1, 0);
    munmap(a, 64 * PAGE);
    b = mmap(a + 60 * PAGE, PAGE, RW, ANON | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    IS(b == a + 60 * PAGE);
    poke("in it", b, 1);
    poke("one below", b - 8, 2);
    poke("next below", b - PAGE - 8, 3);
    RES(mprotect(b, PAGE, PROT_READ | PROT_GROWSUP | PROT_GROWSDOWN));

    SECTION("bad pointers to system calls");
    RES(mprotect(b, PAGE, PROT_READ));
    RES(read(zero, b, 10));
    a = MAP(NULL, 2 * PAGE, RW, ANON, -1, 0);
    munmap(a + PAGE, PAGE);
    RES(read(zero, a + PAGE - 4, 4));
    memset(a + PAGE - 4, 'z', 4);
    fd = open("out", O_RDWR | O_CREAT, 0600);
    RES(write(fd, a + PAGE - 4, 4));
    RES(write(fd, a + PAGE, 4));
    strcpy((char *)a + PAGE - 4, "out");
    RES(access((char *)a + PAGE - 4, F_OK));
    memcpy(a + PAGE - 3, "out", 3);
    RES(access((char *)a + PAGE - 3, F_OK));

    SECTION("limits");
    struct rlimit limit = {64 << 20, 64 << 20};
    CHILD("RLIMIT_AS", setrlimit(RLIMIT_AS, &limit); MAP(NULL, 128 << 20, RW, ANON, -1, 0); MAP(NULL, 1 << 20, RW, ANON, -1, 0));
    limit.rlim_cur = limit.rlim_max = 0;
    CHILD("RLIMIT_DATA", setrlimit(RLIMIT_DATA, &limit); RES(brk(start + 100 * PAGE)));
    limit.rlim_cur = limit.rlim_max = 1 << 20;
    CHILD("big stack is fatal", setrlimit(RLIMIT_STACK, &limit); signal(SIGSEGV, SIG_DFL); deep(4 << 20));
    CHILD("deep stack is fine", NUM(deep(4 << 20)));
    return 0;
}
