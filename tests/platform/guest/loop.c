#include "guest.h"
/* `n` getppid calls; reports the TSC ticks of all together. */
void run(u64 n)
{
	u64 start = rdtsc();
	for (u64 i = 0; i < n; i++)
		CHECK(GETPPID() == 1234);
	REPORT(rdtsc() - start);
	GROUP_EXIT(7);
}
