"""`relive traceinfo`: describe a recording as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from relive.cli import store
from relive.cli.options import Arguments, Command, Option
from relive.cli.progress import Progress
from relive.cli.tell import put


class TraceInfo(Command):
    name = "traceinfo"
    operands = "[RECORDING]"
    about = """\
Print what is known about a recording as one JSON object: what was recorded and
where, how many events there are, how large it is, whether it is whole.  With
--check every checksum is verified; otherwise damage may go unnoticed."""
    options = (Option("--check", help="read and verify all of it"),)
    most = 1

    def run(self, args: Arguments) -> int:
        from relive.cli.packed import opened

        name = args.positional[0] if args.positional else None
        with opened(name) as path:
            info = describe(path, args.has("check"))
        if name is not None and os.path.isfile(name):
            info["path"] = name
        put(json.dumps(info, indent=2) + "\n")
        return 0


def describe(path: Path, check: bool) -> dict[str, object]:
    """What traceinfo prints."""
    from relive.trace.reader import Recording

    with Recording(path) as recording:
        kinds: dict[str, int] = {}
        if check:
            with Progress("checking", recording.n_events, unit="events") as progress:
                for event in recording.events():
                    name = event.kind.name
                    kinds[name] = kinds.get(name, 0) + 1
                    progress.add(1)
        info: dict[str, object] = {
            "path": str(path),
            "state": "sound" if recording.complete else "incomplete",
            "being_recorded": not recording.complete and recording.live,
            "ended_early": recording.ended_early,
            "damaged": recording.damaged,
            "checked": check,
            "events": recording.n_events,
            "chunks": recording.n_chunks,
            "log_bytes": recording.size,
            "log_bytes_raw": recording.raw_size,
            "total_bytes": store.size(path),
            "stored_files": len(recording.store.names()),
        }
        if check:
            info["events_by_kind"] = dict(sorted(kinds.items()))
            info["damaged"] = recording.damaged
        info["recorded"] = recording.meta
        return info


COMMAND = TraceInfo()
