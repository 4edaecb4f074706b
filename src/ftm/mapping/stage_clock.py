"""Where a worker's wall time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up one thread's wall seconds by stage; stages must not nest.

    What other processes do meanwhile is not in it: `wait` is the time this one had nothing left to
    do but wait for the clustering pool, not what clustering took.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._start = now()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count the body's time under a stage."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self._now() - start

    @property
    def total_s(self) -> float:
        """Seconds since the clock was made."""
        return self._now() - self._start

    def shares(self) -> dict[str, float]:
        """Share of the total by stage, `rest` included; they add up to 1."""
        total = self.total_s
        if total <= 0:
            return {}
        found = {stage: spent / total for stage, spent in self.seconds.items()}
        return {**found, "rest": max(0.0, 1.0 - sum(found.values()))}

    def summary(self) -> str:
        """Like `embed 71%, wait 12%, read 3%, rest 14%`."""
        return ", ".join(f"{stage} {share:.0%}" for stage, share in self.shares().items())
