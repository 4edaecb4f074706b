"""What `ftm doctor` looks at: checks for the settings there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ftm.core.errors import ConfigError
from ftm.core.settings import Settings
from ftm.wiring.data import get_store
from ftm.wiring.jobs import get_aws_client, get_stage_queue

if TYPE_CHECKING:
    from ftm.care.batch import ClientOf
    from ftm.care.checks import Check
    from ftm.jobs.aws_calls import AWSClient

PATIENCE_S = 4.0
"""With an AWS that does not answer, a check: there are a dozen of them."""


def get_checks(
    given: Mapping[str, Any], *, log_in: bool, notify: Callable[[str], None]
) -> list[Check]:
    """Everything `ftm doctor` looks at, in order.

    Args:
        given: settings given as flags.
        log_in: whether to log in to WRDS.
        notify: told of the Duo push that follows.
    """
    from ftm.care import machine

    problem = None
    try:
        settings = Settings.load(**given)
    except ConfigError as error:
        settings, problem = Settings.model_construct(), error
    rest = [
        *_of_aws(settings),
        *_of_store(settings),
        *_of_batch(settings),
        *_of_wrds(settings, log_in=log_in, notify=notify),
        *_of_models(settings),
    ]
    needing = [replace(check, needs=(machine.SETTINGS, *check.needs)) for check in rest]
    return [machine.installation(), machine.readable_settings(settings, problem), *needing]


def _of_aws(settings: Settings) -> list[Check]:
    from ftm.care.aws import account
    from ftm.care.checks import not_set_up
    from ftm.jobs.aws_calls import chosen_region, credential_source

    if _bucket(settings) is None and not _uses_batch(settings):
        return [not_set_up("AWS", "only a store on S3 and AWS Batch need it")]
    return account(
        credential_source,
        lambda: chosen_region(settings.aws_region),
        lambda service: _client(settings, service),
    )


def _of_store(settings: Settings) -> list[Check]:
    from ftm.care.store import folder_store, s3_store, unnamed_store

    open_store = cache(lambda: get_store(settings))
    bucket = _bucket(settings)
    if bucket is not None:
        return s3_store(bucket, open_store, _client(settings, "s3"))
    try:
        _ = settings.store_url
    except ConfigError as error:
        return [unnamed_store(error)]
    return folder_store(open_store)


def _of_batch(settings: Settings) -> list[Check]:
    from ftm.care import batch
    from ftm.care.checks import Check, failed, not_set_up
    from ftm.jobs.batch_queue import BatchQueue

    if not _uses_batch(settings):
        how = "`ftm config from-terraform` writes queue and job definition into ftm.toml"
        return [not_set_up("AWS Batch", how)]
    told = BatchQueue(
        _client(settings, "batch"),
        queue=settings.batch_queue or "",
        job_definition=settings.batch_job_definition or "",
    )

    def unset(what: str, name: str) -> list[Check]:
        text = f"{name} is not set; `ftm config from-terraform` writes it into ftm.toml"
        return [Check(what, lambda: [failed(what, text)])]

    def client(service: str, region: str | None) -> AWSClient:
        chosen = settings.model_copy(update={"aws_region": region}) if region else settings
        return _client(chosen, service)

    found: list[Check] = []
    if _bucket(settings) is None:
        text = "containers reach no folder; --backend batch needs FTM_STORE=s3://bucket"
        found.append(Check("store of the jobs", lambda: [failed("store of the jobs", text)]))
    found += batch.queue(told) if settings.batch_queue else unset(batch.QUEUE, "FTM_BATCH_QUEUE")
    if settings.batch_job_definition:
        found += batch.definition(told, client)
    else:
        found += unset(batch.DEFINITION, "FTM_BATCH_JOB_DEFINITION")
    return found + _of_stages(settings, client)


def _of_stages(settings: Settings, client: ClientOf) -> list[Check]:
    """Where the stages after map run as jobs, if they do."""
    from ftm.care import batch
    from ftm.jobs.aws_calls import Patience

    queue = get_stage_queue(settings, patience=Patience(limit_s=PATIENCE_S))
    if queue is None:
        return []
    checks = batch.queue(queue) if settings.batch_stage_queue else []
    return batch.for_stages([*checks, *batch.definition(queue, client)])


def _of_wrds(settings: Settings, *, log_in: bool, notify: Callable[[str], None]) -> list[Check]:
    from ftm.care import wrds
    from ftm.connectors.wrds_connector import WRDSConnector

    found = [wrds.host(settings), wrds.packages(), wrds.credentials(settings)]
    if log_in:
        where = f"{settings.wrds_host}:{settings.wrds_port}"
        found.append(
            wrds.login(lambda: WRDSConnector(settings=settings, notify=notify), where, notify)
        )
    return found


def _of_models(settings: Settings) -> list[Check]:
    from ftm.care import machine
    from ftm.text.pipelines import load_pipeline

    return [
        machine.text_pipeline(settings.nlp, load_pipeline),
        machine.embedding_model(settings.embedding_model),
        machine.device(settings.device, runs_on_aws=_uses_batch(settings)),
    ]


def _client(settings: Settings, service: str) -> AWSClient:
    from ftm.jobs.aws_calls import Patience

    return get_aws_client(settings, service, patience=Patience(limit_s=PATIENCE_S))


def _uses_batch(settings: Settings) -> bool:
    named = settings.batch_queue, settings.batch_job_definition, settings.batch_stage_job_definition
    return any(named)


def _bucket(settings: Settings) -> str | None:
    """The bucket's name; None for a store that is not on S3."""
    if settings.store:
        scheme, _, rest = settings.store.partition("://")
        return rest.partition("/")[0] if scheme == "s3" else None
    return settings.s3_bucket
