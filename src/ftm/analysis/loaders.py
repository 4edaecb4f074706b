"""A quarter's calls, topics and sentences as pandas DataFrames, for notebooks.

A run is read as the pointer `_current.json` says; while no run is published, the newest run whose
batches are all complete is read. `run_id=` asks for a certain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ftm.analysis.frames import Store, open_given, to_pandas
from ftm.connectors.base import unknown_firms
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import CHUNK
from ftm.storage.checked import checked_table
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows
from ftm.storage.published import read_published, read_published_table
from ftm.storage.run_reader import (
    RunRecords,
    find_run,
    read_calls,
    read_run_manifest,
    read_table,
)

if TYPE_CHECKING:
    import pandas as pd

WHOLE_CHUNKS_FROM = 20
"""Firms above which whole chunks are read instead of single row groups."""


def load_calls(quarter: str | Quarter, store: Store = None) -> pd.DataFrame:
    """The plan: one row per earnings call considered, kept or not and why (schema CALLS).

    Args:
        quarter: like 2023Q1.
        store: a URL, an open store, or None for the store of the settings.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched.
    """
    opened = open_given(store)
    return to_pandas(read_calls(opened, load_manifest(opened, Quarter.parse(quarter))))


def load_topics(
    quarter: str | Quarter,
    store: Store = None,
    *,
    run_id: str | None = None,
    allow_incomplete: bool = False,
) -> pd.DataFrame:
    """Every firm's topics, largest first: keywords, size, sentence ids (schema FIRM_TOPICS).

    Summaries are those of stage name where the run is the published one.

    Args:
        quarter: like 2023Q1.
        store: a URL, an open store, or None for the store of the settings.
        run_id: None: the published run, else the newest complete one.
        allow_incomplete: of a run that is not complete, load what is done.

    Raises:
        OrchestratorError: no such run, or it is not complete; says what to run.
        CorruptObjectError: a part differs from what was recorded.
    """
    opened = open_given(store)
    run = find_run(opened, Quarter.parse(quarter), run_id, allow_incomplete=allow_incomplete)
    return to_pandas(read_topics(opened, run, allow_incomplete=allow_incomplete))


def read_topics(store: ObjectStore, run: RunRecords, *, allow_incomplete: bool = False) -> pa.Table:
    """A run's topics in order of its parts, with their names where it is the published run."""
    topics = read_table(store, run, "firm-topics", allow_incomplete=allow_incomplete)
    named = _published_table(store, run, "topics")
    if named is None:
        return topics
    place = pc.index_in(
        topics["topic_id"].combine_chunks(), value_set=named["topic_id"].combine_chunks()
    )
    for column in ("summary", "naming_method"):
        known = pc.coalesce(named[column].take(place), topics[column])
        index = topics.schema.get_field_index(column)
        topics = topics.set_column(index, topics.schema.field(column), known)
    return topics


def _published_table(store: ObjectStore, run: RunRecords, table: str) -> pa.Table | None:
    """A table of the run, if it is the one that is published, and with this table."""
    published = read_published(store, run.layout.quarter)
    if published is None or published.run_id != run.spec.run_id:
        return None
    if table not in published.tables:
        return None
    return read_published_table(store, published, table)


def load_sentences(
    quarter: str | Quarter,
    store: Store = None,
    *,
    run_id: str | None = None,
    firm_ids: Sequence[str] | None = None,
    allow_incomplete: bool = False,
) -> pd.DataFrame:
    """Every sentence with its firm, its words, its kind and its topic.

    Columns: those of the chunk, then kind, local_topic_id (-1 = outlier, missing = not clustered),
    probability and topic_id (missing without a topic). A quarter has millions of rows; `firm_ids`
    reads some firms only.

    Args:
        quarter: like 2023Q1.
        store: a URL, an open store, or None for the store of the settings.
        run_id: None: the published run, else the newest complete one.
        firm_ids: None: all firms of the run that are done; an empty list: none.
        allow_incomplete: of a run that is not complete, load what is done.

    Raises:
        OrchestratorError: no such run, or it is not complete; says what to run.
        UnknownFirmError: an id that the quarter has no sentences of.
        CorruptObjectError: a file differs from what was recorded.
    """
    opened = open_given(store)
    run = find_run(opened, Quarter.parse(quarter), run_id, allow_incomplete=allow_incomplete)
    wanted = run.done if firm_ids is None else firm_ids
    return to_pandas(join_sentences(opened, run, wanted, allow_incomplete=allow_incomplete))


