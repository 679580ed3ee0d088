"""System V and POSIX message queues, semaphores, shared memory; keys."""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Call,
    addr,
    call,
    facts,
    fd,
    flags,
    hexa,
    in_,
    long_,
    mode,
    num,
    one_of,
    out,
    select,
    size,
    string,
    uid,
)

_IPC_SET: Final = 1
_IPC_STAT: Final = 2
_IPC_INFO: Final = 3
_IPC_64: Final = 0x100
"""Accepted and stripped by the kernel (ipc_parse_version), and ignored on x86-64."""


_SEMCTL: Final = (num(), num(), one_of("semctl"))
_SHMCTL: Final = (num(), one_of("shmctl"))
_MSGCTL: Final = (num(), one_of("msgctl"))

_SYSTEM_V: Final = (
    call("semget", 64, hexa(), num(), flags("ipc")),
    call("semop", 65, num(), in_("sembuf", n=2), size(), blocks=True),
    call("semtimedop", 220, num(), in_("sembuf", n=2), size(), in_("timespec"), blocks=True),
    # GETALL (13) writes and SETALL (17) reads as many u16 as the set has semaphores, which the
    # arguments do not say: special_outs asks the kernel's answer to IPC_STAT for it.
    call(
        "semctl",
        66,
        *_SEMCTL,
        hexa(),
        variants=select(
            2,
            {
                _IPC_SET: facts("semctl", *_SEMCTL, in_("semid_ds")),
                _IPC_STAT: facts("semctl", *_SEMCTL, out("semid_ds")),
                _IPC_INFO: facts("semctl", *_SEMCTL, out("seminfo")),
                13: facts("semctl", *_SEMCTL, addr(), on_exit=True),
                18: facts("semctl", *_SEMCTL, out("semid_ds")),
                19: facts("semctl", *_SEMCTL, out("seminfo")),
                20: facts("semctl", *_SEMCTL, out("semid_ds")),
            },
            mask=0xFFFFFFFF & ~_IPC_64,
        ),
    ),
    call("shmget", 29, hexa(), size(), flags("ipc")),
    call("shmat", 30, num(), addr(), flags("shmat"), on_exit=True, replay=True, ret="addr"),
    call("shmdt", 67, addr(), replay=True),
    call(
        "shmctl",
        31,
        *_SHMCTL,
        addr(),
        variants=select(
            1,
            {
                _IPC_SET: facts("shmctl", *_SHMCTL, in_("shmid_ds")),
                _IPC_STAT: facts("shmctl", *_SHMCTL, out("shmid_ds")),
                _IPC_INFO: facts("shmctl", *_SHMCTL, out("shminfo")),
                13: facts("shmctl", *_SHMCTL, out("shmid_ds")),
                14: facts("shmctl", *_SHMCTL, out("shm_info")),
                15: facts("shmctl", *_SHMCTL, out("shmid_ds")),
            },
            mask=0xFFFFFFFF & ~_IPC_64,
        ),
    ),
    call("msgget", 68, hexa(), flags("ipc")),
    # The block is 8 bytes of type before the text: msgsnd's digest misses the last 8 bytes of
    # the text, and msgrcv's output is given by special_outs.
    call("msgsnd", 69, num(), in_(n=2), size(), flags("ipc"), blocks=True),
    call("msgrcv", 70, num(), addr(), size(), long_(), flags("msgrcv"), blocks=True, on_exit=True),
    call(
        "msgctl",
        71,
        *_MSGCTL,
        addr(),
        variants=select(
            1,
            {
                _IPC_SET: facts("msgctl", *_MSGCTL, in_("msqid_ds")),
                _IPC_STAT: facts("msgctl", *_MSGCTL, out("msqid_ds")),
                _IPC_INFO: facts("msgctl", *_MSGCTL, out("msginfo")),
                11: facts("msgctl", *_MSGCTL, out("msqid_ds")),
                12: facts("msgctl", *_MSGCTL, out("msginfo")),
                13: facts("msgctl", *_MSGCTL, out("msqid_ds")),
            },
            mask=0xFFFFFFFF & ~_IPC_64,
        ),
    ),
)

_POSIX_QUEUES: Final = (
    call("mq_open", 240, string(), flags("open"), mode(), in_("mq_attr"), blocks=True, opens=True),
    call("mq_unlink", 241, string()),
    call("mq_timedsend", 242, fd(), in_(n=2), size(), num(), in_("timespec"), blocks=True),
    call(
        "mq_timedreceive",
        243,
        fd(),
        out(ret=2),
        size(),
        out("u32"),
        in_("timespec"),
        blocks=True,
    ),
    call("mq_notify", 244, fd(), in_("sigevent")),
    call("mq_getsetattr", 245, fd(), in_("mq_attr"), out("mq_attr")),
)

_KEYCTL: Final = one_of("keyctl")

_KEYS: Final = (
    call("add_key", 248, string(), string(), in_(n=3), size(), num()),
    # May run a helper program and wait for it.
    call("request_key", 249, string(), string(), string(), num(), blocks=True),
    call(
        "keyctl",
        250,
        _KEYCTL,
        hexa(),
        hexa(),
        hexa(),
        hexa(),
        refuse=errno.EOPNOTSUPP,
        warn=True,
        variants=select(
            0,
            {
                0: facts("keyctl", _KEYCTL, num(), num()),  # GET_KEYRING_ID
                1: facts("keyctl", _KEYCTL, string()),  # JOIN_SESSION_KEYRING
                2: facts("keyctl", _KEYCTL, num(), in_(n=3), size()),  # UPDATE
                3: facts("keyctl", _KEYCTL, num()),  # REVOKE
                4: facts("keyctl", _KEYCTL, num(), uid(), uid()),  # CHOWN
                5: facts("keyctl", _KEYCTL, num(), hexa()),  # SETPERM
                6: facts("keyctl", _KEYCTL, num(), out(ret_min=3), size()),  # DESCRIBE
                7: facts("keyctl", _KEYCTL, num()),  # CLEAR
                8: facts("keyctl", _KEYCTL, num(), num()),  # LINK
                9: facts("keyctl", _KEYCTL, num(), num()),  # UNLINK
                10: facts("keyctl", _KEYCTL, num(), string(), string(), num()),  # SEARCH
                11: facts("keyctl", _KEYCTL, num(), out(ret_min=3), size()),  # READ
                14: facts("keyctl", _KEYCTL, num()),  # SET_REQKEY_KEYRING
                15: facts("keyctl", _KEYCTL, num(), num()),  # SET_TIMEOUT
                17: facts("keyctl", _KEYCTL, num(), out(ret_min=3), size()),  # GET_SECURITY
                21: facts("keyctl", _KEYCTL, num()),  # INVALIDATE
                22: facts("keyctl", _KEYCTL, uid(), num()),  # GET_PERSISTENT
            },
        ),
    ),
)

CALLS: Final[tuple[Call, ...]] = (*_SYSTEM_V, *_POSIX_QUEUES, *_KEYS)
