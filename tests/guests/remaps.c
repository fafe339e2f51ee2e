/* Memory that is moved, grows in place, and is moved again, alone and beside another thread. */
#include "check.h"
#include <pthread.h>

#define PAGES 300

static char *reserve(long pages)
{
    char *at = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    munmap(at, pages * 4096);
    return at;
}

static void fill(char *at, long from, long to)
{
    for (long i = from; i < to; i++)
        *(long *)(at + i * 4096) = i + 1;
}

static int right(char *at, long pages)
{
    for (long i = 0; i < pages; i++)
        if (*(long *)(at + i * 4096) != i + 1)
            return 0;
    return 1;
}

static void rounds(void)
{
    char *places = reserve(64 * PAGES), *at = places;
    long size = 4;
    mmap(at, size * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    fill(at, 0, size);
    for (int round = 1; round < 20; round++) {
        char *next = places + (long)round * 2 * PAGES * 4096;
        int moved = mremap(at, size * 4096, (size + 2) * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, next) == next;
        IS(moved && right(next, size));
        at = next;
        fill(at, size, size + 2);
        size += 2;
        for (int i = 0; i < 3; i++) {
            long more = size + 1 + round % 5;
            IS(mremap(at, size * 4096, more * 4096, 0) == at);
            fill(at, size, more);
            size = more;
        }
        IS(right(at, size));
    }
    IS(munmap(at, size * 4096) == 0);
}

static void grow(void)
{
    char *at = NULL;
    long size = 0;
    for (int i = 0; i < 200; i++) {
        long more = size + 40 + i % 7 * 40;
        char *blocker = malloc(200000 + i * 1000);
        at = realloc(at, more * 4096);
        fill(at, size, more);
        size = more;
        if (i % 3)
            free(blocker);
        if (!right(at, size))
            _exit(9);
    }
    free(at);
}

static void *churn(void *stop)
{
    while (!*(volatile int *)stop) {
        char *at = mmap(NULL, 400000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        at[0] = at[399999] = 1;
        munmap(at, 400000);
    }
    return NULL;
}

int main(void)
{
    int stop = 0;
    pthread_t thread;
    SECTION("alone");
    rounds();
    grow();
    SECTION("beside a thread that maps");
    pthread_create(&thread, NULL, churn, &stop);
    rounds();
    grow();
    stop = 1;
    NUM(pthread_join(thread, NULL));
    return 0;
}
