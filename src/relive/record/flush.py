"""The writer thread: chunks from the core's queue to the disk."""

from __future__ import annotations

import os
import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive._core import Recorder
    from relive.trace.writer import ChunkWriter

# A partial chunk is written when nothing else has been for so long: what a
# killed recorder loses.
FLUSH_MS = 200


class Flusher:
    """Runs until the log is closed. failed: what ended the writing, or None."""

    def __init__(self, core: Recorder, writer: ChunkWriter, cpus: set[int]) -> None:
        self._core = core
        self._writer = writer
        self._cpus = cpus
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="relive-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # signals are for the thread that waits for them
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            os.sched_setaffinity(0, self._cpus)
        except OSError:
            pass
        while True:
            got = self._core.next_chunk(FLUSH_MS)
            if got is None:
                break
            if not got[1]:
                continue
            try:
                self._writer.write_chunk(got[0], got[1])
            except Exception as e:
                self.failed = e
                self._core.discard_log()
        if self.failed is None:
            try:
                self._writer.write_chunk(b"", 0, True)
            except Exception as e:
                self.failed = e

    def join(self) -> None:
        self._thread.join()
