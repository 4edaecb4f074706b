"""Trying again: the one place where it is done, bounded in number and time, and told.

At most once a minute a line says that something fails and is tried again; if that request succeeds
later, a second line says so. What is given up says in its error how often it was tried. The rest is
in the log at level DEBUG, so that a service which stumbles for hours neither hides nor floods.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from ftm.core.counted import counted

_T = TypeVar("_T")

WAIT_MAX_S = 10.0
TOLD_EVERY_S = 60.0

GiveUp = Callable[[Exception, str], Exception]
"""The error to raise, from the last one and words like `tried 14 times in 120 s`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long one request is tried.

    Args:
        limit_s: no try begins later than this after the first.
        attempts: at most so many tries.
        wait_s: before the second; doubles up to 10 s, with jitter.
        silent_s: the same as limit_s, for a service of which no answer is known yet.
    """

    limit_s: float
    attempts: int
    wait_s: float
    silent_s: float = math.inf


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long transient errors are borne, request by request.

    A wrong endpoint shows at once and is said in seconds; a store that has answered before is
    given longer, because a prefetch that stops asks for another login. One that was given up is as
    one that has never answered: what follows, such as giving up a lease, ends soon.

    Args:
        first_contact_s: while the store does not answer at all.
        later_s: once it has, be it that it is busy, as it tells jobs that start by the thousand.
        wait_s: before the first retry; doubles up to 10 s.
        attempts: at most so many tries of a request, the first included.
        stall_s: without a byte for so long a try has failed; S3 only.
    """

    first_contact_s: float = 6.0
    later_s: float = 120.0
    wait_s: float = 0.2
    attempts: int = 30
    stall_s: float = 30.0


class Retrier:
    """Tries requests to one service again, and tells; may be used by several threads.

    Args:
        transient: what is tried again.
        log: where it is told.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        transient: type[Exception],
        *,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transient = transient
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._told_at = -TOLD_EVERY_S
        self._untold = 0

    def call(
        self,
        operation: Callable[[], _T],
        bounds: Bounds,
        *,
        what: str,
        give_up: GiveUp,
        answers: Callable[[], bool] = lambda: True,
    ) -> _T:
        """The operation's result.

        Args:
            operation: asks once.
            bounds: how often it may be asked.
            what: names the request when it is answered after all.
            give_up: makes the error to be raised when it is not.
            answers: whether the service is known to answer, be it that it is busy.

        Raises:
            Exception: what `give_up` makes of the last error, when a bound is reached; any error
                that is not transient at once.
        """
        started = self._clock()
        n_failed, told = 0, False

        def is_worth_it(error: Exception) -> bool:
            nonlocal n_failed, told
            if not isinstance(error, self._transient):
                return False
            n_failed += 1
            self._log.debug("try %d: %s", n_failed, error)
            limit_s = bounds.limit_s if answers() else min(bounds.silent_s, bounds.limit_s)
            if n_failed == 1:
                told = self._tell(error, limit_s)
            return self._clock() - started < limit_s

        try:
            for attempt in stamina.retry_context(
                on=is_worth_it,
                attempts=bounds.attempts,
                timeout=bounds.limit_s,
                wait_initial=bounds.wait_s,
                wait_jitter=bounds.wait_s,
                wait_max=WAIT_MAX_S,
            ):
                with attempt:
                    result = operation()
        except self._transient as error:
            tried = f"tried {counted(n_failed, 'time')} in {self._clock() - started:.0f} s"
            raise give_up(error, tried) from error
        if told:
            took = self._clock() - started
            self._log.warning("%s: answered at try %d, after %.1f s", what, n_failed + 1, took)
        return result

    def _tell(self, error: Exception, limit_s: float) -> bool:
        """Say that a request is tried again, unless another was said to be a moment ago."""
        with self._lock:
            now = self._clock()
            if now - self._told_at < TOLD_EVERY_S:
                self._untold += 1
                return False
            untold, self._told_at, self._untold = self._untold, now, 0
        since = f" (since the last such line, {untold} more requests were)" if untold else ""
        self._log.warning("%s; trying again for up to %.0f s%s", error, limit_s, since)
        return True
