/* ptrace(2): signals, group stops, PTRACE_SEIZE, the events of fork, exec and exit, threads, waiting, the tracer's end. */
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define P(request, pid, addr, data) ptrace((enum __ptrace_request)(request), (pid_t)(pid), (void *)(addr), (void *)(data))

static int status;

static int next(pid_t pid, int options)
{
    status = 0;
    int got = waitpid(pid, &status, options | __WALL);
    return got == pid || pid == -1 ? got : -1;
}

static void stopped(const char *what, pid_t pid)
{
    if (next(pid, 0) == -1)
        say("%s: waitpid %s", what, errname(errno));
    else
        show_status(what, status);
}

static unsigned long message(pid_t pid)
{
    unsigned long value = 0;
    P(PTRACE_GETEVENTMSG, pid, 0, &value);
    return value;
}

#define TRACEE(...)                                                                               \
    ({                                                                                            \
        pid_t child_ = fork();                                                                    \
        if (child_ == 0) {                                                                        \
            ptrace(PTRACE_TRACEME, 0, 0, 0);                                                      \
            raise(SIGSTOP);                                                                       \
            __VA_ARGS__;                                                                          \
            _exit(0);                                                                             \
        }                                                                                         \
        stopped("tracee", child_);                                                                \
        child_;                                                                                   \
    })

static volatile int got[65];
static volatile int from;
static void handler(int number) { got[number]++; }
static void with_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    got[number]++;
    from = info->si_code;
}

static void catch(int number)
{
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    sigaction(number, &action, NULL);
}

