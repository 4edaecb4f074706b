"""`python -m ftm.worker map` as a real process on a store in a folder."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from ftm.core.layout import PrefetchLayout, RunLayout
from ftm.core.settings import Settings
from ftm.mapping.circuit_breaker import BreakerSettings
from ftm.mapping.stop_signal import StopSignal
from ftm.storage.manifest import PrefetchManifest, encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_records import BatchLine, RunSpec, decode_spec
from ftm.topics.device import machine_name
from ftm.worker import breaker_settings, main, map_batch
from tests.support.business_firms import QUARTER, make_firm, make_firms
from tests.support.forge import Forged, Started, forge
from tests.support.runs import (
    listed_tables,
    make_lines,
    noop_settings,
    read_progress,
    worker_environment,
    write_run,
    written,
)
from tests.support.s3_server import Bucket
from tests.support.stored_quarter import store_quarter

Refused = Callable[..., str]
BATCH = "2023Q1_batch_0000"
FIRMS = make_firms(30, n_sentences=45)
IDS = [f.firm_id for f in FIRMS]
PART = 4
RUN_MAP = ("-m", "ftm.worker", "map")
forged = pytest.mark.xdist_group("forge")
WITHOUT_SPACY_AND_WRDS = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spacy", "spacy_lookups_data", "wrds", "sqlalchemy", "psycopg2"):
            raise ImportError(name + " is not in the map image")
sys.meta_path.insert(0, Blocker())
from ftm.worker import main
code = main(["map"])
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"spacy", "wrds", "click", "rich", "torch", "bertopic"}))
sys.exit(code)
"""


