"""Waiting for the database: its silence is told, and Ctrl-C ends it."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

from ftm.connectors.wrds_credentials import Notify

CANCEL_S = 3.0
"""What a server gets to end a query that is cancelled, or to say goodbye."""

_T = TypeVar("_T")


class DatabaseCalls:
    """Blocking calls on one connection, one at a time, each on a thread of its own.

    psycopg2 hears no Ctrl-C while it waits for a server, and waits without a word.

    Args:
        who: whose silence is told.
        notify: told when nothing came for `silent_s`, then twice as long, and so on; None: nobody.
        silent_s: until the first word.
        give_up: makes the call that runs end soon; called when waiting for it is broken off.
    """

    def __init__(
        self, who: str, *, notify: Notify | None, silent_s: float, give_up: Callable[[], None]
    ) -> None:
        self._who = who
        self._notify = notify
        self._silent_s = silent_s
        self._give_up = give_up
        self._call: Future[Any] | None = None

    def run(self, call: Callable[[], _T]) -> _T:
        """What the call returns or raises."""
        outcome = self._start(call)
        try:
            self._wait(outcome)
        finally:
            if not outcome.done():
                self._give_up()
        return outcome.result()

    def run_within(self, limit_s: float, call: Callable[[], object]) -> None:
        """As `run`, but a call that takes longer is given up."""
        outcome = self._start(call)
        if not self.ended(limit_s):
            self._give_up()
        outcome.result()

    def ended(self, limit_s: float = 0.0) -> bool:
        """Whether no call runs, or the one that does ends in time."""
        with suppress(TimeoutError):
            if self._call is not None:
                self._call.exception(limit_s)
        return self._call is None or self._call.done()

    def _start(self, call: Callable[[], _T]) -> Future[_T]:
        outcome: Future[_T] = Future()
        self._call = outcome
        # A daemon, for the process must be able to end though the server says nothing.
        threading.Thread(
            target=_settle, args=(outcome, call), name="ftm-database", daemon=True
        ).start()
        return outcome

    def _wait(self, outcome: Future[Any]) -> None:
        started = time.monotonic()
        for n in count():
            with suppress(TimeoutError):
                outcome.exception(self._silent_s * 2**n)
            if outcome.done():
                return
            if self._notify:
                self._notify(
                    f"{self._who} has sent nothing for {time.monotonic() - started:.0f} s; a long"
                    " question may take minutes, so it is waited for. Ctrl-C stops, and what is"
                    " stored is safe"
                )


def _settle(outcome: Future[_T], call: Callable[[], _T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
        outcome.set_exception(error)


def ask_to_cancel(raw: Any) -> None:
    """Have PostgreSQL end the query that runs on a psycopg2 connection; does not wait for it.

    It takes that over a second TCP connection, which needs no login. psycopg2's own `cancel` holds
    Python's lock meanwhile: with a server that does not answer, the whole process would stand
    still, deaf to Ctrl-C. Hence libpq's functions themselves, on a thread.
    """
    from psycopg2 import _psycopg

    try:
        libpq = ctypes.CDLL(_psycopg.__file__)
        get, cancel, free = libpq.PQgetCancel, libpq.PQcancel, libpq.PQfreeCancel
    except (OSError, AttributeError):
        return  # linked so that they cannot be found: the connection is cut instead
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
    cancel.restype = ctypes.c_int
    cancel.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    free.restype, free.argtypes = None, (ctypes.c_void_p,)
    if not (handle := get(raw.pgconn_ptr)):
        return

    def send() -> None:
        why = ctypes.create_string_buffer(256)
        cancel(handle, why, len(why))
        free(handle)

    threading.Thread(target=send, name="ftm-cancel", daemon=True).start()


def cut(raw: Any) -> None:
    """End the TCP connection under a psycopg2 connection: what waits for it fails at once."""
    import psycopg2

    # A descriptor of its own, closed again; libpq keeps the other one.
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(raw.fileno())) as each:
        each.shutdown(socket.SHUT_RDWR)
