"""How firms fall into parts and chunks."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from ftm.core.records import FirmCall
from ftm.prefetch.batching import next_part_size, pending_calls, split_into_chunks
from ftm.storage.checkpoint import Part, PlanChoice, Selection, Session

sizes = st.integers(1, 30)


def call(firm_id: str) -> FirmCall:
    """A kept call."""
    return FirmCall(firm_id, "Firm", "1", 1, "000001", date(2023, 2, 1), None)


def session(**given_: object) -> Session:
    """A session that has done nothing, but for what is given."""
    fields: dict[str, object] = {
        "kind": "prefetch",
        "generation": 1,
        "created_at": "",
        "options": PlanChoice(calls="latest", as_of=None, linktypes=["LU"]),
        "preprocessing": {},
        "chunk_size": 4,
        "part_size": 2,
        "selection": Selection(firm_ids=None, limit=None),
    }
    return Session.model_validate(fields | given_)


@given(n_firms=st.integers(0, 200), chunk=sizes, part=sizes)
def test_parts_fill_chunks_exactly(n_firms: int, chunk: int, part: int) -> None:
    """Every chunk but the last has its size, every part but a chunk's last has its own."""
    left, chunks, parts = n_firms, [], []
    n_open = 0
    while left:
        size = min(left, next_part_size(n_open, chunk_size=chunk, part_size=part))
        assert 1 <= size <= part
        parts.append(size)
        left, n_open = left - size, n_open + size
        if n_open >= chunk:
            chunks.append(n_open)
            n_open = 0
    assert sum(parts) == n_firms
    assert chunks == [chunk] * (n_firms // chunk)
    assert n_open == n_firms % chunk


@given(firms=st.lists(st.integers(), max_size=100), chunk=sizes, data=st.data())
def test_queries_follow_the_chunks(firms: list[int], chunk: int, data: st.DataObject) -> None:
    """In order, nothing lost; the first fills the open chunk, the others are whole."""
    n_open = data.draw(st.integers(0, chunk - 1))
    batches = list(split_into_chunks(firms, n_open=n_open, chunk_size=chunk))
    assert [firm for batch in batches for firm in batch] == firms
    assert all(batches)
    assert all(len(batch) == chunk for batch in batches[1:-1])
    assert not batches or len(batches[0]) == min(len(firms), chunk - n_open)


@given(
    kept=st.sets(st.integers(100, 130)),
    done=st.sets(st.integers(100, 130)),
    wanted=st.none() | st.sets(st.integers(100, 130)),
    limit=st.none() | st.integers(1, 20),
)
def test_pending_is_kept_minus_settled(
    kept: set[int], done: set[int], wanted: set[int] | None, limit: int | None
) -> None:
    """Restricted to the firms asked for, cut at the limit, sorted as the plan is."""
    part = Part(
        n_attempted=len(done),
        firms=[str(f) for f in sorted(done)],
        n_sentences=0,
        chunk=None,
        components=None,
    )
    ids = None if wanted is None else [str(f) for f in sorted(wanted)]
    chosen = Selection(firm_ids=ids, limit=limit, after=len(done))
    found = pending_calls(
        [call(str(f)) for f in sorted(kept)], session(parts=[part], selection=chosen), None
    )
    expected = sorted(kept - done if wanted is None else (kept - done) & wanted)[:limit]
    assert [c.firm_id for c in found] == [str(f) for f in expected]


def test_failed_firms_wait_for_the_next_session_and_skipped_ones_for_a_refresh() -> None:
    """So a resumed session ends as if it had not been killed."""
    calls = [call(f) for f in ("1", "2", "3")]
    now = session(skipped={"1": "no_text"}, failed={"2": "broken"})
    assert [c.firm_id for c in pending_calls(calls, now, None)] == ["3"]
