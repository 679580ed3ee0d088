"""The entry point: which command, errors in one line, nothing imported in vain."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import relive as package
from relive.cli import COMMANDS, choose, load, main
from relive.errors import UsageError
from tests.cli.conftest import Make
from tests.conftest import Relive


def test_versions_agree(relive: Relive) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert package.__version__ == project["project"]["version"]
    assert relive("--version", check=True).stdout == f"relive {package.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load(name)
    assert command.name == name
    assert main([name, "--help"]) == 0
    assert main(["help", name]) == 0
    first, second = capsys.readouterr().out.split("usage: ")[1:]
    assert first == second
    assert first.startswith(f"relive {name}")


def test_without_a_command(tmp_path: Path, make: Make) -> None:
    recording = make("x-0")
    packed = tmp_path / "packed"
    subprocess.run(
        [sys.executable, "-m", "relive", "pack", recording, "-o", packed],
        check=True,
        capture_output=True,
    )
    assert choose([str(tmp_path)]) == ("replay", [str(tmp_path)])
    assert choose([str(packed), "-a"]) == ("replay", [str(packed), "-a"])
    assert choose(["/bin/ls", "-l"]) == ("record", ["/bin/ls", "-l"])
    assert choose(["no-such-thing"]) == ("record", ["no-such-thing"])
    assert choose(["ls", "-l"]) == ("ls", ["-l"])
    with pytest.raises(UsageError):
        choose(["-q", "/bin/ls"])


def test_no_arguments(relive: Relive) -> None:
    result = relive()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: relive COMMAND")


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["replay"], 2, "relive: error: replay: no debugger to start; debugging a replay comes"),
        (["replay", "-a"], 1, "relive: error: no latest recording in"),
        (["replay", "-a", "nope"], 1, "relive: error: no recording 'nope' here or in"),
        (["replay", "-g", "5"], 2, "relive: error: replay: -g is not available: debugging"),
        (["record"], 2, "relive: error: record: an argument is missing; usage: relive record"),
        (
            ["record", "--seed", "x", "true"],
            2,
            "relive: error: record: --seed takes a whole number",
        ),
        (["record", "-v", "x", "y"], 2, "relive: error: record: -v takes NAME=VALUE, not 'x'"),
        (["record", "--verify-memory=x", "y"], 2, "relive: error: record: --verify-memory=x"),
        (["-q", "x"], 2, "relive: error: no command before option -q"),
        (["rm"], 2, "relive: error: rm: name recordings, or say --all"),
        (["pack", "-x"], 2, "relive: error: pack: -x needs the file to unpack"),
    ],
)
def test_errors_are_one_line(relive: Relive, argv: list[str], status: int, message: str) -> None:
    result = relive(*argv)
    assert result.returncode == status
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_a_reader_that_leaves(make: Make) -> None:
    make()
    command = f"{sys.executable} -m relive dump -r echo-0; echo status $? >&2"
    result = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, timeout=30
    )
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_a_full_stdout(make: Make) -> None:
    make()
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "relive", "dump", "-r", "echo-0"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    message = "relive: error: cannot write to stdout: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, message)


def test_what_recording_does_not_import() -> None:
    """Each of these costs milliseconds of every recording."""
    code = (
        "import sys; import relive.cli, relive.cli.record;"
        "print(*sorted(set(sys.modules) & {'argparse', 'dataclasses', 'inspect', 'enum',"
        " 'json', 'typing', 're', 'pathlib', 'contextlib',"
        " 'shutil', 'tempfile', 'subprocess', 'logging', 'ctypes'}))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0]={sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "\n"
