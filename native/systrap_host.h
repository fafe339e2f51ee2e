/* The Sentry's side of the systrap platform: host calls that Cython has no header for, and the shared
 * memory accesses that need an order. Only static inline functions; sentry/platform/systrap.pyx includes it. */
#ifndef STOCKADE_SYSTRAP_HOST_H
#define STOCKADE_SYSTRAP_HOST_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include "systrap.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define SH_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static inline uint64_t sh_tsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* And the number of this CPU. */
static inline uint64_t sh_tscp(uint32_t *cpu)
{
	uint32_t lo, hi, aux;
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	*cpu = aux & 0xfff;
	return (uint64_t)hi << 32 | lo;
}

static inline int64_t sh_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void sh_pause(void) { __builtin_ia32_pause(); }
static inline void sh_yield(void) { sched_yield(); }

/* --- shared words --- */
static inline uint32_t sh_turn(struct st_ctx *c) { return __atomic_load_n(&c->turn, __ATOMIC_ACQUIRE); }
static inline uint32_t sh_read32(uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void sh_write32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline void sh_write64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t sh_peek64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint64_t sh_take64(uint64_t *p) { return __atomic_exchange_n(p, 0, __ATOMIC_SEQ_CST); }

/* Gives the turn to the stub and wakes it if it sleeps; whether it did. */
static inline int sh_give(struct st_ctx *c)
{
	if (__atomic_exchange_n(&c->turn, ST_TURN_STUB, __ATOMIC_SEQ_CST) != ST_TURN_ASLEEP)
		return 0;
	syscall(SYS_futex, &c->turn, FUTEX_WAKE, 1, 0, 0, 0);
	return 1;
}

/* Stops looking at a context's turn: from now on its stub sets the ready bit. An event that came before is marked here. */
static inline void sh_unpoll(struct st_ctx *c, uint64_t *ready, int slot)
{
	__atomic_store_n(&c->polled, 0, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->turn, __ATOMIC_SEQ_CST) != ST_TURN_STUB)
		__atomic_fetch_or(ready + slot / 64, 1ull << slot % 64, __ATOMIC_SEQ_CST);
}

/* The ready words of one address space: whether any bit is set. */
static inline int sh_any(uint64_t *ready, unsigned words)
{
	uint64_t any = 0;
	for (unsigned i = 0; i < words; i++)
		any |= sh_peek64(ready + i);
	return any != 0;
}

struct sh_entry { uint64_t *ready; uint32_t words; uint32_t index; };

/* Where something is to be done: the index of a polled context, those behind `last` first, or SH_HOT + that of an
 * address space, or -1. */
#define SH_HOT 4
static inline int sh_look(struct st_ctx **hot, unsigned last, struct sh_entry *e, int n)
{
	for (unsigned k = 1; k <= SH_HOT; k++) {
		unsigned i = (last + k) % SH_HOT;
		if (hot[i] && __atomic_load_n(&hot[i]->turn, __ATOMIC_ACQUIRE) != ST_TURN_STUB)
			return (int)i;
	}
	for (int i = 0; i < n; i++)
		if (sh_any(e[i].ready, e[i].words))
			return SH_HOT + i;
	return -1;
}

/* The part of a call that argument `arg` names, if the stub brought it (`mask`): its place in the buffer, its length
 * and its index. */
static inline int sh_part(const struct st_row *row, const uint64_t *args, uint32_t mask, unsigned arg, uint32_t *off, uint32_t *len)
{
	uint32_t used = 0;
	for (unsigned i = 0; i < row->nparts && i < ST_PARTS; i++) {
		*off = used;
		*len = st_place(&row->parts[i], args, &used);
		if (row->parts[i].arg == arg && (row->parts[i].kind & 0x7fu) < ST_M_GATHER && mask >> i & 1)
			return (int)i;
	}
	return -1;
}

/* Where the iovec array of a call lies in the buffer; -1: it was not carried. */
static inline long sh_vector(const struct st_row *row, const uint64_t *args, uint32_t mask)
{
	uint32_t used = 0;
	for (unsigned i = 0; i < row->nparts && i < ST_PARTS; i++) {
		uint32_t off = used, len = st_place(&row->parts[i], args, &used);
		if ((row->parts[i].kind & 0x7fu) >= ST_M_GATHER && len && mask >> i & 1)
			return off;
	}
	return -1;
}