def whole(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker process: this, and the little it needs to run."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
    return {**kept, "OMP_NUM_THREADS": "1", **environment}


def start_worker(
    environment: Mapping[str, str], folder: Path, command: tuple[str, ...] = RUN_MAP
) -> Started:
    """A worker process with this environment, forked from one that has imported its libraries."""
    return forge().start_piped(*command[1:], environment=whole(environment), cwd=folder)


def start_cold(
    environment: Mapping[str, str], folder: Path, command: tuple[str, ...] = RUN_MAP
) -> subprocess.Popen[str]:
    """The same as a fresh process: other hashes, and nothing imported."""
    return subprocess.Popen(
        [sys.executable, *command],
        env=whole(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Workplace:
    """A store in a folder with a prefetched quarter, and worker processes on it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder / 'store'}"
        self.store: ObjectStore = open_store(self.url)
        self.folder = folder
        self.manifest: PrefetchManifest = store_quarter(self.store, FIRMS, firms_per_chunk=20)

    def plan(
        self, run_id: str = "run-a", *, lines: list[BatchLine] | None = None, **options: object
    ) -> RunLayout:
        """A run of one batch with all firms, unless lines say otherwise."""
        chosen = lines or make_lines(IDS, batch_size=50, quarter=QUARTER)
        given = {"part_firms": PART, **options}
        return write_run(self.store, self.manifest, chosen, run_id=run_id, **given)  # type: ignore[arg-type]

    def start(self, environment: Mapping[str, str]) -> Started:
        """A worker process in the folder of the store."""
        return start_worker(environment, self.folder)

    def work(
        self,
        environment: Mapping[str, str],
        command: tuple[str, ...] = RUN_MAP,
        *,
        cold: bool = False,
    ) -> tuple[int | None, str, str]:
        """Exit code, stdout and stderr of a worker that runs to its end."""
        process = (start_cold if cold else start_worker)(environment, self.folder, command)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def environment(self, layout: RunLayout, batch: str | int = BATCH) -> dict[str, str]:
        """What the orchestrator tells a worker."""
        return worker_environment(self.url, layout, batch)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A fresh store with a prefetched quarter."""
    return Workplace(tmp_path)


def test_a_worker_needs_neither_spacy_nor_wrds(place: Workplace) -> None:
    """With both unimportable the map stage runs, and it loads nothing it should not."""
    layout = place.plan()
    command = ("-c", WITHOUT_SPACY_AND_WRDS)
    code, out, err = place.work(place.environment(layout), command, cold=True)
    assert (code, out.strip()) == (0, "[]"), err
    progress = read_progress(place.store, layout, BATCH)
    assert progress.complete
    assert progress.done == IDS


@pytest.mark.slow
def test_the_real_models_need_neither_spacy_nor_wrds(place: Workplace, tmp_path: Path) -> None:
    """The default embedder and clustering, pool processes included, run where both are broken."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("spacy", "wrds", "sqlalchemy", "psycopg2"):
        (broken / f"{name}.py").write_text(f'raise ImportError("{name} is not in the map image")')
    lines = make_lines(IDS[:2], batch_size=2, quarter=QUARTER)
    layout = place.plan(lines=lines, settings=Settings.load(device="cpu"))
    model = {"FTM_DEVICE": "cpu", "PYTHONPATH": str(broken)}
    environment = worker_environment(place.url, layout, BATCH, model=model)
    code, out, _ = place.work(environment, ("-c", "import wrds"), cold=True)
    assert (code, out) == (1, ""), "the double of the image must be in force"
    code, _, err = place.work(environment, cold=True)
    assert code == 0, err
    assert "not in the map image" not in err
    topics, _ = listed_tables(place.store, layout, [BATCH])
    assert set(topics["firm_id"].to_pylist()) == set(IDS[:2])


def test_the_first_line_says_what_runs_where(place: Workplace) -> None:
    """Code version, run, batch and device come first; no sentence is in the log."""
    layout = place.plan()
    code, out, err = place.work(place.environment(layout))
    assert (code, out) == (0, "")
    first = err.splitlines()[0]
    assert "ftm 0." in first
    assert all(word in first for word in ("run run-a", BATCH, "30 firms", "device cpu"))
    assert not any(s.raw_text in err or s.cleaned_text in err for s in FIRMS[0].sentences[1:])


@pytest.mark.parametrize(("machine", "warns"), [("", False), ("an abacus", True), (None, False)])
def test_a_worker_on_another_machine_warns_and_goes_on(
    place: Workplace, machine: str | None, warns: bool
) -> None:
    """The run may go on elsewhere; the log says that last bits may differ."""
    layout = place.plan()
    spec = decode_spec(place.store.get(layout.spec), key=layout.spec)
    recorded = machine_name("cpu") if machine is None else machine
    place.store.put(layout.spec, spec.model_copy(update={"machine": recorded}).encode())
    code, _, err = place.work(place.environment(layout))
    assert code == 0
    assert ("planned on (an abacus)" in err) == warns


def test_batch_sizes_and_firm_order_give_identical_topics(place: Workplace) -> None:
    """Invariant 8 end to end: array children of other batches give each firm the same rows."""
    whole = place.plan("run-a")
    assert place.work(place.environment(whole), cold=True)[0] == 0
    lines = make_lines(random.Random(1).sample(IDS, 30), batch_size=12, quarter=QUARTER)
    other = place.plan("run-b", lines=lines)
    for index in range(3):
        assert place.work(place.environment(other, index))[0] == 0
    one = listed_tables(place.store, whole, [BATCH])
    many = listed_tables(place.store, other, [line.batch_id for line in lines])
    order = [("firm_id", "ascending"), ("topic_id", "ascending")]
    assert one[0].num_rows > len(IDS)
    assert one[0].sort_by(order).equals(many[0].sort_by(order))
    assert one[1].sort_by("sentence_id").equals(many[1].sort_by("sentence_id"))


def test_invariant_3_a_worker_reads_the_runs_own_manifest(place: Workplace) -> None:
    """After a newer prefetch without some of its firms, the run still has every firm it planned."""
    layout = place.plan()
    newer = store_quarter(open_store("memory://"), FIRMS[:3])
    place.store.put(PrefetchLayout(QUARTER).manifest, encode_manifest(newer), gzip_encoded=True)
    settings = noop_settings(
        store=place.url,
        data_source="s3",
        quarter=str(QUARTER),
        run_id=layout.run_id,
        manifest_key=layout.batch_manifest(1),
        batch_id=BATCH,
    )
    progress = map_batch(settings, StopSignal())
    assert progress.done == IDS
    assert (progress.failed, progress.skipped) == ({}, {})


def wait_for(place: Workplace, key: str, process: Forged) -> None:
    """Until an object exists or the worker ended."""
    while not place.store.exists(key) and process.poll() is None:
        time.sleep(0.002)


def test_sigterm_records_what_is_done_and_a_rerun_completes_it(place: Workplace) -> None:
    """Stopped in the middle: exit 143, nothing lost, and the rerun ends in the same bytes."""
    clean = place.plan("run-a")
    assert place.work(place.environment(clean), cold=True)[0] == 0
    wanted = _renamed(written(place.store, clean), "run-a", "run-b")
    layout = place.plan("run-b")
    process = place.start(place.environment(layout))
    wait_for(place, layout.firm_topics_part(BATCH, 0), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    stopped = read_progress(place.store, layout, BATCH)
    assert process.returncode == (0 if stopped.complete else 143), err
    assert stopped.done[:PART] == IDS[:PART]
    assert place.work(place.environment(layout))[0] == 0
    assert _renamed(written(place.store, layout), "run-b", "run-b") == wanted


def test_sigkill_at_random_moments_and_rerun_gives_the_same_bytes(place: Workplace) -> None:
    """Killed again and again without warning, the batch still ends in the same files."""
    clean = place.plan("run-a")
    assert place.work(place.environment(clean), cold=True)[0] == 0
    wanted = _renamed(written(place.store, clean), "run-a", "run-b")
    layout = place.plan("run-b")
    rng = random.Random(7)
    for part in (0, 2, 4, 5):
        process = place.start(place.environment(layout))
        wait_for(place, layout.firm_topics_part(BATCH, part), process)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
    assert place.work(place.environment(layout))[0] == 0
    assert _renamed(written(place.store, layout), "run-b", "run-b") == wanted


@pytest.mark.slow
@forged
def test_sigterm_breaks_off_a_firm_that_would_take_minutes(tmp_path: Path) -> None:
    """With real models and one huge call the worker ends at once, with exit 143 and no error."""
    store = open_store(f"file://{tmp_path / 'store'}")
    firms = [make_firm(0, n_sentences=40), make_firm(1, n_sentences=60_000)]
    manifest = store_quarter(store, firms)
    lines = make_lines([f.firm_id for f in firms], batch_size=2, quarter=QUARTER)
    settings = Settings.load(device="cpu")
    layout = write_run(store, manifest, lines, settings=settings)
    environment = worker_environment(store.url, layout, BATCH, model={"FTM_DEVICE": "cpu"})
    process = start_worker(environment, tmp_path)
    time.sleep(5)  # into loading the models, or into the embedding: either may be broken off
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=25)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert read_or_none(store, layout) in (None, {})


def read_or_none(store: ObjectStore, layout: RunLayout) -> dict[str, str] | None:
    """The batch's failures, if it has a progress record."""
    exists = store.exists(layout.progress(BATCH))
    return read_progress(store, layout, BATCH).failed if exists else None


@pytest.mark.slow
@forged
def test_the_real_models_give_the_same_bytes_killed_reordered_and_rebatched(
    place: Workplace,
) -> None:
    """Invariant 8 with the default models: kills change no byte, another order no firm's rows.

    The first kill comes when a part is half written, two more whenever they come. The undisturbed
    run is a process of its own, so with another seed of hashes than the forked ones.
    """
    real = {"FTM_DEVICE": "cpu"}
    settings = Settings.load(device="cpu")
    some = IDS[:9]

    def plan(run_id: str, ids: list[str], part_firms: int) -> RunLayout:
        lines = make_lines(ids, batch_size=50, quarter=QUARTER)
        return place.plan(run_id, lines=lines, settings=settings, part_firms=part_firms)

    def environment(layout: RunLayout) -> dict[str, str]:
        return worker_environment(place.url, layout, BATCH, model=real)

    def fork(layout: RunLayout) -> Started:
        return place.start(environment(layout))

    clean, killed, other = (
        plan("run-a", some, 2),
        plan("run-b", some, 2),
        plan("run-c", some[::-1], 5),
    )
    code, _, told = place.work(environment(clean), cold=True)
    assert code == 0, told
    process = fork(killed)
    wait_for(place, killed.firm_topics_part(BATCH, 1), process)
    process.kill()
    process.communicate()
    assert not read_progress(place.store, killed, BATCH).complete
    for delay_s in (delays_s := [random.uniform(0.2, 4) for _ in range(2)]):
        process = fork(killed)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay_s)
        process.kill()
        process.communicate()
    for layout in (killed, other):
        code, _, told = place.work(environment(layout))
        assert code == 0, told
    wanted = _renamed(written(place.store, clean), "run-a", "run-b")
    assert _renamed(written(place.store, killed), "run-b", "run-b") == wanted, delays_s
    one, many = (listed_tables(place.store, layout, [BATCH]) for layout in (clean, other))
    order = [("firm_id", "ascending"), ("topic_id", "ascending")]
    assert one[0].num_rows > len(some)
    assert one[0].sort_by(order).equals(many[0].sort_by(order))
    assert one[1].sort_by("sentence_id").equals(many[1].sort_by("sentence_id"))


def _renamed(files: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes]:
    """As another run's, whose records would have another hash of themselves."""
    bare = {k: re.sub(rb' "self_sha256": "\w+",?\n', b"", v) for k, v in files.items()}
    return {k.replace(old, new): v.replace(old.encode(), new.encode()) for k, v in bare.items()}


def change_spec(place: Workplace, layout: RunLayout, **changes: object) -> RunSpec:
    """Rewrite the run's spec with other values."""
    spec = decode_spec(place.store.get(layout.spec), key=layout.spec).model_copy(update=changes)
    place.store.put(layout.spec, spec.encode())
    return spec


def flip_byte(place: Workplace, key: str) -> None:
    """Change one byte in the middle of an object."""
    data = bytearray(place.store.get(key))
    data[len(data) // 3] ^= 0x10
    place.store.put(key, bytes(data))


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], env: Mapping[str, str]
) -> tuple[int, str]:
    """Exit code and stderr of the worker's main function under exactly these settings."""
    for info in Settings.model_fields.values():
        for name in info.validation_alias.choices:  # type: ignore[union-attr]
            monkeypatch.delenv(str(name), raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    code = main(["map"])
    return code, capsys.readouterr().err


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Refused]:
    """Runs main in this process and returns the one line with which it gives up.

    Exit code 2 says that every other batch of the run would meet the same; 1 that this one did.
    """
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    def run(env: Mapping[str, str], *, expected_code: int = 2) -> str:
        code, err = in_process(monkeypatch, capsys, env)
        assert code == expected_code, err
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("ftm.worker: ")
        return last

    yield run
    root.handlers[:], root.level = before
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_worker_with_another_model_is_refused(place: Workplace, refused: Refused) -> None:
    """The fingerprint is the run's, never the worker's; the message names what differs."""
    layout = place.plan()
    change_spec(place, layout, model={"embedding_model": "noop", "clustering": "ward"})
    line = refused(place.environment(layout))
    assert "clustering is 'noop' here and 'ward' in the run" in line


def test_a_changed_manifest_copy_is_refused(place: Workplace, refused: Refused) -> None:
    """A run's copy of the manifest must be the one the run was planned from."""
    layout = place.plan()
    change_spec(place, layout, manifest_sha256="0" * 64)
    line = refused(place.environment(layout), expected_code=1)
    assert "is not the manifest that run run-a was planned from" in line


def test_a_flipped_byte_in_a_chunk_ends_the_batch(place: Workplace, refused: Refused) -> None:
    """Corruption is not one firm's failure: exit 1, the chunk named, no firm recorded as failed."""
    layout = place.plan()
    flip_byte(place, PrefetchLayout(QUARTER).key("chunk_0001.parquet"))
    assert "chunk_0001.parquet" in refused(place.environment(layout), expected_code=1)
    assert read_progress(place.store, layout, BATCH).failed == {}


def test_an_unknown_firm_in_the_batch_is_an_error(place: Workplace, refused: Refused) -> None:
    """A batch line with a firm that the manifest does not know stops the worker."""
    layout = place.plan(lines=make_lines([*IDS[:3], "777777"], batch_size=9, quarter=QUARTER))
    assert "777777" in refused(place.environment(layout), expected_code=1)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DATA_SOURCE", "duckdb", "DATA_SOURCE 'duckdb' cannot be used"),
        ("QUARTER", None, "QUARTER is not set"),
        ("QUARTER", "2023q1", "not a quarter: '2023q1'"),
        ("FTM_RUN_ID", "run-z", "check FTM_RUN_ID"),
        ("MANIFEST_S3_KEY", "manifests/none.jsonl", "check MANIFEST_S3_KEY"),
        ("BATCH_ID", "2023Q1_batch_0009", "BATCH_ID '2023Q1_batch_0009' is not among the 1"),
        ("FTM_STORE", None, "no store is set"),
        ("FTM_STORE", "ftp://host", "store 'ftp://host' (--store or FTM_STORE) cannot be used"),
        ("FTM_KEEP_KINDS", "chatter", "FTM_KEEP_KINDS 'chatter'"),
        ("FTM_CLUSTERING", "magic", "FTM_CLUSTERING 'magic'"),
        ("FTM_EMBEDDING_MODEL", "/no/such/model", "/no/such/model"),
    ],
)
def test_a_wrong_environment_is_one_line(
    place: Workplace, refused: Refused, variable: str, value: str | None, told: str
) -> None:
    """Each mistake ends with exit 2 and one line that names the variable."""
    changed = {**place.environment(place.plan()), variable: value}
    assert told in refused({k: v for k, v in changed.items() if v is not None})


