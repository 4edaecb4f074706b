"""`ftm run-quarter --backend local`: real processes from the command to the parts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftm.analysis.loaders import load_sentences, load_topics
from ftm.core.errors import BatchFailedError
from ftm.core.layout import PrefetchLayout
from ftm.core.settings import Settings
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.orchestrate.run_watch import BatchView, SilentWatcher
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import list_runs, published_run
from ftm.storage.sealed import decode_sealed, encode_sealed
from ftm.wiring import get_model_fingerprint, get_orchestrator, resolve_run_settings
from ftm.wiring.stages import get_stage_tools
from tests.support.business_firms import QUARTER
from tests.support.cli import ftm_environment, run_ftm, start_ftm
from tests.support.forge import Started
from tests.support.inline_backend import InlineBackend
from tests.support.quarters import write_quarter
from tests.support.runs import noop_settings
from tests.support.s3_server import Bucket
from tests.support.stores import resize_disk

RUN = ("run-quarter", "--quarter", "2023Q1", "--batch-size", "3")
BATCH = "2023Q1_batch_000"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Seven firms in three chunks, in a folder."""
    opened = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(opened, 7, firms_per_chunk=3, n_sentences=45)
    return opened


def map_output(store: ObjectStore) -> dict[str, bytes]:
    """Every progress record and part of every run."""
    return {
        info.key: store.get(info.key)
        for prefix in ("progress", "intermediate", "processed")
        for info in store.list(prefix)
    }


def processes_of(store: ObjectStore) -> list[int]:
    """Processes whose command or environment names the store."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if store.url.encode() in text and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def wait_until_none(store: ObjectStore, limit_s: float = 60) -> None:
    """No process works on the store any more."""
    end = time.monotonic() + limit_s
    while left := processes_of(store):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def test_the_command_runs_every_batch_and_says_what_came_out(store: ObjectStore) -> None:
    """Lines on stderr, the summary as JSON on stdout, exit code 0; again, nothing is left to do."""
    done = run_ftm(*RUN, "--json", FTM_STORE=store.url)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["n_done"], summary["n_batches"], summary["n_topics"]) == (7, 3, 14)
    assert summary["outlier_share"] == pytest.approx(4 / 44, abs=1e-4)
    for number in range(3):
        assert f"{BATCH}{number}: succeeded" in done.stderr
    assert "7 of 7 firms (100 %)" in done.stderr

    again = run_ftm(*RUN, FTM_STORE=store.url)
    assert again.returncode == 0
    assert "already complete, nothing to do" in again.stdout
    assert not store.exists(f"manifests/2023Q1/{summary['run_id']}/map_2.jsonl")


def test_a_run_is_published_unless_told_not_to(store: ObjectStore) -> None:
    """The next step can be run as it stands; it names the run where `ftm show` reads another."""
    settings = resolve_run_settings(Settings.load(device="cpu"))
    inline = QuarterOrchestrator(
        store,
        InlineBackend(store),
        settings=settings,
        fingerprint=get_model_fingerprint,
        tools=lambda chosen, _: get_stage_tools(chosen, store),
    )
    run_id = inline.run_quarter("2023Q1", batch_size=3, publish=False).run_id
    models = {"FTM_EMBEDDING_MODEL": settings.embedding_model, "FTM_CLUSTERING": "ward"}
    again = (*RUN, "--device", "cpu", "--store", store.url)
    done = run_ftm(*again, "--no-publish", **models)
    assert f"{run_id}: already complete" in done.stdout, done.stderr
    (command,) = re.findall(r"^  next +ftm (.*)$", done.stdout, flags=re.MULTILINE)
    assert command == f"show --quarter 2023Q1 --firm 100000 --run {run_id} --store {store.url}"
    shown = run_ftm(*command.split())
    assert "Firm 0 Inc. in 2023Q1" in shown.stdout, shown.stderr
    assert published_run(store, QUARTER) is None
    assert f"--firm 100000 --store {store.url}\n" in run_ftm(*again, **models).stdout
    assert published_run(store, QUARTER) == run_id


def test_a_damaged_chunk_fails_its_batch_only_and_the_rerun_does_only_that(
    store: ObjectStore,
) -> None:
    """Exit code 1 and one line with batch, cause and log; mended, one batch is left to do."""
    key = PrefetchLayout(QUARTER).key("chunk_0001.parquet")
    good = store.get(key)
    store.put(key, good[:100] + b"\0\1\2\3" + good[104:])
    failed = run_ftm(*RUN, FTM_STORE=store.url)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("ftm: 1 of 3 batches")
    assert f"{BATCH}1: exit 1" in last
    log = Path(last.partition("(log: ")[2].partition(")")[0])
    assert "chunk_0001" in log.read_text()

    store.put(key, good)
    mended = run_ftm(*RUN, FTM_STORE=store.url)
    assert mended.returncode == 0, mended.stderr
    assert "1 of 3 batches to do" in mended.stderr
    assert f"{BATCH}0: running" not in mended.stderr
    assert list_runs(store, QUARTER)[0].is_complete


@pytest.mark.parametrize("dataset", ["firm-topics", "firm-sentences"])
def test_a_damaged_part_of_a_complete_run_is_computed_again(
    store: ObjectStore, dataset: str
) -> None:
    """The same command says so and does that batch again, to the same bytes."""
    assert run_ftm(*RUN, FTM_STORE=store.url).returncode == 0
    before = map_output(store)
    part = next(key for key in before if dataset in key and f"{BATCH}1" in key)
    store.put(part, before[part][:50] + b"?" + before[part][51:])
    mended = run_ftm(*RUN, FTM_STORE=store.url)
    assert mended.returncode == 0, mended.stderr
    assert f"{BATCH}1: a part is gone or damaged" in mended.stderr
    assert "1 of 3 batches to do" in mended.stderr
    assert map_output(store) == before


def wait_for_line(process: Started, start: str) -> None:
    """Read the command's stderr up to a line that starts so."""
    for line in process.stderr:
        if line.startswith(start):
            return
    raise AssertionError(f"{start!r} was never said")


