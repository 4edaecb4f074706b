"""Splitting firms into batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.orchestrate.batches import MAX_BATCHES, plan_batches

QUARTER = Quarter(2023, 1)
SIZES = st.lists(st.integers(1, 40), max_size=12)


def make_chunks(sizes: list[int]) -> dict[str, list[str]]:
    """Chunks of these sizes, their firms numbered through."""
    chunks: dict[str, list[str]] = {}
    for number, size in enumerate(sizes):
        chunks[f"chunk_{number:04d}.parquet"] = [f"c{number}f{i}" for i in range(size)]
    return chunks


@given(SIZES, st.integers(1, 100))
def test_every_firm_is_in_exactly_one_batch_in_order(sizes: list[int], batch_size: int) -> None:
    """Strung together, the batches are the chunks strung together."""
    chunks = make_chunks(sizes)
    batches = plan_batches(QUARTER, chunks, batch_size=batch_size)
    assert [f for b in batches for f in b.firm_ids] == [f for c in chunks.values() for f in c]
    assert all(batch.firm_ids for batch in batches)


@given(SIZES, st.integers(1, 100))
def test_a_batch_is_whole_chunks_or_a_part_of_one(sizes: list[int], batch_size: int) -> None:
    """No batch mixes a part of a chunk with another chunk, and none grows beyond its need."""
    chunks = make_chunks(sizes)
    size_of = {firm.partition("f")[0]: len(firms) for firms in chunks.values() for firm in firms}
    for batch in plan_batches(QUARTER, chunks, batch_size=batch_size):
        held = [firm.partition("f")[0] for firm in batch.firm_ids]
        whole = all(held.count(chunk) == size_of[chunk] for chunk in held)
        assert whole or len(set(held)) == 1
        if not whole:
            assert len(held) <= batch_size
        elif len(set(held)) > 1:
            assert len(held) - size_of[held[-1]] < batch_size


def test_450_firms_in_chunks_of_200_make_batches_of_200_200_50() -> None:
    """The default takes a chunk per batch, whatever order the chunks come in."""
    chunks = dict(reversed(make_chunks([200, 200, 50]).items()))
    batches = plan_batches(QUARTER, chunks, batch_size=200)
    assert [len(batch.firm_ids) for batch in batches] == [200, 200, 50]
    assert [batch.batch_id for batch in batches] == [f"2023Q1_batch_000{i}" for i in range(3)]
    assert {batch.quarter for batch in batches} == {"2023Q1"}


def test_a_smaller_size_splits_chunks_and_a_larger_one_joins_them() -> None:
    """Size 150 leaves the rest of each chunk its own batch; 300 takes two chunks."""
    chunks = make_chunks([200, 200, 50])
    sizes = {
        size: [len(b.firm_ids) for b in plan_batches(QUARTER, chunks, batch_size=size)]
        for size in (150, 300)
    }
    assert sizes == {150: [150, 50, 150, 50, 50], 300: [400, 50]}


def test_no_firms_make_no_batches() -> None:
    """An empty quarter has an empty list."""
    assert plan_batches(QUARTER, {}, batch_size=200) == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    """The message shows the value."""
    with pytest.raises(ConfigError, match=rf"--batch-size {size} "):
        plan_batches(QUARTER, make_chunks([3]), batch_size=size)


def test_too_many_batches_are_refused_with_a_size_that_fits() -> None:
    """The size the message names makes at most 10,000 batches."""
    chunks = make_chunks([200] * 101)
    with pytest.raises(ConfigError, match="use --batch-size") as caught:
        plan_batches(QUARTER, chunks, batch_size=1)
    size = int(str(caught.value).rpartition(" ")[2])
    assert len(plan_batches(QUARTER, chunks, batch_size=size)) <= MAX_BATCHES
