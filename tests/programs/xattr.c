/* Extended attributes: set, get, list, sizes asked for, too small a buffer, removed. */
#include "check.h"
#include <sys/xattr.h>

int main(void)
{
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    if (setxattr("file", "user.first", "value", 5, XATTR_CREATE) == -1) {
        CHECK(errno == EOPNOTSUPP);
        SKIP("no user.* attributes on this file system");
    }
    CHECK_FAILS(setxattr("file", "user.first", "x", 1, XATTR_CREATE), EEXIST);
    CHECK(fsetxattr(fd, "user.second", "", 0, 0) == 0);
    char text[256];
    CHECK(getxattr("file", "user.first", NULL, 0) == 5);
    CHECK(getxattr("file", "user.first", text, sizeof text) == 5 && memcmp(text, "value", 5) == 0);
    CHECK_FAILS(getxattr("file", "user.first", text, 2), ERANGE);
    CHECK_FAILS(lgetxattr("file", "user.third", text, sizeof text), ENODATA);
    CHECK(fgetxattr(fd, "user.second", text, sizeof text) == 0);
    ssize_t size = listxattr("file", NULL, 0);
    CHECK(size >= 23 && flistxattr(fd, text, sizeof text) == size);
    CHECK(fremovexattr(fd, "user.second") == 0 && removexattr("file", "user.first") == 0);
    CHECK(unlink("file") == 0);
    return success();
}
