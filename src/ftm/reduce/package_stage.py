"""Stage package: everything a researcher works with, checked, then published by one pointer."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import ObjectNotFoundError, OrchestratorError
from ftm.core.schemas import DATASETS, FIRM_TOPICS, PROCESSED_TABLES
from ftm.reduce.aggregator import FirmTopics, firm_topics
from ftm.reduce.calls import Origin, call_rows, calls_table, firm_statuses
from ftm.reduce.constraints import check_tables
from ftm.reduce.counts import count_calls
from ftm.reduce.diagnosis import diagnose
from ftm.reduce.final_themes import FinalThemes, finish_themes
from ftm.reduce.firms import count_firms, firms_table
from ftm.reduce.labels import Labels, read_labels
from ftm.reduce.name_stage import name_inputs
from ftm.reduce.panel import panel_table
from ftm.reduce.reduce_stage import read_contributions
from ftm.reduce.run_sentences import iter_sentences
from ftm.reduce.sentence_tables import sentiment_table, split_sentences
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import fit, to_bytes
from ftm.storage.published import Published, publish, put_table, require_published
from ftm.storage.run_lease import Held
from ftm.storage.run_reader import RunRecords, read_calls, read_run_manifest, read_table
from ftm.storage.stage_facts import facts_of
from ftm.storage.stage_records import (
    StageRecord,
    hash_inputs,
    is_done,
    read_stage,
    read_stage_table,
    require_stage,
)

PACKAGE_VERSION = 1
"""Raised whenever this package makes other tables of the same inputs."""


def package_run(
    store: ObjectStore, run: RunRecords, *, series: Mapping[str, str] | None = None
) -> StageRecord:
    """Make a run's tables, unless they are there.

    Args:
        store: where the run is.
        run: reduced and named.
        series: theme → its series, if the quarter is linked.

    Raises:
        OrchestratorError: a stage before has not been done, or a constraint does not hold.
        ConfigError: the labels by hand do not fit the themes.
        CorruptObjectError: a file differs from what was recorded.
    """
    reduced, named, data = _read_inputs(store, run)
    inputs = _hash(run, reduced=reduced, named=named, data=data, series=series or {})
    if is_done(store, run.layout, "package", inputs) and (
        found := read_stage(store, run.layout, "package")
    ):
        return found
    tables = make_tables(store, run, reduced=reduced, named=named, data=data, series=series or {})
    check_tables(tables)
    files = dict(
        put_table(store, run.layout, name, to_bytes(tables[name], DATASETS[name]))
        for name in PROCESSED_TABLES
    )
    record = StageRecord(
        stage="package",
        inputs_sha256=inputs,
        files={f"{run.layout.processed_root}/{file}": sha for file, sha in files.items()},
        facts=diagnose(tables, is_partial=reduced.is_partial).as_dict(),
        is_partial=reduced.is_partial,
    )
    key = run.layout.stage_record("package")
    store.put(key, record.encode(key))
    return record


def package_inputs(store: ObjectStore, run: RunRecords, series: Mapping[str, str]) -> str:
    """The hash of what the tables depend on, as the record of stage package has it.

    Raises:
        OrchestratorError: a stage before has not been done, or not for these themes.
    """
    reduced, named, data = _read_inputs(store, run)
    return _hash(run, reduced=reduced, named=named, data=data, series=series)


def _read_inputs(store: ObjectStore, run: RunRecords) -> tuple[StageRecord, StageRecord, bytes]:
    """The records of reduce and name, and the labels file."""
    reduced = require_stage(store, run.layout, "reduce")
    named = require_stage(store, run.layout, "name")
    check_names(run, reduced=reduced, named=named)
    return reduced, named, read_label_bytes(store, run)


def _hash(
    run: RunRecords,
    *,
    reduced: StageRecord,
    named: StageRecord,
    data: bytes,
    series: Mapping[str, str],
) -> str:
    return hash_inputs(
        version=PACKAGE_VERSION,
        reduced=[reduced.inputs_sha256, reduced.files],
        named=named.files,
        labels=sha256(data).hexdigest(),
        series=dict(series),
        failed=run.failed,
        skipped=run.skipped,
    )


def publish_again(
    store: ObjectStore, run: RunRecords, record: StageRecord, held: Held
) -> Published:
    """Point the quarter at other tables of the run that it points at.

    Raises:
        OrchestratorError: it points at another run by now.
        LeaseLostError: another command is at the run.
    """

    def check() -> None:
        held()
        published = require_published(store, run.layout.quarter)
        if published.run_id != run.spec.run_id:
            raise OrchestratorError(
                f"run {published.run_id} of {run.layout.quarter} was published while this command "
                f"worked on run {run.spec.run_id}; nothing is published, run the same command again"
            )

    check()
    return publish(store, run.layout, _files(record), check=check)


def publish_package(
    store: ObjectStore, run: RunRecords, record: StageRecord, held: Held
) -> Published:
    """Point the quarter at what stage package made.

    Raises:
        LeaseLostError: another command is at the run.
    """
    held()
    return publish(store, run.layout, _files(record), check=held)


def _files(record: StageRecord) -> dict[str, str]:
    return {key.rpartition("/")[2]: sha for key, sha in record.files.items()}


def make_tables(
    store: ObjectStore,
    run: RunRecords,
    *,
    reduced: StageRecord,
    named: StageRecord,
    data: bytes,
    series: Mapping[str, str],
) -> dict[str, pa.Table]:
    """Every table of the run by name; `data` is the labels file, empty for none."""
    layout, quarter = run.layout, run.spec.quarter
    manifest = read_run_manifest(store, layout, run.spec)
    plan = read_calls(store, manifest)
    kept = {row["firm_id"]: row for row in plan.filter(plan["kept"]).to_pylist()}
    topics = firm_topics(read_table(store, run, "firm-topics"))
    topic_names = read_stage_table(store, layout, named, "topic_names")
    final = _final_themes(store, run, topics, reduced=reduced, named=named, data=data)
    split = split_sentences(iter_sentences(store, run), final.contributions)
    firms = firms_table(run, kept, count_firms(store, run))
    sizes = dict(zip(firms["firm_id"].to_pylist(), firms["n_sentences"].to_pylist(), strict=True))
    rows = call_rows(plan, sizes)
    themes = final.themes["theme_id"].combine_chunks()
    counts = count_calls(split.sentences, rows["firm_id"].combine_chunks(), themes)
    calls = calls_table(
        rows,
        counts,
        statuses=firm_statuses(run, manifest.skipped, manifest.failed),
        n_topics=dict(
            zip(firms["firm_id"].to_pylist(), firms["n_topics"].to_pylist(), strict=True)
        ),
        origin=Origin(run.spec.run_id, "in_sample", quarter),
        quarter=quarter,
    )
    summaries = dict(
        zip(topic_names["topic_id"].to_pylist(), topic_names["summary"].to_pylist(), strict=True)
    )
    return {
        "firms": firms,
        "sentences": split.sentences,
        "topics": _named_topics(topics.table, topic_names),
        "themes": final.themes,
        "theme_contributions": final.contributions,
        "panel": panel_table(counts, calls, themes=themes, series=series),
        "panel_calls": calls,
        "themes_for_sentiment": sentiment_table(
            themes=final.themes,
            contributions=final.contributions,
            summaries=summaries,
            link_dates={firm: row["link_date"] for firm, row in kept.items()},
            texts=split.texts,
        ),
        "naming_audit": read_stage_table(store, layout, named, "naming_audit"),
    }


def _final_themes(
    store: ObjectStore,
    run: RunRecords,
    topics: FirmTopics,
    *,
    reduced: StageRecord,
    named: StageRecord,
    data: bytes,
) -> FinalThemes:
    contributions = read_contributions(store, run, topics, reduced)
    names = read_stage_table(store, run.layout, named, "theme_names").to_pylist()
    labels = Labels()
    if data:
        labels = read_labels(data, contributions, name=store.name(run.layout.labels))
    return finish_themes(
        topics,
        themes=read_stage_table(store, run.layout, reduced, "themes"),
        contributions=contributions,
        names={row["theme_id"]: row for row in names},
        labels=labels,
    )


def _named_topics(topics: pa.Table, names: pa.Table) -> pa.Table:
    """Topics with what stage name says of them (both in the same order)."""
    place = pc.index_in(
        topics["topic_id"].combine_chunks(), value_set=names["topic_id"].combine_chunks()
    )
    found = names.take(place)
    for column in ("summary", "naming_method"):
        index = topics.schema.get_field_index(column)
        topics = topics.set_column(index, FIRM_TOPICS.field(column), found[column])
    return fit(topics, FIRM_TOPICS)


def check_names(run: RunRecords, *, reduced: StageRecord, named: StageRecord) -> None:
    """See that the names there are are those of these themes.

    Raises:
        OrchestratorError: they are of others.
        CorruptObjectError: the record does not say how they were made.
    """
    facts = facts_of(named, key=run.layout.stage_record("name"))
    if named.inputs_sha256 != name_inputs(facts["method"], reduced):
        raise OrchestratorError(
            f"stage name of run {run.spec.run_id} was done for other themes than stage reduce has "
            f"made since; run `ftm run-quarter --quarter {run.spec.quarter} --from name`"
        )


def read_label_bytes(store: ObjectStore, run: RunRecords) -> bytes:
    """The labels file in use; empty for none."""
    try:
        return store.get(run.layout.labels)
    except ObjectNotFoundError:
        return b""
