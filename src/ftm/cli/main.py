"""The `ftm` command and its exit codes: 0 done, 1 a known failure, 2 wrong usage."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ftm import __version__
from ftm.core.errors import FtmError

COMMANDS = {
    "prefetch": "ftm.cli.prefetch:prefetch",
    "preprocess": "ftm.cli.prefetch:preprocess",
    "attrition": "ftm.cli.look:attrition",
    "run-quarter": "ftm.cli.run:run_quarter",
    "status": "ftm.cli.look:status",
    "show": "ftm.cli.look:show",
    "quarters": "ftm.cli.look:quarters",
    "demo": "ftm.cli.demo:demo",
}
"""Command → module:attribute, imported only when the command is used or listed."""


class LazyGroup(click.Group):
    """A group that imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which a user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or None when there is none of this name."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ftm")
def cli() -> None:
    """Turn a quarter of earnings calls into firm topics.

    \b
    ftm prefetch --quarter 2023Q1        read the quarter from WRDS, once
    ftm run-quarter --quarter 2023Q1     cluster every firm's sentences
    ftm show --quarter 2023Q1 --firm ID  read what came out
    """


def main() -> None:
    """Run the command; a known failure is one line on stderr and exit code 1."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("ftm: stopped; run the same command again to resume", err=True)
        sys.exit(130)
    except FtmError as error:
        click.echo(f"ftm: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
