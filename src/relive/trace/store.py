"""Stored files: the contents of files that the recorded program mapped.

A recording keeps each content once, in `files/<xxh3-128 of it>`, mode 0400.  The
hash is computed over the very bytes that were stored.

Recordings of one user can share contents through a cache, a directory beside
them (`FileStore(path, shared=...)`):

    <shared>/<hash>                 a content, mode 0400; recordings hold hard links to it
    <shared>/boot-<boot id>/<key>   symbolic link, text "t-<hash>" or "u-<hash>": the content
                                    of the file whose device, inode, size, mtime and ctime are
                                    <key>; t: trusted, u: only a hint (see below)
    <shared>/tmp-*                  being written

Everything appears by an atomic link or rename, so recorders need no lock, and
one that is killed leaves at most a tmp- file (`prune` removes it).  Keys are per
boot: device numbers change between boots, and after a power cut a file may not
hold what was written.

When is the same key the same content?  A write(2) changes mtime and ctime, but
their clock ticks every 1 to 10 ms, and a store through a writable shared mapping changes them
only when it makes a clean page dirty (file_update_time() in page_mkwrite); the page
is clean again at the latest after writeback, 30 s by default plus the flusher's 5 s
interval (vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs).  So a key is trusted when the
ctime was TRUST_AGE old when the content was read, on file systems known to keep these rules.
tmpfs doesn't (it has no page_mkwrite), nor do network file systems.  A key that is not trusted
is a hint: the file is read and hashed again, but not copied when nothing changed.
"""

# pathlib costs 5 ms of start-up:
# ruff: noqa: PTH102, PTH208

from __future__ import annotations

import errno
import os
import time

from relive.errors import RecordingError
from relive.trace.errors import TraceWriteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike, stat_result

    Key = tuple[int, int, int, int, int]

TRUST_AGE = 60 * 10**9
_TRUSTED_TYPES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "overlay", "erofs")
)
_BLOCK = 1 << 20
# ext4 allows 65,000 links to a file; renewed in time.
_MAX_LINKS = 30000
_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_HEX = frozenset("0123456789abcdef")
_ZEROS = bytes(_BLOCK)


def is_hash(name: str) -> bool:
    """Is this the name of a stored file?"""
    return len(name) == 32 and _HEX.issuperset(name)


class FileRef:
    """A stored file. hash: xxh3-128 of the content, 32 lower-case hex digits; size: bytes."""

    __slots__ = ("hash", "size")

    def __init__(self, hash: str, size: int) -> None:  # noqa: A002
        self.hash = hash
        self.size = size

    def __repr__(self) -> str:
        return f"FileRef({self.hash!r}, {self.size})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileRef) and (self.hash, self.size) == (other.hash, other.size)

    def __hash__(self) -> int:
        return hash(self.hash)


