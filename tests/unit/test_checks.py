"""Checks one after the other: what needs what, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ftm.care.checks import Check, Finding, Mark, failed, not_set_up, ok, run_checks, warning
from ftm.core.errors import StoreError


def fine(what: str, *needs: str) -> Check:
    """A check that finds nothing wrong."""
    return Check(what, lambda: [ok(what, "fine")], needs)


def wrong(what: str, *needs: str) -> Check:
    """A check that finds something wrong."""
    return Check(what, lambda: [failed(what, "mend it")], needs)


def marks(*checks: Check) -> dict[str, Mark]:
    """How each ended."""
    return {finding.what: finding.mark for finding in run_checks(checks)}


def test_a_failure_hides_no_later_check() -> None:
    """What does not need the failed one is looked at."""
    assert marks(wrong("a"), fine("b")) == {"a": Mark.FAILED, "b": Mark.OK}


def test_what_needs_a_failed_check_is_skipped_and_says_the_first_cause() -> None:
    """However long the chain, the reader is sent to what failed."""
    found = list(run_checks([wrong("a"), fine("b", "a"), fine("c", "b"), fine("d", "c")]))
    assert [f.text for f in found[1:]] == ["skipped because a failed"] * 3
    assert {f.mark for f in found[1:]} == {Mark.SKIPPED}


def test_what_needs_a_check_that_is_not_set_up_is_skipped() -> None:
    """What a user does not have, nothing is built on."""
    found = list(run_checks([not_set_up("a", "do b"), fine("b", "a")]))
    assert found[0].text == "not set up, skipped (do b)"
    assert found[1] == Finding("b", Mark.SKIPPED, "skipped because a was skipped")


def test_a_warning_keeps_nothing_from_being_looked_at() -> None:
    """It works, after all."""
    heeded = Check("a", lambda: [warning("a", "look out")])
    assert marks(heeded, fine("b", "a")) == {"a": Mark.WARNING, "b": Mark.OK}


def test_a_known_error_is_a_failure_after_what_was_found() -> None:
    """Its text is the finding's, on one line; what came before stays."""

    def look() -> Iterator[Finding]:
        yield ok("a", "half")
        raise StoreError("gone;\n  bring it back")

    found = list(run_checks([Check("a", look), fine("b", "a")]))
    assert found[0] == ok("a", "half")
    assert found[1] == failed("a", "gone; bring it back")
    assert found[2].mark is Mark.SKIPPED


def test_a_bug_keeps_its_traceback() -> None:
    """Only errors ftm raises on purpose are findings."""

    def look() -> Iterator[Finding]:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        list(run_checks([Check("a", look)]))


def test_a_user_in_a_url_is_not_shown() -> None:
    """An endpoint may carry a password."""

    def look() -> Iterator[Finding]:
        raise StoreError("http://me:secret@host/x does not answer")

    (found,) = run_checks([Check("a", look)])
    assert found.text == "http://host/x does not answer"
