"""Sites patched in, out and around each other; tasks kept where they belong meanwhile."""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from iced_x86 import FlowControl, Instruction

from relive.arch import x86_64
from relive.tracee.patching.arenas import Arenas, NoRoom
from relive.tracee.patching.chain import MAX_BYTES, MAX_LINKS, Link, Search, Solution
from relive.tracee.patching.decode import (
    MAX_INSTRUCTION,
    Function,
    analyse,
    instructions,
    is_system_call,
    is_terminator,
)
from relive.tracee.patching.patch import (
    Body,
    CannotPatch,
    Happened,
    Nothing,
    Patch,
    Request,
    Trap,
)
from relive.tracee.patching.relocate import CannotRelocate, Copy, refusal, relocate
from relive.tracee.patching.space import ANY, Allowed
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
    landing: bool = False
    """It is only a jump to the stub: nothing of the site has been done yet."""


@dataclass(slots=True)
class _Update:
    """What one call of `update` is about to do."""

    wanted: set[int]
    """Addresses that are sites, or are to be."""
    affected: dict[int, Patch]
    """Sites that were patched before and are planned anew."""
    pending: dict[int, int] = field(default_factory=dict)
    """Bytes to write."""
    made: dict[int, Patch | CannotPatch] = field(default_factory=dict)
    doors: dict[int, int] = field(default_factory=dict)
    """Where the long jumps of SHORT sites were, and their sites."""


