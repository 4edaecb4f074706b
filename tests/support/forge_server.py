"""Forks processes from one that has imported their libraries; see tests.support.forge.

    python forge_server.py socket module module …

Ends when its standard input does, so with the process that started it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

MOST_BYTES = 150_000
"""Of an order, one message of a socket."""

Order = dict[str, Any]


def serve(listener: socket.socket) -> tuple[Order, list[int], socket.socket] | None:
    """Take orders; returns, in the child that is to do it, one with its files and who gave it."""
    waiting: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        while waiting:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with waiting.pop(pid) as client, suppress(OSError):  # nobody may wait for it
                client.send(str(os.waitstatus_to_exitcode(status)).encode())

    signal.signal(signal.SIGCHLD, reap)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        client = listener.accept()[0]
        message, files, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if not (pid := os.fork()):
            for each in (listener, *waiting.values()):
                each.close()
            return json.loads(message), files, client
        waiting[pid] = client
        for file in files:
            os.close(file)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


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
    path, *preload = sys.argv[1:]
    del sys.path[0]  # the folder of this file
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(64)
        for name in preload:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # or the collector of each child touches, and so copies, all there is
        asked = serve(listener)
    if asked is not None:
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
