/* Calls about signals that the stub answers on its own. The thread's mask lies in its context, and there is no other; the
 * Sentry reads it when it decides who gets a signal. */
#include "stub.h"

#define EFAULT 14
#define DF_TF_RF 0x10500u
#define EFLAGS_TF 0x100u
#define EFLAGS_SLOW 0x254100u /* TF NT RF AC ID: left to the host's rt_sigreturn */
#define EFLAGS_FIX 0x50dd5u /* what rt_sigreturn restores */
#define REDZONE 128
#define UC_FLAGS 7u /* UC_FP_XSTATE UC_SIGCONTEXT_SS UC_STRICT_RESTORE_SS */
#define USER_CS 0x33
#define USER_SS 0x2b
#define UNBLOCKABLE (1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1))

/* Sets the mask. The Sentry clears the bit of a signal that becomes pending in `quiet`, and then looks at the mask; we set the
 * mask and then look at `quiet` again. One of the two sees the other. */
static int change_mask(struct st_ctx *c, uint64_t before, uint64_t after)
{
	if (after == before)
		return ANSWERED;
	__atomic_store_n(&c->sigmask, after, __ATOMIC_SEQ_CST);
	return (after ^ before) & ~__atomic_load_n(&c->quiet, __ATOMIC_SEQ_CST) ? ANSWERED_LOOK : ANSWERED;
}

/* rt_sigprocmask, unless a signal whose blocking changes is pending. */
int set_mask(struct st_ctx *c, const uint64_t *args, uint64_t *value)
{
	uint64_t before = c->sigmask & ~UNBLOCKABLE, after, quiet = __atomic_load_n(&c->quiet, __ATOMIC_RELAXED);
	int done = ANSWERED;
	if (!quiet || args[3] != 8 || args[1] >= ST_LIMIT - 8 || args[2] >= ST_LIMIT - 8)
		return NOT_ANSWERED;
	if (args[1]) {
		if (st_peek(&after, (const uint64_t *)args[1]))
			return NOT_ANSWERED;
		switch ((int)args[0]) {
		case SIG_BLOCK:
			after |= before;
			break;
		case SIG_UNBLOCK:
			after = before & ~after;
			break;
		case SIG_SETMASK:
			break;
		default:
			return NOT_ANSWERED;
		}
		after &= ~UNBLOCKABLE;
		if ((after ^ before) & ~quiet)
			return NOT_ANSWERED;
		done = change_mask(c, before, after);
	}
	*value = args[2] && st_poke((uint64_t *)args[2], before) ? (uint64_t)-EFAULT : 0;
	return done;
}

/* --- handlers (arch/x86/kernel/signal_64.c, asm/sigframe.h) ------------------------------------ */

struct frame {
	uint64_t restorer;
	struct ucontext uc;
	union {
		int32_t info[32];
		siginfo_t whole;
	};
};
_Static_assert(sizeof(struct frame) == 440, "frame");

/* on_sig_stack */
static int on_stack(const struct st_ctx *c, uint64_t sp)
{
	return sp > c->alt_stack && sp - c->alt_stack <= c->alt_size;
}

/* The call that `regs` made has sent its own thread a signal and returns 0; the handler that the Sentry names is entered.
 * NOT_ANSWERED: the frame cannot be written, and nothing has changed. */
