/* How the stub hands an event to the Sentry: the memory that a call names, the turn, the wait. */
#ifndef STOCKADE_STUB_HANDOFF_H
#define STOCKADE_STUB_HANDOFF_H

#include <linux/futex.h>
#include "stub.h"

/* The time, and into the context the CPU, whose number Linux keeps in TSC_AUX. */
static inline uint64_t stamp(struct st_ctx *c)
{
	uint32_t lo, hi, aux;
	__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
	c->cpu = aux & 0xfff;
	return (uint64_t)hi << 32 | lo;
}

static inline struct st_ctx *context(uint32_t slot)
{
	return (struct st_ctx *)(ST_CTX + (uint64_t)(slot + 1) * ST_CTX_SIZE);
}

static inline uint32_t slot_of(const struct st_ctx *c)
{
	return (uint32_t)(((uint64_t)c - ST_CTX) / ST_CTX_SIZE) - 1;
}

static inline char *buffer(uint32_t slot)
{
	return (char *)(ST_CTX + ST_BUF_OFF + (uint64_t)slot * ST_BUF_SIZE);
}

/* The stack tells whose context it is. */
static inline uint32_t my_slot(void)
{
	return (uint32_t)(((uint64_t)__builtin_frame_address(0) - ST_STACK) >> ST_STACK_SHIFT) & 4095u;
}

/* The parts of a call: where they are in guest memory and in the buffer. Kept for the reply. */
struct parts {
	uint64_t addr[ST_PARTS];
	uint32_t off[ST_PARTS], len[ST_PARTS];
};

/* Copies an iovec array, and with GATHER what it names; 0, or -1: it is not carried. */
static inline int carry_vector(char *to, uint32_t kind, uint32_t in_header, uint64_t addr, uint64_t count)
{
	const volatile uint64_t *pieces = (const volatile uint64_t *)to;
	uint64_t field[2], total = 0;
	if (in_header) {
		if (st_copy((char *)field, (const void *)(addr + 16), sizeof field))
			return -1;
		addr = field[0], count = field[1];
	}
	if (!count || count > ST_VEC_MOST || !addr || addr >= ST_LIMIT || st_copy(to, (const void *)addr, count * 16))
		return -1;
	for (uint64_t i = 0; kind == ST_M_GATHER && i < count; i++) {
		uint64_t base = pieces[2 * i], len = pieces[2 * i + 1];
		if (len > ST_VEC_MAX - total || base >= ST_LIMIT || base + len > ST_LIMIT)
			return -1;
		if (len && st_copy(to + ST_VEC_HEAD + total, (const void *)base, len))
			return -1;
		total += len;
	}
	return 0;
}

/* Copies what the table says about this call's pointers into the buffer, or behind the arguments, where it costs no further
 * line; ST_WHAT_HERE, and a bit for each part that is there, as in `what`. A piece that cannot be copied whole is left out:
 * the Sentry then looks itself, with Linux's exact partial results. */
static inline uint32_t marshal(struct parts *p, struct st_ctx *c, uint32_t slot, const volatile struct st_row *row, const uint64_t *args)
{
	uint32_t n = row->nparts, used = 0, mask = 0;
	uint32_t here = 0, nargs = row->nargs;
	char *buf = buffer(slot);
	for (uint32_t i = 0; i < n && i < ST_PARTS; i++) {
		uint32_t kind = row->parts[i].kind & 0x7fu, off = used;
		uint32_t len = st_place(&row->parts[i], args, &used);
		if (!len)
			continue;
		uint64_t addr = args[row->parts[i].arg];
		p->addr[i] = addr, p->off[i] = off, p->len[i] = len;
		if (kind >= ST_M_GATHER) {
			uint32_t arg = row->parts[i].arg;
			if (carry_vector(buf + off, kind, row->parts[i].len, addr, arg < 5 ? args[arg + 1] : 0))
				continue;
		} else if (kind == ST_M_STR) {
			if (st_copy_str(buf + off, (const char *)addr, ST_STR_MAX) < 0)
				continue;
		} else {
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
			if (kind == ST_M_IN && !i && nargs <= 6 && len <= (6 - nargs) * 8) {
				if (st_copy(&c->args[nargs], (const void *)addr, len))
					continue;
				here = ST_WHAT_HERE;
			} else if (kind & ST_M_IN && st_copy(buf + off, (const void *)addr, len))
				continue;
		}
		mask |= 1u << i;
	}
	return mask << ST_WHAT_PARTS | here;
}

