/* The stub: what runs in every guest process besides the guest. It turns system calls, faults and interrupts into
 * events in shared memory, waits for the Sentry, and carries out its reply. Two ways lead in: signal handlers on a
 * private alternate stack (road (a): every call traps as SIGSYS), and st_enter, where rewritten call sites
 * jump to (road (b): st_call, on the same stack, without a signal and without a frame).
 *
 * Nothing here is a wall. The guest shares the address space and may jump in, scribble on stacks and
 * contexts or send nonsense; the seccomp filter (sentry/platform/guest_filter.py) and the Sentry's
 * checks bound what that can do. The stub only has to be right for guests that leave it alone.
 *
 * Interrupts. In handlers the interrupt signal and SIGSYS are blocked (SEGV and BUS are not, because the copies here may
 * fault), so on road (a) an interrupt meets an instruction of the guest, or waits until rt_sigreturn opens the mask
 * again. Road (b) runs with the guest's open mask. An interrupt that comes before the event is posted is news
 * that the event carries. On the way back `leaving` says where the guest's registers are, and is set before the last
 * look at the flag: one that comes later is turned by its handler into the event. So none gets lost. */
#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include "stub_handoff.h"

#define EFAULT 14
#define EINVAL 22
#define ENOSYS 38
#define EFLAGS_TF 0x100u
#define EFLAGS_SLOW 0x254100u /* TF NT RF AC ID: left to rt_sigreturn */
#define CODE_LEN ((uint64_t)(st_code_end - st_blob_begin))
#define AT(label) ((uint64_t)(uintptr_t)(label))

#define barrier() __asm__ volatile("" : : : "memory")

/* An end by a call that nobody approved: the Sentry kills the process. Without a Sentry that call is ENOSYS, and a
 * fault in the handler of the same fault is the end. */
void panic(void)
{
	SYS(__NR_exit, 125, 0, 0, 0, 0, 0);
	for (;;)
		__asm__ volatile("ud2");
}

/* --- registers ------------------------------------------------------------------------------ */

/* Whoever does not use GS has it pointing to the context, for st_enter, and never sees that in a register set. (To
 * another thread's, when it has just been cloned.) */
static int gs_is_ours(uint64_t gs)
{
	return !gs || (gs >> 22 == ST_CTX_4M && gs % ST_CTX_SIZE == 0 && (((const struct st_ctx *)gs)->self | 1) == (gs | 1));
}

/* Before the guest goes on: st_enter finds the context and the stack. */
static void arm(struct st_ctx *c, uint32_t slot)
{
	uint64_t gs = __builtin_ia32_rdgsbase64();
	c->stack = ST_STACK + ((uint64_t)(slot + 1) << ST_STACK_SHIFT);
	c->self = (uint64_t)c | (c->traced != 0);
	if (SHARED->sites && gs != (uint64_t)c && gs_is_ours(gs))
		__builtin_ia32_wrgsbase64((uint64_t)c);
}

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
	uint64_t gs = __builtin_ia32_rdgsbase64();
	r->gs_base = gs_is_ours(gs) ? 0 : gs;
}

static void put_regs(const struct st_regs *r, struct ucontext *uc)
{
	struct sigcontext *g = &uc->uc_mcontext;
	g->r15 = r->r15, g->r14 = r->r14, g->r13 = r->r13, g->r12 = r->r12;
	g->rbp = r->rbp, g->rbx = r->rbx, g->r11 = r->r11, g->r10 = r->r10;
	g->r9 = r->r9, g->r8 = r->r8, g->rax = r->rax, g->rcx = r->rcx;
	g->rdx = r->rdx, g->rsi = r->rsi, g->rdi = r->rdi;
	g->rip = r->rip, g->rsp = r->rsp, g->eflags = r->eflags;
}

static void load_regs(const struct st_ctx *c, struct ucontext *uc)
{
	put_regs(&c->regs, uc);
	st_set_base(c->regs.fs_base, c->regs.gs_base);
}

/* --- replies -------------------------------------------------------------------------------- */

