"""A server on a free port of 127.0.0.1 that serves each connection in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Accepting:
    """A context manager; clients connect to `port`. Call `listen` when it is made."""

    n_connections: int
    port: int

    def listen(self) -> None:
        """Have a port from here on; connections wait until the context is entered."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.n_connections = 0

    def serve(self, client: socket.socket) -> None:
        """All that happens on a connection; in its own thread."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            # Closing alone would leave the other thread waiting for a last client.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # Counted here: whoever saw an answer finds its connection counted.
            self.n_connections += 1
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()
