"""Invariant 8 with the real models, from the command: batches and workers change no topic."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import MapDataset, find_run, list_runs, read_table
from tests.support.business_firms import QUARTER
from tests.support.cli import run_ftm
from tests.support.quarters import write_quarter

MODELS = {"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"}
N_FIRMS, N_SENTENCES = 7, 36
PART = {"CHECKPOINT_INTERVAL": "5"}
"""A tenth of the usual numbers of firms in parts and batches."""


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """One chunk of seven firms."""
    opened = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(opened, N_FIRMS, n_sentences=N_SENTENCES)
    return opened


def tables(store: ObjectStore, *arguments: str, **variables: str) -> list[pa.Table]:
    """Topics and sentences of a run, the time it was begun left out, firm by firm."""
    done = run_ftm(
        *("run-quarter", "--quarter", "2023Q1", "--json", *arguments),
        **{**MODELS, **PART, "FTM_STORE": store.url, **variables},
        limit_s=400,
    )
    assert done.returncode == 0, done.stderr
    run = find_run(store, QUARTER, json.loads(done.stdout)["run_id"])
    datasets: tuple[MapDataset, ...] = ("firm-topics", "firm-sentences")
    found = [read_table(store, run, dataset) for dataset in datasets]
    return [
        table.drop_columns(set(table.column_names) & {"processing_timestamp"}) for table in found
    ]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.xdist_group("forge")
def test_batch_sizes_5_and_20_give_the_same_topics(store: ObjectStore) -> None:
    """Bit for bit, centroids too: one worker with all cores, or two with one of them each.

    The one is a fresh process, with other hashes; the two are forked.
    """
    whole = tables(store, "--batch-size", "20", "--workers", "1", PYTHONHASHSEED="7")
    split = tables(store, "--batch-size", "5", "--workers", "2")
    assert [a.equals(b) for a, b in zip(whole, split, strict=True)] == [True, True]
    assert whole[0].num_rows >= N_FIRMS
    assert whole[1].num_rows == N_FIRMS * N_SENTENCES
    n_batches = [len(run.progress) for run in list_runs(store, QUARTER)]
    assert sorted(n_batches) == [1, 2]
