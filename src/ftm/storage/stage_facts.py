"""The facts in a stage's record, which whoever shows them or goes on from them relies on."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ftm.core.errors import CorruptObjectError
from ftm.core.plain import one_line
from ftm.storage.stage_records import StageRecord


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _OfReduce(_Facts):
    n_topics: int
    n_themed: int
    n_themes: int


class _OfName(_Facts):
    method: dict[str, str]
    n_alike: int = 0
    n_asked: int = 0
    n_cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    @field_validator("method")
    @classmethod
    def _says_who(cls, method: dict[str, str]) -> dict[str, str]:
        if "naming" not in method:
            raise ValueError("a method without naming")
        return method


class _OfPackage(_Facts):
    n_calls: int
    n_calls_with_topics: int
    n_topics: int
    topics_per_call: float
    topics_length_correlation: float | None
    outlier_share: float
    excluded_share: float
    themed_share: float
    topics_themed_share: float
    n_themes: int
    largest_theme_share: float
    firms_per_theme: float
    is_partial: bool = False


_KINDS: dict[str, type[_Facts]] = {"reduce": _OfReduce, "name": _OfName, "package": _OfPackage}


def facts_of(record: StageRecord, *, key: str) -> dict[str, Any]:
    """The facts of a record, none missing.

    Args:
        record: of reduce, name or package.
        key: where it is, for the error.

    Raises:
        CorruptObjectError: a fact is missing or of another kind; says how it is mended.
    """
    try:
        return _KINDS[record.stage].model_validate(record.facts).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(map(str, first["loc"])), first["msg"]
        raise CorruptObjectError(
            f"{key} is damaged, fact {one_line(where)}: {one_line(what)}; {StageRecord.mend}",
            key=key,
        ) from error
