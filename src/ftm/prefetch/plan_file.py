"""The plan in the store: `calls.parquet`, with how and where from it was made in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, cast

import pyarrow as pa

from ftm.connectors.discovery import PlanOptions, SourceRecord
from ftm.core.errors import ConfigError, CorruptObjectError, FtmError
from ftm.core.schemas import CALLS
from ftm.storage.checkpoint import PlanChoice
from ftm.storage.manifest import Source
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes, to_bytes
from ftm.storage.parquet_layout import parse_footer

CCM_LINKTYPES = ("LU", "LC", "LS", "LD", "LX", "LN", "LO", "NR", "NU")
"""Values of `linktype` in CRSP's link history (crsp.ccmxpf_lnkhist)."""

_OPTIONS_KEY = "ftm.plan_options"
_SOURCE_KEY = "ftm.source"


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as stored.

    Args:
        calls: schema CALLS.
        options: it was made with.
        source: it was read from; `extracted_at` is empty, as the file holds no time of day: two
            prefetches of the same WRDS give the same bytes.
        data: the file.
    """

    calls: pa.Table
    options: PlanChoice
    source: Source
    data: bytes

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.data).hexdigest()


def plan_choice(options: PlanOptions) -> PlanChoice:
    """Options as JSON keeps them; order and case of linktypes do not matter.

    Raises:
        ConfigError: there is no link type, or one that CCM does not have.
    """
    as_of = None if options.as_of is None else options.as_of.isoformat()
    linktypes = sorted({word.upper() for word in options.linktypes})
    if not linktypes or not set(linktypes) <= set(CCM_LINKTYPES):
        raise ConfigError(
            f"link types are {','.join(linktypes)!r}; expected some of "
            f"{', '.join(CCM_LINKTYPES)} (--linktypes LU,LC)"
        )
    return PlanChoice(calls=options.calls, as_of=as_of, linktypes=linktypes)


def plan_options(choice: PlanChoice) -> PlanOptions:
    """Back from JSON."""
    return PlanOptions(
        calls=cast(Any, choice.calls),
        as_of=None if choice.as_of is None else date.fromisoformat(choice.as_of),
        linktypes=tuple(choice.linktypes),
    )


def source_of(record: SourceRecord) -> Source:
    """A source as the manifest keeps it."""
    vintage = record.link_vintage
    return Source(
        host=record.host,
        database=record.database,
        tables=dict(record.tables),
        query_sha256=record.query_sha256,
        link_vintage=None if vintage is None else vintage.isoformat(),
        extracted_at=record.extracted_at.isoformat(),
    )


def make_plan(calls: pa.Table, options: PlanChoice, source: Source) -> StoredPlan:
    """A plan ready to be stored."""
    timeless = source.model_copy(update={"extracted_at": ""})
    metadata = {
        _OPTIONS_KEY: json.dumps(options.model_dump(), sort_keys=True),
        _SOURCE_KEY: json.dumps(timeless.model_dump(), sort_keys=True),
    }
    return StoredPlan(calls, options, timeless, to_bytes(calls, CALLS, metadata=metadata))


def read_plan(store: ObjectStore, key: str) -> StoredPlan:
    """A stored plan.

    Raises:
        ObjectNotFoundError: there is none.
        CorruptObjectError: it cannot be read, or no prefetch wrote it.
    """
    data = store.get(key)
    name = store.name(key)
    try:
        calls = from_bytes(data, CALLS, key=name)
        metadata: Mapping[bytes, bytes] = parse_footer(data, key=name).metadata or {}
        options = PlanChoice.model_validate_json(metadata[_OPTIONS_KEY.encode()])
        source = Source.model_validate_json(metadata[_SOURCE_KEY.encode()])
    except (KeyError, ValueError) as error:
        quarter = name.rpartition("quarter=")[2].partition("/")[0]
        what = str(error) if isinstance(error, FtmError) else f"{name} says not how it was made"
        raise CorruptObjectError(
            f"{' '.join(what.split())}; restore it from a backup or make the quarter anew with "
            f"`ftm prefetch --quarter {quarter} --refresh`",
            key=key,
        ) from error
    return StoredPlan(calls, options, source, data)


def reasons_not_kept(calls: pa.Table) -> dict[str, str]:
    """Firm → why the plan keeps none of its calls; firms it keeps are left out."""
    columns = (calls[name].to_pylist() for name in ("firm_id", "kept", "reason"))
    found: dict[str, str] = {}
    kept_firms = set()
    for firm_id, kept, reason in zip(*columns, strict=True):
        if kept:
            kept_firms.add(firm_id)
        elif reason != "other_call" or firm_id not in found:
            found[firm_id] = reason
    return {firm: reason for firm, reason in found.items() if firm not in kept_firms}
