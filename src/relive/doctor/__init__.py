"""What this machine allows: every facility relive can use, really tried.

A probe never concludes from a version number or a configuration file: it does
the thing in a process of its own and looks at what happened.  `PROBES` lists
them; `examine` runs them.
"""

from __future__ import annotations

from relive.doctor.finding import Finding, Probe, Status
from relive.doctor.isolate import isolated

__all__ = ["Finding", "Probe", "Status", "examine", "probes"]


def probes() -> tuple[Probe, ...]:
    """All probes, in the order of the report."""
    from relive.doctor import breakpoints, instructions, machine, memory, tracing

    return (
        *machine.PROBES,
        *tracing.PROBES,
        *memory.PROBES,
        *instructions.PROBES,
        *breakpoints.PROBES,
    )


def examine(probe: Probe) -> Finding:
    """Try one facility, in a process of its own; never raises for what the machine does."""
    return isolated(probe)
