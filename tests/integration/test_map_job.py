"""The map stage of a batch, in process: parts, progress, resuming, failures, stopping."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count

import pyarrow as pa
import pytest

from ftm.connectors.base import InMemoryConnector
from ftm.core.errors import (
    CircuitBreakerError,
    ConfigError,
    CorruptObjectError,
    LeaseLostError,
    ModelNotFoundError,
    StoreError,
    TopicModelError,
    UnknownFirmError,
)
from ftm.core.layout import RunLayout
from ftm.core.records import FirmTranscriptData, TranscriptData
from ftm.core.schemas import FIRM_SENTENCES
from ftm.jobs.worker_log import read_count
from ftm.mapping.batch_ledger import BatchLedger
from ftm.mapping.circuit_breaker import BreakerSettings
from ftm.mapping.firm_processor import FirmProcessor
from ftm.mapping.map_job import MapOptions, run_map
from ftm.mapping.stage_clock import StageClock
from ftm.mapping.stop_signal import StopSignal
from ftm.orchestrate.batches import plan_batches
from ftm.orchestrate.run_watch import view_batches
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.run_records import BatchLine, BatchProgress, decode_progress
from ftm.topics.base import Embedder, FloatArray, InlinePool, TopicPool
from ftm.topics.noop import NoOpEmbedder, NoOpTopicModel
from tests.support.business_firms import QUARTER, make_firms
from tests.support.models import LazyPool, ScriptedEmbedder
from tests.support.runs import listed_tables, make_lines, read_progress, written

LAYOUT = RunLayout(QUARTER, "run-a")
FIRMS = make_firms(23, n_sentences=25)
IDS = [f.firm_id for f in FIRMS]
START = datetime(2023, 4, 3, 12, tzinfo=UTC)
PART = 5
TOLERANT = BreakerSettings(max_consecutive=50, max_rate=1.0)


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


def batch(firm_ids: Sequence[str] = IDS, number: int = 0) -> BatchLine:
    """One batch of these firms."""
    return BatchLine(
        batch_id=f"2023Q1_batch_{number:04d}", quarter="2023Q1", firm_ids=list(firm_ids)
    )


def run(
    store: ObjectStore,
    line: BatchLine | None = None,
    *,
    layout: RunLayout = LAYOUT,
    firms: Sequence[FirmTranscriptData] = FIRMS,
    embedder: Embedder | None = None,
    pool: TopicPool | None = None,
    part_firms: int = PART,
    unavailable: dict[str, str] | None = None,
    **options: object,
) -> BatchProgress:
    """One attempt at a batch."""
    ledger = BatchLedger(
        store, layout, line or batch(), part_firms=part_firms, unavailable=unavailable or {}
    )

    def make_processor(clock: StageClock) -> FirmProcessor:
        return FirmProcessor(
            embedder or NoOpEmbedder(), pool or LazyPool(), timestamp=START, clock=clock
        )

    return run_map(
        ledger,
        source=InMemoryConnector(TranscriptData({f.firm_id: f for f in firms})),
        make_processor=make_processor,
        options=MapOptions(**{"breaker": TOLERANT, **options}),  # type: ignore[arg-type]
    )


def guarded() -> ObjectStore:
    """A store in which overwriting a listed part is an error (the part is then not immutable)."""
    store = open_store("memory://")
    guard(store)
    return store


def guard(store: ObjectStore, then: Callable[[str, str], None] | None = None) -> None:
    """Check at every write that no listed part is replaced; then call `then`."""

    def hook(moment: str, key: str) -> None:
        store.hook = lambda *_: None
        if moment == "before put" and key.endswith(".parquet"):
            for info in store.list(LAYOUT.progress_root):
                assert key not in decode_progress(store.get(info.key), key=info.key).parts, key
        store.hook = hook
        if then is not None:
            then(moment, key)

    store.hook = hook


def killing_at(n: int) -> Callable[[str, str], None]:
    """Raises at the n-th write event."""
    events = count()

    def hook(_moment: str, _key: str) -> None:
        if next(events) == n:
            raise Killed

    return hook


def stop_after(n_asked: int) -> Callable[[], bool]:
    """Says no so many times, then yes for ever."""
    asked = count()
    return lambda: next(asked) >= n_asked


def bad_texts(*numbers: int) -> list[str]:
    """A text of each of these firms, by which a scripted embedder knows them."""
    return [FIRMS[n].sentences[2].raw_text for n in numbers]


@pytest.fixture(scope="module")
def clean() -> dict[str, bytes]:
    """What an undisturbed run writes."""
    store = guarded()
    run(store)
    return written(store, LAYOUT)


def test_part_n_holds_the_nth_slice_of_the_batch() -> None:
    """Firms of a part are those of the batch line's slice, in its order, not the source's."""
    store = guarded()
    shuffled = IDS[::-1]
    progress = run(store, batch(shuffled))
    assert progress.complete
    assert progress.done == shuffled
    for n in range(5):
        key = LAYOUT.firm_sentences_part("2023Q1_batch_0000", n)
        table = from_bytes(store.get(key), FIRM_SENTENCES)
        assert list(dict.fromkeys(table["firm_id"].to_pylist())) == shuffled[5 * n : 5 * n + 5]


def test_progress_lists_every_part_with_its_hash(clean: dict[str, bytes]) -> None:
    """The record of a finished batch names ten files, each by its sha256, and nothing else."""
    key = LAYOUT.progress("2023Q1_batch_0000")
    progress = decode_progress(clean[key], key=key)
    assert progress.complete
    assert (progress.partial, progress.failed, progress.skipped) == ({}, {}, {})
    files = {k: sha256(v).hexdigest() for k, v in clean.items() if k != key}
    assert progress.parts == files
    assert len(files) == 10


def test_killed_at_any_write_and_rerun_gives_the_same_bytes(clean: dict[str, bytes]) -> None:
    """Invariant 5 for map: every write boundary, and a second kill while resuming."""
    n_killed = 0
    for n in count():
        store = guarded()
        guard(store, killing_at(n))
        try:
            run(store)
        except Killed:
            n_killed += 1
        else:
            break
        guard(store, killing_at(3))
        with suppress(Killed):  # a kill at the last writes leaves fewer than four
            run(store)
        guard(store)
        run(store)
        assert written(store, LAYOUT) == clean
    assert n_killed == 30  # five parts: two files and a record each, before and after


def test_a_stop_keeps_what_is_done_and_resumes_to_the_same_bytes(clean: dict[str, bytes]) -> None:
    """Invariant 9: a part cut short is read back, completed and replaced before it is listed."""
    for n_asked in range(1, 30, 3):
        store = guarded()
        embedder = ScriptedEmbedder()
        pool = InlinePool(NoOpTopicModel())
        first = run(store, embedder=embedder, pool=pool, stopping=stop_after(n_asked))
        assert not first.complete
        assert not set(first.partial) & set(first.parts)
        assert bool(first.kept) == bool(first.partial)
        assert first.kept == IDS[len(first.done) : len(first.done) + len(first.kept)]
        (shown,) = view_batches([batch()], {batch().batch_id: first})
        assert shown.n_done == len(first.done) + len(first.kept)
        run(store, embedder=embedder)
        assert len(embedder.calls) == len(FIRMS)  # no firm was computed twice
        assert written(store, LAYOUT) == clean


def test_killed_while_completing_a_cut_part_gives_the_same_bytes(clean: dict[str, bytes]) -> None:
    """A half-replaced part is told by its hash and computed again."""
    for n in range(12):
        store = guarded()
        assert run(store, pool=InlinePool(NoOpTopicModel()), stopping=stop_after(15)).partial
        guard(store, killing_at(n))
        with pytest.raises(Killed):
            run(store)
        guard(store)
        run(store)
        assert written(store, LAYOUT) == clean


def test_killed_while_flushing_a_stop_gives_the_same_bytes(clean: dict[str, bytes]) -> None:
    """SIGKILL in the middle of the SIGTERM flush loses nothing that was listed."""
    for n in range(6, 12):
        store = guarded()
        guard(store, killing_at(n))
        with pytest.raises(Killed):
            run(store, pool=InlinePool(NoOpTopicModel()), stopping=stop_after(15))
        guard(store)
        run(store)
        assert written(store, LAYOUT) == clean


def test_a_stop_waits_for_no_clustering(clean: dict[str, bytes]) -> None:
    """Firms queued in the pool are dropped and done by the rerun: SIGKILL is seconds away."""
    store, waited = guarded(), []
    asked = stop_after(12)
    stopped: list[bool] = []

    def stopping() -> bool:
        stopped.append(asked())
        return stopped[-1]

    class Watched(LazyPool):
        def wait(self) -> None:
            waited.append(stopped[-1])

    progress = run(store, pool=Watched(), stopping=stopping)
    assert not progress.complete
    assert stopped[-1]
    assert waited
    assert not any(waited)
    run(store)
    assert written(store, LAYOUT) == clean


def test_a_signal_breaks_off_embedding_and_keeps_what_is_done(clean: dict[str, bytes]) -> None:
    """SIGTERM in the middle of a firm ends it there; the firms before it are in a partial part."""
    store, stop = guarded(), StopSignal()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    went_on: list[bool] = []

    class Interrupted(NoOpEmbedder):
        def encode(self, texts: Sequence[str]) -> FloatArray:
            if FIRMS[7].sentences[1].raw_text in texts:
                signal.raise_signal(signal.SIGTERM)
                went_on.append(True)
            return super().encode(texts)

    stop.listen()
    try:
        pool = InlinePool(NoOpTopicModel())
        progress = run(
            store, embedder=Interrupted(), pool=pool, stopping=stop, droppable=lambda: stop
        )
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert not went_on
    assert progress.done == IDS[:5]
    assert sorted(progress.partial) == sorted(_part_keys(1))
    assert progress.failed == {}
    run(store)
    assert written(store, LAYOUT) == clean


def _part_keys(number: int) -> tuple[str, str]:
    name = "2023Q1_batch_0000"
    return LAYOUT.firm_topics_part(name, number), LAYOUT.firm_sentences_part(name, number)


def test_the_log_counts_firms_every_few_seconds(caplog: pytest.LogCaptureFixture) -> None:
    """At most a line every two seconds, the first and the last always, skipped firms included."""
    seconds = count(0, 0.25)
    caplog.set_level("INFO", "ftm.mapping.map_job")
    run(guarded(), unavailable={IDS[3]: "operator_only"}, now_s=lambda: next(seconds))
    counts = [read_count(f"INFO {m}") for m in caplog.messages if m.startswith("progress: ")]
    known = [n for n in counts if n is not None]
    assert known == sorted(known)
    assert (known[0], known[-1]) == (1, len(FIRMS))
    assert 4 < len(counts) < len(FIRMS) / 2


def test_the_pools_speed_changes_no_byte(clean: dict[str, bytes]) -> None:
    """Results that are there at once, or late, with any look-ahead, give the same files."""
    for look_ahead in (1, 2, 50):
        store = guarded()
        run(store, look_ahead=look_ahead)
        assert written(store, LAYOUT) == clean
    store = guarded()
    run(store, pool=InlinePool(NoOpTopicModel()))
    assert written(store, LAYOUT) == clean


def test_the_look_ahead_is_bounded_and_the_pool_closed() -> None:
    """No more firms than allowed are embedded before the oldest one is waited for."""
    store = guarded()
    embedder, pool = ScriptedEmbedder(), LazyPool()
    n_embedded: list[int] = []
    guard(store, lambda _moment, _key: n_embedded.append(len(embedder.calls)))
    run(store, embedder=embedder, pool=pool, look_ahead=3)
    assert n_embedded[0] == PART + 3
    assert pool.closed


def test_batch_size_and_order_change_no_firms_topics() -> None:
    """Invariant 8: batches of 50, of 7 or of 23 in any order give each firm the same rows."""

    def tables(ids: Sequence[str], size: int) -> dict[str, tuple[pa.Table, pa.Table]]:
        store = guarded()
        lines = make_lines(ids, batch_size=size, quarter=QUARTER)
        for line in lines:
            run(store, line)
        topics, sentences = listed_tables(store, LAYOUT, [line.batch_id for line in lines])
        return {f: (_of(topics, f), _of(sentences, f)) for f in IDS}

    wanted = tables(IDS, 50)
    assert tables(IDS, 7) == wanted
    assert tables(IDS[::-1], 23) == wanted
    assert tables(IDS[1::2] + IDS[::2], 7) == wanted


def test_invariant_8_batches_of_50_and_of_200_give_identical_topics() -> None:
    """210 firms in two chunks, batched as `ftm run-quarter` does: the same rows for every firm."""
    firms = make_firms(210, n_sentences=32)
    ids = [firm.firm_id for firm in firms]
    chunks = {"chunk_0000.parquet": ids[:200], "chunk_0001.parquet": ids[200:]}

    def tables(size: int) -> tuple[list[int], pa.Table, pa.Table]:
        store = guarded()
        lines = plan_batches(QUARTER, chunks, batch_size=size)
        for line in lines:
            run(store, line, firms=firms, part_firms=50, pool=InlinePool(NoOpTopicModel()))
        topics, sentences = listed_tables(store, LAYOUT, [line.batch_id for line in lines])
        return [len(line.firm_ids) for line in lines], topics, sentences

    sizes, topics, sentences = tables(200)
    assert sizes == [200, 10]
    assert sentences.num_rows == 210 * 32
    assert len(set(topics["firm_id"].to_pylist())) == 210
    smaller, *same = tables(50)
    assert smaller == [50, 50, 50, 50, 10]
    assert [table.combine_chunks() for table in same] == [
        table.combine_chunks() for table in (topics, sentences)
    ]


def _of(table: pa.Table, firm_id: str) -> pa.Table:
    return table.filter(pa.compute.equal(table["firm_id"], firm_id)).combine_chunks()


def test_one_bad_firm_is_recorded_and_tried_again(clean: dict[str, bytes]) -> None:
    """Invariant 7: the batch goes on; a rerun that succeeds leaves no trace of the failure."""
    store = guarded()
    progress = run(store, embedder=ScriptedEmbedder(bad_texts(7)))
    assert progress.complete
    assert list(progress.failed) == [IDS[7]]
    assert progress.failed[IDS[7]].startswith("RuntimeError: the embedder was told to fail")
    assert progress.done == [f for f in IDS if f != IDS[7]]
    again = ScriptedEmbedder()
    assert run(store, embedder=again).failed == {}
    assert len(again.calls) == 1  # the rows of the others were read back
    assert written(store, LAYOUT) == clean


def test_a_firm_that_fails_again_leaves_the_batch_as_it_was() -> None:
    """Retrying in vain changes not a byte, however many firms fail in a row."""
    store = guarded()
    embedder = ScriptedEmbedder(bad_texts(3, 4, 11, 12, 13))
    run(store, embedder=embedder)
    before = written(store, LAYOUT)
    limits = BreakerSettings(max_consecutive=4, max_rate=1.0)
    assert run(store, embedder=embedder, breaker=limits).complete
    assert written(store, LAYOUT) == before


def test_killed_while_mending_failures_gives_the_same_bytes(clean: dict[str, bytes]) -> None:
    """A repair that dies at any write ends, rerun, like a run that never failed."""
    for n in range(16):
        store = guarded()
        run(store, embedder=ScriptedEmbedder(bad_texts(2, 14)))
        guard(store, killing_at(n))
        with pytest.raises(Killed):
            run(store)
        guard(store)
        run(store)
        assert written(store, LAYOUT) == clean


def test_failures_in_a_row_stop_the_batch_and_are_recorded() -> None:
    """The breaker trips at the fifth, what was done stays, and the record says why."""
    store = guarded()
    embedder = ScriptedEmbedder(bad_texts(*range(6, 23)))
    with pytest.raises(CircuitBreakerError, match="5 firms in a row"):
        run(store, embedder=embedder, breaker=BreakerSettings())
    progress = read_progress(store, LAYOUT, "2023Q1_batch_0000")
    assert not progress.complete
    assert progress.done == IDS[:6]
    assert list(progress.failed) == IDS[6:11]
    assert len(embedder.calls) == 11


def test_the_breaker_counts_the_same_after_a_kill() -> None:
    """Failures far apart do not add up to a row because the batch was resumed."""
    embedder = ScriptedEmbedder(bad_texts(1, 3, 6, 8, 11))
    limits = BreakerSettings(max_consecutive=3, max_rate=1.0)
    store = guarded()
    guard(store, killing_at(20))
    with pytest.raises(Killed):
        run(store, embedder=embedder, breaker=limits)
    guard(store)
    assert run(store, embedder=embedder, breaker=limits).complete


def test_the_breaker_counts_on_after_a_stop() -> None:
    """Firms read back from a part cut short count as done, and failures after them trip."""
    store = guarded()
    run(store, stopping=stop_after(10))
    embedder = ScriptedEmbedder(bad_texts(*range(12, 23)))
    with pytest.raises(CircuitBreakerError, match="3 firms in a row"):
        run(store, embedder=embedder, breaker=BreakerSettings(max_consecutive=3))
    assert list(read_progress(store, LAYOUT, "2023Q1_batch_0000").failed) == IDS[12:15]


class Overtaken(NoOpEmbedder):
    """While it embeds a firm, another worker does something to the same batch."""

    def __init__(self, number: int, meanwhile: Callable[[], object]) -> None:
        self._text = FIRMS[number].sentences[1].raw_text
        self._meanwhile = meanwhile
        self.overtaken = False

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """See Embedder."""
        if self._text in texts and not self.overtaken:
            self._meanwhile()
            self.overtaken = True
        return super().encode(texts)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_worker_leaves_a_batch_that_another_has_done_meanwhile(
    stopped: bool, clean: dict[str, bytes]
) -> None:
    """Stopped or going on, the late worker writes nothing over the other's parts and record."""
    store = guarded()
    late = Overtaken(7, lambda: run(store))
    pool = InlinePool(NoOpTopicModel())
    with pytest.raises(LeaseLostError, match="another worker does 2023Q1_batch_0000 of run run-a"):
        run(store, embedder=late, pool=pool, stopping=lambda: stopped and late.overtaken)
    assert written(store, LAYOUT) == clean


