"""Forks processes from one that has imported their libraries; see tests.support.forge.

    python forge_server.py socket launcher module module …

Ends when its standard input does, so with the process that started it. A process whose orderer
asked for it is killed when the orderer dies.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import cache
from typing import Any

MOST_BYTES = 150_000
"""Of an order, one message of a socket."""

Order = dict[str, Any]


def serve(listener: socket.socket) -> tuple[Order, list[int], socket.socket] | None:
    """Take orders; returns, in the child that is to do it, one with its files and who gave it."""
    waiting: dict[int, socket.socket] = {}
    bound: dict[socket.socket, int] = {}

    def reap(*_: object) -> None:
        while waiting:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            client = waiting.pop(pid)
            bound.pop(client, None)
            with client, suppress(OSError):  # nobody may wait for it
                client.send(str(os.waitstatus_to_exitcode(status)).encode())

    signal.signal(signal.SIGCHLD, reap)
    while True:
        # SIGCHLD, which reaps, comes only while this waits.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        ready: list[Any] = []
        with suppress(OSError):  # one of the bound ended just now
            ready, _, _ = select.select([listener, sys.stdin, *bound], [], [])
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if sys.stdin in ready:
            return None
        for client in bound.keys() & set(ready):
            os.kill(bound.pop(client), signal.SIGKILL)
        if listener not in ready:
            continue
        client = listener.accept()[0]
        message, files, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
        order = json.loads(message)
        prepare(order)
        if not (pid := os.fork()):
            for each in (listener, *waiting.values()):
                each.close()
            return order, files, client
        waiting[pid] = client
        if order["bound"]:
            bound[client] = pid
        for file in files:
            os.close(file)


def prepare(order: Order) -> None:
    """Import what this process would import by itself, for all that need it later."""
    command = order["arguments"][:1]
    model = order["environment"].get("FTM_EMBEDDING_MODEL")
    if command in (["prefetch"], ["preprocess"]):
        load("ftm.text.parallel", "ftm.text.pipelines", "exchange_calendars", "psycopg2")
        load_text_pipeline()
    if order["module"] == "ftm.worker" and command == ["map"] and model != "noop":
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
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    if order["new_session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    with client:
        client.send(str(os.getpid()).encode())
    module = importlib.import_module(order["module"])
    sys.argv = [str(module.__file__), *order["arguments"]]
    sys.modules["__main__"] = module
    return module


def main() -> None:
    """Import, then serve."""
    path, launcher, *preload = sys.argv[1:]
    del sys.path[0]  # the folder of this file
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        load(*preload)
        asked = serve(listener)
    if asked is not None:
        sys.executable = launcher
        sys.exit(become(*asked).main())


if __name__ == "__main__":
    main()
