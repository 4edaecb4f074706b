"""One suite for every connector, and what is S3TranscriptConnector's own."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ftm.connectors.base import DataConnector, InMemoryConnector
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    ManifestNotFoundError,
    StoreUnavailableError,
    UnknownFirmError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.records import TranscriptData
from ftm.storage.manifest import encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.postgres import PostgresServer
from tests.support.s3_server import Answer, Bucket, error
from tests.support.stored_quarter import QUARTER, chunk_file, firm, store_quarter
from tests.support.tiny_wrds import TinyWRDS
from tests.support.whole_turns import WholeTurns

FIRMS = [firm(number, n_sentences=2 + number % 3) for number in range(45)]
IDS = [f.firm_id for f in FIRMS]
CHUNK_0 = "chunk_0000.parquet"


@pytest.fixture(params=["memory", "file", "s3"])
def connector(request: pytest.FixtureRequest) -> DataConnector:
    """45 firms, in memory or in a store with chunks of 20."""
    return make_connector(request.param, request)


def make_connector(kind: str, request: pytest.FixtureRequest) -> DataConnector:
    """The connector of this kind to the 45 firms."""
    if kind == "memory":
        return InMemoryConnector(TranscriptData({f.firm_id: f for f in FIRMS}))
    if kind == "file":
        store = open_store(f"file://{request.getfixturevalue('tmp_path')}")
    else:
        bucket: Bucket = request.getfixturevalue("s3")
        store = open_store(bucket.url, endpoint_url=bucket.server.url)
    store_quarter(store, FIRMS, firms_per_chunk=20)
    return S3TranscriptConnector(store=store, quarter=QUARTER)


def test_none_means_all(connector: DataConnector) -> None:
    """Every firm with every field, in the source's order, by either method."""
    assert list(connector.iter_firms()) == FIRMS
    assert list(connector.fetch_transcripts(None, None, None)) == FIRMS


def test_an_empty_list_means_none(connector: DataConnector) -> None:
    """Not all firms."""
    assert list(connector.iter_firms([])) == []
    assert len(connector.fetch_transcripts([], None, None)) == 0


def test_some_firms_come_once_each_in_the_sources_order(connector: DataConnector) -> None:
    """However they were asked for."""
    asked = [IDS[41], IDS[3], IDS[22], IDS[3]]
    expected = [FIRMS[3], FIRMS[22], FIRMS[41]]
    assert list(connector.iter_firms(asked)) == expected
    assert connector.fetch_transcripts(asked, None, None).firms == {f.firm_id: f for f in expected}


def test_dates_are_ignored_where_the_quarter_is_fixed(connector: DataConnector) -> None:
    """A date range that holds no call changes nothing."""
    day = date(1999, 1, 1)
    assert len(connector.fetch_transcripts(IDS[:2], day, day)) == 2


def test_unknown_firms_are_named(connector: DataConnector) -> None:
    """The ids are in the message and in the error."""
    with pytest.raises(UnknownFirmError, match="nobody") as caught:
        list(connector.iter_firms([IDS[0], "nobody", "noone"]))
    assert caught.value.firm_ids == ("nobody", "noone")


@pytest.fixture(params=["memory", "file", "s3", "wrds"])
def any_connector(request: pytest.FixtureRequest) -> Iterator[DataConnector]:
    """Those of `connector`, and three firms on WRDS."""
    if request.param != "wrds":
        yield make_connector(request.param, request)
        return
    tiny = TinyWRDS().vintage()
    for number in range(1, 4):
        tiny.firm(number).turn(number, 0, "Cloud revenue doubled.")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with (
        tiny.served(postgres) as server,
        WRDSConnector(settings=server.settings(), quarter="2023Q1", pipeline=WholeTurns()) as wrds,
    ):
        yield wrds


