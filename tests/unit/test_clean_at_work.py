"""`ftm clean` beside jobs and commands at work: what they made and did not name yet stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ftm.care.clean import OldRuns, clean_quarter, find_removable
from ftm.care.verify import verify_quarter
from ftm.core.errors import OrchestratorError
from ftm.core.layout import RunLayout
from ftm.storage.lease import Writer, encode_document
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased
from ftm.storage.run_records import BatchProgress, decode_progress
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all
from tests.support.prefetch_quarter import LAYOUT, Clock, Killed, everything
from tests.unit.test_clean import (
    BATCH,
    CHOSEN,
    FIRMS,
    REPLACED,
    clean,
    ended,
    holding,
    of_run,
    submitted,
    two_runs,
)

FIRST, SECOND = RunLayout(CHOSEN, "a-first"), RunLayout(CHOSEN, "b-second")


def hold(store: ObjectStore, layout: RunLayout) -> None:
    """Another command carries the run through."""
    open_leased(
        store,
        layout.lease,
        lock_name=layout.lock_name,
        writer=Writer("ann", "elsewhere", 7, "nonce"),
        clock=Clock(),
        say=lambda _line: None,
    ).acquire()


def change(store: ObjectStore, layout: RunLayout, batch: str, **changes: object) -> None:
    """A batch's record, changed."""
    key = layout.progress(batch)
    record: BatchProgress = decode_progress(store.get(key), key=key)
    store.put(key, record.model_copy(update=changes).encode())


def test_tables_that_a_command_has_put_and_not_recorded_stay() -> None:
    """Stage package puts its tables first; what it says of the run later must find them."""
    new = SECOND.processed("panel", "0123456789ab")
    store, told = holding({**two_runs(), new: b"PAR1"}), []
    hold(store, SECOND)
    assert clean(store, say=told.append) == []
    assert store.exists(new)
    assert "what is left over of run b-second stays" in told[0]
    assert "ann on host elsewhere" in told[0]
    store.delete(SECOND.lease)
    assert clean(store) == [new]


def test_what_a_run_puts_that_ends_meanwhile_stays() -> None:
    """Parts listed and recorded between two looks were not left over at any time."""
    store = holding(two_runs())
    third = plant_run(store, FIRMS, run_id="c-third", quarter=CHOSEN)
    change(store, third.layout, BATCH, complete=False)
    stray = third.layout.firm_topics_part(BATCH, 9)
    store.put(stray, b"PAR1")

    def end(moment: str, key: str) -> None:
        if moment == "after put" and key == SECOND.lease:
            store.hook = lambda _moment, _key: None
            change(store, third.layout, BATCH, complete=True)

    store.hook = end
    assert clean(store) == []
    assert clean(store) == [stray]


@pytest.mark.parametrize("what", ["a second try", "a retry of failed firms", "a later stage"])
def test_a_replaced_run_that_jobs_are_at_stays(what: str) -> None:
    """Though its records show a first try that ended, complete batches, or an older result."""
    store = holding(two_runs())
    if what == "a later stage":
        store.put(FIRST.jobs("reduce", 2), submitted("reduce", 2, "reduce"))
    else:
        store.put(FIRST.outcome("map", 1), ended("map"))
        store.put(FIRST.jobs("map", 2), submitted("map", 2))
        failed, done = {"100000": "out of memory"}, ["100001", "100002", "100003"]
        complete = what != "a second try"
        change(store, FIRST, BATCH, failed=failed, done=done, complete=complete)
    told: list[str] = []
    assert find_removable(store, CHOSEN, REPLACED, say=told.append) == []
    assert "`--run a-first` removes it" in told[0]
    stage = "reduce" if what == "a later stage" else "map"
    store.put(FIRST.outcome(stage, 2), ended(stage))
    assert find_removable(store, CHOSEN, REPLACED)


def test_the_tables_of_a_published_run_without_a_spec_stay() -> None:
    """Its records are lost: that is damage, not a run that never began."""
    lost = (SECOND.progress_root, SECOND.spec)
    store = holding({k: v for k, v in two_runs().items() if not k.startswith(lost)})
    before = everything(store)
    with pytest.raises(OrchestratorError, match=r"spec.json: it is gone"):
        clean(store)
    assert everything(store) == before
    assert verify_quarter(store, CHOSEN).damaged[0].key == SECOND.spec


def test_what_a_job_wrote_behind_a_cleaning_goes_by_name() -> None:
    """Else its run would be damaged for ever, and nothing of the quarter could be removed."""
    store = holding(two_runs())
    assert clean(store, OldRuns(named=("a-first",)))
    for key in (FIRST.progress(BATCH), FIRST.firm_topics_part(BATCH, 0)):
        store.put(key, two_runs()[key])
    with pytest.raises(OrchestratorError, match="verify"):
        clean(store)
    assert "--run a-first" in verify_quarter(store, CHOSEN).damaged[0].fix
    assert len(clean(store, OldRuns(named=("a-first",)))) == 2
    assert verify_quarter(store, CHOSEN, deep=True).faults == ()


def test_what_became_removable_since_it_was_shown_stays() -> None:
    """Somebody who agreed to one run has not agreed to the next."""
    store = open_store("memory://")
    do_all(plant_run(store, FIRMS, run_id="a-first", quarter=CHOSEN))
    shown = {each.key for each in find_removable(store, CHOSEN, REPLACED)}
    for key, data in two_runs().items():
        store.put(key, data)
    with pytest.raises(OrchestratorError, match="than was shown"):
        clean(store, REPLACED, shown=shown)
    assert everything(store) == two_runs()
    all_of_it = of_run(two_runs(), "a-first")
    assert set(clean(store, REPLACED, shown=all_of_it)) == all_of_it


def test_a_cleaning_that_was_killed_at_its_end_is_gone_on_with() -> None:
    """All that is left are its leases: they are shown, for else nobody would ask for another."""
    store = holding(two_runs())

    def kill(moment: str, key: str) -> None:
        if moment == "before delete" and key in (FIRST.lease, LAYOUT.checkpoint):
            raise Killed(key)

    store.hook = kill
    with pytest.raises(Killed):
        clean(store, REPLACED)
    store.hook = lambda _moment, _key: None
    for key in (FIRST.lease, LAYOUT.checkpoint):  # long ago
        lease = json.loads(store.get(key))["lease"] | {"expires": "2020-01-01T00:00:00+00:00"}
        store.put(key, encode_document({"lease": lease}))
    found = find_removable(store, CHOSEN)
    assert {each.key for each in found} == {FIRST.lease, LAYOUT.checkpoint}
    clean(store)
    assert {FIRST.lease, LAYOUT.checkpoint}.isdisjoint(everything(store))
    assert find_removable(store, CHOSEN) == []


def test_files_of_others_that_are_named_like_drafts_stay(tmp_path: Path) -> None:
    """A store may lie among a researcher's own files, and a copy of labels is hers."""
    store = open_store(f"file://{tmp_path}")
    for key, data in two_runs().items():
        store.put(key, data)
    labels = f"{FIRST.labels}#2"
    names = ("paper-2023Q1/draft#2", labels, LAYOUT.key("chunk_0009.parquet#1"))
    for path in (tmp_path / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
        os.utime(path, (time.time() - 3700,) * 2)
    assert [each.key for each in clean_quarter(store, CHOSEN, say=print)] == [names[2]]
    assert all((tmp_path / name).exists() for name in names[:2])
