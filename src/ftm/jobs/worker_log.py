"""What a backend reads in a worker's log: how far it is, and what it said last."""

from __future__ import annotations

import re

_COUNT = re.compile(r"INFO progress: (\d+) of (\d+) firms(?:, at (\S+))?$", re.MULTILINE)
_MAX_LINE = 300

WORKER_SAYS = "ftm.worker: "
"""How the one line begins that a worker writes of a known failure."""


def format_count(n_done: int, n_firms: int, at: str = "") -> str:
    """`progress: 120 of 200 firms, at 012345`: what the worker logs at level INFO.

    Args:
        n_done: firms with an outcome.
        n_firms: of the batch.
        at: the firm that was begun last; empty before the first.
    """
    return f"progress: {n_done} of {n_firms} firms" + (f", at {at}" if at else "")


def read_count(log: str) -> int | None:
    """Firms done by the last count in the end of a log; None when there is none.

    A count is of the worker's log line by line: text that merely looks like one, in the middle of
    another line, is not taken for it.
    """
    found = _COUNT.findall(log)
    return int(found[-1][0]) if found else None


def read_firm(log: str) -> str:
    """The firm that was begun last, by the last count in a log; empty when none says."""
    found = _COUNT.findall(log)
    return str(found[-1][2]) if found else ""


def last_line(log: str) -> str:
    """The last line that is not empty, cut to 300 characters; empty when there is none."""
    lines = (line.strip() for line in reversed(log.split("\n")))
    return next((line[:_MAX_LINE] for line in lines if line), "")