def test_of_two_workers_the_one_that_wrote_first_goes_on(clean: dict[str, bytes]) -> None:
    """One that finds a record where it knew of none leaves; the batch ends as if done by one."""
    store = guarded()
    inline = InlinePool(NoOpTopicModel())
    late = Overtaken(3, lambda: run(store, pool=inline, stopping=stop_after(15)))
    with pytest.raises(LeaseLostError):
        run(store, embedder=late)
    progress = read_progress(store, LAYOUT, "2023Q1_batch_0000")
    assert 0 < len(progress.done) < len(IDS)
    run(store)
    assert written(store, LAYOUT) == clean


def test_two_first_records_at_one_moment_do_not_replace_each_other() -> None:
    """Between the look at the record and its write another may come: the write is conditional."""
    store = open_store("memory://")
    record = LAYOUT.progress("2023Q1_batch_0000")
    other = BatchProgress(batch_id="2023Q1_batch_0000", done=IDS[:5]).encode()

    def hook(moment: str, key: str) -> None:
        if (moment, key) == ("before put", record):
            store.hook = lambda *_: None
            store.put(record, other)

    store.hook = hook
    with pytest.raises(LeaseLostError):
        run(store)
    assert store.get(record) == other


@pytest.mark.parametrize("n_asked", range(1, 6))
def test_a_stop_while_failed_firms_are_tried_again_keeps_their_parts_listed(n_asked: int) -> None:
    """What was readable stays so: the batch is complete but for the firms that had failed."""
    store = guarded()
    run(store, embedder=ScriptedEmbedder(bad_texts(7, 8)))
    before = written(store, LAYOUT)
    run(store, stopping=stop_after(n_asked))
    assert written(store, LAYOUT) == before


