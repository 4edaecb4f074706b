"""The prefetch manifest: what a quarter holds, file by file and firm by firm."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    ManifestNotFoundError,
    ManifestVersionError,
    ObjectNotFoundError,
    StoreError,
)
from ftm.core.layout import PREFETCH_ROOT, RUN_MANIFEST, PrefetchLayout
from ftm.core.plain import one_line
from ftm.core.quarter import Quarter
from ftm.core.schemas import MANIFEST_VERSION
from ftm.storage.object_store import ObjectStore
from ftm.storage.sealed import MAX_BYTES, decode_object

_GZIP = b"\x1f\x8b"
_MAGIC_BYTES = 4


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Footer(_Model):
    """Where a Parquet file's footer lies (to the end of the file) and its sha256."""

    offset: int
    bytes: int
    sha256: str


class RowGroup(_Model):
    """Where a row group's column data lies, its sha256 and the firms in it, in order."""

    offset: int
    bytes: int
    sha256: str
    firms: list[str]


class FileEntry(_Model):
    """One Parquet file."""

    bytes: int
    sha256: str
    footer: Footer
    row_groups: list[RowGroup]


class PlanEntry(_Model):
    """The plan's file (relative to the quarter's root) and its sha256."""

    file: str
    sha256: str


class Source(_Model):
    """Where the quarter was read from."""

    host: str
    database: str
    tables: dict[str, str]
    query_sha256: str
    link_vintage: str | None
    extracted_at: str


class PrefetchManifest(_Model):
    """`manifest.json`; the fields are those of the design, section 3.

    `chunk_size` is how many firms were tried per chunk, at most; skipped and failed ones are not
    in `chunk_sizes`. None: an ftm wrote it that did not record it.
    """

    quarter: str
    created_at: str
    n_firms: int
    n_chunks: int
    chunk_sizes: dict[str, int]
    firm_to_chunk: dict[str, str]
    schema_version: int = MANIFEST_VERSION
    generation: int
    complete: bool
    n_sentences: int
    chunks: dict[str, FileEntry]
    components: dict[str, FileEntry]
    plan: PlanEntry
    skipped: dict[str, str]
    failed: dict[str, str]
    preprocessing: dict[str, str]
    source: Source
    ftm_version: str
    chunk_size: int | None = None


def encode_manifest(manifest: PrefetchManifest) -> bytes:
    """Gzipped JSON with sorted keys and mtime 0: the same manifest gives the same bytes."""
    # Run ids hash these bytes: a manifest that lacks a field must go on lacking it.
    unrecorded = {"chunk_size"} if manifest.chunk_size is None else None
    fields = manifest.model_dump(mode="json", exclude=unrecorded)
    text = json.dumps(fields, sort_keys=True, indent=1) + "\n"
    sink = io.BytesIO()
    # GzipFile, not gzip.compress: the header of the latter differs between Python versions.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=sink, mtime=0) as stream:
        stream.write(text.encode())
    return sink.getvalue()


def decode_manifest(data: bytes, *, key: str) -> PrefetchManifest:
    """Read a manifest, gzipped or not (told by its first two bytes).

    Args:
        data: the object's bytes.
        key: where they came from, for messages.

    Raises:
        CorruptObjectError: not gzip, not JSON, or fields missing or inconsistent.
        ManifestVersionError: schema_version is newer than this ftm knows.
    """
    fields = _decode_json(data, key)
    _check_version(fields.get("schema_version"), key)
    try:
        manifest = PrefetchManifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _corrupt(key, f"field {where}: {first['msg']}") from error
    if problem := next(_problems(manifest), None):
        raise _corrupt(key, problem)
    return manifest


def load_manifest(store: ObjectStore, quarter: Quarter | str) -> PrefetchManifest:
    """The manifest of a prefetched quarter.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched into this store.
        CorruptObjectError, ManifestVersionError: as decode_manifest.
        StoreError: the store cannot be read.
    """
    chosen = Quarter.parse(quarter)
    key = PrefetchLayout(chosen).manifest
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise ManifestNotFoundError(
            f"{chosen} is not prefetched: there is no {store.name(key)}{_others(store)}; "
            f"run `ftm prefetch --quarter {chosen}`"
        ) from error
    return decode_manifest_of(chosen, data, store)


def decode_manifest_of(quarter: Quarter, data: bytes, store: ObjectStore) -> PrefetchManifest:
    """Read the manifest found where this quarter's lies in a store.

    Raises:
        CorruptObjectError: as decode_manifest, or it is another quarter's.
        ManifestVersionError: as decode_manifest.
    """
    key = store.name(PrefetchLayout(quarter).manifest)
    manifest = decode_manifest(data, key=key)
    if manifest.quarter != str(quarter):
        raise _corrupt(key, f"it is the manifest of {manifest.quarter}")
    return manifest


def prefetched_quarters(store: ObjectStore) -> list[Quarter]:
    """Quarters with a manifest in this store, in time.

    Raises:
        StoreError: the store cannot be listed.
    """
    folders = store.list_folders(PREFETCH_ROOT)
    found = [Quarter.parse(name.removeprefix("quarter=")) for name in folders if _is_quarter(name)]
    return [quarter for quarter in found if store.exists(PrefetchLayout(quarter).manifest)]