static void signals(void)
{
    siginfo_t si;
    SECTION("signals pass through the tracer");
    pid_t pid = TRACEE(catch(SIGUSR1); catch(SIGUSR2); signal(SIGHUP, SIG_IGN); raise(SIGUSR1); NUM(got[SIGUSR1]); NUM(from);
                       raise(SIGUSR1); NUM(got[SIGUSR1]); raise(SIGUSR1); NUM(got[SIGUSR1]); NUM(got[SIGUSR2]); NUM(from);
                       raise(SIGHUP); raise(SIGCHLD); raise(SIGWINCH); raise(SIGTERM); say("goes on"); raise(SIGTERM));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("first", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("%s code %d pid %d", signame(si.si_signo), si.si_code, si.si_pid == pid);
    P(PTRACE_CONT, pid, 0, SIGUSR1);
    stopped("second", pid);
    P(PTRACE_CONT, pid, 0, 0); /* suppressed */
    stopped("third", pid);
    P(PTRACE_CONT, pid, 0, SIGUSR2); /* another one */
    stopped("ignored", pid);
    P(PTRACE_CONT, pid, 0, SIGHUP);
    stopped("ignored by default", pid);
    P(PTRACE_CONT, pid, 0, SIGCHLD);
    stopped("ignored by default", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("deadly", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("deadly", pid);
    P(PTRACE_CONT, pid, 0, SIGTERM);
    stopped("end", pid);

    SECTION("siginfo is changed");
    pid = TRACEE(catch(SIGUSR1); raise(SIGUSR1); NUM(from));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("signal", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    si.si_code = -77;
    RES(P(PTRACE_SETSIGINFO, pid, 0, &si));
    P(PTRACE_CONT, pid, 0, SIGUSR1);
    stopped("end", pid);

    SECTION("blocked signals, masks");
    pid = TRACEE(sigset_t set; sigfillset(&set); sigprocmask(SIG_BLOCK, &set, NULL); catch(SIGUSR1); catch(SIGUSR2);
                 raise(SIGUSR1); raise(SIGUSR2); getppid(); raise(SIGSTOP); NUM(got[SIGUSR1] + 2 * got[SIGUSR2]);
                 sigemptyset(&set); sigprocmask(SIG_SETMASK, &set, NULL); NUM(got[SIGUSR1] + 2 * got[SIGUSR2]));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("stop", pid);
    struct __ptrace_peeksiginfo_args peek = {0, 0, 4};
    siginfo_t many[4];
    RES(P(PTRACE_PEEKSIGINFO, pid, &peek, many));
    say("%s %s", signame(many[0].si_signo), signame(many[1].si_signo));
    peek.off = 1;
    RES(P(PTRACE_PEEKSIGINFO, pid, &peek, many));
    peek.flags = PTRACE_PEEKSIGINFO_SHARED, peek.off = 0;
    RES(P(PTRACE_PEEKSIGINFO, pid, &peek, many));
    unsigned long mask = 0;
    RES(P(PTRACE_GETSIGMASK, pid, 8, &mask));
    HEX(mask);
    mask &= ~(1ul << (SIGUSR2 - 1));
    RES(P(PTRACE_SETSIGMASK, pid, 8, &mask));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("now open", pid);
    P(PTRACE_CONT, pid, 0, SIGUSR2);
    stopped("the other", pid);
    P(PTRACE_CONT, pid, 0, SIGUSR1);
    stopped("end", pid);

    SECTION("a call that a signal interrupts");
    int pipes[2];
    pipe(pipes);
    char byte;
    pid = TRACEE(struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}; sigaction(SIGUSR1, &action, NULL);
                 action.sa_flags = 0; sigaction(SIGUSR2, &action, NULL); report("read", read(pipes[0], &byte, 1));
                 report("read", read(pipes[0], &byte, 1)));
    P(PTRACE_CONT, pid, 0, 0);
    await_state(pid, 'S');
    kill(pid, SIGUSR1);
    stopped("interrupted", pid);
    struct user_regs_struct regs;
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("call %ld rax %ld", (long)regs.orig_rax, (long)regs.rax);
    P(PTRACE_CONT, pid, 0, SIGUSR1); /* begins anew */
    await_state(pid, 'S');
    kill(pid, SIGUSR2);
    stopped("interrupted", pid);
    P(PTRACE_CONT, pid, 0, 0); /* begins anew as well */
    await_state(pid, 'S');
    kill(pid, SIGUSR2);
    stopped("interrupted", pid);
    P(PTRACE_CONT, pid, 0, SIGUSR2); /* ends */
    await_state(pid, 'S');
    write(pipes[1], "x", 1);
    stopped("end", pid);

    SECTION("faults");
    pid = TRACEE(signal(SIGSEGV, SIG_IGN); *(volatile int *)16 = 1);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("fault", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("%s code %d addr %p", signame(si.si_signo), si.si_code, si.si_addr);
    P(PTRACE_CONT, pid, 0, 0); /* faults again */
    stopped("fault", pid);
    P(PTRACE_CONT, pid, 0, SIGSEGV);
    stopped("end", pid);
    pid = TRACEE(__asm__ volatile("int3; nop"); say("behind the breakpoint"); __asm__ volatile("ud2"));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("int3", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("ud2", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("%s code %d addr %d", signame(si.si_signo), si.si_code, (unsigned long)si.si_addr == regs.rip);
    RES(P(PTRACE_KILL, pid, 0, 0));
    stopped("end", pid);

    SECTION("SIGKILL meets a stopped task");
    pid = TRACEE();
    kill(pid, SIGKILL);
    stopped("end", pid);
    pid = TRACEE();
    P(PTRACE_CONT, pid, 0, SIGKILL);
    stopped("end", pid);
}

static void group_stops(void)
{
    siginfo_t si;
    SECTION("group stops");
    pid_t pid = TRACEE(raise(SIGTSTP); say("continued"); catch(SIGCONT); raise(SIGSTOP); NUM(got[SIGCONT]));
    setpgid(pid, pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("signal", pid);
    RES(P(PTRACE_GETSIGINFO, pid, 0, &si));
    P(PTRACE_CONT, pid, 0, SIGTSTP);
    stopped("group", pid);
    RES(P(PTRACE_GETSIGINFO, pid, 0, &si));
    RES(P(PTRACE_GETSIGMASK, pid, 8, &si));
    say("state %c", state_of(pid));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("runs on, next signal", pid);
    P(PTRACE_CONT, pid, 0, SIGSTOP);
    stopped("group", pid);
    kill(pid, SIGCONT);
    sleep_ms(20);
    RES(waitpid(pid, &status, WNOHANG | __WALL));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("signal", pid);
    P(PTRACE_CONT, pid, 0, SIGCONT);
    stopped("end", pid);

    SECTION("a seized task");
    pid = fork();
    if (pid == 0) {
        catch(SIGCONT);
        for (;;)
            pause();
    }
    await_state(pid, 'S');
    RES(P(PTRACE_SEIZE, pid, 0, 0));
    RES(waitpid(pid, &status, WNOHANG | __WALL));
    say("state %c", state_of(pid));
    P(PTRACE_INTERRUPT, pid, 0, 0);
    stopped("interrupted", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("%s code %#x pid %d", signame(si.si_signo), si.si_code, si.si_pid == pid);
    P(PTRACE_CONT, pid, 0, 0);
    await_state(pid, 'S');
    kill(pid, SIGSTOP);
    stopped("signal", pid);
    P(PTRACE_CONT, pid, 0, SIGSTOP);
    stopped("group", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("%s code %#x", signame(si.si_signo), si.si_code);
    RES(P(PTRACE_LISTEN, pid, 0, 0));
    RES(P(PTRACE_CONT, pid, 0, 0));
    RES(P(PTRACE_GETSIGINFO, pid, 0, &si));
    RES(waitpid(pid, &status, WNOHANG | __WALL));
    kill(pid, SIGCONT);
    stopped("listening", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("signal", pid);
    P(PTRACE_CONT, pid, 0, SIGCONT);
    await_state(pid, 'S');
    kill(pid, SIGSTOP);
    stopped("signal", pid);
    P(PTRACE_CONT, pid, 0, SIGSTOP);
    stopped("group", pid);
    RES(P(PTRACE_LISTEN, pid, 0, 0));
    RES(P(PTRACE_INTERRUPT, pid, 0, 0));
    stopped("interrupted while it listens", pid);
    RES(P(PTRACE_DETACH, pid, 0, 0));
    await_state(pid, 'T');
    kill(pid, SIGCONT);
    await_state(pid, 'S');
    kill(pid, SIGKILL);
    reap("end", pid);

    SECTION("attached while it is stopped");
    pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    await_state(pid, 'T');
    waitpid(pid, &status, WUNTRACED);
    RES(P(PTRACE_ATTACH, pid, 0, 0));
    stopped("attached", pid);
    RES(P(PTRACE_DETACH, pid, 0, SIGCONT));
    kill(pid, SIGCONT);
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status))
        ;
    show_status("end", status);

    SECTION("attach and detach");
    pid = fork();
    if (pid == 0) {
        catch(SIGUSR1);
        pause();
        NUM(got[SIGUSR1]);
        _exit(0);
    }
    await_state(pid, 'S');
    RES(P(PTRACE_ATTACH, pid, 0, 0));
    stopped("attached", pid);
    char path[64], line[256], *at;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file))
        if ((at = strstr(line, "State:")) || (at = strstr(line, "TracerPid:")))
            say("%s %d", strchr(line, 't') && line[0] == 'S' ? strchr(line, '(') : "tracer", line[0] == 'T' ? atoi(line + 10) == getpid() : 0);
    fclose(file);
    P(PTRACE_DETACH, pid, 0, SIGUSR1);
    reap("end", pid);
}

static void events(const char *self)
{
    siginfo_t si;
    SECTION("fork, vfork, clone");
    long all = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC;
    pid_t pid = TRACEE(pid_t a = fork(); if (!a) _exit(3); waitpid(a, NULL, 0); a = vfork(); if (!a) _exit(4); waitpid(a, NULL, 0));
    RES(P(PTRACE_SETOPTIONS, pid, 0, all));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("fork", pid);
    pid_t child = (pid_t)message(pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("%s code %#x", signame(si.si_signo), si.si_code);
    struct user_regs_struct regs;
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("rax %ld", (long)regs.rax);
    stopped("child", child);
    P(PTRACE_GETREGS, child, 0, &regs);
    say("rax %ld same call %d", (long)regs.rax, regs.orig_rax == SYS_clone || regs.orig_rax == SYS_fork);
    P(PTRACE_CONT, child, 0, 0);
    stopped("child exits", child);
    HEX(message(child));
    P(PTRACE_CONT, child, 0, 0);
    stopped("child", child);
    RES(P(PTRACE_CONT, child, 0, 0));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("next", pid);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGCHLD) {
        P(PTRACE_CONT, pid, 0, 0);
        stopped("next", pid);
    }
    child = (pid_t)message(pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("child", child);
    P(PTRACE_CONT, child, 0, 0);
    stopped("child exits", child);
    HEX(message(child));
    P(PTRACE_CONT, child, 0, 0);
    stopped("child", child);
    stopped("next", pid);
    IS(message(pid) == (unsigned long)child);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("next", pid);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGCHLD) {
        P(PTRACE_CONT, pid, 0, 0);
        stopped("next", pid);
    }
    HEX(message(pid));
    kill(pid, SIGKILL);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("exec");
    pid = TRACEE(execl(self, self, "child", NULL));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("SIGTRAP", pid);
    RES(P(PTRACE_GETSIGINFO, pid, 0, &si));
    say("code %d pid %d", si.si_code, si.si_pid == pid);
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("rax %ld rbx %ld rbp %ld", (long)regs.rax, (long)regs.rbx, (long)regs.rbp);
    P(PTRACE_SETOPTIONS, pid, 0, all | PTRACE_O_TRACESYSGOOD);
    struct user_fpregs_struct fp;
    P(PTRACE_GETFPREGS, pid, 0, &fp);
    say("cwd %#x mxcsr %#x", fp.cwd, fp.mxcsr);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("exit", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);
    pid = TRACEE(execl(self, self, "child", NULL));
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
    do {
        P(PTRACE_SYSCALL, pid, 0, 0);
        next(pid, 0);
        P(PTRACE_GETREGS, pid, 0, &regs);
    } while (regs.orig_rax != SYS_execve);
    say("rax %ld", (long)regs.rax);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("event", pid);
    IS(message(pid) == (unsigned long)pid);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("exit of the call", pid);
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("call %ld rax %ld", (long)regs.orig_rax, (long)regs.rax);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("the end by a signal");
    pid = TRACEE(pause());
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT);
    P(PTRACE_CONT, pid, 0, 0);
    await_state(pid, 'S');
    kill(pid, SIGKILL);
    stopped("event", pid);
    HEX(message(pid));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("waitid");
    pid = TRACEE(raise(SIGUSR1));
    P(PTRACE_CONT, pid, 0, 0);
    memset(&si, 0, sizeof si);
    RES(waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOWAIT));
    say("%s code %d status %d pid %d", signame(si.si_signo), si.si_code, si.si_status, si.si_pid == pid);
    RES(waitid(P_PID, (id_t)pid, &si, WEXITED));
    say("code %d status %d", si.si_code, si.si_status);
    RES(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG));
    RES(waitpid(pid, &status, WNOHANG));
    P(PTRACE_CONT, pid, 0, 0);
    RES(waitid(P_PID, (id_t)pid, &si, WEXITED));
    say("code %d status %d", si.si_code, si.si_status);

    SECTION("SIGCHLD to the tracer");
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    pid = TRACEE(raise(SIGUSR1));
    struct timespec none = {0, 0};
    while (sigtimedwait(&set, &si, &none) > 0)
        ;
    P(PTRACE_CONT, pid, 0, 0);
    RES(sigwaitinfo(&set, &si));
    say("code %d status %d pid %d", si.si_code, si.si_status, si.si_pid == pid);
    P(PTRACE_CONT, pid, 0, 0);
    RES(sigwaitinfo(&set, &si));
    say("code %d status %d", si.si_code, si.si_status);
    stopped("end", pid);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static void filter(int nr, unsigned action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void seccomp(void)
{
    struct __ptrace_syscall_info info;
    struct user_regs_struct regs;
    siginfo_t si;
    SECTION("seccomp filters");
    pid_t pid = TRACEE(filter(SYS_getppid, SECCOMP_RET_TRACE | 77); report("without a tracer's option", syscall(SYS_getppid));
                       raise(SIGSTOP); report("let through", syscall(SYS_getppid) > 0); report("left out", syscall(SYS_getppid));
                       report("another", syscall(SYS_getppid, -1)));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("stop", pid);
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("event", pid);
    NUM(message(pid));
    memset(&info, 0, sizeof info);
    RES(P(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info));
    say("op %d nr %ld data %d", info.op, (long)info.seccomp.nr, (int)info.seccomp.ret_data);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("exit of the call", pid);
    do {
        P(PTRACE_SYSCALL, pid, 0, 0);
        next(pid, 0);
        P(PTRACE_GETREGS, pid, 0, &regs);
    } while (regs.orig_rax != SYS_getppid);
    show_status("entry", status);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("event behind the entry", pid);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1l);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), 33);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("left out", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("event", pid);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), SYS_close);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    pid = TRACEE(catch(SIGSYS); filter(SYS_getppid, SECCOMP_RET_TRAP | 5); getppid(); NUM(got[SIGSYS]));
    do {
        P(PTRACE_SYSCALL, pid, 0, 0);
        next(pid, 0);
        P(PTRACE_GETREGS, pid, 0, &regs);
    } while (regs.orig_rax != SYS_getppid);
    say("rax %ld", (long)regs.rax);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("exit of the trapped call", pid);
    P(PTRACE_GETREGS, pid, 0, &regs);
    say("rax %ld orig_rax %ld", (long)regs.rax, (long)regs.orig_rax);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("SIGSYS", pid);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("code %d errno %d call %d", si.si_code, si.si_errno, si.si_syscall);
    P(PTRACE_CONT, pid, 0, SIGSYS);
    stopped("end", pid);
    pid = TRACEE(filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS); getppid());
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("killed by a filter", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);
}

