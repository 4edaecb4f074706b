"""Kills a real process of ours at a chosen write, from outside: src/ftm knows nothing of it.

    environment = Failpoint(at=7, signal=signal.SIGKILL).variables("ftm.cli.main")
    forge().start("tests.support.failpoints", "prefetch", …, environment=environment)

`main` counts the moments before and after every write of every store this process opens, and at
the n-th sends the process its own signal. A process that other processes of ours start by
themselves, such as a local map worker, gets the failpoint by a `sitecustomize` (`put_in_path`).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from ftm.storage import conditional_lease
from ftm.storage.object_store import ObjectStore
from tests.support.lease_clock import lease_age

_VARIABLE = "CHAOS_FAILPOINT"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Failpoint:
    """What befalls a process.

    Args:
        at: moment of a write at which it gets the signal; -1: never.
        signal: which.
        log: file that gets a line `moment key` for every moment.
        once: file that whoever gets the signal removes first: one process of several does.
        clock: what the modules below take for the time, and so does the store for leases.
        clocked: modules of ours whose `datetime.now` is the clock.
        jump_s: by so much the clock is later after the signal, as on a machine that slept.
    """

    at: int = -1
    signal: int = signal.SIGKILL
    log: str = ""
    once: str = ""
    clock: str = ""
    clocked: tuple[str, ...] = ()
    jump_s: float = 0.0

    def variables(self, module: str) -> dict[str, str]:
        """What makes `tests.support.failpoints` run a module under this failpoint."""
        return {_VARIABLE: json.dumps({"module": module, **asdict(self)})}

    def put_in_path(self, folder: Path) -> dict[str, str]:
        """A folder whose `sitecustomize` installs it; returns the variables that lead there."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(
            "from tests.support.failpoints import Failpoint\n"
            f"Failpoint(**{asdict(self) | {'signal': int(self.signal)}!r}).install()\n"
        )
        return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])}

    def install(self) -> None:
        """Count from here on."""
        counter = _Counter(self)
        for name in self.clocked:
            _set_clock(name, counter.time)
        if self.clocked:
            conditional_lease.age_in_store = lease_age(counter.time)
        _hook_every_store(counter)


class _Counter:
    """Moments of writes of the whole process, whatever thread they happen in."""

    def __init__(self, failpoint: Failpoint) -> None:
        self._failpoint = failpoint
        self._lock = threading.Lock()
        self._n = 0
        self._slept = timedelta()

    def __call__(self, moment: str, key: str) -> None:
        with self._lock:
            number, self._n = self._n, self._n + 1
            if self._failpoint.log:
                with Path(self._failpoint.log).open("a") as log:
                    log.write(f"{moment} {key}\n")
            if number != self._failpoint.at or not self._may():
                return
        self._slept = timedelta(seconds=self._failpoint.jump_s)
        os.kill(os.getpid(), self._failpoint.signal)

    def time(self) -> datetime:
        """The time now."""
        return datetime.fromisoformat(self._failpoint.clock) + self._slept

    def _may(self) -> bool:
        if not self._failpoint.once:
            return True
        try:
            Path(self._failpoint.once).unlink()
        except FileNotFoundError:
            return False
        return True


def _hook_every_store(counter: _Counter) -> None:
    make = ObjectStore.__init__

    def make_hooked(self: ObjectStore, *args: object, **given: object) -> None:
        make(self, *args, **given)  # type: ignore[arg-type]
        self.hook = counter

    ObjectStore.__init__ = make_hooked  # type: ignore[method-assign,assignment]


def _set_clock(module: str, time: Callable[[], datetime]) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return time().astimezone(tz)

    importlib.import_module(module).datetime = Stopped  # type: ignore[attr-defined]


def main() -> object:
    """Be `python -m module` under the failpoint of the environment."""
    order: Mapping[str, object] = json.loads(os.environ.pop(_VARIABLE))
    given = {name: value for name, value in order.items() if name != "module"}
    module = importlib.import_module(str(order["module"]))
    Failpoint(**given).install()  # type: ignore[arg-type]
    sys.argv[0] = str(module.__file__)
    sys.modules["__main__"] = module
    return module.main()
