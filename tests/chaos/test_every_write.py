"""Killed at every write as real processes and run again: nothing lost, none twice, same bytes."""

from __future__ import annotations

import random
import re
import signal

import pytest

from tests.chaos import harness
from tests.chaos.harness import Lab
from tests.chaos.kills import Blow, Scenario, boundaries, check_ending

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]

MORE = (
    *("a few firms", "the rest", "two quarters", "run both quarters", "label --remove", "clean"),
)
"""What is made of the writes of others: CI kills each once."""
NAMES = (
    *("prefetch", "refresh", "preprocess", "repair", "map", "run-quarter", "reduce", "name"),
    *("package", "name by a language model", "publish", "label", "link", "assign", *MORE),
)
SOFT = (signal.SIGTERM, signal.SIGINT)


def test_all_scenarios_are_run(scenarios: dict[str, Scenario]) -> None:
    """A new one needs no line here but in NAMES."""
    assert set(scenarios) == set(NAMES)


@pytest.mark.parametrize(
    "name",
    [
        # A refresh writes as a prefetch does, into another folder.
        pytest.param(name, marks=pytest.mark.exhaustive if name in ("refresh", *MORE) else ())
        for name in NAMES
    ],
)
def test_killed_at_any_write_and_rerun_it_ends_like_an_uninterrupted_run(
    name: str, lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """SIGKILL before every write of the process and after its last."""
    scenario = scenarios[name]
    moments = lab.writes(scenario)
    assert len(moments) >= 4
    for at in boundaries(scenario, moments):
        ending = lab.kill(scenario, Blow(at))
        assert ending.runs[0].code == -signal.SIGKILL, moments[at]
        assert scenario.threads or ending.debris == []
        check_ending(scenario, ending)


@pytest.mark.parametrize("name", NAMES)
def test_told_to_stop_it_says_how_to_go_on_and_a_rerun_does(
    name: str, lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """SIGTERM and SIGINT before and after writes: one line, no traceback, nobody left at work."""
    scenario, rng = scenarios[name], random.Random(name)
    moments = lab.writes(scenario)
    for number in SOFT if name not in MORE else (signal.SIGTERM,):
        ending = lab.kill(scenario, Blow(rng.randrange(len(moments) - 1), number))
        assert ending.hit
        check_ending(scenario, ending)


@pytest.mark.parametrize("number", [signal.SIGKILL, *SOFT])
def test_a_worker_that_dies_takes_nothing_with_it(
    number: signal.Signals, lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """The command that started it says so and stops; run again, it ends like an undisturbed one."""
    scenario = scenarios["run-quarter"]
    ending = lab.kill(scenario, Blow(random.Random(number).randrange(12), number, worker=True))
    assert ending.hit
    check_ending(scenario, ending)


@pytest.mark.parametrize(
    "name",
    [
        *("prefetch", "publish"),
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("map", "repair")),
    ],
)
def test_on_s3_a_lease_of_a_dead_process_keeps_nobody_waiting(
    name: str, s3_lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """A reduced set of moments: the rerun takes over at once, and leaves no lease behind."""
    scenario = scenarios[name]
    moments = s3_lab.writes(scenario)
    chosen = random.Random(name).sample(range(len(moments) - 1), 3)
    blows = [Blow(at, how) for at, how in zip(chosen, (signal.SIGKILL, *SOFT), strict=True)]
    for blow in (*blows, Blow(len(moments) - 2), Blow(len(moments) - 1)):
        ending = s3_lab.kill(scenario, blow)
        assert ending.hit, blow
        check_ending(scenario, ending)


def test_what_is_left_out_here_is_killed_in_another_scenario(
    lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """A write that a scenario calls proven is made under the same name by one that is killed."""
    killed: set[str] = set()
    left_out: dict[str, set[str]] = {}
    for name, scenario in scenarios.items():
        moments = lab.writes(scenario)
        chosen = {moments[at] for at in boundaries(scenario, moments)}
        killed |= {_write(text) for text in chosen}
        left_out[name] = {_write(text) for text in moments if "before" in text} - {
            _write(text) for text in chosen
        }
    assert {name: left - killed for name, left in left_out.items() if left - killed} == {}
    assert left_out["publish"]


def _write(moment: str) -> str:
    """What is done to which file, wherever it lies."""
    return f"{moment.split()[1]} {re.sub(r'_[0-9]+', '', moment.rpartition('/')[2])}"


def careless(what: str) -> Scenario:
    """The command that does what none may."""
    return Scenario(
        what, "", (what,), lambda store: store.put("start", b""), module="tests.chaos.careless"
    )


@pytest.mark.parametrize("what", ["pid", "counts"])
def test_another_result_is_seen(what: str, lab: Lab) -> None:
    """Bytes or keys that depend on having been killed are differences."""
    ending = lab.kill(careless(what), Blow(at=1))
    assert ending.differences
    with pytest.raises(AssertionError, match="differ"):
        check_ending(careless(what), ending)


@pytest.mark.parametrize("how", ["child", "fork"])
def test_a_process_that_stays_is_seen(how: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a killed command leaves at work on the store is an error."""
    monkeypatch.setattr(harness, "MAX_LEFT_S", 0.5)
    with pytest.raises(AssertionError, match="are left"):
        lab.kill(careless(how), Blow(at=1))


def test_a_rerun_that_fails_by_itself_is_seen(lab: Lab) -> None:
    """One that ends well only when it is tried once more is no resuming."""
    ending = lab.kill(careless("twice"), Blow(at=1))
    assert [run.code for run in ending.runs] == [-signal.SIGKILL, 1, 0]
    with pytest.raises(AssertionError, match="failed by itself"):
        check_ending(careless("twice"), ending)


def test_a_command_that_hangs_is_a_wrong_result(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and what it said is told."""
    monkeypatch.setattr(harness, "LIMIT_S", 0.5)
    with pytest.raises(AssertionError, match="it hung"):
        lab.kill(careless("hangs"), Blow(at=5))


def test_a_stop_without_a_word_is_seen(lab: Lab) -> None:
    """SIGTERM has to be answered."""
    ending = lab.kill(careless("plain"), Blow(at=0, signal=signal.SIGTERM))
    with pytest.raises(AssertionError):
        check_ending(careless("plain"), ending)
