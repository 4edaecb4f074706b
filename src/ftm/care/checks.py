"""What a check is, what it finds, and how checks are run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ftm.core.errors import FtmError
from ftm.core.urls import without_user


class Mark(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what was found or what to do."""

    what: str
    mark: Mark
    text: str


Look = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Args:
        what: its name.
        look: finds out; raises an FtmError where something is wrong, in words.
        needs: names of earlier checks without which looking makes no sense.
    """

    what: str
    look: Look
    needs: tuple[str, ...] = ()


def ok(what: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(what, Mark.OK, text)


def warning(what: str, text: str) -> Finding:
    """It works, and somebody should know of it."""
    return Finding(what, Mark.WARNING, text)


def failed(what: str, text: str) -> Finding:
    """It is not as it should be; the text says what to do."""
    return Finding(what, Mark.FAILED, text)


def skipped(what: str, text: str) -> Finding:
    """It was not looked at; the text says why."""
    return Finding(what, Mark.SKIPPED, text)


def not_set_up(what: str, how: str) -> Check:
    """A check of something this user does not have."""
    return Check(what, lambda: [skipped(what, f"not set up, skipped ({how})")])


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run every check; none keeps another from being run but one that it needs.

    Args:
        checks: in order; those that others need come first.
    """
    unmet: dict[str, str] = {}
    for check in checks:
        cause = next((unmet[need] for need in check.needs if need in unmet), None)
        if cause is not None:
            unmet[check.what] = cause
            yield skipped(check.what, f"skipped because {cause}")
            continue
        for finding in _guarded(check):
            yield finding
            if finding.mark in (Mark.FAILED, Mark.SKIPPED):
                how = "failed" if finding.mark is Mark.FAILED else "was skipped"
                unmet.setdefault(check.what, f"{check.what} {how}")


def _guarded(check: Check) -> Iterator[Finding]:
    """What a check finds; a known error is a finding too, a bug keeps its traceback."""
    try:
        for finding in check.look():
            yield _without_users(finding)
    except FtmError as error:
        yield _without_users(failed(check.what, str(error)))


def _without_users(finding: Finding) -> Finding:
    """URLs without their user and password, on one line."""
    text = without_user(" ".join(finding.text.split()))
    return Finding(finding.what, finding.mark, text)
