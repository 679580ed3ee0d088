"""The processes of a recording, from its events."""

from __future__ import annotations

from relive.trace.kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from relive.cli.progress import Progress
    from relive.trace.events import Event

#: execve and execveat: number, and which argument is the vector of the program's arguments
EXEC_ARGV = {59: 1, 322: 2}
ENDINGS = (Kind.SYSCALL, Kind.EXIT)


class Process:
    """A process: all tasks of one thread group.

    pid: its process id when recorded.  parent: None for the first one.
    argv: its arguments since its last exec, or its parent's when it had none.
    execed: whether it had one.  status: wait status, None while it lives.
    tasks: serial numbers of its tasks, the first one's first.
    """

    __slots__ = ("argv", "execed", "parent", "pid", "status", "tasks")

    def __init__(self, pid: int, parent: Process | None, task: int) -> None:
        self.pid = pid
        self.parent = parent
        self.argv: list[str] | None = parent.argv if parent is not None else None
        self.execed = False
        self.status: int | None = None
        self.tasks = [task]


def processes(events: Iterable[Event], progress: Progress | None = None) -> list[Process]:
    """The processes in the order in which they began."""
    found: list[Process] = []
    by_task: dict[int, Process] = {}
    pending: dict[int, list[str]] = {}  # by task: what its exec, if it succeeds, runs
    for event in events:
        if progress is not None:
            progress.add(1)
        kind = event.kind
        if kind is Kind.META:
            meta = event.extra or {}
        elif kind is Kind.TASK_NEW:
            begin(event, found, by_task, meta)
        elif kind is Kind.TASK_EXIT:
            process = by_task.get(event.task)
            if process is not None and event.result is not None:
                finish(process, event.task, event.result)
        elif event.nr in EXEC_ARGV and kind in (Kind.SYSCALL, Kind.ENTRY, Kind.EXIT):
            if event.in_items is not None:
                pending[event.task] = argv_of(event)
            if kind in ENDINGS:
                argv = pending.pop(event.task, None)
                process = by_task.get(event.task)
                if argv is not None and process is not None and event.result == 0:
                    process.argv = argv
                    process.execed = True
    return found


def begin(
    event: Event, found: list[Process], by_task: dict[int, Process], meta: dict[str, Any]
) -> None:
    """A task appears: in its parent's process, or in a new one."""
    extra = event.extra or {}
    tid, tgid = number(extra, "tid"), number(extra, "tgid")
    parent = by_task.get(number(extra, "parent"))
    if parent is not None and tgid == parent.pid:
        parent.tasks.append(event.task)
        by_task[event.task] = parent
        return
    process = Process(tgid or tid, parent, event.task)
    if not found:
        # The recorder itself executes the first program.
        argv = meta.get("argv")
        if isinstance(argv, list):
            process.argv = [str(part) for part in argv]
        process.execed = True
    found.append(process)
    by_task[event.task] = process


def finish(process: Process, task: int, status: int) -> None:
    """A task ended; the process ends with the last of them, in its leader's name."""
    process.tasks = [process.tasks[0], *(t for t in process.tasks[1:] if t != task)]
    if task == process.tasks[0] or process.status is None:
        process.status = status & 0xFFFF


def argv_of(event: Event) -> list[str]:
    """The arguments that an exec was called with."""
    at = EXEC_ARGV[event.nr]
    items = event.in_items or ()
    return [item.data.decode("utf-8", "surrogateescape") for item in items if item.arg == at]


def number(extra: dict[str, Any], key: str) -> int:
    """A whole number of a JSON object, 0 when there is none."""
    value = extra.get(key)
    return value if isinstance(value, int) else 0