int enter_signal(struct st_ctx *c)
{
	struct st_signal s;
	struct st_regs *r = &c->regs;
	uint64_t signo = (uint32_t)c->word, code = c->word >> 32, before = c->sigmask & ~UNBLOCKABLE, top = r->rsp - REDZONE, at, fx;
	int bounded = on_stack(c, r->rsp);
	struct frame f;
	struct sigcontext_64 *g = (struct sigcontext_64 *)&f.uc.uc_mcontext;
	memcpy(&s, c->args, sizeof s);
	if (c->what & ST_WHAT_ONSTACK && c->alt_size && !on_stack(c, top)) {
		top = c->alt_stack + c->alt_size;
		bounded = 1;
	}
	fx = (top - fp_room()) & ~63ull;
	at = ((fx - sizeof f) & ~15ull) - 8;
	if (top >= ST_LIMIT || at >= fx || (bounded && !on_stack(c, at)))
		return NOT_ANSWERED;
	memset(&f, 0, sizeof f);
	f.restorer = s.restorer;
	f.uc.uc_flags = UC_FLAGS;
	f.uc.uc_stack.ss_sp = (void *)c->alt_stack;
	f.uc.uc_stack.ss_flags = (int)c->alt_flags;
	f.uc.uc_stack.ss_size = c->alt_size;
	g->r8 = r->r8, g->r9 = r->r9, g->r10 = r->r10, g->r11 = r->r11;
	g->r12 = r->r12, g->r13 = r->r13, g->r14 = r->r14, g->r15 = r->r15;
	g->di = r->rdi, g->si = r->rsi, g->bp = r->rbp, g->bx = r->rbx;
	g->dx = r->rdx, g->ax = 0, g->cx = r->rcx, g->sp = r->rsp, g->ip = r->rip;
	g->flags = r->eflags | (c->stepped ? EFLAGS_TF : 0);
	g->cs = USER_CS, g->ss = USER_SS;
	g->trapno = (uint32_t)s.trap, g->err = s.trap >> 32, g->cr2 = s.address;
	g->oldmask = before;
	g->fpstate = fx;
	*(uint64_t *)&f.uc.uc_sigmask = before;
	f.info[0] = (int32_t)signo;
	f.info[2] = (int32_t)code;
	f.info[4] = (int32_t)s.sender;
	f.info[5] = (int32_t)(s.sender >> 32);
	if (st_copy((void *)at, &f, sizeof f) || fp_to_frame((char *)fx))
		return NOT_ANSWERED;
	c->stepped = 0;
	r->rdi = signo;
	r->rsi = at + offsetof(struct frame, info);
	r->rdx = at + offsetof(struct frame, uc);
	r->rax = 0;
	r->rip = s.handler;
	r->rsp = at;
	r->eflags &= ~(uint64_t)DF_TF_RF;
	return change_mask(c, before, (before | s.block) & ~UNBLOCKABLE);
}

/* rt_sigreturn from a frame as they are made here and by the Sentry, to a place behind a call: where the Sentry need not
 * look whether code has been rewritten there. The alternate stack must be what it is. */
int sig_return(struct st_ctx *c)
{
	struct st_regs *r = &c->regs;
	uint64_t before = c->sigmask & ~UNBLOCKABLE, after, quiet = __atomic_load_n(&c->quiet, __ATOMIC_RELAXED), flags, code;
	struct ucontext uc;
	const struct sigcontext_64 *g = (const struct sigcontext_64 *)&uc.uc_mcontext;
	if (!quiet || c->stepped || r->rsp >= ST_LIMIT - sizeof uc || st_copy(&uc, (const void *)r->rsp, sizeof uc))
		return NOT_ANSWERED;
	after = *(const uint64_t *)&uc.uc_sigmask & ~UNBLOCKABLE;
	flags = (r->eflags & ~(uint64_t)EFLAGS_FIX) | (g->flags & EFLAGS_FIX);
	if ((after ^ before) & ~quiet || flags & EFLAGS_SLOW || uc.uc_flags != UC_FLAGS || g->cs != USER_CS || g->ss != USER_SS)
		return NOT_ANSWERED;
	if ((uint64_t)uc.uc_stack.ss_sp != c->alt_stack || uc.uc_stack.ss_size != c->alt_size ||
	    (uint32_t)uc.uc_stack.ss_flags != c->alt_flags)
		return NOT_ANSWERED;
	if (g->ip < 8 || g->ip >= ST_LIMIT || st_peek(&code, (const uint64_t *)(g->ip - 8)) || code >> 48 != 0x050f)
		return NOT_ANSWERED;
	if (g->fpstate & 63 || g->fpstate >= ST_LIMIT - ST_BUF_SIZE || !g->fpstate || fp_from_frame((const char *)g->fpstate))
		return NOT_ANSWERED;
	r->r8 = g->r8, r->r9 = g->r9, r->r10 = g->r10, r->r11 = g->r11;
	r->r12 = g->r12, r->r13 = g->r13, r->r14 = g->r14, r->r15 = g->r15;
	r->rdi = g->di, r->rsi = g->si, r->rbp = g->bp, r->rbx = g->bx;
	r->rdx = g->dx, r->rax = g->ax, r->rcx = g->cx, r->rsp = g->sp, r->rip = g->ip;
	r->eflags = flags;
	return change_mask(c, before, after);
}
