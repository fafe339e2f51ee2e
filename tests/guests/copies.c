/* copies: a program run so often that a sandbox may give it a patched copy of its code. Each run looks at its code in
 * all ways but plain loads, then makes it writable, changes it, maps over it and unmaps parts of it. */
#include "check.h"
#include <ucontext.h>

/* Pages of code of our own, so that the rest stays: a site in the first, a number in the second, a site in the third. */
__asm__(".text\n.balign 4096\n"
        "place: .cfi_startproc\n mov $110, %eax\n syscall\n ret\n .cfi_endproc\n"
        ".balign 4096\n"
        "number: .cfi_startproc\n mov $7, %eax\n ret\n .cfi_endproc\n"
        ".balign 4096\n"
        "other: .cfi_startproc\n mov $110, %eax\n syscall\n ret\n .cfi_endproc\n"
        ".balign 4096\n");
extern char place[], number[], other[], etext[];
extern char __executable_start[];

#define RUNS 5

static long (*volatile call_place)(void) = (void *)place, (*volatile call_number)(void) = (void *)number;
static long (*volatile call_other)(void) = (void *)other;
static char *file; /* the program's file */

static long calls(int n)
{
    long wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += (call_place() != getppid()) + (call_other() != getppid());
    return wrong;
}

static char *in_file(char *at)
{
    return file + (at - __executable_start);
}

static void reading(void)
{
    SECTION("reading");
    long n = etext - __executable_start;
    char *data = malloc(n);
    int fd = open("/proc/self/mem", O_RDONLY);
    NUM(pread(fd, data, n, (long)__executable_start) == n);
    IS(memcmp(data + 4096, file + 4096, n - 4096) == 0);
    close(fd);
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        sscanf(line, "%lx-%lx", &start, &end);
        if (start <= (unsigned long)place && (unsigned long)place < end)
            IS(strstr(line, " r-xp ") && strstr(line, "copies"));
    }
    fclose(maps);
}

static void changing(void)
{
    SECTION("changing");
    NUM(call_number());
    CHILD("writer", {
        NUM(mprotect(place, 12288, PROT_READ | PROT_WRITE | PROT_EXEC));
        IS(memcmp(place, in_file(place), 12288) == 0);
        number[1] = 8;
        place[1] = 39;
        NUM(call_number());
        IS(call_place() == getpid());
        NUM(mprotect(place, 12288, PROT_READ | PROT_EXEC));
        NUM(call_number());
        IS(call_place() == getpid());
        CHILD("reader", { NUM(call_number()); IS(call_place() == getpid()); });
        NUM(madvise(place, 12288, MADV_DONTNEED));
        IS(memcmp(place, in_file(place), 12288) == 0);
        NUM(call_number());
        NUM(calls(30));
    });
    NUM(call_number());
    NUM(calls(2));
    CHILD("dropper", {
        NUM(madvise(place, 12288, MADV_DONTNEED));
        NUM(calls(30));
        NUM(mprotect(number, 4096, PROT_READ));
        NUM(calls(2));
        IS(memcmp(number, in_file(number), 4096) == 0);
    });
    CHILD("keeper", {
        NUM(madvise(number, 4096, MADV_DONTFORK));
        NUM(calls(2));
        CHILD("kept from", { NUM(calls(2)); });
    });
}

static void moving(void)
{
    SECTION("moving");
    CHILD("unmapper", {
        NUM(munmap(number, 4096));
        NUM(calls(2));
        IS(memcmp(place, in_file(place), 4096) == 0);
        CHILD("child", { NUM(calls(30)); });
        NUM(munmap(other, 4096));
        NUM(call_place() == getppid());
    });
    CHILD("mapper", {
        char *low = (char *)((long)__executable_start - 65536);
        IS(mmap(low, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == low);
        for (int i = 0; i < 65536; i++)
            if (low[i])
                NUM(i);
        memset(low, 0xcc, 65536);
        NUM(calls(30));
        IS(memcmp(other, in_file(other), 4096) == 0 || call_other() == getppid());
    });
    CHILD("mover", {
        char *to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        IS(mremap(other, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
        IS(memcmp(to, in_file(other), 4096) == 0);
        IS(((long (*)(void))to)() == getppid());
        IS(call_place() == getppid());
    });
}

static volatile long strange, alarms;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
    char *rip = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    alarms++;
    strange += (long)rip > (long)__executable_start - (1 << 20) && rip < __executable_start;
}

static void signals(void)
{
    SECTION("signals");
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval timer = {{0, 200}, {0, 200}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    long wrong = 0, end = now_ms() + 60;
    while (now_ms() < end)
        wrong += calls(50);
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    NUM(wrong);
    NUM(strange);
    IS(alarms > 5);
}

static void *one_thread(void *arg)
{
    return (void *)calls(2000);
}

static void threads(void)
{
    SECTION("threads");
    pthread_t thread[4];
    long wrong = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, one_thread, NULL);
    for (int i = 0; i < 20; i++) {
        mprotect(number, 4096, i & 1 ? PROT_READ | PROT_EXEC : PROT_READ);
        usleep(500);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        wrong += (long)result;
    }
    NUM(wrong);
    NUM(call_number());
}

int main(int argc, char **argv)
{
    static char digit[2] = "0";
    if (argc > 1)
        digit[0] = argv[1][0];
    say("run %s", digit);
    int fd = open("/proc/self/exe", O_RDONLY);
    struct stat st;
    fstat(fd, &st);
    file = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    NUM(calls(14));
    if (digit[0] - '0' < RUNS) {
        usleep(60000);
        digit[0]++;
        execl("/proc/self/exe", argv[0], digit, NULL);
        return 1;
    }
    reading();
    changing();
    moving();
    signals();
    threads();
    NUM(calls(2));
    return 0;
}
