/* System V shared memory. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define KEY 0x5354
#define SIZE 10000

static struct shmid_ds stat_of(int id)
{
    struct shmid_ds ds;
    memset(&ds, 0xee, sizeof ds);
    if (shmctl(id, IPC_STAT, &ds))
        ds.shm_nattch = 999;
    return ds;
}

static void maps(void)
{
    char line[512];
    FILE *file = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, file)) {
        char *name = strstr(line, "/SYSV");
        if (name)
            say("%.4s %s", strchr(line, ' ') + 1, strtok(name, "\n"));
    }
    fclose(file);
}

int main(void)
{
    struct shmid_ds ds;
    char *a, *b;
    int id, other;

    SECTION("shmget");
    RES(shmget(KEY, SIZE, 0600));
    RES(shmget(KEY, 0, IPC_CREAT | 0600));
    RES(shmget(IPC_PRIVATE, -1, 0600));
    IS((id = shmget(KEY, SIZE, IPC_CREAT | IPC_EXCL | 0640)) >= 0);
    RES(shmget(KEY, SIZE, IPC_CREAT | IPC_EXCL | 0640));
    RES(shmget(KEY, SIZE + 1, 0));
    IS(shmget(KEY, 100, 0) == id);
    IS(shmget(KEY, 0, IPC_CREAT) == id);
    IS((other = shmget(IPC_PRIVATE, 1, 0)) >= 0 && other != id);
    ds = stat_of(id);
    OCT(ds.shm_perm.mode);
    HEX(ds.shm_perm.__key);
    NUM(ds.shm_segsz);
    NUM(ds.shm_nattch);
    IS(ds.shm_cpid == getpid() && !ds.shm_lpid && ds.shm_ctime && !ds.shm_atime && !ds.shm_dtime);
    NUM(ds.shm_perm.uid + ds.shm_perm.gid + ds.shm_perm.cuid + ds.shm_perm.cgid);

    SECTION("shmat, shmdt");
    IS((a = shmat(id, NULL, 0)) != (void *)-1);
    IS((b = shmat(id, NULL, SHM_RDONLY)) != (void *)-1);
    strcpy(a, "hello");
    SHOW(b, 6);
    NUM(a[SIZE]);
    maps();
    RES(mprotect(b, 4096, PROT_READ | PROT_WRITE));
    RES(mprotect(a + 4096, 4096, PROT_READ));
    ds = stat_of(id);
    NUM(ds.shm_nattch);
    IS(ds.shm_lpid == getpid() && ds.shm_atime);
    RES(shmat(-1, NULL, 0));
    RES(shmat(id + 1000, NULL, 0));
    RES(shmat(id, a + 1, 0));
    RES(shmat(id, a, 0));
    RES(shmat(id, NULL, SHM_REMAP));
    IS(shmat(other, a + 1, SHM_RND | SHM_REMAP) == a);
    NUM(a[0]);
    NUM(stat_of(other).shm_nattch);
    RES(shmdt(b + 1));
    RES(shmdt(b + 4096));
    RES(shmdt(b));
    RES(shmdt(b));
    RES(shmdt(a));
    ds = stat_of(id);
    NUM(ds.shm_nattch);
    IS(ds.shm_dtime != 0);

    SECTION("fork and removal");
    a = shmat(id, NULL, 0);
    NUM(stat_of(id).shm_nattch);
    CHILD("child", {
        strcpy(a + 8000, "from the child");
        NUM(stat_of(id).shm_nattch);
        RES(shmctl(id, IPC_RMID, NULL));
        ds = stat_of(id);
        OCT(ds.shm_perm.mode);
        HEX(ds.shm_perm.__key);
        NUM(ds.shm_nattch);
        RES(shmget(KEY, 0, 0));
        IS((b = shmat(id, NULL, 0)) != (void *)-1);
        SHOW(b + 8000, 15);
    });
    SHOW(a + 8000, 15);
    NUM(stat_of(id).shm_nattch);
    RES(shmdt(a));
    RES(shmctl(id, IPC_STAT, &ds));
    IS(shmat(id, NULL, 0) != (void *)-1);
    IS((id = shmget(KEY, 5000, IPC_CREAT | 0600)) >= 0);

    SECTION("shmctl");
    ds = stat_of(id);
    ds.shm_perm.mode = 0644;
    ds.shm_perm.uid = 7;
    ds.shm_perm.gid = 8;
    RES(shmctl(id, IPC_SET, &ds));
    ds = stat_of(id);
    OCT(ds.shm_perm.mode);
    NUM(ds.shm_perm.uid * 100 + ds.shm_perm.gid * 10 + ds.shm_perm.cuid);
    RES(shmctl(id, SHM_LOCK, NULL));
    OCT(stat_of(id).shm_perm.mode);
    RES(shmctl(id, SHM_UNLOCK, NULL));
    RES(shmctl(id, 99, NULL));
    RES(shmctl(id, IPC_STAT, (void *)8));
    RES(shmctl(id, IPC_SET, (void *)8));
    RES(shmctl(-1, IPC_STAT, &ds));

    SECTION("permissions");
    CHILD("another user", {
        setgid(1000);
        setuid(1000);
        IS(shmget(KEY, 0, 0) == id);
        IS(shmget(KEY, 0, 0400) == id);
        RES(shmget(KEY, 0, 0600));
        RES(shmat(id, NULL, 0));
        IS(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
        RES(shmctl(id, IPC_RMID, NULL));
        RES(shmctl(id, IPC_SET, &ds));
        RES(shmctl(other, IPC_STAT, &ds));
    });
    CHILD("its owner", {
        setgid(1000);
        setuid(7);
        IS(shmat(id, NULL, 0) != (void *)-1);
        RES(shmctl(id, IPC_RMID, NULL));
    });
    RES(shmctl(id, IPC_STAT, &ds));
    RES(shmctl(other, IPC_RMID, NULL));
    return 0;
}
