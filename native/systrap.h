/* What the stub (native/stub*.c) and the Sentry (sentry/platform/systrap.pyx) share: the layout of
 * the region above the guest's addresses and the structs in shared memory. Written once, here;
 * the assertions below and `systrap.py`'s start-up check hold the sizes.
 *
 * Everything in a context can be written by the guest at any moment. The Sentry reads a field once,
 * copies it, and checks the copy. */
#ifndef STOCKADE_SYSTRAP_H
#define STOCKADE_SYSTRAP_H

#include <stdint.h>

/* --- the region above the guest (guest addresses end at ST_LIMIT, a 4 GiB boundary) --- */
#define ST_LIMIT 0x7ffe00000000ull
#define ST_LIMIT_HI 0x7ffeu
#define ST_TEXT 0x7ffe00010000ull     /* stub code, read + execute, private, sealed */
#define ST_SHARED 0x7ffe00100000ull   /* struct st_shared, from an O_RDONLY description */
#define ST_VDSO 0x7ffe00200000ull     /* the host's vvar and vDSO, moved here */
#define ST_CTX 0x7ffe10000000ull      /* the address space's memfd */
#define ST_STACK 0x7ffe40000000ull    /* ST_SLOTS stub stacks, private, one mapping */
#define ST_TOP 0x7ffffffff000ull      /* end of user addresses with four-level paging */

#define ST_STACK_SHIFT 16             /* 64 KiB each: 3 x 11 KiB signal frames (AMX) + 16 KiB and spare */
#define ST_STACK_SIZE (1u << ST_STACK_SHIFT)
#define ST_STACKS_LEN ((uint64_t)(ST_SLOTS + 1) << ST_STACK_SHIFT)
#define ST_SLOTS 4095                 /* threads of one address space */
#define ST_BUF_SIZE 65536u            /* marshalling buffer of one thread */

/* The memfd: ready words in the first ST_CTX_SIZE bytes, then contexts, then buffers. */
#define ST_CTX_SIZE 1024u
#define ST_READY_WORDS 64u
#define ST_BUF_OFF ((uint64_t)(ST_SLOTS + 1) * ST_CTX_SIZE)
#define ST_CTX_LEN (ST_BUF_OFF + (uint64_t)(ST_SLOTS + 1) * ST_BUF_SIZE)

#define ST_FD_BELL 3 /* doorbell: eventfd, EFD_NONBLOCK */
#define ST_FD_SLOT 4 /* where the Sentry puts the descriptor of a pending mmap */

#define ST_INTR_SIGNAL 23 /* SIGURG: ignored where no handler is installed yet */

/* The calls that are decided by the Sentry (filter A). */
#define ST_NR_HELLO 110 /* getppid's number: a new thread says that it exists; never run by the host */

/* clone flags of the two forms (fork: exit signal SIGCHLD is inherited through CLONE_PARENT) */
#define ST_CLONE_FORK 0x00008000ul                                                  /* PARENT */
#define ST_CLONE_THREAD (0x100ul | 0x200ul | 0x400ul | 0x800ul | 0x10000ul | 0x40000ul) /* VM FS FILES SIGHAND THREAD SYSVSEM */

/* --- hand-off --- */
enum { ST_TURN_STUB = 0, ST_TURN_SENTRY = 1 };

enum { /* st_ctx.event; equal to base.py's EV_* where both exist */
	ST_EV_SYSCALL = 1,
	ST_EV_FAULT = 2,
	ST_EV_INTERRUPT = 3,
	ST_EV_OPS = 4,
	ST_EV_FRAME_FAULT = 5,
	ST_EV_CLONE_FAILED = 16,
};

enum { /* st_ctx.cmd */
	ST_CMD_RET = 1,  /* return `value`, after copying `outs` */
	ST_CMD_REGS,     /* load `regs` */
	ST_CMD_HANDLER,  /* write `len` bytes of the buffer to `addr` and the FP state to `fp_addr`, then REGS */
	ST_CMD_OPS,      /* `nops` struct st_op in the buffer */
	ST_CMD_FORK,     /* `value`: a number (32 bits) that the child names when it reports */
	ST_CMD_SPAWN,    /* likewise; `addr`: the new thread's slot */
	ST_CMD_EXIT,
};

