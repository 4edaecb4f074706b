"""The call's own speakers: their names are persons, whatever the pipeline thinks of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ftm.text.lexicon import word_set

_NAME_PART = re.compile(r"[^\W\d_](?:[\w'\u2019]*[\w])?\.?")
_TITLES = word_set("names", "titles")
_NOBODY = word_set("names", "nobody")


@dataclass(frozen=True)
class Roster:
    """Speaker names as token sequences.

    Args:
        names: all tokens of a name, by its first token, for names of two tokens or more.
        singles: given names and surnames that count alone.
        ambiguous: the singles that are also ordinary words ("Mark", "Price").
    """

    names: dict[str, tuple[tuple[str, ...], ...]]
    singles: frozenset[str]
    ambiguous: frozenset[str]

    @property
    def words(self) -> Collection[str]:
        """Every token that can begin a mention."""
        return self.singles | self.names.keys()

    def mentions(
        self,
        word_at: Callable[[int], str],
        candidates: Iterable[int],
        is_first: Callable[[int], bool],
    ) -> Iterator[tuple[int, int]]:
        """Yield (first token, token after the last) of mentions, left to right, not overlapping.

        Args:
            word_at: the token with this index, "" past the end.
            candidates: increasing indices of the tokens that are in `words`.
            is_first: tells whether a token is the first of its sentence. There an ordinary word
                ("Price increases ...") is a name only before a comma.
        """
        end = 0
        for index in candidates:
            if index >= end:
                end = self._mention_end(word_at, index, is_first)
                if end > index:
                    yield index, end

    def _mention_end(
        self, word_at: Callable[[int], str], index: int, is_first: Callable[[int], bool]
    ) -> int:
        word = word_at(index)
        for name in self.names.get(word, ()):
            if all(word_at(index + n) == part for n, part in enumerate(name)):
                return index + len(name)
        if word not in self.singles:
            return index
        if word in self.ambiguous and is_first(index):
            return index + (word_at(index + 1) == ",")
        return index + 1


def make_roster(speaker_names: Iterable[str], is_word: Callable[[str], bool]) -> Roster:
    """Build the roster of a call; masked names ("Unknown Analyst") and the operator give nothing.

    Args:
        speaker_names: as WRDS has them, with repetitions.
        is_word: whether a lower-case word is ordinary English, so ambiguous as a name.
    """
    names: dict[str, set[tuple[str, ...]]] = {}
    singles: set[str] = set()
    for name in sorted(set(speaker_names)):
        parts = _parts(name)
        if not parts:
            continue
        if len(parts) > 1:
            names.setdefault(parts[0], set()).add(tuple(parts))
        singles.update(part for part in parts if _stands_alone(part, is_word))
    longest_first = {
        first: tuple(sorted(found, key=lambda n: (-len(n), n))) for first, found in names.items()
    }
    ambiguous = frozenset(single for single in singles if is_word(single.lower()))
    return Roster(longest_first, frozenset(singles), ambiguous)


def _stands_alone(part: str, is_word: Callable[[str], bool]) -> bool:
    """A capitalised part of three letters, or of two when it is no word ("Li", but not "So")."""
    if not part[0].isupper() or part.endswith("."):
        return False
    return len(part) > 2 or (len(part) == 2 and not is_word(part.lower()))


def _parts(name: str) -> list[str]:
    parts = [part for part in _NAME_PART.findall(name) if part.rstrip(".").lower() not in _TITLES]
    parts = [part if len(part) == 2 else part.rstrip(".") for part in parts]
    if any(part.lower() in _NOBODY for part in parts):
        return []
    if name.isupper():
        parts = [part.capitalize() for part in parts]
    return parts
