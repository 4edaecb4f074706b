"""What a run's jobs took, and what the next ones are likely to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ftm.core.counted import counted
from ftm.core.errors import FtmError
from ftm.core.layout import RunLayout, run_of_key
from ftm.core.quarter import Quarter
from ftm.jobs.base import JobState
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import STAGE, each
from ftm.storage.run_records import (
    BatchLine,
    BatchOutcome,
    RunSpec,
    StageOutcome,
    decode_outcome,
    decode_spec,
)

_COMPARED = ("device", "dtype", "embedding_model", "clustering")


@dataclass(frozen=True, slots=True)
class Usage:
    """What all attempts of a run took.

    Args:
        job_hours: that jobs ran, attempts lost to Spot included.
        n_retried: batches whose job was started more than once, in one attempt or over several.
        price_per_hour: of one job, None if it is not known.
    """

    job_hours: float = 0.0
    n_retried: int = 0
    price_per_hour: float | None = None

    @property
    def cost(self) -> float | None:
        """job_hours times the price, in its currency; None without a price."""
        return None if self.price_per_hour is None else self.job_hours * self.price_per_hour


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is going to be submitted.

    Args:
        quarter: like 2023Q1.
        run_id: of the run.
        n_firms: to do.
        n_batches: to do.
        n_chunks: they read.
        seconds_per_firm: by an earlier run; None if there is none to go by.
        like_run: that run.
        price_per_hour: of one job, None if it is not known.
    """

    quarter: str
    run_id: str
    n_firms: int
    n_batches: int
    n_chunks: int
    seconds_per_firm: float | None = None
    like_run: str = ""
    price_per_hour: float | None = None

    @property
    def job_hours(self) -> float | None:
        """Expected; None with no earlier run to go by."""
        return self.seconds_per_firm and self.n_firms * self.seconds_per_firm / 3600

    def describe(self) -> str:
        """One line: firms, batches, chunks, expected hours, money."""
        what = (
            f"{counted(self.n_firms, 'firm')} in {counted(self.n_batches, 'batch', 'batches')} of "
            f"{counted(self.n_chunks, 'chunk')}"
        )
        if self.job_hours is None:
            return f"{what}; no earlier run of this kind says how long that takes"
        text = f"{what}; about {self.job_hours:.1f} job hours, at the pace of run {self.like_run}"
        if self.price_per_hour is not None:
            cost = self.job_hours * self.price_per_hour
            text += f", about {cost:,.2f} at {self.price_per_hour:g} an hour"
        return text


def read_usage(store: ObjectStore, layout: RunLayout, price_per_hour: float | None) -> Usage:
    """Add up the outcomes of all attempts of a run."""
    starts: dict[str, int] = {}
    seconds = 0.0
    for key, outcome in _outcomes(store, layout):
        for batch in outcome.batches:
            seconds += batch.seconds
            # A stage after map is done again on purpose, too.
            if not key.rpartition("/")[2].startswith(f"{STAGE}_"):
                continue
            starts[batch.batch_id] = starts.get(batch.batch_id, 0) + batch.n_attempts
    retried = sum(n > 1 for n in starts.values())
    return Usage(seconds / 3600, retried, price_per_hour)


def estimate(
    store: ObjectStore,
    spec: RunSpec,
    pending: Sequence[BatchLine],
    *,
    n_firms: int,
    n_chunks: int,
    price_per_hour: float | None,
) -> Estimate:
    """What the pending batches of a run are likely to take.

    Args:
        store: holds earlier runs, of this quarter or another.
        spec: of the run.
        pending: its batches with something to do.
        n_firms: of these, not done yet.
        n_chunks: that they read.
        price_per_hour: of one job.
    """
    seconds_per_firm, like_run = _pace(store, spec)
    return Estimate(
        quarter=spec.quarter,
        run_id=spec.run_id,
        n_firms=n_firms,
        n_batches=len(pending),
        n_chunks=n_chunks,
        seconds_per_firm=seconds_per_firm,
        like_run=like_run,
        price_per_hour=price_per_hour,
    )


def _pace(store: ObjectStore, spec: RunSpec) -> tuple[float | None, str]:
    """Seconds a firm took in the newest run with the same models, device and backend, if any.

    Only first attempts count: a later one may have had little left to do of a batch.
    """
    keys = [i.key for i in store.list("runs") if i.key.endswith(f"/{STAGE}_1.outcome.json")]
    specs = [s for s in each(lambda key: _spec_of(store, key), keys) if s is not None]
    alike = [s for s in specs if s.backend == spec.backend and _model(s) == _model(spec)]
    for other in sorted(alike, key=lambda s: (s.created_at, s.run_id), reverse=True):
        key = RunLayout(Quarter.parse(other.quarter), other.run_id).outcome(STAGE, 1)
        with suppress(FtmError):
            batches = decode_outcome(store.get(key), key=key).batches
            whole = [b for b in batches if b.state == JobState.SUCCEEDED and b.seconds]
            if n_firms := sum(b.n_firms for b in whole):
                return sum(b.seconds for b in whole) / n_firms, other.run_id
    return None, ""


def _model(spec: RunSpec) -> list[str | None]:
    return [spec.model.get(name) for name in _COMPARED]


def _spec_of(store: ObjectStore, key: str) -> RunSpec | None:
    """The spec of the run a record belongs to; an old one that cannot be read is no help here."""
    layout = run_of_key(key)
    try:
        return decode_spec(store.get(layout.spec), key=layout.spec)
    except FtmError:
        return None


def _outcomes(store: ObjectStore, layout: RunLayout) -> Iterator[tuple[str, StageOutcome]]:
    for info in store.list(f"{layout.root}/jobs"):
        if info.key.endswith(".outcome.json"):
            with suppress(FtmError):
                yield info.key, decode_outcome(store.get(info.key), key=store.name(info.key))


def describe_end(batches: Sequence[BatchOutcome], usage: Usage, what: str = "batches") -> str:
    """How an attempt ended, in one line."""
    states = [batch.state for batch in batches]
    parts = [
        (states.count(JobState.SUCCEEDED), "succeeded"),
        (states.count(JobState.FAILED), "failed"),
        (states.count(JobState.CANCELLED), "cancelled"),
        (sum(batch.n_attempts > 1 for batch in batches), "started more than once"),
    ]
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    return f"{what}: {told}; {describe_usage(usage)}"


def describe_usage(usage: Usage) -> str:
    """`3.2 job hours in all, 1.68 at 0.526 an hour`."""
    text = f"{usage.job_hours:.2f} job hours in all"
    if usage.cost is not None:
        text += f", {usage.cost:,.2f} at {usage.price_per_hour:g} an hour"
    return text
