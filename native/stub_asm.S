/* The stub's assembly: copies whose faults are recovered by address (stub.c: recover), and the
 * places where registers or stacks change hands. */
	.section .note.GNU-stack,"",@progbits

/* Road (b): rewritten call sites come here, the first byte at ST_TEXT, by way of their trampolines. rax: the number,
 * r11: the address after the site's `syscall`, rcx: free, all else the guest's. What cannot be served is done by that
 * instruction, which is still there. */
	.section .text.entry,"ax",@progbits
	.globl st_enter
st_enter:
	lea -2(%r11), %rcx
	jmp *%rcx

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