static void *thread(void *argument)
{
    syscall(SYS_getppid);
    return argument;
}

static void *exec_thread(void *path)
{
    execl(path, path, "child", NULL);
    return NULL;
}

static volatile int spinning = 1;
static void *spinner(void *argument)
{
    while (spinning)
        ;
    return argument;
}

static void threads(const char *self)
{
    SECTION("threads");
    pid_t pid = TRACEE(pthread_t t; for (int i = 0; i < 3; i++) { pthread_create(&t, NULL, thread, NULL); pthread_join(t, NULL); });
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXIT);
    P(PTRACE_CONT, pid, 0, 0);
    for (int i = 0; i < 3; i++) {
        stopped("clone", pid);
        pid_t tid = (pid_t)message(pid);
        stopped("thread", tid);
        P(PTRACE_CONT, pid, 0, 0);
        P(PTRACE_CONT, tid, 0, 0);
        stopped("thread exits", tid);
        P(PTRACE_CONT, tid, 0, 0);
        stopped("thread", tid);
    }
    stopped("leader exits", pid);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("threads of a running process");
    pid = fork();
    if (pid == 0) {
        pthread_t t[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&t[i], NULL, spinner, NULL);
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        _exit(0);
    }
    await_state(pid, 'S');
    char path[64];
    pid_t tids[8];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    for (int tries = 0; tries < 1000 && count < 4; tries++) {
        count = 0;
        for (pid_t tid = pid; tid < pid + 10; tid++) {
            char name[96];
            snprintf(name, sizeof name, "%s/%d", path, tid);
            if (access(name, F_OK) == 0)
                tids[count++] = tid;
        }
        sleep_ms(1);
    }
    NUM(count);
    for (int i = 0; i < count; i++)
        IS(P(PTRACE_SEIZE, tids[i], 0, PTRACE_O_TRACECLONE) == 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++)
            P(PTRACE_INTERRUPT, tids[i], 0, 0);
        for (int i = 0; i < count; i++)
            stopped("thread", tids[i]);
        for (int i = 0; i < count; i++)
            P(PTRACE_CONT, tids[i], 0, 0);
    }
    kill(pid, SIGSTOP); /* one takes it, all stop */
    pid_t one = next(-1, 0);
    show_status("one", status);
    P(PTRACE_CONT, one, 0, SIGSTOP);
    for (int i = 0; i < count; i++)
        stopped("group", tids[i]);
    for (int i = 0; i < count; i++)
        P(PTRACE_LISTEN, tids[i], 0, 0);
    kill(pid, SIGCONT);
    for (int i = 0; i < count; i++)
        stopped("continued", tids[i]);
    for (int i = 0; i < count; i++)
        P(PTRACE_CONT, tids[i], 0, 0);
    one = next(-1, 0);
    show_status("one", status);
    P(PTRACE_POKEDATA, one, &spinning, 0);
    P(PTRACE_CONT, one, 0, 0);
    for (int i = 1; i < count; i++)
        stopped("ended", tids[i]);
    stopped("end", pid);

    SECTION("exec by a thread");
    pid = TRACEE(pthread_t t; pthread_create(&t, NULL, exec_thread, (void *)self); pause());
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("clone", pid);
    pid_t tid = (pid_t)message(pid);
    stopped("thread", tid);
    P(PTRACE_CONT, pid, 0, 0);
    await_state(pid, 'S');
    P(PTRACE_CONT, tid, 0, 0);
    stopped("exec", pid);
    IS(message(pid) == (unsigned long)tid);
    RES(P(PTRACE_CONT, tid, 0, 0));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);
}

