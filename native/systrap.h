/* What the stub (native/stub*.c) and the Sentry (sentry/platform/systrap.pyx) share: the layout of
 * the region above the guest's addresses and the structs in shared memory. Written once, here;
 * the assertions below and `systrap.py`'s start-up check hold the sizes.
 *
 * Everything in a context can be written by the guest at any moment. The Sentry reads a field once,
 * copies it, and checks the copy. */
#ifndef STOCKADE_SYSTRAP_H
#define STOCKADE_SYSTRAP_H

/* For stub_asm.S as well; the assertions below hold them. */
#define ST_OFF_LEAVING 128
#define ST_OFF_STACK 136
#define ST_OFF_SELF 144
#define ST_OFF_REGS 192
#define ST_VDSO_OFF 0x8000 /* where our vDSO lies in the stub's text */
#define ST_CTX_4M 0x1fff840 /* ST_CTX >> 22: the contexts fill 4 MiB */

#ifndef __ASSEMBLER__
#include <stdint.h>

/* --- the region above the guest (guest addresses end at ST_LIMIT, a 4 GiB boundary) --- */
#define ST_LIMIT 0x7ffe00000000ull
#define ST_LIMIT_HI 0x7ffeu
#define ST_TEXT 0x7ffe00010000ull     /* stub code, read + execute, private, sealed */
#define ST_SHARED 0x7ffe00100000ull   /* struct st_shared, from an O_RDONLY description */
#define ST_VDSO 0x7ffe00200000ull     /* the host's vvar and vDSO, moved here; guests are told of ours */
#define ST_CTX 0x7ffe10000000ull      /* the address space's memfd */
#define ST_STACK 0x7ffe40000000ull    /* ST_SLOTS stub stacks, private, one mapping */
#define ST_TOP 0x7ffffffff000ull      /* end of user addresses with four-level paging */

#define ST_STACK_SHIFT 16             /* 64 KiB each: 3 x 11 KiB signal frames (AMX) + 16 KiB and spare */
#define ST_STACK_SIZE (1u << ST_STACK_SHIFT)
#define ST_STACKS_LEN ((uint64_t)(ST_SLOTS + 1) << ST_STACK_SHIFT)
#define ST_SLOTS 4095                 /* threads of one address space */
#define ST_BUF_SIZE 131072u           /* marshalling buffer of one thread */

/* The memfd: ready words in the first ST_CTX_SIZE bytes, then contexts, then buffers. */
#define ST_CTX_SIZE 1024u
#define ST_READY_WORDS 64u
#define ST_BUF_OFF ((uint64_t)(ST_SLOTS + 1) * ST_CTX_SIZE)
#define ST_CTX_LEN (ST_BUF_OFF + (uint64_t)(ST_SLOTS + 1) * ST_BUF_SIZE)

#define ST_FD_BELL 3 /* doorbell: eventfd, EFD_NONBLOCK */
#define ST_FD_SLOT 4 /* where the Sentry puts the descriptor of a pending mmap */
#define ST_FD_CTX 5 /* the process's own context memory */
#define ST_FD_KEPT 8 /* ST_MOST_KEPT descriptors of files that anybody may read, for private mappings without approval */
#define ST_MOST_KEPT 48

#define ST_INTR_SIGNAL 23 /* SIGURG: ignored where no handler is installed yet */

/* The calls that are decided by the Sentry (filter A). */
#define ST_NR_HELLO 110 /* getppid's number: a new thread says that it exists; never run by the host */

/* clone flags of the two forms (fork: exit signal SIGCHLD is inherited through CLONE_PARENT) */
#define ST_CLONE_FORK 0x00008000ul                                                  /* PARENT */
#define ST_CLONE_THREAD (0x100ul | 0x200ul | 0x400ul | 0x800ul | 0x10000ul | 0x40000ul) /* VM FS FILES SIGHAND THREAD SYSVSEM */

/* --- hand-off --- */
enum { /* st_ctx.turn */
	ST_TURN_STUB = 0,
	ST_TURN_SENTRY = 1,
	ST_TURN_ASLEEP = 2, /* the Sentry's, and the stub is in, or on its way into, FUTEX_WAIT */
};

enum { /* event; equal to base.py's EV_* where both exist */
	ST_EV_SYSCALL = 1,
	ST_EV_FAULT = 2,
	ST_EV_INTERRUPT = 3,
	ST_EV_OPS = 4,
	ST_EV_FRAME_FAULT = 5,
	ST_EV_CLONE_FAILED = 16,
};