class FileStore:
    """The stored files of one recording: `add` while recording, `open` while replaying.

    shared: the cache that recordings share, or None. It is created when missing, and quietly not
    used where it can't be (another file system, not this user's own, read-only).
    """

    def __init__(
        self, path: str | PathLike[str], shared: str | PathLike[str] | None = None
    ) -> None:
        """path: the recording's directory, which exists.  Raises RecordingError."""
        self.path = os.fspath(path)
        self._files = -1
        self._shared: SharedFiles | None = None
        self._shared_path = None if shared is None else os.fspath(shared)
        self._known: dict[Key, tuple[FileRef, bool]] = {}
        self._stored: dict[str, FileRef] = {}
        self._verified: set[str] = set()
        self._mounts: dict[int, str] | None = None
        self._serial = 0
        try:
            self._dir = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise RecordingError(f"can't open the recording {self.path} ({e.strerror})") from e

    def close(self) -> None:
        """Closes the directories; harmless when closed."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        for fd in (self._files, self._dir):
            if fd >= 0:
                os.close(fd)
        self._files = self._dir = -1

    # -- recording

    def add(self, fd: int, *, fresh: bool = False) -> FileRef:
        """Stores the content of the regular file behind fd, which is left as it is.

        fd may be open for anything (O_PATH, write-only) if this process may re-open it; its
        offset is neither used nor moved.
        fresh: don't trust the file's times, because somebody has it mapped shared and
        writable.  Raises TraceWriteError (disk full) or OSError (the file can't be read).
        """
        st = os.fstat(fd)
        if st.st_mode & 0o170000 != 0o100000:
            raise OSError(errno.EINVAL, "not a regular file")
        key = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
        hit = self._known.get(key)
        if hit is not None and hit[1] and not fresh:
            return hit[0]
        now = time.time_ns()
        shared = self._prepare()
        named = shared.lookup(key) if shared is not None and hit is None else None
        if named is not None and named[1] and not fresh:
            ref = FileRef(named[0], st.st_size)
            if self._take(ref):
                self._known[key] = (ref, True)
                return ref
        trusted = now - st.st_ctime_ns > TRUST_AGE and self._keeps_times(st) and not fresh
        source, own = _reopen(fd)
        try:
            hint = hit[0].hash if hit is not None else named[0] if named is not None else ""
            found = self._unchanged(source, st.st_size, hint) if hint else None
            if found is None:
                found = self._copy(source, own)
            after = os.fstat(source)
        finally:
            os.close(source)
        # Written to meanwhile: whatever was read is not what these times stand for.
        if (st.st_size, st.st_mtime_ns, st.st_ctime_ns) == (
            after.st_size,
            after.st_mtime_ns,
            after.st_ctime_ns,
        ):
            self._known[key] = (found, trusted)
            if shared is not None and not fresh and found.size == st.st_size:
                shared.remember(key, found.hash, trusted)
        return found

    def add_bytes(self, data: bytes) -> FileRef:
        """Stores bytes as a file.  Raises TraceWriteError."""
        from xxhash import xxh3_128

        self._prepare()
        name = xxh3_128(data).hexdigest()
        ref = FileRef(name, len(data))
        if not self._take(ref, verify=True):
            with self._temporary() as to:
                with _disk(self.path):
                    write_at(to.fd, data, 0)
                    os.ftruncate(to.fd, ref.size)
                self._publish(to, ref)
        return ref

    def _prepare(self) -> SharedFiles | None:
        if self._files < 0:
            with _disk(self.path):
                try:
                    os.mkdir("files", 0o700, dir_fd=self._dir)
                    os.chmod("files", 0o700, dir_fd=self._dir)  # whatever the umask is
                except FileExistsError:
                    pass
                self._files = os.open("files", _DIRECTORY, dir_fd=self._dir)
            if self._shared_path is not None:
                self._shared = SharedFiles.usable(self._shared_path, self._files)
        return self._shared

    def _keeps_times(self, st: stat_result) -> bool:
        if self._mounts is None:
            self._mounts = _file_systems()
        return self._mounts.get(st.st_dev) in _TRUSTED_TYPES

    def _take(self, ref: FileRef, *, verify: bool = False) -> bool:
        """The content is in this recording, or could be linked from the shared ones.

        verify: no key of this boot vouches for the shared file, so read it first.
        """
        if ref.hash in self._stored:
            return True
        shared = self._shared
        if shared is None or (verify and not shared.whole(ref)):
            return False
        if not shared.link(ref, self._files):
            return False
        self._stored[ref.hash] = ref
        return True

    def _unchanged(self, source: int, size: int, name: str) -> FileRef | None:
        """The file's content if it hashes to `name` and that is stored already."""
        ref = FileRef(name, size)
        known = name in self._stored or (self._shared is not None and self._shared.has(ref))
        if known and _hash(source) == (name, size) and self._take(ref):
            return ref
        return None

    def _copy(self, source: int, own: bool) -> FileRef:
        with self._temporary() as to:
            with _disk(self.path):
                if _clone(source, to.fd):
                    name, size = _hash(to.fd)
                else:
                    name, size = _copy_and_hash(source, own, to.fd)
            ref = FileRef(name, size)
            if not self._take(ref, verify=True):
                self._publish(to, ref)
        return ref

    def _temporary(self) -> _Temporary:
        self._serial += 1
        # In the shared directory, so that one link(2) publishes it there as well; for that it is
        # on the same file system.
        return _Temporary(
            self._files if self._shared is None else self._shared.dir,
            f"tmp-{os.getpid()}-{id(self):x}-{self._serial}",
            self.path,
        )

    def _publish(self, to: _Temporary, ref: FileRef) -> None:
        with _disk(self.path):
            os.fchmod(to.fd, 0o400)
            if self._shared is None:
                os.rename(to.name, ref.hash, src_dir_fd=to.dir, dst_dir_fd=self._files)
                to.name = ""
            else:
                # The recording's own link first: a file with two links is never pruned.
                os.link(to.name, ref.hash, src_dir_fd=to.dir, dst_dir_fd=self._files)
                os.rename(to.name, ref.hash, src_dir_fd=to.dir, dst_dir_fd=self._shared.dir)
                to.name = ""
        self._stored[ref.hash] = ref

    # -- replaying

    def open(self, name: str) -> int:
        """A new read-only descriptor of a stored file, whose content has been verified.

        Verified once per FileStore, not at every opening.  Raises RecordingError when it is
        missing, damaged or not a plain file.
        """
        where = f"{self.path}/files/{name}"
        if not is_hash(name):
            raise RecordingError(f"{name[:80]!r} is not the name of a stored file")
        fd = -1
        try:
            if self._files < 0:
                self._files = os.open("files", _DIRECTORY, dir_fd=self._dir)
            fd = os.open(name, _READ, dir_fd=self._files)
            if os.fstat(fd).st_mode & 0o170000 != 0o100000:
                raise OSError(errno.EINVAL, "not a regular file")
            if name not in self._verified:
                if _hash(fd, own=True)[0] != name:
                    raise RecordingError(
                        f"the stored file {where} is damaged: its content does not match its name"
                    )
                self._verified.add(name)
        except OSError as e:
            if fd >= 0:
                os.close(fd)
            raise RecordingError(
                f"the stored file {where} can't be read ({e.strerror})",
                "the recording is not complete; `relive pack` makes one that can be copied",
            ) from e
        except RecordingError:
            os.close(fd)
            raise
        return fd

    def names(self) -> list[str]:
        """The stored files there are, sorted.  Raises RecordingError."""
        try:
            if self._files < 0:
                self._files = os.open("files", _DIRECTORY, dir_fd=self._dir)
            return sorted(n for n in os.listdir(self._files) if is_hash(n))
        except FileNotFoundError:
            return []
        except OSError as e:
            raise RecordingError(f"can't read {self.path}/files ({e.strerror})") from e


class SharedFiles:
    """The contents that recordings share: see this file's head."""

    def __init__(self, fd: int, keys: int) -> None:
        self.dir = fd
        self._keys = keys
        self._serial = 0

    @classmethod
    def usable(cls, path: str, files: int) -> SharedFiles | None:
        """Opens (creates) it, or None where it must not or can't be used for recordings
        whose `files` directory is open as `files`."""
        fd = keys = -1
        try:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
            fd = os.open(path, _DIRECTORY)
            st = os.fstat(fd)
            # Somebody else could put in there what a replay then executes.
            private = st.st_uid == os.geteuid() and st.st_mode & 0o077 == 0
            if private and st.st_dev == os.fstat(files).st_dev:
                boot = f"boot-{_boot_id()}"
                try:
                    os.mkdir(boot, 0o700, dir_fd=fd)
                except FileExistsError:
                    pass
                keys = os.open(boot, _DIRECTORY, dir_fd=fd)
                return cls(fd, keys)
        except OSError:
            pass
        if fd >= 0:
            os.close(fd)
        return None

    def close(self) -> None:
        os.close(self.dir)
        os.close(self._keys)

    def lookup(self, key: Key) -> tuple[str, bool] | None:
        """The hash the file with these times had, and whether that needs no checking."""
        try:
            text = os.readlink(_key_name(key), dir_fd=self._keys)
        except OSError:
            return None
        trust, _, name = text.partition("-")
        return (name, trust == "t") if is_hash(name) else None

    def remember(self, key: Key, name: str, trusted: bool) -> None:
        """Makes lookup(key) give (name, trusted); failing to is harmless."""
        text = f"{'t' if trusted else 'u'}-{name}"
        self._serial += 1
        temporary = f"tmp-{os.getpid()}-{id(self):x}-{self._serial}"
        try:
            os.symlink(text, temporary, dir_fd=self._keys)
            os.rename(temporary, _key_name(key), src_dir_fd=self._keys, dst_dir_fd=self._keys)
        except OSError:
            pass

    def has(self, ref: FileRef) -> bool:
        try:
            st = os.stat(ref.hash, dir_fd=self.dir, follow_symlinks=False)
        except OSError:
            return False
        return st.st_size == ref.size and st.st_mode & 0o170000 == 0o100000

    def link(self, ref: FileRef, files: int) -> bool:
        """Puts the content into a recording's `files` directory if it is here, in one piece."""
        if not self.has(ref):
            return False
        try:
            os.link(
                ref.hash, ref.hash, src_dir_fd=self.dir, dst_dir_fd=files, follow_symlinks=False
            )
        except FileExistsError:
            return True
        except OSError:  # pruned meanwhile, or EMLINK
            return False
        return True

    def whole(self, ref: FileRef) -> bool:
        """The content is here, undamaged (it may be from before a power cut), and can take
        more links."""
        if not self.has(ref):
            return False
        try:
            fd = os.open(ref.hash, _READ, dir_fd=self.dir)
        except OSError:
            return False
        try:
            return os.fstat(fd).st_nlink < _MAX_LINKS and _hash(fd) == (ref.hash, ref.size)
        except OSError:
            return False
        finally:
            os.close(fd)


def prune(path: str | PathLike[str]) -> tuple[int, int]:
    """Removes what no recording uses from the shared files at `path`.

    Safe beside running recorders: one that loses a file between finding and linking it makes
    its own copy.  Returns (files removed, bytes freed).
    """
    path = os.fspath(path)
    files = freed = 0
    try:
        top = os.open(path, _DIRECTORY)
    except OSError:
        return 0, 0
    try:
        now = time.time_ns()
        for name in os.listdir(top):
            try:
                st = os.stat(name, dir_fd=top, follow_symlinks=False)
                if is_hash(name) and st.st_nlink == 1:
                    os.unlink(name, dir_fd=top)
                    files += 1
                    freed += st.st_blocks * 512
                elif name.startswith("tmp-") and now - st.st_ctime_ns > 3600 * 10**9:
                    os.unlink(name, dir_fd=top)
                elif name.startswith("boot-"):
                    _prune_keys(top, name)
            except OSError:
                continue
    finally:
        os.close(top)
    return files, freed


def _prune_keys(top: int, name: str) -> None:
    keys = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        current = name == f"boot-{_boot_id()}"
        for key in os.listdir(keys):
            target = os.readlink(key, dir_fd=keys).partition("-")[2]
            if current and is_hash(target):
                try:
                    os.stat(target, dir_fd=top, follow_symlinks=False)
                    continue
                except FileNotFoundError:
                    pass
            os.unlink(key, dir_fd=keys)
    finally:
        os.close(keys)
    if not current:
        os.rmdir(name, dir_fd=top)


class _Temporary:
    """A new file that goes away again unless it was renamed to what it is to be."""

    def __init__(self, directory: int, name: str, recording: str) -> None:
        self.dir = directory
        self.name = name
        with _disk(recording):
            self.fd = os.open(name, _CREATE, 0o600, dir_fd=directory)

    def __enter__(self) -> _Temporary:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self.name:
            try:
                os.unlink(self.name, dir_fd=self.dir)
            except OSError:
                return


class _disk:
    """OSError while writing the recording becomes TraceWriteError.

    A class because contextlib is not imported on the start-up path.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, e: BaseException | None, trace: object) -> None:
        if isinstance(e, OSError) and not isinstance(e, _SourceError):
            raise TraceWriteError(
                f"can't store a file in the recording {self.path} ({e.strerror})",
                errno=e.errno or 0,
            ) from e


class _SourceError(OSError):
    """The file to be stored can't be read: not the recording's fault."""


def _reopen(fd: int) -> tuple[int, bool]:
    """A descriptor for reading the file behind fd, and whether its offset is its own."""
    try:
        new = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return new, True
    except OSError:
        # Opened by somebody who may do more than this process: pread works on it as it is.
        os.pread(fd, 1, 0)
        return os.dup(fd), False


def _clone(source: int, to: int) -> bool:
    from fcntl import ioctl

    try:
        ioctl(to, _FICLONE, source)
    except OSError:
        return False
    return True


def _data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what is not a hole, in order."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as e:
            if e.errno == errno.ENXIO:  # a hole up to the end
                return
            start, end = at, size  # no holes known here
        yield start, min(end, size)
        at = end


def _copy_and_hash(source: int, own: bool, to: int) -> tuple[str, int]:
    """Copies the data, leaves the holes; hashes what was written, holes as zeros.

    own: source has an offset of its own, which SEEK_DATA may move.
    """
    from xxhash import xxh3_128

    h = xxh3_128()
    at = 0
    size = os.fstat(source).st_size
    for start, end in _data_extents(source, size) if own else ((0, size),):
        while at < start:
            zeros = _ZEROS[: start - at]
            h.update(zeros)
            at += len(zeros)
        while at < end:
            try:
                block = os.pread(source, min(_BLOCK, end - at), at)
            except OSError as e:
                raise _SourceError(e.errno, e.strerror) from e
            if not block:  # it has shrunk: what is stored ends here
                os.ftruncate(to, at)
                return h.hexdigest(), at
            write_at(to, block, at)
            h.update(block)
            at += len(block)
    while at < size:
        zeros = _ZEROS[: size - at]
        h.update(zeros)
        at += len(zeros)
    os.ftruncate(to, size)
    return h.hexdigest(), size


def write_at(fd: int, block: bytes | memoryview, at: int) -> None:
    """Writes the whole block at offset `at`, except that zeros become a hole."""
    if block == _ZEROS[: len(block)]:
        return
    view = memoryview(block)
    while view:
        n = os.pwrite(fd, view, at)
        view = view[n:]
        at += n


def _hash(fd: int, own: bool = False) -> tuple[str, int]:
    """xxh3-128 and size of what can be read from fd, from its start.

    own: fd has an offset of its own, which SEEK_DATA may move: holes are not read then.
    """
    from xxhash import xxh3_128

    h = xxh3_128()
    at = 0
    size = os.fstat(fd).st_size
    for start, end in (*_data_extents(fd, size), (size, size)) if own else ((0, 1 << 62),):
        while at < start:
            zeros = _ZEROS[: start - at]
            h.update(zeros)
            at += len(zeros)
        while at < end and (block := os.pread(fd, min(_BLOCK, end - at), at)):
            h.update(block)
            at += len(block)
    if own:
        os.lseek(fd, 0, os.SEEK_SET)
    return h.hexdigest(), at


def _key_name(key: Key) -> str:
    return "-".join([f"{n:x}" for n in key])


def _boot_id() -> str:
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 64).strip().replace(b"-", b"").decode("ascii", "replace")
    finally:
        os.close(fd)
    if not is_hash(text):
        raise OSError(errno.EINVAL, "no boot id")
    return text


def _file_systems() -> dict[int, str]:
    """Type of the file system by device number (proc_pid_mountinfo(5))."""
    found: dict[int, str] = {}
    try:
        with open("/proc/self/mountinfo", "rb") as f:
            for line in f:
                fields = line.split(b" ")
                major, _, minor = fields[2].partition(b":")
                kind = fields[fields.index(b"-", 6) + 1]
                found[os.makedev(int(major), int(minor))] = kind.decode("ascii", "replace")
    except (OSError, ValueError, IndexError):
        pass  # nothing is trusted then
    return found