def test_a_retry_that_trips_the_breaker_keeps_the_parts_listed() -> None:
    """One of two failed firms fails again and ends the batch; its record is as it was."""
    store = guarded()
    run(store, embedder=ScriptedEmbedder(bad_texts(7, 8)))
    before = written(store, LAYOUT)
    with pytest.raises(CircuitBreakerError):
        run(
            store,
            embedder=ScriptedEmbedder(bad_texts(7)),
            breaker=BreakerSettings(allow_failures=False),
        )
    assert written(store, LAYOUT) == before


def test_what_dies_of_the_stop_is_not_a_failure(clean: dict[str, bytes]) -> None:
    """A firm whose clustering the signal killed is left for the rerun, not recorded as failed."""
    store = guarded()
    asked = stop_after(9)
    stopped: list[bool] = []

    def stopping() -> bool:
        stopped.append(asked())
        return stopped[-1]

    class Dying(LazyPool):
        def wait(self) -> None:
            if stopped and stopped[-1]:
                raise TopicModelError("a clustering worker died")

    progress = run(store, pool=Dying(), stopping=stopping)
    assert not progress.complete
    assert progress.failed == {}
    run(store)
    assert written(store, LAYOUT) == clean


def test_a_batch_in_which_every_firm_failed_is_an_error() -> None:
    """Nothing done is not success, even for a batch smaller than the breaker's limits."""
    store = guarded()
    line = batch(IDS[:3])
    with pytest.raises(CircuitBreakerError, match="all 3 firms"):
        run(store, line, embedder=ScriptedEmbedder(bad_texts(0, 1, 2)))
    assert not read_progress(store, LAYOUT, line.batch_id).complete
    assert run(store, line).done == IDS[:3]


