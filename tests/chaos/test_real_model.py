"""A map worker with the default models, killed three times in a row at random."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.storage.object_store import ObjectStore
from tests.chaos.harness import Lab
from tests.chaos.kills import Blow, Scenario, check_ending
from tests.support.business_firms import QUARTER, make_firms
from tests.support.forge import Forge
from tests.support.runs import make_lines, worker_environment, write_run
from tests.support.stored_quarter import store_quarter

BATCH = "2023Q1_batch_0000"
MODEL = {
    "FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2",
    "FTM_CLUSTERING": "ward",
    "FTM_DEVICE": "cpu",
}


def planned(store: ObjectStore) -> None:
    """Five calls, a firm a part."""
    firms = make_firms(5, n_sentences=40)
    manifest = store_quarter(store, firms)
    lines = make_lines([f.firm_id for f in firms], batch_size=9, quarter=QUARTER)
    write_run(store, manifest, lines, part_firms=1, settings=Settings.load(device="cpu"))


@pytest.mark.slow
@pytest.mark.xdist_group("forge")
def test_the_real_models_killed_at_random_give_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL, SIGTERM and SIGKILL again, each at some write; the fourth process ends it."""
    layout = RunLayout(QUARTER, "test-run")
    scenario = Scenario(
        "real-map",
        "map",
        ("map",),
        planned,
        module="ftm.worker",
        environment=worker_environment("", layout, BATCH, model=MODEL),
    )
    rng = random.Random(5)
    with Forge("ftm.worker", "tests.support.failpoints", "sentence_transformers") as forge:
        lab = Lab(tmp_path, forge)
        # Each writes three or four moments a firm; none gets to the end before the third is dead.
        blows = [
            Blow(rng.randrange(1, 9), number)
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
        ]
        ending = lab.kill(scenario, *blows)
        assert [run.code for run in ending.runs] == [-9, 143, -9, 0]
        check_ending(scenario, ending)
