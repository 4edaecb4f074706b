"""Commands that messages name, made to run as they stand when the store was given as a flag.

Messages are made where nobody knows the command line; every line the CLI prints goes through here.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence

_COMMAND = re.compile(
    r"`(ftm (?:prefetch|preprocess|run-quarter|watch|cancel|logs|attrition|status|show|quarters"
    r"|doctor|export|sql|themes|theme|label|link|series|assign) --[^`]*)`"
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


def runnable(text: str) -> str:
    """The text with this command's own `--store`."""
    return name_store(text, store_given(sys.argv[1:]))
