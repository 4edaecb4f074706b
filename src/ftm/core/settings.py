"""Settings: the one place that reads the environment and `ftm.toml`.

Precedence: flag > environment > ftm.toml > default. Secrets have neither flag nor toml key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ftm.core import setting_rules as rules
from ftm.core.errors import ConfigError
from ftm.core.plain import one_line
from ftm.core.urls import shown

TOML_FILE = "ftm.toml"
SSLMODES = ("require", "verify-ca", "verify-full", "disable")
"""Those of libpq's sslmodes under which it logs in once."""
SECRETS = frozenset({"wrds_password", "llm_api_key"})
_RULES: dict[str, Callable[[str], None]] = {
    "store": rules.check_store,
    "s3_bucket": rules.check_bucket,
    "aws_endpoint_url": rules.check_endpoint,
    "aws_region": rules.check_region,
    "wrds_host": rules.check_wrds_host,
    "wrds_dbname": rules.check_wrds_name,
    "wrds_username": rules.check_wrds_name,
    "batch_queue": rules.check_batch_name,
    "batch_job_definition": rules.check_batch_name,
    "batch_stage_queue": rules.check_batch_name,
    "batch_stage_job_definition": rules.check_batch_name,
    "llm_base_url": rules.check_llm_url,
}
"""Of the text of a field; that of any other holds no URL with a user."""


