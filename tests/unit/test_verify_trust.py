"""`ftm verify` sends nobody the wrong way: no sound file called rubbish, no kill called damage."""

from __future__ import annotations

from typing import Any

import pytest
from obstore.store import MemoryStore

from ftm.analysis.attempt_records import find_attempt
from ftm.care.faults import Fault, Grade, Inventory, Verification
from ftm.care.verify import verify_quarter
from ftm.care.verify_session import named_by_session, verify_session
from ftm.core.errors import CorruptObjectError, ManifestVersionError
from ftm.core.layout import RunLayout
from ftm.storage.checkpoint import CHECKPOINT_VERSION, Session, decode_session
from ftm.storage.claims import claimed_jobs
from ftm.storage.lease import encode_document
from ftm.storage.object_store import ObjectStore, RetryPolicy, open_store
from ftm.storage.open_lease import peek_leased
from ftm.storage.run_records import (
    BatchOutcome,
    JobClaim,
    JobRecord,
    ModelClaim,
    StageOutcome,
    decode_progress,
)
from tests.support.fake_source import FakeSource
from tests.support.planted_run import RUN_ID
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Killed,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
)
from tests.unit.test_verify import (
    NEXT,
    damaged_keys,
    found_in,
    holding,
    packaged,
    prefetched,
)

RUN = RunLayout(LAYOUT.quarter, RUN_ID)


def refreshed() -> tuple[dict[str, bytes], list[str]]:
    """A quarter with a run, refreshed since; and the files that only the run still reads."""
    store = holding(packaged())
    files = manifest(store)
    read = [files.plan.file, *files.chunks, *files.components]
    prefetch(store, FakeSource(firms(3)), refresh=True, accept_losses=True, chunk=None, part=100)
    return everything(store), [LAYOUT.key(file) for file in read]


def told_of(found: Verification, key: str) -> list[Fault]:
    """What is said of an object."""
    return [fault for fault in found.faults if fault.key == key]


def flipped(data: bytes, at: int = 40) -> bytes:
    """With one bit changed."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_what_a_run_without_its_spec_reads_is_not_rubbish() -> None:
    """Its copy of the manifest says what it reads; the spec may come back from a backup."""
    objects, read = refreshed()
    found = found_in({k: v for k, v in objects.items() if k != RUN.spec})
    assert RUN.spec in damaged_keys(found)
    assert [told_of(found, key) for key in read] == [[]] * len(read)


@pytest.mark.parametrize("data", [b"{nonsense", None])
def test_what_a_run_might_read_is_to_be_kept(data: bytes | None) -> None:
    """Its copy of the manifest is damaged or gone: nobody is told that the files may be deleted."""
    objects, read = refreshed()
    rest = {k: v for k, v in objects.items() if k != RUN.manifest}
    found = found_in(rest if data is None else {**rest, RUN.manifest: data})
    assert RUN.manifest in damaged_keys(found)
    for key in read:
        (fault,) = told_of(found, key)
        assert fault.fix.startswith(f"keep it as long as run {RUN_ID} matters")


@pytest.mark.parametrize("what", ["checkpoint", "manifest"])
def test_what_a_newer_ftm_wrote_is_not_damaged(what: str) -> None:
    """Neither deleting nor refreshing is advised: it is that ftm's, whole and of use."""
    objects = dict(prefetched())
    if what == "manifest":
        objects[LAYOUT.manifest] = b'{"schema_version": 99}'
    else:
        newer = {"checkpoint_version": CHECKPOINT_VERSION + 1, "session": {"strange": True}}
        objects[LAYOUT.checkpoint] = encode_document(newer)
    with pytest.raises(ManifestVersionError, match="install the ftm that wrote it"):
        found_in(objects)


def test_a_file_put_after_the_listing_is_not_gone() -> None:
    """A prefetch that publishes meanwhile loses nothing."""
    store = holding({LAYOUT.key("chunk_0000.parquet"): b"PAR1"})
    inventory = Inventory(store, deep=False)
    inventory.list(LAYOUT.root)
    late = LAYOUT.key("chunk_0001.parquet")
    store.put(late, b"PAR1 PAR1")
    assert inventory.size(late) == 9
    assert inventory.size(LAYOUT.key("chunk_0002.parquet")) is None


