"""The word lists of the masking, read from names.toml beside this file."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources


@cache
def _lists() -> dict[str, str]:
    return tomllib.loads((resources.files("ftm.naming") / "names.toml").read_text("utf-8"))


def name_words(name: str) -> frozenset[str]:
    """The words of one list."""
    return frozenset(_lists()[name].split())
