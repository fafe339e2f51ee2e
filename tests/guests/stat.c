/* Attributes: stat, statx, access, chmod, chown, utimens, umask; what each type of file says. */
#include "check.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <grp.h>
#include <utime.h>

static struct stat st;

static void show_stat(const char *path)
{
    errno = 0;
    if (lstat(path, &st) < 0) {
        say("stat %s: %s", path, errname(errno));
        return;
    }
    say("stat %s: mode %o nlink %ld uid %d gid %d size %ld", path, st.st_mode, (long)st.st_nlink, st.st_uid, st.st_gid,
        S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
}

static void as_user(void)
{
    setgroups(0, NULL);
    setresgid(1000, 1000, 1000);
    setresuid(1000, 1000, 1000);
}



int main(void)
{
    int fd;
    GUARD(60);
    umask(022);

    SECTION("types");
    put("file", "12345");
    mkdir("dir", 0755);
    symlink("file", "link");
    mkfifo("fifo", 0644);
    show_stat("file");
    show_stat("dir");
    show_stat("link");
    show_stat("fifo");
    show_stat("none");
    show_stat("file/x");
    show_stat("");
    RES(stat("link", &st));
    NUM(st.st_size);
    RES(stat((char *)8, &st));
    RES(syscall(SYS_stat, "file", (void *)8));
    RES(fstat(99, &st));
    stat("/dev/null", &st);
    OCT(st.st_mode & S_IFMT);
    NUM(major(st.st_rdev));
    NUM(minor(st.st_rdev));
    stat("file", &st);
    NUM(st.st_blksize);
    NUM(st.st_blocks);
    ino_t ino = st.st_ino;
    dev_t dev = st.st_dev;
    stat("./dir/../file", &st);
    IS(st.st_ino == ino && st.st_dev == dev);
    stat("dir", &st);
    IS(st.st_ino != ino && st.st_dev == dev);
    stat("/proc", &st);
    IS(st.st_dev != dev);

    SECTION("fstatat");
    RES(fstatat(AT_FDCWD, "link", &st, AT_SYMLINK_NOFOLLOW));
    OCT(st.st_mode);
    RES(fstatat(AT_FDCWD, "link", &st, 0x8000));
    RES(fstatat(99, "link", &st, 0));
    RES(fstatat(99, "/proc", &st, 0));
    RES(fstatat(AT_FDCWD, "", &st, 0));
    RES(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
    fd = open("file", O_RDONLY);
    RES(fstatat(fd, "", &st, AT_EMPTY_PATH));
    IS(st.st_ino == ino);
    RES(fstatat(fd, "x", &st, 0));

    SECTION("statx");
    struct statx stx;
    memset(&stx, 0x55, sizeof stx);
    RES(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &stx));
    HEX(stx.stx_mask & STATX_BASIC_STATS);
    OCT(stx.stx_mode);
    NUM(stx.stx_size);
    NUM(stx.stx_nlink);
    IS(stx.stx_ino == ino);
    IS(makedev(stx.stx_dev_major, stx.stx_dev_minor) == dev);
    RES(statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx));
    OCT(stx.stx_mode);
    RES(statx(AT_FDCWD, "none", 0, STATX_ALL, &stx));
    RES(statx(AT_FDCWD, "file", 0x8000, STATX_ALL, &stx));
    RES(statx(AT_FDCWD, "file", 0, 0x80000000, &stx));
    RES(statx(AT_FDCWD, "file", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &stx));
    RES(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &stx));
    RES(syscall(SYS_statx, AT_FDCWD, "file", 0, STATX_ALL, (void *)8));

    SECTION("chmod");
    RES(chmod("file", 0600));
    show_stat("file");
    RES(chmod("file", 07777));
    show_stat("file");
    RES(chmod("file", 0100644));
    show_stat("file");
    RES(chmod("link", 0640));
    show_stat("file");
    RES(chmod("none", 0));
    RES(fchmod(fd, 0644));
    RES(fchmod(99, 0644));
    RES(fchmodat(AT_FDCWD, "file", 0600, 0));
    RES(syscall(SYS_fchmodat, AT_FDCWD, "none", 0600));
    RES(chmod("dir", 01777));
    show_stat("dir");
    RES(chmod("dir", 02755));
    close(open("dir/inherits", O_CREAT | O_WRONLY, 0600));
    mkdir("dir/sub", 0755);
    show_stat("dir/inherits");
    show_stat("dir/sub");

    SECTION("umask");
    RES(umask(0777));
    close(open("masked", O_CREAT | O_WRONLY, 0666));
    show_stat("masked");
    RES(umask(0027));
    mkdir("masked-dir", 0777);
    show_stat("masked-dir");
    mkfifo("masked-fifo", 0666);
    show_stat("masked-fifo");
    OCT(umask(01777022));
    OCT(umask(022));

    SECTION("chown");
    RES(chown("file", 1000, 2000));
    show_stat("file");
    RES(chown("file", -1, 3000));
    show_stat("file");
    RES(chmod("file", 06755));
    RES(chown("file", 1001, -1));
    show_stat("file");
    RES(chmod("file", 06745));
    RES(chown("file", -1, -1));
    show_stat("file");
    RES(lchown("link", 5, 6));
    show_stat("link");
    show_stat("file");
    RES(chown("link", 7, 8));
    show_stat("file");
    RES(fchown(fd, 9, 10));
    RES(fchown(99, 9, 10));
    RES(fchownat(fd, "", 11, 12, AT_EMPTY_PATH));
    show_stat("file");
    RES(fchownat(AT_FDCWD, "file", 0, 0, 0x8000));
    RES(chown("none", 0, 0));
    chmod("file", 06777);
    CHILD("a write drops setuid", as_user(); int f = open("file", O_WRONLY); write(f, "x", 1));
    show_stat("file");
    CHILD("a user may not give away", as_user(); RES(chown("file", 1000, 1000)); RES(chmod("file", 0777)); RES(chmod("none", 0)));
    chmod("file", 0644);
    chown("file", 1000, 1000);
    CHILD("but the owner may set the mode", as_user(); RES(chmod("file", 0600)); RES(chown("file", 1000, 1000)); RES(chown("file", 1000, 0));
          RES(chown("file", 0, 1000)));
    chown("file", 1000, 0);
    CHILD("setgid dropped for strangers to the group", as_user(); RES(chmod("file", 02755)));
    show_stat("file");

    SECTION("access");
    chown("file", 0, 0);
    chmod("file", 0640);
    RES(access("file", F_OK));
    RES(access("file", R_OK | W_OK));
    RES(access("file", X_OK));
    RES(access("file", 8));
    RES(access("none", F_OK));
    RES(access("dir", X_OK));
    RES(faccessat(AT_FDCWD, "file", R_OK, AT_EACCESS));
    RES(syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, AT_SYMLINK_NOFOLLOW));
    RES(syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, 0x8000));
    RES(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
    CHILD("as a user", as_user(); RES(access("file", F_OK)); RES(access("file", R_OK)); RES(access("dir", W_OK)); RES(access("dir", R_OK | X_OK));
          RES(open("file", O_RDONLY)); RES(open("dir/new", O_CREAT | O_WRONLY, 0600)); RES(mkdir("dir/new", 0700)); RES(unlink("file"));
          RES(rename("file", "other")); RES(truncate("file", 0)); RES(link("file", "linked")); RES(symlink("x", "dir/y")));
    chmod("dir", 0744);
    CHILD("no search permission", as_user(); RES(access("dir/inherits", F_OK)); RES(stat("dir/inherits", &st)); RES(open("dir", O_RDONLY) >= 0);
          RES(chdir("dir")));
    chmod("dir", 0711);
    CHILD("no read permission", as_user(); RES(access("dir/inherits", F_OK)); RES(open("dir", O_RDONLY)); RES(chdir("dir")));
    CHILD("real and effective", setresuid(1000, 0, 0); RES(access("file", R_OK)); RES(faccessat(AT_FDCWD, "file", R_OK, AT_EACCESS)));
    chown("file", 1000, 1000);
    chmod("file", 0077);
    CHILD("the owner's bits count for the owner", as_user(); RES(access("file", R_OK)); RES(open("file", O_RDONLY)));
    chmod("file", 0604);
    chown("file", 0, 1000);
    CHILD("the group's for the group", as_user(); RES(access("file", R_OK)));
    CHILD("supplementary groups too", gid_t g = 1000; setgroups(1, &g); setresgid(5, 5, 5); setresuid(1001, 1001, 1001); RES(access("file", R_OK)));
    CHILD("others", setgroups(0, NULL); setresgid(5, 5, 5); setresuid(1001, 1001, 1001); RES(access("file", R_OK)); RES(access("file", W_OK)));
    mkdir("sticky", 01777);
    chmod("sticky", 01777);
    put("sticky/root", "");
    CHILD("sticky", as_user(); RES(unlink("sticky/root")); RES(rename("sticky/root", "sticky/x")); RES(close(open("sticky/own", O_CREAT, 0600)));
          RES(unlink("sticky/own")));

    SECTION("times");
    struct timespec times[2] = {{1000000, 123456789}, {2000000, 987654321}};
    RES(utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &st);
    NUM(st.st_atim.tv_sec);
    NUM(st.st_atim.tv_nsec);
    NUM(st.st_mtim.tv_sec);
    NUM(st.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT;
    times[1] = (struct timespec){5, 6};
    RES(utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &st);
    NUM(st.st_atim.tv_sec);
    NUM(st.st_mtim.tv_sec);
    times[1].tv_nsec = UTIME_NOW;
    RES(futimens(fd, times));
    fstat(fd, &st);
    IS(st.st_mtim.tv_sec > 1000000000 && st.st_atim.tv_sec == 1000000);
    times[0].tv_nsec = 1000000000;
    RES(utimensat(AT_FDCWD, "file", times, 0));
    times[0].tv_nsec = times[1].tv_nsec = UTIME_OMIT;
    RES(utimensat(AT_FDCWD, "none", times, 0));
    RES(utimensat(AT_FDCWD, "none", NULL, 0));
    RES(utimensat(AT_FDCWD, "file", NULL, 0x8000));
    times[0] = times[1] = (struct timespec){7, 8};
    RES(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
    lstat("link", &st);
    NUM(st.st_mtim.tv_sec);
    struct utimbuf old = {11, 12};
    RES(utime("file", &old));
    stat("file", &st);
    NUM(st.st_mtim.tv_sec);
    struct timeval tv[2] = {{21, 5}, {22, 6}};
    RES(utimes("file", tv));
    stat("file", &st);
    NUM(st.st_mtim.tv_nsec);
    tv[0].tv_usec = 1000000;
    RES(utimes("file", tv));
    chmod("file", 0666);
    CHILD("a user may touch a writable file", as_user(); RES(utimensat(AT_FDCWD, "file", NULL, 0)); RES(utimensat(AT_FDCWD, "file", times, 0)));

    SECTION("changes that move the times");
    struct timespec long_ago[2] = {{100, 0}, {100, 0}};
    utimensat(AT_FDCWD, "file", long_ago, 0);
    fd = open("file", O_RDWR);
    write(fd, "x", 1);
    fstat(fd, &st);
    IS(st.st_mtim.tv_sec > 1000);
    IS(st.st_ctim.tv_sec > 1000);
    utimensat(AT_FDCWD, "dir", long_ago, 0);
    close(open("dir/another", O_CREAT, 0600));
    stat("dir", &st);
    IS(st.st_mtim.tv_sec > 1000);
    utimensat(AT_FDCWD, "dir", long_ago, 0);
    unlink("dir/another");
    stat("dir", &st);
    IS(st.st_mtim.tv_sec > 1000);
    utimensat(AT_FDCWD, "file", long_ago, 0);
    chmod("file", 0600);
    stat("file", &st);
    NUM(st.st_mtim.tv_sec);
    ftruncate(fd, 2);
    fstat(fd, &st);
    IS(st.st_mtim.tv_sec > 1000);

    SECTION("statfs");
    struct statfs fs;
    RES(statfs(".", &fs));
    NUM(fs.f_namelen);
    IS(fs.f_bsize >= 512 && fs.f_blocks > 0 && fs.f_bfree <= fs.f_blocks);
    RES(statfs("/proc", &fs));
    HEX(fs.f_type);
    RES(statfs("none", &fs));
    RES(fstatfs(fd, &fs));
    RES(fstatfs(99, &fs));
    RES(statfs(".", (void *)8));
    int p[2];
    pipe(p);
    RES(fstatfs(p[0], &fs));
    HEX(fs.f_type);
    return 0;
}
