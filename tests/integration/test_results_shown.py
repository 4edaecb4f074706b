"""The Python that docs/results.md shows, run as it stands on two small quarters."""

from __future__ import annotations

from pathlib import Path

import ftm
from ftm.core.quarter import Quarter
from ftm.storage.object_store import open_store
from tests.integration.test_python_shown import run_script, shown
from tests.support.linked_quarters import link_quarters
from tests.support.published_quarter import assign_quarter, publish_quarter

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


def test_the_python_of_the_results_page_runs(tmp_path: Path) -> None:
    """Block after block, as in a notebook; only the store's name is put in."""
    url = f"file://{tmp_path / 'store'}"
    store = open_store(url)
    for quarter in (Q2, Q3):
        publish_quarter(store, quarter)
    link_quarters(store, [Q2, Q3])
    assign_quarter(store, Q3, themes_from=Q2)
    calls = ftm.load_panel_calls([Q2, Q3], store)
    returns = calls.assign(ret=0.01).rename(columns={"day0": "date"})
    returns[["permno", "date", "ret"]].to_csv(tmp_path / "returns.csv", index=False)

    blocks = shown("docs/results.md")
    assert len(blocks) == 4
    code = "\n".join(blocks)
    assert code.count("file:///data/ftm") == 1
    run_script(code.replace("file:///data/ftm", url), tmp_path)
