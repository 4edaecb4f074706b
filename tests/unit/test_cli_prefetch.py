"""`ftm prefetch` and wrong usage, before anything is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftm.cli.prefetch import ask_on_terminal, prefetch, preprocess
from ftm.cli.prefetch_arguments import GivenOptions, firm_ids
from ftm.cli.prefetch_texts import tell_plan, tell_summary
from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import ConfigError
from ftm.core.interrupts import Stopped
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.storage.object_store import open_store
from ftm.wiring import get_preprocessor
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import QUARTER, firms, prefetcher


@pytest.mark.parametrize(
    "arguments", [[], ["--quarter", "2023Q1", "--quarters", "2023Q1..2023Q2"], ["--limit", "0"]]
)
def test_wrong_usage_is_told_as_such(arguments: list[str]) -> None:
    """Exit code 2 and what to give."""
    result = CliRunner().invoke(prefetch, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output


@pytest.mark.parametrize("text", ["2023Q5", "2023q1", "2023-1"])
def test_a_malformed_quarter_is_one_line(text: str) -> None:
    """In both commands; it names the value and shows the form."""
    for command in (prefetch, preprocess):
        result = CliRunner().invoke(command, ["--quarter", text])
        assert isinstance(result.exception, ConfigError)
        assert repr(text) in str(result.exception)


def test_firm_ids_come_from_flag_and_file(tmp_path: Path) -> None:
    """Both are checked before a login: a ticker is no id, an empty file no firms."""
    for arguments, message in (
        (["--firms", "24937,AAPL"], "'AAPL'"),
        (["--firms", " , "], "--firms has no firm id"),
    ):
        result = CliRunner().invoke(prefetch, ["--quarter", "2023Q1", *arguments])
        assert isinstance(result.exception, ConfigError)
        assert message in str(result.exception)
    empty = tmp_path / "firms.txt"
    empty.write_text("\n")
    result = CliRunner().invoke(prefetch, ["--quarter", "2023Q1", "--firms-file", str(empty)])
    assert isinstance(result.exception, ConfigError)
    assert "firms.txt holds no firm id" in str(result.exception)


def test_a_file_of_firms_may_be_as_excel_writes_it(tmp_path: Path) -> None:
    """Byte order mark, name of the column, empty lines; a wrong id is told with its line."""
    file = tmp_path / "firms.csv"
    file.write_text("\ufefffirm_id\n24937\n\n29096, 18749\n", encoding="utf-8")
    assert firm_ids(None, file) == ["24937", "29096", "18749"]
    file.write_text("\ufeff24937\n", encoding="utf-8")
    assert firm_ids("1", file) == ["1", "24937"]
    file.write_text("\n\nfirm_id\n24937\n", encoding="utf-8")
    assert firm_ids(None, file) == ["24937"]
    file.write_text("24937.0\n100081910\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 1: not a firm id: '24937\.0'"):
        firm_ids(None, file)
    file.write_text("24937\nAAPL\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"firms\.csv, line 2: not a firm id: 'AAPL'"):
        firm_ids(None, file)


def test_an_option_that_is_not_given_stays_as_it_was() -> None:
    """Each by itself; `none` ends an as-of date, and nothing given is nothing asked for."""
    so_far = PlanOptions("first", date(2023, 6, 30), ("LU",))
    assert GivenOptions(None, None, None).over(lambda: so_far) is None
    assert GivenOptions("latest", None, None).over(lambda: so_far) == replace(
        so_far, calls="latest"
    )
    assert GivenOptions(None, "none", None).over(lambda: so_far) == replace(so_far, as_of=None)
    given = GivenOptions(None, date(2024, 1, 1), ("LC",)).over(lambda: so_far)
    assert given == PlanOptions("first", date(2024, 1, 1), ("LC",))


def test_an_as_of_day_that_is_none_is_wrong_usage() -> None:
    """The message shows the form."""
    result = CliRunner().invoke(prefetch, ["--quarter", "2023Q1", "--as-of", "2023-6"])
    assert result.exit_code == 2
    assert "write it like 2023-06-30, or none" in " ".join(result.output.split())


def test_no_store_that_ends_with_the_process_and_no_pipeline_without_a_name() -> None:
    """A login would be spent on nothing."""
    for arguments, text in ((["--store", "memory://x"], "memory://x"), (["--nlp", ""], "FTM_NLP")):
        result = CliRunner().invoke(prefetch, ["--quarter", "2023Q1", *arguments])
        assert isinstance(result.exception, ConfigError)
        assert text in str(result.exception)


def test_a_range_is_checked_before_anything_of_it_is_read(tmp_path: Path) -> None:
    """A quarter to come at its end is told before the first is discovered."""
    store = f"file://{tmp_path / 'store'}"
    arguments = ["--quarters", "2022Q4..2199Q1", "--store", store]
    result = CliRunner().invoke(prefetch, arguments, env={"FTM_WRDS_HOST": "127.0.0.1"})
    assert isinstance(result.exception, ConfigError)
    assert "there are no calls yet" in str(result.exception)


@pytest.mark.parametrize("linktypes", ["", " , ", "LU,XX", "primary"])
def test_unknown_link_types_are_told_before_a_login(linktypes: str, tmp_path: Path) -> None:
    """An empty plan is never the answer to a typing error."""
    arguments = ["--quarter", "2023Q1", "--store", f"file://{tmp_path}"]
    result = CliRunner().invoke(prefetch, [*arguments, "--linktypes", linktypes])
    assert isinstance(result.exception, ConfigError)
    assert "expected some of LU, LC, LS" in str(result.exception)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--dry-run"], "--dry-run"),
        (["--refresh"], "--refresh"),
        (["--as-of", "2023-05-01"], "--as-of"),
        (["--firms", "1"], "--firms"),
        (["--calls", "latest"], "--calls"),
    ],
)
def test_the_check_for_revisions_takes_no_options_of_a_plan(
    arguments: list[str], flag: str
) -> None:
    """They would be ignored without a word."""
    result = CliRunner().invoke(prefetch, ["--quarter", "2023Q1", "--check-revisions", *arguments])
    assert result.exit_code == 2
    assert f"without {flag}" in result.output


def test_nobody_is_asked_when_stdin_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no stdin at all then."""
    monkeypatch.setattr("sys.stdin", None)
    assert ask_on_terminal() is None


