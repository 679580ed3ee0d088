"""`relive doctor`: what this machine allows, what relive will use, what to do to get more."""

from __future__ import annotations

from relive.cli.options import Arguments, Command, Option
from relive.cli.tell import flush, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.doctor import Finding, Probe


class Doctor(Command):
    name = "doctor"
    about = """\
Try everything of this machine that relive can use, and say for each what was
found, what relive does with it, and what to do to get more.  The exit status is
1 when a recording cannot be made or replayed here.

With --selftest, prove on this machine what conditions decided in the kernel rely
on: what a rejected and an accepted hit of a breakpoint give, and that every way
of stopping stops exactly at the address, 1000 of 1000.  The exit status is 1
when one of them does not hold."""
    options = (
        Option("--json", help="print JSON: a list of objects"),
        Option("--list", help="only list what is tried"),
        Option("--selftest", help="prove what the kernel evaluator relies on"),
    )
    most = 0

    def run(self, args: Arguments) -> int:
        from relive import __version__
        from relive.doctor import examine, probes

        proving = args.has("selftest")
        tried = probes()
        if proving:
            from relive.doctor.selftest import PROOFS

            tried = PROOFS
        if args.has("list"):
            for probe in tried:
                put(f"{probe.name:<22} {probe.use}\n")
            return 0
        found: list[tuple[Probe, Finding]] = []
        as_json = args.has("json")
        if not as_json:
            put(f"relive {__version__}\n")
        for probe in tried:
            finding = examine(probe)
            found.append((probe, finding))
            if not as_json:
                put(line(probe, finding))
                flush()
        missing = [
            probe.name
            for probe, finding in found
            if (finding.status == "no" if proving else fatal(probe, finding))
        ]
        if as_json:
            self.as_json(found)
        elif proving:
            put(verdict(missing, found))
        elif missing:
            put(f"relive cannot work here: {', '.join(missing)}\n")
        else:
            put("relive can record and replay here\n")
        return 1 if missing else 0

    @staticmethod
    def as_json(found: list[tuple[Probe, Finding]]) -> None:
        """Print the findings as JSON."""
        import json

        rows = [
            {
                "name": probe.name,
                "status": finding.status,
                "required": probe.required,
                "detail": finding.detail,
                "use": probe.use,
                "more": finding.more,
            }
            for probe, finding in found
        ]
        put(json.dumps(rows, indent=2) + "\n")


def fatal(probe: Probe, finding: Finding) -> bool:
    """Whether relive cannot work because of this."""
    return probe.required and finding.status == "no"


def verdict(wrong: list[str], found: list[tuple[Probe, Finding]]) -> str:
    """The last line of a self-test."""
    if wrong:
        return f"does not hold here: {', '.join(wrong)}\n"
    untried = [probe.name for probe, finding in found if finding.status != "yes"]
    if untried:
        return f"all that could be tried holds here; not tried: {', '.join(untried)}\n"
    return "all of it holds here\n"


def line(probe: Probe, finding: Finding) -> str:
    """A finding as a person reads it."""
    mark = (
        "NO"
        if fatal(probe, finding)
        else {"no": "no", "yes": "yes", "note": "note"}[finding.status]
    )
    text = f"{mark:>4}  {probe.name:<21}  {finding.detail} [{probe.use}]\n"
    if finding.more:
        text += f"{'':29}to get more: {finding.more}\n"
    return text


COMMAND = Doctor()
