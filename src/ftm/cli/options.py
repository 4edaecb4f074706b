"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def store_option(command: _F) -> _F:
    """`--store`."""
    return click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")(
        command
    )


def quarter_option(command: _F) -> _F:
    """`--quarter`."""
    return click.option("--quarter", required=True, metavar="2023Q1", help="Which quarter.")(
        command
    )


def json_option(command: _F) -> _F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")(command)


def run_option(command: _F) -> _F:
    """`--run`."""
    return click.option(
        "--run", "run_id", metavar="ID", help="Which run.  [default: the published, else newest]"
    )(command)
