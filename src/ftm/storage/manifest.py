"""The prefetch manifest: what a quarter holds, file by file and firm by firm."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ftm.core.schemas import MANIFEST_VERSION


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
    """`manifest.json`; the fields are those of the design, section 3."""

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


def encode_manifest(manifest: PrefetchManifest) -> bytes:
    """Gzipped JSON with sorted keys and mtime 0: the same manifest gives the same bytes."""
    raise NotImplementedError


def decode_manifest(data: bytes, *, key: str) -> PrefetchManifest:
    """Read a manifest, gzipped or not (told by its first two bytes).

    Raises:
        CorruptObjectError: not gzip, not JSON, or fields missing or inconsistent.
        ManifestVersionError: schema_version is newer than this ftm knows.
    """
    raise NotImplementedError
