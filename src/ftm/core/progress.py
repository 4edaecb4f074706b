"""How long work tells of itself; the CLI draws bars or prints lines, the library only calls."""

from __future__ import annotations

import sys
from typing import Protocol


class Progress(Protocol):
    """Told of one task after another; must be cheap to call and never raise."""

    def start(self, task: str, *, total: int, done: int = 0) -> None:
        """A task begins: `total` firms, `done` of them already (resumed)."""

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """So many more firms and sentences are done."""

    def message(self, text: str) -> None:
        """Something the user should know, one line."""

    def finish(self) -> None:
        """The task ended."""


class NoProgress:
    """Says nothing."""

    def start(self, task: str, *, total: int, done: int = 0) -> None:
        """See Progress."""

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """See Progress."""

    def message(self, text: str) -> None:
        """See Progress."""

    def finish(self) -> None:
        """See Progress."""


class OnlyMessages(NoProgress):
    """Passes messages on to stderr: of a notebook's long call a pending Duo push must be seen."""

    def message(self, text: str) -> None:
        """See Progress."""
        sys.stderr.write(f"{text}\n")
