"""Themes edited by hand: `theme_labels.csv` renames, merges and excludes.

A labels file belongs to the themes it was written for. It names each theme's members by a short
hash of their topic ids, so a file made for other themes is refused, however alike the ids look.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ftm.core.errors import ConfigError

COLUMNS = (
    *("theme_id", "members", "n_topics", "n_firms", "keywords", "auto_name", "auto_description"),
    *("name", "description", "merge_into", "exclude"),
)
_EDITED = COLUMNS[-4:]
_TEXTS = ("keywords", "auto_name", "auto_description", "name", "description")
_NEEDED = ("theme_id", "members")
_MAX_CHARS = {"name": 200, "description": 2000}
_YES = frozenset({"1", "x", "y", "yes", "true"})
_NO = frozenset({"", "0", "n", "no", "false"})


@dataclass(frozen=True, slots=True)
class Labels:
    """What was decided by hand.

    Args:
        names: theme → its new name.
        descriptions: theme → its new description.
        merges: theme → the one it goes into, never itself merged or excluded.
        excluded: themes that are to be none.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    merges: Mapping[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()

    def final(self, theme_id: str) -> str | None:
        """The theme that a theme ends in; None for an excluded one."""
        if theme_id in self.excluded:
            return None
        return self.merges.get(theme_id, theme_id)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was decided."""
        return not (self.names or self.descriptions or self.merges or self.excluded)


def members_of(contributions: pa.Table) -> dict[str, str]:
    """Theme → a short hash of its topic ids."""
    topics: dict[str, list[str]] = {}
    for theme, topic in zip(
        contributions["theme_id"].to_pylist(), contributions["topic_id"].to_pylist(), strict=True
    ):
        if theme is not None:
            topics.setdefault(theme, []).append(topic)
    return {
        # A letter first: a spreadsheet takes 12 digits, or digits and an e, for a number.
        theme: "m" + hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:11]
        for theme, ids in topics.items()
    }


def write_labels(themes: pa.Table, contributions: pa.Table) -> bytes:
    """A labels file that changes nothing, to be filled in; its last four columns are empty."""
    members = members_of(contributions)
    return _encoded(
        {
            "theme_id": theme["theme_id"],
            "members": members[theme["theme_id"]],
            "n_topics": theme["n_topics"],
            "n_firms": theme["n_firms"],
            "keywords": ", ".join(theme["keywords"]),
            "auto_name": theme["name"],
            "auto_description": theme["description"],
        }
        for theme in themes.to_pylist()
    )


def carry_edits(old: bytes, template: bytes, *, name: str) -> tuple[bytes, int]:
    """A template with the edits of an older file, as far as its themes are there still.

    A theme is the same if its topics are, whatever its id is now.

    Args:
        old: a labels file made for other themes.
        template: one that changes nothing, for the themes there are now.
        name: of the older one, for messages.

    Returns:
        The file, and how many edited lines of the older one are not in it, or not whole.
    """
    old_rows = [row for _, row in _rows(old, name)]
    rows = {row["members"]: row for _, row in _rows(template, name)}
    members = {row["theme_id"]: row["members"] for row in old_rows}
    n_lost = 0
    for row in old_rows:
        edits = {column: row[column] for column in _EDITED if row[column]}
        now = rows.get(row["members"])
        if target := edits.pop("merge_into", ""):
            into = rows.get(members.get(target, ""))
            edits["merge_into"] = into["theme_id"] if into else ""
        if now is not None:
            now.update(edits)
        n_lost += bool(edits) and (now is None or "" in edits.values())
    return _encoded(rows.values()), n_lost


def _encoded(rows: Iterable[Mapping[str, Any]]) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        texts = {name: _harmless(row[name]) for name in _TEXTS if row.get(name)}
        writer.writerow({**row, **texts})
    # With its mark Excel reads UTF-8 as such.
    return sink.getvalue().encode("utf-8-sig")


def _harmless(text: str) -> str:
    """Not taken for a formula by a spreadsheet."""
    return f" {text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def read_labels(data: bytes, contributions: pa.Table, *, name: str) -> Labels:
    """What a labels file decides.

    Args:
        data: of the file, as `write_labels` wrote it or a spreadsheet saved it; lines may be gone.
        contributions: schema THEME_CONTRIBUTIONS, of the themes it is for.
        name: of the file, for messages.

    Raises:
        ConfigError: it is no labels file, was made for other themes, or decides what cannot be;
            names the line.
    """
    members = members_of(contributions)
    rows = _rows(data, name)
    seen: set[str] = set()
    for number, row in rows:
        theme = row["theme_id"]
        _check_theme(theme, row["members"], members, f"{name}, line {number}")
        if theme in seen:
            raise ConfigError(f"{name}, line {number}: {theme} comes twice; keep one line of it")
        seen.add(theme)
    found = Labels(
        names={r["theme_id"]: r["name"] for _, r in rows if r["name"]},
        descriptions={r["theme_id"]: r["description"] for _, r in rows if r["description"]},
        merges={r["theme_id"]: r["merge_into"] for _, r in rows if r["merge_into"]},
        excluded=frozenset(
            row["theme_id"] for number, row in rows if _is_yes(row["exclude"], name, number)
        ),
    )
    _check_merges(found, rows, members, name)
    return found


def _rows(data: bytes, name: str) -> list[tuple[int, dict[str, str]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8; save it as CSV UTF-8") from error
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in reader.fieldnames or ()]
        if missing := [column for column in _NEEDED if column not in header]:
            raise ConfigError(
                f"{name} has no column {missing[0]!r}; `ftm themes --labels FILE` writes one to "
                "fill in"
            )
        if unknown := [c for c in header if c and c not in COLUMNS and not c.startswith("note")]:
            raise ConfigError(
                f"{name} has a column {unknown[0]!r}; known are {', '.join(COLUMNS)}, and your own "
                "that begin with note"
            )
        if twice := [c for c in header if c and header.count(c) > 1]:
            raise ConfigError(f"{name} has the column {twice[0]!r} twice; keep one of them")
        reader.fieldnames = header
        found = [(reader.line_num, _row(row, name, reader.line_num)) for row in reader]
        return [(number, row) for number, row in found if any(row.values())]
    except csv.Error as error:
        # Its own count stands at the last whole line.
        number = reader.reader.line_num
        raise ConfigError(f"{name}, line {number}: no CSV ({error})") from error


def _row(row: Mapping[str | None, Any], name: str, number: int) -> dict[str, str]:
    if any(more.strip() for more in row.get(None) or ()):
        raise ConfigError(
            f"{name}, line {number}: more columns than the header has; put a text with commas "
            "into quotation marks"
        )
    found = {column: _one_line(row.get(column) or "") for column in COLUMNS}
    for column, limit in _MAX_CHARS.items():
        if len(found[column]) > limit:
            raise ConfigError(
                f"{name}, line {number}: {column} has {len(found[column]):,} characters; at most "
                f"{limit:,}"
            )
    return found


def _one_line(text: str) -> str:
    """On one line, without what a terminal or a reader of tables would act on."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _check_theme(theme: str, own: str, members: Mapping[str, str], where: str) -> None:
    if not theme:
        raise ConfigError(f"{where}: no theme_id; say which theme it is, or take the line out")
    if theme not in members:
        known = ", ".join(sorted(members)[:3]) or "none"
        raise ConfigError(f"{where}: no theme {theme!r}; there are {known} …")
    if own != members[theme]:
        raise ConfigError(
            f"{where}: {theme} has other topics than when this file was made (members {own!r}, now "
            f"{members[theme]!r}); `ftm themes --labels FILE` writes a new one with the edits that "
            "still fit, `ftm label FILE` puts it in use"
        )


def _is_yes(text: str, name: str, number: int) -> bool:
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise ConfigError(f"{name}, line {number}: exclude {text!r}; write x, or leave it empty")


def _check_merges(
    labels: Labels,
    rows: Sequence[tuple[int, Mapping[str, str]]],
    members: Mapping[str, str],
    name: str,
) -> None:
    lines = {row["theme_id"]: number for number, row in rows}
    for theme, target in labels.merges.items():
        where = f"{name}, line {lines[theme]}: {theme}"
        if target not in members:
            raise ConfigError(f"{where} is to go into {target!r}, which is no theme")
        if target == theme:
            raise ConfigError(f"{where} is to go into itself; leave merge_into empty")
        if target in labels.merges:
            raise ConfigError(
                f"{where} is to go into {target}, which goes into {labels.merges[target]} itself; "
                "name that one"
            )
        if theme in labels.names or theme in labels.descriptions:
            raise ConfigError(
                f"{where} gets a name and goes into {target}; give the name to {target}"
            )
        if target in labels.excluded or theme in labels.excluded:
            raise ConfigError(f"{where} is to go into {target}, and one of them is excluded")