def join_sentences(
    store: ObjectStore, run: RunRecords, firm_ids: Sequence[str], *, allow_incomplete: bool = False
) -> pa.Table:
    """Chunk rows of these firms with the run's assignments, in order of the chunks."""
    texts = read_sentences(store, run, firm_ids)
    found = read_table(store, run, "firm-sentences", allow_incomplete=allow_incomplete)
    found = found.filter(pc.is_in(found["firm_id"], pa.array(list(firm_ids), pa.string())))
    labels = found.select(["sentence_id", "kind", "local_topic_id", "probability"])
    order = pa.array(range(texts.num_rows), pa.int64())
    joined = texts.append_column("_order", order).join(labels, "sentence_id").sort_by("_order")
    return _with_topic_id(joined.drop_columns(["_order"]))


def read_sentences(store: ObjectStore, run: RunRecords, firm_ids: Sequence[str]) -> pa.Table:
    """Chunk rows (schema CHUNK) of these firms, as the run's own manifest describes them.

    Raises:
        UnknownFirmError: an id that the run's manifest does not hold.
        CorruptObjectError: a chunk differs from the manifest.
    """
    manifest = read_run_manifest(store, run.layout, run.spec)
    if len(firm_ids) > WHOLE_CHUNKS_FROM:
        return _read_chunks(store, manifest, firm_ids)
    with S3TranscriptConnector(store=store, manifest=manifest) as connector:
        rows = [
            _row(firm, sentence, run.spec.quarter)
            for firm in connector.iter_firms(firm_ids)
            for sentence in firm.sentences
        ]
    return from_rows(rows, CHUNK)


def _read_chunks(
    store: ObjectStore, manifest: PrefetchManifest, firm_ids: Sequence[str]
) -> pa.Table:
    """As read_sentences, from whole chunks: no Python object per sentence."""
    if unknown := sorted(set(firm_ids) - manifest.firm_to_chunk.keys()):
        known = list(manifest.firm_to_chunk)
        raise unknown_firms(unknown, source=manifest.quarter, known=known)
    layout = PrefetchLayout(Quarter.parse(manifest.quarter))
    wanted = pa.array(list(firm_ids), pa.string())
    tables = []
    for file in sorted({manifest.firm_to_chunk[firm] for firm in firm_ids}):
        key = layout.key(file)
        table = checked_table(store, key, manifest.chunks[file].sha256, dataset="chunk")
        tables.append(table.filter(pc.is_in(table["firm_id"], wanted)))
    return pa.concat_tables(tables)


def _row(firm: FirmTranscriptData, sentence: TranscriptSentence, quarter: str) -> dict[str, object]:
    return {
        "firm_id": firm.firm_id,
        "firm_name": firm.firm_name,
        **{name: firm.metadata[name] for name in _FIRM_COLUMNS},
        "sentence_id": sentence.sentence_id,
        "raw_text": sentence.raw_text,
        "cleaned_text": sentence.cleaned_text,
        "speaker_type": sentence.speaker_type,
        "position": sentence.position,
        "quarter": quarter,
    }


_FIRM_COLUMNS = ("permno", "gvkey", "transcript_id", "earnings_call_date")


def _with_topic_id(table: pa.Table) -> pa.Table:
    """topic_id = firm_id_localtopic where there is a topic; null for outliers and the rest."""
    local = table["local_topic_id"]
    text = pc.binary_join_element_wise(table["firm_id"], pc.cast(local, pa.string()), "_")
    has_topic = pc.greater_equal(local, 0)
    return table.append_column("topic_id", pc.if_else(has_topic, text, None))
