"""Small JSON documents that carry a hash of themselves, so that no changed byte goes unnoticed.

A flipped bit in a Parquet file is found by the hash that its manifest or record holds; nobody holds
a hash of the records. One without its seal has lost a part of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "self_sha256"
"""The field that holds the hash of all others."""

MAX_BYTES = 64 * 1024 * 1024
"""Larger than any document of ftm: whoever reads one may refuse what is not its own."""

_TOO_DEEP = "nested too deeply"


def seal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields and their hash; for documents that are written in a form of their own."""
    return {**fields, SEAL: _hash(fields)}


def encode_sealed(fields: Mapping[str, Any], *, indent: int | None = 1) -> bytes:
    """JSON with sorted keys, the seal and a final newline: equal documents are equal bytes."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(seal(fields), sort_keys=True, indent=indent, separators=separators)
    return (text + "\n").encode()


def decode_sealed(data: bytes) -> dict[str, Any]:
    """Read a document back, without its seal.

    Raises:
        ValueError: it is no JSON object, or other than it was when it was sealed; in words.
    """
    fields = decode_object(data)
    found = fields.pop(SEAL, None)
    try:
        if found is None:
            raise ValueError("it is not what was written: its own hash is missing")
        if found != _hash(fields):
            raise ValueError("it is not what was written: its own hash differs")
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return fields


def decode_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object that names nothing twice.

    Raises:
        ValueError: it is none; in words.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes, more than any document of ftm has")
    try:
        fields = json.loads(data, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON {type(fields).__name__} where an object was expected")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
