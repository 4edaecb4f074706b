"""Filling a quarter: read ahead, preprocess, write part after part, publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from ftm.connectors.discovery import PrefetchSource
from ftm.core.errors import FtmError, PreprocessingError
from ftm.core.layout import PrefetchLayout
from ftm.core.progress import Progress
from ftm.core.records import FirmCall
from ftm.prefetch.base import Preprocessor
from ftm.prefetch.batching import next_part_size, pending_calls, split_into_chunks
from ftm.prefetch.plan import kept_calls
from ftm.prefetch.plan_file import StoredPlan
from ftm.prefetch.publishing import NOT_PLANNED, adds_nothing, build_manifest, firms_lost
from ftm.prefetch.quarter_writer import QuarterWriter
from ftm.prefetch.reading import ReadAhead, iter_outcomes
from ftm.prefetch.rows import FirmOutcome
from ftm.prefetch.sessions import GIVE_UP
from ftm.storage.checkpoint import Kind
from ftm.storage.manifest import PrefetchManifest

PREPROCESS_MAY_LOSE = 0.1
REFRESH_MAY_LOSE = 0.5
"""Shares of the firms stored."""


def fill_quarter(
    writer: QuarterWriter,
    layout: PrefetchLayout,
    plan: StoredPlan,
    *,
    get_source: Callable[[], PrefetchSource],
    get_preprocessor: Callable[[], Preprocessor],
    progress: Progress,
    published: PrefetchManifest | None,
    same_options: bool = True,
    accept_losses: bool = False,
) -> PrefetchManifest:
    """Store what is pending and publish the manifest; with nothing pending it stays as it is.

    Args:
        writer: holds the session.
        layout: the quarter's keys.
        plan: the session's.
        get_source: called only if a firm is pending, so that a login is, too.
        get_preprocessor: likewise.
        progress: told firm by firm.
        published: the manifest that this one replaces, of any generation.
        same_options: the plan was made with the options of the published one, so that it should
            keep about the same firms.
        accept_losses: publish however few firms are left.

    Raises:
        PreprocessingError: too many firms that `published` holds would be lost; the next call
            tries those that failed again.
        FtmError: reading or writing failed; what the checkpoint names stays, a rerun goes on.
    """
    calls = kept_calls(plan.calls)
    session = writer.session
    pending = pending_calls(calls, session, writer.base)
    done = session.n_attempted
    source = get_source() if pending else None  # may ask for a password: before the bar is drawn
    progress.start(str(layout.quarter), total=done + len(pending), done=done)
    if source is not None:
        _read_and_write(writer, pending, source, get_preprocessor(), progress)
    if writer.session.parts:
        writer.close_chunk()
    manifest = _manifest(writer, layout, plan, calls)
    if writer.base is not None and adds_nothing(manifest, writer.base):
        writer.clean_up()
        progress.finish()
        return writer.base
    lost = firms_lost(manifest, published)
    if not accept_losses and _are_too_many(
        lost, writer.session.kind, manifest, published, same_options=same_options
    ):
        raise _refusal(writer, lost, published)
    writer.publish(manifest)
    progress.finish()
    return manifest


def _are_too_many(
    lost: Mapping[str, str],
    kind: Kind,
    manifest: PrefetchManifest,
    published: PrefetchManifest | None,
    *,
    same_options: bool,
) -> bool:
    """Whether a new generation would rather lose firms than renew them.

    Preprocessing reads what was processed before: none of it may fail, and few firms may be left
    without a sentence. A refresh reads other transcripts and links, of which some may be bad, but
    not most, unless it brings as many others. Firms that a plan with other options leaves out are
    not lost, they are not wanted.
    """
    if not lost or published is None:
        return False
    if not manifest.n_firms:
        return True
    n_failed = sum(why.startswith("failed") for why in lost.values())
    if kind == "preprocess":
        return n_failed > 0 or len(lost) > max(1, PREPROCESS_MAY_LOSE * published.n_firms)
    if manifest.n_firms >= published.n_firms:
        return False
    counted = [why for why in lost.values() if same_options or why != NOT_PLANNED]
    return len(counted) > REFRESH_MAY_LOSE * published.n_firms


def _refusal(
    writer: QuarterWriter, lost: Mapping[str, str], published: PrefetchManifest | None
) -> PreprocessingError:
    """The error; firms that failed are tried again by the next call."""
    session = writer.session
    writer.save(session.changed(failed={f: e for f, e in session.failed.items() if f not in lost}))
    some = "; ".join(f"firm {firm}: {why}" for firm, why in sorted(lost.items())[:3])
    n_stored = published.n_firms if published else 0
    return PreprocessingError(
        f"{len(lost)} of the {n_stored} firms stored of {writer.quarter} would be lost this time "
        f"({some}), so what is published stays; the same command "
        + ("tries again those that failed, " * any(w.startswith("failed") for w in lost.values()))
        + f"with --accept-losses publishes it as it is, and `{GIVE_UP.format(writer.quarter)}` "
        "drops what it made"
    )


def _read_and_write(
    writer: QuarterWriter,
    pending: Sequence[FirmCall],
    source: PrefetchSource,
    preprocessor: Preprocessor,
    progress: Progress,
) -> None:
    session = writer.session
    if session.n_open >= session.chunk_size:
        writer.close_chunk()
    chunks = split_into_chunks(pending, n_open=writer.session.n_open, chunk_size=session.chunk_size)
    # Parts are sorted by firm, and firms whose parts were lost come first.
    batches = (sorted(chunk, key=lambda call: call.firm_id) for chunk in chunks)
    quarter = writer.quarter
    with ReadAhead(source, batches) as reader:
        _write(writer, _told(iter_outcomes(reader, preprocessor, quarter), progress))


def _write(writer: QuarterWriter, outcomes: Iterator[FirmOutcome]) -> None:
    """Part after part; a chunk is closed as soon as it is full.

    Firms delivered before a failure become a shorter part: a chunk is merged from whatever parts
    there are, so its bytes stay the same.
    """
    chunk_size, part_size = writer.session.chunk_size, writer.session.part_size
    while True:
        size = next_part_size(writer.session.n_open, chunk_size=chunk_size, part_size=part_size)
        part, cut = _take(outcomes, size)
        if part:
            writer.put_part(part)
        if writer.session.n_open >= chunk_size:
            writer.close_chunk()
        if cut is not None:
            raise cut
        if not part:
            return


def _take(outcomes: Iterator[FirmOutcome], n: int) -> tuple[list[FirmOutcome], FtmError | None]:
    """The next n, or those before reading or the text step failed, and why."""
    part: list[FirmOutcome] = []
    try:
        for outcome in islice(outcomes, n):
            part.append(outcome)  # noqa: PERF402 - a copy would lose what came before a cut
    except FtmError as cut:
        return part, cut
    return part, None


def _told(outcomes: Iterator[FirmOutcome], progress: Progress) -> Iterator[FirmOutcome]:
    for outcome in outcomes:
        progress.advance(firms=1, sentences=outcome.sentences.num_rows)
        if outcome.error is not None:
            progress.message(f"firm {outcome.firm_id} failed: {outcome.error}")
        yield outcome


def _manifest(
    writer: QuarterWriter, layout: PrefetchLayout, plan: StoredPlan, calls: Sequence[FirmCall]
) -> PrefetchManifest:
    session = writer.session
    if session.source is None:
        raise ValueError(f"the session of {layout.quarter} has no source")  # adopt_plan sets it
    return build_manifest(
        layout,
        session,
        base=writer.base,
        calls=calls,
        plan_sha256=plan.sha256,
        source=session.source,
    )
