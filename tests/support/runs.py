"""A planned run of a prefetched quarter, and everything it wrote."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from hashlib import sha256

import pyarrow as pa

from ftm.core.layout import RunLayout, batch_id
from ftm.core.quarter import Quarter
from ftm.core.schemas import FIRM_SENTENCES, FIRM_TOPICS
from ftm.core.settings import Settings
from ftm.storage.manifest import PrefetchManifest, encode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.run_records import (
    BatchLine,
    BatchProgress,
    RunSpec,
    decode_progress,
    encode_batches,
)
from ftm.wiring import get_model_fingerprint

NOOP_MODEL = {"FTM_EMBEDDING_MODEL": "noop", "FTM_CLUSTERING": "noop", "FTM_DEVICE": "cpu"}
CREATED_AT = "2023-04-03T12:00:00+00:00"


def noop_settings(**given: object) -> Settings:
    """Settings with both models switched off."""
    return Settings.load(embedding_model="noop", clustering="noop", device="cpu", **given)


def make_lines(firm_ids: Sequence[str], *, batch_size: int, quarter: Quarter) -> list[BatchLine]:
    """Batches of these firms, in this order."""
    return [
        BatchLine(
            batch_id=batch_id(quarter, n),
            quarter=str(quarter),
            firm_ids=list(firm_ids[start : start + batch_size]),
        )
        for n, start in enumerate(range(0, len(firm_ids), batch_size))
    ]


def write_run(
    store: ObjectStore,
    manifest: PrefetchManifest,
    lines: list[BatchLine],
    *,
    run_id: str = "test-run",
    part_firms: int = 50,
    settings: Settings | None = None,
) -> RunLayout:
    """What `ftm run-quarter` writes before it starts workers."""
    layout = RunLayout(Quarter.parse(manifest.quarter), run_id)
    data = encode_manifest(manifest)
    store.put(layout.manifest, data)
    batches = encode_batches(lines)
    store.put(layout.batch_manifest(1), batches)
    spec = RunSpec(
        quarter=manifest.quarter,
        run_id=run_id,
        created_at=CREATED_AT,
        manifest_sha256=sha256(gzip.decompress(data)).hexdigest(),
        batches_sha256=sha256(batches).hexdigest(),
        model=get_model_fingerprint(settings or noop_settings()),
        checkpoint_firms=part_firms,
        ftm_version="0.1.0",
    )
    store.put(layout.spec, spec.encode(layout.spec))
    return layout


def worker_environment(
    store_url: str,
    layout: RunLayout,
    batch: str | int,
    *,
    model: Mapping[str, str] = NOOP_MODEL,
) -> dict[str, str]:
    """What a worker is told: a batch by its id or by its index."""
    which = (
        {"BATCH_ID": batch} if isinstance(batch, str) else {"AWS_BATCH_JOB_ARRAY_INDEX": str(batch)}
    )
    return {
        "FTM_STORE": store_url,
        "DATA_SOURCE": "s3",
        "QUARTER": str(layout.quarter),
        "FTM_RUN_ID": layout.run_id,
        "MANIFEST_S3_KEY": layout.batch_manifest(1),
        **which,
        **model,
    }


def written(store: ObjectStore, layout: RunLayout) -> dict[str, bytes]:
    """Every object the map stage wrote for a run, by key."""
    prefixes = (
        layout.progress_root,
        f"intermediate/firm-topics/quarter={layout.quarter}/run={layout.run_id}",
        f"intermediate/firm-sentences/quarter={layout.quarter}/run={layout.run_id}",
    )
    return {info.key: store.get(info.key) for p in prefixes for info in store.list(p)}


def read_progress(store: ObjectStore, layout: RunLayout, batch: str) -> BatchProgress:
    """A batch's progress record."""
    key = layout.progress(batch)
    return decode_progress(store.get(key), key=key)


def listed_tables(
    store: ObjectStore, layout: RunLayout, batches: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Topics and sentences of the parts that these batches list, hashes checked."""
    topics, sentences = [FIRM_TOPICS.empty_table()], [FIRM_SENTENCES.empty_table()]
    for batch in batches:
        for key, wanted in sorted(read_progress(store, layout, batch).parts.items()):
            data = store.get(key)
            assert sha256(data).hexdigest() == wanted, key
            if "/firm-topics/" in key:
                topics.append(from_bytes(data, FIRM_TOPICS, key=key))
            else:
                sentences.append(from_bytes(data, FIRM_SENTENCES, key=key))
    return pa.concat_tables(topics), pa.concat_tables(sentences)
