/* What the ptrace platform's seed (native/ptrace_seed.c) and the Sentry (sentry/platform/ptrace.pyx)
 * agree on: where the two pages above the guest's addresses lie, and how the seed reports. */
#ifndef STOCKADE_PTRACE_ABI_H
#define STOCKADE_PTRACE_ABI_H

#define TR_LIMIT 0x7ffe00000000ull /* base.py: TASK_LIMIT */
#define TR_TOP 0x7ffffffff000ull   /* end of user addresses with four-level paging */

/* The region: a read + execute page that holds `syscall; int3` and nothing else, a hole, and a
 * writable page for the arguments of recvmsg. The seed takes the first free one of TR_TRIES places. */
#define TR_FIRST 0x7ffe10000000ull
#define TR_STEP 0x4000000ull
#define TR_TRIES 64
#define TR_SCRATCH 0x2000 /* offset of the writable page */
#define TR_REGION 0x3000

#define TR_CONTROL 0 /* the control socket's descriptor number in guest processes */
#define TR_SLOT 1    /* the number that a received descriptor gets: the lowest free one */

/* The seed's report, at its only int3: rax = 0 or a TR_E_* step, rbx = errno, rdi = address of the
 * region, rsi = address of the host's vDSO (0: none), rdx = 1 when the seccomp filter is in place. */
enum { TR_E_CAPS = 1, TR_E_PRIVS, TR_E_LIMITS, TR_E_MAP, TR_E_HELLO };

#endif
