"""`ftm status` and `ftm quarters`: what exists, who is at it, what cannot be read, how to go on."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftm.analysis.quarter_list import list_quarters
from ftm.analysis.status import read_status
from ftm.cli.status_table import print_status
from ftm.core.errors import BatchFailedError, WRDSQueryError
from ftm.core.layout import PrefetchLayout, RunLayout, current_pointer
from ftm.core.schemas import MANIFEST_VERSION
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.storage.lease import LeasedObject, Writer
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased
from ftm.storage.published import publish
from ftm.storage.run_reader import find_run, list_runs, published_run
from ftm.storage.run_records import BatchProgress, decode_spec
from ftm.wiring import get_model_fingerprint
from ftm.wiring.stages import get_stage_tools
from tests.support.business_firms import QUARTER, make_firms
from tests.support.cli import run_ftm
from tests.support.fake_source import FakeSource
from tests.support.inline_backend import InlineBackend
from tests.support.prefetch_quarter import firms, prefetch
from tests.support.quarters import write_quarter
from tests.support.runs import make_lines, noop_settings, write_run
from tests.support.stored_quarter import store_quarter

STATUS = ("status", "--quarter", "2023Q1")


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStore:
    """Seven firms in chunks of three, in a folder."""
    opened = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(opened, 7, firms_per_chunk=3)
    return opened


def run_inline(store: ObjectStore, *failing: str, **given: object) -> str:
    """A run whose batches end at once, and those named badly; its id."""
    orchestrator = QuarterOrchestrator(
        store,
        InlineBackend(store, failing=failing),
        settings=noop_settings(**given.pop("settings", {})),  # type: ignore[arg-type]
        fingerprint=get_model_fingerprint,
        poll_s=0,
        tools=lambda *_: get_stage_tools(noop_settings(), store),
    )
    try:
        return orchestrator.run_quarter("2023Q1", **{"batch_size": 3, **given}).run_id  # type: ignore[arg-type]
    except BatchFailedError:
        return list_runs(store, QUARTER)[-1].spec.run_id


def hold(store: ObjectStore, key: str, lock_name: str) -> LeasedObject:
    """Take a lease as another process of another host would."""
    lease = open_leased(
        store,
        key,
        lock_name=lock_name,
        writer=Writer("ann", "elsewhere", 77, "nonce"),
        clock=lambda: datetime.now(UTC),
        say=print,
    )
    lease.acquire()
    return lease


def test_status_counts_what_exists(folder: ObjectStore) -> None:
    """Prefetch with its losses, the run with its model and firms, and that it is published."""
    run = run_inline(folder)
    out = run_ftm(*STATUS, FTM_STORE=folder.url).stdout
    for text in (
        "complete; generation 1, begun 2026-01-02 03:04 UTC",
        "7 firms, 210 sentences in 3 chunks",
        "1 no_components, 1 no_sentences, 1 no_text, 1 operator_only",
        "fail-0: PreprocessingError: made up",
        f"Run {run}: complete",
        "noop on noop",
        "7 of 7 done",
    ):
        assert text in out
    found = json.loads(run_ftm(*STATUS, "--json", FTM_STORE=folder.url).stdout)
    assert (found["runs"][0]["n_complete"], found["runs"][0]["resume"]) == (3, "")


def test_status_of_a_quarter_nobody_touched_says_what_to_run(folder: ObjectStore) -> None:
    """It is no error: the answer is that there is nothing."""
    found = run_ftm("status", "--quarter", "2020Q1", FTM_STORE=folder.url)
    assert (found.returncode, found.stderr) == (0, "")
    assert "none; run `ftm prefetch --quarter 2020Q1`" in found.stdout


def test_status_of_a_run_that_was_stopped_says_what_is_saved(folder: ObjectStore) -> None:
    """Batches not begun are counted, and one cut short says so."""
    manifest = store_quarter(folder, make_firms(6, n_sentences=9))
    lines = make_lines(sorted(manifest.firm_to_chunk), batch_size=2, quarter=QUARTER)
    layout = write_run(folder, manifest, lines, run_id="abc")
    kept, failed = lines[0].firm_ids[:1], {lines[0].firm_ids[1]: "ValueError: x"}
    first = lines[0].batch_id
    partial = {layout.firm_topics_part(first, 0): "0" * 64}
    begun = BatchProgress(batch_id=first, partial=partial, kept=kept, failed=failed)
    folder.put(layout.progress(lines[0].batch_id), begun.encode())
    out = run_ftm(*STATUS, FTM_STORE=folder.url).stdout
    for text in (
        "Run abc: 0 of 3 batches complete",
        "2023Q1_batch_0000: begun, 2 of 2 firms, 1 of them in a part that was cut short",
        "2 of 3 batches not begun",
    ):
        assert text in out
    assert "published" not in out
    publish(folder, layout, {})
    out = run_ftm(*STATUS, FTM_STORE=folder.url).stdout
    assert "Run abc: 0 of 3 batches complete, published" in out, "failed batches were left out"


def test_the_command_that_status_names_resumes_that_very_run(folder: ObjectStore) -> None:
    """Every setting of the run that is not this shell's is in it, and so is --no-publish."""
    settings = {"keep_kinds": "content,greeting", "map_checkpoint": 2}
    run = run_inline(folder, "2023Q1_batch_0001", settings=settings, publish=False)
    out = run_ftm(*STATUS, "--store", folder.url).stdout
    (command,) = re.findall(r"^  go on with: (.*)$", out, flags=re.MULTILINE)
    assert command == (
        "CHECKPOINT_INTERVAL=2 ftm run-quarter --quarter 2023Q1 --batch-size 3 "
        f"--keep-kinds content,greeting --no-publish --store {folder.url}"
    )
    variable, _, *arguments = shlex.split(command)
    name, _, value = variable.partition("=")
    done = run_ftm(*arguments, "--json", **{name: value})
    assert json.loads(done.stdout)["run_id"] == run, done.stderr
    assert published_run(folder, QUARTER) is None
    assert "go on with" not in run_ftm(*STATUS, FTM_STORE=folder.url).stdout


