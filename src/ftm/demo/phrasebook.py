"""The sentences of synthetic calls: templates from `phrases/*.toml`, filled in at random."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any

SECTORS = ("technology", "consumer", "industrial", "energy", "health", "financial", "property")
"""Every firm belongs to one; a topic names its sectors, or `any`."""

TOPIC_FILES = (
    "topics_shared.toml",
    "topics_industry.toml",
    "topics_services.toml",
    "topics_parts.toml",
)

_SLOT = re.compile(r"\{(\w+)\}")

Filling = Mapping[str, str | Sequence[str]]
"""Slot → its text, or texts to choose from."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be said about one business topic.

    Args:
        name: the planted label, like `supply_chain`.
        sectors: of firms that may talk about it; `any` stands for all, none for the parts of a
            topic, which are said where a scenario splits it.
        phrases: cores (clauses), causes, results, nouns, and the fillers of its own slots.
    """

    name: str
    sectors: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]

    def suits(self, sector: str) -> bool:
        """Whether firms of this sector may talk about it."""
        return sector in self.sectors or "any" in self.sectors


@dataclass(frozen=True, slots=True)
class Phrasebook:
    """Every template: topics by name, frames by section and name."""

    topics: Mapping[str, Topic]
    frames: Mapping[str, Mapping[str, Any]]

    def suiting(self, sector: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the sector's own topics, and of those that any firm may have."""
        own = tuple(t.name for t in self.topics.values() if sector in t.sectors)
        shared = tuple(t.name for t in self.topics.values() if "any" in t.sectors)
        return own, shared


@cache
def load_phrasebook() -> Phrasebook:
    """The templates that come with ftm; read once a process."""
    tables = [_read(name) for name in TOPIC_FILES]
    topics = {name: _topic(name, body) for table in tables for name, body in table.items()}
    return Phrasebook(topics=topics, frames=_read("frames.toml"))


def _read(name: str) -> dict[str, Any]:
    text = resources.files("ftm.demo").joinpath("phrases", name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def _topic(name: str, body: Mapping[str, list[str]]) -> Topic:
    phrases = {key: tuple(values) for key, values in body.items() if key != "sectors"}
    return Topic(name, tuple(body["sectors"]), phrases)


class Speaker:
    """Composes the sentences of one call.

    Args:
        rng: the call's own generator; the only source of chance.
        filling: what the call knows: names, dates, `year` (of the call).
        book: the templates.
    """

    def __init__(self, rng: Random, filling: Filling, book: Phrasebook) -> None:
        self._rng = rng
        self._book = book
        self._year = int(str(filling["year"]))
        self._filling: Filling = {**book.frames["fill"], **filling}

    def frame(self, section: str, frame: str, /, **given: str) -> str:
        """One sentence from a frame, like `procedural`, `thanks`."""
        return self._sentence(self._rng.choice(self._book.frames[section][frame]), given)

    def all_frames(self, section: str, frame: str, /, **given: str) -> list[str]:
        """Every sentence of a frame, in order."""
        return [self._sentence(text, given) for text in self._book.frames[section][frame]]

    def some_frames(self, section: str, frame: str, count: int) -> list[str]:
        """`count` different sentences of a frame, in the frame's order."""
        texts = self._book.frames[section][frame]
        chosen = sorted(self._rng.sample(range(len(texts)), min(count, len(texts))))
        return [self._sentence(texts[i], {}) for i in chosen]

    def general(self) -> str:
        """A content sentence of no topic: results, outlook, praise."""
        frames = self._book.frames["content"]
        text = self._rng.choice(frames["general"])
        if self._rng.random() < 0.4:
            text = f"{self._rng.choice(frames['openers'])} {text}"
        return self._sentence(text, {})

    def statement(self, topic: str) -> str:
        """A sentence about a topic: a core with a cause, a result or a generic frame around it."""
        phrases = self._book.topics[topic].phrases
        return self._sentence(self._compose(phrases), phrases)

    def reply(self, topic: str) -> str:
        """The first sentence of an answer."""
        return self._framed(topic, "replies", ".")

    def question(self, topic: str) -> str:
        """An analyst's question."""
        return self._framed(topic, "questions", "?")

    def _framed(self, topic: str, frame: str, end: str) -> str:
        phrases = self._book.topics[topic].phrases
        given = {
            **phrases,
            "noun": phrases["nouns"],
            "core": f"{self._rng.choice(phrases['cores'])} {self._rng.choice(phrases['causes'])}",
        }
        return self._sentence(self._rng.choice(self._book.frames["content"][frame]), given, end)

    def _compose(self, phrases: Mapping[str, Sequence[str]]) -> str:
        """A skeleton; one of cause, result, opener and closer is always there."""
        pick, frames = self._rng.choice, self._book.frames["content"]
        core, shape = pick(phrases["cores"]), self._rng.random()
        if shape < 0.14:
            return f"{pick(phrases['causes'])}, {core}"
        if shape < 0.40:
            text = f"{core} {pick(phrases['causes'])}"
        elif shape < 0.64:
            text = f"{core}, {pick(phrases['results'])}"
        elif shape < 0.76:
            text = f"{core} {pick(phrases['causes'])}, {pick(phrases['results'])}"
        else:
            return f"{pick(frames['openers'])} {core}, {pick(frames['closers'])}"
        return f"{pick(frames['openers'])} {text}" if self._rng.random() < 0.35 else text

    def _sentence(self, template: str, given: Filling, end: str = ".") -> str:
        text = self._fill(template, given)
        return f"{text[0].upper()}{text[1:]}{end}"

    def _fill(self, template: str, given: Filling) -> str:
        return _SLOT.sub(lambda match: self._slot(match[1], given), template)

    def _slot(self, name: str, given: Filling) -> str:
        if name == "year" and name not in given:
            return str(self._year + self._rng.randint(-3, 2))
        if name in _NUMBERS:
            return _NUMBERS[name](self._rng)
        found = given[name] if name in given else self._filling[name]
        text = found if isinstance(found, str) else self._rng.choice(found)
        return self._fill(text, given) if "{" in text else text


def _money(rng: Random) -> str:
    style = rng.random()
    if style < 0.6:
        return f"${rng.randint(2, 950)} million"
    if style < 0.85:
        return f"${rng.randint(11, 98) / 10} billion"
    return f"USD {rng.randint(11, 980) / 10} million"


def _percent(rng: Random) -> str:
    style = rng.random()
    if style < 0.5:
        return f"{rng.randint(2, 98)}%"
    if style < 0.8:
        return f"{rng.randint(11, 395) / 10}%"
    return f"{rng.randint(2, 60)} percent"


_NUMBERS: dict[str, Callable[[Random], str]] = {
    "n": lambda rng: str(rng.randint(11, 480)),
    "big": lambda rng: f"{rng.randint(1100, 48000):,}",
    "bigshares": lambda rng: f"{rng.randint(11, 240) / 10} million",
    "pct": _percent,
    "money": _money,
    "dollars": lambda rng: f"${rng.randint(210, 18900) / 100:.2f}",
    "bps": lambda rng: str(5 * rng.randint(2, 50)),
    "ratio": lambda rng: f"{rng.randint(11, 79) / 10}",
}
