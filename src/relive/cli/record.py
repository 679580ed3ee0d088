"""`relive record`: run a program and record it and everything it starts."""

from __future__ import annotations

import os

from relive.cli import naming
from relive.cli.options import Arguments, Command, Option
from relive.cli.tell import flush, tell
from relive.errors import CannotStart, UsageError


class Record(Command):
    name = "record"
    operands = "PROGRAM [ARGUMENTS...]"
    about = """\
Run PROGRAM and record it and every process and thread it starts.  Its output,
exit status (or killing signal) and files are what they would be without relive.
The exit status is 69 when PROGRAM cannot be started."""
    options = (
        Option("-o", "--output", value="DIR", help="save there (a new or empty directory)"),
        Option("-v", "--env", value="NAME=VALUE", repeat=True, help="set an environment variable"),
        Option("-q", "--quiet", help="do not say where the recording is saved"),
        Option(
            "-n",
            "--no-syscall-buffer",
            help="trap at every system call (always so in this version)",
        ),
        Option(
            "--verify-memory",
            value="WHEN",
            optional="exit",
            help="keep digests of all memory at these points: exit; events (asynchronous, too);"
            " all (calls, too)",
        ),
        Option(
            "-h",
            "--chaos",
            help="look for races with random, unfair scheduling",
        ),
        Option(
            "--seed", value="N", help="the scheduling's seed (drawn, and kept in the recording)"
        ),
        Option("-c", "--slice", value="MS", help="time slice when others could run (50 ms)"),
        Option(
            "-t",
            "--continue-through-signal",
            value="SIG",
            help="hold SIG (a name or number) back where it would end the program",
        ),
    )
    stops_at_operand = True
    least = 1

    def run(self, args: Arguments) -> int:
        env = environment(args.all("env"))
        verify = args.get("verify-memory")
        if verify not in (None, "exit", "events", "all"):
            raise UsageError(
                f"record: --verify-memory={verify} is not known", "it can be: exit, events, all"
            )
        quiet = args.has("quiet")

        from relive.record.session import record

        output = args.get("output")
        place = naming.claim(output) if output else naming.new(args.positional[0])

        def started() -> None:
            place.settled()
            if not quiet:
                tell(f"saving to {place.path}")
            if not output:
                try:
                    naming.set_latest(place.path)
                except OSError as error:
                    tell(f"warning: `latest` not set: {error.strerror}")

        try:
            status = record(
                args.positional,
                place.path,
                env=env,
                verify_memory=verify,
                quiet=quiet,
                shared_files=None if output else os.path.join(naming.root(), ".store"),
                slice_ms=milliseconds(args.get("slice")),
                chaos=seed(args),
                through=through(args.get("continue-through-signal")),
                started=started,
            )
        except CannotStart:
            discard(place.path)
            raise
        finally:
            place.settled()
        return leave(status)


def milliseconds(text: str | None) -> float | None:
    """A time slice from the command line."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 60000:
        raise UsageError(f"record: -c takes milliseconds from 0.1 to 60000, not '{text}'")
    return value


def through(text: str | None) -> int:
    """The number of a signal given as USR1, SIGUSR1 or 10; 0 without one."""
    if text is None:
        return 0
    import signal

    names = signal.Signals.__members__
    for name in (text.upper(), f"SIG{text.upper()}"):
        if name in names:
            return int(names[name])
    number = int(text) if text.isdecimal() else 0
    if number not in signal.valid_signals():
        raise UsageError(f"record: -t takes a signal, not '{text}'")
    return number


def seed(args: Arguments) -> int | None:
    """The seed of chaos mode; None without it."""
    text = args.get("seed")
    if text is None:
        return int.from_bytes(os.urandom(8), "little") if args.has("chaos") else None
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise UsageError(f"record: --seed takes a whole number below 2^64, not '{text}'")
    return int(text)


def environment(settings: list[str]) -> dict[str, str] | None:
    """The program's environment with `settings` (NAME=VALUE) put in; None: as ours."""
    if not settings:
        return None
    env = dict(os.environ)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise UsageError(f"record: -v takes NAME=VALUE, not '{setting}'")
        env[name] = value
    return env


def discard(directory: str) -> None:
    """Remove a recording of a program that never ran."""
    from shutil import rmtree

    rmtree(directory, ignore_errors=True)


def leave(status: int) -> int:
    """Exit as the program did: returns its exit status, or dies of its signal.

    status: a wait status.
    """
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    signal_number = os.WTERMSIG(status)

    import resource
    import signal

    flush()
    # The program may have left a core file; ours would take its place.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if signal_number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(signal_number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal_number})
    os.kill(os.getpid(), signal_number)
    return 128 + signal_number  # not reached, unless the signal is blocked elsewhere


COMMAND = Record()
