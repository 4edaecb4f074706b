"""`make sbom`: every package that is installed, with its version, and nothing of this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_names_what_is_installed(tmp_path: Path) -> None:
    """In a copy, with the interpreter of this test."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    # The installed environment stands for the one that `make setup` would make here.
    there = (
        "STAMP=pyproject.toml",
        "--old-file=pyproject.toml",
        f"BIN={Path(sys.executable).parent}",
    )
    done = subprocess.run(
        ["make", "sbom", *there], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "build/sbom.json").read_text()
    found = json.loads(text)
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "ftm"
    installed = {(_normal(each.name), each.version) for each in distributions()}
    listed = {(_normal(each["name"]), each["version"]) for each in found["components"]}
    assert len(installed) > 100
    assert installed - listed <= {each for each in installed if each[0] == "ftm"}
    without_licence = [each for each in found["components"] if not each.get("licenses")]
    assert len(without_licence) < len(listed) / 10
    assert str(ROOT) not in text
    assert str(tmp_path) not in text