def test_a_run_over_a_partial_prefetch_is_resumed_as_one(tmp_path: Path) -> None:
    """The flag that let it begin is in the command; status says the run is partial."""
    store = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(store, 4, firms_per_chunk=2, n_pending=3)
    run_inline(store, "2023Q1_batch_0001", batch_size=2, allow_partial_prefetch=True)
    (run,) = read_status(store, QUARTER, settings=noop_settings()).runs
    assert run.is_partial
    assert run.resume == "ftm run-quarter --quarter 2023Q1 --batch-size 2 --allow-partial-prefetch"
    assert "had not got to every firm" in run_ftm(*STATUS, FTM_STORE=store.url).stdout


def test_no_command_is_promised_to_resume_a_run_of_an_older_prefetch(folder: ObjectStore) -> None:
    """The same command would begin another run, on what is prefetched now."""
    run_inline(folder, "2023Q1_batch_0001")
    assert read_status(folder, QUARTER, settings=noop_settings()).runs[0].resume
    write_quarter(folder, 8, firms_per_chunk=3)
    (run,) = read_status(folder, QUARTER, settings=noop_settings()).runs
    assert (run.outdated, run.resume) == ("the quarter was prefetched further since", "")
    assert "begins another run" in run_ftm(*STATUS, FTM_STORE=folder.url).stdout


def test_no_command_is_promised_to_resume_a_run_of_other_libraries(folder: ObjectStore) -> None:
    """An upgrade gives the same command another run id; what differs is named."""
    run = run_inline(folder, "2023Q1_batch_0001")
    key = RunLayout(QUARTER, run).spec
    spec = decode_spec(folder.get(key), key=key)
    folder.put(key, spec.model_copy(update={"model": {**spec.model, "kind_rules": "x"}}).encode())
    out = run_ftm(*STATUS, FTM_STORE=folder.url).stdout
    assert "made with other models or libraries (kind_rules)" in out
    assert "go on with" not in out


def test_the_command_that_finishes_a_prefetch_is_named_as_it_must_be_typed(
    tmp_path: Path,
) -> None:
    """With the firms it was for, and --refresh; on one line, with the store that was given."""
    store = open_store(f"file://{tmp_path / 'store'}")
    prefetch(store, FakeSource(firms(3)))
    stop = FakeSource(firms(3), stop_after=2, stop_error=WRDSQueryError("stop"))
    with pytest.raises(WRDSQueryError):
        prefetch(store, stop, ["1000", "1001", "1002"], refresh=True)
    out = run_ftm("status", "--quarter", "2023Q1", "--store", store.url).stdout
    end = f"--store {store.url}`"
    assert (
        f"go on with: `ftm prefetch --quarter 2023Q1 --refresh --firms 1000,1001,1002 {end}" in out
    )
    assert f"or drop it: `ftm prefetch --quarter 2023Q1 --give-up {end}" in out


