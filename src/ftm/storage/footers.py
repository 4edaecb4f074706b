"""The footer of a Parquet file, without the file."""

from __future__ import annotations

import pyarrow.parquet as pq

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet_layout import parse_footer

_TAIL_BYTES = 64 * 1024
"""What is read at first: nearly every footer is shorter."""

_END_BYTES = 8
"""The footer's length (4, little-endian) and the closing magic (4)."""


def read_footer(store: ObjectStore, key: str) -> pq.FileMetaData:
    """A file's metadata, in two requests or three.

    Raises:
        ObjectNotFoundError: no such object.
        CorruptObjectError: it is no Parquet file.
    """
    info = store.head(key)
    if info is None:
        raise ObjectNotFoundError(f"{store.name(key)} is not there")
    tail = _last(store, key, info.size_bytes, _TAIL_BYTES)
    length = int.from_bytes(tail[-_END_BYTES:-4], "little") + _END_BYTES
    if length > info.size_bytes or len(tail) < _END_BYTES:
        raise CorruptObjectError(f"{store.name(key)}: its footer cannot be read", key=key)
    if length > len(tail):
        tail = _last(store, key, info.size_bytes, length)
    footer = parse_footer(tail[-length:], key=store.name(key))
    groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
    # No hash is asked here, but a number that was changed is contradicted by the others.
    if (
        footer.num_rows != sum(group.num_rows for group in groups)
        or min((group.num_rows for group in groups), default=0) < 0
    ):
        raise CorruptObjectError(f"{store.name(key)}: its footer contradicts itself", key=key)
    return footer


def _last(store: ObjectStore, key: str, size_bytes: int, length: int) -> bytes:
    start = max(0, size_bytes - length)
    return store.get_range(key, start, size_bytes - start)
