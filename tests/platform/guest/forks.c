#include "guest.h"
/* `n` forks, each child changes private memory and exits; then a spawned thread that shares memory. */
static volatile u64 word = 5;
void run(u64 n)
{
	for (u64 i = 0; i < n; i++) {
		u64 before = word;
		long pid = FORK();
		if (pid == 0) {
			word += 100;
			REPORT(word);
			GROUP_EXIT(3);
		}
		CHECK(pid > 0);
		CHECK(word == before);
		word++;
	}
	if (n == 0)
		n = 1;
	long tid = SPAWN();
	if (tid == 0) {
		REPORT(1);
		word = 777;
		EXIT(0);
	}
	CHECK(tid > 0);
	while (word != 777)
		GETPPID();
	GROUP_EXIT(7);
}
