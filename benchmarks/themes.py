"""Themes of a whole quarter: seconds and memory of reduce, name and package, each a process.

    python -m benchmarks.themes [--firms 5000]

15 topics a firm, 400 sentences a firm. Names are keywords. Writing the run is not timed. Fails if
the three stages together take more than five minutes, or one of them more than 4 GB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.business_firms import QUARTER

from benchmarks._report import Line, report
from benchmarks._theme_run import N_TOPICS, write_theme_run
from ftm.core.settings import Settings
from ftm.storage.object_store import open_store
from ftm.storage.run_reader import read_run
from ftm.storage.stage_records import read_stage

STAGES = ("reduce", "name", "package")
AT_MOST_S, AT_MOST_GB = 300.0, 4.0


@dataclass(frozen=True)
class Usage:
    """Of a process: wall and processor seconds, largest resident set."""

    seconds: float
    cpu_s: float
    peak_gb: float


def run_stage(url: str, stage: str) -> None:
    """Do a stage, in this process."""
    from ftm.reduce.name_stage import name_run
    from ftm.reduce.package_stage import package_run, publish_package
    from ftm.reduce.reduce_stage import reduce_run
    from ftm.wiring.stages import get_name_options, get_reduce_options

    store, settings = open_store(url), Settings.load()
    run = read_run(store, QUARTER, "bench")
    if stage == "reduce":
        reduce_run(store, run, get_reduce_options(settings))
    elif stage == "name":
        name_run(store, run, get_name_options(settings, store, report=lambda _done, _n: None))
    else:
        publish_package(store, run, package_run(store, run))


def measure(url: str, stage: str) -> Usage:
    """Do a stage in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.themes", "--store", url, "--stage", stage]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"stage {stage} failed")
    took = time.perf_counter() - started
    return Usage(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2)


def main() -> int:
    """Measure and print; 1 if it takes too long, or too much memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--firms", type=int, default=5000)
    parser.add_argument("--store", help="a folder's URL: keep the run there, or use the one there")
    parser.add_argument("--stage", choices=STAGES, help="only this, in this process")
    given = parser.parse_args()
    if given.stage:
        run_stage(given.store, given.stage)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        url = given.store or f"file://{folder}/store"
        if not Path(url.removeprefix("file://"), "runs").exists():
            write_theme_run(open_store(url), given.firms)
        return report(_lines(url, given.firms))


def _lines(url: str, n_firms: int) -> list[Line]:
    taken = {stage: measure(url, stage) for stage in STAGES}
    store = open_store(url)
    layout = read_run(store, QUARTER, "bench").layout
    facts = {stage: read_stage(store, layout, stage).facts for stage in STAGES}  # type: ignore[union-attr]
    total = sum(usage.seconds for usage in taken.values())
    peak = max(usage.peak_gb for usage in taken.values())
    cpu = sum(usage.cpu_s for usage in taken.values())
    said = {
        "reduce": f"{facts['reduce']['n_themes']} themes",
        "name": "by keywords",
        "package": f"{facts['package']['themed_share']:.0%} of sentences in themes",
    }
    what = f"{n_firms * N_TOPICS:,} topics of {n_firms:,} firms"
    return [
        Line(f"{what}: seconds", total, ("<=", AT_MOST_S), f"{cpu:.0f} s of processor", ".0f"),
        Line("largest process, GB", peak, ("<=", AT_MOST_GB), "", ".1f"),
        *(
            Line(
                f"{stage}: seconds",
                usage.seconds,
                None,
                f"{usage.cpu_s:.0f} s of processor; {usage.peak_gb:.1f} GB; {said[stage]}",
                ".0f",
            )
            for stage, usage in taken.items()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
