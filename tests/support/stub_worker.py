"""Stands in for `python -m ftm.worker`: notes what it was given, then does what STUB_DO says.

STUB_DO maps an array index or a batch id to `exit N`, `kill`, `sleep`, `count` (says that 3 of 9
firms are done and sleeps), `deaf` (ignores SIGTERM) or `family` (sleeps, with a child that does
too); anything else succeeds. Notes go to STUB_OUT.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

who = os.environ.get("BATCH_ID") or os.environ["AWS_BATCH_JOB_ARRAY_INDEX"]
what = json.loads(os.environ.get("STUB_DO", "{}")).get(who, "")
out = Path(os.environ["STUB_OUT"])


def note(kind: str, value: object) -> None:
    draft = out / f".{who}.{kind}"
    draft.write_text(json.dumps(value))
    draft.rename(out / f"{who}.{kind}.json")


def on_term(*_: object) -> None:
    note("term", True)
    sys.exit(143)


signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else on_term)
pids = [os.getpid()]
if what == "family":
    pids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
note("start", {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": str(Path.cwd()), "pids": pids})
sys.stdout.write(f"stub {who} speaks\n")
if what == "count":
    sys.stdout.write("2023-04-02T00:00:00Z INFO progress: 3 of 9 firms\nfirm 7: something else\n")
sys.stdout.flush()
if what.startswith("exit"):
    sys.exit(int(what.split()[1]))
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if what in ("sleep", "count", "deaf", "family"):
    time.sleep(600)
