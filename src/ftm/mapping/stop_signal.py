"""SIGTERM and SIGINT as a request to end where the work may be resumed."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Self


class StopRequested(BaseException):
    """Ends work that may be dropped; no error, so that no guard takes it for one."""


class StopSignal(AbstractContextManager["StopSignal", None]):
    """Remembers the signal; inside a `with` block of it, the signal also breaks the block off.

    Whatever may be thrown away goes into such blocks: loading models, reading, embedding, waiting
    for a clustering. A signal then takes effect between two embedding batches, not a firm later.
    Writes stay outside, so they are never torn.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._inside = False

    def __call__(self) -> bool:
        """Whether somebody asked us to stop."""
        return self.number is not None

    def listen(self) -> None:
        """Take both signals over; a second one changes nothing, SIGKILL ends it at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def __enter__(self) -> Self:
        """Begin a block that may be broken off.

        Raises:
            StopRequested: somebody asked already.
        """
        self._inside = True
        if self.number is not None:
            self._break_off()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside = False

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if self._inside:
                self._break_off()

    def _break_off(self) -> None:
        self._inside = False
        raise StopRequested
