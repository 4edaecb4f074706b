"""One quarter, from the prefetch check to the topics of every firm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ftm.core.errors import (
    BatchFailedError,
    CorruptObjectError,
    OrchestratorError,
)
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.jobs.base import JobBackend, JobStatus
from ftm.orchestrate.attempts import find_submitted
from ftm.orchestrate.later_stages import Asked, LaterStages, MakeTools, StagePlace, read_asked
from ftm.orchestrate.prefetch_check import check_complete, require_manifest
from ftm.orchestrate.prefetched import Prefetched
from ftm.orchestrate.run_plan import RunPlan, mend_batches, plan_run, record_plan
from ftm.orchestrate.run_watch import ProgressReader, RunWatcher, SilentWatcher
from ftm.orchestrate.stage_runner import Attempt, StageRunner
from ftm.orchestrate.stage_work import MapWork, StageWork
from ftm.orchestrate.stages import StageSpan
from ftm.orchestrate.summary import RunState, RunSummary, collect, submitted_stage
from ftm.orchestrate.usage import Estimate, estimate, read_usage
from ftm.storage.manifest import decode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_lease import Held, alone
from ftm.storage.run_reader import damaged_batches, published_run, read_calls, read_run
from ftm.storage.run_records import BatchLine, JobRecord
from ftm.storage.stage_facts import facts_of
from ftm.storage.stage_records import STAGES

if TYPE_CHECKING:
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


class QuarterOrchestrator(Prefetched):
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
        tools: for the stages after map; None: a run ends with map.
        stage_place: where these stages run as jobs; None: in this process.
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
        tools: MakeTools | None = None,
        stage_place: StagePlace | None = None,
        clock: Callable[[], datetime] = utc_now,
        poll_s: float = 0.5,
        backend_name: str = "local",
        machine: Callable[[Settings], str] = _unknown_machine,
        price_per_hour: float | None = None,
    ) -> None:
        super().__init__(store, make_prefetcher)
        self._settings = settings
        self._fingerprint = fingerprint
        self._resolve = resolve or _as_is
        self._clock = clock
        self._watcher = watcher or SilentWatcher()
        self._backend = backend
        self._backend_name = backend_name
        self._machine = machine
        self._price_per_hour = price_per_hour
        make_runner = partial(
            StageRunner,
            store,
            backend_name=backend_name,
            watcher=self._watcher,
            poll_s=poll_s,
            price_per_hour=price_per_hour,
        )
        self._runner = make_runner(backend)
        self._stage_runner = make_runner(stage_place.backend) if stage_place else self._runner
        self._later = LaterStages(
            store,
            self._stage_runner,
            tools=tools,
            place=stage_place,
            outlives_us=backend.outlives_us,
            say=self._watcher.message,
        )

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
            quarter, batch_size, allow_partial=allow_partial_prefetch, publish=publish
        )
        if not span.includes("map"):
            read_run(self._store, plan.quarter, plan.spec.run_id)
            asked = self._later.prepare(settings, span)
            with self._alone(plan) as held:
                return self._conclude(plan, "complete", started_s, asked, publish, held, wait=wait)
        self._backend.check()
        asked = self._later.prepare(settings, span)
        machine = self._machine(settings)
        record_plan(self._store, plan, machine=machine)
        if not self._pending(plan):
            self._runner.settle(MapWork(self._store, plan, settings))
            with suppress(CorruptObjectError), self._alone(plan) as held:
                return self._conclude(
                    plan, "already complete", started_s, asked, publish, held, wait=wait
                )
        with self._alone(plan) as held:
            # Again: whoever held the lease until now may have done or removed something.
            record_plan(self._store, plan, machine=machine)
            told = asked.variables() if self._backend.outlives_us else {}
            work = MapWork(self._store, plan, settings, asked=told)
            # Before it is seen what is left to do: jobs may end at any moment.
            attempt = self._runner.settle(work)
            if attempt is None and (pending := self._pending(plan) or self._damaged(plan)):
                if stage := self._finish_later(plan, asked, wait=wait):
                    return submitted_stage(plan.spec, stage)
                if self._backend.outlives_us:
                    self._watcher.message(f"plan: {self._estimate(plan, pending).describe()}")
                work = MapWork(self._store, plan, settings, pending=pending, asked=told)
                attempt = self._runner.submit(work)
            if attempt is not None:
                if not wait:
                    return self._submitted(plan, attempt)
                self._watch(work, attempt, span)
            return self._conclude(plan, "complete", started_s, asked, publish, held, wait=wait)

    def _watch(self, work: MapWork, attempt: Attempt, span: StageSpan) -> None:
        """Wait for the map jobs; failed ones are borne where that is allowed."""
        try:
            self._runner.watch(work, attempt)
        except BatchFailedError as error:
            if not span.allow_failed:
                raise
            self._watcher.message(f"{error}; going on without them")

    def _finish_later(self, plan: RunPlan, asked: Asked, *, wait: bool) -> str:
        """Wait for what reads the topics before map writes them; how that ends is no matter."""
        with suppress(BatchFailedError):
            return self._later.finish_running(plan, asked, wait=wait)
        return ""

    @contextmanager
    def _alone(self, plan: RunPlan) -> Iterator[Held]:
        """Hold the run's lease; the runners ask for it, too."""
        lease = alone(self._store, plan.layout, say=self._watcher.message, clock=self._clock)
        with lease as held, self._runner.holding(held), self._stage_runner.holding(held):
            yield held

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
        plan, settings = self._prepare(quarter, batch_size, allow_partial=allow_partial_prefetch)
        self._backend.check()
        self._later.prepare(settings, _EVERYTHING)
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
        plan, record = self._find_submitted(quarter, run_id)
        asked = read_asked(record, self._settings)
        asked = self._later.prepare(asked.settings, asked.span)
        work, runner = self._work(plan, record, asked)
        attempt = self._reattach(runner, work)
        with self._alone(plan) as held:
            if isinstance(work, MapWork):
                self._watch(work, attempt, asked.span)
            else:
                runner.watch(work, attempt)
            publish = plan.spec.publish
            return self._conclude(plan, "complete", started_s, asked, publish, held, wait=True)

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
        plan, record = self._find_submitted(quarter, run_id)
        work, runner = self._work(plan, record, Asked(self._settings, _EVERYTHING))
        attempt = self._reattach(runner, work)
        return plan.spec.run_id, runner.cancel(work, attempt, "ftm cancel ended it")

    def _find_submitted(
        self, quarter: str | Quarter, run_id: str | None
    ) -> tuple[RunPlan, JobRecord]:
        run, record = find_submitted(
            self._store, Quarter.parse(quarter), run_id, backend=self._backend_name
        )
        manifest = self._store.get(run.layout.manifest)
        return RunPlan(spec=run.spec, batches=run.batches, manifest=manifest), record

    def _work(
        self, plan: RunPlan, record: JobRecord, asked: Asked
    ) -> tuple[StageWork, StageRunner]:
        if record.stage == STAGES[0]:
            return MapWork(self._store, plan, self._settings), self._runner
        return self._later.work(plan, record.stage, asked), self._stage_runner

    def _reattach(self, runner: StageRunner, work: StageWork) -> Attempt:
        attempt = runner.reattach(work)
        if attempt is None:
            raise OrchestratorError(
                f"the jobs of run {work.plan.spec.run_id} of {work.plan.quarter} cannot be found "
                "in AWS Batch; the `ftm run-quarter` command that began it submits what is not done"
            )
        return attempt

    def _prepare(
        self,
        quarter: str | Quarter,
        batch_size: int,
        *,
        allow_partial: bool,
        publish: bool = True,
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
        # The summary needs it: better told now than after hours of work.
        read_calls(self._store, manifest)
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
        asked: Asked,
        publish: bool,
        held: Held,
        *,
        wait: bool,
    ) -> RunSummary:
        mend_batches(self._store, plan)
        run = read_run(self._store, plan.quarter, plan.spec.run_id)
        # It reads every part: a damaged one is found before themes are made of it.
        summary = collect(self._store, run, state=state)
        publish = publish and not plan.spec.is_trial
        end = self._later.run(plan, run, asked, held=held, publish=publish, wait=wait)
        if end.submitted:
            return submitted_stage(plan.spec, end.submitted)
        published = published_run(self._store, plan.quarter) == plan.spec.run_id
        usage = read_usage(self._store, plan.layout, self._price_per_hour)
        where = self._store.name(plan.layout.stage_record(STAGES[-1]))
        return replace(
            summary,
            state="complete" if end.worked else state,
            seconds=time.monotonic() - started_s,
            diagnosis=facts_of(end.package, key=where) if end.package else None,
            last_stage=asked.span.last,
            tables=self._store.name(plan.layout.processed_root) if end.package else "",
            published=published,
            job_hours=usage.job_hours,
            n_retried=usage.n_retried,
            cost=usage.cost,
        )
