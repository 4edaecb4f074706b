"""The `ftm` command and its exit codes: 0 done, 1 a known failure, 2 wrong usage."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import click

from ftm.cli.named_store import runnable
from ftm.core.errors import ConfigError, FtmError
from ftm.core.interrupts import Stopped
from ftm.core.plain import plain
from ftm.core.version import VERSION

COMMANDS = {
    "prefetch": "ftm.cli.prefetch:prefetch",
    "preprocess": "ftm.cli.prefetch:preprocess",
    "attrition": "ftm.cli.look:attrition",
    "run-quarter": "ftm.cli.run:run_quarter",
    "run": "ftm.cli.run:run",
    "watch": "ftm.cli.batch:watch",
    "cancel": "ftm.cli.batch:cancel",
    "logs": "ftm.cli.batch:logs",
    "status": "ftm.cli.look:status",
    "show": "ftm.cli.look:show",
    "quarters": "ftm.cli.look:quarters",
    "sql": "ftm.cli.results:sql",
    "export": "ftm.cli.results:export",
    "codebook": "ftm.cli.results:codebook",
    "themes": "ftm.cli.themes:themes",
    "theme": "ftm.cli.themes:theme",
    "label": "ftm.cli.themes:label",
    "link": "ftm.cli.themes:link",
    "series": "ftm.cli.themes:series",
    "assign": "ftm.cli.themes:assign",
    "verify": "ftm.cli.verify:verify",
    "clean": "ftm.cli.clean:clean",
    "doctor": "ftm.cli.doctor:doctor",
    "config": "ftm.cli.config:config",
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


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(VERSION, prog_name="ftm")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Turn quarters of earnings calls into topics, cross-firm themes and panels.

    \b
    ftm prefetch --quarter 2023Q1        read the quarter from WRDS, once
    ftm run-quarter --quarter 2023Q1     from sentences to topics, themes and panels
    ftm themes --quarter 2023Q1          read what came out; ftm show for one firm
    ftm link --quarters 2022Q1..2023Q1   follow themes over quarters
    ftm export --quarter 2023Q1 --csv panel.csv
    """
    # click's own answer to a bare command is an error or not, by its version.
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command; what goes wrong is one line on stderr, 1 a failure and 2 wrong usage."""
    try:
        _leave_no_core()
        with sigterm_as_interrupt():
            _log_to_stderr()
            _write_what_can_be_written()
            code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"ftm: {plain(_usage(error))}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo(f"ftm: {plain(runnable(_how_to_resume(error)))}", err=True)
        sys.exit(130)
    except FtmError as error:
        click.echo(f"ftm: {plain(runnable(str(error)))}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    # click hands back the code of --help, --version and ctx.exit(n); commands return None.
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: leases and workers are given up, and it is said."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_no_core() -> None:
    """A dump of this process or its children would hold the password and licensed text."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _how_to_resume(error: BaseException) -> str:
    """What Ctrl-C leaves behind; click wraps it into an error of its own."""
    for each in (error, error.__cause__):
        if isinstance(each, Stopped):
            return str(each)
    return "stopped; run the same command again to resume"


def _usage(error: click.ClickException) -> str:
    """The message on one line, and where the command's help is."""
    text = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} (see {context.command_path} --help)" if context else text


def _write_what_can_be_written() -> None:
    """A character that the terminal's encoding lacks is a question mark, not the command's end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


class _PlainFormatter(logging.Formatter):
    """Warnings may quote names and texts from outside."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def _log_to_stderr() -> None:
    """Warnings as one line each; stamina's own lines would only repeat the store's."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter("ftm: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("stamina").setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
