"""What a worker makes sure of before it computes."""

from __future__ import annotations

import json

import pytest

from ftm.core.errors import ConfigError
from ftm.core.layout import RunLayout
from ftm.mapping.run_inputs import check_model, reason_to_leave
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import RunSpec
from tests.support.business_firms import QUARTER

LAYOUT = RunLayout(QUARTER, "run")
OWN = {"embedding_model": "m", "seed": "42", "version:torch": "2.13.0", "weights": "aa"}
ASKED = {"image": "ftm@sha256:00", "embedding_model": "m", "seed": "42"}


def spec(model: dict[str, str]) -> RunSpec:
    """A spec with this model."""
    return RunSpec(
        quarter="2023Q1",
        run_id="run",
        created_at="2023-04-03T12:00:00+00:00",
        manifest_sha256="",
        batches_sha256="",
        model=model,
        checkpoint_firms=50,
        ftm_version="0",
    )


def test_the_first_worker_of_an_image_says_what_it_holds(memory: ObjectStore) -> None:
    """Its fingerprint is on record; a worker with the same goes on."""
    for _ in range(2):
        check_model(memory, LAYOUT, spec(ASKED), OWN)
    assert json.loads(memory.get(LAYOUT.model_claim))["model"] == OWN


def test_another_librarys_worker_refuses(memory: ObjectStore) -> None:
    """A tag that moved cannot mix two models in one run."""
    check_model(memory, LAYOUT, spec(ASKED), OWN)
    with pytest.raises(ConfigError, match=r"version:torch is '2\.14\.0' here and '2\.13\.0' in"):
        check_model(memory, LAYOUT, spec(ASKED), OWN | {"version:torch": "2.14.0"})


@pytest.mark.parametrize("change", [{"seed": "7"}, {"embedding_model": "other"}])
def test_what_was_asked_for_is_compared_first(memory: ObjectStore, change: dict[str, str]) -> None:
    """A worker with other settings than the run's refuses, and leaves nothing on record."""
    with pytest.raises(ConfigError, match="is not that of run run"):
        check_model(memory, LAYOUT, spec(ASKED), OWN | change)
    assert not memory.exists(LAYOUT.model_claim)


def test_a_spec_of_this_kind_of_machine_needs_no_record(memory: ObjectStore) -> None:
    """A whole fingerprint in the spec is compared as it is."""
    check_model(memory, LAYOUT, spec(OWN), OWN)
    assert not memory.exists(LAYOUT.model_claim)
    with pytest.raises(ConfigError, match="weights"):
        check_model(memory, LAYOUT, spec(OWN | {"weights": "bb"}), OWN)


def test_a_child_belongs_to_its_parent(memory: ObjectStore) -> None:
    """All children of one array work; a child or a plain job of another set leaves."""
    given = {"attempt": 1}
    assert reason_to_leave(memory, LAYOUT, job_id="abc:3", **given) == ""
    assert reason_to_leave(memory, LAYOUT, job_id="abc:4", **given) == ""
    assert "job abc is on record" in reason_to_leave(memory, LAYOUT, job_id="def:3", **given)
    assert reason_to_leave(memory, LAYOUT, job_id="def", attempt=2) == ""
    assert reason_to_leave(memory, LAYOUT, job_id=None, attempt=1) == ""


def test_a_job_of_any_earlier_attempt_leaves(memory: ObjectStore) -> None:
    """Numbers may be left out; whatever comes later takes over, the tenth before the second."""
    memory.put(LAYOUT.jobs("map", 10), b"{}")
    memory.put(LAYOUT.outcome("map", 11), b"{}")
    assert "attempt 10 has begun" in reason_to_leave(memory, LAYOUT, job_id="abc", attempt=2)
    assert reason_to_leave(memory, LAYOUT, job_id="abc", attempt=10) == ""
