"""Transcripts of a prefetched quarter, from any store; never WRDS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import pyarrow as pa

from ftm.connectors.base import DataConnector, Day, list_ids, unknown_firms
from ftm.core.errors import ConfigError, UnknownFirmError
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptData, TranscriptSentence
from ftm.core.schemas import CHUNK, SKIP_REASONS
from ftm.core.settings import Settings
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet_layout import FirmFacts, firm_runs
from ftm.storage.row_groups import FirmFileReader

_Group = tuple[str, int]  # file and number of the row group

_KEPT_GROUPS = 4
"""Row groups kept ready for firm-by-firm calls."""
_KEPT_BYTES = 32_000_000
"""Row groups kept as stored, so that firms asked for in any order move few bytes twice: some
thousand firms, and five chunks of the usual size."""


class S3TranscriptConnector(DataConnector):
    """A quarter's sentences out of the store, as its manifest describes them.

    `S3TranscriptConnector("my-bucket", "2023Q1")` is enough in a notebook.

    Args:
        bucket: bucket name, `s3://…` or `file://…` URL or an ObjectStore; None: the store of the
            settings (FTM_STORE, S3_BUCKET, ftm.toml).
        quarter: like 2023Q1; None: that of `manifest`, or of the settings (QUARTER).
        store: another name for `bucket`, for what is no bucket; give one of them.
        manifest: a run's own copy; None: the quarter's current manifest.

    Raises:
        ConfigError: no store or no quarter is given, or they contradict each other.
        ManifestNotFoundError: the quarter is not prefetched.
        CorruptObjectError, ManifestVersionError: the manifest cannot be used.
        StoreError: the store cannot be read.
    """

    def __init__(
        self,
        bucket: str | ObjectStore | None = None,
        quarter: str | Quarter | None = None,
        *,
        store: str | ObjectStore | None = None,
        manifest: PrefetchManifest | None = None,
    ) -> None:
        self.quarter = _quarter(quarter, manifest)
        self._store = _store(bucket, store)
        self.manifest = manifest or load_manifest(self._store, self.quarter)
        self._layout = PrefetchLayout(self.quarter)
        self._readers: dict[str, FirmFileReader] = {}
        self._groups: OrderedDict[_Group, pa.Table] = OrderedDict()
        self._stored = _StoredGroups(_KEPT_BYTES)

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"<{type(self).__name__} {self.quarter} in {self._store.url}: "
            f"{manifest.n_firms:,} firms, {manifest.n_sentences:,} sentences>"
        )

    def fetch_transcripts(
        self,
        firm_ids: Iterable[str] | None = None,
        start_date: Day | None = None,  # noqa: ARG002
        end_date: Day | None = None,  # noqa: ARG002
    ) -> TranscriptData:
        """See DataConnector; the quarter is fixed, so dates are ignored."""
        return TranscriptData({firm.firm_id: firm for firm in self.iter_firms(firm_ids)})

    def iter_firms(self, firm_ids: Iterable[str] | None = None) -> Iterator[FirmTranscriptData]:
        """Firm by firm in chunk order, a handful of row groups in memory at a time.

        Only the row groups that hold a wanted firm are fetched, each once; the next one is
        fetched while the current one is used. Up to 32 MB of them are kept as they are stored.

        Raises:
            UnknownFirmError: at once, for an id that the manifest does not hold.
            CorruptObjectError: a chunk differs from the manifest.
            StoreError: the store failed.
        """
        wanted = self._check(firm_ids)
        return self._iter_groups(wanted)

    def get_available_firm_ids(self) -> list[str]:
        """See DataConnector."""
        return sorted(self.manifest.firm_to_chunk)

    def get_manifest_summary(self) -> dict[str, Any]:
        """What the quarter holds, in numbers and strings."""
        manifest = self.manifest
        return {
            "quarter": manifest.quarter,
            "store": self._store.url,
            "n_firms": manifest.n_firms,
            "n_sentences": manifest.n_sentences,
            "n_chunks": manifest.n_chunks,
            "n_skipped": len(manifest.skipped),
            "n_failed": len(manifest.failed),
            "complete": manifest.complete,
            "generation": manifest.generation,
            "created_at": manifest.created_at,
            "preprocessing": dict(manifest.preprocessing),
            "ftm_version": manifest.ftm_version,
        }

    def close(self) -> None:
        """Let go of what is kept; a closed connector can be used again and reads anew."""
        self._readers.clear()
        self._groups.clear()
        self._stored = _StoredGroups(_KEPT_BYTES)

    def _check(self, firm_ids: Iterable[str] | None) -> set[str]:
        ids = list_ids(firm_ids)
        known = self.manifest.firm_to_chunk
        wanted = known if ids is None else dict.fromkeys(ids)
        if unknown := [firm for firm in wanted if firm not in known]:
            raise _absent(unknown, self.manifest)
        return set(wanted)

    def _iter_groups(self, wanted: set[str]) -> Iterator[FirmTranscriptData]:
        todo = self._groups_with(wanted)
        with ThreadPoolExecutor(1, thread_name_prefix="ftm-read-ahead") as ahead:
            pending = [ahead.submit(self._read, *todo[0])] if todo else []
            for index, (file, number) in enumerate(todo):
                table = pending.pop().result()
                if index + 1 < len(todo):
                    pending.append(ahead.submit(self._read, *todo[index + 1]))
                self._keep((file, number), table)
                facts = self._reader(file).facts()
                yield from _firms(table, wanted, facts)

    def _groups_with(self, wanted: set[str]) -> list[_Group]:
        """The row groups that hold a wanted firm, in chunk order."""
        chunk_of = self.manifest.firm_to_chunk
        files = sorted({chunk_of[firm] for firm in wanted})
        return [
            (file, number)
            for file in files
            for number, group in enumerate(self.manifest.chunks[file].row_groups)
            if not wanted.isdisjoint(group.firms)
        ]

    def _read(self, file: str, number: int) -> pa.Table:
        kept = self._groups.get((file, number))
        if kept is not None:
            return kept
        reader = self._reader(file)
        data = self._stored.get((file, number), lambda: reader.fetch_group(number))
        return reader.parse_group(number, data)

    def _keep(self, which: _Group, table: pa.Table) -> None:
        self._groups[which] = table
        self._groups.move_to_end(which)
        if len(self._groups) > _KEPT_GROUPS:
            self._groups.popitem(last=False)

    def _reader(self, file: str) -> FirmFileReader:
        if file not in self._readers:
            reader = FirmFileReader(
                self._store,
                self._layout.key(file),
                self.manifest.chunks[file],
                schema=CHUNK,
                mend=f"ftm verify --quarter {self.quarter} --deep --repair",
            )
            self._readers.setdefault(file, reader)
        return self._readers[file]


class _StoredGroups:
    """Bytes of row groups as stored, the most recently used; read and read ahead by two threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._groups: OrderedDict[_Group, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, which: _Group, fetch: Callable[[], bytes]) -> bytes:
        """A row group's bytes, fetched unless they are kept."""
        with self._lock:
            if which in self._groups:
                self._groups.move_to_end(which)
                return self._groups[which]
        data = fetch()
        with self._lock:
            self._n_bytes += len(data) - len(self._groups.pop(which, b""))
            self._groups[which] = data
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= len(self._groups.popitem(last=False)[1])
        return data


