"""A replay session: the whole recording, event by event."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from relive import _core
from relive.errors import DivergenceError, RecordingError, ReliveError
from relive.replay import calls, memory, tasks
from relive.replay.search.searching import Searching
from relive.replay.statistics import Statistics
from relive.replay.tasks import Space, Task
from relive.trace.reader import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from relive.replay.retry import Plan

TASK_NEW, ENTRY, TASK_EXIT, MEMWRITE, MEMORY, LANDMARK = 2, 4, 9, 10, 11, 14


class ReplayResult(NamedTuple):
    """status: the program's wait status, None when the recording ends before it;
    events: replayed; ended_early: why the recording is not whole, or None; seconds: taken;
    verified: digests of memory compared."""

    status: int | None
    events: int
    ended_early: str | None
    seconds: float
    verified: int


class Session:
    """One replay.  Belongs to one thread."""

    def __init__(
        self,
        recording: Recording,
        *,
        echo: bool,
        evaluator: str = "auto",
        plan: Plan | None = None,
        printed: tuple[int, int] = (0, 0),
        use_index: bool = True,
        but: Iterable[int] = (),
        statistics: bool = True,
    ) -> None:
        """plan: of a replay that is made again.  printed: bytes of stdout and stderr that others
        before it have printed.  use_index: whether positions in the recording's index are believed;
        but: not of these events.  statistics: whether they are kept.

        Raises Unsupported, UsageError: that evaluator can't be used.
        """
        self.statistics = Statistics(wanted=statistics)
        self.recording = recording
        self.searching = Searching(recording, evaluator, use_index=use_index, but=but)
        self.core = _core.Replayer()
        if echo:
            self.core.set_output(1, 2, *printed)
        self.tasks: dict[int, Task] = {}
        self.objects = memory.Objects()
        self.store = recording.store
        self.status: int | None = None
        self.events = 0
        self.verified = 0
        self._store_fds: dict[str, int] = {}
        self.plan = plan
        self.landmarks: list[int] = []  # events, as far as the replay came
        self._all_cpus = os.sched_getaffinity(0)
        cpu = recording.meta.get("cpu")
        self.cpu = cpu if isinstance(cpu, int) and cpu in self._all_cpus else max(self._all_cpus)

    # -- what handlers ask for

    def write(self, task: Task, address: int, data: bytes) -> None:
        """Raises OSError."""
        os.pwrite(self.core.mem_fd(task.serial), data, address)

    def read_u64(self, task: Task, address: int) -> int:
        """Raises OSError."""
        return int.from_bytes(os.pread(self.core.mem_fd(task.serial), 8, address), "little")

    def limit_stack(self, task: Task, soft: int) -> None:
        """The replayed process's stack may grow as far as the recorded one's."""
        _, hard = resource.prlimit(task.tgid, resource.RLIMIT_STACK)
        wanted = resource.RLIM_INFINITY if soft == 2**64 - 1 else soft
        if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
            wanted = hard  # an ordinary user can't have more
        resource.prlimit(task.tgid, resource.RLIMIT_STACK, (wanted, hard))

    def store_fd(self, name: str) -> int:
        """A descriptor of a stored file, verified; it stays open."""
        fd = self._store_fds.get(name)
        if fd is None:
            fd = self._store_fds[name] = self.store.open(name)
        return fd

    def took_over(self, task: Task, tid: int) -> None:
        """The task has a new address space, and its process's id."""
        for other in [t for t in self.tasks.values() if t.tgid == task.tgid and t is not task]:
            # a leader that ended before; the kernel gave its id to this task
            del self.tasks[other.serial]
        task.tid = task.tgid = tid
        task.was_tid = task.was_tgid
        self.core.renew(task.serial, tid)

    # -- the loop

    def run(self, reached: Callable[[int], None] | None = None) -> None:
        """To the end of the recording.

        reached: called now and then with the number of events done.
        Raises DivergenceError, RecordingError, ReliveError.
        """
        os.sched_setaffinity(0, {self.cpu})
        try:
            for chunk in self.recording.chunks():
                self.core.feed(chunk.raw, chunk.first_event)
                self._run_chunk()
                self.events = chunk.first_event + chunk.n_events
                if reached is not None:
                    reached(self.events)
        except BaseException:
            self.searching.ended_early()
            raise
        finally:
            tasks.kill_all(self)
            self.searching.close()
            self.objects.close()
            for fd in self._store_fds.values():
                os.close(fd)
            os.sched_setaffinity(0, self._all_cpus)

    def _run_chunk(self) -> None:
        while True:
            why, err, number = self.core.run()
            if why == _core.RP_NEED_CHUNK:
                return
            if why in (_core.RP_CALL, _core.RP_EVENT):
                try:
                    self._dispatch(why)
                except OSError as e:
                    raise ReliveError(
                        f"replay failed at event {number}: {e.strerror or e}",
                        "the replay could not do what the recording says",
                    ) from e
                except (KeyError, TypeError, ValueError, IndexError) as e:
                    raise RecordingError(
                        f"event {number} of the recording makes no sense ({e!r})"
                    ) from e
                continue
            self._failed(why, err, number)

    def _failed(self, why: int, err: int, number: int) -> None:
        if why == _core.RP_DIVERGED:
            from relive.replay.diagnosis import divergence

            raise divergence(self, number, self.core.event()[4])
        if why == _core.RP_BAD_LOG:
            raise RecordingError(f"event {number} of the recording makes no sense")
        raise ReliveError(f"replay failed at event {number}: {os.strerror(err)}")

    def _dispatch(self, why: int) -> None:
        number, kind, _flags, _nr, serial, result, out, raw_extra = self.core.event()
        extra: dict[str, Any] = json.loads(raw_extra) if raw_extra else {}
        if why == _core.RP_CALL:
            task = self.tasks[serial]
            calls.replay_call(self, task, self.core.call_regs(serial), result, extra)
            after, err, at = self.core.finish_call()
            if after != _core.RP_NEED_CHUNK:
                self._failed(after, err, at)
            return
        if kind == TASK_NEW:
            self._new_task(serial, extra, out)
        elif kind == TASK_EXIT:
            self._end_task(self.tasks[serial], result)
        elif kind == MEMORY:
            self._verify_memory(number, self.tasks[serial], extra)
        elif kind == LANDMARK:
            self._find_landmark(number, self.tasks[serial])
        elif kind == MEMWRITE:
            self._write_shared(extra, out)
        self.core.next()

    # -- events

    def _new_task(self, serial: int, extra: dict[str, Any], out: bytes) -> None:
        if extra["parent"] == 0:
            tid = self.core.spawn(os.fsencode(memory.AGENT_PATH), self.cpu)
            # its exec's exit stop; from there the first image is built like any other
            _core.resume(tid, 24)
            _core.wait(tid)
            task = Task(serial, tid, tid, extra["tid"], extra["tgid"], Space())
            self.tasks[serial] = task
            self.core.add_task(serial, tid)
            self.core.begin_call(serial, 59)
            limit = self.recording.meta.get("stack_limit")
            if isinstance(limit, int):
                self.limit_stack(task, limit & (2**64 - 1))
            return
        task = tasks.create(self, self.tasks[extra["parent"]], serial, extra)
        self.tasks[serial] = task
        self.core.add_task(serial, task.tid)
        _core.setregs(task.tid, self.core.logged_regs(serial))
        if out:
            self.core.apply(serial, out)

    def _end_task(self, task: Task, status: int) -> None:
        self.core.drop_task(task.serial)
        if task.serial == 1:
            self.status = status
        tasks.end(self, task)

    def _verify_memory(self, number: int, task: Task, extra: dict[str, Any]) -> None:
        fd = self.core.mem_fd(task.serial)
        for start, end, expected, *contents in extra["digests"]:
            if contents and contents[0]:
                found = _core.digest_contents(fd, start, end - start)
            else:
                found = _core.digest_memory(task.tid, fd, start, end - start)
            self.verified += 1
            if found != expected:
                raise DivergenceError(
                    number,
                    f"memory {start:#x}-{end:#x} with digest {expected:016x}",
                    f"digest {found:016x}",
                    task=task.serial,
                )

    def _find_landmark(self, number: int, task: Task) -> None:
        from relive.replay import search
        from relive.replay.diagnosis import overshot

        self.landmarks.append(number)
        try:
            if self.plan is None:
                search.find(self, task)
            else:
                self.plan.find(self, number, task)
        except search.Overshot as e:
            raise overshot(self, number, task, e) from e

    def code_moves(self, task: Task, start: int, length: int) -> None:
        """Mappings change there: stubs that would be hit are given up."""
        searcher = task.space.searcher
        if searcher is not None and searcher.overlaps(start, start + length):
            searcher.give_up()
            task.space.searcher = None
        self.searching.code_moves(start, start + length)

    def _write_shared(self, extra: dict[str, Any], out: bytes) -> None:
        from relive.trace.events import decode_out

        key, size = extra["shared"], extra["size"]
        self.objects.resize(key, size, shrink=True)
        for address, data in decode_out(out):
            self.objects.write(key, address, data)


