"""Quarter: one spelling, calendar arithmetic, ranges."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter

QUARTERS = st.builds(Quarter, st.integers(1, 9998), st.integers(1, 4))


@given(QUARTERS)
def test_text_round_trip(quarter: Quarter) -> None:
    """Writing a quarter and reading it back gives the same quarter."""
    assert Quarter.parse(str(quarter)) == quarter


@pytest.mark.parametrize(
    "text",
    ["2023Q5", "2023q1", "2023-1", "", "2023Q", "23Q1", " 2023Q1", "2023Q1\n", "٢٠٢٣Q1", "0000Q1"],  # noqa: RUF001
)
def test_malformed_text_is_a_value_error(text: str) -> None:
    """Anything but four digits, Q and 1 to 4 is refused, with the right spelling in the message."""
    with pytest.raises(ValueError, match="like 2023Q1"):
        Quarter.parse(text)


@given(st.dates(min_value=date(1, 1, 1), max_value=date(9998, 12, 31)))
def test_every_day_lies_in_exactly_its_quarter(day: date) -> None:
    """A day lies in the quarter that contains it and in neither neighbour."""
    quarter = Quarter.containing(day)
    assert day in quarter
    assert day not in quarter.next()


@given(QUARTERS)
def test_quarters_meet_without_gap(quarter: Quarter) -> None:
    """The day after a quarter's last day is the next one's first; the last day is inside."""
    assert quarter.end + timedelta(days=1) == quarter.next().start
    assert quarter.end in quarter


def test_range_includes_both_ends() -> None:
    """A..B lists every quarter from A to B; a single quarter is a range of one."""
    assert [str(q) for q in Quarter.parse_range("2016Q3..2017Q1")] == ["2016Q3", "2016Q4", "2017Q1"]
    assert Quarter.parse_range("2016Q3") == [Quarter(2016, 3)]


@pytest.mark.parametrize("text", ["2017Q1..2016Q4", "2016Q1..", "..2016Q1", "2016Q1-2016Q2"])
def test_bad_ranges_are_refused(text: str) -> None:
    """Backwards and half-open ranges are errors, not empty lists."""
    with pytest.raises(ConfigError):
        Quarter.parse_range(text)
