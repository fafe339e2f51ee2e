/* eventfd and signalfd. */
#include "check.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>

int main(void)
{
    int fd;
    uint64_t value;
    struct stat st;
    GUARD(60);

    SECTION("eventfd");
    RES(eventfd(0, 0x1000));
    RES(fd = eventfd(5, EFD_CLOEXEC));
    HEX(fcntl(fd, F_GETFD));
    HEX(fcntl(fd, F_GETFL));
    RES(read(fd, &value, 8));
    NUM(value);
    RES(fcntl(fd, F_SETFL, O_NONBLOCK));
    RES(read(fd, &value, 8));
    value = 3;
    RES(write(fd, &value, 8));
    RES(write(fd, &value, 8));
    RES(read(fd, &value, 7));
    RES(write(fd, &value, 7));
    RES(read(fd, &value, 100 - 92));
    NUM(value);
    value = 0;
    RES(write(fd, &value, 8));
    RES(read(fd, &value, 8));
    value = -1;
    RES(write(fd, &value, 8));
    value = -2;
    RES(write(fd, &value, 8));
    value = 1;
    RES(write(fd, &value, 8));
    RES(read(fd, &value, 8));
    IS(value == (uint64_t)-2);
    RES(read(fd, (void *)8, 8));
    value = 1;
    write(fd, &value, 8);
    RES(read(fd, (void *)8, 8));
    RES(write(fd, (void *)8, 8));
    RES(lseek(fd, 0, SEEK_SET));
    RES(pread(fd, &value, 8, 0));
    RES(fstat(fd, &st));
    OCT(st.st_mode);
    RES(ftruncate(fd, 0));
    RES(syscall(SYS_eventfd, 1));
    RES(fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    RES(read(fd, &value, 8));
    NUM(value);
    RES(read(fd, &value, 8));
    NUM(value);
    RES(read(fd, &value, 8));
    fcntl(fd, F_SETFL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        eventfd_write(fd, 2);
        _exit(0);
    }
    RES(read(fd, &value, 8));
    NUM(value);
    RES(read(fd, &value, 8));
    reap("writer", pid);
    fd = eventfd(0, 0);
    value = -2;
    write(fd, &value, 8);
    pid = fork();
    if (pid == 0) {
        value = 1;
        _exit(write(fd, &value, 8));
    }
    await_state(pid, 'S');
    RES(read(fd, &value, 8));
    reap("blocked writer", pid);
    RES(read(fd, &value, 8));
    NUM(value);

    SECTION("signalfd");
    sigset_t set, other;
    struct signalfd_siginfo info[4];
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, 40);
    sigaddset(&set, SIGKILL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    RES(signalfd(-1, &set, 0x1000));
    RES(syscall(SYS_signalfd4, -1, &set, 4L, 0));
    RES(syscall(SYS_signalfd4, -1, (void *)8, 8L, 0));
    RES(signalfd(0, &set, 0));
    RES(signalfd(999, &set, 0));
    RES(fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    HEX(fcntl(fd, F_GETFL));
    RES(read(fd, info, sizeof info));
    RES(read(fd, info, 10));
    RES(write(fd, info, 128));
    raise(SIGUSR1);
    struct pollfd p = {fd, POLLIN, 0};
    RES(poll(&p, 1, 0));
    RES(read(fd, info, sizeof info));
    say("%s code %d pid %s uid %d", signame(info->ssi_signo), info->ssi_code, (pid_t)info->ssi_pid == getpid() ? "mine" : "other", info->ssi_uid);
    RES(read(fd, info, sizeof info));
    union sigval v = {.sival_int = 5};
    sigqueue(getpid(), 40, v);
    v.sival_int = 6;
    sigqueue(getpid(), 40, v);
    sigqueue(getpid(), SIGUSR2, v);
    RES(read(fd, info, sizeof info) / 128);
    for (int i = 0; i < 3; i++)
        say("%s value %d", signame(info[i].ssi_signo), info[i].ssi_int);
    pid = fork();
    if (pid == 0)
        _exit(9);
    fcntl(fd, F_SETFL, 0);
    RES(read(fd, info, sizeof info));
    say("%s code %d status %d pid %s", signame(info->ssi_signo), info->ssi_code, info->ssi_status, (pid_t)info->ssi_pid == pid ? "child" : "other");
    reap("child", pid);
    sigemptyset(&other);
    sigaddset(&other, SIGUSR2);
    RES(signalfd(fd, &other, 0) == fd);
    raise(SIGUSR1);
    raise(SIGUSR2);
    RES(read(fd, info, sizeof info));
    say("%s", signame(info->ssi_signo));
    struct timespec zero = {0, 0};
    RES(sigtimedwait(&set, NULL, &zero));
    pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        kill(getppid(), SIGUSR2);
        _exit(0);
    }
    RES(read(fd, info, sizeof info));
    reap("sender", pid);
    pid = fork();
    if (pid == 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        raise(SIGUSR2);
        RES(read(fd, info, sizeof info));
        say("in the child: pid %s", (pid_t)info->ssi_pid == getpid() ? "its own" : "another");
        _exit(0);
    }
    reap("child reads its own signals", pid);
    return 0;
}
