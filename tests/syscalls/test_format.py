"""Calls as text: each kind of argument, and that nothing makes the printer fail."""

from __future__ import annotations

import errno
import signal
import socket
import struct
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.syscalls.decode import STRING_LIMIT, mode_text, quoted, sockaddr, wait_status
from relive.syscalls.format import format_call
from relive.syscalls.model import Kind
from relive.syscalls.names import FLAGS, SIGNALS, VALUES, flags_text, signal_name
from relive.syscalls.table import by_name, by_number

from .building import compile_and_run


class In(NamedTuple):
    arg: int
    what: int
    length: int
    data: bytes


class Out(NamedTuple):
    address: int
    data: bytes


def block(arg: int, data: bytes, length: int | None = None) -> In:
    return In(arg, 0, len(data) if length is None else length, data)


def text(arg: int, data: bytes) -> In:
    return In(arg, 1, len(data), data)


def show(
    name: str,
    *args: int,
    result: int | None = 0,
    given_: list[In] | None = None,
    got: list[Out] | None = None,
) -> str:
    unsigned = [value & 0xFFFFFFFFFFFFFFFF for value in args]
    return format_call(by_name[name].nr, unsigned, result, given_, got)


def test_files() -> None:
    assert (
        show("openat", -100, 0x1000, 0o2000000, 0, result=3, given_=[text(1, b"/etc/passwd")])
        == 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3'
    )
    assert (
        show("open", 0x1000, 0o1101, 0o644, result=3, given_=[text(0, b"new")])
        == 'open("new", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 3'
    )
    assert (
        show("read", 3, 0x1000, 64, result=6, got=[Out(0x1000, b'ab"c\n\0')])
        == 'read(3, "ab\\"c\\n\\0", 64) = 6'
    )
    assert (
        show("write", 1, 0x1000, 100, result=100, given_=[block(1, b"x" * 64, 100)])
        == f'write(1, "{"x" * STRING_LIMIT}"..., 100) = 100'
    )
    assert show("close", 3) == "close(3) = 0"
    assert show("lseek", 3, -5, 1, result=7) == "lseek(3, -5, SEEK_CUR) = 7"
    assert show("access", 0, 0, result=-errno.EFAULT) == (
        "access(NULL, F_OK) = -1 EFAULT (Bad address)"
    )
    assert show("pipe2", 0x1000, 0x80000, got=[Out(0x1000, struct.pack("<ii", 3, 4))]) == (
        "pipe2([3, 4], O_CLOEXEC) = 0"
    )
    assert show("umask", 0o22, result=0o77) == "umask(022) = 077"


def test_long_paths_are_whole() -> None:
    path = b"/" + b"d" * 200
    assert f'"{path.decode()}"' in show("chdir", 0x1000, given_=[text(0, path)])


def test_what_was_not_recorded_is_an_address() -> None:
    assert show("stat", 0x1000, 0x2000) == "stat(0x1000, 0x2000) = 0"
    assert show("read", 3, 0x1000, 64, result=-errno.EAGAIN).startswith("read(3, 0x1000, 64) = -1")
    unreadable = In(0, 2, 0, b"")
    assert show("chdir", 0x1000, result=-14, given_=[unreadable]).startswith("chdir(0x1000)")


def test_results() -> None:
    assert show("exit_group", 3, result=None) == "exit_group(3) = ?"
    assert show("pause", result=-514) == "pause() = ? ERESTARTNOHAND"
    assert show("brk", 0, result=0x55550000) == "brk(NULL) = 0x55550000"
    assert show("fcntl", 3, 3, result=0o102002) == (
        "fcntl(3, F_GETFL) = 0x8402 (O_RDWR|O_APPEND|O_LARGEFILE)"
    )
    assert format_call(999, (1, 2), 0) == "syscall_999(0x1, 0x2, 0x0, 0x0, 0x0, 0x0) = 0"


def test_memory() -> None:
    assert (
        show("mmap", 0, 8192, 3, 0x22, -1, 0, result=0x7F0000000000)
        == "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) "
        "= 0x7f0000000000"
    )
    assert "PROT_NONE" in show("mprotect", 0x1000, 4096, 0)
    assert show("madvise", 0x1000, 4096, 4) == "madvise(0x1000, 4096, MADV_DONTNEED) = 0"