@pytest.mark.parametrize(
    "shape",
    [list, tuple, set, dict.fromkeys, iter, np.array, pd.Series, pd.Index],
    ids=lambda shape: shape.__name__,
)
def test_ids_come_in_any_shape(any_connector: DataConnector, shape: Callable[..., Any]) -> None:
    """A generator, an array or a pandas column asks for the same firms as a list; empty, none."""
    wanted = any_connector.get_available_firm_ids()[:2]
    fetch = any_connector.fetch_transcripts
    assert list(fetch(shape(wanted), None, None).firms) == wanted
    assert [f.firm_id for f in any_connector.iter_firms(shape(wanted))] == wanted
    assert fetch(shape(wanted[:0]), None, None).firms == {}
    assert list(any_connector.iter_firms(shape(wanted[:0]))) == []


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ("100000", r"is the text '100000'; give a list: \['100000'\]"),
        ([100_000], "firm id 100000 is no text; write '100000'"),
        (pd.Series([100_000]), "firm id 100000 is no text; write '100000'"),
        (np.array([100_000]), "firm id 100000 is no text; write '100000'"),
        (pd.Series(["100000", None]), "is no text; ids are like '24937'"),
        (pd.Series([100_000, None]), r"firm id 100000.0 is no text; ids are like '24937'"),
        (100_000, "firm_ids is 100000; give a list of ids, or None"),
    ],
    ids=["text", "number", "column", "array", "a-missing-one", "floats", "no-list"],
)
def test_ids_of_the_wrong_type_are_explained(
    any_connector: DataConnector, ids: Any, told: str
) -> None:
    """A single text is no list of one-letter firms, and a number finds nothing."""
    for ask in (any_connector.iter_firms, lambda x: any_connector.fetch_transcripts(x, None, None)):
        with pytest.raises(ConfigError, match=told):
            list(ask(ids))


def test_available_ids_are_sorted(connector: DataConnector) -> None:
    """All of them."""
    assert connector.get_available_firm_ids() == sorted(IDS)


def test_is_a_context_manager_and_closes_twice(connector: DataConnector) -> None:
    """Closing is harmless."""
    with connector as same:
        assert same is connector
    connector.close()


# --- S3TranscriptConnector's own ---


def test_metadata_has_what_a_firm_row_needs(store: ObjectStore) -> None:
    """Identifiers with their types, link_date and n_components from the footer."""
    store_quarter(store, FIRMS[:2])
    found = S3TranscriptConnector(store, "2023Q1").fetch_transcripts([IDS[1]])[IDS[1]]
    assert found.metadata == {
        "permno": 10_001,
        "gvkey": "000001",
        "transcript_id": "9000001",
        "earnings_call_date": date(2023, 2, 2),
        "quarter": "2023Q1",
        "link_date": date(2001, 1, 2),
        "n_components": 4,
    }


def test_skipped_and_failed_firms_say_why() -> None:
    """Asking for them is an error that tells the reason, and for a failed one the command."""
    store = open_store("memory://")
    store_quarter(
        store, FIRMS[:2], skipped={"7": "operator_only"}, failed={"8": "PreprocessingError: bang"}
    )
    connector = S3TranscriptConnector(store, QUARTER)
    with pytest.raises(UnknownFirmError, match=r"skipped.*operator_only .only the operator speaks"):
        connector.fetch_transcripts(["7"])
    with pytest.raises(UnknownFirmError, match=r"failed.*bang.*`ftm prefetch --quarter 2023Q1`"):
        connector.fetch_transcripts(["8"])


def test_an_incomplete_quarter_says_so_for_an_unknown_firm() -> None:
    """The firm may simply not have been fetched yet."""
    store = open_store("memory://")
    manifest = store_quarter(store, FIRMS[:2]).model_copy(update={"complete": False})
    connector = S3TranscriptConnector(store, manifest=manifest)
    with pytest.raises(UnknownFirmError, match="not complete: run `ftm prefetch --quarter 2023Q1`"):
        connector.fetch_transcripts(["5"])


def test_a_firm_missing_from_its_chunk_names_both() -> None:
    """Manifest and chunk disagree although every hash is right."""
    store = open_store("memory://")
    manifest = store_quarter(store, FIRMS[:3])
    data, entry = chunk_file(FIRMS[:2])
    groups = [entry.row_groups[0].model_copy(update={"firms": IDS[:3]})]
    forged = manifest.model_copy(
        update={"chunks": {CHUNK_0: entry.model_copy(update={"row_groups": groups})}}
    )
    layout = PrefetchLayout(QUARTER)
    store.put(layout.key(CHUNK_0), data)
    store.put(layout.manifest, encode_manifest(forged))
    with pytest.raises(CorruptObjectError, match=rf"{CHUNK_0}.*firm {IDS[2]}"):
        S3TranscriptConnector(store, QUARTER).fetch_transcripts()


