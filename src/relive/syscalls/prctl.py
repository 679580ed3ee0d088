"""prctl and arch_prctl: known options; an unknown one gets EINVAL, the kernel's own answer."""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Arg,
    Call,
    Facts,
    addr,
    call,
    facts,
    hexa,
    num,
    one_of,
    out,
    pid,
    select,
    sig,
    size,
    string,
    unsigned,
)

_OPTION: Final = one_of("prctl")


def _op(label: str, *more: Arg, on_entry: bool = False, on_exit: bool = False) -> Facts:
    return facts(label, _OPTION, *more, on_entry=on_entry, on_exit=on_exit)


def _no(label: str, answer: int = errno.EINVAL, *, warn: bool = False) -> Facts:
    return facts(label, _OPTION, hexa(), hexa(), hexa(), hexa(), refuse=answer, warn=warn)


_OPTIONS: Final = {
    1: _op("PR_SET_PDEATHSIG", sig()),
    2: _op("PR_GET_PDEATHSIG", out("int")),
    # A recorder without CAP_SYS_PTRACE could no longer read the memory: it keeps the setting.
    3: _op("PR_GET_DUMPABLE", on_entry=True),
    4: _op("PR_SET_DUMPABLE", num(), on_entry=True),
    5: _no("PR_GET_UNALIGN"),
    6: _no("PR_SET_UNALIGN"),
    7: _op("PR_GET_KEEPCAPS"),
    8: _op("PR_SET_KEEPCAPS", num()),
    9: _no("PR_GET_FPEMU"),
    10: _no("PR_SET_FPEMU"),
    11: _no("PR_GET_FPEXC"),
    12: _no("PR_SET_FPEXC"),
    13: _op("PR_GET_TIMING"),
    14: _op("PR_SET_TIMING", num()),
    15: _op("PR_SET_NAME", string()),
    16: _op("PR_GET_NAME", out("comm")),
    19: _no("PR_GET_ENDIAN"),
    20: _no("PR_SET_ENDIAN"),
    21: _op("PR_GET_SECCOMP"),
    22: _op("PR_SET_SECCOMP", num(), addr(), on_entry=True, on_exit=True),
    23: _op("PR_CAPBSET_READ", num()),
    24: _op("PR_CAPBSET_DROP", num()),
    # The recorder has the time-stamp counter trap already: it answers with what the program set.
    25: _op("PR_GET_TSC", out("int"), on_entry=True),
    26: _op("PR_SET_TSC", num(), on_entry=True),
    27: _op("PR_GET_SECUREBITS"),
    28: _op("PR_SET_SECUREBITS", hexa()),
    29: _op("PR_SET_TIMERSLACK", unsigned()),
    30: _op("PR_GET_TIMERSLACK"),
    31: _op("PR_TASK_PERF_EVENTS_DISABLE"),
    32: _op("PR_TASK_PERF_EVENTS_ENABLE"),
    33: _op("PR_MCE_KILL", num(), num()),
    34: _op("PR_MCE_KILL_GET"),
    # Moves the kernel's idea of heap and stack.
    35: _no("PR_SET_MM", errno.EPERM, warn=True),
    36: _op("PR_SET_CHILD_SUBREAPER", num()),
    37: _op("PR_GET_CHILD_SUBREAPER", out("int")),
    38: _op("PR_SET_NO_NEW_PRIVS", num()),
    39: _op("PR_GET_NO_NEW_PRIVS"),
    40: _op("PR_GET_TID_ADDRESS", out("ptr")),
    41: _op("PR_SET_THP_DISABLE", num(), hexa()),
    42: _op("PR_GET_THP_DISABLE"),
    43: _no("PR_MPX_ENABLE_MANAGEMENT"),
    44: _no("PR_MPX_DISABLE_MANAGEMENT"),
    45: _no("PR_SET_FP_MODE"),
    46: _no("PR_GET_FP_MODE"),
    47: _op("PR_CAP_AMBIENT", num(), num()),
    50: _no("PR_SVE_SET_VL"),
    51: _no("PR_SVE_GET_VL"),
    52: _op("PR_GET_SPECULATION_CTRL", num()),
    53: _op("PR_SET_SPECULATION_CTRL", num(), hexa()),
    54: _no("PR_PAC_RESET_KEYS"),
    55: _no("PR_SET_TAGGED_ADDR_CTRL"),
    56: _no("PR_GET_TAGGED_ADDR_CTRL"),
    57: _op("PR_SET_IO_FLUSHER", num()),
    58: _op("PR_GET_IO_FLUSHER"),
    # Turns system calls into signals by a byte in memory, before a tracer could see them.
    59: _no("PR_SET_SYSCALL_USER_DISPATCH", warn=True),
    60: _no("PR_PAC_SET_ENABLED_KEYS"),
    61: _no("PR_PAC_GET_ENABLED_KEYS"),
    62: _op("PR_SCHED_CORE", num(), pid(), num(), out("u64")),
    63: _no("PR_SME_SET_VL"),
    64: _no("PR_SME_GET_VL"),
    # Would forbid the recorder to patch code.
    65: _no("PR_SET_MDWE", warn=True),
    66: _op("PR_GET_MDWE"),
    67: _op("PR_SET_MEMORY_MERGE", num()),
    68: _op("PR_GET_MEMORY_MERGE"),
    69: _no("PR_RISCV_V_SET_CONTROL"),
    70: _no("PR_RISCV_V_GET_CONTROL"),
    71: _no("PR_RISCV_SET_ICACHE_FLUSH_CTX"),
    72: _no("PR_PPC_GET_DEXCR"),
    73: _no("PR_PPC_SET_DEXCR"),
    74: _no("PR_GET_SHADOW_STACK_STATUS"),
    75: _no("PR_SET_SHADOW_STACK_STATUS"),
    76: _no("PR_LOCK_SHADOW_STACK_STATUS"),
    77: _op("PR_TIMER_CREATE_RESTORE_IDS", num()),
    78: _op("PR_FUTEX_HASH", num(), num(), hexa()),
    # Belongs to rseq, which is refused.
    79: _no("PR_RSEQ_SLICE_EXTENSION"),
    # The result is the vector's true size.
    0x41555856: _op("PR_GET_AUXV", out(ret_min=2), size()),
    # PR_SET_VMA_ANON_NAME: the name may be NULL.
    0x53564D41: _op("PR_SET_VMA", num(), addr(), size(), string()),
    0x59616D61: _op("PR_SET_PTRACER", pid()),
}

