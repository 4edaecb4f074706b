"""One firm of a quarter: the call that represents it and why, and its topics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ftm.analysis.loaders import join_sentences, read_topics
from ftm.connectors.base import unknown_firms
from ftm.core.errors import ConfigError, OrchestratorError, UnknownFirmError
from ftm.core.quarter import Quarter
from ftm.core.schemas import PLAN_REASONS, SKIP_REASONS
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import (
    RunRecords,
    find_run,
    list_runs,
    published_run,
    read_calls,
    read_plan_choice,
    read_run_manifest,
)

TYPICAL_SENTENCES = 3
NAMES_LISTED = 10
_GVKEY = re.compile("[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Call:
    """One row of the plan; the names are those of schema CALLS."""

    keydevid: int
    transcript_id: str | None
    headline: str | None
    fiscal_year: int | None
    fiscal_quarter: int | None
    call_ts_utc: datetime
    time_missing: bool
    earnings_call_date: date
    call_date_et: date
    day0: date
    collection_type: str | None
    presentation_type: str | None
    created_ts_utc: datetime | None
    n_versions: int
    n_calls_in_quarter: int
    gvkey: str | None
    permno: int | None
    linktype: str | None
    linkprim: str | None
    link_date: date | None
    link_end_date: date | None
    kept: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class TypicalSentence:
    """A sentence as spoken, and by whom (Executives, Analysts)."""

    text: str
    speaker_type: str | None


@dataclass(frozen=True, slots=True)
class ShownTopic:
    """A topic of the firm.

    Args:
        local_topic_id: 0 is the largest.
        representation: its name by keywords.
        summary: its name by a language model; empty while there is none.
        keywords: best first.
        n_sentences: in it.
        share: of all the firm's sentences, those of kinds that are not clustered included.
        share_of_clustered: of its sentences that went into clustering.
        typical: nearest its centroid first.
    """

    local_topic_id: int
    representation: str
    summary: str
    keywords: tuple[str, ...]
    n_sentences: int
    share: float
    share_of_clustered: float
    typical: tuple[TypicalSentence, ...]


@dataclass(frozen=True, slots=True)
class FirmView:
    """A firm of a quarter.

    Args:
        quarter: like 2023Q1.
        firm_id: Capital IQ company id.
        firm_name: its name.
        call: that represents it.
        other_calls: in the quarter, that do not.
        policy: which call represents a firm: latest or first; empty if the plan does not say.
        as_of: versions created after this day did not count; empty: all did.
        outcome: `topics`; else why there are none, in words.
        run_id: of the run shown; empty without one.
        n_sentences: in the store.
        kinds: kind of sentence → how many.
        n_clustered: sentences that went into clustering.
        n_outliers: of these, in no topic.
        topics: largest first.
    """

    quarter: str
    firm_id: str
    firm_name: str | None
    call: Call
    other_calls: tuple[Call, ...]
    outcome: str
    policy: str = ""
    as_of: str = ""
    run_id: str = ""
    n_sentences: int = 0
    kinds: dict[str, int] | None = None
    n_clustered: int = 0
    n_outliers: int = 0
    topics: tuple[ShownTopic, ...] = ()

    @property
    def why_this_call(self) -> str:
        """Why this call and this version of it represent the firm, in words."""
        which = "the firm's only call in the quarter"
        if self.other_calls:
            n_calls = len(self.other_calls) + 1
            which = f"the {self.policy or 'one'} of the firm's {n_calls} calls in the quarter"
        return f"{which}; {self._why_this_version}"

    @property
    def _why_this_version(self) -> str:
        n, known = self.call.n_versions, f" known on {self.as_of}" if self.as_of else ""
        if self.call.transcript_id is None:
            return f"none of its {n} versions{known} is Final" if n > 1 else "no Final version"
        return f"newest Final version of {n}{known}" if n > 1 else f"its only version{known}"


@dataclass(frozen=True, slots=True)
class FirmKey:
    """How a user names a firm; exactly one is given.

    Args:
        firm_id: Capital IQ company id; one that no firm has is taken for part of a firm's name.
        gvkey: Compustat's, with or without its leading zeros.
        permno: CRSP's.
    """

    firm_id: str | None = None
    gvkey: str | None = None
    permno: int | None = None

    def check(self) -> None:
        """Refuse what cannot be an id.

        Raises:
            ConfigError: a gvkey that is not up to six digits.
        """
        if self.gvkey is not None and not _GVKEY.fullmatch(self.gvkey):
            raise ConfigError(f"{self.gvkey!r} is no gvkey; that is up to six digits, like 001690")

    def __str__(self) -> str:
        if self.firm_id is not None:
            return f"firm {self.firm_id}"
        return f"gvkey {self.gvkey}" if self.gvkey is not None else f"PERMNO {self.permno}"


def show_firm(
    store: ObjectStore,
    quarter: Quarter,
    key: FirmKey,
    *,
    run_id: str | None = None,
    n_typical: int = TYPICAL_SENTENCES,
) -> list[FirmView]:
    """The firms of this key: one, or several that share a gvkey or PERMNO.

    Args:
        store: where the quarter is.
        quarter: which.
        key: which firm.
        run_id: None: the published run, else the newest complete one, else the newest, else
            none.
        n_typical: sentences per topic.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched.
        UnknownFirmError: no earnings call of the quarter has this key, or it is part of several
            firms' names.
        ConfigError: the gvkey is none.
    """
    key.check()
    run = _run_or_none(store, quarter, run_id)
    if run is None:
        manifest = load_manifest(store, quarter)
    else:
        manifest = read_run_manifest(store, run.layout, run.spec)
    calls = read_calls(store, manifest)
    firm_ids = _resolve(calls, key, quarter)
    choice = read_plan_choice(store, manifest)
    policy, as_of = (choice.calls, choice.as_of or "") if choice else ("", "")
    views = (
        _view(store, manifest, _rows_of(calls, firm), run, n_typical=n_typical) for firm in firm_ids
    )
    return [replace(view, policy=policy, as_of=as_of) for view in views]


def _run_or_none(store: ObjectStore, quarter: Quarter, run_id: str | None) -> RunRecords | None:
    """As find_run; where none is published, an incomplete run is better than none."""
    try:
        return find_run(store, quarter, run_id, allow_incomplete=True)
    except OrchestratorError:
        if run_id is not None or published_run(store, quarter) is not None:
            raise
        return next(reversed(list_runs(store, quarter)), None)


def _resolve(calls: pa.Table, key: FirmKey, quarter: Quarter) -> list[str]:
    if key.firm_id is not None:
        mask = pc.equal(calls["firm_id"], key.firm_id)
    elif key.gvkey is not None:
        mask = pc.equal(calls["gvkey"], key.gvkey.zfill(6))
    else:
        mask = pc.equal(calls["permno"], key.permno)
    found = sorted(set(calls.filter(mask)["firm_id"].to_pylist()))
    if found:
        return found
    if key.firm_id is not None:
        return [_resolve_name(calls, key.firm_id, quarter)]
    raise UnknownFirmError(f"no firm with an earnings call in {quarter} has {key}")


def _resolve_name(calls: pa.Table, text: str, quarter: Quarter) -> str:
    """The one firm that has the text in its name, in any case of letters; blanks are no name."""
    pairs = zip(calls["firm_id"].to_pylist(), calls["firm_name"].to_pylist(), strict=True)
    name_of: dict[str, str] = {firm: name or "" for firm, name in pairs}
    part = text.strip().casefold()
    found = sorted(firm for firm, name in name_of.items() if part and part in name.casefold())
    if not found:
        raise unknown_firms([text], source=str(quarter), known=list(name_of))
    if len(found) > 1:
        listed = ", ".join(f"{firm} ({name_of[firm]})" for firm in found[:NAMES_LISTED])
        rest = len(found) - NAMES_LISTED
        raise UnknownFirmError(
            f"{text!r} is in the names of {len(found)} firms of {quarter}: {listed}"
            + (f" and {rest} more" if rest > 0 else "")
            + "; give the id of one, or more of its name",
            firm_ids=(text,),
        )
    return found[0]


def _rows_of(calls: pa.Table, firm_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = calls.filter(pc.equal(calls["firm_id"], firm_id)).to_pylist()
    return rows


def _view(
    store: ObjectStore,
    manifest: PrefetchManifest,
    rows: Sequence[dict[str, Any]],
    run: RunRecords | None,
    *,
    n_typical: int,
) -> FirmView:
    chosen = next((row for row in rows if row["reason"] != "other_call"), rows[-1])
    firm_id = chosen["firm_id"]
    view = FirmView(
        quarter=manifest.quarter,
        firm_id=firm_id,
        firm_name=chosen["firm_name"],
        call=_call(chosen),
        other_calls=tuple(_call(row) for row in rows if row is not chosen),
        outcome=_why_no_topics(manifest, run, chosen),
        run_id=run.spec.run_id if run else "",
    )
    if run is None or view.outcome != "topics":
        return view
    return _with_topics(view, store, run, n_typical=n_typical)


def _call(row: dict[str, Any]) -> Call:
    return Call(**{name: row[name] for name in Call.__slots__})


def _why_no_topics(manifest: PrefetchManifest, run: RunRecords | None, call: dict[str, Any]) -> str:
    firm, again = call["firm_id"], f"run `ftm prefetch --quarter {manifest.quarter}`"
    if not call["kept"]:
        return f"not kept: {PLAN_REASONS.get(call['reason'], call['reason'])}"
    if reason := manifest.skipped.get(firm):
        return f"skipped in the prefetch: {SKIP_REASONS.get(reason, reason)}"
    if error := manifest.failed.get(firm):
        return f"failed in the prefetch: {error}; {again} again"
    if firm not in manifest.firm_to_chunk:
        return f"not yet prefetched; {again}"
    if run is None:
        return f"prefetched, not yet clustered; run `ftm run-quarter --quarter {manifest.quarter}`"
    if error := run.failed.get(firm):
        return f"failed in run {run.spec.run_id}: {error}; run `ftm run-quarter` again"
    if reason := run.skipped.get(firm):
        return f"skipped in run {run.spec.run_id}: {reason}"
    if firm not in run.done:
        return f"not done in run {run.spec.run_id}; run `ftm run-quarter` again to resume it"
    return "topics"


def _with_topics(
    view: FirmView, store: ObjectStore, run: RunRecords, *, n_typical: int
) -> FirmView:
    of_firm = _batch_of(run, view.firm_id)
    sentences = join_sentences(store, of_firm, [view.firm_id], allow_incomplete=True)
    topics = read_topics(store, of_firm, allow_incomplete=True)
    topics = topics.filter(pc.equal(topics["firm_id"], view.firm_id))
    clustered = sentences.filter(pc.is_valid(sentences["local_topic_id"]))
    spoken = {
        row["sentence_id"]: TypicalSentence(row["raw_text"], row["speaker_type"])
        for row in clustered.select(["sentence_id", "raw_text", "speaker_type"]).to_pylist()
    }
    return replace(
        view,
        n_sentences=sentences.num_rows,
        kinds=dict(Counter(sentences["kind"].to_pylist()).most_common()),
        n_clustered=clustered.num_rows,
        n_outliers=clustered.filter(pc.less(clustered["local_topic_id"], 0)).num_rows,
        topics=tuple(
            _topic(
                row,
                spoken,
                n_sentences=sentences.num_rows,
                n_clustered=clustered.num_rows,
                n_typical=n_typical,
            )
            for row in topics.sort_by("local_topic_id").to_pylist()
        ),
    )


def _batch_of(run: RunRecords, firm_id: str) -> RunRecords:
    """The run with nothing but the firm's batch: the other parts need not be read."""
    return replace(run, batches=tuple(b for b in run.batches if firm_id in b.firm_ids))


def _topic(
    row: dict[str, Any],
    spoken: dict[str, TypicalSentence],
    *,
    n_sentences: int,
    n_clustered: int,
    n_typical: int,
) -> ShownTopic:
    return ShownTopic(
        local_topic_id=row["local_topic_id"],
        representation=row["representation"],
        summary=row["summary"] if row["naming_method"] == "llm" else "",
        keywords=tuple(row["keywords"]),
        n_sentences=row["n_sentences"],
        share=row["n_sentences"] / n_sentences if n_sentences else 0.0,
        share_of_clustered=row["n_sentences"] / n_clustered if n_clustered else 0.0,
        typical=tuple(spoken[sentence] for sentence in row["sentence_ids"][:n_typical]),
    )
