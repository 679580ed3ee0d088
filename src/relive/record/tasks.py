"""What the recorder knows of each task besides what the core does."""

from __future__ import annotations


class Task:
    """serial: number in the recording, from 1; mm: number of its address space.

    clear_tid, robust_list: addresses the kernel writes to at its end (man 2
    set_tid_address, get_robust_list).
    """

    __slots__ = (
        "affinity",
        "at_release",
        "clear_tid",
        "filtered",
        "frame_flags",
        "frame_from",
        "mm",
        "parent",
        "robust_list",
        "serial",
        "tgid",
        "tid",
        "tsc_faults",
    )

    def __init__(self, serial: int, tid: int, tgid: int, mm: int, parent: int) -> None:
        self.serial = serial
        self.tid = tid
        self.tgid = tgid
        self.mm = mm
        self.parent = parent
        self.clear_tid = 0
        self.robust_list = 0
        self.at_release: list[tuple[int, bytes]] = []
        self.affinity: bytes | None = None
        self.filtered = False  # has a seccomp filter of the program's own
        self.frame_from = 0  # stack pointer and flags before the signal frame being made
        self.frame_flags = 0
        self.tsc_faults = False  # the program asked for PR_TSC_SIGSEGV itself


class Tasks:
    """All live tasks, by serial and by thread id."""

    def __init__(self) -> None:
        self.by_serial: dict[int, Task] = {}
        self.by_tid: dict[int, Task] = {}
        self._serials = 0
        self._mms = 0

    def new_mm(self) -> int:
        self._mms += 1
        return self._mms

    def add(self, tid: int, tgid: int, mm: int, parent: int) -> Task:
        self._serials += 1
        task = Task(self._serials, tid, tgid, mm, parent)
        self.by_serial[task.serial] = task
        self.by_tid[tid] = task
        return task

    def remove(self, task: Task) -> None:
        self.by_serial.pop(task.serial, None)
        if self.by_tid.get(task.tid) is task:
            del self.by_tid[task.tid]

    def rename(self, task: Task, tid: int) -> None:
        if self.by_tid.get(task.tid) is task:
            del self.by_tid[task.tid]
        task.tid = task.tgid = tid
        self.by_tid[tid] = task

    def alone(self, task: Task) -> bool:
        """Whether its process has no other thread."""
        return not any(t.tgid == task.tgid and t is not task for t in self.by_serial.values())

    def users_of(self, mm: int) -> list[Task]:
        return [task for task in self.by_serial.values() if task.mm == mm]
