"""What the standard library does that a recorder finds hard.  Arguments: sections, or none for all.

Prints what is different in every run: a replay has to print the very same.
"""

import asyncio
import ctypes
import hashlib
import multiprocessing
import os
import pathlib
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid


def basics() -> None:
    print("random", random.random(), random.getrandbits(128), random.SystemRandom().random())
    print("uuid", uuid.uuid1(), uuid.uuid4())
    print("time", time.time_ns(), time.monotonic_ns(), time.perf_counter_ns(), time.process_time())
    print("urandom", os.urandom(16).hex(), "hash", hash("relive"), "id", id(object()))
    time.sleep(0.001)
    print("pid", os.getpid(), os.getppid(), os.times(), os.getloadavg(), os.cpu_count())
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "file")
        path.write_text("text " * 10000)
        print("stat", path.stat(), path, hashlib.sha256(path.read_bytes()).hexdigest())
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            print(file.name, sorted(len(path.name) for path in pathlib.Path(directory).iterdir()))


def processes() -> None:
    result = subprocess.run(
        ["sh", "-c", "cat; echo error >&2; exit 3"], input=b"through a shell", capture_output=True
    )
    print(result)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for number in range(20):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % number
    with subprocess.Popen(["sleep", "1000"]) as process:
        process.terminate()
        print("terminated", process.wait())
    try:
        subprocess.run(["sleep", "1000"], timeout=0.02)
    except subprocess.TimeoutExpired as error:
        print("timed out", error)
    child = os.fork()
    if child == 0:
        os._exit(9)
    print("forked", os.waitpid(child, 0), "popen", os.popen("echo $$").read())


def square(number: int) -> tuple[int, int]:
    return os.getpid(), number * number


def many() -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(pool.map(square, range(40)))
        print(pool.apply(sum, ([1, 2, 3],)))
    events: multiprocessing.SimpleQueue[tuple[int, int]] = multiprocessing.SimpleQueue()
    lock = multiprocessing.Lock()
    value = multiprocessing.Value("i", 0)

    def work(number: int) -> None:
        with lock:
            value.value += number
        events.put((number, os.getpid()))

    workers = [multiprocessing.Process(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    print([events.get() for _ in workers])
    for worker in workers:
        worker.join()
    assert value.value == 15


def spawn() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print("spawn", pool.map(square, range(6)))


def threads() -> None:
    jobs: queue.Queue[int] = queue.Queue()
    done: list[tuple[int, int]] = []
    condition = threading.Condition()
    local = threading.local()

    def work() -> None:
        local.count = 0
        while (job := jobs.get()) >= 0:
            local.count += 1
            with condition:
                done.append((threading.get_native_id(), job))
                condition.notify()

    workers = [threading.Thread(target=work) for _ in range(5)]
    for worker in workers:
        worker.start()
    for number in range(200):
        jobs.put(number)
    with condition:
        condition.wait_for(lambda: len(done) == 200)
    for _ in workers:
        jobs.put(-1)
    for worker in workers:
        worker.join()
    print(done)
    timer = threading.Timer(0.01, print, ["timer", time.monotonic()])
    timer.start()
    timer.join()
    assert not threading.Event().wait(0.002)
    # The interpreter hands its lock from one busy thread to another every 5 ms.
    counts = [0, 0]

    def busy(which: int) -> None:
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            counts[which] += 1

    workers = [threading.Thread(target=busy, args=(which,)) for which in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("counts", counts)


def network() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def talk(port: int, name: str) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = []
        for number in range(10):
            writer.write(f"{name} {number}\n".encode())
            lines.append(await reader.readline())
            await asyncio.sleep(0.0005)
        writer.close()
        await writer.wait_closed()
        return lines

    async def everything() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        results = await asyncio.gather(*(talk(port, f"client{number}") for number in range(5)))
        print("port", port, results)
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "echo $$; exit 2", stdout=asyncio.subprocess.PIPE
        )
        print(await process.communicate(), process.returncode)
        loop = asyncio.get_running_loop()
        print(await loop.run_in_executor(None, lambda: sum(range(100))))
        try:
            await asyncio.wait_for(asyncio.sleep(100), 0.003)
        except TimeoutError:
            print("timed out", loop.time())
        server.close()
        await server.wait_closed()

    asyncio.run(everything())


def database() -> None:
    with tempfile.TemporaryDirectory() as directory:
        connection = sqlite3.connect(pathlib.Path(directory, "database"))
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table facts (number integer primary key, text, random)")
        with connection:
            connection.executemany(
                "insert into facts values (?, ?, random())",
                ((number, f"text {number}") for number in range(500)),
            )
        print(connection.execute("select count(*), total(random), max(text) from facts").fetchone())
        try:
            connection.execute("insert into facts values (1, 'again', 0)")
        except sqlite3.IntegrityError as error:
            print(error)
        connection.close()


def native() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    print("getpid", library.getpid())
    library.open(b"/nonexistent", 0)
    print("errno", ctypes.get_errno())
    pointer = ctypes.POINTER(ctypes.c_int)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
    numbers = (ctypes.c_int * 100)(*(random.randrange(1000) for _ in range(100)))
    library.qsort(numbers, 100, 4, compare(lambda a, b: a[0] - b[0]))
    print(list(numbers))
    buffer = ctypes.create_string_buffer(32)
    library.strftime(buffer, 32, b"%Y-%m-%d", ctypes.byref((ctypes.c_int * 16)(0, 0, 0, 1, 1, 120)))
    print(buffer.value)


def signals() -> None:
    caught: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
    for _ in range(10):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert len(caught) == 10
    signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    signal.pause()
    print("caught", caught)


SECTIONS = {
    "basics": basics,
    "processes": processes,
    "multiprocessing": many,
    "spawn": spawn,
    "threads": threads,
    "asyncio": network,
    "sqlite3": database,
    "ctypes": native,
    "signals": signals,
}

if __name__ == "__main__":
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()
        sys.stdout.flush()
