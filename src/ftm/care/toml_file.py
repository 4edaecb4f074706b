"""Writing `ftm.toml` without losing what is in it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftm.core.errors import SetupError


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that has another value in the file."""

    key: str
    old: Any
    new: str


def read_file(path: Path) -> str:
    """The file's text; empty if there is no file.

    Raises:
        SetupError: it cannot be read.
    """
    try:
        return path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read ({error}); mend or remove it") from error


def differences(text: str, values: Mapping[str, str], *, path: Path) -> list[Difference]:
    """Keys whose value in the text is another one.

    Raises:
        SetupError: the text is not TOML.
    """
    old = _parse(text, path)
    return [
        Difference(key, old[key], new)
        for key, new in values.items()
        if key in old and old[key] != new
    ]


def with_values(text: str, values: Mapping[str, str], *, path: Path) -> str:
    """The text with these values: other lines, comments too, stay as they are.

    Args:
        text: TOML.
        values: key → text to be.
        path: the file, for messages.

    Raises:
        SetupError: the text is not TOML, or has these keys in a form that cannot be edited.
    """
    old = _parse(text, path)
    lines = text.splitlines()
    for key, value in values.items():
        line = f"{key} = {json.dumps(value)}"
        at = [i for i, each in enumerate(lines) if re.match(rf"\s*{re.escape(key)}\s*=", each)]
        if key not in old:
            lines.append(line)
        elif old[key] != value and at:
            lines[at[0]] = line
    edited = "\n".join(lines) + "\n"
    # json.dumps quotes as TOML does, but for characters that no ARN or URL has: so it is read back.
    try:
        is_right = tomllib.loads(edited) == {**old, **values}
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        wanted = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        raise SetupError(f"{path} cannot be edited; write these keys into it yourself: {wanted}")
    return edited


def write_file(path: Path, text: str) -> None:
    """Replace the file in one step.

    Raises:
        SetupError: it cannot be written.
    """
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_text(text, "utf-8")
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o777)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SetupError(f"{path} cannot be written ({error.strerror}); choose another") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{path} is not TOML ({error}); mend or remove it") from error
