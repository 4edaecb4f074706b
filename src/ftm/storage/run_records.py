"""The small JSON records of a run: its spec, its batches, their progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ftm.core.errors import CorruptObjectError
from ftm.core.plain import one_line
from ftm.core.quarter import Quarter
from ftm.storage.sealed import decode_object, decode_sealed, encode_sealed

PLACE = "place"
"""The field that holds the key a record was written under."""


class Record(BaseModel):
    """A small JSON document of a run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mend: ClassVar[str]
    """What to do about one that cannot be read, for its error."""

    def encode(self, key: str = "") -> bytes:
        """JSON with a hash of itself; equal records are equal bytes.

        Args:
            key: where it is put; read from anywhere else it is refused, as that of another run,
                stage or attempt would look right. Empty: it may lie anywhere.
        """
        fields = self.model_dump(mode="json")
        return encode_sealed({**fields, PLACE: key} if key else fields)


_T = TypeVar("_T", bound=Record)


class RunSpec(Record):
    """`spec.json`: everything that determines a run's output.

    Args:
        quarter: like 2023Q1.
        run_id: of the rest but created_at, ftm_version and machine, so a rerun finds its run.
        created_at: ISO 8601 UTC; every processing_timestamp of the run.
        manifest_sha256: of the run's copy of the prefetch manifest (its decoded content).
        batches_sha256: of the first attempt's batch manifest.
        model: `ftm.topics.fingerprint.model_fingerprint`, device and dtype included.
        checkpoint_firms: firms per map part.
        ftm_version: for the record only.
        batch_size: what the run's first command asked for, for the record only: the batches are
            what counts. None: an ftm wrote it that did not record it.
        publish: False: that command was to leave readers with the run they had.
        backend: where that command's jobs ran, `local` or `batch`, for the record only.
        machine: processor and GPU of the run's first command, for the record only: another model
            may give other last bits, but may go on with the run. Empty where jobs run elsewhere:
            each batch's progress says what computed it.
    """

    mend = (
        "restore it from a backup, or remove the run (`ftm clean --quarter Q --run ID`; a "
        "published one by hand, its folders under runs/ and progress/): the `ftm run-quarter` "
        "command that began it then makes it anew"
    )

    quarter: str
    run_id: str
    created_at: str
    manifest_sha256: str
    batches_sha256: str
    model: dict[str, str]
    checkpoint_firms: int
    ftm_version: str
    machine: str = ""
    batch_size: int | None = None
    publish: bool = True
    backend: str = "local"

    @field_validator("quarter")
    @classmethod
    def _is_quarter(cls, text: str) -> str:
        return str(Quarter.parse(text))

    @field_validator("created_at")
    @classmethod
    def _is_time(cls, text: str) -> str:
        datetime.fromisoformat(text)
        return text

    @property
    def is_trial(self) -> bool:
        """A run of the noop models, which tries the way and makes no topics to work with."""
        return "noop" in (self.model.get("embedding_model"), self.model.get("clustering"))


class BatchLine(Record):
    """One line of a batch manifest."""

    mend = "delete it: the `ftm run-quarter` command that began the run writes it again"

    batch_id: str
    quarter: str
    firm_ids: list[str]


class BatchProgress(Record):
    """`progress/…/{batch_id}.json`: what of a batch is durable.

    Args:
        batch_id: which.
        parts: {key: sha256} of every firm-topics and firm-sentences part listed so far.
        done: firms with their rows in those parts, in batch order (zero topics included).
        failed: firm → error.
        skipped: firm → reason (a firm of the batch the prefetch holds no sentences of).
        complete: every firm of the batch is in done, failed or skipped and every part listed.
        partial: {key: sha256} of parts that hold some of their firms only (a stop, or failed
            firms being tried again); replaced by the full part before that is listed in parts.
        kept: firms with their rows in the partial parts, in batch order.
        job_id: of the job that wrote it last; empty outside AWS.
        machine: processor and GPU of the worker that wrote it last.
    """

    mend = "delete it: the `ftm run-quarter` command that began the run then does this batch again"

    batch_id: str
    parts: dict[str, str] = {}
    done: list[str] = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    complete: bool = False
    partial: dict[str, str] = {}
    kept: list[str] = []
    job_id: str = ""
    machine: str = ""


class JobRecord(Record):
    """`jobs/{stage}_{attempt}.json`: what is about to be submitted, put before it is.

    Args:
        name: of the jobs, deterministic per run, stage and attempt.
        stage: like map.
        attempt: 1, 2, …
        batch_ids: what this attempt works on; child i on batch_ids[i].
        backend: where it is submitted, `local` or `batch`.
        asked: what the command that submitted it is to do after this stage, as variables: whoever
            watches the jobs from elsewhere goes on in the same way.
    """

    # Not `ftm cancel` first: it reads this record to find the jobs.
    mend = (
        "delete it and run the same command again: no result hangs on it, and of two sets of jobs "
        "at the same work one leaves it to the other"
    )

    name: str
    stage: str
    attempt: int
    batch_ids: list[str]
    backend: str = "local"
    asked: dict[str, str] = {}