/* `fx`: the FP state where a frame has it; NULL: it is still in the registers. */
static int run_ops(struct st_ctx *c, uint32_t slot, const char *fx)
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
		case ST_OP_MMAP_KEPT:
			r = SYS(__NR_mmap, o.addr, o.len, (uint32_t)o.a, o.flags, o.a >> 32, o.b);
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
		case ST_OP_LEND_FP:
			r = o.a < ST_SLOTS ? 0 : -EINVAL;
			if (!r && fx)
				memcpy(buffer((uint32_t)o.a) + ST_LENT_OFF, fx, fp_size((char *)fx));
			else if (!r)
				fp_save(buffer((uint32_t)o.a) + ST_LENT_OFF);
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
 * call fails. It gets its own context memory before all else: nothing in the old one is ours. The call that brings the
 * descriptor is also how the Sentry learns that the process exists. */
static void forked(uint64_t nonce)
{
	long r = SYS(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
	if (r)
		panic();
	r = SYS(ST_NR_HELLO, nonce, 1, 0, 0, 0, 0);
	if (r != ST_FD_CTX)
		panic();
	r = SYS(__NR_mmap, ST_CTX, ST_CTX_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ST_FD_CTX, 0);
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

/* Waits for the Sentry's word and does it, until the guest may go on with what is in `uc`. */
static void serve(struct st_ctx *c, uint32_t slot, struct ucontext *uc, const struct parts *parts, int rang)
{
	char *fx = (char *)uc->uc_mcontext.fpstate;
	uint32_t what;
	uint64_t nonce;
	long r;
	for (;;) {
		wait_turn(c, rang);
		what = c->what;
		if (((what & 0xff) == ST_CMD_REGS || (what & 0xff) == ST_CMD_HANDLER) && c->flags & ST_FP_LENT &&
		    fp_load(fx, buffer(slot) + ST_LENT_OFF))
			panic();
		switch (what & 0xff) {
		case ST_CMD_RET:
			uc->uc_mcontext.rax = deliver(c, slot, parts, what) ? (uint64_t)-EFAULT : c->word;
			goto guest;
		case ST_CMD_HANDLER:
			if (c->len > ST_BUF_SIZE || st_copy((void *)c->addr, buffer(slot), c->len) ||
			    st_copy((void *)c->fp_addr, fx, fp_size(fx))) {
				c->what = ST_EV_FRAME_FAULT;
				break;
			}
			fp_reset(fx);
			load_regs(c, uc);
			goto guest;
		case ST_CMD_REGS:
			if (c->flags & ST_FP_FROM && fp_load(fx, (const char *)c->fp_addr)) {
				c->what = ST_EV_FRAME_FAULT;
				break;
			}
			if (c->flags & ST_FP_RESET)
				fp_reset(fx);
			load_regs(c, uc);
			goto guest;
		case ST_CMD_OPS:
			if (!run_ops(c, slot, fx) && c->flags & ST_OPS_VALUE) {
				if (c->flags & ST_OPS_REGS)
					load_regs(c, uc);
				uc->uc_mcontext.rax = c->word;
				goto guest;
			}
			c->what = ST_EV_OPS;
			break;
		case ST_CMD_FORK:
			/* Parked again at once: the Sentry may reply as soon as it has seen the child. */
			nonce = c->word;
			__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_RELEASE);
			r = SYS(__NR_clone, ST_CLONE_FORK, 0, 0, 0, 0, 0);
			if (r == 0) {
				forked(nonce);
				continue;
			}
			if (r > 0) {
				c->result = (int32_t)r; /* for a child that dies before it reports */
				rang = 1; /* no spin: the child often waits for this CPU */
				continue;
			}
			c->what = ST_EV_CLONE_FAILED;
			c->result = (int32_t)-r;
			break;
		case ST_CMD_SPAWN:
			nonce = c->word;
			r = (long)c->addr;
			__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_RELEASE);
			r = spawn(uc, slot, (uint64_t)r, nonce);
			if (r >= 0) {
				rang = 1;
				continue;
			}
			c->what = ST_EV_CLONE_FAILED;
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
	arm(c, slot);
}

/* Serves (unless there is nothing to wait for) and returns to the guest where the interrupt signal is open: an interrupt
 * on the way back becomes the next event. */
static void __attribute__((noreturn)) leave_open(struct st_ctx *c, uint32_t slot, struct ucontext *uc, const struct parts *parts, int pending)
{
	int rang = 0;
	for (;;) {
		if (pending)
			serve(c, slot, uc, parts, rang);
		c->frame = (uint64_t)uc;
		barrier();
		c->leaving = ST_LEAVING_FRAME;
		barrier();
		if (!*(volatile uint32_t *)&c->interrupt)
			st_sigreturn(uc);
		c->leaving = ST_INSIDE;
		barrier();
		/* From here on the signal's handler leaves the flag to us. */
		pending = (int)__atomic_exchange_n(&c->interrupt, 0, __ATOMIC_ACQ_REL);
		if (pending) {
			save_regs(c, uc);
			c->what = ST_EV_INTERRUPT;
			rang = post(c, slot);
		}
	}
}

/* A new thread's first act is a call that the Sentry answers; then it waits like any parked thread. */
void __attribute__((noreturn, used)) st_thread_main(struct ucontext *uc, uint64_t nonce)
{
	static const struct parts none;
	uint32_t slot = my_slot();
	SYS(ST_NR_HELLO, nonce, 0, 0, 0, 0, 0);
	leave_open(context(slot), slot, uc, &none, 1);
}

/* Calls that a thread begins with and that concern it alone: 1, answered with *value. Before its end what robust futexes it
 * has: mostly none, and then the Sentry need not look. */
static int start(struct st_ctx *c, uint32_t nr, const uint64_t *args, uint64_t *value)
{
	uint32_t may = c->starts;
	uint64_t first, pending;
	*value = 0;
	switch (nr) {
	case __NR_set_robust_list:
		if (!(may & ST_START_ROBUST))
			return 0;
		if (args[1] != 24)
			*value = (uint64_t)-EINVAL;
		else
			c->robust = args[0];
		return 1;
	case __NR_set_tid_address:
		if (!(may & ST_START_TID))
			return 0;
		c->clear_tid = args[0];
		*value = (uint64_t)c->tid;
		return 1;
	case __NR_arch_prctl:
		if (!(may & ST_START_FS) || (int)args[0] != ARCH_SET_FS || args[1] >= ST_LIMIT)
			return 0;
		c->regs.fs_base = args[1];
		__builtin_ia32_wrfsbase64(args[1]);
		return 1;
	case __NR_rseq:
		*value = (uint64_t)-ENOSYS;
		return (may & ST_START_RSEQ) != 0;
	case __NR_exit:
	case __NR_exit_group:
		/* struct robust_list_head: a ring that begins with itself, an offset, the entry that is being changed */
		if (may & ST_START_EXIT && c->robust && c->robust < ST_LIMIT - 24 &&
		    !st_peek(&first, (const uint64_t *)c->robust) && first == c->robust &&
		    !st_peek(&pending, (const uint64_t *)(c->robust + 16)) && !pending)
			c->robust = 0;
	}
	return 0;
}

/* --- rewritten call sites -------------------------------------------------------------------- */

enum { FRAME_REPLY, FRAME_INTERRUPT, FRAME_ONLY };

/* Makes the frame that a signal would have made, of `regs` and the live FP state, and goes on as after one: with the
 * reply that is there, with an interrupt to report, or straight back to the guest. */
static void __attribute__((noreturn, noinline)) with_frame(struct st_ctx *c, uint32_t slot, const struct parts *parts, int why)
{
	struct {
		uint64_t restorer;
		struct ucontext uc;
		char fx[FP_ROOM] __attribute__((aligned(64))); /* above uc, as in the kernel's frames: `spawn` copies both */
	} f;
	memset(&f.uc, 0, sizeof f.uc);
	put_regs(&c->regs, &f.uc);
	f.uc.uc_flags = 7; /* UC_FP_XSTATE UC_SIGCONTEXT_SS UC_STRICT_RESTORE_SS */
	f.uc.uc_stack.ss_sp = (void *)(ST_STACK + ((uint64_t)slot << ST_STACK_SHIFT));
	f.uc.uc_stack.ss_size = ST_STACK_SIZE;
	f.uc.uc_mcontext.cs = 0x33;
	f.uc.uc_mcontext.ss = 0x2b;
	fp_save(f.fx);
	f.uc.uc_mcontext.fpstate = (void *)f.fx;
	if (why == FRAME_INTERRUPT) {
		save_regs(c, &f.uc);
		c->what = ST_EV_INTERRUPT;
		post(c, slot);
	}
	leave_open(c, slot, &f.uc, parts, why != FRAME_ONLY);
}

/* One call of a rewritten site; `regs` has the guest's registers, rip behind the site. The entry loads them again. */
struct st_result __attribute__((used)) st_call(struct st_ctx *c)
{
	const struct st_regs *r = &c->regs;
	const uint64_t args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
	uint32_t slot = slot_of(c), nr = (uint32_t)r->orig_rax, what, carried = 0;
	struct parts parts;
	struct st_result value = { 0, 0 };
	int rang, done = NOT_ANSWERED;
	if (nr == __NR_rt_sigprocmask && (done = set_mask(c, args, &value.rax)) != NOT_ANSWERED)
		goto guest;
	if (nr == __NR_rt_sigreturn && (done = sig_return(c)) != NOT_ANSWERED) {
		value.whole = 1;
		goto guest;
	}
	if (nr < ST_ROWS) {
		const volatile struct st_row *row = &SHARED->rows[nr];
		uint32_t answer = row->answer;
		if (answer == ST_STARTS) {
			if (start(c, nr, args, &value.rax))
				goto guest;
		} else if (answer && c->known >> (answer - 1) & 1) {
			value.rax = c->answers[(answer - 1) % ST_ANSWERS];
			goto guest;
		}
		for (int i = 0; i < 6; i++)
			c->args[i] = args[i];
		if (row->nparts)
			carried = marshal(&parts, c, slot, row, args);
	} else {
		for (int i = 0; i < 6; i++)
			c->args[i] = args[i];
	}
	if (nr == __NR_kill || nr == __NR_tgkill)
		c->args[5] = c->sigmask;
	c->word = nr;
	c->what = ST_EV_SYSCALL | carried;
	rang = post(c, slot);
	for (;;) {
		wait_turn(c, rang);
		what = c->what;
		if ((what & 0xff) == ST_CMD_RET) {
			value.rax = what >> ST_WHAT_OUTS && deliver(c, slot, &parts, what) ? (uint64_t)-EFAULT : c->word;
			break;
		}
		if ((what & 0xff) == ST_CMD_SIGNAL) {
			done = enter_signal(c);
			value.whole = done != NOT_ANSWERED;
			if (value.whole)
				break;
			c->what = ST_EV_FRAME_FAULT;
			rang = post(c, slot);
			continue;
		}
		if ((what & 0xff) != ST_CMD_OPS || c->flags & ST_OPS_REGS)
			with_frame(c, slot, &parts, FRAME_REPLY);
		if (!run_ops(c, slot, NULL) && c->flags & ST_OPS_VALUE) {
			value.rax = c->word;
			break;
		}
		c->what = ST_EV_OPS;
		rang = post(c, slot);
	}
guest:
	if (!value.whole) {
		if (c->stepped) {
			c->stepped = 0;
			c->regs.eflags |= EFLAGS_TF;
		}
		c->regs.rax = value.rax;
	}
	barrier();
	c->leaving = ST_LEAVING;
	barrier();
	if (*(volatile uint32_t *)&c->interrupt || c->regs.eflags & EFLAGS_SLOW || done == ANSWERED_LOOK) {
		c->leaving = ST_INSIDE;
		barrier();
		int wanted = (int)__atomic_exchange_n(&c->interrupt, 0, __ATOMIC_ACQ_REL) || done == ANSWERED_LOOK;
		with_frame(c, slot, &parts, wanted ? FRAME_INTERRUPT : FRAME_ONLY);
	}
	return value;
}

/* --- signal handlers -------------------------------------------------------------------------- */

void st_on_sigsys(int sig, siginfo_t *info, void *ucp)
{
	uint32_t slot = my_slot(), carried = 0;
	struct st_ctx *c = context(slot);
	struct parts parts;
	const struct st_regs *r = &c->regs;
	(void)sig;
	if (!c->stack) {
		char *fx = (char *)((struct ucontext *)ucp)->uc_mcontext.fpstate;
		c->fp_size = (uint32_t)fp_size(fx);
		memcpy(c->fp_sw, fp_sw(fx), sizeof c->fp_sw);
	}
	save_regs(c, ucp);
	c->args[0] = r->rdi, c->args[1] = r->rsi, c->args[2] = r->rdx;
	c->args[3] = r->r10, c->args[4] = r->r8, c->args[5] = r->r9;
	if ((uint32_t)info->si_syscall < ST_ROWS) {
		const uint64_t args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9 };
		uint64_t value;
		if (SHARED->rows[info->si_syscall].answer == ST_STARTS && info->si_arch == AUDIT_ARCH_X86_64 && !c->traced &&
		    start(c, (uint32_t)info->si_syscall, args, &value)) {
			((struct ucontext *)ucp)->uc_mcontext.rax = value;
			return;
		}
		carried = marshal(&parts, c, slot, &SHARED->rows[info->si_syscall], args);
	}
	c->word = (uint32_t)info->si_syscall;
	c->arch = info->si_arch;
	c->what = ST_EV_SYSCALL | ST_WHAT_TRAP | carried;
	serve(c, slot, ucp, &parts, post(c, slot));
}

/* Whether a fault is one of ours; then execution goes on at the place that reports it. */
static int recover(struct sigcontext *g)
{
	if (g->rip == AT(st_copy_insn))
		g->rip = AT(st_copy_out);
	else if (g->rip == AT(st_zero_insn))
		g->rip = AT(st_zero_out);
	else if (g->rip == AT(st_str_insn))
		g->rip = AT(st_str_out);
	else if (g->rip == AT(st_probe_insn))
		g->rip = AT(st_probe_out);
	else if (g->rip == AT(st_peek_insn))
		g->rip = AT(st_peek_out);
	else if (g->rip == AT(st_xsave_insn))
		g->rip = AT(st_xsave_out);
	else if (g->rip == AT(st_xrstor_insn))
		g->rip = AT(st_xrstor_out);
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
	struct parts parts;
	int in_stack = g->rsp - ST_STACK < ST_STACKS_LEN;
	if ((in_stack || g->rip - ST_TEXT < CODE_LEN) && sig == SIGTRAP && g->eflags & EFLAGS_TF) {
		c->stepped = 1; /* steps count in guest code only */
		g->eflags &= ~(uint64_t)EFLAGS_TF;
		return;
	}
	if (in_stack) {
		if (recover(g))
			return;
		panic();
	}
	c->fault[0] = (uint64_t)sig;
	c->fault[1] = (uint64_t)(int64_t)info->si_code;
	c->fault[2] = (uint64_t)info->si_addr;
	c->fault[3] = g->trapno;
	c->fault[4] = g->err;
	save_regs(c, uc);
	c->what = ST_EV_FAULT;
	serve(c, slot, uc, &parts, post(c, slot));
}

void st_on_interrupt(int sig, siginfo_t *info, void *ucp)
{
	uint32_t slot = my_slot();
	struct st_ctx *c = context(slot);
	struct ucontext *uc = ucp;
	const struct sigcontext *g = &uc->uc_mcontext;
	struct parts parts;
	int in_stack = g->rsp - ST_STACK < ST_STACKS_LEN;
	(void)sig, (void)info;
	if (in_stack || g->rip - ST_TEXT < CODE_LEN) {
		uint32_t leaving = c->leaving;
		if (!in_stack && !(g->rip >= AT(st_exit_begin) && g->rip < AT(st_exit_end)) &&
		    !(g->rip >= AT(st_whole_begin) && g->rip < AT(st_whole_end)))
			return; /* on the way in */
		if (leaving == ST_INSIDE)
			return;
		if (leaving == ST_LEAVING)
			put_regs(&c->regs, uc);
		else
			uc = (struct ucontext *)c->frame;
	}
	/* The flag is gone when another event carried the news first. */
	if (__atomic_exchange_n(&c->interrupt, 0, __ATOMIC_ACQ_REL)) {
		save_regs(c, uc);
		c->what = ST_EV_INTERRUPT;
		serve(c, slot, uc, &parts, post(c, slot));
	}
	if (uc != ucp)
		st_sigreturn(uc);
}
