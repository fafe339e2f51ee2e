/* The seed of the ptrace platform: a static executable without libc, exec'ed by the Sentry, from
 * which all guest address spaces are forked. It gives up every right that it has, leaves
 * one page with `syscall; int3` above the guest's addresses, and stops for its tracer, which unmaps
 * everything else. It never runs again but for calls that the tracer injects. */
#include <asm/unistd_64.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include "ptrace_abi.h"

#define EINVAL 22
#define AT_SYSINFO_EHDR 33

static long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#define SYS(nr, a, b, c, d, e, f) sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static void __attribute__((noreturn)) report(long step, long error, uint64_t region, uint64_t vdso, long filter)
{
	for (;;)
		__asm__ volatile("int3" : : "a"(step), "b"(error), "D"(region), "S"(vdso), "d"(filter));
}

/* All descriptors but the control socket. */
static void close_others(void)
{
	struct rlimit files = {0, 0};
	if (SYS(__NR_close_range, TR_CONTROL + 1, ~0u, 0, 0, 0, 0) == 0)
		return;
	SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, &files, 0, 0);
	for (uint64_t fd = TR_CONTROL + 1; fd < files.rlim_cur && fd < 1 << 20; fd++)
		SYS(__NR_close, fd, 0, 0, 0, 0, 0);
}

static void drop_rights(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
	struct rlimit one = {1, 1}, files = {TR_SLOT + 1, TR_SLOT + 1};
	long error;

	/* Without CAP_SETPCAP the bounding set stays; no_new_privs makes it harmless. */
	for (long cap = 0; SYS(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0, 0) == 0; cap++)
		;
	SYS(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0);
	if ((error = SYS(__NR_capset, &header, none, 0, 0, 0, 0)))
		report(TR_E_CAPS, -error, 0, 0, 0);
	if ((error = SYS(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)))
		report(TR_E_PRIVS, -error, 0, 0, 0);
	/* 1, not 0: a core_pattern that is a pipe runs its helper even with the limit 0 (core(5)). */
	if ((error = SYS(__NR_prlimit64, 0, RLIMIT_CORE, &one, 0, 0, 0)))
		report(TR_E_LIMITS, -error, 0, 0, 0);
	if ((error = SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, &files, 0, 0, 0)))
		report(TR_E_LIMITS, -error, 0, 0, 0);
	SYS(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0); /* process_vm_* asks for it */
	SYS(__NR_prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0, 0);
	SYS(__NR_prctl, PR_SET_NAME, "stockade-guest", 0, 0, 0, 0);
}

static uint64_t map_region(void)
{
	long error = EINVAL;
	for (int try = 0; try < TR_TRIES; try++) {
		uint64_t at = TR_FIRST + try * TR_STEP;
		long got = SYS(__NR_mmap, at, TR_REGION, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (got == (long)at) {
			SYS(__NR_mprotect, at, 0x1000, PROT_READ | PROT_WRITE, 0, 0, 0);
			for (int i = 0; i < 4096; i++)
				((volatile uint8_t *)at)[i] = 0xcc;
			((volatile uint8_t *)at)[0] = 0x0f;
			((volatile uint8_t *)at)[1] = 0x05;
			error = SYS(__NR_mprotect, at, 0x1000, PROT_READ | PROT_EXEC, 0, 0, 0);
			if (!error)
				error = SYS(__NR_mprotect, at + TR_SCRATCH, 0x1000, PROT_READ | PROT_WRITE, 0, 0, 0);
			if (error)
				report(TR_E_MAP, -error, 0, 0, 0);
			return at;
		}
		if (got > 0) /* before Linux 4.17 the flag is unknown and the address a hint */
			SYS(__NR_munmap, got, TR_REGION, 0, 0, 0, 0);
		else
			error = -got;
	}
	report(TR_E_MAP, error, 0, 0, 0);
}

/* A second wall behind PTRACE_SYSEMU: the calls that the tracer injects, from the one place where it
 * injects them. Injected calls alone ever get here (kernel/entry/common.c asks the tracer before the
 * filter), and vsyscalls, which PTRACE_SYSEMU does not see: RET_TRAP makes them signals.
 * Returns 0 where the host has no filters. */
static long install_filter(uint64_t region)
{
	static const uint8_t allowed[] = {__NR_mmap, __NR_munmap, __NR_mprotect, __NR_madvise, __NR_mremap,
					  __NR_recvmsg, __NR_close, __NR_clone, __NR_exit};
	enum { N = sizeof(allowed), HEAD = 6 };
	uint64_t ip = region + 2; /* the instruction behind `syscall` */
	struct sock_filter code[HEAD + N + 3] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, HEAD + N + 1 - 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)ip, 0, HEAD + N + 1 - 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(ip >> 32), 0, HEAD + N + 1 - 6),
	};
	int n = HEAD;
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < N; i++, n++)
		code[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], N - i, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {n, code};
	/* No mitigations of Spectre type for the filter's sake: guests share nothing with their thread. */
	if (SYS(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program, 0, 0, 0) == 0)
		return 1;
	return SYS(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0, 0) == 0;
}

static __attribute__((noreturn, used)) void seed_main(uint64_t *sp)
{
	uint64_t argc = sp[0], *p = sp + 1 + argc + 1, vdso = 0, region;
	char byte = 'R';

	while (*p++) /* environment */
		;
	for (; p[0]; p += 2)
		if (p[0] == AT_SYSINFO_EHDR)
			vdso = p[1];

	close_others();
	drop_rights();
	region = map_region();
	/* Ready to be seized: from here on the Sentry may, since no capability is left. */
	if (SYS(__NR_write, TR_CONTROL, &byte, 1, 0, 0, 0) != 1 || SYS(__NR_read, TR_CONTROL, &byte, 1, 0, 0, 0) != 1)
		report(TR_E_HELLO, EINVAL, 0, 0, 0);
	report(0, 0, region, vdso, install_filter(region));
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall seed_main\n");
