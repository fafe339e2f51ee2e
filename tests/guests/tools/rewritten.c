/* rewritten: whether a call site that is executed often looks different to loads than to the reader of /proc/self/mem. */
#include "../check.h"

__asm__(".text\nplace: .cfi_startproc\n mov $110, %eax\n syscall\n ret\n .cfi_endproc\n");
extern char place[];

int main(void)
{
    char seen[7];
    long (*volatile call)(void) = (void *)place;
    for (int i = 0; i < 100; i++)
        call();
    pread(open("/proc/self/mem", O_RDONLY), seen, sizeof seen, (long)place);
    say("%s", memcmp(seen, "\xb8\x6e\0\0\0\x0f\x05", 7) ? "WRONG" : memcmp(seen, place, 7) ? "rewritten" : "as it was");
    return 0;
}