def test_a_runs_own_manifest_is_read_instead_of_the_current_one() -> None:
    """A refresh that flips the manifest does not reach a run."""
    store = open_store("memory://")
    mine = store_quarter(store, FIRMS[:3])
    store.delete(PrefetchLayout(QUARTER).manifest)
    assert len(S3TranscriptConnector(store=store, manifest=mine).fetch_transcripts()) == 3
    with pytest.raises(ConfigError, match=r"2023Q1.*2023Q2"):
        S3TranscriptConnector(store=store, manifest=mine, quarter="2023Q2")


@pytest.mark.parametrize("how", ["bucket name", "url", "settings", "store"])
def test_a_notebook_needs_one_line(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """By bucket name, URL, settings or an open store."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    store_quarter(store, FIRMS[:2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    monkeypatch.setenv("FTM_STORE", s3.url if how == "settings" else "file:///nonexistent/x")
    given = {"bucket name": s3.name, "url": s3.url, "settings": None, "store": store}[how]
    assert len(S3TranscriptConnector(given, "2023Q1").fetch_transcripts()) == 2
    assert len(S3TranscriptConnector(store=given, quarter="2023Q1").fetch_transcripts()) == 2


def test_wrong_arguments_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store, no quarter, a malformed quarter, both bucket and store."""
    monkeypatch.chdir(tmp_path)
    for name in ("FTM_STORE", "S3_BUCKET", "QUARTER"):
        monkeypatch.delenv(name, raising=False)
    store = open_store("memory://")
    with pytest.raises(ConfigError, match="no store is set"):
        S3TranscriptConnector(quarter="2023Q1")
    with pytest.raises(ConfigError, match="no quarter is given"):
        S3TranscriptConnector(store=store)
    with pytest.raises(ValueError, match="2023Q5"):
        S3TranscriptConnector(store=store, quarter="2023Q5")
    with pytest.raises(ConfigError, match="not both"):
        S3TranscriptConnector("bucket", "2023Q1", store=store)
    with pytest.raises(ManifestNotFoundError, match="ftm prefetch --quarter 2023Q1"):
        S3TranscriptConnector(store, "2023Q1")


def test_the_summary_says_what_the_quarter_holds() -> None:
    """Numbers that agree with the manifest."""
    store = open_store("memory://")
    store_quarter(store, FIRMS, firms_per_chunk=20, skipped={"7": "no_text"})
    summary = S3TranscriptConnector(store, QUARTER).get_manifest_summary()
    expected = {"quarter": "2023Q1", "n_firms": 45, "n_chunks": 3, "n_skipped": 1, "n_failed": 0}
    assert expected.items() <= summary.items()
    assert summary["n_sentences"] == sum(len(f.sentences) for f in FIRMS)


def test_a_notebook_shows_what_a_connector_is_of() -> None:
    """The quarter, where it is, and how much there is of it; thousands have commas."""
    store = open_store("memory://")
    store_quarter(store, [*FIRMS[:2], firm(90, n_sentences=1234)])
    n = sum(len(f.sentences) for f in FIRMS[:2]) + 1234
    shown = f"<S3TranscriptConnector 2023Q1 in {store.url}: 3 firms, {n:,} sentences>"
    assert repr(S3TranscriptConnector(store, QUARTER)) == shown


def test_a_damaged_manifest_is_refused_by_name() -> None:
    """At construction, before anything is read."""
    store = open_store("memory://")
    store_quarter(store, FIRMS[:1])
    key = PrefetchLayout(QUARTER).manifest
    store.put(key, store.get(key)[:-20])
    with pytest.raises(CorruptObjectError, match=r"manifest\.json is damaged"):
        S3TranscriptConnector(store, QUARTER)


# --- bytes moved ---


@pytest.fixture(scope="module")
def full_chunk() -> list[object]:
    """A chunk of 200 firms with 60 sentences each."""
    return [firm(number, n_sentences=60) for number in range(200)]


@pytest.fixture
def counted(s3: Bucket, full_chunk: list) -> tuple[Bucket, ObjectStore]:  # type: ignore[type-arg]
    """That chunk on S3, the traffic so far forgotten."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    store_quarter(store, full_chunk)
    s3.server.reset()
    return s3, store


def test_one_firm_moves_few_bytes(counted: tuple[Bucket, ObjectStore]) -> None:
    """Two range reads, at most 12 % of the chunk, whichever firm it is."""
    bucket, store = counted
    size = load_manifest(store, QUARTER).chunks[CHUNK_0].bytes
    for wanted in (firm(0).firm_id, firm(101).firm_id, firm(199).firm_id):
        bucket.server.reset()
        S3TranscriptConnector(store, QUARTER).fetch_transcripts([wanted])
        chunk = [r for r in bucket.server.traffic if r.path.endswith(CHUNK_0)]
        assert [r.status for r in chunk] == [206, 206]
        assert 0 < bucket.server.sent_bytes(CHUNK_0) <= 0.12 * size


def test_all_firms_move_each_byte_once(counted: tuple[Bucket, ObjectStore]) -> None:
    """Everything but the four magic bytes, and no byte twice."""
    bucket, store = counted
    size = load_manifest(store, QUARTER).chunks[CHUNK_0].bytes
    bucket.server.reset()
    assert sum(1 for _ in S3TranscriptConnector(store, QUARTER).iter_firms()) == 200
    assert bucket.server.sent_bytes(CHUNK_0) == size - 4


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
def test_firm_by_firm_fetches_no_row_group_twice(
    counted: tuple[Bucket, ObjectStore], shuffled: bool
) -> None:
    """Asking for firm after firm costs what reading all costs, whatever their order."""
    bucket, store = counted
    connector = S3TranscriptConnector(store, QUARTER)
    size = connector.manifest.chunks[CHUNK_0].bytes
    firms = connector.get_available_firm_ids()
    if shuffled:
        random.Random(7).shuffle(firms)
    for wanted in firms:
        assert len(connector.fetch_transcripts([wanted])) == 1
    assert bucket.server.sent_bytes(CHUNK_0) == size - 4


def test_iterating_fetches_as_it_goes(counted: tuple[Bucket, ObjectStore]) -> None:
    """After the first firm only a few row groups have come, and stopping early leaves no thread."""
    bucket, store = counted
    firms = S3TranscriptConnector(store, QUARTER).iter_firms()
    next(firms)
    groups = [r for r in bucket.server.traffic if r.path.endswith(CHUNK_0)]
    assert len(groups) <= 3
    firms.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("ftm-read-ahead")]


def test_a_store_that_stops_answering_ends_the_iteration(
    counted: tuple[Bucket, ObjectStore],
) -> None:
    """An error in the read-ahead reaches the caller, after the firms that had come."""
    bucket, store = counted
    connector = S3TranscriptConnector(store, QUARTER)
    answers = [0]

    def deny_after_three(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        answers[0] += 1
        return ask() if answers[0] <= 3 else error("403 Forbidden", "AccessDenied")

    bucket.server.script = deny_after_three
    seen = []
    with pytest.raises(StoreUnavailableError, match="access denied"):
        seen.extend(f.firm_id for f in connector.iter_firms())
    assert len(seen) in (0, 20)


def test_reading_the_store_needs_neither_spacy_nor_wrds(tmp_path: Path) -> None:
    """In a fresh process, with those modules made impossible to import."""
    store_quarter(open_store(f"file://{tmp_path}"), FIRMS[:3])
    code = (
        "import sys\n"
        "for name in ('spacy', 'wrds', 'torch', 'bertopic', 'pandas', 'sqlalchemy'):\n"
        "    sys.modules[name] = None\n"
        "from ftm.connectors.s3_connector import S3TranscriptConnector\n"
        f"c = S3TranscriptConnector('file://{tmp_path}', '2023Q1')\n"
        "print(len(c.fetch_transcripts()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_a_path_in_place_of_a_url_is_said() -> None:
    """It is no bucket; the message shows how a folder is written."""
    for path in ("/data/ftm", "~/ftm", "./ftm"):
        with pytest.raises(ConfigError, match=r"is no URL; write file:///folder"):
            S3TranscriptConnector(store=path, quarter="2023Q1")
