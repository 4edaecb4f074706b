"""One quarter, from the prefetch check to the topics of every firm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ftm.core.errors import (
    BatchFailedError,
    ConfigError,
    CorruptObjectError,
    OrchestratorError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.jobs.base import JobBackend, JobStatus
from ftm.orchestrate.attempts import find_submitted
from ftm.orchestrate.prefetch_check import check_complete, require_manifest
from ftm.orchestrate.run_lease import alone
from ftm.orchestrate.run_plan import RunPlan, mend_batches, plan_run, record_plan
from ftm.orchestrate.run_watch import ProgressReader, RunWatcher, SilentWatcher
from ftm.orchestrate.stage_runner import Attempt, StageRunner
from ftm.orchestrate.stages import StageSpan, StageTools, run_stages
from ftm.orchestrate.summary import RunState, RunSummary, collect
from ftm.orchestrate.usage import Estimate, estimate, read_usage
from ftm.storage.manifest import decode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import damaged_batches, published_run, read_calls, read_run
from ftm.storage.run_records import BatchLine

if TYPE_CHECKING:
    from ftm.prefetch.base import PrefetchSummary
    from ftm.prefetch.prefetcher import WRDSPrefetcher

BATCH_SIZE = 200
"""A whole chunk: start-up is paid once for about a minute or more of work."""


_EVERYTHING = StageSpan()


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def _as_is(settings: Settings) -> Settings:
    return settings


def _unknown_machine(settings: Settings) -> str:  # noqa: ARG001
    return ""


class QuarterOrchestrator:
    """Carries a quarter through its stages; every step can be killed and run again.

    Args:
        store: where the quarter is.
        backend: where batches run.
        settings: models, device, seed; what workers get.
        fingerprint: everything a run's topics depend on besides the sentences.
        resolve: the settings with nothing left to choose for a worker (device `auto`); called
            once a quarter is found to be there.
        watcher: told how it goes.
        make_prefetcher: builds the prefetcher of `run_prefetch`; not needed for anything else.
        tools: for the stages after map, called with whether failed batches are gone on without;
            None: a run ends with map.
        clock: UTC now; a new run's created_at.
        poll_s: seconds between two looks at the jobs.
        backend_name: `local` or `batch`, for the record.
        machine: processor and GPU that jobs run on, for the record; "" where it is not known.
        price_per_hour: of one job, for what a run costs.
    """

    def __init__(
        self,
        store: ObjectStore,
        backend: JobBackend,
        *,
        settings: Settings,
        fingerprint: Callable[[Settings], Mapping[str, str]],
        resolve: Callable[[Settings], Settings] | None = None,
        watcher: RunWatcher | None = None,
        make_prefetcher: Callable[[], WRDSPrefetcher] | None = None,
        tools: Callable[[bool], StageTools] | None = None,
        clock: Callable[[], datetime] = utc_now,
        poll_s: float = 0.5,
        backend_name: str = "local",
        machine: Callable[[Settings], str] = _unknown_machine,
        price_per_hour: float | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._fingerprint = fingerprint
        self._resolve = resolve or _as_is
        self._make_prefetcher = make_prefetcher
        self._tools = tools
        self._clock = clock
        self._watcher = watcher or SilentWatcher()
        self._backend = backend
        self._backend_name = backend_name
        self._machine = machine
        self._price_per_hour = price_per_hour
        self._runner = StageRunner(
            store,
            backend,
            backend_name=backend_name,
            watcher=self._watcher,
            poll_s=poll_s,
            price_per_hour=price_per_hour,
        )

    def prefetch_exists(self, quarter: str | Quarter) -> bool:
        """Whether the quarter has a manifest, complete or not."""
        return self._store.exists(PrefetchLayout(Quarter.parse(quarter)).manifest)

    def get_prefetch_firm_ids(self, quarter: str | Quarter) -> list[str]:
        """Firms with sentences, sorted.

        Raises:
            PrefetchRequiredError: the quarter is not prefetched.
        """
        return sorted(require_manifest(self._store, Quarter.parse(quarter)).firm_to_chunk)

    def get_prefetch_summary(self, quarter: str | Quarter) -> dict[str, object]:
        """Counts and provenance of the prefetched quarter.

        Raises:
            PrefetchRequiredError: the quarter is not prefetched.
        """
        manifest = require_manifest(self._store, Quarter.parse(quarter))
        return {
            "quarter": manifest.quarter,
            "generation": manifest.generation,
            "complete": manifest.complete,
            "created_at": manifest.created_at,
            "n_firms": manifest.n_firms,
            "n_chunks": manifest.n_chunks,
            "n_sentences": manifest.n_sentences,
            "n_skipped": len(manifest.skipped),
            "n_failed": len(manifest.failed),
        }

    def run_prefetch(
        self, quarter: str | Quarter, firm_ids: Sequence[str] | None = None
    ) -> PrefetchSummary:
        """Prefetch the quarter from WRDS: on a workstation only, as it logs in.

        Raises:
            ConfigError: this orchestrator was built without a prefetcher.
        """
        if self._make_prefetcher is None:
            raise ConfigError(
                "this orchestrator has no prefetcher; run "
                f"`ftm prefetch --quarter {Quarter.parse(quarter)}`, or pass make_prefetcher"
            )
        return self._make_prefetcher().prefetch_quarter(Quarter.parse(quarter), firm_ids=firm_ids)

    def run_quarter(
        self,
        quarter: str | Quarter,
        batch_size: int = BATCH_SIZE,
        wait: bool = True,
        *,
        allow_partial_prefetch: bool = False,
        publish: bool = True,
        span: StageSpan = _EVERYTHING,
    ) -> RunSummary:
        """Carry a prefetched quarter from sentences to themes; run again, it resumes the same run.

        A run is published when its tables are made: from then on loaders read it. Running an
        older one again, which finds it complete, publishes that one. Runs of the noop models never
        are.

        Args:
            quarter: which.
            batch_size: firms per batch: whole chunks, or parts of one where it holds more.
            wait: False returns after submitting (local jobs advance only while watched).
            allow_partial_prefetch: run although the prefetch has not got to every firm.
            publish: False leaves loaders with the run they read now, as for another seed.
            span: which stages, and whether failed batches are gone on without.

        Raises:
            PrefetchRequiredError: no manifest, or an incomplete one; nothing was written.
            LeaseHeldError: another command is carrying this run through; it is named.
            BatchFailedError: at least one batch failed; what is done is kept.
            CorruptObjectError: the plan of the prefetch is gone or damaged; nothing was written.
        """
        started_s = time.monotonic()
        plan, settings = self._prepare(
            quarter, batch_size, allow_partial=allow_partial_prefetch, publish=publish, span=span
        )
        if not span.includes("map"):
            read_run(self._store, plan.quarter, plan.spec.run_id)
            with alone(self._store, plan, clock=self._clock, say=self._watcher.message):
                return self._conclude(plan, "complete", started_s, publish=publish, span=span)
        self._backend.check()
        record_plan(self._store, plan, machine=self._machine(settings))
        if not self._pending(plan):
            self._runner.settle(plan, settings)
            with (
                suppress(CorruptObjectError),
                alone(self._store, plan, clock=self._clock, say=self._watcher.message),
            ):
                return self._conclude(
                    plan, "already complete", started_s, publish=publish, span=span
                )
        with alone(self._store, plan, clock=self._clock, say=self._watcher.message):
            # Read again: whoever held the lease until now may have done something.
            if pending := self._pending(plan) or self._damaged(plan):
                if self._backend.outlives_us:
                    self._watcher.message(f"plan: {self._estimate(plan, pending).describe()}")
                attempt = self._runner.submit(plan, pending, settings)
                if not wait:
                    return self._submitted(plan, attempt)
                self._watch(plan, attempt, span)
            return self._conclude(plan, "complete", started_s, publish=publish, span=span)

    def _watch(self, plan: RunPlan, attempt: Attempt, span: StageSpan) -> None:
        """Wait for the map jobs; failed ones are borne where that is allowed."""
        try:
            self._runner.watch(plan, attempt)
        except BatchFailedError as error:
            if not span.allow_failed:
                raise
            self._watcher.message(f"{error}; going on without them")

    def estimate_quarter(
        self,
        quarter: str | Quarter,
        batch_size: int = BATCH_SIZE,
        *,
        allow_partial_prefetch: bool = False,
    ) -> Estimate:
        """What `run_quarter` would submit, and what that is likely to take; writes nothing.

        Raises:
            PrefetchRequiredError: no manifest, or an incomplete one.
        """
        plan, _ = self._prepare(quarter, batch_size, allow_partial=allow_partial_prefetch)
        self._backend.check()
        return self._estimate(plan, self._pending(plan))

    def watch_quarter(self, quarter: str | Quarter, run_id: str | None = None) -> RunSummary:
        """Come back to jobs that were submitted, wait for them, and conclude their run.

        Args:
            quarter: which.
            run_id: which run; None: the newest whose jobs have not been seen to end.

        Raises:
            OrchestratorError: there is none, or its jobs cannot be found.
            BatchFailedError: at least one batch failed.
        """
        started_s = time.monotonic()
        plan, attempt = self._reattach(Quarter.parse(quarter), run_id)
        with alone(self._store, plan, clock=self._clock, say=self._watcher.message):
            self._runner.watch(plan, attempt)
            return self._conclude(
                plan, "complete", started_s, publish=plan.spec.publish, span=_EVERYTHING
            )

    def cancel_quarter(
        self, quarter: str | Quarter, run_id: str | None = None
    ) -> tuple[str, list[JobStatus]]:
        """End the jobs of a run; what is done is kept, and the command that began it resumes it.

        Args:
            quarter: which.
            run_id: which run; None: the newest whose jobs have not been seen to end.

        Returns:
            The run's id, and how each of its jobs ended.

        Raises:
            OrchestratorError: there is none, its jobs cannot be found, or they do not end.
        """
        plan, attempt = self._reattach(Quarter.parse(quarter), run_id)
        return plan.spec.run_id, self._runner.cancel(plan, attempt, "ftm cancel ended it")

    def _reattach(self, quarter: Quarter, run_id: str | None) -> tuple[RunPlan, Attempt]:
        run = find_submitted(self._store, quarter, run_id, backend=self._backend_name)
        plan = RunPlan(
            spec=run.spec, batches=run.batches, manifest=self._store.get(run.layout.manifest)
        )
        attempt = self._runner.reattach(plan, self._settings)
        if attempt is None:
            raise OrchestratorError(
                f"the jobs of run {run.spec.run_id} of {quarter} cannot be found in AWS Batch; the "
                "`ftm run-quarter` command that began it submits what is not done"
            )
        return plan, attempt

    def _prepare(
        self,
        quarter: str | Quarter,
        batch_size: int,
        *,
        allow_partial: bool,
        publish: bool = True,
        span: StageSpan = _EVERYTHING,
    ) -> tuple[RunPlan, Settings]:
        manifest = require_manifest(self._store, Quarter.parse(quarter))
        check_complete(self._store, manifest, allow_partial)
        settings = self._resolve(self._settings)
        plan = plan_run(
            manifest,
            batch_size=batch_size,
            model=self._fingerprint(settings),
            checkpoint_firms=settings.map_checkpoint,
            now=self._clock(),
            publish=publish,
            backend=self._backend_name,
        )
        # Both are needed in the end: better told now than after hours of work.
        read_calls(self._store, manifest)
        if self._tools and span.includes("name"):
            self._tools(span.allow_failed).check()
        return plan, settings

    def _estimate(self, plan: RunPlan, pending: Sequence[BatchLine]) -> Estimate:
        manifest = decode_manifest(plan.manifest, key=plan.layout.manifest)
        done = ProgressReader(self._store, plan.layout).read().values()
        finished = {firm for record in done for firm in (*record.done, *record.skipped)}
        firms = {firm for batch in pending for firm in batch.firm_ids} - finished
        chunks = {file for firm, file in manifest.firm_to_chunk.items() if firm in firms}
        return estimate(
            self._store,
            plan.spec,
            pending,
            n_firms=len(firms),
            n_chunks=len(chunks),
            price_per_hour=self._price_per_hour,
        )

    def _pending(self, plan: RunPlan) -> list[BatchLine]:
        """Batches with firms to do, those that failed before included."""
        progress = ProgressReader(self._store, plan.layout).read()
        records = {batch.batch_id: progress.get(batch.batch_id) for batch in plan.batches}
        finished = {name for name, r in records.items() if r and r.complete and not r.failed}
        return [batch for batch in plan.batches if batch.batch_id not in finished]

    def _damaged(self, plan: RunPlan) -> list[BatchLine]:
        """Batches whose parts changed since they were listed; their workers compute those again."""
        mend_batches(self._store, plan)
        damaged = damaged_batches(
            self._store, read_run(self._store, plan.quarter, plan.spec.run_id)
        )
        for batch in damaged:
            self._watcher.message(
                f"{batch.batch_id}: a part is gone or damaged, its firms are computed again"
            )
        return damaged

    def _submitted(self, plan: RunPlan, attempt: Attempt) -> RunSummary:
        given = set(attempt.record.batch_ids)
        return RunSummary(
            quarter=str(plan.quarter),
            run_id=plan.spec.run_id,
            state="submitted",
            n_batches=len(given),
            n_firms=sum(len(b.firm_ids) for b in plan.batches if b.batch_id in given),
        )

    def _conclude(
        self,
        plan: RunPlan,
        state: RunState,
        started_s: float,
        *,
        publish: bool,
        span: StageSpan,
    ) -> RunSummary:
        mend_batches(self._store, plan)
        run = read_run(self._store, plan.quarter, plan.spec.run_id)
        # It reads every part: a damaged one is found before themes are made of it.
        summary = collect(self._store, run, state=state)
        packaged, worked = run_stages(
            self._store,
            run,
            tools=self._tools and self._tools(span.allow_failed),
            span=span,
            publish=publish and not plan.spec.is_trial,
            say=self._watcher.message,
        )
        published = published_run(self._store, plan.quarter) == plan.spec.run_id
        usage = read_usage(self._store, plan.layout, self._price_per_hour)
        return replace(
            summary,
            state="complete" if worked else state,
            seconds=time.monotonic() - started_s,
            diagnosis=packaged.facts if packaged else None,
            last_stage=span.last,
            tables=self._store.name(plan.layout.processed_root) if packaged else "",
            published=published,
            job_hours=usage.job_hours,
            n_retried=usage.n_retried,
            cost=usage.cost,
        )
