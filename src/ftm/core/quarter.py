"""Calendar quarters: one spelling, `2023Q1`, everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from ftm.core.errors import ConfigError

_QUARTER = re.compile(r"(?P<year>\d{4})Q(?P<number>[1-4])", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Quarter:
    """A calendar quarter, ordered in time.

    Args:
        year: four-digit year, 1 to 9999.
        number: 1 to 4.
    """

    year: int
    number: int

    def __post_init__(self) -> None:
        if not (1 <= self.year <= 9999 and 1 <= self.number <= 4):
            raise ConfigError(f"no such quarter: year {self.year!r}, number {self.number!r}")

    @classmethod
    def parse(cls, text: str | Quarter) -> Quarter:
        """Read `2023Q1`.

        Raises:
            ConfigError: (a ValueError) the text is anything else, `2023q1` and `2023-1` included.
        """
        if isinstance(text, Quarter):
            return text
        match = _QUARTER.fullmatch(text)
        if match is None or match["year"] == "0000":
            raise ConfigError(f"not a quarter: {text!r}; write year, Q and 1 to 4, like 2023Q1")
        return cls(int(match["year"]), int(match["number"]))

    @classmethod
    def parse_range(cls, text: str) -> list[Quarter]:
        """Read `2016Q1..2016Q4` (both ends included) or a single quarter.

        Raises:
            ConfigError: an end is malformed, or the range runs backwards.
        """
        first, dots, last = text.partition("..")
        start = cls.parse(first)
        end = cls.parse(last) if dots else start
        if end < start:
            raise ConfigError(f"quarters run backwards: {text!r}; write the earlier one first")
        found = [start]
        while found[-1] < end:
            found.append(found[-1].next())
        return found

    @classmethod
    def containing(cls, day: date) -> Quarter:
        """The quarter a date falls in."""
        return cls(day.year, (day.month + 2) // 3)

    @property
    def start(self) -> date:
        """First day."""
        return date(self.year, 3 * self.number - 2, 1)

    @property
    def end(self) -> date:
        """Last day, which belongs to the quarter."""
        if (self.year, self.number) == (9999, 4):
            return date.max
        return self.next().start - timedelta(days=1)

    def next(self) -> Quarter:
        """The following quarter."""
        return Quarter(self.year + self.number // 4, self.number % 4 + 1)

    def previous(self) -> Quarter:
        """The quarter before."""
        return Quarter(self.year - (self.number == 1), (self.number + 2) % 4 + 1)

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.end

    def __str__(self) -> str:
        return f"{self.year:04d}Q{self.number}"
