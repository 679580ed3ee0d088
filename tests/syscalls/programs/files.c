/* Files, directories, attributes, descriptors. */
#include "common.h"

#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <linux/fiemap.h>

int main(void)
{
    char dir[] = "/tmp/relive-oracle-XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) != 0)
        return 1;

    int fd = (int)CALL(open, "f", O_RDWR | O_CREAT, 0600);
    CALL(write, fd, "0123456789", 10);
    CALL(pwrite64, fd, "abcdef", 6, 20);
    struct iovec out[2] = {{"one", 3}, {"three", 5}};
    CALL(writev, fd, out, 2);
    CALL(pwritev, fd, out, 2, 100, 0);
    CALL(pwritev2, fd, out, 2, 200, 0, 0);
    CALL(lseek, fd, 0, SEEK_SET);
    CALL(read, fd, room(64), 64);
    CALL(read, fd, room(64), 0);
    CALL(pread64, fd, room(64), 64, 3);
    CALL(pread64, fd, room(64), 64, 1000);
    struct iovec in[3] = {{room(10), 5}, {room(10), 0}, {room(200), 150}};
    CALL(lseek, fd, 0, SEEK_SET);
    CALL(readv, fd, in, 3);
    memset(in[0].iov_base, PATTERN, 10);
    CALL(preadv, fd, in, 3, 1, 0);
    memset(in[0].iov_base, PATTERN, 10);
    CALL(preadv2, fd, in, 3, 2, 0, 0);
    CALL(read, -1, room(64), 64);

    CALL(stat, "f", room(200));
    CALL(lstat, "f", room(200));
    CALL(fstat, fd, room(200));
    CALL(newfstatat, AT_FDCWD, "f", room(200), 0);
    CALL(newfstatat, AT_FDCWD, "nothing", room(200), 0);
    CALL(statx, AT_FDCWD, "f", 0, STATX_ALL, room(300));
    CALL(statfs, ".", room(200));
    CALL(fstatfs, fd, room(200));
    CALL(ustat, 1, room(64));
    CALL(access, "f", R_OK);
    CALL(faccessat, AT_FDCWD, "f", R_OK);
    CALL(faccessat2, AT_FDCWD, "f", R_OK, 0);
    CALL(fchmodat2, AT_FDCWD, "f", 0600, 0);

    CALL(setxattr, "f", "user.a", "value", 5, 0);
    CALL(fsetxattr, fd, "user.b", "longer value", 12, 0);
    CALL(lsetxattr, "f", "user.c", "x", 1, 0);
    CALL(getxattr, "f", "user.a", room(64), 64);
    CALL(getxattr, "f", "user.a", room(64), 0);
    CALL(getxattr, "f", "user.a", room(64), 2);
    CALL(lgetxattr, "f", "user.b", room(64), 64);
    CALL(fgetxattr, fd, "user.c", room(64), 64);
    CALL(listxattr, "f", room(200), 200);
    CALL(listxattr, "f", room(200), 0);
    CALL(llistxattr, "f", room(200), 200);
    CALL(flistxattr, fd, room(200), 200);
    CALL(listxattrat, AT_FDCWD, "f", 0, room(200), 200);
    struct { uint64_t value; uint32_t size, flags; } xa = {(uintptr_t)room(64), 64, 0};
    CALL(getxattrat, AT_FDCWD, "f", 0, "user.a", &xa, 16);
    xa.size = 0;
    CALL(getxattrat, AT_FDCWD, "f", 0, "user.a", &xa, 16);
    xa.value = (uintptr_t) "text";
    xa.size = 4;
    CALL(setxattrat, AT_FDCWD, "f", 0, "user.d", &xa, 16);
    CALL(removexattrat, AT_FDCWD, "f", 0, "user.d");
    CALL(removexattr, "f", "user.a");
    CALL(lremovexattr, "f", "user.b");
    CALL(fremovexattr, fd, "user.c");
    CALL(file_getattr, AT_FDCWD, "f", room(64), 24, 0);
    CALL(file_getattr, AT_FDCWD, "f", room(64), 40, 0);

    CALL(mkdir, "d", 0700);
    CALL(mkdirat, AT_FDCWD, "e", 0700);
    CALL(symlink, "target/of/link", "l");
    CALL(symlinkat, "t", AT_FDCWD, "m");
    CALL(readlink, "l", room(64), 64);
    CALL(readlink, "l", room(64), 3);
    CALL(readlinkat, AT_FDCWD, "l", room(64), 64);
    CALL(link, "f", "g");
    CALL(linkat, AT_FDCWD, "f", AT_FDCWD, "h", 0);
    CALL(rename, "g", "i");
    CALL(renameat, AT_FDCWD, "h", AT_FDCWD, "j");
    CALL(renameat2, AT_FDCWD, "i", AT_FDCWD, "k", 1);
    CALL(mknod, "p", 0600 | 0010000, 0);
    CALL(mknodat, AT_FDCWD, "q", 0600 | 0010000, 0);
    CALL(chmod, "f", 0644);
    CALL(fchmod, fd, 0600);
    CALL(fchmodat, AT_FDCWD, "f", 0600);
    CALL(chown, "f", -1, -1);
    CALL(fchown, fd, -1, -1);
    CALL(lchown, "l", -1, -1);
    CALL(fchownat, AT_FDCWD, "f", -1, -1, 0);
    CALL(utime, "f", NULL);
    CALL(utimes, "f", NULL);
    CALL(futimesat, AT_FDCWD, "f", NULL);
    uint64_t times[4] = {1, 2, 3, 4};
    CALL(utimensat, AT_FDCWD, "f", times, 0);
    CALL(getcwd, room(100), 100);
    CALL(getcwd, room(100), 3);
    CALL(umask, 022);
    int d = (int)CALL(openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
    CALL(getdents64, d, room(1000), 1000);
    CALL(getdents64, d, room(1000), 1000);
    CALL(lseek, d, 0, SEEK_SET);
    CALL(getdents, d, room(1000), 1000);
    CALL(getdents, d, room(1000), 8);
    CALL(fchdir, d);
    CALL(chdir, ".");

    uint64_t how[3] = {O_RDONLY, 0, 0};
    int o = (int)CALL(openat2, AT_FDCWD, "f", how, sizeof how);
    CALL(dup, o);
    CALL(dup2, o, 77);
    CALL(dup3, o, 78, O_CLOEXEC);
    CALL(close, 77);
    CALL(close_range, 78, 78, 0);
    CALL(creat, "n", 0600);
    CALL(pipe, room(16));
    int *ends = room(16);
    CALL(pipe2, ends, O_CLOEXEC);
    CALL(memfd_create, "mem", 0);

    uint8_t *handle = room(200);
    *(uint32_t *)handle = 128;
    CALL(name_to_handle_at, AT_FDCWD, "f", handle, room(16), 0);
    CALL(open_by_handle_at, d, handle, O_RDONLY);
    handle = room(200);
    *(uint32_t *)handle = 0;
    CALL(name_to_handle_at, AT_FDCWD, "f", handle, room(16), 0);
    handle = room(200);
    *(uint32_t *)handle = 100;
    CALL(name_to_handle_at, AT_FDCWD, "f", handle, room(16), 1);

    int64_t *off = room(64), *off2 = room(64);
    *off = *off2 = 1;
    CALL(splice, fd, off, ends[1], NULL, 5, 0);
    CALL(tee, ends[0], ends[1], 3, SPLICE_F_NONBLOCK);
    o = (int)CALL(open, "n", O_RDWR);
    CALL(splice, ends[0], NULL, o, off2, 5, 0);
    CALL(vmsplice, ends[1], &(struct iovec){"to the pipe", 11}, 1, 0);
    CALL(vmsplice, ends[0], &(struct iovec){room(64), 8}, 1, 0);
    *off = *off2 = 0;
    CALL(copy_file_range, fd, off, o, off2, 5, 0);
    CALL(sendfile, ends[1], fd, off, 5);
    CALL(sendfile, ends[1], -1, off, 5);
    CALL(truncate, "n", 4);
    CALL(ftruncate, o, 3);
    CALL(fallocate, o, 0, 0, 10);
    CALL(fadvise64, o, 0, 0, 0);
    CALL(readahead, fd, 0, 10);
    CALL(fsync, fd);
    CALL(fdatasync, fd);
    CALL(sync_file_range, fd, 0, 0, 2);
    uint64_t range[2] = {0, 4096};
    CALL(cachestat, fd, range, room(64), 0);
    CALL(flock, fd, 2);

    int w = (int)CALL(inotify_init1, O_NONBLOCK);
    CALL(inotify_init);
    int wd = (int)CALL(inotify_add_watch, w, ".", IN_ALL_EVENTS);
    CALL(unlink, "n");
    CALL(read, w, room(1000), 1000);
    CALL(inotify_rm_watch, w, wd);
    int fan = (int)CALL(fanotify_init, 0, O_RDONLY);
    CALL(fanotify_mark, fan, 1, 1, AT_FDCWD, ".");

    /* fcntl */
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 10};
    CALL(fcntl, fd, F_GETLK, with(&lock, sizeof lock));
    CALL(fcntl, fd, F_SETLK, with(&lock, sizeof lock));
    CALL(fcntl, fd, F_SETLKW, with(&lock, sizeof lock));
    CALL(fcntl, fd, F_OFD_GETLK, with(&lock, sizeof lock));
    lock.l_pid = 0;
    CALL(fcntl, fd, F_OFD_SETLK, with(&lock, sizeof lock));
    CALL(fcntl, fd, F_GETFD);
    CALL(fcntl, fd, F_SETFD, 1);
    CALL(fcntl, fd, F_GETFL);
    CALL(fcntl, fd, F_SETFL, O_APPEND);
    CALL(fcntl, fd, F_DUPFD, 50);
    CALL(fcntl, fd, F_DUPFD_CLOEXEC, 50);
    CALL(fcntl, ends[0], F_GETPIPE_SZ);
    CALL(fcntl, fd, F_GETOWN);
    CALL(fcntl, ends[0], F_SETOWN_EX, (int[]){1, getpid()});
    CALL(fcntl, ends[0], F_GETOWN_EX, room(64));
    CALL(fcntl, ends[0], 17, room(64));
    CALL(fcntl, fd, F_GET_RW_HINT, room(64));
    CALL(fcntl, fd, F_SET_RW_HINT, &(uint64_t){2});
    CALL(fcntl, fd, F_GETLEASE);
    CALL(fcntl, fd, 999, room(64));

    /* ioctl on files */
    CALL(ioctl, ends[0], FIONREAD, room(64));
    CALL(ioctl, fd, FIONREAD, room(64));
    CALL(ioctl, ends[0], FIONBIO, &(int){1});
    CALL(ioctl, fd, FIOCLEX);
    CALL(ioctl, fd, FIONCLEX);
    CALL(ioctl, fd, FIGETBSZ, room(64));
    CALL(ioctl, fd, FIOQSIZE, room(64));
    CALL(ioctl, fd, FS_IOC_GETFLAGS, room(64));
    CALL(ioctl, fd, FS_IOC_GETVERSION, room(64));
    CALL(ioctl, fd, FS_IOC_FSGETXATTR, room(64));
    CALL(ioctl, fd, 0x81009431, room(300));
    CALL(ioctl, fd, 0x80111500, room(64));
    CALL(ioctl, fd, 0x80811501, room(200));
    CALL(ioctl, fd, FICLONE, o);
    CALL(ioctl, fd, 0x5413, room(64));
    CALL(ioctl, fd, 0xdeadbeef, room(64));
    struct fiemap *map = room(32 + 56 * 4);
    memset(map, 0, 32);
    map->fm_length = ~0ull;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = 4;
    CALL(ioctl, fd, FS_IOC_FIEMAP, map);
    int ns = (int)CALL(open, "/proc/self/ns/mnt", O_RDONLY);
    CALL(ioctl, ns, 0xb703);
    CALL(ioctl, ns, 0x8008b705, room(64));
    int uns = (int)CALL(open, "/proc/self/ns/user", O_RDONLY);
    CALL(ioctl, uns, 0xb704, room(64));

    uint64_t *sx = room(300);
    CALL(statx, AT_FDCWD, "/", 0, 0x4000 /* STATX_MNT_ID_UNIQUE */, sx);
    struct { uint32_t size, spare; uint64_t id, param, ns; } req = {24, 0, sx[0x90 / 8], 0x3f, 0};
    CALL(statmount, &req, room(2000), 2000, 0);
    req.param = 0;
    CALL(listmount, &req, room(2000), 64, 0);
    struct { uint32_t size, spare; uint64_t id; uint32_t type, spare2; uint64_t user; } nsreq = {
        32, 0, 0, 0, 0, 0};
    CALL(listns, &nsreq, room(1000), 32, 0);

    CALL(unlinkat, AT_FDCWD, "f", 0);
    CALL(unlinkat, AT_FDCWD, "d", AT_REMOVEDIR);
    CALL(rmdir, "e");
    CALL(sync);
    CALL(syncfs, d);
    const char *left[] = {"l", "m", "i", "j", "k", "p", "q", "g", "h"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        CALL(unlink, left[i]);
    CALL(chdir, "/");
    CALL(rmdir, dir);
    return 0;
}
