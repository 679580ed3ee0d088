"""Instructions that can't simply be copied: calls, returns, system calls, faults, jumps inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from iced_x86 import Decoder, Mnemonic

from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, InProcess, Site
from relive.conditions.inprocess.stub import Collect, Count, Stop
from relive.tracee.patching import Form
from tests.patching.conftest import Build
from tests.patching.traced import Tracer, base_of, symbols

ROUNDS = 3
#: label: how often it is executed in a round
LABELS = {
    "at_call": 1, "at_call_reg": 1, "at_call_mem": 1, "at_ret": 3, "at_ret_imm": 1,
    "at_syscall": 1, "at_rep": 1, "at_loop": 9, "at_loop_self": 9, "at_jrcxz": 2, "at_tight": 17,
    "at_endbr": 1, "at_rip": 1, "at_rip2": 1, "at_lock": 1, "at_pushf": 3, "at_popf": 3,
    "stray_first": 1, "stray_target": 3, "faulting": 3, "at_enter": 1, "at_leave": 1,
}  # fmt: skip
NEVER = ir.Binary("eq", ir.Load(ir.reg("rsp"), 8), ir.const(0x1234_5678_9ABC_DEF1))


class Run:
    def __init__(self, path: str) -> None:
        self.reader, writer = os.pipe()
        self.tracer = Tracer([path, str(ROUNDS)], stdout=writer)
        os.close(writer)
        self.process = self.tracer.main
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator
        base = base_of(self.process, Path(path).name)
        functions = symbols(path)
        labels = symbols(path, "STT_FUNC", "STT_NOTYPE")
        self.labels = {name: base + labels[name][0] for name in LABELS}
        self.functions = [(base + v, base + v + size) for v, size in functions.values() if size > 1]

    def function(self, address: int) -> tuple[int, int]:
        return next(f for f in self.functions if f[0] <= address < f[1])

    def finish(self) -> list[str]:
        with self.tracer:
            self.tracer.run()
            assert self.process.status == 0
            with os.fdopen(self.reader) as f:
                return f.read().split()


@pytest.mark.parametrize("known", [True, False], ids=["bounds", "nobounds"])
@pytest.mark.parametrize("label", LABELS)
def test_one(built: Build, label: str, known: bool) -> None:
    run = Run(built("special.c"))
    address = run.labels[label]
    function = run.function(address) if known else None
    made = run.evaluator.arm([Arm(address, NEVER, Stop(), function)])[address]
    assert run.finish() == ["0"] * ROUNDS
    if isinstance(made, str):
        pytest.skip(made)
    # An instruction that faults and is not run again is one hit all the same.
    assert made.hits == ROUNDS * LABELS[label], made.patch.template


@pytest.mark.parametrize("action", [Stop(), Count(2), Collect((ir.reg("rip"),))])
def test_all_together(built: Build, action: Stop | Count | Collect) -> None:
    run = Run(built("special.c"))
    arms = [Arm(a, ir.TRUE, action, run.function(a)) for a in run.labels.values()]
    outcome = run.evaluator.arm(arms)
    sites = {
        name: site
        for name, address in run.labels.items()
        if isinstance(site := outcome[address], Site)
    }
    assert len(sites) > 0.8 * len(LABELS), outcome
    assert run.finish() == ["0"] * ROUNDS
    for name, site in sites.items():
        assert site.hits == site.candidates == ROUNDS * LABELS[name], (name, site.patch.template)
    if isinstance(action, Collect):
        seen = [record.values[0] for _, record in run.evaluator.records()]
        assert sorted(set(seen)) == sorted(site.address for site in sites.values())
        assert len(seen) == sum(site.hits for site in sites.values())
    elif isinstance(action, Count):
        assert len(run.process.hits) == len(sites)


def test_jump_into_displaced_bytes(built: Build) -> None:
    """The computed jump is not in what is analysed: it hits the trap, and all is well."""
    run = Run(built("special.c"))
    first, second = run.labels["stray_first"], run.labels["stray_target"]
    bounds = (first, run.function(first)[1])
    made = run.evaluator.arm([Arm(first, NEVER, Stop(), bounds)])[first]
    assert isinstance(made, Site), made
    assert made.patch.form is Form.JUMP
    assert made.patch.template.count == 2
    assert run.finish() == ["0"] * ROUNDS
    assert made.hits == ROUNDS
    assert run.process.strays == 2 * ROUNDS
    assert run.process.patcher.learned == {second}


def test_interrupted_system_calls(built: Build) -> None:
    """Sites on every system call instruction of libc's read and on what follows it."""
    run = Run(built("special.c"))
    process = run.process
    # The dynamic loader has not mapped libc yet: up to main.
    libc = "libc.so.6"
    entered = {"done": False}
    main = symbols(built("special.c"))["main"][0] + base_of(process, Path(built("special.c")).name)
    stop = run.evaluator.arm([Arm(main, ir.TRUE, Stop(), run.function(main))])[main]
    assert isinstance(stop, Site), stop

    def arrived(tid: int, hit: object) -> None:
        entered["done"] = run.tracer.holding = True

    process.on_hit = arrived
    run.tracer.run(lambda: entered["done"])
    path = next(m.name for m in process.maps() if m.name.endswith(libc))
    value, size = symbols(path)["__read"] if "__read" in symbols(path) else symbols(path)["read"]
    start = base_of(process, libc) + value
    code = list(Decoder(64, process.read(start, size), ip=start))
    calls = [i for i in code if i.mnemonic == Mnemonic.SYSCALL]
    assert calls
    wanted = [i.ip for i in calls] + [i.next_ip for i in calls]
    outcome = run.evaluator.arm([Arm(a, NEVER, Stop(), (start, start + size)) for a in wanted])
    assert run.finish() == ["0"] * ROUNDS
    hits = [s.hits for s in outcome.values() if isinstance(s, Site)]
    assert ROUNDS in hits, outcome
