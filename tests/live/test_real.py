"""Programs of everyday survive being attached to, a hundred sites with false conditions, and
being left; under load, and with their results checked."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
PIPE_SIZE = 65536


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
    begin: Callable[[], object] | None = None,
) -> live.Counts:
    """Attach, watch for a while, leave; the sum of all counts.

    begin: called when the sites are in place.  The program must run until after the while.
    """
    with live.Session() as session:
        session.attach(pid)
        session.add_all(hundred(pid, modules, evaluator, first))
        if begin is not None:
            begin()
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
        "import hashlib, json, re, sys, threading\n"
        "def work(n):\n"
        "    out = hashlib.sha256()\n"
        "    for i in range(n):\n"
        "        text = json.dumps({'a': list(range(i % 50)), 'b': str(i) * 3})\n"
        "        out.update(re.sub('[0-4]', '-', str(json.loads(text))).encode())\n"
        "    return out.hexdigest()\n"
        "def until_told():\n"
        "    results.add(work(500))\n"
        "    while not told.is_set(): results.add(work(500))\n"
        "results, told = set(), threading.Event()\n"
        "threads = [threading.Thread(target=until_told) for _ in range(3)]\n"
        "[t.start() for t in threads]\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read(); told.set(); [t.join() for t in threads]\n"
        "print(results)\n"
    )
    program = shutil.which("python3") or sys.executable
    command = [program, "-c", code]
    natural = subprocess.run(command, capture_output=True, input="", text=True, check=True)
    modules = ("libpython3", "python3", "python3.11", "libc")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as target:
        assert target.stdout is not None
        assert target.stdout.readline() == "ready\n"
        for _ in range(2):
            total = watch(target.pid, modules, evaluator, 0.5)
            assert total.hits > 0
        output, _ = target.communicate(timeout=60)
    assert (target.returncode, "ready\n" + output) == (0, natural.stdout)


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
    lines = [
        f"int f{i}(int x) {{ for (int k = 0; k < x; k++) x += k * {i}; return x; }} // {50 * '-'}\n"
        for i in range(700)
    ]
    source = "".join(lines).encode()
    assert len(source) > PIPE_SIZE
    command = [compiler, "-quiet", "-O2", "-o"]
    start = time.monotonic()
    subprocess.run([*command, tmp_path / "plain.s", "-"], input=source, check=True, timeout=60)
    seconds = min(0.4, (time.monotonic() - start) / 2)
    expected = (tmp_path / "plain.s").read_text()
    for evaluator in EVALUATORS:
        made = tmp_path / f"{evaluator}.s"
        with subprocess.Popen([*command, made, "-"], stdin=subprocess.PIPE) as cc1:
            assert cc1.stdin is not None
            cc1.stdin.write(source)  # more than the pipe holds: it runs, and is reading now
            cc1.stdin.flush()
            hot = ("libc:malloc", "libc:free", "libc:calloc")
            modules = ("libc", "libgmp", "libmpfr")
            total = watch(cc1.pid, modules, evaluator, seconds, hot, cc1.stdin.close)
            assert cc1.wait(timeout=60) == 0
        assert made.read_text() == expected
        assert total.hits > 0


# Both work in rounds, each with the same result, until their stdin is closed.
RUST = """
use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
static TOLD: AtomicBool = AtomicBool::new(false);
fn round(number: u64) -> (bool, u64) {
    let mut seen: HashMap<String, u64> = HashMap::new();
    for i in 0..20000u64 {
        *seen.entry(format!("{}", (i * 7 + number) % 1013)).or_insert(0) += i;
    }
    let result = std::panic::catch_unwind(|| { if number < 9 { panic!("caught") } });
    (result.is_err(), seen.values().sum::<u64>())
}
fn main() {
    println!("ready");
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..3u64).map(|number| {
        let sender = sender.clone();
        thread::spawn(move || {
            let first = round(number);
            while !TOLD.load(Ordering::Relaxed) { assert_eq!(round(number), first); }
            sender.send(first).unwrap();
        })
    }).collect();
    drop(sender);
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    TOLD.store(true, Ordering::Relaxed);
    let mut got: Vec<_> = receiver.iter().collect();
    got.sort();
    for thread in threads { thread.join().unwrap(); }
    println!("{:?}", got);
}
"""

GO = """
package main

import ("fmt"; "io"; "os"; "sync"; "sync/atomic")

var told int32

func round(n int) (sum int) {
    seen := map[string]int{}
    for i := 0; i < 20000; i++ { seen[fmt.Sprint((i*7+n)%1013)] += i }
    for _, value := range seen { sum += value }
    defer func() { recover() }()
    var nothing *int
    *nothing = 1
    return
}

func main() {
    fmt.Println("ready")
    var group sync.WaitGroup
    sums := make([]int, 4)
    for n := range sums {
        group.Add(1)
        go func(n int) {
            defer group.Done()
            sums[n] = round(n)
            for atomic.LoadInt32(&told) == 0 {
                if round(n) != sums[n] { panic("another sum") }
            }
        }(n)
    }
    io.ReadAll(os.Stdin)
    atomic.StoreInt32(&told, 1)
    group.Wait()
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
    with subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as target:
        assert target.stdout is not None
        assert target.stdout.readline() == "ready\n"
        total = watch(target.pid, (program.name,), evaluator, 0.5 if not LONG else 2)
        output, _ = target.communicate(timeout=60)
    assert ("ready\n" + output, target.returncode) == (natural.stdout, 0)
    assert total.hits > 0
