"""A TCP proxy in front of a server that cuts connections, or lets them stand and says no more."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self


class CuttingProxy:
    """A context manager; clients connect to `port` of 127.0.0.1.

    Args:
        port: of the server, on 127.0.0.1.
        cut_after: bytes of answers that a connection passes on before it is cut; None: all.
        reset: cut by RST, else by FIN.
    """

    def __init__(self, port: int, *, cut_after: int | None = None, reset: bool = True) -> None:
        self._server = port
        self._reset = reset
        self.cut_after = cut_after
        self.hangs = False
        """Set: nothing passes any more, either way, on old connections and new ones."""
        self.n_connections = 0
        self.n_bytes = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.n_connections += 1
            server = socket.create_connection(("127.0.0.1", self._server))
            for work in (self._ask, self._answer):
                threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self._pause()
                server.sendall(data)
        _end(server)

    def _pause(self) -> None:
        while self.hangs:
            time.sleep(0.02)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._pause()
                left = len(data) if self.cut_after is None else self.cut_after - passed
                client.sendall(data[:left])
                passed += min(len(data), left)
                self.n_bytes = max(self.n_bytes, passed)
                if left <= len(data) and self.cut_after is not None:
                    break
        _end(client, reset=self._reset and self.cut_after is not None)
        _end(server)


def _end(each: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # For reading only: it wakes the other thread and tells the peer nothing.
        each.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
    each.close()
