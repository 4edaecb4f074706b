"""One table a benchmark, as docs/benchmarks.md has it, and whether every goal is met."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

_HOLDS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Line:
    """One figure.

    Args:
        what: in a few words.
        value: the figure a goal is about, or the only one.
        goal: like (">=", 1.3); None: for the record.
        detail: the spread, or the figures behind.
        form: of the value and the goal.
    """

    what: str
    value: float
    goal: tuple[str, float] | None = None
    detail: str = ""
    form: str = ".2f"

    @property
    def met(self) -> bool:
        """Whether the goal is reached; true without one."""
        return self.goal is None or _HOLDS[self.goal[0]](self.value, self.goal[1])


def report(lines: Sequence[Line]) -> int:
    """Print the table; the exit code, 1 where a goal is missed."""
    print("| what | figure | goal | detail |\n|---|---|---|---|")
    for line in lines:
        goal = f"{line.goal[0]} {line.goal[1]:{line.form}}" if line.goal else ""
        missed = "" if line.met else " MISSED"
        print(f"| {line.what} | {line.value:{line.form}} | {goal}{missed} | {line.detail} |")
    print(f"({os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f})", flush=True)
    return int(not all(line.met for line in lines))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int
) -> list[dict[str, float]]:
    """Seconds of each contender in each round, after a round that does not count.

    The order turns by one every round, so that nobody always follows the same one.
    """
    names = list(contenders)
    for work in contenders.values():
        work()
    taken = []
    for number in range(rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        taken.append({name: seconds(contenders[name]) for name in turned})
    return taken


def ratio_line(
    what: str, ratios: Sequence[float], *, goal: tuple[str, float] | None = None, detail: str = ""
) -> Line:
    """The median of the rounds' ratios, with their range."""
    spread = f"rounds {min(ratios):.2f}-{max(ratios):.2f}"
    return Line(what, median(ratios), goal, f"{spread}; {detail}" if detail else spread)
