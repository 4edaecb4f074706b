"""Themes across quarters: what `ftm link` wrote of each, found by its marker `link.json`."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pyarrow as pa

from ftm.core.errors import ConfigError, CorruptObjectError, ObjectNotFoundError
from ftm.core.layout import SERIES_ROOT, series_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.sealed import decode_sealed

LINK_FILES = {"series": "series.parquet", "theme_links": "links.parquet"}
"""Dataset → its file in a linked quarter's folder."""

_MEND = "`ftm link` writes it again"


def link_record(quarter: Quarter) -> str:
    """Key of what is written last of a linked quarter; it holds file → sha256, and what else."""
    return f"{series_root(quarter)}/link.json"


def linked_quarters(store: ObjectStore) -> list[Quarter]:
    """Quarters whose link is complete, in time."""
    found = []
    for folder in store.list_folders(SERIES_ROOT):
        try:
            quarter = Quarter.parse(folder.removeprefix("quarter="))
        except ConfigError:
            continue
        if store.exists(link_record(quarter)):
            found.append(quarter)
    return sorted(found)


def linked_file(store: ObjectStore, quarter: Quarter, dataset: str) -> tuple[str, str]:
    """Key and sha256 of a linked quarter's series or theme_links.

    Raises:
        CorruptObjectError: the marker is gone or names no such file.
    """
    marker = link_record(quarter)
    file = LINK_FILES[dataset]
    try:
        return f"{series_root(quarter)}/{file}", str(read_link(store, quarter)[file])
    except KeyError as error:
        raise CorruptObjectError(
            f"{store.name(marker)} is damaged, it does not name {file}; {_redo(quarter)}",
            key=marker,
        ) from error


def read_link(store: ObjectStore, quarter: Quarter) -> dict[str, Any]:
    """What a quarter was linked from, and the files that hold it.

    Raises:
        CorruptObjectError: it is gone, damaged, or that of another quarter.
    """
    marker = link_record(quarter)
    try:
        found = decode_sealed(store.get(marker))
    except ObjectNotFoundError as error:
        raise CorruptObjectError(f"{store.name(marker)} is gone; {_MEND}", key=marker) from error
    except ValueError as error:
        raise CorruptObjectError(
            f"{store.name(marker)} is damaged: {error}; {_redo(quarter)}", key=marker
        ) from error
    if found.get("quarter", str(quarter)) != str(quarter):
        raise CorruptObjectError(
            f"{store.name(marker)} is that of {found['quarter']}; {_redo(quarter)}", key=marker
        )
    return found


def _redo(quarter: Quarter) -> str:
    return f"`ftm link` with --redo-from {quarter} links it and later quarters anew"


def read_linked_table(store: ObjectStore, quarter: Quarter, dataset: str) -> pa.Table:
    """A linked quarter's series or theme_links, its hash checked.

    Raises:
        CorruptObjectError: it is gone or has other bytes.
    """
    key, wanted = linked_file(store, quarter, dataset)
    name = store.name(key)
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(f"{name} is gone; {_MEND}", key=key) from error
    if sha256(data).hexdigest() != wanted:
        raise CorruptObjectError(f"{name} is not what was linked; {_MEND}", key=key)
    return from_bytes(data, DATASETS[dataset], key=name)