class JobClaim(Record):
    """`progress/…/claims/{stage}_{attempt}`: the one set of jobs that may do an attempt.

    Args:
        job_id: of the job, or of the parent of the array.
        claimed_at: ISO 8601 UTC; empty where that is not known.
    """

    mend = (
        "delete it and run the same command again: it finds the run's jobs by their name, and puts "
        "them on record anew"
    )

    job_id: str
    claimed_at: str = ""

    @field_validator("claimed_at")
    @classmethod
    def _is_time(cls, text: str) -> str:
        if text and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time without a zone")
        return text

    def is_younger(self, seconds: float) -> bool:
        """Whether it was claimed less than so long ago."""
        if not self.claimed_at:
            return False
        age = datetime.now(UTC) - datetime.fromisoformat(self.claimed_at)
        return age.total_seconds() < seconds


class ModelClaim(Record):
    """`progress/…/claims/model`: what the run's first worker computes with, and so all of them.

    Args:
        model: `ftm.topics.fingerprint.model_fingerprint`, as that worker works it out.
        ftm_version: its code.
    """

    mend = "delete it: the next worker of the run writes it again"

    model: dict[str, str]
    ftm_version: str


class BatchOutcome(Record):
    """How one batch's job ended: state, why in words, exit code, where its log is.

    Args:
        n_attempts: starts of its job, Spot losses included; 0 where that is not known.
        seconds: that they ran, all together.
        n_firms: of the batch.
    """

    batch_id: str
    state: str
    reason: str = ""
    exit_code: int | None = None
    log: str = ""
    n_attempts: int = 0
    seconds: float = 0.0
    n_firms: int = 0


class StageOutcome(Record):
    """`jobs/{stage}_{attempt}.outcome.json`: for people who ask later what failed and why."""

    mend = "delete it: it says how an attempt ended, no result hangs on it"

    name: str
    batches: list[BatchOutcome]


def decode_job(data: bytes, *, key: str) -> JobRecord:
    """Read a job record.

    Raises:
        CorruptObjectError: not a job record.
    """
    return decode_record(JobRecord, data, key)


def decode_job_claim(data: bytes, *, key: str) -> JobClaim:
    """Read which jobs are on record.

    Raises:
        CorruptObjectError: no such record.
    """
    return decode_record(JobClaim, data, key)


def decode_model_claim(data: bytes, *, key: str) -> ModelClaim:
    """Read what the run's first worker computes with.

    Raises:
        CorruptObjectError: no such record.
    """
    return decode_record(ModelClaim, data, key)


def decode_outcome(data: bytes, *, key: str) -> StageOutcome:
    """Read a stage's outcome.

    Raises:
        CorruptObjectError: not an outcome.
    """
    return decode_record(StageOutcome, data, key)


def decode_spec(data: bytes, *, key: str) -> RunSpec:
    """Read a spec.

    Raises:
        CorruptObjectError: not a spec.
    """
    return decode_record(RunSpec, data, key)


def decode_progress(data: bytes, *, key: str) -> BatchProgress:
    """Read a batch's progress.

    Raises:
        CorruptObjectError: not a progress record.
    """
    return decode_record(BatchProgress, data, key)


def encode_batches(lines: list[BatchLine]) -> bytes:
    """A batch manifest: JSON lines, line i for array child i."""
    return b"".join(json.dumps(line.model_dump()).encode() + b"\n" for line in lines)


def decode_batches(data: bytes, *, key: str) -> list[BatchLine]:
    """Read a batch manifest.

    Raises:
        CorruptObjectError: a line is not a batch.
    """
    lines = [line for line in data.splitlines() if line.strip()]
    return [_decode(BatchLine, line, key, decode_object) for line in lines]


def decode_record(kind: type[_T], data: bytes, key: str) -> _T:
    """Read a record of this kind.

    Raises:
        CorruptObjectError: no such record, or of another place; says how it is mended.
    """
    return _decode(kind, data, key, decode_sealed)


def _decode(kind: type[_T], data: bytes, key: str, decode: Callable[[bytes], dict[str, Any]]) -> _T:
    try:
        fields = decode(data)
        place = fields.pop(PLACE, "")
        if not key.endswith(f"{place}"):
            raise ValueError(f"it is the one of {place}")
        return kind.model_validate(fields)
    except ValueError as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise CorruptObjectError(
            f"{key} is damaged, no {kind.__name__}: {one_line(what)}; {kind.mend}", key=key
        ) from error
