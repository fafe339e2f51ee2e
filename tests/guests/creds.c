/* Credentials: set*id families, groups, capabilities, securebits, no_new_privs, dumpable. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void ids(const char *what)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;
    getresuid(&r, &e, &s);
    getresgid(&rg, &eg, &sg);
    say("%s: uid %d %d %d fs %d, gid %d %d %d fs %d", what, r, e, s, setfsuid(-1), rg, eg, sg, setfsgid(-1));
}

static int capset_(uint64_t e, uint64_t p, uint64_t i)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{e, p, i}, {e >> 32, p >> 32, i >> 32}};
    return syscall(SYS_capset, &header, data);
}

static void caps(const char *what)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    syscall(SYS_capget, &header, data);
    uint64_t e = data[0].effective | (uint64_t)data[1].effective << 32, p = data[0].permitted | (uint64_t)data[1].permitted << 32,
             i = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    say("%s: effective %llx permitted %llx inheritable %llx", what, (long long)e, (long long)p, (long long)i);
}

int main(void)
{
    GUARD(60);
    gid_t groups[10];

    SECTION("as root");
    ids("start");
    RES(getgroups(0, NULL));
    groups[0] = 5, groups[1] = 3, groups[2] = 9;
    RES(setgroups(3, groups));
    RES(getgroups(10, groups));
    NUM(groups[0] + groups[1] * 10 + groups[2] * 100);
    RES(getgroups(2, groups));
    RES(getgroups(-1, groups));
    RES(syscall(SYS_setgroups, 70000, groups));
    RES(syscall(SYS_setgroups, 2, (void *)8));
    RES(setgroups(0, NULL));
    RES(getgroups(0, NULL));

    SECTION("setuid");
    CHILD("setuid", RES(setuid(1000)); ids("after"); RES(setuid(0)); RES(setuid(1000)); RES(setuid(-1)); caps("caps"));
    CHILD("seteuid", RES(seteuid(1000)); ids("after"); caps("caps"); RES(seteuid(0)); ids("back"); caps("caps"));
    CHILD("setreuid", RES(setreuid(1000, 2000)); ids("after"); RES(setreuid(2000, 1000)); ids("swapped"); RES(setreuid(0, -1)); RES(setreuid(-1, -1)));
    CHILD("setresuid", RES(setresuid(1, 2, 3)); ids("after"); RES(setresuid(3, 1, 2)); ids("rotated"); RES(setresuid(4, -1, -1)); RES(setresuid(-1, 3, -1)));
    CHILD("setgid", RES(setgid(1000)); ids("after"); RES(setgid(0)); ids("root may"));
    CHILD("setregid", RES(setregid(1000, 2000)); ids("after"); RES(setregid(-1, 1000)); ids("then"));
    CHILD("setresgid", RES(setresgid(1, 2, 3)); ids("after"); setresuid(1000, 1000, 1000); RES(setresgid(3, 1, 2)); ids("rotated"); RES(setresgid(4, 4, 4)); RES(setgid(0)));
    CHILD("setegid as a user", setresgid(1, 1, 5); setresuid(1000, 1000, 1000); RES(setegid(5)); RES(setegid(1)); RES(setegid(6)); RES(setgroups(0, NULL)));
    CHILD("setfsuid", RES(setfsuid(1000)); ids("after"); put("owned", ""); struct stat st; stat("owned", &st); NUM(st.st_uid); RES(setfsuid(0));
          RES(setfsgid(50)); RES(setfsgid(0)));
    CHILD("saved id by setuid of a user", setresuid(1000, 1000, 2000); RES(setuid(2000)); ids("after"); RES(setuid(1000)); ids("back"));
    RES(syscall(SYS_getresuid, (void *)8, (void *)8, (void *)8));

    SECTION("capabilities");
    struct __user_cap_header_struct header = {0x12345678, 0};
    struct __user_cap_data_struct data[2];
    RES(syscall(SYS_capget, &header, data));
    HEX(header.version);
    RES(syscall(SYS_capget, &header, NULL));
    header.pid = 99999;
    RES(syscall(SYS_capget, &header, data));
    header.pid = -1;
    RES(syscall(SYS_capget, &header, data));
    header = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_1, 0};
    RES(syscall(SYS_capget, &header, data));
    RES(syscall(SYS_capget, (void *)8, data));
    uint64_t chown_kill = 1ULL << CAP_CHOWN | 1ULL << CAP_KILL;
    CHILD("dropping", RES(capset_(chown_kill, chown_kill, 0)); caps("after"); RES(capset_(chown_kill | 1 << CAP_SETUID, chown_kill, 0));
          RES(capset_(0, chown_kill, 0)); RES(capset_(1 << CAP_KILL, chown_kill, 0)); RES(setuid(5)); RES(capset_(0, chown_kill | 1 << CAP_SETUID, 0));
          RES(capset_(0, 0, chown_kill)); caps("then"));
    CHILD("effective gone, permitted kept", put("f", ""); RES(capset_(0, chown_kill, 0)); RES(chown("f", 1, 1)); RES(capset_(chown_kill, chown_kill, 0)); RES(chown("f", 1, 1)));
    CHILD("of another process", header.version = _LINUX_CAPABILITY_VERSION_3; header.pid = getppid(); RES(syscall(SYS_capset, &header, data)));
    CHILD("keep caps", RES(prctl(PR_GET_KEEPCAPS)); RES(prctl(PR_SET_KEEPCAPS, 1)); RES(prctl(PR_GET_KEEPCAPS)); RES(capset_(chown_kill | 1 << CAP_SETUID, chown_kill | 1 << CAP_SETUID, 0)); RES(setuid(1000)); caps("kept"));
    RES(prctl(PR_SET_KEEPCAPS, 2));
    CHILD("bounding set", RES(prctl(PR_CAPBSET_READ, CAP_CHOWN)); RES(prctl(PR_CAPBSET_DROP, CAP_CHOWN)); RES(prctl(PR_CAPBSET_READ, CAP_CHOWN)); RES(prctl(PR_CAPBSET_READ, 63));
          RES(prctl(PR_CAPBSET_DROP, 63)); setuid(1000); RES(prctl(PR_CAPBSET_DROP, CAP_KILL)));
    CHILD("ambient set", RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0)); RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
          RES(capset_(chown_kill, chown_kill, chown_kill)); RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
          RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0)); RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_KILL, 0, 0));
          RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0)); RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)); RES(prctl(PR_CAP_AMBIENT, 99, 0, 0, 0));
          RES(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0)));

    SECTION("securebits");
    HEX(prctl(PR_GET_SECUREBITS));
    CHILD("no setuid fixup", RES(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)); HEX(prctl(PR_GET_SECUREBITS)); RES(capset_(chown_kill | 1 << CAP_SETUID, chown_kill | 1 << CAP_SETUID, 0));
          RES(setresuid(5, 5, 5)); caps("kept"); RES(prctl(PR_SET_SECUREBITS, 0)));
    CHILD("locked", RES(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)); RES(prctl(PR_SET_SECUREBITS, 0)); RES(prctl(PR_SET_SECUREBITS, 0x1000)));

    SECTION("no_new_privs and dumpable");
    RES(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CHILD("set", RES(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)); RES(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); RES(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); CHILD("inherited", RES(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))));
    RES(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    RES(prctl(PR_GET_DUMPABLE));
    CHILD("dumpable", RES(prctl(PR_SET_DUMPABLE, 0)); RES(prctl(PR_GET_DUMPABLE)); RES(prctl(PR_SET_DUMPABLE, 2)); RES(prctl(PR_SET_DUMPABLE, 1)); RES(setuid(1000)); NUM(prctl(PR_GET_DUMPABLE)));

    SECTION("prctl");
    char name[32] = "";
    RES(prctl(PR_SET_NAME, "a name longer than it may be"));
    RES(prctl(PR_GET_NAME, name));
    SHOW(name, strlen(name));
    RES(prctl(PR_SET_NAME, (char *)8));
    RES(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    int got = 0;
    RES(prctl(PR_GET_PDEATHSIG, &got));
    NUM(got);
    RES(prctl(PR_SET_PDEATHSIG, 100));
    CHILD("not inherited by fork", prctl(PR_GET_PDEATHSIG, &got); NUM(got));
    RES(prctl(PR_SET_PDEATHSIG, 0));
    RES(prctl(99999));
    RES(prctl(PR_GET_TIMING));
    RES(prctl(PR_SET_TIMERSLACK, 100000));
    RES(prctl(PR_GET_TIMERSLACK));
    RES(prctl(PR_SET_TIMERSLACK, 0));
    RES(prctl(PR_GET_TIMERSLACK));
    RES(prctl(PR_GET_SECCOMP));
    RES(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    RES(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));

    SECTION("signals between users");
    pid_t pid = fork();
    if (pid == 0) {
        setresuid(1000, 1000, 1000);
        for (;;)
            pause();
    }
    sleep_ms(20);
    CHILD("the same user may", setresuid(5, 1000, 5); RES(kill(pid, 0)));
    CHILD("another may not", setresuid(1001, 1001, 1001); RES(kill(pid, 0)); RES(kill(pid, SIGTERM)));
    kill(pid, SIGTERM);
    reap("root may", pid);
    return 0;
}
