"""What a command says while it works."""

from __future__ import annotations

import io

from ftm.cli.progress import BarProgress, LineProgress, format_duration, show_progress


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


class Seconds:
    """A monotonic clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_lines_come_every_tenth_with_rate_and_time_left() -> None:
    """Fifty firms done before do not count as speed."""
    out, clock = io.StringIO(), Seconds()
    lines = LineProgress(out, clock_s=clock)
    lines.start("2023Q1", total=150, done=50)
    for _ in range(20):
        clock.now += 0.5
        lines.advance(firms=1, sentences=400)
    assert out.getvalue().splitlines() == [
        "2023Q1: 150 firms, 50 done already",
        "2023Q1: 65 of 150 firms (43 %), 6,000 sentences, 800 a second, about 42 s left",
    ]
    lines.finish()
    assert out.getvalue().splitlines()[-1].startswith("2023Q1: 70 of 150 firms (46 %)")


def test_a_slow_task_says_something_every_half_minute() -> None:
    """Even when no tenth is done."""
    out, clock = io.StringIO(), Seconds()
    lines = LineProgress(out, clock_s=clock)
    lines.start("2023Q1", total=1000)
    for _ in range(3):
        clock.now += 31
        lines.advance(firms=1)
    assert len(out.getvalue().splitlines()) == 4


def test_an_empty_task_is_no_trouble() -> None:
    """Neither for lines nor for a bar."""
    for out, kind in ((io.StringIO(), LineProgress), (Terminal(), BarProgress)):
        progress = kind(out)
        progress.start("2023Q1", total=0)
        progress.advance()
        progress.finish()
        progress.finish()
        assert "2023Q1" in out.getvalue()
        progress.advance(firms=1)


def test_a_terminal_gets_a_bar_with_messages_above() -> None:
    """Square brackets in a message are no markup."""
    out = Terminal()
    with show_progress(out) as progress:
        progress.start("2023Q1", total=2)
        progress.advance(firms=1, sentences=10)
        progress.message("firm 7 failed: [red] herring")
    assert "[red] herring" in out.getvalue()
    assert "1/2" in out.getvalue()


def test_durations_read_well() -> None:
    """Seconds, minutes, hours."""
    assert [format_duration(s) for s in (5, 200, 7500)] == ["5 s", "3 min", "2 h 05 min"]
