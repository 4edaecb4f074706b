"""The call's own speakers: their names are persons, whatever the pipeline thinks of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from ftm.text.lexicon import mapping, word_set

_NAME_PART = re.compile(r"[^\W\d_](?:[\w'\u2019]*[\w])?\.?")
_WORD = re.compile(r"\w+")
_TITLES = word_set("names", "titles")
_NOBODY = word_set("names", "nobody")
_NEVER_INTRODUCED = word_set("names", "never_introduced")
_SHORT = mapping("names", "short")
_KNOWN_GIVEN = frozenset(_SHORT) | {
    form.lower() for forms in _SHORT.values() for form in forms.split()
}
_NAME = r"[A-Z][a-z\u00e0-\u00ff]+(?: (?:[A-Z]\.? )?[A-Z][\w'\u2019-]+)?"
_START = r"(?m:^|(?<=[.?!] ))(?:(?:So|And|But|Maybe|Okay|Yes),? )?"
_REQUEST = r"(?:do|would|could|can|will|please|maybe|perhaps) (?:you|add|take|comment)\b"
_INTRODUCTIONS = tuple(  # all but the last begin with a literal, which re finds quickly
    re.compile(pattern)
    for pattern in (
        rf"hank(?:s| you)(?: very much| so much| a lot)?,? ({_NAME})(?=[,.!]| and\b)",
        rf"ur (?:new )?(?:C[EFO]O|President|Chairman|Chief [A-Z]\w+ Officer),? ({_NAME})",
        rf"line of ({_NAME})(?= (?:with|from|at|of)\b)",
        rf"{_START}({_NAME}), {_REQUEST}",
    )
)
"""How somebody is thanked, presented by office, announced, asked."""
_OVER_TO = re.compile(rf" over (?:now )?to ({_NAME})")
_HANDING = re.compile(
    r"\b(?:turn|hand|pass)(?:ing)?"
    r"(?: (?:it|this|that|things|you|back|now|also|(?:the|this|that|my|our) (?:[\w'\u2019]+ )?"
    r"(?:call|conference|discussion|floor|meeting|mic|presentation|program|question|time)))*$",
    re.IGNORECASE,
)
"""What comes before "over to" where the word is given; production is moved over to a place."""
_HANDING_CHARS = 60


@dataclass(frozen=True)
class Roster:
    """Speaker names as token sequences.

    Args:
        names: all tokens of a name, by its first token, for names of two tokens or more.
        singles: given names and surnames that count alone.
        ambiguous: the singles that are also ordinary words ("Price"), but for given names whose
            word nobody says on this call ("Mark").
    """

    names: dict[str, tuple[tuple[str, ...], ...]]
    singles: frozenset[str]
    ambiguous: frozenset[str]

    @property
    def words(self) -> Collection[str]:
        """Every token that can begin a mention."""
        return self.singles | self.names.keys()

    @cached_property
    def _by_length(self) -> dict[str, tuple[tuple[int, frozenset[tuple[str, ...]]], ...]]:
        """First token → (tokens of a name, all names of so many), longest first.

        A call may thank a thousand Johns; each mention must not be compared with each of them.
        """
        return {
            first: tuple(
                (length, frozenset(same))
                for length, same in groupby(sorted(names, key=len, reverse=True), key=len)
            )
            for first, names in self.names.items()
        }

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
                ("Price increases ...") is a name only before a comma, and no name goes on.
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
        for length, names in self._by_length.get(word, ()):
            rest = range(index + 1, index + length)
            if (word, *map(word_at, rest)) in names and not any(map(is_first, rest)):
                return index + length
        if word not in self.singles:
            return index
        if word in self.ambiguous and is_first(index):
            return index + (word_at(index + 1) == ",")
        return index + 1


def make_roster(
    speaker_names: Iterable[str],
    is_word: Callable[[str], bool],
    spoken: str = "",
    *,
    firm_name: str = "",
) -> Roster:
    """Build the roster of a call; masked names ("Unknown Analyst") and the operator give nothing.

    Args:
        speaker_names: as WRDS has them, with repetitions.
        is_word: whether a lower-case word is ordinary English, so ambiguous as a name.
        spoken: all that is said on the call: who is introduced in it counts as a speaker.
        firm_name: whose call it is; an operator turns it over to the firm, who is no person.
    """
    names: dict[str, set[tuple[str, ...]]] = {}
    singles: set[str] = set()
    given: set[str] = set()
    for name in sorted({*speaker_names, *_introduced(spoken, is_word, firm_name)}):
        parts = _parts(name)
        if not parts:
            continue
        if len(parts) > 1:
            given.update(form for form in _given_names(parts[0]) if _stands_alone(form, is_word))
            names.setdefault(parts[0], set()).add(tuple(parts))
        singles.update(part for part in parts if _stands_alone(part, is_word))
    longest_first = {
        first: tuple(sorted(found, key=lambda n: (-len(n), n))) for first, found in names.items()
    }
    words = frozenset(_WORD.findall(spoken))
    said = {name for name in given if _is_said(name.lower(), spoken, words)}
    singles |= given - {name for name in said - singles if is_word(name.lower())}
    sure = given - said
    ambiguous = frozenset(one for one in singles - sure if is_word(one.lower()))
    return Roster(longest_first, frozenset(singles), ambiguous)


def _given_names(name: str) -> list[str]:
    """A given name and its short forms."""
    return [name, *_SHORT.get(name.lower(), "").split()]


def _is_said(word: str, spoken: str, words: Collection[str]) -> bool:
    """Whether a lower-case word occurs among the words of a text; without a text, it may."""
    if not spoken:
        return True
    if _WORD.fullmatch(word):
        return word in words
    return word in spoken and re.search(rf"\b{re.escape(word)}\b", spoken) is not None


def _introduced(spoken: str, is_word: Callable[[str], bool], firm_name: str) -> Iterator[str]:
    """Names by which people are thanked, given the word or presented.

    What follows such a phrase with a capital may be the company, another one or a place; the
    firm's own name and ordinary words, which the tables know, are not taken.
    """
    others = _NEVER_INTRODUCED.union(part.lower() for part in _NAME_PART.findall(firm_name))
    for name in (found for find in (_presented, _given_the_word) for found in find(spoken)):
        first = name.split()[0].lower()
        if first in _KNOWN_GIVEN or not (first in others or is_word(first)):
            yield name


def _presented(spoken: str) -> Iterator[str]:
    for pattern in _INTRODUCTIONS:
        yield from pattern.findall(spoken)


def _given_the_word(spoken: str) -> Iterator[str]:
    for match in _OVER_TO.finditer(spoken):
        if _HANDING.search(spoken, max(0, match.start() - _HANDING_CHARS), match.start()):
            yield match[1]


def _stands_alone(part: str, is_word: Callable[[str], bool]) -> bool:
    """A capitalised part of three letters, or of two when it is no word ("Xu", but not "So")."""
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