/* --- guest memory; bytes copied, or -errno --- */
static inline long sh_vm_read(int pid, void *to, uint64_t addr, uint64_t len)
{
	struct iovec l = { to, len }, r = { (void *)addr, len };
	long n = process_vm_readv(pid, &l, 1, &r, 1, 0);
	return n < 0 ? -errno : n;
}

/* In steps: pages that are missing are made by the call, which keeps the guest's memory alive meanwhile. Where none is left,
 * the host kills the guest, and others as well if what it had does not come back soon. */
#define SH_STEP (1u << 17)
static inline long sh_vm_write(int pid, const void *from, uint64_t addr, uint64_t len)
{
	uint64_t done = 0, want;
	do {
		want = len - done < SH_STEP ? len - done : SH_STEP;
		struct iovec l = { (char *)from + done, want }, r = { (void *)(addr + done), want };
		long n = process_vm_writev(pid, &l, 1, &r, 1, 0);
		if (n < 0)
			return done ? (long)done : -errno;
		done += (uint64_t)n;
		if ((uint64_t)n < want)
			break;
	} while (done < len);
	return (long)done;
}

/* --- processes --- */
static inline int sh_tgkill(int pid, int tid, int sig) { return syscall(SYS_tgkill, pid, tid, sig) < 0 ? -errno : 0; }
static inline int sh_pidfd_open(int pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : (int)fd;
}
static inline int sh_pidfd_kill(int fd) { return syscall(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0) < 0 ? -errno : 0; }

/* 0: a living child of ours, 1: a dead one (reaped if `reap`), -errno: not our child. */
static inline int sh_child(int pid, int reap)
{
	siginfo_t info;
	info.si_pid = 0;
	if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | (reap ? 0 : WNOWAIT)) < 0)
		return -errno;
	return info.si_pid == pid;
}

/* CPU time of a process, ns, or -1. */
static inline int64_t sh_cpu_time(int pid)
{
	struct timespec t;
	clockid_t clock = (clockid_t)((~(unsigned)pid << 3) | 2);
	if (clock_gettime(clock, &t) < 0)
		return -1;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- context memory: a memfd of fixed size, mapped here; -errno or 0 --- */
static inline int sh_new_context(void **where, int *fd_out)
{
	int fd = memfd_create("stockade-ctx", MFD_CLOEXEC | MFD_ALLOW_SEALING), error;
	void *p;
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, ST_CTX_LEN) < 0 || fcntl(fd, F_ADD_SEALS, SH_SEALS) < 0)
		goto bad;
	p = mmap(NULL, ST_CTX_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		goto bad;
	((struct st_ctx *)((char *)p + ST_CTX_SIZE))->turn = 0; /* has the page ready, which whoever needs it waits for */
	*where = p;
	*fd_out = fd;
	return 0;
bad:
	error = errno;
	close(fd);
	return -error;
}

static inline void sh_unmap_context(void *p) { munmap(p, ST_CTX_LEN); }

static inline struct st_ctx *sh_ctx(void *base, int slot)
{
	return (struct st_ctx *)((char *)base + (uint64_t)(slot + 1) * ST_CTX_SIZE);
}

static inline char *sh_buf(void *base, int slot) { return (char *)base + ST_BUF_OFF + (uint64_t)slot * ST_BUF_SIZE; }

/* --- the listener --- */
struct sh_notif { uint64_t id; int pid; int nr; uint64_t args[6]; };

static inline int sh_notif_recv(int fd, struct sh_notif *out)
{
	struct seccomp_notif n;
	memset(&n, 0, sizeof n);
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0)
		return -errno;
	out->id = n.id;
	out->pid = (int)n.pid;
	out->nr = n.data.nr;
	memcpy(out->args, n.data.args, sizeof out->args);
	return 0;
}

static inline int sh_notif_continue(int fd, uint64_t id)
{
	struct seccomp_notif_resp r = { .id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r) < 0 ? -errno : 0;
}

static inline int sh_notif_answer(int fd, uint64_t id, int64_t value, int error)
{
	struct seccomp_notif_resp r = { .id = id, .val = error ? 0 : value, .error = -error };
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r) < 0 ? -errno : 0;
}

static inline int sh_notif_addfd(int fd, uint64_t id, int src, int to)
{
	struct seccomp_notif_addfd a = { .id = id, .flags = SECCOMP_ADDFD_FLAG_SETFD, .srcfd = (uint32_t)src, .newfd = (uint32_t)to };
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a) < 0 ? -errno : 0;
}

