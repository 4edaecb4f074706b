"""What of a batch is durable: its parts, and the progress record that lists them.

Part n holds the n-th slice of the batch line's firms, those without sentences left out. A part
is written first and listed, with its sha256, afterwards; a listed part is never overwritten. One
that a stop cut short is `partial`: its rows are read back instead of computed anew, and it is
replaced before it is listed. One with failed firms stays listed while these are tried again, until
the moment its better version is written.

Before every write the record is read again: a worker that finds another's leaves the batch to it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import (
    CorruptObjectError,
    LeaseLostError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from ftm.core.layout import RunLayout
from ftm.core.schemas import FIRM_SENTENCES, FIRM_TOPICS
from ftm.mapping.firm_rows import FirmRows
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes, to_bytes
from ftm.storage.run_records import BatchLine, BatchProgress, decode_progress

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Part:
    """A part being filled.

    Args:
        number: n.
        firm_ids: the firms it is to hold, in batch order.
        rows: of the firms that are done.
        failed: firm → error.
    """

    number: int
    firm_ids: tuple[str, ...]
    rows: dict[str, FirmRows] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Firms without an outcome, in batch order."""
        return [f for f in self.firm_ids if f not in self.rows and f not in self.failed]

    @property
    def done(self) -> list[str]:
        """Firms with rows, in batch order."""
        return [f for f in self.firm_ids if f in self.rows]

    def encode(self) -> tuple[bytes, bytes]:
        """The firm-topics and the firm-sentences file; firms in batch order."""
        rows = [self.rows[f] for f in self.done]
        topics = _concat([r.topics for r in rows], FIRM_TOPICS)
        sentences = _concat([r.sentences for r in rows], FIRM_SENTENCES)
        return to_bytes(topics, FIRM_TOPICS), to_bytes(sentences, FIRM_SENTENCES)