@pytest.mark.parametrize("error", [ConfigError, ModelNotFoundError, StoreError, MemoryError])
def test_a_fatal_error_ends_the_batch_by_its_type(error: type[Exception]) -> None:
    """What every firm would meet is not recorded as a firm's failure."""
    store = guarded()
    with pytest.raises(error):
        run(
            store,
            embedder=ScriptedEmbedder(bad_texts(7), error),
            pool=InlinePool(NoOpTopicModel()),
        )
    progress = read_progress(store, LAYOUT, "2023Q1_batch_0000")
    assert progress.failed == {}
    assert progress.done == IDS[:5]


def test_skipped_firms_are_recorded_and_do_not_move_the_slices() -> None:
    """Firms without sentences keep their place in the batch line and appear with the reason."""
    store = guarded()
    rest = [f for f in FIRMS if f.firm_id not in (IDS[0], IDS[6])]
    reasons = {IDS[0]: "no_text", IDS[6]: "prefetch failed: broken"}
    progress = run(store, firms=rest, unavailable={**reasons, "999999": "no_text"})
    assert progress.complete
    assert progress.skipped == reasons
    key = LAYOUT.firm_sentences_part("2023Q1_batch_0000", 1)
    held = set(from_bytes(store.get(key), FIRM_SENTENCES)["firm_id"].to_pylist())
    assert held == {*IDS[5:10]} - {IDS[6]}


