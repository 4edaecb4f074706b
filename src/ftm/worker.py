"""What a container runs: `python -m ftm.worker map`, told everything by its environment.

The later stages, reduce, name and package, are one job each. None of them publishes: the pointer
is moved by the command that carries the run, which holds its lease, so that there is one writer.

Exit codes: 0 done; 1 a known failure, one line on stderr; 2 wrong usage, or settings, a model or a
store with which no batch of the run can be done; 143 (130) told to stop by SIGTERM (SIGINT) before
the end, what is done being recorded; a bug keeps its traceback.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import TypeVar

from ftm import wiring
from ftm.core.errors import (
    ConfigError,
    FtmError,
    ModelNotFoundError,
    StoreGaveUpError,
    StoreUnavailableError,
)
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.core.version import VERSION
from ftm.jobs.base import STAGE_WIDE_EXIT
from ftm.jobs.worker_log import WORKER_SAYS
from ftm.mapping.batch_ledger import BatchLedger
from ftm.mapping.circuit_breaker import BreakerSettings
from ftm.mapping.firm_processor import FirmProcessor
from ftm.mapping.map_job import MapOptions, run_map
from ftm.mapping.run_inputs import (
    check_batch,
    check_machine,
    check_model,
    read_batch,
    read_run_spec,
    reason_to_leave,
    run_start,
    without_sentences,
)
from ftm.mapping.stage_clock import StageClock
from ftm.mapping.stop_signal import StopRequested, StopSignal
from ftm.storage.run_reader import read_run, read_run_manifest
from ftm.storage.run_records import BatchProgress, RunSpec
from ftm.storage.stage_records import STAGES, StageRecord

log = logging.getLogger("ftm.worker")  # __name__ is "__main__" in a container

STAGE_WIDE = (ConfigError, ModelNotFoundError, StoreUnavailableError)
"""What every other batch would meet as well: no rights, no space, no model. Not a store that was
there and is out of reach now: that may be this host's network."""

_T = TypeVar("_T")


def do_later_stage(stage: str, settings: Settings) -> StageRecord | None:
    """Do reduce, name or package of a run, unless it is done; None where it is another job's.

    Raises:
        FtmError: as the stage raises; ConfigError when the environment does not say what to do.
    """
    from ftm.orchestrate.stages import describe_stage, do_stage

    layout = _layout(settings)
    store = wiring.get_store(settings)
    log.info("ftm %s: %s, run %s of %s", VERSION, stage, layout.run_id, layout.quarter)
    read_run_spec(store, layout)
    if why := reason_to_leave(
        store, layout, job_id=settings.job_id, attempt=settings.attempt, stage=stage
    ):
        log.warning("leaving without work: %s", why)
        return None
    run = read_run(store, layout.quarter, layout.run_id)
    tools = wiring.get_stage_tools(settings, store, allow_failed=settings.stage_allow_failed)
    record = do_stage(store, run, stage, tools, log.info)
    log.info("%s: %s", stage, describe_stage(record, key=layout.stage_record(stage)))
    return record


def map_batch(settings: Settings, stop: StopSignal) -> BatchProgress | None:
    """Do one batch of the map stage; None where the work is another job's.

    Raises:
        FtmError: see run_map; ConfigError when the environment does not say what to do.
    """
    layout = _layout(settings)
    store = wiring.get_store(settings)
    spec = read_run_spec(store, layout)
    if why := reason_to_leave(store, layout, job_id=settings.job_id, attempt=settings.attempt):
        log.warning("leaving without work: %s", why)
        return None
    key = _need(settings.manifest_key, "MANIFEST_S3_KEY")
    line = read_batch(store, key, batch_id=settings.batch_id, index=settings.array_index)
    check_batch(store, layout, spec, line)
    device = spec.model.get("device", "cpu")
    log.info(
        "ftm %s: map, run %s, %s (%d firms), device %s",
        *(VERSION, spec.run_id, line.batch_id, len(line.firm_ids), device),
    )
    manifest = read_run_manifest(store, layout, spec)
    ledger = BatchLedger(
        store,
        layout,
        line,
        part_firms=spec.checkpoint_firms,
        unavailable=without_sentences(manifest),
        job_id=settings.job_id or "",
    )
    source = wiring.get_data_connector(
        settings.data_source, layout.quarter, settings=settings, manifest=manifest
    )
    with source:
        return run_map(
            ledger,
            source=source,
            make_processor=lambda clock: _processor(settings, spec, ledger, clock),
            options=MapOptions(
                breaker=breaker_settings(settings), stopping=stop, droppable=lambda: stop
            ),
        )


def _processor(
    settings: Settings, spec: RunSpec, ledger: BatchLedger, clock: StageClock
) -> FirmProcessor:
    # One device per run: `auto` was resolved when the run was planned, never here.
    device = spec.model.get("device", "cpu") if settings.device == "auto" else settings.device
    own = settings.model_copy(update={"device": device})
    wiring.get_keep_kinds(own)
    check_model(ledger.store, ledger.layout, spec, wiring.get_model_fingerprint(own))
    machine = wiring.get_machine(own)
    check_machine(machine, spec)
    ledger.note_machine(machine)
    return wiring.get_firm_processor(own, timestamp=run_start(spec), clock=clock)


def breaker_settings(settings: Settings) -> BreakerSettings:
    """The circuit breaker's limits."""
    return BreakerSettings(
        allow_failures=settings.allow_failures,
        max_consecutive=settings.max_consecutive_failures,
        max_rate=settings.max_failure_rate,
        min_processed=settings.min_processed_for_rate,
    )


def _layout(settings: Settings) -> RunLayout:
    return RunLayout(
        Quarter.parse(_need(settings.quarter, "QUARTER")), _need(settings.run_id, "FTM_RUN_ID")
    )


def _need(value: _T | None, variable: str) -> _T:
    if value is None:
        raise ConfigError(f"{variable} is not set; `ftm run-quarter` starts workers with it")
    return value


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    form = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ftm").setLevel(logging.INFO)
    # One line for every retry, without what was retried: ours say that, at most once a minute.
    logging.getLogger("stamina").setLevel(logging.ERROR)


def do_or_drop(stage: str, settings: Settings, stop: StopSignal) -> int:
    """A later stage, broken off by a signal: what it has written is whole, and done again."""
    try:
        with stop:
            do_later_stage(stage, settings)
    except StopRequested:
        log.warning("%s: told to stop; the next attempt begins it again", stage)
        return 128 + (stop.number or 0)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or given[0] not in STAGES:
        sys.stderr.write(
            f"ftm.worker: unknown stage {' '.join(given)!r}; "
            f"usage: python -m ftm.worker {'|'.join(STAGES)}\n"
        )
        return 2
    _log_to_stderr()
    stop = StopSignal()
    stop.listen()
    stage = given[0]
    try:
        if stage != "map":
            return do_or_drop(stage, Settings.load(), stop)
        progress = map_batch(Settings.load(), stop)
    except FtmError as error:
        sys.stderr.write(f"{WORKER_SAYS}{' '.join(str(error).split())}\n")
        is_own = isinstance(error, StoreGaveUpError)
        return STAGE_WIDE_EXIT if isinstance(error, STAGE_WIDE) and not is_own else 1
    if progress is None:
        return 0
    if stop.number is not None and (progress.failed or not progress.complete):
        # Failed firms were to be tried again, and the stop may have come before them.
        log.warning(
            "map: told to stop with %d firms done; the next attempt goes on from there",
            len(progress.done),
        )
        return 128 + stop.number
    return 0


if __name__ == "__main__":
    sys.exit(main())
