"""Forks processes from one that has imported their libraries; see tests.support.forge.

    python forge_server.py socket launcher module module …

Ends when its standard input does, so with the process that started it. A process whose orderer
asked for it is killed when the orderer dies.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

MOST_BYTES = 150_000
"""Of an order, one message of a socket."""

Order = dict[str, Any]


class Server:
    """Takes orders and forks; reaps what it forked."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._waiting: dict[int, socket.socket] = {}
        self._bound: dict[socket.socket, int] = {}
        # Reaping in the signal's handler would be interrupted by the next one, and lose an end.
        self._woken, self._wakes = os.pipe()
        for end_of_it in (self._woken, self._wakes):
            os.set_blocking(end_of_it, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> tuple[Order, list[int], socket.socket] | None:
        """Until standard input ends; in a child, the order it is to do, its files, who gave it."""
        while True:
            ready = select.select([self._woken, self._listener, sys.stdin, *self._bound], [], [])[0]
            if sys.stdin in ready:
                return None
            for client in self._bound.keys() & set(ready):
                os.kill(self._bound.pop(client), signal.SIGKILL)
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            if self._listener in ready and (asked := self._fork()):
                return asked

    def _fork(self) -> tuple[Order, list[int], socket.socket] | None:
        client = self._listener.accept()[0]
        message, files, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
        order = json.loads(message)
        prepare(order)
        if not (pid := os.fork()):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            for pipe in (self._woken, self._wakes):
                os.close(pipe)
            for each in (self._listener, *self._waiting.values()):
                each.close()
            return order, files, client
        self._waiting[pid] = client
        if order["bound"]:
            self._bound[client] = pid
        for file in files:
            os.close(file)
        return None

    def _reap(self) -> None:
        while self._waiting:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            client = self._waiting.pop(pid)
            self._bound.pop(client, None)
            with client, suppress(OSError):  # nobody may wait for it
                client.send(f"end {os.waitstatus_to_exitcode(status)}".encode())


def prepare(order: Order) -> None:
    """Import what this process would import by itself, for all that need it later."""
    command = order["arguments"][:1]
    told = order["environment"]
    if command in (["prefetch"], ["preprocess"]):
        load("ftm.text.parallel", "ftm.text.pipelines", "exchange_calendars", "psycopg2")
        load_text_pipeline()
    has_model = "FTM_STORE" in told and told.get("FTM_EMBEDDING_MODEL") != "noop"
    if order["module"] == "ftm.worker" and command == ["map"] and has_model:
        load("sentence_transformers")


@cache
def load_text_pipeline() -> None:
    """spaCy by its own door, which keeps torch out."""
    sys.modules["ftm.text.pipelines"].load_pipeline("rules")
    gc.freeze()


def load(*modules: str) -> None:
    """Import them, and let the collector of no child touch, and so copy, what came with them."""
    if not all(name in sys.modules for name in modules):
        for name in modules:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()


def become(order: Order, files: list[int], client: socket.socket) -> Any:
    """Make of this process what `python -m module` would be, and return the module."""
    if order["new_session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # What Python knows of these three it found out when it started: whether one can seek, say.
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        lines = 1 if old.line_buffering else -1
        new = open(  # noqa: SIM115 - as long as the process
            number, "w", lines, encoding=old.encoding, errors=old.errors, closefd=False
        )
        setattr(sys, name, new)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    with client:
        client.send(f"pid {os.getpid()}".encode())
    customise()
    module = importlib.import_module(order["module"])
    sys.argv = [str(module.__file__), *order["arguments"]]
    sys.modules["__main__"] = module
    return module


def customise() -> None:
    """Run the `sitecustomize` that Python would find on its path when it starts."""
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        path = os.path.join(folder, "sitecustomize.py")  # noqa: PTH118
        if os.path.exists(path):  # noqa: PTH110
            runpy.run_path(path)
            return


def main() -> None:
    """Import, then serve."""
    path, launcher, *preload = sys.argv[1:]
    del sys.path[0]  # the folder of this file
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        load(*preload)
        asked = Server(listener).serve()
    if asked is not None:
        sys.executable = launcher
        end(run(become(*asked)))


def run(module: Any) -> int:
    """The exit code of a module's `main()`."""
    try:
        code = module.main()
    except SystemExit as ended:
        code = ended.code
    except Exception:  # noqa: BLE001 - as the interpreter would
        sys.excepthook(*sys.exc_info())
        return 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    return code if isinstance(code, int) else int(code is not None)


def end(code: int) -> NoReturn:
    """Exit as Python does, but for taking down the modules shared with the server.

    That touches all its memory, and so copies it: a second of work where scikit-learn is loaded.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
