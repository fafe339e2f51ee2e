#include "guest.h"
/* 0: busy loop. 1: getppid for ever. 2: two threads of both kinds. 3: FP registers over handler entry and return.
 * 4: read and write file mappings. 5: marshalled and unmarshalled buffers. 6: exits the thread by jumping to the stub. */
static unsigned char xmm[16] = "0123456789abcdef";
static unsigned char got[16];

static void handler(void)
{
	unsigned char zero[16];
	__asm__ volatile("movdqu %%xmm7, %0" : "=m"(zero));
	for (int i = 0; i < 16; i++)
		CHECK(zero[i] == 0); /* initial state in a handler */
	__asm__ volatile("pcmpeqd %%xmm7, %%xmm7" ::: "xmm7"); /* must not leak back */
	SYS(402, 0, 0, 0); /* sigreturn */
}

void run(u64 n)
{
	if (n == 0)
		for (;;)
			__asm__ volatile("pause");
	if (n == 1)
		for (;;)
			GETPPID();
	if (n == 2) {
		if (SPAWN() == 0)
			for (;;)
				__asm__ volatile("pause");
		for (;;)
			GETPPID();
	}
	if (n == 3) {
		/* rax 403: the harness enters `handler` (address in rdi) and comes back here by 402 */
		long r;
		__asm__ volatile("movdqu %2, %%xmm7\n\tsyscall\n\tmovdqu %%xmm7, %1"
				 : "=a"(r), "=m"(got) : "m"(xmm), "a"(403), "D"(handler) : "rcx", "r11", "memory", "xmm7");
		CHECK(r == 55);
		for (int i = 0; i < 16; i++)
			CHECK(got[i] == xmm[i]);
	}
	if (n == 4) {
		volatile char *p = (char *)SYS(404, 0, 0, 0); /* the harness maps a file, shared */
		CHECK(p[0] == 'f' && p[1] == 'i');
		p[1] = 'X';
		p = (char *)SYS(405, 0, 0, 0); /* the same, private */
		CHECK(p[0] == 'f' && p[1] == 'X');
		p[0] = 'Y';
	}
	if (n == 5) {
		static char in[5000], out[5000];
		for (int i = 0; i < 5000; i++)
			in[i] = (char)(i * 7);
		for (long len = 0; len < 5000; len += 499) {
			for (int i = 0; i < 5000; i++)
				out[i] = 1;
			CHECK(SYS(406, in, len, out) == len); /* the harness copies in to out */
			for (int i = 0; i < 5000; i++)
				CHECK(out[i] == (i < len ? in[i] : 1));
		}
		CHECK(SYS(406, in, 4, 16) == -14);
		CHECK(SYS(406, 16, 4, out) == -14);
		CHECK(SYS(406, 0, 4, out) == -14);
		CHECK(SYS(406, "text", 4, (char *)run) == 4); /* code is writable here */
		CHECK(SYS(407, "a path", 0, 0) == 6);
		CHECK(SYS(407, 16, 0, 0) == -14);
		CHECK(SYS(407, 0x7ffe10000000, 0, 0) == -14); /* the stub's own region is no guest memory */
		CHECK(SYS(406, in, 4, 0x7ffe10000000) == -14);
	}
	GROUP_EXIT(7);
}
