/* seccomp_unotify(2): a thread's calls are answered by another one that has the listener. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#define NR offsetof(struct seccomp_data, nr)
#define FILTER(number, action)                                                                                 \
    {                                                                                                          \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),             \
            BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),                   \
    }

static int listener, calls;
static long results[10], written; /* told at the end: the threads' lines would come in any order */
static pthread_barrier_t barrier;
static pid_t target;

static long install(int number, unsigned action, unsigned flags)
{
    struct sock_filter code[] = FILTER(number, action);
    struct sock_fprog program = { 4, code };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static const char *answer(long value)
{
    static char text[32];
    snprintf(text, sizeof text, "%ld", value);
    return value < 0 ? errname((int)-value) : text;
}

static void *supervised(void *arg)
{
    static const char text[] = "from the thread\n";
    int fds[2], fd;
    (void)arg;
    target = (pid_t)syscall(SYS_gettid);
    listener = (int)install(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    report("a second listener", install(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER));
    report("an ordinary filter", install(SYS_times, SECCOMP_RET_USER_NOTIF, 0));
    report("with no listener", syscall(SYS_times, NULL));
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < calls; i++) {
        long result = syscall(SYS_getppid, 1, 2, 3, 4, 5, 6L << 40);
        results[i] = result < 0 ? -errno : result;
        if (i == 4 && result >= 0) { /* a descriptor that was added */
            written = write((int)result, text, sizeof text - 1) + 1000 * fcntl((int)result, F_GETFD);
            close((int)result);
        }
    }
    if (!pipe(fds)) {
        fd = (int)syscall(SYS_getppid);
        results[calls] = fd;
        close(fd), close(fds[0]), close(fds[1]);
    }
    results[calls + 1] = syscall(SYS_getppid) < 0 ? -errno : 0;
    return NULL;
}

static void on_usr1(int signo)
{
    (void)signo;
}

static struct seccomp_notif receive(void)
{
    struct seccomp_notif n;
    memset(&n, 0, sizeof n);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n))
        say("receive: %s", errname(errno));
    return n;
}

static long reply(uint64_t id, long value, int error, unsigned flags)
{
    struct seccomp_notif_resp r = { id, value, error, flags };
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static const char *bits(void)
{
    static char text[64];
    struct pollfd p = { listener, POLLIN | POLLOUT, 0 };
    poll(&p, 1, 0);
    snprintf(text, sizeof text, "%s%s%s", p.revents & POLLIN ? "in " : "", p.revents & POLLOUT ? "out " : "", p.revents & POLLHUP ? "hup" : "");
    return text;
}

static void wait_readable(void)
{
    struct pollfd p = { listener, POLLIN, 0 };
    poll(&p, 1, 10000);
}

int main(void)
{
    pthread_t thread;
    struct seccomp_notif n;
    struct sigaction action = { .sa_handler = on_usr1 };
    char garbage[80] = "x";
    uint64_t id;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGUSR1, &action, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    pthread_barrier_init(&barrier, NULL, 2);
    calls = 7;
    pthread_create(&thread, NULL, supervised, NULL);
    pthread_barrier_wait(&barrier);
    say("cloexec %d", fcntl(listener, F_GETFD));

    wait_readable();
    say("asked: %s", bits());
    report("garbage", ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, garbage));
    report("NULL", ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, NULL));
    n = receive();
    say("received: %s", bits());
    say("nr %d arch %x pid %d flags %u args %llx %llx %llx", n.data.nr, n.data.arch, n.pid == (unsigned)target, n.flags, n.data.args[0], n.data.args[2], n.data.args[5]);
    id = n.id;
    report("valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
    id = n.id + 5;
    report("not valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
    report("bad flags", reply(n.id, 0, 0, 8));
    report("continue with a value", reply(n.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    report("another id", reply(n.id + 5, 1, 0, 0));
    report("reply", reply(n.id, 4711, 0, 0));

    n = receive();
    report("error", reply(n.id, 0, -EXDEV, 0));
    say("once more: %d", reply(n.id, 0, -EXDEV, 0) < 0 && (errno == ENOENT || errno == EINPROGRESS));
    n = receive();
    report("error and value", reply(n.id, 7, -ENOLINK, 0));

    n = receive(); /* restarted after the handler */
    id = n.id;
    pthread_kill(thread, SIGUSR1);
    usleep(50000);
    wait_readable();
    report("old id", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
    report("reply to the old", reply(id, 1, 0, 0));
    say("interrupted: %s", bits());

    struct seccomp_notif_addfd add = { 0 };
    int fds[2], target_fds[2];
    char text[64] = "";
    if (pipe(fds) || pipe(target_fds))
        return 1;
    /* the interrupted call was not restarted (no SA_RESTART), so this is the next */
    n = receive();
    add.id = n.id, add.srcfd = (unsigned)fds[1], add.newfd_flags = O_CLOEXEC;
    add.flags = 8;
    report("addfd: flags", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
    add.flags = 0, add.newfd = 5;
    report("addfd: number without SETFD", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
    add.newfd = 0, add.srcfd = 999;
    report("addfd: no such descriptor", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
    add.srcfd = (unsigned)fds[1], add.id = n.id + 3;
    report("addfd: no such call", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
    add.id = n.id;
    int added = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    say("added %d", added > fds[1]);
    report("reply with it", reply(n.id, added, 0, 0));
    report("read", read(fds[0], text, sizeof text));
    say("%s", text);

    n = receive();
    report("to be continued", reply(n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    n = receive();
    report("answer", reply(n.id, 0, 0, 0));

    n = receive();
    memset(&add, 0, sizeof add);
    add.id = n.id, add.srcfd = (unsigned)fds[0], add.newfd = 200, add.flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND;
    report("set and send", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) == 200 ? 0 : -1);
    wait_readable();
    close(listener);
    pthread_join(thread, NULL);
    results[5] = results[5] == getppid();
    results[4] = results[4] > 2;
    for (int i = 0; i < calls + 2; i++)
        say("call %d: %s", i, answer(results[i]));
    say("written %ld", written);

    /* the end of all that are supervised */
    calls = 0;
    int status;
    pid_t child = fork();
    if (!child) {
        listener = (int)install(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        pid_t grandchild = fork();
        if (!grandchild) {
            syscall(SYS_getppid);
            say("not reached");
            _exit(1);
        }
        wait_readable();
        kill(grandchild, SIGKILL);
        waitpid(grandchild, &status, 0);
        say("killed: %s, %s", signame(WTERMSIG(status)), bits());
        _exit(0);
    }
    waitpid(child, &status, 0);
    say("child %x", status);
    report("no listener", ioctl(0, SECCOMP_IOCTL_NOTIF_RECV, garbage) == -1 ? 0 : 1);
    return 0;
}
