"""A run on stderr while it goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ftm.cli.console import PlainConsole
from ftm.cli.named_store import runnable
from ftm.cli.progress import LINE_EVERY_S, LINE_EVERY_SHARE, format_duration
from ftm.core.plain import plain
from ftm.jobs.base import JobState
from ftm.orchestrate.run_watch import BatchView, RunWatcher

MAX_ROWS = 12
"""Batches shown at once: what runs, then what failed; the others are counted."""

MAX_REASONS = 3
OTHER_LINES = 5
"""Of the live table, besides batches and reasons: title, bar, counts and a margin."""

PACE_AFTER_S = 5.0
PACE_AFTER_FIRMS = 3
"""A pace is told after so much of it: one firm more or less would halve or double it."""

_STYLES = {
    JobState.PENDING: "dim",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "yellow",
}


@contextmanager
def watch_run(stream: TextIO | None = None) -> Iterator[RunWatcher]:
    """A watcher for the length of a command; whatever ends the command ends it too.

    Args:
        stream: where to; None is stderr, so that stdout holds results only.
    """
    target = sys.stderr if stream is None else stream
    watcher: RunWatcher = LiveWatcher(target) if target.isatty() else LineWatcher(target)
    try:
        yield watcher
    finally:
        watcher.finish()


class Pace:
    """How fast firms get done, from the first that this start adds.

    What came before it would mislead: minutes of start-up, and the firms that an earlier start
    had done, which workers bring back all at once.

    Args:
        clock_s: seconds, monotonic.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._started_s = clock_s()
        self._before = 0
        self._first: tuple[float, int] | None = None

    def start(self, batches: Sequence[BatchView]) -> None:
        """Count from here."""
        self._started_s = self._clock_s()
        self._before, self._first = n_done(batches), None

    def update(self, batches: Sequence[BatchView]) -> None:
        """Note when the first firms are done."""
        if self._first is None and n_done(batches) > self._before:
            self._first = self._clock_s(), n_done(batches)

    def describe(self, batches: Sequence[BatchView]) -> str:
        """`12 of 40 firms (30 %) in 40 s, 18 firms a minute, about 2 min left`."""
        done, total = n_done(batches), sum(batch.n_firms for batch in batches)
        if batches and not total:  # a stage after map counts no firms
            so_far = format_duration(self._clock_s() - self._started_s)
            return f"{batches[0].batch_id}: {so_far} so far"
        text = f"{done} of {total} firms ({100 * done // total if total else 100} %)"
        now_s = self._clock_s()
        text += f" in {format_duration(now_s - self._started_s)}"
        since_s, first = self._first or (now_s, done)
        enough = now_s - since_s >= PACE_AFTER_S and done - first >= PACE_AFTER_FIRMS
        if enough and done < total:
            per_s = (done - first) / (now_s - since_s)
            left = format_duration((total - done) / per_s)
            text += f", {60 * per_s:,.0f} firms a minute, about {left} left"
        return text


