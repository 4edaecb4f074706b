"""Objects whose hash is on record: what comes is looked at, and asked for again if it is not that.

Amazon's S3 never answers with what an object held before; servers that imitate it may, for a moment
after a write, or through a cache. What is told as damaged or gone here was so three times.
"""

from __future__ import annotations

import logging
import time
from hashlib import sha256

import pyarrow as pa

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError
from ftm.core.schemas import DATASETS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes

_LOG = logging.getLogger(__name__)

WAITS = (1, 5)
"""Times the store's own wait, before the second and the third look."""

Part = tuple[int, int]
"""Where some bytes of an object begin, and how many they are."""


class MissingObjectError(CorruptObjectError):
    """An object that a record names is not there."""


def checked(
    store: ObjectStore, key: str, wanted: str, *, mend: str = "", part: Part | None = None
) -> bytes:
    """An object's bytes.

    Args:
        store: where it is.
        key: of it.
        wanted: sha256 of it, or of the part.
        mend: what makes it anew, for the message; "": the caller says it.
        part: only these bytes, which it is known to be long enough for.

    Raises:
        MissingObjectError: it is not there.
        CorruptObjectError: it has other bytes.
    """
    for wait in looks(store):
        try:
            return _look(store, key, wanted, f"; {mend}" if mend else "", part)
        except CorruptObjectError as error:
            if wait is None:
                raise
            _LOG.warning("%s; looking again", error)
            time.sleep(wait)
    raise AssertionError("the last look returns or raises")


def get_listed(store: ObjectStore, key: str) -> bytes:
    """An object that was listed a moment ago, whatever the store says of it at first.

    Raises:
        MissingObjectError: it is not there.
    """
    for wait in looks(store):
        try:
            return store.get(key)
        except ObjectNotFoundError as error:
            if wait is None:
                raise MissingObjectError(
                    f"{store.name(key)} was listed and is gone; run the command again", key=key
                ) from error
            time.sleep(wait)
    raise AssertionError("the last look returns or raises")


def looks(store: ObjectStore) -> tuple[float | None, ...]:
    """Seconds to wait after each look, None after the last; a folder or memory is asked once."""
    waits = WAITS if store.scheme == "s3" else ()
    return (*(store.retry.wait_s * n for n in waits), None)


def _look(store: ObjectStore, key: str, wanted: str, end: str, part: Part | None) -> bytes:
    try:
        data = store.get(key) if part is None else store.get_range(key, *part)
    except ObjectNotFoundError as error:
        raise MissingObjectError(f"{store.name(key)} is gone{end}", key=key) from error
    if sha256(data).hexdigest() != wanted:
        raise CorruptObjectError(f"{store.name(key)} is not what was written{end}", key=key)
    return data


def checked_table(
    store: ObjectStore, key: str, wanted: str, *, dataset: str, mend: str = ""
) -> pa.Table:
    """A table of a dataset's schema; see `checked`.

    Raises:
        CorruptObjectError: it is gone or has other bytes.
        SchemaError: another ftm wrote it.
    """
    data = checked(store, key, wanted, mend=mend)
    return from_bytes(data, DATASETS[dataset], key=store.name(key))


def is_intact(store: ObjectStore, key: str, wanted: str) -> bool:
    """Whether an object is there with the bytes on record."""
    try:
        checked(store, key, wanted)
    except CorruptObjectError:
        return False
    return True