def _env(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Everything that can be configured, with its default.

    Build it with `Settings.load(store=…, nlp=…)`: arguments that are None count as not given.
    In `ftm.toml` a key is the field's name: `store = "s3://bucket"`.
    """

    model_config = SettingsConfigDict(
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    # where
    store: str | None = Field(None, validation_alias=_env("FTM_STORE"))
    s3_bucket: str | None = Field(None, validation_alias=_env("S3_BUCKET"))
    aws_endpoint_url: str | None = Field(None, validation_alias=_env("AWS_ENDPOINT_URL"))
    aws_region: str | None = Field(None, validation_alias=_env("AWS_REGION", "AWS_DEFAULT_REGION"))
    # WRDS
    wrds_host: str = Field("wrds-pgdata.wharton.upenn.edu", validation_alias=_env("FTM_WRDS_HOST"))
    wrds_port: int = Field(9737, ge=1, le=65535, validation_alias=_env("FTM_WRDS_PORT"))
    wrds_dbname: str = Field("wrds", validation_alias=_env("FTM_WRDS_DBNAME"))
    wrds_sslmode: str = Field("require", validation_alias=_env("FTM_WRDS_SSLMODE"))
    wrds_username: str | None = Field(None, validation_alias=_env("WRDS_USERNAME"))
    wrds_password: SecretStr | None = Field(None, validation_alias=_env("WRDS_PASSWORD"))
    pgpassfile: Path | None = Field(None, validation_alias=_env("PGPASSFILE"))
    # text
    nlp: str = Field("rules", min_length=1, validation_alias=_env("FTM_NLP"))
    prefetch_checkpoint: int = Field(100, ge=1, validation_alias=_env("FTM_PREFETCH_CHECKPOINT"))
    # map
    data_source: Literal["wrds", "s3"] = Field("wrds", validation_alias=_env("DATA_SOURCE"))
    embedding_model: str = Field(
        "all-MiniLM-L6-v2", validation_alias=_env("FTM_EMBEDDING_MODEL", "EMBEDDING_MODEL_NAME")
    )
    embed_text: Literal["raw", "cleaned"] = Field("raw", validation_alias=_env("FTM_EMBED_TEXT"))
    clustering: Literal["umap-hdbscan", "ward", "leiden", "noop"] = Field(
        "ward", validation_alias=_env("FTM_CLUSTERING")
    )
    seed: int = Field(42, ge=0, lt=2**32, validation_alias=_env("FTM_SEED"))
    keep_kinds: str = Field("content", validation_alias=_env("FTM_KEEP_KINDS"))
    device: str = Field("auto", validation_alias=_env("FTM_DEVICE"))
    dtype: Literal["float32", "bfloat16"] = Field("float32", validation_alias=_env("FTM_DTYPE"))
    map_checkpoint: int = Field(50, ge=1, validation_alias=_env("CHECKPOINT_INTERVAL"))
    allow_failures: bool = Field(True, validation_alias=_env("ALLOW_FAILURES"))
    max_consecutive_failures: int = Field(
        5, ge=1, validation_alias=_env("MAX_CONSECUTIVE_FAILURES")
    )
    max_failure_rate: float = Field(0.05, ge=0, le=1, validation_alias=_env("MAX_FAILURE_RATE"))
    min_processed_for_rate: int = Field(100, ge=1, validation_alias=_env("MIN_PROCESSED_FOR_RATE"))
    # AWS Batch
    batch_queue: str | None = Field(None, validation_alias=_env("FTM_BATCH_QUEUE"))
    batch_job_definition: str | None = Field(
        None, validation_alias=_env("FTM_BATCH_JOB_DEFINITION")
    )
    batch_stage_queue: str | None = Field(None, validation_alias=_env("FTM_BATCH_STAGE_QUEUE"))
    batch_stage_job_definition: str | None = Field(
        None, validation_alias=_env("FTM_BATCH_STAGE_JOB_DEFINITION")
    )
    job_timeout_s: int | None = Field(None, ge=60, validation_alias=_env("FTM_JOB_TIMEOUT_S"))
    job_attempts: int | None = Field(None, ge=1, le=10, validation_alias=_env("FTM_JOB_ATTEMPTS"))
    poll_s: float | None = Field(None, gt=0, le=3600, validation_alias=_env("FTM_POLL_S"))
    price_per_hour: float | None = Field(None, ge=0, validation_alias=_env("FTM_PRICE_PER_HOUR"))
    # themes
    theme_clustering: Literal["leiden", "umap-hdbscan"] = Field(
        "leiden", validation_alias=_env("FTM_THEME_CLUSTERING")
    )
    theme_resolution: float = Field(5.0, gt=0, validation_alias=_env("FTM_THEME_RESOLUTION"))
    theme_min_firms: int = Field(2, ge=1, validation_alias=_env("FTM_THEME_MIN_FIRMS"))
    theme_max_firm_share: float = Field(
        0.4, gt=0, le=1, validation_alias=_env("FTM_THEME_MAX_FIRM_SHARE")
    )
    # naming
    naming: Literal["keywords", "llm"] = Field("keywords", validation_alias=_env("FTM_NAMING"))
    llm_base_url: str | None = Field(None, validation_alias=_env("LLM_BASE_URL"))
    llm_model_name: str = Field("Qwen/Qwen3-8B", validation_alias=_env("LLM_MODEL_NAME"))
    llm_api_key: SecretStr | None = Field(None, validation_alias=_env("LLM_API_KEY"))
    llm_max_concurrent: int = Field(10, ge=1, validation_alias=_env("LLM_MAX_CONCURRENT"))
    allow_external_llm: bool = Field(False, validation_alias=_env("FTM_ALLOW_EXTERNAL_LLM"))
    llm_timeout_s: float = Field(120.0, gt=0, validation_alias=_env("LLM_TIMEOUT_S"))
    llm_max_tokens: int = Field(512, ge=32, validation_alias=_env("LLM_MAX_TOKENS"))
    llm_prompt_tokens: int = Field(2000, ge=200, validation_alias=_env("LLM_PROMPT_TOKENS"))
    llm_patience_s: float = Field(600.0, ge=0, validation_alias=_env("LLM_PATIENCE_S"))
    llm_price_in: float | None = Field(None, ge=0, validation_alias=_env("LLM_PRICE_IN"))
    llm_price_out: float | None = Field(None, ge=0, validation_alias=_env("LLM_PRICE_OUT"))
    # worker only
    quarter: str | None = Field(None, validation_alias=_env("QUARTER"))
    manifest_key: str | None = Field(None, validation_alias=_env("MANIFEST_S3_KEY"))
    batch_id: str | None = Field(None, validation_alias=_env("BATCH_ID"))
    array_index: int | None = Field(None, validation_alias=_env("AWS_BATCH_JOB_ARRAY_INDEX"))
    run_id: str | None = Field(None, validation_alias=_env("FTM_RUN_ID"))
    attempt: int | None = Field(None, ge=1, validation_alias=_env("FTM_ATTEMPT"))
    job_id: str | None = Field(None, validation_alias=_env("AWS_BATCH_JOB_ID"))
    stage_image: str | None = Field(None, validation_alias=_env("FTM_STAGE_IMAGE"))
    stage_allow_failed: bool = Field(False, validation_alias=_env("FTM_STAGE_ALLOW_FAILED"))
    worker_cores: int | None = Field(None, ge=1, validation_alias=_env("FTM_WORKER_CORES"))

    @field_validator("*", mode="before")
    @classmethod
    def _text_alone(cls, value: object, info: ValidationInfo) -> object:
        """Paths may be any bytes; the rest goes where NUL and lone surrogates do not."""
        name = str(info.field_name)
        if isinstance(value, str) and name != "pgpassfile":
            rules.check_text(value)
            if name not in SECRETS:
                _RULES.get(name, rules.check_no_user)(value)
        return value

    @field_validator("llm_api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value().strip() if key else ""
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                "a key has no blank, line break or letter with an accent in it; copy it again"
            )
        return SecretStr(text) if text else None

    @field_validator("wrds_sslmode")
    @classmethod
    def _one_login(cls, mode: str) -> str:
        if mode in SSLMODES:
            return mode
        raise ValueError(
            f"use {', '.join(SSLMODES[:-1])} or {SSLMODES[-1]}; under allow and prefer libpq may"
            " log in twice and so send two Duo pushes"
        )

    @property
    def store_url(self) -> str:
        """The store's URL.

        Raises:
            ConfigError: neither FTM_STORE nor S3_BUCKET nor a flag names one.
        """
        if self.store:
            return self.store
        if self.s3_bucket:
            return f"s3://{self.s3_bucket}"
        raise ConfigError(
            "no store is set; pass --store or set FTM_STORE to s3://bucket[/prefix] or file:///folder"
        )

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Settings from arguments, environment and `ftm.toml`.

        Args:
            given: field names with values; None means not given.

        Raises:
            ConfigError: a value cannot be used; the message names the setting.
        """
        try:
            rules.check_endpoints(os.environ)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, environment, ftm.toml; no dotenv, no secrets folder."""
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _read_toml(Path(TOML_FILE))),
        )


def _read_toml(path: Path) -> dict[str, Any]:
    """What `ftm.toml` holds; a secret, an unknown key or a syntax error stops everything."""
    try:
        keys = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except (ValueError, RecursionError, OSError) as error:
        # Of a ValueError also: int() refuses thousands of digits.
        raise ConfigError(f"{path} cannot be read: {one_line(str(error))}") from error
    if found := sorted(SECRETS & keys.keys()):
        raise ConfigError(f"{path} holds {found[0]!r}; secrets come from the environment only")
    if unknown := sorted(keys.keys() - Settings.model_fields.keys()):
        known = ", ".join(sorted(Settings.model_fields.keys() - SECRETS))
        raise ConfigError(f"{path} has an unknown key {unknown[0]!r}; known are {known}")
    return keys


def variables(settings: Settings, *, always: Collection[str] = ()) -> dict[str, str]:
    """The non-secret settings that differ from their default, as environment variables.

    A worker started with these (and the worker-only ones) sees the same settings.

    Args:
        settings: of the run.
        always: fields that are named even if they have their default.
    """
    differing = [
        name
        for name, info in Settings.model_fields.items()
        if name in always or getattr(settings, name) != info.default
    ]
    return variables_of(settings, differing)


def variables_of(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """These settings as environment variables, defaults too; secrets and unset ones left out."""
    found: dict[str, str] = {}
    for name in names:
        value = getattr(settings, name)
        if name in SECRETS or value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found[variable_name(Settings.model_fields[name])] = text
    return found


def with_variables(settings: Settings, given: Mapping[str, str], names: Iterable[str]) -> Settings:
    """The settings with some of their fields as these environment variables say.

    Args:
        settings: the others stay.
        given: variables; those of other fields are not looked at.
        names: fields that may change.

    Raises:
        ConfigError: a value cannot be used; the message names the setting.
    """
    fields = {name: variable_name(Settings.model_fields[name]) for name in names}
    told = {name: given[variable] for name, variable in fields.items() if variable in given}
    if not told:
        return settings
    read = Settings.load(**told)
    return settings.model_copy(update={name: getattr(read, name) for name in told})


def variable_name(info: FieldInfo) -> str:
    """The environment variable of a field."""
    return str(cast(AliasChoices, info.validation_alias).choices[0])


def _field_of(name: str) -> str:
    """The field that this variable sets; other names as they are."""
    for field, info in Settings.model_fields.items():
        if name in cast(AliasChoices, info.validation_alias).choices:
            return field
    return name


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = _field_of(str(first["loc"][0])) if first["loc"] else "settings"
    info = Settings.model_fields.get(name)
    variable = variable_name(info) if info is not None else name
    value = "" if name in SECRETS else _shown(first["input"], first["type"])
    why = first["msg"].removeprefix("Value error, ")
    if name == "store":
        return f"store{value} (--store or {variable}) cannot be used: {why}"
    return f"{variable}{value} cannot be used: {why}"


def _shown(value: object, kind: str) -> str:
    """A blank and a value for a message; empty for one that is neither text nor a number."""
    if isinstance(value, str):
        return f" {shown(value)!r}"
    is_number = isinstance(value, bool | int | float) and kind != "string_type"
    return f" {value!r}" if is_number else ""


def environment() -> dict[str, str]:
    """A copy of this process's environment, for child processes."""
    return dict(os.environ)
