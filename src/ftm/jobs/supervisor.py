"""Runs one command and never lets it outlive the process that asked for it.

Started as a script, by path and without ftm, in a session of its own:
`python -I -S supervisor.py GRACE_S COMMAND …`. Its standard input is a pipe that only the starter
holds: when that closes, because the starter wants to stop the command or because it died, however
it died, the command's process group gets SIGTERM and, GRACE_S seconds later, SIGKILL. Whatever the
command left behind in its group is killed when it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code, 128 + n when signal n ended it."""
    grace_s, command = float(arguments[0]), arguments[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    child = subprocess.Popen(  # noqa: S603 - the command is the worker's own
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        restore_signals=True,
        preexec_fn=_listen_to_signals,
    )
    threading.Thread(target=_stop_when_alone, args=(child, grace_s), daemon=True).start()
    code = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _listen_to_signals() -> None:
    # Ignored signals stay ignored across exec, and the worker must hear SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _stop_when_alone(child: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(0, 1024):
        pass
    _signal_group(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
        return
    _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
