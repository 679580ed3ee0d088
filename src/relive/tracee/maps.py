"""Memory mappings of a task, as /proc/PID/maps lists them (man 5 proc)."""

from __future__ import annotations

PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4


class Mapping:
    """start, end: addresses; prot: PROT_* bits; shared: MAP_SHARED; offset: bytes into the file.

    dev, inode: of the file, inode 0 for none; name: path or [name], "" for anonymous.
    """

    __slots__ = ("dev", "end", "inode", "name", "offset", "prot", "shared", "start")

    def __init__(self, line: str) -> None:
        fields = line.split(None, 5)
        start, end = fields[0].split("-")
        self.start = int(start, 16)
        self.end = int(end, 16)
        flags = fields[1]
        self.prot = (
            (PROT_READ if flags[0] == "r" else 0)
            | (PROT_WRITE if flags[1] == "w" else 0)
            | (PROT_EXEC if flags[2] == "x" else 0)
        )
        self.shared = flags[3] == "s"
        self.offset = int(fields[2], 16)
        self.dev = fields[3]
        self.inode = int(fields[4])
        self.name = fields[5].rstrip("\n") if len(fields) > 5 else ""

    @property
    def size(self) -> int:
        return self.end - self.start

    def __repr__(self) -> str:
        return f"<{self.start:#x}-{self.end:#x} {self.prot} {self.name}>"


def read_maps(tid: int) -> list[Mapping]:
    """The mappings of a task, by address.  Raises OSError when it is gone."""
    with open(f"/proc/{tid}/maps", encoding="utf-8", errors="surrogateescape") as f:
        return [Mapping(line) for line in f]
