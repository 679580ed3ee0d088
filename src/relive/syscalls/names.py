"""Names of constants, for printing: sets of bits and lists of values.

Values are those of x86-64 (``include/uapi``). A set of bits is tried in the
order given, so that a combined value goes before its parts.
"""

from __future__ import annotations

from typing import Final


def _bits(first: int, text: str, prefix: str = "") -> dict[int, str]:
    """Names of consecutive bits from `first`; ``-`` leaves a bit unnamed."""
    return {first << i: prefix + name for i, name in enumerate(text.split()) if name != "-"}


def _values(first: int, text: str, prefix: str = "") -> dict[int, str]:
    """Names of consecutive values from `first`; ``-`` leaves one unnamed."""
    return {first + i: prefix + name for i, name in enumerate(text.split()) if name != "-"}


_AT: Final = {
    0x100: "AT_SYMLINK_NOFOLLOW",
    0x200: "AT_REMOVEDIR",
    0x400: "AT_SYMLINK_FOLLOW",
    0x800: "AT_NO_AUTOMOUNT",
    0x1000: "AT_EMPTY_PATH",
    0x2000: "AT_STATX_FORCE_SYNC",
    0x4000: "AT_STATX_DONT_SYNC",
    0x8000: "AT_RECURSIVE",
}

