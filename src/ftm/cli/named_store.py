"""Commands that messages name, made to run as they stand when the store was given as a flag."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_COMMAND = re.compile(
    r"`(ftm (?:prefetch|preprocess|run-quarter|attrition|status|show|quarters)\b[^`]*)`"
)
_FLAG = "--store"


def store_given(arguments: Sequence[str]) -> str | None:
    """The value of `--store` among a command's arguments; None if it was not given."""
    for i, word in enumerate(arguments):
        if word.startswith(f"{_FLAG}="):
            return word.partition("=")[2]
        if word == _FLAG and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def name_store(text: str, store: str | None) -> str:
    """The text, with `--store` in every command it names in backquotes that has none."""
    if store is None:
        return text

    def complete(match: re.Match[str]) -> str:
        command = match[1]
        return f"`{command}`" if _FLAG in command else f"`{command} {_FLAG} {shlex.quote(store)}`"

    return _COMMAND.sub(complete, text)
