/* splice, tee, vmsplice, sendfile, copy_file_range. */
#include "check.h"
#include <sys/sendfile.h>

static char block[100000];

int main(void)
{
    int p[2], q[2], in, out;
    char buf[256];
    off_t offset;
    struct stat st;
    GUARD(60);
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = 'a' + i % 26;
    in = open("in", O_RDWR | O_CREAT, 0600);
    write(in, block, sizeof block);
    out = open("out", O_RDWR | O_CREAT, 0600);
    pipe(p);
    pipe(q);

    SECTION("splice");
    lseek(in, 0, SEEK_SET);
    RES(splice(in, NULL, p[1], NULL, 100, 0));
    RES(lseek(in, 0, SEEK_CUR));
    RES(read(p[0], buf, 256));
    SHOW(buf, 30);
    offset = 1000;
    RES(splice(in, &offset, p[1], NULL, 50, 0));
    NUM(offset);
    RES(lseek(in, 0, SEEK_CUR));
    RES(splice(p[0], NULL, out, NULL, 50, 0));
    RES(lseek(out, 0, SEEK_CUR));
    offset = 200;
    write(p[1], "into", 4);
    RES(splice(p[0], NULL, out, &offset, 4, 0));
    NUM(offset);
    RES(fstat(out, &st));
    NUM(st.st_size);
    write(p[1], "pipe to pipe", 12);
    RES(splice(p[0], NULL, q[1], NULL, 7, 0));
    RES(read(q[0], buf, 256));
    RES(read(p[0], buf, 256));
    RES(splice(in, NULL, out, NULL, 10, 0));
    RES(splice(p[0], &offset, out, NULL, 10, 0));
    RES(splice(p[0], NULL, p[1], NULL, 10, 0));
    RES(splice(p[0], NULL, out, NULL, 10, SPLICE_F_NONBLOCK));
    RES(splice(999, NULL, p[1], NULL, 10, 0));
    RES(splice(p[1], NULL, out, NULL, 10, 0));
    RES(splice(in, NULL, p[1], NULL, 0, 0));
    RES(splice(in, NULL, p[1], NULL, 10, 0x100));
    lseek(in, 0, SEEK_END);
    RES(splice(in, NULL, p[1], NULL, 10, 0));
    offset = -1;
    RES(splice(in, &offset, p[1], NULL, 10, 0));
    int appending = open("out", O_WRONLY | O_APPEND);
    write(p[1], "x", 1);
    RES(splice(p[0], NULL, appending, NULL, 1, 0));
    RES(read(p[0], buf, 1));
    lseek(in, 0, SEEK_SET);
    RES(splice(in, NULL, p[1], NULL, 1000000, SPLICE_F_NONBLOCK) > 0);
    RES(splice(in, NULL, p[1], NULL, 1000000, SPLICE_F_NONBLOCK));
    while (fcntl(p[0], F_SETFL, O_NONBLOCK), read(p[0], block, sizeof block) > 0)
        ;
    fcntl(p[0], F_SETFL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        write(p[1], "late", 4);
        _exit(0);
    }
    RES(splice(p[0], NULL, out, NULL, 100, 0));
    reap("writer", pid);

    SECTION("tee");
    write(p[1], "twice", 5);
    RES(tee(p[0], q[1], 100, 0));
    RES(read(p[0], buf, 256));
    RES(read(q[0], buf, 256));
    SHOW(buf, 5);
    RES(tee(p[0], q[1], 100, SPLICE_F_NONBLOCK));
    RES(tee(p[0], p[1], 100, 0));
    RES(tee(in, q[1], 100, 0));

    SECTION("vmsplice");
    struct iovec iov[2] = {{"one", 3}, {"two", 3}};
    RES(vmsplice(p[1], iov, 2, 0));
    RES(read(p[0], buf, 256));
    SHOW(buf, 6);
    RES(vmsplice(in, iov, 1, 0));
    write(p[1], "taken", 5);
    iov[0] = (struct iovec){buf, 256};
    RES(vmsplice(p[0], iov, 1, 0));
    SHOW(buf, 5);

    SECTION("sendfile");
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = 'a' + i % 26;
    pwrite(in, block, sizeof block, 0);
    lseek(in, 10, SEEK_SET);
    ftruncate(out, 0);
    lseek(out, 0, SEEK_SET);
    RES(sendfile(out, in, NULL, 20));
    RES(lseek(in, 0, SEEK_CUR));
    RES(lseek(out, 0, SEEK_CUR));
    offset = 26;
    RES(sendfile(out, in, &offset, 4));
    NUM(offset);
    RES(lseek(in, 0, SEEK_CUR));
    RES(pread(out, buf, 24, 0));
    SHOW(buf, 24);
    offset = 99990;
    RES(sendfile(out, in, &offset, 1000));
    RES(sendfile(out, in, &offset, 1000));
    RES(sendfile(p[1], in, NULL, 30));
    RES(read(p[0], buf, 256));
    RES(sendfile(out, p[0], NULL, 10));
    RES(sendfile(999, in, NULL, 10));
    RES(sendfile(out, 999, NULL, 10));
    int ro = open("out", O_RDONLY);
    RES(sendfile(ro, in, NULL, 10));
    RES(sendfile(appending, in, NULL, 10));
    offset = -1;
    RES(sendfile(out, in, &offset, 10));
    RES(sendfile(out, in, (off_t *)8, 10));
    offset = 0;
    RES(sendfile(out, in, &offset, sizeof block));
    int s[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    lseek(in, 0, SEEK_SET);
    RES(sendfile(s[0], in, NULL, 100));
    RES(read(s[1], buf, 256));

    SECTION("copy_file_range");
    ftruncate(out, 0);
    off_t from = 5, to = 100;
    RES(copy_file_range(in, &from, out, &to, 21, 0));
    NUM(from);
    NUM(to);
    RES(pread(out, buf, 256, 98));
    SHOW(buf, 23);
    lseek(in, 0, SEEK_SET);
    lseek(out, 0, SEEK_SET);
    RES(copy_file_range(in, NULL, out, NULL, 50000, 0));
    RES(lseek(in, 0, SEEK_CUR));
    RES(lseek(out, 0, SEEK_CUR));
    from = 99999;
    RES(copy_file_range(in, &from, out, NULL, 100, 0));
    from = 200000;
    RES(copy_file_range(in, &from, out, NULL, 100, 0));
    RES(copy_file_range(in, NULL, out, NULL, 10, 1));
    RES(copy_file_range(in, NULL, ro, NULL, 10, 0));
    RES(copy_file_range(in, NULL, appending, NULL, 10, 0));
    RES(copy_file_range(p[0], NULL, out, NULL, 10, 0));
    RES(copy_file_range(open(".", O_RDONLY), NULL, out, NULL, 10, 0));
    from = 0, to = 10;
    RES(copy_file_range(in, &from, in, &to, 20, 0));
    from = 0, to = 50000;
    RES(copy_file_range(in, &from, in, &to, 20, 0));
    return 0;
}