@pytest.mark.parametrize("firm_ids", [[], IDS[:2]])
def test_a_batch_with_nothing_to_do_completes_without_a_model(firm_ids: list[str]) -> None:
    """No firm, or only skipped ones: complete, and no model is loaded."""
    store = guarded()
    embedder = ScriptedEmbedder()
    reasons = dict.fromkeys(firm_ids, "no_text")
    assert run(store, batch(firm_ids), unavailable=reasons, embedder=embedder).complete
    assert embedder.calls == []


def test_a_complete_batch_is_left_alone() -> None:
    """Rerunning a finished batch writes nothing and computes nothing."""
    store = guarded()
    run(store)
    guard(store, killing_at(0))
    embedder = ScriptedEmbedder()
    assert run(store, embedder=embedder).complete
    assert embedder.calls == []


def test_a_complete_batch_keeps_who_computed_it() -> None:
    """Whoever finds it complete, on another machine or as another job, leaves its record alone."""
    store = guarded()
    run(store)
    key = LAYOUT.progress("2023Q1_batch_0000")
    record = decode_progress(store.get(key), key=key)
    record = record.model_copy(update={"machine": "an abacus", "job_id": "job-1"})
    store.put(key, record.encode())
    guard(store, killing_at(0))
    assert run(store) == record


