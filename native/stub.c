/* The stub: what runs in every guest process besides the guest. Signal handlers on a private
 * alternate stack turn traps, faults and interrupts into events in shared memory, wait for the
 * Sentry, and carry out its reply. Road (a) of the design: every guest system call arrives as SIGSYS.
 *
 * Nothing here is a wall. The guest shares the address space and may jump in, scribble on stacks and
 * contexts or send nonsense; the seccomp filter (sentry/platform/guest_filter.py) and the Sentry's
 * checks bound what that can do. The stub only has to be right for guests that leave it alone.
 *
 * The interrupt signal and SIGSYS are blocked in all handlers; SEGV and BUS are not, because the
 * copies here may fault. So an interrupt is delivered at an instruction of the guest, or waits until
 * rt_sigreturn opens the mask again: none gets lost between the test and the sleep. */
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include "stub.h"

#define EFAULT 14
#define EINVAL 22

#define FX_MXCSR 24
#define FX_MXCSR_MASK 28
#define FX_SW 464 /* struct _fpx_sw_bytes */
#define FX_SIZE 512
#define XSTATE_HEADER 64

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* Time since the last resumption, and the CPU (Linux keeps its number in TSC_AUX). */
static inline void stamp(struct st_ctx *c)
{
	uint32_t lo, hi, aux;
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	c->gap = ((uint64_t)hi << 32 | lo) - c->resumed;
	c->cpu = aux & 0xfff;
}

static inline struct st_ctx *context(uint32_t slot)
{
	return (struct st_ctx *)(ST_CTX + (uint64_t)(slot + 1) * ST_CTX_SIZE);
}

static inline char *buffer(uint32_t slot)
{
	return (char *)(ST_CTX + ST_BUF_OFF + (uint64_t)slot * ST_BUF_SIZE);
}

/* The handler's stack tells whose context it is. */
static inline uint32_t my_slot(void)
{
	return (uint32_t)(((uint64_t)__builtin_frame_address(0) - ST_STACK) >> ST_STACK_SHIFT) & 4095u;
}

/* An end by a call that nobody approved: the Sentry kills the process. Without a Sentry that call is ENOSYS, and a
 * fault in the handler of the same fault is the end. */
static void __attribute__((noreturn)) panic(void)
{
	SYS(__NR_exit, 125, 0, 0, 0, 0, 0);
	for (;;)
		__asm__ volatile("ud2");
}

/* --- events -------------------------------------------------------------------------------- */

static void save_regs(struct st_ctx *c, const struct ucontext *uc)
{
	const struct sigcontext *g = &uc->uc_mcontext;
	struct st_regs *r = &c->regs;
	r->r15 = g->r15, r->r14 = g->r14, r->r13 = g->r13, r->r12 = g->r12;
	r->rbp = g->rbp, r->rbx = g->rbx, r->r11 = g->r11, r->r10 = g->r10;
	r->r9 = g->r9, r->r8 = g->r8, r->rax = g->rax, r->rcx = g->rcx;
	r->rdx = g->rdx, r->rsi = g->rsi, r->rdi = g->rdi;
	r->orig_rax = (uint64_t)-1;
	r->rip = g->rip, r->rsp = g->rsp, r->eflags = g->eflags;
	r->fs_base = __builtin_ia32_rdfsbase64();
	r->gs_base = __builtin_ia32_rdgsbase64();
	c->nsegs = 0;
}

static void load_regs(const struct st_ctx *c, struct ucontext *uc)
{
	struct sigcontext *g = &uc->uc_mcontext;
	const struct st_regs *r = &c->regs;
	g->r15 = r->r15, g->r14 = r->r14, g->r13 = r->r13, g->r12 = r->r12;
	g->rbp = r->rbp, g->rbx = r->rbx, g->r11 = r->r11, g->r10 = r->r10;
	g->r9 = r->r9, g->r8 = r->r8, g->rax = r->rax, g->rcx = r->rcx;
	g->rdx = r->rdx, g->rsi = r->rsi, g->rdi = r->rdi;
	g->rip = r->rip, g->rsp = r->rsp, g->eflags = r->eflags;
	st_set_base(r->fs_base, r->gs_base);
}

/* Copies what the table says about this call's pointers into the buffer. A piece that cannot be
 * copied whole is left out: the Sentry then looks itself, with Linux's exact partial results. */
