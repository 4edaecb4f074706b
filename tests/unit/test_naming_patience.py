"""How long a language-model server is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest

from ftm.naming.patience import Patience, TransientLLMError, Waits
from ftm.naming.refusals import _retry_after_s

FAST = Waits(initial_s=0.001, max_s=0.001)


def failing_once() -> Callable[[], Awaitable[str]]:
    """A request that fails the first time."""
    left = [TransientLLMError("it answers 500")]

    async def once() -> str:
        if left:
            raise left.pop()
        return "answer"

    return once


def test_time_in_which_nobody_asked_is_not_counted() -> None:
    """An hour of other work between two requests uses up no patience."""
    now_s = [0.0]
    patience = Patience(10.0, FAST, clock=lambda: now_s[0])
    assert asyncio.run(patience.bear(failing_once())) == "answer"
    now_s[0] = 3600.0
    assert asyncio.run(patience.bear(failing_once())) == "answer"


def test_each_trouble_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not each try; but a server that recovered and fails again is told of again."""
    patience = Patience(10.0, FAST)
    for n_told in (1, 2):
        asyncio.run(patience.bear(failing_once()))
        told = [record for record in caplog.records if record.name == "ftm.naming.patience"]
        assert len(told) == n_told


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        *(("7", 7), ("0.5", 0.5), ("-3", 0), ("soon", 0), ("", 0), ("nan", 0)),
        ("Wed, 99 Nov 2026 99:00:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds(value: str, wait_s: float) -> None:
    """Nonsense and the past are no wait."""
    assert _retry_after_s({"retry-after": value}) == wait_s


def test_retry_after_may_be_a_date() -> None:
    """The other form of the header."""
    value = formatdate(time.time() + 3000, usegmt=True)
    assert 2000 <= _retry_after_s({"retry-after": value}) <= 3001