def _quarter(quarter: str | Quarter | None, manifest: PrefetchManifest | None) -> Quarter:
    given = quarter or (manifest.quarter if manifest else None) or Settings.load().quarter
    if given is None:
        raise ConfigError("no quarter is given; pass one, like quarter='2023Q1'")
    chosen = Quarter.parse(given)
    if manifest and manifest.quarter != str(chosen):
        raise ConfigError(f"the manifest is of {manifest.quarter}, the quarter asked for {chosen}")
    return chosen


def _store(bucket: str | ObjectStore | None, store: str | ObjectStore | None) -> ObjectStore:
    if bucket is not None and store is not None:
        raise ConfigError("give bucket or store, not both")
    given = bucket if store is None else store
    if isinstance(given, ObjectStore):
        return given
    settings = Settings.load()
    url = settings.store_url if given is None else given
    if url.startswith(("/", "~", ".")):
        raise ConfigError(f"store {url!r} is no URL; write file:///folder with the whole path")
    return open_store(
        url if "://" in url else f"s3://{url}",
        endpoint_url=settings.aws_endpoint_url,
        create=False,
    )


def _firms(
    table: pa.Table, wanted: set[str], facts: dict[str, FirmFacts]
) -> Iterator[FirmTranscriptData]:
    start = 0
    for firm_id, n_rows in zip(*firm_runs(table), strict=True):
        if firm_id in wanted:
            yield _firm(table.slice(start, n_rows), facts.get(firm_id))
        start += n_rows


def _firm(rows: pa.Table, facts: FirmFacts | None) -> FirmTranscriptData:
    first = rows.slice(0, 1).to_pylist()[0]
    columns = ("sentence_id", "raw_text", "cleaned_text", "speaker_type", "position")
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    names = ("permno", "gvkey", "transcript_id", "earnings_call_date", "quarter")
    metadata = {name: first[name] for name in names}
    if facts is not None:
        metadata |= {"link_date": facts.link_date, "n_components": facts.n_components}
    return FirmTranscriptData(
        firm_id=first["firm_id"],
        firm_name=first["firm_name"] or "",
        sentences=[
            TranscriptSentence(sentence_id, raw, cleaned, speaker or "", position)
            for sentence_id, raw, cleaned, speaker, position in values
        ],
        metadata=metadata,
    )


def _absent(unknown: list[str], manifest: PrefetchManifest) -> UnknownFirmError:
    """Why the quarter has no sentences of these firms; told of the first."""
    firm = unknown[0]
    also = f" (and {len(unknown) - 1} more of those asked for)" if len(unknown) > 1 else ""
    again = f"ftm prefetch --quarter {manifest.quarter}"
    if reason := manifest.skipped.get(firm):
        why = f"firm {firm} was skipped in {manifest.quarter}: {reason}"
        why += f" ({SKIP_REASONS[reason]})" if reason in SKIP_REASONS else ""
        return UnknownFirmError(f"{why}{also}; leave it out", firm_ids=tuple(unknown))
    if error := manifest.failed.get(firm):
        return UnknownFirmError(
            f"firm {firm} failed in {manifest.quarter}: {error}{also}; `{again}` tries it again",
            firm_ids=tuple(unknown),
        )
    found = unknown_firms(unknown, source=manifest.quarter, known=list(manifest.firm_to_chunk))
    if manifest.complete:
        return found
    return UnknownFirmError(
        f"{found}; the quarter is not complete: run `{again}`", firm_ids=tuple(unknown)
    )
