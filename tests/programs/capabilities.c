/* Capabilities: asked of itself and of a child, dropped. */
#include "check.h"
#include <linux/capability.h>

int main(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {0}, again[2] = {0};
    CHECK(syscall(SYS_capget, &header, data) == 0);
    printf("effective %08x%08x permitted %08x%08x\n", data[1].effective, data[0].effective,
           data[1].permitted, data[0].permitted);
    header.version = 0x1234; /* the kernel says which version it prefers */
    CHECK_FAILS(syscall(SYS_capget, &header, data), EINVAL);
    CHECK(header.version == _LINUX_CAPABILITY_VERSION_3);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        data[0].effective = data[1].effective = 0;
        CHECK(syscall(SYS_capset, &header, data) == 0);
        CHECK(syscall(SYS_capget, &header, again) == 0);
        CHECK(again[0].effective == 0 && again[0].permitted == data[0].permitted);
        _exit(0);
    }
    reap(child, 0);
    CHECK(syscall(SYS_capget, &header, again) == 0);
    CHECK(memcmp(&again[0].permitted, &data[0].permitted, 4) == 0);
    return success();
}
