"""A command of ours as a process, and what it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.s3_server import S3Server

CTRL_C = 130
"""Exit code of a command that was told so, by whoever has waited long enough."""


@dataclass(frozen=True)
class Command:
    """A process that ended: wall and processor seconds, and its largest resident set in GB."""

    seconds: float
    processor_s: float
    peak_gb: float


def run(*arguments: str, environment: Mapping[str, str], minutes: float | None = None) -> Command:
    """`python …` to its end, or interrupted after so many minutes, as Ctrl-C does."""
    with tempfile.TemporaryFile("w+") as told:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        stopped = False
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if minutes and not stopped and time.perf_counter() - started > 60 * minutes:
                os.kill(process.pid, signal.SIGINT)
                stopped = True
            time.sleep(0.2)
        interrupted = stopped or os.waitstatus_to_exitcode(status) == CTRL_C
        if status and not interrupted:
            told.seek(0)
            raise SystemExit(told.read())
        return Command(
            time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
        )


def calls_of(server: S3Server) -> str:
    """How often each method of S3 was asked for since the last time."""
    counts = Counter(
        request.method for request in server.traffic if not request.path.startswith("/v1/")
    )
    server.traffic.clear()
    return ", ".join(f"{n:,} {method}" for method, n in sorted(counts.items()))
