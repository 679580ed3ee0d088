"""What is asked for at a site: where, under which condition, and what then."""

from __future__ import annotations

import enum
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
    """

    stop: bool = True
    stop_at: int = 1
    collect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.stop_at < 1:
            raise ValueError("candidates are counted from 1")


def stop(at: int = 1) -> Action:
    """Stop at the candidates from number `at` on."""
    return Action(stop_at=at)


def count() -> Action:
    """Nothing but counting."""
    return Action(stop=False)


def collect(*values: str) -> Action:
    """Keep the values of expressions, without an event."""
    return Action(stop=False, collect=values)


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
        if self.evaluator != "auto" and self.evaluator not in ORDER:
            raise ValueError(f"no evaluator is called {self.evaluator}")
