"""What is killed, how, and what has to be true of its end; no process is started here."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from ftm.storage.object_store import ObjectStore

STOPPED = (130, 143)
GOES_ON = ("run the same command again", "the next attempt", "refreshed already")


def as_it_is(_key: str, data: bytes) -> object:
    """Nothing of an object may differ."""
    return data


def nothing(*_: object) -> None:
    """No more to see to."""


@dataclass(frozen=True)
class Scenario:
    """A command on a store, and what has to be true of its end.

    Args:
        name: of the scenario.
        stage: for tables.
        arguments: of the command.
        prepare: writes what is there before; called once.
        module: whose main is the command.
        environment: beyond the store.
        forget: (key, data) → what has to be equal; None: not compared at all.
        check: looks at the store of a finished command, however it came to its end.
        begin: called before every first start, for servers that count.
        end: called after the last rerun, with the number of reruns.
        clocked: modules of ours that get a clock which stands still while a process runs; the
            result has then to be that of an uninterrupted run begun with the first process or with
            one of the others.
        workers: also start Python by themselves, and these can be killed, too.
        again: once more, after it has ended, it finds nothing to do.
        threads: several put at once, so that a kill at one's write may cut another's in half.
        proven: parts of the keys whose writes are those of another scenario, by the same code:
            CI kills there, `make chaos` here, too.
    """

    name: str
    stage: str
    arguments: tuple[str, ...]
    prepare: Callable[[ObjectStore], None]
    module: str = "ftm.cli.main"
    environment: Mapping[str, str] = field(default_factory=dict)
    forget: Callable[[str, bytes], object] = as_it_is
    check: Callable[[ObjectStore], None] = nothing
    begin: Callable[[], None] = nothing
    end: Callable[[int], None] = nothing
    clocked: tuple[str, ...] = ()
    workers: bool = False
    again: bool = True
    threads: bool = False
    proven: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blow:
    """How a process is killed.

    Args:
        at: moment of a write; -1: none.
        signal: which.
        after_s: seconds after its start, where `at` is -1.
        worker: not the command itself, but a worker that it starts.
    """

    at: int = -1
    signal: signal.Signals = signal.SIGKILL
    after_s: float | None = None
    worker: bool = False

    def __str__(self) -> str:
        whom = "worker " if self.worker else ""
        when = f"write moment {self.at}" if self.at >= 0 else f"{self.after_s or 0:.3f} s"
        return f"{whom}{self.signal.name} at {when}"


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    said: str
    lasted_s: float = 0.0


@dataclass(frozen=True)
class Ending:
    """What became of a command that was killed and run again.

    Args:
        blows: what befell its processes, in turn.
        runs: every process, the killed one first.
        differences: from an uninterrupted run.
        left_s: until the last process that it had started was gone.
        debris: files of a folder that are no objects.
    """

    blows: Sequence[Blow]
    runs: Sequence[Ended]
    differences: Sequence[str]
    left_s: float
    debris: Sequence[str] = ()

    @property
    def hit(self) -> bool:
        """Whether the process was killed before its end."""
        return self.runs[0].code != 0


def boundaries(scenario: Scenario, moments: Sequence[str]) -> list[int]:
    """Before every write, and after the last: after any other is before the one that follows."""
    found = [
        number
        for number, text in enumerate(moments)
        if text.startswith("before") and not any(part in text for part in scenario.proven)
    ]
    return [*found, len(moments) - 1] if scenario.again else found


def check_ending(scenario: Scenario, ending: Ending) -> None:
    """What has to be true of a kill, whatever the scenario.

    The result is that of an uninterrupted run; no run shows a traceback; whoever was told to stop
    and could not end says how to go on; no rerun fails by itself.
    """
    runs = [(run.code, run.said[-600:]) for run in ending.runs]
    where = f"{scenario.name}: {', then '.join(map(str, ending.blows))}: {runs}"
    assert len(ending.runs) <= len(ending.blows) + 1, f"a rerun failed by itself; {where}"
    assert not ending.differences, f"{list(ending.differences)} differ; {where}"
    for run, blow in zip_longest(ending.runs, ending.blows[: len(ending.runs)]):
        if blow is None or blow.worker:
            assert "Traceback" not in run.said, where
        elif not _was_deaf(run, blow):
            _check_answer(run, blow, where)


def _check_answer(run: Ended, blow: Blow, where: str) -> None:
    assert "Traceback" not in run.said, where
    assert run.code in (0, *(STOPPED if blow.signal is not signal.SIGKILL else (-9,))), where
    if blow.signal is not signal.SIGKILL and run.code:
        assert any(words in run.said for words in GOES_ON), where


def _was_deaf(run: Ended, blow: Blow) -> bool:
    """Hit at a time when Python starts or ends, and no code of ours could say a word."""
    if blow.after_s is None:
        return False
    had_begun = any(name in run.said for name in ("click/core.py", "in map_batch", "in do_or_drop"))
    return run.code in (0, -blow.signal) or ("Traceback" in run.said and not had_begun)
