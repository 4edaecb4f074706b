"""The map stage: firms an hour of `ftm run-quarter`, where its time goes, and its memory.

    python -m benchmarks.map_stage [--firms 24] [--sentences 400]
        [--few 24] [--many 96] [--short 60] [--noop-few 400] [--noop-many 2000] [--noop-short 100]

Speed: the whole command on one worker with the default models, from the start of its process to
its end. Shares are of the worker's wall time, from its log; clustering runs beside embedding in a
process of its own, so its share is measured apart, on the same vectors, and the worker's log has
only the wait for it. Memory: the largest resident set of the worker process, with the real models
on few and on four times as many firms with short calls, and with models switched off on many more.
Fails where memory grows by more than 1.15 times.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.support.business_firms import QUARTER, make_firms
from tests.support.quarters import write_quarter
from tests.support.runs import (
    NOOP_MODEL,
    make_lines,
    noop_settings,
    worker_environment,
    write_run,
)
from tests.support.stored_quarter import store_quarter

from benchmarks._report import Line, report, seconds
from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.storage.object_store import open_store

AT_MOST = 1.15
REAL_MODEL = {"FTM_DEVICE": "cpu"}
_SHARE = re.compile(r"(\w+) (\d+)%")


@dataclass(frozen=True)
class Command:
    """One `ftm run-quarter`: wall seconds, the worker's own, and its shares by stage."""

    seconds: float
    worker_s: float
    shares: dict[str, float]


def run_quarter(n_firms: int, n_sentences: int) -> Command:
    """The whole command on a fresh folder, one worker."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"file://{folder}/store"
        apart(prepare_quarter, url, n_firms, n_sentences)
        command = [sys.executable, "-m", "ftm.cli.main", "run-quarter", "--quarter", str(QUARTER)]
        options = ["--store", url, "--backend", "local", "--workers", "1", "--device", "cpu"]
        size = ["--batch-size", str(n_firms), "--json"]
        started = time.perf_counter()
        done = subprocess.run([*command, *options, *size], capture_output=True, text=True)
        took = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        assert json.loads(done.stdout)["n_done"] == n_firms
        logs = Path(folder, "store", "logs").glob("*/*.log")
        line = [ln for log in logs for ln in log.read_text().splitlines() if " firms done" in ln][
            -1
        ]
    worker_s = float(re.findall(r"; ([\d.]+) s \(", line)[0])
    shares = {stage: int(percent) / 100 for stage, percent in _SHARE.findall(line)}
    return Command(took, worker_s, shares)


def prepare_quarter(url: str, n_firms: int, n_sentences: int) -> None:
    """A prefetched quarter with a plan."""
    write_quarter(open_store(url), n_firms, n_sentences=n_sentences)


def clustering_s(n_firms: int, n_sentences: int) -> float:
    """Seconds of clustering and keywords for so many firms, in one process; a few are timed."""
    from ftm.topics.bertopic_model import BERTopicModel
    from ftm.topics.embedder import SentenceEmbedder

    embedder, model = SentenceEmbedder(), BERTopicModel()
    firms = make_firms(3, n_sentences=n_sentences)
    given = [
        ([s.cleaned_text for s in f.sentences], embedder.encode([s.raw_text for s in f.sentences]))
        for f in firms
    ]
    model.fit_transform(*given[0])
    return sum(seconds(lambda one=one: model.fit_transform(*one)) for one in given) / 3 * n_firms  # type: ignore[misc]


def worker_peak_mib(n_firms: int, n_sentences: int, *, real: bool) -> float:
    """Peak resident memory of one worker process with so many generated firms."""
    settings = Settings.load(device="cpu") if real else noop_settings()
    with tempfile.TemporaryDirectory() as folder:
        url = f"file://{folder}/store"
        layout = apart(prepare_run, url, n_firms, n_sentences, settings)
        assert isinstance(layout, RunLayout)
        model = REAL_MODEL if real else NOOP_MODEL
        return peak_mib(worker_environment(url, layout, 0, model=model), Path(folder))


def prepare_run(url: str, n_firms: int, n_sentences: int, settings: Settings) -> RunLayout:
    """A prefetched quarter and a run of it with a single batch."""
    store = open_store(url)
    firms = make_firms(n_firms, n_sentences=n_sentences)
    manifest = store_quarter(store, firms)
    lines = make_lines([f.firm_id for f in firms], batch_size=n_firms, quarter=QUARTER)
    return write_run(store, manifest, lines, settings=settings)


def apart(work: object, *arguments: object) -> object:
    """Call in a process of its own: a child's peak memory starts at that of its parent."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)  # type: ignore[arg-type]


def peak_mib(environment: Mapping[str, str], folder: Path) -> float:
    """Run a worker to its end, with this process's environment below its own."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ftm.worker", "map"],
            env={**os.environ, **environment},
            stderr=stderr,
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("\n".join(log.read_text().splitlines()[-5:]))
    return usage.ru_maxrss / 1024


def memory_line(few: int, many: int, n_sentences: int, *, real: bool) -> Line:
    """Peak memory of many firms to that of few."""
    small, large = (worker_peak_mib(n, n_sentences, real=real) for n in (few, many))
    models = "real models" if real else "models off"
    return Line(
        f"worker's peak memory, {models}: {many} firms to {few}",
        large / small,
        ("<=", AT_MOST),
        f"{small:.0f} and {large:.0f} MiB, {n_sentences} sentences a firm",
    )


def speed_lines(n_firms: int, n_sentences: int) -> list[Line]:
    """Firms an hour, and where the time goes."""
    done = run_quarter(n_firms, n_sentences)
    # Apart, as it loads the models: this process must stay small, see `apart`.
    clustering = float(str(apart(clustering_s, n_firms, n_sentences))) / done.worker_s
    embedding = done.shares.get("embed", 0.0)
    waiting = done.shares.get("wait", 0.0)
    what = f"{n_firms} firms of {n_sentences} sentences in {done.seconds:.0f} s"
    start = f"start-up included; {done.seconds - done.worker_s:.1f} s outside of the worker's loop"
    return [
        Line("run-quarter, firms an hour", n_firms * 3600 / done.seconds, None, f"{what}, {start}",
             ",.0f"),
        Line("embedding, of the worker's wall time", embedding, None, "", ".0%"),
        Line("clustering, as a share of the same", clustering, None,
             f"beside it, in another process; the worker waits {waiting:.0%}", ".0%"),
        Line("rest: loading, reading, kinds, rows, writing", 1 - embedding - waiting, None, "",
             ".0%"),
    ]  # fmt: skip


def main() -> int:
    """Measure and print; 1 where memory grows too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    for option, default in (
        *(("firms", 24), ("sentences", 400), ("few", 24), ("many", 96), ("short", 60)),
        *(("noop-few", 400), ("noop-many", 2000), ("noop-short", 100)),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    given = parser.parse_args()
    lines = speed_lines(given.firms, given.sentences)
    lines.append(memory_line(given.few, given.many, given.short, real=True))
    lines.append(memory_line(given.noop_few, given.noop_many, given.noop_short, real=False))
    return report(lines)


if __name__ == "__main__":
    sys.exit(main())
