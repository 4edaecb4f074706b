"""When to stop a batch because too many of its firms fail."""

from __future__ import annotations

from dataclasses import dataclass

from ftm.core.errors import CircuitBreakerError


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """How much failure a batch bears.

    Args:
        allow_failures: False: the first failure stops the batch.
        max_consecutive: this many failures in a row stop it.
        max_rate: a share of failures above this stops it…
        min_processed: …once so many firms are processed.
    """

    allow_failures: bool = True
    max_consecutive: int = 5
    max_rate: float = 0.05
    min_processed: int = 100


class CircuitBreaker:
    """Counts outcomes in the batch's order, so that resuming changes nothing.

    Fewer failures in the same order never trip what more failures did not trip: a finished batch
    that retries its failed firms passes.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._processed = 0
        self._failed = 0
        self._in_a_row = 0

    def record(self, *, ok: bool) -> None:
        """Count one firm.

        Raises:
            CircuitBreakerError: the batch should not go on.
        """
        self._processed += 1
        self._failed += not ok
        self._in_a_row = 0 if ok else self._in_a_row + 1
        if not ok and (why := self._why()):
            raise CircuitBreakerError(
                f"{why}; stopped to save work. `ftm status` shows the firms' errors; mend their "
                "cause and run the same command again"
            )

    def _why(self) -> str | None:
        limits = self._settings
        if not limits.allow_failures:
            return "a firm failed and ALLOW_FAILURES is false"
        if self._in_a_row >= limits.max_consecutive:
            return (
                f"{self._in_a_row} firms in a row failed "
                f"(MAX_CONSECUTIVE_FAILURES={limits.max_consecutive})"
            )
        rate = self._failed / self._processed
        if self._processed >= limits.min_processed and rate > limits.max_rate:
            return (
                f"{self._failed} of {self._processed} firms failed "
                f"(MAX_FAILURE_RATE={limits.max_rate:g})"
            )
        return None
