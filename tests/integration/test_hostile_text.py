"""Names, ids and texts that would break a table, a terminal, a path or a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftm.cli.main import cli
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.text.kinds import classify_kinds
from ftm.text.parallel import ParallelPreprocessor
from tests.support.endless import all_endless, cpu_seconds
from tests.support.fake_source import FakeSource
from tests.support.hostile import NAMES, OBEYED, TEXTS
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, do_all
from tests.support.prefetch_quarter import QUARTER, prefetch, stored_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A published quarter of eleven firms with these names."""
    found = f"file://{tmp_path_factory.mktemp('hostile')}"
    plan = {number: {"firm_name": name} for number, name in NAMES.items()}
    do_all(plant_run(open_store(found), FIRMS, plan=plan))
    return found


def told(*arguments: str) -> str:
    """What a command that ends well prints."""
    done = CliRunner(catch_exceptions=False).invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return str(done.output)


@pytest.mark.parametrize(
    "command",
    [
        *(f"{name} --quarter 2023Q1" for name in ("themes", "status", "attrition")),
        "quarters",
        "theme theme_2023Q1_000 --quarter 2023Q1",
        *(f"show --quarter 2023Q1 --firm 10000{n}" for n in range(4)),
        "themes --quarter 2023Q1 --json",
        "sql|select firm_id, firm_name from firms",
    ],
)
def test_a_terminal_obeys_no_name(url: str, command: str) -> None:
    """Every command that shows names ends well and prints nothing that a terminal would obey."""
    words = command.split("|") if "|" in command else command.split()
    assert not OBEYED.search(told(*words, "--store", url))


def test_names_are_shown_as_they_are(url: str) -> None:
    """Markup and emoji codes are letters like any other, in tables too."""
    said = told("sql", "select firm_name from firms order by firm_id", "--store", url)
    assert "[/bold] & [red]Sons[/] :smile:" in said
    assert "<script>alert(1)</script>" in said
    themes = [
        told("theme", f"theme_2023Q1_00{n}", "--quarter", "2023Q1", "--store", url) for n in (0, 1)
    ]
    assert "[red]Sons[/]" in "".join(themes)


def test_csv_and_json_hold_names_as_delivered(url: str, tmp_path: Path) -> None:
    """They are data: another program must get what WRDS has, a spreadsheet is to import as text."""
    path = tmp_path / "firms.csv"
    asked = ("export", "--quarter", "2023Q1", "--table", "firms", "--csv", str(path))
    told(*asked, "--store", url)
    with path.open(encoding="utf-8", newline="") as file:
        found = {row["firm_name"] for row in csv.DictReader(file)}
    assert found == set(NAMES.values())
    said = told("sql", "select firm_name from firms", "--json", "--store", url)
    assert {row["firm_name"] for row in json.loads(said)} == set(NAMES.values())


IDS = [
    "../x",
    "a/b",
    ".",
    "..",
    "con",
    "i" * 300,
    "=1+1",
    "[/b]",
    "a b",
    "ü\u202e",
    "\x1b[0m",
    "%2e",
    "",
]


def test_firm_ids_that_look_like_paths_are_ids_like_any_other(memory: ObjectStore) -> None:
    """They never become part of a key: prefetched, resumed and read back each under its own."""
    prefetch(memory, FakeSource(IDS), sorted(IDS)[:5])
    prefetch(memory, FakeSource(IDS))
    assert set(stored_rows(memory)) == set(IDS) == set(load_manifest(memory, QUARTER).firm_to_chunk)
    with S3TranscriptConnector(memory, QUARTER) as connector:
        for firm in IDS:
            assert list(connector.fetch_transcripts([firm]).firms) == [firm]
    assert all(re.fullmatch(r"[\w./=-]+", info.key) for info in memory.list())


def test_texts_of_all_kinds_go_through_the_real_pipeline(memory: ObjectStore) -> None:
    """Each firm is stored or skipped, none fails, and what is stored is readable UTF-8."""
    texts = {name: [text, "Demand for our products grew."] for name, text in TEXTS.items()}
    source = FakeSource(sorted(TEXTS), texts=texts)
    with ParallelPreprocessor("rules", 1) as text:
        done = prefetch(memory, source, text=text)
    manifest = load_manifest(memory, QUARTER)
    assert not manifest.failed
    assert done.failed == {}
    assert set(manifest.firm_to_chunk) == set(TEXTS)
    rows = stored_rows(memory)
    assert not any(OBEYED.search(sentence) for said in rows.values() for sentence in said)
    assert len(rows["sentences"]) == 501
    with S3TranscriptConnector(memory, QUARTER) as connector:
        assert {
            f: len(v.sentences) for f, v in connector.fetch_transcripts(None).firms.items()
        } == {firm: len(said) for firm, said in rows.items()}


def test_runs_without_end_stall_neither_prefetch_nor_kinds(memory: ObjectStore) -> None:
    """A call with 3,500 characters of each kind: seconds for all, not a minute for some."""
    texts = {f"{n:03}": [f"Margin demand grew {run} here."]
             for n, run in enumerate(all_endless(3_500).values())}  # fmt: skip
    with ParallelPreprocessor("rules", 1) as text, cpu_seconds(20):
        prefetch(memory, FakeSource(sorted(texts), texts=texts), text=text)
    assert not load_manifest(memory, QUARTER).failed
    rows = stored_rows(memory)
    assert set(rows) == set(texts)
    said = [sentence for sentences in rows.values() for sentence in sentences]
    with cpu_seconds(20):
        assert len(classify_kinds(said, ["Executives"] * len(said))) == len(said)


@pytest.mark.exhaustive
@pytest.mark.parametrize("text", ["We sold more units here. " * 50_000, "margin " * 1_500_000])
def test_calls_of_ten_megabytes_or_fifty_thousand_sentences_lose_no_word(
    memory: ObjectStore, text: str
) -> None:
    """Far beyond any call: stored whole, and the firm beside it as if it were alone."""
    source = FakeSource(["1", "2"], texts={"1": [text], "2": ["Demand for our products grew."]})
    with ParallelPreprocessor("rules", 1) as pipeline:
        prefetch(memory, source, text=pipeline)
    assert load_manifest(memory, QUARTER).failed == {}
    rows = stored_rows(memory)
    assert sum(len(said.split()) for said in rows["1"]) == len(text.split())
    assert rows["2"] == ["Demand for our products grew."]
