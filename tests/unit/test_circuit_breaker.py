"""When failures stop a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import CircuitBreakerError
from ftm.mapping.circuit_breaker import BreakerSettings, CircuitBreaker

OUTCOMES = st.lists(st.booleans(), max_size=300)
LIMITS = st.builds(
    BreakerSettings,
    allow_failures=st.booleans(),
    max_consecutive=st.integers(1, 8),
    max_rate=st.floats(0, 1),
    min_processed=st.integers(1, 120),
)


def record_all(breaker: CircuitBreaker, outcomes: list[bool]) -> None:
    """Feed a sequence."""
    for ok in outcomes:
        breaker.record(ok=ok)


def trips_at(outcomes: list[bool], limits: BreakerSettings) -> int | None:
    """Index of the outcome that trips the breaker, or None."""
    breaker = CircuitBreaker(limits)
    for i, ok in enumerate(outcomes):
        try:
            breaker.record(ok=ok)
        except CircuitBreakerError:
            return i
    return None


def expected_trip(outcomes: list[bool], limits: BreakerSettings) -> int | None:
    """The definition of the settings, word for word."""
    for i, ok in enumerate(outcomes):
        if ok:
            continue
        seen = outcomes[: i + 1]
        tail = seen[-limits.max_consecutive :]
        if not limits.allow_failures:
            return i
        if len(tail) == limits.max_consecutive and not any(tail):
            return i
        if len(seen) >= limits.min_processed and seen.count(False) / len(seen) > limits.max_rate:
            return i
    return None


@given(outcomes=OUTCOMES, limits=LIMITS)
def test_trips_exactly_where_the_settings_say(
    outcomes: list[bool], limits: BreakerSettings
) -> None:
    """The running counters agree with the definition on any sequence."""
    assert trips_at(outcomes, limits) == expected_trip(outcomes, limits)


@given(outcomes=OUTCOMES, limits=LIMITS, data=st.data())
def test_mending_firms_never_trips_what_did_not_trip(
    outcomes: list[bool], limits: BreakerSettings, data: st.DataObject
) -> None:
    """A batch that passed still passes when some failures succeed at the second try."""
    mended = [ok or data.draw(st.booleans()) for ok in outcomes]
    if trips_at(outcomes, limits) is None:
        assert trips_at(mended, limits) is None


def test_the_message_names_the_setting_that_stopped_it() -> None:
    """Each limit says its own variable, so the user knows what to change."""
    cases = [
        (BreakerSettings(allow_failures=False), [False], "ALLOW_FAILURES"),
        (BreakerSettings(), [False] * 5, "MAX_CONSECUTIVE_FAILURES=5"),
        (BreakerSettings(), [True] * 94 + [False, True] * 6, "MAX_FAILURE_RATE=0.05"),
    ]
    for limits, outcomes, name in cases:
        with pytest.raises(CircuitBreakerError, match=name):
            record_all(CircuitBreaker(limits), outcomes)
