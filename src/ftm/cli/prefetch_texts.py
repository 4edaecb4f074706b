"""What `ftm prefetch` says: a few lines for people, and the same as data for `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ftm.cli.named_store import runnable
from ftm.core.counted import counted
from ftm.core.quarter import Quarter
from ftm.core.schemas import PLAN_REASONS, SKIP_REASONS

if TYPE_CHECKING:
    from ftm.prefetch.base import PlanReport, PrefetchSummary
    from ftm.prefetch.giving_up import GiveUpSummary
    from ftm.prefetch.plan import PlanRevision

SHOWN = 5
"""Firms listed one by one before a line says how many more there are."""

Told = tuple[str, dict[str, Any]]
"""The lines, and the data."""


def tell_summary(summary: PrefetchSummary) -> Told:
    """What a quarter holds now."""
    state = "complete" if summary.complete else "not complete yet"
    if summary.complete and summary.failed:
        state = f"complete but for {len(summary.failed)} failed"
    planned = counted(summary.n_planned, "firm")
    stored = f"{summary.n_firms:,} of {planned} stored ({summary.n_new_firms:,} new)"
    text = f"{counted(summary.n_sentences, 'sentence')} in {counted(summary.n_chunks, 'chunk')}"
    lines = [f"{summary.quarter}: {state}; {stored}, {text}, generation {summary.generation}"]
    lines += [
        f"  skipped {n}: {reason} ({SKIP_REASONS.get(reason, reason)})"
        for reason, n in summary.skipped.items()
    ]
    if summary.failed:
        lines.append(f"  failed {len(summary.failed)}; the same command tries them again")
        lines += _some(f"    firm {firm}: {error}" for firm, error in summary.failed.items())
    if summary.lost:
        lines.append(f"  lost {counted(len(summary.lost), 'firm')} that the generation before had")
        lines += _some(f"    firm {firm}: {why}" for firm, why in summary.lost.items())
    lines += _shared_permnos(summary.shared_permnos)
    lines += _not_kept(summary.not_kept)
    return "\n".join(lines), summary.to_dict()


def tell_plan(report: PlanReport) -> Told:
    """What a prefetch would do."""
    origin = "the stored plan" if report.is_stored else "a plan made from WRDS now, not stored"
    n_calls, n_firms = counted(report.n_calls, "call"), counted(report.n_firms, "firm")
    lines = [
        f"{report.quarter}, generation {report.generation}, by {origin}:",
        f"  {n_calls} of {n_firms}; {counted(report.n_planned, 'firm')} kept",
    ]
    lines += [
        f"  dropped {counted(n, 'call')}: {reason} ({PLAN_REASONS.get(reason, reason)})"
        for reason, n in report.reasons.items()
    ]
    lines += [
        f"  stored {report.n_stored}, skipped {report.n_skipped}, failed {report.n_failed}",
        f"  pending {counted(len(report.pending), 'firm')} would be read now",
        *_shared_permnos(report.shared_permnos),
        *_not_kept(report.not_kept),
    ]
    return "\n".join(lines), report.to_dict()


def tell_revision(quarter: Quarter, revision: PlanRevision) -> Told:
    """What a refresh would change."""
    found = asdict(revision)
    lines = [
        f"{quarter}: WRDS differs from the stored plan in {counted(revision.n_changes, 'place')}"
    ]
    for name, changes in found.items():
        if changes:
            lines.append(f"  {name.replace('_', ' ')}: {len(changes)}")
            lines += _some(
                f"    firm {c['firm_id']} ({c['firm_name']}): {c['before']} -> {c['after']}"
                for c in changes
            )
    if revision.n_changes:
        lines.append(runnable(f"  `ftm prefetch --quarter {quarter} --refresh` takes them in"))
    return "\n".join(lines), {"quarter": str(quarter), **found}


def tell_given_up(summary: GiveUpSummary) -> Told:
    """What was dropped, and that nothing else was."""
    if summary.kind is None:
        text = f"{summary.quarter}: nothing is unfinished, so there is nothing to give up"
    else:
        text = (
            f"{summary.quarter}: gave up an unfinished {summary.kind} (generation "
            f"{summary.generation}, {counted(summary.n_attempted, 'firm')} done, "
            f"{counted(summary.n_files, 'file')} and its parts); "
            "what was published stays as it was"
        )
    return text, summary.to_dict()


def _shared_permnos(shared: Mapping[int, tuple[str, ...]]) -> list[str]:
    return _some(
        f"  PERMNO {permno} belongs to {len(firms)} firms, all kept: {', '.join(firms)}"
        for permno, firms in shared.items()
    )


def _not_kept(reasons: Mapping[str, str]) -> list[str]:
    return list(_some(f"  not kept: firm {firm}: {why}" for firm, why in reasons.items()))


def _some(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = [f"    and {len(found) - SHOWN} more (--json lists all)"] if len(found) > SHOWN else []
    return found[:SHOWN] + more
