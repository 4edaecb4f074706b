"""Sentences by topic and theme: the table without text, and what is ready for a sentiment model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.schemas import SENTENCES, SENTIMENT_READY
from ftm.storage.parquet import fit

_TEXT = ("sentence_id", "raw_text", "speaker_type", "position", "topic_id")


@dataclass(frozen=True, slots=True)
class SentenceTables:
    """The sentences of a run.

    Args:
        sentences: schema SENTENCES.
        texts: sentences in a theme, with columns topic_id, sentence_id, raw_text, speaker_type,
            position.
    """

    sentences: pa.Table
    texts: pa.Table


def split_sentences(blocks: Iterable[pa.Table], contributions: pa.Table) -> SentenceTables:
    """Both tables from the sentences of `run_sentences.iter_sentences`, themes added."""
    themed = contributions.filter(pc.is_valid(contributions["theme_id"]))
    topics = themed["topic_id"].combine_chunks()
    themes = themed["theme_id"].combine_chunks()
    sentences, texts = [SENTENCES.empty_table()], []
    for block in blocks:
        place = pc.index_in(block["topic_id"].combine_chunks(), value_set=topics)
        sentences.append(_plain(block, themes.take(place)))
        texts.append(block.filter(pc.is_valid(place)).select(_TEXT))
    found = pa.concat_tables(texts) if texts else pa.table({name: [] for name in _TEXT})
    # Chunks hold firms in order, but one prefetched later may hold firms that come before.
    ordered = pa.concat_tables(sentences).sort_by(
        [("firm_id", "ascending"), ("position", "ascending")]
    )
    return SentenceTables(ordered, found)


def _plain(block: pa.Table, themes: pa.Array) -> pa.Table:
    call_id = pc.binary_join_element_wise(block["firm_id"], block["transcript_id"], "_")
    n_words = pc.count_substring_regex(block["raw_text"], r"\S+")
    outlier = pc.fill_null(pc.less(block["local_topic_id"], 0), False)
    found = {name: block[name] for name in SENTENCES.names if name in block.column_names}
    found |= {"call_id": call_id, "n_words": n_words, "is_outlier": outlier, "theme_id": themes}
    return fit(pa.table({name: found[name] for name in SENTENCES.names}), SENTENCES)


def sentiment_table(
    *,
    themes: pa.Table,
    contributions: pa.Table,
    summaries: Mapping[str, str],
    link_dates: Mapping[str, date | None],
    texts: pa.Table,
) -> pa.Table:
    """One row per theme, firm and topic (schema SENTIMENT_READY).

    Args:
        themes: schema THEMES, in order.
        contributions: schema THEME_CONTRIBUTIONS, in order of firm and topic.
        summaries: topic → its summary.
        link_dates: firm → first day of its CCM link.
        texts: of `split_sentences`, in order of firm and position.
    """
    rows = contributions.filter(pc.is_valid(contributions["theme_id"]))
    place = pc.index_in(rows["theme_id"].combine_chunks(), themes["theme_id"].combine_chunks())
    order = np.argsort(place.to_numpy(zero_copy_only=False), kind="stable")
    rows, place = rows.take(pa.array(order)), place.take(pa.array(order))
    named = themes.take(place)
    sentences = _lists(texts, rows["topic_id"].combine_chunks())
    found = {name: rows[name] for name in SENTIMENT_READY.names if name in rows.column_names}
    found |= {
        "theme_name": named["name"],
        "theme_description": named["description"],
        "theme_keywords": named["keywords"],
        "link_date": pa.array([link_dates[f] for f in rows["firm_id"].to_pylist()], pa.date32()),
        "topic_summary": pa.array(
            [summaries[topic] for topic in rows["topic_id"].to_pylist()], pa.string()
        ),
        "sentences": sentences,
        "n_sentences": pc.cast(pc.list_value_length(sentences), pa.int32()),
    }
    return fit(pa.table({name: found[name] for name in SENTIMENT_READY.names}), SENTIMENT_READY)


def _lists(texts: pa.Table, topics: pa.Array) -> pa.Array:
    """The sentences of each topic, in order of position."""
    place = pc.index_in(texts["topic_id"].combine_chunks(), value_set=topics)
    numbers = place.to_numpy(zero_copy_only=False).astype(np.int64)
    ordered = texts.take(pa.array(np.argsort(numbers, kind="stable"))).combine_chunks()
    ends = np.cumsum(np.bincount(numbers, minlength=len(topics)))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    kind = SENTIMENT_READY.field("sentences").type.value_type
    columns = [_whole(ordered[name]) for name in _TEXT[:4]]
    structs = pa.StructArray.from_arrays(columns, fields=list(kind))
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()
