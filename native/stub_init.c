/* The seed: from exec to the first event. It moves itself above the guest's addresses, unmaps all
 * else, gives up every right and descriptor it has, and parks. All guest processes are its copies.
 *
 * Descriptors at exec (sentry/platform/systrap.pyx: Seed): 3 doorbell, 5 a socket to the Sentry,
 * 6 the shared page (O_RDONLY), 7 the memfd of its own contexts. A failure exits with a number that
 * tells the step; nothing is reported otherwise. */
#include <linux/mman.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <linux/resource.h>
#include "stub.h"

#define FD_SOCKET 5
#define FD_SHARED 6
#define FD_CONTEXTS 7

#define LOW 0x20000000ull /* set-up message, then a stack, while everything else is torn down */
#define LOW_MSG 0x10000ull
#define LOW_LEN 0x20000ull
#define LOW_VDSO 0x30000000ull
#define LOW_END 0x40000000ull
#define CODE_LEN ((uint64_t)(st_blob_end - st_blob_begin))
#define NR_MSEAL 462

static void __attribute__((noreturn)) fail(int step)
{
	for (;;)
		SYS(__NR_exit_group, step, 0, 0, 0, 0, 0);
}

static long must(long r, int step)
{
	if (r < 0 && r > -4096)
		fail(step);
	return r;
}

#define MUST(step, nr, a, b, c, d, e, f) must(SYS(nr, a, b, c, d, e, f), step)

static void map_anon(uint64_t addr, uint64_t len, int extra, int step)
{
	MUST(step, __NR_mmap, addr, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | extra, -1, 0);
}

/* Calls `function(setup)` on another stack, for good. */
static void __attribute__((noreturn)) on_stack(uint64_t top, uint64_t function, struct st_setup *setup)
{
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1\n\tud2" : : "r"(top), "r"(function), "D"(setup) : "memory");
	__builtin_unreachable();
}

struct msg {
	void *name;
	uint64_t namelen;
	struct { void *base; uint64_t len; } *iov;
	uint64_t iovlen;
	void *control;
	uint64_t controllen;
	uint64_t flags;
};

static void send_listener(int fd)
{
	struct { uint64_t len; int level, type, fd, pad; } control = { 20, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, fd, 0 };
	char byte = 'L';
	struct { void *base; uint64_t len; } iov = { &byte, 1 };
	struct msg m = { 0, 0, (void *)&iov, 1, &control, sizeof control, 0 };
	MUST(30, __NR_sendmsg, FD_SOCKET, &m, 0, 0, 0, 0);
}

static void on_signal(int sig, void (*handler)(int, siginfo_t *, void *), uint64_t flags)
{
	struct { void (*handler)(int, siginfo_t *, void *); uint64_t flags; void (*restorer)(void); uint64_t mask; } act = {
		handler, flags | SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */, st_restorer,
		1ull << (SIGSYS - 1) | 1ull << (ST_INTR_SIGNAL - 1),
	};
	MUST(20, __NR_rt_sigaction, sig, &act, 0, 8, 0, 0);
}