static void ends(void)
{
    SECTION("the tracer ends");
    int pipes[2];
    char byte;
    pipe(pipes);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t victim = fork();
    if (victim == 0) {
        catch(SIGUSR1);
        for (;;)
            pause();
    }
    for (int kill_it = 0; kill_it < 2; kill_it++) {
        await_state(victim, 'S');
        pid_t tracer = fork();
        if (tracer == 0) {
            RES(P(PTRACE_SEIZE, victim, 0, kill_it ? 1l << 20 : 0l)); /* PTRACE_O_EXITKILL */
            P(PTRACE_INTERRUPT, victim, 0, 0);
            next(victim, 0);
            write(pipes[1], "x", 1);
            pause();
        }
        read(pipes[0], &byte, 1);
        say("state %c", state_of(victim));
        RES(waitpid(victim, &status, WNOHANG | WUNTRACED));
        kill(tracer, SIGKILL);
        reap("tracer", tracer);
    }
    reap("victim", victim);

    SECTION("a tracer that is not the parent");
    victim = fork();
    if (victim == 0) {
        read(pipes[0], &byte, 1);
        _exit(6);
    }
    pid_t tracer = fork();
    if (tracer == 0) {
        RES(P(PTRACE_ATTACH, victim, 0, 0));
        stopped("attached", victim);
        P(PTRACE_CONT, victim, 0, 0);
        write(pipes[1], "x", 1);
        siginfo_t si;
        waitid(P_PID, (id_t)victim, &si, WEXITED | WNOWAIT);
        say("state %c", state_of(victim));
        sleep_ms(200); /* the parent must not see it yet */
        stopped("ended", victim);
        RES(waitpid(victim, &status, __WALL));
        _exit(0);
    }
    await_state(victim, 'Z');
    if (waitpid(victim, &status, WNOHANG) != 0)
        say("seen by the parent");
    reap("tracer", tracer);
    reap("victim", victim);

    SECTION("many tracees");
    pid_t pids[40];
    int ended = 0, stops = 0;
    for (int i = 0; i < 40; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            ptrace(PTRACE_TRACEME, 0, 0, 0);
            catch(SIGUSR1);
            raise(SIGSTOP);
            for (int j = 0; j < 10; j++) {
                syscall(SYS_getppid);
                raise(SIGUSR1);
            }
            _exit(got[SIGUSR1]);
        }
    }
    int total = 0;
    while (ended < 40) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            break;
        if (WIFEXITED(status)) {
            ended++;
            total += WEXITSTATUS(status);
            continue;
        }
        int number = WSTOPSIG(status);
        if (number == SIGUSR1)
            stops++;
        P(number == SIGUSR1 ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, number == SIGUSR1 ? (long)number : 0l);
    }
    NUM(ended);
    NUM(stops);
    NUM(total);

    SECTION("tracees die while they are looked at");
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            ptrace(PTRACE_TRACEME, 0, 0, 0);
            raise(SIGSTOP);
            for (;;)
                syscall(SYS_getppid);
        }
        waitpid(pid, &status, 0);
        pid_t killer = fork();
        if (killer == 0) {
            for (volatile int spin = 0; spin < i * 3000; spin++)
                ;
            kill(pid, SIGKILL);
            _exit(0);
        }
        struct user_regs_struct regs;
        struct user_fpregs_struct fp;
        for (;;) {
            long a = P(PTRACE_SYSCALL, pid, 0, 0);
            if (waitpid(pid, &status, __WALL) == pid && !WIFSTOPPED(status))
                break;
            long b = P(PTRACE_GETREGS, pid, 0, &regs), c = P(PTRACE_GETFPREGS, pid, 0, &fp);
            long d = P(PTRACE_POKETEXT, pid, catch, 0x9090909090909090);
            if ((a | b | c | d) < 0 && errno != ESRCH)
                say("%ld %ld %ld %ld: %s", a, b, c, d, errname(errno));
        }
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            show_status("odd end", status);
        waitpid(killer, &status, 0);
    }
    say("done");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        say("the child runs");
        return 0;
    }
    GUARD(90);
    signals();
    group_stops();
    events(argv[0]);
    seccomp();
    threads(argv[0]);
    ends();
    return 0;
}
