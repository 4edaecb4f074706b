"""Synthetic firms: names, sectors, ids, people and the topics they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.demo.phrasebook import SECTORS, Phrasebook

MAX_FIRMS = 20_000
"""More would run out of ids: transcriptcomponentid is a 32-bit integer."""

EXECUTIVE_TITLES = (
    "head of investor relations",
    "chief executive officer",
    "chief financial officer",
    "chief operating officer",
)
N_ANALYSTS = 400
_ANALYST_IDS = 500_000
_FIRST_YEAR, _LAST_YEAR = 2000, 2032
_QUARTERS_KEPT = 0.9


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who speaks; `role` is a title, or an analyst's employer."""

    person_id: int
    name: str
    role: str

    @property
    def first(self) -> str:
        """First name."""
        return self.name.split(" ", 1)[0]

    @property
    def surname(self) -> str:
        """Last name."""
        return self.name.split(" ", 1)[1]


@dataclass(frozen=True, slots=True)
class Firm:
    """A firm as it is in every quarter; all ids follow from its index."""

    index: int
    name: str
    sector: str
    topics: tuple[str, ...]
    executives: tuple[Person, ...]

    @property
    def companyid(self) -> int:
        """Nine digits, so that order as text and as a number agree."""
        return 100_000_000 + 8_191 * self.index

    @property
    def firm_id(self) -> str:
        """The id ftm knows the firm by: companyid as text."""
        return str(self.companyid)

    @property
    def gvkey(self) -> str:
        """Six characters."""
        return f"{100_000 + self.index:06d}"

    @property
    def permno(self) -> int:
        """Five digits."""
        return 10_000 + self.index

    @property
    def permco(self) -> int:
        """Five digits."""
        return 40_000 + self.index

    def keydevid(self, quarter: Quarter, call: int = 0) -> int:
        """Id of the `call`-th event (0 or 1) of the quarter."""
        return 300_000_000 + 2 * self._ordinal(quarter) + call

    def transcriptid(self, quarter: Quarter, version: int = 0) -> int:
        """Id of the `version`-th transcript (0 to 3) of the quarter."""
        return 4 * self._ordinal(quarter) + version

    def _ordinal(self, quarter: Quarter) -> int:
        return (4 * (quarter.year - _FIRST_YEAR) + quarter.number) * MAX_FIRMS + self.index


@dataclass(frozen=True, slots=True)
class Scenario:
    """How topics come, go and split over time, on top of what each firm draws.

    Args:
        windows: topic → first and last quarter in which anyone mentions it; None: open.
        splits: topic → the quarter from which firms say these topics in its stead.
    """

    windows: Mapping[str, tuple[Quarter | None, Quarter | None]] = field(default_factory=dict)
    splits: Mapping[str, tuple[Quarter, tuple[str, ...]]] = field(default_factory=dict)

    def apply(self, topics: Sequence[str], quarter: Quarter) -> tuple[str, ...]:
        """The topics that are spoken of in a quarter, in order, each once."""
        found: list[str] = []
        for topic in topics:
            since, parts = self.splits.get(topic, (None, ()))
            found.extend(parts if since is not None and quarter >= since else (topic,))
        return tuple(dict.fromkeys(t for t in found if self._active(t, quarter)))

    def _active(self, topic: str, quarter: Quarter) -> bool:
        first, last = self.windows.get(topic, (None, None))
        return (first is None or first <= quarter) and (last is None or quarter <= last)


def make_firm(index: int, *, seed: int, book: Phrasebook) -> Firm:
    """The firm of this index; the same for one seed, however many others are made."""
    rng = Random(f"{seed}:firm:{index}")  # noqa: S311
    sector = SECTORS[index % len(SECTORS)]
    names = book.frames["names"]
    second = rng.choice(names["company_second"][sector])
    name = f"{rng.choice(names['company_first'])} {second} {rng.choice(names['company_suffix'])}"
    people = zip(_distinct_names(rng, len(EXECUTIVE_TITLES), book), EXECUTIVE_TITLES, strict=True)
    executives = [Person(1_000 + 16 * index + i, n, t) for i, (n, t) in enumerate(people)]
    return Firm(index, name, sector, _draw_topics(rng, sector, book), tuple(executives))


def topics_of(
    firm: Firm, quarter: Quarter, *, seed: int, scenario: Scenario, book: Phrasebook
) -> tuple[str, ...]:
    """What a firm talks about in a quarter: its lasting topics but for a few, and a new one."""
    rng = Random(f"{seed}:topics:{firm.index}:{quarter}")  # noqa: S311
    kept = [t for t in firm.topics if rng.random() < _QUARTERS_KEPT]
    own, shared = book.suiting(firm.sector)
    fresh = [t for t in own + shared if t not in firm.topics]
    if len(kept) < len(firm.topics):
        kept.append(rng.choice(fresh))
    spoken = scenario.apply(kept, quarter)
    return spoken or scenario.apply(own + shared, quarter)[:5]


def make_analysts(seed: int, book: Phrasebook) -> tuple[Person, ...]:
    """The analysts, who follow several firms each."""
    rng = Random(f"{seed}:analysts")  # noqa: S311
    names = [_person_name(rng, book) for _ in range(N_ANALYSTS)]
    brokers = book.frames["names"]["broker"]
    return tuple(
        Person(_ANALYST_IDS + i, name, rng.choice(brokers)) for i, name in enumerate(names)
    )


def check_size(n_firms: int, quarters: Sequence[Quarter]) -> None:
    """Refuse what the ids cannot number.

    Raises:
        ConfigError: too many firms, a year out of range, or a quarter given twice.
    """
    if not 0 <= n_firms <= MAX_FIRMS:
        raise ConfigError(f"cannot make {n_firms!r} firms; expected 0 to {MAX_FIRMS}")
    for quarter in quarters:
        if not _FIRST_YEAR <= quarter.year <= _LAST_YEAR:
            raise ConfigError(
                f"cannot make {quarter}; synthetic quarters lie in {_FIRST_YEAR} to {_LAST_YEAR}"
            )
    if len(set(quarters)) < len(quarters):
        raise ConfigError("a quarter is named twice; name each once")


def _draw_topics(rng: Random, sector: str, book: Phrasebook) -> tuple[str, ...]:
    own, shared = book.suiting(sector)
    wanted = rng.randint(5, 9)
    n_own = min(len(own), round(0.6 * wanted))
    topics = rng.sample(own, n_own) + rng.sample(shared, min(len(shared), wanted - n_own))
    rng.shuffle(topics)
    return tuple(topics)


def _distinct_names(rng: Random, count: int, book: Phrasebook) -> list[str]:
    names = book.frames["names"]
    firsts, lasts = rng.sample(names["first"], count), rng.sample(names["last"], count)
    return [f"{first} {last}" for first, last in zip(firsts, lasts, strict=True)]


def _person_name(rng: Random, book: Phrasebook) -> str:
    names = book.frames["names"]
    return f"{rng.choice(names['first'])} {rng.choice(names['last'])}"
