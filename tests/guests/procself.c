/* /proc: the shape of what a process reads about itself and the system (not the values). */
#include "check.h"
#include <dirent.h>

static char data[65536];

static long slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        say("%s: %s", path, errname(errno));
        data[0] = 0;
        return -1;
    }
    long total = 0, n;
    while ((n = read(fd, data + total, sizeof data - 1 - total)) > 0)
        total += n;
    data[total] = 0;
    close(fd);
    return total;
}

/* The first words of each line, for files of "Name: value" or "name value" lines. */
static void keys(const char *path, const char *wanted)
{
    slurp(path);
    char copy[1000], missing[1000] = "";
    strcpy(copy, wanted);
    for (char *key = strtok(copy, " "); key; key = strtok(NULL, " ")) {
        char *at = data;
        size_t length = strlen(key);
        int found = 0;
        while (at && !found) {
            found = !strncmp(at, key, length) && (at[length] == ':' || at[length] == ' ' || at[length] == '\t');
            at = strchr(at, '\n');
            if (at)
                at++;
        }
        if (!found)
            sprintf(missing + strlen(missing), " %s", key);
    }
    say("%s: missing:%s", path, missing);
}

static int fields(const char *text)
{
    int n = 0, inside = 0;
    for (; *text && *text != '\n'; text++) {
        if (*text != ' ' && !inside)
            n++;
        inside = *text != ' ';
    }
    return n;
}

static void exists(const char *path)
{
    struct stat st;
    errno = 0;
    say("%s: %s", path, lstat(path, &st) ? errname(errno) : S_ISDIR(st.st_mode) ? "directory" : S_ISLNK(st.st_mode) ? "link" : "file");
}