static void marshal(struct st_ctx *c, uint32_t slot, uint32_t nr)
{
	const volatile struct st_row *row = &SHARED->rows[nr];
	uint32_t n = row->nparts, used = 0, nsegs = 0;
	const struct st_regs *r = &c->regs;
	uint64_t args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
	char *buf = buffer(slot);
	for (uint32_t i = 0; i < n && i < ST_PARTS; i++) {
		uint32_t kind = row->parts[i].kind, arg = row->parts[i].arg;
		uint64_t len = row->parts[i].len, addr;
		if (arg >= 6)
			continue;
		addr = args[arg];
		if (!addr || addr >= ST_LIMIT)
			continue;
		if (kind & ST_M_LEN_ARG)
			len = len < 6 ? args[len] : 0;
		kind &= 0x7f;
		if (kind == ST_M_STR) {
			int64_t got;
			if (used + ST_STR_MAX > ST_BUF_SIZE)
				continue;
			got = st_copy_str(buf + used, (const char *)addr, ST_STR_MAX);
			if (got < 0)
				continue;
			len = (uint64_t)got;
		} else {
			if (!len || len > (kind & ST_M_OUT ? ST_OUT_MAX : ST_IN_MAX) || used + len > ST_BUF_SIZE ||
			    addr + len > ST_LIMIT)
				continue;
			if (kind & ST_M_OUT) {
				/* An unwritable output buffer has to be noticed before the call takes effect. */
				uint64_t page = addr;
				int bad = 0;
				do {
					bad |= st_probe_write((void *)page);
					page = (page | 4095) + 1;
				} while (page < addr + len && !bad);
				if (bad)
					continue;
			}
			if (kind & ST_M_IN && st_copy(buf + used, (const void *)addr, len))
				continue;
		}
		c->segs[nsegs].addr = addr;
		c->segs[nsegs].len = (uint32_t)len;
		c->segs[nsegs].off = (uint16_t)used;
		c->segs[nsegs].kind = (uint16_t)kind;
		nsegs++;
		used = (used + (uint32_t)len + 15u) & ~15u;
	}
	c->nsegs = nsegs;
}

/* --- hand-off ------------------------------------------------------------------------------- */

/* Returns whether the Sentry slept. */
static int post(struct st_ctx *c, uint32_t slot)
{
	uint64_t *ready = (uint64_t *)ST_CTX + slot / 64;
	__atomic_store_n(&c->park, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_RELEASE);
	__atomic_fetch_or(ready, 1ull << slot % 64, __ATOMIC_SEQ_CST);
	/* The Sentry sets the flag and then looks at the ready words again; we do it the other way round. */
	if (__atomic_load_n(&SHARED->sleeping, __ATOMIC_SEQ_CST)) {
		uint64_t one = 1;
		SYS(__NR_write, ST_FD_BELL, &one, 8, 0, 0, 0);
		return 1;
	}
	return 0;
}

/* A Sentry that slept may be woken on this CPU: then a spin only keeps it from answering. */
static void wait_turn(struct st_ctx *c, int rang)
{
	uint64_t limit = rang ? 0 : SHARED->spin;
	if (limit) {
		uint64_t start = rdtsc();
		do {
			if (__atomic_load_n(&c->turn, __ATOMIC_ACQUIRE) == ST_TURN_STUB)
				return;
			if (__atomic_load_n(&c->park, __ATOMIC_RELAXED))
				break;
			__builtin_ia32_pause();
		} while (rdtsc() - start < limit);
	}
	for (;;) {
		__atomic_store_n(&c->asleep, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&c->turn, __ATOMIC_SEQ_CST) == ST_TURN_STUB)
			break;
		SYS(__NR_futex, &c->turn, FUTEX_WAIT, ST_TURN_SENTRY, 0, 0, 0);
	}
	__atomic_store_n(&c->asleep, 0, __ATOMIC_RELAXED);
}

/* --- replies -------------------------------------------------------------------------------- */

static struct _fpx_sw_bytes *fp_sw(char *fx)
{
	return (struct _fpx_sw_bytes *)(fx + FX_SW);
}

static uint64_t fp_size(char *fx)
{
	return fp_sw(fx)->magic1 == FP_XSTATE_MAGIC1 ? fp_sw(fx)->extended_size : FX_SIZE;
}

