"""What is killed: every command that writes, on stores so small that a run takes a blink."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ftm.core.layout import PrefetchLayout, RunLayout
from ftm.core.progress import NoProgress
from ftm.core.quarter import Quarter
from ftm.core.schemas import CALLS, CHUNK, NAMING_AUDIT
from ftm.core.settings import Settings
from ftm.orchestrate.run_plan import plan_run
from ftm.reduce.label_themes import labels_template
from ftm.reduce.name_stage import name_run
from ftm.storage.assigned import ASSIGNED_TABLES, read_assigned_table, require_assigned
from ftm.storage.linked import read_linked_table
from ftm.storage.manifest import encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.published import read_published_table, require_published
from ftm.storage.run_reader import list_runs, read_table
from ftm.storage.run_records import encode_batches
from ftm.storage.sealed import decode_sealed
from ftm.wiring import get_model_fingerprint, get_prefetcher, resolve_run_settings
from tests.chaos.harness import Scenario, nothing
from tests.support.business_firms import QUARTER, make_firms
from tests.support.llm_server import MODEL, LLMServer
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all, do_reduce, name_options
from tests.support.postgres import PostgresServer
from tests.support.quarters import write_quarter
from tests.support.runs import (
    CREATED_AT,
    NOOP_MODEL,
    make_lines,
    worker_environment,
    write_run,
)
from tests.support.stored_quarter import store_quarter
from tests.support.tiny_wrds import TinyWRDS

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

BATCH = "2023Q1_batch_0000"
THEMES = ((0, 1), (0, 1), (0, 1, 2), (2, 0), ())
"""Planted firms: three themes, a firm without a topic."""
NEXT = Quarter(2023, 2)
FIRMS = make_firms(5, n_sentences=20)
MAX_CONCURRENT = 2


def wrds_firms() -> TinyWRDS:
    """Five firms that a plan keeps, one of them without a speaker turn, and one that it drops."""
    made = TinyWRDS().vintage()
    for firm in (101, 102, 103, 104):
        made.firm(firm)
        for order in range(3):
            made.turn(firm, order, f"Revenue of firm {firm} grew by many orders. Margins held up.")
    return made.firm(105).call(106, 106)


@dataclass(frozen=True)
class Services:
    """What commands talk to besides the store.

    Args:
        wrds: a database that serves `wrds_firms`.
        llm: names topics and themes; the same answer to the same question.
        folder: for files that commands read.
    """

    wrds: PostgresServer
    llm: LLMServer
    folder: Path

    @property
    def wrds_environment(self) -> dict[str, str]:
        """What points a command at the database."""
        return {
            "FTM_WRDS_HOST": self.wrds.host,
            "FTM_WRDS_PORT": str(self.wrds.port),
            "FTM_WRDS_DBNAME": self.wrds.dbname,
            "FTM_WRDS_SSLMODE": "disable",
            "WRDS_USERNAME": self.wrds.user,
            "WRDS_PASSWORD": self.wrds.password,
            "FTM_PREFETCH_CHECKPOINT": "1",
        }


def all_scenarios(services: Services) -> dict[str, Scenario]:
    """Every scenario, by name."""
    made = [
        *_prefetches(services),
        *_maps(),
        *_later_stages(services),
        *_editions(services),
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

    def prefetched(store: ObjectStore) -> None:
        settings = services.wrds.settings(prefetch_checkpoint=1)
        with get_prefetcher(
            settings, progress=NoProgress(), store=store, workers=1, chunk_size=2
        ) as prefetcher:
            prefetcher.prefetch_quarter(QUARTER)

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
    repair = ("verify", "--quarter", "2023Q1", "--deep", "--repair")
    yield Scenario("repair", "prefetch", repair, damaged, **given)


def forget_manifest_times(key: str, data: bytes) -> object:
    """Of a manifest: when it was published, and when its plan was read."""
    if not key.endswith("/manifest.json"):
        return data
    fields = json.loads(gzip.decompress(data))
    fields["created_at"] = fields["source"]["extracted_at"] = ""
    return fields


def check_prefetch(store: ObjectStore) -> None:
    """Every firm that the plan keeps is in one chunk, or recorded as skipped; none twice."""
    manifest, layout = load_manifest(store, QUARTER), PrefetchLayout(QUARTER)
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


def _later_stages(services: Services) -> Iterator[Scenario]:
    layout = RunLayout(QUARTER, "planted-run")
    by_worker: dict[str, Any] = {
        "module": "ftm.worker",
        "environment": worker_environment("", layout, BATCH),
    }

    def until(last: str) -> Callable[[ObjectStore], None]:
        def prepare(store: ObjectStore) -> None:
            planted = plant_run(store, THEMES)
            if last in ("reduce", "name"):
                do_reduce(store, planted.run)
            if last == "name":
                name_run(store, planted.run, name_options())

        return prepare

    for stage, before in (("reduce", "map"), ("name", "reduce"), ("package", "name")):
        yield Scenario(stage, stage, (stage,), until(before), **by_worker)
    counter = _AskedOnce(services.llm)
    yield Scenario(
        "name by a language model",
        "name",
        ("name",),
        until("reduce"),
        module="ftm.worker",
        environment={
            **worker_environment("", layout, BATCH),
            "FTM_NAMING": "llm",
            "LLM_BASE_URL": services.llm.url,
            "LLM_MODEL_NAME": MODEL,
            "LLM_MAX_CONCURRENT": str(MAX_CONCURRENT),
        },
        forget=forget_asking,
        begin=counter.begin,
        end=counter.end,
    )
    yield Scenario(
        "publish",
        "package",
        ("run-quarter", "--quarter", "2023Q1", "--batch-size", "5", "--device", "cpu"),
        mapped_by_the_real_model,
        environment={"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"},
        proven=("processed/quarter=2023Q1/run=", "intermediate/"),
        check=lambda store: check_published(store, QUARTER),
    )


def mapped_by_the_real_model(store: ObjectStore) -> None:
    """A planted run under the id that `ftm run-quarter` gives it: only its topics are made up."""
    manifest = plant_run(open_store("memory://"), THEMES, batch_size=5)
    copied = load_manifest(manifest.store, QUARTER)
    settings = resolve_run_settings(Settings.load(device="cpu"))
    plan = plan_run(
        copied,
        batch_size=5,
        model=get_model_fingerprint(settings),
        checkpoint_firms=settings.map_checkpoint,
        now=datetime.fromisoformat(CREATED_AT),
    )
    plant_run(store, THEMES, batch_size=5, run_id=plan.spec.run_id)
    store.put(plan.layout.manifest, plan.manifest)
    store.put(plan.layout.batch_manifest(1), encode_batches(list(plan.batches)))
    store.put(plan.layout.spec, plan.spec.encode())


class _AskedOnce:
    """Sees to it that a killed naming asks again only what was in flight."""

    def __init__(self, llm: LLMServer) -> None:
        self._llm = llm

    def begin(self) -> None:
        """Count from here on."""
        self._llm.chats.clear()

    def end(self, n_killed: int) -> None:
        """Every process that was killed may have lost as many answers as were in flight."""
        asked = Counter(json.dumps(chat.body["messages"]) for chat in self._llm.chats)
        again = sum(n - 1 for n in asked.values())
        assert again <= n_killed * MAX_CONCURRENT, (again, n_killed)


def forget_asking(key: str, data: bytes) -> object:
    """When and how fast the model answered, and what the record of the stage counts of it."""
    if key.startswith("cache/llm/"):
        return {**decode_sealed(data), "asked_at": "", "latency_s": 0}
    if key.endswith("/naming_audit.parquet"):
        return from_bytes(data, NAMING_AUDIT).drop_columns(["asked_at", "latency_s"])
    if key.endswith("/stages/name"):
        fields = decode_sealed(data)
        audit = next(file for file in fields["files"] if file.endswith("/naming_audit.parquet"))
        fields["files"][audit] = ""
        for name in ("n_asked", "n_cached", "prompt_tokens", "completion_tokens"):
            fields["facts"][name] = 0
        return fields
    return data


def check_published(store: ObjectStore, quarter: Quarter) -> None:
    """The pointer names tables with the bytes it says, every firm is in them once."""
    published = require_published(store, quarter)
    tables = {name: read_published_table(store, published, name) for name in published.tables}
    firms = sorted(tables["firms"]["firm_id"].to_pylist())
    assert firms == [f"{100000 + n}" for n in range(len(THEMES))]
    sentences = tables["sentences"]["sentence_id"].to_pylist()
    assert len(sentences) == len(set(sentences)) > len(THEMES)


def _editions(services: Services) -> Iterator[Scenario]:
    labels = services.folder / "labels.csv"

    def published(store: ObjectStore) -> None:
        do_all(plant_run(store, THEMES))

    def both_published(store: ObjectStore) -> None:
        published(store)
        do_all(plant_run(store, THEMES, quarter=NEXT))

    def to_label(store: ObjectStore) -> None:
        published(store)
        head, first, *rest = labels_template(store, QUARTER)[0].decode("utf-8-sig").splitlines()
        values = first.split(",")
        renamed = ",".join([*values[:-4], "A name by hand", *values[-3:]])
        labels.write_text("\n".join([head, renamed, *rest]) + "\n")

    yield Scenario(
        "label",
        "package",
        ("label", str(labels), "--quarter", "2023Q1"),
        to_label,
        proven=("processed/quarter=2023Q1/run=", "intermediate/"),
        check=lambda store: check_published(store, QUARTER),
    )
    yield Scenario(
        "link",
        "package",
        ("link", "--quarters", "2023Q1..2023Q2"),
        both_published,
        proven=("processed/quarter=2023Q1/run=", "processed/quarter=2023Q2/run="),
        check=check_linked,
    )
    yield Scenario(
        "assign",
        "package",
        ("assign", "--themes", "2023Q1", "--quarter", "2023Q2"),
        both_published,
        check=check_assigned,
    )


def check_linked(store: ObjectStore) -> None:
    """Both quarters are linked, and their panels know it."""
    for quarter in (QUARTER, NEXT):
        check_published(store, quarter)
        series = read_linked_table(store, quarter, "series")
        panel = read_published_table(store, require_published(store, quarter), "panel")
        assert set(panel["series_id"].to_pylist()) <= set(series["series_id"].to_pylist())


def check_assigned(store: ObjectStore) -> None:
    """All tables are there with the bytes that the pointer says."""
    assigned = require_assigned(store, NEXT, QUARTER)
    for table in ASSIGNED_TABLES:
        assert read_assigned_table(store, assigned, table).num_rows


@contextmanager
def served(postgres: PostgresServer, folder: Path) -> Iterator[Services]:
    """The services, on a running server."""
    folder.mkdir(parents=True, exist_ok=True)
    with wrds_firms().served(postgres) as wrds, LLMServer() as llm:
        yield Services(wrds, llm, folder)
