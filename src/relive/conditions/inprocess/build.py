"""Stubs made: what runs at an in-process site, around the code of its condition."""

from __future__ import annotations

from collections.abc import Sequence

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess import asm
from relive.conditions.inprocess.asm import Assembler, Label, Mem, Rip
from relive.conditions.inprocess.lower_x86 import EFLAGS, HELPER, Frame, Lowering
from relive.conditions.inprocess.shared import (
    CANDIDATES,
    HITS,
    LOST,
    STOP_AT,
    UNDECIDED,
    Counters,
    RingAddresses,
)
from relive.conditions.inprocess.stub import (
    MAX_FRAME,
    RECORD_HEADER,
    Collect,
    Count,
    Flags,
    Point,
    State,
    Stop,
    Stub,
    TooComplex,
)


def build(
    condition: ir.Expr,
    action: Stop | Count | Collect,
    *,
    site: int,
    site_id: int,
    counters: Counters,
    ring: RingAddresses | None = None,
    red_zone: int = x86_64.RED_ZONE,
    threads_have_bases: bool = True,
    numbered: bool = False,
) -> Stub:
    """Makes the stub.

    site_id: what records name the site by, less than 2**31.
    red_zone: bytes below the stack pointer that the program uses: 128, 0 for Go code.
    threads_have_bases: rdfsbase may be executed; else records have 0 for the thread.
    numbered: the number of the hit is known at a stop (Stub.hit), though other tasks count, too.
    Raises TooComplex.
    """
    frame: Frame | None = None
    used: set[int] = set()
    slots = 0
    literals: list[int] = []
    while True:
        builder = _Builder(
            condition, action, site, site_id, counters, ring, threads_have_bases, frame, literals,
            numbered,
        )  # fmt: skip
        # A register that is saved is read from the frame, which may need one more register:
        # until nothing is new.
        builder.low.used |= used
        stub = builder.build()
        used = builder.low.used
        slots = max(slots, builder.low.max_slots)
        found = builder.next_frame(red_zone, slots)
        if found.size - red_zone > MAX_FRAME:
            raise TooComplex(
                f"the condition needs {found.size - red_zone} bytes of stack in the program; "
                f"{MAX_FRAME} are allowed"
            )
        if found == frame and literals == list(builder.literals):
            return stub
        frame = found
        literals = list(builder.literals)


