"""Runs commands as real processes, kills them at any write or moment, reruns them, compares.

    lab = Lab(folder, forge)
    lab.writes(scenario)                    # the moments at which it can be killed
    lab.kill(scenario, Blow(at=7))          # killed there and run again until it is done: an Ending
    ending.differences                      # from an uninterrupted run: none

What may differ is named by each scenario (`forget`); the records of who is at work (`.locks/`) and
the logs of jobs are not results.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from ftm.storage.object_store import ObjectStore, open_store
from tests.chaos.kills import Blow, Ended, Ending, Scenario
from tests.support.cli import ROOT, ftm_environment
from tests.support.failpoints import Failpoint
from tests.support.forge import Forge, Forged
from tests.support.s3_server import Bucket

Objects = Mapping[str, bytes]

MAX_RERUNS = 4
LIMIT_S = 120.0
MAX_LEFT_S = 60.0
"""Until the workers of a killed command have ended; they save what is done."""
FIRST_START = datetime(2024, 3, 1, 12, tzinfo=UTC)
BETWEEN_STARTS = timedelta(minutes=1)
"""Shorter than a lease lasts, so that a rerun has to see that the holder is dead."""
NO_RESULTS = (".locks/", "logs/")


class Lab:
    """Where scenarios run.

    Args:
        folder: for stores and output.
        forge: of processes; preloaded with what the scenarios import.
        new_bucket: makes an S3 store for each run; None: they are folders.
    """

    def __init__(
        self, folder: Path, forge: Forge, *, new_bucket: Callable[[], Bucket] | None = None
    ) -> None:
        self._folder = folder
        self._forge = forge
        self._new_bucket = new_bucket
        self._numbers = count()
        self._buckets: dict[str, Bucket] = {}
        self._starts: dict[str, Objects] = {}
        self._wholes: dict[tuple[str, int], tuple[Objects, list[str]]] = {}

    def writes(self, scenario: Scenario) -> list[str]:
        """`before put key`, `after put key`, … of an uninterrupted run, in order."""
        return self._whole(scenario, 0)[1]

    def kill(self, scenario: Scenario, *blows: Blow) -> Ending:
        """Begin it anew, deal a blow to each process in turn, and let the last one end."""
        store, place = self._begin(scenario)
        scenario.begin()
        runs: list[Ended] = []
        left_s = 0.0
        differences: list[str] = []
        for blow in (*blows, *[None] * MAX_RERUNS):
            is_done = bool(runs) and runs[-1].code == 0
            if is_done and (blow is None or not scenario.again):
                break
            runs.append(self._run(scenario, store, place, len(runs), blow))
            left_s = max(left_s, _wait_for_none(store.url, self._forge.session))
            found = objects(store)
            starts = range(len(runs))
            differences = min((self._compare(scenario, found, n) for n in starts), key=len)
            if not scenario.again and not differences:
                break  # all was done: run again, it would be another
        assert runs[-1].code == 0 or not differences, (scenario.name, blows, runs)
        scenario.check(store)
        scenario.end(len(runs) - 1)
        ending = Ending(blows, runs, differences, left_s, debris(store))
        if not differences and store.folder is not None:
            shutil.rmtree(place)
        return ending

    def _compare(self, scenario: Scenario, found: Objects, start: int) -> list[str]:
        """Keys that are not as an uninterrupted run begun at a time leaves them."""
        if start and not scenario.clocked:
            return self._compare(scenario, found, 0)
        whole = self._whole(scenario, start)[0]
        seen = {key: scenario.forget(key, data) for key, data in found.items()}
        wanted = {key: scenario.forget(key, data) for key, data in whole.items()}
        seen = {key: value for key, value in seen.items() if value is not None}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        return sorted(k for k in seen.keys() | wanted.keys() if seen.get(k) != wanted.get(k))

    def _whole(self, scenario: Scenario, start: int) -> tuple[Objects, list[str]]:
        key = (scenario.name, start if scenario.clocked else 0)
        if key not in self._wholes:
            store, place = self._begin(scenario)
            scenario.begin()
            log = place / "moments"
            ended = self._run(scenario, store, place, start, None, log=str(log))
            assert ended.code == 0, ended
            scenario.check(store)
            scenario.end(0)
            moments = log.read_text().splitlines() if log.exists() else []
            self._wholes[key] = (objects(store), moments)
        return self._wholes[key]

    def _begin(self, scenario: Scenario) -> tuple[ObjectStore, Path]:
        """A store of its own with what the scenario begins with, and a folder for output."""
        place = self._folder / f"{scenario.name}-{next(self._numbers)}"
        place.mkdir(parents=True)
        if scenario.name not in self._starts:
            memory = open_store("memory://")
            scenario.prepare(memory)
            self._starts[scenario.name] = objects(memory)
        start = self._starts[scenario.name]
        if self._new_bucket is not None:
            bucket = self._new_bucket()
            self._buckets[bucket.url] = bucket
            store = open_store(bucket.url, endpoint_url=bucket.server.url)
            for key, data in start.items():
                store.put(key, data)
            return store, place
        for key, data in start.items():
            file = place / "store" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return open_store(f"file://{place / 'store'}"), place

    def _run(
        self,
        scenario: Scenario,
        store: ObjectStore,
        place: Path,
        number: int,
        blow: Blow | None,
        *,
        log: str = "",
    ) -> Ended:
        """One process to its end; the n-th of its store."""
        point = Failpoint(
            clock=(FIRST_START + number * BETWEEN_STARTS).isoformat() if scenario.clocked else "",
            clocked=scenario.clocked,
            log=log,
        )
        environment = self._environment(scenario, store)
        if blow is not None and blow.worker:
            once = place / "once"
            once.touch()
            worker = Failpoint(at=blow.at, signal=blow.signal, once=str(once))
            environment |= worker.put_in_path(place / "path")
        elif blow is not None:
            point = replace(point, at=blow.at, signal=blow.signal)
        output = place / f"said-{number}"
        began_s = time.monotonic()
        process = self._start(scenario, environment, point, output)
        _strike_later(process, blow)
        code = _end_of(process, output)
        return Ended(code, output.read_text(), time.monotonic() - began_s)

    def _environment(self, scenario: Scenario, store: ObjectStore) -> dict[str, str]:
        environment = ftm_environment(**{**scenario.environment, "FTM_STORE": store.url})
        if store.url in self._buckets:
            environment |= self._buckets[store.url].environment
        return environment

    def _start(
        self, scenario: Scenario, environment: Mapping[str, str], point: Failpoint, output: Path
    ) -> Forged:
        with output.open("w") as said:
            return self._forge.start(
                "tests.support.failpoints",
                *scenario.arguments,
                environment={**environment, **point.variables(scenario.module)},
                cwd=ROOT,
                stdout=said,
                stderr=said,
            )

    @contextmanager
    def asleep(self, scenario: Scenario, *, at: int, slept_s: float = 0.0) -> Iterator[Sleeper]:
        """A command that stands still at a moment of a write, for another one to come meanwhile.

        Args:
            scenario: the command, its store begun anew.
            at: the moment.
            slept_s: how much later it is for its clock when it wakes up.
        """
        store, place = self._begin(scenario)
        point = Failpoint(
            at=at,
            signal=signal.SIGSTOP,
            clock=FIRST_START.isoformat() if scenario.clocked else "",
            clocked=scenario.clocked,
            jump_s=slept_s,
        )
        environment = self._environment(scenario, store)
        process = self._start(scenario, environment, point, place / "said-0")
        try:
            _wait_until_stopped(process)
            yield Sleeper(self, store, place, process)
        finally:
            process.kill()


@dataclass(frozen=True)
class Sleeper:
    """A command that stands still, and its store."""

    lab: Lab
    store: ObjectStore
    place: Path
    process: Forged

    def meanwhile(self, scenario: Scenario, *, minute: int = 1) -> Ended:
        """Run a command to its end, begun so many minutes after the sleeper."""
        return self.lab._run(scenario, self.store, self.place, minute, None)

    def wake(self) -> Ended:
        """Let it go on to its end."""
        self.process.send_signal(signal.SIGCONT)
        output = self.place / "said-0"
        return Ended(_end_of(self.process, output), output.read_text())

    def differences(self, scenario: Scenario) -> list[str]:
        """Keys that are not as an uninterrupted run leaves them."""
        return self.lab._compare(scenario, objects(self.store), 0)


def _end_of(process: Forged, output: Path) -> int:
    """The exit code; a process that hangs is a wrong result like another, and does not stay."""
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    raise AssertionError(f"it hung for {LIMIT_S:.0f} s: {output.read_text()[-600:]}")


def _wait_until_stopped(process: Forged) -> None:
    end_s = time.monotonic() + LIMIT_S
    stat = Path(f"/proc/{process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, "it ended before that moment"
        assert time.monotonic() < end_s, "it never came to that moment"
        time.sleep(0.02)


def _strike_later(process: Forged, blow: Blow | None) -> None:
    if blow is None or blow.at >= 0 or blow.after_s is None:
        return
    time.sleep(blow.after_s)
    with suppress(ProcessLookupError):
        process.send_signal(blow.signal)


def objects(store: ObjectStore) -> dict[str, bytes]:
    """Everything in a store but what is no result."""
    return {
        info.key: store.get(info.key)
        for info in store.list()
        if not info.key.startswith(NO_RESULTS)
    }


def debris(store: ObjectStore) -> list[str]:
    """Files of a folder that the store does not take for objects: halves of a put."""
    if store.folder is None:
        return []
    listed = {info.key for info in store.list()}
    files = (f.relative_to(store.folder).as_posix() for f in store.folder.rglob("*") if f.is_file())
    return sorted(file for file in files if file not in listed and not file.startswith(NO_RESULTS))


def processes_of(url: str, session: int) -> Iterator[int]:
    """Processes whose command or environment names a store, and all of the forge's session.

    What was forked and did not begin a program has the environment of the forge's server.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        is_forged = int(its_session) == session and state != "Z"
        if (url.encode() in text or is_forged) and int(folder.name) not in (os.getpid(), session):
            yield int(folder.name)


def _wait_for_none(url: str, session: int) -> float:
    """Wait until no process works on a store; seconds that took."""
    began_s = time.monotonic()
    while left := list(processes_of(url, session)):
        assert time.monotonic() - began_s < MAX_LEFT_S, f"processes {left} are left of {url}"
        time.sleep(0.02)
    return time.monotonic() - began_s
