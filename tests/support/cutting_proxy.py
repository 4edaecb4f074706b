"""A TCP proxy in front of a server that cuts connections, or lets them stand and says no more."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from tests.support.accepting import Accepting


class CuttingProxy(Accepting):
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
        self.n_bytes = 0
        self.listen()

    def serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server))
        except OSError:
            client.close()
            return
        threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
        self._answer(client, server)

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
