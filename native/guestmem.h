/* Guest memory from the Sentry's side, by process_vm_readv/writev(2). */
#ifndef STOCKADE_GUESTMEM_H
#define STOCKADE_GUESTMEM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#define GUEST_STEP (1u << 17)

/* Copies n bytes between `buf` and the guest's `addr`; returns how many were copied before the first
 * page that cannot be. The kernel copies page by page within an element, though it promises no
 * more than whole elements, so a short answer is tried again up to the next page's end. */
static inline size_t guest_copy(int pid, uint64_t addr, void *buf, size_t n, uint64_t limit, int write)
{
	size_t done = 0;
	if (addr >= limit)
		return 0;
	if (n > limit - addr)
		n = limit - addr;
	while (done < n) {
		size_t want = n - done, page = 4096 - ((addr + done) & 4095);
		if (want > GUEST_STEP) /* (see sh_vm_write in systrap_host.h) */
			want = GUEST_STEP;
		for (;;) {
			struct iovec local = {(char *)buf + done, want}, remote = {(void *)(addr + done), want};
			ssize_t got = write ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
					    : process_vm_readv(pid, &local, 1, &remote, 1, 0);
			if (got > 0) {
				done += got;
				break;
			}
			if (want <= page)
				return done;
			want = page;
		}
	}
	return done;
}

/* Bytes before the NUL, or `limit` when there is none in as many; -1 on a fault before either. */
static inline ssize_t guest_strncpy(int pid, uint64_t addr, char *buf, size_t n, uint64_t limit)
{
	size_t done = 0;
	while (done < n) {
		size_t want = 4096 - ((addr + done) & 4095);
		if (want > n - done)
			want = n - done;
		size_t got = guest_copy(pid, addr + done, buf + done, want, limit, 0);
		char *end = memchr(buf + done, 0, got);
		if (end)
			return end - buf;
		if (got < want)
			return -1;
		done += got;
	}
	return done;
}

#endif
