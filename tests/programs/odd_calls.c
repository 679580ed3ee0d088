/* Odd corners: numbers of the x32 ABI, personality, handles of files, native asynchronous I/O. */
#include "check.h"
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <sys/personality.h>

int main(void)
{
    CHECK_FAILS(syscall(0x40000000 | SYS_getpid), ENOSYS);
    int before = personality(0xffffffff);
    CHECK(before != -1);
    CHECK(personality((unsigned long)before | UNAME26) == before);
    CHECK(personality((unsigned long)before) == (before | (int)UNAME26));

    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "0123456789", 10) == 10);
    struct {
        struct file_handle handle;
        unsigned char bytes[128];
    } handle = {.handle.handle_bytes = 0};
    int mount;
    int result = name_to_handle_at(fd, "", &handle.handle, &mount, AT_EMPTY_PATH);
    if (result == -1 && errno == EOVERFLOW) {
        CHECK(handle.handle.handle_bytes <= 128);
        result = name_to_handle_at(fd, "", &handle.handle, &mount, AT_EMPTY_PATH);
        CHECK(result == 0 || errno == EOPNOTSUPP);
        printf("handle type %d of %u bytes\n", handle.handle.handle_type,
               handle.handle.handle_bytes);
    }
    int flags;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
        printf("flags %x\n", flags);
    int copy = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(copy >= 0);
    result = ioctl(copy, FICLONE, fd);
    CHECK(result == 0 || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOTTY);

    aio_context_t context = 0;
    result = (int)syscall(SYS_io_setup, 8, &context);
    if (result == 0) {
        char text[16] = {0};
        struct iocb block = {.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PREAD,
                             .aio_buf = (uintptr_t)text, .aio_nbytes = 10, .aio_data = 99};
        struct iocb *blocks[] = {&block};
        struct io_event event;
        CHECK(syscall(SYS_io_submit, context, 1, blocks) == 1);
        CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
        CHECK(event.data == 99 && event.res == 10 && memcmp(text, "0123456789", 10) == 0);
        CHECK(syscall(SYS_io_destroy, context) == 0);
    } else {
        CHECK(errno == ENOSYS || errno == EAGAIN || errno == EPERM);
    }
    CHECK(unlink("file") == 0 && unlink("copy") == 0);
    return success();
}
