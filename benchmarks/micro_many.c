/* Rows of micro: several threads and processes, and guests that compute between their calls. */
#include "micro.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 4
#define CROWD 64

static int there[2], back[2];
static pid_t child;

static void reap(long pid)
{
	int status;
	must(pid);
	must(waitpid(pid, &status, 0));
	must(status == 0 ? 0 : -1);
}
static void row_fork(long n)
{
	while (n--) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		reap(pid);
	}
}
static void row_exec(long n)
{
	while (n--) {
		pid_t pid = fork();
		if (pid == 0) {
			execl(self, self, "nothing", NULL);
			_exit(1);
		}
		reap(pid);
	}
}
static void row_vfork_exec(long n)
{
	while (n--) {
		pid_t pid = vfork();
		if (pid == 0) {
			execl(self, self, "nothing", NULL);
			_exit(1);
		}
		reap(pid);
	}
}
static void *nothing(void *argument) { return argument; }
static void row_thread(long n)
{
	while (n--) {
		pthread_t thread;
		must(-pthread_create(&thread, NULL, nothing, NULL));
		pthread_join(thread, NULL);
	}
}

/* -- two that take turns: the partner answers each byte until its end closes */
static void echo(int from, int to)
{
	char byte;
	while (read(from, &byte, 1) == 1)
		write(to, &byte, 1);
	_exit(0);
}
static void start_pipes(void)
{
	must(pipe(there));
	must(pipe(back));
	child = must(fork());
	if (child == 0) {
		close(there[1]);
		echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
}
static void stop_pipes(void)
{
	close(there[1]);
	close(back[0]);
	waitpid(child, NULL, 0);
}
static void start_sockets(void)
{
	int sockets[2];
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	child = must(fork());
	if (child == 0) {
		close(sockets[1]);
		echo(sockets[0], sockets[0]);
	}
	close(sockets[0]);
	there[1] = back[0] = sockets[1];
}
static void stop_sockets(void)
{
	close(there[1]);
	waitpid(child, NULL, 0);
}
static void row_pingpong(long n)
{
	char byte = 0;
	while (n--) {
		must(write(there[1], &byte, 1));
		must(read(back[0], &byte, 1));
	}
}

static volatile int word, stop;
static pthread_t partner;
static void futex_wait(volatile int *at, int value) { syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void futex_wake(volatile int *at) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
static void *futex_partner(void *argument)
{
	for (;;) {
		while (word != 1 && !stop)
			futex_wait(&word, 0);
		if (stop)
			return argument;
		word = 0;
		futex_wake(&word);
	}
}
static void start_futex(void)
{
	stop = word = 0;
	must(-pthread_create(&partner, NULL, futex_partner, NULL));
}
static void stop_futex(void)
{
	stop = 1;
	word = 2; /* a partner about to sleep must not */
	futex_wake(&word);
	pthread_join(partner, NULL);
}
static void row_futex(long n)
{
	while (n--) {
		word = 1;
		futex_wake(&word);
		while (word == 1)
			futex_wait(&word, 1);
	}
}

/* -- guests that compute, with a call now and then */
static void row_sparse(long n)
{
	while (n--) {
		compute(50);
		must(pread(file, block, 1, 0));
	}
}
static void step(void)
{
	char byte;
	compute(20);
	must(pread(file, &byte, 1, 0));
}

/* Workers that live for the whole row, each a process: all do n steps when told so, and say when they are done. */
static void start_workers(void)
{
	must(pipe(there));
	must(pipe(back));
	for (int i = 0; i < WORKERS; i++)
		if (must(fork()) == 0) {
			long n;
			close(there[1]);
			while (read(there[0], &n, sizeof n) == sizeof n) {
				while (n--)
					step();
				write(back[1], "", 1);
			}
			_exit(0);
		}
	close(there[0]);
	close(back[1]);
}
static void stop_workers(void)
{
	stop_pipes();
	while (waitpid(-1, NULL, 0) > 0)
		;
}
static void row_busy(long n)
{
	char byte;
	for (int i = 0; i < WORKERS; i++)
		must(write(there[1], &n, sizeof n));
	for (int i = 0; i < WORKERS; i++)
		must(read(back[0], &byte, 1) == 1 ? 0 : -1);
}

/* A crowd of threads, likewise; two barriers hold each batch together. */
static pthread_t crowd[CROWD];
static pthread_barrier_t begin, end;
static volatile long share;
static void *member(void *argument)
{
	for (;;) {
		pthread_barrier_wait(&begin);
		if (share < 0)
			return argument;
		for (long n = share; n > 0; n--)
			step();
		pthread_barrier_wait(&end);
	}
}
static void start_crowd(void)
{
	pthread_barrier_init(&begin, NULL, CROWD + 1);
	pthread_barrier_init(&end, NULL, CROWD + 1);
	for (int i = 0; i < CROWD; i++)
		must(-pthread_create(&crowd[i], NULL, member, NULL));
}
static void row_crowd(long n)
{
	share = n;
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
}
static void stop_crowd(void)
{
	share = -1;
	pthread_barrier_wait(&begin);
	for (int i = 0; i < CROWD; i++)
		pthread_join(crowd[i], NULL);
}

const struct row many_rows[] = {
	{"pingpong", "pipe ping-pong of two processes", row_pingpong, start_pipes, stop_pipes, 0},
	{"unix_pingpong", "Unix-socket ping-pong of two processes", row_pingpong, start_sockets, stop_sockets, 0},
	{"futex", "futex ping-pong of two threads", row_futex, start_futex, stop_futex, 0},
	{"sparse", "50 µs of computing and a pread", row_sparse, NULL, NULL, 0},
	{"busy4", "4 processes: 20 µs of computing and a pread each", row_busy, start_workers, stop_workers, 4},
	{"crowd64", "64 threads: 20 µs of computing and a pread each", row_crowd, start_crowd, stop_crowd, 8},
	{"thread", "thread create and join", row_thread, NULL, NULL, 0},
	{"fork", "fork, exit, wait", row_fork, NULL, NULL, 0},
	{"exec", "fork, exec, wait", row_exec, NULL, NULL, 0},
	{"vfork_exec", "vfork, exec, wait", row_vfork_exec, NULL, NULL, 0},
	{NULL, NULL, NULL, NULL, NULL, 0},
};