class NamedAsRules(FakePreprocessor):
    """Passes for the built-in pipeline."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """That of `--nlp rules`."""
        with closing(get_preprocessor(Settings.load(nlp="rules"), workers=1)) as rules:
            return rules.fingerprint


@pytest.mark.parametrize(("n_bad", "code"), [(1, 0), (4, 1)])
def test_the_command_fails_when_most_firms_failed(tmp_path: Path, n_bad: int, code: int) -> None:
    """What is stored is told all the same; a bad firm or two are no failure."""
    source = FakeSource(firms(6), texts={firm: ["BAD"] for firm in firms(n_bad)})
    with prefetcher(open_store(f"file://{tmp_path}"), source, text=NamedAsRules()) as each:
        each.prefetch_quarter(QUARTER)
    arguments = ["--quarter", QUARTER, "--store", f"file://{tmp_path}", "--nlp", "rules"]
    result = CliRunner().invoke(prefetch, [*arguments, "--firms", "1005"])
    assert result.exit_code == code
    assert f"complete but for {n_bad} failed; {6 - n_bad} of 6 firms stored" in result.stdout


def test_firms_that_share_a_permno_are_named() -> None:
    """In the plan and in the summary; both stay."""

    class Shared(FakeSource):
        def _row(self, firm: str, quarter: Quarter) -> dict[str, Any]:
            row = super()._row(firm, quarter)
            return row | ({"permno": 77} if firm in ("1001", "1003") else {})

    with prefetcher(open_store("memory://"), Shared(firms(5))) as each:
        plan_text, plan_data = tell_plan(each.plan_quarter(QUARTER))
        text, data = tell_summary(each.prefetch_quarter(QUARTER))
    for said, known in ((plan_text, plan_data), (text, data)):
        assert "PERMNO 77 belongs to 2 firms, all kept: 1001, 1003" in said
        assert known["shared_permnos"] == {77: ("1001", "1003")}
        assert json.dumps(known, sort_keys=True)


def test_a_summary_reads_well() -> None:
    """Counts with reasons in words; long lists are cut, never the data."""
    texts = {firm: ["BAD"] for firm in firms(8)} | {"1009": [""]}
    source = FakeSource(firms(12), texts=texts, dropped={"5000": "no_link"})
    with prefetcher(open_store("memory://"), source) as each:
        plan_text, plan_data = tell_plan(each.plan_quarter(QUARTER))
        text, data = tell_summary(each.prefetch_quarter(QUARTER, [*firms(12), "5000"]))
    assert "13 calls of 13 firms; 12 firms kept" in plan_text
    assert "dropped 1 call: no_link" in plan_text
    assert len(plan_data["pending"]) == 12
    assert text.startswith("2023Q1: complete but for 8 failed; 3 of 12 firms stored (3 new)")
    assert "skipped 1: no_text (every component is empty)" in text
    assert "and 3 more" in text
    assert "not kept: firm 5000: no_link" in text
    assert len(data["failed"]) == 8


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("2023Q1..2023Q1", "stopped; 2023Q1 refreshed already: all is done"),
        (
            "2023Q1..2023Q3",
            "stopped; 2023Q1 refreshed already: go on with `--quarters 2023Q2..2023Q3 --refresh`",
        ),
    ],
)
def test_a_refresh_that_is_done_is_not_to_be_run_again(
    wanted: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C after its last write: the same command would read all of it once more."""
    store = open_store(f"file://{tmp_path}")
    with prefetcher(store, FakeSource(firms(3))) as before:
        before.prefetch_quarter(QUARTER)
    made = prefetcher(store, FakeSource(firms(3)))
    monkeypatch.setattr("ftm.wiring.get_prefetcher", lambda *_, **__: made)

    def stop(_summary: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ftm.cli.prefetch.tell_summary", stop)
    result = CliRunner().invoke(
        prefetch, ["--quarters", wanted, "--refresh", "--store", store.url], standalone_mode=False
    )
    assert result.exception is not None
    stopped = result.exception.__cause__  # click's own error is on top
    assert isinstance(stopped, Stopped)
    assert str(stopped) == told


def test_a_refresh_that_is_not_done_is_to_be_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C at the manifest: the checkpoint is there still, and the same command ends it."""
    store = open_store(f"file://{tmp_path}")
    with prefetcher(store, FakeSource(firms(3))) as before:
        before.prefetch_quarter(QUARTER)
    made = prefetcher(store, FakeSource(firms(3)))
    monkeypatch.setattr("ftm.wiring.get_prefetcher", lambda *_, **__: made)

    def stop(moment: str, key: str) -> None:
        if moment == "after put" and key.endswith("manifest.json"):
            raise KeyboardInterrupt

    store.hook = stop
    result = CliRunner().invoke(
        prefetch, ["--quarter", QUARTER, "--refresh", "--store", store.url], standalone_mode=False
    )
    assert result.exception is not None
    assert type(result.exception.__cause__) is KeyboardInterrupt
    store.hook = lambda _moment, _key: None
    again = prefetcher(store, FakeSource(firms(3)))
    assert again.prefetch_quarter(QUARTER, refresh=True).generation == 2
