"""A recording session: starts the program and answers the core's questions until
nothing is left of it.

On the start-up path of every recording: imports are few on purpose.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time

from relive import _core
from relive.errors import CannotStart, ReliveError
from relive.record import calls, lifecycle, memory, signals
from relive.record.flush import Flusher
from relive.record.memory import Shared
from relive.record.tasks import Task, Tasks
from relive.trace.jsontext import dumps
from relive.trace.store import FileStore
from relive.trace.writer import ChunkWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from relive.tracee.maps import Mapping

META, TASK_NEW, ENTRY, END, NOTE = 1, 2, 4, 12, 13
#: When digests of memory are kept, each including those before it: at the end of processes, at
#: asynchronous events, after calls.
VERIFY = ("exit", "events", "all")
_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE, _EVENT_EXEC, _EVENT_EXIT = 1, 2, 3, 4, 6
_SYS_PIDFD_GETFD = 438


class Session:
    """One program being recorded."""

    def __init__(
        self, out_dir: str, verify_memory: str | None, quiet: bool, shared: str | None
    ) -> None:
        self.verify_memory = verify_memory
        self.quiet = quiet
        self.core = _core.Recorder()
        self.core.verify(VERIFY.index(verify_memory) if verify_memory in VERIFY else 0)
        self.tasks = Tasks()
        self.status = 0
        self.chaos: int | None = None
        self.through = 0  # a signal held back where it would end the program
        self.shared: dict[tuple[int, int], Shared] = {}
        self._segments: dict[int, str] = {}
        self._n_shared = 0
        self._sharing: set[int] = set()
        # where loaded code calls the vsyscall page, by content
        self.vsyscalls: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
        self.undumpable: set[int] = set()  # address spaces that asked not to be dumped
        self.may_trace_all = _has_capability(19)  # CAP_SYS_PTRACE
        self.writer = ChunkWriter(out_dir)
        self.store = FileStore(out_dir, shared=shared)
        cpus = os.sched_getaffinity(0)
        self.own_cpus = sum(1 << cpu for cpu in cpus)
        self.machine_cpus = (1 << (os.cpu_count() or 1)) - 1
        self.n_cpu_ids, self.cpu_mask_bytes = _cpu_ids()
        self.cpu = _own_cpu(cpus)
        self.flusher = Flusher(self.core, self.writer, cpus)
        self.echo_files: dict[tuple[int, int, int], int] = {}
        self._all_cpus = cpus
        self._told_of_failure = False

    # -- what handlers ask for

    def reader(self, task: Task) -> Callable[[int, int], bytes]:
        serial = task.serial
        return lambda addr, n: self.core.read(serial, addr, n)

    def warn(self, text: str) -> None:
        """Tells the user, and whoever reads the recording."""
        self.core.emit(NOTE, 0, 0, 0, None, None, (), dumps({"warning": text}))
        if not self.quiet:
            sys.stderr.write(f"relive: warning: {text}\n")

    def shares(self, mm: int) -> bool:
        return mm in self._sharing

    def note_shares(self, task: Task) -> None:
        """The task's address space has memory that others see."""
        self._sharing.add(task.mm)
        self.core.set_shares(task.serial, True)

    def new_shared(self) -> str:
        self._n_shared += 1
        return f"s{self._n_shared}"

    def shared_file(self, dev: int, ino: int) -> Shared:
        found = self.shared.get((dev, ino))
        if found is None:
            found = self.shared[dev, ino] = Shared(self.new_shared(), dev, ino, 0)
        return found

    def shared_segment(self, shmid: int) -> tuple[str, bool]:
        """The key of a System V segment, and whether it is new to the recording."""
        new = shmid not in self._segments
        if new:
            self._segments[shmid] = self.new_shared()
        return self._segments[shmid], new

    def open_mapped(self, tid: int, m: Mapping) -> int:
        """The file behind a mapping, also when its name now means another file."""
        try:
            return os.open(
                f"/proc/{tid}/map_files/{m.start:x}-{m.end:x}", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:
            pass  # needs CAP_CHECKPOINT_RESTORE (proc_map_files_get_link, 5.9); by name otherwise
        for path in (f"/proc/{tid}/root{m.name}", f"/proc/{tid}/exe"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            if os.fstat(fd).st_ino == m.inode:
                return fd
            os.close(fd)
        raise ReliveError(
            f"the file mapped as {m.name} is gone",
            "it was replaced while the program started; record again",
        )

    def take_fd(self, pidfd: int, fd: int) -> int | None:
        """A copy of another process's descriptor (pidfd_getfd(2))."""
        import ctypes

        libc = ctypes.CDLL(None)
        got = int(libc.syscall(_SYS_PIDFD_GETFD, pidfd, fd, 0))
        return got if got >= 0 else None

    # -- the program

    def schedule(self, slice_ms: float | None, chaos: int | None) -> None:
        """slice_ms: a task's time slice; chaos: seed for unfair scheduling."""
        if slice_ms is not None:
            self.core.set_slice(int(slice_ms * 1e6))
        if chaos is not None:
            self.core.chaos(chaos)
        self.chaos = chaos

    def start(self, argv: list[str], env: dict[str, str]) -> None:
        path = find_program(argv[0], env)
        for fd, bit in ((1, 1), (2, 2)):
            try:
                st = os.fstat(fd)
            except OSError:
                continue
            self.core.add_echo(fd, bit)
            self.echo_files.setdefault((st.st_dev, st.st_ino, st.st_rdev), bit)
        environment = [os.fsencode(f"{k}={v}") for k, v in env.items()]
        os.sched_setaffinity(0, {self.cpu})
        try:
            tid = self.core.spawn(
                os.fsencode(path), [os.fsencode(a) for a in argv], environment, self.cpu
            )
        except OSError as e:
            raise CannotStart(f"can't start {argv[0]}: {e.strerror}", _start_hint(e)) from e
        meta = {
            "argv": argv,
            "cwd": os.getcwd(),
            "env": env,
            "time": time.time(),
            "host": list(os.uname()),
            "cpu": self.cpu,
            "chaos": self.chaos,
            "stack_limit": resource.getrlimit(resource.RLIMIT_STACK)[0],
        }
        self.core.emit(META, 0, 0, 0, None, None, (), dumps(meta))
        task = self.tasks.add(tid, tid, self.tasks.new_mm(), 0)
        self.core.add_task(task.serial, tid, tid, task.mm)
        extra = {"parent": 0, "tid": tid, "tgid": tid, "flags": 0}
        self.core.emit(TASK_NEW, 0, 0, task.serial, None, None, (), dumps(extra))
        refuse_32_bit(tid, argv[0])
        _core.resume(tid, 24)
        _core.wait(tid)
        lifecycle.finish_exec(self, task)

    def run(self) -> None:
        """Until nothing is left."""
        while True:
            why, serial, a, b = self.core.run()
            if why == _core.WHY_NOTHING_LEFT:
                return
            if self.flusher.failed is not None:
                self._tell_failure()
            try:
                self._dispatch(why, serial, a, b)
            except ProcessLookupError:
                # killed in the middle: its end comes as an event of its own
                self._killed(serial)

    def _killed(self, serial: int) -> None:
        if serial in self.tasks.by_serial:
            self.core.flag(serial, "dying", True)
            self.core.set_blocked(serial)

    def _dispatch(self, why: int, serial: int, a: int, b: int) -> None:
        if why == _core.WHY_NEW_TASK:
            _adopt(self, a, b)
            return
        if why == _core.WHY_INTERRUPTED:
            return
        if why == _core.WHY_ERROR:
            raise ReliveError(
                f"the recorder failed: {os.strerror(a)} (task {serial})",
                "what was recorded until then replays; please report this",
            )
        task = self.tasks.by_serial[serial]
        if why == _core.WHY_ENTRY:
            calls.on_entry(self, task, a)
        elif why == _core.WHY_EXIT:
            calls.on_exit(self, task, a, b)
        elif why == _core.WHY_SIGNAL:
            signals.on_signal(self, task, a, b)
        elif why == _core.WHY_LANDMARK:
            memory.log_digests(self, task)
        elif why == _core.WHY_STEPPED:
            signals.on_stepped(self, task)
        elif why == _core.WHY_EVENT:
            self._on_event(task, a, b)
        elif why == _core.WHY_GONE:
            lifecycle.on_gone(self, task, a)
        elif why == _core.WHY_WRITTEN:
            memory.on_written(self, task, a & 0xFFFFFFFF, b)
        elif why == _core.WHY_OPENED:
            calls.on_opened(self, task, a)
        elif why == _core.WHY_REFUSED:
            self._on_refused(a, b)

    def _on_event(self, task: Task, event: int, message: int) -> None:
        if event in (_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE):
            lifecycle.on_clone_event(self, task, message)
        elif event == _EVENT_EXEC:
            lifecycle.on_exec_event(self, task, message)
        elif event == _EVENT_EXIT:
            lifecycle.on_exit_event(self, task)

    def _on_refused(self, nr: int, how: int) -> None:
        if how == 2:
            self.warn("32-bit system calls (int 0x80) are answered with ENOSYS")
        elif how == 1:
            self.warn(f"unknown system call {nr} answered with ENOSYS")
        else:
            from relive.syscalls.table import name_of

            self.warn(f"{name_of(nr)}: a use that can't be recorded was refused (docs/limits.md)")

    def _tell_failure(self) -> None:
        if self._told_of_failure:
            return
        self._told_of_failure = True
        sys.stderr.write(
            f"relive: error: {self.flusher.failed}\n"
            "relive: the program runs on, but is not recorded any more\n"
        )

    def finish(self) -> None:
        stats = self.core.stats()
        stats["status"] = self.status
        self.core.emit(END, 0, 0, 0, None, None, (), dumps(stats))
        self.close()
        if self.flusher.failed is not None:
            self._tell_failure()
        else:
            self.writer.finish()

    def close(self) -> None:
        self.core.close_log()
        self.flusher.join()
        os.sched_setaffinity(0, self._all_cpus)
        self.store.close()


def _adopt(session: Session, tid: int, status: int) -> None:
    """A task whose parent was killed before it could tell of it: it is let go with it."""
    try:
        os.kill(tid, signal.SIGKILL)
        _core.resume(tid, 7)
    except OSError:
        pass


def _has_capability(number: int) -> bool:
    with open("/proc/self/status", "rb") as f:
        for line in f:
            if line.startswith(b"CapEff:"):
                return bool(int(line[7:], 16) >> number & 1)
    return False


def _own_cpu(allowed: set[int]) -> int:
    """The core this runs on. The kernel chose it when this was started, as the one with least to
    do; recordings made at the same time don't share one."""
    with open("/proc/self/stat", "rb") as f:
        cpu = int(f.read().rpartition(b")")[2].split()[36])  # `processor` in proc_pid_stat(5)
    return cpu if cpu in allowed else max(allowed)


def _cpu_ids() -> tuple[int, int]:
    """How many CPU ids the kernel has, and the bytes of its CPU masks."""
    try:
        with open("/sys/devices/system/cpu/possible") as f:
            last = f.read().strip().split(",")[-1].split("-")[-1]
        n = int(last) + 1
    except (OSError, ValueError):
        n = os.cpu_count() or 1
    return n, (n + 63) // 64 * 8


def find_program(name: str, env: dict[str, str]) -> str:
    """As a shell finds it.  Raises CannotStart."""
    if "/" in name:
        return name
    reason = "not found"
    for directory in env.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or ".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            reason = "not executable"
    raise CannotStart(f"can't start {name}: {reason}", "is it installed, and in PATH?")


def _start_hint(e: OSError) -> str:
    import errno

    return {
        errno.ENOENT: "is it installed? (for a script: is its interpreter?)",
        errno.EACCES: "it needs execute permission",
        errno.ENOEXEC: "it is no program for this machine",
        errno.EPERM: "ptrace is not allowed here; `relive doctor` says more",
    }.get(e.errno or 0, "")


def refuse_32_bit(tid: int, name: str) -> None:
    """Raises CannotStart for a program of another architecture or width."""
    with open(f"/proc/{tid}/exe", "rb") as f:
        head = f.read(20)
    if head[4:5] == b"\x02" and head[18:20] == b"\x3e\x00":
        return
    os.kill(tid, signal.SIGKILL)
    raise CannotStart(f"can't record {name}: it is not a 64-bit x86-64 program")


class _Signals:
    """The terminal's signals reach the program by themselves; what is sent to the recorder
    alone is passed on.

    By a thread that waits for nothing else: the recorder's loop would see a signal only if it came
    in the middle of a wait for the program, and not just before it.
    """

    _PASSED_ON = frozenset((signal.SIGTERM, signal.SIGHUP))

    def __init__(self, session: Session) -> None:
        self._session = session
        self._old: dict[int, object] = {}
        self._mask: set[int] = set()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="relive-signals", daemon=True)

    def __enter__(self) -> None:
        for s in (signal.SIGINT, signal.SIGQUIT):
            self._old[s] = signal.signal(s, signal.SIG_IGN)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._PASSED_ON)
        for s in self._PASSED_ON:
            # An ignored signal (nohup) would not wait for the thread; and a program that uses
            # this as a library may have threads that don't block it.
            self._old[s] = signal.signal(s, lambda signo, frame: self._pass_on(signo))
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._over = True
        if self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, signal.SIGTERM)
        self._thread.join()
        for s, handler in self._old.items():
            signal.signal(s, handler)  # type: ignore[arg-type]
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _run(self) -> None:
        while True:
            signo = signal.sigwait(self._PASSED_ON)
            if self._over:
                return
            self._pass_on(signo)

    def _pass_on(self, signo: int) -> None:
        root = self._session.tasks.by_serial.get(1)
        targets = [root] if root else list(self._session.tasks.by_serial.values())
        for task in targets:
            try:
                os.kill(task.tgid, signo)
            except ProcessLookupError:
                pass


