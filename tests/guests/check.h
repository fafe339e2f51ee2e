/* check.h: how guest programs report. Each line is a result that must be equal natively and in the
 * sandbox, so nothing here prints a process id, an address, a time or anything that two runs of
 * Linux would not agree on. Output goes straight to descriptor 1: nothing is lost or doubled by
 * fork, exec or a crash. */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *format, ...) __attribute__((format(printf, 1, 2), unused));
static void say(const char *format, ...)
{
    char line[8192];
    va_list list;
    int saved = errno;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line - 1, format, list);
    va_end(list);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    for (int done = 0; done < length;) {
        ssize_t n = write(1, line + done, length - done);
        if (n < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            _exit(99);
        }
        done += n;
    }
    errno = saved;
}

static const char *errname(int number) __attribute__((unused));
static const char *errname(int number)
{
    const char *name = strerrorname_np(number);
    return name ? name : "E?";
}

static const char *signame(int number) __attribute__((unused));
static const char *signame(int number)
{
    static char text[4][24];
    static int turn;
    const char *name = number >= 0 && number < 32 ? sigabbrev_np(number) : NULL;
    char *out = text[turn++ & 3];
    if (name)
        snprintf(out, sizeof text[0], "SIG%s", name);
    else
        snprintf(out, sizeof text[0], "signal-%d", number);
    return out;
}

static void report(const char *what, long value) __attribute__((unused));
static void report(const char *what, long value)
{
    int saved = errno;
    if (value == -1 && saved)
        say("%s = -1 %s", what, errname(saved));
    else
        say("%s = %ld", what, value);
    errno = saved;
}

static void report_ok(const char *what, long value) __attribute__((unused));
static void report_ok(const char *what, long value)
{
    int saved = errno;
    if (value == -1 && saved)
        say("%s = -1 %s", what, errname(saved));
    else
        say("%s: ok", what);
    errno = saved;
}

/* An expression with its result, or -1 and the errno's name. */
#define RES(...)                                                                                  \
    ({                                                                                            \
        errno = 0;                                                                                \
        long result_ = (long)(__VA_ARGS__);                                                       \
        report(#__VA_ARGS__, result_);                                                            \
        result_;                                                                                  \
    })

/* The same where the value of a success is not deterministic (a pid, an address). */
#define OK(...)                                                                                   \
    ({                                                                                            \
        errno = 0;                                                                                \
        long result_ = (long)(__VA_ARGS__);                                                       \
        report_ok(#__VA_ARGS__, result_);                                                         \
        result_;                                                                                  \
    })

/* A function that returns the error number itself (pthread_*, posix_*, clock_nanosleep). */
#define ERR(...)                                                                                  \
    ({                                                                                            \
        int result_ = (int)(__VA_ARGS__);                                                         \
        say("%s -> %s", #__VA_ARGS__, result_ ? errname(result_) : "0");                          \
        result_;                                                                                  \
    })

/* A condition that holds on Linux. */
#define IS(...) say("%s: %s", #__VA_ARGS__, (__VA_ARGS__) ? "yes" : "NO")

/* A number, or one in hexadecimal or octal. */
#define NUM(...) say("%s is %ld", #__VA_ARGS__, (long)(__VA_ARGS__))
#define HEX(...) say("%s is %#lx", #__VA_ARGS__, (long)(__VA_ARGS__))
#define OCT(...) say("%s is %#lo", #__VA_ARGS__, (long)(__VA_ARGS__))

#define SECTION(name) say("# %s", name)

/* Bytes, escaped. */
static void show(const char *what, const void *data, long length) __attribute__((unused));
static void show(const char *what, const void *data, long length)
{
    char text[4096];
    int at = 0;
    const unsigned char *bytes = data;
    for (long i = 0; i < length && at < (int)sizeof text - 8; i++) {
        if (bytes[i] >= 32 && bytes[i] < 127 && bytes[i] != '\\')
            text[at++] = bytes[i];
        else
            at += snprintf(text + at, 8, "\\x%02x", bytes[i]);
    }
    text[at] = 0;
    say("%s \"%s\"", what, text);
}
#define SHOW(data, length) show(#data " is", data, length)

/* A whole file, by name. */
static void cat(const char *path) __attribute__((unused));
static void cat(const char *path)
{
    char data[4000];
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        say("cat %s: %s", path, errname(errno));
        return;
    }
    long length = read(fd, data, sizeof data);
    close(fd);
    say("cat %s: %ld bytes", path, length);
    show("  ", data, length < 0 ? 0 : length);
}

/* A file with this content. */
static void put(const char *path, const char *content) __attribute__((unused));
static void put(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
        say("put %s: %s", path, errname(errno));
    close(fd);
}

static void show_status(const char *what, int status) __attribute__((unused));
static void show_status(const char *what, int status)
{
    if (WIFEXITED(status))
        say("%s: exited %d", what, WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        say("%s: killed by %s", what, signame(WTERMSIG(status)));
    else if (WIFSTOPPED(status))
        say("%s: stopped by %s (event %d)", what, signame(WSTOPSIG(status)), status >> 16);
    else if (WIFCONTINUED(status))
        say("%s: continued", what);
    else
        say("%s: status %#x", what, status);
}

/* Waits for a child and says how it ended. */
static int reap(const char *what, pid_t pid) __attribute__((unused));
static int reap(const char *what, pid_t pid)
{
    int status = 0;
    pid_t got;
    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    if (got != pid)
        say("%s: waitpid %s", what, got < 0 ? errname(errno) : "another");
    else
        show_status(what, status);
    return status;
}

/* Runs a block in a child and says how that ended. */
#define CHILD(what, ...)                                                                          \
    ({                                                                                            \
        pid_t child_ = fork();                                                                    \
        if (child_ == 0) {                                                                        \
            __VA_ARGS__;                                                                          \
            _exit(0);                                                                             \
        }                                                                                         \
        if (child_ < 0)                                                                           \
            say("fork: %s", errname(errno));                                                      \
        reap(what, child_);                                                                       \
    })

static void sleep_ms(long ms) __attribute__((unused));
static void sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static long now_ms(void) __attribute__((unused));
static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The state letter of a thread in /proc (R S T Z …), 0 when gone. */
static char state_of(pid_t pid) __attribute__((unused));
static char state_of(pid_t pid)
{
    char path[64], data[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    long length = read(fd, data, sizeof data - 1);
    close(fd);
    if (length <= 0)
        return 0;
    data[length] = 0;
    char *end = strrchr(data, ')');
    return end ? end[2] : 0;
}

/* Waits until a thread of the process sleeps (two seconds at most). */
static void await_state(pid_t pid, char state) __attribute__((unused));
static void await_state(pid_t pid, char state)
{
    for (int i = 0; i < 2000; i++) {
        if (state_of(pid) == state)
            return;
        sleep_ms(1);
    }
    say("process never reached state %c (is %c)", state, state_of(pid));
}

/* Seconds after which a program that hangs is ended; each program starts with it. */
#define GUARD(seconds) alarm(seconds)

#endif
