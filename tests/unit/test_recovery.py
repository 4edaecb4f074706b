"""How agreement between planted and found topics is measured."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ftm.demo.firm_rows import TRUTH
from ftm.demo.recovery import adjusted_rand_index, measure_recovery

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), max_size=40)


@given(PAIRS)
def test_the_index_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """For any two labellings."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    expected = adjusted_rand_score(first, second)
    assert adjusted_rand_index(first, second) == pytest.approx(expected)


def test_the_index_ignores_the_names_of_labels() -> None:
    """Renamed, the same partition scores 1; halves that cut across score 0 or less."""
    assert adjusted_rand_index(["a", "a", "b", "b"], [7, 7, 3, 3]) == 1.0
    assert adjusted_rand_index(["a", "a", "b", "b"], [1, 2, 1, 2]) < 0


def test_labels_of_different_things_are_refused() -> None:
    """A length that differs is an error, not a truncation."""
    with pytest.raises(ValueError, match="2 and 1"):
        adjusted_rand_index([1, 2], [1])


def truth(*rows: tuple[str, str, str | None]) -> pa.Table:
    """A truth of (firm, text, topic)."""
    head = {"quarter": "2023Q1", "transcript_id": "1", "component_order": 0, "kind": "content"}
    return pa.Table.from_pylist(
        [
            {**head, "firm_id": firm, "ordinal": i, "text": text, "topic": topic}
            for i, (firm, text, topic) in enumerate(rows)
        ],
        schema=TRUTH,
    )


def found(*rows: tuple[str, str, int | None]) -> pa.Table:
    """What a run made of (firm, text)."""
    names = ["firm_id", "raw_text", "local_topic_id"]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_recovery_counts_outliers_and_leaves_out_what_has_no_single_truth() -> None:
    """Ambiguous texts, unplanted ones and sentences not clustered do not count."""
    said = truth(
        ("A", "a1", "x"), ("A", "a2", "x"), ("A", "b1", "y"), ("A", "b2", "y"), ("A", "c", "y"),
        ("A", "none", None), ("A", "both", "x"), ("A", "both", "y"), ("B", "a1", "z"),
    )  # fmt: skip
    seen = found(
        ("A", "a1", 0), ("A", "a2", 0), ("A", "b1", 1), ("A", "b2", 1), ("A", "c", -1),
        ("A", "none", 1), ("A", "both", 1), ("A", "unheard", 0), ("B", "a1", None),
    )  # fmt: skip
    (firm,) = measure_recovery(said, seen)
    assert firm.firm_id == "A"
    assert (firm.n_sentences, firm.n_planted, firm.n_found) == (5, 2, 2)
    assert firm.ari == 1.0
    assert firm.outlier_share == pytest.approx(1 / 5)


def test_nothing_found_is_no_firm() -> None:
    """Empty in, empty out."""
    assert measure_recovery(truth(), truth().select([]).append_column(
        "firm_id", pa.array([], pa.string())
    ).append_column("raw_text", pa.array([], pa.string())).append_column(
        "local_topic_id", pa.array([], pa.int32())
    )) == []  # fmt: skip