/* The same as the answer to the call, which returns the number. */
static inline int sh_notif_hand_fd(int fd, uint64_t id, int src, int to)
{
	struct seccomp_notif_addfd a = { .id = id, .flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND, .srcfd = (uint32_t)src, .newfd = (uint32_t)to };
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a) < 0 ? -errno : 0;
}

static inline int sh_notif_valid(int fd, uint64_t id) { return ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0; }

/* --- epoll --- */
static inline int sh_epoll_ctl(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	return epoll_ctl(ep, op, fd, &e) < 0 ? -errno : 0;
}

/* timeout in ns, -1: none. Number of events or -errno. */
static inline int sh_epoll_wait(int ep, struct epoll_event *events, int max, int64_t timeout)
{
	struct timespec t = { timeout / 1000000000, timeout % 1000000000 };
	long n;
	if (timeout == 0)
		n = epoll_wait(ep, events, max, 0);
	else
		n = syscall(SYS_epoll_pwait2, ep, events, max, timeout < 0 ? NULL : &t, NULL, 0);
	return n < 0 ? -errno : (int)n;
}

/* Silences a doorbell. */
static inline void sh_hush(int bell)
{
	uint64_t rings;
	if (read(bell, &rings, sizeof rings) < 0)
		return; /* nobody has rung: a look too many */
}

static inline int sh_cpus(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

/* Move this thread to one CPU, or (-1) back to all of `allowed`. */
static inline int sh_move(int cpu, const cpu_set_t *allowed)
{
	cpu_set_t one;
	if (cpu < 0)
		return sched_setaffinity(0, sizeof *allowed, allowed);
	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, allowed))
		return -1;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof one, &one);
}

static inline int sh_ordinary(void) { return sched_getscheduler(0) == SCHED_OTHER; }

/* Whether this thread, woken, waits until others give up the CPU (SCHED_BATCH) or takes it from them. 0, or -1. */
static inline int sh_batch(int batch)
{
	struct sched_param none = { 0 };
	return sched_setscheduler(0, batch ? SCHED_BATCH : SCHED_OTHER, &none);
}

static inline int sh_cpu(void)
{
	uint32_t lo, hi, aux;
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	return (int)(aux & 0xfff);
}

/* Go to another CPU than this one, and be free to move again. */
static inline void sh_leave(int cpu, const cpu_set_t *allowed)
{
	cpu_set_t others = *allowed;
	CPU_CLR(cpu, &others);
	if (CPU_COUNT(&others) && sched_setaffinity(0, sizeof others, &others) == 0)
		sched_setaffinity(0, sizeof *allowed, allowed);
}

/* Where thread `tid` may run; a failure leaves it as it is. */
static inline void sh_place(int tid, const cpu_set_t *set) { sched_setaffinity(tid, sizeof *set, set); }

static inline int sh_allowed(cpu_set_t *set) { return sched_getaffinity(0, sizeof *set, set); }

/* Where a function of the host's vDSO is, counted from its start; 0: it has none. */
static inline uint64_t sh_vdso_symbol(const char *name)
{
	void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
	uint64_t at = vdso ? (uint64_t)dlvsym(vdso, name, "LINUX_2.6") : 0;
	return at ? at - getauxval(AT_SYSINFO_EHDR) : 0;
}

static inline int sh_has_bmi2(void) { return __builtin_cpu_supports("bmi2") != 0; }
/* Executes the stub, with the descriptors `have` at the numbers `want`, in a network namespace of its own: the Sentry itself
 * may be in the container's. The pid or -errno. */
#define SH_PLACES 4
static inline int sh_spawn_apart(const char *stub, const int *have, const int *want)
{
	static char *const argv[] = { "stockade-guest", NULL };
	static char *const envp[] = { NULL };
	volatile int error = 0; /* vfork: the child has our memory */
	int pid = vfork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) == 0) {
			int i = 0;
			while (i < SH_PLACES && dup2(have[i], want[i]) == want[i])
				i++;
			if (i == SH_PLACES)
				execve(stub, argv, envp);
		}
		error = errno;
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	if (error)
		waitpid(pid, NULL, 0);
	return error ? -error : pid;
}

static inline int sh_has_fsgsbase(void) { return (getauxval(AT_HWCAP2) & 2) != 0; }

#endif
