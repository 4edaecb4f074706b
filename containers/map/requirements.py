"""The map image's requirements, a line each: ftm's, the extras `topics`, `llm`, one build of torch.

python requirements.py cpu|gpu pyproject.toml constraints.txt
"""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from pathlib import Path

DEVICES = ("cpu", "gpu")


def requirements(device: str, project: str, constraints: str, machine: str) -> list[str]:
    """Requirements as pip reads them.

    On x86-64 PyTorch's CPU build is a version of its own, `+cpu`: asked for by name, so that the
    CUDA build, several times its size, never comes in its place.

    Args:
        device: `cpu` or `gpu`.
        project: the text of pyproject.toml.
        constraints: the text of constraints.txt, where torch's version is pinned.
        machine: such as `x86_64`.

    Raises:
        ValueError: another device, or no version of torch.
    """
    if device not in DEVICES:
        raise ValueError(f"DEVICE {device!r}: use {' or '.join(DEVICES)}")
    pinned = re.search(r"^torch==([^\s+]+)", constraints, flags=re.MULTILINE)
    if pinned is None:
        raise ValueError("constraints.txt does not pin torch")
    table = tomllib.loads(project)["project"]
    build = "+cpu" if device == "cpu" and machine == "x86_64" else ""
    extras = table["optional-dependencies"]
    names = [*table["dependencies"], *extras["topics"], *extras["llm"]]
    return [f"torch=={pinned[1]}{build}", *(n for n in names if not re.match(r"torch\b", n))]


if __name__ == "__main__":
    _, given, project_file, constraints_file = sys.argv
    texts = [Path(name).read_text("utf-8") for name in (project_file, constraints_file)]
    try:
        found = requirements(given, *texts, platform.machine())
    except ValueError as error:
        sys.exit(f"requirements.py: {error}")
    sys.stdout.write("\n".join(found) + "\n")
