"""Compiled programs, once for all tests; a test that may not trace is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.targets import Service, build


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """program("threads"): the compiled program."""
    directory = tmp_path_factory.mktemp("live")
    made: dict[tuple[str, ...], Path] = {}

    def get(name: str, *options: str) -> Path:
        key = (name, *options)
        if key not in made:
            place = directory / str(len(made))
            place.mkdir()
            made[key] = build(place, name, *options)
        return made[key]

    return get


@pytest.fixture
def service(program: Callable[..., Path]) -> Iterator[Callable[[int], Service]]:
    """service(threads): a running program."""
    started: list[Service] = []

    def start(threads: int = 1) -> Service:
        started.append(Service([program("service"), str(threads)]))
        return started[-1]

    yield start
    for one in started:
        one.kill()
