"""Writing a quarter so that it can be killed anywhere: parts, chunks, manifest, in that order.

Nothing is named before it is durable: a part is put, then the checkpoint names it; a chunk is put,
then the checkpoint names it and the parts go; the manifest comes last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pyarrow as pa

from ftm.core.errors import (
    LeaseLostError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.prefetch.firm_files import FirmFile, PutFile, merge_parts, put_free, serialise
from ftm.prefetch.rows import FirmOutcome
from ftm.storage.checkpoint import (
    ClosedChunk,
    NamedFile,
    Part,
    Session,
    encode_session,
    finishing_command,
)
from ftm.storage.lease import LeasedObject
from ftm.storage.manifest import PrefetchManifest, encode_manifest
from ftm.storage.object_store import ObjectStore

_NUMBER = re.compile(r"_(\d+)\.parquet$")


class QuarterWriter:
    """The one writer of a quarter: holds its lease and what the session has done.

    Args:
        store: where to.
        layout: the quarter's keys.
        lease: held, from before the first write to the last.
        session: what is being written.
        base: the published manifest of the same generation that this session adds to, or None.
        manifest_etag: version of the published manifest, of any generation; None: there is none.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: PrefetchLayout,
        lease: LeasedObject,
        session: Session,
        *,
        base: PrefetchManifest | None,
        manifest_etag: str | None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._lease = lease
        self.session = session
        self.base = base
        self._manifest_etag = manifest_etag
        self.is_closed = False
        """Published, and no checkpoint left: the next command begins something new."""

    @property
    def quarter(self) -> Quarter:
        """Which quarter this writes."""
        return self._layout.quarter

    def save(self, session: Session) -> None:
        """Write the checkpoint."""
        self._lease.write(encode_session(str(self._layout.quarter), session))
        self.session = session

    def put_plan(self, data: bytes) -> None:
        """Put the plan where there is none.

        Raises:
            ObjectExistsError: there is another.
        """
        self._lease.ensure_held()
        file = self._layout.plan_file(self.session.generation)
        self._store.put(self._layout.key(file), data, if_absent=True)

    def drop_plan(self) -> None:
        """Remove a plan that nothing was done with."""
        self._lease.ensure_held()
        file = self._layout.plan_file(self.session.generation)
        self._store.delete(self._layout.key(file))

    def put_part(self, outcomes: Sequence[FirmOutcome]) -> None:
        """Make these firms durable, then name them in the checkpoint.

        Args:
            outcomes: of consecutive firms, in order of firm_id.
        """
        stored = [o for o in outcomes if o.is_stored]
        rows = pa.concat_tables([CHUNK.empty_table(), *(o.sentences for o in stored)])
        turns = pa.concat_tables([COMPONENTS.empty_table(), *(o.components for o in outcomes)])
        number, chunk, components = self._put_pair(
            self.session.n_parts,
            (self._layout.chunk_part_file, self._layout.components_part_file),
            serialise(rows, CHUNK, {o.firm_id: o.facts for o in stored}),
            serialise(turns, COMPONENTS),
        )
        part = Part(
            n_attempted=len(outcomes),
            firms=[o.firm_id for o in stored],
            n_sentences=rows.num_rows,
            chunk=None if chunk is None else chunk.named,
            components=None if components is None else components.named,
            not_stored=[o.firm_id for o in outcomes if not o.is_stored],
        )
        self._name_part(part, number, outcomes)

    def _name_part(self, part: Part, number: int, outcomes: Sequence[FirmOutcome]) -> None:
        session = self.session
        skipped = {o.firm_id: o.skip_reason for o in outcomes if o.skip_reason is not None}
        failed = {o.firm_id: o.error for o in outcomes if o.error is not None}
        tried = {o.firm_id for o in outcomes}
        self.save(
            session.changed(
                n_parts=number + 1,
                parts=[*session.parts, part],
                skipped={**session.skipped, **skipped},
                failed={**session.failed, **failed},
                again=[firm for firm in session.again if firm not in tried],
            )
        )

    def close_chunk(self) -> None:
        """Assemble the open parts into a chunk, put it for ever, then let the parts go.

        Raises:
            CorruptObjectError: a part is damaged or gone; who opens the session anew drops it, see
                lost_parts.
        """
        parts = self.session.parts
        merge = partial(merge_parts, self._store, self._layout.root, mend=self._mend())
        rows, facts = merge((p.chunk for p in parts), CHUNK)
        turns, _ = merge((p.components for p in parts), COMPONENTS)
        _, chunk, components = self._put_pair(
            self._next_chunk(),
            (self._layout.chunk_file, self._layout.components_file),
            serialise(rows, CHUNK, facts),
            serialise(turns, COMPONENTS),
        )
        closed = ClosedChunk(
            n_attempted=self.session.n_open,
            n_sentences=rows.num_rows,
            chunk=None if chunk is None else chunk.described,
            components=None if components is None else components.described,
        )
        self.save(self.session.changed(parts=[], chunks=[*self.session.chunks, closed]))
        self._delete(named for part in parts for named in part.files)

    def _mend(self) -> str:
        command = finishing_command(self.session, str(self.quarter))
        return (
            f"run the same command again (`{command}`): it does the firms of that part again and "
            "keeps the rest"
        )

    def _put_pair(
        self,
        number: int,
        names: tuple[Callable[[int, int], str], Callable[[int, int], str]],
        chunk: FirmFile | None,
        components: FirmFile | None,
    ) -> tuple[int, PutFile | None, PutFile | None]:
        of_chunk, of_components = (partial(name, self.session.generation) for name in names)
        free, (put_chunk, put_components) = put_free(
            self._store,
            self._layout.root,
            number,
            [(of_chunk, chunk), (of_components, components)],
            before_put=self._lease.ensure_held,
        )
        return free, put_chunk, put_components

    def _next_chunk(self) -> int:
        """The number after the last of this generation; numbers are never given twice."""
        files = [] if self.base is None else [*self.base.chunks, *self.base.components]
        for closed in self.session.chunks:
            files += [named.file for named in (closed.chunk, closed.components) if named]
        return max((file_number(file) for file in files), default=-1) + 1

    def publish(self, manifest: PrefetchManifest) -> None:
        """Put the manifest, then remove parts and checkpoint.

        Raises:
            LeaseLostError: somebody else published since this session began.
        """
        self._lease.ensure_held()
        self._put_manifest(encode_manifest(manifest))
        self.clean_up()

    def _put_manifest(self, data: bytes) -> None:
        key, etag = self._layout.manifest, self._manifest_etag
        try:
            if etag is None:
                self._store.put(key, data, if_absent=True, gzip_encoded=True)
            else:
                self._store.put(key, data, if_match=etag, gzip_encoded=True)
        except (ObjectExistsError, PreconditionFailedError, ObjectNotFoundError) as error:
            if self._store.get(key) != data:
                raise LeaseLostError(
                    f"{self._store.name(key)} was published by another writer; nothing is lost, "
                    "run the command again"
                ) from error

    def clean_up(self) -> None:
        """Remove what is left of parts, then the checkpoint and with it the lease."""
        for left in list(self._store.list(self._layout.parts)):
            self._remove(left.key)
        self._lease.delete()
        self.is_closed = True

    def _delete(self, files: Iterable[NamedFile]) -> None:
        for named in files:
            self._remove(self._layout.key(named.file))

    def _remove(self, key: str) -> None:
        self._lease.ensure_held()
        self._store.delete(key, again_if=self._lease.is_held)


def file_number(file: str) -> int:
    """`chunk_0012.parquet` → 12.

    Raises:
        ValueError: the name ends otherwise.
    """
    match = _NUMBER.search(file)
    if match is None:
        raise ValueError(f"{file!r} has no number")
    return int(match[1])
