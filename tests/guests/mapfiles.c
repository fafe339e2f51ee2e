/* Private mappings of files as dynamic linkers make them: parts of a mapping mapped again at other protections, small parts to
 * be written, and what MADV_DONTNEED, a fork and a move leave of them. */
#include "check.h"
#include <setjmp.h>

#define DENYWRITE 0x800
#define R PROT_READ
#define W PROT_WRITE
#define X PROT_EXEC

static int fd;
static char *file; /* its bytes, and zeros up to a page */
static long size, pages;
static sigjmp_buf back;

static int same(char *at, long page, long n) { return !memcmp(at, file + page * 4096, n * 4096); }

static char *map(char *at, long page, long n, int prot, int flags)
{
    return mmap(at, n * 4096, prot, MAP_PRIVATE | flags | (at ? MAP_FIXED : 0), fd, page * 4096);
}

static void again(void)
{
    char *at = map(NULL, 0, pages, R, DENYWRITE);
    IS(same(at, 0, pages));
    IS(map(at + 4096, 1, 2, R | X, DENYWRITE) == at + 4096 && same(at, 0, pages));
    IS(map(at + 3 * 4096, 3, 1, R, DENYWRITE) == at + 3 * 4096 && same(at, 0, pages));
    IS(map(at + 4 * 4096, 4, 2, R | W, DENYWRITE) == at + 4 * 4096 && same(at, 0, pages));
    at[4 * 4096] ^= 1;
    IS(same(at, 0, 4) && !same(at, 4, 1) && same(at + 5 * 4096, 5, pages - 5));
    char byte;
    IS(pread(fd, &byte, 1, 4 * 4096) == 1 && byte == file[4 * 4096]);
    /* What has been written goes with a new mapping, whatever the protection was in between. */
    IS(mprotect(at + 4 * 4096, 4096, R) == 0 && !same(at + 4 * 4096, 4, 1));
    IS(map(at + 4 * 4096, 4, 1, R, DENYWRITE) == at + 4 * 4096 && same(at, 0, pages));
    IS(mprotect(at, 4096, R | W) == 0);
    at[7] ^= 1;
    IS(map(at, 0, 1, R | W, DENYWRITE) == at && same(at, 0, pages));
    at[7] ^= 1;
    IS(mprotect(at, 4096, R) == 0 && map(at, 0, 2, R | X, 0) == at && same(at, 0, pages));
    /* Another part of the file at the same place. */
    IS(map(at + 6 * 4096, 1, 1, R, DENYWRITE) == at + 6 * 4096 && same(at + 6 * 4096, 1, 1));
    IS(map(at + 6 * 4096, 6, 1, R, DENYWRITE) == at + 6 * 4096 && same(at, 0, pages));
    IS(munmap(at, pages * 4096) == 0);
}

static void small(int flags)
{
    char *at = map(NULL, 2, 3, R | W, flags);
    IS(same(at, 2, 3));
    at[5000] ^= 1;
    IS(same(at, 2, 1) && !same(at + 4096, 3, 1) && same(at + 8192, 4, 1));
    pid_t child = fork();
    if (!child) {
        int right = at[5000] == (file[2 * 4096 + 5000] ^ 1) && same(at, 2, 1);
        at[0] ^= 1;
        right &= madvise(at, 4096, MADV_DONTNEED) == 0 && same(at, 2, 1);
        _exit(right ? 7 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    IS(WEXITSTATUS(status) == 7 && !same(at + 4096, 3, 1));
    IS(madvise(at, 3 * 4096, MADV_DONTNEED) == 0 && same(at, 2, 3));
    at[1] ^= 1;
    ERR(madvise(at, 3 * 4096, MADV_FREE));
    char *more = mremap(at, 3 * 4096, 5 * 4096, MREMAP_MAYMOVE);
    more[1] ^= 1;
    IS(same(more, 2, 5));
    IS(mprotect(more, 4096, R) == 0 && same(more, 2, 5) && mprotect(more, 4096, R | W) == 0);
    IS(munmap(more, 5 * 4096) == 0);
    at = map(NULL, 1, 2, R, flags);
    IS(same(at, 1, 2) && mprotect(at, 2 * 4096, R | W) == 0);
    at[0] ^= 1;
    IS(!same(at, 1, 1) && madvise(at, 4096, MADV_DONTNEED) == 0 && same(at, 1, 2));
    IS(munmap(at, 2 * 4096) == 0);
}

static void on_bus(int sig) { siglongjmp(back, sig); }

static void beyond(int flags)
{
    char *at = map(NULL, pages - 1, 3, R | W, flags);
    signal(SIGBUS, on_bus);
    IS(same(at, pages - 1, 1));
    volatile char *gone = at + 4096;
    int got = sigsetjmp(back, 1);
    if (!got)
        *gone;
    say("beyond the end: %d", got);
    IS(munmap(at, 3 * 4096) == 0);
}

int main(void)
{
    struct stat st;
    fd = open("/proc/self/exe", O_RDONLY);
    fstat(fd, &st);
    size = st.st_size;
    pages = (size + 4095) / 4096;
    file = calloc(pages, 4096);
    IS(pages > 10 && pread(fd, file, size, 0) == size);
    for (int i = 0; i < 12; i++) { /* often enough for the file to be known as one that is mapped often */
        again();
        small(DENYWRITE);
        small(0);
        beyond(DENYWRITE);
        beyond(0);
    }
    return 0;
}