enum { /* command */
	ST_CMD_RET = 1,  /* return `word`, after copying outputs */
	ST_CMD_REGS,     /* load `regs` */
	ST_CMD_HANDLER,  /* write `len` bytes of the buffer to `addr` and the FP state to `fp_addr`, then REGS */
	ST_CMD_OPS,      /* `nops` struct st_op in the buffer */
	ST_CMD_FORK,     /* `word`: a number (32 bits) that the child names when it reports */
	ST_CMD_SPAWN,    /* likewise; `addr`: the new thread's slot */
	ST_CMD_EXIT,
	ST_CMD_SIGNAL, /* to a call of a rewritten site: enter a signal handler (the struct st_signal in place of the arguments) */
};

/* st_ctx.what from the stub: event | parts carried (a bit each) << 8 | how it came. */
#define ST_WHAT_PARTS 8
#define ST_WHAT_TRAP 0x800u /* the call arrived as SIGSYS, not from a rewritten call site */
#define ST_WHAT_HERE 0x1000u /* its first part, an input, stands behind the arguments that the call has, and not in the buffer */
/* st_ctx.what from the Sentry: command | for RET: number of entries of `outs` << 8, or ST_WHAT_ONE, part << 11, length << 13:
 * that many bytes of that part. */
#define ST_WHAT_OUTS 8
#define ST_WHAT_ONE 7u
#define ST_WHAT_PART 11
#define ST_WHAT_LEN 13
#define ST_WHAT_SHORT 0x80000000u /* ONE: the bytes stand in `args` */
#define ST_WHAT_ONSTACK 0x100u /* SIGNAL: SA_ONSTACK */

enum { /* st_ctx.flags */
	ST_FP_RESET = 1, /* REGS: initial FP state */
	ST_FP_FROM = 2,  /* REGS: FP state from the image at fp_addr */
	ST_OPS_VALUE = 4, /* OPS: on success go on with rax = word */
	ST_OPS_REGS = 8, /* OPS: on success load `regs` as well */
	ST_FP_LENT = 16, /* REGS, HANDLER: first take the FP state from the buffer at ST_LENT_OFF */
};

enum { /* st_ctx.leaving: what an interrupt that meets the stub's own code finds there */
	ST_INSIDE = 0,       /* an event is about to be posted or is posted: nothing to do */
	ST_LEAVING = 1,      /* on the way back to the guest, whose registers are `regs` */
	ST_LEAVING_FRAME = 2, /* likewise, but they are in the signal frame at `frame` */
};

struct st_regs {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, rsp,
		eflags, fs_base, gs_base;
};

/* A piece of guest memory that lies in the buffer: [addr, addr+len) is at buf + off. */
struct st_seg {
	uint64_t addr;
	uint32_t len;
	uint32_t off : 24;
	uint32_t kind : 8; /* ST_M_*; of st_ctx.outs: 0, or ST_SEG_LATER */
};
#define ST_SEG_LATER 0x80u /* the bytes stand in st_ctx.later: a new process need not touch its buffer */

#define ST_OUTS 6
#define ST_ANSWERS 11
#define ST_STARTS 255

/* A line of 64 bytes costs about 40 ns each time it changes hands, so each line has one writer, but for the first:
 * it alone carries a call without data there and back. */
struct st_ctx {
	/* both ways */
	uint32_t turn;      /* futex word */
	uint32_t what;
	uint64_t word;      /* stub: system call number; Sentry: value */
	uint64_t args[6];   /* kill and tgkill: the last is the caller's signal mask */
	/* 64: the Sentry's */
	uint32_t park;      /* this call blocks, do not spin; the stub takes it back */
	uint32_t interrupt; /* an interrupt is wanted; set before the signal is sent; the stub takes it back */
	uint32_t polled;    /* the dispatcher looks at `turn` itself: no ready bit, no doorbell */
	uint32_t known;     /* a bit for each answer that holds */
	uint32_t answers[ST_ANSWERS]; /* values that the stub may return on its own (st_row.answer) */
	uint32_t traced;    /* every call shall trap, and none be answered by the stub */
	/* 128: the stub's */
	uint32_t leaving;
	uint32_t stepped;   /* the guest's trap flag, taken off in the stub */
	uint64_t stack;     /* where the stub's stack begins for a rewritten call site */
	uint64_t self;      /* this context's address in the guest; one more: calls of rewritten sites shall trap */
	uint64_t frame;     /* the signal frame of ST_LEAVING_FRAME */
	uint64_t posted;    /* TSC at an event that found the dispatcher asleep */
	uint32_t cpu;       /* and where that was */
	uint32_t ops_seq;   /* ST_CMD_OPS carried out */
	uint32_t ops_done;
	int32_t result;     /* OPS, CLONE_FAILED: errno; after FORK: the child's process id */
	uint32_t fp_size;   /* at the first trap: bytes of FP state in a signal frame */
	uint32_t arch;      /* of a trapped call */
	/* 192: both ways, but only read by the Sentry when it needs registers */
	struct st_regs regs;
	uint64_t pad2[3];
	/* 384: the stub's */
	uint64_t fault[5];  /* signo, code, address, trap number, error code */
	uint64_t pad3[3];
	/* 448: the Sentry's */
	uint32_t flags;
	uint32_t nops;
	uint64_t addr;
	uint64_t len;
	uint64_t fp_addr;
	struct st_seg outs[ST_OUTS];
	/* 576: the stub's, at the first trap: the end of the legacy FP area in a signal frame (struct _fpx_sw_bytes) */
	uint8_t fp_sw[48];
	uint64_t pad4[2];
	/* 640: the Sentry's */
	uint64_t quiet;     /* signals that are pending nowhere: the stub may block and unblock them (stub_signals.c) */
	uint64_t alt_stack; /* sigaltstack: ss_sp, ss_size, ss_flags */
	uint64_t alt_size;
	uint32_t alt_flags;
	uint32_t starts;    /* ST_START_*: what the stub may do on its own of the calls that a thread begins and ends with */
	int32_t tid;        /* what set_tid_address returns */
	uint8_t later[16];  /* what a seg of kind ST_SEG_LATER names */
	uint32_t pad5[3];
	/* 704: whoever's turn it is; the Sentry reads it at any time */
	uint64_t sigmask;   /* the thread's signal mask: there is no other */
	uint64_t robust;    /* what set_robust_list and set_tid_address were told: there is no other place either */
	uint64_t clear_tid;
};

