"""`ftm clean`: what nothing reads goes, whatever is read stays, and a killed one goes on."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftm.care.clean import OldRuns, clean_quarter, find_removable
from ftm.care.verify import verify_quarter
from ftm.cli.main import cli
from ftm.core.errors import FtmError, LeaseHeldError, LeaseLostError, OrchestratorError
from ftm.core.layout import RunLayout, batch_id
from ftm.core.quarter import Quarter
from ftm.storage.lease import Writer
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased, peek_leased
from ftm.storage.run_records import BatchOutcome, JobRecord, StageOutcome, decode_spec
from tests.support.fake_source import FakeSource
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Clock,
    Killed,
    dead_writer,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
)

CHOSEN = Quarter.parse(QUARTER)
FIRMS = [(0, 1), (0, 1, 2), (0, 2), (1, 2)]
REPLACED = OldRuns(replaced=True)
BATCH = batch_id(CHOSEN, 0)
LABELS = RunLayout(CHOSEN, "a-first").labels


def submitted(stage: str, attempt: int = 1, batch: str = BATCH) -> bytes:
    """A record of jobs."""
    name = f"jobs-{stage}-{attempt}"
    return JobRecord(name=name, stage=stage, attempt=attempt, batch_ids=[batch]).encode()


def ended(stage: str, batch: str = BATCH) -> bytes:
    """How jobs ended."""
    failed = BatchOutcome(batch_id=batch, state="FAILED", exit_code=1)
    return StageOutcome(name=f"jobs-{stage}-1", batches=[failed]).encode()


@cache
def two_runs() -> dict[str, bytes]:
    """A quarter with a run that was published, with labels by hand, and one that replaced it."""
    store = open_store("memory://")
    for run_id in ("a-first", "b-second"):
        run = plant_run(store, FIRMS, run_id=run_id, quarter=CHOSEN)
        do_all(run)
        for stage in ("map", "reduce"):
            store.put(run.layout.jobs(stage, 1), submitted(stage))
        store.put(run.layout.outcome("reduce", 1), ended("reduce", "reduce"))
    store.put(LABELS, b"theme_id,name\n")
    return everything(store)


def holding(objects: dict[str, bytes]) -> ObjectStore:
    """A store of these objects."""
    store = open_store("memory://")
    for key, data in objects.items():
        store.put(key, data)
    return store


def clean(store: ObjectStore, old_runs: OldRuns | None = None, **given: Any) -> list[str]:
    """Keys that went; a clock that stands still and a process that later ones know to be dead."""
    defaults = {"say": lambda _line: None, "clock": Clock(), "new_identity": dead_writer}
    return [each.key for each in clean_quarter(store, CHOSEN, old_runs, **(defaults | given))]


def of_run(objects: dict[str, bytes], run_id: str) -> set[str]:
    """Keys of a run but for labels by hand."""
    return {key for key in objects if run_id in key and key != LABELS}


def test_where_all_is_read_nothing_goes() -> None:
    """A quarter in order is the same afterwards, its checkpoint included: there is none."""
    store = holding(two_runs())
    assert clean(store) == []
    assert everything(store) == two_runs()


def test_an_earlier_generation_goes_and_what_a_run_reads_does_not() -> None:
    """With the run that reads it, the generation goes, too; the new one is whole."""
    store = holding(two_runs())
    old = {key for key in two_runs() if key.startswith(f"{LAYOUT.root}/")} - {LAYOUT.manifest}
    prefetch(store, FakeSource(firms(3)), refresh=True, accept_losses=True, chunk=None, part=100)
    orphan = LAYOUT.key("gen=0002/chunk_0007.parquet")
    store.put(orphan, b"PAR1")
    before = everything(store)
    assert clean(store) == [orphan]
    runs = OldRuns(named=("a-first",))
    assert set(clean(store, runs)) == of_run(before, "a-first")
    assert old <= everything(store).keys()
    for other in ("_current.json", "themes_for_sentiment.parquet"):  # nothing is published now
        store.delete(next(key for key in everything(store) if key.endswith(other)))
    before = everything(store)
    assert set(clean(store, OldRuns(named=("b-second",)))) == of_run(before, "b-second") | old
    assert verify_quarter(store, CHOSEN, deep=True).faults == ()
    assert manifest(store).generation == 2


def test_a_run_that_was_replaced_goes_but_for_what_a_hand_made() -> None:
    """The published one is what it was, byte for byte."""
    store = holding(two_runs())
    gone = set(clean(store, REPLACED))
    assert gone == of_run(two_runs(), "a-first")
    assert everything(store) == {k: v for k, v in two_runs().items() if k not in gone}
    assert LABELS in everything(store)
    assert verify_quarter(store, CHOSEN, deep=True).faults == ()


def test_a_replaced_run_that_jobs_may_be_at_stays_unless_it_is_named() -> None:
    """Told with the way to remove it; its unlisted parts are its workers' own until then."""
    store = open_store("memory://")
    given = {"run_id": "a-first", "quarter": CHOSEN, "batch_size": 2, "incomplete": [1]}
    first = plant_run(store, FIRMS, **given)  # type: ignore[arg-type]
    store.put(first.layout.jobs("map", 1), submitted("map", batch=batch_id(CHOSEN, 1)))
    do_all(plant_run(store, FIRMS, run_id="b-second", quarter=CHOSEN))
    part = next(k for k in everything(store) if "firm-topics" in k and "a-first" in k)
    store.put(part.replace("_part_0000", "_part_0009"), b"PAR1")
    told: list[str] = []
    assert find_removable(store, CHOSEN, REPLACED, say=told.append) == []
    assert "`--run a-first` removes it" in told[0]
    before = everything(store)
    assert set(clean(store, OldRuns(named=("a-first",)))) == of_run(before, "a-first")


