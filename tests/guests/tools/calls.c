/* calls NR[:ARG...]...: makes each system call by number, and prints what it answers: value or errno. */
#include "../check.h"

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        unsigned long args[7] = { 0 };
        char *at = argv[i];
        for (int n = 0; n < 7 && *at; n++, at += *at == ':')
            args[n] = strtoul(at, &at, 0);
        errno = 0;
        long result = syscall((long)args[0], args[1], args[2], args[3], args[4], args[5], args[6]);
        if (result < 0 && errno)
            say("%s: %s", argv[i], errname(errno));
        else
            say("%s: %s", argv[i], result ? "positive" : "0");
    }
    return 0;
}
