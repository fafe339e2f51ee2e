/* micro ROW…: measures what one operation costs, in nanoseconds; prints "row median operations" for each, the last
 * being how many were done.
 *
 * The same static program runs natively, in other runtimes and in stockade. Each row is timed in
 * several batches; the median batch counts. `micro list` prints the rows, `micro calibrate` what to
 * put into STOCKADE_BENCH_STEPS so that computing rows do the same work everywhere, `micro machine` what hand-overs
 * between two CPUs cost. The batch length
 * adapts to the speed of the operation (about 30 ms, STOCKADE_BENCH_MS changes it). A row that fails
 * prints "row failed" and why, and the next one is measured. */
#include "micro.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7

char block[65536], path[4096], self[4096];
int file;

static const struct row *const tables[] = {call_rows, file_rows, many_rows};
#define TABLES (sizeof tables / sizeof *tables)

static jmp_buf failed;
static pid_t own;
static volatile unsigned long sink;
static double steps_per_us;

long must(long result)
{
	if (result >= 0)
		return result;
	if (getpid() != own)
		_exit(1);
	longjmp(failed, errno ? errno : EIO);
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void steps(long n)
{
	unsigned long x = 1;
	while (n--)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	sink = x;
}

void compute(double microseconds) { steps((long)(microseconds * steps_per_us)); }

/* Steps in a microsecond: the best of several tries, for others may want the CPU. */
static double calibrate(void)
{
	double best = 0;
	for (int i = 0; i < 20; i++) {
		long long start = now();
		steps(1000000);
		double speed = 1000000 * 1000.0 / (now() - start);
		best = speed > best ? speed : best;
	}
	return best;
}

static int by_value(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;
	return (difference > 0) - (difference < 0);
}

/* The median batch, in nanoseconds; *operations: how many were done in all. */
static double measure(const struct row *row, long *operations)
{
	const char *text = getenv("STOCKADE_BENCH_MS");
	long long wanted = (text ? atoi(text) : 30) * 1000000LL * (row->weight ? row->weight : 1);
	long n = 1;
	*operations = 0;
	for (;;) {
		long long start = now();
		row->run(n);
		long long taken = now() - start;
		*operations += n;
		if (taken >= wanted / 4 || n > 1L << 30) {
			n = taken > wanted ? n : (long)(n * (double)wanted / (taken + 1)) + 1;
			break;
		}
		n *= taken < wanted / 100 ? 10 : 2;
	}
	double results[BATCHES];
	for (int i = 0; i < BATCHES; i++) {
		long long start = now();
		row->run(n);
		results[i] = (double)(now() - start) / n;
		*operations += n;
	}
	qsort(results, BATCHES, sizeof *results, by_value);
	return results[BATCHES / 2];
}

static void run(const struct row *row)
{
	int error = setjmp(failed);
	if (error) {
		printf("%s failed %s\n", row->name, strerror(error));
	} else {
		errno = 0;
		if (row->prepare)
			row->prepare();
		long operations;
		double median = measure(row, &operations);
		printf("%s %.1f %ld\n", row->name, median, operations);
		if (row->finish)
			row->finish();
	}
	fflush(stdout);
}

static int prepare(void)
{
	const char *text = getenv("STOCKADE_BENCH_STEPS");
	steps_per_us = text ? atof(text) : calibrate();
	own = getpid();
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	if (length < 0) {
		perror("/proc/self/exe");
		return 1;
	}
	self[length] = 0;
	snprintf(path, sizeof path, "/tmp/micro.%d", own);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || write(file, block, sizeof block) != sizeof block) {
		perror(path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	if (!strcmp(verb, "nothing"))
		return 0;
	if (!strcmp(verb, "calibrate")) {
		printf("%.3f\n", calibrate());
		return 0;
	}
	if (!strcmp(verb, "machine"))
		return machine();
	if (!strcmp(verb, "idle")) {
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	int listing = !strcmp(verb, "list");
	if (!listing && prepare())
		return 1;
	for (size_t table = 0; table < TABLES; table++)
		for (const struct row *row = tables[table]; row->name; row++) {
			int chosen = argc < 2;
			for (int i = 1; i < argc; i++)
				chosen |= !strcmp(argv[i], row->name);
			if (listing)
				printf("%s\t%s\n", row->name, row->what);
			else if (chosen)
				run(row);
		}
	if (!listing)
		unlink(path);
	return 0;
}
