"""A synthetic quarter on a server of its own, and `ftm prefetch` run on it as a process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftm.core.quarter import Quarter
from ftm.demo.embedded_postgres import EmbeddedPostgres, embedded_postgres
from ftm.demo.synthetic import Recipe, load_quarters

QUARTER = "2023Q1"


@dataclass(frozen=True)
class Run:
    """One command: wall seconds, and the largest resident set of any of its processes."""

    seconds: float
    peak_mib: float


@contextmanager
def synthetic_wrds(n_firms: int, *, n_sentences: int = 400) -> Iterator[EmbeddedPostgres]:
    """A server with so many firms."""
    recipe = Recipe(n_firms, (Quarter.parse(QUARTER),), 1, (), n_sentences)
    with embedded_postgres() as server:
        with closing(server.connect()) as connection:
            load_quarters(connection, recipe)
        yield server


def prefetch(server: EmbeddedPostgres, *arguments: str) -> Run:
    """`ftm prefetch` into a fresh folder, everything included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ftm.cli.main", "prefetch", "--quarter", QUARTER]
        log = Path(folder) / "stderr"
        started = time.perf_counter()
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*command, "--store", f"file://{folder}/store", *arguments],
                env={**os.environ, **server.environment()},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(log.read_text())
        return Run(time.perf_counter() - started, _mib(usage))


def _mib(usage: resource.struct_rusage) -> float:
    """Of the process, or of its largest child it waited for: kibibytes on Linux."""
    return usage.ru_maxrss / 1024
