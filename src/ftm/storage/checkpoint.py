"""The prefetch checkpoint: what of an unfinished prefetch is durable already."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ftm.core.errors import CorruptObjectError, ManifestVersionError
from ftm.core.plain import one_line
from ftm.storage.lease import Document
from ftm.storage.manifest import FileEntry, Source

CHECKPOINT_VERSION = 1

Kind = Literal["prefetch", "refresh", "preprocess"]
"""Of a session: refresh starts a generation from WRDS, preprocess one from stored components."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NamedFile(_Model):
    """A part: its file relative to the quarter's root, and its sha256."""

    file: str
    sha256: str


class Part(_Model):
    """Some firms of the chunk that is being filled.

    Args:
        n_attempted: firms tried, whatever became of them.
        firms: those whose sentences are in `chunk`, in file order.
        n_sentences: in `chunk`.
        chunk: their sentences; None when `firms` is empty.
        components: their and the skipped firms' speaker turns; None when there are none.
        not_stored: the others that were tried, skipped or failed; empty also where an older ftm
            did not record them.
    """

    n_attempted: int
    firms: list[str]
    n_sentences: int
    chunk: NamedFile | None
    components: NamedFile | None
    not_stored: list[str] = []

    @property
    def tried(self) -> list[str] | None:
        """The firms tried, sorted; None: an older ftm wrote it and left out some."""
        found = sorted({*self.firms, *self.not_stored})
        return found if len(found) == self.n_attempted else None

    @property
    def files(self) -> list[NamedFile]:
        """What it is stored in."""
        return [named for named in (self.chunk, self.components) if named is not None]


class NamedEntry(_Model):
    """A published file and what the manifest will say of it."""

    file: str
    entry: FileEntry


class ClosedChunk(_Model):
    """A chunk put for ever; a chunk of skipped firms only has no file of sentences."""

    n_attempted: int
    n_sentences: int
    chunk: NamedEntry | None
    components: NamedEntry | None


class Selection(_Model):
    """Which firms were asked for, and how many were tried before that was asked.

    Args:
        firm_ids: sorted; None: all.
        limit: at most so many firms are tried for this selection; None: no limit.
        after: firms the session had tried when it took this selection.
    """

    firm_ids: list[str] | None
    limit: int | None
    after: int = 0

    @property
    def is_some(self) -> bool:
        """Not every firm is asked for."""
        return self.firm_ids is not None or self.limit is not None

    def is_same_request(self, other: Selection) -> bool:
        """Whether both ask for the same, whenever they began."""
        return (self.firm_ids, self.limit) == (other.firm_ids, other.limit)


class PlanChoice(_Model):
    """The options a plan was made with; see connectors.discovery.PlanOptions."""

    calls: str
    as_of: str | None
    linktypes: list[str]


class Session(_Model):
    """One prefetch from its start to its manifest, however often it is killed in between.

    Args:
        kind: what it does.
        generation: that is being filled.
        created_at: ISO 8601 UTC, when the session first began; the manifest's `created_at`.
        options: of the plan.
        preprocessing: fingerprint of the text pipeline.
        chunk_size: firms tried per chunk.
        part_size: firms tried per part.
        selection: what is asked for.
        source: where the plan was read from, once it was.
        plan_sha256: of the plan's file, once it is known.
        from_generation: preprocess: whose components are read; else None.
        n_parts: number of the next part. It begins with the time the session does, so that no two
            sessions give a name twice: who slept and wakes up may delete a part of its own.
        parts: of the chunk that is open.
        chunks: closed by this session.
        skipped: firm → reason, this session.
        failed: firm → error, this session; not tried again before it ends.
        again: firms of parts that were lost, sorted: tried again before any other, whoever is
            asked for by then.
    """

    kind: Kind
    generation: int
    created_at: str
    options: PlanChoice
    preprocessing: dict[str, str]
    chunk_size: int
    part_size: int
    selection: Selection
    source: Source | None = None
    plan_sha256: str | None = None
    from_generation: int | None = None
    n_parts: int = 0
    parts: list[Part] = []
    chunks: list[ClosedChunk] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    again: list[str] = []

    @property
    def n_open(self) -> int:
        """Firms tried for the chunk that is open."""
        return sum(part.n_attempted for part in self.parts)

    @property
    def n_attempted(self) -> int:
        """Firms tried so far."""
        return self.n_open + sum(chunk.n_attempted for chunk in self.chunks)

    @property
    def n_taken(self) -> int:
        """Firms tried so far, with those whose parts were lost since."""
        return self.n_attempted + len(self.again)

    @property
    def is_empty(self) -> bool:
        """Nothing durable is named yet, not even a plan."""
        return not self.n_attempted and self.plan_sha256 is None

    def durable(self) -> set[str]:
        """Firms whose sentences this session has put."""
        firms = {firm for part in self.parts for firm in part.firms}
        for closed in self.chunks:
            if closed.chunk is not None:
                firms.update(f for group in closed.chunk.entry.row_groups for f in group.firms)
        return firms

    def changed(self, **fields: Any) -> Session:
        """A copy with other fields."""
        return self.model_copy(update=fields)

    def without(self, lost: Collection[Part]) -> Session:
        """A copy without these open parts, as if their firms had not been tried, but for `again`.

        Raises:
            ValueError: of one it is not known which firms those are.
        """
        firms: set[str] = set()
        for part in lost:
            if part.tried is None:
                raise ValueError("a part does not say which firms were tried")
            firms.update(part.tried)
        return self.changed(
            parts=[part for part in self.parts if part not in lost],
            skipped={firm: why for firm, why in self.skipped.items() if firm not in firms},
            failed={firm: why for firm, why in self.failed.items() if firm not in firms},
            again=sorted({*self.again, *firms}),
        )


