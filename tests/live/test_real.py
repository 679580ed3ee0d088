"""Programs of everyday survive being attached to, a hundred sites with false conditions, and
being left; under load, and with their results checked."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relive import live
from relive.live.request import Request
from relive.symbols.image import Image
from relive.symbols.process import ProcessSymbols
from relive.symbols.symbol import STT_FUNC
from tests.live.targets import LONG, NEVER

SITES = 100
EVALUATORS = ["auto", "supervisor"]


def functions(image: Image, count: int, skip: int = 0) -> Iterator[str]:
    """Addresses of functions all over a file, as places of it."""
    found = sorted(
        symbol.value
        for symbols in image.symbols.values()
        for symbol in symbols
        if symbol.type == STT_FUNC and symbol.size > 16 and image.executable(symbol.value)
    )
    distinct = [address for address, _ in itertools.groupby(found)]
    step = max(1, len(distinct) // (count + skip))
    for address in distinct[::step][:count]:
        yield f"{image.path}:{address:#x}"


def hundred(
    pid: int, modules: tuple[str, ...], evaluator: Any, first: tuple[str, ...] = ()
) -> list[Request]:
    """A hundred sites with false conditions, in those of these modules that are mapped."""
    symbols = ProcessSymbols(pid)
    symbols.refresh()
    chosen = [m for m in symbols.modules if any(m.matches(name) for name in modules)]
    assert chosen, symbols.modules
    places = list(first)
    for module in chosen:
        places += functions(module.image, SITES // len(chosen))
    for module in chosen:
        if len(places) < SITES:
            places += functions(module.image, 4 * SITES)
    unique = list(dict.fromkeys(places))[:SITES]
    assert len(unique) == SITES
    return [Request(place, NEVER, live.stop(), evaluator) for place in unique]


def watch(
    pid: int,
    modules: tuple[str, ...],
    evaluator: Any,
    seconds: float,
    first: tuple[str, ...] = (),
) -> live.Counts:
    """Attach, watch for a while, leave; the sum of all counts."""
    with live.Session() as session:
        session.attach(pid)
        session.add_all(hundred(pid, modules, evaluator, first))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            event = session.run(left)
            assert event is None, event
        session.core.pause()
        total = live.Counts()
        for count in session.counts().values():
            total += count
    assert total.candidates == total.undecided == 0
    return total


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_python(evaluator: str) -> None:
    code = (
        "import hashlib, json, re, threading\n"
        "def work(n):\n"
        "    out = hashlib.sha256()\n"
        "    for i in range(n):\n"
        "        text = json.dumps({'a': list(range(i % 50)), 'b': str(i) * 3})\n"
        "        out.update(re.sub('[0-4]', '-', str(json.loads(text))).encode())\n"
        "    results.append(out.hexdigest())\n"
        "results = []\n"
        "threads = [threading.Thread(target=work, args=(8000,)) for _ in range(3)]\n"
        "print('ready', flush=True)\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(set(results)), results[0])\n"
    )
    program = shutil.which("python3") or sys.executable
    natural = subprocess.run([program, "-c", code], capture_output=True, text=True, check=True)
    target = subprocess.Popen([program, "-c", code], stdout=subprocess.PIPE, text=True)
    assert target.stdout is not None
    assert target.stdout.readline() == "ready\n"
    modules = ("libpython3", "python3", "python3.11", "libc")
    for _ in range(2):
        total = watch(target.pid, modules, evaluator, 0.5)
    output, _ = target.communicate(timeout=60)
    assert (target.returncode, "ready\n" + output) == (0, natural.stdout)
    assert total.hits > 0


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_redis_under_load(tmp_path: Path, evaluator: str) -> None:
    server, benchmark = shutil.which("redis-server"), shutil.which("redis-benchmark")
    if not server or not benchmark:
        pytest.skip("no redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    redis = subprocess.Popen(
        [server, "--port", port, "--save", "", "--dir", tmp_path, "--io-threads", "2"],
        stdout=subprocess.DEVNULL,
    )
    client = shutil.which("redis-cli") or "redis-cli"

    def ask(*words: str) -> str:
        command = [client, "-p", port, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()

    try:
        for _ in range(200):
            if ask("ping") == "PONG":
                break
            time.sleep(0.05)
        number = "50000" if LONG else "8000"
        benchmark_command = [benchmark, "-n", number, "-c", "10", "-r", "1000", "-q"]
        benchmark_command += ["-t", "set,get,incr,lpush,zadd"]
        load = subprocess.Popen(
            [*benchmark_command, "-p", port],
            stdout=subprocess.PIPE,
            text=True,
        )
        totals = [watch(redis.pid, ("redis-server", "libc"), evaluator, 0.4) for _ in range(3)]
        assert sum(total.hits for total in totals) > 0
        assert ask("set", "key", "value") == "OK"
        output, _ = load.communicate(timeout=120)
        assert load.returncode == 0
        assert "rror" not in output
        assert ask("get", "key") == "value"
    finally:
        redis.terminate()
    assert redis.wait(timeout=20) == 0


def test_gcc(tmp_path: Path) -> None:
    """The compiler proper, started and attached to: what it writes is the same."""
    compiler = subprocess.run(
        ["gcc", "-print-prog-name=cc1"], capture_output=True, text=True
    ).stdout.strip()
    source = tmp_path / "long.c"
    lines = [
        f"int f{i}(int x) {{ for (int k = 0; k < x; k++) x += k * {i}; return x; }}"
        for i in range(700)
    ]
    source.write_text("\n".join(lines))
    command = [compiler, "-quiet", "-O2", "-o"]
    subprocess.run([*command, tmp_path / "plain.s", source], check=True, timeout=60)
    expected = (tmp_path / "plain.s").read_text()
    for evaluator in EVALUATORS:
        made = tmp_path / f"{evaluator}.s"
        cc1 = subprocess.Popen([*command, made, source])
        time.sleep(0.2)
        hot = ("libc:malloc", "libc:free", "libc:calloc")
        total = watch(cc1.pid, ("libc", "libgmp", "libmpfr"), evaluator, 0.4, hot)
        assert cc1.wait(timeout=60) == 0
        assert made.read_text() == expected
        assert total.hits > 0


RUST = """
use std::collections::HashMap;
use std::io::Read;
use std::sync::mpsc;
use std::thread;
fn main() {
    println!("ready");
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..3u64).map(|number| {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut seen: HashMap<String, u64> = HashMap::new();
            for i in 0..150000u64 {
                *seen.entry(format!("{}", (i * 7 + number) % 1013)).or_insert(0) += i;
            }
            let result = std::panic::catch_unwind(|| { if number < 9 { panic!("caught") } });
            sender.send((result.is_err(), seen.values().sum::<u64>())).unwrap();
        })
    }).collect();
    drop(sender);
    let mut got: Vec<_> = receiver.iter().collect();
    got.sort();
    for thread in threads { thread.join().unwrap(); }
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    println!("{:?}", got);
}
"""

GO = """
package main

