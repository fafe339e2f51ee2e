/* memfd_create, seals, shared memory files. */
#include "check.h"
#include <linux/memfd.h>

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int main(void)
{
    int fd;
    char name[300], *map;
    struct stat st;
    GUARD(60);

    SECTION("making");
    RES(fd = memfd_create("name", MFD_CLOEXEC));
    HEX(fcntl(fd, F_GETFD));
    RES(fstat(fd, &st));
    OCT(st.st_mode);
    NUM(st.st_size);
    NUM(st.st_nlink);
    RES(memfd_create("x", 0x1000));
    RES(memfd_create((char *)8, 0));
    memset(name, 'n', 249);
    name[249] = 0;
    OK(memfd_create(name, 0));
    name[249] = 'n';
    name[250] = 0;
    RES(memfd_create(name, 0));
    char path[64], target[64] = "";
    sprintf(path, "/proc/self/fd/%d", fd);
    readlink(path, target, 63);
    SHOW(target, strlen(target));

    SECTION("use");
    RES(write(fd, "hello", 5));
    RES(ftruncate(fd, 8192));
    map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    SHOW(map, 6);
    map[4096] = 'x';
    RES(pread(fd, name, 1, 4096));
    SHOW(name, 1);
    CHILD("shared", strcpy(map, "child"));
    SHOW(map, 6);
    int again = open(path, O_RDONLY);
    RES(again >= 0);
    RES(read(again, name, 5));
    RES(write(again, name, 5));
    close(again);
    RES(fcntl(fd, F_GET_SEALS));
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(map, 8192);

    SECTION("seals");
    RES(fd = memfd_create("seals", MFD_ALLOW_SEALING));
    RES(fcntl(fd, F_GET_SEALS));
    ftruncate(fd, 4096);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(map, 4096);
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    RES(ftruncate(fd, 100));
    RES(ftruncate(fd, 5000));
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    RES(ftruncate(fd, 6000));
    RES(pwrite(fd, "xy", 2, 4999));
    RES(pwrite(fd, "xy", 2, 5000));
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    RES(pwrite(fd, "x", 1, 0));
    RES(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    IS(map != MAP_FAILED);
    RES(mprotect(map, 4096, PROT_READ | PROT_WRITE));
    RES(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    HEX(fcntl(fd, F_GET_SEALS));
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    RES(fcntl(fd, F_ADD_SEALS, 0x1000));
    RES(fallocate(fd, 0, 0, 100));
    RES(fd = memfd_create("future", MFD_ALLOW_SEALING));
    ftruncate(fd, 4096);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    RES(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    map[0] = 'f';
    RES(write(fd, "x", 1));
    RES(pread(fd, name, 1, 0));
    SHOW(name, 1);
    fd = open("plain", O_RDWR | O_CREAT, 0600);
    RES(fcntl(0, F_GET_SEALS));

    SECTION("shm_open");
    RES(fd = shm_open("/segment", O_RDWR | O_CREAT | O_EXCL, 0600));
    RES(shm_open("/segment", O_RDWR | O_CREAT | O_EXCL, 0600));
    ftruncate(fd, 4096);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHILD("by name", int f = shm_open("/segment", O_RDWR, 0); char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0); strcpy(m, "via name"));
    SHOW(map, 9);
    RES(shm_unlink("/segment"));
    RES(shm_open("/segment", O_RDWR, 0));
    SHOW(map, 9);
    return 0;
}