_CODE: Final = one_of("arch_prctl")


def _arch(label: str, second: Arg) -> Facts:
    return facts(label, _CODE, second)


def _arch_no(label: str, answer: int, *, warn: bool = False) -> Facts:
    return facts(label, _CODE, hexa(), refuse=answer, warn=warn)


_ARCH_CODES: Final = {
    # The base registers are part of the state that the replayer installs.
    0x1001: facts("ARCH_SET_GS", _CODE, addr(), on_exit=True, replay=True),
    0x1002: facts("ARCH_SET_FS", _CODE, addr(), on_exit=True, replay=True),
    0x1003: _arch("ARCH_GET_FS", out("ptr")),
    0x1004: _arch("ARCH_GET_GS", out("ptr")),
    # The recorder itself has CPUID trap; these are the answers of a CPU that can't.
    0x1011: _arch_no("ARCH_GET_CPUID", errno.EINVAL),
    0x1012: _arch_no("ARCH_SET_CPUID", errno.ENODEV, warn=True),
    0x1021: _arch("ARCH_GET_XCOMP_SUPP", out("u64")),
    0x1022: _arch("ARCH_GET_XCOMP_PERM", out("u64")),
    # AMX tiles would make the extended state grow while the program runs.
    0x1023: _arch_no("ARCH_REQ_XCOMP_PERM", errno.EOPNOTSUPP, warn=True),
    0x1024: _arch("ARCH_GET_XCOMP_GUEST_PERM", out("u64")),
    0x1025: _arch_no("ARCH_REQ_XCOMP_GUEST_PERM", errno.EOPNOTSUPP, warn=True),
    # ARCH_CET_STATUS as glibc 2.28 to 2.38 asks at start-up; never merged upstream.
    0x3001: _arch_no("ARCH_CET_STATUS", errno.EINVAL),
    0x4001: _arch("ARCH_GET_UNTAG_MASK", out("u64")),
    0x4002: _arch_no("ARCH_ENABLE_TAGGED_ADDR", errno.ENODEV, warn=True),
    0x4003: _arch("ARCH_GET_MAX_TAG_BITS", out("u64")),
    0x4004: _arch_no("ARCH_FORCE_TAGGED_SVA", errno.EINVAL),
    # What a CPU without shadow stacks answers; the C library asks at start-up.
    0x5001: _arch_no("ARCH_SHSTK_ENABLE", errno.EOPNOTSUPP),
    0x5002: _arch_no("ARCH_SHSTK_DISABLE", errno.EOPNOTSUPP),
    0x5003: _arch_no("ARCH_SHSTK_LOCK", errno.EOPNOTSUPP),
    0x5004: _arch_no("ARCH_SHSTK_UNLOCK", errno.EOPNOTSUPP),
    0x5005: _arch_no("ARCH_SHSTK_STATUS", errno.EOPNOTSUPP),
}

CALLS: Final[tuple[Call, ...]] = (
    call(
        "prctl",
        157,
        _OPTION,
        hexa(),
        hexa(),
        hexa(),
        hexa(),
        refuse=errno.EINVAL,
        warn=True,
        variants=select(0, _OPTIONS),
    ),
    call(
        "arch_prctl",
        158,
        _CODE,
        addr(),
        refuse=errno.EINVAL,
        warn=True,
        variants=select(0, _ARCH_CODES),
    ),
)
