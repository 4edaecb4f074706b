"""Two commands on one quarter: a second one, one after a sleep, one that was followed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.harness import Lab, objects
from tests.chaos.kills import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]

CLOCKED = {
    "prefetch": ("ftm.prefetch.prefetcher",),
    "publish": ("ftm.orchestrate.quarter_orchestrator",),
    "run-quarter": ("ftm.orchestrate.quarter_orchestrator",),
    "label": ("ftm.storage.run_lease",),
}
HALFWAY = {"prefetch": "/_checkpoint.json", "publish": "/stages/reduce"}
"""A write after which each has done something and has much to do."""
ASLEEP = [
    ("prefetch", "after put", "/_checkpoint.json"),
    ("publish", "after put", "/stages/reduce"),
    ("publish", "before put", "sentiment-ready/"),
    ("run-quarter", "after put", "/jobs/map_1.json"),
    ("label", "before put", "sentiment-ready/"),
]
"""Where a command falls asleep, in the middle of such writes."""
LONG_S = 600.0
"""Longer than a lease lasts."""


def timed(scenario: Scenario) -> Scenario:
    """The scenario on a clock that can be put forward."""
    return replace(scenario, clocked=CLOCKED[scenario.name])


def halfway(lab: Lab, scenario: Scenario, moment: str = "after put", what: str = "") -> int:
    """The moment of one of such writes in the middle."""
    what = what or HALFWAY[scenario.name]
    found = [i for i, m in enumerate(lab.writes(scenario)) if m.startswith(moment) and what in m]
    return found[len(found) // 2]


@pytest.mark.parametrize("kind", ["lab", "s3_lab"])
@pytest.mark.parametrize("name", list(HALFWAY))
def test_a_second_command_is_refused_while_the_first_is_alive(
    name: str, kind: str, scenarios: dict[str, Scenario], request: pytest.FixtureRequest
) -> None:
    """It names the first and writes nothing; the first ends as if it had been alone."""
    lab: Lab = request.getfixturevalue(kind)
    scenario = timed(scenarios[name])
    with lab.asleep(scenario, at=halfway(lab, scenarios[name])) as first:
        before = objects(first.store)
        second = first.meanwhile(scenario)
        assert second.code == 1, second
        assert second.said.count("\n") == 1
        assert f"(process {first.process.pid})" in second.said
        assert objects(first.store) == before
        assert first.wake().code == 0
        assert first.differences(scenario) == []


@pytest.mark.parametrize(("name", "moment", "what"), ASLEEP)
def test_a_command_that_slept_past_its_lease_and_was_followed_writes_nothing_more(
    name: str, moment: str, what: str, s3_lab: Lab, scenarios: dict[str, Scenario]
) -> None:
    """Its follower says whom it follows and why; waking up, it stops and says that it lost it."""
    scenario = timed(scenarios[name])
    at = halfway(s3_lab, scenarios[name], moment, what)
    with s3_lab.asleep(scenario, at=at, slept_s=LONG_S) as first:
        follower = first.meanwhile(scenario, minute=11)
        assert follower.code == 0, follower
        assert "taking over from" in follower.said
        assert "its lease ran out" in follower.said
        after = objects(first.store)
        woken = first.wake()
        assert woken.code == 1, woken
        assert "lost its lease" in woken.said
        assert "run the same command again" in woken.said
        assert objects(first.store) == after
