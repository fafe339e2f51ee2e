/* What the files of micro share: the rows, and how a row says that it cannot run. */
#ifndef MICRO_H
#define MICRO_H

#define _GNU_SOURCE
#include <stddef.h>

struct row {
	const char *name, *what;
	void (*run)(long n);      /* does the operation n times */
	void (*prepare)(void);    /* before the first batch, may be NULL */
	void (*finish)(void);     /* after the last one, may be NULL */
	int weight;               /* batches this many times as long; 0 means 1 */
};

/* Each ends with a row without a name. */
extern const struct row call_rows[], file_rows[], many_rows[];

/* Prints what a cache line, and a sleeper's wake-up, cost from one CPU to another and back. Returns 1 with only one. */
int machine(void);

/* Ends the row at hand unless `result`, of a system call, is a success; returns it. */
long must(long result);

/* Computes for about `microseconds`: the same number of steps in every runtime of one benchmark. */
void compute(double microseconds);

extern char block[65536], path[4096], self[4096];
extern int file; /* of 64 KiB, on a tmpfs, with the name `path` */

#endif
