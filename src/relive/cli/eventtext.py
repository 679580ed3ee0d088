"""An event in one line, calls as strace prints them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from relive.arch import x86_64
from relive.cli.text import plain
from relive.syscalls.format import format_call
from relive.syscalls.names import signal_name
from relive.syscalls.table import name_of
from relive.trace import kinds
from relive.trace.kinds import Kind, Trap

if TYPE_CHECKING:
    from collections.abc import Callable

    from relive.trace.events import Event, OutItem

REGISTERS = tuple(register.name for register in x86_64.REGISTERS)
ARGUMENTS = tuple(x86_64.BY_NAME[name].index for name in x86_64.SYSCALL_ARGS)
IP = x86_64.BY_NAME[x86_64.INSTRUCTION_POINTER].index
CALLS = (Kind.SYSCALL, Kind.ENTRY, Kind.EXIT)
#: most characters of a JSON section that are shown
MOST = 400


class Describer:
    """Events as lines, one after the other: it remembers the calls that have begun.

    wide: nothing is cut short.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self.wide = wide
        self._begun: dict[int, Event] = {}  # by task

    def see(self, event: Event) -> None:
        """An event that is not to be shown goes by."""
        if event.kind is Kind.ENTRY:
            self._begun[event.task] = event
        elif event.kind is Kind.EXIT:
            self._begun.pop(event.task, None)

    def describe(self, event: Event) -> str:
        """The event in one line."""
        text = self._call(event) if event.kind in CALLS else DESCRIBE[event.kind](event)
        self.see(event)
        return text if self.wide or len(text) <= MOST else text[: MOST - 1] + "…"

    def _call(self, event: Event) -> str:
        """A call, or the half of one."""
        if event.kind is not Kind.EXIT:
            whole = formatted(event, event)
            if event.kind is Kind.SYSCALL:
                return whole
            return f"{whole.rpartition(') = ')[0]} <unfinished ...>"
        name = name_of(event.nr)
        entry = self._begun.get(event.task)
        if entry is None or entry.nr != event.nr:
            return f"<... {name} resumed>) = {formatted(event, event).rpartition(') = ')[2]}"
        return f"<... {name} resumed> {formatted(entry, event).partition('(')[2]}"


def formatted(entry: Event, end: Event) -> str:
    """A call as strace prints it, from the event of its entry and that of its end."""
    return format_call(
        entry.nr,
        arguments(entry) or (),
        None if end.kind is Kind.ENTRY else end.result,
        entry.in_items,
        end.out_items,
    )


def arguments(event: Event) -> tuple[int, ...] | None:
    """The six argument registers at the entry of a call, when the event has registers."""
    regs = event.regs
    return None if regs is None else tuple(regs[i] for i in ARGUMENTS)


def signal_(event: Event) -> str:
    marks = []
    if event.flags & kinds.SIGNAL_SYNC:
        marks.append("by the instruction")
    if event.flags & kinds.SIGNAL_FATAL:
        marks.append("fatal")
    info = ", ".join(f"{plain(k)}={plain(v)}" for k, v in (event.extra or {}).items())
    text = f"--- {signal_name(event.nr)} {{{info}}}"
    return f"{text} ({', '.join(marks)}) ---" if marks else f"{text} ---"


def task_new(event: Event) -> str:
    extra = event.extra or {}
    known = ", ".join(f"{plain(k)} {plain(v)}" for k, v in extra.items())
    return f"+++ task {event.task} begins ({known}) +++"


def task_exit(event: Event) -> str:
    status = (event.result or 0) & 0xFFFF
    cleared = memory(event.out_items)
    tail = f", {cleared}" if cleared else ""
    if os.WIFSIGNALED(status):
        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"+++ killed by {signal_name(os.WTERMSIG(status))}{core}{tail} +++"
    return f"+++ exited with {os.WEXITSTATUS(status)}{tail} +++"


def memory(items: tuple[OutItem, ...] | None) -> str:
    """Memory written: how much and where."""
    return ", ".join(f"{len(item.data)} bytes at {item.address:#x}" for item in items or ())


def regs(event: Event) -> str:
    at = f" ip={event.regs[IP]:#x}" if event.regs is not None else ""
    extended = ""
    if event.flags & kinds.REGS_RESET_EXTENDED:
        extended = ", extended state reset"
    elif event.flags & kinds.REGS_RESTORE_EXTENDED:
        extended = ", extended state from the signal frame"
    frame = memory(event.out_items)
    return f"... registers set:{at}{extended}{f', {frame}' if frame else ''}"


