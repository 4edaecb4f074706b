"""Commands over several quarters, and the commands that messages name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ftm.cli.many_quarters import for_each_quarter
from ftm.cli.named_store import name_store, store_given
from ftm.core.errors import NoCallsError, UnknownFirmError
from ftm.core.quarter import Quarter

YEAR = Quarter.parse_range("2022Q1..2022Q4")
HAS = {"2022Q1": {"1"}, "2022Q2": set(), "2022Q3": {"2", "3"}, "2022Q4": {"1", "3"}}


class Desk:
    """Does quarters as HAS has them, and notes what."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Sequence[str] | None]] = []
        self.said: list[str] = []

    def __call__(self, quarter: Quarter, firm_ids: Sequence[str] | None) -> None:
        """Refuse what the real prefetch refuses."""
        known = HAS[str(quarter)]
        if not known:
            raise NoCallsError(f"no earnings call in {quarter}")
        if unknown := [firm for firm in firm_ids or () if firm not in known]:
            raise UnknownFirmError("unknown", firm_ids=tuple(unknown))
        self.done.append((str(quarter), firm_ids))


def test_a_quarter_without_calls_stops_no_other() -> None:
    """It is said, and the rest is read."""
    desk = Desk()
    for_each_quarter(YEAR, None, desk, say=desk.said.append)
    assert [quarter for quarter, _ in desk.done] == ["2022Q1", "2022Q3", "2022Q4"]
    assert desk.said == ["no earnings call in 2022Q2"]


def test_each_quarter_gets_the_firms_it_knows() -> None:
    """A list of firms over a year is for whoever had a call in each quarter."""
    desk = Desk()
    for_each_quarter(YEAR, ["1", "3"], desk, say=desk.said.append)
    assert desk.done == [("2022Q1", ["1"]), ("2022Q3", ["3"]), ("2022Q4", ["1", "3"])]
    assert desk.said[0] == "2022Q1: 1 firm of those asked for without an earnings call in it"


def test_a_firm_that_no_quarter_knows_is_an_error_at_the_end() -> None:
    """What else was asked for is done by then."""
    desk = Desk()
    with pytest.raises(UnknownFirmError, match=r"firm id 9: .*2022Q1..2022Q4") as caught:
        for_each_quarter(YEAR, ["9", "2"], desk, say=desk.said.append)
    assert desk.done == [("2022Q3", ["2"])]
    assert caught.value.firm_ids == ("9",)


def test_one_quarter_fails_as_it_is() -> None:
    """Nothing is done for some of the firms only; no call at all is an error."""
    desk = Desk()
    with pytest.raises(UnknownFirmError, match=r"^unknown$"):
        for_each_quarter(YEAR[:1], ["1", "9"], desk, say=desk.said.append)
    with pytest.raises(NoCallsError):
        for_each_quarter(YEAR[1:2], None, desk, say=desk.said.append)
    assert (desk.done, desk.said) == ([], [])


def test_a_range_without_any_call_is_an_error() -> None:
    """As for one quarter."""
    desk = Desk()
    with pytest.raises(NoCallsError, match="2022Q2"):
        for_each_quarter([YEAR[1], YEAR[1]], None, desk, say=desk.said.append)


@pytest.mark.parametrize(
    ("arguments", "store"),
    [
        (["status", "--store", "file:///a b"], "file:///a b"),
        (["status", "--store=s3://b"], "s3://b"),
        (["status", "--store"], None),
        (["status"], None),
    ],
)
def test_the_store_flag_is_found(arguments: list[str], store: str | None) -> None:
    """In both spellings."""
    assert store_given(arguments) == store


def test_commands_in_messages_run_as_they_stand() -> None:
    """Each gets the store that was given as a flag, unless it has one; other text stays."""
    text = (
        "no x; run `ftm prefetch --quarter 2023Q1`, or `aws sso login`, or "
        "`ftm show --store s3://b`; the `ftm run-quarter` command that began it"
    )
    assert name_store(text, None) == text
    assert name_store(text, "file:///a b") == (
        "no x; run `ftm prefetch --quarter 2023Q1 --store 'file:///a b'`, or `aws sso login`, or "
        "`ftm show --store s3://b`; the `ftm run-quarter` command that began it"
    )
