"""A command that does what none of ours may: the harness has to notice."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from ftm.storage.object_store import open_store


def main() -> None:
    """Write who wrote, count what was there, leave a process behind, as the argument says."""
    store = open_store(os.environ["FTM_STORE"])
    what = sys.argv[1]
    if what == "child":
        wait = [sys.executable, "-c", "import time; time.sleep(30)"]
        subprocess.Popen(wait, start_new_session=True)
    if what == "fork" and not os.fork():
        time.sleep(4)
        os._exit(0)
    if what == "hangs":
        time.sleep(30)
    if what == "twice" and store.exists("result") and not store.exists("tried"):
        store.put("tried", b"1")
        sys.exit(1)
    if what == "counts":
        store.put(f"result-{len(list(store.list()))}", b"")
    store.put("result", str(os.getpid()).encode() if what == "pid" else b"1")
