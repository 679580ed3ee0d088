"""Instructions and pages whose results differ from run to run: can they be caught?"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from relive.doctor import kernel
from relive.doctor.child import ending
from relive.doctor.finding import Finding, Probe

PR_SET_TSC = 26
PR_TSC_ENABLE = 1
PR_TSC_SIGSEGV = 2
ARCH_SET_CPUID = 0x1012
AT_SYSINFO_EHDR = 33
RET = b"\xc3"
RDTSC = b"\x0f\x31" + RET
# push rbx; xor eax, eax; cpuid; pop rbx; ret
CPUID = b"\x53\x31\xc0\x0f\xa2\x5b" + RET
RDRAND = b"\x0f\xc7\xf0" + RET
RDSEED = b"\x0f\xc7\xf8" + RET
# mov rax, 0xffffffffff600400 (time); xor edi, edi; call rax; xor eax, eax; ret
VSYSCALL = (
    b"\x48\xc7\xc0\x00\x04\x60\xff\x31\xff\x48\x83\xec\x08\xff\xd0\x48\x83\xc4\x08\x31\xc0\xc3"
)


def runs(code: bytes) -> bool:
    """Whether the machine code runs in a process of its own without a fatal signal."""
    return os.WIFEXITED(ending(lambda: kernel.execute(code) & 0))


def tsc() -> Finding:
    def body() -> int:
        kernel.prctl("prctl(PR_SET_TSC)", PR_SET_TSC, PR_TSC_SIGSEGV)
        kernel.execute(RDTSC)
        return 0

    # First here, for a clear error when the call itself is refused.  Off again
    # at once: Python reads clocks, and the vDSO reads the counter.
    kernel.prctl("prctl(PR_SET_TSC)", PR_SET_TSC, PR_TSC_SIGSEGV)
    kernel.prctl("prctl(PR_SET_TSC)", PR_SET_TSC, PR_TSC_ENABLE)
    status = ending(body)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV:
        return Finding("yes", "prctl(PR_SET_TSC) makes rdtsc and rdtscp fault")
    return Finding("no", f"rdtsc does not fault (wait status {status:#x})")


def cpuid() -> Finding:
    def body() -> int:
        kernel.syscall("arch_prctl(ARCH_SET_CPUID)", kernel.NR_ARCH_PRCTL, ARCH_SET_CPUID, 0)
        kernel.execute(CPUID)
        return 0

    try:
        kernel.syscall("arch_prctl(ARCH_SET_CPUID)", kernel.NR_ARCH_PRCTL, ARCH_SET_CPUID, 1)
    except OSError as error:
        return Finding(
            "no",
            f"arch_prctl(ARCH_SET_CPUID): {error.strerror}",
            "replay on the kind of processor that recorded",
        )
    status = ending(body)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV:
        return Finding("yes", "cpuid can be made to fault")
    return Finding("no", f"cpuid does not fault (wait status {status:#x})")


def rdrand() -> Finding:
    there = [name for name, code in (("rdrand", RDRAND), ("rdseed", RDSEED)) if runs(code)]
    if not there:
        return Finding("yes", "neither rdrand nor rdseed executes")
    return Finding(
        "note",
        f"{' and '.join(there)} cannot be made to fault: a program that executes it may not replay",
        "have the program take random bytes from getrandom(2) or /dev/urandom",
    )


def vdso() -> Finding:
    kernel.libc.getauxval.restype = ctypes.c_ulong
    if not kernel.libc.getauxval(AT_SYSINFO_EHDR):
        return Finding("yes", "there is none")
    return Finding("yes", "there is one; it is hidden from the program when it starts")


def vsyscall() -> Finding:
    mode = "none"
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[vsyscall]"):
            mode = "emulate" if line.split()[1].startswith("r") else "xonly"
    if runs(VSYSCALL):
        return Finding(
            "note",
            f"calls through the page work (mode {mode}); only very old static programs make them,"
            " and such a call is not recorded",
            "boot with vsyscall=none to have such programs fail instead",
        )
    return Finding("yes", f"calls through the page do not work (mode {mode})")


PROBES = (
    Probe("time-stamp counter", "rdtsc and rdtscp replay what was recorded", tsc),
    Probe("cpuid faulting", "not used by this version: cpuid is left to the program", cpuid),
    Probe("rdrand and rdseed", "left to the program", rdrand),
    Probe("vdso", "clocks are read by system calls, which are recorded", vdso),
    Probe("vsyscall", "left to the program", vsyscall),
)
