"""Containers of an image, run with whatever engine holds it; they share this machine's network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

ENGINES = ("docker", "podman", "buildah")
MARK = "FTM_TEST_CONTAINER"


def find_engine(image: str) -> str | None:
    """The first engine that has this image; None if none works, or none has it."""
    for engine in ENGINES:
        if shutil.which(engine) is None:
            continue
        look = [engine, "inspect", "--type", "image", image]
        if subprocess.run(look, capture_output=True, check=False, timeout=30).returncode == 0:
            return engine
    return None


@dataclass
class Container:
    """One command in a fresh container; a context manager that leaves nothing behind."""

    engine: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    name: str = field(default_factory=lambda: f"ftm-test-{uuid4().hex[:12]}")

    def __enter__(self) -> subprocess.Popen[str]:
        if self.engine == "buildah":
            _check(["buildah", "from", "--pull-never", "--name", self.name, self.image])
        given = {**self.environment, MARK: self.name}
        variables = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        run = ["run", "--rm", "--network", "host", "--name", self.name, *variables, self.image]
        if self.engine == "buildah":
            run = ["run", "--isolation", "chroot", *variables, self.name, "--"]
        self.process = subprocess.Popen(
            [self.engine, *run, *self.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=30)
        last = ["buildah", "rm", self.name] if self.engine == "buildah" else None
        if last:
            subprocess.run(last, capture_output=True, check=False)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process, as AWS Batch does.

        `buildah run` hands SIGTERM on as SIGKILL, so there the process itself is told.
        """
        if self.engine != "buildah":
            _check([self.engine, "kill", "--signal", number.name, self.name])
            return
        for pid in self.pids()[:1]:
            os.kill(pid, number)

    def pids(self) -> list[int]:
        """The container's processes as this machine numbers them, the program itself first."""
        wanted = f"{MARK}={self.name}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(
                    b"\0"
                ):
                    found.append(int(folder.name))
        return sorted(found, key=_started)


def _started(pid: int) -> tuple[int, int]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return (2**63, pid)
    return (int(stat.rpartition(")")[2].split()[19]), pid)


def _check(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True, timeout=120)
