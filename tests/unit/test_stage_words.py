"""What is told of a stage when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from ftm.core.errors import CorruptObjectError
from ftm.naming.base import Name, NamingItem
from ftm.orchestrate.stages import describe_stage
from ftm.reduce.diagnosis import Diagnosis
from ftm.reduce.name_stage import name_run
from ftm.reduce.reduce_stage import reduce_run
from ftm.storage.object_store import open_store
from ftm.storage.run_reader import read_run
from ftm.storage.stage_facts import facts_of
from ftm.storage.stage_records import StageRecord
from tests.support.business_firms import QUARTER
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, ToldNamer, name_options, reduce_options

ASKED = {"n_asked": 1200, "n_cached": 30, "prompt_tokens": 2_000_000, "completion_tokens": 5}


def named(**facts: Any) -> StageRecord:
    """A record of stage name."""
    given = {"method": {"naming": "llm"}, **ASKED, "cost": None, **facts}
    return StageRecord(stage="name", inputs_sha256="x", files={}, facts=given)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            named(),
            "names by llm, 1,200 asked and 30 from the store, 2,000,005 tokens",
        ),
        (
            named(cost=1234.567),
            (
                "names by llm, 1,200 asked and 30 from the store, 2,000,005 tokens, 1,234.57 at "
                "the prices given"
            ),
        ),
        (
            named(cost=0.0),
            (
                "names by llm, 1,200 asked and 30 from the store, 2,000,005 tokens, 0.00 "
                "at the prices given"
            ),
        ),
        (named(method={"naming": "keywords"}), "names by keywords"),
        (
            named(method={"naming": "keywords"}, n_alike=2),
            "names by keywords, 2 themes of them with the name of another",
        ),
        (
            named(method={"naming": "keywords"}).model_copy(update={"is_partial": True}),
            "names by keywords, partial: batches that failed are left out",
        ),
    ],
)
def test_a_stage_tells_who_named_and_what_it_cost(record: StageRecord, words: str) -> None:
    """Answers asked and found, tokens of both kinds, and money where there are prices."""
    assert describe_stage(record, key="stages/name") == words


class OneName(ToldNamer):
    """Calls the first three themes alike but for the case, and topics, too."""

    def name_all(self, items: Iterable[NamingItem], *, done: Callable[[int], None]) -> list[Name]:
        """See Namer."""
        told = super().name_all(items, done=done)
        same = ("Growth", "growth", "GROWTH")
        return [replace(n, name=s) for n, s in zip(told, same, strict=False)] + told[len(same) :]


def test_themes_with_the_name_of_another_are_counted() -> None:
    """Whoever groups by names would merge them; topics may be called alike."""
    run = plant_run(open_store("memory://"), FIRMS)
    records = read_run(run.store, QUARTER, run.layout.run_id)
    reduce_run(run.store, records, reduce_options())
    assert name_run(run.store, records, name_options(ToldNamer())).facts["n_alike"] == 0
    run.store.delete(run.layout.stage_record("name"))
    assert name_run(run.store, records, name_options(OneName())).facts["n_alike"] == 3


def test_names_of_a_partial_run_are_partial() -> None:
    """The record of stage name says of its own that batches are left out."""
    run = plant_run(open_store("memory://"), FIRMS)
    records = read_run(run.store, QUARTER, run.layout.run_id)
    reduced = reduce_run(run.store, records, reduce_options())
    assert not name_run(run.store, records, name_options()).is_partial
    partial = reduced.model_copy(update={"is_partial": True})
    run.store.put(run.layout.stage_record("reduce"), partial.encode())
    assert name_run(run.store, records, name_options()).is_partial


def test_a_diagnosis_is_read_back_with_every_figure_it_is_recorded_with() -> None:
    """The record's check, which stands below stage package, knows each by name."""
    made = Diagnosis(3, 2, 4, 2.0, None, 0.1, 0.2, 0.3, 0.4, 1, 1.0, 2.0, is_partial=True)
    record = StageRecord(stage="package", inputs_sha256="x", files={}, facts=made.as_dict())
    assert facts_of(record, key="k") == made.as_dict()
    for name in made.as_dict().keys() - {"is_partial"}:
        less = {key: value for key, value in made.as_dict().items() if key != name}
        with pytest.raises(CorruptObjectError, match=rf"k is damaged, fact {name}: Field required"):
            facts_of(record.model_copy(update={"facts": less}), key="k")
