"""The stages after map of a run: in the process of the command, or as jobs of AWS Batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftm.analysis.attempt_records import last_attempt
from ftm.core.errors import OrchestratorError
from ftm.core.settings import Settings, variables_of, with_variables
from ftm.core.urls import without_user
from ftm.jobs.base import JobBackend
from ftm.orchestrate.run_plan import RunPlan
from ftm.orchestrate.stage_runner import StageRunner
from ftm.orchestrate.stage_work import LaterWork
from ftm.orchestrate.stages import LATER, Done, Say, StagesEnd, StageSpan, StageTools, run_stages
from ftm.orchestrate.worker_environment import LATER_SETTINGS
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_lease import Held
from ftm.storage.run_reader import RunRecords
from ftm.storage.run_records import JobRecord
from ftm.storage.stage_records import STAGES, StageRecord

HERE = "reduce, name and package run here; FTM_BATCH_STAGE_JOB_DEFINITION runs them in AWS Batch"

MakeTools = Callable[[Settings, bool], StageTools]
"""What the stages work with, by the settings and whether failed batches are gone on without."""

_ALLOW_FAILED = "FTM_STAGE_ALLOW_FAILED"
_LAST = "last_stage"
_BASE_URL = "LLM_BASE_URL"


@dataclass(frozen=True, slots=True)
class StagePlace:
    """Where the stages after map run as jobs.

    Args:
        backend: submits them.
        resolve: the settings with nothing left to choose, the image named; asks AWS.
    """

    backend: JobBackend
    resolve: Callable[[Settings], Settings]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command is to do after map.

    Args:
        settings: of the stages, with nothing left to choose.
        span: which stages, and whether failed batches are gone on without.
    """

    settings: Settings
    span: StageSpan

    def variables(self) -> dict[str, str]:
        """For a job's record, so that whoever watches the job from elsewhere goes on alike."""
        found = variables_of(self.settings, LATER_SETTINGS)
        if (url := found.get(_BASE_URL)) and without_user(url) != url:
            del found[_BASE_URL]  # a password may be in it
        return found | {
            _ALLOW_FAILED: str(self.span.allow_failed).lower(),
            _LAST: self.span.last,
        }


def read_asked(record: JobRecord, settings: Settings) -> Asked:
    """What the command was to do that submitted these jobs; by the settings where none is told."""
    return Asked(
        with_variables(settings, record.asked, LATER_SETTINGS),
        StageSpan(
            last=record.asked.get(_LAST, STAGES[-1]),
            allow_failed=record.asked.get(_ALLOW_FAILED) == "true",
        ),
    )


class LaterStages:
    """Carries runs through the stages after map.

    Args:
        store: where they are.
        runner: of the jobs of these stages; watches such jobs even where none is submitted.
        tools: what the stages work with; None: a run ends with map.
        place: where they run as jobs; None: in this process.
        outlives_us: jobs go on without this process, and so may be there.
        say: told what is done.
    """

    def __init__(
        self,
        store: ObjectStore,
        runner: StageRunner,
        *,
        tools: MakeTools | None,
        place: StagePlace | None,
        outlives_us: bool,
        say: Say,
    ) -> None:
        self._store = store
        self._runner = runner
        self._tools = tools
        self._place = place
        self._outlives_us = outlives_us
        self._say = say

    def prepare(self, settings: Settings, span: StageSpan) -> Asked:
        """What is asked for, with nothing left to choose; refuses what could only fail later.

        Raises:
            JobError: no such queue or job definition.
            ConfigError: a setting is missing, or must not be told to jobs.
        """
        if self._place is not None and span.last != STAGES[0]:
            self._place.backend.check()
            settings = self._place.resolve(settings)
        if self._tools and span.includes("name"):
            self._tools(settings, span.allow_failed).check()
        return Asked(settings, span)

    def work(self, plan: RunPlan, stage: str, asked: Asked) -> LaterWork:
        """A stage as a job."""
        return LaterWork(
            self._store,
            plan,
            stage,
            settings=asked.settings,
            allow_failed=asked.span.allow_failed,
            asked=asked.variables(),
        )

    def finish_running(self, plan: RunPlan, asked: Asked, *, wait: bool) -> str:
        """Wait for a job of these stages that an earlier command has left running.

        Returns:
            Its stage where it is not to be waited for, else "".

        Raises:
            BatchFailedError: it failed.
        """
        if not self._outlives_us:
            return ""
        for stage in LATER:
            work = self.work(plan, stage, asked)
            if attempt := self._runner.settle(work):
                if not wait:
                    return stage
                self._runner.watch(work, attempt)
        return ""

    def run(
        self,
        plan: RunPlan,
        run: RunRecords,
        asked: Asked,
        *,
        held: Held,
        publish: bool,
        wait: bool,
    ) -> StagesEnd:
        """Do what is asked for and not done; publishes here, whoever does the stages.

        Raises:
            BatchFailedError: the job of a stage failed.
            LeaseLostError: the run has become another command's.
            FtmError: as the stages raise.
        """
        if self._tools is not None and (stage := self.finish_running(plan, asked, wait=wait)):
            return StagesEnd(None, worked=True, submitted=stage)

        def elsewhere(stage: str, done: Done) -> StageRecord | None:
            return self._have_done(self.work(plan, stage, asked), done, wait=wait)

        return run_stages(
            self._store,
            run,
            tools=self._tools and self._tools(asked.settings, asked.span.allow_failed),
            span=asked.span,
            publish=publish,
            say=self._say,
            held=held,
            elsewhere=elsewhere if self._place else None,
            note=HERE if self._outlives_us else "",
        )

    def _have_done(self, work: LaterWork, done: Done, *, wait: bool) -> StageRecord | None:
        if record := done():
            return record
        is_new = False
        while not is_new:
            before = last_attempt(self._store, work.plan.layout, work.stage)
            attempt = self._runner.submit(work)
            # One that was on record may be a job begun with other settings, or other topics.
            is_new = before is None or before.attempt < attempt.record.attempt
            if not wait:
                return None
            self._runner.watch(work, attempt)
            if record := done():
                return record
        raise OrchestratorError(
            f"the job of stage {work.stage} of run {work.plan.spec.run_id} succeeded, and made it "
            "of something else than this command would: its image holds another version of ftm; "
            "use an image of this version (`ftm doctor`), or this image's version of ftm here"
        )