def test_a_replaced_run_that_was_never_submitted_goes() -> None:
    """Nobody can be at it."""
    store = open_store("memory://")
    plant_run(store, FIRMS, run_id="a-first", quarter=CHOSEN, incomplete=[0])
    do_all(plant_run(store, FIRMS, run_id="b-second", quarter=CHOSEN))
    before = everything(store)
    assert set(clean(store, REPLACED)) == of_run(before, "a-first")


def test_a_part_that_no_batch_of_a_complete_run_lists_goes() -> None:
    """A worker that died left it; the others stay."""
    part = next(k for k in two_runs() if "firm-topics" in k and "b-second" in k)
    stray = part.replace("_part_0000", "_part_0009")
    store = holding({**two_runs(), stray: b"PAR1"})
    assert clean(store) == [stray]
    assert everything(store) == two_runs()


@pytest.mark.parametrize(
    ("run_id", "message"),
    [("b-second", "is the one that readers"), ("c", "has no run c; its runs: a-first, b-second")],
)
def test_the_published_run_and_an_unknown_one_are_refused(run_id: str, message: str) -> None:
    """Before anything goes, the rest of what was asked for included."""
    store = holding(two_runs())
    with pytest.raises(OrchestratorError, match=message):
        clean(store, OldRuns(replaced=True, named=(run_id,)))
    assert everything(store) == two_runs()


@pytest.mark.parametrize("record", ["spec", "progress", "jobs"])
def test_a_run_whose_records_are_damaged_goes_by_name(record: str) -> None:
    """What it read is known by the others' records; the published one's results stay whole."""
    store = holding(two_runs())
    layout = RunLayout(CHOSEN, "a-first")
    keys = {"spec": layout.spec, "progress": layout.progress(BATCH), "jobs": layout.jobs("map", 1)}
    store.put(keys[record], b"{")
    with pytest.raises(FtmError, match="a-first"):
        clean(store)
    gone = set(clean(store, OldRuns(named=("a-first",))))
    assert gone == of_run(two_runs(), "a-first")
    assert verify_quarter(store, CHOSEN, deep=True).faults == ()


def test_where_something_is_damaged_nothing_goes() -> None:
    """What a record that cannot be read would have named must not look left over."""
    spec = RunLayout(CHOSEN, "a-first").manifest
    store = holding({**two_runs(), spec: b"{nonsense"})
    before = everything(store)
    with pytest.raises(FtmError, match="ftm verify --quarter 2023Q1"):
        clean(store)
    assert everything(store) == before


def test_tables_that_are_gone_stop_no_cleaning() -> None:
    """Parts of a map stage may expire by a rule of the bucket: what is left over can be told."""
    objects = dict(two_runs())
    for key in of_run(objects, "b-second"):
        if key.startswith("intermediate/firm-"):
            del objects[key]
    store = holding(objects)
    assert set(clean(store, REPLACED)) == of_run(objects, "a-first")


def test_a_run_that_was_not_to_be_published_is_replaced_by_none() -> None:
    """Another seed for an appendix goes by its name only."""
    store = holding(two_runs())
    key = RunLayout(CHOSEN, "a-first").spec
    spec = decode_spec(store.get(key), key=key)
    store.put(key, spec.model_copy(update={"publish": False}).encode())
    assert clean(store, REPLACED) == []
    assert set(clean(store, OldRuns(named=("a-first",)))) == of_run(two_runs(), "a-first")


def test_killed_anywhere_the_next_one_goes_on() -> None:
    """At every write and delete; what is published can be read all the while."""
    whole = holding(two_runs())
    clean(whole, REPLACED)
    n_kills = 0
    for moment in range(0, 200, 2):  # after a write is before the next
        store = holding(two_runs())
        try:
            with killed_at(store, moment):
                clean(store, REPLACED)
        except Killed:
            n_kills += 1
        else:
            break
        own = of_run(two_runs(), "b-second")
        assert {k: v for k, v in everything(store).items() if k in own} == {
            k: two_runs()[k] for k in own
        }
        assert verify_quarter(store, CHOSEN).damaged == []
        clean(store, REPLACED)
        assert everything(store) == everything(whole)
    assert n_kills > 20


