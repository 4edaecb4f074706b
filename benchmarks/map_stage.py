"""The map stage of one worker process: firms an hour, where its time goes, its peak memory.

    python -m benchmarks.map_stage [--firms 40] [--sentences 400] [--small 400] [--large 2000]

The speed is that of the default models; memory is measured with both models switched off, so that
what grows with the number of firms would show.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.support.prefetched import QUARTER, make_firms, write_prefetched
from tests.support.runs import (
    NOOP_MODEL,
    make_lines,
    noop_settings,
    worker_environment,
    write_run,
)

from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.storage.object_store import open_store


@dataclass(frozen=True)
class Measured:
    """One worker process from start to end.

    Args:
        wall_s: seconds, start-up and model load included.
        peak_mib: peak resident memory of the process alone.
        summary: the last line of its log.
    """

    wall_s: float
    peak_mib: float
    summary: str


def measure(
    n_firms: int, *, n_sentences: int, settings: Settings, model: Mapping[str, str]
) -> Measured:
    """Prefetch so many generated firms into a folder and let one worker do them all."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak memory starts at that of the process it left.
        with get_context("spawn").Pool(1) as pool:
            layout = pool.apply(prepare, (folder, n_firms, n_sentences, settings))
        environment = worker_environment(f"file://{folder}/store", layout, 0, model=model)
        return run_worker(environment, Path(folder))


def prepare(folder: str, n_firms: int, n_sentences: int, settings: Settings) -> RunLayout:
    """A prefetched quarter and a run of it with a single batch."""
    store = open_store(f"file://{folder}/store")
    firms = make_firms(n_firms, n_sentences=n_sentences)
    manifest = write_prefetched(store, firms)
    lines = make_lines([f.firm_id for f in firms], batch_size=n_firms, quarter=QUARTER)
    return write_run(store, manifest, lines, settings=settings)


def run_worker(environment: Mapping[str, str], folder: Path) -> Measured:
    """Run a worker to its end, with this process's environment below its own."""
    start = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ftm.worker", "map"],
            env={**os.environ, **environment},
            stderr=log,
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    lines = (folder / "log").read_text().splitlines()
    if status:
        raise SystemExit("\n".join(lines[-5:]))
    return Measured(wall_s, usage.ru_maxrss / 1024, lines[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=40)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--small", type=int, default=400)
    parser.add_argument("--large", type=int, default=2000)
    given = parser.parse_args()
    fast = measure(
        given.firms,
        n_sentences=given.sentences,
        settings=Settings.load(device="cpu"),
        model={"FTM_DEVICE": "cpu"},
    )
    rate = given.firms * 3600 / fast.wall_s
    print(f"{given.firms} firms of {given.sentences} sentences in {fast.wall_s:.0f} s")
    print(f"{rate:.0f} firms an hour in one process, start-up included; {fast.peak_mib:.0f} MiB")
    print(fast.summary)
    small, large = (
        measure(n, n_sentences=given.sentences, settings=noop_settings(), model=NOOP_MODEL)
        for n in (given.small, given.large)
    )
    print(f"peak memory, models off: {given.small} firms {small.peak_mib:.0f} MiB")
    print(f"peak memory, models off: {given.large} firms {large.peak_mib:.0f} MiB")
    print(f"ratio {large.peak_mib / small.peak_mib:.2f} (at most 1.15)")


if __name__ == "__main__":
    main()