/* Initial FP state: an empty XSTATE_BV means "initial" for every component; MXCSR is read all the same. */
static void fp_reset(char *fx)
{
	memset(fx, 0, FX_MXCSR);
	memset(fx + FX_MXCSR_MASK + 4, 0, 416 - FX_MXCSR_MASK - 4);
	*(uint16_t *)fx = 0x37f;
	*(uint32_t *)(fx + FX_MXCSR) = 0x1f80;
	if (fp_sw(fx)->magic1 == FP_XSTATE_MAGIC1)
		memset(fx + FX_SIZE, 0, XSTATE_HEADER);
}

/* Loads a guest's signal frame image as rt_sigreturn would: without valid magic numbers and our sizes it is an
 * FXSAVE image (arch/x86/kernel/fpu/signal.c: check_xstate_in_sigframe); what the processor would refuse is
 * refused here, since a failing rt_sigreturn of ours would look like a fault of the guest. 0, or -1. */
static int fp_load(char *fx, const char *from)
{
	struct _fpx_sw_bytes sw = *fp_sw(fx);
	struct _fpx_sw_bytes *theirs;
	uint32_t mask = *(uint32_t *)(fx + FX_MXCSR_MASK), magic2 = 0;
	char image[FX_SIZE + XSTATE_HEADER] __attribute__((aligned(64)));
	uint64_t *header = (uint64_t *)(image + FX_SIZE);
	int whole;
	if (st_copy(image, from, FX_SIZE))
		return -1;
	if (*(uint32_t *)(image + FX_MXCSR) & ~(mask ? mask : 0xffbf))
		return -1;
	*(uint32_t *)(image + FX_MXCSR_MASK) = mask;
	theirs = fp_sw(image);
	whole = sw.magic1 == FP_XSTATE_MAGIC1 && theirs->magic1 == FP_XSTATE_MAGIC1 &&
		theirs->extended_size == sw.extended_size && theirs->xstate_size == sw.xstate_size;
	if (whole && st_copy(&magic2, from + sw.xstate_size, 4))
		return -1;
	if (whole && magic2 == FP_XSTATE_MAGIC2) {
		if (st_copy(header, from + FX_SIZE, XSTATE_HEADER) || header[0] & ~sw.xfeatures)
			return -1;
		for (int i = 1; i < XSTATE_HEADER / 8; i++)
			if (header[i])
				return -1;
		header[0] &= theirs->xfeatures;
		if (st_copy(fx + FX_SIZE + XSTATE_HEADER, from + FX_SIZE + XSTATE_HEADER,
			    sw.xstate_size - FX_SIZE - XSTATE_HEADER))
			return -1;
	} else {
		memset(header, 0, XSTATE_HEADER);
		header[0] = 3; /* x87 and SSE from the image, the rest initial */
	}
	*theirs = sw;
	memcpy(fx, image, sw.magic1 == FP_XSTATE_MAGIC1 ? FX_SIZE + XSTATE_HEADER : FX_SIZE);
	return 0;
}

static int run_ops(struct st_ctx *c, uint32_t slot)
{
	char *buf = buffer(slot);
	const struct st_op *ops = (const struct st_op *)buf;
	uint32_t n = c->nops, i;
	long r = 0;
	if (n > ST_BUF_SIZE / sizeof *ops)
		panic();
	for (i = 0; i < n; i++) {
		struct st_op o = ops[i];
		switch (o.op) {
		case ST_OP_MMAP_ANON:
			r = SYS(__NR_mmap, o.addr, o.len, o.a, o.flags, -1, 0);
			break;
		case ST_OP_MMAP_FD:
			r = SYS(__NR_mmap, o.addr, o.len, o.a, o.flags, ST_FD_SLOT, o.b);
			break;
		case ST_OP_MUNMAP:
			r = SYS(__NR_munmap, o.addr, o.len, 0, 0, 0, 0);
			break;
		case ST_OP_MPROTECT:
			r = SYS(__NR_mprotect, o.addr, o.len, o.a, 0, 0, 0);
			break;
		case ST_OP_MADVISE:
			r = SYS(__NR_madvise, o.addr, o.len, o.a, 0, 0, 0);
			break;
		case ST_OP_MREMAP:
			r = SYS(__NR_mremap, o.addr, o.len, o.a, 3 /* MAYMOVE | FIXED */, o.b, 0);
			break;
		case ST_OP_WRITE:
			r = o.a <= ST_BUF_SIZE && o.len <= ST_BUF_SIZE - o.a ? 0 : -EINVAL;
			if (!r && st_copy((void *)o.addr, buf + o.a, o.len))
				r = -EFAULT;
			break;
		case ST_OP_ZERO:
			r = st_zero((void *)o.addr, o.len) ? -EFAULT : 0;
			break;
		case ST_OP_POKE:
			r = st_poke((uint64_t *)o.addr, o.a) ? -EFAULT : 0;
			break;
		default:
			r = -EINVAL;
		}
		if (r < 0 && r > -4096)
			break;
	}
	c->ops_done = i;
	c->result = i < n ? (int32_t)-r : 0;
	__atomic_fetch_add(&c->ops_seq, 1, __ATOMIC_RELEASE);
	return i < n ? -1 : 0;
}

