"""The local backend: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ftm.core.errors import JobError
from ftm.jobs.base import JobState
from ftm.jobs.local import LocalBackend, inherited
from tests.support.job_backends import JobBackendSuite, stub_stage, wait, wait_for

STUB = [sys.executable, str(Path(__file__).parents[1] / "support" / "stub_worker.py")]


def make_backend(logs: Path | None, *, grace_s: float = 20, max_workers: int = 3) -> LocalBackend:
    """A backend that runs the stub instead of the worker."""
    environment = {**os.environ, "FTM_STORE": "leaks", "WRDS_PASSWORD": "leaks", "AWS_REGION": "r"}
    return LocalBackend(
        logs, max_workers=max_workers, environment=environment, command=STUB, grace_s=grace_s
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the stub notes what it saw."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    """A backend that is closed after the test."""
    made = make_backend(tmp_path / "logs")
    yield made
    made.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that waits for init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_dead(pids: list[int], limit_s: float = 20) -> None:
    """All of these processes end in time."""
    end = time.monotonic() + limit_s
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)


class TestLocalBackend(JobBackendSuite):
    """The suite of all backends, on processes of this machine."""


def test_settings_and_secrets_of_the_parent_do_not_reach_workers(
    backend: LocalBackend, out: Path
) -> None:
    """A child sees the run's variables, what a process needs to run, AWS's, and nothing else."""
    wait(backend, backend.submit(stub_stage(out, "b0")))
    env = wait_for(out / "b0.start.json")["env"]
    assert "FTM_STORE" not in env
    assert "WRDS_PASSWORD" not in env
    assert env["AWS_REGION"] == "r"
    assert env["PATH"] == os.environ["PATH"]
    assert int(env["OMP_NUM_THREADS"]) >= 1


def test_an_array_index_of_the_parent_is_not_inherited() -> None:
    """A worker started inside a Batch job must not take the outer job's index."""
    outer = {"AWS_BATCH_JOB_ARRAY_INDEX": "4", "AWS_BATCH_JOB_ID": "x", "AWS_PROFILE": "p"}
    assert inherited(outer) == {"AWS_PROFILE": "p"}


def test_output_goes_to_one_log_per_batch_and_its_last_line_into_the_reason(
    backend: LocalBackend, out: Path
) -> None:
    """The log is where the status says, and a failure quotes its last line."""
    status = wait(backend, backend.submit(stub_stage(out, "b0", b0="exit 1")))[0]
    assert Path(status.log).read_text() == "stub b0 speaks\n"
    assert status.reason == "exit 1: stub b0 speaks"


def test_workers_do_not_run_in_the_users_folder(backend: LocalBackend, out: Path) -> None:
    """An ftm.toml where the user stands is not read by workers, as no container would."""
    wait(backend, backend.submit(stub_stage(out, "b0")))
    assert wait_for(out / "b0.start.json")["cwd"] != str(Path.cwd())


@pytest.mark.parametrize(
    ("n_batches", "device", "workers", "cores"),
    [
        (1, "cpu", None, 16),
        (3, "cpu", None, 5),
        (9, "cpu", None, 4),
        (9, "cuda", None, 16),
        (9, "cuda", 2, 8),
        (2, "cpu", 9, 8),
    ],
)
def test_the_cores_are_shared_out_among_the_workers(
    n_batches: int, device: str, workers: int | None, cores: int, tmp_path: Path, out: Path
) -> None:
    """One worker per four cores and no more than batches, on a GPU one; each hears its share."""
    backend = LocalBackend(
        tmp_path / "logs", max_workers=workers, environment=os.environ, command=STUB, cores=16
    )
    stage = stub_stage(out, *(f"b{i}" for i in range(n_batches)))
    stage = replace(stage, environment={**stage.environment, "FTM_DEVICE": device})
    wait(backend, backend.submit(stage))
    env = wait_for(out / ("b0.start.json" if n_batches == 1 else "0.start.json"))["env"]
    assert isinstance(env, dict)
    assert (env["OMP_NUM_THREADS"], env["FTM_WORKER_CORES"]) == (str(cores), str(cores))


def test_no_more_than_max_workers_at_once(tmp_path: Path, out: Path) -> None:
    """With one worker the second batch starts when the first has ended."""
    backend = make_backend(tmp_path / "logs", max_workers=1)
    handle = backend.submit(stub_stage(out, "b0", "b1", i0="sleep"))
    wait_for(out / "0.start.json")
    states = [status.state for status in backend.poll(handle)]
    assert states == [JobState.RUNNING, JobState.PENDING]
    backend.close()
    assert [s.state for s in backend.poll(handle)] == [JobState.CANCELLED] * 2
    assert not (out / "1.start.json").exists()


