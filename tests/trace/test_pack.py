"""Self-contained recordings and archives; unpacking what somebody hostile made."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
import xxhash

from relive.errors import RecordingError
from relive.trace import index
from relive.trace.pack import _header, archive, pack, unpack
from relive.trace.reader import Recording
from relive.trace.store import FileStore
from relive.trace.writer import ChunkWriter

DATA = random.Random(1).randbytes(100_000)
HASH = xxhash.xxh3_128_hexdigest(DATA)
MARKER = b"relive recording\nformat 1\n"


@pytest.fixture
def full(recording: Path, tmp_path: Path) -> Path:
    """A recording with stored files, hard-linked."""
    store = FileStore(recording, tmp_path / ".store")
    store.add_bytes(DATA)
    store.add_bytes(bytes(1 << 20))
    store.close()
    return recording


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_pack_breaks_links(full: Path, tmp_path: Path) -> None:
    before = tree(full)
    assert pack(full) == 2
    assert pack(full) == 0
    assert tree(full) == before
    for path in (full / "files").iterdir():
        st = path.stat()
        assert st.st_nlink == 1
        assert st.st_mode & 0o777 == 0o400
        shared = tmp_path / ".store" / path.name
        assert not path.samefile(shared)
        assert shared.read_bytes() == path.read_bytes()
    zeros = full / "files" / xxhash.xxh3_128_hexdigest(bytes(1 << 20))
    assert zeros.stat().st_blocks == 0


def test_pack_notices_damage(full: Path) -> None:
    path = full / "files" / HASH
    path.unlink()
    path.write_bytes(DATA[:-1])
    with pytest.raises(RecordingError, match="damaged"):
        pack(full)
    with pytest.raises(RecordingError, match="damaged"):
        archive(full, full.parent / "a.tar")
    assert not (full.parent / "a.tar").exists()
    assert not list(full.parent.glob("*tmp*"))


def test_archive_keeps_the_index(full: Path, tmp_path: Path) -> None:
    positions = {1: index.Position(0x1000, 7)}
    with Recording(full) as recording:
        assert index.write(recording, positions)
    archive(full, tmp_path / "a.tar")
    unpack(tmp_path / "a.tar", tmp_path / "new")
    with Recording(tmp_path / "new") as recording:
        assert index.read(recording) == positions
    assert tree(tmp_path / "new") == tree(full)


def test_archive_round_trip(full: Path, tmp_path: Path) -> None:
    (full / "index").write_text("can be rebuilt")
    (full / "files" / "tmp-1-2").write_text("left over")
    out = tmp_path / "a.tar"
    seen: list[tuple[int, int]] = []
    assert archive(full, out, lambda done, total: seen.append((done, total))) == out.stat().st_size
    assert seen[-1][0] == seen[-1][1]
    assert out.stat().st_mode & 0o777 == 0o600
    pack(full)
    archive(full, tmp_path / "b.tar")
    assert out.read_bytes() == (tmp_path / "b.tar").read_bytes()
    unpack(out, tmp_path / "new")
    wanted = {k: v for k, v in tree(full).items() if k not in ("index", "files/tmp-1-2")}
    assert tree(tmp_path / "new") == wanted
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "files").stat().st_mode & 0o777 == 0o700
    modes = {
        str(p.relative_to(tmp_path / "new")): p.stat().st_mode & 0o777
        for p in (tmp_path / "new").rglob("*")
        if p.is_file()
    }
    assert modes.pop("version") == modes.pop("events") == 0o600
    assert set(modes.values()) == {0o400}
    with Recording(tmp_path / "new") as recording:
        assert recording.check() is None
        for name in recording.store.names():
            os.close(recording.store.open(name))


def test_ordinary_tar_reads_it(full: Path, tmp_path: Path) -> None:
    archive(full, tmp_path / "a.tar")
    (tmp_path / "new").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "a.tar", "-C", tmp_path / "new"], check=True)
    assert tree(tmp_path / "new") == tree(full)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert all(m.isreg() and m.mtime == 0 for m in tar)


def test_incomplete_recordings_can_be_archived(tmp_path: Path, full: Path) -> None:
    (full / "version").rename(full / "incomplete")
    archive(full, tmp_path / "a.tar")
    unpack(tmp_path / "a.tar", tmp_path / "new")
    with Recording(tmp_path / "new") as recording:
        assert not recording.complete


def test_one_being_made_is_not(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    with pytest.raises(RecordingError, match="still being recorded"):
        archive(tmp_path / "rec", tmp_path / "a.tar")
    writer.close()


def test_nothing_is_overwritten(full: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("mine")
    with pytest.raises(FileExistsError):
        archive(full, tmp_path / "a.tar")
    archive(full, tmp_path / "b.tar")
    (tmp_path / "new").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("new", "dangling"):
        with pytest.raises(FileExistsError):
            unpack(tmp_path / "b.tar", tmp_path / name)
    assert (tmp_path / "a.tar").read_text() == "mine"


def test_header_of_a_huge_file() -> None:
    info = tarfile.TarInfo.frombuf(_header("events", 9 << 30), "ascii", "strict")
    assert (info.name, info.size, info.mode) == ("events", 9 << 30, 0o600)


def member(name: str, data: bytes, size: int | None = None, **changes: bytes) -> bytes:
    """A member; changes: what to put at header offset N, as oN=..., checksum made right."""
    head = bytearray(_header(name[:100], len(data) if size is None else size))
    for offset, value in changes.items():
        head[int(offset[1:]) : int(offset[1:]) + len(value)] = value
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + bytes(-len(data) % 512)


GOOD = member("version", MARKER) + member("events", b"")
FILE = member(f"files/{HASH}", DATA)
END = bytes(1024)


def test_members_by_hand_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(GOOD + FILE + END)
    unpack(tmp_path / "a.tar", tmp_path / "new")
    assert (tmp_path / "new/files" / HASH).read_bytes() == DATA


@pytest.mark.parametrize(
    "made",
    [
        b"",
        END,
        b"\x1f\x8b" + bytes(2000),
        member("version", MARKER) + END,
        member("events", b"") + member("version", MARKER) + END,
        member("version", MARKER) + GOOD + END,
        member("version", MARKER) + member("incomplete", MARKER) + END,
        GOOD + member("events", b"") + END,
        GOOD + FILE + FILE + END,
        GOOD + member("version", MARKER) + END,
        GOOD + member("../evil", b"x") + END,
        GOOD + member("/tmp/relive-evil", b"x") + END,
        GOOD + member("files/../../evil", b"x") + END,
        GOOD + member("files/" + "0" * 31 + "/", b"x") + END,
        GOOD + member("files/" + "0" * 32, b"x") + END,  # not what the name says
        GOOD + member(f"files/{HASH.upper()}", DATA) + END,
        GOOD + member(f"./files/{HASH}", DATA) + END,
        GOOD + member("files/", b"") + END,
        GOOD + member("index", b"x") + END,
        GOOD + member("index", b"") + member("index", b"") + END,
        GOOD + FILE + member("index", b"") + END,
        GOOD + member(f"files/{HASH}", DATA, o345=b"files") + END,  # prefix
        GOOD + member(f"files/{HASH}", b"", o156=b"1", o157=b"/etc/passwd") + END,  # hard link
        GOOD + member(f"files/{HASH}", b"", o156=b"2", o157=b"/etc/passwd") + END,  # symlink
        GOOD + member(f"files/{HASH}", b"", o156=b"3") + END,  # device
        GOOD + member(f"files/{HASH}", b"", o156=b"5") + END,  # directory
        GOOD + member(f"files/{HASH}", b"", o156=b"6") + END,  # fifo
        GOOD + member(f"files/{HASH}", DATA, o156=b"S") + END,  # GNU sparse
        GOOD + member(f"files/{HASH}", DATA, o156=b"x") + END,  # pax header
        GOOD + member(f"files/{HASH}", DATA, o156=b"L") + END,  # GNU long name
        GOOD + member(f"files/{HASH}", DATA, o100=b"0004755") + END,  # setuid
        GOOD + member(f"files/{HASH}", DATA, size=1 << 62) + END,
        GOOD + member(f"files/{HASH}", DATA, size=len(DATA) + 512) + END,
        GOOD + member(f"files/{HASH}", DATA, o124=b"-0000000001") + END,
        GOOD + member(f"files/{HASH}", DATA, o124=b"\xff" * 12) + END,
        GOOD + member(f"files/{HASH}", DATA, o124=b"99999999999") + END,
        GOOD + FILE[:-512],
        GOOD + FILE[:-1] + b"x" + END,
        GOOD + FILE + b"x" * 512 + END,
        GOOD + FILE,
        GOOD + FILE[:148] + b"0000000\0" + FILE[156:] + END,
        GOOD + FILE + END + b"more",
        member("version", b"relive recording\nformat 9\n") + member("events", b"") + END,
        member("version", b"junk") + member("events", b"") + END,
    ],
)
def test_hostile_archives(tmp_path: Path, made: bytes) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.tar").write_bytes(made)
    with pytest.raises(RecordingError):
        unpack(inside / "a.tar", inside / "new")
    assert [p.name for p in inside.iterdir()] == ["a.tar"]
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]
    assert not Path("/tmp/relive-evil").exists()


def test_size_limit(tmp_path: Path, full: Path) -> None:
    archive(full, tmp_path / "a.tar")
    with pytest.raises(RecordingError, match="more than 100000 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "new", limit=100_000)
    assert not (tmp_path / "new").exists()


def test_archives_of_tarfile(tmp_path: Path) -> None:
    """Archives as other tools make them, links and all: refused, not misread."""
    for kind, target in ((tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "../../x")):
        to = io.BytesIO()
        with tarfile.open(fileobj=to, mode="w") as tar:
            info = tarfile.TarInfo("files")
            info.type, info.linkname = kind, target
            tar.addfile(info)
        (tmp_path / "a.tar").write_bytes(GOOD + to.getvalue())
        with pytest.raises(RecordingError):
            unpack(tmp_path / "a.tar", tmp_path / "new")


def test_random_damage(tmp_path: Path, full: Path) -> None:
    archive(full, tmp_path / "a.tar")
    good = (tmp_path / "a.tar").read_bytes()
    wanted = tree(full)
    log = len(wanted["events"])
    r = random.Random(3)
    for _ in range(200):
        data = bytearray(good)
        at = r.choice([r.randrange(2048), r.randrange(len(data))])
        if r.random() < 0.3:
            del data[at : at + r.choice([1, 512, 4096])]
        else:
            data[at] ^= 1 << r.randrange(8)
        (tmp_path / "b.tar").write_bytes(data)
        try:
            unpack(tmp_path / "b.tar", tmp_path / "new")
        except RecordingError:
            assert not (tmp_path / "new").exists()
            continue
        found = tree(tmp_path / "new")
        # The log has checksums of its own; all else must be as it was, but for the marker's tail.
        assert len(found["events"]) == log
        assert {k: v for k, v in found.items() if k.startswith("files/")} == {
            k: v for k, v in wanted.items() if k.startswith("files/")
        }
        subprocess.run(["rm", "-r", tmp_path / "new"], check=True)


def test_not_a_plain_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="not a plain file"):
        unpack("/dev/null", tmp_path / "new")
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "none", tmp_path / "new")
