"""What a stage after map made, and of what: the record that lets a rerun skip it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError, OrchestratorError
from ftm.core.layout import RunLayout
from ftm.core.schemas import DATASETS
from ftm.storage.checked import checked_table, is_intact
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import to_bytes
from ftm.storage.run_records import Record, decode_record

STAGES = ("map", "reduce", "name", "package")
"""In order; each reads what those before it wrote."""


class StageRecord(Record):
    """`progress/…/stages/{stage}`, put after everything it names.

    Args:
        stage: reduce, name or package.
        inputs_sha256: of all that its output depends on; equal means nothing is to be done.
        files: {key: sha256} of what it wrote.
        facts: figures for people, and what later stages must know.
        is_partial: failed batches or firms were left out.
    """

    mend = "delete it: `ftm run-quarter` then does the stage again"

    stage: str
    inputs_sha256: str
    files: dict[str, str]
    facts: dict[str, Any] = Field(default_factory=dict)
    is_partial: bool = False


def hash_inputs(**inputs: Any) -> str:
    """One hash of everything a stage's output depends on; values are plain JSON."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def read_stage(store: ObjectStore, layout: RunLayout, stage: str) -> StageRecord | None:
    """The record of a stage; None while it has not been done.

    Raises:
        CorruptObjectError: no such record.
    """
    key = layout.stage_record(stage)
    try:
        return decode_record(StageRecord, store.get(key), key=store.name(key))
    except ObjectNotFoundError:
        return None


def require_stage(store: ObjectStore, layout: RunLayout, stage: str) -> StageRecord:
    """The record of a stage that another one needs.

    Raises:
        OrchestratorError: it has not been done.
    """
    found = read_stage(store, layout, stage)
    if found is None:
        raise OrchestratorError(
            f"stage {stage} of run {layout.run_id} of {layout.quarter} has not been done; run "
            f"`ftm run-quarter --quarter {layout.quarter} --from {stage}`"
        )
    return found


def is_done(store: ObjectStore, layout: RunLayout, stage: str, inputs_sha256: str) -> bool:
    """Whether the stage was done with these inputs, and all it wrote is there.

    What stages hand on is compared byte by byte: another command may have begun to write it anew.
    """
    try:
        found = read_stage(store, layout, stage)
    except CorruptObjectError:
        return False
    if found is None or found.inputs_sha256 != inputs_sha256:
        return False
    if stage == STAGES[-1]:
        return all(store.exists(key) for key in found.files)
    return all(is_intact(store, key, sha256) for key, sha256 in found.files.items())


def put_stage_tables(
    store: ObjectStore, layout: RunLayout, stage: str, tables: Mapping[str, pa.Table]
) -> dict[str, str]:
    """Write what a stage hands to the next.

    Returns:
        {key: sha256}, for its record.
    """
    files = {}
    for name, table in tables.items():
        key, data = layout.stage_table(stage, name), to_bytes(table, DATASETS[name])
        store.put(key, data)
        files[key] = hashlib.sha256(data).hexdigest()
    return files


def read_stage_table(
    store: ObjectStore, layout: RunLayout, record: StageRecord, table: str
) -> pa.Table:
    """A table that a stage handed on, its hash checked.

    Raises:
        CorruptObjectError: it is gone or has other bytes.
    """
    key = layout.stage_table(record.stage, table)
    mend = f"`ftm run-quarter --quarter {layout.quarter} --from {record.stage}` writes it again"
    return checked_table(store, key, record.files.get(key, ""), dataset=table, mend=mend)
