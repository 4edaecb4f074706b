"""One suite for every job backend; subclasses supply the fixture `backend`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from ftm.jobs.base import JobBackend, JobState, JobStatus, StageJobs


def stub_stage(out: Path, *batch_ids: str, name: str = "stage-1", **do: str) -> StageJobs:
    """A stage for the stub worker; `do` maps `i0` (array child 0) or a batch id to a behaviour."""
    plan = {key.removeprefix("i"): what for key, what in do.items()}
    environment = {"STUB_OUT": str(out), "STUB_DO": json.dumps(plan), "FTM_SEED": "7"}
    return StageJobs(name=name, stage="map", batch_ids=batch_ids, environment=environment)


def wait(
    backend: JobBackend,
    handle: str,
    until: Callable[[list[JobStatus]], bool] = lambda found: all(s.state.is_final for s in found),
    limit_s: float = 30,
) -> list[JobStatus]:
    """Poll until a condition holds."""
    end = time.monotonic() + limit_s
    while not until(found := backend.poll(handle)):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def wait_for(path: Path, limit_s: float = 30) -> dict[str, object]:
    """The JSON of a file, once it is there."""
    end = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.02)
    found: dict[str, object] = json.loads(path.read_text())
    return found


class JobBackendSuite:
    """What every backend does."""

    def test_children_of_an_array_get_their_index_and_the_stage(
        self, backend: JobBackend, out: Path
    ) -> None:
        """Child i sees AWS_BATCH_JOB_ARRAY_INDEX=i, no BATCH_ID, and what the stage gives."""
        wait(backend, backend.submit(stub_stage(out, "b0", "b1", "b2")))
        for i in range(3):
            seen = wait_for(out / f"{i}.start.json")
            assert seen["argv"] == ["map"]
            assert seen["env"]["AWS_BATCH_JOB_ARRAY_INDEX"] == str(i)
            assert "BATCH_ID" not in seen["env"]
            assert seen["env"]["FTM_SEED"] == "7"

    def test_a_single_batch_gets_its_id(self, backend: JobBackend, out: Path) -> None:
        """One batch is a plain job: BATCH_ID and no array index."""
        statuses = wait(backend, backend.submit(stub_stage(out, "b0")))
        assert [s.state for s in statuses] == [JobState.SUCCEEDED]
        seen = wait_for(out / "b0.start.json")
        assert "AWS_BATCH_JOB_ARRAY_INDEX" not in seen["env"]

    def test_failures_are_told_apart_and_explained(self, backend: JobBackend, out: Path) -> None:
        """A batch that fails does not touch the others; its reason is in words."""
        handle = backend.submit(stub_stage(out, "b0", "b1", "b2", i0="exit 3", i2="kill"))
        failed, fine, killed = wait(backend, handle)
        assert (failed.state, failed.exit_code) == (JobState.FAILED, 3)
        assert fine.state is JobState.SUCCEEDED
        assert (killed.state, killed.exit_code) == (JobState.FAILED, 137)
        assert "memory" in killed.reason
        # Another batch size would be another run, and all that is done would be done again.
        assert "--batch-size" not in killed.reason

    def test_statuses_come_in_the_order_of_the_batches(
        self, backend: JobBackend, out: Path
    ) -> None:
        """Poll answers every batch, in order of batch_ids."""
        handle = backend.submit(stub_stage(out, "z", "a", "m"))
        assert [s.batch_id for s in backend.poll(handle)] == ["z", "a", "m"]
        wait(backend, handle)

    def test_the_same_name_is_not_submitted_twice(self, backend: JobBackend, out: Path) -> None:
        """A second submit of a name finds the first one's jobs."""
        first = backend.submit(stub_stage(out, "b0"))
        wait(backend, first)
        (out / "b0.start.json").unlink()
        assert backend.submit(stub_stage(out, "b0")) == first
        assert backend.find(stub_stage(out, "b0")) == first
        assert backend.poll(first)[0].state is JobState.SUCCEEDED
        assert not (out / "b0.start.json").exists()

    def test_an_unknown_name_is_not_found(self, backend: JobBackend, out: Path) -> None:
        """Find answers None for a name nobody submitted."""
        assert backend.find(stub_stage(out, "b0", name="never")) is None

    def test_cancelling_sends_sigterm_and_leaves_the_finished_alone(
        self, backend: JobBackend, out: Path
    ) -> None:
        """What runs hears SIGTERM; what had ended keeps its state."""
        handle = backend.submit(stub_stage(out, "b0", "b1", i1="sleep"))
        wait_for(out / "1.start.json")
        wait(backend, handle, lambda found: found[0].state.is_final)
        backend.cancel(handle, "no longer wanted")
        done, stopped = wait(backend, handle)
        assert done.state is JobState.SUCCEEDED
        assert stopped.state is JobState.CANCELLED
        assert stopped.reason == "no longer wanted"
        assert (out / "1.term.json").exists()
