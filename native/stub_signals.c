/* Calls about signals that the stub answers on its own. The thread's mask lies in its context, and there is no other; the
 * Sentry reads it when it decides who gets a signal. */
#include "stub.h"

#define EFAULT 14
#define UNBLOCKABLE (1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1))

/* rt_sigprocmask, unless a signal whose blocking changes is pending: the Sentry clears its bit in `quiet` and then looks
 * at the mask; we set the mask and then look at `quiet` again. One of the two sees the other. */
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
		if (after != before) {
			__atomic_store_n(&c->sigmask, after, __ATOMIC_SEQ_CST);
			if ((after ^ before) & ~__atomic_load_n(&c->quiet, __ATOMIC_SEQ_CST))
				done = ANSWERED_LOOK;
		}
	}
	*value = args[2] && st_poke((uint64_t *)args[2], before) ? (uint64_t)-EFAULT : 0;
	return done;
}
