"""Bad input to the commands on themes: one clear line, an exit code, nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftm.cli.main import main
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.storage.object_store import open_store
from ftm.storage.sealed import decode_sealed, encode_sealed
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all

Q1, Q2, Q3 = Quarter.parse_range("2022Q1..2022Q3")
FIRMS = ((0, 1), (0, 1), (1, 0))

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two published quarters, and a third whose embeddings are another model's."""
    found = tmp_path_factory.mktemp("themes")
    store = open_store(f"file://{found}")
    for quarter in (Q1, Q2, Q3):
        do_all(plant_run(store, FIRMS, quarter=quarter, run_id=f"run-{quarter}"))
    key = RunLayout(Q3, f"run-{Q3}").spec
    spec = decode_sealed(store.get(key))
    spec["model"]["embedding_model"] = "another-model"
    store.put(key, encode_sealed(spec))
    return found


@pytest.fixture
def refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run a command in this process, see that it fails and writes nothing; what it says."""

    def contents() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def run(*arguments: str, code: int = 1) -> str:
        before = contents()
        monkeypatch.setattr(sys, "argv", ["ftm", *arguments, "--store", f"file://{folder}"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        assert contents() == before
        assert said.out == ""
        # Click, which refuses an option by itself, adds how the command is used.
        assert said.err.startswith(("ftm: ", "Usage: "))
        assert said.err.startswith("Usage: ") or said.err.count("\n") == 1, said.err
        return said.err

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("themes", "--quarter", "2021Q4"), 1, "2021Q4 is not published"),
        (("theme", "0", "--quarter", "2021Q4"), 1, "2021Q4 is not published"),
        (("theme", "77", "--quarter", "2022Q1"), 2, "77"),
        (("theme", "no such word", "--quarter", "2022Q1"), 2, "no such word"),
        (("label", "--remove", "--quarter", "2021Q4"), 1, "2021Q4 is not published"),
        (("label", "no-such-file.csv", "--quarter", "2022Q1"), 2, "no-such-file.csv"),
        (("link", "--quarters", "2021Q4..2022Q1"), 1, "2021Q4 is not published"),
        (("link", "--quarters", "2022Q2..2022Q1"), 2, "2022Q2"),
        (("series",), 1, "ftm link"),
        (("assign", "--themes", "2021Q4", "--quarter", "2022Q1"), 1, "2021Q4 is not published"),
        (("assign", "--themes", "2022Q1", "--quarter", "2022Q4"), 1, "2022Q4 is not published"),
        (("assign", "--themes", "2022Q2", "--quarter", "2022Q1"), 2, "2022Q2 is not before"),
        (("assign", "--themes", "2022Q1", "--quarter", "2022Q1"), 2, "2022Q1 is not before"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    refused: Refused, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """The line names the quarter, theme or file at fault."""
    assert said in refused(*arguments, code=code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("link", "--quarters", "2022Q2..2022Q3"),
        ("assign", "--themes", "2022Q2", "--quarter", "2022Q3"),
    ],
)
def test_quarters_of_different_embedding_models_are_not_compared(
    refused: Refused, arguments: tuple[str, ...]
) -> None:
    """Both models and both quarters are named."""
    said = refused(*arguments, code=2)
    for name in ("2022Q2", "2022Q3", "'noop'", "'another-model'"):
        assert name in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("link", "--quarters", "2022Q1..2022Q2", "--threshold", "1.5"), "--threshold"),
        (("link", "--quarters", "2022Q1..2022Q2", "--threshold", "-0.1"), "--threshold"),
        (("link", "--quarters", "2022Q1..2022Q2", "--threshold", "0.8"), "--series-threshold"),
        (("link", "--quarters", "2022Q1..2022Q2", "--series-threshold", "0.6"), "--threshold"),
        (("link", "--quarters", "2022Q1..2022Q2", "--series-threshold", "2"), "--series-threshold"),
        (("label", "--quarter", "2022Q1"), "--remove"),
        (("themes", "--quarter", "2022Q9"), "2022Q9"),
    ],
)
def test_wrong_usage_exits_with_2(refused: Refused, arguments: tuple[str, ...], said: str) -> None:
    """A threshold outside of 0 to 1 or over the series', a missing file, no quarter."""
    assert said in refused(*arguments, code=2)