def test_stat_and_times() -> None:
    data = bytearray(144)
    struct.pack_into("<I", data, 24, 0o100644)
    struct.pack_into("<q", data, 48, 1234)
    assert (
        show("fstat", 3, 0x1000, got=[Out(0x1000, bytes(data))])
        == "fstat(3, {st_mode=S_IFREG|0644, st_size=1234, ...}) = 0"
    )
    spec = struct.pack("<qq", 5, 6)
    assert (
        show("clock_gettime", 1, 0x1000, got=[Out(0x1000, spec)])
        == "clock_gettime(CLOCK_MONOTONIC, {tv_sec=5, tv_nsec=6}) = 0"
    )
    assert (
        show("nanosleep", 0x1000, 0, given_=[block(0, spec)])
        == "nanosleep({tv_sec=5, tv_nsec=6}, NULL) = 0"
    )


def test_devices_in_stat() -> None:
    info = Path("/dev/null").stat()
    data = bytearray(144)
    struct.pack_into("<I", data, 24, info.st_mode)
    struct.pack_into("<Q", data, 40, info.st_rdev)
    assert "st_rdev=makedev(0x1, 0x3)" in show("fstat", 3, 0x1000, got=[Out(0x1000, bytes(data))])


def test_polling() -> None:
    before = struct.pack("<ihh", 3, 1, 0)
    after = struct.pack("<ihh", 3, 1, 1)
    assert (
        show("poll", 0x1000, 1, 10, result=1, given_=[block(0, before)], got=[Out(0x1000, after)])
        == "poll([{fd=3, events=POLLIN, revents=POLLIN}], 1, 10) = 1"
    )
    sets = [block(1, b"\x28" + b"\0" * 7)], [Out(0x1000, b"\x08" + b"\0" * 7)]
    assert (
        show("select", 6, 0x1000, 0, 0, 0, result=1, given_=sets[0], got=sets[1])
        == "select(6, [3 5] => [3], NULL, NULL, NULL) = 1"
    )
    event = struct.pack("<IQ", 1, 42)
    assert "{EPOLLIN, data=0x2a}" in show("epoll_ctl", 4, 1, 3, 0x1000, given_=[block(3, event)])
    assert show("epoll_wait", 4, 0x1000, 8, -1, result=1, got=[Out(0x1000, event)]) == (
        "epoll_wait(4, [{EPOLLIN, data=0x2a}], 8, -1) = 1"
    )


def test_sockets() -> None:
    address = (
        struct.pack("<H", 2) + struct.pack(">H", 80) + socket.inet_aton("127.0.0.1") + b"\0" * 8
    )
    assert (
        show("connect", 3, 0x1000, 16, given_=[block(1, address)])
        == "connect(3, {sa_family=AF_INET, sin_port=80, sin_addr=127.0.0.1}, 16) = 0"
    )
    assert (
        show("socket", 1, 0x80001, 0, result=3)
        == "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3"
    )
    assert "SOL_SOCKET, SO_REUSEADDR, " in show("setsockopt", 3, 1, 2, 0x1000, 4)
    assert "SOL_TCP, TCP_NODELAY, " in show("setsockopt", 3, 6, 1, 0x1000, 4)
    assert sockaddr(b"\1\0\0name") == '{sa_family=AF_UNIX, sun_path=@"name"}'
    assert sockaddr(b"\1\0/run/x\0") == '{sa_family=AF_UNIX, sun_path="/run/x"}'
    six = struct.pack("<HHI", 10, 0x5000, 0) + socket.inet_pton(socket.AF_INET6, "::1") + b"\0" * 4
    assert sockaddr(six) == "{sa_family=AF_INET6, sin6_port=80, sin6_addr=::1}"


def test_vectors() -> None:
    array = struct.pack("<QQQQ", 0x2000, 3, 0x3000, 5)
    items = [block(1, array), block(1, b"one"), block(1, b"three")]
    assert (
        show("writev", 1, 0x1000, 2, result=8, given_=items)
        == 'writev(1, [{iov_base="one", iov_len=3}, {iov_base="three", iov_len=5}], 2) = 8'
    )
    got = [Out(0x2000, b"abc"), Out(0x3000, b"d")]
    assert (
        show("readv", 0, 0x1000, 2, result=4, given_=[block(1, array)], got=got)
        == 'readv(0, [{iov_base="abc", iov_len=3}, {iov_base="d", iov_len=5}], 2) = 4'
    )
    strings = [text(1, b"ls"), text(1, b"-l")]
    assert (
        show("execve", 0x1000, 0x2000, 0, given_=[text(0, b"/bin/ls"), *strings])
        == 'execve("/bin/ls", ["ls", "-l"], NULL) = 0'
    )


