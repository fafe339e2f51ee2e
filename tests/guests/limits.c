/* rlimits, usage, priorities, scheduling, and what the system says of itself. */
#include "check.h"
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static int limit_of(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {soft, hard};
    return setrlimit(resource, &limit);
}

static char block[70000];

int main(void)
{
    struct rlimit limit, old;
    int status;
    GUARD(60);

    SECTION("getrlimit, setrlimit, prlimit");
    RES(getrlimit(99, &limit));
    RES(getrlimit(-1, &limit));
    RES(syscall(SYS_getrlimit, RLIMIT_CORE, (void *)8));
    RES(getrlimit(RLIMIT_NOFILE, &limit));
    NUM(limit.rlim_cur);
    NUM(limit.rlim_max);
    RES(limit_of(RLIMIT_NOFILE, 100, 50));
    RES(limit_of(RLIMIT_NOFILE, 100, 4096));
    getrlimit(RLIMIT_NOFILE, &limit);
    NUM(limit.rlim_cur);
    RES(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 4096}));
    CHILD("a user may lower but not raise", setresuid(1000, 1000, 1000); RES(limit_of(RLIMIT_NOFILE, 10, 200)); RES(limit_of(RLIMIT_NOFILE, 200, 200)); RES(limit_of(RLIMIT_NOFILE, 10, 300)));
    RES(prlimit(0, RLIMIT_CORE, NULL, &old));
    NUM(old.rlim_cur);
    RES(prlimit(0, RLIMIT_CORE, &(struct rlimit){0, 0}, &old));
    RES(prlimit(99999, RLIMIT_CORE, NULL, &old));
    RES(prlimit(-1, RLIMIT_CORE, NULL, &old));
    RES(prlimit(0, 99, NULL, &old));
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    RES(prlimit(pid, RLIMIT_NOFILE, &(struct rlimit){7, 8}, &old));
    NUM(old.rlim_cur);
    RES(prlimit(pid, RLIMIT_NOFILE, NULL, &old));
    NUM(old.rlim_cur);
    CHILD("a stranger may not", setresuid(1000, 1000, 1000); RES(prlimit(pid, RLIMIT_NOFILE, NULL, &old)));
    kill(pid, SIGKILL);
    reap("child", pid);
    CHILD("inherited", limit_of(RLIMIT_CPU, 77, 78); CHILD("grandchild", getrlimit(RLIMIT_CPU, &limit); NUM(limit.rlim_cur)));

    SECTION("limits that bite");
    CHILD("RLIMIT_FSIZE kills", limit_of(RLIMIT_FSIZE, 1000, 1000); int fd = open("f", O_RDWR | O_CREAT, 0600); RES(write(fd, block, 600)); RES(write(fd, block, 600)); RES(write(fd, block, 1)));
    signal(SIGXFSZ, SIG_IGN);
    CHILD("or fails", limit_of(RLIMIT_FSIZE, 1000, 1000); int fd = open("f", O_RDWR | O_CREAT, 0600); RES(pwrite(fd, block, 1, 1000)); RES(ftruncate(fd, 1001)); RES(ftruncate(fd, 1000)); RES(pwrite(fd, block, 10, 995)));
    signal(SIGXFSZ, SIG_DFL);
    CHILD("RLIMIT_CPU", limit_of(RLIMIT_CPU, 1, 2); for (volatile long i = 0;; i++));
    CHILD("RLIMIT_NPROC of a user", limit_of(RLIMIT_NPROC, 1, 1); setresuid(4321, 4321, 4321); RES(fork()));
    CHILD("RLIMIT_MEMLOCK of a user", limit_of(RLIMIT_MEMLOCK, 8192, 8192); setresuid(1000, 1000, 1000); char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); RES(mlock(m, 4096)); RES(mlock(m, 65536)));
    CHILD("RLIMIT_SIGPENDING", limit_of(RLIMIT_SIGPENDING, 3, 3); setresuid(4322, 4322, 4322); sigset_t set; sigfillset(&set); sigprocmask(SIG_BLOCK, &set, NULL);
          union sigval v = {0}; for (int i = 0; i < 5; i++) RES(sigqueue(getpid(), 40, v)); RES(kill(getpid(), SIGUSR1)); RES(kill(getpid(), 40)));

    SECTION("usage");
    struct rusage usage;
    RES(getrusage(RUSAGE_SELF, &usage));
    IS(usage.ru_maxrss > 100);
    RES(getrusage(RUSAGE_THREAD, &usage));
    RES(getrusage(RUSAGE_CHILDREN, &usage));
    RES(getrusage(99, &usage));
    RES(syscall(SYS_getrusage, RUSAGE_SELF, (void *)8));

    SECTION("priorities");
    RES(getpriority(PRIO_PROCESS, 0));
    RES(setpriority(PRIO_PROCESS, 0, 5));
    RES(getpriority(PRIO_PROCESS, 0));
    RES(syscall(SYS_getpriority, PRIO_PROCESS, 0));
    RES(setpriority(PRIO_PROCESS, 0, 100));
    RES(getpriority(PRIO_PROCESS, 0));
    RES(getpriority(99, 0));
    RES(getpriority(PRIO_PROCESS, 99999));
    RES(getpriority(PRIO_PGRP, 0));
    RES(setpriority(PRIO_PROCESS, 99999, 0));
    CHILD("a user may not go up", setpriority(PRIO_PROCESS, 0, 5); setresuid(1000, 1000, 1000); RES(setpriority(PRIO_PROCESS, 0, 4)); RES(nice(1)); RES(getpriority(PRIO_PROCESS, 0)));

    SECTION("scheduling");
    RES(sched_getscheduler(0));
    RES(sched_getscheduler(99999));
    RES(sched_getscheduler(-1));
    RES(sched_get_priority_max(SCHED_FIFO));
    RES(sched_get_priority_min(SCHED_FIFO));
    RES(sched_get_priority_max(SCHED_OTHER));
    RES(sched_get_priority_max(99));
    struct sched_param param = {0};
    RES(sched_getparam(0, &param));
    NUM(param.sched_priority);
    RES(sched_setscheduler(0, SCHED_BATCH, &param));
    RES(sched_getscheduler(0));
    RES(sched_setscheduler(0, SCHED_OTHER, &param));
    RES(sched_setscheduler(0, 99, &param));
    param.sched_priority = 5;
    RES(sched_setscheduler(0, SCHED_OTHER, &param));
    RES(sched_yield());
    cpu_set_t cpus;
    RES(sched_getaffinity(0, sizeof cpus, &cpus));
    IS(CPU_COUNT(&cpus) >= 1);
    IS(CPU_COUNT(&cpus) == sysconf(_SC_NPROCESSORS_ONLN));
    RES(syscall(SYS_sched_getaffinity, 0, 1, &cpus));
    RES(sched_getaffinity(99999, sizeof cpus, &cpus));
    CPU_ZERO(&cpus);
    RES(sched_setaffinity(0, sizeof cpus, &cpus));
    CPU_SET(0, &cpus);
    CHILD("pinned", RES(sched_setaffinity(0, sizeof cpus, &cpus)); CPU_ZERO(&cpus); sched_getaffinity(0, sizeof cpus, &cpus); NUM(CPU_COUNT(&cpus)));
    unsigned cpu = 1000, node = 1000;
    RES(syscall(SYS_getcpu, &cpu, &node, NULL));
    IS(cpu < 1000 && node < 1000);
    IS(sched_getcpu() >= 0);
    struct timespec interval;
    RES(sched_rr_get_interval(0, &interval));

    SECTION("the system");
    struct utsname name;
    RES(uname(&name));
    SHOW(name.sysname, strlen(name.sysname));
    SHOW(name.nodename, strlen(name.nodename));
    SHOW(name.machine, strlen(name.machine));
    IS(atoi(name.release) >= 5);
    RES(syscall(SYS_uname, (void *)8));
    CHILD("names", RES(sethostname("other", 5)); uname(&name); SHOW(name.nodename, strlen(name.nodename)); RES(sethostname(block, 65)); RES(setdomainname("domain", 6));
          uname(&name); SHOW(name.domainname, 6); RES(sethostname("guest", 5)));
    CHILD("not for a user", setresuid(1000, 1000, 1000); RES(sethostname("other", 5)));
    struct sysinfo info;
    RES(sysinfo(&info));
    IS(info.totalram * info.mem_unit > 1 << 20 && info.freeram <= info.totalram && info.procs > 0);
    RES(syscall(SYS_sysinfo, (void *)8));
    NUM(getpagesize());
    NUM(sysconf(_SC_CLK_TCK));
    IS(gethostid() == gethostid());

    SECTION("random");
    unsigned char bytes[600];
    memset(bytes, 0, sizeof bytes);
    RES(getrandom(bytes, 16, 0));
    RES(getrandom(bytes, 600, 0));
    int zeros = 0;
    for (int i = 0; i < 600; i++)
        zeros += bytes[i] == 0;
    IS(zeros < 40);
    RES(getrandom(bytes, 10, GRND_NONBLOCK));
    RES(getrandom(bytes, 10, GRND_RANDOM));
    RES(getrandom(bytes, 10, 0x100));
    RES(getrandom(bytes, 0, 0));
    RES(getrandom((void *)8, 10, 0));
    RES(getentropy(bytes, 256));
    RES(getentropy(bytes, 257));
    static char many[300000];
    RES(getrandom(many, sizeof many, 0));
    (void)status;
    return 0;
}
