"""Processes of ours without the seconds in which each imports its libraries.

    with Forge("ftm.worker", "torch") as forge:
        process = forge.start("ftm.worker", "map", environment=…, cwd=folder)

A server imports once and forks. What it forks is a process of its own, to be signalled and killed,
that runs the module's `main()` as `python -m module` does, with an environment, folder, files and
arguments of its own. What it starts as `python -m ftm…`, a worker say, is forged too: its
`sys.executable` is a launcher. Three things are not as in a fresh process: what was imported, by
how many threads it computes (one), and the seed of Python's hashes, which all share. So a test of
any starts a process by itself, and one that compares bytes across processes starts one of them by
itself. Large libraries, spaCy and torch, the server imports when the first process needs them.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from ftm.cli.main import COMMANDS
from tests.support import forge_client, forge_server

_LAUNCHER = """#!/bin/sh
case "$1 $2" in
"-m ftm."*) exec {python} -I -S {client} {socket} "$@" ;;
*) exec {python} "$@" ;;
esac
"""


class Forged:
    """A forked process, with what is used of `subprocess.Popen`."""

    def __init__(self, client: socket.socket, what: str) -> None:
        self._what = what
        answer = client.recv(32).decode()
        if not answer.startswith("pid "):
            raise RuntimeError(f"{what} did not begin: {answer or 'the forge ended'}")
        self.pid = int(answer[4:])
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._told = client.detach()
        weakref.finalize(self, os.close, self._told)

    def poll(self) -> int | None:
        """The exit code if it ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, minus the signal's number if one ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._what, timeout or 0)
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(os.read(self._told, 32)[4:])
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """To the process, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM, if it runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.send_signal(signal.SIGKILL)
        self.wait()


class Started(Forged):
    """A forked process that talks through pipes, with what is used of `subprocess.Popen`."""

    stdout: IO[str]
    stderr: IO[str]

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """What it still says on both, once it ended."""
        with ThreadPoolExecutor(2) as readers, self.stdout, self.stderr:
            told = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return told[0].result(), told[1].result()


_Forged = TypeVar("_Forged", bound=Forged)


class Forge:
    """The server; a context manager.

    Args:
        preload: modules to import before the first fork. None of them may start a thread or talk
            to a server when imported.
    """

    def __init__(self, *preload: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ftm-forge-"))
        self._path = str(self._folder / "socket")
        launcher = self._folder / "python"
        words = {"python": sys.executable, "client": forge_client.__file__, "socket": self._path}
        launcher.write_text(_LAUNCHER.format(**{k: shlex.quote(v) for k, v in words.items()}))
        launcher.chmod(0o700)
        self._server = subprocess.Popen(
            [sys.executable, forge_server.__file__, self._path, str(launcher), *preload],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def session(self) -> int:
        """Of the server and of all that it forks but what was told to have its own."""
        return self._server.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server; what it forked goes on."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        shutil.rmtree(self._folder)

    def start(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        cwd: Path,
        stdout: IO[str] | int,
        stderr: IO[str] | int,
        new_session: bool = False,
        kind: type[_Forged] = Forged,  # type: ignore[assignment]
    ) -> _Forged:
        """Fork a process that runs `module.main()`, with nothing on its standard input."""
        order = {
            "module": module,
            "arguments": arguments,
            "environment": dict(environment),
            "cwd": str(cwd),
            "new_session": new_session,
            "bound": False,
        }
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connect(client)
        with Path(os.devnull).open() as nothing:
            files = [f if isinstance(f, int) else f.fileno() for f in (nothing, stdout, stderr)]
            socket.send_fds(client, [json.dumps(order).encode()], files)
            return kind(client, f"{module} {' '.join(arguments)}")

    def start_piped(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        cwd: Path,
        new_session: bool = False,
    ) -> Started:
        """The same, and read what it says."""
        (out, out_of_it), (err, err_of_it) = os.pipe(), os.pipe()
        started = self.start(
            *(module, *arguments),
            environment=environment,
            cwd=cwd,
            stdout=out_of_it,
            stderr=err_of_it,
            new_session=new_session,
            kind=Started,
        )
        for theirs in (out_of_it, err_of_it):
            os.close(theirs)
        started.stdout, started.stderr = (os.fdopen(ours, errors="replace") for ours in (out, err))
        return started

    def _connect(self, client: socket.socket) -> None:
        """The server listens within a second, and answers when it has imported."""
        while True:
            try:
                return client.connect(self._path)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self._server.poll() is None, "the forge's server ended; see standard error"
                select.select([], [], [], 0.02)


@cache
def forge() -> Forge:
    """Of this test process, with what `ftm` and its workers import; ends with it."""
    made = Forge(
        *("ftm.cli.main", "ftm.worker", "ftm.analysis.status", "rich.console", "boto3"),
        *("ftm.orchestrate.quarter_orchestrator", "ftm.topics.fingerprint", "obstore.store"),
        *("pandas", "pyarrow.compute", "pyarrow.parquet", "graspologic_native", "rich.progress"),
        *(command.partition(":")[0] for command in COMMANDS.values()),
    )
    atexit.register(made.close)
    return made
