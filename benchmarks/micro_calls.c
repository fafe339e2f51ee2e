/* Rows of micro: calls of one thread that concern no named file. */
#include "micro.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int pair[2], device, event, instance;
static struct pollfd polled[10];
static int others[9][2];

static void row_getppid(long n) { while (n--) syscall(SYS_getppid); }
static void row_getpid(long n) { while (n--) syscall(SYS_getpid); }
static void row_gettid(long n) { while (n--) syscall(SYS_gettid); }
static void row_getuid(long n) { while (n--) syscall(SYS_getuid); }
static void row_yield(long n) { while (n--) syscall(SYS_sched_yield); }
static void row_clock(long n) { struct timespec t; while (n--) clock_gettime(CLOCK_REALTIME, &t); }
static void row_uname(long n) { struct utsname name; while (n--) must(uname(&name)); }
static void row_lseek(long n) { while (n--) must(lseek(file, 5, SEEK_SET)); }
static void row_fcntl(long n) { while (n--) must(fcntl(file, F_GETFL)); }
static void row_dup(long n) { while (n--) close(must(dup(file))); }
static void row_fstat(long n) { struct stat st; while (n--) must(fstat(file, &st)); }
static void row_sigprocmask(long n)
{
	sigset_t set;
	sigemptyset(&set);
	while (n--)
		must(sigprocmask(SIG_SETMASK, &set, NULL));
}

static void open_null(void) { device = must(open("/dev/null", O_RDWR)); }
static void open_zero(void) { device = must(open("/dev/zero", O_RDWR)); }
static void close_device(void) { close(device); }
static void row_read(long n) { while (n--) must(read(device, block, 1)); }
static void row_write(long n) { while (n--) must(write(device, block, 1)); }

static void open_event(void) { event = must(eventfd(0, 0)); }
static void close_event(void) { close(event); }
static void row_eventfd(long n)
{
	uint64_t value = 1;
	while (n--) {
		must(write(event, &value, sizeof value));
		must(read(event, &value, sizeof value));
	}
}

static void open_pipe(void) { must(pipe(pair)); }
static void open_sockets(void) { must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)); }
static void close_pair(void) { close(pair[0]); close(pair[1]); }
static void row_pipe(long n)
{
	while (n--) {
		must(write(pair[1], block, 1));
		must(read(pair[0], block, 1));
	}
}
static void row_pipe4k(long n)
{
	while (n--) {
		must(write(pair[1], block, 4096));
		must(read(pair[0], block, 4096));
	}
}
static void row_socket(long n)
{
	struct iovec part = {block, 100};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	while (n--) {
		must(sendmsg(pair[1], &message, 0));
		must(recvmsg(pair[0], &message, 0));
	}
}

static void open_polled(void)
{
	open_pipe();
	must(write(pair[1], block, 1));
	for (int i = 0; i < 9; i++) {
		must(pipe(others[i]));
		polled[i] = (struct pollfd){others[i][0], POLLIN, 0};
	}
	polled[9] = (struct pollfd){pair[0], POLLIN, 0};
	instance = must(epoll_create1(0));
	for (int i = 0; i < 10; i++) {
		struct epoll_event wanted = {.events = EPOLLIN, .data.fd = polled[i].fd};
		must(epoll_ctl(instance, EPOLL_CTL_ADD, polled[i].fd, &wanted));
	}
}
static void close_polled(void)
{
	close(instance);
	close_pair();
	for (int i = 0; i < 9; i++) {
		close(others[i][0]);
		close(others[i][1]);
	}
}
static void row_poll(long n) { while (n--) must(poll(polled, 10, -1)); }
static void row_epoll(long n) { struct epoll_event ready[10]; while (n--) must(epoll_wait(instance, ready, 10, -1)); }
static void row_sleep(long n) { struct timespec t = {0, 1}; while (n--) must(nanosleep(&t, NULL)); }

static void handler(int number) { (void)number; }
static void set_handler(void) { signal(SIGUSR1, handler); }
static void row_signal(long n) { while (n--) must(raise(SIGUSR1)); }

static void row_mmap(long n)
{
	while (n--) {
		void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(at == MAP_FAILED ? -1 : munmap(at, 65536));
	}
}
static void row_fault(long n)
{
	while (n > 0) {
		long chunk = n < 1024 ? n : 1024;
		char *pages = mmap(NULL, chunk * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(pages == MAP_FAILED ? -1 : madvise(pages, chunk * 4096, MADV_NOHUGEPAGE));
		for (long i = 0; i < chunk; i++)
			pages[i * 4096] = 1;
		munmap(pages, chunk * 4096);
		n -= chunk;
	}
}
static void row_cpu(long n) { while (n--) compute(1); }

const struct row call_rows[] = {
	{"getppid", "getppid", row_getppid, NULL, NULL, 0},
	{"getpid", "getpid", row_getpid, NULL, NULL, 0},
	{"gettid", "gettid", row_gettid, NULL, NULL, 0},
	{"getuid", "getuid", row_getuid, NULL, NULL, 0},
	{"sched_yield", "sched_yield, alone", row_yield, NULL, NULL, 0},
	{"clock", "clock_gettime (vDSO)", row_clock, NULL, NULL, 0},
	{"uname", "uname (a call of a plain Python handler)", row_uname, NULL, NULL, 0},
	{"lseek", "lseek", row_lseek, NULL, NULL, 0},
	{"fcntl", "fcntl F_GETFL", row_fcntl, NULL, NULL, 0},
	{"dup", "dup and close", row_dup, NULL, NULL, 0},
	{"fstat", "fstat", row_fstat, NULL, NULL, 0},
	{"sigprocmask", "sigprocmask", row_sigprocmask, NULL, NULL, 0},
	{"read_null", "read of 1 byte of /dev/null", row_read, open_null, close_device, 0},
	{"write_null", "write of 1 byte to /dev/null", row_write, open_null, close_device, 0},
	{"read_zero", "read of 1 byte of /dev/zero", row_read, open_zero, close_device, 0},
	{"write_zero", "write of 1 byte to /dev/zero", row_write, open_zero, close_device, 0},
	{"eventfd", "eventfd write and read", row_eventfd, open_event, close_event, 0},
	{"pipe", "pipe write and read, 1 byte", row_pipe, open_pipe, close_pair, 0},
	{"pipe4k", "pipe write and read, 4 KiB", row_pipe4k, open_pipe, close_pair, 0},
	{"socketpair", "sendmsg and recvmsg, 100 bytes", row_socket, open_sockets, close_pair, 0},
	{"poll", "poll of 10 descriptors, one ready", row_poll, open_polled, close_polled, 0},
	{"epoll", "epoll_wait, one of 10 ready", row_epoll, open_polled, close_polled, 0},
	{"nanosleep", "nanosleep of 1 ns", row_sleep, NULL, NULL, 0},
	{"signal", "signal to self, handler", row_signal, set_handler, NULL, 0},
	{"mmap", "mmap and munmap of 64 KiB", row_mmap, NULL, NULL, 0},
	{"fault", "page fault", row_fault, NULL, NULL, 0},
	{"cpu", "CPU loop of 1 µs", row_cpu, NULL, NULL, 0},
	{NULL, NULL, NULL, NULL, NULL, 0},
};