/* Writes an answer's output into guest memory; 0, or -1 on a fault. */
static inline int deliver(struct st_ctx *c, uint32_t slot, const struct parts *p, uint32_t what)
{
	uint32_t n = what >> ST_WHAT_OUTS & 7u;
	if (n == ST_WHAT_ONE) {
		uint32_t i = what >> ST_WHAT_PART & 3u, len = (what & ~ST_WHAT_SHORT) >> ST_WHAT_LEN;
		const char *from = what & ST_WHAT_SHORT ? (const char *)c->args : buffer(slot) + p->off[i % ST_PARTS];
		return i < ST_PARTS && len <= p->len[i] && st_copy((void *)p->addr[i], from, len) ? -1 : 0;
	}
	for (uint32_t i = 0; i < n && i < ST_OUTS; i++)
		if (st_copy((void *)c->outs[i].addr, c->outs[i].kind == ST_SEG_LATER ? (char *)c->later : buffer(slot) + c->outs[i].off,
			    c->outs[i].len))
			return -1;
	return 0;
}

/* Gives the turn to the Sentry. Returns whether it slept. */
static inline int post(struct st_ctx *c, uint32_t slot)
{
	if (__atomic_load_n(&c->park, __ATOMIC_RELAXED))
		__atomic_store_n(&c->park, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->turn, ST_TURN_SENTRY, __ATOMIC_SEQ_CST);
	/* The Sentry takes `polled` back and then looks at the turn again, and sets `sleeping` and then looks at the ready
	 * words again; we do it the other way round. */
	if (__atomic_load_n(&c->polled, __ATOMIC_RELAXED))
		return 0;
	__atomic_fetch_or((uint64_t *)ST_CTX + slot / 64, 1ull << slot % 64, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&SHARED->sleeping, __ATOMIC_SEQ_CST)) {
		uint64_t one = 1;
		c->posted = stamp(c);
		SYS(__NR_write, ST_FD_BELL, &one, 8, 0, 0, 0);
		return 1;
	}
	return 0;
}

#define SPIN_FIRST 64 /* looks before the first look at the clock, about 1.5 µs */

/* A Sentry that slept (`rang`) may be woken on this CPU: then a spin only keeps it from answering. */
static inline void wait_turn(struct st_ctx *c, int rang)
{
	uint64_t limit = rang ? 0 : SHARED->spin, start = 0, now;
	for (uint32_t i = 0; limit; i++) {
		if (__atomic_load_n(&c->turn, __ATOMIC_ACQUIRE) == ST_TURN_STUB)
			return;
		if (i >= SPIN_FIRST) {
			now = stamp(c);
			if (!start)
				start = now;
			if (now - start > limit || c->cpu == *(volatile uint32_t *)&SHARED->cpu)
				break;
			if (__atomic_load_n(&c->park, __ATOMIC_RELAXED))
				break;
		}
		__builtin_ia32_pause();
	}
	/* CPUs are short: whoever else is ready here, the Sentry or a thread that computes, runs sooner than through a sleep and
	 * a wake-up, and so does this one. */
	for (uint32_t left = SHARED->yields; left && !__atomic_load_n(&c->park, __ATOMIC_RELAXED); left--) {
		SYS(__NR_sched_yield, 0, 0, 0, 0, 0, 0);
		if (__atomic_load_n(&c->turn, __ATOMIC_ACQUIRE) == ST_TURN_STUB)
			return;
	}
	stamp(c); /* a dispatcher that spins on this very CPU shall see it */
	for (;;) {
		uint32_t seen = ST_TURN_SENTRY;
		if (!__atomic_compare_exchange_n(&c->turn, &seen, ST_TURN_ASLEEP, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
		    seen == ST_TURN_STUB)
			return;
		SYS(__NR_futex, &c->turn, FUTEX_WAIT, ST_TURN_ASLEEP, 0, 0, 0);
	}
}

#endif
