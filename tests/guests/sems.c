/* System V semaphores. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/sem.h>

#define KEY 0x5355
#define OPS(...) ({ struct sembuf ops_[] = {__VA_ARGS__}; semop(id, ops_, sizeof ops_ / sizeof *ops_); })

static int id;

static long get(int number) { return semctl(id, number, GETVAL); }

static struct semid_ds stat_of(int number)
{
    struct semid_ds ds;
    memset(&ds, 0xee, sizeof ds);
    RES(semctl(number, 0, IPC_STAT, &ds));
    return ds;
}

static void await_count(int number, int command, int count)
{
    for (int k = 0; k < 1000 && semctl(id, number, command) != count; k++)
        usleep(2000);
}

static pid_t waiter(struct sembuf *ops, int count)
{
    pid_t pid = fork();
    if (!pid) {
        int result = semop(id, ops, count);
        _exit(result == -1 ? errno : 0);
    }
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
    struct semid_ds ds;
    unsigned short values[5] = {9, 9, 9, 9, 9};
    int other;
    pid_t a, b;

    SECTION("semget");
    RES(semget(KEY, 3, 0600));
    RES(semget(KEY, -1, IPC_CREAT | 0600));
    RES(semget(KEY, 0, IPC_CREAT | 0600));
    RES(semget(KEY, 32001, IPC_CREAT | 0600));
    IS((id = semget(KEY, 3, IPC_CREAT | IPC_EXCL | 0640)) >= 0);
    RES(semget(KEY, 3, IPC_CREAT | IPC_EXCL | 0640));
    RES(semget(KEY, 4, 0));
    IS(semget(KEY, 0, 0) == id && semget(KEY, 2, IPC_CREAT) == id);
    IS((other = semget(IPC_PRIVATE, 1, 0)) >= 0 && other != id);
    ds = stat_of(id);
    OCT(ds.sem_perm.mode);
    HEX(ds.sem_perm.__key);
    NUM(ds.sem_nsems);
    IS(!ds.sem_otime && ds.sem_ctime);

    SECTION("semop");
    RES(OPS({0, 3, 0}, {1, 2, 0}));
    NUM(get(0) * 100 + get(1) * 10 + get(2));
    IS(semctl(id, 0, GETPID) == getpid() && semctl(id, 2, GETPID) == 0);
    RES(OPS({0, -1, 0}, {2, 0, 0}));
    NUM(get(0));
    IS(semctl(id, 2, GETPID) == getpid());
    RES(OPS({0, -1, 0}, {1, -3, IPC_NOWAIT}));
    NUM(get(0));
    RES(OPS({0, 0, IPC_NOWAIT}));
    RES(OPS({0, -2, IPC_NOWAIT}, {0, 0, IPC_NOWAIT}, {0, 5, 0}));
    NUM(get(0));
    RES(OPS({0, 32767, 0}));
    RES(OPS({3, 1, 0}));
    RES(OPS({0, 1, 0}, {65535, 1, 0}));
    RES(semop(id, NULL, 0));
    RES(semop(id, NULL, 1));
    RES(semop(id, NULL, 501));
    RES(semop(-1, NULL, 501));
    RES(semop(-1, NULL, 1));
    RES(semop(-1, &(struct sembuf){0, 1, 0}, 1));
    RES(semop(id + 1000, &(struct sembuf){0, 1, 0}, 1));
    IS(stat_of(id).sem_otime != 0);

    SECTION("timeouts");
    struct timespec soon = {0, 20000000}, bad = {0, 1000000000}, past = {-1, 0};
    struct sembuf down = {2, -1, 0};
    RES(semtimedop(id, &down, 1, &soon));
    RES(semtimedop(id, &down, 1, &bad));
    RES(semtimedop(id, &down, 1, &past));
    RES(semtimedop(id, &down, 1, (void *)8));
    RES(semtimedop(id, &down, 501, &bad));
    RES(semtimedop(id, &(struct sembuf){2, 0, 0}, 1, &soon));

    SECTION("waiting");
    a = waiter((struct sembuf[]){{2, -2, 0}}, 1);
    await_count(2, GETNCNT, 1);
    b = waiter((struct sembuf[]){{2, -1, 0}, {1, 1, 0}}, 2);
    await_count(2, GETNCNT, 2);
    NUM(semctl(id, 2, GETNCNT) * 10 + semctl(id, 2, GETZCNT));
    RES(OPS({2, 1, 0}));
    NUM(end_of(b));
    NUM(get(1) * 10 + get(2));
    RES(OPS({2, 1, 0}));
    NUM(semctl(id, 2, GETNCNT) * 10 + get(2));
    RES(semctl(id, 2, SETVAL, 5));
    NUM(end_of(a));
    NUM(get(2));
    a = waiter((struct sembuf[]){{2, 0, 0}, {2, 1, 0}}, 2);
    await_count(2, GETZCNT, 1);
    RES(OPS({2, -3, 0}));
    NUM(end_of(a));
    NUM(get(2));
    a = waiter((struct sembuf[]){{2, -9, 0}}, 1);
    await_count(2, GETNCNT, 1);
    kill(a, SIGTERM);
    NUM(end_of(a));
    NUM(semctl(id, 2, GETNCNT));
    signal(SIGALRM, ignore);
    ualarm(20000, 0);
    RES(OPS({2, -9, 0}));

    SECTION("undo");
    CHILD("ends", {
        RES(OPS({0, 4, SEM_UNDO}, {1, -1, SEM_UNDO}, {2, 1, 0}));
        NUM(get(0) * 100 + get(1) * 10 + get(2));
    });
    NUM(get(0) * 100 + get(1) * 10 + get(2));
    CHILD("set to a value meanwhile", {
        RES(OPS({0, 4, SEM_UNDO}, {1, 1, SEM_UNDO}));
        RES(semctl(id, 0, SETVAL, 1));
    });
    NUM(get(0) * 10 + get(1));
    CHILD("not below zero", {
        RES(OPS({0, 4, SEM_UNDO}));
        RES(OPS({0, -4, 0}));
    });
    NUM(get(0));
    a = waiter((struct sembuf[]){{0, -7, 0}}, 1);
    await_count(0, GETNCNT, 1);
    RES(OPS({0, 5, 0}));
    CHILD("an end wakes others", {
        RES(OPS({0, -5, SEM_UNDO}));
        RES(OPS({0, 2, 0}));
    });
    NUM(end_of(a));
    NUM(get(0));
    CHILD("too much", RES(OPS({0, 32767, SEM_UNDO}, {0, -32767, 0}, {0, 32767, SEM_UNDO})));

    SECTION("all");
    RES(semctl(id, 0, SETALL, ((unsigned short[]){1, 2, 3})));
    RES(semctl(id, 0, GETALL, values));
    for (int k = 0; k < 4; k++)
        NUM(values[k]);
    RES(semctl(id, 0, SETALL, ((unsigned short[]){1, 40000, 3})));
    RES(semctl(id, 0, SETALL, (void *)8));
    RES(semctl(id, 0, GETALL, (void *)8));
    RES(semctl(id, 3, GETVAL));
    RES(semctl(id, -1, GETVAL));
    RES(semctl(id, 3, SETVAL, 1));
    RES(semctl(id, 0, SETVAL, 32768));
    RES(semctl(id, 0, SETVAL, -1));
    RES(semctl(id, 0, 99));
    RES(semctl(-1, 0, GETVAL));
    RES(semctl(id + 1000, 0, GETVAL));

    SECTION("control");
    struct seminfo info;
    IS(semctl(0, 0, IPC_INFO, &info) >= 0);
    NUM(info.semvmx + info.semopm + info.semmsl + info.semmni);
    NUM(info.semmns);
    NUM(info.semaem);
    NUM(info.semusz);
    IS(semctl(0, 0, SEM_INFO, &info) >= 0);
    ds = stat_of(id);
    ds.sem_perm.mode = 0123604;
    ds.sem_perm.uid = 7;
    RES(semctl(id, 0, IPC_SET, &ds));
    RES(semctl(id, 0, IPC_SET, (void *)8));
    ds = stat_of(id);
    OCT(ds.sem_perm.mode);
    NUM(ds.sem_perm.uid * 10 + ds.sem_perm.cuid);
    CHILD("another user", {
        setgid(1000);
        setuid(1000);
        IS(semget(KEY, 0, 0400) == id);
        RES(semget(KEY, 0, 0600));
        RES(OPS({0, 1, 0}));
        RES(OPS({0, 0, IPC_NOWAIT}));
        RES(get(0));
        RES(semctl(id, 0, SETVAL, 1));
        RES(semctl(id, 0, IPC_RMID));
        RES(semctl(other, 0, IPC_STAT, &ds));
    });
    char line[300];
    FILE *file = fopen("/proc/sysvipc/sem", "r");
    while (fgets(line, sizeof line, file)) {
        int key, number, mode, count;
        if (sscanf(line, "%d %d %o %d", &key, &number, &mode, &count) == 4 && key == KEY)
            say("%d %o %d", number == id, mode, count);
    }
    fclose(file);
    a = waiter((struct sembuf[]){{0, -9, 0}}, 1);
    await_count(0, GETNCNT, 1);
    RES(semctl(id, 0, IPC_RMID));
    say("%s", errname(end_of(a)));
    RES(get(0));
    RES(semctl(other, 0, IPC_RMID));
    return 0;
}
