"""Invariant 8 with the real models, from the command: batches and workers change no topic."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import MapDataset, find_run, read_table
from tests.support.business_firms import QUARTER
from tests.support.cli import run_ftm
from tests.support.quarters import write_quarter

MODELS = {"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"}
N_FIRMS = 54


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """One chunk of 54 firms."""
    opened = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(opened, N_FIRMS, n_sentences=36)
    return opened


def tables(store: ObjectStore, *arguments: str) -> list[pa.Table]:
    """Topics and sentences of a run, the time it was begun left out, firm by firm."""
    done = run_ftm(
        *("run-quarter", "--quarter", "2023Q1", "--json", *arguments),
        **{**MODELS, "FTM_STORE": store.url},
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
def test_batch_sizes_50_and_200_give_the_same_topics(store: ObjectStore) -> None:
    """Bit for bit, centroids too: one worker with all cores, or two with half of them each."""
    whole = tables(store, "--batch-size", "200", "--workers", "1")
    split = tables(store, "--batch-size", "50", "--workers", "2")
    assert [a.equals(b) for a, b in zip(whole, split, strict=True)] == [True, True]
    assert whole[0].num_rows >= N_FIRMS
    assert whole[1].num_rows == N_FIRMS * 36
