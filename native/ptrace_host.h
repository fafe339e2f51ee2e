/* The Sentry's side of the ptrace platform: what is awkward to say in Cython. */
#ifndef STOCKADE_PTRACE_HOST_H
#define STOCKADE_PTRACE_HOST_H

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "ptrace_abi.h"

#define TR_REGS 27 /* words of user_regs_struct */
_Static_assert(sizeof(struct user_regs_struct) == TR_REGS * 8, "user_regs_struct");

#define TR_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)
#define TR_EVENT_STOP 128

/* Not in glibc 2.36 with these names. */
#define TR_SYSEMU 31
#define TR_SYSCALL_INFO 0x420e
struct tr_syscall_info {
	uint8_t op;
	uint8_t pad[3];
	uint32_t arch;
	uint64_t ip, sp;
	uint64_t nr, args[6];
	uint64_t spare[4];
};

#define TR_VSYSCALL_PAGE 0xffffffffff600000ull

/* Forks and executes the seed from the descriptor `image` with `control` as its only other descriptor.
 * Returns the process id or -errno; a failed exec is told as a message {'E', errno} on `control`. */
static inline int tr_spawn(int image, int control, int apart)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid < 0 ? -errno : pid;
	sigset_t none;
	static char *const argv[] = {"stockade-guest", NULL};
	static char *const envp[] = {NULL};
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	int moved = fcntl(image, F_DUPFD_CLOEXEC, 3);
	/* Where allowed: keeps the host's vDSO, which may refuse to be unmapped, above the guest. */
	personality(ADDR_NO_RANDOMIZE);
	if (moved >= 0 && (!apart || unshare(CLONE_NEWNET) == 0) && dup2(control, TR_CONTROL) == TR_CONTROL && fcntl(TR_CONTROL, F_SETFD, 0) == 0)
		syscall(SYS_execveat, moved, "", argv, envp, AT_EMPTY_PATH);
	char message[2] = {'E', (char)errno};
	if (write(control, message, 2) != 2)
		_exit(126);
	_exit(127);
}