import ("fmt"; "io"; "os"; "sync")

func main() {
    fmt.Println("ready")
    var group sync.WaitGroup
    sums := make([]int, 4)
    for n := range sums {
        group.Add(1)
        go func(n int) {
            defer group.Done()
            seen := map[string]int{}
            for i := 0; i < 150000; i++ { seen[fmt.Sprint((i*7+n)%1013)] += i }
            for _, value := range seen { sums[n] += value }
            defer func() { recover() }()
            var nothing *int
            *nothing = 1
        }(n)
    }
    group.Wait()
    io.ReadAll(os.Stdin)
    fmt.Println(sums)
}
"""


def _compiled(tmp_path: Path, language: str) -> Path:
    program = tmp_path / f"{language}-program"
    if language == "rust":
        compiler, source = shutil.which("rustc"), tmp_path / "main.rs"
        source.write_text(RUST)
        command = [compiler or "", "-O", "-g", "-o", str(program), str(source)]
    else:
        compiler, source = shutil.which("go"), tmp_path / "main.go"
        source.write_text(GO)
        command = [compiler or "", "build", "-o", str(program), str(source)]
    if compiler is None:
        pytest.skip(f"no compiler for {language}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"the compiler for {language} does not work: {done.stderr[-200:]}")
    return program


@pytest.mark.limit(180)
@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("language", ["rust", "go"])
def test_compiled_languages(tmp_path: Path, language: str, evaluator: str) -> None:
    program = _compiled(tmp_path, language)
    natural = subprocess.run(
        [program], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
    target = subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert target.stdout is not None
    assert target.stdout.readline() == "ready\n"
    total = watch(target.pid, (program.name,), evaluator, 0.5 if not LONG else 2)
    output, _ = target.communicate(timeout=60)
    assert ("ready\n" + output, target.returncode) == (natural.stdout, 0)
    assert total.hits > 0
