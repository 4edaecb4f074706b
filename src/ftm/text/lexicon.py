"""The word lists of the text rules, read from lexicon.toml beside this file."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def _source() -> bytes:
    return (resources.files("ftm.text") / "lexicon.toml").read_bytes()


@cache
def _lists() -> dict[str, Any]:
    return tomllib.loads(_source().decode())


def lexicon_version() -> str:
    """sha256 of the word lists, for the fingerprint."""
    return hashlib.sha256(_source()).hexdigest()


def word_set(section: str, name: str) -> frozenset[str]:
    """The words of one list."""
    return frozenset(_lists()[section][name].split())


def mapping(section: str, name: str) -> Mapping[str, str]:
    """A table of strings, as it stands in the file."""
    return dict(_lists()[section][name])
