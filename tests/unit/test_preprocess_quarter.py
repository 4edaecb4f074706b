"""`preprocess_quarter`: the text step done again from what is stored, as a new generation."""

from __future__ import annotations

import pytest

from ftm.core.errors import (
    ConfigError,
    PreprocessingError,
)
from ftm.storage.manifest import encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.fake_source import FakePreprocessor, FakeSource, Picky
from tests.support.prefetch_quarter import (
    LAYOUT,
    Killed,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    preprocess,
    stored_rows,
)


def test_preprocess_keeps_the_size_of_chunks(memory: ObjectStore) -> None:
    """Unless told otherwise."""
    prefetch(memory, FakeSource(firms(6)), chunk=3)
    preprocess(memory, FakePreprocessor("other"))
    assert list(manifest(memory).chunk_sizes.values()) == [3, 3]
    preprocess(memory, FakePreprocessor("third"), chunk_size=5)
    assert list(manifest(memory).chunk_sizes.values()) == [5, 1]


def test_preprocess_makes_the_generation_a_prefetch_with_that_pipeline_would(
    memory: ObjectStore,
) -> None:
    """Same firms, same sentences, same plan, without asking the source; the old one stays."""
    texts = {"1001": [""], "1002": ["BAD"]}
    prefetch(memory, FakeSource(firms(6), texts=texts))
    preprocess(memory, FakePreprocessor("other"), chunk_size=4, checkpoint_interval=2)
    direct = open_store("memory://")
    prefetch(direct, FakeSource(firms(6), texts=texts), text=FakePreprocessor("other"))
    found, wanted = manifest(memory), manifest(direct)
    assert (found.generation, found.preprocessing["pipeline"]) == (2, "other")
    assert (found.skipped, found.complete) == (wanted.skipped, wanted.complete)
    assert found.failed == wanted.failed
    assert found.plan.sha256 == wanted.plan.sha256
    assert stored_rows(memory, "cleaned_text") == stored_rows(direct, "cleaned_text")
    assert memory.exists(LAYOUT.key("chunk_0000.parquet"))


@pytest.mark.parametrize("given", [None, 7])
def test_preprocess_keeps_the_chunk_size_of_the_prefetch(
    memory: ObjectStore, given: int | None
) -> None:
    """It tries the skipped firms again, so chunks of as many as are stored would be one more."""
    n_tried = given or 200
    source = FakeSource(firms(n_tried), texts={"1000": [""], "1003": []})
    prefetch(memory, source, chunk=given)
    assert list(manifest(memory).chunk_sizes.values()) == [n_tried - 2]
    preprocess(memory, FakePreprocessor("other"))
    found = manifest(memory)
    assert (found.generation, found.chunk_size) == (2, n_tried)
    assert list(found.chunk_sizes.values()) == [n_tried - 2]


def test_a_few_firms_more_do_not_shrink_the_chunks_of_a_preprocess(memory: ObjectStore) -> None:
    """The largest size of all prefetches of a generation counts."""
    source = FakeSource(firms(6))
    prefetch(memory, source, firms(5), chunk=5)
    prefetch(memory, source, chunk=2)
    preprocess(memory, FakePreprocessor("other"))
    assert list(manifest(memory).chunk_sizes.values()) == [5, 1]


@pytest.mark.parametrize(("n_firms", "size"), [(6, 200), (201, 201)])
def test_preprocess_of_a_manifest_without_a_chunk_size_takes_the_default(
    memory: ObjectStore, n_firms: int, size: int
) -> None:
    """Or what its largest chunk holds, if that is more."""
    prefetch(memory, FakeSource(firms(n_firms)), chunk=n_firms)
    older = manifest(memory).model_copy(update={"chunk_size": None})
    memory.put(LAYOUT.manifest, encode_manifest(older))
    preprocess(memory, FakePreprocessor("other"))
    assert manifest(memory).chunk_size == size
    assert list(manifest(memory).chunk_sizes.values()) == [n_firms]


