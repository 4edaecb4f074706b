"""The call's own speakers: their names are persons, whatever the pipeline thinks of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

_NAME_PART = re.compile(r"[^\W\d_](?:[\w'’]*[\w])?\.?")
_TITLES = frozenset(
    "mr mrs ms miss dr prof professor sir dame lord lady jr sr ii iii iv phd md mba cfa cpa esq"
    " hon".split()
)
_NOBODY = frozenset(
    "unknown unidentified operator executive executives analyst analysts attendee attendees"
    " shareholder shareholders speaker speakers participant participants moderator representative"
    " company male female member audience host management investor investors relations corporate"
    " coordinator conference media banker caller questioner various multiple na none".split()
)
"""Words of masked or generic names such as "Unknown Executive"; never part of a person's name."""


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

    def __bool__(self) -> bool:
        return bool(self.singles)

    @property
    def words(self) -> Collection[str]:
        """Every token that can begin a mention."""
        return self.singles | self.names.keys()

    def mentions(
        self, tokens: Sequence[str], candidates: Iterable[int], starts: Callable[[int], bool]
    ) -> list[tuple[int, int]]:
        """Spans (first token, token after the last) of mentions, left to right, not overlapping.

        Args:
            tokens: the words of one text.
            candidates: increasing indices of the tokens that are in `words`.
            starts: tells whether a token is the first of its sentence. There an ordinary word
                ("Price increases …") is a name only before a comma or after a title.
        """
        spans: list[tuple[int, int]] = []
        end = 0
        for index in candidates:
            if index >= end:
                end = self._mention_end(tokens, index, starts)
                if end > index:
                    spans.append((index, end))
        return spans

    def _mention_end(self, tokens: Sequence[str], index: int, starts: Callable[[int], bool]) -> int:
        for name in self.names.get(tokens[index], ()):
            if tuple(tokens[index : index + len(name)]) == name:
                return index + len(name)
        word = tokens[index]
        if word not in self.singles:
            return index
        if word in self.ambiguous and starts(index):
            following = tokens[index + 1] if index + 1 < len(tokens) else ""
            return index + (following == ",")
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
