/* The stub's assembly: copies whose faults are recovered by address (stub.c: recover), and the
 * places where registers or stacks change hands. */
#define __ASSEMBLER__ 1
#include "systrap.h"
	.section .note.GNU-stack,"",@progbits

/* Where rewritten call sites jump to; the first byte of the blob (ST_TEXT). rax is the number, r11 the address behind the
 * site's `syscall`, rcx is free, all else is the guest's. Flags stay as they are: no instruction before the
 * pushf changes them. GS that is not the address of a context, which says so itself, is the guest's own: then the site's
 * intact `syscall` runs. */
#define R(n) (ST_OFF_REGS + 8 * (n))(%rcx)
	.section .text.enter,"ax",@progbits
	.globl st_enter, st_exit_begin, st_exit_end
st_enter:
	rdgsbase %rcx
	rorx $22, %rcx, %rcx
	mov %ecx, %ecx
	lea -ST_CTX_4M(%rcx), %ecx
	jrcxz 2f
1:	lea -2(%r11), %rcx
	jmp *%rcx
2:	mov %r11, %gs:ST_OFF_REGS + 8 * 16
	rdgsbase %rcx
	mov ST_OFF_SELF(%rcx), %r11
	not %r11
	lea 1(%rcx, %r11), %rcx
	mov %gs:ST_OFF_REGS + 8 * 16, %r11
	jrcxz 3f
	jmp 1b
3:	rdgsbase %rcx
	movl $0, ST_OFF_LEAVING(%rcx)
	mov %rsp, R(17)
	mov ST_OFF_STACK(%rcx), %rsp
	mov %r15, R(0)
	mov %r14, R(1)
	mov %r13, R(2)
	mov %r12, R(3)
	mov %rbp, R(4)
	mov %rbx, R(5)
	mov %r10, R(7)
	mov %r9, R(8)
	mov %r8, R(9)
	mov %rax, R(10)
	mov %r11, R(11)
	mov %rdx, R(12)
	mov %rsi, R(13)
	mov %rdi, R(14)
	mov %rax, R(15)
	mov %r11, R(16)
	pushfq
	pop %r11
	mov %r11, R(18)
	mov %r11, R(6)
	rdfsbase %rdx
	mov %rdx, R(19)
	movq $0, R(20)
	cld
	mov %rcx, %rbx
	mov %rcx, %rdi
	call st_call
	mov %rbx, %rcx
	test %rdx, %rdx
	jnz st_whole
	mov R(5), %rbx
	mov R(7), %r10
	mov R(8), %r9
	mov R(9), %r8
	mov R(12), %rdx
	mov R(13), %rsi
	mov R(14), %rdi
	mov R(18), %r11
	push %r11
	popfq
st_exit_begin:
	mov R(17), %rsp
	mov R(16), %rcx
	jmp *%rcx
st_exit_end:

/* All registers: into a signal handler, or back from one. */
	.globl st_whole_begin, st_whole_end
st_whole:
	mov R(18), %r11
	push %r11
	popfq
	mov R(0), %r15
	mov R(1), %r14
	mov R(2), %r13
	mov R(3), %r12
	mov R(4), %rbp
	mov R(5), %rbx
	mov R(6), %r11
	mov R(7), %r10
	mov R(8), %r9
	mov R(9), %r8
	mov R(10), %rax
	mov R(12), %rdx
	mov R(13), %rsi
	mov R(14), %rdi
st_whole_begin:
	mov R(17), %rsp
	mov R(11), %rcx
	jmp *%gs:ST_OFF_REGS + 8 * 16
st_whole_end:

	.section .vdso,"a",@progbits
	.incbin "vdso.so"

	.text

/* st_copy(to, from, n): a fault in rep movsb leaves the remaining count in rcx. */
	.globl st_copy, st_copy_insn, st_copy_out
st_copy:
	mov %rdx, %rcx
st_copy_insn:
	rep movsb
st_copy_out:
	mov %rcx, %rax
	ret

	.globl st_zero, st_zero_insn, st_zero_out
st_zero:
	mov %rsi, %rcx
	xor %eax, %eax
st_zero_insn:
	rep stosb
st_zero_out:
	mov %rcx, %rax
	ret

