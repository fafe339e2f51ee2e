/* Inside the stub only: raw system calls, and copies that survive bad guest pointers. */
#ifndef STOCKADE_STUB_H
#define STOCKADE_STUB_H

#include <stddef.h>
#include <stdint.h>
#include <asm/unistd_64.h>
#include <asm/siginfo.h>
#include <asm/sigcontext.h>
#include <linux/signal.h>
#include <asm/ucontext.h>
#include "systrap.h"

/* No symbol is looked up through a GOT: the code has to run where it is copied to. */
#pragma GCC visibility push(hidden)

#define SHARED ((volatile struct st_shared *)ST_SHARED)

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#define SYS(nr, a, b, c, d, e, f) \
	sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* stub_asm.S */
uint64_t st_copy(void *to, const void *from, uint64_t n); /* bytes NOT copied because of a fault */
uint64_t st_zero(void *to, uint64_t n);                   /* likewise */
int64_t st_copy_str(char *to, const char *from, uint64_t max); /* bytes incl. NUL; -1: no NUL; -2: fault */
int st_probe_write(void *page);                           /* 0, or -1: not writable */
int st_set_base(uint64_t fs, uint64_t gs);
int st_peek(uint64_t *to, const uint64_t *from);          /* 0, or -1: not readable */
int st_xsave(char *to, uint64_t features);                /* 0, or -1 on a fault */
int st_xrstor(const char *from, uint64_t features);       /* likewise; also for an image that the processor refuses */
int st_poke(uint64_t *where, uint64_t value);             /* 0, or -1: not writable */
long st_clone_thread(uint64_t flags, uint64_t sp, struct ucontext *uc, uint64_t nonce);
void st_restorer(void);
void st_sigreturn(struct ucontext *uc) __attribute__((noreturn));
void st_first_trap(void) __attribute__((noreturn));
extern char st_copy_insn[], st_copy_out[], st_zero_insn[], st_zero_out[], st_str_insn[], st_str_out[],
	st_probe_insn[], st_probe_out[], st_peek_insn[], st_peek_out[], st_poke_insn[], st_poke_out[], st_base_begin[], st_base_end[], st_base_out[],
	st_xsave_insn[], st_xsave_out[], st_xrstor_insn[], st_xrstor_out[], st_exit_begin[], st_exit_end[],
	st_whole_begin[], st_whole_end[];
extern char st_blob_begin[], st_code_end[], st_blob_end[]; /* the vDSO lies behind the code */

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);

/* stub_fp.c; FP_ROOM: an AMX state has 11 KiB */
#define FP_ROOM 12288
struct _fpx_sw_bytes *fp_sw(char *fx);
uint64_t fp_size(char *fx);
void fp_reset(char *fx);
int fp_load(char *fx, const char *from);
void fp_save(char *fx);
int fp_to_frame(char *fx);
int fp_from_frame(const char *fx);
uint64_t fp_room(void);

/* stub_signals.c */
enum {
	NOT_ANSWERED,
	ANSWERED,
	ANSWERED_LOOK, /* and the Sentry has to look at the thread: a signal came meanwhile */
};
int set_mask(struct st_ctx *c, const uint64_t *args, uint64_t *value);
int enter_signal(struct st_ctx *c);
int sig_return(struct st_ctx *c);

/* stub.c */
void panic(void) __attribute__((noreturn));
struct st_result {
	uint64_t rax;
	uint64_t whole; /* all registers are loaded from `regs`, not only those that a call leaves alone */
};
struct st_result st_call(struct st_ctx *c);
void st_on_sigsys(int sig, siginfo_t *info, void *uc);
void st_on_fault(int sig, siginfo_t *info, void *uc);
void st_on_interrupt(int sig, siginfo_t *info, void *uc);

#pragma GCC visibility pop

#endif