def test_preprocess_of_a_quarter_without_any_chunk(memory: ObjectStore) -> None:
    """Nobody said anything, and the manifest is too old to say a chunk size."""
    prefetch(memory, FakeSource(firms(3), texts=dict.fromkeys(firms(3), ())))
    older = manifest(memory).model_copy(update={"chunk_size": None})
    memory.put(LAYOUT.manifest, encode_manifest(older))
    assert preprocess(memory, FakePreprocessor("other")).generation == 2
    assert manifest(memory).chunk_size == 200


def test_preprocess_that_fails_on_a_stored_firm_leaves_the_old_generation(
    store: ObjectStore,
) -> None:
    """The firm is named; mended, the same command tries only what failed."""
    prefetch(store, FakeSource(firms(6), texts={"1004": ["BAD"]}))
    before = stored_rows(store)
    for _ in range(2):
        with pytest.raises(
            PreprocessingError, match=r"1 of the 5 firms .*1002: failed: too long.*--give-up"
        ):
            preprocess(store, Picky("1002"), chunk_size=4)
        assert (manifest(store).generation, stored_rows(store)) == (1, before)
    summary = preprocess(store, Picky(), chunk_size=4)
    assert (summary.generation, summary.n_firms, summary.complete) == (2, 5, True)
    assert list(summary.failed) == ["1004"]
    assert stored_rows(store) == before


def test_a_failed_preprocess_can_be_given_up_for_the_old_pipeline(memory: ObjectStore) -> None:
    """Nothing is made anew, and prefetch is free again."""
    prefetch(memory, FakeSource(firms(6)), firms(3))
    before = stored_rows(memory, "cleaned_text")
    with pytest.raises(PreprocessingError):
        preprocess(memory, Picky(*firms(6)))
    assert preprocess(memory, FakePreprocessor()).generation == 1
    assert not memory.exists(LAYOUT.checkpoint)
    assert list(memory.list(LAYOUT.parts)) == []
    assert stored_rows(memory, "cleaned_text") == before
    assert prefetch(memory, FakeSource(firms(6))).n_firms == 6


def test_after_preprocess_a_prefetch_goes_on_with_the_new_pipeline(memory: ObjectStore) -> None:
    """Firms not prefetched before stay pending in the new generation."""
    prefetch(memory, FakeSource(firms(5)), ["1000", "1003"])
    preprocess(memory, FakePreprocessor("other"))
    assert not manifest(memory).complete
    source = FakeSource(firms(5), version="v2")
    prefetch(memory, source, text=FakePreprocessor("other"))
    assert source.n_discoveries == 0
    assert manifest(memory).complete
    assert stored_rows(memory).keys() == set(firms(5))


def test_preprocess_by_the_same_pipeline_does_nothing(memory: ObjectStore) -> None:
    """There would be no difference but the generation."""
    prefetch(memory, FakeSource(firms(2)))
    before = everything(memory)
    preprocess(memory, FakePreprocessor())
    assert everything(memory) == before


def test_preprocess_waits_for_an_unfinished_prefetch_and_the_other_way_round(
    memory: ObjectStore,
) -> None:
    """Each names the command that finishes the other."""
    prefetch(memory, FakeSource(firms(5)), ["1000", "1001", "1002"])
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(5)))
    with pytest.raises(ConfigError, match="ftm prefetch --quarter 2023Q1"):
        preprocess(memory, FakePreprocessor("other"))
    prefetch(memory, FakeSource(firms(5)))
    with killed_at(memory, 14), pytest.raises(Killed):
        preprocess(memory, FakePreprocessor("other"))
    with pytest.raises(ConfigError, match="ftm preprocess --quarter 2023Q1"):
        prefetch(memory, FakeSource(firms(5)))
    preprocess(memory, FakePreprocessor("other"))
    assert manifest(memory).generation == 2
