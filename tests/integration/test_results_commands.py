"""`ftm sql`, `ftm export` and `ftm codebook` as a user runs them."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import ftm
from ftm.analysis.codebook import codebook_markdown
from ftm.cli.main import main
from ftm.core.quarter import Quarter
from ftm.storage.object_store import open_store
from tests.support.cli import run_ftm
from tests.support.published_quarter import TITLE, publish_quarter
from tests.support.s3_server import Bucket

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run `ftm …` in this process, in a folder of its own: a process each would take a minute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FTM_STORE", raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["ftm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(str(ended.value.code)), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with 2016Q2 and 2016Q3."""
    found = f"file://{tmp_path_factory.mktemp('published')}"
    for quarter in (Q2, Q3):
        publish_quarter(open_store(found), quarter)
    return found


def test_sql_prints_a_table_and_counts_the_rest(url: str, command: Command) -> None:
    """100 rows and how many more; a missing value is null, not empty."""
    done = command("sql", "select sentence_id, topic_id from sentences", "--store", url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    n = len(ftm.sql("select 1 from sentences", url))
    assert lines[0].split() == ["sentence_id", "topic_id"]
    assert len(lines) == 1 + 100 + 1
    assert lines[-1].startswith(f"{n - 100} more rows; --csv")
    assert any(line.split()[1] == "null" for line in lines[1:-1])


def test_sql_gives_csv_and_json_for_programs(url: str, command: Command) -> None:
    """All rows, whole values: quotes, lists and dates survive; `-` reads the query from stdin."""
    query = "select name, keywords, quarter from themes order by quarter, theme_id"
    done = command("sql", query, "--csv", "--store", url)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows[0] == {"name": TITLE, "keywords": "word0; revenue", "quarter": "2016Q2"}
    assert len(rows) == 8
    done = command(
        "sql", "select day0, fiscal_year, 'nan'::float x from panel_calls", "--json", "--store", url
    )
    first, *others = json.loads(done.stdout)
    assert first == {"day0": "2016-04-22", "fiscal_year": None, "x": None}
    assert len(others) == 13


def test_sql_writes_files(url: str, command: Command, tmp_path: Path) -> None:
    """By the file's name; one that is there, or of another kind, is refused before reading."""
    for name in ("a.parquet", "a.csv"):
        done = command("sql", "from panel", "--output", name, "--store", url)
        assert (done.stdout, done.stderr) == (f"{name}: 40 rows\n", "")
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == 40
    assert len(list(csv.reader((tmp_path / "a.csv").read_text("utf-8").splitlines()))) == 41
    for name, words in (("a.csv", "pass --force"), ("a.xlsx", "neither FILE.parquet nor")):
        done = command("sql", "from panel", "--output", name, "--store", url)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["select share_al from panel"], 1, 'Candidate bindings: "share_all"'),
        (["select * from pannel"], 1, "`ftm sql --tables --store file://"),
        (["select * from series"], 1, "is linked; run `ftm link --quarters"),
        (["select * from read_csv('/etc/passwd')"], 1, "SQL sees the store's tables only"),
        (["select 1", "--tables"], 2, "give a query, or --tables"),
        (["select 1", "--csv", "--json"], 2, "at most one of --csv"),
        (["select 1", "--quarters", "2016Q3..2016Q2"], 2, "quarters run backwards"),
    ],
)
def test_sql_errors_are_one_line(
    arguments: list[str], code: int, words: str, url: str, command: Command
) -> None:
    """1 for what the data or the SQL lack, 2 for wrong usage."""
    done = command("sql", *arguments, "--store", url)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_without_unicode_is_no_error(url: str) -> None:
    """What it cannot show is a question mark in a table, and escaped in JSON."""
    query = ["sql", "select 'Nestl\u00e9 \u2588' as name", "--store", url]
    shown = run_ftm(*query, PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.split()[1:] == ["Nestl?", "?"]
    found = run_ftm(*query, "--json", PYTHONIOENCODING="ascii")
    assert json.loads(found.stdout) == [{"name": "Nestl\u00e9 \u2588"}]


def test_sql_on_s3_lists_and_asks(s3: Bucket) -> None:
    """The same from S3, with nothing but the store's settings."""
    publish_quarter(open_store(s3.url, endpoint_url=s3.server.url), Q2)
    done = run_ftm("sql", "--tables", **s3.environment)
    assert "panel  20 rows\n  call_id, firm_id, " in done.stdout
    assert "series  not there yet" in done.stdout
    done = run_ftm("sql", "select count(*) as n from transcripts", "--json", **s3.environment)
    assert json.loads(done.stdout)[0]["n"] > 100


def test_export_writes_what_was_asked_for(url: str, command: Command, tmp_path: Path) -> None:
    """Stata by default of the panel, with labels; what was written is said."""
    done = command("export", "--quarters", "2016Q2..2016Q3", "--dta", "p.dta", "--store", url)
    assert done.stdout == "p.dta: 40 rows of panel 2016Q2..2016Q3\n"
    assert len(pd.read_stata(tmp_path / "p.dta")) == 40
    done = command("export", "--quarter", "2016Q2", "--dta", "p.dta", "--store", url)
    assert done.returncode == 2
    assert "p.dta is there already; pass --force" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--quarter", "2016Q2"], 2, "give one of --csv FILE and --dta FILE"),
        (["--csv", "x"], 2, "panel of which quarter"),
        (["--quarter", "2016Q2", "--table", "pannel", "--csv", "x"], 2, "no table 'pannel'"),
        (["--quarter", "2016Q4", "--csv", "x"], 1, "2016Q4 is not published"),
        (["--quarter", "2016Q3", "--themes-from", "2016Q2", "--csv", "x"], 1, "`ftm assign"),
        (["--table", "series", "--csv", "x"], 1, "is linked; run `ftm link"),
        (["--quarter", "2016Q2", "--dta", "no/x.dta"], 2, "there is no folder no"),
        (["--quarter", "2016Q2", "--csv", "no/x.csv"], 2, "there is no folder no"),
        (["--quarter", "2016Q2", "--dta", ".", "--force"], 2, ". is no file"),
        (["--quarter", "2016Q2", "--csv", "/dev/null", "--force"], 2, "/dev/null is no file"),
    ],
)
def test_export_errors_are_one_line(
    arguments: list[str], code: int, words: str, url: str, command: Command, tmp_path: Path
) -> None:
    """And leave no file."""
    done = command("export", *arguments, "--store", url)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_codebook_is_printed(command: Command) -> None:
    """All of it, or one table; a wrong name lists those there are."""
    assert command("codebook").stdout == codebook_markdown()
    assert command("codebook", "--table", "series").stdout == codebook_markdown(["series"])
    done = command("codebook", "--table", "x")
    assert done.returncode == 2
    assert "there are: panel, panel_calls" in done.stderr