class LineWatcher:
    """A line when a batch starts or ends, and one a tenth of the run or every 30 seconds.

    Args:
        stream: where the lines go.
        clock_s: seconds, monotonic.
    """

    def __init__(self, stream: TextIO, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._pace = Pace(clock_s)
        self._states: dict[str, JobState] = {}
        self._first_with: dict[str, str] = {}
        self._said_s = 0.0
        self._said_at = -1

    def start(self, text: str, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""
        self._pace.start(batches)
        self._states = {batch.batch_id: batch.state for batch in batches}
        self._said_s, self._said_at = self._clock_s(), n_done(batches)
        self._say(text)

    def update(self, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""
        self._pace.update(batches)
        changed = [b for b in batches if self._states.get(b.batch_id) is not b.state]
        for batch in changed:
            if not self._never_started(batch):
                self._say(self._describe(batch))
        if idle := [batch for batch in changed if self._never_started(batch)]:
            self._say(f"{_n_batches(idle)} {idle[0].reason or 'not started'}")
        self._states.update({batch.batch_id: batch.state for batch in changed})
        if self._is_due(batches):
            self._said_s, self._said_at = self._clock_s(), n_done(batches)
            self._say(self._pace.describe(batches))

    def message(self, text: str) -> None:
        """See RunWatcher."""
        self._say(text)

    def finish(self) -> None:
        """See RunWatcher."""

    def _describe(self, batch: BatchView) -> str:
        """A reason that an earlier batch had is not told again, only whose it was."""
        first = self._first_with.setdefault(batch.reason, batch.batch_id)
        alike = batch.reason and first != batch.batch_id
        return describe_batch(replace(batch, reason=f"like {first}") if alike else batch)

    def _never_started(self, batch: BatchView) -> bool:
        was = self._states.get(batch.batch_id)
        return was is JobState.PENDING and batch.state is JobState.CANCELLED

    def _is_due(self, batches: Sequence[BatchView]) -> bool:
        done = n_done(batches)
        step = max(sum(batch.n_firms for batch in batches) * LINE_EVERY_SHARE, 1)
        # Also when nothing moved: a batch is durable part by part, minutes apart.
        waited = self._clock_s() - self._said_s >= LINE_EVERY_S
        return done - self._said_at >= step or waited

    def _say(self, text: str) -> None:
        self._stream.write(f"{plain(runnable(text))}\n")
        self._stream.flush()


class LiveWatcher:
    """A table that redraws itself: the whole run, then the batches that run or failed."""

    def __init__(self, stream: TextIO) -> None:
        self._console = PlainConsole(stream)
        self._pace = Pace()
        self._live: Live | None = None
        self._text = ""

    def start(self, text: str, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""
        self._pace.start(batches)
        self._text = text
        self._live = Live(self._draw(batches), console=self._console, refresh_per_second=4)
        self._live.start()

    def update(self, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""
        self._pace.update(batches)
        if self._live is not None:
            self._live.update(self._draw(batches))

    def message(self, text: str) -> None:
        """See RunWatcher; above the table, which stays."""
        self._console.print(Text(text))

    def finish(self) -> None:
        """See RunWatcher; calling it twice is fine."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def _draw(self, batches: Sequence[BatchView]) -> Group:
        whole = Table.grid(padding=(0, 2, 0, 0))
        whole.add_row(
            _bar(n_done(batches), sum(batch.n_firms for batch in batches)),
            self._pace.describe(batches),
        )
        reasons = _reasons(batches)
        n_rows = min(MAX_ROWS, max(1, self._console.height - OTHER_LINES - len(reasons)))
        counts = Text(_counts(batches), style="dim")
        return Group(Text(self._text), whole, _table(_shown(batches)[:n_rows]), *reasons, counts)


def n_done(batches: Sequence[BatchView]) -> int:
    """Firms with an outcome."""
    return sum(batch.n_done for batch in batches)


def describe_batch(batch: BatchView) -> str:
    """`2023Q1_batch_0001: failed, 50 of 200 firms, exit 1: … (log: …)`."""
    text = f"{batch.batch_id}: {batch.state}"
    if batch.n_firms:
        text += f", {batch.n_done} of {batch.n_firms} firms"
    if batch.n_failed:
        text += f", {batch.n_failed} of them failed"
    if batch.reason:
        text += f", {batch.reason}"
    return text + (f" (log: {batch.log})" if batch.state is JobState.FAILED else "")


def _shown(batches: Sequence[BatchView]) -> list[BatchView]:
    running = [batch for batch in batches if batch.state is JobState.RUNNING]
    return running + [batch for batch in batches if batch.state is JobState.FAILED]


def _reasons(batches: Sequence[BatchView]) -> list[Text]:
    """One line per reason, with the first batch that has it; whole they come at the end."""
    first: dict[str, BatchView] = {}
    for batch in batches:
        if batch.reason:
            first.setdefault(batch.reason, batch)
    return [
        Text(
            f"{batch.batch_id}: {reason}",
            style=_STYLES[batch.state],
            no_wrap=True,
            overflow="ellipsis",
        )
        for reason, batch in list(first.items())[:MAX_REASONS]
    ]


def _table(batches: Sequence[BatchView]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for batch in batches:
        table.add_row(
            batch.batch_id,
            Text(batch.state.value, style=_STYLES[batch.state]),
            _bar(batch.n_done, batch.n_firms),
            f"{batch.n_done} of {batch.n_firms} firms" if batch.n_firms else "",
        )
    return table


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done, width=30)


def _n_batches(batches: Sequence[BatchView]) -> str:
    return "1 batch" if len(batches) == 1 else f"{len(batches)} batches"


def _counts(batches: Sequence[BatchView]) -> str:
    states = Counter(batch.state for batch in batches)
    return "batches: " + ", ".join(f"{states[s]} {s}" for s in JobState if states[s])