def test_a_damaged_part_is_computed_again(clean: dict[str, bytes]) -> None:
    """A listed part that differs from its record, or is gone, is made anew on a rerun."""
    for damage in (lambda s, k: s.put(k, b"PAR1"), lambda s, k: s.delete(k)):
        store = open_store("memory://")
        run(store)
        damage(store, LAYOUT.firm_topics_part("2023Q1_batch_0000", 2))
        run(store)
        assert written(store, LAYOUT) == clean


def test_progress_of_another_run_is_never_used(clean: dict[str, bytes]) -> None:
    """Another run's record and parts for the same batch id change nothing, and stay as they are."""
    store = guarded()
    other = RunLayout(QUARTER, "run-b")
    run(store, layout=other, part_firms=9)
    theirs = written(store, other)
    run(store)
    assert written(store, LAYOUT) == clean
    assert written(store, other) == theirs


def test_progress_of_other_firms_is_refused() -> None:
    """A record whose firms are not the batch's means that the batches changed under the run."""
    store = guarded()
    run(store, batch(IDS[:10]))
    with pytest.raises(CorruptObjectError, match="another batch"):
        run(store, batch(IDS[10:]))


def test_a_firm_the_source_does_not_know_ends_the_batch() -> None:
    """An unknown firm is an error of the batch, never a silent gap."""
    with pytest.raises(UnknownFirmError, match=IDS[3]):
        run(guarded(), firms=[f for f in FIRMS if f.firm_id != IDS[3]])