int main(int argc, char **argv)
{
    char target[4096], path[256];
    GUARD(60);
    (void)argc;

    SECTION("what is there");
    const char *names[] = {"stat", "status", "statm", "cmdline", "comm", "exe", "cwd", "root", "fd", "fdinfo", "maps", "smaps", "mounts", "mountinfo", "limits",
                           "environ", "auxv", "task", "oom_score_adj", "oom_score", "cgroup", "io", "ns", "net", "uid_map", "gid_map", "setgroups", "loginuid",
                           "none"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        sprintf(path, "/proc/self/%s", names[i]);
        exists(path);
    }
    const char *global[] = {"/proc/self", "/proc/thread-self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/version",
                            "/proc/filesystems", "/proc/mounts", "/proc/sys", "/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/kernel/hostname", "/proc/sys/kernel/pid_max",
                            "/proc/sys/kernel/osrelease", "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count", "/proc/sys/kernel/random/boot_id",
                            "/proc/sys/kernel/random/uuid", "/proc/sys/kernel/cap_last_cap", "/proc/sys/fs/file-max", "/proc/sys/fs/pipe-max-size",
                            "/proc/sys/kernel/threads-max", "/proc/cmdline", "/proc/1", "/proc/1/status", "/proc/99999"};
    for (unsigned i = 0; i < sizeof global / sizeof *global; i++)
        exists(global[i]);

    SECTION("links");
    long n = readlink("/proc/self", target, sizeof target);
    target[n] = 0;
    IS(atoi(target) == getpid());
    n = readlink("/proc/thread-self", target, sizeof target);
    target[n] = 0;
    sprintf(path, "%d/task/%d", getpid(), getpid());
    IS(!strcmp(target, path));
    n = readlink("/proc/self/exe", target, sizeof target);
    target[n] = 0;
    IS(!strcmp(target, argv[0]));
    n = readlink("/proc/self/cwd", target, sizeof target);
    target[n] = 0;
    char cwd[4096];
    IS(!strcmp(target, getcwd(cwd, sizeof cwd)));
    n = readlink("/proc/self/root", target, sizeof target);
    NUM(n);
    RES(readlink("/proc/self/fd/999", target, sizeof target));
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    sprintf(path, "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof target);
    target[n] = 0;
    IS(!strcmp(strrchr(target, '/'), "/file"));

    SECTION("stat");
    slurp("/proc/self/stat");
    char *end = strrchr(data, ')');
    NUM(fields(end + 2) + 2);
    NUM(end[2]);
    int ppid, pgrp, session, tty, tpgid;
    sscanf(end + 4, "%d %d %d %d %d", &ppid, &pgrp, &session, &tty, &tpgid);
    IS(ppid == getppid() && pgrp == getpgrp() && session == getsid(0));
    NUM(tty);
    NUM(tpgid);
    IS(atoi(data) == getpid());
    show("name", strchr(data, '('), end - strchr(data, '(') + 1);
    slurp("/proc/self/statm");
    NUM(fields(data));
    IS(atoi(data) > 10);

    SECTION("status");
    keys("/proc/self/status", "Name Umask State Tgid Ngid Pid PPid TracerPid Uid Gid FDSize Groups NStgid NSpid NSpgid NSsid VmPeak VmSize VmLck VmPin VmHWM VmRSS RssAnon "
                              "RssFile RssShmem VmData VmStk VmExe VmLib VmPTE VmSwap Threads SigQ SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb "
                              "NoNewPrivs Seccomp Cpus_allowed Cpus_allowed_list voluntary_ctxt_switches nonvoluntary_ctxt_switches");
    slurp("/proc/self/status");
    show("first line", data, strchr(data, '\n') - data);
    IS(strstr(data, "Uid:\t0\t0\t0\t0\n") != NULL);
    IS(strstr(data, "Threads:\t1\n") != NULL);
    IS(strstr(data, "State:\tR (running)\n") != NULL);
    signal(SIGUSR1, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR2);
    slurp("/proc/self/status");
    const char *masks[] = {"SigPnd", "ShdPnd", "SigBlk", "SigIgn"};
    for (int i = 0; i < 4; i++) {
        char *at = strstr(data, masks[i]);
        show("mask", at, strchr(at, '\n') - at);
    }

    SECTION("cmdline, comm, environ");
    NUM(slurp("/proc/self/cmdline") == (long)strlen(argv[0]) + 1);
    IS(!strcmp(data, argv[0]));
    slurp("/proc/self/comm");
    SHOW(data, strlen(data));
    fd = open("/proc/self/comm", O_WRONLY);
    RES(write(fd, "newname", 7));
    close(fd);
    slurp("/proc/self/comm");
    SHOW(data, strlen(data));
    long length = slurp("/proc/self/environ");
    SHOW(data, length);
    IS(slurp("/proc/self/auxv") % 16 == 0);

    SECTION("fd and fdinfo");
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0, seen = 0;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        seen |= 1 << atoi(entry->d_name);
    }
    closedir(dir);
    NUM(count);
    HEX(seen & 0xf);
    fd = open("file", O_RDWR | O_APPEND);
    pwrite(fd, "0123456789", 10, 0);
    lseek(fd, 7, SEEK_SET);
    sprintf(path, "/proc/self/fdinfo/%d", fd);
    slurp(path);
    IS(!strncmp(data, "pos:\t7\nflags:\t02102002\nmnt_id:\t", 30) || !strncmp(data, "pos:\t7\nflags:\t0102002\nmnt_id:\t", 29) || !strncmp(data, "pos:\t7\nflags:\t02002\nmnt_id:\t", 27));
    sprintf(path, "/proc/self/fd/%d", fd);
    struct stat st;
    lstat(path, &st);
    OCT(st.st_mode);

    SECTION("maps");
    slurp("/proc/self/maps");
    char *stack = strstr(data, "[stack]"), *heap = strstr(data, "[heap]"), *vdso = strstr(data, "[vdso]");
    IS(stack != NULL);
    IS(heap != NULL);
    IS(vdso != NULL);
    IS(strstr(data, argv[0]) != NULL);
    unsigned long from, to, offset, inode;
    char rights[5];
    unsigned major, minor;
    NUM(sscanf(data, "%lx-%lx %4s %lx %x:%x %lu", &from, &to, rights, &offset, &major, &minor, &inode));
    IS(from < to && inode > 0);
    SHOW(rights, 4);
    char *map = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(map + 4096, 4096, PROT_NONE);
    slurp("/proc/self/maps");
    sprintf(path, "%lx-%lx ---p 00000000 00:00 0", (long)map + 4096, (long)map + 8192);
    IS(strstr(data, path) != NULL);

    SECTION("limits, mounts, others");
    keys("/proc/self/limits", "Limit");
    IS(strstr(data, "Max open files            1024                 4096                 files") != NULL);
    slurp("/proc/self/mounts");
    IS(strstr(data, " / ") != NULL);
    IS(strstr(data, " /proc proc ") != NULL);
    slurp("/proc/self/mountinfo");
    IS(strstr(data, " - ") != NULL);
    slurp("/proc/self/cgroup");
    IS(strstr(data, "0::/") != NULL || strstr(data, ":/") != NULL);
    slurp("/proc/self/oom_score_adj");
    NUM(strlen(data) > 1);
    keys("/proc/self/io", "rchar wchar syscr syscw read_bytes write_bytes cancelled_write_bytes");
    slurp("/proc/self/uid_map");
    NUM(fields(data));
    dir = opendir("/proc/self/task");
    count = 0;
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    NUM(count);
    keys("/proc/meminfo", "MemTotal MemFree MemAvailable Buffers Cached SwapTotal SwapFree Dirty Shmem");
    keys("/proc/stat", "cpu cpu0 intr ctxt btime processes procs_running procs_blocked");
    keys("/proc/cpuinfo", "processor");
    slurp("/proc/uptime");
    NUM(fields(data));
    slurp("/proc/loadavg");
    NUM(fields(data));
    slurp("/proc/version");
    show("version begins", data, 14);
    slurp("/proc/filesystems");
    IS(strstr(data, "nodev\tproc\n") && strstr(data, "nodev\ttmpfs\n"));
    slurp("/proc/sys/kernel/hostname");
    SHOW(data, strlen(data));
    slurp("/proc/sys/kernel/random/uuid");
    NUM(strlen(data));
    slurp("/proc/sys/kernel/ostype");
    SHOW(data, strlen(data));

    SECTION("other processes");
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    await_state(pid, 'S');
    sprintf(path, "/proc/%d/stat", pid);
    slurp(path);
    IS(atoi(data) == pid);
    sprintf(path, "/proc/%d/exe", pid);
    IS(readlink(path, target, sizeof target) > 0);
    sprintf(path, "/proc/%d/fd/0", pid);
    IS(readlink(path, target, sizeof target) > 0);
    kill(pid, SIGKILL);
    await_state(pid, 'Z');
    sprintf(path, "/proc/%d/cmdline", pid);
    NUM(slurp(path));
    sprintf(path, "/proc/%d/exe", pid);
    RES(readlink(path, target, sizeof target));
    reap("child", pid);
    RES(readlink(path, target, sizeof target));
    dir = opendir("/proc");
    int mine = 0, init = 0;
    while ((entry = readdir(dir))) {
        mine |= atoi(entry->d_name) == getpid();
        init |= atoi(entry->d_name) == 1;
    }
    NUM(mine);
    NUM(init);

    SECTION("refusals");
    RES(open("/proc/version", O_WRONLY) >= 0 ? 0 : -1);
    RES(mkdir("/proc/x", 0755));
    RES(unlink("/proc/version"));
    RES(open("/proc/new", O_CREAT | O_WRONLY, 0600));
    RES(rmdir("/proc/self/fd"));
    fd = open("/proc/version", O_RDONLY);
    RES(lseek(fd, 5, SEEK_SET));
    RES(read(fd, data, 5));
    RES(pread(fd, data, 5, 0));
    SHOW(data, 5);
    fd = open("/proc/self/comm", O_RDWR);
    RES(ftruncate(fd, 0));
    RES(ftruncate(fd, 100));
    RES(ftruncate(fd, -1));
    return 0;
}
