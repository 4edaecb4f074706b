"""The stages after map: themes, their names, and the tables readers get."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftm.core.counted import counted
from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.reduce.name_stage import NameOptions, name_inputs, name_run
from ftm.reduce.package_stage import package_inputs, package_run, publish_package
from ftm.reduce.reduce_stage import (
    ReduceOptions,
    check_batches,
    check_reduced,
    reduce_inputs,
    reduce_run,
)
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import RunRecords
from ftm.storage.stage_facts import facts_of
from ftm.storage.stage_records import STAGES, StageRecord, is_done, read_stage, require_stage

REPORT_EVERY_S = 30.0
LATER = STAGES[1:]
"""Stages after map."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StageTools:
    """What the stages work with.

    Args:
        reduce: how themes are made.
        name: how names are made; called with a function to report progress to.
        series: theme → its series, for a run whose quarter is linked.
    """

    reduce: ReduceOptions
    name: Callable[[Callable[[int, int], None]], NameOptions]
    series: Callable[[Quarter, str], Mapping[str, str]]

    def check(self) -> None:
        """See that names can be made, as far as settings tell.

        Raises:
            ConfigError: a setting is missing.
        """
        self.name(lambda _done, _all: None)


Done = Callable[[], StageRecord | None]
"""The record of a stage that is done with the inputs it has now, else None."""

HaveDone = Callable[[str, Done], StageRecord | None]
"""Does a stage unless it is done, or has it done; None: begun elsewhere, and not waited for."""


@dataclass(frozen=True, slots=True)
class StagesEnd:
    """How far the stages after map have come.

    Args:
        package: record of stage package; None where it was not asked for, or is not done.
        worked: whether any stage had something to do.
        submitted: the stage whose job was not waited for; empty when none was left alone.
    """

    package: StageRecord | None = None
    worked: bool = False
    submitted: str = ""


@dataclass(frozen=True, slots=True)
class StageSpan:
    """Which stages a command does.

    Args:
        first: it begins with this one, and does it again even if it is done; map only does what
            is missing.
        last: it ends after this one; only package publishes.
        allow_failed: go on without batches that failed.
    """

    first: str = STAGES[0]
    last: str = STAGES[-1]
    allow_failed: bool = False

    def __post_init__(self) -> None:
        for name in (self.first, self.last):
            if name not in STAGES:
                raise ConfigError(f"no stage {name!r}; there are {', '.join(STAGES)}")
        if STAGES.index(self.first) > STAGES.index(self.last):
            raise ConfigError(
                f"--from {self.first} comes after --to {self.last}; the order is "
                f"{', '.join(STAGES)}"
            )

    def includes(self, stage: str) -> bool:
        """Whether the stage is one of them."""
        return STAGES.index(self.first) <= STAGES.index(stage) <= STAGES.index(self.last)

    def redoes(self, stage: str) -> bool:
        """Whether it is done again although it is done."""
        return self.first == stage != STAGES[0]


def run_stages(
    store: ObjectStore,
    run: RunRecords,
    *,
    tools: StageTools | None,
    span: StageSpan,
    publish: bool,
    say: Say,
    held: Callable[[], None] = lambda: None,
    elsewhere: HaveDone | None = None,
    note: str = "",
) -> StagesEnd:
    """Do the stages after map that are asked for; those that are done are left as they are.

    Args:
        store: where the run is.
        run: whose map stage has ended.
        tools: what to work with; None: nothing is done after map.
        span: which stages.
        publish: whether readers are pointed at the tables.
        say: told what is done.
        held: called before each stage and before publishing; raises where a command that slept
            has been followed by another, whose tables and pointer it must not put its own over.
        elsewhere: has each stage done by another process; None: this one does it.
        note: said before the first stage that is to be done here.

    Raises:
        OrchestratorError: a stage or batch that is needed has not been done.
        FtmError: as the stages raise.
    """
    if span.last == STAGES[0] or tools is None:
        return StagesEnd()
    _check_start(store, run, tools, span)
    have_done = elsewhere or _here(store, run, tools, say, note)
    record, worked = None, False
    for stage in filter(span.includes, LATER):
        held()
        if span.redoes(stage):
            store.delete(run.layout.stage_record(stage))
        before, started_s = read_stage(store, run.layout, stage), time.monotonic()
        record = have_done(stage, partial(done_stage, store, run, stage, tools))
        if record is None:
            return StagesEnd(None, worked=True, submitted=stage)
        if record != before:
            worked = True
            made = describe_stage(record, key=run.layout.stage_record(stage))
            say(f"{stage}: {made} in {time.monotonic() - started_s:.1f} s")
    if record is None or record.stage != STAGES[-1]:
        return StagesEnd(None, worked)
    if publish:
        publish_package(store, run, record, held)
    return StagesEnd(record, worked)


