"""What can happen to an object: flipped bits, lost and repeated ranges, another object's bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from hypothesis import settings
from hypothesis import strategies as st

from ftm.core.errors import CorruptObjectError, FtmError
from ftm.storage.object_store import ObjectStore, open_store

FACTOR = float(os.environ.get("FTM_FUZZ", "1"))
"""How many times the examples of CI: `make fuzz N=…`."""


def examples(n: int) -> settings:
    """So many examples in CI; the same ones each time."""
    return settings(max_examples=max(1, int(n * FACTOR)), deadline=None, derandomize=FACTOR == 1)


def copy_of(objects: Mapping[str, bytes]) -> ObjectStore:
    """A store in memory with these objects."""
    store = open_store("memory://")
    for key, data in objects.items():
        store.put(key, data)
    return store


@st.composite
def damaged(draw: st.DrawFn, objects: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A key, and what now lies there; never what lay there before."""
    key = draw(st.sampled_from(sorted(objects)))
    data = objects[key]
    place = st.integers(0, max(0, len(data) - 1))
    start, other = sorted((draw(place), draw(place)))
    end = max(start + 1, other)
    how = draw(st.sampled_from(["flip", "flip", "cut", "drop", "repeat", "zero", "swap"]))
    if how == "flip":
        flipped = data[start] ^ (1 << draw(st.integers(0, 7))) if data else 0
        found = data[:start] + bytes([flipped]) + data[start + 1 :]
    elif how == "swap":
        alike = [k for k in sorted(objects) if k.rpartition(".")[2] == key.rpartition(".")[2]]
        found = objects[draw(st.sampled_from(alike))]
    else:
        middle = {
            "cut": b"",
            "drop": b"",
            "repeat": data[start:end] * 2,
            "zero": bytes(end - start),
        }
        found = data[:start] + middle[how] + (b"" if how == "cut" else data[end:])
    return key, found if found != data else data + b"\0"


def told(work: Callable[[], object], key: str) -> object:
    """What work gives, or None if it says in one line what is damaged and what to do.

    Any other error, or one that names another object only, is a failure of the test.
    """
    try:
        return work()
    except FtmError as caught:
        error = caught
    text = str(error)
    # A pointer and what it points at contradict each other: either may be the damaged one.
    folder = key.partition("quarter=")[2][:6]
    known = key in text or (key.endswith("_current.json") and folder in text)
    assert known, f"{key} was damaged, and the error says: {text}"
    assert "\n" not in text, text
    is_fix = "`ftm " in text or "delete " in text
    assert is_fix or not isinstance(error, CorruptObjectError), text
    return None
