"""How far a batch is, as a worker logs it and a backend that can see the log reads it."""

from __future__ import annotations

import re

_COUNT = re.compile(r"INFO progress: (\d+) of (\d+) firms$", re.MULTILINE)


def format_count(n_done: int, n_firms: int) -> str:
    """`progress: 120 of 200 firms`: what the worker logs at level INFO."""
    return f"progress: {n_done} of {n_firms} firms"


def read_count(log: str) -> int | None:
    """Firms done by the last count in the end of a log; None when there is none.

    A count is of the worker's log line by line: text that merely looks like one, in the middle of
    another line, is not taken for it.
    """
    found = _COUNT.findall(log)
    return int(found[-1][0]) if found else None