def record(
    argv: list[str],
    out_dir: str | os.PathLike[str],
    *,
    env: dict[str, str] | None = None,
    verify_memory: str | None = None,
    quiet: bool = False,
    shared_files: str | None = None,
    slice_ms: float | None = None,
    chaos: int | None = None,
    through: int = 0,
    started: Callable[[], None] | None = None,
) -> int:
    """Records a program and everything it starts; returns its wait status.

    out_dir: where to save; must not exist.  verify_memory: when to keep digests of all memory,
    "exit" or (also after every asynchronous stop) "events".  shared_files: a directory of stored
    files shared by recordings (relive.trace.store), or None.  slice_ms: time slice of a task
    when others could run (50).  chaos: seed of unfair scheduling that shows rare interleavings.
    through: number of a signal that is held back where it would end the program (0: none).
    started: called when the program has been started.

    Raises CannotStart, TraceWriteError, ReliveError.
    """
    session = Session(os.fspath(out_dir), verify_memory, quiet, shared_files)
    try:
        session.schedule(slice_ms, chaos)
        session.through = through
        session.start(argv, dict(os.environ) if env is None else env)
        if started is not None:
            started()
        with _Signals(session):
            session.run()
        session.finish()
    except BaseException:
        session.close()
        raise
    return session.status
