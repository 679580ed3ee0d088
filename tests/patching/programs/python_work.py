"""Rounds of Python, so that the interpreter's loop is at work; as libc_work.c."""

import gc
import os
import signal
import sys

# mypy: ignore-errors
gc.disable()


class Thing:
    def __init__(self, n):
        self.n = n

    def __add__(self, other):
        return Thing(self.n + other.n)


def numbers():
    a, b = 0, 1
    while a < 500:
        yield a
        a, b = b, a + b


def work():
    out = []
    total = Thing(0)
    for n in numbers():
        total = total + Thing(n)
        out.append(f"{n}:{n * 3.5:.2f}")
    words = {w: len(w) for w in ["the", "quick", "brown", "fox"] if "o" in w}
    try:
        {}["missing"]
    except KeyError as error:
        out.append(str(error))
    first, *rest = sorted(words.items(), key=lambda kv: kv[1])
    out.append(repr((first, rest, total.n, not rest, -total.n // 7, total.n & 0xFF)))
    with open(os.devnull) as f:
        out.append(f.read())
    out.extend(str(x) for x in [i**2 for i in range(5)][1:4])
    return "".join(out)


def digest(text):
    value = 0xCBF29CE4
    for c in text.encode():
        value = (value ^ c) * 0x1000193 & 0xFFFFFFFF
    return value


pid = os.getpid()
for _ in range(int(sys.argv[1])):
    os.write(1, b"%016x\n" % digest(work()))
    os.kill(pid, signal.SIGTRAP)
