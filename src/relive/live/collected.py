"""What was collected and not asked for yet, of all sites of a session."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from relive.live.facts import Block
from relive.live.returns import Returns, Row, Values

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Armed


class Collected:
    """Blocks of records, in the order in which they came.

    point: as `arm` of Returns.  tids: threads by their thread pointers.
    """

    def __init__(
        self,
        point: Callable[[Process, int], Callable[[], None] | None],
        tids: Callable[[Process, Sequence[int]], list[int]],
    ) -> None:
        self.returns = Returns(self.keep, point)
        self._tids = tids
        self._blocks: list[Block] = []
        self._rows: list[Row] = []
        self._stubs: dict[tuple[int, int], tuple[Armed, bool]] = {}
        """By address space and number of a stub: whose it is, and whether it is at a return."""

    def keep(self, armed: Armed, tid: int, hit: int, values: Values) -> None:
        """One record."""
        self._rows.append((armed, tid, hit, values))

    def add(
        self,
        armed: Sequence[Armed],
        tids: Sequence[int],
        hits: Sequence[int],
        columns: Sequence[Sequence[int | None]],
    ) -> None:
        """Many of one process."""
        self._close_rows()
        self._blocks.append(Block(armed[0].process.pid, armed, tids, hits, columns))

    def take(self) -> list[Block]:
        """All of it; it is not kept any longer."""
        self._close_rows()
        taken, self._blocks = self._blocks, []
        return taken

    def _close_rows(self) -> None:
        rows, self._rows = self._rows, []
        for _, some in groupby(rows, key=lambda row: (row[0].process.pid, len(row[3]))):
            armed, tids, hits, values = zip(*some, strict=True)
            columns = [list(column) for column in zip(*values, strict=True)]
            self._blocks.append(Block(armed[0].process.pid, armed, tids, hits, columns))

    # -- stubs in the process

    def register(self, armed: Armed) -> None:
        """A site with stubs: their records are its."""
        space = armed.process.space
        self._stubs[space, armed.mechanism.site.number] = (armed, False)  # type: ignore[attr-defined]
        for site in armed.returns:
            self._stubs[space, site.number] = (armed, True)

    def from_stubs(self, process: Process) -> None:
        """Empty the rings of a process."""
        stubs = process.inprocess
        for site, kept in stubs.aside():
            values = tuple(array("Q", (value,)) for value in kept.values)
            self._columns(process, [site.number], [kept.thread], [kept.hit], values)
        for ring in stubs.rings:
            for found in ring.columns():
                self._columns(process, *found)

    def _columns(
        self,
        process: Process,
        sites: Sequence[int],
        threads: Sequence[int],
        hits: Sequence[int],
        values: Sequence[Sequence[int]],
    ) -> None:
        owners = {number: self._stubs[process.space, number] for number in set(sites)}
        tids = self._tids(process, threads)
        if not any(armed.collects_returns for armed, _ in owners.values()):
            self.add([owners[number][0] for number in sites], tids, hits, values)
            return
        self._rows += self.returns.pair(
            process, owners, zip(sites, threads, tids, hits, *values, strict=True)
        )