enum { /* st_ctx.flags */
	ST_FP_RESET = 1, /* REGS: initial FP state */
	ST_FP_FROM = 2,  /* REGS: FP state from the image at fp_addr */
	ST_OPS_VALUE = 4, /* OPS: on success go on with rax = value */
	ST_OPS_REGS = 8, /* OPS: on success load `regs` as well */
};

struct st_regs {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, rsp,
		eflags, fs_base, gs_base;
};

/* A piece of guest memory that lies in the buffer: [addr, addr+len) is at buf + off. */
struct st_seg {
	uint64_t addr;
	uint32_t len;
	uint16_t off;
	uint16_t kind; /* ST_M_* */
};

#define ST_SEGS 6
#define ST_OUTS 6

struct st_ctx {
	/* hand-off */
	uint32_t turn;      /* futex word */
	uint32_t asleep;    /* the stub is in, or on its way into, FUTEX_WAIT */
	uint32_t park;      /* Sentry: this call blocks, do not spin */
	uint32_t interrupt; /* Sentry: an interrupt is wanted; set before the signal is sent */
	uint32_t ops_seq;   /* stub: ST_CMD_OPS carried out */
	uint32_t fp_size;   /* stub, at the first event: bytes of FP state in a signal frame */
	uint64_t gap;       /* stub: TSC ticks between the last resumption and this event */
	uint64_t resumed;   /* stub: TSC at the last resumption */
	uint32_t cpu;       /* stub: where this event happened */
	uint32_t pad0;
	uint64_t pad1[2];
	/* stub -> Sentry */
	uint32_t event;
	int32_t nr;
	uint32_t arch;
	uint32_t nsegs;
	uint32_t ops_done;
	int32_t result;     /* OPS, CLONE_FAILED: errno; after FORK: the child's process id */
	uint64_t fault[5];  /* signo, code, address, trap number, error code */
	struct st_regs regs; /* both ways */
	struct st_seg segs[ST_SEGS];
	/* Sentry -> stub */
	uint32_t cmd;
	uint32_t flags;
	uint64_t value;
	uint64_t addr;
	uint64_t len;
	uint64_t fp_addr;
	uint32_t nouts;
	uint32_t nops;
	struct st_seg outs[ST_OUTS];
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
enum { ST_M_IN = 1, ST_M_OUT = 2, ST_M_INOUT = 3, ST_M_STR = 4 };
#define ST_M_LEN_ARG 0x80 /* `len` is the index of the argument that holds the length */
#define ST_PARTS 3
#define ST_ROWS 512

struct st_part {
	uint8_t kind;
	uint8_t arg;
	uint16_t len;
};

struct st_row {
	uint32_t nparts;
	struct st_part parts[ST_PARTS];
};

struct st_shared {
	uint32_t sleeping; /* the dispatcher sleeps: ring the doorbell */
	uint32_t pad0[15];
	uint32_t spin;     /* TSC ticks that a stub waits before it sleeps */
	uint32_t pad1[15];
	uint8_t pad2[4096 - 128];
	struct st_row rows[ST_ROWS];
};
#define ST_SHARED_LEN 0x3000u

/* Larger buffers go by process_vm_*: copying them twice would cost more. */
#define ST_IN_MAX 32768u
#define ST_OUT_MAX 16384u
#define ST_STR_MAX 4096u

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
_Static_assert(sizeof(struct st_op) == 40, "st_op");
_Static_assert(sizeof(struct st_row) == 16, "st_row");
_Static_assert(sizeof(struct st_shared) == ST_SHARED_LEN, "st_shared");
_Static_assert(ST_READY_WORDS * 8 <= ST_CTX_SIZE && ST_READY_WORDS * 64 > ST_SLOTS, "ready words");
_Static_assert(ST_CTX + ST_CTX_LEN <= ST_STACK, "contexts reach into the stacks");

#endif