class SecondCommand(SilentWatcher):
    """Runs the same command again once the jobs are submitted; the first waits for its end."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.ended: list[subprocess.CompletedProcess[str]] = []

    def start(self, text: str, batches: Sequence[BatchView]) -> None:  # noqa: ARG002
        """See RunWatcher."""
        self.ended.append(run_ftm(*RUN, FTM_STORE=self._store.url))


def test_a_second_command_on_the_same_run_names_the_first_and_stops(store: ObjectStore) -> None:
    """It starts no worker and says who is at work; the first ends as if it had been alone."""
    watcher = SecondCommand(store)
    with get_orchestrator(noop_settings(store=store.url), workers=1, watcher=watcher) as first:
        summary = first.run_quarter("2023Q1", batch_size=3)
    (second,) = watcher.ended
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"(process {os.getpid()})" in second.stderr
    assert "`ftm status --quarter 2023Q1`" in second.stderr
    assert (summary.state, summary.n_topics) == ("complete", 14)
    assert not list(store.list(f"manifests/2023Q1/{summary.run_id}/map_2"))
    assert len(load_topics("2023Q1", store)) == 14
    assert len(load_sentences("2023Q1", store)) == 7 * 45


def test_what_every_batch_would_meet_stops_the_run_after_the_first(store: ObjectStore) -> None:
    """A spec that fits no worker: one batch fails, the others are not started, one message."""
    planned = QuarterOrchestrator(
        store,
        InlineBackend(store, failing=[f"{BATCH}{n}" for n in range(3)]),
        settings=noop_settings(),
        fingerprint=get_model_fingerprint,
    )
    with pytest.raises(BatchFailedError):
        planned.run_quarter("2023Q1", batch_size=3)
    (key,) = [info.key for info in store.list("runs") if info.key.endswith("spec.json")]
    spec = decode_sealed(store.get(key))
    spec["model"]["clustering"] = "ward"
    store.put(key, encode_sealed(spec))

    failed = run_ftm(*RUN, "--workers", "1", FTM_STORE=store.url)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert "every batch would fail alike" in last
    assert "clustering is 'noop' here and 'ward' in the run" in last
    assert f"{BATCH}1: running" not in failed.stderr
    assert "2 batches not started" in failed.stderr


def free_bytes(folder: Path) -> int:
    """What is left on a disk."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@pytest.mark.parametrize("left", [36_000, 60_000])
