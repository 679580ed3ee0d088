"""Stored files: the content as it was, once, whatever happens to the original."""

from __future__ import annotations

import errno
import os
import random
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from relive.errors import RecordingError
from relive.trace import store as module
from relive.trace.errors import TraceWriteError
from relive.trace.store import FileRef, FileStore, prune

DATA = random.Random(1).randbytes(300_000)


@pytest.fixture
def rec(tmp_path: Path) -> Path:
    (tmp_path / "rec").mkdir()
    return tmp_path / "rec"


@pytest.fixture(params=[False, True], ids=["alone", "shared"])
def store(rec: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FileStore]:
    made = FileStore(rec, tmp_path / ".store" if request.param else None)
    yield made
    made.close()


def add(store: FileStore, path: Path, *, fresh: bool = False, mode: int = os.O_RDONLY) -> FileRef:
    fd = os.open(path, mode)
    try:
        return store.add(fd, fresh=fresh)
    finally:
        os.close(fd)


def content(store: FileStore, ref: FileRef) -> bytes:
    fd = store.open(ref.hash)
    with open(fd, "rb") as f:
        assert not f.writable()
        return f.read()


def age(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the file's times old enough to be trusted."""
    monkeypatch.setattr(module, "TRUST_AGE", 10_000_000)
    monkeypatch.setattr(module, "_TRUSTED_TYPES", {*module._file_systems().values()})
    while time.time_ns() - path.stat().st_ctime_ns < 50_000_000:
        time.sleep(0.01)


def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[str, int]:
        raise AssertionError("copied")

    monkeypatch.setattr(module, "_copy_and_hash", fail)
    monkeypatch.setattr(module, "_clone", fail)


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    no_copies(monkeypatch)

    def fail(fd: int) -> tuple[str, int]:
        raise AssertionError("read")

    monkeypatch.setattr(module, "_hash", fail)


def test_stored_once_by_content(store: FileStore, tmp_path: Path, rec: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(DATA)
    b.write_bytes(DATA)
    ref = add(store, a)
    assert ref == FileRef(xxhash.xxh3_128_hexdigest(DATA), len(DATA))
    assert add(store, a) == add(store, b) == ref
    assert store.names() == [ref.hash]
    assert [p.name for p in (rec / "files").iterdir()] == [ref.hash]  # no leftovers
    assert (rec / "files").stat().st_mode & 0o777 == 0o700
    assert (rec / "files" / ref.hash).stat().st_mode & 0o777 == 0o400
    assert content(store, ref) == DATA


def test_umask(rec: Path) -> None:
    old = os.umask(0o777)
    try:
        store = FileStore(rec)
        ref = store.add_bytes(DATA)
    finally:
        os.umask(old)
    assert content(store, ref) == DATA
    assert (rec / "files").stat().st_mode & 0o777 == 0o700
    assert (rec / "files" / ref.hash).stat().st_mode & 0o777 == 0o400
    store.close()


def test_original_changes_and_goes(store: FileStore, tmp_path: Path) -> None:
    a = tmp_path / "a"
    a.write_bytes(DATA)
    first = add(store, a)
    for i in range(20):  # quicker than the file system's clock ticks, the same size
        with a.open("r+b") as f:
            f.write(b"%04d" % i)
        ref = add(store, a)
        assert content(store, ref) == b"%04d" % i + DATA[4:]
    a.unlink()
    assert content(store, first) == DATA


def test_stores_through_a_mapping_are_seen_when_asked(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mmap

    a = tmp_path / "a"
    a.write_bytes(DATA)
    age(a, monkeypatch)
    with a.open("r+b") as f, mmap.mmap(f.fileno(), 0) as mapped:
        mapped[0] = 1
        add(store, a)
        age(a, monkeypatch)
        add(store, a)  # trusted from now on
        mapped[0] = 2  # no fault: the page is dirty, the times stay
        assert content(store, add(store, a, fresh=True)) == b"\2" + DATA[1:]


def test_young_times_are_not_believed(store: FileStore, tmp_path: Path) -> None:
    """Where the clock of the times is coarse, or the page is dirty already, as here."""
    import mmap

    a = tmp_path / "a"
    a.write_bytes(DATA)
    with a.open("r+b") as f, mmap.mmap(f.fileno(), 0) as mapped:
        mapped[0] = 1
        before = a.stat()
        add(store, a)
        mapped[0] = 2
        assert a.stat() == before
        assert content(store, add(store, a)) == b"\2" + DATA[1:]


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sizes(store: FileStore, tmp_path: Path, size: int) -> None:
    a = tmp_path / "a"
    a.write_bytes(b"x" * size)
    ref = add(store, a)
    assert ref.size == size
    assert content(store, ref) == b"x" * size
    assert store.add_bytes(b"x" * size) == ref
    assert len(store.names()) == 1


def test_bytes(store: FileStore) -> None:
    ref = store.add_bytes(DATA)
    assert content(store, ref) == DATA
    zeros = store.add_bytes(bytes(100_000))
    assert content(store, zeros) == bytes(100_000)


def test_holes_stay_holes(store: FileStore, tmp_path: Path, rec: Path) -> None:
    a = tmp_path / "a"
    with a.open("wb") as f:
        f.seek(10 << 20)
        f.write(b"data")
        f.seek(20 << 20)
        f.write(b"more")
        f.truncate(30 << 20)
    ref = add(store, a)
    assert ref == FileRef(xxhash.xxh3_128_hexdigest(a.read_bytes()), 30 << 20)
    assert (rec / "files" / ref.hash).stat().st_blocks * 512 < 1 << 20
    assert content(store, ref) == a.read_bytes()


def test_descriptor_is_left_as_it_is(store: FileStore, tmp_path: Path) -> None:
    a = tmp_path / "a"
    a.write_bytes(DATA)
    for mode in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_PATH):
        fd = os.open(a, mode)
        if mode != os.O_PATH:
            os.lseek(fd, 17, os.SEEK_SET)
        ref = store.add(fd, fresh=True)
        if mode != os.O_PATH:
            assert os.lseek(fd, 0, os.SEEK_CUR) == 17
        os.close(fd)
        assert content(store, ref) == DATA


def test_without_reopening(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    with a.open("wb") as f:
        f.write(DATA)
        f.truncate(5 << 20)
    fd = os.open(a, os.O_RDONLY)
    os.lseek(fd, 17, os.SEEK_SET)
    monkeypatch.setattr(module, "_reopen", lambda fd: (os.dup(fd), False))
    ref = store.add(fd)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 17
    os.close(fd)
    assert content(store, ref) == a.read_bytes()


def test_deleted_and_memory_files(store: FileStore, tmp_path: Path) -> None:
    fd = os.memfd_create("x")
    os.write(fd, DATA)
    assert content(store, store.add(fd)) == DATA
    os.pwrite(fd, b"new", 0)
    assert content(store, store.add(fd)) == b"new" + DATA[3:]
    os.close(fd)
    a = tmp_path / "a"
    a.write_bytes(DATA)
    fd = os.open(a, os.O_RDONLY)
    a.unlink()
    assert content(store, store.add(fd)) == DATA
    os.close(fd)


def test_not_a_file(store: FileStore, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="not a regular file"):
        store.add(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file"):
        store.add(fd)


def test_file_that_shrinks_while_it_is_read(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    a.write_bytes(b"x" * (3 << 20))
    monkeypatch.setattr(module, "_clone", lambda *_: False)
    real = os.pread

    def pread(fd: int, n: int, at: int) -> bytes:
        if at == 1 << 20:
            os.truncate(a, 1 << 20)
        return real(fd, n, at)

    monkeypatch.setattr(os, "pread", pread)
    ref = add(store, a)
    monkeypatch.undo()
    assert ref.size == 1 << 20
    assert content(store, ref) == b"x" * (1 << 20)


def test_trusted_times_need_no_reading(
    rec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    a.write_bytes(DATA)
    age(a, monkeypatch)
    shared = tmp_path / ".store"
    first = FileStore(rec, shared)
    ref = add(first, a)
    (tmp_path / "rec2").mkdir()
    second = FileStore(tmp_path / "rec2", shared)
    with monkeypatch.context() as m:
        no_reading(m)
        assert add(first, a) == ref
        assert add(second, a) == ref
    assert (rec / "files" / ref.hash).samefile(tmp_path / "rec2" / "files" / ref.hash)
    assert content(second, ref) == DATA
    a.write_bytes(b"other")
    assert content(second, add(second, a)) == b"other"
    first.close()
    second.close()


def test_young_times_are_only_a_hint(
    rec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read again, but not copied."""
    a = tmp_path / "a"
    a.write_bytes(DATA)
    first = FileStore(rec, tmp_path / ".store")
    ref = add(first, a)
    (tmp_path / "rec2").mkdir()
    second = FileStore(tmp_path / "rec2", tmp_path / ".store")
    no_copies(monkeypatch)
    assert add(second, a) == add(first, a) == ref
    monkeypatch.undo()
    assert content(second, ref) == DATA
    first.close()
    second.close()


def test_damaged_shared_file_is_replaced(rec: Path, tmp_path: Path) -> None:
    """As a power cut may leave it: the right size, not the content."""
    a = tmp_path / "a"
    a.write_bytes(DATA)
    first = FileStore(rec, tmp_path / ".store")
    ref = add(first, a)
    shared = tmp_path / ".store" / ref.hash
    for keys in (tmp_path / ".store").glob("boot-*/*"):
        keys.unlink()  # the next boot
    shared.unlink()
    shared.write_bytes(bytes(len(DATA)))
    (tmp_path / "rec2").mkdir()
    second = FileStore(tmp_path / "rec2", tmp_path / ".store")
    add(second, a)
    assert content(second, ref) == DATA
    assert shared.read_bytes() == DATA
    first.close()
    second.close()


@pytest.mark.parametrize("how", ["link", "mode", "file", "readonly"])
def test_unsafe_or_unusable_shared_directories(
    rec: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / ".store"
    if how == "link":
        (tmp_path / "other").mkdir()
        shared.symlink_to(tmp_path / "other")
    elif how == "mode":
        shared.mkdir()
        shared.chmod(0o755)
    elif how == "file":
        shared.touch()
    else:
        shared = Path("/proc/relive-store")
    a = tmp_path / "a"
    a.write_bytes(DATA)
    store = FileStore(rec, shared)
    assert content(store, add(store, a)) == DATA
    store.close()
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_shared_on_another_file_system(rec: Path, tmp_path: Path) -> None:
    shm = Path(f"/dev/shm/relive-test-{os.getpid()}")
    if not shm.parent.is_dir() or shm.parent.stat().st_dev == rec.stat().st_dev:
        pytest.skip("no other file system")
    try:
        store = FileStore(rec, shm)
        assert content(store, store.add_bytes(DATA)) == DATA
        store.close()
    finally:
        if shm.is_dir():
            shm.rmdir()


def test_link_limit(rec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(rec, tmp_path / ".store")
    ref = store.add_bytes(DATA)
    (tmp_path / "rec2").mkdir()
    second = FileStore(tmp_path / "rec2", tmp_path / ".store")
    real = os.link

    def link(src: str, dst: str, **kw: Any) -> None:
        if src == ref.hash:
            raise OSError(errno.EMLINK, "Too many links")
        real(src, dst, **kw)

    monkeypatch.setattr(os, "link", link)
    assert second.add_bytes(DATA) == ref
    assert content(second, ref) == DATA
    assert len(list((tmp_path / ".store").glob("tmp-*"))) == 0
    store.close()
    second.close()


def test_concurrent_recorders(tmp_path: Path) -> None:
    """Threads with a store each, all adding the same files, and one that prunes."""
    files = []
    for i in range(12):
        path = tmp_path / f"f{i}"
        path.write_bytes(DATA[i * 1000 : i * 1000 + 50_000 * (i % 3)])
        files.append(path)
    stop = threading.Event()
    errors: list[BaseException] = []

    def record(n: int) -> None:
        try:
            for k in range(8):
                rec = tmp_path / f"rec{n}-{k}"
                rec.mkdir()
                store = FileStore(rec, tmp_path / ".store")
                r = random.Random(n * 100 + k)
                for path in r.sample(files, len(files)):
                    ref = add(store, path)
                    assert content(store, ref) == path.read_bytes()
                store.close()
                if k % 2:  # this recording is removed again
                    for path in (rec / "files").iterdir():
                        path.unlink()
        except BaseException as e:
            errors.append(e)

    def pruner() -> None:
        while not stop.is_set():
            prune(tmp_path / ".store")

    threads = [threading.Thread(target=record, args=(n,)) for n in range(4)]
    extra = threading.Thread(target=pruner)
    for thread in [*threads, extra]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    extra.join()
    assert errors == []
    for path in tmp_path.glob("rec*/files/*"):
        assert xxhash.xxh3_128_hexdigest(path.read_bytes()) == path.name


def test_prune(rec: Path, tmp_path: Path) -> None:
    shared = tmp_path / ".store"
    store = FileStore(rec, shared)
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(DATA)
    b.write_bytes(b"b" * 10_000)
    kept, gone = add(store, a), add(store, b)
    (rec / "files" / gone.hash).unlink()
    (shared / "boot-00000000000000000000000000000000").mkdir()
    (shared / "boot-00000000000000000000000000000000/1-2-3-4-5").symlink_to(f"t-{kept.hash}")
    (shared / "tmp-1-1-1").touch()
    files, freed = prune(shared)
    assert files == 1
    assert freed >= 10_000
    names = {p.name for p in shared.iterdir()}
    assert kept.hash in names
    assert gone.hash not in names
    assert "tmp-1-1-1" in names  # somebody may be writing it
    assert sum(n.startswith("boot-") for n in names) == 1
    assert content(store, kept) == DATA
    store.close()
    (tmp_path / "rec2").mkdir()
    store = FileStore(tmp_path / "rec2", shared)  # the key of b leads nowhere now
    assert content(store, add(store, b)) == b"b" * 10_000
    store.close()
    assert prune(tmp_path / "none") == (0, 0)


def test_file_too_large_for_the_disk(store: FileStore, tmp_path: Path, rec: Path) -> None:
    a = tmp_path / "a"
    a.write_bytes(DATA)
    store.add_bytes(b"first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(TraceWriteError) as caught:
            add(store, a)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert len(list((rec / "files").iterdir())) == 1  # nothing half-written stays
    assert not list(tmp_path.glob(".store/tmp-*"))


def test_open_verifies(store: FileStore, rec: Path, tmp_path: Path) -> None:
    ref = store.add_bytes(DATA)
    path = rec / "files" / ref.hash
    path.chmod(0o600)
    damaged = bytearray(DATA)
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    fds = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with pytest.raises(RecordingError, match="is damaged"):
        store.open(ref.hash)
    path.unlink()
    with pytest.raises(RecordingError, match="No such file"):
        store.open(ref.hash)
    (tmp_path / "secret").write_bytes(DATA)
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(RecordingError, match="can't be read"):
        store.open(ref.hash)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordingError, match="not a regular file"):
        store.open(ref.hash)
    for name in ("", "../events", "x" * 32, ref.hash.upper(), ref.hash + "\n", "/etc/passwd"):
        with pytest.raises(RecordingError, match="not the name"):
            store.open(name)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == fds


def test_files_directory_that_is_a_link(rec: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / xxhash.xxh3_128_hexdigest(b"x")).write_bytes(b"x")
    (rec / "files").symlink_to(tmp_path / "other")
    store = FileStore(rec)
    with pytest.raises(RecordingError):
        store.open(xxhash.xxh3_128_hexdigest(b"x"))
    with pytest.raises(RecordingError):
        store.names()
    with pytest.raises(TraceWriteError):
        store.add_bytes(b"y")
    store.close()


def test_recording_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        FileStore(tmp_path / "none")
