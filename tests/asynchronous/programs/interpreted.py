"""Small benchmark programs under signal.setitimer: the handler notes where it landed."""

import json
import random
import re
import signal
import sys
from types import FrameType

WANTED = int(sys.argv[1]) if len(sys.argv) > 1 else 100
seen: list[tuple[int, str, int]] = []


class Enough(Exception):
    pass


def on_alarm(number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    counts = [v for v in frame.f_locals.values() if type(v) is int]
    seen.append((frame.f_lineno, frame.f_code.co_name, hash(tuple(counts))))
    if len(seen) == WANTED:
        raise Enough


def counting() -> int:
    x = 0
    for _ in range(20000):
        x += 1
    return x


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def sieve(n: int) -> int:
    flags = bytearray([1]) * n
    for i in range(2, n):
        if flags[i]:
            flags[i * i :: i] = bytes(len(range(i * i, n, i)))
    return sum(flags)


def words(n: int) -> int:
    table: dict[str, int] = {}
    for i in range(n):
        key = f"w{i * 7919 % 613}"
        table[key] = table.get(key, 0) + 1
    return len(json.dumps(table)) + len(re.findall(r"w\d+7", " ".join(table)))


def queens(n: int, row: int = 0, a: int = 0, b: int = 0, c: int = 0) -> int:
    if row == n:
        return 1
    found = 0
    free = ~(a | b | c) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, a | bit, (b | bit) << 1, (c | bit) >> 1)
    return found


def floats(n: int) -> float:
    x = 0.5
    for _ in range(n):
        x = 3.7 * x * (1 - x)
    return x


def shuffled(n: int) -> int:
    generator = random.Random(4)
    items = [generator.random() for _ in range(n)]
    items.sort()
    return len(items)


def main() -> None:
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    results = []
    try:
        while True:
            results.append(counting())
            results.append(fibonacci(15))
            results.append(sieve(5000))
            results.append(words(2000))
            results.append(queens(6))
            results.append(round(floats(5000) * 1e6))
            results.append(shuffled(2000))
    except Enough:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(seen), hash(tuple((a, c) for a, _, c in seen)), len(results), sum(results))


main()