def test_a_firm_the_source_keeps_back_ends_the_batch() -> None:
    """A source that knows a firm and does not deliver it is damaged."""

    class Forgetful(InMemoryConnector):
        def iter_firms(self, firm_ids: Sequence[str] | None = None) -> Iterator[FirmTranscriptData]:
            return (f for f in super().iter_firms(firm_ids) if f.firm_id != IDS[3])

    ledger = BatchLedger(open_store("memory://"), LAYOUT, batch(), part_firms=5, unavailable={})
    with pytest.raises(CorruptObjectError, match=IDS[3]):
        run_map(
            ledger,
            source=Forgetful(TranscriptData({f.firm_id: f for f in FIRMS})),
            make_processor=lambda clock: FirmProcessor(
                NoOpEmbedder(), InlinePool(NoOpTopicModel()), timestamp=START, clock=clock
            ),
            options=MapOptions(),
        )


def test_no_transcript_text_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Logs of a run with failures hold ids, counts and messages, and not a sentence."""
    firm = replace(FIRMS[7], metadata={})

    class Quoting(ScriptedEmbedder):
        def encode(self, texts: Sequence[str]) -> object:  # type: ignore[override]
            if self.bad_texts & set(texts):
                raise ValueError(f"cannot embed {texts[2]}")
            return super().encode(texts)

    with caplog.at_level("INFO"):
        run(guarded(), firms=[*FIRMS[:7], firm, *FIRMS[8:]], embedder=Quoting(bad_texts(9)))
    assert "2 failed" in caplog.text
    assert not any(s.raw_text in caplog.text for f in FIRMS for s in f.sentences)