class Patcher:
    """All patched sites of one address space.

    Every method needs the target as `Target` says; `update` needs besides that every stop
    that was reported has gone through `resolve`.

    short: sites may have Form.SHORT.  A task can be between its two jumps, where neither the
    original code nor a stub is: no signal may be delivered to it there.
    """

    def __init__(self, target: Target, *, short: bool = False) -> None:
        self.target = target
        self._short = short
        self.arenas = Arenas(target)
        self.learned: set[int] = set()
        """Addresses that turned out to be jumped to: sites patched from now on avoid them."""
        self._sites: dict[int, Patch] = {}
        self._order: list[int] = []
        self._original: dict[int, int] = {}
        self._writers: dict[int, Patch] = {}
        self._users: dict[int, set[int]] = {}
        """By address of a byte: sites whose patches change it, or rely on it."""
        self._doors: dict[int, int] = {}
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
        """All sites, by address."""
        return [self._sites[a] for a in self._order]

    def users(self, addr: int) -> list[Patch]:
        """The sites that need the byte at an address to be what it is now."""
        return [self._sites[a] for a in sorted(self._users.get(addr, ()))]

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
            out[_RIP] = self._doors.get(registers[_RIP], registers[_RIP])
            return out
        if placed.landing:
            out[_RIP] = placed.patch.address
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
            changed.update(self._sites[address].changes)
        affected = self._affected(changed)
        for address in removed:
            affected[address] = self._sites[address]
        for address in requests:
            if address in self._sites and address not in removed:
                raise ValueError(f"{address:#x} is patched already")
        self.arenas.refresh()
        back: dict[int, int] = {}
        for patch in affected.values():
            for a, (original, _) in patch.changes.items():
                back[a] = original
        self._write(back)
        # Highest address first: a pun then relies on bytes that stay.
        plans = list(requests.values())
        # What is a site stays one, if need be as a breakpoint.
        plans += [
            p.request._replace(breakpoint=True) for a, p in affected.items() if a not in removed
        ]
        plans.sort(key=lambda r: -r.address)
        state = _Update({r.address for r in plans} | set(self._order), affected)
        for address, patch in affected.items():
            if patch.door:
                state.doors[patch.door] = address
            self._forget(address)
        for request in plans:
            try:
                patch = self._plan(request, state)
            except CannotPatch as error:
                state.made[request.address] = error
                continue
            self._add(patch, state)
        self._write(state.pending)
        self._move(state.doors)
        for address, old in affected.items():
            successor = state.made.get(address)
            if isinstance(successor, Patch) and address not in requests:
                self._adopt(old, successor)
        return {
            a: outcome
            for a, outcome in state.made.items()
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
        other = Patcher(target, short=self._short)
        twins = {id(p.patch): p.patch for p in self._placed.values()}
        copies = {
            key: replace(
                patch,
                writes=dict(patch.writes),
                entries=dict(patch.entries),
                passed_over=list(patch.passed_over),
                places=list(patch.places),
            )
            for key, patch in twins.items()
        }
        for patch in copies.values():
            patch.owner = copies.get(id(patch.owner), patch.owner)
            patch.helpers = [copies[id(helper)] for helper in patch.helpers]
        other.arenas.inherit(self.arenas)
        other.learned = set(self.learned)
        other._sites = {a: copies[id(patch)] for a, patch in self._sites.items()}
        other._order = list(self._order)
        other._original = dict(self._original)
        other._writers = {a: copies[id(patch)] for a, patch in self._writers.items()}
        other._doors = dict(self._doors)
        other._users = {a: set(users) for a, users in self._users.items()}
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
        """Patches that depend on the bytes at these addresses."""
        affected: dict[int, Patch] = {}
        pending = list(changed)
        while pending:
            for site in self._users.get(pending.pop(), ()):
                if site not in affected:
                    affected[site] = self._sites[site]
                    pending += affected[site].changes
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

    def _limit(self, address: int) -> int:
        """First address behind a site that belongs to another one."""
        following = bisect_right(self._order, address)
        limit = self._order[following] if following < len(self._order) else 1 << 64
        # An instruction after it may have been moved for another one.
        for a in range(address + 1, min(limit, address + _MAX_REACH)):
            if a in self._original:
                return a
        return limit

    def _plan(self, request: Request, state: _Update) -> Patch:
        code = self._code(request)
        function = self._function(request)

        def current(addr: int) -> int:
            byte = state.pending.get(addr)
            if byte is not None:
                return byte
            try:
                return self.target.read(addr, 1)[0]
            except OSError:
                raise CannotPatch(request.address, "the code after it can't be read") from None

        def hole_free(start: int, end: int) -> bool:
            # Nor may the jump of another site rely on these bytes.
            return not any(a in self._users or a in state.wanted for a in range(start, end))

        passed_over: list[str] = []
        limit = self._limit(request.address)
        forms = list(templates(code, function, limit, current, hole_free))
        jumps = [t for t in forms if t.form in (Form.JUMP, Form.PUN)]
        last = [t for t in forms if t.form is Form.BREAKPOINT and request.breakpoint]
        # A jump to the stub, a jump to a jump to the stub; with help of the next instructions.
        attempts: list[tuple[Template, bool] | None] = [(t, False) for t in jumps]
        attempts += [(t, True) for t in jumps]
        attempts += [(t, False) for t in forms if t.form is Form.SHORT and self._short]
        attempts += [None] if code[0].next_ip <= limit else []
        attempts += [(t, False) for t in last]
        for attempt in attempts:
            if attempt is None:
                patch = self._chain(request, function, state, current)
                if patch is None:
                    passed_over.append("no jump of the next instructions makes room for one")
                    continue
                patch.passed_over = passed_over
                return patch
            template, lands = attempt
            try:
                patch = self._build(request, template, code[: template.count], lands)
            except (OSError, CannotRelocate) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                passed_over.append(f"{template.form.value}: {why}")
                continue
            patch.passed_over = passed_over
            self._fill_writes(patch, current)
            return patch
        raise CannotPatch(
            request.address,
            "; ".join(dict.fromkeys(passed_over)) or "no form of jump fits there",
        )

    def _build(
        self, request: Request, template: Template, code: Sequence[Instruction], lands: bool
    ) -> Patch:
        """Places and writes the stub; lands: what the site jumps to is only a jump to it.
        Raises NoRoom, CannotRelocate."""
        site = request.address
        if template.form is Form.BREAKPOINT:
            return self._stub(request, template, code, site, ANY)
        origin = site + template.jump_at + 4
        if lands:
            landing = self.arenas.land(origin, template.allowed, JUMP_SIZE)
            if landing is None:
                raise NoRoom(errno.ENOMEM, "no free memory where the jump could reach")
            patch = self._landed(request, template, code, landing)
        else:
            patch = self._stub(request, template, code, origin, template.allowed)
        entry = patch.landing or patch.stub + request.body.assemble(site)[1]
        displacement = (entry - origin) & 0xFFFF_FFFF
        jump = range(site + template.jump_at, site + template.jump_at + 4)
        patch.writes = {a: (0, displacement >> 8 * at & 0xFF) for at, a in enumerate(jump)}
        return patch

    def _landed(
        self, request: Request, template: Template, code: Sequence[Instruction], landing: int
    ) -> Patch:
        """A stub anywhere, and the jump to it from memory that was taken for that.  Raises
        NoRoom, CannotRelocate; the memory is given back then."""
        site = request.address
        # Within reach of both.
        near = site if abs(landing - site) < 1 << 30 else (site + landing) // 2
        try:
            patch = self._stub(request, template, code, near, ANY)
        except (OSError, CannotRelocate):
            self.arenas.give_back(landing, landing + JUMP_SIZE)
            raise
        entry = patch.stub + request.body.assemble(site)[1]
        displacement = entry - (landing + JUMP_SIZE)
        assert -(1 << 31) <= displacement < 1 << 31, "a stub is in reach of its landing"
        self.target.write(landing, b"\xe9" + displacement.to_bytes(4, "little", signed=True))
        patch.landing = landing
        self._place(_Placed(landing, landing + JUMP_SIZE, patch, 0, Copy(), None, True))
        return patch

    def _stub(
        self,
        request: Request,
        template: Template,
        code: Sequence[Instruction],
        origin: int,
        allowed: Allowed,
    ) -> Patch:
        """Body (none for a breakpoint) and copy, at an address whose displacement is allowed.
        Raises NoRoom, CannotRelocate."""
        site = request.address
        jumps = template.form is not Form.BREAKPOINT
        size = len(request.body.assemble(site)[0]) if jumps else 0
        entry = request.body.assemble(site)[1] if jumps else 0
        room = size - entry + _COPY_ROOM * len(code) + JUMP_SIZE
        at = self.arenas.place(origin, allowed, entry, room)
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
        self._place(_Placed(stub, end, patch, size, copy, request.body if jumps else None))
        return patch

    # --- with help of the next instructions: see chain.py ---

    def _chain(
        self,
        request: Request,
        function: Function,
        state: _Update,
        current: Callable[[int], int],
    ) -> Patch | None:
        """A patch for which the instructions after the site's are moved, too; it may make sites
        among them anew."""
        code: list[Instruction] = []
        replaced: set[int] = set()
        for instruction in instructions(
            self.read_original, request.address, MAX_LINKS * MAX_INSTRUCTION
        ):
            if (
                len(code) == MAX_LINKS
                or instruction.next_ip + JUMP_SIZE - 1 > request.address + MAX_BYTES
                or not self._movable(instruction, code, function)
            ):
                return None
            if code and instruction.ip in self._sites:
                replaced.add(instruction.ip)
            code.append(instruction)
            if not code[1:] or not self._only_used_by(replaced, code):
                continue
            back = {
                a: original
                for site in replaced
                for a, (original, _) in self._sites[site].changes.items()
            }
            search = Search(
                lambda a, back=back: back[a] if a in back else current(a),  # type: ignore[misc]
                lambda origin, allowed, low: self.arenas.land(origin, allowed, JUMP_SIZE, low),
                lambda landing: self.arenas.give_back(landing, landing + JUMP_SIZE),
                lambda origin, allowed: self.arenas.can_land(origin, allowed, JUMP_SIZE),
            )
            links = [Link(i.ip, i.len) for i in code]
            for solution in search.solutions(links):
                made = self._linked(request, code, solution)
                if made is not None:
                    return self._chained(made, replaced, state)
        return None

    def _movable(
        self, instruction: Instruction, before: Sequence[Instruction], function: Function
    ) -> bool:
        """Whether an instruction may become a link behind others."""
        ip = instruction.ip
        if any(a in function.targets for a in range(ip + 1, instruction.next_ip)):
            return False
        if not before:
            return True
        # Behind a jump there may be anything, unless it is known to be jumped to, or padding.
        if is_terminator(before[-1]) and not (ip in function.targets or function.in_hole(ip)):
            return False
        # Behind a call as well, if it does not return; but not inside a function.  (What is called
        # through a pointer does.)
        last = before[-1]
        returns = not is_system_call(last) and last.flow_control != FlowControl.CALL
        if not (returns or function.holds(ip)):
            return False
        return not is_system_call(instruction) and refusal(instruction) is None

    def _only_used_by(self, sites: set[int], code: Sequence[Instruction]) -> bool:
        """Whether these bytes may change, and all that these sites have changed."""
        addresses = set(range(code[1].ip, code[-1].next_ip))
        for site in sites:
            if self._sites[site].door:
                return False
            addresses.update(self._sites[site].changes)
        return all(self._users.get(a, set()) <= sites for a in addresses)

    def _linked(
        self, request: Request, code: Sequence[Instruction], solution: Solution
    ) -> list[Patch] | None:
        """Patches for the links; None if a stub can't be made, with all memory given back."""
        made: list[Patch] = []
        for instruction, head, landing in zip(code, solution.heads, solution.landings, strict=True):
            if instruction.ip == request.address:
                wanted = request
            elif instruction.ip in self._sites:
                wanted = self._sites[instruction.ip].request
            else:
                wanted = Request(instruction.ip, Nothing())
            size = instruction.len
            form = Form.JUMP if size >= len(head) + 4 else Form.PUN
            template = Template(form, 1, size, head, (None,) * 4, len(head))
            try:
                patch = self._landed(wanted, template, [instruction], landing)
            except (OSError, CannotRelocate):
                for done in made:
                    self._discard(done)
                for rest in solution.landings[len(made) + 1 :]:
                    self.arenas.give_back(rest, rest + JUMP_SIZE)
                return None
            original = self.read_original(instruction.ip, size)
            for a, byte in enumerate(original, instruction.ip):
                patch.writes[a] = (byte, solution.written.get(a, 0xCC))
            jump_end = instruction.ip + len(head) + 4
            patch.relied = tuple(range(instruction.next_ip, jump_end))
            made.append(patch)
        return made

    def _chained(self, made: list[Patch], replaced: set[int], state: _Update) -> Patch:
        """Puts the links into place; the first, which is the site's, is returned."""
        first = made[0]
        for address in replaced:
            old = self._sites[address]
            fresh = state.made.get(address) is old
            self._forget(address)
            for a, (original, _) in old.changes.items():
                state.pending[a] = original
            if fresh:  # it never was in place
                for patch in (old, *old.helpers):
                    self._discard(patch)
            else:
                state.affected[address] = old
        for patch in made[1:]:
            if patch.address in replaced:
                self._add(patch, state)
            else:
                patch.owner = first
                first.helpers.append(patch)
        return first

    def _add(self, patch: Patch, state: _Update) -> None:
        """A site that was planned: the plans of others from now on see its bytes."""
        state.made[patch.address] = patch
        self._remember(patch)
        for a, (_, written) in patch.changes.items():
            state.pending[a] = written

    def _discard(self, patch: Patch) -> None:
        """Gives back the memory of a patch that never was in place."""
        for start in patch.places:
            placed = self._placed.pop(start)
            del self._starts[bisect_left(self._starts, start)]
            self.arenas.give_back(placed.start, placed.end)

    def _fill_writes(self, patch: Patch, current: Callable[[int], int]) -> None:
        """All bytes of the patch: (original, written)."""
        template, site = patch.template, patch.address
        written = {a: byte for a, (_, byte) in patch.writes.items()}
        if template.form is Form.SHORT:
            written[patch.door] = 0xE9
        for at, byte in enumerate(template.head):
            written[site + at] = byte
        if template.form is not Form.BREAKPOINT:
            # What the jump leaves of the displaced bytes is not to be executed.
            for a in range(site, site + template.span):
                written.setdefault(a, 0xCC)
        patch.writes = {a: (current(a), byte) for a, byte in written.items()}
        if template.form is Form.PUN:
            # The bytes it shares with what follows stay: not written, only relied on.
            patch.relied = tuple(a for a in patch.writes if a >= site + template.span)
            for a in patch.relied:
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
        for part in (patch, *patch.helpers):
            for a, (original, _) in part.writes.items():
                self._original[a] = original
                self._writers[a] = part
        for a in patch.bytes_used:
            self._users.setdefault(a, set()).add(patch.address)
        if patch.door:
            self._doors[patch.door] = patch.address

    def _forget(self, address: int) -> None:
        patch = self._sites.pop(address)
        del self._order[bisect_left(self._order, address)]
        for part in (patch, *patch.helpers):
            part.active = False
            for a in part.writes:
                del self._original[a], self._writers[a]
        for a in patch.bytes_used:
            self._users[a].discard(address)
            if not self._users[a]:
                del self._users[a]
        if patch.door:
            del self._doors[patch.door]

    def _place(self, placed: _Placed) -> None:
        self._placed[placed.start] = placed
        insort(self._starts, placed.start)
        placed.patch.places.append(placed.start)

    def _find(self, addr: int) -> _Placed | None:
        at = bisect_right(self._starts, addr) - 1
        if at < 0:
            return None
        placed = self._placed[self._starts[at]]
        return placed if addr < placed.end else None

    def _over(self, addr: int) -> Patch | None:
        """The patch whose displaced bytes an address is one of."""
        patch = self._writers.get(addr)
        if patch is None or not patch.address <= addr < patch.address + patch.template.span:
            return None
        return patch

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

    def _move(self, doors: dict[int, int]) -> None:
        """Takes tasks out of stubs no longer in use, from between the two jumps of SHORT sites
        (doors: where those were), and out of bytes now displaced."""
        for tid in self.target.threads():
            registers = self.target.get_registers(tid)
            # In a system call, which the kernel may restart by stepping back from rip.
            if not registers[_ORIG_RAX] >> 63:
                continue
            moved = list(registers)
            moved[_RIP] = doors.get(moved[_RIP], moved[_RIP])
            placed = self._find(moved[_RIP])
            if placed is not None and not (
                placed.patch.active and placed.start in (placed.patch.stub, placed.patch.landing)
            ):
                self._leave(moved, placed)
            over = self._over(moved[_RIP])
            if over is not None and moved[_RIP] != over.address:
                moved[_RIP] = self._entry(over, moved[_RIP])
            if moved != list(registers):
                self.target.set_registers(tid, moved)

    def _leave(self, registers: list[int], placed: _Placed) -> None:
        site = placed.patch.address
        if placed.landing:
            registers[_RIP] = site
            return
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
        if step.original == site and site in self._sites and placed.patch.owner is None:
            # Its hit is counted already.
            registers[_RIP] = self._sites[site].resume

    def _adopt(self, old: Patch, new: Patch) -> None:
        """The patch object that the owner of the site holds stays the same."""
        for name in (
            *("template", "stub", "body_size", "copy", "writes", "entries", "passed_over"),
            *("landing", "helpers", "relied"),
        ):
            setattr(old, name, getattr(new, name))
        old.active = True
        old.places += new.places
        self._sites[old.address] = old
        for helper in old.helpers:
            helper.owner = old
        for a in old.writes:
            self._writers[a] = old
        for start in new.places:
            self._placed[start] = self._placed[start]._replace(patch=old)

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
