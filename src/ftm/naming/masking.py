"""Names of firms, persons and products become `[FIRM]`, `[PERSON]` and `[NAME]`.

A topic's name should say what is talked about, not who talks; and what is not sent cannot leak.
Only the texts themselves and the names given decide; no model, no word list of a language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ftm.naming.firm_names import FirmForms, firm_forms, firm_pattern
from ftm.naming.word_lists import name_words
from ftm.text.lexicon import mapping, word_set

FIRM, PERSON, NAME = "[FIRM]", "[PERSON]", "[NAME]"
PLACEHOLDER = re.compile(r"\[(?:FIRM|PERSON|NAME)\]", re.IGNORECASE)

_TITLES = word_set("names", "titles")
_NOBODY = word_set("names", "nobody")
_SHORT = mapping("names", "short")
_MAX_NAME_PARTS = 20
_PART = re.compile(r"[^\W\d_](?:[\w'\u2019-]*\w)?\.?")
_CAPITAL = "[A-ZÀ-ÖØ-Þ]"
_INSIDE = r"[\w'\u2019-]"
_CAPITALISED = rf"{_CAPITAL}{_INSIDE}*"
# Words are begun at their first character only: tried from each, "AAAA" would be quadratic.
_WORD_START = rf"(?<!{_INSIDE})"
_BEFORE_CAPITAL = rf"{_WORD_START}((?:(?!{_CAPITAL}){_INSIDE})*+)"
_TITLED = re.compile(
    rf"\b(?:Mr|Ms|Mrs|Dr|Prof|Messrs)\.?\s+{_CAPITALISED}(?:\s+(?:[A-Z]\.\s+)?{_CAPITALISED}){{0,2}}"
)
_MARKS = ("®", "™", "℠", "(R)", "(TM)")
_MARK = rf"{_INSIDE}++\s?[®™℠]"
_MARKED = re.compile(
    rf"{_WORD_START}(?:(?:{_CAPITALISED}\s+){{0,3}}{_MARK}|{_INSIDE}++\s?\((?:R|TM)\))"
    rf"|{_BEFORE_CAPITAL}(?:{_CAPITALISED}\s+){{1,3}}{_MARK}"
)
"""A name and its mark; the first group is what stands before the capital that it begins with."""
_INNER_CAPITAL = re.compile(r"(?<!\w)(?:[a-z]+[A-Z][a-z]\w*|[A-Z][a-z]+[A-Z][a-z]\w*)(?!\w)")
_ORDINARY_INNER = name_words("inner_capitals")
_RUN_WORD = re.compile(rf"{_BEFORE_CAPITAL}({_CAPITALISED}[a-zß-ÿ]{_INSIDE}*)")
"""A capitalised word with a small letter in it, as the second group."""
_GENERAL = name_words("general_capitalised")
_BUSINESS = name_words("business")


class Masker:
    """Masks the names of one firm's call, or of a theme's firms.

    Args:
        firms: firm names as the data has them.
        persons: speakers' names as the data has them.
    """

    def __init__(self, firms: Iterable[str], persons: Iterable[str] = ()) -> None:
        forms = [firm_forms(name) for name in firms]
        self._firm = _any_of([_sure(form) for form in forms])
        self._initials = _any_of([[rf"(?<!\w){word}(?!\w)" for word in f.initials] for f in forms])
        self._firm_single = _any_of([_singles(form) for form in forms])
        people = [_person_parts(name) for name in persons]
        singles = {one for parts in people for one in _single_names(parts)}
        self._lower_names = frozenset(
            name.lower()
            for name in (
                *singles,
                *(one for form in forms for one in (*form.single, *form.initials)),
                *(" ".join(words) for form in forms for words in form.sure),
            )
        )
        self._person = _any_of([_full_names(parts) for parts in people])
        self._person_single = _any_of([[rf"(?<!\w){re.escape(one)}(?!\w)" for one in singles]])

    def mask(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, masked; together, because one tells what a word in another is.

        A word that also stands in lower case is an ordinary one where a sentence begins; a run of
        capitalised words inside one sentence is a name at the beginning of another.
        """
        lower = _lower_words(sentences)
        masked = [self._without_firms_and_persons(text, lower) for text in sentences]
        runs = {run for text in masked for run in _brand_runs(text) if not _is_plain(run, lower)}
        pattern = _any_of([[rf"(?<![\w[]){re.escape(run)}(?!\w)" for run in sorted(runs)]])
        return [_without_products(text, pattern) for text in masked]

    def names_firm(self, text: str, sentences: Sequence[str]) -> bool:
        """Whether a made name contains a firm's; `sentences` tell which words are ordinary ones."""
        if _search(self._firm, text) or _search(self._initials, text):
            return True
        lower = _lower_words([*sentences, text])
        found = () if self._firm_single is None else self._firm_single.finditer(text)
        return any(match[0].lower() not in lower for match in found)

    def keep_keywords(self, keywords: Sequence[str], sentences: Sequence[str]) -> list[str]:
        """The keywords, which are in lower case, without those that are a name.

        A name that the sentences use as an ordinary word, too ("target"), stays.
        """
        names = self._lower_names - _lower_words(sentences)
        return [word for word in keywords if not names & {word, *word.split()}]

    def _without_firms_and_persons(self, text: str, lower: frozenset[str]) -> str:
        text = _sub(self._firm, FIRM, text)
        text = _sub(self._initials, FIRM, text)
        text = _sub_singles(self._firm_single, FIRM, text, lower)
        text = _TITLED.sub(PERSON, text)
        text = _sub(self._person, PERSON, text)
        return _sub_singles(self._person_single, PERSON, text, lower)


