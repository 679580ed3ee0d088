"""Breakpoints decided in the kernel, and counters."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from relive.doctor import kernel
from relive.doctor.child import Child
from relive.doctor.finding import Finding, Probe
from relive.doctor.isolate import explain

TRAP_PERF = 6  # si_code, <asm-generic/siginfo.h>
HITS = 50
LATER = "not used by this version"


def many() -> int:
    """Body of a child: call getppid often."""
    for _ in range(HITS):
        kernel.libc.getppid()
    return 0


def paranoia() -> str:
    try:
        level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
    except OSError:
        return "the kernel has no perf events"
    if int(level) > 2:
        return "as root: sysctl kernel.perf_event_paranoid=2"
    return "in a container: allow perf_event_open in its seccomp profile"


def armed(child: Child, program: int | None) -> int:
    """Arm a perf breakpoint at getppid in the child; its file descriptor."""
    attr = kernel.PerfAttr(
        type=kernel.PERF_TYPE_BREAKPOINT,
        sample_period=1,
        flags=kernel.PERF_DISABLED
        | kernel.PERF_EXCLUDE_KERNEL
        | kernel.PERF_EXCLUDE_HV
        | kernel.PERF_REMOVE_ON_EXEC
        | kernel.PERF_SIGTRAP,
        wakeup_events=1,
        bp_type=kernel.HW_BREAKPOINT_X,
        config1=kernel.address("getppid"),
        config2=8,
    )
    fd = kernel.perf_event_open(attr, child.pid)
    if program is not None and kernel.libc.ioctl(fd, kernel.PERF_IOC_SET_BPF, program) == -1:
        raise kernel.fail("ioctl(PERF_EVENT_IOC_SET_BPF)")
    if kernel.libc.ioctl(fd, kernel.PERF_IOC_ENABLE, 0) == -1:
        raise kernel.fail("ioctl(PERF_EVENT_IOC_ENABLE)")
    return fd


def traps(program: int | None) -> int:
    """How many SIGTRAPs of the breakpoint the child gets in HITS executions."""
    with Child(many) as child:
        child.seize()
        fd = armed(child, program)
        child.release()
        count = 0
        try:
            while os.WIFSTOPPED(status := child.wait()):
                if os.WSTOPSIG(status) == signal.SIGTRAP and child.siginfo()[1] == TRAP_PERF:
                    count += 1
                child.resume()
        finally:
            os.close(fd)
    return count


def breakpoint_event() -> Finding:
    try:
        count = traps(None)
    except OSError as error:
        return Finding("no", explain(error), paranoia())
    if count != HITS:
        return Finding("no", f"{count} of {HITS} executions trapped")
    who = "" if os.geteuid() == 0 else ", without privileges"
    return Finding("yes", f"each of {HITS} executions trapped once{who}")


def bpf() -> Finding:
    try:
        os.close(kernel.bpf_return(0))
        os.close(kernel.bpf_array())
    except OSError as error:
        return Finding("no", explain(error), "run as root, or with CAP_BPF and CAP_PERFMON")
    return Finding("yes", "a program loads, and a map that can be shared with it")


def suppressed() -> Finding:
    try:
        reject, accept = kernel.bpf_return(0), kernel.bpf_return(1)
        rejected, accepted = traps(reject), traps(accept)
    except OSError as error:
        return Finding("no", explain(error), "run as root, or with CAP_BPF and CAP_PERFMON")
    if accepted != HITS:
        return Finding("no", f"{accepted} of {HITS} accepted executions trapped")
    if rejected:
        return Finding(
            "no",
            f"{rejected} of {HITS} rejected executions trapped all the same",
            "a kernel that lets BPF suppress the signal (Linux 6.10 and later)",
        )
    return Finding("yes", f"{HITS} rejected executions gave no trap, {HITS} accepted gave one each")


def uprobe() -> Finding:
    kind = int(Path("/sys/bus/event_source/devices/uprobe/type").read_text())
    at = kernel.address("getppid")
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        low, high = (int(part, 16) for part in span.split("-"))
        if path and low <= at < high:
            break
    else:
        return Finding("no", "libc is not mapped from a file")
    name = ctypes.create_string_buffer(os.fsencode(path[0].strip()))
    attr = kernel.PerfAttr(
        type=kind,
        sample_period=1,
        flags=kernel.PERF_DISABLED,
        config1=ctypes.addressof(name),
        config2=at - low + int(offset, 16),
    )
    try:
        fd = kernel.perf_event_open(attr, os.getpid())
    except OSError as error:
        return Finding("no", explain(error), "run as root, or with CAP_PERFMON")
    if kernel.libc.ioctl(fd, kernel.PERF_IOC_ENABLE, 0) == -1:
        raise kernel.fail("ioctl(PERF_EVENT_IOC_ENABLE)")
    many()
    count = int.from_bytes(os.read(fd, 8), "little")
    if count != HITS:
        return Finding("no", f"{count} of {HITS} executions counted")
    return Finding("yes", f"each of {HITS} executions counted")


def pmu() -> Finding:
    attr = kernel.PerfAttr(
        type=kernel.PERF_TYPE_HARDWARE,
        config=kernel.PERF_COUNT_HW_INSTRUCTIONS,
        flags=kernel.PERF_EXCLUDE_KERNEL | kernel.PERF_EXCLUDE_HV,
    )
    try:
        fd = kernel.perf_event_open(attr, 0)
    except OSError as error:
        return Finding("no", f"no counter of instructions: {explain(error)}")
    many()
    if not int.from_bytes(os.read(fd, 8), "little"):
        return Finding("no", "the counter of instructions stays at 0")
    return Finding("yes", "instructions are counted")


PROBES = (
    Probe("perf breakpoint", LATER, breakpoint_event),
    Probe("bpf", LATER, bpf),
    Probe("perf breakpoint + bpf", LATER, suppressed),
    Probe("uprobe", LATER, uprobe),
    Probe("performance counters", "never needed, never used", pmu),
)
