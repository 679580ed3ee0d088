"""A program that never does the same thing twice: what `make demo` records.

Time, random bytes, process ids, threads that race, an interval timer whose
signal comes when it likes, a child process, a pipe.
"""

import os
import random
import signal
import subprocess
import threading
import time
import uuid

ticks = 0


def tick(number: int, frame: object) -> None:
    """The timer's handler."""
    global ticks
    ticks += 1


def worker(name: str, order: list[str]) -> None:
    """Three rounds of sleeping for a random time."""
    for _ in range(3):
        time.sleep(random.random() / 100)
        order.append(name)


def main() -> None:
    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.004, 0.004)

    print("pid       ", os.getpid())
    print("clock     ", time.time_ns())
    print("random    ", os.urandom(8).hex(), random.randrange(10**6))
    print("uuid      ", uuid.uuid4())
    print("address   ", hex(id(object())))

    order: list[str] = []
    threads = [threading.Thread(target=worker, args=(name, order)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads   ", "".join(order))

    child = subprocess.run(["sh", "-c", "echo $$; date +%N"], capture_output=True, text=True)
    print("child     ", *child.stdout.split())

    signal.setitimer(signal.ITIMER_REAL, 0)
    print("timer     ", ticks, "ticks")


if __name__ == "__main__":
    main()