def test_a_run_under_way_names_who_is_at_it(store: ObjectStore) -> None:
    """While its lease is held, how an earlier attempt ended is no news, and nobody is to resume."""
    write_quarter(store, 7, firms_per_chunk=3)
    layout = RunLayout(QUARTER, run_inline(store, "2023Q1_batch_0001"))
    (before,) = read_status(store, QUARTER).runs
    assert (before.holder, [b.state for b in before.problems]) == ("", ["failed"])
    lease = hold(store, layout.lease, layout.lock_name)
    (during,) = read_status(store, QUARTER).runs
    assert during.holder.startswith("ann on host elsewhere (process 77)")
    assert [b.state for b in during.problems] == ["pending"]
    lease.delete()
    assert read_status(store, QUARTER).runs == (before,)


def test_a_run_under_way_on_the_terminal(folder: ObjectStore) -> None:
    """It says so, by whom, and does not offer to resume it."""
    layout = RunLayout(QUARTER, run_inline(folder, "2023Q1_batch_0001"))
    lease = hold(folder, layout.lease, layout.lock_name)
    out = run_ftm(*STATUS, FTM_STORE=folder.url).stdout
    lease.release()
    assert f"Run {layout.run_id}: under way, 2 of 3 batches complete" in out
    assert "held by   ann on host elsewhere (process 77)" in out
    assert "go on with" not in out


def test_a_prefetch_under_way_is_told_from_one_that_was_killed(store: ObjectStore) -> None:
    """On every kind of store: while somebody holds the quarter it is named."""
    layout = PrefetchLayout(QUARTER)
    lease = hold(store, layout.checkpoint, layout.lock_name)
    lease.write({})
    ongoing = read_status(store, QUARTER).ongoing
    assert ongoing is not None
    assert ongoing.holder.startswith("ann on host elsewhere")
    lease.release()
    ongoing = read_status(store, QUARTER).ongoing
    assert ongoing is not None
    assert ongoing.holder == ""


