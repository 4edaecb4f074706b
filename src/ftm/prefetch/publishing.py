"""The manifest a session ends with, and whether one has been published already. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from ftm.core.layout import PrefetchLayout
from ftm.core.records import FirmCall
from ftm.core.version import VERSION
from ftm.storage.checkpoint import Session
from ftm.storage.manifest import FileEntry, PlanEntry, PrefetchManifest, Source, firms_of

NOT_PLANNED = "the new plan does not keep it"


def build_manifest(
    layout: PrefetchLayout,
    session: Session,
    *,
    base: PrefetchManifest | None,
    calls: Sequence[FirmCall],
    plan_sha256: str,
    source: Source,
) -> PrefetchManifest:
    """Everything `base` holds, and what the session added.

    Args:
        layout: the quarter's keys.
        session: without open parts.
        base: the published manifest of the same generation, or None.
        calls: that the plan keeps.
        plan_sha256: of the plan's file.
        source: where the plan was read from.
    """
    chunks = dict(base.chunks) if base else {}
    components = dict(base.components) if base else {}
    n_sentences = base.n_sentences if base else 0
    for closed in session.chunks:
        if closed.chunk is not None and closed.chunk.file not in chunks:
            chunks[closed.chunk.file] = closed.chunk.entry
            n_sentences += closed.n_sentences
        if closed.components is not None:
            components[closed.components.file] = closed.components.entry
    firm_to_chunk = {firm: file for file, entry in chunks.items() for firm in firms_of(entry)}
    chunk_sizes = {file: len(firms_of(entry)) for file, entry in chunks.items()}
    recorded = (base.chunk_size if base else None) or 0
    skipped, failed = _settled(session, base, firm_to_chunk)
    kept = {call.firm_id for call in calls}
    return PrefetchManifest(
        quarter=str(layout.quarter),
        created_at=session.created_at,
        n_firms=len(firm_to_chunk),
        n_chunks=len(chunks),
        chunk_sizes=chunk_sizes,
        firm_to_chunk=firm_to_chunk,
        generation=session.generation,
        complete=kept <= firm_to_chunk.keys() | skipped.keys() | failed.keys(),
        n_sentences=n_sentences,
        chunks=chunks,
        components=components,
        plan=PlanEntry(file=layout.plan_file(session.generation), sha256=plan_sha256),
        skipped=skipped,
        failed=failed,
        preprocessing=session.preprocessing,
        source=source,
        ftm_version=VERSION,
        chunk_size=max(session.chunk_size, recorded, *chunk_sizes.values()),
    )


def _settled(
    session: Session, base: PrefetchManifest | None, stored: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Skipped and failed firms: the session's word counts before the base's."""
    skipped = {**(base.skipped if base else {}), **session.skipped}
    failed = {**(base.failed if base else {}), **session.failed}
    failed = {f: e for f, e in failed.items() if f not in stored and f not in skipped}
    return skipped, failed


def adds_nothing(manifest: PrefetchManifest, base: PrefetchManifest) -> bool:
    """Whether only the time and the version differ: runs hash a manifest, so it must stay."""
    same = {name: getattr(base, name) for name in ("created_at", "ftm_version", "chunk_size")}
    return manifest.model_copy(update=same) == base


def firms_lost(manifest: PrefetchManifest, published: PrefetchManifest | None) -> dict[str, str]:
    """Firms whose sentences are published and are not in the manifest to replace it → why.

    Why is `failed: …`, `skipped: …` or NOT_PLANNED.
    """
    stored = published.firm_to_chunk.keys() if published else set()
    failed, skipped = manifest.failed, manifest.skipped
    return {
        firm: f"failed: {failed[firm]}"
        if firm in failed
        else f"skipped: {skipped[firm]}"
        if firm in skipped
        else NOT_PLANNED
        for firm in sorted(stored - manifest.firm_to_chunk.keys())
    }


def is_published(session: Session, manifest: PrefetchManifest | None) -> bool:
    """Whether the manifest is the one this session ends with: it was killed while cleaning up."""
    if manifest is None or session.parts or not session.n_attempted:
        return False
    files: dict[str, FileEntry] = {c.chunk.file: c.chunk.entry for c in session.chunks if c.chunk}
    return (
        (manifest.generation, manifest.created_at) == (session.generation, session.created_at)
        and files.items() <= manifest.chunks.items()
        and session.skipped.items() <= manifest.skipped.items()
        and session.failed.items() <= manifest.failed.items()
    )
