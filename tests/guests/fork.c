/* fork, vfork, clone: what the child shares and what it gets a copy of. */
#include "check.h"
#include <linux/sched.h>
#include <sys/prctl.h>

static int global = 1;
static char stack[65536] __attribute__((aligned(16)));

static int clone_body(void *argument)
{
    global = 42;
    close((long)argument);
    return 7;
}

static long raw_clone3(struct clone_args *args, size_t size)
{
    return syscall(SYS_clone3, args, size);
}

int main(void)
{
    int status, pair[2];
    pid_t pid, parent = getpid();
    GUARD(60);

    SECTION("fork");
    int local = 5;
    CHILD("memory is copied", global = 2; local = 6; NUM(global); NUM(local));
    NUM(global);
    NUM(local);
    CHILD("parent", IS(getppid() == parent));
    CHILD("pids differ", IS(getpid() != parent); IS(getpid() == syscall(SYS_gettid)));
    CHILD("exit code 256 wraps", _exit(256 + 3));
    CHILD("exit code -1", _exit(-1));
    CHILD("same group and session", IS(getpgrp() == getpgid(parent)); IS(getsid(0) == getsid(parent)));
    CHILD("grandchild", CHILD("inner", _exit(9)); _exit(8));
    alarm(1000);
    CHILD("no alarm in the child", NUM(alarm(0)));
    IS(alarm(60) > 900);
    umask(077);
    CHILD("umask is inherited", OCT(umask(0)));
    OCT(umask(022));

    SECTION("address space after fork");
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD("writes", strcpy(shared, "seen"); strcpy(private, "unseen"));
    SHOW(shared, 5);
    SHOW(private, 5);
    CHILD("unmap in the child", munmap(shared, 4096));
    SHOW(shared, 5);

    SECTION("many children");
    pid_t children[30];
    for (int i = 0; i < 30; i++)
        if ((children[i] = fork()) == 0)
            _exit(i);
    int sum = 0;
    for (int i = 0; i < 30; i++) {
        waitpid(children[i], &status, 0);
        sum += WEXITSTATUS(status);
    }
    NUM(sum);
    for (int i = 0; i < 50; i++) {
        pid = fork();
        if (pid == 0)
            _exit(1);
        waitpid(pid, &status, 0);
        sum += WEXITSTATUS(status);
    }
    NUM(sum);
    RES(waitpid(-1, &status, 0));

    SECTION("vfork");
    global = 1;
    pid = vfork();
    if (pid == 0) {
        global = 3;
        _exit(4);
    }
    NUM(global);
    reap("vfork child", pid);
    pid = vfork();
    if (pid == 0) {
        execl("/none", "none", NULL);
        _exit(errno == ENOENT ? 127 : 1);
    }
    reap("vfork and failed exec", pid);

    SECTION("clone");
    pipe(pair);
    global = 1;
    pid = clone(clone_body, stack + sizeof stack, SIGCHLD, (void *)(long)pair[0]);
    reap("plain", pid);
    NUM(global);
    IS(fcntl(pair[0], F_GETFD) == 0);
    pid = clone(clone_body, stack + sizeof stack, CLONE_VM | SIGCHLD, (void *)(long)pair[0]);
    reap("CLONE_VM", pid);
    NUM(global);
    IS(fcntl(pair[0], F_GETFD) == 0);
    global = 1;
    pid = clone(clone_body, stack + sizeof stack, CLONE_FILES | SIGCHLD, (void *)(long)pair[0]);
    reap("CLONE_FILES", pid);
    NUM(global);
    RES(fcntl(pair[0], F_GETFD));
    global = 1;
    pid = clone(clone_body, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)-1L);
    NUM(global);
    reap("CLONE_VM|CLONE_VFORK", pid);
    pid_t child_tid = 0, parent_tid = 0;
    pid = syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, 0, &parent_tid, &child_tid, 0);
    if (pid == 0)
        _exit((child_tid == getpid()) | (parent_tid == 0) << 1);
    IS(parent_tid == pid);
    IS(child_tid == 0);
    reap("set tid", pid);
    RES(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0));
    RES(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
    RES(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));

    SECTION("exit signal");
    pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0)
        _exit(5);
    RES(waitpid(pid, &status, 0));
    IS(waitpid(pid, &status, __WCLONE) == pid);
    show_status("no exit signal", status);
    signal(SIGUSR2, SIG_IGN);
    pid = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
    if (pid == 0)
        usleep(20000), _exit(6);
    RES(waitpid(-1, &status, WNOHANG));
    IS(waitpid(-1, &status, __WALL) == pid);
    show_status("exit signal USR2", status);

    SECTION("clone3");
    struct clone_args args = {.exit_signal = SIGCHLD};
    pid = raw_clone3(&args, sizeof args);
    if (pid == 0)
        _exit(11);
    reap("clone3", pid);
    RES(raw_clone3(&args, 8));
    RES(raw_clone3(&args, 100000));
    RES(raw_clone3((void *)8, sizeof args));
    memset(&args, 0, sizeof args);
    args.exit_signal = 1000;
    RES(raw_clone3(&args, sizeof args));
    args.exit_signal = SIGCHLD;
    args.stack = (long)stack;
    RES(raw_clone3(&args, sizeof args));
    args.stack = 0;
    args.stack_size = 4096;
    RES(raw_clone3(&args, sizeof args));
    args.stack_size = 0;
    args.flags = CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    args.parent_tid = (long)&parent_tid;
    pid = raw_clone3(&args, sizeof args);
    if (pid == 0)
        _exit(12);
    IS(parent_tid == pid);
    reap("clone3 with parent tid", pid);
    args.flags = CLONE_SIGHAND | CLONE_CLEAR_SIGHAND;
    RES(raw_clone3(&args, sizeof args));
    signal(SIGUSR1, (void (*)(int))clone_body);
    args.flags = CLONE_CLEAR_SIGHAND;
    pid = raw_clone3(&args, sizeof args);
    if (pid == 0) {
        struct sigaction action;
        sigaction(SIGUSR1, NULL, &action);
        _exit(action.sa_handler == SIG_DFL ? 0 : 1);
    }
    reap("CLONE_CLEAR_SIGHAND", pid);

    SECTION("CLONE_PARENT");
    pid = fork();
    if (pid == 0) {
        pid_t sibling = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (sibling == 0)
            _exit(getppid() == parent ? 21 : 22);
        _exit(waitpid(sibling, NULL, 0) < 0 && errno == ECHILD ? 20 : 19);
    }
    reap("child", pid);
    IS(waitpid(-1, &status, 0) > 0);
    show_status("sibling made by the child", status);

    SECTION("parent death");
    pipe(pair);
    pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pause();
        }
        sleep_ms(20);
        _exit(0);
    }
    close(pair[1]);
    reap("middle", pid);
    char byte;
    RES(read(pair[0], &byte, 1));
    return 0;
}
