/* Rows of micro: files and directories. /tmp is a tmpfs; the root is an overlay, so that /var/tmp lies in
 * its upper and /bin/busybox in its lower part (on the host's disk, in its page cache). */
#include "micro.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 100

static char upper[64], name[4200], directory[4200];
static int other;

static void row_pread1(long n) { while (n--) must(pread(file, block, 1, 0)); }
static void row_pwrite1(long n) { while (n--) must(pwrite(file, block, 1, 0)); }
static void row_pread4k(long n) { while (n--) must(pread(file, block, 4096, 0)); }
static void row_pwrite4k(long n) { while (n--) must(pwrite(file, block, 4096, 0)); }
static void row_pread64k(long n) { while (n--) must(pread(file, block, 65536, 0)); }
static void row_pread_other(long n) { while (n--) must(pread(other, block, 4096, 4096)); }
static void row_pwrite_other(long n) { while (n--) must(pwrite(other, block, 4096, 4096)); }

static void open_upper(void)
{
	snprintf(upper, sizeof upper, "/var/tmp/micro.%d", getpid());
	other = must(open(upper, O_RDWR | O_CREAT | O_TRUNC, 0600));
	must(write(other, block, sizeof block));
}
static void close_upper(void)
{
	close(other);
	unlink(upper);
}
static void open_lower(void) { other = must(open("/bin/busybox", O_RDONLY)); }
static void close_lower(void) { close(other); }

static void row_stat(long n) { struct stat st; while (n--) must(stat(path, &st)); }
static void row_stat_lower(long n) { struct stat st; while (n--) must(stat("/bin/busybox", &st)); }
static void row_stat_none(long n)
{
	struct stat st;
	while (n--)
		if (stat("/none/at/all", &st) == 0 || errno != ENOENT)
			must(-1);
}
static void row_access(long n) { while (n--) must(access(path, R_OK)); }
static void row_open(long n) { while (n--) close(must(open(path, O_RDONLY))); }
static void row_open_lower(long n) { while (n--) close(must(open("/bin/busybox", O_RDONLY))); }
static void row_create(long n)
{
	snprintf(name, sizeof name, "%s.new", path);
	while (n--) {
		close(must(open(name, O_CREAT | O_WRONLY, 0600)));
		must(unlink(name));
	}
}

static void make_link(void)
{
	snprintf(name, sizeof name, "%s.link", path);
	must(symlink("to/somewhere", name));
}
static void remove_link(void) { unlink(name); }
static void row_readlink(long n) { while (n--) must(readlink(name, block, 4096)); }

static void make_entries(void)
{
	snprintf(directory, sizeof directory, "%s.dir", path);
	must(mkdir(directory, 0700));
	other = must(open(directory, O_RDONLY | O_DIRECTORY));
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof name, "entry%d", i);
		close(must(openat(other, name, O_CREAT | O_WRONLY, 0600)));
	}
}
static void remove_entries(void)
{
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof name, "entry%d", i);
		unlinkat(other, name, 0);
	}
	close(other);
	rmdir(directory);
}
static void row_getdents(long n)
{
	while (n--) {
		must(lseek(other, 0, SEEK_SET));
		while (must(syscall(SYS_getdents64, other, block, 32768)) > 0)
			;
	}
}

const struct row file_rows[] = {
	{"read1", "pread of 1 byte, tmpfs", row_pread1, NULL, NULL, 0},
	{"write1", "pwrite of 1 byte, tmpfs", row_pwrite1, NULL, NULL, 0},
	{"pread4k", "pread of 4 KiB, tmpfs", row_pread4k, NULL, NULL, 0},
	{"pwrite4k", "pwrite of 4 KiB, tmpfs", row_pwrite4k, NULL, NULL, 0},
	{"pread64k", "pread of 64 KiB, tmpfs", row_pread64k, NULL, NULL, 0},
	{"pread_upper", "pread of 4 KiB, overlay upper", row_pread_other, open_upper, close_upper, 0},
	{"pwrite_upper", "pwrite of 4 KiB, overlay upper", row_pwrite_other, open_upper, close_upper, 0},
	{"pread_lower", "pread of 4 KiB, overlay lower", row_pread_other, open_lower, close_lower, 0},
	{"stat", "stat", row_stat, NULL, NULL, 0},
	{"stat_lower", "stat, overlay lower", row_stat_lower, NULL, NULL, 0},
	{"stat_none", "stat, ENOENT", row_stat_none, NULL, NULL, 0},
	{"access", "access", row_access, NULL, NULL, 0},
	{"readlink", "readlink", row_readlink, make_link, remove_link, 0},
	{"getdents", "getdents, directory of 100", row_getdents, make_entries, remove_entries, 0},
	{"open", "open and close", row_open, NULL, NULL, 0},
	{"open_lower", "open and close, overlay lower", row_open_lower, NULL, NULL, 0},
	{"create", "create and unlink", row_create, NULL, NULL, 0},
	{NULL, NULL, NULL, NULL, NULL, 0},
};
