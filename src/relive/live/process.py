"""One process of a session: its symbols, its memory, and what is armed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from relive.live import slots
from relive.live.target import LiveTarget
from relive.symbols.errors import SymbolError
from relive.symbols.process import VDSO, ProcessSymbols
from relive.symbols.unwind import Unwinder
from relive.tracee.maps import PROT_EXEC, PROT_READ

if TYPE_CHECKING:
    from relive import _core
    from relive.conditions.inprocess.evaluator import InProcess
    from relive.live.site import Armed
    from relive.tracee.patching import Arenas, Patcher

_SYSCALL = b"\x0f\x05"


class Process:
    """A traced process: an address space with its threads.

    pid: process id.  space: what the C core calls it.  started: whether relive started it.
    armed: sites in it.  many_threads: there has been more than one thread.
    early: it has been executed just now, its libraries are not loaded yet.
    """

    def __init__(self, core: _core.Live, space: int, pid: int, *, started: bool = False) -> None:
        self.core = core
        self.space = space
        self.pid = pid
        self.started = started
        self.symbols = ProcessSymbols(pid, self.read)
        self.unwinder = Unwinder(self.symbols)
        self.armed: list[Armed] = []
        self.many_threads = False
        self.early = False
        self.target = LiveTarget(self)
        self._patcher: Patcher | None = None
        self._inprocess: InProcess | None = None
        self._gadget_known = False
        self._guards: dict[tuple[int, bytes, bytes], int] = {}
        self._slots: dict[tuple[int, bytes], slots.Slot] = {}
        self.closing: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Process {self.pid}>"

    # -- memory and threads

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes as the program has them, without breakpoints.  Raises OSError."""
        if self._patcher is not None:
            return self._patcher.read_original(address, size)
        return self.core.read(self.space, address, size)

    def threads(self) -> list[int]:
        """Its threads, and those of a vfork child that still shares the memory."""
        return [tid for tid, _, space, _ in self.core.tasks() if space == self.space]

    def calls_refused(self) -> str | None:
        """Why the process can't be made to execute system calls; None when it can."""
        try:
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("Seccomp:") and line.split()[1] != "0":
                    # A filter may answer a call it does not expect by killing the process.
                    return "the process has a seccomp filter"
        except OSError as error:
            return str(error)
        return None if self._gadget() else "no system-call instruction is mapped"

    def shadow_stack(self) -> bool:
        """Whether the process keeps its return addresses twice (CET, Linux 6.6): only the
        processor can execute its calls and returns then."""
        try:
            text = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        features = text.partition("x86_Thread_features:")[2].partition("\n")[0]
        return "shstk" in features.split()

    def _gadget(self) -> bool:
        """Find a system-call instruction for calls that the process is made to execute."""
        if self._gadget_known:
            return True
        for mapping in sorted(self.symbols.maps, key=lambda m: m.name != f"[{VDSO}]"):
            if not mapping.prot & PROT_EXEC or not mapping.prot & PROT_READ:
                continue
            if mapping.name == "[vsyscall]":
                continue
            try:
                code = self.core.read(self.space, mapping.start, mapping.size)
            except OSError:
                continue
            at = code.find(_SYSCALL)
            if at >= 0:
                self.core.set_gadget(self.space, mapping.start + at)
                self._gadget_known = True
                return True
        return False

    def refresh(self) -> bool:
        """Look at the mappings again; whether modules came or went.  Raises OSError."""
        changed = self.symbols.refresh()
        self._gadget()
        return changed

    # -- room in the process, made when it is needed first

    @property
    def patcher(self) -> Patcher:
        if self._patcher is None:
            from relive.tracee.patching import Patcher

            self._patcher = Patcher(self.target)
        return self._patcher

    @property
    def arenas(self) -> Arenas:
        return self.patcher.arenas

    @property
    def inprocess(self) -> InProcess:
        if self._inprocess is None:
            from relive.conditions.inprocess.evaluator import InProcess

            self._inprocess = InProcess(self.target, self.patcher)
        return self._inprocess

    @property
    def has_inprocess(self) -> bool:
        return self._inprocess is not None

    @property
    def has_patcher(self) -> bool:
        return self._patcher is not None

    def slot(self, address: int) -> slots.Slot:
        """A copy of the instruction at an address, NO_SLOT when there can be none.

        The session is paused.
        """
        if self.calls_refused():
            return slots.NO_SLOT
        try:
            code = self.read_code(address)
            if (address, code) in self._slots:
                return self._slots[address, code]
            if not self.arenas.pages():
                self.arenas.refresh()
            made = slots.make(self.arenas, address, code)
            if made is None:
                return slots.NO_SLOT
            self.target.write(made[0].address, made[1])
        except (ImportError, OSError):
            return slots.NO_SLOT
        self._slots[address, code] = made[0]
        return made[0]

    def read_code(self, address: int, size: int = 16) -> bytes:
        """Up to `size` bytes: fewer at the end of a mapping.  Raises OSError for none."""
        try:
            return self.read(address, size)
        except OSError:
            left = -address % 4096
            if not 0 < left < size:
                raise
            return self.read(address, left)

    def sync_guard(self) -> None:
        """Tell the guardian which bytes in-process sites have changed now."""
        wanted: set[tuple[int, bytes, bytes]] = set()
        if self._patcher is not None:
            for patch in self._patcher.patches:
                wanted.update(_stretches(patch.changes))
        for key in self._guards.keys() - wanted:
            self.core.unguard(self._guards.pop(key))
        for key in wanted - self._guards.keys():
            address, written, original = key
            self._guards[key] = self.core.guard(self.space, address, written, original)

    def patched(self) -> list[tuple[int, int]]:
        """Where in-process sites have changed the code: start and end of each stretch."""
        if self._patcher is None:
            return []
        return [
            (start, start + len(written))
            for patch in self._patcher.patches
            for start, written, _ in _stretches(patch.changes)
        ]

    def release(self) -> None:
        """Give back what was mapped into the process, as far as no thread may come back to it.

        Nothing is armed any more, and the session is paused.
        """
        if self._patcher is not None:
            try:
                self._patcher.release()
            except OSError:
                pass  # it is gone
            self._patcher = None
            self._slots.clear()

    def finish(self) -> None:
        """Wait for what is still being closed."""
        for wait in self.closing:
            wait()
        self.closing.clear()

    @cached_property
    def names(self) -> Mapping[str, int]:
        """Symbols as names in conditions: their addresses."""
        return _SymbolNames(self.symbols)


def _stretches(writes: dict[int, tuple[int, int]]) -> Iterator[tuple[int, bytes, bytes]]:
    """Address, bytes written and original bytes of each run of changed bytes, 16 at most."""
    start, written, original = 0, bytearray(), bytearray()
    for address in sorted(writes):
        if written and (address != start + len(written) or len(written) == 16):
            yield start, bytes(written), bytes(original)
            written, original = bytearray(), bytearray()
        if not written:
            start = address
        original.append(writes[address][0])
        written.append(writes[address][1])
    if written:
        yield start, bytes(written), bytes(original)


class _SymbolNames(Mapping[str, int]):
    def __init__(self, symbols: ProcessSymbols) -> None:
        self._symbols = symbols

    def __getitem__(self, name: str) -> int:
        try:
            return self._symbols.resolve(name)[0].address
        except SymbolError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(())  # too many to list

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True  # whoever has a choice takes it for names
