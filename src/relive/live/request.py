"""What is asked for at a site: where, under which condition, and what then."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

EvaluatorName: TypeAlias = Literal["inprocess", "uprobe", "kernel", "supervisor"]

ORDER: Final[tuple[EvaluatorName, ...]] = ("inprocess", "uprobe", "kernel", "supervisor")
"""The order in which `auto` tries them: the cheapest hit first."""


class Access(enum.Enum):
    """What a hit is: an execution of the address, a write to it, or a read or write."""

    EXECUTE = "execute"
    WRITE = "write"
    ACCESS = "access"


@dataclass(frozen=True, slots=True)
class Action:
    """What happens at a candidate.

    stop: the thread stops and an event is told, from candidate number `stop_at` on (from 1).
    collect: expressions of the condition language whose values are kept (see Session.records).
    at_return: more of them, evaluated when the function returns (rax is what it returns); for
    sites at a function's first instruction.
    full: what happens when nobody has emptied the memory that values are collected in: the
    thread waits, or the values are lost and counted (Counts.lost).
    """

    stop: bool = True
    stop_at: int = 1
    collect: tuple[str, ...] = ()
    at_return: tuple[str, ...] = ()
    full: Literal["wait", "lose"] = "wait"

    def __post_init__(self) -> None:
        if self.stop_at < 1:
            raise ValueError("candidates are counted from 1")
        if self.full not in ("wait", "lose"):
            raise ValueError(f"a full ring can wait or lose, not {self.full!r}")

    @property
    def kept(self) -> tuple[str, ...]:
        """The expressions of a record's values, in their order."""
        return self.collect + self.at_return


def stop(at: int = 1) -> Action:
    """Stop at the candidates from number `at` on."""
    return Action(stop_at=at)


def count() -> Action:
    """Nothing but counting."""
    return Action(stop=False)


def collect(
    *values: str, at_return: Sequence[str] = (), full: Literal["wait", "lose"] = "wait"
) -> Action:
    """Keep the values of expressions, without an event.  See Action."""
    return Action(stop=False, collect=values, at_return=tuple(at_return), full=full)


@dataclass(frozen=True, slots=True)
class Request:
    """A site as it was asked for.

    place: as in relive.symbols.place.  when: a condition, "" for every hit.
    evaluator: one by name, or auto.  size: bytes watched by WRITE and ACCESS (1, 2, 4, 8).
    """

    place: str
    when: str = ""
    action: Action = field(default_factory=Action)
    evaluator: EvaluatorName | Literal["auto"] = "auto"
    access: Access = Access.EXECUTE
    size: int = 8

    def __post_init__(self) -> None:
        if self.size not in (1, 2, 4, 8):
            raise ValueError(f"{self.size} bytes can't be watched: 1, 2, 4 or 8 can")
        if self.action.at_return and self.access is not Access.EXECUTE:
            raise ValueError("data does not return: at_return is for code")
        if self.evaluator != "auto" and self.evaluator not in ORDER:
            raise ValueError(f"no evaluator is called {self.evaluator}")
