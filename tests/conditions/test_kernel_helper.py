"""relive-bpf-helper: what it lets through, what not, and an ordinary user who works with it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Load, Reg
from relive.conditions.kernel import abi, asm, helper_daemon, layout, machine, supports
from relive.conditions.kernel.asm import FRAME, R0, R1, R2, R3, R6, R7, R8, Assembler, Label
from relive.conditions.kernel.bpf import BpfRefused, Code, DirectLoader, Program
from relive.conditions.kernel.helper import HelperLoader, best_loader
from relive.conditions.kernel.helper_daemon import Refused, check
from relive.conditions.kernel.lower_bpf import Collecting, Deliver, Full, lower
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.site import BreakpointSite, Record, Told, Why
from relive.doctor import kernel
from tests.conditions.kernel_child import HOT, RBX, SITE, Pages, Tracee
from tests.conditions.kernel_child import Code as MachineCode
from tests.conditions.kernel_facilities import need_bpf, need_breakpoints
from tests.conditions.strategies import triples

WORD = 0x6B20_0000_0000
RANGES = ((0x6B00_0000_0000, 4096), (0x6B10_0000_0000, 4096))
PERF = abi.BPF_PROG_TYPE_PERF_EVENT


# -------------------------------------------------------------------------- the rules


def allowed(code: Code) -> None:
    check(code.kind, code.value_size, code.ring_size, code.text)


def test_all_that_relive_makes_is_let_through() -> None:
    for expr, _ in triples(400, 5, tuple(range(21)), RANGES):
        for kind in (PERF, abi.BPF_PROG_TYPE_KPROBE):
            allowed(lower(expr, kind=kind).code)
        allowed(lower(expr, deliver=Deliver.SIGNAL, own_pid_namespace=True).code)
        for full in Full:
            collect = Collecting((expr, Reg(RBX)), full, ring_size=4096)
            allowed(lower(expr, collect=collect, own_pid_namespace=True).code)
    wide = ir.all_of([Binary("eq", Reg(i % 15), Const(i)) for i in range(1000)])
    allowed(lower(wide).code)


def program(build: Callable[[Assembler], None], frame: int = 2) -> bytes:
    a = Assembler()
    a.mov(R6, R1)
    a.map_value(R7, asm.VALUES_MAP)
    a.mov_imm(R1, 0)
    for word in range(frame):
        a.store_imm(8, FRAME, -8 * word - 8, 0)
    build(a)
    a.mov_imm(R0, 0)
    a.exit()
    return a.finish()


def raw(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Callable[..., None]:
    return lambda a: a._put(opcode, dst, src, off, imm)


def several(*steps: Callable[[Assembler], None]) -> Callable[[Assembler], None]:
    def build(a: Assembler) -> None:
        for step in steps:
            step(a)

    return build


def jump_over(a: Assembler) -> None:
    """r1 = r10, and a jump to where r1 looks overwritten."""
    to = Label()
    a.mov(R1, FRAME)
    a.jump_imm("eq", R8, 0, to)
    a.mov_imm(R1, 0)
    a.bind(to)
    a.store(8, R7, 0, R1)


EVIL: dict[str, Callable[[Assembler], None]] = {
    "store the stack's address": lambda a: a.store(8, R7, 0, FRAME),
    "store the map's address": lambda a: a.store(8, R7, 0, R7),
    "store the context's address": lambda a: a.store(8, FRAME, -8, R6),
    "copy the stack's address": several(
        lambda a: a.mov(R8, FRAME), lambda a: a.store(8, R7, 0, R8)
    ),
    "copy it to an argument and store that": several(
        lambda a: a.mov(R1, FRAME), lambda a: a.store(8, R7, 0, R1)
    ),
    "past a jump": jump_over,
    "copy the map's address": lambda a: a.mov(R1, R7),
    "compute with an address": lambda a: a.alu("sub", R0, FRAME),
    "change r7": lambda a: a.alu_imm("add", R7, 8),
    "load into r7": lambda a: a.load(8, R7, R6, 0),
    "index by data": several(
        lambda a: a.mov(R1, FRAME),
        lambda a: a.alu("add", R1, R0),
        lambda a: a.load(8, R0, R1, 0),
    ),
    "load through an argument": several(
        lambda a: a.mov(R1, FRAME),
        lambda a: a.alu_imm("add", R1, -8),
        lambda a: a.load(8, R0, R1, 0),
    ),
    "compare addresses": lambda a: a.jump("gt", R0, FRAME, _bound(a)),
    "compare an address": lambda a: a.jump_imm("gt", R7, 0, _bound(a)),
    "store to the context": lambda a: a.store_imm(8, R6, 0, 0),
    "read kernel memory": lambda a: a.call(113),
    "read any memory": lambda a: a.call(4),
    "write user memory": lambda a: a.call(36),
    "signal the process": lambda a: a.call(109),
    "the current task": lambda a: a.call(35),
    "print": lambda a: a.call(6),
    "tail call": lambda a: a.call(12),
    "a kernel function": raw(0x85, src=2, imm=112),
    "a function of its own": raw(0x85, src=1, imm=0),
    "call a register": raw(0x8D, imm=112),
    "go to a register": raw(0x0D, dst=R8),
    "jump back": raw(0x05, off=-1),
    "a 64-bit constant": several(raw(0x18, dst=R8, imm=1), raw(0)),
    "a file descriptor": several(raw(0x18, dst=R1, src=1, imm=7), raw(0)),
    "a map's address in r8": several(raw(0x18, dst=R8, src=2, imm=0), raw(0)),
    "a kernel variable": several(raw(0x18, dst=R1, src=3, imm=5), raw(0)),
    "half an instruction": several(raw(0x18, dst=R1, src=1, imm=1), lambda a: a.mov_imm(R1, 0)),
    "stack that was not zeroed": lambda a: a.load(8, R0, FRAME, -24),
    "an argument that was not zeroed": several(
        lambda a: a.mov(R1, FRAME), lambda a: a.alu_imm("add", R1, -24)
    ),
    "an argument in two steps": several(
        lambda a: a.mov(R1, FRAME),
        lambda a: a.alu_imm("add", R1, -8),
        lambda a: a.alu_imm("add", R1, -8),
        lambda a: a.alu_imm("add", R1, -8),
    ),
    "atomic exchange": raw(0xDB, dst=R7, src=R0, imm=0xE1),
    "atomic on the stack": raw(0xDB, dst=FRAME, src=R0, off=-8, imm=1),
    "atomic with an address": raw(0xDB, dst=R7, src=FRAME, imm=1),
    "32-bit atomic": raw(0xC3, dst=R7, src=R0, imm=1),
    "32-bit arithmetic on an address": raw(0xBC, dst=R0, src=FRAME),
    "byte swap": raw(0xD7, dst=R7, imm=64),
    "address space cast": raw(0xBF, dst=R0, src=R1, off=1, imm=1),
    "a packet load": raw(0x20, imm=0),
    "negate an address": lambda a: a.alu_imm("neg", R7, 0),
    "32-bit jump": raw(0x16, dst=FRAME),
    "r11": raw(0xB7, dst=11),
    "store r15": raw(0x7B, dst=R7, src=15),
}


def _bound(a: Assembler) -> Label:
    label = Label()
    label.at = len(a) + 1
    return label


@pytest.mark.parametrize("build", EVIL.values(), ids=EVIL)
def test_what_is_refused(build: Callable[[Assembler], None]) -> None:
    check(PERF, 4096, 4096, program(lambda a: None))
    with pytest.raises(Refused):
        check(PERF, 4096, 4096, program(build))


def test_a_program_without_the_beginning_is_refused() -> None:
    good = program(lambda a: None)
    check(PERF, 4096, 0, good)
    for cut in range(8, 40, 8):
        with pytest.raises(Refused, match="begins"):
            check(PERF, 4096, 0, good[cut:])
    with pytest.raises(Refused, match="not zeroed"):
        check(PERF, 4096, 0, program(lambda a: a.load(8, R0, FRAME, -8), 0))


def test_the_ring_is_named_only_where_there_is_one() -> None:
    def ring(a: Assembler) -> None:
        a.map_fd(R1, asm.RING_MAP)
        a.mov(R2, FRAME)
        a.alu_imm("add", R2, -16)
        a.mov_imm(R3, 16)
        a.call(asm.RINGBUF_OUTPUT)

    check(PERF, 4096, 4096, program(ring))
    with pytest.raises(Refused, match="ring"):
        check(PERF, 4096, 0, program(ring))


@pytest.mark.parametrize(
    ("kind", "values", "ring", "text"),
    [
        (1, 4096, 0, b""),
        (31, 4096, 0, b""),
        (5, 4096, 0, b""),
        (PERF, 0, 0, b""),
        (PERF, 100, 0, b""),
        (PERF, 1 << 20, 0, b""),
        (PERF, 4096, 5000, b""),
        (PERF, 4096, 2048, b""),
        (PERF, 4096, 1 << 30, b""),
        (PERF, 4096, 0, bytes(8 * 16384)),
        (PERF, 4096, 0, b"123"),
    ],
)
def test_sizes_and_types(kind: int, values: int, ring: int, text: bytes) -> None:
    with pytest.raises(Refused):
        check(kind, values, ring, program(lambda a: None) + text)


# ------------------------------------------------------------------------ the service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """A running helper, to whose socket anybody may connect."""
    need_bpf()
    if os.geteuid():
        pytest.skip("only root can start the helper")
    path = tmp_path / "socket"
    daemon = subprocess.Popen(
        [sys.executable, "-I", helper_daemon.__file__, "--listen", path],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            try:
                HelperLoader(str(path)).close()
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert daemon.poll() is None, daemon.communicate()
                select.select([], [], [], 0.01)
        for each in (path, *list(path.parents)[:-2]):
            each.chmod(each.stat().st_mode | 0o11 | (0o66 if each == path else 0))
        yield path
    finally:
        daemon.send_signal(signal.SIGINT)
        _, said = daemon.communicate()
        assert "Traceback" not in said


def as_nobody(body: Callable[[], object]) -> object:
    """Run in a child without privileges; its result, through JSON."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            kernel.prctl("prctl(PR_SET_DUMPABLE)", 4, 1)
            os.write(writer, json.dumps(body()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    assert answer, "the child failed"
    return json.loads(answer)


def test_an_ordinary_user(service: Path) -> None:
    """Loads through the helper, and stops its own child by it."""
    need_breakpoints()

    def run(pages: Pages, code: MachineCode) -> None:
        pages.touch()
        code.call(1000, WORD)

    def body() -> object:
        with pytest.raises(BpfRefused):
            DirectLoader().load(lower(ir.TRUE).code)
        machine.programs_missing.cache_clear()
        machine.loading_missing.cache_clear()
        assert "relive-bpf-helper" in str(machine.loading_missing())
        machine.loading_missing.cache_clear()
        os.environ["RELIVE_BPF_HELPER"] = str(service)
        assert machine.missing() is None
        assert supports(ir.TRUE) is None
        loader = best_loader()
        assert isinstance(loader, HelperLoader)
        word = Binary("eq", Load(Const(WORD), 8), Const(500))
        with (
            Pages([(WORD, 4096)]) as pages,
            MachineCode(HOT) as code,
            Programs(loader) as programs,
            Tracee(lambda: run(pages, code)) as child,
            BreakpointSite(programs, code.start + SITE, word) as site,
        ):
            site.attach(child.pid)
            child.release()
            child.stop()
            told = site.take_stop(child.pid)
            assert told == Told(child.pid, 501, Why.CANDIDATE)
            assert child.regs()[RBX] == 500
            # Another constant, another program; all without privilege.
            site.set_condition(Binary("eq", Load(Const(WORD), 8), Const(600)))
            child.run()
            assert child.regs()[RBX] == 600
            assert programs.loads == 1
            assert child.run() == 0
            return site.counts()

    assert as_nobody(body) == [499, 1, 0, 0, 0, 0, 1]


def test_collecting_through_it(service: Path) -> None:
    need_breakpoints()
    collect = Collecting((Reg(RBX),), ring_size=1 << 16)
    with (
        HelperLoader(str(service)) as loader,
        Programs(loader) as programs,
        Pages([(WORD, 4096)]),
        MachineCode(HOT) as code,
        Tracee(lambda: code.call(100, WORD)) as child,
        BreakpointSite(programs, code.start + SITE, collect=collect) as site,
    ):
        site.attach(child.pid)
        child.release()
        assert child.stop() == 0
        assert site.drain() == [Record(child.pid, i + 1, (i,)) for i in range(100)]


def test_refusals_come_back_in_words(service: Path) -> None:
    with HelperLoader(str(service)) as loader:
        with pytest.raises(BpfRefused, match="an address is not stored"):
            loader.load(Code(PERF, program(EVIL["store the map's address"]), 4096))
        # Let through by the rules, refused by the verifier: r5 was never set.
        unset = program(lambda a: a.store(8, R7, 0, 5))
        with pytest.raises(BpfRefused, match="R5") as info:
            loader.load(Code(PERF, unset, 4096))
        assert info.value.number in (13, 22)
        # The connection is as good as before.
        Program(lower(ir.TRUE).code, loader).close()


def test_nonsense_is_answered(service: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(service))
        for packet in (b"x", b"relive-1", b"relive-1" + bytes(16), b"relive-1" + bytes(5000)):
            client.send(packet)
            magic, number = helper_daemon.ANSWER.unpack_from(client.recv(1 << 16))
            assert (magic, number) == (b"relive-1", 1)


def test_limits_of_a_connection(service: Path) -> None:
    code = lower(ir.TRUE).code
    ring = Code(code.kind, code.text, code.value_size, helper_daemon.MAX_RING)
    with HelperLoader(str(service)) as loader:
        for _ in range(helper_daemon.MAX_RINGS // helper_daemon.MAX_RING):
            Program(ring, loader).close()
        with pytest.raises(BpfRefused, match="too many"):
            Program(ring, loader)
        Program(code, loader).close()
    with pytest.raises(BpfRefused):
        loader.load(code)


def test_the_helper_gives_up_its_privileges(service: Path) -> None:
    pids = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(service).encode() in path.read_bytes()
    ]
    (pid,) = pids
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert set(status["Uid"].split()) != {"0"}
    assert int(status["CapEff"], 16) == 1 << 38 | 1 << 39
    assert int(status["CapPrm"], 16) == 1 << 38 | 1 << 39
    assert status["NoNewPrivs"] == "1"


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HelperLoader(str(tmp_path / "none"))


def test_the_layout_fits_the_limits() -> None:
    assert layout.value_size(layout.MAX_WORDS - layout.CONSTANTS) <= helper_daemon.MAX_VALUES
    assert struct.calcsize("<BBhi") == 8
