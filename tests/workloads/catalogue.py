"""The real programs that relive records and replays, declared: a workload a thing people do.

Each is a command run in a directory of its own, which `setup` (a command too, not recorded) has
filled, together with the files named and the compiled programs named.  `{python}` in
a command is this interpreter.
"""

from __future__ import annotations

import functools
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.workloads import harness
from tests.workloads.compiling import PROGRAMS, CannotCompile, compiled

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Workload:
    """One thing to record.

    command: what is recorded; tools: what it needs on the path; files: names in files/ that are
    copied into the directory; programs: of tests/programs, compiled into it; prepare: fills the
    directory natively; status: how it ends; deterministic: its stdout is the same in every run,
    so that the recorded run is compared with a native one too; limit: seconds to record.
    """

    name: str
    command: tuple[str, ...]
    tools: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    status: int = 0
    deterministic: bool = False
    limit: float = 60


class Missing(Exception):
    """This machine lacks something that a workload needs; the text names it."""


def lay_out(workload: Workload, directory: Path) -> list[str]:
    """Fill a new directory with what the workload needs; returns its command.

    Raises Missing.
    """
    absent = [tool for tool in workload.tools if shutil.which(tool) is None]
    if absent:
        raise Missing(f"{', '.join(absent)} is missing")
    directory.mkdir()
    for name in workload.files:
        if (FILES / name).is_dir():
            shutil.copytree(FILES / name, directory / name)
        else:
            shutil.copy(FILES / name, directory / Path(name).name)
    for name in workload.programs:
        try:
            shutil.copy(compiled(name), directory / name)
        except CannotCompile as error:
            if PROGRAMS[name].static or "missing" in str(error):
                raise Missing(f"cannot compile {name}: {error}") from None
            raise
    if workload.prepare:
        workload.prepare(directory)
    return [word.replace("{python}", sys.executable) for word in workload.command]


def bash(text: str) -> tuple[str, ...]:
    """A command: this text run by bash."""
    return ("bash", "-c", text)


def program(name: str, *, label: str | None = None) -> Workload:
    """A workload: one of the small programs."""
    return Workload(
        label or name, (f"./{name}",), programs=(name,), status=PROGRAMS[name].status, limit=30
    )


def native(command: str) -> Callable[[Path], None]:
    """A preparation: this text run by bash in the directory."""

    def prepare(directory: Path) -> None:
        outcome = harness.run(["bash", "-c", command], cwd=directory, timeout=60)
        assert outcome.status == 0, outcome.stderr.decode()

    return prepare


@functools.cache
def _sample_wheel() -> dict[str, bytes]:
    info = "sample-1.0.dist-info"
    members = {
        "sample/__init__.py": "def main():\n    print('sample runs')\n",
        "sample/data.py": "NUMBERS = " + repr(list(range(5000))) + "\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nsample = sample:main\n",
    }
    # A RECORD without hashes: allowed, and it does for a test.
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    return {name: text.encode() for name, text in members.items()}


def environment_and_wheel(directory: Path) -> None:
    """A virtual environment with pip in it, and a wheel beside it."""
    native(f"{sys.executable} -m venv environment")(directory)
    with zipfile.ZipFile(directory / "sample-1.0-py3-none-any.whl", "w") as archive:
        for name, content in _sample_wheel().items():
            archive.writestr(name, content)


def python(section: str, limit: float = 30) -> Workload:
    """A section of everything.py."""
    return Workload(
        f"python-{section}",
        ("{python}", "everything.py", section),
        files=("everything.py",),
        limit=limit,
    )


WORKLOADS: tuple[Workload, ...] = (
    Workload("true", ("/bin/true",), deterministic=True),
    program("thread_mutex_static", label="static-binary"),
    program("crash"),
    program("segv_fix", label="own-segv-handler"),
    program("exec_chain", label="exec-20-times"),
    program("many_processes", label="200-processes"),
    program("exceptions", label="c++-exceptions"),
    Workload(
        "c-threads",
        bash(
            "for program in thread_mutex thread_cond thread_barrier thread_tls thread_cancel"
            " thread_rwlock; do ./$program; done"
        ),
        programs=(
            "thread_mutex",
            "thread_cond",
            "thread_barrier",
            "thread_tls",
            "thread_cancel",
            "thread_rwlock",
        ),
    ),
    Workload("bash", ("bash", "shell.sh"), files=("shell.sh",), status=5, deterministic=True),
    Workload("busybox-static", ("busybox", "sh", "busybox.sh"), ("busybox",), ("busybox.sh",)),
    python("basics"),
    python("processes"),
    python("multiprocessing"),
    python("spawn"),
    python("threads"),
    python("asyncio"),
    python("sqlite3"),
    python("ctypes"),
    python("signals"),
    Workload("python", ("{python}", "everything.py"), files=("everything.py",)),
    Workload("perl", ("perl", "words.pl"), ("perl",), ("words.pl",), status=6),
    Workload("sqlite3", ("bash", "sqlite.sh"), ("sqlite3",), ("sqlite.sh",)),
    Workload(
        "gcc",
        bash("gcc -O2 -o program project/*.c && ./program"),
        ("gcc",),
        ("project",),
        deterministic=True,
    ),
    Workload(
        "make-j4",
        bash("make -j4 -C project CC=gcc >log && project/program"),
        ("make", "gcc"),
        ("project",),
        deterministic=True,
    ),
    Workload("git", ("bash", "git.sh"), ("git",), ("git.sh",)),
    Workload(
        "xz-T2",
        bash("xz -T2 --block-size=256KiB -k numbers && xz -dc numbers.xz | md5sum"),
        ("xz",),
        prepare=native("seq 1 200000 >numbers"),
        deterministic=True,
    ),
    Workload("redis", ("bash", "redis.sh"), ("redis-server", "redis-cli"), ("redis.sh",)),
    Workload(
        "pytest",
        ("{python}", "-m", "pytest", "-p", "no:cacheprovider", "suite/small_suite.py"),
        files=("suite",),
        status=1,
    ),
    Workload("pip", ("bash", "pip.sh"), files=("pip.sh",), prepare=environment_and_wheel),
    Workload(
        "find-sort-md5sum",
        bash("find /usr/share | sort | md5sum"),
        deterministic=True,
    ),
    Workload("ls-lR", ("ls", "-lR", "/usr/include")),
    Workload(
        "tar-gzip",
        bash("tar c /usr/share/doc 2>/dev/null | gzip -1 | wc -c"),
        ("tar", "gzip"),
        deterministic=True,
        limit=120,
    ),
)
