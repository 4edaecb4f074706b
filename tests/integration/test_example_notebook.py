"""The example notebook still runs, from the first cell to the last."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ftm.storage.object_store import open_store
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quarter.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_example_notebook_runs_on_any_quarter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs against a store that is not the demo's, and shows tables and a plot."""
    store = open_store(f"file://{tmp_path}/store")
    do_all(plant_run(store, [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]))
    for name, value in {"FTM_STORE": store.url, "HOME": str(tmp_path)}.items():
        monkeypatch.setitem(os.environ, name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=tmp_path)
    shown = {
        kind
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        for kind in out.get("data", {})
    }
    assert {"text/html", "image/png"} <= shown


def test_the_notebook_is_stored_with_its_output() -> None:
    """Whoever reads it on a web page sees tables and the plot, and no error."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not [
        out
        for out in outputs
        if out.output_type in ("error", "stream") and out.get("name") != "stdout"
    ]
