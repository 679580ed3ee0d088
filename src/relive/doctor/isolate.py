"""Run a probe in a process of its own: it may die, hang, or change the process."""

from __future__ import annotations

import json
import os
import select
import signal
import time

from relive.doctor.finding import Finding, Probe

#: seconds a probe may take
LIMIT = 10.0


def isolated(probe: Probe, limit: float = LIMIT) -> Finding:
    """Run the probe in a forked child and take over its finding."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.setpgid(0, 0)
            os.write(writer, json.dumps(_attempt(probe)).encode())
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    try:
        answer = _read(reader, time.monotonic() + limit)
    finally:
        os.close(reader)
        _end(pid)
    if answer is None:
        return Finding("no", f"the probe did not end within {limit:g} s")
    if not answer:
        return Finding("no", "the probe died before it could answer")
    return Finding(*json.loads(answer))


def _attempt(probe: Probe) -> Finding:
    import faulthandler
    import resource

    faulthandler.disable()
    # Some probes die on purpose; none should leave a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        return probe.run()
    except OSError as error:
        return Finding("no", explain(error))


def explain(error: OSError) -> str:
    """A failed call in words: `perf_event_open: Permission denied (EACCES)`."""
    from errno import errorcode

    name = errorcode.get(error.errno or 0, str(error.errno))
    # The ctypes layer puts the name of the call where open() puts the file's.
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{error.strerror} ({name})"


def _read(fd: int, deadline: float) -> bytes | None:
    """Everything until the pipe closes; None when the deadline passes first."""
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return None
        piece = os.read(fd, 65536)
        if not piece:
            return data
        data += piece


def _end(pid: int) -> None:
    """Kill the probe's process group and reap the probe."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os.waitpid(pid, 0)
