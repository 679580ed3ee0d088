"""Python threads that race, and a timer on top."""

import signal
import sys
import threading

WANTED = int(sys.argv[1]) if len(sys.argv) > 1 else 100
counter = 0
landings: list[int] = []
order: list[int] = []


def work(me: int) -> None:
    global counter
    while len(landings) < WANTED:
        seen = counter
        for _ in range(50):
            seen += 1
        counter = seen
        if not order or order[-1] != me:
            order.append(me)


sys.setswitchinterval(0.002)
signal.signal(signal.SIGALRM, lambda number, frame: landings.append(counter))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(landings), hash(tuple(landings)), counter, len(order), hash(tuple(order)))