/* st_copy_str(to, from, max) */
	.globl st_copy_str, st_str_insn, st_str_out
st_copy_str:
	xor %ecx, %ecx
1:	cmp %rdx, %rcx
	jae 2f
st_str_insn:
	movb (%rsi,%rcx), %al
	movb %al, (%rdi,%rcx)
	inc %rcx
	test %al, %al
	jnz 1b
	mov %rcx, %rax
	ret
2:	mov $-1, %rax
	ret
st_str_out:
	mov $-2, %rax
	ret

/* st_probe_write(p): a write that changes nothing, also when another thread writes there. */
	.globl st_probe_write, st_probe_insn, st_probe_out
st_probe_write:
st_probe_insn:
	lock orb $0, (%rdi)
	xor %eax, %eax
	ret
st_probe_out:
	mov $-1, %eax
	ret

/* st_peek(to, from) */
	.globl st_peek, st_peek_insn, st_peek_out
st_peek:
st_peek_insn:
	mov (%rsi), %rax
	mov %rax, (%rdi)
	xor %eax, %eax
	ret
st_peek_out:
	mov $-1, %eax
	ret

/* st_xsave(to, features): the header's reserved bytes are not written. */
	.globl st_xsave, st_xsave_insn, st_xsave_out
st_xsave:
	mov %esi, %eax
	shr $32, %rsi
	mov %esi, %edx
st_xsave_insn:
	xsave64 (%rdi)
	xor %eax, %eax
	ret
st_xsave_out:
	mov $-1, %eax
	ret

/* st_xrstor(from, features) */
	.globl st_xrstor, st_xrstor_insn, st_xrstor_out
st_xrstor:
	mov %esi, %eax
	shr $32, %rsi
	mov %esi, %edx
st_xrstor_insn:
	xrstor64 (%rdi)
	xor %eax, %eax
	ret
st_xrstor_out:
	mov $-1, %eax
	ret

/* st_poke(where, value) */
	.globl st_poke, st_poke_insn, st_poke_out
st_poke:
st_poke_insn:
	mov %rsi, (%rdi)
	xor %eax, %eax
	ret
st_poke_out:
	mov $-1, %eax
	ret

/* st_set_base(fs, gs): a non-canonical address faults. */
	.globl st_set_base, st_base_begin, st_base_end, st_base_out
st_set_base:
st_base_begin:
	wrfsbase %rdi
	wrgsbase %rsi
st_base_end:
	xor %eax, %eax
	ret
st_base_out:
	mov $-1, %eax
	ret

/* st_clone_thread(flags, sp, uc, nonce): the child never returns from here. */
	.globl st_clone_thread
st_clone_thread:
	push %rbx
	push %r12
	mov %rdx, %rbx
	mov %rcx, %r12
	xor %edx, %edx
	xor %r10d, %r10d
	xor %r8d, %r8d
	xor %r9d, %r9d
	mov $56, %eax
	syscall
	test %rax, %rax
	jz 1f
	pop %r12
	pop %rbx
	ret
1:	xor %ebp, %ebp
	mov %rbx, %rdi
	mov %r12, %rsi
	call st_thread_main
	ud2

/* The kernel enters handlers with the return address on top of the frame; at rt_sigreturn the stack
 * pointer stands just behind it, at the ucontext. */
	.globl st_restorer
st_restorer:
	mov $15, %eax
	syscall
	ud2

	.globl st_sigreturn
st_sigreturn:
	mov %rdi, %rsp
	mov $15, %eax
	syscall
	ud2

/* The seed's way into its first event: a call that the filter traps, with all registers zero. */
	.globl st_first_trap
st_first_trap:
	xor %eax, %eax
	xor %ebx, %ebx
	xor %edx, %edx
	xor %esi, %esi
	xor %edi, %edi
	xor %ebp, %ebp
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	mov $39, %eax
	syscall
	ud2

	.globl memcpy, memset
memcpy:
	mov %rdi, %rax
	mov %rdx, %rcx
	rep movsb
	ret
memset:
	mov %rdi, %r8
	mov %rdx, %rcx
	mov %esi, %eax
	rep stosb
	mov %r8, %rax
	ret
