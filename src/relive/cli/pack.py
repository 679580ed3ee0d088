"""`relive pack`: make a recording self-contained, or one file of it."""

from __future__ import annotations

from pathlib import Path

from relive.cli import naming, store
from relive.cli.options import Arguments, Command, Option
from relive.cli.packed import SUFFIX, is_packed, showing, unpack
from relive.cli.progress import Progress, human
from relive.cli.tell import tell
from relive.errors import ReliveError, UsageError


class Pack(Command):
    name = "pack"
    operands = "[RECORDING]"
    about = f"""\
Make RECORDING (the latest one if none is named) self-contained, so that its
directory can be copied to another disk or machine.  With -o make one file of it
(a tar archive; {SUFFIX} is the usual suffix), which `relive replay FILE` takes.
With -x unpack such a file; nothing outside the new directory is written."""
    options = (
        Option("-o", "--output", value="PATH", help="the file (with -x: directory) to make"),
        Option("-x", "--extract", help="unpack a file; without -o beside the other recordings"),
        Option("-f", "--force", help="replace the file if it exists"),
    )
    most = 1

    def run(self, args: Arguments) -> int:
        name = args.positional[0] if args.positional else None
        output = args.get("output")
        if args.has("extract"):
            return self.extract(name, output)
        path = store.find(name)
        if output is not None:
            return self.archive(path, Path(output), args.has("force"))

        from relive.trace.pack import pack

        try:
            copied = pack(path)
        except OSError as error:
            raise ReliveError(f"cannot pack {path}: {error.strerror}") from None
        files = "1 file" if copied == 1 else f"{copied} files"
        tell(f"{path} is self-contained ({files} copied)")
        return 0

    @staticmethod
    def archive(path: Path, out: Path, force: bool) -> int:
        """Make one file of a recording."""
        from relive.trace.pack import archive

        if force and out.is_file():
            out.unlink()
        try:
            with Progress("packing", unit="bytes") as progress:
                size = archive(path, out, showing(progress))
        except FileExistsError:
            raise UsageError(f"{out} exists already", "-f replaces it") from None
        except OSError as error:
            raise ReliveError(f"cannot write {out}: {error.strerror}") from None
        tell(f"{out}, {human(size)}")
        return 0

    @staticmethod
    def extract(name: str | None, output: str | None) -> int:
        """Make a directory of a packed recording."""
        if name is None:
            raise UsageError("pack: -x needs the file to unpack")
        file = Path(name)
        if not file.exists():
            raise UsageError(f"no file {file}")
        if not is_packed(file):
            raise UsageError(f"{file} is not a packed recording", "`relive pack -o FILE` makes one")
        if output is None:
            place = naming.new(file.name.removesuffix(SUFFIX).rstrip("0123456789").rstrip("-"))
        else:
            place = naming.claim(output)
        try:
            unpack(file, Path(place.path))
        finally:
            place.settled()
        tell(f"unpacked to {place.path}")
        return 0


COMMAND = Pack()
