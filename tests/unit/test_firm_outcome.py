"""A firm's rows, made in a text worker and sent to the process that writes them."""

from __future__ import annotations

import pickle

import pytest

from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.prefetch.rows import FirmOutcome, firm_outcome
from ftm.text.base import FirmText
from ftm.text.pipelines import load_pipeline
from tests.support.calls import CALL, firm

QUARTER = Quarter(2023, 1)


def outcome_of_a_call() -> FirmOutcome:
    """Of the small call all text tests share."""
    return firm_outcome(CALL, load_pipeline("rules").process(CALL), QUARTER)


def test_a_firm_travels_between_processes_unchanged() -> None:
    """Rows, types, facts and reasons arrive as they were sent."""
    failed = firm_outcome(CALL, FirmText("7", (), {}, error="no\nluck"), QUARTER)
    skipped = firm_outcome(firm(), FirmText("7", (), {}, skip_reason="no_components"), QUARTER)
    for sent in (outcome_of_a_call(), failed, skipped):
        got = pickle.loads(pickle.dumps(sent))
        assert got == sent
        assert (got.sentences.schema, got.components.schema) == (CHUNK, COMPONENTS)


@pytest.mark.parametrize("field", ["raw_text", "cleaned_text"])
def test_a_firm_that_does_not_fit_is_a_failure_of_its_own(field: str) -> None:
    """What the schema refuses is recorded, not raised: one bad firm stops no quarter."""
    text = load_pipeline("rules").process(CALL)
    broken = [*text.sentences]
    object.__setattr__(broken[0], field, None)
    outcome = firm_outcome(CALL, FirmText("7", tuple(broken), text.spans), QUARTER)
    assert outcome.error is not None
    assert field in outcome.error
    assert not outcome.is_stored