/* Sends one byte with the descriptor fd. 0 or -errno. */
static inline int tr_send_fd(int sock, int fd)
{
	char byte = 'F';
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	memset(&control, 0, sizeof(control));
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* Throws away what a guest process did not receive; descriptors that come along are dropped unseen. */
static inline void tr_drain(int sock)
{
	char byte;
	while (recv(sock, &byte, 1, MSG_DONTWAIT) > 0)
		;
}

/* Fills the page of arguments for an injected recvmsg; returns the address of the msghdr. The layout
 * is the kernel's struct msghdr, then iovec, control buffer and data. */
struct tr_scratch {
	struct msghdr msg;
	struct iovec iov;
	char control[CMSG_SPACE(sizeof(int))];
	char data[8];
};
static inline int tr_fill_scratch(int pid, uint64_t at)
{
	struct tr_scratch s;
	memset(&s, 0, sizeof(s));
	s.msg.msg_iov = (void *)(at + offsetof(struct tr_scratch, iov));
	s.msg.msg_iovlen = 1;
	s.msg.msg_control = (void *)(at + offsetof(struct tr_scratch, control));
	s.msg.msg_controllen = sizeof(s.control);
	s.iov.iov_base = (void *)(at + offsetof(struct tr_scratch, data));
	s.iov.iov_len = 1;
	struct iovec local = {&s, sizeof(s)}, remote = {(void *)at, sizeof(s)};
	return process_vm_writev(pid, &local, 1, &remote, 1, 0) == sizeof(s) ? 0 : -errno;
}

/* --- FP state: images as the kernel puts them into signal frames (arch/x86/kernel/fpu/signal.c) --- */
#define TR_FX 512   /* FXSAVE area; bytes 464.. are the kernel's sw_reserved */
#define TR_FX_SW 464
#define TR_XHEADER 64
#define TR_MAGIC1 0x46505853u
#define TR_MAGIC2 0x46505845u
#define TR_AMX (3ull << 17) /* tile state needs a permission that guests never get */

struct tr_fx_sw {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};
_Static_assert(sizeof(struct tr_fx_sw) == 48, "sw_reserved");

/* Size of a standard-format area that holds the given features. */
static inline uint32_t tr_xstate_size(uint64_t features)
{
	uint32_t size = TR_FX + TR_XHEADER, a, b, c, d;
	for (int i = 2; i < 63; i++)
		if (features >> i & 1 && __get_cpuid_count(0xd, i, &a, &b, &c, &d) && a && a + b > size)
			size = a + b;
	return size;
}

/* The initial state in a regset of `size` bytes. */
static inline void tr_fp_initial(uint8_t *area, size_t size)
{
	uint16_t fcw = 0x37f;
	uint32_t mxcsr = 0x1f80;
	uint64_t bv = 3;
	memset(area, 0, size);
	memcpy(area, &fcw, 2);
	memcpy(area + 24, &mxcsr, 4);
	memcpy(area + TR_FX, &bv, 8);
}

/* Turns a regset into a signal frame image, in place; `area` has room for the trailing magic. */
static inline void tr_fp_to_frame(uint8_t *area, uint64_t features, uint32_t size)
{
	struct tr_fx_sw sw = {TR_MAGIC1, size + 4, features, size, {0}};
	uint32_t magic2 = TR_MAGIC2;
	uint64_t bv;
	memcpy(&bv, area + TR_FX, 8);
	bv &= features;
	memcpy(area + TR_FX, &bv, 8);
	memcpy(area + TR_FX_SW, &sw, sizeof(sw));
	memcpy(area + size, &magic2, 4);
}

/* How many bytes of a frame image to read, from its first TR_FX bytes; only TR_FX when it is not an
 * extended one. */
static inline uint32_t tr_fp_frame_size(const uint8_t *area, uint32_t size)
{
	struct tr_fx_sw sw;
	memcpy(&sw, area + TR_FX_SW, sizeof(sw));
	if (sw.magic1 != TR_MAGIC1 || sw.xstate_size < TR_FX + TR_XHEADER || sw.xstate_size > size ||
	    sw.xstate_size > sw.extended_size)
		return TR_FX;
	return sw.xstate_size;
}

/* Turns a frame image of `got` bytes (the rest of the `full` bytes is zero) into a regset. -1: the
 * processor would refuse it (XRSTOR raises #GP). */
static inline int tr_fp_from_frame(uint8_t *area, uint32_t got, uint64_t features, uint32_t mxcsr_mask)
{
	struct tr_fx_sw sw;
	uint64_t bv = 3;
	uint32_t mxcsr;
	uint16_t fcw = 0x37f;
	memcpy(&sw, area + TR_FX_SW, sizeof(sw));
	memset(area + TR_FX_SW, 0, sizeof(sw));
	memcpy(&mxcsr, area + 24, 4);
	if (mxcsr & ~mxcsr_mask)
		return -1;
	if (got > TR_FX) {
		memcpy(&bv, area + TR_FX, 8);
		if (bv & ~features)
			return -1;
		for (int i = 8; i < TR_XHEADER; i++)
			if (area[TR_FX + i])
				return -1;
		bv &= sw.xfeatures;
		/* XRSTOR takes MXCSR from the image even when it initialises the registers. */
		if (!(bv & 1)) {
			memset(area, 0, 24);
			memset(area + 32, 0, 128);
			memcpy(area, &fcw, 2);
		}
		if (!(bv & 2))
			memset(area + 160, 0, 256);
		bv |= 3;
	}
	memcpy(area + TR_FX, &bv, 8);
	return 0;
}

/* epoll_pwait2 (Linux 5.11) where there is one; timeout in ns, negative: for ever. */
static inline int tr_epoll_wait(int epfd, struct epoll_event *events, int max, int64_t timeout)
{
	static int old;
	if (!old) {
		struct timespec ts = {timeout / 1000000000, timeout % 1000000000};
		int n = syscall(441, epfd, events, max, timeout < 0 ? NULL : &ts, NULL, 8);
		if (n >= 0 || errno != ENOSYS)
			return n;
		old = 1;
	}
	int64_t ms = timeout < 0 ? -1 : (timeout + 999999) / 1000000;
	return epoll_wait(epfd, events, max, ms > 0x7fffffff ? 0x7fffffff : ms);
}

/* The trap number of a fault, and its error code in *error. ptrace shows neither; they follow from what it shows,
 * but for the error code's bits that tell writes from reads and absent pages from protected ones. */
static inline int tr_trap(int sig, int code, int *error)
{
	enum { DIVIDE, DEBUG, BREAKPOINT = 3, OPCODE = 6, PROTECTION = 13, PAGE, FLOAT = 16, ALIGNMENT, USER = 4 };
	int page = (sig == SIGSEGV && code != SI_KERNEL) || (sig == SIGBUS && code != BUS_ADRALN);
	*error = page ? USER : 0;
	switch (sig) {
	case SIGSEGV: return page ? PAGE : PROTECTION;
	case SIGBUS: return page ? PAGE : ALIGNMENT;
	case SIGFPE: return code == FPE_INTDIV ? DIVIDE : FLOAT;
	case SIGILL: return OPCODE;
	default: return code == SI_KERNEL ? BREAKPOINT : DEBUG;
	}
}

/* --- CPUs ---
 * The set that the Sentry may use when it starts is what guest threads get back. */
static cpu_set_t tr_all_cpus;

static inline int tr_cpus(void)
{
	if (sched_getaffinity(0, sizeof(tr_all_cpus), &tr_all_cpus) < 0)
		return 1; /* more CPUs than the set holds: leave placing to the host */
	return CPU_COUNT(&tr_all_cpus);
}

/* Binds a thread to one CPU, or (cpu < 0) to none. Failure is harmless: its cpuset lies elsewhere. */
static inline int tr_place(int tid, int cpu)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	if (cpu >= 0)
		CPU_SET(cpu, &one);
	return sched_setaffinity(tid, sizeof(one), cpu >= 0 ? &one : &tr_all_cpus);
}

static inline int64_t tr_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

#endif
