"""A prefetched quarter with a plan: firms kept, and firms lost on the way, one per reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData
from ftm.core.schemas import CALLS, PLAN_REASONS, SKIP_REASONS
from ftm.prefetch.plan_file import make_plan
from ftm.storage.checkpoint import PlanChoice
from ftm.storage.manifest import PlanEntry, PrefetchManifest, encode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows
from tests.support.business_firms import CALL_DATE, QUARTER, make_firms
from tests.support.stored_quarter import store_quarter


def call_row(
    firm_id: str, *, number: int, reason: str | None = None, **given: Any
) -> dict[str, Any]:
    """One row of the plan; kept unless a reason says otherwise."""
    linked = reason in (None, "other_call")
    return {
        "firm_id": firm_id,
        "firm_name": f"Firm {number} Inc.",
        "keydevid": 500000 + number,
        "transcript_id": f"{900000 + number}",
        "headline": f"Firm {number} Inc., Q4 2022 Earnings Call, Feb 14, 2023",
        "fiscal_year": 2022,
        "fiscal_quarter": 4,
        "call_ts_utc": datetime(2023, 2, 14, 13, 30, tzinfo=UTC),
        "time_missing": False,
        "earnings_call_date": CALL_DATE,
        "call_date_et": CALL_DATE,
        "day0": CALL_DATE,
        "collection_type": "Proofed Copy",
        "presentation_type": "Final",
        "created_ts_utc": datetime(2023, 2, 15, 9, 0, tzinfo=UTC),
        "n_versions": 1,
        "n_calls_in_quarter": 1,
        "gvkey": f"{number:06d}" if linked else None,
        "permno": 10000 + number if linked else None,
        "permco": 20000 + number if linked else None,
        "liid": "01" if linked else None,
        "linktype": "LC" if linked else None,
        "linkprim": "P" if linked else None,
        "link_date": date(2001, 1, 2) if linked else None,
        "link_end_date": None,
        "kept": reason is None,
        "reason": reason,
        **given,
    }


def write_quarter(
    store: ObjectStore,
    firms: Sequence[FirmTranscriptData] | int = 6,
    *,
    quarter: Quarter = QUARTER,
    firms_per_chunk: int = 200,
    complete: bool = True,
    n_pending: int = 0,
    n_sentences: int = 30,
    turns_of: Callable[[FirmTranscriptData], list[dict[str, Any]]] | None = None,
) -> PrefetchManifest:
    """Firms with sentences, and one lost for each reason there is.

    `n_pending` firms more are in the plan, but were not prefetched. Every plan reason has one
    firm (`lost-no_gvkey` …), every skip reason one (`skip-no_text` …), one failed (`fail-0`),
    and the first firm has a second, earlier call.
    """
    some = make_firms(firms, n_sentences=n_sentences) if isinstance(firms, int) else list(firms)
    skipped = {f"skip-{reason}": reason for reason in SKIP_REASONS}
    failed = {"fail-0": "PreprocessingError: made up"}
    manifest = store_quarter(
        store,
        some,
        quarter=quarter,
        firms_per_chunk=firms_per_chunk,
        skipped=skipped,
        failed=failed,
        turns_of=turns_of,
    )
    number_of = {firm.firm_id: number for number, firm in enumerate(some)}
    rows = [call_row(firm, number=number) for firm, number in number_of.items()]
    if some:
        rows += _second_call(rows[0], some[0].firm_id)
    lost = [reason for reason in PLAN_REASONS if reason != "other_call"]
    rows += [
        call_row(f"lost-{reason}", number=700 + number, reason=reason)
        for number, reason in enumerate(lost)
    ]
    rows += [call_row(firm, number=800 + number) for number, firm in enumerate([*skipped, *failed])]
    rows += [call_row(f"pending-{number}", number=900 + number) for number in range(n_pending)]
    return replace_plan(store, manifest, rows, complete=complete and not n_pending)


def _second_call(first: dict[str, Any], firm_id: str) -> list[dict[str, Any]]:
    first["n_calls_in_quarter"] = 2
    when = datetime(2023, 1, 9, 15, 0, tzinfo=UTC)
    dates = {"earnings_call_date": when.date(), "call_date_et": when.date(), "day0": when.date()}
    given = {"keydevid": 1, "call_ts_utc": when, "n_calls_in_quarter": 2, **dates}
    return [call_row(firm_id, number=0, reason="other_call", **given)]


def replace_plan(
    store: ObjectStore,
    manifest: PrefetchManifest,
    rows: Sequence[dict[str, Any]],
    *,
    complete: bool = True,
    calls: str = "latest",
    as_of: str | None = None,
) -> PrefetchManifest:
    """The same quarter with these rows as its plan."""
    layout = PrefetchLayout(Quarter.parse(manifest.quarter))
    ordered = sorted(rows, key=lambda r: (r["firm_id"], r["call_ts_utc"], r["keydevid"]))
    choice = PlanChoice(calls=calls, as_of=as_of, linktypes=["LC", "LU"])
    plan = make_plan(from_rows(ordered, CALLS), choice, manifest.source).data
    store.put(layout.key(manifest.plan.file), plan)
    entry = PlanEntry(file=manifest.plan.file, sha256=sha256(plan).hexdigest())
    changed = manifest.model_copy(update={"plan": entry, "complete": complete})
    store.put(layout.manifest, encode_manifest(changed), gzip_encoded=True)
    return changed
