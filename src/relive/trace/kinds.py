"""Numbers of the event format: kinds, flags, registers (the C core has the same)."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Kind(IntEnum):
    """What an event says; docs/format.md tells which sections each kind has."""

    META = 1  # always event 0: what was recorded, and where
    TASK_NEW = 2  # a task appears
    SYSCALL = 3  # a call, entry and exit with no other task in between
    ENTRY = 4  # a call began, and another task ran or it did not return
    EXIT = 5  # the end of a call that ENTRY began
    SIGNAL = 6  # a signal was delivered
    REGS = 7  # registers to install: handler entry, sigreturn, exec
    TRAP = 8  # a trapped instruction was emulated
    TASK_EXIT = 9  # a task ended
    MEMWRITE = 10  # memory written by the recorder or by another task
    MEMORY = 11  # digests of memory to compare
    END = 12  # the recording is complete
    NOTE = 13  # a warning for whoever reads the recording
    LANDMARK = 14  # a task was stopped anywhere in user code: the state it was in


class Flag(IntFlag):
    """The flag bits that mean the same in every kind: the sections present, in this order."""

    REGS = 0x01
    RESULT = 0x02
    IN = 0x04
    OUT = 0x08
    EXTRA = 0x10


# Kind-specific bits, which have no section.
# SYSCALL, ENTRY, EXIT: bytes went to what was the recorder's stdout or stderr.
ECHO_STDOUT = 0x20
ECHO_STDERR = 0x40
# SIGNAL: caused by the instruction; it killed the process.
SIGNAL_SYNC = 0x20
SIGNAL_FATAL = 0x80
# LANDMARK: just before the system call that the task had reached; there is no sample.
LANDMARK_AT_ENTRY = 0x40
# REGS: what becomes of the extended state.
REGS_RESET_EXTENDED = 0x20
REGS_RESTORE_EXTENDED = 0x40


class Trap(IntEnum):
    """`nr` of a TRAP event."""

    RDTSC = 0
    RDTSCP = 1
    CPUID = 2


class InWhat(IntEnum):
    """What an item of the input blob holds."""

    BLOCK = 0
    STRING = 1  # without its NUL
    FAULT = 2  # memory that could not be read to its end


#: The kind-specific bits a kind may have.
KIND_BITS: dict[int, int] = {
    **dict.fromkeys(Kind, 0),
    Kind.SYSCALL: ECHO_STDOUT | ECHO_STDERR,
    Kind.ENTRY: ECHO_STDOUT | ECHO_STDERR,
    Kind.EXIT: ECHO_STDOUT | ECHO_STDERR,
    Kind.SIGNAL: SIGNAL_SYNC | SIGNAL_FATAL,
    Kind.LANDMARK: LANDMARK_AT_ENTRY,
    Kind.REGS: REGS_RESET_EXTENDED | REGS_RESTORE_EXTENDED,
}