def test_messages() -> None:
    head = struct.pack("<QI4xQQQQi4x", 0, 0, 0x2000, 1, 0, 0, 0)
    array = struct.pack("<QQ", 0x3000, 5)
    assert (
        show(
            "sendmsg",
            3,
            0x1000,
            0x4000,
            result=5,
            given_=[block(1, head), block(1, array), block(1, b"hello")],
        )
        == 'sendmsg(3, {msg_iov=[{iov_base="hello", iov_len=5}], msg_flags=0}, MSG_NOSIGNAL) = 5'
    )
    got = [Out(0x3000, b"hey"), Out(0x1000 + 40, struct.pack("<QI", 0, 0x20))]
    assert (
        show("recvmsg", 3, 0x1000, 0, result=3, given_=[block(1, head), block(1, array)], got=got)
        == 'recvmsg(3, {msg_iov=[{iov_base="hey", iov_len=5}], msg_flags=MSG_TRUNC}, 0) = 3'
    )


def test_processes_and_signals() -> None:
    status = struct.pack("<I", 0x300)
    assert (
        show("wait4", -1, 0x1000, 0, 0, result=77, got=[Out(0x1000, status)])
        == "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 77"
    )
    assert wait_status(0x8B) == "WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)"
    assert wait_status(0x137F) == "WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP"
    assert show("kill", 5, 9) == "kill(5, SIGKILL) = 0"
    mask = (1 << 9 | 1 << 13).to_bytes(8, "little")
    assert show("rt_sigprocmask", 0, 0x1000, 0, 8, given_=[block(1, mask)]) == (
        "rt_sigprocmask(SIG_BLOCK, [USR1 ALRM], NULL, 8) = 0"
    )
    assert "~[]" in show("rt_sigprocmask", 2, 0x1000, 0, 8, given_=[block(1, b"\xff" * 8)])
    handler = struct.pack("<QQQQ", 1, 0x10000000, 0, 0)
    assert "{sa_handler=SIG_IGN, sa_mask=[], sa_flags=SA_RESTART}" in show(
        "rt_sigaction", 15, 0x1000, 0, 8, given_=[block(1, handler)]
    )
    assert show("clone", 0x100 | 17, 0, 0, 0, 0, result=5) == (
        "clone(CLONE_VM|SIGCHLD, NULL, NULL, NULL, NULL) = 5"
    )


def test_multiplexed_calls_are_named() -> None:
    assert show("futex", 0x1000, 128, 1, 0) == "futex(0x1000, FUTEX_WAIT_PRIVATE, 1, NULL) = 0"
    assert "TIOCGWINSZ, {ws_row=24, ws_col=80, " in show(
        "ioctl", 1, 0x5413, 0x1000, got=[Out(0x1000, struct.pack("<HHHH", 24, 80, 0, 0))]
    )
    assert "0xdeadbeef" in show("ioctl", 1, 0xDEADBEEF, 0x1000)
    assert show("fcntl", 3, 2, 1) == "fcntl(3, F_SETFD, FD_CLOEXEC) = 0"
    assert show("prctl", 15, 0x1000, given_=[text(1, b"name")]) == 'prctl(PR_SET_NAME, "name") = 0'
    assert show("arch_prctl", 0x1002, 0x7000) == "arch_prctl(ARCH_SET_FS, 0x7000) = 0"


def test_octal_escapes_stay_exact() -> None:
    assert quoted(b"\x011") == '"\\0011"'
    assert quoted(b"\x01a") == '"\\1a"'
    assert quoted(b"\\\xff") == '"\\\\\\377"'


def test_names_agree_with_python() -> None:
    for number, name in SIGNALS.items():
        if name != "SIGSTKFLT":
            assert signal.Signals(number) in (getattr(signal, name), signal.Signals(number))
            assert getattr(signal, name) == number
    assert signal_name(34) == "SIGRT_2"
    assert flags_text("open", 0o4000 | 1 << 40) == "O_NONBLOCK|0x10000000000"
    assert mode_text(0o40755) == "S_IFDIR|0755"