def test_a_part_that_a_killed_worker_was_completing_is_a_note() -> None:
    """The record has the hash of what was there before; the next worker does its firms again."""
    objects = dict(packaged())
    key = next(k for k in objects if k.startswith(RUN.progress_root) and k.endswith(".json"))
    record = decode_progress(objects[key], key=key)
    others = dict.fromkeys(record.parts, "0" * 64)
    changes: dict[str, Any] = {"parts": {}, "partial": others, "kept": record.done}
    cut = record.model_copy(update=changes | {"done": [], "complete": False})
    found = found_in({**objects, key: cut.encode()})
    assert found.damaged == []
    notes = [fault for fault in found.faults if fault.grade is Grade.NOTE]
    assert {fault.key for fault in notes} == set(others)
    assert "computes it again" in notes[0].fix


def test_a_batch_that_was_reduced_and_has_no_record_is_damage() -> None:
    """Its parts look like a dead worker's; before stage reduce it may just not have begun."""
    objects = packaged()
    key = next(k for k in objects if k.startswith(RUN.progress_root) and k.endswith(".json"))
    rest = {k: v for k, v in objects.items() if k != key}
    assert damaged_keys(found_in(rest, deep=False)) == {key}
    del rest[RUN.stage_record("reduce")]
    assert damaged_keys(found_in(rest, deep=False)) == set()


def test_an_old_generation_that_a_run_reads_is_verified_too() -> None:
    """Its plan, its sizes and, if deep, its bytes: the run and its tables stand on them."""
    objects, read = refreshed()
    for key in read:
        deep = found_in({**objects, key: flipped(objects[key])})
        short = found_in({**objects, key: objects[key][:-1]}, deep=False)
        gone = found_in({k: v for k, v in objects.items() if k != key}, deep=False)
        ends = f"and run {RUN_ID} reads it"
        assert [(f.key, f.what) for f in deep.damaged] == [
            (key, f"its bytes are not those recorded, {ends}")
        ]
        assert [(f.key, f.what) for f in gone.damaged] == [(key, f"it is gone, {ends}")]
        if "calls" not in key:
            assert damaged_keys(short) == {key}


def test_a_file_of_the_current_generation_is_told_once_with_what_repairs_it() -> None:
    """A new run, as for an older generation, would stop at the same file."""
    key = LAYOUT.key("chunk_0000.parquet")
    found = found_in({k: v for k, v in packaged().items() if k != key})
    assert [fault.fix for fault in found.damaged] == [
        f"`ftm verify --quarter {QUARTER} --deep --repair`"
    ]


def small_records() -> dict[str, bytes]:
    """What a run on AWS Batch leaves besides its batches' progress."""
    job = JobRecord(name="ftm-1", stage="map", attempt=1, batch_ids=["2023Q1_batch_0000"])
    ended = StageOutcome(name="ftm-1", batches=[BatchOutcome(batch_id="b", state="succeeded")])
    return {
        RUN.jobs("map", 1): job.encode(),
        RUN.outcome("map", 1): ended.encode(),
        RUN.job_claim("map", 1): JobClaim(job_id="1-2").encode(),
        RUN.model_claim: ModelClaim(model={}, ftm_version="1").encode(),
        RUN.lease: encode_document({}),
    }


def test_every_small_record_of_a_run_is_read() -> None:
    """A command would stop at a damaged one, so verify does not call the run in order."""
    records = small_records()
    objects = {**packaged(), **records}
    assert found_in(objects, deep=False).damaged == []
    for key, data in records.items():
        found = found_in({**objects, key: data.replace(b"{", b"[", 1)}, deep=False)
        (fault,) = found.damaged
        assert (fault.key, bool(fault.fix)) == (key, True)


@pytest.mark.parametrize("key", [RUN.jobs("map", 1), RUN.job_claim("map", 1)])
def test_no_fix_is_a_command_that_stops_at_the_same_record(key: str) -> None:
    """`ftm cancel`, `watch` and `logs` find jobs by these; with one deleted they go on."""
    store = holding({**packaged(), **small_records(), key: b"{nonsense"})
    with pytest.raises(CorruptObjectError, match="; delete it and run the same command again"):
        (find_attempt(store, RUN, "local"), claimed_jobs(store, RUN, stage="map", attempt=1))
    (fault,) = told_of(verify_quarter(store, QUARTER), key)
    assert "ftm" not in fault.fix
    store.delete(key)
    attempt, claim = (
        find_attempt(store, RUN, "local"),
        claimed_jobs(store, RUN, stage="map", attempt=1),
    )
    assert [attempt is None, claim is None].count(True) == 1


