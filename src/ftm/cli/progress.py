"""How the commands show progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBar

from ftm.cli.console import PlainConsole
from ftm.cli.named_store import runnable
from ftm.core.counted import counted
from ftm.core.plain import plain
from ftm.core.progress import Progress

LINE_EVERY_S = 30.0
LINE_EVERY_SHARE = 0.1


@contextmanager
def show_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A progress for the length of a command; whatever ends the command ends the bar too.

    Args:
        stream: where to; None is stderr, so that stdout holds results only.
    """
    target = sys.stderr if stream is None else stream
    progress: Progress = BarProgress(target) if target.isatty() else LineProgress(target)
    try:
        yield progress
    finally:
        progress.finish()


@dataclass(slots=True)
class _Task:
    """What one task has done; `done` were done before it started, and do not count as speed."""

    name: str
    total: int
    done: int
    started_s: float
    firms: int = 0
    sentences: int = 0

    @property
    def reached(self) -> int:
        return self.done + self.firms

    def rate(self, now_s: float) -> float:
        """Sentences a second since the start; 0.0 in the first instant."""
        elapsed = now_s - self.started_s
        return self.sentences / elapsed if elapsed > 0 else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds left at the pace so far; None before the first firm."""
        if not self.firms:
            return None
        return (now_s - self.started_s) / self.firms * max(self.total - self.reached, 0)


class LineProgress:
    """One line a tenth of the task, or every 30 seconds, for logs and pipes.

    Args:
        stream: where the lines go.
        clock_s: seconds, monotonic.
    """

    def __init__(self, stream: TextIO, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._task: _Task | None = None
        self._said_s = 0.0
        self._said_at = 0

    def start(self, task: str, *, total: int, done: int = 0) -> None:
        """See core.progress.Progress."""
        now = self._clock_s()
        self._task = _Task(task, total, done, now)
        self._said_s, self._said_at = now, done
        already = f", {done} done already" if done else ""
        self.message(f"{task}: {counted(total, 'firm')}{already}")

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """See core.progress.Progress."""
        if self._task is None:
            return
        self._task.firms += firms
        self._task.sentences += sentences
        if self._is_due(self._task):
            self._say(self._task)

    def message(self, text: str) -> None:
        """See core.progress.Progress."""
        self._stream.write(f"{plain(runnable(text))}\n")
        self._stream.flush()

    def finish(self) -> None:
        """See core.progress.Progress; the last line is said unless it was."""
        if self._task is not None and self._task.reached != self._said_at:
            self._say(self._task)
        self._task = None

    def _is_due(self, task: _Task) -> bool:
        step = max(task.total * LINE_EVERY_SHARE, 1)
        by_share = task.reached - self._said_at >= step
        return by_share or self._clock_s() - self._said_s >= LINE_EVERY_S

    def _say(self, task: _Task) -> None:
        now = self._clock_s()
        self._said_s, self._said_at = now, task.reached
        share = 100 * task.reached // task.total if task.total else 100
        parts = [f"{task.name}: {task.reached:,} of {counted(task.total, 'firm')} ({share} %)"]
        if task.sentences:
            parts.append(f"{task.sentences:,} sentences, {task.rate(now):,.0f} a second")
        left = task.left_s(now)
        if left:
            parts.append(f"about {format_duration(left)} left")
        self.message(", ".join(parts))


class BarProgress:
    """A live bar: firms, sentences, rate, time left; messages appear above it."""

    def __init__(self, stream: TextIO) -> None:
        self._console = PlainConsole(stream)
        self._bar: RichBar | None = None
        self._task: _Task | None = None
        self._task_id: TaskID | None = None

    def start(self, task: str, *, total: int, done: int = 0) -> None:
        """See core.progress.Progress; a task still shown ends."""
        self.finish()
        self._task = _Task(task, total, done, time.monotonic())
        self._bar = RichBar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("firms"),
            TextColumn("{task.fields[sentences]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task_id = self._bar.add_task(task, total=total, completed=done, sentences="")
        self._bar.start()

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """See core.progress.Progress."""
        if self._bar is None or self._task is None or self._task_id is None:
            return
        self._task.firms += firms
        self._task.sentences += sentences
        text = ""
        if self._task.sentences:
            rate = self._task.rate(time.monotonic())
            text = f"{self._task.sentences:,} sentences, {rate:,.0f}/s"
        self._bar.update(self._task_id, advance=firms, sentences=text)

    def message(self, text: str) -> None:
        """See core.progress.Progress."""
        self._console.print(runnable(text), markup=False, highlight=False)

    def finish(self) -> None:
        """See core.progress.Progress; calling it twice is fine."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = self._task_id = None


def format_duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
