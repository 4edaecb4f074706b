"""Names, ids and texts that would break a table, a terminal, a path or a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftm.cli.main import cli
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.plain import plain
from ftm.core.quarter import Quarter
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.text.parallel import ParallelPreprocessor
from tests.support.cli import run_ftm
from tests.support.fake_source import FakeSource
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, do_all
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import QUARTER, prefetch, stored_rows
from tests.support.tiny_wrds import TinyWRDS

pytestmark = pytest.mark.slow

NAMES = {
    0: "[/bold] & [red]Sons[/] :smile:",
    1: "\x1b]0;owned\x07\x1b[31;1mAnsi\x1b[0m Corp\r\x08\x9b2J",
    2: "Two\nLines\tInc",
    3: "\u202eCBA\u2066 Override\u200f Ltd",
    4: '=HYPERLINK("http://evil.example","click")',
    5: "+1+cmd|' /C calc'!A0",
    6: "<script>alert(1)</script>",
    7: "漢字かな交じり文株式会社" * 20,
    8: "x" * 5_000,
    9: 'a,b;"c"|d\\e\'f',
    10: "e\u0301\u0301\u0301 zero\u200bwidth \U0001f469\u200d\U0001f4bb",
}
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


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


TEXTS = {
    "nul": "Revenue\x00 grew strongly in all our regions this year.",
    "surrogate": "Margins \ud800 improved in the quarter \udfff under review.",
    "right to left": "\u202eThe outlook\u202c is good; הכנסות גדלו מאוד ברבעון הזה.",
    "zero width": "Our re\u200bve\u200cnue\u200d grew\ufeff by a wide margin.",
    "html": "<script>alert('x')</script><p>Costs &amp; cash fell sharply.</p>",
    "formula": '=HYPERLINK("http://x") grew +5% -3 @home strongly.',
    "parquet": "PAR1 margin PAR1 \x15\x04 demand PAR1 fell.",
    "blank": " \t\n\u3000\u200b",
    "empty": "",
    "dots": "." * 20_000,
    "one word": "margin " * 5_000,
    "no blanks": "x" * 50_000,
    "sentences": "We sold more units here. " * 500,
    "combining": "e" + "\u0301" * 10_000,
    "newlines": "\n" * 10_000 + "Demand was strong.",
}


def test_texts_of_all_kinds_go_through_the_real_pipeline(memory: ObjectStore) -> None:
    """Each firm is stored or skipped, none fails, and what is stored is readable UTF-8."""
    texts = {name: [text, "Demand for our products grew."] for name, text in TEXTS.items()}
    source = FakeSource(sorted(TEXTS), texts=texts)
    with ParallelPreprocessor("rules", 1) as text:
        done = prefetch(memory, source, text=text)
    manifest = load_manifest(memory, QUARTER)
    assert not manifest.failed
    assert done.n_failed == 0
    assert set(manifest.firm_to_chunk) == set(TEXTS)
    rows = stored_rows(memory)
    assert not any(OBEYED.search(sentence) for said in rows.values() for sentence in said)
    assert len(rows["sentences"]) == 501
    with S3TranscriptConnector(memory, QUARTER) as connector:
        assert {
            f: len(v.sentences) for f, v in connector.fetch_transcripts(None).firms.items()
        } == {firm: len(said) for firm, said in rows.items()}


@pytest.fixture(scope="module")
def hostile_wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Firms whose names and texts hold all that PostgreSQL takes (it refuses NUL)."""
    tables = TinyWRDS().vintage()
    kinds = [text for text in TEXTS.values() if "\x00" not in text and "\ud800" not in text]
    for number, name in NAMES.items():
        firm = 100 + number
        tables.firm(firm, companyname=name, headline=f"{name}, Q4 2022 Earnings Call")
        tables.turn(firm, 1, kinds[number % len(kinds)]).turn(firm, 2, "Demand was strong today.")
    with tables.served(postgres) as server:
        yield server


def test_hostile_calls_go_from_a_database_through_a_run(
    hostile_wrds: PostgresServer, tmp_path: Path
) -> None:
    """Prefetch, map, reduce, name and package end well, and no firm is lost."""
    wrds = hostile_wrds
    given = {
        "FTM_WRDS_HOST": wrds.host,
        "FTM_WRDS_PORT": str(wrds.port),
        "FTM_WRDS_DBNAME": wrds.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": wrds.user,
        "WRDS_PASSWORD": wrds.password,
        "FTM_STORE": f"file://{tmp_path}",
    }
    for command in ("prefetch", "run-quarter", "status"):
        done = run_ftm(command, "--quarter", QUARTER, **given)
        assert done.returncode == 0, (command, done.stderr)
        assert not OBEYED.search(done.stdout + done.stderr), command
    found = load_manifest(open_store(given["FTM_STORE"]), Quarter.parse(QUARTER))
    assert len(found.firm_to_chunk) == len(NAMES)


def test_plain_keeps_all_that_can_be_read() -> None:
    """Only what a terminal obeys goes."""
    assert plain("naïve 漢字 \n\t[b] \U0001f469") == "naïve 漢字 \n\t[b] \U0001f469"
    assert plain("\x1b[31mred\x9b0m\u202eabc\ud800") == "[31mred0mabc\N{REPLACEMENT CHARACTER}"