FLAGS: Final[dict[str, dict[int, str]]] = {
    "none": {},
    "open": {
        0x410000: "O_TMPFILE",
        0x101000: "O_SYNC",
        0x40: "O_CREAT",
        0x80: "O_EXCL",
        0x100: "O_NOCTTY",
        0x200: "O_TRUNC",
        0x400: "O_APPEND",
        0x800: "O_NONBLOCK",
        0x1000: "O_DSYNC",
        0x2000: "O_ASYNC",
        0x4000: "O_DIRECT",
        0x8000: "O_LARGEFILE",
        0x10000: "O_DIRECTORY",
        0x20000: "O_NOFOLLOW",
        0x40000: "O_NOATIME",
        0x80000: "O_CLOEXEC",
        0x200000: "O_PATH",
    },
    "newfd": {0x80: "O_EXCL", 0x800: "O_NONBLOCK", 0x4000: "O_DIRECT", 0x80000: "O_CLOEXEC"},
    "eventfd": {1: "EFD_SEMAPHORE", 0x800: "EFD_NONBLOCK", 0x80000: "EFD_CLOEXEC"},
    "fdflags": {1: "FD_CLOEXEC"},
    "at": _AT,
    "access": {4: "R_OK", 2: "W_OK", 1: "X_OK"},
    "prot": {
        1: "PROT_READ",
        2: "PROT_WRITE",
        4: "PROT_EXEC",
        8: "PROT_SEM",
        0x01000000: "PROT_GROWSDOWN",
        0x02000000: "PROT_GROWSUP",
    },
    "map": {
        0x20: "MAP_ANONYMOUS",
        0x10: "MAP_FIXED",
        0x40: "MAP_32BIT",
        0x80: "MAP_ABOVE4G",
        0x100: "MAP_GROWSDOWN",
        0x800: "MAP_DENYWRITE",
        0x1000: "MAP_EXECUTABLE",
        0x2000: "MAP_LOCKED",
        0x4000: "MAP_NORESERVE",
        0x8000: "MAP_POPULATE",
        0x10000: "MAP_NONBLOCK",
        0x20000: "MAP_STACK",
        0x40000: "MAP_HUGETLB",
        0x80000: "MAP_SYNC",
        0x100000: "MAP_FIXED_NOREPLACE",
    },
    "mremap": _bits(1, "MAYMOVE FIXED DONTUNMAP", "MREMAP_"),
    "msync": _bits(1, "ASYNC INVALIDATE SYNC", "MS_"),
    "mlockall": _bits(1, "CURRENT FUTURE ONFAULT", "MCL_"),
    "memfd": _bits(1, "CLOEXEC ALLOW_SEALING HUGETLB NOEXEC_SEAL EXEC", "MFD_"),
    "rwf": _bits(1, "HIPRI DSYNC SYNC NOWAIT APPEND NOAPPEND ATOMIC DONTCACHE", "RWF_"),
    "splice": _bits(1, "MOVE NONBLOCK MORE GIFT", "SPLICE_F_"),
    "falloc": _bits(
        1,
        "KEEP_SIZE PUNCH_HOLE NO_HIDE_STALE COLLAPSE_RANGE ZERO_RANGE INSERT_RANGE UNSHARE_RANGE",
        "FALLOC_FL_",
    ),
    "sync_file_range": _bits(1, "WAIT_BEFORE WRITE WAIT_AFTER", "SYNC_FILE_RANGE_"),
    "flock": {1: "LOCK_SH", 2: "LOCK_EX", 4: "LOCK_NB", 8: "LOCK_UN"},
    "close_range": {2: "CLOSE_RANGE_UNSHARE", 4: "CLOSE_RANGE_CLOEXEC"},
    "rename": _bits(1, "NOREPLACE EXCHANGE WHITEOUT", "RENAME_"),
    "xattr": _bits(1, "CREATE REPLACE", "XATTR_"),
    "statx": {
        0x7FF: "STATX_BASIC_STATS",
        **_bits(
            1,
            "TYPE MODE NLINK UID GID ATIME MTIME CTIME INO SIZE BLOCKS BTIME MNT_ID DIOALIGN "
            "MNT_ID_UNIQUE SUBVOL WRITE_ATOMIC DIO_READ_ALIGN",
            "STATX_",
        ),
    },
    "mount": _bits(
        1,
        "RDONLY NOSUID NODEV NOEXEC SYNCHRONOUS REMOUNT MANDLOCK DIRSYNC NOSYMFOLLOW - NOATIME "
        "NODIRATIME BIND MOVE REC SILENT POSIXACL UNBINDABLE PRIVATE SLAVE SHARED RELATIME - "
        "I_VERSION STRICTATIME LAZYTIME",
        "MS_",
    ),
    "umount": {1: "MNT_FORCE", 2: "MNT_DETACH", 4: "MNT_EXPIRE", 8: "UMOUNT_NOFOLLOW"},
    "open_tree": {**_AT, 1: "OPEN_TREE_CLONE", 0x80000: "OPEN_TREE_CLOEXEC"},
    "move_mount": {
        1: "MOVE_MOUNT_F_SYMLINKS",
        2: "MOVE_MOUNT_F_AUTOMOUNTS",
        4: "MOVE_MOUNT_F_EMPTY_PATH",
        0x10: "MOVE_MOUNT_T_SYMLINKS",
        0x20: "MOVE_MOUNT_T_AUTOMOUNTS",
        0x40: "MOVE_MOUNT_T_EMPTY_PATH",
    },
    "fsopen": {1: "FSOPEN_CLOEXEC"},
    "inotify": {
        0xFFF: "IN_ALL_EVENTS",
        **_bits(
            1,
            "ACCESS MODIFY ATTRIB CLOSE_WRITE CLOSE_NOWRITE OPEN MOVED_FROM MOVED_TO CREATE "
            "DELETE DELETE_SELF MOVE_SELF",
            "IN_",
        ),
        0x01000000: "IN_ONLYDIR",
        0x02000000: "IN_DONT_FOLLOW",
        0x04000000: "IN_EXCL_UNLINK",
        0x10000000: "IN_MASK_CREATE",
        0x20000000: "IN_MASK_ADD",
        0x40000000: "IN_ISDIR",
        0x80000000: "IN_ONESHOT",
    },
    "fanotify": {1: "FAN_CLOEXEC", 2: "FAN_NONBLOCK", 4: "FAN_CLASS_CONTENT"},
    "fanotify_mark": _bits(1, "ADD REMOVE DONT_FOLLOW ONLYDIR - IGNORED_MASK", "FAN_MARK_"),
    "clone": {
        0x80: "CLONE_NEWTIME",
        **_bits(
            0x100,
            "VM FS FILES SIGHAND PIDFD PTRACE VFORK PARENT THREAD NEWNS SYSVSEM SETTLS "
            "PARENT_SETTID CHILD_CLEARTID DETACHED UNTRACED CHILD_SETTID NEWCGROUP NEWUTS NEWIPC "
            "NEWUSER NEWPID NEWNET IO",
            "CLONE_",
        ),
        1 << 32: "CLONE_CLEAR_SIGHAND",
        1 << 33: "CLONE_INTO_CGROUP",
    },
    "wait": {
        1: "WNOHANG",
        2: "WUNTRACED",
        4: "WEXITED",
        8: "WCONTINUED",
        0x01000000: "WNOWAIT",
        0x20000000: "__WNOTHREAD",
        0x40000000: "__WALL",
        0x80000000: "__WCLONE",
    },
    "socktype": {0x800: "SOCK_NONBLOCK", 0x80000: "SOCK_CLOEXEC"},
    "msg": {
        **_bits(
            1,
            "OOB PEEK DONTROUTE CTRUNC PROBE TRUNC DONTWAIT EOR WAITALL FIN SYN CONFIRM RST "
            "ERRQUEUE NOSIGNAL MORE WAITFORONE",
            "MSG_",
        ),
        0x04000000: "MSG_ZEROCOPY",
        0x20000000: "MSG_FASTOPEN",
        0x40000000: "MSG_CMSG_CLOEXEC",
    },
    "timer": {1: "TIMER_ABSTIME", 2: "TFD_TIMER_CANCEL_ON_SET"},
    "ipc": {0o1000: "IPC_CREAT", 0o2000: "IPC_EXCL", 0o4000: "IPC_NOWAIT"},
    "msgrcv": {0o4000: "IPC_NOWAIT", 0o10000: "MSG_NOERROR", 0o20000: "MSG_EXCEPT"},
    "shmat": {0o10000: "SHM_RDONLY", 0o20000: "SHM_RND", 0o40000: "SHM_REMAP"},
    "seals": _bits(1, "SEAL SHRINK GROW WRITE FUTURE_WRITE EXEC", "F_SEAL_"),
    "getrandom": _bits(1, "NONBLOCK RANDOM INSECURE", "GRND_"),
    "seccomp": _bits(
        1,
        "TSYNC LOG SPEC_ALLOW NEW_LISTENER TSYNC_ESRCH WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_",
    ),
    "poll": _bits(
        1,
        "IN PRI OUT ERR HUP NVAL RDNORM RDBAND WRNORM WRBAND MSG - REMOVE RDHUP",
        "POLL",
    ),
    "epoll": {
        **_bits(1, "IN PRI OUT ERR HUP NVAL RDNORM RDBAND WRNORM WRBAND MSG - - RDHUP", "EPOLL"),
        1 << 28: "EPOLLEXCLUSIVE",
        1 << 29: "EPOLLWAKEUP",
        1 << 30: "EPOLLONESHOT",
        1 << 31: "EPOLLET",
    },
    "sa": {
        1: "SA_NOCLDSTOP",
        2: "SA_NOCLDWAIT",
        4: "SA_SIGINFO",
        0x400: "SA_UNSUPPORTED",
        0x800: "SA_EXPOSE_TAGBITS",
        0x04000000: "SA_RESTORER",
        0x08000000: "SA_ONSTACK",
        0x10000000: "SA_RESTART",
        0x40000000: "SA_NODEFER",
        0x80000000: "SA_RESETHAND",
    },
    "ss": {1: "SS_ONSTACK", 2: "SS_DISABLE", 0x80000000: "SS_AUTODISARM"},
}