@pytest.mark.parametrize("stage", [[], ["sort"], ["map", "--quarter"]])
def test_an_unknown_stage_is_wrong_usage(place: Workplace, stage: list[str]) -> None:
    """There are four; anything else is exit code 2 and one line."""
    code, out, err = place.work({}, ("-m", "ftm.worker", *stage))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "python -m ftm.worker map" in err


def test_another_embed_text_is_another_model(place: Workplace, refused: Refused) -> None:
    """A worker told to embed other text than the run's is refused too."""
    environment = {**place.environment(place.plan()), "FTM_EMBED_TEXT": "cleaned"}
    assert "embed_text is 'cleaned' here and 'raw' in the run" in refused(environment)


def test_the_breaker_follows_the_settings() -> None:
    """Each of the four variables reaches its limit."""
    settings = Settings.load(
        allow_failures=False,
        max_consecutive_failures=3,
        max_failure_rate=0.5,
        min_processed_for_rate=7,
    )
    assert breaker_settings(settings) == BreakerSettings(
        allow_failures=False, max_consecutive=3, max_rate=0.5, min_processed=7
    )


@pytest.mark.parametrize(("variable", "value"), [("DATA_SOURCE", "duckdb"), ("FTM_STORE", "s3://")])
def test_wrong_settings_of_a_process_are_exit_2_and_one_line(
    place: Workplace, variable: str, value: str
) -> None:
    """The same as a real process: exit code 2, nothing on stdout, one line, no traceback."""
    code, out, err = place.work({**place.environment(place.plan()), variable: value})
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("ftm.worker: ")]
    assert len(told) == 1
    assert value in told[0]


def test_a_worker_reads_and_writes_a_bucket(s3: Bucket, tmp_path: Path) -> None:
    """The map stage on S3, stopped and run again: the same tables as from a folder."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    manifest = store_quarter(store, FIRMS[:9], firms_per_chunk=5)
    lines = make_lines(IDS[:9], batch_size=9, quarter=QUARTER)
    layout = write_run(store, manifest, lines, part_firms=PART)
    environment = {**worker_environment(s3.url, layout, BATCH), **s3.environment}
    process = start_worker(environment, tmp_path)
    while not store.exists(layout.progress(BATCH)) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 143), err
    again = start_worker(environment, tmp_path)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    topics, sentences = listed_tables(store, layout, [BATCH])
    assert read_progress(store, layout, BATCH).done == IDS[:9]
    assert sentences.num_rows == sum(len(firm.sentences) for firm in FIRMS[:9])
    assert topics.num_rows > 9
