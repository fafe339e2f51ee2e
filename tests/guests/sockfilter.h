/* Socket filters in guests: attaching one, and what a socket still has. */
#include "check.h"
#include <linux/filter.h>

static int attach_as(int fd, int option, struct sock_filter *code, int count)
{
    struct sock_fprog program = {count, code};
    return setsockopt(fd, SOL_SOCKET, option, &program, sizeof program);
}

#define ATTACH(fd, ...)                                                                           \
    ({                                                                                            \
        struct sock_filter code_[] = {__VA_ARGS__};                                               \
        attach_as(fd, SO_ATTACH_FILTER, code_, sizeof code_ / sizeof *code_);                     \
    })

static void drain(const char *what, int fd)
{
    char data[256];
    long n;
    int count = 0;
    while ((n = recv(fd, data, sizeof data, MSG_DONTWAIT)) >= 0 && count++ < 20)
        show(what, data, n);
    say("%s: then %s", what, errname(errno));
}
