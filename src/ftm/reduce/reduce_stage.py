"""Stage reduce: the topics of a run's complete batches to themes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import OrchestratorError
from ftm.reduce.aggregator import (
    Cluster,
    FirmTopics,
    FloatArray,
    IntArray,
    ThemeAggregator,
    ThemeRules,
    contributions_table,
    firm_topics,
    themes_table,
)
from ftm.reduce.run_sentences import iter_sentences
from ftm.storage.object_store import ObjectStore
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

REDUCE_VERSION = 1
"""Raised whenever this package makes other themes of the same topics."""


class ThemeWords(Protocol):
    """Collects what topics say, and finds keywords in it; see topics.theme_keywords."""

    def add(self, cleaned: pa.ChunkedArray, topics: IntArray) -> None:
        """Cleaned sentences, and the row of the topic each belongs to."""

    def keywords(
        self, themes: IntArray, firms: IntArray, centroids: FloatArray
    ) -> list[tuple[str, ...]]:
        """Keywords of each theme, best first."""


@dataclass(frozen=True, slots=True)
class ReduceOptions:
    """What themes depend on besides the topics.

    Args:
        clustering: how centroids are clustered, with all that determines it.
        cluster: does it.
        make_text: collects cleaned sentences and finds keywords in them.
        rules: which groups are themes.
        allow_failed: go on without the batches that failed.
    """

    clustering: dict[str, str]
    cluster: Cluster
    make_text: Callable[[], ThemeWords]
    rules: ThemeRules
    allow_failed: bool = False


def reduce_run(store: ObjectStore, run: RunRecords, options: ReduceOptions) -> StageRecord:
    """Make a run's themes, unless they are there.

    Raises:
        OrchestratorError: a batch is not complete, and that is not allowed.
        CorruptObjectError: a part or a chunk differs from what was recorded.
    """
    incomplete = check_batches(run, allow_failed=options.allow_failed)
    inputs = reduce_inputs(run, options)
    if is_done(store, run.layout, "reduce", inputs) and (
        found := read_stage(store, run.layout, "reduce")
    ):
        return found
    topics = firm_topics(read_table(store, run, "firm-topics"))
    themes = ThemeAggregator(options.cluster, options.rules).assign(topics)
    keywords = _keywords(store, run, options, topics, themes)
    quarter = run.spec.quarter
    files = put_stage_tables(
        store,
        run.layout,
        "reduce",
        {
            "themes": themes_table(topics, themes, keywords, quarter=quarter),
            "theme_contributions": contributions_table(topics, themes, quarter=quarter),
        },
    )
    record = StageRecord(
        stage="reduce",
        inputs_sha256=inputs,
        files=files,
        facts={
            "n_topics": len(themes),
            "n_themed": int((themes >= 0).sum()),
            "n_themes": len(keywords),
            "n_batches_left_out": incomplete,
        },
        is_partial=incomplete > 0,
    )
    key = run.layout.stage_record("reduce")
    store.put(key, record.encode(key))
    return record


def check_batches(run: RunRecords, *, allow_failed: bool) -> int:
    """How many batches are not complete.

    Raises:
        OrchestratorError: some, and that is not allowed; or none is complete.
    """
    incomplete = len(run.batches) - run.n_complete
    again = f"`ftm run-quarter --quarter {run.spec.quarter}`"
    if not run.n_complete:
        raise OrchestratorError(
            f"run {run.spec.run_id} of {run.spec.quarter} has no complete batch to make themes of; "
            f"the {again} command that began it does what is missing"
        )
    if incomplete and not allow_failed:
        raise OrchestratorError(
            f"{incomplete} of {len(run.batches)} batches of run {run.spec.run_id} of "
            f"{run.spec.quarter} are not complete; the {again} command that began it does what is "
            "missing, --allow-failed-batches goes on without them"
        )
    return incomplete


def check_reduced(store: ObjectStore, run: RunRecords, options: ReduceOptions) -> None:
    """See that the themes there are are those of these topics and options.

    Raises:
        OrchestratorError: there are none, or they are of others.
    """
    found = require_stage(store, run.layout, "reduce")
    if found.inputs_sha256 != reduce_inputs(run, options):
        raise OrchestratorError(
            f"the themes of run {run.spec.run_id} of {run.spec.quarter} were made of other topics "
            f"or with other settings; `ftm run-quarter --quarter {run.spec.quarter} --from reduce` "
            "makes them anew, and names and tables after them"
        )


def reduce_inputs(run: RunRecords, options: ReduceOptions) -> str:
    """The hash of what themes depend on, as the record of stage reduce has it."""
    # Batches too: one in which no firm has results is complete without a part.
    parts = {
        batch.batch_id: run.progress_of(batch.batch_id).parts
        for batch in run.batches
        if run.progress_of(batch.batch_id).complete
    }
    return hash_inputs(
        version=REDUCE_VERSION,
        manifest=run.spec.manifest_sha256,
        parts=parts,
        clustering=options.clustering,
        rules=asdict(options.rules),
    )


def _keywords(
    store: ObjectStore,
    run: RunRecords,
    options: ReduceOptions,
    topics: FirmTopics,
    themes: IntArray,
) -> list[tuple[str, ...]]:
    if not len(themes) or themes.max() < 0:
        return []
    text = options.make_text()
    ids = topics.table["topic_id"].combine_chunks()
    for table in iter_sentences(store, run):
        said = table.filter(pc.is_valid(table["topic_id"]))
        rows = pc.index_in(said["topic_id"].combine_chunks(), value_set=ids)
        text.add(said["cleaned_text"], rows.to_numpy(zero_copy_only=False).astype(np.int64))
    return text.keywords(themes, topics.firms, topics.centroids)


def read_contributions(
    store: ObjectStore, run: RunRecords, topics: FirmTopics, reduced: StageRecord
) -> pa.Table:
    """What stage reduce said of these topics (schema THEME_CONTRIBUTIONS), row by row.

    Raises:
        OrchestratorError: the run has other topics now: a firm that had failed was tried again.
        CorruptObjectError: the table is gone or has other bytes.
    """
    found = read_stage_table(store, run.layout, reduced, "theme_contributions")
    if not found["topic_id"].equals(topics.table["topic_id"]):
        raise OrchestratorError(
            f"stage reduce of run {run.spec.run_id} was done when the run had other topics; run "
            f"`ftm run-quarter --quarter {run.spec.quarter} --from reduce`"
        )
    return found


def read_theme_ids(contributions: pa.Table) -> dict[str, str]:
    """Topic → its theme, for topics in one."""
    themed = contributions.filter(pc.is_valid(contributions["theme_id"]))
    return dict(zip(themed["topic_id"].to_pylist(), themed["theme_id"].to_pylist(), strict=True))
