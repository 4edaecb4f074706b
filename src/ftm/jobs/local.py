"""Batches as processes of this machine: the command and environment a container would get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ftm.core.errors import JobError
from ftm.jobs.base import STAGE_WIDE_EXIT, JobBackend, JobState, JobStatus, StageJobs
from ftm.jobs.exit_codes import KILLED, explain
from ftm.jobs.worker_log import last_line, read_count

GRACE_S = 30.0
"""Between SIGTERM and SIGKILL, as AWS Batch gives a container:
https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html"""

_TAIL_BYTES = 4096

CORES_PER_WORKER = 4
"""Embedding uses up to four cores well; a second worker costs its own copy of the model."""

_IF_KILLED = "use fewer --workers"
_SUPERVISOR = Path(__file__).with_name("supervisor.py")

_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "AWS_", "HF_", "NUMBA_")
"""What a process needs to run here at all, and the AWS credentials a container has from its role.
Settings of ftm are not inherited: a worker sees those of the run and no others."""


@dataclass(slots=True)
class _Job:
    """One batch: its process once it started, its state, the last line of its log."""

    batch_id: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    status: JobStatus = field(init=False)

    def __post_init__(self) -> None:
        self.set(JobState.PENDING)

    def set(self, state: JobState, reason: str = "", exit_code: int | None = None) -> None:
        self.status = JobStatus(self.batch_id, state, reason, exit_code, str(self.log))


class LocalBackend(JobBackend):
    """Runs `python -m ftm.worker {stage}` once per batch, a few at a time.

    Jobs start and are reaped in `poll`, so somebody has to call it; they end with this process,
    even if it is killed. Their output goes to one log file per batch.

    Args:
        log_folder: logs lie in `{log_folder}/{jobs.name}/{batch_id}.log`; None: a private
            temporary folder, removed with this object if every job succeeded.
        max_workers: processes at once; None: one per four cores, or one alone on a GPU. Never
            more than a stage has batches; all cores are shared out among them.
        environment: what children inherit from (a part of it); usually this process's own.
        command: what precedes the stage; None: this Python and `-m ftm.worker`.
        grace_s: seconds between SIGTERM and SIGKILL.
        cores: to be shared out; None: those this process may use.
    """

    def __init__(
        self,
        log_folder: Path | None,
        *,
        max_workers: int | None = None,
        environment: Mapping[str, str],
        command: Sequence[str] | None = None,
        grace_s: float = GRACE_S,
        cores: int | None = None,
    ) -> None:
        self._cores = cores or _n_cores()
        self._max_workers = max_workers
        self._log_folder = log_folder
        self._is_temporary = log_folder is None
        self._inherited = inherited(environment)
        self._command = list(command or [sys.executable, "-m", "ftm.worker"])
        self._grace_s = grace_s
        self._stages: dict[str, tuple[StageJobs, list[_Job]]] = {}

    def submit(self, jobs: StageJobs) -> str:
        """See JobBackend; the first processes start at once."""
        if jobs.name not in self._stages:
            folder = self._make_folder(jobs.name)
            self._stages[jobs.name] = (jobs, self._jobs(jobs, folder))
        self.poll(jobs.name)
        return jobs.name

    def _make_folder(self, name: str) -> Path:
        """Of a stage's logs."""
        if self._log_folder is None:
            try:
                self._log_folder = Path(tempfile.mkdtemp(prefix=f"ftm-{os.getuid()}-"))
            except OSError as error:
                raise JobError(
                    f"cannot make a temporary folder for logs: {error.strerror}; make room, or set "
                    "TMPDIR to another folder"
                ) from error
        folder = self._log_folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise JobError(f"cannot make the log folder {folder}: {error.strerror}") from error
        return folder

    def find(
        self,
        jobs: StageJobs,
        handle: str | None = None,
        *,
        is_new: bool = False,  # noqa: ARG002
    ) -> str | None:
        """See JobBackend; knows only jobs this object submitted."""
        name = handle or jobs.name
        return name if name in self._stages else None

    def poll(self, handle: str) -> list[JobStatus]:
        """See JobBackend; also starts what there is room for."""
        stage, jobs = self._stages[handle]
        n_workers = self._n_workers(stage)
        for job in jobs:
            self._reap(job)
            if job.status.state is JobState.RUNNING:
                job.status = replace(job.status, n_done=read_count(_tail(job.log)))
        _give_up_the_rest(jobs)
        for job in jobs:
            if job.status.state is JobState.PENDING and self._n_running < n_workers:
                self._start(job, stage.stage)
        return [job.status for job in jobs]

    def cancel(self, handle: str, reason: str) -> None:
        """See JobBackend; returns when every process has ended."""
        _, jobs = self._stages[handle]
        for job in jobs:
            self._reap(job)
            if job.status.state is JobState.PENDING:
                job.set(JobState.CANCELLED, reason)
            elif job.process is not None and job.process.stdin is not None:
                job.process.stdin.close()
        self._wait(jobs, reason)

    def farewell(self) -> str:
        """See JobBackend."""
        if not (n := self._n_running):
            return ""
        batches = "1 running batch" if n == 1 else f"{n} running batches"
        return f"stopping {batches}: what is done is being saved, at most {self._grace_s:.0f} s"

    def close(self) -> None:
        """Cancel what still runs."""
        for name in list(self._stages):
            self.cancel(name, "the command that ran it was stopped")
        states = {job.status.state for _, jobs in self._stages.values() for job in jobs}
        if self._is_temporary and self._log_folder and states == {JobState.SUCCEEDED}:
            shutil.rmtree(self._log_folder, ignore_errors=True)

    @property
    def _n_running(self) -> int:
        return sum(
            job.status.state is JobState.RUNNING
            for _, jobs in self._stages.values()
            for job in jobs
        )

    def _jobs(self, jobs: StageJobs, folder: Path) -> list[_Job]:
        shared = {**self._inherited, **self._core_limits(jobs), **jobs.environment}
        if len(jobs.batch_ids) == 1:
            own = [{"BATCH_ID": jobs.batch_ids[0]}]
        else:
            own = [{"AWS_BATCH_JOB_ARRAY_INDEX": str(i)} for i in range(len(jobs.batch_ids))]
        return [
            _Job(batch_id, {**shared, **variables}, folder / f"{batch_id}.log")
            for batch_id, variables in zip(jobs.batch_ids, own, strict=True)
        ]

    def _n_workers(self, jobs: StageJobs) -> int:
        on_gpu = jobs.environment.get("FTM_DEVICE", "").startswith("cuda")
        usual = 1 if on_gpu else max(1, self._cores // CORES_PER_WORKER)
        return min(self._max_workers or usual, max(1, len(jobs.batch_ids)))

    def _core_limits(self, jobs: StageJobs) -> dict[str, str]:
        cores = str(max(1, self._cores // self._n_workers(jobs)))
        # Without the first every worker's OpenMP takes all cores and they slow each other down.
        # Without the second its threads spin while they wait: on a busy machine embedding took
        # twice the time and 2.5 times the CPU.
        return {
            "OMP_NUM_THREADS": cores,
            "OMP_WAIT_POLICY": "passive",
            "FTM_WORKER_CORES": cores,
        }

    def _start(self, job: _Job, stage: str) -> None:
        command = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(self._grace_s)]
        try:
            with job.log.open("ab") as log:
                # The worker's folder is that of its logs: an ftm.toml where the user stands must
                # not reach it, as it would not reach a container.
                job.process = subprocess.Popen(  # noqa: S603 - our own worker
                    [*command, *self._command, stage],
                    env=job.environment,
                    cwd=job.log.parent,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            job.set(JobState.FAILED, f"could not start: {error}")
            return
        job.set(JobState.RUNNING)

    def _reap(self, job: _Job, cancelled: str = "") -> bool:
        """Note how a job ended; False while it runs."""
        if job.process is None or job.status.state.is_final:
            return True
        code = job.process.poll()
        if code is None:
            return False
        if job.process.stdin is not None:
            job.process.stdin.close()
        code = code if code >= 0 else 128 - code
        if code == 0:
            job.set(JobState.SUCCEEDED, exit_code=0)
        elif cancelled:
            late = f"; it did not end within {self._grace_s:g} s and was killed"
            job.set(JobState.CANCELLED, cancelled + (late if code == KILLED else ""), code)
        else:
            job.set(
                JobState.FAILED, f"{explain(code, if_killed=_IF_KILLED)}{_last_line(job.log)}", code
            )
        return True

    def _wait(self, jobs: Sequence[_Job], reason: str) -> None:
        while not all(self._reap(job, reason) for job in jobs):
            time.sleep(0.02)


def _give_up_the_rest(jobs: Sequence[_Job]) -> None:
    """Start no more batches when one found what all of them would find."""
    states = {job.status.state for job in jobs}
    told = [job.batch_id for job in jobs if job.status.exit_code == STAGE_WIDE_EXIT]
    if told and JobState.SUCCEEDED not in states:
        for job in jobs:
            if job.status.state is JobState.PENDING:
                job.set(JobState.CANCELLED, f"not started, would end like {told[0]}")


def _n_cores() -> int:
    """Cores this process may use; fewer than the machine has under taskset or Slurm."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a worker on this machine may see."""
    return {
        name: value
        for name, value in environment.items()
        if (name in _INHERITED or name.startswith(_INHERITED_PREFIXES))
        and not name.startswith("AWS_BATCH_")
    }


def _last_line(log: Path) -> str:
    """`: ` and the last line the worker wrote; empty when it wrote nothing."""
    last = last_line(_tail(log))
    return f": {last}" if last else ""


def _tail(log: Path) -> str:
    """The end of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