def test_a_disk_that_fills_up_under_a_run_and_is_freed(small_disk: Path, left: int) -> None:
    """One clear line, in the first batch or a later one; with more room the rerun completes."""
    resize_disk(small_disk, "2m")
    store = open_store(f"file://{small_disk / 'store'}")
    write_quarter(store, 7, firms_per_chunk=3, n_sentences=200)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (free_bytes(small_disk) - left))
    full = run_ftm(*RUN, "--workers", "1", FTM_STORE=store.url)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert "disk is full" in full.stderr.splitlines()[-1]
    filler.unlink()
    done = run_ftm(*RUN, "--json", FTM_STORE=store.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_done"] == 7
    assert len(load_sentences("2023Q1", store)) == 7 * 200


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_it_leaves_no_process_and_resumes_to_the_same_bytes(
    how: signal.Signals, store: ObjectStore
) -> None:
    """Killed or Ctrl-C after the first batch: workers end, the rerun ends like a whole run."""
    process = start_ftm(*RUN, "--workers", "1", FTM_STORE=store.url)
    wait_for_line(process, f"{BATCH}1: running")
    process.send_signal(how)
    _, rest = process.communicate(timeout=60)
    wait_until_none(store)
    assert process.returncode == {signal.SIGINT: 130}.get(how, -how.value)
    if how is signal.SIGINT:
        assert "run the same command again to resume" in rest

    assert run_ftm(*RUN, FTM_STORE=store.url).returncode == 0
    resumed = map_output(store)
    run = list_runs(store, QUARTER)[0]
    for prefix in ("progress", "intermediate", "processed"):
        for info in list(store.list(prefix)):
            store.delete(info.key)
    # The spec stays, and with it created_at: the same run from its beginning.
    assert run_ftm(*RUN, FTM_STORE=store.url).returncode == 0
    assert map_output(store) == resumed
    assert [r.spec.run_id for r in list_runs(store, QUARTER)] == [run.spec.run_id]


def test_without_a_prefetch_it_fails_at_once_and_never_imports_wrds(tmp_path: Path) -> None:
    """One line with the command to run, exit code 1, an untouched store, no wrds, no torch."""
    (tmp_path / "empty").mkdir()
    url = f"file://{tmp_path / 'empty'}"
    program = (
        "import sys\n"
        "from ftm.cli.main import main\n"
        "sys.argv = ['ftm', 'run-quarter', '--quarter', '2023Q1']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, [m for m in ('wrds', 'torch', 'spacy') if m in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=ftm_environment(FTM_STORE=url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "1 []\n"
    assert found.stderr.count("\n") == 1
    assert "`ftm prefetch --quarter 2023Q1`" in found.stderr
    assert not list((tmp_path / "empty").glob("**/*"))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--quarter", "2023Q5"), 2, "not a quarter: '2023Q5'"),
        (("--quarter", "2023Q1", "--batch-size", "0"), 2, "--batch-size"),
        (("--quarter", "2023Q1", "--workers", "0"), 2, "--workers"),
        (("--quarter", "2023Q1", "--seed", "x"), 2, "--seed"),
        ((), 2, "--quarter"),
        (("--quarter", "2023Q1", "--backend", "slurm"), 2, "'slurm' is not one of 'local'"),
        (("--quarter", "2023Q1", "--backend", "batch"), 2, "FTM_BATCH_QUEUE is not set"),
        (("--quarter", "2023Q1", "--no-wait"), 2, "local jobs end with this command"),
        (("--quarter", "2023Q1", "--clustering", "magic"), 2, "FTM_CLUSTERING 'magic'"),
        (("--quarter", "2023Q1", "--store", "ftp://x"), 2, "store 'ftp://x'"),
        (("--quarter", "2023Q1", "--embedding-model", "/no/such"), 1, "/no/such"),
        (("--quarter", "2023Q1", "--keep-kinds", "chat"), 2, "FTM_KEEP_KINDS 'chat'"),
        (
            ("--quarter", "2023Q1", "--device", "tpu", "--embedding-model", "all-MiniLM-L6-v2"),
            2,
            "FTM_DEVICE 'tpu'",
        ),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_clear_line(
    arguments: tuple[str, ...], code: int, text: str, store: ObjectStore
) -> None:
    """A known failure exits 1, wrong usage 2, and neither leaves a run behind."""
    found = run_ftm("run-quarter", *arguments, FTM_STORE=store.url)
    assert found.returncode == code
    last = found.stderr.splitlines()[-1]
    assert text in last, found.stderr
    assert "Traceback" not in found.stderr
    assert list_runs(store, QUARTER) == []


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    """A folder with an ftm.toml that says something else than the flags."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "ftm.toml").write_text("map_checkpoint = 2\nseed = 9\n")
    return tmp_path / "here"


def test_workers_see_the_settings_of_the_run_not_of_a_file(
    store: ObjectStore, user_folder: Path
) -> None:
    """A setting put back to its default by a flag is not undone by ftm.toml in the worker."""
    found = run_ftm(*RUN, "--seed", "42", "--json", cwd=user_folder, FTM_STORE=store.url)
    assert found.returncode == 0, found.stderr
    run = list_runs(store, QUARTER)[0]
    assert run.spec.checkpoint_firms == 2
    assert len([key for key in run.progress[f"{BATCH}0"].parts if "firm-topics" in key]) == 2


def test_the_same_on_s3(s3: Bucket) -> None:
    """A bucket instead of a folder: one code path, logs in a private folder."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    write_quarter(store, 4, firms_per_chunk=4, n_sentences=45)
    found = run_ftm(*RUN, "--json", **s3.environment)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["n_topics"] == 8
    assert len(load_topics("2023Q1", store)) == 8
    assert not [info.key for info in store.list("runs") if info.key.endswith("lease.json")]
