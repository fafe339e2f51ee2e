/* Path walks: limits, loops, trailing slashes, dot-dot, symlinks in every place. */
#include "check.h"

static char path[20000];

int main(void)
{
    struct stat st;
    int fd;
    GUARD(60);
    mkdir("a", 0755);
    mkdir("a/b", 0755);
    put("a/f", "file");
    symlink("a", "la");
    symlink("a/f", "lf");
    symlink("lf", "llf");
    symlink("a/", "la-slash");
    symlink("loop2", "loop1");
    symlink("loop1", "loop2");
    symlink(".", "self");
    symlink("none", "dangling");
    symlink("../f", "a/b/up");

    SECTION("dots and slashes");
    const char *same[] = {"a/f", "./a/f", "a//f", "a///./f", "a/b/../f", "la/f", "la-slash/f", "la-slash//f", "self/self/self/a/f", "lf", "llf",
                          "a/b/up", "la/b/up", "a/../a/../a/f", "self/a/b/../../a/f"};
    stat("a/f", &st);
    ino_t ino = st.st_ino;
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        errno = 0;
        int result = stat(same[i], &st);
        say("%s: %s", same[i], result ? errname(errno) : st.st_ino == ino ? "same" : "another");
    }
    const char *wrong[] = {"a/f/", "a/f/.", "a/f/..", "lf/", "llf/.", "a/f/x", "a/none", "a/none/", "a/none/..", "dangling", "dangling/", "dangling/x",
                           "loop1", "loop1/", "loop1/x", "none/../a", "a/b/../../../../../../../../../../none-at-root", "/none", "//none", "a/f//"};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        int followed = stat(wrong[i], &st);
        int error = errno;
        errno = 0;
        int not_followed = lstat(wrong[i], &st);
        say("%s: stat %s, lstat %s", wrong[i], followed ? errname(error) : "ok", not_followed ? errname(errno) : "ok");
    }
    RES(lstat("la", &st));
    IS(S_ISLNK(st.st_mode));
    RES(lstat("la/", &st));
    IS(S_ISDIR(st.st_mode));
    RES(lstat("la/.", &st));
    IS(S_ISDIR(st.st_mode));
    stat("/", &st);
    ino = st.st_ino;
    stat("/..", &st);
    IS(st.st_ino == ino);
    stat("/../../..", &st);
    IS(st.st_ino == ino);
    stat("/./", &st);
    IS(st.st_ino == ino);

    SECTION("trailing slashes in operations");
    RES(mkdir("m/", 0755));
    RES(rmdir("m/"));
    RES(mkdir("m//", 0755));
    RES(rename("m/", "n"));
    RES(rename("n", "m/"));
    RES(rename("a/f", "g/"));
    RES(unlink("m/"));
    RES(rmdir("m/"));
    RES(open("new/", O_CREAT | O_WRONLY, 0600));
    RES(symlink("x", "s/"));
    RES(link("a/f", "h/"));
    RES(mknod("n/", S_IFREG, 0));
    RES(mkdir("dangling/", 0755));
    RES(mkdir("la/", 0755));
    RES(rmdir("la/"));
    RES(unlink("la/"));
    RES(readlink("la/", path, 100));
    RES(open("a/", O_RDONLY) >= 0);
    RES(open("a/f/", O_RDONLY));
    RES(open("a/f/", O_CREAT | O_RDWR, 0600));
    RES(open("dangling/", O_CREAT | O_RDWR, 0600));
    RES(truncate("a/f/", 0));
    RES(chmod("a/f/", 0600));
    RES(access("a/", X_OK));

    SECTION("lengths");
    memset(path, 'x', 255);
    path[255] = 0;
    RES(mkdir(path, 0755));
    RES(access(path, F_OK));
    RES(rmdir(path));
    path[255] = 'x';
    path[256] = 0;
    RES(mkdir(path, 0755));
    RES(access(path, F_OK));
    RES(open(path, O_RDONLY));
    RES(open(path, O_CREAT | O_RDWR, 0600));
    RES(unlink(path));
    RES(symlink("x", path));
    RES(rename("a", path));
    for (int i = 0; i < 4095; i++)
        path[i] = i % 2 ? '/' : '.';
    path[4095] = 0;
    RES(access(path, F_OK));
    path[4095] = '/';
    path[4096] = 0;
    RES(access(path, F_OK));
    memset(path, 'y', 4095);
    RES(symlink(path + 1, "long-target"));
    path[4095] = 0;
    RES(symlink(path, "long-target"));
    RES(stat("long-target", &st));
    RES(lstat("long-target", &st));
    NUM(st.st_size);
    RES(readlink("long-target", path, 5000));
    memset(path, 'y', 4096);
    path[4096] = 0;
    RES(symlink(path, "too-long-target"));
    memset(path, '/', 4000);
    strcpy(path + 4000, "proc");
    RES(access(path, F_OK));

    SECTION("links in a chain");
    char name[32], target[32];
    symlink("a", "chain0");
    for (int i = 1; i <= 41; i++) {
        sprintf(name, "chain%d", i);
        sprintf(target, "chain%d", i - 1);
        symlink(target, name);
    }
    RES(stat("chain38", &st));
    RES(stat("chain39", &st));
    RES(stat("chain40", &st));
    RES(stat("chain39/f", &st));
    RES(stat("chain40/f", &st));
    RES(lstat("chain41", &st));
    strcpy(path, "self");
    for (int i = 1; i < 40; i++)
        strcat(path, "/self");
    RES(access(path, F_OK));
    strcat(path, "/self");
    RES(access(path, F_OK));

    SECTION("relative to a descriptor");
    fd = open("a", O_PATH | O_DIRECTORY);
    RES(fstatat(fd, "f", &st, 0));
    RES(fstatat(fd, "../a/f", &st, 0));
    RES(fstatat(fd, "b/up", &st, 0));
    RES(fstatat(fd, "../lf", &st, AT_SYMLINK_NOFOLLOW));
    RES(rename("a", "moved"));
    RES(fstatat(fd, "f", &st, 0));
    RES(fstatat(fd, "../moved", &st, 0));
    RES(rename("moved", "a"));
    int file = open("a/f", O_RDONLY);
    RES(fstatat(file, "x", &st, 0));
    RES(fstatat(file, ".", &st, 0));
    RES(fstatat(file, "/", &st, 0));

    SECTION("deep trees");
    int depth = 0;
    RES(chdir("a"));
    while (depth < 100 && mkdir("deeper", 0755) == 0 && chdir("deeper") == 0)
        depth++;
    NUM(depth);
    for (int i = 0; i < 100; i++)
        chdir("..");
    RES(access("f", F_OK));
    strcpy(path, ".");
    for (int i = 0; i < 100; i++)
        strcat(path, "/deeper");
    RES(access(path, F_OK));
    for (int i = 0; i < 100; i++)
        strcat(path, "/..");
    strcat(path, "/f");
    RES(access(path, F_OK));

    SECTION("odd names");
    const char *odd[] = {" ", "\n", "\xff\xfe", "a b", "..x", "...", ".x", "\\", "*", "-"};
    for (int i = 0; i < 10; i++) {
        mkdir(odd[i], 0755);
        int result = access(odd[i], F_OK);
        show(result ? "bad" : "ok", odd[i], strlen(odd[i]));
        rmdir(odd[i]);
    }

    SECTION("magic links");
    sprintf(path, "/proc/self/fd/%d", file);
    RES(stat(path, &st));
    IS(S_ISREG(st.st_mode));
    RES(lstat(path, &st));
    IS(S_ISLNK(st.st_mode));
    sprintf(path, "/proc/self/fd/%d/f", fd);
    RES(stat(path, &st));
    sprintf(path, "/proc/self/cwd/f");
    RES(stat(path, &st));
    RES(stat("/proc/self/root/proc/self/cwd/b", &st));
    RES(stat("/proc/self/fd/999", &st));
    unlink("f");
    sprintf(path, "/proc/self/fd/%d", file);
    RES(stat(path, &st));
    NUM(st.st_nlink);
    char where[4200];
    long n = readlink(path, where, sizeof where);
    IS(n > 14 && memcmp(where + n - 12, "/f (deleted)", 12) == 0);
    return 0;
}