def _here(store: ObjectStore, run: RunRecords, tools: StageTools, say: Say, note: str) -> HaveDone:
    """Stages done by this process; the note is said before the first that is not done."""
    unsaid = [note] if note else []

    def have_done(stage: str, done: Done) -> StageRecord:
        if unsaid and done() is None:
            say(unsaid.pop())
        return do_stage(store, run, stage, tools, say)

    return have_done


def _check_start(store: ObjectStore, run: RunRecords, tools: StageTools, span: StageSpan) -> None:
    """Before any work: what is missing for the first stage is missing for all."""
    check_batches(run, allow_failed=span.allow_failed)
    if span.includes("name"):
        tools.check()
    if not span.includes("reduce"):
        check_reduced(store, run, tools.reduce)


def do_stage(
    store: ObjectStore, run: RunRecords, stage: str, tools: StageTools, say: Say
) -> StageRecord:
    """Do a stage after map here, unless it is done; publishes nothing.

    Raises:
        OrchestratorError: a stage or batch that is needed has not been done.
        FtmError: as the stage raises.
    """
    if stage == "reduce":
        return reduce_run(store, run, tools.reduce)
    if stage == "name":
        return name_run(store, run, tools.name(_reporter(say)))
    return package_run(store, run, series=tools.series(run.layout.quarter, run.spec.run_id))


def done_stage(
    store: ObjectStore, run: RunRecords, stage: str, tools: StageTools
) -> StageRecord | None:
    """The record of a stage, if it is done with the inputs it has now; reads small records only.

    Raises:
        OrchestratorError: a stage before it has not been done.
    """
    if not is_done(store, run.layout, stage, _inputs(store, run, stage, tools)):
        return None
    return read_stage(store, run.layout, stage)


def _inputs(store: ObjectStore, run: RunRecords, stage: str, tools: StageTools) -> str:
    if stage == "reduce":
        return reduce_inputs(run, tools.reduce)
    if stage == "name":
        method = tools.name(lambda _done, _all: None).method
        return name_inputs(method, require_stage(store, run.layout, "reduce"))
    return package_inputs(store, run, tools.series(run.layout.quarter, run.spec.run_id))


def describe_stage(record: StageRecord, *, key: str) -> str:
    """What came out of a stage, in a few words.

    Args:
        record: of the stage.
        key: where it is, for the error.

    Raises:
        CorruptObjectError: it lacks a fact.
    """
    if record.stage == "reduce":
        facts = facts_of(record, key=key)
        text = (
            f"{counted(facts['n_themes'], 'theme')} of {facts['n_themed']:,} of "
            f"{counted(facts['n_topics'], 'topic')}"
        )
    elif record.stage == "name":
        text = _describe_names(facts_of(record, key=key))
    else:
        text = counted(len(record.files), "table")
    return f"{text}, partial: batches that failed are left out" if record.is_partial else text


def _describe_names(facts: Mapping[str, Any]) -> str:
    """`names by llm, 120 asked and 30 from the store, 0.2 million tokens, 0.12 in all`."""
    text = f"names by {facts['method']['naming']}"
    if facts["method"]["naming"] == "llm":
        tokens = facts["prompt_tokens"] + facts["completion_tokens"]
        text += (
            f", {facts['n_asked']:,} asked and {facts['n_cached']:,} from the store, "
            f"{tokens:,} tokens"
        )
        if facts["cost"] is not None:
            text += f", {facts['cost']:,.2f} at the prices given"
    if alike := facts.get("n_alike", 0):
        text += f", {counted(alike, 'theme')} of them with the name of another"
    return text


def _reporter(say: Say) -> Callable[[int, int], None]:
    """Says how many names are made, now and then."""
    said_s = time.monotonic()

    def report(n_done: int, n_all: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= REPORT_EVERY_S:
            said_s = now_s
            say(f"name: {n_done:,} of {n_all:,} names")

    return report
