"""README and docs know what the code knows."""

import re
import shlex
from pathlib import Path
from typing import TypeGuard

import click
import pytest

from ftm.cli.main import COMMANDS, cli
from ftm.core.settings import SECRETS, Settings
from ftm.jobs.base import STAGE_WIDE_EXIT

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command these words name, groups gone through, and the arguments that are left."""
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        assert words, f"{command.name} is a group: which command of it?"
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"no such command: {name}"
    assert command is not None
    return command, words


def command_names() -> list[str]:
    """Every command as it is typed, those of groups with their group: `config from-terraform`."""
    found = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        below = command.list_commands(click.Context(command)) if _is_group(command) else []
        found += [f"{name} {each}" for each in below] or [name]
    return found


def _is_group(command: click.Command | None) -> TypeGuard[click.Group]:
    return isinstance(command, click.Group)


@pytest.mark.parametrize("name", command_names())
def test_every_command_is_documented_and_has_an_example(name: str) -> None:
    """Each command is named in README or docs, and its help shows how to call it."""
    command, _ = command_of(name.split())
    assert f"ftm {name}" in (command.help or "")
    assert any(f"ftm {name}" in page.read_text("utf-8") for page in PAGES)


def shown_commands() -> list[str]:
    """Every `ftm …` line of a fenced block and every inline one with options, comments cut off."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    fenced = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^(?:\$ )?(ftm [a-z].*)$", fenced, flags=re.MULTILINE)
    lines += re.findall(r"`(ftm [a-z-]+(?: [a-z][a-z-]*)? --[^`\n]*)`", text)
    return sorted({re.split(r"\s+#|\s{3,}", line)[0].strip() for line in lines})


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_shown_parses(line: str) -> None:
    """What README and docs tell to type is understood: options exist, values are of their kind."""
    command, arguments = command_of(shlex.split(line.replace("…", ""))[1:])
    given = ["1" if word in {"ID", "Q", "DIR", "URL", "N"} else word for word in arguments]
    command.make_context(command.name, given)


def test_the_search_for_shown_commands_finds_them() -> None:
    """The lines above are not an empty list by mistake; fenced ones and inline ones."""
    assert "ftm prefetch --quarter 2023Q1" in shown_commands()
    assert "ftm prefetch --quarter 2023Q1 --give-up" in shown_commands()
    assert "ftm config from-terraform --compute gpu" in shown_commands()


@pytest.mark.parametrize("name", command_names())
def test_every_example_of_a_help_parses(name: str) -> None:
    """What `--help` tells to type is understood, as what README and docs tell."""
    command, _ = command_of(name.split())
    lines = re.findall(rf"^\s*(ftm {name}\b.*)$", command.help or "", flags=re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(re.split(r"\s+[#>]|\s{3,}", line)[0])
        command, arguments = command_of(words[1:])
        command.make_context(command.name, ["1" if word == "ID" else word for word in arguments])


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    """docs/settings.md has a row per setting: variables, key, default."""
    info = Settings.model_fields[name]
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    first = str(info.validation_alias.choices[0])  # type: ignore[union-attr]
    row = next(line for line in page.splitlines() if line.startswith(f"| `{first}`"))
    cells = [cell.strip().strip("`") for cell in row.strip("|").split("|")]
    default = info.default
    text = str(default).lower() if isinstance(default, bool) else str(default)
    assert cells[1] == ("-" if name in SECRETS else name)
    assert cells[2] == ("-" if default is None else text)


def test_the_map_spec_knows_the_exit_code_of_a_whole_stage() -> None:
    """The code that makes a backend cancel the other batches is told as such."""
    page = (ROOT / "docs" / "specs" / "map-output.md").read_text("utf-8")
    assert f" · {STAGE_WIDE_EXIT} stage-wide: " in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link in README and docs is a file that exists."""
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_fits_its_size() -> None:
    """A README is read when it is short."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 120
