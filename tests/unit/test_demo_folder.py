"""The folder of a demo."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.demo.folder import open_folder
from ftm.demo.synthetic import Recipe, make_recipe
from ftm.demo.wrds_tables import TABLES

RECIPE = Recipe(1, (Quarter(2022, 4), Quarter(2023, 1)), n_sentences=40)


def test_tables_and_truth_are_read_back_as_they_were_made(tmp_path: Path) -> None:
    """Parquet keeps every row; the truth of one quarter is that quarter's."""
    made, folder = make_recipe(RECIPE), open_folder(tmp_path / "demo", RECIPE)
    folder.write(made)
    for name in TABLES:
        assert pq.read_table(folder.wrds / f"{name}.parquet").equals(made.tables[name])
    truth = folder.read_truth(Quarter(2023, 1)).to_pylist()
    assert truth == [r for r in made.truth.to_pylist() if r["quarter"] == "2023Q1"]
    assert folder.environment() == {"FTM_STORE": f"file://{tmp_path}/demo/store"}


def test_the_same_demo_may_be_opened_again(tmp_path: Path) -> None:
    """The same recipe finds its folder; that is how a demo is resumed."""
    assert open_folder(tmp_path, RECIPE) == open_folder(tmp_path, RECIPE)


def test_another_demo_does_not_write_over_the_first(tmp_path: Path) -> None:
    """The message says what the folder holds."""
    open_folder(tmp_path, RECIPE)
    with pytest.raises(ConfigError, match=r"firms 1 \(not 2\)"):
        open_folder(tmp_path, Recipe(2, RECIPE.quarters, n_sentences=40))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Not a demo: refused, with nothing written; a file likewise."""
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="not a demo"):
        open_folder(tmp_path, RECIPE)
    with pytest.raises(ConfigError, match="not a demo"):
        open_folder(tmp_path / "thesis.tex", RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
