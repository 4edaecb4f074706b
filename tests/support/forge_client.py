"""What `python -m module …` is where a forged process starts one: it has it forged too.

    python -I -S forge_client.py socket -m module argument …

Imports next to nothing. It ends as the forged process does, hands signals on to it, and does not
outlive it; nor is it outlived, killed or not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main() -> int:
    """Order it, and wait."""
    path, _, module, *arguments = sys.argv[1:]
    order = {
        "module": module,
        "arguments": arguments,
        "environment": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109  pathlib takes longer to import than all else
        "new_session": False,
        "bound": True,
    }
    handed_on = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, handed_on)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(path)
    socket.send_fds(client, [json.dumps(order).encode()], [0, 1, 2])
    pid = int(client.recv(32)[4:])
    for number in handed_on:
        signal.signal(number, lambda told, _: os.kill(pid, told))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handed_on)
    code = int(client.recv(32)[4:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
