"""Sites patched in, out and around each other; tasks kept where they belong meanwhile."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from iced_x86 import Instruction

from relive.arch import x86_64
from relive.tracee.patching.arenas import HEAP_ROOM, Arenas
from relive.tracee.patching.decode import MAX_INSTRUCTION, Function, analyse, instructions
from relive.tracee.patching.patch import (
    Body,
    CannotPatch,
    Happened,
    Patch,
    Request,
    Trap,
)
from relive.tracee.patching.relocate import CannotRelocate, Copy, refusal, relocate
from relive.tracee.patching.space import ANY
from relive.tracee.patching.target import Registers, Target
from relive.tracee.patching.templates import JUMP_SIZE, Form, Template, templates

__all__ = ["Body", "CannotPatch", "Happened", "Patch", "Patcher", "Request", "Trap"]

_RIP: Final = x86_64.BY_NAME["rip"].index
_RSP: Final = x86_64.BY_NAME["rsp"].index
_RCX: Final = x86_64.BY_NAME["rcx"].index
_ORIG_RAX: Final = x86_64.BY_NAME["orig_rax"].index
_SIGTRAP: Final = 5
_WORD: Final = (1 << 64) - 1
_MAX_REACH: Final = MAX_INSTRUCTION + JUMP_SIZE + 4
_COPY_ROOM: Final = 40
"""Bytes that the copy of one instruction needs at most: a call takes 34 with its literal."""
_WINDOW: Final = 1024
"""Bytes looked at on either side of a site whose function is not known."""


class _Placed(NamedTuple):
    start: int
    end: int
    patch: Patch
    body_size: int
    copy: Copy
    body: Body | None


class Patcher:
    """All patched sites of one address space.

    Every method needs the target as `Target` says; `update` needs besides that every stop
    that was reported has gone through `resolve`.
    """

    def __init__(self, target: Target, *, heap_room: int = HEAP_ROOM) -> None:
        """heap_room: see Arenas."""
        self.target = target
        self.arenas = Arenas(target, heap_room)
        self.learned: set[int] = set()
        """Addresses that turned out to be jumped to: sites patched from now on avoid them."""
        self._sites: dict[int, Patch] = {}
        self._order: list[int] = []
        self._original: dict[int, int] = {}
        self._placed: dict[int, _Placed] = {}
        self._starts: list[int] = []
        self._functions: dict[tuple[int, int], Function] = {}

    # --- looking ---

    def __contains__(self, address: int) -> bool:
        return address in self._sites

    def __getitem__(self, address: int) -> Patch:
        return self._sites[address]

    @property
    def patches(self) -> list[Patch]:
        """All, by address."""
        return [self._sites[a] for a in self._order]

    def read_original(self, addr: int, size: int) -> bytes:
        """Memory as if nothing were patched.  Raises OSError."""
        data = self.target.read(addr, size)
        if not self._original:
            return data
        out = bytearray(data)
        if size <= len(self._original):
            for at in range(size):
                byte = self._original.get(addr + at)
                if byte is not None:
                    out[at] = byte
        else:
            for a, byte in self._original.items():
                if addr <= a < addr + size:
                    out[a - addr] = byte
        return bytes(out)

    def locate(self, rip: int) -> Patch | None:
        """The patch whose stub (or copy) an address is in."""
        placed = self._find(rip)
        return placed.patch if placed else None

    def body_at(self, rip: int) -> tuple[Patch, Body, int] | None:
        """The body that an address is in, its patch, and the offset."""
        placed = self._find(rip)
        if placed is None or placed.body is None or rip - placed.start >= placed.body_size:
            return None
        return placed.patch, placed.body, rip - placed.start

    def present(self, registers: Registers) -> list[int]:
        """The registers that the task would have without patches: to show, not to set."""
        out = list(registers)
        placed = self._find(registers[_RIP])
        if placed is None:
            return out
        offset = registers[_RIP] - placed.start
        if offset < placed.body_size and placed.body is not None:
            out = placed.body.view(offset, registers, self.target)
            out[_RIP] = placed.patch.address
            return out
        step = placed.copy.step_at(offset - placed.body_size) or placed.copy.within(
            offset - placed.body_size
        )
        if step is not None:
            _apply(out, step.original, step.rsp, step.rcx)
        return out

    # --- changing ---

    def update(
        self, add: Iterable[Request] = (), remove: Iterable[int] = ()
    ) -> dict[int, Patch | CannotPatch]:
        """Patches and unpatches sites, at once; the outcome for each of `add`, and for others
        that had to be patched anew beside them and could not be (they are sites no more).

        Tasks inside the code concerned are moved so that they see none of it: each hit is
        still counted exactly once.  Raises KeyError for an unknown address to remove,
        ValueError for one to add that is a site already.
        """
        requests = {r.address: r for r in add}
        removed = set(remove)
        changed = set(requests)
        for address in removed:
            changed.update(self._sites[address].changed)
        affected = self._affected(changed)
        for address in removed:
            affected[address] = self._sites[address]
        for address in requests:
            if address in self._sites and address not in removed:
                raise ValueError(f"{address:#x} is patched already")
        self.arenas.refresh()
        back: dict[int, int] = {}
        for patch in affected.values():
            for a, (original, _) in patch.writes.items():
                back[a] = original
        self._write(back)
        pending: dict[int, int] = {}
        # Highest address first: a pun then relies on bytes that stay.
        plans = [r for a, r in requests.items()]
        plans += [p.request for a, p in affected.items() if a not in removed]
        plans.sort(key=lambda r: -r.address)
        for address in affected:
            self._forget(address)
        made: dict[int, Patch | CannotPatch] = {}
        order = list(self._order)
        planned = dict(self._sites)
        taken: set[int] = set()
        wanted = {r.address for r in plans} | set(order)
        for request in plans:
            following = bisect_right(order, request.address)
            limit = order[following] if following < len(order) else 1 << 64
            # Padding after it may hold the jump of another site.
            for a in range(request.address + 1, min(limit, request.address + _MAX_REACH)):
                if a in taken or a in self._original:
                    limit = a
                    break
            try:
                planned[request.address] = self._plan(
                    request, limit, pending, taken, wanted, order, planned
                )
            except CannotPatch as error:
                made[request.address] = error
                continue
            patch = planned[request.address]
            made[request.address] = patch
            insort(order, request.address)
            for a, (_, written) in patch.writes.items():
                pending[a] = written
                taken.add(a)
        for outcome in made.values():
            if isinstance(outcome, Patch):
                self._remember(outcome)
        self._write(pending)
        self._move()
        for address, old in affected.items():
            successor = made.get(address)
            if isinstance(successor, Patch) and address not in requests:
                self._adopt(old, successor)
        return {
            a: outcome
            for a, outcome in made.items()
            if a in requests or isinstance(outcome, CannotPatch)
        }

    def resolve(self, tid: int, signo: int) -> Trap | None:
        """What a SIGTRAP (of an int3), SIGSEGV, SIGBUS, SIGILL or SIGFPE of a task was; None
        if it has nothing to do with patches.  See `Happened` for where the task is then.

        Unless it is DISPLACED the signal must not be delivered.  For BODY the caller decides.
        """
        registers = self.target.get_registers(tid)
        rip = registers[_RIP]
        at = rip - 1 if signo == _SIGTRAP else rip
        placed = self._find(at)
        if placed is not None:
            offset = at - placed.start
            if offset < placed.body_size:
                return Trap(Happened.BODY, placed.patch, offset)
            step = placed.copy.step_at(offset - placed.body_size)
            if step is None:
                return None
            moved = list(registers)
            _apply(moved, step.original, step.rsp, step.rcx)
            self.target.set_registers(tid, moved)
            return Trap(Happened.DISPLACED, placed.patch, step.original - placed.patch.address)
        patch = self._over(at)
        if patch is None:
            return None
        moved = list(registers)
        if at == patch.address:
            if patch.form is not Form.BREAKPOINT or signo != _SIGTRAP:
                return None
            moved[_RIP] = at
            self.target.set_registers(tid, moved)
            return Trap(Happened.SITE, patch, 0)
        self.learned.add(at)
        moved[_RIP] = self._entry(patch, at)
        self.target.set_registers(tid, moved)
        return Trap(Happened.STRAY, patch, at - patch.address)

    def fork(self, target: Target) -> Patcher:
        """The patcher of a child that `fork` just made: it has the same patches, and its own
        copy of the stubs.  (Bodies are shared, and so is what they count.)"""
        other = Patcher(target, heap_room=self.arenas.heap_room)
        twins = {id(p.patch): p.patch for p in self._placed.values()}
        copies = {
            key: replace(
                patch,
                writes=dict(patch.writes),
                entries=dict(patch.entries),
                passed_over=list(patch.passed_over),
            )
            for key, patch in twins.items()
        }
        other.arenas.inherit(self.arenas)
        other.learned = set(self.learned)
        other._sites = {a: copies[id(patch)] for a, patch in self._sites.items()}
        other._order = list(self._order)
        other._original = dict(self._original)
        other._placed = {
            a: placed._replace(patch=copies[id(placed.patch)]) for a, placed in self._placed.items()
        }
        other._starts = list(self._starts)
        other._functions = dict(self._functions)
        return other

    def unmapped(self, start: int, end: int) -> list[int]:
        """The program unmapped (or mapped anew) this range: sites in it are no more, their
        addresses are returned; nothing is written there."""
        gone = [a for a in self._order if start <= a < end]
        for address in gone:
            self._forget(address)
        for bounds in list(self._functions):
            if bounds[0] < end and start < bounds[1]:
                del self._functions[bounds]
        self.learned = {a for a in self.learned if not start <= a < end}
        return gone

    def release(self) -> bool:
        """Unmaps the stub pages, once nothing is patched; False if a task may still come back
        to them (it is inside, or a signal handler will return there): they stay, harmless.
        """
        if self._sites or self._task_inside():
            return False
        self.arenas.unmap()
        self._placed.clear()
        self._starts.clear()
        return True

    # --- how ---

    def _affected(self, changed: Iterable[int]) -> dict[int, Patch]:
        """Patches that depend on bytes from these addresses on: all begin before them."""
        affected: dict[int, Patch] = {}
        pending = list(changed)
        while pending:
            address = pending.pop()
            if address in self._original and address not in self._sites:
                # Perhaps padding that holds the jump of a site elsewhere.
                for patch in self._sites.values():
                    if address in patch.writes and patch.address not in affected:
                        affected[patch.address] = patch
                        pending += patch.changed
            first = bisect_left(self._order, address - _MAX_REACH)
            for other in self._order[first : bisect_left(self._order, address)]:
                patch = self._sites[other]
                if other not in affected and other + patch.reach > address:
                    affected[other] = patch
                    pending += patch.changed
        return affected

    def _function(self, request: Request) -> Function:
        bounds = request.function
        exact = bounds is not None and bounds[0] <= request.address < bounds[1]
        if bounds is None or not exact:
            bounds = (request.address - _WINDOW, request.address + _WINDOW)
        found = self._functions.get(bounds)
        if found is None:
            found = analyse(self.read_original, *bounds, exact=exact)
            self._functions[bounds] = found
        found.targets |= {a for a in self.learned if found.start <= a < found.end}
        return found

    def _code(self, request: Request) -> list[Instruction]:
        code = list(instructions(self.read_original, request.address, 3 * MAX_INSTRUCTION))
        if not code:
            raise CannotPatch(request.address, "no instruction can be read there")
        why = refusal(code[0])
        if why:
            raise CannotPatch(request.address, why)
        for at, instruction in enumerate(code):
            if refusal(instruction):
                return code[:at]
        return code

    def _plan(
        self,
        request: Request,
        limit: int,
        pending: dict[int, int],
        taken: set[int],
        wanted: set[int],
        order: list[int],
        planned: dict[int, Patch],
    ) -> Patch:
        code = self._code(request)
        function = self._function(request)

        def current(addr: int) -> int:
            byte = pending.get(addr)
            if byte is not None:
                return byte
            try:
                return self.target.read(addr, 1)[0]
            except OSError:
                raise CannotPatch(request.address, "the code after it can't be read") from None

        def hole_free(start: int, end: int) -> bool:
            if any(a in taken or a in self._original or a in wanted for a in range(start, end)):
                return False
            # Nor may the jump of another site rely on these bytes.
            near = order[bisect_left(order, start - _MAX_REACH) : bisect_left(order, end)]
            return not any(site + planned[site].reach > start for site in near)

        passed_over: list[str] = []
        for template in templates(code, function, limit, current, hole_free):
            try:
                patch = self._build(request, template, code[: template.count])
            except (OSError, CannotRelocate) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                passed_over.append(f"{template.form.value}: {why}")
                continue
            patch.passed_over = passed_over
            self._fill_writes(patch, current)
            return patch
        raise CannotPatch(request.address, "; ".join(dict.fromkeys(passed_over)))

    def _build(self, request: Request, template: Template, code: Sequence[Instruction]) -> Patch:
        """Places and writes the stub.  Raises NoRoom, CannotRelocate."""
        site = request.address
        jumps = template.form is not Form.BREAKPOINT
        origin = site + template.jump_at + 4 if jumps else site
        size = len(request.body.assemble(site)[0]) if jumps else 0
        entry = request.body.assemble(site)[1] if jumps else 0
        room = size - entry + _COPY_ROOM * len(code) + JUMP_SIZE
        at = self.arenas.place(origin, template.allowed if jumps else ANY, entry, room)
        stub = at - entry
        try:
            copy = relocate(code, stub + size)
            body = request.body.assemble(stub)[0] if jumps else b""
        except (CannotRelocate, OverflowError) as error:
            self.arenas.give_back(stub, at + room)
            if isinstance(error, OverflowError):
                raise CannotRelocate("the stub is out of reach of what it uses") from None
            raise
        assert len(body) == size, "a body's length does not depend on its address"
        end = stub + size + len(copy.code)
        assert end <= at + room, "the room for copies is enough"
        self.arenas.give_back((end + 7) & ~7, at + room)
        self.target.write(stub, body + bytes(copy.code))
        patch = Patch(request, template, stub, size, copy)
        for step in copy.steps:
            if step.exact and not step.rsp and site <= step.original < site + template.span:
                patch.entries.setdefault(step.original, stub + size + step.start)
        if jumps:
            displacement = (at - origin) & 0xFFFF_FFFF
            patch.writes = dict.fromkeys(
                range(site + template.jump_at, site + template.jump_at + 4), (0, 0)
            )
            for place, a in enumerate(patch.writes):
                patch.writes[a] = (0, displacement >> 8 * place & 0xFF)
        self._place(_Placed(stub, end, patch, size, copy, request.body if jumps else None))
        return patch

    def _fill_writes(self, patch: Patch, current: Callable[[int], int]) -> None:
        """All bytes of the patch: (original, written)."""
        template, site = patch.template, patch.address
        written = {a: byte for a, (_, byte) in patch.writes.items()}
        if template.form is Form.SHORT:
            written[site + template.jump_at - 1] = 0xE9
        for at, byte in enumerate(template.head):
            written[site + at] = byte
        if template.form is not Form.BREAKPOINT:
            # What the jump leaves of the displaced bytes is not to be executed.
            for a in range(site, site + template.span):
                written.setdefault(a, 0xCC)
        patch.writes = {a: (current(a), byte) for a, byte in written.items()}
        if template.form is Form.PUN:
            # The bytes it shares with what follows stay: not written, only relied on.
            for a in list(patch.writes):
                if a >= site + template.span:
                    original, byte = patch.writes.pop(a)
                    assert original == byte, "a pun leaves the following bytes as they are"

    def _write(self, pending: dict[int, int]) -> None:
        run: list[int] = []
        start = 0
        for a in sorted(pending):
            if run and a != start + len(run):
                self.target.write(start, bytes(run))
                run = []
            if not run:
                start = a
            run.append(pending[a])
        if run:
            self.target.write(start, bytes(run))

    def _remember(self, patch: Patch) -> None:
        self._sites[patch.address] = patch
        insort(self._order, patch.address)
        for a, (original, _) in patch.writes.items():
            self._original[a] = original

    def _forget(self, address: int) -> None:
        patch = self._sites.pop(address)
        patch.active = False
        del self._order[bisect_left(self._order, address)]
        for a in patch.writes:
            del self._original[a]

    def _place(self, placed: _Placed) -> None:
        self._placed[placed.start] = placed
        insort(self._starts, placed.start)

    def _find(self, addr: int) -> _Placed | None:
        at = bisect_right(self._starts, addr) - 1
        if at < 0:
            return None
        placed = self._placed[self._starts[at]]
        return placed if addr < placed.end else None

    def _over(self, addr: int) -> Patch | None:
        """The patch whose displaced bytes an address is one of."""
        if addr not in self._original:
            return None
        first = bisect_left(self._order, addr - _MAX_REACH)
        for site in reversed(self._order[first : bisect_right(self._order, addr)]):
            patch = self._sites[site]
            if addr in patch.writes and addr < site + patch.template.span:
                return patch
        return None

    def _entry(self, patch: Patch, addr: int) -> int:
        """Where to run instead of the displaced byte at `addr`: made now if it is not the
        start of a displaced instruction (a jump past a lock prefix)."""
        known = patch.entries.get(addr)
        if known is not None:
            return known
        end = patch.address + patch.template.span
        code: list[Instruction] = []
        for instruction in instructions(self.read_original, addr, 3 * MAX_INSTRUCTION):
            code.append(instruction)
            if instruction.next_ip >= end:
                break
        room = _COPY_ROOM * len(code) + JUMP_SIZE
        self.arenas.refresh()
        at = self.arenas.place(patch.address, ANY, 0, room)
        copy = relocate(code, at)
        self.target.write(at, bytes(copy.code))
        self._place(_Placed(at, at + len(copy.code), patch, 0, copy, None))
        patch.entries[addr] = at
        return at

    def _move(self) -> None:
        """Takes tasks out of stubs no longer in use, and out of bytes now displaced."""
        for tid in self.target.threads():
            registers = self.target.get_registers(tid)
            # In a system call, which the kernel may restart by stepping back from rip.
            if not registers[_ORIG_RAX] >> 63:
                continue
            moved = list(registers)
            placed = self._find(moved[_RIP])
            if placed is not None and not (
                placed.patch.active and placed.start == placed.patch.stub
            ):
                self._leave(moved, placed)
            over = self._over(moved[_RIP])
            if over is not None and moved[_RIP] != over.address:
                moved[_RIP] = self._entry(over, moved[_RIP])
            if moved != list(registers):
                self.target.set_registers(tid, moved)

    def _leave(self, registers: list[int], placed: _Placed) -> None:
        site = placed.patch.address
        offset = registers[_RIP] - placed.start
        if offset < placed.body_size and placed.body is not None:
            registers[:], done = placed.body.rewind(offset, registers, self.target)
            successor = self._sites.get(site)
            registers[_RIP] = successor.resume if done and successor else site
            return
        step = placed.copy.step_at(offset - placed.body_size)
        if step is None:
            return  # between the parts of one instruction: it will come out by itself
        _apply(registers, step.original, step.rsp, step.rcx)
        if step.original == site and site in self._sites:
            # Its hit is counted already.
            registers[_RIP] = self._sites[site].resume

    def _adopt(self, old: Patch, new: Patch) -> None:
        """The patch object that the owner of the site holds stays the same."""
        for name in ("template", "stub", "body_size", "copy", "writes", "entries", "passed_over"):
            setattr(old, name, getattr(new, name))
        old.active = True
        self._sites[old.address] = old
        for start, placed in self._placed.items():
            if placed.patch is new:
                self._placed[start] = placed._replace(patch=old)

    def _task_inside(self) -> bool:
        pages = self.arenas.pages()

        def ours(value: int) -> bool:
            return any(start <= value < end for start, end in pages)

        maps = list(self.target.maps())
        for tid in self.target.threads():
            registers = self.target.get_registers(tid)
            if ours(registers[_RIP]):
                return True
            rsp = registers[_RSP] & ~7
            for m in maps:
                if m.start <= rsp < m.end:
                    try:
                        stack = self.target.read(rsp, min(m.end - rsp, 8 << 20))
                    except OSError:
                        return True
                    if any(ours(w) for w in memoryview(stack[: len(stack) & ~7]).cast("Q")):
                        return True
        return False


def _apply(registers: list[int], original: int, rsp: int, rcx: bool) -> None:
    registers[_RIP] = original
    registers[_RSP] = (registers[_RSP] + rsp) & _WORD
    if rcx:
        registers[_RCX] = original
