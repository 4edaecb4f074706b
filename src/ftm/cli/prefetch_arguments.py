"""What people give `ftm prefetch`: firms in a flag or a file, some of a plan's options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import click

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import ConfigError


class AsOf(click.ParamType):  # type: ignore[type-arg]
    """A day, or `none` for no limit where a plan had one."""

    name = "YYYY-MM-DD|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> date | Literal["none"]:
        """The day."""
        if isinstance(value, date) or value == "none":
            return value  # type: ignore[no-any-return]
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day; write it like 2023-06-30, or none", param, ctx)


@dataclass(frozen=True, slots=True)
class GivenOptions:
    """Options of a plan as given on the command line; None: not given."""

    calls: Any
    as_of: date | Literal["none"] | None
    linktypes: tuple[str, ...] | None

    def over(self, so_far: Callable[[], PlanOptions]) -> PlanOptions | None:
        """What was given, the rest as the quarter has it; None when nothing was given."""
        if self.calls is None and self.as_of is None and self.linktypes is None:
            return None
        options = so_far()
        if self.calls is not None:
            options = replace(options, calls=self.calls)
        if self.as_of is not None:
            options = replace(options, as_of=None if self.as_of == "none" else self.as_of)
        if self.linktypes is not None:
            options = replace(options, linktypes=self.linktypes)
        return options


def firm_ids(listed: str | None, file: Path | None) -> list[str] | None:
    """Ids from the flag, from the file, from both; None when neither is given.

    Raises:
        ConfigError: an id is not a number, or there is none.
    """
    if listed is None and file is None:
        return None
    found = list(_checked(words(listed or "")))
    if file is not None:
        found += _ids_in(file)
    if not found:
        where = f"{file} holds" if file is not None else "--firms has"
        raise ConfigError(f"{where} no firm id; Capital IQ company ids are numbers, like 24937")
    return found


def _ids_in(file: Path) -> Iterator[str]:
    """The ids of a file, as a person or Excel writes it: byte order mark, name of the column."""
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    filled = [(number, words(line)) for number, line in enumerate(lines, 1) if words(line)]
    if filled and not any(char.isdigit() for word in filled[0][1] for char in word):
        filled = filled[1:]
    for number, ids in filled:
        yield from _checked(ids, f"{file}, line {number}: ")


def _checked(ids: Sequence[str], where: str = "") -> Sequence[str]:
    if wrong := [firm for firm in ids if not (firm.isascii() and firm.isdecimal())]:
        raise ConfigError(
            f"{where}not a firm id: {wrong[0]!r}; a Capital IQ company id is a number"
        )
    return ids


def words(text: str) -> tuple[str, ...]:
    """What stands between commas and spaces."""
    return tuple(text.replace(",", " ").split())