def test_a_worker_deaf_to_sigterm_is_killed_after_the_grace(tmp_path: Path, out: Path) -> None:
    """SIGKILL follows SIGTERM, for the whole family of processes."""
    backend = make_backend(tmp_path / "logs", grace_s=0.2)
    handle = backend.submit(stub_stage(out, "b0", "b1", i0="deaf", i1="family"))
    pids = [*wait_for(out / "0.start.json")["pids"], *wait_for(out / "1.start.json")["pids"]]
    backend.cancel(handle, "enough")
    deaf, _ = backend.poll(handle)
    assert deaf.state is JobState.CANCELLED
    assert deaf.reason == "enough; it did not end within 0.2 s and was killed"
    wait_until_dead(pids)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_parent_that_is_killed(
    how: signal.Signals, tmp_path: Path, out: Path
) -> None:
    """Workers and their children end when the orchestrating process is killed, however."""
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from ftm.jobs.local import LocalBackend\n"
        "from tests.support.job_backends import stub_stage\n"
        "logs, out, *command = sys.argv[1:]\n"
        "backend = LocalBackend(Path(logs), max_workers=2, environment=os.environ,"
        " command=command, grace_s=1)\n"
        "backend.submit(stub_stage(Path(out), 'b0', 'b1', i0='family', i1='deaf'))\n"
        "time.sleep(600)\n"
    )
    arguments = [str(tmp_path / "logs"), str(out), *STUB]
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=root)
    pids = [*wait_for(out / "0.start.json")["pids"], *wait_for(out / "1.start.json")["pids"]]
    assert all(is_alive(pid) for pid in pids)
    parent.send_signal(how)
    parent.wait()
    wait_until_dead(pids)
    assert json.loads((out / "0.term.json").read_text()), "SIGTERM comes before SIGKILL"


def test_a_running_job_tells_how_many_firms_it_has_done(backend: LocalBackend, out: Path) -> None:
    """The count comes from the last such line of the log; an ended job has none."""
    handle = backend.submit(stub_stage(out, "b0", "b1", i0="count", i1="exit 1"))
    counted = wait(backend, handle, lambda found: found[0].n_done is not None)[0]
    assert (counted.state, counted.n_done) == (JobState.RUNNING, 3)
    backend.cancel(handle, "enough")
    assert [status.n_done for status in backend.poll(handle)] == [None, None]


def test_what_every_batch_would_meet_starts_no_more_of_them(tmp_path: Path, out: Path) -> None:
    """After exit code 2 the batches still waiting are cancelled, never started."""
    backend = make_backend(tmp_path / "logs", max_workers=1)
    found = wait(backend, backend.submit(stub_stage(out, "b0", "b1", "b2", i0="exit 2")))
    assert [s.state for s in found] == [JobState.FAILED, *[JobState.CANCELLED] * 2]
    assert found[2].reason == "not started, would end like b0"
    assert not (out / "1.start.json").exists()


@pytest.mark.parametrize("ends", [{"i0": "exit 1"}, {"i1": "exit 2"}], ids=["exit 1", "late"])
def test_one_batch_of_its_own_kind_stops_no_other(
    ends: dict[str, str], tmp_path: Path, out: Path
) -> None:
    """Exit code 1, or 2 after another batch succeeded, is that batch's own affair."""
    backend = make_backend(tmp_path / "logs", max_workers=1)
    found = wait(backend, backend.submit(stub_stage(out, "b0", "b1", "b2", **ends)))
    assert found[2].state is JobState.SUCCEEDED


def test_the_farewell_says_what_is_waited_for(tmp_path: Path, out: Path) -> None:
    """While jobs run it names their number and the longest wait; afterwards nothing."""
    backend = make_backend(tmp_path / "logs", grace_s=20)
    backend.submit(stub_stage(out, "b0", "b1", i0="sleep", i1="sleep"))
    assert backend.farewell().startswith("stopping 2 running batches")
    assert "at most 20 s" in backend.farewell()
    backend.close()
    assert backend.farewell() == ""


def test_a_command_that_is_not_there_is_a_failed_batch(tmp_path: Path, out: Path) -> None:
    """A worker that cannot even start fails its batch and says why."""
    backend = LocalBackend(tmp_path, environment=os.environ, command=["/no/such/python"])
    status = wait(backend, backend.submit(stub_stage(out, "b0")))[0]
    assert status.state is JobState.FAILED
    assert "/no/such/python" in status.reason


def test_a_log_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path, out: Path) -> None:
    """The error names the folder."""
    (tmp_path / "file").write_text("")
    backend = LocalBackend(tmp_path / "file" / "logs", environment={}, command=STUB)
    with pytest.raises(JobError, match="logs/stage-1"):
        backend.submit(stub_stage(out, "b0"))


@pytest.mark.parametrize(("what", "stays"), [("", False), ("exit 3", True)])
def test_logs_without_a_folder_are_private_and_go_where_all_went_well(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, what: str, stays: bool
) -> None:
    """A store on S3 has no folder; what failed can still be read, and the status says where."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    backend = make_backend(None)
    stage = stub_stage(out, "b0", b0=what)
    (status,) = wait(backend, backend.submit(stage))
    log = Path(status.log)
    own = log.parents[1]
    assert own.parent == tmp_path
    assert own.stat().st_mode & 0o077 == 0
    assert log.exists()
    backend.close()
    assert own.exists() == stays


def test_no_room_for_temporary_logs_is_told_with_the_way_out(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk under the temporary directory is no bug of ours."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(JobError, match="set TMPDIR"):
        make_backend(None).submit(stub_stage(out, "b0"))
