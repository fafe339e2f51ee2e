/* System V message queues. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/msg.h>

#define KEY 0x5356
#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

static int id;
static struct { long type; char text[9000]; } buffer;

static long post(long type, const char *text, int flags)
{
    buffer.type = type;
    strcpy(buffer.text, text);
    return msgsnd(id, &buffer, strlen(text), flags);
}

static void take(long type, size_t size, int flags)
{
    memset(&buffer, 0, sizeof buffer);
    errno = 0;
    long n = msgrcv(id, &buffer, size, type, flags);
    say("%ld %s: %ld %.20s", n, n < 0 ? errname(errno) : "", buffer.type, buffer.text);
}

static struct msqid_ds stat_of(int number)
{
    struct msqid_ds ds;
    memset(&ds, 0xee, sizeof ds);
    RES(msgctl(number, IPC_STAT, &ds));
    return ds;
}

static pid_t receiver(long type, size_t size, int flags)
{
    pid_t pid = fork();
    if (!pid) {
        long n = msgrcv(id, &buffer, size, type, flags);
        _exit(n < 0 ? errno : 100 + buffer.text[0] - 'a');
    }
    usleep(50000);
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void ignore(int number) { (void)number; }

int main(void)
{
    struct msqid_ds ds;
    pid_t a, b, c;

    SECTION("msgget");
    RES(msgget(KEY, 0600));
    IS((id = msgget(KEY, IPC_CREAT | IPC_EXCL | 0640)) >= 0);
    RES(msgget(KEY, IPC_CREAT | IPC_EXCL | 0640));
    IS(msgget(KEY, 0) == id && msgget(KEY, IPC_CREAT) == id);
    ds = stat_of(id);
    OCT(ds.msg_perm.mode);
    HEX(ds.msg_perm.__key);
    NUM(ds.msg_qnum + ds.msg_cbytes);
    NUM(ds.msg_qbytes);
    IS(!ds.msg_stime && !ds.msg_rtime && ds.msg_ctime && !ds.msg_lspid && !ds.msg_lrpid);

    SECTION("order");
    RES(post(3, "three", 0));
    RES(post(1, "one", 0));
    RES(post(2, "two", 0));
    RES(post(1, "uno", 0));
    RES(post(5, "", 0));
    ds = stat_of(id);
    NUM(ds.msg_qnum * 100 + ds.msg_cbytes);
    IS(ds.msg_lspid == getpid() && ds.msg_stime);
    take(0, 100, MSG_COPY | IPC_NOWAIT);
    take(2, 100, MSG_COPY | IPC_NOWAIT);
    take(9, 100, MSG_COPY | IPC_NOWAIT);
    take(0, 100, MSG_COPY);
    take(0, 100, MSG_COPY | IPC_NOWAIT | MSG_EXCEPT);
    take(-2, 100, 0);
    take(-2, 100, 0);
    take(3, 100, MSG_EXCEPT);
    take(4, 100, IPC_NOWAIT);
    take(-2, 100, IPC_NOWAIT);
    take(3, 2, 0);
    take(3, 2, MSG_NOERROR);
    take(0, 0, 0);
    take(0, 100, IPC_NOWAIT);
    take(LONG_MIN, 100, IPC_NOWAIT);
    ds = stat_of(id);
    NUM(ds.msg_qnum * 100 + ds.msg_cbytes);
    IS(ds.msg_lrpid == getpid() && ds.msg_rtime);

    SECTION("errors");
    RES(post(0, "x", 0));
    RES(post(-1, "x", 0));
    RES(msgsnd(id, &buffer, 8193, 0));
    RES(msgsnd(id, &buffer, -1, 0));
    RES(msgsnd(id, NULL, 1, 0));
    RES(msgsnd(-1, &buffer, 1, 0));
    buffer.type = 1;
    RES(msgsnd(-1, &buffer, 1, 0));
    RES(msgsnd(id + 1000, &buffer, 1, 0));
    RES(msgrcv(id, &buffer, -1, 0, 0));
    RES(msgrcv(-1, &buffer, 1, 0, 0));
    RES(msgrcv(id + 1000, &buffer, 1, 0, 0));
    RES(post(1, "lost", 0));
    RES(msgrcv(id, (void *)8, 10, 0, 0));
    take(0, 100, IPC_NOWAIT);

    SECTION("full");
    buffer.type = 1;
    RES(msgsnd(id, &buffer, 8192, 0));
    RES(msgsnd(id, &buffer, 8192, 0));
    RES(msgsnd(id, &buffer, 1, IPC_NOWAIT));
    RES(msgsnd(id, &buffer, 0, IPC_NOWAIT));
    a = fork();
    if (!a)
        _exit(post(7, "late", 0) ? errno : 0);
    usleep(50000);
    NUM(waitpid(a, NULL, WNOHANG));
    RES(msgrcv(id, &buffer, 9000, 0, 0));
    NUM(end_of(a));
    take(7, 100, 0);
    NUM(stat_of(id).msg_qnum);
    RES(msgrcv(id, &buffer, 9000, 0, 0));
    RES(msgrcv(id, &buffer, 9000, 0, 0));

    SECTION("waiting");
    a = receiver(2, 100, 0);
    b = receiver(0, 100, 0);
    c = receiver(-3, 100, 0);
    RES(post(9, "i", 0));
    NUM(end_of(b));
    RES(post(3, "j", 0));
    NUM(end_of(c));
    RES(post(2, "k", 0));
    NUM(end_of(a));
    a = receiver(0, 1, 0);
    b = receiver(0, 100, 0);
    RES(post(1, "long", 0));
    say("%s", errname(end_of(a)));
    NUM(end_of(b));
    a = receiver(0, 100, 0);
    kill(a, SIGTERM);
    NUM(end_of(a));
    signal(SIGALRM, ignore);
    ualarm(20000, 0);
    take(0, 100, 0);
    NUM(stat_of(id).msg_qnum);

    SECTION("control");
    struct msginfo info;
    IS(msgctl(0, IPC_INFO, (void *)&info) >= 0);
    NUM(info.msgmax);
    NUM(info.msgmnb);
    NUM(info.msgmni);
    NUM(info.msgpool);
    NUM(info.msgseg);
    IS(msgctl(0, MSG_INFO, (void *)&info) >= 0);
    ds = stat_of(id);
    ds.msg_perm.mode = 0123604;
    ds.msg_perm.uid = 7;
    ds.msg_qbytes = 10;
    RES(msgctl(id, IPC_SET, &ds));
    RES(msgctl(id, IPC_SET, (void *)8));
    ds = stat_of(id);
    OCT(ds.msg_perm.mode);
    NUM(ds.msg_perm.uid * 10 + ds.msg_perm.cuid);
    RES(post(1, "elevenbytes", IPC_NOWAIT));
    RES(post(1, "ten bytes.", IPC_NOWAIT));
    CHILD("another user", {
        setgid(1000);
        setuid(1000);
        IS(msgget(KEY, 0400) == id);
        RES(msgget(KEY, 0600));
        RES(post(1, "x", 0));
        take(0, 100, 0);
        RES(msgctl(id, IPC_RMID, NULL));
        RES(msgctl(id, IPC_SET, &ds));
    });
    char line[300];
    FILE *file = fopen("/proc/sysvipc/msg", "r");
    while (fgets(line, sizeof line, file)) {
        int key, number, mode, bytes;
        if (sscanf(line, "%d %d %o %d", &key, &number, &mode, &bytes) == 4 && key == KEY)
            say("%d %o %d", number == id, mode, bytes);
    }
    fclose(file);
    RES(msgctl(id, 99, NULL));
    RES(msgctl(-1, IPC_STAT, &ds));
    a = receiver(5, 100, 0);
    RES(msgctl(id, IPC_RMID, NULL));
    say("%s", errname(end_of(a)));
    take(0, 100, 0);
    return 0;
}
