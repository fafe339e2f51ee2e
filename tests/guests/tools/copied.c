/* copied: whether a call site looks rewritten to loads before it was ever executed. Then it is, too few times to be
 * rewritten in this process. */
#include "../check.h"

__asm__(".text\nplace: .cfi_startproc\n mov $110, %eax\n syscall\n ret\n .cfi_endproc\n");
extern char place[];

int main(void)
{
    long (*volatile call)(void) = (void *)place;
    char seen[7], loaded[7];
    memcpy(loaded, place, 7);
    pread(open("/proc/self/mem", O_RDONLY), seen, sizeof seen, (long)place);
    for (int i = 0; i < 17; i++)
        if (call() != getppid())
            say("WRONG");
    for (int i = 0; i < 17; i++)
        if (getuid() != geteuid())
            say("WRONG");
    say("%s", memcmp(seen, "\xb8\x6e\0\0\0\x0f\x05", 7) ? "WRONG" : memcmp(seen, loaded, 7) ? "rewritten" : "as it was");
    return 0;
}
