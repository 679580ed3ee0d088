"""What `relive break` does: arm, tell of candidates, save records, say what came of it."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

from relive.cli.hitfiles import Sink, sink
from relive.cli.tell import flush, put, tell
from relive.conditions.ir import Outcome
from relive.errors import ReliveError
from relive.live.events import Event, Executed, Exited, Failed, Forked, Hit, Resolved
from relive.live.facts import Block, Counts
from relive.live.names import signed
from relive.live.request import Action, Request
from relive.live.session import Session
from relive.live.shapes import WORD, Shape
from relive.live.site import Armed, Site
from relive.live.worker import Interrupted

_SLICE: float = 0.1
"""Seconds after which what was collected is shown."""


@dataclass
class Watch:
    """A command line, understood.

    requests: the sites, their values at the same places.  count: end at this candidate of a site.
    """

    requests: Sequence[Request]
    pid: int | None = None
    program: Sequence[str] = ()
    printing: bool = True
    backtrace: bool = False
    count: int | None = None
    seconds: float | None = None
    follow: bool = False
    stop: bool = False
    stats: bool = False
    output: str | None = None
    quiet: bool = False
    status: int | None = field(default=None, init=False)


def names(action: Action) -> list[str]:
    """What the values of a record are called."""
    return [*action.collect, *(f"{text} at return" for text in action.at_return)]


def columns(requests: Sequence[Request]) -> tuple[list[str], list[bool]]:
    """Names of the values of records, and whether they are known to be signed before anything
    is armed.  Raises ParseError."""
    lists = [names(request.action) for request in requests]
    longest = max(lists, key=len)
    if any(one != longest for one in lists):
        return [f"value{at + 1}" for at in range(len(longest))], [False] * len(longest)
    return longest, [signed(text) for text in requests[0].action.kept]


def watch(job: Watch, group: int) -> int | None:
    """Do it; the wait status of the program that was started, None when it still runs.

    group: the process group for it.
    """
    started = time.monotonic()
    saving = sink(job.output, *columns(job.requests)) if job.output else None
    with Session(follow=job.follow) as session:
        if job.pid is not None:
            session.attach(job.pid)
        else:
            session.start(job.program, group=group)
        watching = _Watching(job, session, saving)
        sites = session.add_all(job.requests)
        if not job.quiet:
            for site in sites:
                watching.introduce(site)
        end = None if job.seconds is None else time.monotonic() + job.seconds
        try:
            while not watching.done and session.processes:
                left = _SLICE if end is None else min(_SLICE, end - time.monotonic())
                if left <= 0:
                    break
                event = session.run(left)
                watching.show_records()
                if event is not None:
                    watching.take(event)
        except Interrupted as error:
            watching.interrupted = str(error)
        session.detach(stopped=job.stop)
        watching.show_records()
        for site in sites:
            if not site.armed and site.told != site.waited:
                tell(f"warning: {site.request.place} was never armed: {site.waited}")
        if saving is not None:
            saving.close()
        if job.stats:
            watching.statistics(time.monotonic() - started)
        flush()
    if not job.program or job.status is not None:
        return job.status
    if watching.interrupted:
        raise Interrupted(watching.interrupted)
    return None if job.stop else os.waitpid(watching.main, 0)[1]


class _Watching:
    def __init__(self, job: Watch, session: Session, saving: Sink | None) -> None:
        self.job = job
        self.saving = saving
        self.session = session
        self.done = False
        self.interrupted = ""
        self.main = next(iter(session.processes.values())).pid
        self._shown: dict[Armed, int] = {}

    # -- what is armed

    def introduce(self, site: Site) -> None:
        for armed in site.armed:
            self._introduce(armed)
        for why in site.pending.values():
            tell(f"{site.request.place}: waiting ({why})")

    def _introduce(self, armed: Armed) -> None:
        place, name = armed.site.request.place, armed.name
        shown = place if place in (name, f"{armed.address:#x}") else f"{place} ({name})"
        note = armed.wanted.location.note
        text = f"{shown} at {armed.address:#x}, decided by {_WHO[armed.evaluator]}"
        tell(f"{text}; {note}" if note else text)
        for evaluator, why in armed.passed_over.items():
            tell(f"  not by {_WHO[evaluator]}: {why}")

    # -- what happens

    def take(self, event: Event) -> None:
        match event:
            case Hit():
                self._hit(event)
            case Exited(pid, status):
                if pid == self.main:
                    self.job.status = status
                    if not self.job.follow:
                        self.done = True
                if not self.job.quiet:
                    tell(f"process {pid} {_ended(status)}")
            case Executed(process):
                if not self.job.quiet:
                    tell(f"process {process.pid} executes another program")
            case Forked(process, parent):
                if not self.job.quiet:
                    tell(f"process {parent} forked {process.pid}")
            case Resolved(_, _, armed):
                if not self.job.quiet:
                    for one in armed:
                        self._introduce(one)
            case Failed(process, site, why):
                tell(f"warning: {site.request.place} in process {process.pid}: {why}")

    def _hit(self, hit: Hit) -> None:
        if hit.outcome is Outcome.UNDECIDED:
            tell(f"warning: {hit.armed.name}: hit {hit.hit} can't be decided: {hit.fault}")
            return
        job = self.job
        if job.backtrace:
            if not job.printing:
                shapes = hit.armed.wanted.shapes
                row = [one.number(v) for one, v in zip(shapes, hit.values, strict=False)]
                self._print(hit.armed, hit.tid, hit.hit, row)
            for number, frame in enumerate(hit.backtrace()):
                put(f"  #{number:<2} {frame.text()}\n")
            flush()
        if job.count is not None and hit.candidate >= job.count:
            self.done = True

    def show_records(self) -> None:
        """Print and save what was collected since."""
        for block in self.session.blocks():
            if self.job.count is not None:
                block = self._first(block)
            if not len(block):
                continue
            values = numbers(block)
            if self.job.printing:
                rows = zip(*values, strict=True) if values else repeat((), len(block))
                for armed, tid, hit, row in zip(
                    block.armed, block.tids, block.hits, rows, strict=True
                ):
                    self._print(armed, tid, hit, row)
                flush()
            if self.saving is not None:
                try:
                    self.saving.put(block, values, self._signs(len(values)))
                except OSError as error:
                    raise ReliveError(f"hits can't be saved: {error.strerror}") from None

    def _first(self, block: Block) -> Block:
        """Not more of an address than were asked for."""
        keep = []
        for at, armed in enumerate(block.armed):
            number = self._shown[armed] = self._shown.get(armed, 0) + 1
            if self.job.count is None or number <= self.job.count:
                keep.append(at)
        return block if len(keep) == len(block) else block.rows(keep)

    def _signs(self, count: int) -> list[bool]:
        """Which of so many values are signed numbers at some site."""
        signs = [False] * count
        for site in self.session.sites.values():
            for armed in site.armed:
                for at, one in enumerate(armed.wanted.shapes[:count]):
                    signs[at] |= one.signed
        return signs

    def _print(self, armed: Armed, tid: int, hit: int, row: Sequence[int | None]) -> None:
        request = armed.wanted.request
        words = [f"{request.place} hit {hit}", f"thread {tid or '?'}"]
        # At a stop, what a function will return is not known yet.
        shapes = armed.wanted.shapes
        for name, one, value in zip(names(request.action), shapes, row, strict=False):
            words.append(f"{name}={one.text(value)}")
        put(" ".join(words) + "\n")

    # -- the end

    def statistics(self, seconds: float) -> None:
        """Print counts, a line for each address."""
        rows: list[tuple[str, ...]] = [("place", "evaluator", *Counts._fields)]
        total = Counts()
        for site in self.session.sites.values():
            for armed in site.armed:
                counts = armed.counts()
                total += counts
                rows.append((armed.name, armed.evaluator, *map(str, counts)))
            for why in site.pending.values():
                rows.append((site.request.place, "pending", why, *[""] * (len(Counts._fields) - 1)))
        widths = [max(len(row[at]) for row in rows) for at in range(2)]
        for row in rows:
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            cells += [cell.rjust(12) for cell in row[2:]]
            put("  ".join(cells).rstrip() + "\n")
        put(f"{total.hits} hits in {seconds:.3f} s, {total.hits / seconds:.0f} a second\n")


def numbers(block: Block) -> list[Sequence[int | None]]:
    """The columns of a block, with words read as signed numbers where they are."""
    kinds = {one.wanted.shapes for one in set(block.armed)}
    result: list[Sequence[int | None]] = []
    for at, column in enumerate(block.columns):
        shapes: set[Shape] = {one[at] if at < len(one) else WORD for one in kinds}
        signs = {one.signed for one in shapes}
        if signs == {False}:
            result.append(column)
        elif len(signs) > 1:
            rows = zip(block.armed, column, strict=True)
            result.append([armed.wanted.shapes[at].number(value) for armed, value in rows])
        elif isinstance(column, array):
            result.append(array("q", column.tobytes()))
        else:
            (one, *_) = shapes
            result.append([one.number(value) for value in column])
    return result


_WHO = {
    "inprocess": "a stub in the process",
    "uprobe": "the kernel (uprobe)",
    "kernel": "the kernel (hardware breakpoint)",
    "supervisor": "the supervisor",
}


def _ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by signal {os.WTERMSIG(status)}"
    return f"ended with exit status {os.WEXITSTATUS(status)}"
