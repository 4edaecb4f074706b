"""The word lists of the text rules, read from lexicon.toml beside this file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def _lists() -> dict[str, Any]:
    return tomllib.loads((resources.files("ftm.text") / "lexicon.toml").read_text("utf-8"))


def lexicon_version() -> str:
    """sha256 of the word lists that decide sentences and cleaned text, for the fingerprint.

    The lists of the kinds are left out: they work at the map stage, on finished chunks.
    """
    used = {section: lists for section, lists in _lists().items() if section != "kinds"}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()


def word_set(section: str, name: str) -> frozenset[str]:
    """The words of one list."""
    return frozenset(_lists()[section][name].split())


def mapping(section: str, name: str) -> Mapping[str, str]:
    """A table of strings, as it stands in the file."""
    return dict(_lists()[section][name])