/* Step 3, in the final code, on the final stacks. */
static void __attribute__((noreturn, used)) st_final(struct st_setup *setup)
{
	struct sock_filter *filters = (struct sock_filter *)(setup + 1);
	struct sock_fprog a = { (unsigned short)setup->filter_a, filters };
	struct sock_fprog b = { (unsigned short)setup->filter_b, filters + setup->filter_a };
	struct rlimit core = { 1, 1 }; /* 0 does not stop a piped core_pattern, 1 does (fs/coredump.c) */
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	stack_t alt = { (void *)ST_STACK, 0, ST_STACK_SIZE };
	uint64_t mask = 0;
	long listener;

	MUST(10, __NR_munmap, 0, ST_LIMIT, 0, 0, 0, 0);
	MUST(11, __NR_mmap, ST_SHARED, ST_SHARED_LEN, PROT_READ, MAP_SHARED | MAP_FIXED, FD_SHARED, 0);
	MUST(12, __NR_mmap, ST_CTX, ST_CTX_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, FD_CONTEXTS, 0);
	SYS(NR_MSEAL, ST_TEXT, CODE_LEN, 0, 0, 0, 0); /* Linux 6.10; the filter's limit protects it anyway */

	SYS(__NR_prctl, PR_SET_NAME, "stockade-guest", 0, 0, 0, 0);
	MUST(13, __NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
	SYS(__NR_setsid, 0, 0, 0, 0, 0, 0); /* no signals from a terminal */
	MUST(14, __NR_prlimit64, 0, RLIMIT_CORE, &core, 0, 0, 0);
	MUST(15, __NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	for (int cap = 0; cap < 64; cap++) /* EINVAL past the last, EPERM without CAP_SETPCAP: then there are none */
		SYS(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0, 0);
	MUST(16, __NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0);
	MUST(17, __NR_capset, &header, none, 0, 0, 0, 0);

	MUST(18, __NR_sigaltstack, &alt, 0, 0, 0, 0, 0);
	MUST(19, __NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8, 0, 0);
	on_signal(SIGSYS, st_on_sigsys, 0);
	on_signal(SIGSEGV, st_on_fault, SA_NODEFER);
	on_signal(SIGBUS, st_on_fault, SA_NODEFER);
	on_signal(SIGFPE, st_on_fault, 0);
	on_signal(SIGILL, st_on_fault, 0);
	on_signal(SIGTRAP, st_on_fault, 0);
	on_signal(ST_INTR_SIGNAL, st_on_interrupt, 0);

	/* SPEC_ALLOW: no slower speculation settings for seccomp tasks before Linux 5.16. */
	listener = MUST(21, __NR_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
			&a, 0, 0, 0);
	send_listener((int)listener);
	MUST(31, __NR_close_range, 0, ST_FD_BELL - 1, 0, 0, 0, 0);
	MUST(32, __NR_close_range, ST_FD_BELL + 1, ~0u, 0, 0, 0, 0);
	MUST(33, __NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &b, 0, 0, 0);
	st_first_trap();
}

/* Step 2, in the final code, still on the low stack. */
static void __attribute__((noreturn, used)) st_high(struct st_setup *setup)
{
	char *to = (char *)ST_STACK + ST_STACK_SIZE; /* the second stack's memory; a thread overwrites it later */
	map_anon(ST_STACK, ST_STACKS_LEN, MAP_NORESERVE, 8);
	memcpy(to, setup, LOW_MSG);
	on_stack(ST_STACK + 3 * ST_STACK_SIZE, (uint64_t)(uintptr_t)st_final, (struct st_setup *)to);
}

/* Step 1, where exec loaded us, on the low stack: clear the place and move. */
static void __attribute__((noreturn, used)) st_move(struct st_setup *setup)
{
	uint64_t high = ST_TEXT + ((uint64_t)(uintptr_t)st_high - (uint64_t)(uintptr_t)st_blob_begin);
	for (uint32_t i = 0; i < setup->nranges; i++)
		MUST(3, __NR_mremap, setup->ranges[i].addr, setup->ranges[i].len, setup->ranges[i].len, 3,
		     LOW_VDSO + setup->ranges[i].to - ST_VDSO, 0);
	MUST(4, __NR_munmap, LOW_END, ST_TOP - LOW_END, 0, 0, 0, 0);
	for (uint32_t i = 0; i < setup->nranges; i++)
		MUST(5, __NR_mremap, LOW_VDSO + setup->ranges[i].to - ST_VDSO, setup->ranges[i].len, setup->ranges[i].len, 3,
		     setup->ranges[i].to, 0);
	map_anon(ST_TEXT, CODE_LEN, 0, 6);
	memcpy((void *)ST_TEXT, st_blob_begin, CODE_LEN);
	MUST(7, __NR_mprotect, ST_TEXT, CODE_LEN, PROT_READ | PROT_EXEC, 0, 0, 0);
	on_stack(LOW + LOW_LEN, high, setup);
}

void __attribute__((noreturn, used)) st_start(void)
{
	struct st_setup *setup = (struct st_setup *)LOW;
	uint64_t got = 0, want = sizeof *setup;
	map_anon(LOW, LOW_LEN, 0, 1);
	while (got < want) {
		long r = MUST(2, __NR_read, FD_SOCKET, (char *)setup + got, LOW_MSG - got, 0, 0, 0);
		if (r == 0)
			fail(2);
		got += (uint64_t)r;
		if (got >= sizeof *setup) {
			want = sizeof *setup + 8ull * (setup->filter_a + setup->filter_b);
			if (setup->magic != ST_MAGIC || want > LOW_MSG || setup->nranges > ST_RANGES)
				fail(2);
		}
	}
	on_stack(LOW + LOW_LEN, (uint64_t)(uintptr_t)st_move, setup);
}

__asm__(".globl _start\n.text\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall st_start\n\tud2\n");
