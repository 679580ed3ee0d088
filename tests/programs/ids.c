/* Process, group, session, user and thread ids; as root, dropping to another user. */
#include "check.h"
#include <grp.h>
#include <sys/fsuid.h>

int main(void)
{
    uid_t real, effective, saved;
    gid_t groups[64];
    CHECK(getresuid(&real, &effective, &saved) == 0);
    CHECK(real == getuid() && effective == geteuid());
    gid_t real_group, effective_group, saved_group;
    CHECK(getresgid(&real_group, &effective_group, &saved_group) == 0);
    int count = getgroups(64, groups);
    CHECK(count >= 0);
    printf("pid %d ppid %d pgrp %d sid %d tid %ld uid %d gid %d groups %d\n", getpid(), getppid(),
           getpgrp(), getsid(0), syscall(SYS_gettid), real, real_group, count);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(setpgid(0, 0) == 0 && getpgrp() == getpid());
        CHECK_FAILS(setsid(), EPERM); /* a group leader can't */
        pid_t session = fork();
        CHECK(session >= 0);
        if (session == 0) {
            CHECK(setsid() == getpid() && getsid(0) == getpid() && getpgid(0) == getpid());
            _exit(0);
        }
        reap(session, 0);
        if (geteuid() == 0) {
            CHECK(setfsuid(65534) == 0 && setfsuid(0) == 65534);
            CHECK(setgroups(1, (gid_t[]){65534}) == 0);
            CHECK(setresgid(65534, 65534, 65534) == 0);
            CHECK(setresuid(65534, 65534, 65534) == 0);
            CHECK(getuid() == 65534 && getegid() == 65534);
            CHECK_FAILS(setuid(0), EPERM);
        }
        _exit(4);
    }
    reap(child, 4);
    return success();
}
