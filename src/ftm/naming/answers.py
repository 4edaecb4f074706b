"""From what a language model wrote to a name, or to what is wrong with it.

Thinking is taken off, the JSON object found and every field checked: an answer that obeyed
something said on a call has not the form asked for, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from ftm.naming.base import ItemKind
from ftm.naming.masking import PLACEHOLDER, Masker
from ftm.naming.prompts import FIELDS, MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THINKING_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_THINKING_START = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
_MARKUP = re.compile(r"</?\w+>|<\||```|https?://|www\.|[{}]", re.IGNORECASE)
_EMPHASIS = re.compile(r"\*\*|__|^#+ ")
"""Markdown around what is a name nevertheless."""
_MIN_DESCRIPTION_WORDS = 4
_MAX_NAME_WORDS = 12

NO_JSON = "it is no JSON object with the fields asked for"


class BadAnswerError(Exception):
    """An answer that cannot be used; private to `naming`, where it is asked for again.

    Args:
        problem: what is wrong with it, as a clause; never a word of the answer.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer.

    Args:
        name: one short line.
        description: one or two sentences, on one line.
    """

    name: str
    description: str


class _Fields(BaseModel):
    """What an answer is held to."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: Annotated[str, StringConstraints(min_length=2, max_length=MAX_NAME_CHARS)]
    description: Annotated[str, StringConstraints(min_length=2, max_length=MAX_DESCRIPTION_CHARS)]


def parse_answer(
    text: str | None,
    kind: ItemKind,
    *,
    names: Masker | None = None,
    sentences: Sequence[str] = (),
    cut_off: bool = False,
) -> Answer:
    """The name in an answer.

    Args:
        text: the message's content, as it came.
        kind: of the item.
        names: whose firm names must not be in it.
        sentences: of the item: they tell which words of a firm's name are ordinary ones.
        cut_off: the server stopped at max_tokens.

    Raises:
        BadAnswerError: it cannot be used.
    """
    content = _without_thinking(text or "")
    found = list(_objects(content, FIELDS[kind]))
    if not found:
        raise BadAnswerError(_why_none(content, cut_off=cut_off))
    fields = _validated(found[-1], kind)
    _check_words(fields, kind)
    if names is not None:
        for value in (fields.name, fields.description):
            if names.names_firm(value, sentences):
                raise BadAnswerError("it names a company")
    return Answer(fields.name, fields.description)


def _without_thinking(text: str) -> str:
    """What is left without thoughts; nothing, if they never end."""
    text = _THINKING.sub("", text)
    text = _THINKING_END.sub("", text)  # a template may have written the opening mark itself
    return _THINKING_START.split(text, maxsplit=1)[0].strip()


def _objects(text: str, fields: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Every JSON object in the text that has the fields; what a model thinks aloud comes first."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            found, end = None, start + 1
        if isinstance(found, dict) and all(field in found for field in fields):
            yield found
        start = text.find("{", end)


def _why_none(content: str, *, cut_off: bool) -> str:
    if cut_off:
        return "it was cut off at max_tokens (LLM_MAX_TOKENS)"
    return NO_JSON if content else "it is empty"


def _validated(found: dict[str, Any], kind: ItemKind) -> _Fields:
    short, long = FIELDS[kind]
    try:
        return _Fields(name=_one_line(found[short]), description=_one_line(found[long]))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = short if first["loc"] == ("name",) else long
        raise BadAnswerError(f'"{field}" is refused: {first["msg"]}') from None


def _one_line(value: Any) -> Any:
    """A text on one line without quotes around it; anything else as it is."""
    if not isinstance(value, str):
        return value
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return _EMPHASIS.sub("", line).strip("\"'*_ ")


def _check_words(fields: _Fields, kind: ItemKind) -> None:
    short, long = FIELDS[kind]
    for field, value in ((short, fields.name), (long, fields.description)):
        if PLACEHOLDER.search(value):
            raise BadAnswerError(f'"{field}" repeats the placeholder of a removed name')
        if _MARKUP.search(value):
            raise BadAnswerError(f'"{field}" holds markup or an address')
        if not any(char.isalpha() for char in value):
            raise BadAnswerError(f'"{field}" holds no words')
    if len(fields.name.split()) > _MAX_NAME_WORDS:
        raise BadAnswerError(f'"{short}" is a sentence')
    if len(fields.description.split()) < _MIN_DESCRIPTION_WORDS:
        raise BadAnswerError(f'"{long}" is no sentence')
