"""Sizes of structures against the compiler's: ``sizeof`` in the kernel's own headers."""

from __future__ import annotations

import pytest

from relive.arch import x86_64
from relive.syscalls.structs import STRUCTS

from .building import compile_and_run

# Headers of the kernel and of the C library define some structures twice: one program a group.
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "terminals": (
        (
            "#include <asm/termbits.h>\n#include <asm/ioctls.h>\n#include <linux/serial.h>\n"
            "#include <linux/vt.h>\n#include <linux/rtc.h>\n#include <linux/hdreg.h>\n"
            "struct winsize { unsigned short a, b, c, d; };\n"
            "struct termio { unsigned short a, b, c, d; unsigned char line, cc[8]; };\n"
        ),
        {
            "termios": "struct termios",
            "termios2": "struct termios2",
            "termio": "struct termio",
            "winsize": "struct winsize",
            "serial_struct": "struct serial_struct",
            "serial_icounter": "struct serial_icounter_struct",
            "vt_stat": "struct vt_stat",
            "vt_mode": "struct vt_mode",
            "rtc_time": "struct rtc_time",
            "hd_geometry": "struct hd_geometry",
        },
    ),
    "files": (
        (
            "#include <asm/stat.h>\n#include <asm/statfs.h>\n#include <linux/stat.h>\n"
            "#include <linux/fs.h>\n#include <linux/quota.h>\n#include <linux/dqblk_xfs.h>\n"
            "#include <linux/falloc.h>\n#include <linux/eventpoll.h>\n#include <linux/aio_abi.h>\n"
            "struct space_resv { short a, b; long long c, d; int e; unsigned f; int g[4]; };\n"
            "struct ustat { int a; unsigned long b; char c[6], d[6]; };\n"
        ),
        {
            "stat": "struct stat",
            "statx": "struct statx",
            "statfs": "struct statfs",
            "file_clone_range": "struct file_clone_range",
            "fsxattr": "struct fsxattr",
            "fstrim_range": "struct fstrim_range",
            "space_resv": "struct space_resv",
            "ustat": "struct ustat",
            "fslabel": "char[FSLABEL_MAX]",
            "if_dqblk": "struct if_dqblk",
            "if_dqinfo": "struct if_dqinfo",
            "fs_disk_quota": "struct fs_disk_quota",
            "fs_quota_stat": "struct fs_quota_stat",
            "fs_quota_statv": "struct fs_quota_statv",
            "epoll_event": "struct epoll_event",
        },
    ),
    "nextquota": (
        "#include <linux/quota.h>\n",
        {"if_nextdqblk": "struct if_nextdqblk"},
    ),
    "time": (
        (
            "#include <linux/time.h>\n#include <linux/timex.h>\n#include <linux/times.h>\n"
            "#include <linux/utime.h>\n"
        ),
        {
            "timespec": "struct timespec",
            "timeval": "struct timeval",
            "timezone": "struct timezone",
            "itimerval": "struct itimerval",
            "itimerspec": "struct itimerspec",
            "timex": "struct timex",
            "tms": "struct tms",
            "time": "long",
            "utimbuf": "struct utimbuf",
            "timespec2": "struct timespec[2]",
            "timeval2": "struct timeval[2]",
        },
    ),
    "processes": (
        (
            "#include <linux/resource.h>\n#include <linux/futex.h>\n#include <linux/capability.h>\n"
            "#include <linux/utsname.h>\n#include <linux/sysinfo.h>\n#include <linux/seccomp.h>\n"
            "#include <linux/filter.h>\n#include <linux/landlock.h>\n"
        ),
        {
            "rusage": "struct rusage",
            "rlimit": "struct rlimit",
            "robust_list_head": "struct robust_list_head",
            "futex_waitv": "struct futex_waitv",
            "cap_header": "struct __user_cap_header_struct",
            "cap_data": "struct __user_cap_data_struct[2]",
            "utsname": "struct new_utsname",
            "sysinfo": "struct sysinfo",
            "sock_fprog": "struct sock_fprog",
            "seccomp_notif_sizes": "struct seccomp_notif_sizes",
            "landlock_path_beneath": "struct landlock_path_beneath_attr",
        },
    ),
    "signals": (
        (
            "#include <asm/siginfo.h>\n#include <linux/signal.h>\n"
            "struct sa { void *handler; unsigned long flags; void *restorer; long mask; };\n"
        ),
        {
            "siginfo": "siginfo_t",
            "sigaltstack": "stack_t",
            "sigevent": "struct sigevent",
            "sigaction": "struct sa",
        },
    ),
    "ipc": (
        (
            "#include <linux/types.h>\n#include <linux/ipc.h>\n#include <asm/msgbuf.h>\n"
            "#include <asm/sembuf.h>\n#include <asm/shmbuf.h>\n#include <linux/mqueue.h>\n"
            "#define msqid_ds msqid_old\n#define semid_ds semid_old\n#define shmid_ds shmid_old\n"
            "#include <linux/msg.h>\n#include <linux/sem.h>\n#include <linux/shm.h>\n"
        ),
        {
            "semid_ds": "struct semid64_ds",
            "msqid_ds": "struct msqid64_ds",
            "shmid_ds": "struct shmid64_ds",
            "sembuf": "struct sembuf",
            "seminfo": "struct seminfo",
            "msginfo": "struct msginfo",
            "shminfo": "struct shminfo64",
            "shm_info": "struct shm_info",
            "mq_attr": "struct mq_attr",
        },
    ),
    "network": (
        (
            "#include <sys/socket.h>\n#include <net/if.h>\n#include <net/if_arp.h>\n"
            "#include <net/route.h>\n#include <sys/uio.h>\n#include <poll.h>\n#include <fcntl.h>\n"
        ),
        {
            "ifreq": "struct ifreq",
            "ifconf": "struct ifconf",
            "arpreq": "struct arpreq",
            "rtentry": "struct rtentry",
            "msghdr": "struct msghdr",
            "mmsghdr": "struct { struct msghdr h; unsigned len; }",
            "iovec": "struct iovec",
            "pollfd": "struct pollfd",
            "flock": "struct flock",
            "f_owner_ex": "struct { int type, pid; }",
        },
    ),
}

