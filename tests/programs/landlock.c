/* Landlock rules the program gives itself: one directory stays readable, the rest is not. */
#include "check.h"
#include <linux/landlock.h>
#include <sys/prctl.h>

int main(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        SKIP("no landlock");
    CHECK(mkdir("allowed", 0700) == 0 && mkdir("denied", 0700) == 0);
    int fd = open("allowed/file", O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    fd = open("denied/file", O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    uint64_t rights = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
    struct landlock_ruleset_attr attributes = {.handled_access_fs = rights};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes,
                             sizeof attributes.handled_access_fs, 0);
    CHECK(rules >= 0);
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights};
    beneath.parent_fd = open("allowed", O_PATH | O_CLOEXEC);
    CHECK(syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(syscall(SYS_landlock_restrict_self, rules, 0) == 0);
        CHECK(open("allowed/file", O_RDWR) >= 0);
        CHECK_FAILS(open("denied/file", O_RDONLY), EACCES);
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            CHECK_FAILS(open("denied/file", O_RDONLY), EACCES);
            _exit(0);
        }
        reap(grandchild, 0);
        _exit(0);
    }
    reap(child, 0);
    CHECK(open("denied/file", O_RDONLY) >= 0);
    CHECK(unlink("denied/file") == 0 && rmdir("denied") == 0);
    printf("version %ld\n", version);
    return success();
}
