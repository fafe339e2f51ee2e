#include "guest.h"
/* Faults of kind `n`. */
void run(u64 n)
{
	static volatile u64 zero;
	switch (n) {
	case 1: *(volatile u64 *)0x12345000 = 1; break;
	case 2: __asm__ volatile("xor %%edx, %%edx\n\tdivq %0" : : "m"(zero) : "rax", "rdx"); break;
	case 3: __asm__ volatile("ud2"); break;
	case 4: __asm__ volatile("int3"); break;
	case 5: *(volatile u64 *)0x8000000000000000ul = 1; break;
	case 6: __asm__ volatile("hlt"); break;
	}
	GROUP_EXIT(7);
}
