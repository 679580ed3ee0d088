"""Programs loaded by relive-bpf-helper, for a user who may not load them.

The helper is off unless an administrator started it (helper_daemon.py, docs/kernel-evaluator.md).
What it loads is attached here, to events on one's own processes, which needs no privilege.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, Self

from relive.conditions.kernel.bpf import BpfRefused, Code, DirectLoader, Loader
from relive.conditions.kernel.helper_daemon import ANSWER, MAGIC, MAX_LOG, MAX_PACKET, REQUEST

if TYPE_CHECKING:
    from types import TracebackType

SOCKET: Final = "/run/relive-bpf-helper.sock"
"""Where the helper listens, unless RELIVE_BPF_HELPER names another path."""


class HelperLoader:
    """A connection to the helper; `close` it, or use it in a `with` block.

    Raises OSError when nobody listens at `path` or one may not connect.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path or os.environ.get("RELIVE_BPF_HELPER") or SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(10)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_PACKET)
            self._socket.connect(self.path)
        except OSError as error:
            self._socket.close()
            error.filename = self.path
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; what was loaded stays."""
        self._socket.close()

    def load(self, code: Code) -> tuple[int, int, int | None]:
        """File descriptors of program, map of values, ring.  Raises BpfRefused."""
        request = REQUEST.pack(MAGIC, code.kind, code.value_size, code.ring_size, 0)
        try:
            self._socket.sendall(request + code.text)
            answer, fds, _, _ = socket.recv_fds(self._socket, ANSWER.size + MAX_LOG, 3)
        except OSError as error:
            raise BpfRefused("relive-bpf-helper", error.errno or 0) from None
        wanted = 3 if code.ring_size else 2
        try:
            magic, number = ANSWER.unpack_from(answer.ljust(ANSWER.size, b"\0"))
            if magic != MAGIC or (number == 0 and len(fds) != wanted):
                raise BpfRefused("relive-bpf-helper hung up", 104)  # ECONNRESET
            if number:
                text = answer[ANSWER.size :].decode("utf-8", "replace")
                raise BpfRefused("relive-bpf-helper", number, text, hint="its own log says more")
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        for fd in fds:
            os.set_inheritable(fd, False)
        return fds[0], fds[1], fds[2] if code.ring_size else None


def best_loader() -> Loader:
    """This process if it may load programs, else the helper if there is one, else this process
    (which then says why it can't)."""
    from relive.conditions.kernel import machine

    direct = DirectLoader()
    if machine.programs_missing() is None:
        return direct
    try:
        return HelperLoader()
    except OSError:
        return direct
