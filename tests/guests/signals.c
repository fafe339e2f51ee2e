/* Signal handlers with every SA_ flag, masks, alternate stacks, siginfo, queued signals, waiting. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>

static volatile int count, last, depth, deepest;
static siginfo_t info;
static volatile int on_alt;
static char altstack[65536];
static sigset_t seen_mask;

static void simple(int number) { count++; last = number; }

static void nested(int number)
{
    count++;
    if (++depth > deepest)
        deepest = depth;
    if (count < 4)
        raise(number);
    depth--;
}

static void detailed(int number, siginfo_t *i, void *context)
{
    (void)context;
    count++;
    last = number;
    info = *i;
    char here;
    on_alt = &here >= altstack && &here < altstack + sizeof altstack;
    sigprocmask(SIG_BLOCK, NULL, &seen_mask);
}

static void handle(int number, void (*function)(), int flags, sigset_t *mask)
{
    struct sigaction action = {.sa_flags = flags};
    action.sa_sigaction = function;
    if (mask)
        action.sa_mask = *mask;
    RES(sigaction(number, &action, NULL));
}

static void show_mask(const char *what, sigset_t *set)
{
    char text[300] = "";
    for (int i = 1; i < 65; i++)
        if (sigismember(set, i) == 1)
            sprintf(text + strlen(text), " %s", signame(i));
    say("%s:%s", what, text);
}

static void show_pending(void)
{
    sigset_t set;
    sigpending(&set);
    show_mask("pending", &set);
}

static void show_info(const char *what)
{
    say("%s: %s code %d pid %s uid %d value %d, mask as expected", what, signame(info.si_signo), info.si_code,
        info.si_pid == getpid() ? "mine" : info.si_pid == getppid() ? "parent" : "other", info.si_uid,
        info.si_value.sival_int);
}

static int queue(pid_t pid, int number, int value)
{
    union sigval v = {.sival_int = value};
    return sigqueue(pid, number, v);
}

int main(void)
{
    sigset_t set, old;
    struct sigaction action;
    GUARD(60);

    SECTION("arguments");
    RES(sigaction(0, NULL, NULL));
    RES(sigaction(65, NULL, NULL));
    RES(sigaction(-1, NULL, NULL));
    RES(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4L));
    RES(syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8L));
    RES(syscall(SYS_rt_sigaction, SIGUSR1, NULL, (void *)8, 8L));
    RES(signal(SIGKILL, SIG_IGN));
    RES(signal(SIGSTOP, simple));
    RES(sigaction(SIGKILL, NULL, &action));
    RES(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8L));
    RES(syscall(SYS_rt_sigprocmask, 77, NULL, NULL, 8L));
    RES(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4L));
    RES(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)8, NULL, 8L));
    RES(syscall(SYS_rt_sigpending, (void *)8, 8L));
    RES(kill(99999, 0));
    RES(kill(getpid(), 0));
    RES(kill(getpid(), 65));
    RES(kill(getpid(), -1));
    RES(kill(-99999, SIGTERM));
    RES(syscall(SYS_tkill, 0, 0));
    RES(syscall(SYS_tkill, 99999, 0));
    RES(syscall(SYS_tgkill, getpid(), 0, 0));
    RES(syscall(SYS_tgkill, getpid() + 1, getpid(), 0));
    RES(syscall(SYS_tgkill, getpid(), getpid(), 0));
    RES(syscall(SYS_tgkill, getpid(), getpid(), 100));

    SECTION("a handler");
    handle(SIGUSR1, simple, 0, NULL);
    RES(raise(SIGUSR1));
    NUM(count);
    RES(kill(getpid(), SIGUSR1));
    NUM(count);
    RES(kill(0, 0));
    RES(sigaction(SIGUSR1, NULL, &action));
    IS(action.sa_handler == simple);
    HEX(action.sa_flags);
    RES(signal(SIGUSR1, SIG_IGN) == simple);
    RES(raise(SIGUSR1));
    NUM(count);

    SECTION("SA_RESETHAND");
    count = 0;
    handle(SIGUSR1, simple, SA_RESETHAND, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &action);
    IS(action.sa_handler == SIG_DFL);
    HEX(action.sa_flags);
    NUM(count);

    SECTION("SA_NODEFER and nesting");
    count = depth = deepest = 0;
    handle(SIGUSR1, nested, 0, NULL);
    raise(SIGUSR1);
    NUM(count);
    NUM(deepest);
    count = depth = deepest = 0;
    handle(SIGUSR1, nested, SA_NODEFER, NULL);
    raise(SIGUSR1);
    NUM(count);
    NUM(deepest);

    SECTION("the mask in a handler");
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, 40);
    sigaddset(&set, SIGKILL);
    handle(SIGUSR1, detailed, SA_SIGINFO, &set);
    raise(SIGUSR1);
    show_mask("in the handler", &seen_mask);
    sigprocmask(SIG_BLOCK, NULL, &old);
    show_mask("after", &old);
    handle(SIGUSR1, detailed, SA_SIGINFO | SA_NODEFER, &set);
    raise(SIGUSR1);
    show_mask("with SA_NODEFER", &seen_mask);
    sigemptyset(&set);

    SECTION("siginfo");
    handle(SIGUSR1, detailed, SA_SIGINFO, NULL);
    raise(SIGUSR1);
    show_info("raise");
    kill(getpid(), SIGUSR1);
    show_info("kill");
    queue(getpid(), SIGUSR1, 77);
    show_info("sigqueue");
    pid_t me = getpid();
    CHILD("child", queue(me, SIGUSR1, 5));
    IS(info.si_pid != me);
    NUM(info.si_value.sival_int);
    siginfo_t forged = {.si_signo = SIGUSR1, .si_code = 3};
    RES(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &forged));
    NUM(info.si_code);
    CHILD("forged", forged.si_code = SI_USER; RES(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, &forged));
          forged.si_code = 3; RES(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, &forged));
          forged.si_code = -6; RES(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, &forged));
          forged.si_code = -60; RES(syscall(SYS_rt_sigqueueinfo, me, 0, &forged)));
    RES(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, (void *)8));
    handle(SIGCHLD, detailed, SA_SIGINFO | SA_RESTART, NULL);
    CHILD("exits 3", _exit(3));
    say("SIGCHLD: code %d status %d", info.si_code, info.si_status);
    CHILD("killed", raise(SIGTERM));
    say("SIGCHLD: code %d status %d", info.si_code, info.si_status);
    signal(SIGCHLD, SIG_DFL);

    SECTION("blocking and pending");
    count = 0;
    handle(SIGUSR1, simple, 0, NULL);
    handle(SIGUSR2, simple, 0, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGKILL);
    RES(sigprocmask(SIG_BLOCK, &set, &old));
    show_mask("old", &old);
    sigprocmask(SIG_BLOCK, NULL, &old);
    show_mask("now", &old);
    raise(SIGUSR1);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR2);
    show_pending();
    NUM(count);
    CHILD("child has nothing pending but the mask", show_pending(); sigprocmask(SIG_BLOCK, NULL, &old); show_mask("mask", &old));
    sigdelset(&set, SIGUSR2);
    RES(sigprocmask(SIG_UNBLOCK, &set, NULL));
    NUM(count);
    show_pending();
    sigemptyset(&set);
    RES(sigprocmask(SIG_SETMASK, &set, &old));
    show_mask("old", &old);
    NUM(count);
    show_pending();
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    show_pending();
    signal(SIGUSR1, simple);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    NUM(count);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    show_pending();
    sigprocmask(SIG_UNBLOCK, &set, NULL);

    SECTION("real-time signals queue in order");
    static int values[10], numbers[10];
    sigfillset(&set);
    sigdelset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    queue(me, 41, 1);
    queue(me, 40, 2);
    queue(me, 41, 3);
    queue(me, 40, 4);
    queue(me, SIGUSR2, 5);
    queue(me, SIGUSR2, 6);
    show_pending();
    struct timespec zero = {0, 0};
    for (int i = 0; i < 5; i++) {
        numbers[i] = sigtimedwait(&set, &info, &zero);
        values[i] = info.si_value.sival_int;
        say("got %s value %d code %d", signame(numbers[i]), values[i], info.si_code);
    }
    RES(sigtimedwait(&set, &info, &zero));
    struct timespec bad = {0, 2000000000}, some = {0, 5000000};
    RES(sigtimedwait(&set, &info, &bad));
    RES(sigtimedwait(&set, &info, &some));
    RES(syscall(SYS_rt_sigtimedwait, (void *)8, NULL, &zero, 8L));
    RES(syscall(SYS_rt_sigtimedwait, &set, NULL, &zero, 4L));
    raise(SIGUSR1);
    signal(SIGUSR1, simple);
    raise(SIGUSR1);
    int got;
    RES(sigwait(&set, &got));
    NUM(got);
    sigdelset(&set, SIGCHLD);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        queue(me, 50, 99);
        _exit(0);
    }
    RES(sigwaitinfo(&set, &info));
    NUM(info.si_value.sival_int);
    reap("sender", pid);
    while (sigtimedwait(&set, NULL, &zero) > 0)
        ;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    RES(sigtimedwait(&set, NULL, &zero));
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);

    SECTION("delivery order when several become unblocked");
    sigfillset(&set);
    handle(SIGUSR1, simple, 0, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    raise(SIGTERM);
    signal(SIGTERM, simple);
    count = 0;
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    NUM(count);
    say("last handler run: %s", signame(last));
    signal(SIGTERM, SIG_DFL);

    SECTION("sigsuspend and pause");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    count = 0;
    sigemptyset(&set);
    RES(sigsuspend(&set));
    NUM(count);
    sigprocmask(SIG_BLOCK, NULL, &old);
    show_mask("restored", &old);
    sigprocmask(SIG_SETMASK, &set, NULL);
    pid = fork();
    if (pid == 0) {
        await_state(me, 'S');
        kill(me, SIGUSR1);
        _exit(0);
    }
    RES(pause());
    NUM(count);
    reap("sender", pid);
    RES(syscall(SYS_rt_sigsuspend, &set, 4L));
    RES(syscall(SYS_rt_sigsuspend, (void *)8, 8L));

    SECTION("alternate stack");
    stack_t stack = {.ss_sp = altstack, .ss_size = sizeof altstack}, before;
    RES(sigaltstack(NULL, &before));
    NUM(before.ss_flags);
    RES(sigaltstack(&stack, NULL));
    handle(SIGUSR1, detailed, SA_SIGINFO | SA_ONSTACK, NULL);
    raise(SIGUSR1);
    NUM(on_alt);
    handle(SIGUSR1, detailed, SA_SIGINFO, NULL);
    raise(SIGUSR1);
    NUM(on_alt);
    RES(sigaltstack(NULL, &before));
    IS(before.ss_sp == altstack && before.ss_size == sizeof altstack);
    NUM(before.ss_flags);
    stack.ss_size = 100;
    RES(sigaltstack(&stack, NULL));
    stack.ss_size = sizeof altstack;
    stack.ss_flags = 77;
    RES(sigaltstack(&stack, NULL));
    RES(sigaltstack((void *)8, NULL));
    CHILD("kept by fork", sigaltstack(NULL, &before); NUM(before.ss_flags); IS(before.ss_sp == altstack));
    stack.ss_flags = SS_DISABLE;
    RES(sigaltstack(&stack, NULL));
    handle(SIGUSR1, detailed, SA_SIGINFO | SA_ONSTACK, NULL);
    raise(SIGUSR1);
    NUM(on_alt);

    SECTION("default actions");
    int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGUSR2, SIGPIPE,
                   SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, 34, 64};
    signal(SIGUSR2, SIG_DFL);
    for (unsigned i = 0; i < sizeof fatal / sizeof *fatal; i++)
        CHILD("default", kill(getpid(), fatal[i]));
    int harmless[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    for (unsigned i = 0; i < sizeof harmless / sizeof *harmless; i++)
        CHILD("ignored", kill(getpid(), harmless[i]));
    CHILD("abort", abort());

    SECTION("fork and handlers");
    handle(SIGUSR1, simple, 0, NULL);
    count = 0;
    CHILD("inherits the handler", raise(SIGUSR1); NUM(count));
    NUM(count);
    return 0;
}
