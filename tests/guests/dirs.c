/* Directories and names: mkdir, rmdir, link, symlink, rename, unlink, getdents, openat2, the *at calls. */
#include "check.h"
#include <dirent.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* The names in a directory, sorted, with their types. */
static void list(const char *path)
{
    static char *names[300];
    int number = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        say("list %s: %s", path, errname(errno));
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(dir)) && number < 300) {
        asprintf(&names[number], "%s(%d)", entry->d_name, entry->d_type);
        number++;
    }
    closedir(dir);
    qsort(names, number, sizeof *names, compare);
    char text[8000] = "";
    for (int i = 0; i < number; i++) {
        strcat(text, " ");
        strcat(text, names[i]);
        free(names[i]);
    }
    say("list %s:%s", path, text);
}

static long nlink(const char *path)
{
    struct stat st;
    return lstat(path, &st) ? -1 : (long)st.st_nlink;
}

static long open2(int dir, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve)
{
    struct open_how how = {flags, mode, resolve};
    return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int main(void)
{
    int fd, d;
    char buf[256];
    GUARD(60);

    SECTION("mkdir, rmdir");
    RES(mkdir("d", 0755));
    RES(mkdir("d", 0755));
    RES(mkdir("d/e/f", 0755));
    RES(mkdir("d/e/", 0755));
    RES(mkdir("", 0755));
    RES(mkdir("/", 0755));
    RES(mkdir(".", 0755));
    RES(mkdir("d/.", 0755));
    RES(mkdir("d/..", 0755));
    put("file", "content");
    RES(mkdir("file", 0755));
    RES(mkdir("file/x", 0755));
    RES(symlink("nowhere", "sym"));
    RES(mkdir("sym", 0755));
    RES(mkdir((char *)8, 0755));
    list("d");
    RES(rmdir("d"));
    RES(rmdir("d/e/."));
    RES(rmdir("d/e/.."));
    RES(rmdir("."));
    RES(rmdir("file"));
    RES(rmdir("none"));
    RES(rmdir("sym"));
    RES(rmdir("/"));
    NUM(nlink("d"));
    RES(rmdir("d/e/"));
    NUM(nlink("d"));
    RES(mkdirat(99, "x", 0755));
    RES(mkdirat(-100, "at", 0700));
    RES(unlinkat(AT_FDCWD, "at", 0));
    RES(unlinkat(AT_FDCWD, "at", 99));
    RES(unlinkat(AT_FDCWD, "at", AT_REMOVEDIR));
    RES(unlinkat(AT_FDCWD, "file", AT_REMOVEDIR));

    SECTION("removed while open");
    RES(mkdir("gone", 0755));
    RES(fd = open("gone", O_RDONLY | O_DIRECTORY));
    RES(rmdir("gone"));
    RES(openat(fd, "x", O_RDWR | O_CREAT, 0600));
    RES(mkdirat(fd, "x", 0755));
    RES(faccessat(fd, ".", F_OK, 0));
    struct stat st;
    RES(fstat(fd, &st));
    NUM(st.st_nlink);
    RES(syscall(SYS_getdents64, fd, buf, sizeof buf));
    RES(close(fd));
    RES(mkdir("cwd", 0755));
    CHILD("cwd removed", chdir("cwd"); rmdir("../cwd"); RES(syscall(SYS_getcwd, buf, sizeof buf)); RES(open("x", O_CREAT, 0600)); RES(chdir("..")));

    SECTION("link");
    RES(link("file", "hard"));
    NUM(nlink("file"));
    RES(link("file", "hard"));
    RES(link("none", "x"));
    RES(link("d", "x"));
    RES(link("file", "none/x"));
    RES(link("sym", "symhard"));
    NUM(nlink("sym"));
    RES(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    RES(linkat(AT_FDCWD, "file", AT_FDCWD, "x", 0x8000));
    RES(linkat(AT_FDCWD, "file", 99, "x", 0));
    put("hard", "changed");
    cat("file");
    RES(unlink("file"));
    cat("hard");
    NUM(nlink("hard"));
    RES(link("hard", "file"));
    RES(unlink("none"));
    RES(unlink("d"));
    RES(unlink("file/"));
    RES(unlink(""));
    RES(unlink("file/x"));
    RES(fd = open("temporary", O_RDWR | O_CREAT, 0600));
    RES(unlink("temporary"));
    RES(fstat(fd, &st));
    NUM(st.st_nlink);
    snprintf(buf, sizeof buf, "/proc/self/fd/%d", fd);
    RES(linkat(AT_FDCWD, buf, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
    RES(close(fd));
    RES(fd = open(".", O_TMPFILE | O_RDWR, 0600));
    RES(write(fd, "tmpfile", 7));
    snprintf(buf, sizeof buf, "/proc/self/fd/%d", fd);
    RES(linkat(AT_FDCWD, buf, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    cat("named");
    RES(close(fd));
    RES(open(".", O_TMPFILE | O_RDONLY, 0600));
    RES(open("file", O_TMPFILE | O_RDWR, 0600));

    SECTION("symlink");
    RES(symlink("d", "dlink"));
    RES(symlink("x", "dlink"));
    RES(symlink("", "empty"));
    RES(symlink("x", ""));
    RES(symlink("x", "none/y"));
    RES(readlink("dlink", buf, sizeof buf));
    SHOW(buf, 1);
    RES(readlink("file", buf, sizeof buf));
    RES(readlink("none", buf, sizeof buf));
    RES(readlink("dlink", buf, 0));
    RES(readlink("dlink", buf, -1));
    RES(symlink("0123456789", "long"));
    RES(readlink("long", buf, 4));
    SHOW(buf, 4);
    RES(readlinkat(99, "x", buf, 5));
    RES(fd = open("long", O_PATH | O_NOFOLLOW));
    RES(readlinkat(fd, "", buf, sizeof buf));
    RES(fstat(fd, &st));
    OCT(st.st_mode & S_IFMT);
    NUM(st.st_size);
    RES(close(fd));

    SECTION("rename");
    put("a", "A");
    put("b", "B");
    RES(rename("a", "b"));
    cat("b");
    RES(rename("none", "x"));
    RES(rename("b", "none/x"));
    RES(rename("b", "b"));
    RES(rename("d", "b"));
    RES(rename("b", "d"));
    RES(mkdir("full", 0755));
    put("full/x", "");
    RES(rename("d", "full"));
    RES(rename("full", "d"));
    list("d");
    RES(rename("d", "d/inside"));
    RES(rename("d", "d/."));
    RES(rename(".", "x"));
    RES(rename("d/..", "x"));
    RES(rename("b", "b/"));
    RES(rename("d/", "e/"));
    RES(rename("e", "d"));
    RES(link("b", "b2"));
    RES(rename("b", "b2"));
    RES(access("b", F_OK));
    RES(rename("sym", "sym2"));
    RES(readlink("sym2", buf, sizeof buf));
    RES(renameat2(AT_FDCWD, "b", AT_FDCWD, "b2", RENAME_NOREPLACE));
    RES(renameat2(AT_FDCWD, "b", AT_FDCWD, "new", RENAME_NOREPLACE));
    put("one", "1");
    RES(renameat2(AT_FDCWD, "one", AT_FDCWD, "d", RENAME_EXCHANGE));
    cat("d");
    list("one");
    RES(renameat2(AT_FDCWD, "one", AT_FDCWD, "none", RENAME_EXCHANGE));
    RES(renameat2(AT_FDCWD, "one", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
    RES(renameat2(AT_FDCWD, "one", AT_FDCWD, "d", 0x80));
    RES(rename("/proc/version", "x"));
    RES(rename("new", "/proc/x"));
    RES(fd = open("b2", O_RDONLY));
    RES(rename("new", "b2"));
    RES(read(fd, buf, 1));
    RES(close(fd));
    RES(mkdir("p", 0755));
    RES(mkdir("q", 0755));
    RES(mkdir("p/sub", 0755));
    NUM(nlink("p"));
    RES(rename("p/sub", "q/sub"));
    NUM(nlink("p"));
    NUM(nlink("q"));
    CHILD("dot-dot follows the move", chdir("q/sub"); rename("../../q/sub", "../../p/sub"); RES(access("../../p", F_OK)); list(".."));

    SECTION("getdents");
    RES(mkdir("many", 0755));
    for (int i = 0; i < 200; i++) {
        sprintf(buf, "many/entry-%03d", i);
        close(open(buf, O_CREAT | O_WRONLY, 0600));
    }
    RES(mkdir("many/dir", 0755));
    RES(symlink("x", "many/link"));
    RES(mknod("many/fifo", S_IFIFO | 0600, 0));
    list("many");
    RES(d = open("many", O_RDONLY));
    static char entries[65536];
    long total = 0, n, calls = 0;
    while ((n = syscall(SYS_getdents64, d, entries, 300)) > 0) {
        calls++;
        for (long at = 0; at < n; at += *(unsigned short *)(entries + at + 16))
            total++;
    }
    NUM(n);
    NUM(total);
    IS(calls > 20);
    RES(syscall(SYS_getdents64, d, entries, sizeof entries));
    RES(lseek(d, 0, SEEK_SET));
    RES(syscall(SYS_getdents64, d, entries, 10));
    IS(syscall(SYS_getdents64, d, entries, sizeof entries) > 5000);
    SHOW(entries + 19, 1);
    RES(lseek(d, 0, SEEK_SET));
    RES(syscall(SYS_getdents64, d, (void *)8, 1000));
    IS(syscall(SYS_getdents, d, entries, sizeof entries) > 4000);
    RES(syscall(SYS_getdents64, 99, entries, 1000));
    RES(fd = open("d", O_RDONLY));
    RES(syscall(SYS_getdents64, fd, entries, 1000));
    RES(close(fd));
    for (int i = 0; i < 200; i++) {
        sprintf(buf, "many/entry-%03d", i);
        unlink(buf);
    }
    list("many");
    DIR *dir = opendir("many");
    struct dirent *entry = readdir(dir);
    long where = telldir(dir);
    entry = readdir(dir);
    strcpy(buf, entry->d_name);
    seekdir(dir, where);
    entry = readdir(dir);
    IS(strcmp(buf, entry->d_name) == 0);
    closedir(dir);

    SECTION("openat2");
    put("p/f", "x");
    RES(symlink("/", "abs"));
    RES(symlink("..", "up"));
    RES(d = open("p", O_PATH));
    OK(open2(d, "f", O_RDONLY, 0, RESOLVE_BENEATH));
    RES(open2(d, "../p/f", O_RDONLY, 0, RESOLVE_BENEATH));
    RES(open2(d, "/f", O_RDONLY, 0, RESOLVE_BENEATH));
    OK(open2(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    OK(open2(d, "../../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    RES(open2(AT_FDCWD, "up/x", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    RES(open2(AT_FDCWD, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
    RES(open2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
    RES(open2(AT_FDCWD, "/proc/version", O_RDONLY, 0, RESOLVE_NO_XDEV));
    RES(open2(AT_FDCWD, "p/f", O_RDONLY, 0644, 0));
    RES(open2(AT_FDCWD, "p/f", O_RDONLY, 0, 0x1000));
    RES(open2(AT_FDCWD, "p/f", 1UL << 40, 0, 0));
    RES(open2(AT_FDCWD, "p/f", O_RDWR | O_CREAT, 0200000, 0));
    RES(syscall(SYS_openat2, AT_FDCWD, "p/f", &(struct open_how){0}, 8L));
    RES(syscall(SYS_openat2, AT_FDCWD, "p/f", (void *)8, 24L));
    struct { struct open_how how; long extra; } large = {{0, 0, 0}, 1};
    RES(syscall(SYS_openat2, AT_FDCWD, "p/f", &large, sizeof large));
    large.extra = 0;
    OK(syscall(SYS_openat2, AT_FDCWD, "p/f", &large, sizeof large));

    SECTION("current directory");
    RES(chdir("p"));
    IS(getcwd(buf, sizeof buf) && strcmp(buf + strlen(buf) - 2, "/p") == 0);
    RES(syscall(SYS_getcwd, buf, 2L));
    RES(syscall(SYS_getcwd, buf, 0L));
    RES(syscall(SYS_getcwd, (void *)8, 200L));
    IS(syscall(SYS_getcwd, buf, sizeof buf) == (long)strlen(buf) + 1);
    RES(chdir("f"));
    RES(chdir("none"));
    RES(chdir(""));
    RES(chdir(".."));
    RES(fchdir(d));
    RES(access("f", F_OK));
    RES(fchdir(99));
    RES(chdir(".."));
    RES(fd = open("p/f", O_RDONLY));
    RES(fchdir(fd));
    CHILD("child's directory is its own", chdir("/"));
    RES(access("p/f", F_OK));
    RES(chdir("/"));
    RES(chdir(".."));
    IS(getcwd(buf, sizeof buf) && strcmp(buf, "/") == 0);
    return 0;
}