def _replayed(
    recording: Recording,
    echo: bool,
    evaluator: str,
    retries: int,
    reached: Callable[[int], None] | None,
    *,
    statistics: bool,
) -> Session:
    """A replay that went through: the first, or one that found another place for a landmark."""
    session = Session(recording, echo=echo, evaluator=evaluator, statistics=statistics)
    retrier = None
    but: set[int] = set()
    use_index = True
    while True:
        try:
            session.run(reached)
        except DivergenceError as error:
            from relive.replay.retry import Plan, Retrier

            plan = Plan()
            believed = session.searching.believed and retrier is None
            doubted = session.searching.doubted
            if believed and doubted == error.event and not but:
                # It was the count that led astray: the other positions are as good as before.
                but.add(doubted)
                sys.stderr.write(
                    f"relive: note: event {error.event} is not at the position that the recording's"
                    f" index has ({error.found}); replaying again without that position\n"
                )
            elif believed:
                use_index = False
                sys.stderr.write(
                    f"relive: note: event {error.event} differs; replaying again without the"
                    " positions that the recording's index has\n"
                )
            else:
                use_index = False
                if retrier is None:
                    retrier = Retrier(retries)
                if not retrier.again(error, session.landmarks):
                    raise retrier.final(error) from None
                plan = retrier.plan
        else:
            if retrier is not None:
                sys.stderr.write(f"relive: note: {retrier.told() or 'it goes through now'}\n")
            return session
        printed = session.core.echoed()
        session = Session(
            recording,
            echo=echo,
            evaluator=evaluator,
            plan=plan,
            printed=printed,
            use_index=use_index,
            but=but,
            statistics=statistics,
        )


