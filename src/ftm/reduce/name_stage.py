"""Stage name: readable names for topics and themes. It changes no membership by a byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.schemas import NAMING_AUDIT, THEME_NAMES, TOPIC_NAMES
from ftm.naming.base import Name, Namer, NamingItem
from ftm.reduce.aggregator import FirmTopics, IntArray, cosines_to, firm_topics
from ftm.reduce.item_texts import TopicTexts, iter_topic_texts
from ftm.reduce.reduce_stage import read_contributions
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows
from ftm.storage.run_reader import RunRecords, read_table
from ftm.storage.stage_records import (
    StageRecord,
    hash_inputs,
    is_done,
    put_stage_tables,
    read_stage,
    read_stage_table,
    require_stage,
)

NAME_VERSION = 1
"""Raised whenever this module asks for other names of the same topics."""
THEME_TOPICS = 12
"""Topics that stand for a theme in a prompt: those nearest its centroid."""
SENTENCES_OF_TOPIC = 2
"""Of each of them."""

Report = Callable[[int, int], None]
"""(names made, names to make)."""


@dataclass(frozen=True, slots=True)
class NameOptions:
    """How names are made.

    Args:
        method: all that names depend on besides topics and themes, naming (keywords or llm)
            included.
        open_namer: makes them; called only when there is something to do.
        needs_text: whether sentences are read.
        report: told how far it is.
    """

    method: Mapping[str, str]
    open_namer: Callable[[], AbstractContextManager[Namer]]
    needs_text: bool
    report: Report = lambda _done, _total: None


def name_run(store: ObjectStore, run: RunRecords, options: NameOptions) -> StageRecord:
    """Name a run's topics and themes, unless that is done.

    Raises:
        OrchestratorError: stage reduce has not been done.
        LLMUnavailableError: the server cannot be reached, or does not answer as it should.
        CorruptObjectError: a file differs from what was recorded.
    """
    reduced = require_stage(store, run.layout, "reduce")
    inputs = name_inputs(options.method, reduced)
    if is_done(store, run.layout, "name", inputs) and (
        found := read_stage(store, run.layout, "name")
    ):
        return found
    topics = firm_topics(read_table(store, run, "firm-topics"))
    themes = read_stage_table(store, run.layout, reduced, "themes")
    contributions = read_contributions(store, run, topics, reduced)
    place = pc.fill_null(
        pc.index_in(
            contributions["theme_id"].combine_chunks(),
            value_set=themes["theme_id"].combine_chunks(),
        ),
        -1,
    )
    of_theme = place.to_numpy(zero_copy_only=False).astype(np.int64)
    of_theme[contributions["theme_id"].is_null().to_numpy()] = -1
    with options.open_namer() as namer:
        names = _Naming(topics, themes, of_theme, options).run(namer, _texts(store, run, options))
        totals = asdict(namer.totals)
    files = put_stage_tables(store, run.layout, "name", _tables(names))
    record = StageRecord(
        stage="name",
        inputs_sha256=inputs,
        files=files,
        facts={"method": dict(options.method), "n_alike": _count_alike(names), **totals},
        is_partial=reduced.is_partial,
    )
    key = run.layout.stage_record("name")
    store.put(key, record.encode(key))
    return record


def name_inputs(method: Mapping[str, str], reduced: StageRecord) -> str:
    """The hash of what names depend on, as the record of stage name has it."""
    return hash_inputs(
        version=NAME_VERSION,
        method=dict(method),
        reduced=reduced.files,
        is_partial=reduced.is_partial,
    )


def _texts(
    store: ObjectStore, run: RunRecords, options: NameOptions
) -> Callable[[pa.Table], Iterator[tuple[int, TopicTexts]]]:
    if options.needs_text:
        return lambda topics: iter_topic_texts(store, run, topics)
    return lambda topics: ((row, TopicTexts((), (), ())) for row in range(topics.num_rows))


class _Naming:
    """Names topics first, then themes, which are described by their topics' names."""

    def __init__(
        self, topics: FirmTopics, themes: pa.Table, of_theme: IntArray, options: NameOptions
    ) -> None:
        self._topics = topics
        self._themes = themes
        self._of_theme = of_theme
        self._report = options.report
        self._total = topics.table.num_rows + themes.num_rows
        self._n_done = 0
        self._kept: dict[int, TopicTexts] = {}
        self._shown = {
            theme: _most_typical(topics, np.flatnonzero(of_theme == theme))
            for theme in range(themes.num_rows)
        }

    def run(
        self, namer: Namer, texts: Callable[[pa.Table], Iterator[tuple[int, TopicTexts]]]
    ) -> list[Name]:
        """Every name, topics in their order, then themes in theirs."""
        asked = namer.name_all(self._topic_items(texts(self._topics.table)), done=self._tell)
        by_id = {name.item_id: name for name in asked}
        found = [by_id[topic] for topic in self._topics.table["topic_id"].to_pylist()]
        descriptions = [name.description for name in found]
        return found + namer.name_all(self._theme_items(descriptions), done=self._tell)

    def _tell(self, more: int) -> None:
        self._n_done += more
        self._report(self._n_done, self._total)

    def _topic_items(self, texts: Iterator[tuple[int, TopicTexts]]) -> Iterator[NamingItem]:
        shown = {i for rows in self._shown.values() for i in rows}
        columns = self._topics.table.select(["topic_id", "keywords", "representation"])
        columns = columns.combine_chunks()
        for i, text in texts:
            row = columns.slice(i, 1).to_pylist()[0]
            if i in shown:
                self._kept[i] = text.first(SENTENCES_OF_TOPIC)
            yield NamingItem(
                "topic",
                row["topic_id"],
                tuple(row["keywords"]),
                text.sentences,
                (*text.firms, *text.persons),
                parts=(row["representation"],) if row["representation"] else (),
                firm_names=text.firms,
            )

    def _theme_items(self, descriptions: Sequence[str]) -> Iterator[NamingItem]:
        columns = self._themes.select(["theme_id", "keywords"])
        for theme, row in enumerate(_rows(columns)):
            shown = self._shown[theme]
            texts = [self._kept[i] for i in shown]
            firms = tuple(dict.fromkeys(name for text in texts for name in text.firms))
            persons = tuple(dict.fromkeys(name for text in texts for name in text.persons))
            yield NamingItem(
                "theme",
                row["theme_id"],
                tuple(row["keywords"]),
                tuple(sentence for text in texts for sentence in text.sentences),
                (*firms, *persons),
                parts=tuple(descriptions[i] for i in shown),
                firm_names=firms,
            )