enum { /* st_ctx.starts */
	ST_START_ROBUST = 1, /* set_robust_list */
	ST_START_TID = 2,    /* set_tid_address */
	ST_START_FS = 4,     /* arch_prctl(ARCH_SET_FS) */
	ST_START_RSEQ = 8,   /* rseq, which does not exist */
	ST_START_EXIT = 16,  /* exit and exit_group: look whether there are robust futexes */
};

/* In `args`, with ST_CMD_SIGNAL; `word` is the signal's number, and its si_code in the upper half. The call's result is 0. */
struct st_signal {
	uint64_t handler, restorer;
	uint64_t block;   /* what the handler blocks besides the present mask */
	uint64_t sender;  /* si_pid, si_uid */
	uint64_t trap;    /* of the last fault: trap number, error code */
	uint64_t address;
};

/* Memory operations; opcodes equal to base.py's OP_*. */
enum {
	ST_OP_MMAP_ANON = 1,
	ST_OP_MMAP_FD,
	ST_OP_MUNMAP,
	ST_OP_MPROTECT,
	ST_OP_MADVISE,
	ST_OP_MREMAP,
	ST_OP_WRITE, /* addr, len, offset in the buffer */
	ST_OP_ZERO,
	ST_OP_POKE, /* addr, a multiple of 8; 8; value: one store, which other threads see whole or not at all */
	ST_OP_LEND_FP, /* a: a slot whose thread is idle; this thread's FP state goes into its buffer at ST_LENT_OFF */
	ST_OP_MMAP_KEPT, /* as ST_OP_MMAP_FD, of the descriptor in the upper half of a */
};

struct st_op {
	uint32_t op;
	uint32_t flags; /* mmap flags */
	uint64_t addr;
	uint64_t len;
	uint64_t a; /* prot, advice, new length, offset in the buffer, value */
	uint64_t b; /* file offset, new address */
};

/* --- what the Sentry alone writes and every guest maps read-only --- */
/* Larger buffers go by process_vm_*. Of outputs more than ST_OUT_MAX may come back as one of `outs`, if the Sentry knows that
 * there is a place for it. The buffer stays in the caches: two copies through it cost a third of one by process_vm_*. */
#define ST_IN_MAX 131072u
#define ST_OUT_MAX 16384u
#define ST_STR_MAX 4096u

enum { ST_M_IN = 1, ST_M_OUT = 2, ST_M_INOUT = 3, ST_M_STR = 4 };
/* An iovec array: argument `arg` points to it and the next one counts, or (`len` is 1) `arg` points to a msghdr. At most
 * ST_VEC_MOST pieces are carried; GATHER brings what they hold as well, ST_VEC_HEAD bytes behind the array, if it is not more
 * than ST_VEC_MAX. */
enum { ST_M_GATHER = 8, ST_M_SCATTER = 16 };
#define ST_VEC_MOST 8u
#define ST_VEC_HEAD 128u
#define ST_VEC_MAX 8192u
#define ST_M_LEN_ARG 0x80 /* `len` is the index of the argument that holds the length */
#define ST_LENT_OFF 32768u /* a multiple of 64; behind it there is room for any FP state */
#define ST_PARTS 3
#define ST_ROWS 512

struct st_part {
	uint8_t kind;
	uint8_t arg;
	uint16_t len;
};