def replay(
    directory: Path,
    *,
    echo: bool = True,
    stats: Literal["", "short", "all"] = "",
    stats_json: Path | None = None,
    evaluator: str = "auto",
    retries: int = 1000,
    reached: Callable[[int], None] | None = None,
) -> ReplayResult:
    """Replays a recording through.

    evaluator: who decides the hits of a landmark: one of search.EVALUATORS.
    echo: what the program wrote to stdout and stderr is written to this process's.
    stats: what it took is told on stderr; all: with every asynchronous event.  stats_json: the
    same goes to this file.
    retries: how often a replay that differs from the recording is made again, with another place
    that fits a landmark, without getting any further.
    reached: called now and then with the number of events done.
    Raises DivergenceError, RecordingError, ReliveError; OSError for stats_json.
    """
    start = time.perf_counter()
    with Recording(directory) as recording:
        wanted = bool(stats or stats_json)
        session = _replayed(recording, echo, evaluator, retries, reached, statistics=wanted)
        result = ReplayResult(
            session.status,
            session.events,
            recording.ended_early,
            time.perf_counter() - start,
            session.verified,
        )
    if stats:
        _tell(session.statistics, result, whole=stats == "all")
    if stats_json is not None:
        totals = {
            "events": result.events,
            "seconds": result.seconds,
            "mappings_compared": result.verified,
            "asynchronous": session.statistics.as_json(),
        }
        stats_json.write_text(json.dumps(totals, indent=1) + "\n")
    return result


def _tell(statistics: Statistics, result: ReplayResult, *, whole: bool) -> None:
    lines = []
    if statistics.landmarks:
        lines += statistics.table(whole=whole)
        lines.append(statistics.text())
    lines += [f"{n} not {reason}" for reason, n in statistics.reasons.items()]
    lines.append(
        f"{result.events} events in {result.seconds:.3f} s, {result.verified} mappings compared"
    )
    sys.stderr.write("".join(f"relive: {line}\n" for line in lines))