def _most_typical(topics: FirmTopics, members: IntArray) -> list[int]:
    """Rows of the topics nearest the mean of a theme, nearest first."""
    centroids = topics.centroids[members]
    near = cosines_to(centroids, centroids.mean(axis=0))
    return [int(i) for i in members[np.argsort(-near, kind="stable")][:THEME_TOPICS]]


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def _count_alike(names: Sequence[Name]) -> int:
    """Themes that have their name with another: whoever groups by names would merge them."""
    found = Counter(name.name.casefold() for name in names if name.item_kind == "theme")
    return sum(n for n in found.values() if n > 1)


def _tables(names: Sequence[Name]) -> dict[str, pa.Table]:
    topics = [name for name in names if name.item_kind == "topic"]
    themes = [name for name in names if name.item_kind == "theme"]
    return {
        "topic_names": from_rows(
            [
                {"topic_id": n.item_id, "summary": n.description, "naming_method": n.method}
                for n in topics
            ],
            TOPIC_NAMES,
        ),
        "theme_names": from_rows(
            [
                {
                    "theme_id": n.item_id,
                    "name": n.name,
                    "description": n.description,
                    "naming_method": n.method,
                }
                for n in themes
            ],
            THEME_NAMES,
        ),
        "naming_audit": from_rows([asdict(n.audit) for n in names if n.audit], NAMING_AUDIT),
    }
