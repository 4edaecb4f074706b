"""Texts of one character or a few, over and over: what makes a careless rule quadratic."""

from __future__ import annotations

import signal
import string
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_OTHERS = [chr(n) for n in (0xA0, 0xAE, 0xB2, 0xE9, 0x301, 0x5D0, 0x661, 0x200B, 0x2019, 0x2026)]
_OTHERS += [chr(n) for n in (0x2122, 0x202E, 0x20AC, 0x2014, 0x6F22, 0x1F600)]
_SEVERAL = (
    "1,|a.|A. |Mr. |[[|((|--|$1|[]|()|[a|(a|[(|[a]|a'|'s|- |a-|A-|aA|A1|1a|_a|a:|http://a.|www.|a@"
    "|..,|?!|. |A, |Aa |Bb Cc |A\u00ae|(R)|a |1 |1-|1% |$1 |US$|the |last |five |five-|five to |of "
    "|so |so, |very |such |and |you |good |thank |question |may |results |refer |risk "
    "|first quarter |Thank you, |John Smith |<a|< |[ |officer/|[laugh"
)
UNITS = (*string.printable.replace("\r\x0b\x0c", ""), *_OTHERS, *_SEVERAL.split("|"))


def endless(unit: str, n_chars: int) -> str:
    """The unit repeated to so many characters."""
    return (unit * (n_chars // len(unit) + 1))[:n_chars]


def all_endless(n_chars: int) -> dict[str, str]:
    """One text of so many characters a unit."""
    return {unit: endless(unit, n_chars) for unit in UNITS}


@contextmanager
def cpu_seconds(limit: float) -> Iterator[None]:
    """Fail what computes for longer, however busy the machine; regular expressions included."""

    def fail(*_: object) -> None:
        pytest.fail(f"more than {limit} s of computing: something is not linear")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