/* The copy dies with the Sentry, which a fork forgets; the order closes the gap, since without a Sentry the next
 * call fails. It gets its own context memory before all else: nothing in the old one is ours. This notified mmap
 * is also how the Sentry learns that the process exists. */
static void forked(uint64_t nonce)
{
	long r = SYS(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
	if (r)
		panic();
	r = SYS(__NR_mmap, ST_CTX, ST_CTX_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		     ST_FD_SLOT | nonce << 32, 0);
	if (r != (long)ST_CTX)
		panic();
}

static long spawn(struct ucontext *uc, uint32_t slot, uint64_t child, uint64_t nonce)
{
	char *frame = (char *)uc - 8, *top = (char *)ST_STACK + ((uint64_t)(slot + 1) << ST_STACK_SHIFT);
	int64_t delta = ((int64_t)child - slot) * (int64_t)ST_STACK_SIZE;
	struct ucontext *copy = (struct ucontext *)((char *)uc + delta);
	if (child >= ST_SLOTS || frame > top || top - frame > (long)ST_STACK_SIZE - 8192)
		panic();
	memcpy(frame + delta, frame, (size_t)(top - frame));
	if (copy->uc_mcontext.fpstate)
		copy->uc_mcontext.fpstate = (void *)((char *)uc->uc_mcontext.fpstate + delta);
	copy->uc_stack.ss_sp = (void *)(ST_STACK + (child << ST_STACK_SHIFT));
	copy->uc_stack.ss_size = ST_STACK_SIZE;
	copy->uc_stack.ss_flags = 0;
	return st_clone_thread(ST_CLONE_THREAD, ((uint64_t)frame + delta - 256) & ~15ull, copy, nonce);
}

/* Waits for the Sentry's word and does it, until the guest may go on. */
static void serve(struct st_ctx *c, uint32_t slot, struct ucontext *uc, int rang)
{
	char *fx = (char *)uc->uc_mcontext.fpstate;
	uint64_t nonce;
	long r;
	for (;;) {
		wait_turn(c, rang);
		rang = 0;
		switch (c->cmd) {
		case ST_CMD_RET: {
			uint32_t n = c->nouts;
			uc->uc_mcontext.rax = c->value;
			for (uint32_t i = 0; i < n && i < ST_OUTS; i++)
				if (st_copy((void *)c->outs[i].addr, buffer(slot) + c->outs[i].off, c->outs[i].len))
					uc->uc_mcontext.rax = (uint64_t)-EFAULT;
			goto guest;
		}
		case ST_CMD_HANDLER:
			if (c->len > ST_BUF_SIZE || st_copy((void *)c->addr, buffer(slot), c->len) ||
			    st_copy((void *)c->fp_addr, fx, fp_size(fx))) {
				c->event = ST_EV_FRAME_FAULT;
				break;
			}
			fp_reset(fx);
			load_regs(c, uc);
			goto guest;
		case ST_CMD_REGS:
			if (c->flags & ST_FP_FROM && fp_load(fx, (const char *)c->fp_addr)) {
				c->event = ST_EV_FRAME_FAULT;
				break;
			}
			if (c->flags & ST_FP_RESET)
				fp_reset(fx);
			load_regs(c, uc);
			goto guest;
		case ST_CMD_OPS:
			if (!run_ops(c, slot) && c->flags & ST_OPS_VALUE) {
				if (c->flags & ST_OPS_REGS)
					load_regs(c, uc);
				uc->uc_mcontext.rax = c->value;
				goto guest;
			}
			c->event = ST_EV_OPS;
			break;
		case ST_CMD_FORK:
			/* Parked again at once: the Sentry may reply as soon as it has seen the child. */
			nonce = c->value;
			__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_RELEASE);
			r = SYS(__NR_clone, ST_CLONE_FORK, 0, 0, 0, 0, 0);
			if (r == 0) {
				forked(nonce);
				continue;
			}
			if (r > 0) {
				c->result = (int32_t)r; /* for a child that dies before it reports */
				continue;
			}
			c->event = ST_EV_CLONE_FAILED;
			c->result = (int32_t)-r;
			break;
		case ST_CMD_SPAWN:
			nonce = c->value;
			r = (long)c->addr;
			__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_RELEASE);
			r = spawn(uc, slot, (uint64_t)r, nonce);
			if (r >= 0)
				continue;
			c->event = ST_EV_CLONE_FAILED;
			c->result = (int32_t)-r;
			break;
		case ST_CMD_EXIT:
			SYS(__NR_exit, 0, 0, 0, 0, 0, 0);
			panic();
		default:
			panic();
		}
		rang = post(c, slot);
	}
