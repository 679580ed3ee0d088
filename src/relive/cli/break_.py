"""`relive break`: breakpoints with conditions on a live program."""

from __future__ import annotations

from relive.cli.options import Arguments, Command, Option, whole
from relive.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relive.live import Request

EVALUATORS = ("auto", "supervisor", "kernel", "uprobe", "inprocess")


class Break(Command):
    name = "break"
    operands = "[PLACE...] -p PID | [PLACE...] -- PROGRAM [ARGUMENTS...]"
    about = """\
Watch places of a program while it runs: count how often they are executed, and
print or collect what a condition selects.  The program is not changed in any
other way; when relive ends, or is killed, it runs on as before.

PLACE is libc:malloc, main+0x12, file.c:120, 0xADDRESS or MODULE:0xADDRESS; a
place in a library that is loaded later is armed then.  Without --collect, --print
or --backtrace a line is printed for each candidate.  The exit status is that of
PROGRAM; 0 with -p."""
    options = (
        Option("-p", "--pid", value="PID", help="watch this process, all its threads"),
        Option("-w", "--when", value="CONDITION", help="only hits for which this is not 0"),
        Option("--collect", value="EXPRESSION", repeat=True, help="keep its value at each hit"),
        Option(
            "--at-return",
            value="EXPRESSION",
            repeat=True,
            help="keep its value when the function returns: rax is what it returns",
        ),
        Option(
            "--full",
            value="HOW",
            help="when values come faster than they are taken: wait (default), or lose and count",
        ),
        Option("--print", help="print a line for each candidate"),
        Option("--backtrace", help="print the stack of each candidate"),
        Option("-n", "--count", value="N", help="end at the Nth candidate of a place"),
        Option("--time", value="SECONDS", help="end after so much time"),
        Option("--write", value="ADDRESS", repeat=True, help="watch writes to an address"),
        Option("--access", value="ADDRESS", repeat=True, help="watch reads and writes"),
        Option("--size", value="BYTES", help="bytes of --write and --access: 1, 2, 4 or 8"),
        Option(
            "--evaluator",
            value="NAME",
            help="who decides: auto, supervisor, kernel, uprobe, inprocess",
        ),
        Option("-f", "--follow-forks", help="watch children, too"),
        Option("--stop", help="leave the program stopped (SIGSTOP) at the end"),
        Option("--stats", help="print counts and evaluators at the end"),
        Option("-o", "--output", value="FILE", help="save the hits: .csv, .jsonl or .parquet"),
        Option("-q", "--quiet", help="do not say what was armed"),
    )

    def main(self, argv: Sequence[str]) -> int:
        words = list(argv)
        program: list[str] = []
        if "--" in words:
            at = words.index("--")
            words, program = words[:at], words[at + 1 :]
            if not program:
                raise UsageError("break: no program after --", f"usage: {self.usage()}")
        args = self.parse(words)
        if args is None:
            return super().main(["--help"])
        return self.watch(args, program)

    def run(self, args: Arguments) -> int:
        return self.watch(args, [])

    def watch(self, args: Arguments, program: list[str]) -> int:
        """Do what the options say."""
        pid = args.number("pid")
        if (pid is None) == (not program):
            raise UsageError("break: either -p PID or -- PROGRAM is needed", "not both")
        evaluator = args.get("evaluator") or "auto"
        if evaluator not in EVALUATORS:
            raise UsageError(
                f"break: no evaluator is called '{evaluator}'",
                f"they are: {', '.join(EVALUATORS)}",
            )
        count = args.number("count")
        if count == 0:
            raise UsageError("break: candidates are counted from 1, so --count 0 has no meaning")
        seconds = args.get("time")
        try:
            limit = None if seconds is None else float(seconds)
        except ValueError:
            raise UsageError(f"break: --time takes seconds, not '{seconds}'") from None
        requests = self.requests(args, evaluator, count)
        if not requests:
            raise UsageError("break: no place to watch", f"usage: {self.usage()}")

        from relive.cli.watching import Watch, watch
        from relive.live.worker import in_worker

        job = Watch(
            requests,
            pid=pid,
            program=program,
            printing=args.has("print")
            or not (args.all("collect") or args.all("at-return") or args.has("backtrace")),
            backtrace=args.has("backtrace"),
            count=count,
            seconds=limit,
            follow=args.has("follow-forks"),
            stop=args.has("stop"),
            stats=args.has("stats"),
            output=args.get("output"),
            quiet=args.has("quiet"),
        )
        status = in_worker(lambda group: watch(job, group))
        if program and status is not None:
            from relive.cli.record import leave

            return leave(status)
        return 0

    def requests(self, args: Arguments, evaluator: str, count: int | None) -> list[Request]:
        """What the places on the command line ask for."""
        from typing import Literal, cast

        from relive.live import Access, Action, EvaluatorName, Request
        from relive.live.names import check
        from relive.symbols.place import parse

        when = args.get("when") or ""
        values = tuple(args.all("collect"))
        at_return = tuple(args.all("at-return"))
        full = args.get("full") or "wait"
        if full not in ("wait", "lose"):
            raise UsageError(f"break: --full is wait or lose, not '{full}'")
        for text in (when, *values, *at_return):
            if text:
                check(text)
        size_text = args.get("size")
        size = 8 if size_text is None else whole(size_text, "--size")
        if size not in (1, 2, 4, 8):
            raise UsageError("break: --size is 1, 2, 4 or 8")
        stops = args.has("backtrace") or count is not None
        if at_return and (args.all("write") or args.all("access")):
            raise UsageError("break: data does not return, so --at-return has no meaning there")
        places = [(text, Access.EXECUTE) for text in args.positional]
        places += [(text, Access.WRITE) for text in args.all("write")]
        places += [(text, Access.ACCESS) for text in args.all("access")]
        made = []
        for text, access in places:
            parse(text)
            collect = values or default_values(text, access, size)
            if at_return and not values:
                collect = ()
            action = Action(
                stop=stops,
                stop_at=count or 1,
                collect=collect,
                at_return=at_return,
                full=cast(Literal["wait", "lose"], full),
            )
            name = cast(EvaluatorName, evaluator)
            made.append(Request(text, when, action, name, access, size))
        return made


def default_values(place: str, access: object, size: int) -> tuple[str, ...]:
    """What is shown of a hit when nobody says: arguments of code, the new value of data."""
    from relive.live import Access

    if access is Access.EXECUTE:
        return ("rdi", "rsi", "rdx")
    if place.isidentifier():
        return ("rip", f"u{8 * size}[addr({place})]")
    if place[:2] in ("0x", "0X"):
        return ("rip", f"u{8 * size}[{place}]")
    return ("rip",)


COMMAND = Break()
