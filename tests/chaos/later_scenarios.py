"""What is killed after map: reduce, name, package, publish, label, link, assign."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from ftm.care.verify import verify_quarter
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import NAMING_AUDIT, PROCESSED_TABLES
from ftm.core.settings import Settings
from ftm.orchestrate.run_plan import plan_run
from ftm.reduce.label_themes import apply_labels, labels_template
from ftm.reduce.name_stage import name_run
from ftm.storage.assigned import ASSIGNED_TABLES, read_assigned_table, require_assigned
from ftm.storage.linked import read_linked_table
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.published import read_published_table, require_published
from ftm.storage.run_records import encode_batches
from ftm.storage.sealed import decode_sealed
from ftm.wiring import get_model_fingerprint, resolve_run_settings
from tests.chaos.kills import Scenario
from tests.chaos.services import Services
from tests.support.business_firms import QUARTER
from tests.support.llm_server import MODEL, LLMServer
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all, do_reduce, name_options
from tests.support.runs import (
    CREATED_AT,
    worker_environment,
)

BATCH = "2023Q1_batch_0000"
THEMES = ((0, 1), (0, 1), (0, 1, 2), (2, 0), ())
"""Planted firms: three themes, a firm without a topic."""
NEXT = Quarter(2023, 2)
MAX_CONCURRENT = 2
LONG_AGO = "2020-01-01T00:00:00+00:00"
REAL_MODEL = {"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"}
PACKAGED = tuple(f"/run=planted-run/{name}.parquet" for name in PROCESSED_TABLES)
"""Tables that stage package writes too; their later editions have a hash in their name."""


def later_stages(services: Services) -> Iterator[Scenario]:
    """The workers of reduce, name and package, and the command that publishes."""
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
        threads=True,
        begin=counter.begin,
        end=counter.end,
    )
    yield Scenario(
        "publish",
        "package",
        ("run-quarter", "--quarter", "2023Q1", "--batch-size", "5", "--device", "cpu"),
        mapped_by_the_real_model,
        environment=REAL_MODEL,
        proven=("processed/quarter=2023Q1/run=", "intermediate/"),
        check=lambda store: check_published(store, QUARTER),
    )
    yield Scenario(
        "run both quarters",
        "package",
        ("run", "--quarters", "2023Q1..2023Q2", "--batch-size", "5", "--device", "cpu"),
        both_mapped,
        environment=REAL_MODEL,
        proven=(".", "/"),
        check=check_both_published,
    )


def both_mapped(store: ObjectStore) -> None:
    """Two quarters whose topics are there."""
    for quarter in (QUARTER, NEXT):
        mapped_by_the_real_model(store, quarter)


def mapped_by_the_real_model(store: ObjectStore, quarter: Quarter = QUARTER) -> None:
    """A planted run under the id that `ftm run-quarter` gives it: only its topics are made up."""
    manifest = plant_run(open_store("memory://"), THEMES, batch_size=5, quarter=quarter)
    copied = load_manifest(manifest.store, quarter)
    settings = resolve_run_settings(Settings.load(device="cpu"))
    plan = plan_run(
        copied,
        batch_size=5,
        model=get_model_fingerprint(settings),
        checkpoint_firms=settings.map_checkpoint,
        now=datetime.fromisoformat(CREATED_AT),
    )
    plant_run(store, THEMES, batch_size=5, run_id=plan.spec.run_id, quarter=quarter)
    store.put(plan.layout.manifest, plan.manifest)
    store.put(plan.layout.batch_manifest(1), encode_batches(list(plan.batches)))
    store.put(plan.layout.spec, plan.spec.encode(plan.layout.spec))


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
        assert len(asked) > 2 * MAX_CONCURRENT
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


def editions(services: Services) -> Iterator[Scenario]:
    """What changes published quarters or stands on them: labels, links, assigned themes."""
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

    def labelled(store: ObjectStore) -> None:
        to_label(store)
        apply_labels(store, QUARTER, labels.read_bytes(), name=labels.name)

    def with_an_old_run(store: ObjectStore) -> None:
        old = plant_run(store, THEMES, run_id="an-old-run")
        do_all(old)
        spec = old.run.spec.model_copy(update={"created_at": LONG_AGO})
        store.put(old.layout.spec, spec.encode(old.layout.spec))
        published(store)
        store.put("intermediate/firm-topics/quarter=2023Q1/run=planted-run/stray.parquet", b"x")

    yield Scenario(
        "label",
        "package",
        ("label", str(labels), "--quarter", "2023Q1"),
        to_label,
        proven=PACKAGED,
        check=lambda store: check_published(store, QUARTER),
    )
    yield Scenario(
        "label --remove",
        "package",
        ("label", "--remove", "--quarter", "2023Q1"),
        labelled,
        proven=PACKAGED,
        check=lambda store: check_published(store, QUARTER),
    )
    yield Scenario(
        "clean",
        "package",
        ("clean", "--quarter", "2023Q1", "--old-runs", "--yes"),
        with_an_old_run,
        check=check_cleaned,
    )
    yield Scenario(
        "link",
        "package",
        ("link", "--quarters", "2023Q1..2023Q2"),
        both_published,
        proven=PACKAGED,
        check=check_linked,
    )
    yield Scenario(
        "assign",
        "package",
        ("assign", "--themes", "2023Q1", "--quarter", "2023Q2"),
        both_published,
        check=check_assigned,
    )


def check_both_published(store: ObjectStore) -> None:
    """As `check_published`, of two quarters."""
    for quarter in (QUARTER, NEXT):
        check_published(store, quarter)


def check_cleaned(store: ObjectStore) -> None:
    """What is published is whole; nothing of the old run is left, nor anything unread."""
    check_published(store, QUARTER)
    keys = [info.key for info in store.list() if not info.key.startswith(".locks/")]
    assert not [key for key in keys if "an-old-run" in key or "stray" in key]
    assert not verify_quarter(store, QUARTER, deep=True).faults


def check_linked(store: ObjectStore) -> None:
    """Both quarters are linked, and their panels know it."""
    check_both_published(store)
    for quarter in (QUARTER, NEXT):
        series = read_linked_table(store, quarter, "series")
        panel = read_published_table(store, require_published(store, quarter), "panel")
        assert set(panel["series_id"].to_pylist()) <= set(series["series_id"].to_pylist())


def check_assigned(store: ObjectStore) -> None:
    """All tables are there with the bytes that the pointer says."""
    assigned = require_assigned(store, NEXT, QUARTER)
    for table in ASSIGNED_TABLES:
        assert read_assigned_table(store, assigned, table).num_rows