def _is_quarter(folder: str) -> bool:
    try:
        return str(Quarter.parse(folder.removeprefix("quarter="))) == folder[len("quarter=") :]
    except ConfigError:
        return False


def _others(store: ObjectStore) -> str:
    """What the store does have, for a message; a store that cannot be listed adds nothing."""
    try:
        found = prefetched_quarters(store)
    except StoreError:
        return ""
    return f" (prefetched are {', '.join(map(str, found[-8:]))})" if found else ""


def _decode_json(data: bytes, key: str) -> dict[str, Any]:
    try:
        return decode_object(plain_manifest(data))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _corrupt(key, f"neither JSON nor gzipped JSON ({error})") from error


def plain_manifest(data: bytes) -> bytes:
    """A manifest's JSON, unpacked if it is gzipped.

    Raises:
        OSError, EOFError, zlib.error: it cannot be unpacked.
        ValueError: it is larger than any manifest: a few bytes of gzip may stand for gigabytes.
    """
    if data[:2] != _GZIP:
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        plain = stream.read(MAX_BYTES + 1)
        if len(plain) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes when unpacked")
    return plain


def _check_version(version: object, key: str) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _corrupt(key, f"schema_version is {version!r}, expected 1 or more")
    if version > MANIFEST_VERSION:
        raise ManifestVersionError(
            f"{key} has schema_version {version}, this ftm reads up to {MANIFEST_VERSION}; "
            "install the ftm that wrote it, or a newer one"
        )


def _corrupt(key: str, problem: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"manifest {key} is damaged: {one_line(problem)}; {_mend(key)}", key=key
    )


def _mend(key: str) -> str:
    """What to do about a damaged manifest; a run's copy follows from what it copied."""
    if key.endswith(RUN_MANIFEST):
        return "the `ftm run-quarter` command that began the run writes it again"
    quarter = key.rpartition("quarter=")[2].partition("/")[0]
    return (
        "restore it from a backup or make the quarter anew with "
        f"`ftm prefetch --quarter {quarter} --refresh`"
    )


def _problems(manifest: PrefetchManifest) -> Iterator[str]:
    """What in a manifest contradicts itself, worst first; lazy, as one is enough."""
    try:
        Quarter.parse(manifest.quarter)
    except ConfigError as error:
        yield str(error)
    if manifest.generation < 1:
        yield f"generation is {manifest.generation}, expected 1 or more"
    yield from _wrong_counts(manifest)
    yield from _wrong_firms(manifest)
    for kind in (manifest.chunks, manifest.components):
        for file, entry in kind.items():
            yield from (f"{file}: {problem}" for problem in _wrong_ranges(file, entry))


def _wrong_counts(manifest: PrefetchManifest) -> Iterator[str]:
    if manifest.n_firms != len(manifest.firm_to_chunk):
        yield f"n_firms is {manifest.n_firms}, firm_to_chunk has {len(manifest.firm_to_chunk)}"
    if manifest.n_chunks != len(manifest.chunks):
        yield f"n_chunks is {manifest.n_chunks}, chunks has {len(manifest.chunks)}"
    held = Counter(manifest.firm_to_chunk.values())
    if unlisted := sorted(held.keys() - manifest.chunks.keys()):
        yield f"firm_to_chunk names {unlisted[0]}, which is not in chunks"
    sizes = {file: held[file] for file in manifest.chunks}
    if sizes != manifest.chunk_sizes:
        yield "chunk_sizes differs from firm_to_chunk"
    if manifest.n_sentences < 0:
        yield f"n_sentences is {manifest.n_sentences}"
    largest = max(manifest.chunk_sizes.values(), default=1)
    if manifest.chunk_size is not None and manifest.chunk_size < largest:
        yield f"chunk_size is {manifest.chunk_size}, expected {largest} or more"


def _wrong_firms(manifest: PrefetchManifest) -> Iterator[str]:
    for file, entry in manifest.chunks.items():
        for firm in firms_of(entry):
            if manifest.firm_to_chunk.get(firm) != file:
                yield f"{file} holds firm {firm}, firm_to_chunk does not say so"
        if len(firms_of(entry)) != manifest.chunk_sizes.get(file):
            yield f"{file}: its row groups name {len(firms_of(entry))} firms, chunk_sizes differs"
    parts = (manifest.firm_to_chunk.keys(), manifest.skipped.keys(), manifest.failed.keys())
    twice = [firm for firm, n in Counter(f for part in parts for f in part).items() if n > 1]
    if twice:
        yield f"firm {twice[0]} is in more than one of firm_to_chunk, skipped and failed"


def _wrong_ranges(file: str, entry: FileEntry) -> Iterator[str]:
    if file.startswith("/") or ".." in file.split("/"):
        yield "the name leaves the quarter's folder"
    position = _MAGIC_BYTES
    ranges = [(group.offset, group.bytes) for group in entry.row_groups]
    for offset, size_bytes in (*ranges, (entry.footer.offset, entry.footer.bytes)):
        if offset != position or size_bytes < 0:
            yield f"a range starts at {offset}, the one before ends at {position}"
        position = offset + size_bytes
    if position != entry.bytes:
        yield f"the footer ends at {position}, the file at {entry.bytes}"


def firms_of(entry: FileEntry) -> list[str]:
    """The firms of a file, in file order."""
    return [firm for group in entry.row_groups for firm in group.firms]