def trap(event: Event) -> str:
    name = Trap(event.nr).name.lower() if event.nr in tuple(Trap) else f"trap {event.nr}"
    value = "?" if event.result is None else hex(event.result & (1 << 64) - 1)
    at = f" at {event.regs[IP]:#x}" if event.regs is not None else ""
    return f"... {name}{at} = {value}"


def memwrite(event: Event) -> str:
    return f"... memory written: {memory(event.out_items)}"


def as_extra(event: Event) -> str:
    """META, MEMORY, END, NOTE: what their JSON says."""
    body = json.dumps(event.extra or {}, ensure_ascii=True)
    return f"... {event.kind.name.lower()} {body}"


#: items of a landmark's sample that are no memory (docs/format.md)
SAMPLED = (
    "digest of the extended state",
    "processor time in ns",
    "digests of small mappings",
    "extended state",
)
CPU_TIME = 1


def landmark(event: Event) -> str:
    items = [item for item in event.out_items or () if item.address >= len(SAMPLED)]
    words = sum([len(item.data) for item in items]) // 8
    cpu = [item.data for item in event.out_items or () if item.address == CPU_TIME]
    ip = event.regs[16] if event.regs else 0
    if event.flags & kinds.LANDMARK_AT_ENTRY:
        return f"... landmark at {ip:#x}, just before the call"
    why = f"for {signal_name(event.nr)}" if event.nr else "at the end of a time slice"
    ms = f", {int.from_bytes(cpu[0], 'little') / 1e6:.1f} ms of processor time" if cpu else ""
    return f"... landmark at {ip:#x} {why}, {words} words of memory in {len(items)} blocks{ms}"


DESCRIBE: dict[Kind, Callable[[Event], str]] = {
    Kind.META: as_extra,
    Kind.TASK_NEW: task_new,
    Kind.SIGNAL: signal_,
    Kind.REGS: regs,
    Kind.TRAP: trap,
    Kind.TASK_EXIT: task_exit,
    Kind.MEMWRITE: memwrite,
    Kind.MEMORY: as_extra,
    Kind.END: as_extra,
    Kind.NOTE: as_extra,
    Kind.LANDMARK: landmark,
}


def as_json(event: Event) -> dict[str, Any]:
    """All of an event, for `dump --json`; bytes in hexadecimal."""
    row: dict[str, Any] = {
        "event": event.number,
        "kind": event.kind.name,
        "task": event.task,
        "time_ms": event.time_ms,
        "flags": event.flags,
        "nr": event.nr,
    }
    if event.kind in CALLS:
        row["call"] = name_of(event.nr)
    if event.regs is not None:
        row["regs"] = dict(zip(REGISTERS, event.regs, strict=True))
    if event.result is not None:
        row["result"] = event.result
    if event.in_items is not None:
        row["in"] = [
            {
                "arg": item.arg,
                "what": item.what.name.lower(),
                "length": item.length,
                "data": item.data.hex(),
                "digest": item.digest,
            }
            for item in event.in_items
        ]
    if event.out_items is not None:
        row["out"] = [
            {"address": item.address, "data": item.data.hex()} for item in event.out_items
        ]
    if event.extra is not None:
        row["extra"] = event.extra
    return row


def sections(event: Event) -> str:
    """Registers and memory of an event, indented, for `dump --raw`."""
    lines = []
    if event.regs is not None:
        pairs = [f"{n}={v:#x}" for n, v in zip(REGISTERS, event.regs, strict=True) if v]
        lines += [" ".join(pairs[i : i + 6]) for i in range(0, len(pairs), 6)]
    for item in event.in_items or ():
        digest = "" if item.digest is None else f" digest {item.digest:#018x}"
        lines.append(f"in {item.arg} {item.what.name.lower()} {item.length} bytes{digest}")
        lines += hexdump(item.data)
    for written in event.out_items or ():
        what = f"out {written.address:#x}"
        if event.kind is Kind.LANDMARK and written.address < len(SAMPLED):
            what = SAMPLED[written.address]
        lines.append(f"{what} {len(written.data)} bytes")
        lines += hexdump(written.data)
    return "".join(f"{'':>24}{line}\n" for line in lines)


def hexdump(data: bytes) -> list[str]:
    """Bytes as `xxd` shows them; the same line again and again is shown once."""
    lines: list[str] = []
    before = b""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row == before and at + 16 < len(data):
            if lines[-1] != "  *":
                lines.append("  *")
            continue
        before = row
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in row)
        lines.append(f"  {at:06x}  {row.hex(' '):<47}  {text}")
    return lines
