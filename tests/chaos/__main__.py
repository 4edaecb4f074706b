"""Kills every stage at random: `make chaos N=200`, or `python -m tests.chaos -n 200`.

    python -m tests.chaos -n 25 --seed 7 --only prefetch,map
    python -m tests.chaos --every                  every write moment with every signal instead

Exits 1 if one result is not that of an uninterrupted run, or a process was left behind.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.harness import Lab
from tests.chaos.kills import Blow, Ending, Scenario, check_ending
from tests.chaos.scenarios import PRELOAD, all_scenarios
from tests.chaos.services import served
from tests.support.forge import Forge
from tests.support.postgres import running_postgres

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MAX_BLOWS = 3
"""Processes killed in a row before one is let end."""


@dataclass
class Row:
    """What came of a scenario."""

    stage: str
    name: str
    n_kills: int = 0
    n_late: int = 0
    n_reruns: int = 0
    n_debris: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, ending: Ending) -> None:
        """Count a command that was killed and run again."""
        self.n_kills += sum(run.code != 0 for run in ending.runs)
        self.n_late += not ending.hit
        self.n_reruns += len(ending.runs) - 1
        self.n_debris += len(ending.debris)


def random_blows(
    rng: random.Random, scenario: Scenario, n_moments: int, lasts_s: float
) -> tuple[Blow, ...]:
    """One to three kills in a row, each at a random write or at a random time."""
    return tuple(
        _random_blow(rng, scenario, n_moments, lasts_s)
        for _ in range(rng.choice([1, 1, 1, 2, MAX_BLOWS]))
    )


def _random_blow(rng: random.Random, scenario: Scenario, n_moments: int, lasts_s: float) -> Blow:
    number = rng.choice(SIGNALS)
    if scenario.workers and rng.random() < 0.5:
        return Blow(rng.randrange(20), number, worker=True)
    if rng.random() < 0.5:
        return Blow(rng.randrange(n_moments - (not scenario.again)), number)
    return Blow(signal=number, after_s=rng.uniform(0, lasts_s))


def every_blow(lab: Lab, scenario: Scenario) -> Iterator[tuple[Blow, ...]]:
    """Each signal at each moment of a write."""
    for number in SIGNALS:
        for at in range(len(lab.writes(scenario)) - (not scenario.again)):
            yield (Blow(at, number),)


def _duration_s(lab: Lab, scenario: Scenario) -> float:
    """Of an uninterrupted run, its process being warm."""
    lab.writes(scenario)
    return lab.kill(scenario, Blow()).runs[0].lasted_s


def work_off(lab: Lab, scenario: Scenario, *, n: int, every: bool, rng: random.Random) -> Row:
    """Kill a scenario as often as asked; tells every tenth."""
    row, began_s = Row(scenario.stage, scenario.name), time.monotonic()
    moments = len(lab.writes(scenario))
    if every:
        chosen = list(every_blow(lab, scenario))
    else:
        lasts_s = _duration_s(lab, scenario)
        chosen = [random_blows(rng, scenario, moments, lasts_s) for _ in range(n)]
    for number, blows in enumerate(chosen, 1):
        try:
            ending = lab.kill(scenario, *blows)
            row.add(ending)
            check_ending(scenario, ending)
        except AssertionError as error:
            row.wrong.append(f"{' then '.join(map(str, blows))}: {error}")
            print(f"  WRONG {scenario.name}: {row.wrong[-1][:1500]}", flush=True)
        if number % 10 == 0 or number == len(chosen):
            took_s = time.monotonic() - began_s
            print(f"{scenario.name}: {number} of {len(chosen)}, {took_s:.0f} s", flush=True)
    row.seconds = time.monotonic() - began_s
    return row


def print_table(rows: list[Row]) -> None:
    """A line a scenario."""
    head = ("stage", "what", "kills", "reruns", "ended before", "halves left", "wrong", "seconds")
    print(" | ".join(head))
    for row in rows:
        counts = (row.n_kills, row.n_reruns, row.n_late, row.n_debris, len(row.wrong))
        print(" | ".join([row.stage, row.name, *map(str, counts), f"{row.seconds:.0f}"]))


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("-n", type=int, default=200, help="commands killed per scenario")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="scenarios, with commas")
    parser.add_argument("--every", action="store_true", help="every write moment, every signal")
    given = parser.parse_args()
    print(f"SEED={given.seed} N={given.n}", flush=True)
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="ftm-chaos-") as folder,
        running_postgres() as postgres,
        served(postgres, Path(folder) / "files") as services,
        Forge(*PRELOAD) as forge,
    ):
        lab, scenarios = Lab(Path(folder), forge), all_scenarios(services)
        for name in given.only.split(",") if given.only else scenarios:
            rng = random.Random(f"{given.seed} {name}")
            rows.append(work_off(lab, scenarios[name], n=given.n, every=given.every, rng=rng))
    print_table(rows)
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
