/* chroot, mount and umount with their errors, bind mounts, read-only, tmpfs options, pivot_root's errors. */
#include "check.h"
#include <sys/mount.h>
#include <sys/statvfs.h>

static void *unshare_files(void *argument)
{
    RES(unshare(CLONE_FS));
    chdir("/");
    umask(0111);
    return argument;
}

int main(void)
{
    GUARD(60);
    mkdir("root", 0755);
    mkdir("root/inner", 0755);
    put("root/file", "inside");
    put("outside", "outside");

    SECTION("chroot");
    RES(chroot("none"));
    RES(chroot("outside"));
    CHILD("a user may not", setresuid(1000, 1000, 1000); RES(chroot("root")));
    CHILD("inside", RES(chroot("root")); RES(access("/file", F_OK)); RES(chdir("/")); RES(access("../outside", F_OK)); RES(access("/../file", F_OK)); RES(chdir("inner"));
          char cwd[100] = ""; getcwd(cwd, 100); SHOW(cwd, strlen(cwd)); symlink("/file", "abs"); RES(access("abs", F_OK)); RES(access("/../../../../outside", F_OK)));
    CHILD("directory outside the root", chroot("root"); char cwd[4000] = ""; long n = syscall(SYS_getcwd, cwd, 4000); IS(n > 13 && !strncmp(cwd, "(unreachable)", 13));
          RES(access("outside", F_OK)); RES(access("/outside", F_OK)));
    CHILD("kept by children", chroot("root"); chdir("/"); CHILD("child", RES(access("/file", F_OK)); RES(access("/root/file", F_OK))));

    SECTION("mount errors");
    RES(mount("none", "none", "tmpfs", 0, NULL));
    RES(mount("none", "outside", "tmpfs", 0, NULL));
    RES(mount("none", "root", "nosuchfs", 0, NULL));
    RES(mount("none", "root", NULL, 0, NULL));
    RES(mount((char *)8, "root", "tmpfs", 0, NULL));
    RES(umount("root"));
    RES(umount("none"));
    RES(umount2("root", 0x100));
    RES(mount("none", "root", NULL, MS_BIND, NULL));
    RES(mount(NULL, "root", NULL, MS_REMOUNT, NULL));
    RES(mount("root", "root/inner", NULL, MS_MOVE, NULL));
    RES(mount("outside", "root", NULL, MS_BIND, NULL));
    RES(syscall(SYS_pivot_root, "none", "none"));
    RES(syscall(SYS_pivot_root, "root", "root/inner"));
    CHILD("a user may not", setresuid(1000, 1000, 1000); RES(mount("none", "root", "tmpfs", 0, NULL)); RES(umount("root")); RES(syscall(SYS_pivot_root, ".", ".")));

    SECTION("tmpfs");
    RES(mount("none", "root", "tmpfs", 0, "mode=700,size=64k,nr_inodes=10"));
    RES(access("root/file", F_OK));
    struct stat st;
    stat("root", &st);
    OCT(st.st_mode);
    put("root/new", "in tmpfs");
    cat("root/new");
    struct statvfs fs;
    statvfs("root", &fs);
    NUM(fs.f_blocks * fs.f_frsize);
    NUM(fs.f_files);
    int fd = open("root/new", O_RDWR);
    static char block[100000];
    NUM(pwrite(fd, block, sizeof block, 0));
    RES(pwrite(fd, block, 10, 90000));
    ftruncate(fd, 0);
    int made = 0;
    for (int i = 0; i < 20; i++) {
        char name[32];
        sprintf(name, "root/file%d", i);
        int f = open(name, O_CREAT | O_WRONLY, 0600);
        if (f < 0) {
            say("stopped by %s", errname(errno));
            break;
        }
        made++;
        close(f);
    }
    NUM(made);
    RES(rename("root/new", "moved"));
    RES(link("root/new", "moved"));
    RES(umount("root"));
    close(fd);
    RES(umount("root"));
    RES(access("root/file", F_OK));
    mount("none", "root", "tmpfs", 0, NULL);
    fd = open("root", O_RDONLY);
    RES(umount("root"));
    RES(umount2("root", MNT_DETACH));
    RES(fstat(fd, &st));
    close(fd);

    SECTION("bind mounts and flags");
    mkdir("bound", 0755);
    RES(mount("root", "bound", NULL, MS_BIND, NULL));
    RES(access("bound/file", F_OK));
    put("bound/through", "x");
    RES(access("root/through", F_OK));
    RES(rename("bound/through", "root/renamed"));
    RES(mount(NULL, "bound", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    RES(open("bound/file", O_WRONLY));
    RES(open("bound/create", O_WRONLY | O_CREAT, 0600));
    RES(mkdir("bound/d", 0755));
    RES(unlink("bound/file"));
    RES(chmod("bound/file", 0600));
    RES(access("bound/file", W_OK));
    RES(truncate("bound/file", 0));
    RES(utimensat(AT_FDCWD, "bound/file", NULL, 0));
    put("root/file", "still writable here");
    statvfs("bound", &fs);
    HEX(fs.f_flag & ST_RDONLY);
    RES(umount("bound"));
    mount("root", "bound", NULL, MS_BIND, NULL);
    RES(mount(NULL, "bound", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL));
    chmod("root/file", 0755);
    RES(execl("bound/file", "x", NULL));
    RES(umount("bound"));
    put("onto", "");
    RES(mount("outside", "onto", NULL, MS_BIND, NULL));
    cat("onto");
    RES(unlink("onto"));
    RES(rename("onto", "x"));
    RES(umount("onto"));
    RES(rmdir("bound"));

    SECTION("unshare and setns");
    RES(unshare(0x1));
    RES(unshare(CLONE_THREAD | CLONE_SIGHAND) == 0 ? 0 : 0);
    pthread_t thread;
    pthread_create(&thread, NULL, unshare_files, NULL);
    pthread_join(thread, NULL);
    RES(access("root", F_OK));
    OCT(umask(022));
    RES(syscall(SYS_setns, 999, 0));
    RES(syscall(SYS_setns, 0, 0));
    RES(sync(), 0);
    RES(syscall(SYS_syncfs, 999));
    RES(syscall(SYS_syncfs, 0));
    return 0;
}