def test_batches_that_failed_alike_are_one_entry(
    folder: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is told once, with how many batches it is."""
    run_inline(folder, *(f"2023Q1_batch_000{n}" for n in range(3)))
    print_status(read_status(folder, QUARTER))
    out = capsys.readouterr().out
    assert out.count("exit 1: boom") == 1
    assert "2023Q1_batch_0000 and 2 more: failed, 0 of 7 firms" in out


def _spec(run: str) -> str:
    return RunLayout(QUARTER, run).spec


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "spec": (_spec, "remove the run (`ftm clean --quarter Q --run ID`"),
    "progress": (
        lambda run: RunLayout(QUARTER, run).progress("2023Q1_batch_0001"),
        "does this batch again",
    ),
    "batches": (lambda run: RunLayout(QUARTER, run).batch_manifest(1), "writes it again"),
    "manifest copy": (lambda run: RunLayout(QUARTER, run).manifest, "writes it again"),
    "pointer": (lambda _: current_pointer(QUARTER), "publishes it again"),
    "prefetch": (
        lambda _: PrefetchLayout(QUARTER).manifest,
        "`ftm prefetch --quarter 2023Q1 --refresh`",
    ),
    "checkpoint": (
        lambda _: PrefetchLayout(QUARTER).checkpoint,
        "delete it and run the command again",
    ),
}


@pytest.mark.parametrize("which", DAMAGE)
def test_one_damaged_record_hides_nothing_else(folder: ObjectStore, which: str) -> None:
    """What can be read is shown; the damage is one line on stderr with a way out, exit code 1."""
    key_of, fix = DAMAGE[which]
    run = run_inline(folder)
    other = run_inline(folder, batch_size=1)
    folder.put(key_of(run), b'{"not": "it"')
    found = run_ftm(*STATUS, FTM_STORE=folder.url)
    assert (found.returncode, found.stderr.count("\n")) == (1, 1), found.stderr
    assert fix in found.stderr
    assert f"Run {other}: complete" in found.stdout
    assert ("7 firms, 210 sentences" in found.stdout) == (which != "prefetch")
    listed = json.loads(run_ftm("quarters", "--json", FTM_STORE=folder.url).stdout)
    assert listed[0]["n_complete_runs"] == 2


@pytest.mark.parametrize("which", ["progress", "batches", "manifest copy", "spec"])
def test_the_way_out_of_a_damaged_run_record_works(folder: ObjectStore, which: str) -> None:
    """What the message says to delete is deleted, the same command run, and all is well."""
    run = run_inline(folder)
    key = DAMAGE[which][0](run)
    folder.put(key, b'{"not": "it"')
    if which == "spec":
        for prefix in (f"runs/2023Q1/{run}", f"progress/2023Q1/run={run}"):
            for info in list(folder.list(prefix)):
                folder.delete(info.key)
    elif which == "progress":
        folder.delete(key)
    assert run_inline(folder) == run
    assert read_status(folder, QUARTER).unreadable == {}
    assert find_run(folder, QUARTER, run).is_complete


def test_one_missing_record_hides_nothing_else(folder: ObjectStore) -> None:
    """Gone is as bad as damaged, and no worse; a pointer to a run that is gone is said."""
    run, other = run_inline(folder), run_inline(folder, batch_size=1)
    folder.delete(RunLayout(QUARTER, run).manifest)
    found = run_ftm(*STATUS, FTM_STORE=folder.url)
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert "prefetch.json.gz is gone; the `ftm run-quarter` command" in found.stderr
    assert f"Run {other}: complete" in found.stdout
    assert run_inline(folder) == run
    assert read_status(folder, QUARTER).unreadable == {}
    publish(folder, RunLayout(QUARTER, "gone"), {})
    assert "names run gone" in read_status(folder, QUARTER).unreadable["published run"]


def test_a_damaged_outcome_only_says_nothing(folder: ObjectStore) -> None:
    """No result hangs on it: the run is shown and read as before."""
    run = run_inline(folder)
    folder.put(RunLayout(QUARTER, run).outcome("map", 1), b"{")
    assert find_run(folder, QUARTER).outcomes == {}
    assert run_ftm(*STATUS, FTM_STORE=folder.url).returncode == 0


def test_a_manifest_of_a_newer_ftm_is_not_called_damaged(folder: ObjectStore) -> None:
    """The word is `unreadable`, the reason says to upgrade; runs are counted all the same."""
    run_inline(folder)
    newer = {"schema_version": MANIFEST_VERSION + 1}
    folder.put(PrefetchLayout(QUARTER).manifest, json.dumps(newer).encode())
    found = run_ftm("quarters", FTM_STORE=folder.url)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[1].split() == [
        "2023Q1",
        "unreadable",
        "-",
        "-",
        "-",
        "1",
        "complete",
    ]
    assert "install the ftm that wrote it" in found.stdout
    assert "damaged" not in found.stdout


def test_quarters_lists_what_is_there(folder: ObjectStore, tmp_path: Path) -> None:
    """One line a quarter; an empty store says how to begin."""
    run_inline(folder)
    run_inline(folder, "2023Q1_batch_0000", settings={"keep_kinds": "greeting"})
    out = run_ftm("quarters", FTM_STORE=folder.url).stdout
    assert out.splitlines()[1].split()[:2] == ["2023Q1", "complete"]
    assert out.splitlines()[1].rstrip().endswith("1 complete, 1 not")
    (tmp_path / "empty").mkdir()
    assert "holds no quarter" in run_ftm("quarters", "--store", f"file://{tmp_path}/empty").stdout


def test_a_damaged_quarter_does_not_hide_the_others(folder: ObjectStore) -> None:
    """It is a line of its own that says what is wrong; a folder of no quarter is passed over."""
    folder.put("prefetch/transcripts/quarter=2023Q5/x", b"")
    folder.put(PrefetchLayout(QUARTER.next()).manifest, b"not a manifest")
    good, bad = list_quarters(folder)
    assert (good.quarter, good.unreadable, good.n_firms) == ("2023Q1", "", 7)
    assert (bad.quarter, bad.n_firms) == ("2023Q2", None)
    assert "manifest.json" in bad.unreadable
