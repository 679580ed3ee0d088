"""The kernel evaluator: conditions decided in the kernel.

- `BreakpointSite`: a hardware breakpoint or watchpoint with a BPF program; 11 to 25 µs a
  rejected hit in a virtual machine, any code, 4 at a time.
- `UprobeSite`: a uprobe with a BPF program on an instruction that the kernel emulates; 0.6 µs.
- `CountingSite`: conditions on the hit count alone, without BPF and without privilege.

docs/kernel-evaluator.md tells what each needs and promises.

    asm           assembler for BPF
    abi           bpf(2) and perf_event_open(2)
    bpf           programs and maps; programs: one for each shape of condition
    helper        programs loaded by relive-bpf-helper (helper_daemon) for an ordinary user
    layout        the map that a program and the supervisor share
    lower_bpf     from the intermediate form to BPF
    perf, uprobe  the events;  ring, samples: what hits leave without stopping
    machine       what the running kernel allows
    site          sites
"""

from __future__ import annotations

from collections.abc import Sequence

from relive.conditions import ir


def supports(condition: ir.Expr, collect: Sequence[ir.Expr] = ()) -> str | None:
    """Why a breakpoint decided in the kernel can't have this condition and these values to
    collect, on this machine and as this user; None when it can."""
    from relive.conditions.kernel import lower_bpf, machine

    return machine.missing() or lower_bpf.supports(condition, collect)


def uprobe_supports(
    condition: ir.Expr, pid: int, address: int, code: bytes, collect: Sequence[ir.Expr] = ()
) -> str | None:
    """The same for a uprobe at an address of a process.

    code: the instruction's bytes as the program has them.
    """
    from relive.conditions.kernel import lower_bpf, machine, uprobe

    if uprobe.emulated(code) is None:
        return "the kernel does not emulate the instruction there"
    if uprobe.locate(pid, address) is None:
        return "no file is mapped there"
    return uprobe.missing() or machine.programs_missing() or lower_bpf.supports(condition, collect)
