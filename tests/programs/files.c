/* The file system calls: make, name, link, rename, change, look at, remove; each by its fd too. */
#include "check.h"
#include <linux/fs.h>
#include <sys/statfs.h>
#include <utime.h>

int main(void)
{
    char text[PATH_MAX];
    struct stat facts, again;
    umask(022);
    CHECK(mkdir("dir", 0755) == 0);
    CHECK_FAILS(mkdir("dir", 0755), EEXIST);
    int dir = open("dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(dir >= 0);
    int fd = openat(dir, "file", O_RDWR | O_CREAT | O_EXCL, 0666);
    CHECK(fd >= 0);
    CHECK_FAILS(openat(dir, "file", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
    CHECK(write(fd, "0123456789", 10) == 10);
    CHECK(lseek(fd, -3, SEEK_END) == 7 && read(fd, text, 10) == 3 && memcmp(text, "789", 3) == 0);
    CHECK(fstat(fd, &facts) == 0 && facts.st_size == 10 && (facts.st_mode & 07777) == 0644);
    printf("inode %lu device %lu mtime %ld.%09ld\n", (unsigned long)facts.st_ino,
           (unsigned long)facts.st_dev, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec);
    CHECK(linkat(dir, "file", dir, "second", 0) == 0);
    CHECK(fstatat(dir, "second", &again, 0) == 0 && again.st_ino == facts.st_ino);
    CHECK(again.st_nlink == 2);
    CHECK(symlinkat("file", dir, "link") == 0);
    CHECK(readlinkat(dir, "link", text, sizeof text) == 4 && memcmp(text, "file", 4) == 0);
    CHECK(readlinkat(dir, "link", text, 2) == 2);
    CHECK(lstat("dir/link", &again) == 0 && S_ISLNK(again.st_mode));
    CHECK(stat("dir/link", &again) == 0 && S_ISREG(again.st_mode));
    CHECK_FAILS(openat(dir, "link", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK(renameat(dir, "second", dir, "third") == 0);
    CHECK(syscall(SYS_renameat2, dir, "third", dir, "file", RENAME_NOREPLACE) == -1);
    CHECK(errno == EEXIST || errno == EINVAL);
    CHECK(fchmod(fd, 0600) == 0 && chmod("dir/third", 0640) == 0);
    CHECK(fchmodat(dir, "file", 0604, 0) == 0);
    CHECK(fchownat(dir, "file", getuid(), getgid(), 0) == 0);
    CHECK(lchown("dir/link", (uid_t)-1, (gid_t)-1) == 0);
    struct timespec times[] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
    CHECK(futimens(fd, times) == 0 && fstat(fd, &facts) == 0 && facts.st_mtim.tv_sec == 2000);
    CHECK(utime("dir/file", &(struct utimbuf){30, 40}) == 0);
    CHECK(fstat(fd, &facts) == 0 && facts.st_atim.tv_sec == 30);
    struct statx extended;
    CHECK(statx(dir, "file", 0, STATX_ALL, &extended) == 0 && extended.stx_size == 10);
    CHECK(extended.stx_mtime.tv_sec == 40);
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &extended) == 0);
    CHECK(faccessat(dir, "file", R_OK, 0) == 0 && access("dir/none", F_OK) == -1);
    CHECK(ftruncate(fd, 5) == 0 && truncate("dir/third", 100) == 0);
    CHECK(pread(fd, text, 200, 0) == 100 && memcmp(text, "01234\0\0", 7) == 0);
    CHECK(pwrite(fd, "end", 3, 97) == 3 && fsync(fd) == 0 && fdatasync(fd) == 0);
    int result = fallocate(fd, 0, 0, 8192);
    CHECK(result == 0 || errno == EOPNOTSUPP);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0);
    off_t hole = lseek(fd, 0, SEEK_HOLE), data = lseek(fd, 0, SEEK_DATA);
    printf("hole %ld data %ld\n", (long)hole, (long)data);
    CHECK_FAILS(lseek(fd, -1, SEEK_SET), EINVAL);

    char before[PATH_MAX];
    CHECK(getcwd(before, sizeof before));
    CHECK_FAILS(syscall(SYS_getcwd, text, 1), ERANGE);
    CHECK(chdir("dir") == 0 && getcwd(text, sizeof text) && chdir("..") == 0);
    CHECK(strncmp(text, before, strlen(before)) == 0 && strcmp(text + strlen(before), "/dir") == 0);
    CHECK(fchdir(dir) == 0 && access("third", R_OK) == 0 && chdir(before) == 0);
    CHECK(mkdirat(dir, "sub", 0700) == 0);
    CHECK_FAILS(rmdir("dir"), ENOTEMPTY);
    CHECK_FAILS(unlink("dir/sub"), EISDIR);
    CHECK(unlinkat(dir, "sub", AT_REMOVEDIR) == 0);
    CHECK(mknodat(dir, "fifo", S_IFIFO | 0600, 0) == 0 && unlinkat(dir, "fifo", 0) == 0);
    struct statfs system;
    CHECK(statfs("dir", &system) == 0 && fstatfs(fd, &system) == 0);
    printf("free blocks %lu\n", (unsigned long)system.f_bfree);
    int temporary = open("dir", O_TMPFILE | O_RDWR, 0600);
    CHECK(temporary >= 0 || errno == EOPNOTSUPP);
    CHECK(unlinkat(dir, "file", 0) == 0 && unlinkat(dir, "third", 0) == 0);
    CHECK(unlinkat(dir, "link", 0) == 0 && rmdir("dir") == 0);
    CHECK(fstat(fd, &facts) == 0 && facts.st_nlink == 0);
    CHECK_FAILS(open("none/at/all", O_RDONLY), ENOENT);
    CHECK_FAILS(open((char *)8, O_RDONLY), EFAULT);
    CHECK_FAILS(close(500), EBADF);
    sync();
    return success();
}
