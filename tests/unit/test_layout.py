"""Keys of the store."""

from hypothesis import given
from hypothesis import strategies as st

from ftm.core.layout import PrefetchLayout, RunLayout, batch_id
from ftm.core.quarter import Quarter

Q = Quarter(2023, 1)


def test_prefetch_keys_are_those_of_the_design() -> None:
    """Generation 1 lies in the quarter's folder, later ones beside it, one manifest for all."""
    layout = PrefetchLayout(Q)
    assert layout.manifest == "prefetch/transcripts/quarter=2023Q1/manifest.json"
    assert layout.key(layout.chunk_file(1, 0)) == (
        "prefetch/transcripts/quarter=2023Q1/chunk_0000.parquet"
    )
    assert layout.components_file(2, 13) == "gen=0002/components_0013.parquet"


def test_run_keys_are_those_of_the_design() -> None:
    """Runs, progress and intermediate parts carry quarter and run."""
    run = RunLayout(Q, "r1")
    assert run.spec == "runs/2023Q1/r1/spec.json"
    assert run.progress("2023Q1_batch_0000") == "progress/2023Q1/run=r1/2023Q1_batch_0000.json"
    assert run.firm_topics_part(batch_id(Q, 3), 1) == (
        "intermediate/firm-topics/quarter=2023Q1/run=r1/2023Q1_batch_0003_part_0001.parquet"
    )


@given(st.lists(st.integers(0, 9999), min_size=2, max_size=20, unique=True))
def test_file_names_sort_like_their_numbers(numbers: list[int]) -> None:
    """Listing by name is listing by number."""
    layout = PrefetchLayout(Q)
    names = [layout.chunk_file(1, n) for n in sorted(numbers)]
    assert names == sorted(names)