@lru_cache(maxsize=256)
def masker(firms: tuple[str, ...], persons: tuple[str, ...]) -> Masker:
    """A masker; those of the last firms are kept, because a firm's topics come together."""
    return Masker(firms, persons)


def _any_of(groups: Iterable[Iterable[str]]) -> re.Pattern[str] | None:
    """One expression for all, longest first; None for none."""
    found = {pattern for group in groups for pattern in group}
    if not found:
        return None
    return re.compile("|".join(sorted(found, key=lambda p: (-len(p), p))))


def _sure(forms: FirmForms) -> list[str]:
    """As written, and in capitals; in lower case "first solar" is two ordinary words."""
    spelled = {form for words in forms.sure for form in (words, _upper(words))}
    return [firm_pattern(words) for words in sorted(spelled)]


def _upper(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.upper() for word in words)


def _singles(forms: FirmForms) -> list[str]:
    """One-word names as written, in capitals, and capitalised (a name may be in lower case)."""
    spelled = {
        form
        for word in forms.single
        for form in (word, word.upper(), word[0].upper() + word[1:])
        if any(char.isupper() for char in form)
    }
    return [firm_pattern((word,)) for word in sorted(spelled)]


def _person_parts(name: str) -> list[str]:
    parts = [part for part in _PART.findall(name) if part.rstrip(".").lower() not in _TITLES]
    if any(part.lower() in _NOBODY for part in parts):
        return []
    parts = parts[:_MAX_NAME_PARTS]
    return [part.capitalize() for part in parts] if name.isupper() else parts


def _full_names(parts: list[str]) -> list[str]:
    """First and last name, whatever initial stands between or is left out."""
    long = [part for part in parts if len(part.rstrip(".")) > 1]
    if len(long) < 2:
        return []
    middle = r"(?:\s+[A-Z]\.?)?\s+"
    spelled = (long, [part.upper() for part in long])
    return [rf"(?<!\w){middle.join(map(re.escape, words))}(?!\w)" for words in spelled]


def _single_names(parts: list[str]) -> set[str]:
    names = {part.rstrip(".") for part in parts}
    if len(parts) > 1:
        names.update(_SHORT.get(parts[0].lower(), "").split())
    return {name for name in names if len(name) > 1 and name[0].isupper()}


def _lower_words(texts: Sequence[str]) -> frozenset[str]:
    return frozenset(
        word for text in texts for word in re.findall(r"(?<!\w)[a-zß-ÿ][\w'\u2019]*", text)
    )


def _search(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.search(text) is not None


def _sub(pattern: re.Pattern[str] | None, mask: str, text: str) -> str:
    return text if pattern is None else pattern.sub(mask, text)


def _sub_singles(
    pattern: re.Pattern[str] | None, mask: str, text: str, lower: frozenset[str]
) -> str:
    """Mask one-word names, but not an ordinary word that is capitalised as the first."""
    if pattern is None:
        return text

    def masked(match: re.Match[str]) -> str:
        ordinary = match[0].lower() in lower and _is_first(match.string, match.start())
        inside = match.string[match.start() - 1 : match.start()] == "["
        return match[0] if ordinary or inside else mask

    return pattern.sub(masked, text)


def _is_first(text: str, start: int) -> bool:
    """Whether what begins here begins a sentence."""
    while start and text[start - 1] in " \t\n\"'\u201c\u2018(-":
        start -= 1
    return not start or text[start - 1] in ".?!:"


def _brand_runs(text: str) -> Iterable[str]:
    """Runs of two capitalised words or more inside a sentence, general words cut off."""
    run: list[re.Match[str]] = []
    for match in _RUN_WORD.finditer(text):
        follows = bool(run) and text[run[-1].end(2) : match.start(2)] == " "
        if not follows:
            yield from _as_brand(run, text)
            run = []
        if match[2] in _GENERAL or _is_first(text, match.start(2)):
            yield from _as_brand(run, text)
            run = []
        else:
            run.append(match)
    yield from _as_brand(run, text)


def _is_plain(run: str, lower: frozenset[str]) -> bool:
    """Whether a run is a phrase with capitals, as people write segments ("Consumer Products")."""
    words = [word.lower() for word in run.split()]
    return all(_is_ordinary(word, lower) or _is_ordinary(word[:-1], lower) for word in words)


def _is_ordinary(word: str, lower: frozenset[str]) -> bool:
    return word in _BUSINESS or word in lower


def _as_brand(run: list[re.Match[str]], text: str) -> Iterable[str]:
    if len(run) > 1:
        yield text[run[0].start(2) : run[-1].end(2)]


def _without_products(text: str, runs: re.Pattern[str] | None) -> str:
    if any(mark in text for mark in _MARKS):
        text = _MARKED.sub(lambda match: (match[1] or "") + NAME, text)
    text = _sub(runs, NAME, text)
    return _INNER_CAPITAL.sub(lambda m: m[0] if m[0] in _ORDINARY_INNER else NAME, text)