def test_constants_agree_with_the_headers() -> None:
    """Every name that the installed headers define as a macro has the same value there."""
    names: dict[str, int] = {}
    for table in (*FLAGS.values(), *VALUES.values()):
        names |= {name: value for value, name in table.items()}
    for call in by_number.values():
        for variant in call.variants:
            if variant.facts.label.isupper() and variant.mask == 0xFFFFFFFF:
                names[variant.facts.label] = variant.value
    # PIDFD_GET_INFO is known in several sizes; O_LARGEFILE is 0 in the headers of the C library.
    for name in ("PIDFD_GET_INFO", "O_LARGEFILE"):
        names.pop(name, None)
    includes = """
        #define _GNU_SOURCE
        struct termios2 { int words[11]; }; /* only its size matters, for TCGETS2 */
        #include <stdio.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <poll.h>
        #include <sched.h>
        #include <signal.h>
        #include <unistd.h>
        #include <sys/epoll.h>
        #include <sys/eventfd.h>
        #include <sys/file.h>
        #include <sys/inotify.h>
        #include <sys/ioctl.h>
        #include <sys/ipc.h>
        #include <sys/mman.h>
        #include <sys/mount.h>
        #include <sys/msg.h>
        #include <sys/prctl.h>
        #include <sys/random.h>
        #include <sys/resource.h>
        #include <sys/sem.h>
        #include <sys/shm.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/time.h>
        #include <sys/timerfd.h>
        #include <sys/wait.h>
        #include <sys/xattr.h>
        #include <asm/prctl.h>
        #include <net/if.h>
        #include <netinet/in.h>
        #include <netinet/tcp.h>
        #include <linux/close_range.h>
        #include <linux/fiemap.h>
        #include <linux/fs.h>
        #include <linux/fsmap.h>
        #include <linux/futex.h>
        #include <linux/hdreg.h>
        #include <linux/kd.h>
        #include <linux/keyctl.h>
        #include <linux/nsfs.h>
        #include <linux/random.h>
        #include <linux/rtc.h>
        #include <linux/seccomp.h>
        #include <linux/sockios.h>
        #include <linux/vt.h>
        #include <time.h>
    """
    body = "\n".join(
        f'#ifdef {name}\nprintf("{name} %lld\\n", (long long)({name}));\n#endif' for name in names
    )
    got = compile_and_run("constants", f"{includes}\nint main(void) {{\n{body}\nreturn 0;\n}}\n")
    assert got is not None
    found = {name: int(value) for name, value in (line.split() for line in got.splitlines())}
    wrong = {
        name: (hex(value), hex(names[name]))
        for name, value in found.items()
        if value & 0xFFFFFFFF != names[name] & 0xFFFFFFFF
    }
    assert wrong == {}
    assert len(found) > 500


@st.composite
def anything(draw: st.DrawFn) -> tuple[int, list[int], int | None, list[In], list[Out]]:
    nr = draw(st.sampled_from(sorted(by_number)))
    call = by_number[nr]
    args = [draw(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 0x3000))) for _ in range(6)]
    if call.variants:
        variant = call.variants[draw(st.integers(0, len(call.variants) - 1))]
        args[variant.arg] = variant.value
    data = st.one_of(st.binary(max_size=300), st.binary(min_size=56, max_size=56))
    items = [
        In(arg, draw(st.integers(0, 2)), len(some) + draw(st.integers(0, 20)), some)
        for arg in range(6)
        for some in draw(st.lists(data, max_size=3))
    ]
    outs = [Out(arg, draw(data)) for arg in args if draw(st.booleans())]
    result = draw(st.one_of(st.none(), st.integers(-520, 1000), st.integers(-(2**63), 2**63 - 1)))
    return nr, args, result, items, outs


@settings(max_examples=400, deadline=None)
@given(anything())
def test_nothing_makes_it_fail(
    case: tuple[int, list[int], int | None, list[In], list[Out]],
) -> None:
    line = format_call(*case)
    assert "\n" not in line
    assert line.startswith(by_number[case[0]].name + "(")


@pytest.mark.parametrize("name", sorted(by_name))
def test_every_call_prints_without_items(name: str) -> None:
    call = by_name[name]
    line = format_call(call.nr, (0x1000,) * 6, 0)
    assert line.startswith(f"{name}(")
    assert all(arg.fmt for arg in call.facts.args if arg.kind is not Kind.SCALAR)