def test_a_fix_is_a_command_that_can_be_typed() -> None:
    """`ftm link` asks for its quarters; what writes again says so once."""
    objects = packaged()
    words = ("series/", "assigned/")
    tables = ("/series.", "/panel_calls")
    keys = [k for k in objects if k.startswith(words) and str(NEXT) in k]
    keys = [k for k in keys if any(table in k for table in tables)]
    for key in keys:
        found = found_in({k: v for k, v in objects.items() if k != key}, NEXT)
        (fault,) = told_of(found, key)
        assert ("--quarters" in fault.fix) == key.startswith("series/")
        assert fault.fix.count("writes it again") == 1
    assert len(keys) == 2


class Stale(ObjectStore):
    """Answers each first question for a key's bytes with other ones, as a bad cache does."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(
            MemoryStore(), url="s3://bucket", scheme="s3", retry=RetryPolicy(wait_s=0.0)
        )
        for key, data in objects.items():
            self._backend.put(key, data)
        self.asked: set[str] = set()

    def _first(self, key: str) -> bool:
        is_first = key.endswith("_0000.parquet") and key not in self.asked
        self.asked.add(key)
        return is_first

    def get(self, key: str) -> bytes:
        """The first answer is another's."""
        data = super().get(key)
        return flipped(data) if self._first(key) else data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """The first answer is another's."""
        data = super().get_range(key, start, length)
        return flipped(data) if self._first(key) else data


@pytest.mark.parametrize("deep", [False, True])
def test_one_wrong_answer_is_no_damage(deep: bool) -> None:
    """As for every other reader; --repair would ask WRDS for a login otherwise."""
    assert verify_quarter(Stale(prefetched()), QUARTER, deep=deep).damaged == []


def unfinished() -> tuple[dict[str, bytes], Session]:
    """A prefetch that was killed with a closed chunk and open parts."""
    store = open_store("memory://")
    with pytest.raises(Killed), killed_at(store, 44):
        prefetch(store, FakeSource(firms(11)))
    session = decode_session(peek_leased(store, LAYOUT.checkpoint), key="")
    assert session is not None
    assert session.chunks
    assert session.parts
    return everything(store), session


def test_what_is_durable_of_an_unfinished_prefetch_is_verified() -> None:
    """It will be published as it is, or stop the command that goes on with it."""
    objects, session = unfinished()
    assert found_in(objects).damaged == []
    for key in named_by_session(LAYOUT, session):
        rest = {k: v for k, v in objects.items() if k != key}
        assert damaged_keys(found_in(rest, deep=False)) == {key}
        assert damaged_keys(found_in({**objects, key: flipped(objects[key])})) == {key}


def test_a_part_that_became_a_chunk_meanwhile_is_not_gone() -> None:
    """A prefetch at work unnames parts before it deletes them: the checkpoint is asked again."""
    objects, session = unfinished()
    store = holding(objects)
    inventory = Inventory(store, deep=True)
    prefetch(store, FakeSource(firms(11)))
    assert list(verify_session(inventory, LAYOUT, session)) == []


def test_a_lost_manifest_comes_back_from_a_run() -> None:
    """Gone, not never there: the files are, and the newest copy that a run holds is named."""
    objects, _ = refreshed()
    store = holding(objects)
    whole = objects[LAYOUT.manifest]
    newer = RunLayout(LAYOUT.quarter, "a-newer-run")
    store.put(newer.manifest, whole)
    store.delete(LAYOUT.manifest)
    found = verify_quarter(store, QUARTER)
    assert f"by a copy of {newer.manifest}; " in told_of(found, LAYOUT.manifest)[0].fix
    store.put(LAYOUT.manifest, b"{nonsense")
    found = verify_quarter(store, QUARTER)
    assert f"by a copy of {newer.manifest}; " in told_of(found, LAYOUT.manifest)[0].fix
    store.put(LAYOUT.manifest, store.get(newer.manifest))
    assert verify_quarter(store, QUARTER).damaged == []