VALUES: Final[dict[str, dict[int, str]]] = {
    "whence": _values(0, "SET CUR END DATA HOLE", "SEEK_"),
    "fadvise": _values(0, "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED NOREUSE", "POSIX_FADV_"),
    "madvise": {
        **_values(0, "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED", "MADV_"),
        **_values(
            8,
            "FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE NOHUGEPAGE DONTDUMP "
            "DODUMP WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE "
            "DONTNEED_LOCKED COLLAPSE",
            "MADV_",
        ),
        100: "MADV_HWPOISON",
        101: "MADV_SOFT_OFFLINE",
        102: "MADV_GUARD_INSTALL",
        103: "MADV_GUARD_REMOVE",
    },
    "membarrier": {
        0: "MEMBARRIER_CMD_QUERY",
        **_bits(
            1,
            "GLOBAL GLOBAL_EXPEDITED REGISTER_GLOBAL_EXPEDITED PRIVATE_EXPEDITED "
            "REGISTER_PRIVATE_EXPEDITED PRIVATE_EXPEDITED_SYNC_CORE "
            "REGISTER_PRIVATE_EXPEDITED_SYNC_CORE PRIVATE_EXPEDITED_RSEQ "
            "REGISTER_PRIVATE_EXPEDITED_RSEQ GET_REGISTRATIONS",
            "MEMBARRIER_CMD_",
        ),
    },
    "idtype": _values(0, "ALL PID PGID PIDFD", "P_"),
    "rlimit": _values(
        0,
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE "
        "RTPRIO RTTIME",
        "RLIMIT_",
    ),
    "rusage_who": {0: "RUSAGE_SELF", -1: "RUSAGE_CHILDREN", 1: "RUSAGE_THREAD"},
    "prio": _values(0, "PROCESS PGRP USER", "PRIO_"),
    "sigprocmask": _values(0, "BLOCK UNBLOCK SETMASK", "SIG_"),
    "domain": {
        **_values(0, "UNSPEC UNIX INET AX25 IPX APPLETALK", "AF_"),
        10: "AF_INET6",
        16: "AF_NETLINK",
        17: "AF_PACKET",
        31: "AF_BLUETOOTH",
        38: "AF_ALG",
        40: "AF_VSOCK",
        44: "AF_XDP",
    },
    "socktype": _values(1, "STREAM DGRAM RAW RDM SEQPACKET DCCP - - - PACKET", "SOCK_"),
    "shutdown": _values(0, "RD WR RDWR", "SHUT_"),
    "sol": {
        0: "SOL_IP",
        1: "SOL_SOCKET",
        6: "SOL_TCP",
        17: "SOL_UDP",
        41: "SOL_IPV6",
        58: "SOL_ICMPV6",
        263: "SOL_PACKET",
        270: "SOL_NETLINK",
    },
    "sockopt": {
        **_values(
            1,
            "DEBUG REUSEADDR TYPE ERROR DONTROUTE BROADCAST SNDBUF RCVBUF KEEPALIVE OOBINLINE "
            "NO_CHECK PRIORITY LINGER BSDCOMPAT REUSEPORT PASSCRED PEERCRED RCVLOWAT SNDLOWAT "
            "RCVTIMEO SNDTIMEO - - - BINDTODEVICE ATTACH_FILTER DETACH_FILTER PEERNAME TIMESTAMP "
            "ACCEPTCONN PEERSEC SNDBUFFORCE RCVBUFFORCE PASSSEC TIMESTAMPNS MARK TIMESTAMPING "
            "PROTOCOL DOMAIN RXQ_OVFL WIFI_STATUS PEEK_OFF NOFCS LOCK_FILTER SELECT_ERR_QUEUE "
            "BUSY_POLL MAX_PACING_RATE BPF_EXTENSIONS INCOMING_CPU ATTACH_BPF "
            "ATTACH_REUSEPORT_CBPF ATTACH_REUSEPORT_EBPF CNX_ADVICE - MEMINFO INCOMING_NAPI_ID "
            "COOKIE - PEERGROUPS ZEROCOPY TXTIME BINDTOIFINDEX",
            "SO_",
        ),
    },
    "tcpopt": _values(
        1,
        "NODELAY MAXSEG CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP "
        "INFO QUICKACK CONGESTION MD5SIG - THIN_LINEAR_TIMEOUTS THIN_DUPACK USER_TIMEOUT REPAIR "
        "REPAIR_QUEUE QUEUE_SEQ REPAIR_OPTIONS FASTOPEN TIMESTAMP NOTSENT_LOWAT CC_INFO SAVE_SYN "
        "SAVED_SYN REPAIR_WINDOW FASTOPEN_CONNECT ULP MD5SIG_EXT FASTOPEN_KEY FASTOPEN_NO_COOKIE "
        "ZEROCOPY_RECEIVE INQ TX_DELAY",
        "TCP_",
    ),
    "clock": _values(
        0,
        "REALTIME MONOTONIC PROCESS_CPUTIME_ID THREAD_CPUTIME_ID MONOTONIC_RAW REALTIME_COARSE "
        "MONOTONIC_COARSE BOOTTIME REALTIME_ALARM BOOTTIME_ALARM - TAI",
        "CLOCK_",
    ),
    "itimer": _values(0, "REAL VIRTUAL PROF", "ITIMER_"),
    "sched": _values(0, "OTHER FIFO RR BATCH - IDLE DEADLINE EXT", "SCHED_"),
    "epoll_ctl": _values(1, "ADD DEL MOD", "EPOLL_CTL_"),
    "semctl": {
        0: "IPC_RMID",
        1: "IPC_SET",
        2: "IPC_STAT",
        3: "IPC_INFO",
        **_values(
            11, "GETPID GETVAL GETALL GETNCNT GETZCNT SETVAL SETALL SEM_STAT SEM_INFO SEM_STAT_ANY"
        ),
    },
    "shmctl": {
        **_values(0, "RMID SET STAT INFO", "IPC_"),
        **_values(11, "LOCK UNLOCK STAT INFO STAT_ANY", "SHM_"),
    },
    "msgctl": {
        **_values(0, "RMID SET STAT INFO", "IPC_"),
        **_values(11, "STAT INFO STAT_ANY", "MSG_"),
    },
    "keyctl": _values(
        0,
        "GET_KEYRING_ID JOIN_SESSION_KEYRING UPDATE REVOKE CHOWN SETPERM DESCRIBE CLEAR LINK "
        "UNLINK SEARCH READ INSTANTIATE NEGATE SET_REQKEY_KEYRING SET_TIMEOUT ASSUME_AUTHORITY "
        "GET_SECURITY SESSION_TO_PARENT REJECT INSTANTIATE_IOV INVALIDATE GET_PERSISTENT",
        "KEYCTL_",
    ),
    "syslog": _values(
        0,
        "CLOSE OPEN READ READ_ALL READ_CLEAR CLEAR CONSOLE_OFF CONSOLE_ON CONSOLE_LEVEL "
        "SIZE_UNREAD SIZE_BUFFER",
        "SYSLOG_ACTION_",
    ),
    "seccomp": _values(
        0, "SET_MODE_STRICT SET_MODE_FILTER GET_ACTION_AVAIL GET_NOTIF_SIZES", "SECCOMP_"
    ),
    "landlock_rule": _values(1, "PATH_BENEATH NET_PORT", "LANDLOCK_RULE_"),
    "filetype": {
        0o010000: "S_IFIFO",
        0o020000: "S_IFCHR",
        0o040000: "S_IFDIR",
        0o060000: "S_IFBLK",
        0o100000: "S_IFREG",
        0o120000: "S_IFLNK",
        0o140000: "S_IFSOCK",
    },
    "locktype": _values(0, "RDLCK WRLCK UNLCK", "F_"),
    "maptype": _values(1, "SHARED PRIVATE SHARED_VALIDATE", "MAP_"),
    "sicode": {
        0: "SI_USER",
        0x80: "SI_KERNEL",
        -1: "SI_QUEUE",
        -2: "SI_TIMER",
        -3: "SI_MESGQ",
        -4: "SI_ASYNCIO",
        -5: "SI_SIGIO",
        -6: "SI_TKILL",
    },
    "cldcode": _values(1, "EXITED KILLED DUMPED TRAPPED STOPPED CONTINUED", "CLD_"),
}

