"""What is killed: every command that writes, on stores so small that a run takes a blink."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator

from ftm.core.layout import PrefetchLayout, RunLayout
from ftm.core.progress import NoProgress
from ftm.core.quarter import Quarter
from ftm.core.schemas import CALLS, CHUNK
from ftm.storage.manifest import encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.run_reader import list_runs, read_table
from ftm.wiring import get_prefetcher
from tests.chaos.kills import Scenario, nothing
from tests.chaos.later_scenarios import BATCH, editions, later_stages
from tests.chaos.services import Services
from tests.support.business_firms import QUARTER, make_firms
from tests.support.quarters import write_quarter
from tests.support.runs import (
    NOOP_MODEL,
    make_lines,
    worker_environment,
    write_run,
)
from tests.support.stored_quarter import store_quarter

PRELOAD = (
    *("ftm.cli.main", "ftm.worker", "rich.console", "boto3", "tests.support.failpoints"),
    *("ftm.orchestrate.quarter_orchestrator", "ftm.topics.fingerprint", "ftm.cli.run"),
    *("ftm.cli.themes", "ftm.cli.verify", "ftm.cli.prefetch", "ftm.prefetch.preprocess"),
    *("ftm.prefetch.repair", "ftm.care.verify", "ftm.text.parallel", "ftm.text.spacy_pipeline"),
    *("ftm.connectors.wrds_connector", "wrds", "sqlalchemy.dialects.postgresql.psycopg2"),
    *("ftm.topics.theme_clusters", "ftm.topics.theme_keywords", "ftm.reduce.label_themes"),
    *("ftm.reduce.assign_quarter", "sklearn.feature_extraction.text", "exchange_calendars"),
    *("ftm.naming.llm", "openai", "ftm.wiring.naming", "tests.chaos.preload"),
)
"""What a forge imports for them."""

FIRMS = make_firms(5, n_sentences=20)


def all_scenarios(services: Services) -> dict[str, Scenario]:
    """Every scenario, by name."""
    made = [
        *_prefetches(services),
        *_maps(),
        *later_stages(services),
        *editions(services),
    ]
    return {scenario.name: scenario for scenario in made}


PARTS = ("/_parts/",)
PREFETCH = ("prefetch", "--quarter", "2023Q1", "--chunk-size", "2", "--workers", "1")


def _prefetches(services: Services) -> Iterator[Scenario]:
    given = {
        "environment": services.wrds_environment,
        "forget": forget_manifest_times,
        "check": check_prefetch,
    }

    def prefetched(store: ObjectStore, limit: int | None = None) -> None:
        settings = services.wrds.settings(prefetch_checkpoint=1)
        with get_prefetcher(
            settings, progress=NoProgress(), store=store, workers=1, chunk_size=2
        ) as prefetcher:
            prefetcher.prefetch_quarter(QUARTER, limit=limit)

    def three_prefetched(store: ObjectStore) -> None:
        prefetched(store, 3)

    def of_an_older_text_step(store: ObjectStore) -> None:
        prefetched(store)
        manifest = load_manifest(store, QUARTER)
        older = {**manifest.preprocessing, "text_version": "0"}
        changed = manifest.model_copy(update={"preprocessing": older})
        store.put(PrefetchLayout(QUARTER).manifest, encode_manifest(changed))

    def damaged(store: ObjectStore) -> None:
        prefetched(store)
        for file in ("chunk_0000.parquet", "components_0001.parquet"):
            key = PrefetchLayout(QUARTER).key(file)
            store.put(key, store.get(key)[:-9])

    yield Scenario("prefetch", "prefetch", PREFETCH, nothing, **given)
    yield Scenario(
        "refresh", "prefetch", (*PREFETCH, "--refresh"), prefetched, again=False, **given
    )
    yield Scenario(
        "preprocess",
        "prefetch",
        ("preprocess", "--quarter", "2023Q1", "--workers", "1"),
        of_an_older_text_step,
        proven=PARTS,
        **given,
    )
    some = {**given, "check": nothing, "proven": (".",)}
    yield Scenario(
        "a few firms", "prefetch", (*PREFETCH, "--limit", "3"), nothing, again=False, **some
    )
    yield Scenario(
        "the rest", "prefetch", PREFETCH, three_prefetched, **{**some, "check": check_prefetch}
    )
    yield Scenario(
        "two quarters",
        "prefetch",
        ("prefetch", "--quarters", "2023Q1..2023Q2", *PREFETCH[3:]),
        nothing,
        **{**some, "check": check_both},
    )
    repair = ("verify", "--quarter", "2023Q1", "--deep", "--repair")
    yield Scenario("repair", "prefetch", repair, damaged, **given)


def forget_manifest_times(key: str, data: bytes) -> object:
    """Of a manifest: when it was published, and when its plan was read."""
    if not key.endswith("/manifest.json"):
        return data
    fields = json.loads(gzip.decompress(data))
    fields["created_at"] = fields["source"]["extracted_at"] = ""
    return fields


def check_both(store: ObjectStore) -> None:
    """As `check_prefetch`, of two quarters."""
    for quarter in (QUARTER, QUARTER.next()):
        check_prefetch(store, quarter)


def check_prefetch(store: ObjectStore, quarter: Quarter = QUARTER) -> None:
    """Every firm that the plan keeps is in one chunk, or recorded as skipped; none twice."""
    manifest, layout = load_manifest(store, quarter), PrefetchLayout(quarter)
    plan = from_bytes(store.get(layout.key(manifest.plan.file)), CALLS).to_pylist()
    kept = sorted(row["firm_id"] for row in plan if row["kept"])
    places = [manifest.firm_to_chunk, manifest.skipped, manifest.failed]
    assert sorted(firm for place in places for firm in place) == kept
    assert manifest.complete
    rows = [
        (row["firm_id"], row["sentence_id"], file)
        for file in manifest.chunks
        for row in from_bytes(store.get(layout.key(file)), CHUNK).to_pylist()
    ]
    assert {(firm, file) for firm, _, file in rows} == set(manifest.firm_to_chunk.items())
    assert all(n == 1 for n in Counter(sentence for _, sentence, _ in rows).values())


def _maps() -> Iterator[Scenario]:
    lines = make_lines([f.firm_id for f in FIRMS], batch_size=9, quarter=QUARTER)
    layout = RunLayout(QUARTER, "test-run")

    def planned(store: ObjectStore) -> None:
        manifest = store_quarter(store, FIRMS, firms_per_chunk=3)
        write_run(store, manifest, lines, part_firms=2)

    def prefetched(store: ObjectStore) -> None:
        write_quarter(store, FIRMS, firms_per_chunk=3)

    yield Scenario(
        "map",
        "map",
        ("map",),
        planned,
        module="ftm.worker",
        environment={**worker_environment("", layout, BATCH)},
        check=check_map,
    )
    yield Scenario(
        "run-quarter",
        "map",
        ("run-quarter", "--quarter", "2023Q1", "--batch-size", "9", "--to", "map"),
        prefetched,
        environment={**NOOP_MODEL, "CHECKPOINT_INTERVAL": "2"},
        forget=forget_attempts,
        check=check_map,
        clocked=("ftm.orchestrate.quarter_orchestrator",),
        workers=True,
    )


def forget_attempts(key: str, data: bytes) -> object:
    """What tells of attempts, which there are more of."""
    is_later = key.startswith("manifests/") and not key.endswith("/map_1.jsonl")
    return None if "/jobs/" in key or is_later else data


def check_map(store: ObjectStore) -> None:
    """Every firm of the batches is done, its sentences are in one listed part, none twice."""
    (found,) = list_runs(store, QUARTER)
    planned = [firm for batch in found.batches for firm in batch.firm_ids]
    done = [firm for record in found.progress.values() for firm in record.done]
    assert sorted(done) == sorted(set(planned))
    assert all(record.complete for record in found.progress.values())
    sentences = read_table(store, found, "firm-sentences")["sentence_id"].to_pylist()
    expected = {s.sentence_id for firm in FIRMS for s in firm.sentences}
    assert sorted(sentences) == sorted(expected)
