"""Whole chunks of a prefetched quarter, and what a run made of their sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import CorruptObjectError
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.storage.checked import checked
from ftm.storage.manifest import PrefetchManifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a quarter.

    Args:
        file: as the manifest names it.
        sentences: schema CHUNK.
    """

    file: str
    sentences: pa.Table


def iter_chunks(store: ObjectStore, manifest: PrefetchManifest) -> Iterator[Chunk]:
    """Every chunk in order, one in memory at a time.

    Raises:
        CorruptObjectError: a chunk is gone or has other bytes than the manifest says.
    """
    layout = PrefetchLayout(Quarter.parse(manifest.quarter))
    for file, entry in sorted(manifest.chunks.items()):
        key = layout.key(file)
        data = _checked(store, manifest, key, entry.sha256)
        yield Chunk(file, from_bytes(data, CHUNK, key=store.name(key)))


def read_turns(store: ObjectStore, manifest: PrefetchManifest, chunk: Chunk) -> pa.Table:
    """The speaker turns of a chunk's firms that left sentences (schema COMPONENTS), in order.

    Raises:
        CorruptObjectError: the file is gone or has other bytes than the manifest says.
    """
    file = chunk.file.replace("chunk_", "components_")
    key = PrefetchLayout(Quarter.parse(manifest.quarter)).key(file)
    data = _checked(store, manifest, key, manifest.components[file].sha256)
    table = from_bytes(data, COMPONENTS, key=store.name(key))
    return table.filter(pc.is_valid(table["first_position"]))


def _checked(store: ObjectStore, manifest: PrefetchManifest, key: str, digest: str) -> bytes:
    try:
        return checked(store, key, digest)
    except CorruptObjectError as error:
        mend = f"`ftm verify --quarter {manifest.quarter} --deep --repair` makes it anew"
        raise CorruptObjectError(f"{error}; {mend}", key=key) from error


def sections_of(chunk: Chunk, turns: pa.Table) -> pa.Array:
    """The section each sentence of a chunk is said in: presentation, qa or unknown.

    Args:
        chunk: its sentences are sorted by firm, then position.
        turns: of its firms, sorted by firm, then order.

    Raises:
        CorruptObjectError: turns and sentences do not fit.
    """
    first = turns["first_position"].to_numpy()
    last = pc.fill_null(turns["last_position"], -1).to_numpy()
    lengths = np.maximum(last - first + 1, 0)
    place = np.repeat(np.arange(turns.num_rows), lengths)
    starts = np.repeat(first, lengths)
    within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = turns.select(["firm_id", "section"]).take(pa.array(place))
    fits = (
        len(place) == chunk.sentences.num_rows
        and found["firm_id"].equals(chunk.sentences["firm_id"])
        and bool(np.all(starts + within == chunk.sentences["position"].to_numpy()))
    )
    if not fits:
        raise CorruptObjectError(
            f"{chunk.file}: its speaker turns do not fit its sentences; make the quarter anew: "
            "`ftm prefetch --refresh`"
        )
    return found["section"].combine_chunks()