SIGNALS: Final = _values(
    1,
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
    "SIG",
)
SIGNAL_MAX: Final = 64
_RT_MIN: Final = 32

RESTARTS: Final = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
}
"""Results the kernel keeps to itself, which only a tracer sees (include/linux/errno.h)."""


def signal_name(number: int) -> str:
    """``SIGUSR1``, ``SIGRT_3`` (counted from 32), or the number."""
    if number in SIGNALS:
        return SIGNALS[number]
    if _RT_MIN <= number <= SIGNAL_MAX:
        return f"SIGRT_{number - _RT_MIN}"
    return str(number)


def flags_text(names: str, value: int) -> str:
    """``O_CREAT|O_TRUNC``, with what has no name in hexadecimal at the end; ``0`` for none."""
    left, parts = value, []
    for bit, name in FLAGS.get(names, {}).items():
        if left & bit == bit:
            parts.append(name)
            left &= ~bit
    if left or not parts:
        parts.append(hex(left) if left else "0")
    return "|".join(parts)


def value_text(names: str, value: int) -> str:
    """The constant's name, or the number (hexadecimal when it is big)."""
    name = VALUES.get(names, {}).get(value)
    if name is not None:
        return name
    return str(value) if -4096 < value < 4096 else hex(value & 0xFFFFFFFFFFFFFFFF)
