"""Reading ahead: a thread fetches speaker turns while earlier ones are preprocessed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from queue import Empty, Full, Queue

from ftm.connectors.discovery import PrefetchSource
from ftm.core.errors import WRDSQueryError
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns
from ftm.prefetch.base import Preprocessor
from ftm.prefetch.rows import FirmOutcome, firm_outcome

READ_AHEAD_FIRMS = 50
"""Firms held in memory before they are preprocessed: bounded, whatever the quarter's size."""

_POLL_S = 0.2
_JOIN_S = 5.0


class ReadAhead:
    """The speaker turns of many calls, in order, fetched by a thread; a context manager.

    Args:
        source: read by one query per batch, from the thread only.
        batches: the calls of each chunk.
        depth: firms read before the reader waits.
    """

    def __init__(
        self,
        source: PrefetchSource,
        batches: Iterable[Sequence[FirmCall]],
        *,
        depth: int = READ_AHEAD_FIRMS,
    ) -> None:
        self._source = source
        self._batches = batches
        self._queue: Queue[FirmTurns | None] = Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="ftm-read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def __iter__(self) -> Iterator[FirmTurns]:
        """Every firm once; ends early when reading failed, see `check`."""
        while (turns := self._next()) is not None:
            yield turns

    def check(self) -> None:
        """Raise what stopped the reader, if something did."""
        if self._error is not None:
            raise self._error

    def _next(self) -> FirmTurns | None:
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL_S)
            except Empty:
                continue
        return None

    def _read(self) -> None:
        try:
            for calls in self._batches:
                for turns in in_order(calls, self._source.iter_turns(calls)):
                    if not self._put(turns):
                        return
        except BaseException as error:  # noqa: BLE001 - carried to the thread that consumes
            self._error = error
        self._put(None)

    def _put(self, turns: FirmTurns | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(turns, timeout=_POLL_S)
            except Full:
                continue
            return True
        return False


def in_order(calls: Sequence[FirmCall], turns: Iterable[FirmTurns]) -> Iterator[FirmTurns]:
    """The turns, checked to be those of the calls: one each, in their order.

    Raises:
        WRDSQueryError: a firm is missing or another came.
    """
    expected = iter(calls)
    for found in turns:
        call = next(expected, None)
        if call is None or found.call.firm_id != call.firm_id:
            wanted = "no further firm" if call is None else f"firm {call.firm_id}"
            raise WRDSQueryError(f"the source delivered firm {found.call.firm_id}, not {wanted}")
        yield found
    if (call := next(expected, None)) is not None:
        raise WRDSQueryError(f"the source delivered nothing for firm {call.firm_id}")


def iter_outcomes(
    reader: ReadAhead, preprocessor: Preprocessor, quarter: Quarter
) -> Iterator[FirmOutcome]:
    """What becomes of every firm the reader delivers, in order.

    Raises:
        FtmError: reading stopped; the firms before that were delivered.
    """
    yield from preprocessor.map(reader, partial(firm_outcome, quarter=quarter))
    reader.check()
