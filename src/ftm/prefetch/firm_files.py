"""Files of whole firms in the making: serialised, put under a free name, read back and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import CorruptObjectError, ObjectExistsError
from ftm.storage.checked import MissingObjectError, checked
from ftm.storage.checkpoint import NamedEntry, NamedFile
from ftm.storage.manifest import FileEntry
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import (
    FirmFacts,
    decode_firm_facts,
    encode_firm_facts,
    parse_footer,
    write_firm_file,
)

Namer = Callable[[int], str]
"""A file's name, relative to the quarter's root, from its number."""


@dataclass(frozen=True, slots=True)
class FirmFile:
    """A serialised table of firms."""

    data: bytes
    entry: FileEntry


@dataclass(frozen=True, slots=True)
class PutFile:
    """A file under the name it was put."""

    file: str
    entry: FileEntry

    @property
    def named(self) -> NamedFile:
        """As a part is named."""
        return NamedFile(file=self.file, sha256=self.entry.sha256)

    @property
    def described(self) -> NamedEntry:
        """As a chunk is named."""
        return NamedEntry(file=self.file, entry=self.entry)


def serialise(
    table: pa.Table, schema: pa.Schema, facts: Mapping[str, FirmFacts] | None = None
) -> FirmFile | None:
    """A file of this table, sorted by firm; None without rows, which need no file."""
    if not table.num_rows:
        return None
    metadata = None if facts is None else encode_firm_facts(facts)
    return FirmFile(*write_firm_file(table, schema, metadata=metadata))


def put_free(
    store: ObjectStore,
    root: str,
    number: int,
    files: Iterable[tuple[Namer, FirmFile | None]],
    *,
    before_put: Callable[[], None],
) -> tuple[int, list[PutFile | None]]:
    """Put files that share a number, under the first number at which no other file is.

    The same bytes already there are ours: a killed writer put them. Other bytes are a leftover
    that nothing names; it keeps its name.

    Args:
        store: where.
        root: the quarter's root.
        number: the first to try.
        files: name by number, and what to put; None puts nothing.
        before_put: called before every put; may refuse by raising.

    Returns:
        The number, and per file what was put.
    """
    wanted = list(files)
    while True:
        found: list[PutFile | None] = []
        try:
            for namer, file in wanted:
                if file is None:
                    found.append(None)
                    continue
                before_put()
                store.put(f"{root}/{namer(number)}", file.data, if_absent=True)
                found.append(PutFile(namer(number), file.entry))
        except ObjectExistsError:
            number += 1
        else:
            return number, found


def merge_parts(
    store: ObjectStore,
    root: str,
    parts: Iterable[NamedFile | None],
    schema: pa.Schema,
    *,
    mend: str,
) -> tuple[pa.Table, dict[str, FirmFacts]]:
    """The rows of parts as one table sorted by firm, and the facts of all.

    Args:
        store: where they are.
        root: the quarter's root.
        parts: of one chunk.
        schema: theirs.
        mend: what helps if one is damaged, for the message.

    Raises:
        CorruptObjectError: a part is gone or differs from what the checkpoint recorded.
    """
    tables = [schema.empty_table()]
    facts: dict[str, FirmFacts] = {}
    for part in parts:
        if part is None:
            continue
        key = f"{root}/{part.file}"
        data = _read_part(store, key, part.sha256, mend)
        tables.append(from_bytes(data, schema, key=key))
        facts |= decode_firm_facts(parse_footer(data, key=key).metadata, key=key)
    order = "position" if "position" in schema.names else "component_order"
    merged = pa.concat_tables(tables)
    # Not Table.sort_by: it starts Acero's threads, which now and then abort the process at exit.
    rows = pc.sort_indices(merged, [("firm_id", "ascending"), (order, "ascending")])
    return merged.take(rows), facts


def _read_part(store: ObjectStore, key: str, digest: str, mend: str) -> bytes:
    try:
        return checked(store, key, digest)
    except MissingObjectError as error:
        raise CorruptObjectError(
            f"{store.name(key)}, which the checkpoint names, is gone; {mend}", key=key
        ) from error
    except CorruptObjectError as error:
        raise CorruptObjectError(
            f"{store.name(key)} differs from what the checkpoint recorded; {mend}", key=key
        ) from error
