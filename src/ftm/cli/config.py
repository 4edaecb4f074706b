"""`ftm config`: writes `ftm.toml`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftm.core.errors import ConfigError, SetupError
from ftm.core.settings import TOML_FILE, Settings, variable_name
from ftm.core.urls import shown

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group(invoke_without_command=True)
def config() -> None:
    """Write ftm.toml, the settings of a working folder.

    \b
    ftm config from-terraform
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@config.command("from-terraform")
@click.argument("source", default="terraform/examples/complete", metavar="[FOLDER|FILE|-]")
@click.option(
    "--compute",
    type=click.Choice(["gpu", "cpu"]),
    help="Which queue and job definition.  [default: gpu if there is one]",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=TOML_FILE,
    show_default=True,
    help="The file to write; what else is in it stays.",
)
@click.option("--force", is_flag=True, help="Replace values that differ.")
def from_terraform(source: str, compute: str | None, output: Path, force: bool) -> None:
    """Write store, region, queues and job definitions into ftm.toml, from Terraform's outputs.

    Runs `terraform output -json` in FOLDER [default: terraform/examples/complete], or reads what
    it printed from FILE or (-) stdin. Asks AWS nothing; `ftm doctor` then checks what was written.

    \b
    ftm config from-terraform
    ftm config from-terraform ~/ftm-aws/terraform/examples/complete --compute cpu
    ftm config from-terraform outputs.json --output ftm.toml --force
    ftm config from-terraform - --compute gpu
    """
    from ftm.care.terraform_outputs import parse_outputs, read_outputs, settings_from
    from ftm.care.toml_file import differences, read_file, with_values, write_file

    is_stdin = source == "-"
    printed = sys.stdin.buffer.read() if is_stdin else read_outputs(Path(source))
    outputs = parse_outputs(printed, where="stdin" if is_stdin else source)
    values = settings_from(outputs, compute=compute)
    text = read_file(output)
    if not force and (found := differences(text, values, path=output)):
        told = "; ".join(f"{d.key} is {_told(d.old)}, Terraform says {_told(d.new)}" for d in found)
        raise SetupError(f"{output} has other values: {told}. Replace them with --force")
    write_file(output, with_values(text, values, path=output))
    click.echo(f"wrote {output}")
    for key, value in values.items():
        click.echo(f"  {key} = {shown(value)}")
    _warn_of_overriding(output, values)
    click.echo("`ftm doctor` checks all of it", err=True)


def _told(value: object) -> str:
    """A value of either file, without what may be secret in it."""
    return repr(shown(value)) if isinstance(value, str) else "no text"


def _warn_of_overriding(output: Path, values: Mapping[str, str]) -> None:
    """Say which variable of the environment keeps the file from being heard."""
    if output.resolve() != Path(TOML_FILE).resolve():
        return
    try:
        heard = Settings.load()
    except ConfigError as error:
        click.echo(f"ftm: {error}", err=True)
        return
    for key, value in values.items():
        if getattr(heard, key) != value:
            name = variable_name(Settings.model_fields[key])
            click.echo(f"ftm: {name} in the environment wins over {key} in {output}", err=True)
