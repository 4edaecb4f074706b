"""What of `terraform/` can be seen without running it."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
MODULES = sorted((TERRAFORM / "modules").iterdir())
EXAMPLE = TERRAFORM / "examples/complete"
MOCK_ACCOUNT = "123456789012"


def variables(folder: Path) -> dict[str, str]:
    """Name → block of every variable."""
    text = (folder / "variables.tf").read_text()
    return dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))


def tracked() -> list[str]:
    """Paths git knows, or would on the next commit; skips outside a checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def test_every_module_has_its_four_files() -> None:
    """storage, network, batch and monitoring, each with main, variables, outputs and versions."""
    assert [module.name for module in MODULES] == ["batch", "monitoring", "network", "storage"]
    needed = {"main.tf", "variables.tf", "outputs.tf", "versions.tf"}
    for folder in [*MODULES, EXAMPLE]:
        assert needed <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("folder", [*MODULES, EXAMPLE], ids=lambda folder: folder.name)
def test_every_variable_is_typed_and_described(folder: Path) -> None:
    """None of any type, none without a word."""
    assert variables(folder)
    for name, block in variables(folder).items():
        assert re.search(r"^  type += (?!any)", block, re.MULTILINE), name
        assert re.search(r"^  description += (\"\S|<<-EOT)", block, re.MULTILINE), name


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_every_variable_of_a_module_is_validated(folder: Path) -> None:
    """But true or false, which cannot be wrong."""
    for name, block in variables(folder).items():
        assert "validation {" in block or re.search(r"type += bool", block), name


def test_readme_lists_every_variable_of_the_root_and_none_besides() -> None:
    """With the table in README.md nobody has to read variables.tf."""
    text = (TERRAFORM / "README.md").read_text()
    section = text.partition("## Variables of the root")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`[, ]*)+) \|", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(variables(EXAMPLE))


def test_no_state_and_no_values_in_git() -> None:
    """State, variable files and a filled-in backend stay on the machine."""
    kept = re.compile(r"\.tfstate|\.tfvars|(^|/)\.terraform|(^|/)backend\.tf$|\.tfplan$")
    assert [path for path in tracked() if kept.search(path)] == []


def test_git_ignores_state_and_values() -> None:
    """Terraform's files do not even show up in `git status`."""
    names = [
        "terraform.tfstate",
        "terraform.tfstate.backup",
        "my.tfplan",
        "my.auto.tfvars",
        ".terraform/x",
        "backend.tf",
    ]
    paths = [f"terraform/examples/complete/{name}" for name in names]
    tracked()
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == paths


def test_no_secret_account_or_host_in_terraform() -> None:
    """No access key, private key or account id (but the made-up one of tests) and no registry."""
    wrong = re.compile(
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|PRIVATE KEY|aws_secret_access_key"
        rf"|(?<![0-9a-f])(?!{MOCK_ACCOUNT})[0-9]{{12}}(?![0-9a-f])|registry\.[a-z]+\.io|/opt/"
    )
    paths = [path for path in tracked() if path.startswith("terraform/")]
    assert len(paths) > 20
    found = {path: m for path in paths if (m := wrong.findall((ROOT / path).read_text()))}
    assert found == {}


def test_account_ids_are_only_in_tests() -> None:
    """Even the made-up one."""
    sources = [path for path in TERRAFORM.rglob("*.tf") if ".terraform" not in path.parts]
    assert sources
    assert [path for path in sources if MOCK_ACCOUNT in path.read_text()] == []