@pytest.mark.parametrize("how", [{}, {"refresh": True}])
def test_an_unfinished_prefetch_keeps_what_it_has(how: dict[str, bool]) -> None:
    """Killed at any write and resumed after a cleaning, it ends as if it had not been killed."""
    whole = open_store("memory://")
    prefetch(whole, FakeSource(firms(9)), limit=4)
    begun = everything(whole)
    prefetch(whole, FakeSource(firms(9)), **how)
    clean(whole)
    n_kept = 0
    for moment in range(0, 60, 3):
        store = holding(begun)
        try:
            with killed_at(store, moment):
                prefetch(store, FakeSource(firms(9)), **how)
        except Killed:
            n_kept += bool(peek_leased(store, LAYOUT.checkpoint))
        before = peek_leased(store, LAYOUT.checkpoint)
        clean(store)
        assert peek_leased(store, LAYOUT.checkpoint) == before
        prefetch(store, FakeSource(firms(9)), **({} if manifest(store).generation > 1 else how))
        clean(store)
        assert everything(store) == everything(whole)
    assert n_kept > 5


@pytest.mark.parametrize("what", ["prefetch", "run", "run without a spec"])
def test_while_another_writes_nothing_goes(what: str) -> None:
    """It is named."""
    store, run = holding(two_runs()), RunLayout(CHOSEN, "a-first")
    new = RunLayout(CHOSEN, "c-third")
    place = {
        "prefetch": (LAYOUT.checkpoint, LAYOUT.lock_name),
        "run": (run.lease, run.lock_name),
        "run without a spec": (new.lease, new.lock_name),
    }[what]
    held = open_leased(
        store,
        place[0],
        lock_name=place[1],
        writer=Writer("ann", "elsewhere", 7, "nonce"),
        clock=Clock(),
        say=lambda _line: None,
    )
    held.acquire()
    before = everything(store)
    with pytest.raises(LeaseHeldError, match="ann on host elsewhere"):
        clean(store, REPLACED)
    assert everything(store).keys() == before.keys()


def test_after_a_sleep_nothing_more_goes() -> None:
    """The leases are looked at before every object."""
    store, clock, deleted = holding(two_runs()), Clock(), []

    def sleep(moment: str, key: str) -> None:
        if moment == "after delete" and not key.endswith("_probe"):
            deleted.append(key)
            clock.advance(minutes=20)

    store.hook = sleep
    with pytest.raises(LeaseLostError):
        clean(store, REPLACED, clock=clock)
    assert len(deleted) == 1


def test_drafts_of_killed_puts_go_once_they_are_old(tmp_path: Path) -> None:
    """They are listed nowhere; one that a living writer may be at stays."""
    store = open_store(f"file://{tmp_path}")
    for key, data in two_runs().items():
        store.put(key, data)
    names = ("chunk_0009.parquet#1", "chunk_0009.parquet#22", "chunk_#1_0009.parquet")
    old, young, own = (tmp_path / LAYOUT.root / name for name in names)
    for path in (old, young, own):
        path.write_bytes(b"PAR1")
    an_hour_ago = time.time() - 3700
    for path in (old, own):
        os.utime(path, (an_hour_ago, an_hour_ago))
    assert LAYOUT.key(old.name) not in everything(store)
    own.unlink()
    assert clean(store) == [LAYOUT.key(old.name)]
    assert (old.exists(), young.exists()) == (False, True)


def test_the_command_shows_first_and_removes_when_told(tmp_path: Path) -> None:
    """Off a terminal `--yes` is needed; afterwards there is nothing to remove."""
    store = open_store(f"file://{tmp_path}")
    for key, data in two_runs().items():
        store.put(key, data)
    command = ["clean", "--quarter", QUARTER, "--store", store.url, "--old-runs"]
    shown = CliRunner().invoke(cli, command)
    n = len(of_run(two_runs(), "a-first"))
    assert shown.output.startswith(f"{n} objects, ")
    assert shown.output.endswith("nothing is removed yet: --yes removes it\n")
    assert everything(store) == two_runs()
    done = CliRunner().invoke(cli, [*command, "--yes"])
    assert done.exit_code == 0
    assert f"{n} objects" in done.output.splitlines()[-1]
    assert CliRunner().invoke(cli, command).output == "there is nothing to remove\n"
    told = CliRunner().invoke(cli, [*command, "--json"])
    assert told.output == '{\n "found": [],\n "n_removed": 0\n}\n'
