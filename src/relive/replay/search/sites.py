"""Patched sites of one replayed address space.

The jump is in place only while a search is on: at its end the original bytes are put back.  The
stub stays, so that the next landmark at the same place (a timer in a tight loop) costs two
writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from relive.replay.search import loop
from relive.replay.search.body import BLOCK, Body
from relive.replay.search.guard import Guard
from relive.replay.search.result import CannotSearch
from relive.replay.search.target import ReplayTarget
from relive.tracee.maps import PROT_WRITE
from relive.tracee.patching.arenas import Arenas
from relive.tracee.patching.patcher import CannotPatch, Patch, Patcher, Request

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Space
    from relive.tracee.patching.target import Target

_PAGE: Final = 4096
_N_KEPT: Final = 256
_SYS_MUNMAP: Final = 11
_N_TELLING: Final = 3
"""Words that a site remembers from one landmark to the next."""


class Site:
    """A site and its own patcher: only one site's jump is in place at a time, so each is planned
    on the original bytes, whatever other sites lie beside it.

    telling: addresses of words that told candidates apart here.  probed: the order of registers
    is known to be good.  code: address and bytes of what the stub has copies of.
    """

    def __init__(
        self,
        patcher: Patcher,
        body: Body,
        patch: Patch,
        telling: list[int],
        guard: Guard | None,
        probed: bool,
        code: tuple[int, bytes],
    ) -> None:
        self.patcher = patcher
        self.body = body
        self.patch = patch
        self.telling = telling
        self.guard = guard
        self.probed = probed
        self._code = code
        self._runs: list[tuple[int, bytes, bytes]] = []
        for address, (original, written) in sorted(patch.changes.items()):
            if self._runs and self._runs[-1][0] + len(self._runs[-1][1]) == address:
                start, before, after = self._runs.pop()
            else:
                start, before, after = address, b"", b""
            self._runs.append((start, before + bytes((original,)), after + bytes((written,))))

    def switch(self, target: Target, *, on: bool) -> None:
        """Puts the jump in place, or the original bytes back."""
        for address, original, written in self._runs:
            target.write(address, written if on else original)

    def overlaps(self, start: int, end: int) -> bool:
        """Whether its jump or its stub lies there."""
        runs = [(address, address + len(original)) for address, original, _ in self._runs]
        return any(a < end and start < b for a, b in (*runs, *self.patcher.arenas.pages()))

    def stale(self, target: Target) -> bool:
        """Whether the program has other code there by now."""
        try:
            start, code = self._code
            return target.read(start, len(code)) != code or any(
                target.read(address, len(original)) != original
                for address, original, _ in self._runs
            )
        except OSError:
            return True

    def remember(self, address: int) -> None:
        """A word that tells candidates apart."""
        if address not in self.telling and len(self.telling) < _N_TELLING:
            self.telling.append(address)


class Sites:
    """The sites of a space, by address.

    near: where the last landmark was among the first hits: a loop that waits for memory to change.
    A few debug exceptions are cheaper there than arming.
    """

    def __init__(self, session: Session, space: Space) -> None:
        self.target = ReplayTarget(session, space)
        self._data = Arenas(self.target)
        self._pages: list[int] = []
        self._blocks: list[int] = []  # free blocks of data
        self._sites: dict[int, Site] = {}  # their jumps are not in place
        self.near: set[int] = set()

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a patch or memory of the stubs lies there."""
        return any(a < end and start < b for a, b in self.data_pages()) or any(
            site.overlaps(start, end) for site in self._sites.values()
        )

    def data_pages(self) -> list[tuple[int, int]]:
        """Start and end of memory that stubs write to: none of the program's."""
        return [(p, p + _PAGE) for p in self._pages]

    def give_up(self) -> None:
        """Unmaps the stubs' memory: the recording has something else there."""
        for address in list(self._sites):
            self.remove(address)
        for page in self._pages:
            self.target.syscall(_SYS_MUNMAP, page, _PAGE)
        self._pages.clear()
        self._blocks.clear()

    def get(self, address: int) -> Site | None:
        """A site that is kept, as good as what was learned of it."""
        site = self._sites.get(address)
        if site is not None and site.stale(self.target):
            self._forget(address)
            return None
        if site is not None and site.body.n_telling < len(site.telling):
            # words tell here what registers don't: they are looked at first from now on
            self.remove(address)
            site = self.make(address, site.body.order, site.telling, probed=site.probed)
            site.switch(self.target, on=False)
        return site

    def again(self, address: int) -> Site:
        """The site after the program wrote near it: made anew if it wrote there.  The jump is in
        place.  Raises CannotSearch, OSError."""
        site = self._sites[address]
        if not site.stale(self.target):
            site.switch(self.target, on=True)
            return site
        self._forget(address)
        return self.make(address, site.body.order, site.telling, probed=site.probed)

    def drop(self, address: int) -> None:
        """The site goes; what the program wrote there stays."""
        if self._sites[address].stale(self.target):
            self._forget(address)
        else:
            self.remove(address)

    def _forget(self, address: int) -> None:
        """The code of the site is not what it was: nothing is put back."""
        site = self._sites.pop(address)
        site.patcher.unmapped(address, address + 1)
        site.patcher.release()
        self._blocks.append(site.body.data)

    def ordered(self, address: int, order: Sequence[str]) -> Site:
        """A site that looks at the registers in this order; its jump is in place.

        Raises CannotSearch, OSError.
        """
        site = self._sites.get(address)
        if site is None:
            return self.make(address, order, [])
        if not site.probed:
            telling = site.telling
            self.remove(address)
            return self.make(address, order, telling)
        site.switch(self.target, on=True)
        return site

    def remove(self, address: int) -> None:
        site = self._sites.pop(address)
        site.switch(self.target, on=True)
        site.patcher.update(remove=[address])
        site.patcher.release()
        self._blocks.append(site.body.data)

    def make(
        self, address: int, order: Sequence[str], telling: list[int], *, probed: bool = True
    ) -> Site:
        """Patches a site; its jump is in place then.  Raises CannotSearch, OSError."""
        if len(self._sites) >= _N_KEPT:
            self.give_up()
        where = next((m for m in self.target.maps() if m.start <= address < m.end), None)
        # Signals are delivered where they were recorded, not between the two jumps of a SHORT site.
        patcher = Patcher(self.target, short=True)
        fixed = where is not None and not where.shared and not where.prot & PROT_WRITE
        around = loop.find(self.target.read, address) if fixed else None
        try:
            body = Body(self._block(address), order, len(telling), around)
        except OSError as e:
            raise CannotSearch(str(e)) from e
        try:
            outcome = patcher.update([Request(address, body)])[address]
        except OSError as e:
            self._blocks.append(body.data)
            raise CannotSearch(str(e)) from e
        if isinstance(outcome, CannotPatch):
            self._blocks.append(body.data)
            raise CannotSearch(outcome.why)
        why = (
            ""
            if outcome.in_process
            else "; ".join(dict.fromkeys(outcome.passed_over)) or "no jump fits"
        )
        guard = None
        if not why:
            try:
                guard = Guard.over(outcome, where)
            except ValueError as e:
                why = str(e)
        if why:
            patcher.update(remove=[address])
            patcher.release()
            self._blocks.append(body.data)
            raise CannotSearch(why)
        body.assemble(outcome.stub)
        used = outcome.bytes_used
        start, end = min(used), max(used) + 1
        if around is not None:
            start, end = min(start, around.start), max(end, around.end)
        code = start, patcher.read_original(start, end - start)
        site = self._sites[address] = Site(patcher, body, outcome, telling, guard, probed, code)
        return site

    def _block(self, site: int) -> int:
        """A free block of data within reach of the site."""
        for block in self._blocks:
            if abs(block - site) < 1 << 30:
                self._blocks.remove(block)
                return block
        self._data.refresh()
        page = self._data.map_near(site, _PAGE, 3, 0x22)
        self._pages.append(page)
        self._blocks += range(page + BLOCK, page + _PAGE, BLOCK)
        return page
