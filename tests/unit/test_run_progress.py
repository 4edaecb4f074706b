"""What a run shows on stderr while it goes on."""

from __future__ import annotations

import io

import pytest

from ftm.cli.run_progress import LineWatcher, LiveWatcher, watch_run
from ftm.jobs.base import JobState
from ftm.orchestrate.run_watch import BatchView


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def view(number: int, state: JobState, n_done: int = 0, **given: object) -> BatchView:
    """A batch of 100 firms."""
    return BatchView(f"2023Q1_batch_000{number}", state, 100, n_done, **given)


def test_lines_tell_of_every_change_of_a_batch_once() -> None:
    """A batch that goes on says nothing; its start and its end are one line each."""
    out = io.StringIO()
    watcher = LineWatcher(out, clock_s=Clock())
    pending = view(0, JobState.PENDING)
    watcher.start("run abc: 1 of 1 batches to do", [pending])
    for now in (pending, view(0, JobState.RUNNING), view(0, JobState.RUNNING)):
        watcher.update([now])
    watcher.update([view(0, JobState.FAILED, 40, n_failed=2, reason="exit 1: boom", log="/l")])
    assert out.getvalue().splitlines() == [
        "run abc: 1 of 1 batches to do",
        "2023Q1_batch_0000: running, 0 of 100 firms",
        "2023Q1_batch_0000: failed, 40 of 100 firms, 2 of them failed, exit 1: boom (log: /l)",
        "40 of 100 firms (40 %) in 0 s",
    ]


def test_lines_tell_the_pace_of_this_start_only() -> None:
    """Neither start-up nor firms that an earlier attempt did are in the pace."""
    out, clock = io.StringIO(), Clock()
    watcher = LineWatcher(out, clock_s=clock)
    done = view(0, JobState.SUCCEEDED, 100)
    watcher.start("", [done, view(1, JobState.RUNNING)])
    clock.now_s = 60
    watcher.update([done, view(1, JobState.RUNNING, 20)])
    assert out.getvalue().splitlines()[-1] == "120 of 200 firms (60 %) in 60 s"
    clock.now_s = 80
    watcher.update([done, view(1, JobState.RUNNING, 40)])
    last = out.getvalue().splitlines()[-1]
    assert last == "140 of 200 firms (70 %) in 80 s, 60 firms a minute, about 60 s left"


def test_a_reason_is_told_once_and_then_whose_it_was() -> None:
    """A hundred batches that fail alike are a hundred short lines."""
    out = io.StringIO()
    watcher = LineWatcher(out, clock_s=Clock())
    watcher.start("go", [view(n, JobState.RUNNING) for n in range(3)])
    ended = [view(n, JobState.FAILED, reason="exit 1: boom", log=f"/{n}") for n in range(2)]
    watcher.update([*ended, view(2, JobState.FAILED, reason="exit 1: bang", log="/2")])
    assert out.getvalue().splitlines()[1:] == [
        "2023Q1_batch_0000: failed, 0 of 100 firms, exit 1: boom (log: /0)",
        "2023Q1_batch_0001: failed, 0 of 100 firms, like 2023Q1_batch_0000 (log: /1)",
        "2023Q1_batch_0002: failed, 0 of 100 firms, exit 1: bang (log: /2)",
    ]


def test_a_small_terminal_shows_what_runs_before_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never more lines than it has; reasons that are alike, once."""
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    watcher = LiveWatcher(out)
    failed = [
        BatchView(f"f{n:02}", JobState.FAILED, 9, reason="exit 1: " + "x" * 99) for n in range(20)
    ]
    watcher.start("run abc", [])
    watcher.update([*failed, BatchView("r1", JobState.RUNNING, 9)])
    watcher.finish()
    frame = out.getvalue().rpartition("run abc")[2].splitlines()
    assert len(frame) <= 12
    assert frame[2].startswith("r1")
    assert sum("exit 1" in line for line in frame) == 1


def test_batches_that_never_start_are_one_line() -> None:
    """A stage that stops early says how many batches that spares, and why, once."""
    out = io.StringIO()
    watcher = LineWatcher(out, clock_s=Clock())
    watcher.start("go", [view(n, JobState.PENDING) for n in range(4)])
    watcher.update([view(0, JobState.RUNNING), *(view(n, JobState.PENDING) for n in (1, 2, 3))])
    spared = [view(n, JobState.CANCELLED, reason="not started, like b0") for n in (1, 2, 3)]
    watcher.update([view(0, JobState.FAILED, reason="exit 2: no"), *spared])
    assert out.getvalue().splitlines()[2:] == [
        "2023Q1_batch_0000: failed, 0 of 100 firms, exit 2: no (log: )",
        "3 batches not started, like b0",
    ]


def test_progress_is_said_every_tenth_or_every_half_minute() -> None:
    """Small steps stay silent until 30 seconds have gone by, then even a standstill is said."""
    out, clock = io.StringIO(), Clock()
    watcher = LineWatcher(out, clock_s=clock)
    watcher.start("go", [view(0, JobState.RUNNING)])
    watcher.update([view(0, JobState.RUNNING, 9)])
    assert out.getvalue() == "go\n"
    clock.now_s = 31
    watcher.update([view(0, JobState.RUNNING, 9)])
    clock.now_s = 62
    watcher.update([view(0, JobState.RUNNING, 9)])
    said = [line.partition(",")[0] for line in out.getvalue().splitlines()[1:]]
    assert said == ["9 of 100 firms (9 %) in 31 s", "9 of 100 firms (9 %) in 62 s"]


def test_a_terminal_shows_running_and_failed_batches_and_counts_the_rest() -> None:
    """The last frame has the failed batch with its reason, and how many are in which state."""
    out = Terminal()
    watcher = LiveWatcher(out)
    watcher.start("run abc", [view(0, JobState.PENDING), view(1, JobState.PENDING)])
    watcher.update([view(0, JobState.SUCCEEDED, 100), view(1, JobState.FAILED, reason="exit 3")])
    watcher.finish()
    watcher.finish()
    frame = out.getvalue().rpartition("run abc")[2]
    for text in ("100 of 200 firms (50 %)", "2023Q1_batch_0001", "exit 3", "1 succeeded, 1 failed"):
        assert text in frame
    assert "2023Q1_batch_0000" not in frame


def test_a_pipe_gets_lines_and_a_terminal_gets_the_table() -> None:
    """The stream decides."""
    with watch_run(io.StringIO()) as piped, watch_run(Terminal()) as live:
        assert isinstance(piped, LineWatcher)
        assert isinstance(live, LiveWatcher)
