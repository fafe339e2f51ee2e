/* starts: the calls that a thread begins and ends with, which the sandbox may answer without its kernel: set_robust_list,
 * set_tid_address, arch_prctl(ARCH_SET_FS), exit_group with and without robust futexes; and filters that concern them. */
#include "check.h"
#include <asm/prctl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#define ROUNDS 300

struct held {
    struct robust_list_head head;
    struct robust_list entry;
    uint32_t word;
};

static struct held *shared;
static volatile int told;

static long raw(long nr, long a, long b)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}

static void *list_of(pid_t tid)
{
    void *head = NULL;
    size_t length = 0;
    if (syscall(SYS_get_robust_list, tid, &head, &length))
        say("get_robust_list: %s", errname(errno));
    return head;
}

static void empty(struct held *held)
{
    held->head.list.next = &held->head.list;
    held->head.list_op_pending = NULL;
    held->head.futex_offset = offsetof(struct held, word) - offsetof(struct held, entry);
    held->entry.next = &held->head.list;
    held->word = 0;
}

/* A child that ends with this list; what its end has made of the word. */
static void end_with(const char *what, int listed, int pending, int owner)
{
    empty(shared);
    pid_t pid = fork();
    if (pid == 0) {
        shared->word = owner ? (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS : 12345;
        if (listed)
            shared->head.list.next = &shared->entry;
        if (pending)
            shared->head.list_op_pending = &shared->entry;
        if (syscall(SYS_set_robust_list, &shared->head, sizeof shared->head))
            say("set_robust_list: %s", errname(errno));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    say("%s: %s%s%s", what, shared->word & FUTEX_OWNER_DIED ? "owner died " : "", shared->word & FUTEX_WAITERS ? "waiters " : "",
        shared->word == 12345 ? "untouched" : "");
}

static void lists(void)
{
    struct robust_list_head mine = { { &mine.list }, 0, NULL }, other = mine;
    int pipes[2], bad = 0;
    char byte;
    SECTION("robust lists");
    CHILD("its own list", {
        ERR(syscall(SYS_set_robust_list, &mine, sizeof mine));
        IS(list_of(0) == &mine);
        ERR(syscall(SYS_set_robust_list, &other, 23L));
        IS(list_of(0) == &mine);
        for (int i = 0; i < ROUNDS; i++) {
            struct robust_list_head *next = i & 1 ? &mine : &other;
            bad += syscall(SYS_set_robust_list, next, sizeof *next) != 0 || list_of(0) != next;
        }
        NUM(bad);
        ERR(syscall(SYS_set_robust_list, NULL, sizeof mine));
        IS(list_of(0) == NULL);
    });
    OK(pipe(pipes));
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_set_robust_list, shared, sizeof mine);
        if (write(pipes[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    IS(read(pipes[0], &byte, 1) == 1);
    IS(list_of(pid) == shared);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    end_with("an empty list", 0, 0, 1);
    end_with("a lock that is held", 1, 0, 1);
    end_with("a lock of somebody else", 1, 0, 0);
    end_with("a lock being taken", 0, 1, 1);
    end_with("one held and being released", 1, 1, 1);
}

static int sharer(void *word)
{
    told = syscall(SYS_set_tid_address, word) == syscall(SYS_gettid);
    return 0;
}

static void numbers(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    static volatile int word;
    SECTION("set_tid_address");
    IS(syscall(SYS_set_tid_address, &word) == syscall(SYS_gettid));
    CHILD("a child", {
        IS(syscall(SYS_set_tid_address, &word) == syscall(SYS_gettid));
        word = 5;
    });
    word = 77;
    pid_t pid = clone(sharer, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, (void *)&word);
    waitpid(pid, NULL, 0);
    NUM(told);
    NUM(word); /* cleared, as others still use the memory */
}

static void thread_pointer(void)
{
    long before = 0, seen = 0, result = 0, bad = 0;
    SECTION("the thread pointer");
    raw(SYS_arch_prctl, ARCH_GET_FS, (long)&before);
    for (long i = 1; i <= ROUNDS; i++) {
        result |= raw(SYS_arch_prctl, ARCH_SET_FS, before + 8 * i);
        raw(SYS_arch_prctl, ARCH_GET_FS, (long)&seen);
        bad += seen != before + 8 * i;
    }
    result |= raw(SYS_arch_prctl, ARCH_SET_FS, before);
    NUM(result);
    NUM(bad);
    NUM(raw(SYS_arch_prctl, ARCH_SET_FS, 1L << 62));
    raw(SYS_arch_prctl, ARCH_GET_FS, (long)&seen);
    IS(seen == before);
}

static void filtered(void)
{
    struct robust_list_head mine = { { &mine.list }, 0, NULL };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_set_tid_address, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    SECTION("filters");
    CHILD("filtered", {
        OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        OK(syscall(SYS_set_robust_list, &mine, sizeof mine));
        OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
        ERR(syscall(SYS_set_tid_address, 0));
        ERR(syscall(SYS_exit, 3));
        IS(list_of(0) == &mine); /* the end that did not happen changed nothing */
        CHILD("its child", {
            ERR(syscall(SYS_set_tid_address, 0));
            ERR(syscall(SYS_exit, 3));
            OK(syscall(SYS_set_robust_list, &mine, sizeof mine));
            IS(list_of(0) == &mine);
        });
    });
}

int main(void)
{
    GUARD(60);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    lists();
    numbers();
    thread_pointer();
    filtered();
    return 0;
}
