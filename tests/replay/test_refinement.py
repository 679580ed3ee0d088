"""Which words a search looks at, with a made-up memory: no program runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from relive.arch import x86_64
from relive.replay.search.landmark import MAX_WORDS, Landmark, Verdict
from relive.replay.session import Session
from relive.replay.tasks import Task

REGISTERS = (0,) * len(x86_64.REGISTERS)
SIZE = 1000


class Memory:
    """A memory, and what a sample of it had: what a landmark asks the core for."""

    def __init__(self, recorded: list[int]) -> None:
        self.recorded = recorded
        self.now = [0] * len(recorded)
        self._fd = os.memfd_create("memory")

    def number(self) -> int:
        return 1

    def logged_regs(self, serial: int) -> tuple[int, ...]:
        return REGISTERS

    def mem_fd(self, serial: int) -> int:
        os.pwrite(self._fd, b"".join(word.to_bytes(8, "little") for word in self.now), 0)
        return self._fd

    def compare_sample(self, serial: int, most: int) -> tuple[int, int, int, list[tuple[int, int]]]:
        both = enumerate(zip(self.recorded, self.now, strict=True))
        differing = [(8 * n, then) for n, (then, now) in both if then != now]
        return not differing, len(differing), 1, differing[:most]

    def passes(self, words: dict[int, int]) -> bool:
        return all(self.now[address // 8] == value for address, value in words.items())

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory([0] * SIZE)
    yield made
    made.close()


def searched(memory: Memory, hits: Iterator[None]) -> tuple[int, Landmark]:
    """The hit that is the landmark, and the landmark."""
    session = cast(Session, SimpleNamespace(core=memory))
    mark = Landmark(session, cast(Task, SimpleNamespace(serial=1)))
    for hit, _ in enumerate(hits, 1):
        if memory.passes(mark.words):
            if mark.judge(REGISTERS, hit) is Verdict.ARRIVED:
                return hit, mark
            mark.refine()
            assert len(mark.words) <= MAX_WORDS
            assert all(memory.recorded[a // 8] == value for a, value in mark.words.items())
    raise AssertionError("the landmark went by")


def test_memory_that_is_filled(memory: Memory) -> None:
    """Each hit writes one word more; no word counts the hits."""
    memory.recorded = [1] * 900 + [0] * (SIZE - 900)

    def hits() -> Iterator[None]:
        for n in range(SIZE):
            memory.now[n] = 1
            yield

    hit, mark = searched(memory, hits())
    assert hit == 900
    assert mark.candidates <= 3


def test_more_words_tell_than_are_looked_at(memory: Memory) -> None:
    """One of 30 words differs, another one at each hit."""

    def hits() -> Iterator[None]:
        for n in range(3000):
            memory.now = [0] * SIZE
            memory.now[n * 7 % 30] = 1
            yield
        memory.now = [0] * SIZE
        yield

    hit, mark = searched(memory, hits())
    assert hit == 3001
    assert mark.candidates < 3000 * 0.8


def test_few_of_the_words_go_on_telling(memory: Memory) -> None:
    """At first many differ, which are soon what was recorded; later two, in turns."""

    def hits() -> Iterator[None]:
        for n in range(2000):
            memory.now = [0] * SIZE
            for k in range(n, 100):
                memory.now[k] = 1
            memory.now[500 + n % 2] = 1
            yield
        memory.now = [0] * SIZE
        yield

    hit, mark = searched(memory, hits())
    assert hit == 2001
    assert mark.candidates <= 20
