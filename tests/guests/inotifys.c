/* inotify: which operations say what, masks, removal, overflow of a small buffer. */
#include "check.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

static int fd;

static void events(const char *what)
{
    char data[8192] __attribute__((aligned(8))), text[2000] = "";
    long n = read(fd, data, sizeof data);
    for (long at = 0; at < n;) {
        struct inotify_event *e = (void *)(data + at);
        sprintf(text + strlen(text), " [%d %#x%s%s%s]", e->wd, e->mask, e->len ? " " : "", e->len ? e->name : "", e->cookie ? " cookie" : "");
        at += sizeof *e + e->len;
    }
    say("%s:%s%s", what, n < 0 ? errname(errno) : "", text);
}

int main(void)
{
    int f, wd, wd2;
    GUARD(60);
    mkdir("d", 0755);
    put("d/existing", "x");
    RES(inotify_init1(0x1000));
    RES(fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    events("nothing");
    RES(wd = inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    RES(inotify_add_watch(fd, "none", IN_ALL_EVENTS));
    RES(inotify_add_watch(fd, "d", 0));
    RES(inotify_add_watch(0, "d", IN_ALL_EVENTS));
    RES(inotify_add_watch(999, "d", IN_ALL_EVENTS));
    RES(inotify_add_watch(fd, "d/existing", IN_ALL_EVENTS | IN_ONLYDIR));
    RES(inotify_add_watch(fd, "d", IN_MASK_CREATE | IN_OPEN));
    RES(inotify_rm_watch(fd, 99));
    f = open("d/new", O_RDWR | O_CREAT, 0600);
    events("create");
    write(f, "x", 1);
    events("write");
    lseek(f, 0, SEEK_SET);
    read(f, &(char){0}, 1);
    events("read");
    ftruncate(f, 0);
    events("truncate");
    fchmod(f, 0644);
    events("chmod");
    close(f);
    events("close");
    close(open("d/new", O_RDONLY));
    events("open and close read-only");
    rename("d/new", "d/renamed");
    events("rename");
    link("d/renamed", "d/hard");
    events("link");
    unlink("d/hard");
    events("unlink one of two");
    rename("d/renamed", "outside");
    events("moved out");
    rename("outside", "d/inside");
    events("moved in");
    unlink("d/inside");
    events("unlink");
    mkdir("d/sub", 0755);
    events("mkdir");
    symlink("x", "d/sym");
    events("symlink");
    rmdir("d/sub");
    events("rmdir");
    unlink("d/sym");
    events("unlink symlink");
    RES(wd2 = inotify_add_watch(fd, "d/existing", IN_MODIFY | IN_DELETE_SELF | IN_ATTRIB));
    IS(wd2 != wd);
    f = open("d/existing", O_WRONLY);
    write(f, "y", 1);
    write(f, "y", 1);
    events("both watches, equal events merged");
    RES(inotify_add_watch(fd, "d/existing", IN_OPEN | IN_MASK_ADD) == wd2);
    unlink("d/existing");
    events("unlinked while open");
    close(f);
    events("closed for the last time");
    RES(inotify_rm_watch(fd, wd2));
    RES(inotify_rm_watch(fd, wd));
    events("removed");
    RES(wd = inotify_add_watch(fd, "d", IN_CREATE | IN_ONESHOT));
    close(open("d/one", O_CREAT, 0600));
    close(open("d/two", O_CREAT, 0600));
    events("one shot");
    RES(wd = inotify_add_watch(fd, "d", IN_CREATE));
    close(open("d/three", O_CREAT, 0600));
    int pending;
    RES(ioctl(fd, FIONREAD, &pending));
    NUM(pending);
    char small[16];
    RES(read(fd, small, sizeof small));
    events("after a buffer too small");
    unlink("d/one");
    unlink("d/two");
    unlink("d/three");
    rmdir("d");
    events("directory gone");
    fcntl(fd, F_SETFL, 0);
    mkdir("e", 0755);
    inotify_add_watch(fd, "e", IN_CREATE);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        mkdir("e/x", 0755);
        _exit(0);
    }
    events("blocking read");
    reap("maker", pid);
    return 0;
}