struct st_row {
	uint8_t nparts;
	uint8_t answer; /* 0, 1 + the index of the context's answer that the stub returns at once, or ST_STARTS: see st_ctx.starts */
	uint8_t nargs;  /* that the call has; what is behind them in `args` may carry a short input */
	uint8_t pad;
	struct st_part parts[ST_PARTS];
};

/* Where a part of a call goes: its length, 0 when it is not carried, and `used`, which becomes the offset behind it.
 * Stub and Sentry compute this alike from the arguments; offsets do not depend on whether a copy succeeds. */
static inline uint32_t st_place(const volatile struct st_part *p, const uint64_t *args, uint32_t *used)
{
	uint32_t kind = p->kind & 0x7fu;
	uint64_t len = p->len, addr = p->arg < 6 ? args[p->arg] : 0;
	if (!addr || addr >= ST_LIMIT)
		return 0;
	if (kind >= ST_M_GATHER)
		len = kind == ST_M_GATHER ? ST_VEC_HEAD + ST_VEC_MAX : ST_VEC_HEAD;
	else if (p->kind & ST_M_LEN_ARG)
		len = len < 6 ? args[len] : 0;
	if (kind == ST_M_STR)
		len = ST_STR_MAX;
	else if (kind == ST_M_OUT && len > ST_OUT_MAX) /* of a large buffer its beginning, for answers that are short */
		len = ST_OUT_MAX;
	if (kind < ST_M_GATHER && (!len || len > (kind & ST_M_OUT ? ST_OUT_MAX : ST_IN_MAX) || addr + len > ST_LIMIT))
		return 0;
	if (*used + len > ST_BUF_SIZE)
		return 0;
	*used = (*used + (uint32_t)len + 63u) & ~63u;
	return (uint32_t)len;
}

struct st_shared {
	uint32_t sleeping; /* the dispatcher sleeps: ring the doorbell */
	uint32_t cpu;      /* where it was last: a stub there must not spin, it would keep it from answering */
	uint32_t pad0[14];
	uint32_t spin;     /* TSC ticks that a stub waits before it sleeps */
	uint32_t yields;   /* how often it lets others have its CPU after that */
	uint32_t sites;    /* call sites are rewritten: GS is ours unless the guest sets it */
	uint32_t pad1[13];
	uint8_t fp_sw[48]; /* what ends the legacy FP area in a signal frame; st_ctx.fp_sw of the first process */
	uint64_t host_clock_gettime, host_clock_getres, host_gettimeofday, host_time, host_getcpu; /* in the host's vDSO */
	struct st_offset { int64_t sec; uint64_t nsec; } monotonic, boottime; /* added to the host's clocks; nsec < 10^9 */
	uint32_t shifted;    /* an offset is not zero */
	uint32_t slow_clock; /* the host's vDSO cannot read the clock without a call */
	uint8_t pad2[4096 - 176 - 80];
	struct st_row rows[ST_ROWS];
};
#define ST_SHARED_LEN 0x3000u

/* --- set-up message to the seed: this struct, then filter A, then filter B --- */
#define ST_RANGES 8
struct st_setup {
	uint32_t magic;
	uint32_t filter_a; /* instructions (8 bytes each) */
	uint32_t filter_b;
	uint32_t nranges;
	struct { uint64_t addr, len, to; } ranges[ST_RANGES]; /* vvar and vDSO mappings to keep */
};
#define ST_MAGIC 0x53544f43u

_Static_assert(sizeof(struct st_regs) == 168, "st_regs");
_Static_assert(sizeof(struct st_seg) == 16, "st_seg");
_Static_assert(sizeof(struct st_ctx) <= ST_CTX_SIZE, "st_ctx");
_Static_assert(__builtin_offsetof(struct st_ctx, park) == 64, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, leaving) == ST_OFF_LEAVING, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, stack) == ST_OFF_STACK, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, self) == ST_OFF_SELF, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, regs) == ST_OFF_REGS, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, fault) == 384, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, flags) == 448, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, quiet) == 640, "st_ctx lines");
_Static_assert(__builtin_offsetof(struct st_ctx, sigmask) == 704, "st_ctx lines");
_Static_assert(sizeof(struct st_signal) == 48, "st_signal");
_Static_assert(sizeof(struct st_op) == 40, "st_op");
_Static_assert(sizeof(struct st_row) == 16, "st_row");
_Static_assert(sizeof(struct st_shared) == ST_SHARED_LEN, "st_shared");
_Static_assert(ST_CTX >> 22 == ST_CTX_4M && ST_BUF_OFF == 1ull << 22, "the range test in st_enter");
_Static_assert(ST_READY_WORDS * 8 <= ST_CTX_SIZE && ST_READY_WORDS * 64 > ST_SLOTS, "ready words");
_Static_assert(ST_CTX + ST_CTX_LEN <= ST_STACK, "contexts reach into the stacks");

#endif /* __ASSEMBLER__ */
#endif
