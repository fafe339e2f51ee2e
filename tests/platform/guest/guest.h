/* Freestanding guest programs for the platform tests: no libc, loaded flat at 0x400000. The "kernel" behind them
 * is tests/platform/harness.py. */
#ifndef GUEST_H
#define GUEST_H
typedef unsigned long u64;
typedef unsigned int u32;
#define PAGE 4096

#ifdef SITES /* what a rewritten call site and its trampoline do */
#define SYSCALL "lea 2f(%%rip), %%r11\n\tmovabs $0x7ffe00010000, %%rcx\n\tjmp *%%rcx\n\tsyscall\n2:"
#else
#define SYSCALL "syscall"
#endif
static inline long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile(SYSCALL : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
#define SYS(nr, a, b, c) sys(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)

/* Calls that only the harness knows. */
#define REPORT(x) SYS(400, x, 0, 0)     /* the test sees x */
#define FORK() SYS(57, 0, 0, 0)
#define SPAWN() SYS(401, 0, 0, 0)       /* like fork, in one address space; the child gets rsp from the harness */
#define EXIT(x) SYS(60, x, 0, 0)
#define GROUP_EXIT(x) SYS(231, x, 0, 0)
#define GETPPID() SYS(110, 0, 0, 0)
#define WRITE(p, n) SYS(1, 1, p, n)
#define MAGIC(n, a, b) SYS(n, a, b, 0)
#define DIE(x) do { GROUP_EXIT(x); for (;;) ; } while (0)
#define CHECK(c) do { if (!(c)) DIE(__LINE__ & 0xffff); } while (0)

static inline u64 rdtsc(void) { u32 l, h; __asm__ volatile("rdtsc" : "=a"(l), "=d"(h)); return (u64)h << 32 | l; }
void run(u64 argument);
__asm__(".section .text.start,\"ax\"\n.globl _start\n_start:\n\tcall run\n\thlt\n.text\n");
#endif
