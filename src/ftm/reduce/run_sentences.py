"""The sentences of a run, chunk by chunk: where each is said, its kind and its topic."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import CorruptObjectError
from ftm.core.schemas import FIRM_SENTENCES
from ftm.storage.object_store import ObjectStore
from ftm.storage.quarter_reader import iter_chunks, read_turns, sections_of
from ftm.storage.run_reader import RunRecords, read_run_manifest, read_table

LABELS = ("kind", "local_topic_id", "probability")


def iter_sentences(
    store: ObjectStore, run: RunRecords, *, allow_incomplete: bool = False
) -> Iterator[pa.Table]:
    """The sentences of the firms done, a chunk at a time, in order of firm and position.

    Columns: those of CHUNK, then section, kind, local_topic_id (-1 an outlier, null not
    clustered), probability, topic_id (null without a topic).

    Args:
        store: where the run is.
        run: which.
        allow_incomplete: batches that are not complete count with what they list.

    Raises:
        CorruptObjectError: a file differs from what was recorded, or files do not fit.
    """
    manifest = read_run_manifest(store, run.layout, run.spec)
    labels = read_table(store, run, "firm-sentences", allow_incomplete=allow_incomplete)
    labels = labels.select(["sentence_id", "firm_id", *LABELS])
    for chunk in iter_chunks(store, manifest):
        sections = sections_of(chunk, read_turns(store, manifest, chunk))
        sentences = chunk.sentences.append_column("section", sections)
        firms = sentences["firm_id"].unique()
        yield _labelled(sentences, labels.filter(pc.is_in(labels["firm_id"], firms)), chunk.file)


def _labelled(sentences: pa.Table, labels: pa.Table, file: str) -> pa.Table:
    ids = labels["sentence_id"].combine_chunks()
    place = pc.index_in(sentences["sentence_id"].combine_chunks(), value_set=ids)
    if len(place) - place.null_count != labels.num_rows:
        raise CorruptObjectError(
            f"{file} has not all sentences that the run's firm-sentences name; run `ftm "
            "run-quarter` again: it computes damaged parts anew"
        )
    found = pc.is_valid(place)
    kept, rows = sentences.filter(found), labels.take(place.filter(found))
    for name in LABELS:
        kept = kept.append_column(FIRM_SENTENCES.field(name), rows[name])
    return kept.append_column("topic_id", topic_ids(kept))


def topic_ids(table: pa.Table) -> pa.ChunkedArray:
    """`{firm_id}_{local_topic_id}` where there is a topic; null for outliers and the rest."""
    local = table["local_topic_id"]
    text = pc.binary_join_element_wise(table["firm_id"], pc.cast(local, pa.string()), "_")
    return pc.if_else(pc.greater_equal(local, 0), text, pa.scalar(None, pa.string()))
