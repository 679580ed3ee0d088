"""Sessions: live programs under breakpoints."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from relive import _core
from relive.arch import x86_64
from relive.conditions import ir, reference
from relive.conditions.errors import ConditionError
from relive.conditions.ir import Outcome
from relive.conditions.language import parse
from relive.errors import CannotStart
from relive.live import boundaries, loader, supervised
from relive.live.collected import Collected
from relive.live.errors import CannotArm, CannotAttach, LiveError
from relive.live.events import Event, Executed, Exited, Failed, Forked, Hit, Resolved
from relive.live.facts import Block, Counts, Record
from relive.live.process import Process
from relive.live.request import ORDER, Access, Action, EvaluatorName, Request
from relive.live.site import Armed, Dropping, Mechanism, Site, Wanted
from relive.live.slots import NO_SLOT
from relive.symbols.errors import NotFound, NotYet, SymbolError
from relive.symbols.place import parse as parse_place
from relive.symbols.process import AT_BASE

if TYPE_CHECKING:
    from types import TracebackType

    from relive.conditions.kernel.programs import Programs
    from relive.live.inprocessed import InProcessed
    from relive.live.kernelized import Kernelized
    from relive.symbols.process import Location

_RECORD: Final = struct.Struct("<IIQII")
_FS_BASE: Final = x86_64.BY_NAME["fs_base"].index
_RSP: Final = x86_64.BY_NAME["rsp"].index
_SIGTRAP: Final = 5
_SIGSTOP: Final = 19
_POLL_MS: Final = 50
"""Milliseconds between looks at what other evaluators collected."""


class Session:
    """Processes, sites in them, and what happens there.

    It belongs to the thread that made it, which is the tracer: all methods are called there.
    Close it, or use it in a `with` block: original bytes are put back and the programs run on.

    follow: children that a process forks get the same sites; else they are let go of, unharmed.
    """

    def __init__(self, *, follow: bool = False) -> None:
        self.follow = follow
        self.core = _core.Live(follow)
        self.processes: dict[int, Process] = {}
        self.sites: dict[int, Site] = {}
        self._next_site = 1
        self._by_number: dict[int, Armed] = {}
        self._internal: dict[int, tuple[Process, Callable[[Process, int], None]]] = {}
        self._queue: deque[Event] = deque()
        self._collected = Collected(self._point, self._tids)
        self._told: Hit | None = None
        self._paused = 0
        self._changed = False
        self._programs: Programs | None = None
        self._closed = False
        self._bases: dict[tuple[int, int], int] = {}
        self._kernelized: list[tuple[Armed, Kernelized]] = []
        self._last_poll = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- processes

    def attach(self, pid: int) -> Process:
        """Watch a running process, all its threads.  Raises CannotAttach."""
        try:
            space = self.core.attach(pid)
        except ProcessLookupError:
            raise CannotAttach(f"there is no process {pid}") from None
        except OSError as error:
            raise CannotAttach(
                f"process {pid} can't be traced: {error.strerror}", _why_not(pid)
            ) from None
        return self._enter(Process(self.core, space, pid))

    def start(
        self, argv: Sequence[str], env: dict[str, str] | None = None, *, group: int = 0
    ) -> Process:
        """Start a program, stopped before its first instruction until `run`.

        group: the process group it is to be in, 0 for this process's.
        Raises CannotStart.
        """
        path = shutil.which(argv[0])
        if path is None:
            raise CannotStart(f"{argv[0]} is not a program that can be started")
        environment = dict(os.environ) if env is None else env
        try:
            space, pid = self.core.start(
                os.fsencode(path),
                [os.fsencode(word) for word in argv],
                [os.fsencode(f"{name}={value}") for name, value in environment.items()],
                group,
            )
        except OSError as error:
            raise CannotStart(f"{path} can't be started: {error.strerror}") from None
        return self._enter(Process(self.core, space, pid, started=True), fresh=True)

    def _enter(self, process: Process, *, fresh: bool = False) -> Process:
        self.processes[process.space] = process
        try:
            with self._pause():
                self._meet(process, fresh=fresh)
        except OSError as error:
            if not isinstance(error, ProcessLookupError):
                self.processes.pop(process.space, None)
                self.core.detach(process.space)
            raise CannotAttach(f"process {process.pid}: {error.strerror or error}") from None
        return process

    def _meet(self, process: Process, *, fresh: bool) -> None:
        """A process appeared, or executed another program."""
        process.refresh()
        process.many_threads = len(process.threads()) > 1
        address = loader.notification(process)
        if address:
            self._watch(process, address, self._libraries)
        if fresh and (entry := loader.entry(process)):
            process.early = bool(process.symbols.auxiliary(AT_BASE))
            self._watch(process, entry, self._began)
        for site in self.sites.values():
            self._place(site, process)

    def _watch(
        self, process: Process, address: int, then: Callable[[Process, int], None]
    ) -> int | None:
        """An internal breakpoint; its number, None when there can't be one."""
        try:
            number = self.core.arm(
                process.space, supervised.CODE, address, 1, None, True, 1, (), True, *NO_SLOT
            )
        except OSError:
            return None
        self._internal[number] = (process, then)
        return number

    def _point(self, process: Process, address: int) -> Callable[[], None] | None:
        """A breakpoint where a call returns to; what takes it away."""
        with self._pause():
            number = supervised.internal(process, address)
        if number is None:
            return None
        self._internal[number] = (process, self._at_return)

        def disarm() -> None:
            if self._internal.pop(number, None) is not None and not self._closed:
                with self._pause():
                    self.core.disarm(number)

        return disarm

    def _at_return(self, process: Process, tid: int) -> None:
        try:
            registers = _core.getregs(tid)
        except OSError:
            return  # killed meanwhile
        self._collected.returns.at_point(process, tid, registers)

    def _at_own_return(self, armed: Armed, process: Process, tid: int) -> None:
        """A return that has no room for a stub, of a function whose calls stubs collect."""
        try:
            registers = _core.getregs(tid)
        except OSError:
            return  # killed meanwhile
        self._take_records(process)
        self._returned_here(process, armed, registers)

    def _libraries(self, process: Process, tid: int) -> None:
        """The dynamic linker says that libraries came or went."""
        if loader.consistent(process):
            process.early = False
            self._look_again(process)

    def _began(self, process: Process, tid: int) -> None:
        """The program's first instruction: the dynamic linker's work is done."""
        process.early = False
        self._look_again(process, force=True)
        for number, (owner, then) in list(self._internal.items()):
            if owner is process and then == self._began:
                del self._internal[number]
                self.core.disarm(number)

    def _look_again(self, process: Process, *, force: bool = False) -> None:
        try:
            changed = process.refresh()
        except OSError:
            return
        if not changed and not force:
            return
        self._drop_unloaded(process)
        waiting = [site for site in self.sites.values() if process.pid in site.pending]
        if waiting:
            with self._pause():
                for site in waiting:
                    before = len(site.armed)
                    self._place(site, process)
                    made = tuple(site.armed[before:])
                    if made:
                        self._queue.append(Resolved(process, site, made))

    def _drop_unloaded(self, process: Process) -> None:
        """Sites in files that are not mapped any more wait for the file to come back."""
        gone = [
            armed
            for armed in process.armed
            if armed.wanted.module is not None
            and armed.wanted.module not in process.symbols.modules
        ]
        if not gone:
            return
        with self._pause():
            for armed in gone:
                if isinstance(armed.mechanism, Dropping):
                    armed.mechanism.drop()
                self._disarm(armed)
                armed.site.waits(process.pid, f"{armed.name}: the library was unloaded")

    # -- sites

    def add(
        self,
        place: str,
        when: str = "",
        action: Action | None = None,
        *,
        evaluator: EvaluatorName | Literal["auto"] = "auto",
        access: Access = Access.EXECUTE,
        size: int = 8,
    ) -> Site:
        """Arm a site at a place (relive.symbols.place), in all processes.

        when: a condition (docs/conditions.md); symbols stand for their addresses.
        evaluator: auto takes the cheapest one that can have the site.
        A place that is not there yet is pending, until a library brings it.
        Raises SymbolError, ParseError, and CannotArm when no evaluator can have it.
        """
        request = Request(place, when, action or Action(), evaluator, access, size)
        return self.add_all([request])[0]

    def add_all(self, requests: Sequence[Request]) -> list[Site]:
        """As `add`, many at once, which costs less.  When one raises, none is armed."""
        for request in requests:
            parse_place(request.place)
        made: list[Site] = []
        try:
            for request in requests:
                site = Site(self._next_site, request)
                self._next_site += 1
                self.sites[site.number] = site
                made.append(site)
            # Names are looked up while the program runs: that may take its time.
            prepared = [
                (process, self._prepare(made, process, raising=True))
                for process in self.processes.values()
            ]
            with self._pause():
                for process, wanted in prepared:
                    if process.space in self.processes:
                        self._place_all(process, wanted)
        except BaseException:
            for site in made:
                self.remove(site)
            raise
        return made

    def remove(self, site: Site) -> None:
        """Disarm a site; its counts stay."""
        self.sites.pop(site.number, None)
        site.pending.clear()
        with self._pause():
            for armed in site.armed:
                self._disarm(armed)

    def _disarm(self, armed: Armed) -> None:
        if not armed.active:
            return
        armed.active = False
        self._take_records(armed.process)
        self._drain()
        try:
            armed.mechanism.disarm()
            for number in armed.return_breakpoints:
                if self._internal.pop(number, None) is not None:
                    self.core.disarm(number)
        except ProcessLookupError:
            pass
        self._take_records(armed.process)  # a thread that was in a stub may have finished one
        self._collected.returns.forget(armed.process, armed)
        if armed in armed.process.armed:
            armed.process.armed.remove(armed)
        self._kernelized = [entry for entry in self._kernelized if entry[0] is not armed]
        self._changed = True

    def _place(self, site: Site, process: Process) -> None:
        """Arm a site in a process that appeared, or changed."""
        try:
            self._place_all(process, self._prepare([site], process, raising=False))
        except (LiveError, SymbolError) as error:
            self._queue.append(Failed(process, site, str(error)))

    def _prepare(
        self, sites: list[Site], process: Process, *, raising: bool
    ) -> list[tuple[Site, Wanted]]:
        """Where sites belong in a process; those that do not yet are pending."""
        wanted: list[tuple[Site, Wanted]] = []
        for site in sites:
            try:
                wanted += [(site, one) for one in self._wanted(site.request, process)]
            except (NotFound, NotYet) as error:
                site.waits(process.pid, str(error))
                continue
            except ConditionError as error:
                if raising and process.symbols.modules and self._settled(process):
                    raise
                site.waits(process.pid, str(error))
                continue
            site.pending.pop(process.pid, None)
        return wanted

    def _place_all(self, process: Process, wanted: list[tuple[Site, Wanted]]) -> None:
        failures: list[CannotArm] = []
        for site, one, outcome, passed in self._arm(process, wanted):
            if isinstance(outcome, str):
                failures.append(
                    CannotArm(f"{one.location.name} ({one.address:#x}) can't be armed", passed)
                )
                continue
            armed = Armed(site, process, one, outcome, passed)
            site.armed.append(armed)
            process.armed.append(armed)
            self._register(armed)
        if failures:
            raise failures[0]

    def _settled(self, process: Process) -> bool:
        """Whether the program has begun, so that its libraries are there."""
        return all(
            then != self._began for owner, then in self._internal.values() if owner is process
        )

    def _wanted(self, request: Request, process: Process) -> list[Wanted]:
        condition = parse(request.when, process.names) if request.when else ir.TRUE
        collect = tuple(parse(value, process.names) for value in request.action.collect)
        at_return = tuple(parse(value, process.names) for value in request.action.at_return)
        result: list[Wanted] = []
        for location in process.symbols.resolve(request.place, early=process.early):
            if any(one.address == location.address for one in result):
                continue
            if any(
                armed.address == location.address
                for armed in process.armed
                if armed.wanted.request is request
            ):
                continue  # of another file that was there before
            if request.access is Access.EXECUTE and not process.symbols.is_code(location.address):
                raise SymbolError(
                    f"{location.name} ({location.address:#x}) is not code",
                    "watch data with a write or access site",
                )
            described = process.symbols.describe(location.address)
            symbol, module = described.symbol, described.module
            function = None
            if symbol is not None and module is not None and symbol.is_function and symbol.size:
                start = module.bias + symbol.value
                function = (start, start + symbol.size)
                self._check_boundary(request, location, function, process)
            if at_return and (symbol is None or not symbol.is_function or described.offset):
                raise SymbolError(
                    f"{location.name} ({location.address:#x}) is not where a function begins",
                    "only from there can its return be seen",
                )
            result.append(
                Wanted(request, location, condition, collect, function, module, at_return)
            )
        return result

    @staticmethod
    def _check_boundary(
        request: Request, location: Location, function: tuple[int, int], process: Process
    ) -> None:
        """Refuse an address in the middle of an instruction, where that is known and matters."""
        if request.evaluator == "kernel" or location.address == function[0]:
            return  # a debug register does no harm: it is never hit
        begins = boundaries.inside(process.read, function, location.address)
        if begins is not None:
            raise SymbolError(
                f"{location.name} ({location.address:#x}) is inside of an instruction",
                f"it begins {location.address - begins} bytes before, at {begins:#x}",
            )

    def _arm(
        self, process: Process, wanted: list[tuple[Site, Wanted]]
    ) -> Iterator[tuple[Site, Wanted, Mechanism | str, dict[str, str]]]:
        """Arm by the first evaluator that can; in-process ones together."""
        inside: dict[int, InProcessed | str] = {}
        first = [
            one
            for _, one in wanted
            if one.request.evaluator in ("auto", "inprocess")
            and one.request.access is Access.EXECUTE
        ]
        taken = {armed.address for armed in process.armed if armed.active}
        unique: dict[int, Wanted] = {}
        for one in first:
            if one.address not in taken:
                unique.setdefault(one.address, one)
        if unique:
            inside = self._inprocess(process, list(unique.values()))
        for site, one in wanted:
            passed: dict[str, str] = {}
            outcome: Mechanism | str = "no evaluator was tried"
            for name in ORDER if one.request.evaluator == "auto" else (one.request.evaluator,):
                if name == "inprocess":
                    if one.request.access is not Access.EXECUTE:
                        outcome = "it watches code, not data"
                    elif unique.get(one.address) is one:
                        outcome = inside[one.address]
                    else:
                        outcome = "there is a site already"
                else:
                    outcome = self._arm_by(name, process, one)
                if not isinstance(outcome, str):
                    break
                passed[name] = outcome
            yield site, one, outcome, passed

    def _inprocess(self, process: Process, wanted: list[Wanted]) -> dict[int, InProcessed | str]:
        try:
            from relive.live import inprocessed
        except ImportError as error:
            return {one.address: f"not installed: {error}" for one in wanted}
        try:
            outcome: dict[int, InProcessed | str] = dict(inprocessed.arm(process, wanted))
        except (OSError, ValueError) as error:
            return {one.address: str(error) for one in wanted}
        for tid in process.threads():
            self._note_thread(process, tid)
        return outcome

    def _arm_by(self, name: str, process: Process, one: Wanted) -> Mechanism | str:
        if name == "supervisor":
            return supervised.arm(process, one)
        try:
            from relive.live import kernelized
        except ImportError as error:
            return f"not available: {error}"
        if self._programs is None:
            self._programs = kernelized.programs()
        if name == "kernel":
            return kernelized.arm_breakpoint(process, one, self._programs)
        return kernelized.arm_uprobe(process, one, self._programs)

    def _register(self, armed: Armed) -> None:
        mechanism = armed.mechanism
        if isinstance(mechanism, supervised.Supervised):
            self._by_number[mechanism.number] = armed
        elif mechanism.name == "inprocess":
            self._collected.register(armed)
            for number in armed.return_breakpoints:
                self._internal[number] = (armed.process, partial(self._at_own_return, armed))
        elif mechanism.name in ("kernel", "uprobe"):
            self._kernelized.append((armed, mechanism))  # type: ignore[arg-type]
        self._changed = True

    def _foreign(self) -> None:
        """Tell the core which traps belong to other evaluators."""
        self._changed = False
        ranges = []
        signals = 0
        for process in self.processes.values():
            if process.has_inprocess:
                process.sync_guard()
                ranges += process.arenas.pages()
                ranges += process.patched()
        if self._kernelized:
            signals = 1 << _SIGTRAP | 1 << _SIGSTOP
        self.core.foreign(signals, (), ranges)
        inside = any(process.has_inprocess for process in self.processes.values())
        self.core.report(self.follow or inside, inside)

    # -- running

    def run(self, timeout: float | None = None) -> Event | None:
        """Let everything run until there is something to tell; None after `timeout` seconds.

        A thread that an event told of goes on with the next `run`.  Returns at once with None
        when no process is left.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if self._told is not None:
            told, self._told = self._told, None
            more = (event for event in self._queue if isinstance(event, Hit))
            if all(event.tid != told.tid for event in more):
                self._resume(told.tid)
        while not self._queue:
            if not self.processes:
                return None
            wait = -1
            if end is not None:
                wait = max(0, int((end - time.monotonic()) * 1000))
                if not wait:
                    return None
            if self._polls():
                wait = _POLL_MS if wait < 0 else min(wait, _POLL_MS)
            raw = self.core.run(wait)
            if raw is not None:
                self._translate(raw)
            if self._polls() and time.monotonic() - self._last_poll > _POLL_MS / 2000:
                self._last_poll = time.monotonic()
                for process in list(self.processes.values()):
                    self._take_records(process)
        event = self._queue.popleft()
        if isinstance(event, Hit):
            self._told = event
        return event

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events until no process is left, or for `timeout` seconds in all."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            event = self.run(left)
            if event is None:
                return
            yield event

    def records(self) -> list[Record]:
        """What was collected since the last call."""
        return [record for block in self.blocks() for record in block.records()]

    def blocks(self) -> list[Block]:
        """The same as columns, for millions of them."""
        for process in list(self.processes.values()):
            self._take_records(process)
        self._drain()
        return self._collected.take()

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """All threads stopped, and whatever they had stopped for dealt with."""
        if self._closed:
            yield
            return
        self._paused += 1
        try:
            if self._paused == 1:
                self.core.pause()
                while (raw := self.core.settle()) is not None:
                    self._translate(raw)
            yield
        finally:
            self._paused -= 1
            if self._changed and not self._closed:
                self._foreign()
            if self._paused == 0 and not self._closed:
                self.core.unpause()

    paused = _pause

    def _resume(self, tid: int, signo: int = 0) -> None:
        try:
            self.core.resume(tid, signo)
        except ProcessLookupError:
            pass  # killed meanwhile: its end is told

    def _polls(self) -> bool:
        return bool(self._kernelized) or any(p.has_inprocess for p in self.processes.values())

    # -- what the core tells

    def _translate(self, raw: tuple[Any, ...]) -> None:
        match raw[0]:
            case _core.LIVE_HIT:
                self._on_hit(raw[1], raw[3], raw[4], raw[5])
            case _core.LIVE_TRAP:
                self._on_trap(*raw[1:])
            case _core.LIVE_DRAIN:
                self._drain()
            case _core.LIVE_EXIT:
                self._on_exit(raw[2], raw[3], raw[4])
            case _core.LIVE_EXEC:
                self._on_exec(*raw[1:])
            case _core.LIVE_FORK:
                self._on_fork(raw[1], raw[2], raw[3], raw[4])
            case _core.LIVE_THREAD:
                self._on_thread(raw[1], raw[3])
            case _core.LIVE_EMPTY:
                self.processes.clear()

    def _on_hit(
        self, tid: int, space: int, address: int, hits: tuple[tuple[int, ...], ...]
    ) -> None:
        process = self.processes.get(space)
        told = False
        for number, outcome, hit, candidate, why, fault in hits:
            if number in self._internal:
                owner, then = self._internal[number]
                then(owner, tid)
                continue
            armed = self._by_number.get(number)
            if armed is None or process is None or not armed.active:
                continue
            self._drain()
            reason = ""
            if outcome == Outcome.UNDECIDED:
                reason = f"memory at {fault:#x} can't be read" if why == 14 else "division by zero"
            if armed.wanted.at_return:
                told = self._on_call(armed, tid, hit) or told
                continue
            told = self._tell(armed, tid, Outcome(outcome), hit, candidate, reason) or told
        if not told:
            self._resume(tid)

    def _on_call(self, armed: Armed, tid: int, hit: int) -> bool:
        """A hit of the supervisor's, at a site that collects at returns; whether it is told."""
        try:
            registers = _core.getregs(tid)
        except OSError:
            return False
        outcome, reason = self._call(armed, tid, Outcome.MATCH, hit, "", registers)
        number = armed.counts().candidates
        action = armed.wanted.request.action
        if outcome is Outcome.UNDECIDED or (
            outcome is Outcome.MATCH and action.stop and number >= action.stop_at
        ):
            return self._tell(armed, tid, outcome, hit, number, reason, registers)
        return False

    def _call(
        self, armed: Armed, tid: int, outcome: Outcome, hit: int, reason: str, regs: Sequence[int]
    ) -> tuple[Outcome, str]:
        """A call at a site that collects at returns; what its condition says, and why not.

        outcome: of the evaluator, which had no condition if threads stop at each call.
        """
        if outcome is Outcome.MATCH and not armed.collects_returns:
            outcome, reason = self._decide(armed, regs, hit)
            armed.late[outcome] += outcome is not Outcome.MATCH
        stack = regs[_RSP]
        if outcome is not Outcome.MATCH:
            thread = regs[_FS_BASE] if armed.collects_returns else tid
            self._collected.returns.passed(armed.process, thread, stack)
            return outcome, reason
        values = self._values(armed, regs, hit)
        if armed.collects_returns:
            self._collected.returns.entered(armed, regs[_FS_BASE], stack, tid, hit, values)
        else:
            self._collected.returns.expect(armed, tid, hit, regs, values)
        return outcome, reason

    def _tell(
        self,
        armed: Armed,
        tid: int,
        outcome: Outcome,
        hit: int,
        candidate: int,
        fault: str = "",
        registers: Sequence[int] | None = None,
    ) -> bool:
        """Queue a hit whose thread is held; False when the thread is gone."""
        if registers is None:
            try:
                registers = _core.getregs(tid)
            except OSError:
                return False
        values = self._values(armed, registers, hit)
        self._queue.append(
            Hit(armed.process, tid, armed.site, armed, outcome, hit, candidate, registers,
                values, fault)
        )  # fmt: skip
        return True

    def _values(self, armed: Armed, registers: Sequence[int], hit: int) -> tuple[int | None, ...]:
        values: list[int | None] = []
        for expr in armed.wanted.collect:
            try:
                values.append(reference.value(expr, registers, self._reader(armed), hit))
            except reference.Undecided:
                values.append(None)
        return tuple(values)

    @staticmethod
    def _reader(armed: Armed) -> reference.Read:
        return armed.process.read

    # -- other evaluators' stops

    def _on_trap(
        self, tid: int, pid: int, space: int, signo: int, code: int, address: int, data: int
    ) -> None:
        process = self.processes.get(space)
        if process is not None:
            for armed, mechanism in self._kernelized:
                if armed.process is process and (told := mechanism.take_stop(tid)):
                    self._on_kernel_stop(armed, mechanism, tid, told.hit, told.why.name)
                    return
            if process.has_inprocess and self._on_stub(process, tid, signo):
                return
        self._resume(tid, 0 if signo == _SIGSTOP and code != 0 else signo)

    def _on_kernel_stop(
        self, armed: Armed, mechanism: Kernelized, tid: int, hit: int, why: str
    ) -> None:
        try:
            registers = mechanism.registers_at(_core.getregs(tid))
        except OSError:
            return
        if why == "COLLECT":
            # The ring was full: this one's values are taken here.
            self._take_records(armed.process)
            self._collected.keep(armed, tid, hit, self._values(armed, registers, hit))
            self._resume(tid)
            return
        outcome, reason = Outcome.MATCH, ""
        if why == "UNDECIDED":
            outcome, reason = self._decide(armed, registers, hit)
            if outcome is Outcome.REJECT:
                mechanism.decided_rejected += 1
            elif outcome is Outcome.MATCH:
                mechanism.decided_candidates += 1
        if why == "CANDIDATE" and armed.wanted.appended:
            self._take_records(armed.process)  # the program has collected its values
        self._candidate(armed, tid, outcome, hit, reason, registers, kept=why == "CANDIDATE")

    def _candidate(
        self,
        armed: Armed,
        tid: int,
        outcome: Outcome,
        hit: int,
        reason: str,
        registers: Sequence[int],
        *,
        kept: bool = False,
    ) -> None:
        """What to do with a decided stop of another evaluator.

        kept: it has collected the values itself.
        """
        action = armed.wanted.request.action
        if armed.wanted.at_return:
            outcome, reason = self._call(armed, tid, outcome, hit, reason, registers)
        elif outcome is Outcome.MATCH and armed.wanted.collect and not kept:
            self._collected.keep(armed, tid, hit, self._values(armed, registers, hit))
        if outcome is Outcome.REJECT:
            self._resume(tid)
            return
        number = armed.counts().candidates
        if outcome is Outcome.UNDECIDED or (action.stop and number >= action.stop_at):
            self._tell(armed, tid, outcome, hit, number, reason, registers)
        else:
            self._resume(tid)

    def _decide(self, armed: Armed, registers: Sequence[int], hit: int) -> tuple[Outcome, str]:
        """A hit that the evaluator could not decide."""
        process = armed.process

        def read(address: int, size: int) -> bytes:
            if not any(
                m.start <= address and address + size <= m.end and m.prot & 1
                for m in process.symbols.maps
            ):
                process.symbols.refresh()
            return process.read(address, size)

        try:
            value = reference.value(armed.wanted.condition, registers, read, hit)
        except reference.Undecided as error:
            return Outcome.UNDECIDED, str(error)
        return (Outcome.MATCH if value else Outcome.REJECT), ""

    def _on_stub(self, process: Process, tid: int, signo: int) -> bool:
        """A trap or fault in or around in-process code; whether it was one."""
        from relive.conditions.inprocess import evaluator
        from relive.tracee.patching import Happened

        try:
            trap = process.patcher.resolve(tid, signo)
            if trap is None:
                return False
            if trap.what is Happened.DISPLACED:
                self._resume(tid, signo)
                return True
            found = process.inprocess.trap(tid, trap)
        except OSError:
            return True  # killed meanwhile
        if isinstance(found, evaluator.RingFull):
            self._take_records(process)
        elif isinstance(found, evaluator.Hit):
            self._on_stub_hit(process, tid, found)
            return True
        self._resume(tid)
        return True

    def _on_stub_hit(self, process: Process, tid: int, found: Any) -> None:
        armed = next(
            (a for a in process.armed if getattr(a.mechanism, "site", None) is found.site), None
        )
        self._take_records(process)  # before what is collected from the stopped thread
        if armed is None and (owner := self._owner_of_return(process, found.site)):
            self._returned_here(process, owner, found.registers)
        if armed is None:
            self._resume(tid)
            return
        mechanism: InProcessed = armed.mechanism  # type: ignore[assignment]
        hit = found.hit
        outcome, reason = found.outcome, ""
        if outcome is Outcome.UNDECIDED:
            outcome, reason = self._decide(armed, found.registers, hit)
            if outcome is Outcome.REJECT:
                mechanism.decided_rejected += 1
            elif outcome is Outcome.MATCH:
                mechanism.decided_candidates += 1
        mechanism.stopped()
        self._candidate(armed, tid, outcome, hit, reason, found.registers)

    @staticmethod
    def _owner_of_return(process: Process, site: Any) -> Armed | None:
        """Whose function returns at a site in the process."""
        for armed in process.armed:
            if site in armed.returns:
                return armed
        return None

    def _returned_here(self, process: Process, armed: Armed, registers: Sequence[int]) -> None:
        """A return whose values the stub could not read."""
        values: list[int | None] = []
        for expr in armed.wanted.at_return:
            try:
                values.append(reference.value(expr, registers, process.read, 0))
            except reference.Undecided:
                values.append(None)
        self._collected.returns.returned(
            process, registers[_FS_BASE], registers[_RSP], tuple(values)
        )

    # -- processes coming and going

    def _on_exit(self, pid: int, space: int, status: int) -> None:
        process = self.processes.get(space)
        if process is None or process.pid != pid:
            return  # a vfork child that ended
        self._take_records(process)
        self._drain()
        self._forget(process)
        self._queue.append(Exited(pid, status))

    def _forget(self, process: Process) -> None:
        """The process, or its memory, is gone: what was armed there keeps its counts."""
        self.processes.pop(process.space, None)
        for number, (owner, _) in list(self._internal.items()):
            if owner is process:
                del self._internal[number]
        for armed in process.armed:
            armed.active = False
            mechanism = armed.mechanism
            if hasattr(mechanism, "keep"):
                mechanism.keep()
            else:
                try:
                    mechanism.disarm()
                except OSError:
                    pass
        process.armed.clear()
        self._collected.returns.forget(process)
        self._kernelized = [entry for entry in self._kernelized if entry[0].active]
        for site in self.sites.values():
            site.pending.pop(process.pid, None)
        self._foreign()

    def _on_exec(self, tid: int, pid: int, space: int, old_space: int) -> None:
        old = self.processes.get(old_space)
        if old is not None and old.pid == pid:
            self._take_records(old)
            self._forget(old)
        elif not self.follow:
            self.core.detach(space)
            return
        process = Process(self.core, space, pid, started=old is not None and old.started)
        self.processes[space] = process
        try:
            with self._pause():
                self._meet(process, fresh=True)
        except OSError:
            self.processes.pop(space, None)
            return  # killed meanwhile
        self._queue.append(Executed(process))
        self._resume(tid)

    def _on_fork(self, tid: int, pid: int, space: int, parent: int) -> None:
        process = Process(self.core, space, pid)
        origin = next((p for p in self.processes.values() if p.pid == parent), None)
        try:
            if origin is not None and origin.has_inprocess:
                self._clean_copy(origin, process)
            if not self.follow:
                self.core.detach(space)
                return
            self.processes[space] = process
            with self._pause():
                self._meet(process, fresh=False)
        except OSError:
            self.processes.pop(space, None)
            return
        self._queue.append(Forked(process, parent))
        self._resume(tid)

    def _clean_copy(self, origin: Process, child: Process) -> None:
        """Take the in-process sites out of a fork's memory; their counters are the parent's."""
        child.symbols.refresh()
        child.calls_refused()
        copy = origin.patcher.fork(child.target)
        copy.update(remove=[patch.address for patch in copy.patches])
        copy.release()

    def _on_thread(self, tid: int, space: int) -> None:
        process = self.processes.get(space)
        if process is not None and process.has_inprocess:
            process.many_threads = True
            process.inprocess.several_tasks(True)
            self._note_thread(process, tid)
        self._resume(tid)

    # -- records

    def _drain(self) -> None:
        """What the core's sites collected."""
        data = self.core.drain()
        at = 0
        while at < len(data):
            number, tid, hit, count, invalid = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            values = struct.unpack_from(f"<{count}Q", data, at)
            at += 8 * count
            armed = self._by_number.get(number)
            if armed is not None:
                shown = tuple(
                    None if invalid >> index & 1 else value for index, value in enumerate(values)
                )
                self._collected.keep(armed, tid, hit, shown)

    def _take_records(self, process: Process) -> None:
        """What other evaluators' sites of a process collected."""
        for armed, mechanism in self._kernelized:
            if armed.process is process and (found := mechanism.columns()):
                tids, hits, values = found
                self._collected.add([armed] * len(hits), tids, hits, values)
        if process.has_inprocess:
            self._collected.from_stubs(process)

    def _tids(self, process: Process, bases: Sequence[int]) -> list[int]:
        """Threads by their thread pointers, 0 for those not known."""
        if not process.many_threads:
            return [process.pid] * len(bases)
        known = {base: self._thread_of(process, base) for base in set(bases)}
        return [known[base] for base in bases]

    def _thread_of(self, process: Process, base: int) -> int:
        """The thread with a thread pointer; 0 when it is not known."""
        if not process.many_threads:
            return process.pid
        if (process.space, base) not in self._bases:
            with self._pause():
                for tid in process.threads():
                    self._note_thread(process, tid)
        return self._bases.get((process.space, base), 0)

    def _note_thread(self, process: Process, tid: int) -> None:
        """Which thread pointer a stopped thread has: stubs record that, not the thread's id."""
        try:
            self._bases[process.space, _core.getregs(tid)[_FS_BASE]] = tid
        except OSError:
            pass

    # -- the end

    def counts(self) -> dict[int, Counts]:
        """Of all sites, by number; exact while everything is paused."""
        return {number: site.counts() for number, site in self.sites.items()}

    def detach(self, *, stopped: bool = False) -> None:
        """Put everything back and let all processes go.

        stopped: they are left stopped, as by SIGSTOP.
        """
        if self._closed or not self.processes:
            return
        self._told = None
        with self._pause():
            for process in list(self.processes.values()):
                self._take_records(process)
                for armed in list(process.armed):
                    self._disarm(armed)
                if process.has_inprocess:
                    try:
                        process.inprocess.close()
                    except OSError:
                        pass
                process.release()
            self._drain()
            self.core.detach(0, stopped)
            for process in self.processes.values():
                process.finish()
            self.processes.clear()

    def close(self) -> None:
        """Detach, and give everything back."""
        if self._closed:
            return
        try:
            self.detach()
        finally:
            self._closed = True
            self.core.close()
            if self._programs is not None:
                self._programs.close()


def _why_not(pid: int) -> str:
    """What may be said about a process that can't be traced."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("TracerPid:") and int(line.split()[1]):
                    return f"process {line.split()[1]} traces it already"
    except (OSError, ValueError):
        pass
    return "it must be yours, and /proc/sys/kernel/yama/ptrace_scope must allow it"
