"""Objects whose hash is on record, read whole, and what is said where that fails."""

from __future__ import annotations

from hashlib import sha256

import pyarrow as pa

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError
from ftm.core.schemas import DATASETS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes


def checked(store: ObjectStore, key: str, wanted: str, *, mend: str = "") -> bytes:
    """An object's bytes.

    Args:
        store: where it is.
        key: of it.
        wanted: its sha256.
        mend: what makes it anew, for the message; "": the caller says it.

    Raises:
        CorruptObjectError: it is gone or has other bytes.
    """
    end = f"; {mend}" if mend else ""
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(f"{store.name(key)} is gone{end}", key=key) from error
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
