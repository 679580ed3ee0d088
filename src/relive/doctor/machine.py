"""Where relive runs: kernel, container, cores, disk, and its own parts."""

from __future__ import annotations

import os
from pathlib import Path

from relive.doctor.finding import Finding, Probe

#: bits of CapEff in /proc/self/status, <linux/capability.h>
CAPABILITIES = {19: "SYS_PTRACE", 21: "SYS_ADMIN", 38: "PERFMON", 39: "BPF"}


def system() -> Finding:
    name = os.uname()
    detail = f"{name.sysname} {name.release} {name.machine}"
    if name.sysname != "Linux" or name.machine != "x86_64":
        return Finding("no", detail, "relive runs on Linux on x86-64")
    return Finding("yes", detail)


def parts() -> Finding:
    try:
        from importlib import import_module

        core = import_module("relive._core")
    except ImportError as error:
        return Finding("no", f"the C core does not load: {error}", "install relive again")
    package = Path(core.__file__ or "").parent
    agent = package / "relive-agent"
    if not os.access(agent, os.X_OK):
        return Finding(
            "no",
            f"{agent} is missing or cannot be executed",
            "install relive again, on a file system that is not mounted noexec",
        )
    return Finding("yes", f"core and agent in {package}")


def privileges() -> Finding:
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    effective = int(status["CapEff"], 16)
    held = [name for bit, name in CAPABILITIES.items() if effective >> bit & 1]
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    detail = f"{who}, with {', '.join(held)}" if held else f"{who}, no capabilities"
    if status.get("Seccomp", "0").strip() != "0":
        detail += ", under a seccomp filter"
    return Finding("yes", detail)


def container() -> Finding:
    signs = []
    if Path("/.dockerenv").exists():
        signs.append("docker")
    if Path("/run/.containerenv").exists():
        signs.append("podman")
    try:
        # 4026531837 is the inode of the first user namespace (PROC_USER_INIT_INO).
        if Path("/proc/self/ns/user").stat().st_ino != 0xEFFFFFFD:
            signs.append("a user namespace")
        if Path("/proc/self/ns/pid").stat().st_ino != 0xEFFFFFFC:
            signs.append("a pid namespace")
    except OSError:
        pass
    kind = os.environ.get("container", "")  # noqa: SIM112 - as systemd-nspawn and lxc spell it
    if kind:
        signs.append(kind)
    if not signs:
        return Finding("yes", "none seen")
    return Finding("note", f"inside {', '.join(signs)}")


def pinning() -> Finding:
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    os.sched_setaffinity(0, {core})
    if os.sched_getaffinity(0) != {core}:
        return Finding("no", "sched_setaffinity had no effect")
    return Finding("yes", f"a process can be kept on one core ({len(allowed)} allowed)")


def disk() -> Finding:
    from relive.cli import store
    from relive.cli.progress import human

    where = store.root()
    there = where
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("no", f"{there} cannot be written to", "set RELIVE_TRACE_DIR")
    space = os.statvfs(there)
    return Finding("yes", f"in {where}, {human(space.f_bavail * space.f_frsize)} free")


PROBES = (
    Probe("system", "relive is written for Linux on x86-64", system, required=True),
    Probe("installation", "record and replay", parts, required=True),
    Probe("privileges", "none are needed", privileges),
    Probe("container", "works inside where ptrace is allowed", container),
    Probe("core pinning", "all processes of a recording run on one core", pinning, required=True),
    Probe("recordings", "where they are saved", disk),
)
