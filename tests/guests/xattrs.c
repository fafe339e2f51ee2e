/* Extended attributes. */
#include "check.h"
#include <sys/xattr.h>

static char value[70000], list[1000];

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void names(const char *path)
{
    long n = listxattr(path, list, sizeof list);
    char *sorted[20];
    int count = 0;
    for (char *at = list; n > 0 && at < list + n; at += strlen(at) + 1)
        sorted[count++] = at;
    qsort(sorted, count, sizeof *sorted, compare);
    char text[1200] = "";
    for (int i = 0; i < count; i++)
        sprintf(text + strlen(text), " %s", sorted[i]);
    say("names of %s: %ld%s", path, n, text);
}

int main(void)
{
    GUARD(60);
    put("file", "");
    mkdir("dir", 0755);
    symlink("file", "link");
    int fd = open("file", O_RDWR);
    names("file");
    RES(setxattr("file", "trusted.one", "value", 5, 0));
    RES(getxattr("file", "trusted.one", value, 100));
    SHOW(value, 5);
    RES(getxattr("file", "trusted.one", NULL, 0));
    RES(getxattr("file", "trusted.one", value, 3));
    RES(getxattr("file", "trusted.none", value, 3));
    RES(setxattr("file", "trusted.one", "new", 3, XATTR_CREATE));
    RES(setxattr("file", "trusted.one", "new", 3, XATTR_REPLACE));
    RES(setxattr("file", "trusted.two", "new", 3, XATTR_REPLACE));
    RES(setxattr("file", "trusted.two", "", 0, XATTR_CREATE));
    RES(setxattr("file", "trusted.two", "", 0, 99));
    RES(getxattr("file", "trusted.two", value, 3));
    names("file");
    RES(listxattr("file", NULL, 0));
    RES(listxattr("file", list, 3));
    RES(setxattr("file", "nonamespace", "x", 1, 0));
    RES(setxattr("file", "odd.name", "x", 1, 0));
    RES(getxattr("file", "odd.name", value, 1));
    RES(setxattr("file", "trusted.", "x", 1, 0));
    RES(setxattr("file", "", "x", 1, 0));
    memset(value, 'n', 300);
    memcpy(value, "trusted.", 8);
    value[256] = 0;
    RES(setxattr("file", value, "x", 1, 0));
    RES(setxattr("file", "trusted.big", value, 65537, 0));
    RES(setxattr("none", "trusted.x", "x", 1, 0));
    RES(setxattr("file", (char *)8, "x", 1, 0));
    RES(setxattr("file", "trusted.x", (char *)8, 1, 0));
    RES(fsetxattr(fd, "trusted.three", "3", 1, 0));
    RES(fgetxattr(fd, "trusted.three", value, 10));
    RES(flistxattr(fd, NULL, 0));
    RES(fsetxattr(99, "trusted.three", "3", 1, 0));
    RES(removexattr("file", "trusted.one"));
    RES(removexattr("file", "trusted.one"));
    RES(fremovexattr(fd, "trusted.three"));
    names("file");
    RES(setxattr("link", "trusted.via", "link", 4, 0));
    names("file");
    RES(lsetxattr("link", "trusted.own", "link", 4, 0));
    RES(lgetxattr("link", "trusted.own", value, 10));
    RES(lgetxattr("link", "trusted.via", value, 10));
    RES(setxattr("dir", "trusted.d", "x", 1, 0));
    names("dir");
    RES(rename("file", "renamed"));
    names("renamed");
    RES(link("renamed", "hard"));
    names("hard");
    RES(setxattr("dir", "security.test", "x", 1, 0));
    names("dir");
    CHILD("a user sees no trusted ones", setresuid(1000, 1000, 1000); names("renamed"); RES(getxattr("renamed", "trusted.via", value, 10)); RES(setxattr("renamed", "trusted.x", "x", 1, 0)));
    int opath = open("renamed", O_PATH);
    RES(fgetxattr(opath, "trusted.via", value, 10));
    return 0;
}
