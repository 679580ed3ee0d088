/*
 * exec of a 32-bit program: it runs, or is refused as a format nobody knows; never half of each.
 */
#include "check.h"

/* A complete 32-bit ELF file: its only segment says exit(5) through int $0x80. */
static const unsigned char image[] = {
    0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* ELFCLASS32 */
    2, 0, 3, 0, 1, 0, 0, 0,                                 /* ET_EXEC, EM_386 */
    0x54, 0x80, 0x04, 0x08,                                 /* entry 0x08048054 */
    0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x80, 0x04, 0x08, 0x00, 0x80, 0x04, 0x08,
    0x60, 0, 0, 0, 0x60, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0,
    0x31, 0xc0, 0x40, 0xb3, 0x05, 0xcd, 0x80, 0x90, 0x90, 0x90, 0x90, 0x90, /* xor inc mov int */
};

int main(void)
{
    int fd = open("program", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(fd >= 0 && write(fd, image, sizeof image) == sizeof image && close(fd) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("./program", "program", NULL);
        _exit(errno == ENOEXEC || errno == ENOSYS || errno == EPERM ? 6 : 7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 5 || WEXITSTATUS(status) == 6));
    return success();
}