class _Builder:
    """One pass over a stub.  The first finds out what the frame has to hold."""

    def __init__(
        self,
        condition: ir.Expr,
        action: Stop | Count | Collect,
        site: int,
        site_id: int,
        counters: Counters,
        ring: RingAddresses | None,
        bases: bool,
        frame: Frame | None = None,
        literals: Sequence[int] = (),
        numbered: bool = False,
    ) -> None:
        self.condition = condition
        self.action = action
        self.site_id = site_id
        self.counters = counters
        self.ring = ring
        self.bases = bases
        self.numbered = numbered
        self.values = action.values if isinstance(action, Collect) else ()
        self.record_size = 8 * (RECORD_HEADER + len(self.values))
        expressions = [condition, *self.values]
        self.need_hits = any(map(ir.uses_hits, expressions)) or isinstance(action, Collect)
        self.need_hits |= numbered
        self.need_flags = any(EFLAGS in ir.registers(e) for e in expressions)
        if frame is None:
            # Everything there might be, so that every access is as long as it can get.
            frame = Frame({asm.RAX: 0}, 1, 2, 3, 8192)
        self.frame = frame
        self.out = Assembler()
        self.literals = self.out.pool(literals)
        self.low = Lowering(self.out, frame, expressions, site)
        if self.low.divides:
            self.low.used.add(asm.RDX)
        self.state = State()
        self.states: list[tuple[int, State]] = []
        self.points: dict[int, Point] = {}
        self.locks: list[int] = []
        self.sources: Sequence[asm.Operand] = ()
        self.reject, self.end = Label(), Label()

    def next_frame(self, red_zone: int, slots: int) -> Frame:
        """The frame for what was used."""
        frame = Frame({asm.RAX: 0})
        slot = 1
        for number in sorted(self.low.used):
            frame.saved[number] = slot
            slot += 1
        if self.need_flags:
            frame.flags = slot
            slot += 1
        if self.need_hits:
            frame.hits = slot
            slot += 1
        frame.temporaries = slot
        frame.size = red_zone + 8 * (slot + slots)
        return frame

    def mark(self, **changes: object) -> None:
        """From here on this is so as well."""
        self.state = self.state._replace(**changes)  # type: ignore[arg-type]
        self.states.append((self.out.here, self.state))

    def build(self) -> Stub:
        out, low = self.out, self.low
        # What is rarely needed stands before the entry: the code ends where the displaced
        # instructions begin.
        decided = State(self.frame.size, True, True, Flags.AX, counted=True)
        collect = isinstance(self.action, Collect)
        match, full, retry = Label(), Label(), Label()
        self.state = decided
        self.mark()
        out.label(low.undecided)
        self._count(UNDECIDED)
        self.mark(undecided=True)
        self._stop(Point.UNDECIDED)
        self.state = decided
        self.mark()
        if collect:
            flags = self.low.temporary()
            self.mark(candidate=self.condition != ir.TRUE)
            self._full(full, retry, flags)
        else:
            self._match(match)
        entry = out.here
        self.state = State()
        self.mark()
        self._prologue()
        assert self.state == decided, "what the cold part takes for granted"
        if collect:
            low.branch(self.condition, self.reject, False)
            self._collect(full, retry, flags)
            self.low.release()
        else:
            low.branch(self.condition, match, True)
        out.label(self.reject)
        self.state = decided._replace(done=True)
        self.mark()
        self._epilogue()
        out.label(self.end)
        if not self.out.pooled:
            out.finish_literals()
        return Stub(
            out.finish(),
            entry,
            self.frame,
            self.counters,
            self.states,
            low.flags_away,
            frozenset(low.loads),
            self.points,
            tuple(self.locks),
            self.site_id,
            self.ring,
            self.sources,
            self.bases,
        )

    def _counter(self, which: int) -> Rip:
        return Rip(self.counters.address + which)

    def _count(self, which: int) -> None:
        self.locks.append(self.out.inc(self._counter(which)))

    def _prologue(self) -> None:
        out, frame = self.out, self.frame
        out.lea(asm.RSP, Mem(asm.RSP, -frame.size))
        self.mark(lowered=frame.size)
        out.store(frame.slot(0), asm.RAX)
        self.mark(rax_saved=True)
        if frame.flags is not None and self.need_flags:
            out.pushfq()
            self.mark(lowered=frame.size + 8)
            out.pop(asm.RAX)
            self.mark(lowered=frame.size)
            out.store(frame.slot(frame.flags), asm.RAX)
        out.lahf()
        self.mark(flags=Flags.AH)
        out.seto_al()
        self.mark(flags=Flags.AX)
        if frame.flags is not None and self.need_flags:
            hidden = x86_64.FLAG_RESUME | x86_64.FLAG_TRAP
            out.alu_imm(asm.AND, frame.slot(frame.flags), ~hidden)
        for number, slot in frame.saved.items():
            if number != asm.RAX:
                out.store(frame.slot(slot), number)
        self.mark(saved=True)
        if self.need_hits:
            assert frame.hits is not None
            self.low.used.add(HELPER)
            out.mov_imm(HELPER, 1)
            self.locks.append(out.xadd(self._counter(HITS), HELPER))
            self.mark(counted=True)
            out.lea(HELPER, Mem(HELPER, 1))
            out.store(frame.slot(frame.hits), HELPER)
        else:
            self._count(HITS)
            self.mark(counted=True)

    def _epilogue(self) -> None:
        out, frame = self.out, self.frame
        for number, slot in frame.saved.items():
            if number != asm.RAX:
                out.mov(number, frame.slot(slot))
        out.add_al(127)  # overflows if al is 1
        self.mark(flags=Flags.AH)
        out.sahf()
        self.mark(flags=Flags.LIVE)
        out.mov(asm.RAX, frame.slot(0))
        out.lea(asm.RSP, Mem(asm.RSP, frame.size))
        self.mark(lowered=0, saved=False, rax_saved=False)

    def _stop(self, point: Point) -> None:
        """All is as before; then the trap.  A numbered stub traps before, while its frame is
        still out of the way of signals."""
        if self.numbered:
            self.points[self.out.here] = point
            self.out.int3()
            self.out.jmp(self.reject)
            return
        self._epilogue()
        self.points[self.out.here] = point
        self.out.int3()
        self.out.jmp(self.end)

    def _match(self, match: Label) -> None:
        out = self.out
        out.label(match)
        if isinstance(self.action, Stop):
            self._count(CANDIDATES)
            self.mark(candidate=True)
        else:
            self.low.used.add(HELPER)
            out.mov_imm(HELPER, 1)
            self.locks.append(out.xadd(self._counter(CANDIDATES), HELPER))
            self.mark(candidate=True)
            out.lea(HELPER, Mem(HELPER, 1))
            out.alu(asm.CMP, HELPER, self._counter(STOP_AT))
            out.jcc(asm.NE, self.reject)
        self._stop(Point.MATCH)

    def _full(self, full: Label, retry: Label, flags: Mem) -> None:
        assert isinstance(self.action, Collect)
        out = self.out
        since = out.here
        out.label(full)
        if self.action.lose:
            self._count(LOST)
            self.mark(done=True)
            out.mov(asm.RAX, flags)
            self.low.flags_away.append((since, out.here, flags.disp))
            out.jmp(self.reject)
        else:
            self.points[out.here] = Point.RING_FULL
            out.int3()
            out.jmp(retry)
            self.low.flags_away.append((since, out.here, flags.disp))

    def _collect(self, full: Label, retry: Label, flags: Mem) -> None:
        """rax is the position meanwhile: cmpxchg wants it there."""
        out, low, ring = self.out, self.low, self.ring
        assert ring is not None, "to collect needs a ring"
        assert self.frame.hits is not None
        values: list[asm.Operand] = []
        for value in self.values:
            source = low.direct(value)
            if source is None:
                register = low.value(value, 0)
                source = low.temporary()
                out.store(source, register)
            values.append(source)
        if self.condition != ir.TRUE:
            self._count(CANDIDATES)
            self.mark(candidate=True)
        to, base = low.scratch[:2]
        low.used |= {to, base, HELPER}
        out.store(flags, asm.RAX)
        since = out.here
        out.label(retry)
        out.mov(asm.RAX, Rip(ring.head))
        out.mov(to, asm.RAX)
        out.alu(asm.SUB, to, Rip(ring.tail))
        out.alu_imm(asm.CMP, to, ring.size - self.record_size)
        out.jcc(asm.A, full)
        out.lea(to, Mem(asm.RAX, self.record_size))
        self.locks.append(out.cmpxchg(Rip(ring.head), to))
        self.mark(reserved=asm.RAX, if_zero=True)
        out.jcc(asm.NE, retry)
        self.mark(if_zero=False)
        out.mov(to, asm.RAX)
        out.alu_imm(asm.AND, to, ring.size - 1)
        out.lea(base, Rip(ring.records))
        out.alu(asm.ADD, to, base)
        out.store_imm(Mem(to, 8), self.site_id)
        if self.bases:
            out.rdbase(HELPER, gs=False)
            out.store(Mem(to, 16), HELPER)
        else:
            out.store_imm(Mem(to, 16), 0)
        self.sources = [self.frame.slot(self.frame.hits), *values]
        for at, source in enumerate(self.sources, 3):
            if not isinstance(source, int):
                out.mov(HELPER, source)
                source = HELPER
            out.store(Mem(to, 8 * at), source)
        out.lea(HELPER, Mem(asm.RAX, 1))
        out.store(Mem(to), HELPER)
        self.mark(reserved=-1, done=True)
        out.mov(asm.RAX, flags)
        low.flags_away.append((since, out.here, flags.disp))
        low.release(sum(isinstance(v, Mem) and low.is_temporary(v) for v in values))