guest:
	c->resumed = rdtsc();
}

/* A new thread's first act is a call that the Sentry answers; then it waits like any parked thread. */
void __attribute__((noreturn, used)) st_thread_main(struct ucontext *uc, uint64_t nonce)
{
	uint32_t slot = my_slot();
	SYS(ST_NR_HELLO, nonce, 0, 0, 0, 0, 0);
	serve(context(slot), slot, uc, 0);
	st_sigreturn(uc);
}

/* --- signal handlers -------------------------------------------------------------------------- */

void st_on_sigsys(int sig, siginfo_t *info, void *ucp)
{
	uint32_t slot = my_slot();
	struct st_ctx *c = context(slot);
	(void)sig;
	if (!c->resumed)
		c->fp_size = (uint32_t)fp_size((char *)((struct ucontext *)ucp)->uc_mcontext.fpstate);
	stamp(c);
	c->event = ST_EV_SYSCALL;
	c->nr = info->si_syscall;
	c->arch = info->si_arch;
	save_regs(c, ucp);
	if ((uint32_t)info->si_syscall < ST_ROWS)
		marshal(c, slot, (uint32_t)info->si_syscall);
	serve(c, slot, ucp, post(c, slot));
}

/* Whether a fault is one of ours; then execution goes on at the place that reports it. */
static int recover(struct sigcontext *g)
{
#define AT(label) ((uint64_t)(uintptr_t)(label))
	if (g->rip == AT(st_copy_insn))
		g->rip = AT(st_copy_out);
	else if (g->rip == AT(st_zero_insn))
		g->rip = AT(st_zero_out);
	else if (g->rip == AT(st_str_insn))
		g->rip = AT(st_str_out);
	else if (g->rip == AT(st_probe_insn))
		g->rip = AT(st_probe_out);
	else if (g->rip == AT(st_poke_insn))
		g->rip = AT(st_poke_out);
	else if (g->rip >= AT(st_base_begin) && g->rip < AT(st_base_end))
		g->rip = AT(st_base_out);
	else
		return 0;
	return 1;
}

void st_on_fault(int sig, siginfo_t *info, void *ucp)
{
	struct ucontext *uc = ucp;
	struct sigcontext *g = &uc->uc_mcontext;
	uint32_t slot = my_slot();
	struct st_ctx *c = context(slot);
	if (g->rsp - ST_STACK < ST_STACKS_LEN) { /* in the stub */
		if (recover(g))
			return;
		panic();
	}
	stamp(c);
	c->event = ST_EV_FAULT;
	c->fault[0] = (uint64_t)sig;
	c->fault[1] = (uint64_t)(int64_t)info->si_code;
	c->fault[2] = (uint64_t)info->si_addr;
	c->fault[3] = g->trapno;
	c->fault[4] = g->err;
	save_regs(c, uc);
	serve(c, slot, uc, post(c, slot));
}

void st_on_interrupt(int sig, siginfo_t *info, void *ucp)
{
	uint32_t slot = my_slot();
	struct st_ctx *c = context(slot);
	(void)sig, (void)info;
	/* The flag is gone when another event carried the news first. */
	if (!__atomic_exchange_n(&c->interrupt, 0, __ATOMIC_ACQ_REL))
		return;
	stamp(c);
	c->event = ST_EV_INTERRUPT;
	save_regs(c, ucp);
	serve(c, slot, ucp, post(c, slot));
}