WRITTEN_BY_HAND = {
    # Newer than most installed headers, or not in any: sizes from include/uapi of Linux 6.12 and
    # later, where each has a *_SIZE_VER0 or fixed-width members.
    "xattr_args": 16,
    "mnt_id_req": 32,
    "ns_id_req": 32,
    "cachestat": 5 * 8,
    "cachestat_range": 2 * 8,
    "fsuuid2": 1 + 16,
    "fs_sysfs_path": 1 + 128,
    "epoll_params": 8,
    "landlock_net_port": 16,
    "file_handle": 8,
    "sched_attr": 48,
    "sched_param": 4,
    "waitinfo": 28,
    "sigset_argpack": 16,
    "comm": 16,
    "range2": 16,
    "uids2": 8,
}


@pytest.mark.parametrize("group", GROUPS)
def test_sizes(group: str) -> None:
    includes, types = GROUPS[group]
    lines = "".join(f'printf("{name} %zu\\n", sizeof({c}));' for name, c in types.items())
    got = compile_and_run(
        f"sizes_{group}",
        f"{includes}#include <stdio.h>\nint main(void) {{ {lines} return 0; }}\n",
        must=group != "nextquota",
    )
    if got is None:
        pytest.skip("the installed headers are too old")
    sizes = dict(line.split() for line in got.splitlines())
    assert {name: int(size) for name, size in sizes.items()} == {
        name: STRUCTS[name] for name in types
    }


def test_every_structure_is_accounted_for() -> None:
    checked = {name for _, types in GROUPS.values() for name in types} | set(WRITTEN_BY_HAND)
    elements = {name for name, size in STRUCTS.items() if size <= 8}
    assert set(STRUCTS) <= checked | elements
    assert {name: STRUCTS[name] for name in WRITTEN_BY_HAND} == WRITTEN_BY_HAND


def test_registers_are_those_of_the_tracer() -> None:
    lines = "".join(
        f'printf("{r.name} %zu\\n", offsetof(struct user_regs_struct, {r.name}));'
        for r in x86_64.REGISTERS
    )
    got = compile_and_run(
        "registers",
        "#include <stddef.h>\n#include <stdio.h>\n#include <sys/user.h>\n"
        f"int main(void) {{ {lines}"
        'printf("size %zu\\n", sizeof(struct user_regs_struct)); return 0; }\n',
    )
    assert got is not None
    found = {name: int(value) for name, value in (line.split() for line in got.splitlines())}
    assert found.pop("size") == x86_64.REGS_SIZE
    assert found == {r.name: r.offset for r in x86_64.REGISTERS}
    named = {
        x86_64.SYSCALL_NUMBER,
        x86_64.SYSCALL_RESULT,
        x86_64.INSTRUCTION_POINTER,
        x86_64.STACK_POINTER,
        x86_64.FLAGS,
        x86_64.THREAD_POINTER,
        *x86_64.SYSCALL_ARGS,
        *x86_64.SYSCALL_CLOBBERS,
    }
    assert named <= set(x86_64.BY_NAME)