class GivenUp(_Model):
    """A session that was given up, until its files are gone.

    It stands in the session's place before the first file goes, so that nobody takes up a session
    whose files are going.

    Args:
        kind: of the session.
        generation: that it was filling.
        n_attempted: firms it had tried.
        files: to be deleted, besides the parts; relative to the quarter's root.
    """

    kind: Kind
    generation: int
    n_attempted: int
    files: list[str]


_Held = TypeVar("_Held", Session, GivenUp)


def encode_session(quarter: str, session: Session) -> Document:
    """What the checkpoint object holds besides the lease."""
    return _encode(quarter, "session", session)


def encode_given_up(quarter: str, given_up: GivenUp) -> Document:
    """What it holds instead while a session's files are going."""
    return _encode(quarter, "given_up", given_up)


def _encode(quarter: str, name: str, held: BaseModel) -> Document:
    return {
        "checkpoint_version": CHECKPOINT_VERSION,
        "quarter": quarter,
        name: held.model_dump(mode="json"),
    }


def decode_session(document: Document, *, key: str) -> Session | None:
    """The unfinished session of a checkpoint; None when it holds only a lease, or nothing.

    Raises:
        CorruptObjectError: not a session.
        ManifestVersionError: a newer ftm wrote it.
    """
    return _decode(document, "session", Session, key)


def decode_given_up(document: Document, *, key: str) -> GivenUp | None:
    """The session of a checkpoint that was given up and whose files are still going, or None.

    Raises:
        CorruptObjectError, ManifestVersionError: as decode_session.
    """
    return _decode(document, "given_up", GivenUp, key)


def _decode(document: Document, name: str, model: type[_Held], key: str) -> _Held | None:
    found = document.get(name)
    if found is None:
        return None
    version = document.get("checkpoint_version")
    if isinstance(version, int) and version > CHECKPOINT_VERSION:
        raise ManifestVersionError(
            f"{key} has version {version}, this ftm reads up to {CHECKPOINT_VERSION}; "
            "install the ftm that wrote it, or a newer one"
        )
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        what = one_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise CorruptObjectError(
            f"{key} is damaged ({what}); delete it and "
            "run the command again: what is published stays, and what the unfinished command had "
            "read it reads anew",
            key=key,
        ) from error


_IDS_SHOWN = 10


def finishing_command(session: Session, quarter: str) -> str:
    """What to type to finish an unfinished session: it knows its options, but not whom you want."""
    if session.kind == "preprocess":
        return f"ftm preprocess --quarter {quarter}"
    words = ["ftm prefetch --quarter", quarter]
    words += ["--refresh"] if session.kind == "refresh" else []
    chosen = session.selection
    if chosen.firm_ids is not None:
        more = ",…" if len(chosen.firm_ids) > _IDS_SHOWN else ""
        words += ["--firms", ",".join(chosen.firm_ids[:_IDS_SHOWN]) + more]
    words += [] if chosen.limit is None else ["--limit", str(chosen.limit)]
    return " ".join(words)
