"""How a firm is called on its own call: full name, without suffix, first words, initials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ftm.naming.word_lists import name_words

_LEGAL = name_words("legal_forms")
_SOFT = name_words("dropped_last")
_GENERAL = name_words("general_first")
_NO_FIRM = name_words("common_acronyms")
_MIN_SINGLE = 3
_MIN_INITIALS = 3
_SPLIT = re.compile(r"[^\s,;()/]+")


@dataclass(frozen=True, slots=True)
class FirmForms:
    """Forms of a firm's name, as words.

    Args:
        sure: a firm wherever they stand: several words, or a name that is no word.
        single: one word, which may be an ordinary one where a sentence begins.
        initials: like AMD.
    """

    sure: tuple[tuple[str, ...], ...] = ()
    single: tuple[str, ...] = ()
    initials: tuple[str, ...] = ()


def firm_forms(name: str) -> FirmForms:
    """The forms of one firm's name; none of an empty one or of a single letter."""
    words = tuple(word.strip("\"'") for word in _SPLIT.findall(name))
    words = tuple(word for word in words if any(char.isalnum() for char in word) or word == "&")
    core = _without(words[1:] if _plain(words[:1]) == ("the",) else words, _LEGAL)
    if not core or (len(core) == 1 and _plain(core)[0] in _LEGAL):
        return FirmForms()
    forms = {words, core, _without(core, _LEGAL | _SOFT), *_beginnings(core)}
    forms = {form for form in forms if form and not _is_loose(form)}
    return FirmForms(
        sure=tuple(sorted((form for form in forms if len(form) > 1), key=_longest_first)),
        single=tuple(sorted(form[0] for form in forms if len(form) == 1)),
        initials=tuple(_initials(core)),
    )


def _beginnings(core: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The first words of a longer name, by which people call the firm."""
    if len(core) > 2 and core[1] != "&":
        yield core[:2]
    if len(core) > 1 and _plain(core[:1])[0] not in _GENERAL and core[1] != "&":
        yield core[:1]


def _is_loose(form: tuple[str, ...]) -> bool:
    """Whether a form would hit what is not the firm: a letter or two, or only general words."""
    if len(form) > 1:
        return form[-1] == "&" or sum(len(word) for word in _plain(form)) < _MIN_SINGLE
    plain = _plain(form)[0]
    has_digit = any(char.isdigit() for char in plain) and not plain.isdigit()
    return not (len(plain) >= _MIN_SINGLE or has_digit) or plain.isdigit()


def _without(words: tuple[str, ...], endings: frozenset[str]) -> tuple[str, ...]:
    """The words without a legal form at the end, but never without all of them."""
    while len(words) > 1 and (_plain(words[-1:])[0] in endings or words[-1] in ("&", "and")):
        words = words[:-1]
    return words


def _plain(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("".join(char for char in word.lower() if char.isalnum()) for word in words)


def _initials(core: tuple[str, ...]) -> Iterator[str]:
    letters = "".join(word[0].upper() for word in core if word[0].isalpha() and word != "and")
    if len(core) >= _MIN_INITIALS and len(letters) >= _MIN_INITIALS and letters not in _NO_FIRM:
        yield letters


def _longest_first(form: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return -len(form), form


def firm_pattern(words: tuple[str, ...]) -> str:
    """A regular expression for these words as people write and say them.

    Dots and exclamation marks may be missing, "&" may be "and"; a number before the name that
    goes on into it ("1.3M") is no name.
    """
    joined = r"[\s,-]+".join(_word_pattern(word) for word in words)
    first, last = words[0][0], words[-1][-1]
    before = r"(?<![\w$€£.,])" if first.isdigit() else r"(?<!\w)"
    return f"{before}{joined}" + (r"(?!\w)" if last.isalnum() or last in ".!" else "")


def _word_pattern(word: str) -> str:
    optional = {
        ".": r"\.?",
        "!": "!?",
        "&": r"\s?(?:&|and)\s?",
        "'": "['\u2019]?",
        "\u2019": "['\u2019]?",
    }
    if word == "&":
        return "(?:&|and)"
    return "".join(optional.get(char) or re.escape(char) for char in word)