class BatchLedger:
    """Reads and writes one batch's parts and progress.

    Args:
        store: where.
        layout: the run's keys.
        line: the batch.
        part_firms: firms per part, the same for the whole run.
        unavailable: firm → reason, of firms the prefetch holds no sentences of.
        job_id: goes into the progress record.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: RunLayout,
        line: BatchLine,
        *,
        part_firms: int,
        unavailable: Mapping[str, str],
        job_id: str = "",
    ) -> None:
        self.store = store
        self.layout = layout
        self._line = line
        skipped = {f: unavailable[f] for f in line.firm_ids if f in unavailable}
        self.firm_ids = tuple(f for f in line.firm_ids if f not in skipped)
        self._slices = [
            tuple(f for f in line.firm_ids[i : i + part_firms] if f not in skipped)
            for i in range(0, len(line.firm_ids), part_firms)
        ]
        self._fresh = BatchProgress(batch_id=line.batch_id, skipped=skipped, job_id=job_id)
        self._progress = self._fresh
        self._last_seen: bytes | None = None

    @property
    def n_firms(self) -> int:
        """Firms of the batch, those without sentences included."""
        return len(self._line.firm_ids)

    def note_machine(self, machine: str) -> None:
        """What computes from here on; goes into the record with its next change."""
        self._fresh = self._fresh.model_copy(update={"machine": machine})
        self._progress = self._progress.model_copy(update={"machine": machine})

    @property
    def progress(self) -> BatchProgress:
        """The record as last read or written."""
        return self._progress

    @property
    def is_finished(self) -> bool:
        """Nothing is left to do, and no failed firm to be tried again."""
        return self._progress.complete and not self._progress.failed

    def resume(self) -> None:
        """Read the batch's progress and keep of it what the store still holds.

        Parts that differ from their record stop being listed, so their firms are done again.

        Raises:
            CorruptObjectError: the record is damaged or of another batch.
        """
        stored = self._read_progress()
        if stored is None:
            return
        kept, partial = self._sort_parts(stored)
        done = [f for n in sorted(kept) for f in self._slices[n] if f in set(stored.done)]
        failed = {f: e for f, e in stored.failed.items() if f in set(self.firm_ids)}
        self._progress = self._fresh.model_copy(
            update={
                "parts": {k: stored.parts[k] for n in sorted(kept) for k in self._keys(n)},
                "partial": partial,
                "kept": self._in_partial(stored.kept, partial),
                "done": done,
                "failed": failed,
                "complete": stored.complete and len(kept) == len(self._slices),
                "machine": stored.machine,
            }
        )
        if self.is_finished:
            # Whoever computed it stays on record.
            self._progress = self._progress.model_copy(update={"job_id": stored.job_id})
        if self._progress != stored:
            self._write()

    def pending(self) -> Iterator[Part]:
        """Parts not listed, or with failed firms, in order, each with the rows it already has."""
        for number, firm_ids in enumerate(self._slices):
            if not self._is_listed(number) or self._progress.failed.keys() & set(firm_ids):
                yield Part(number, firm_ids, rows=self._read_rows(number))

    def list_part(self, part: Part) -> None:
        """Write a full part, then the record that lists it.

        Raises:
            LeaseLostError: another worker has the batch.
        """
        files = self._encode(part)
        hashes = {key: sha256(data).hexdigest() for key, data in files.items()}
        if not hashes.items() <= self._progress.parts.items():
            self._unlist(part.number)
            self._put(files)
        parts = {**self._progress.parts, **hashes}
        done = set(self._progress.done) | set(part.rows)
        old_failures = {f: e for f, e in self._progress.failed.items() if f not in part.firm_ids}
        failed = {**old_failures, **part.failed}
        all_listed = len(parts) == 2 * len(self._slices)
        self._update(
            parts=parts,
            partial={k: h for k, h in self._progress.partial.items() if k not in hashes},
            kept=[f for f in self._progress.kept if f not in part.firm_ids],
            done=[f for f in self.firm_ids if f in done],
            failed=failed,
            complete=all_listed and bool(done or not failed),
        )

    def keep_partial(self, part: Part) -> bool:
        """Write what a part has so far, so that a rerun need not compute it again.

        Returns:
            Whether there was something to write. A part that is listed has more, or as much,
            already: it stays as it is.

        Raises:
            LeaseLostError: another worker has the batch.
        """
        if self._is_listed(part.number) or not (part.rows or part.failed):
            return False
        files = self._encode(part)
        self._put(files)
        hashes = {key: sha256(data).hexdigest() for key, data in files.items()}
        self._update(
            partial={**self._progress.partial, **hashes},
            kept=self._in_order({*self._progress.kept, *part.rows}),
            failed={**self._progress.failed, **part.failed},
        )
        return True

    def finish(self) -> BatchProgress:
        """The final record; written here only when the batch has no part at all."""
        if not self._slices and not self._progress.complete:
            self._update(complete=True)
        return self._progress

    def _keys(self, number: int) -> tuple[str, str]:
        batch = self._line.batch_id
        return (
            self.layout.firm_topics_part(batch, number),
            self.layout.firm_sentences_part(batch, number),
        )

    def _is_listed(self, number: int) -> bool:
        return all(key in self._progress.parts for key in self._keys(number))

    def _unlist(self, number: int) -> None:
        """Let go of a listed part just before its files are replaced."""
        if not self._is_listed(number):
            return
        gone = {key: self._progress.parts[key] for key in self._keys(number)}
        self._update(
            parts={k: h for k, h in self._progress.parts.items() if k not in gone},
            partial={**self._progress.partial, **gone},
            kept=self._in_order({*self._progress.kept, *self._done_of(number)}),
            done=[f for f in self._progress.done if f not in self._slices[number]],
            complete=False,
        )

    def _done_of(self, number: int) -> set[str]:
        return set(self._progress.done) & set(self._slices[number])

    def _in_order(self, firm_ids: set[str]) -> list[str]:
        return [f for f in self.firm_ids if f in firm_ids]

    def _in_partial(self, firm_ids: list[str], partial: Mapping[str, str]) -> list[str]:
        numbers = [n for n in range(len(self._slices)) if self._keys(n)[0] in partial]
        return self._in_order({f for n in numbers for f in self._slices[n]} & set(firm_ids))

    def _encode(self, part: Part) -> dict[str, bytes]:
        return dict(zip(self._keys(part.number), part.encode(), strict=True))

    def _put(self, files: Mapping[str, bytes]) -> None:
        self._check_alone()
        for key, data in files.items():
            self.store.put(key, data)

    def _update(self, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
        self._write()

    def _write(self) -> None:
        etag = self._check_alone()
        key = self.layout.progress(self._line.batch_id)
        data = self._progress.encode(key)
        try:
            self.store.put(key, data, if_absent=etag is None, if_match=etag)
        except (ObjectExistsError, PreconditionFailedError) as error:
            raise self._taken() from error
        self._last_seen = data

    def _check_alone(self) -> str | None:
        """The etag of the record as we left it; None while there is none.

        Raises:
            LeaseLostError: another worker has written it since.
        """
        data, etag = self._read_record()
        if data != self._last_seen:
            raise self._taken()
        return etag

    def _taken(self) -> LeaseLostError:
        return LeaseLostError(
            f"another worker does {self._line.batch_id} of run {self.layout.run_id}, this one "
            f"leaves it; `ftm status --quarter {self.layout.quarter}` says how far it is"
        )

    def _read_record(self) -> tuple[bytes | None, str | None]:
        try:
            return self.store.get_versioned(self.layout.progress(self._line.batch_id))
        except ObjectNotFoundError:
            return None, None

    def _read_progress(self) -> BatchProgress | None:
        key = self.layout.progress(self._line.batch_id)
        data, _ = self._read_record()
        self._last_seen = data
        if data is None:
            return None
        stored = decode_progress(data, key=self.store.name(key))
        strangers = {*stored.done, *stored.failed} - set(self._line.firm_ids)
        known = {k for n in range(len(self._slices)) for k in self._keys(n)}
        if stored.batch_id != self._line.batch_id or strangers or not known >= set(stored.parts):
            raise CorruptObjectError(
                f"{self.store.name(key)} is the progress of another batch than "
                f"{self._line.batch_id} of the batch manifest; delete it and rerun",
                key=key,
            )
        return stored

    def _sort_parts(self, stored: BatchProgress) -> tuple[set[int], dict[str, str]]:
        """Parts that stay listed, and the {key: sha256} of those to be completed."""
        kept: set[int] = set()
        recorded = {**stored.partial, **stored.parts}
        partial: dict[str, str] = {}
        for number in range(len(self._slices)):
            keys = self._keys(number)
            hashes = {key: recorded[key] for key in keys if key in recorded}
            if len(hashes) < len(keys) or not self._holds(hashes):
                continue
            if all(key in stored.parts for key in keys):
                kept.add(number)
            else:
                partial.update(hashes)
        return kept, partial

    def _holds(self, hashes: Mapping[str, str]) -> bool:
        """Whether the store holds these very files."""
        return all(self._verified(key, wanted) is not None for key, wanted in hashes.items())

    def _verified(self, key: str, wanted: str) -> bytes | None:
        try:
            data = self.store.get(key)
        except ObjectNotFoundError:
            data = b""
        if sha256(data).hexdigest() == wanted:
            return data
        log.warning("%s is not what its record says; its firms are computed again", key)
        return None

    def _read_rows(self, number: int) -> dict[str, FirmRows]:
        files = []
        recorded = {**self._progress.partial, **self._progress.parts}
        for key, schema in zip(self._keys(number), (FIRM_TOPICS, FIRM_SENTENCES), strict=True):
            wanted = recorded.get(key)
            data = None if wanted is None else self._verified(key, wanted)
            if data is None:
                return {}
            files.append(from_bytes(data, schema, key=key))
        return _split(*files, firm_ids=self._slices[number])


def _split(
    topics: pa.Table, sentences: pa.Table, *, firm_ids: tuple[str, ...]
) -> dict[str, FirmRows]:
    held = set(sentences["firm_id"].unique().to_pylist()) & set(firm_ids)
    return {
        firm: FirmRows(
            topics.filter(pc.equal(topics["firm_id"], firm)),
            sentences.filter(pc.equal(sentences["firm_id"], firm)),
        )
        for firm in firm_ids
        if firm in held
    }


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    # One chunk per column: the bytes must not tell in how many steps the part was filled.
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
