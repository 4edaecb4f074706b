"""Themes and series as people read them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.analysis.results import read_linked
from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.storage.linked import linked_quarters, mend_link, read_linked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import Published, read_published_table, require_published
from ftm.storage.stage_records import STAGES, read_stage

_LOG = logging.getLogger(__name__)

TOP_FIRMS = 5
TYPICAL = 5


@dataclass(frozen=True, slots=True)
class ThemeLine:
    """A theme in a list.

    Args:
        theme_id: of it.
        series_id: its series; "" while the quarter is not linked.
        name: of it.
        keywords: best first.
        n_firms: that talk about it.
        n_topics: of theirs.
        n_sentences: in these.
        share: of all sentences in themes.
        cohesion: mean cosine of its topics to its centroid.
        naming_method: who named it.
    """

    theme_id: str
    series_id: str
    name: str
    keywords: tuple[str, ...]
    n_firms: int
    n_topics: int
    n_sentences: int
    share: float
    cohesion: float
    naming_method: str


@dataclass(frozen=True, slots=True)
class ThemeFirm:
    """A firm that talks about a theme, and how much of its call."""

    firm_id: str
    firm_name: str
    permno: int
    n_sentences: int
    share_all: float


@dataclass(frozen=True, slots=True)
class ThemeSentence:
    """A sentence of a theme, as spoken."""

    text: str
    firm_name: str
    speaker_type: str | None


@dataclass(frozen=True, slots=True)
class ThemeView:
    """A theme and what is in it.

    Args:
        quarter: like 2023Q1.
        run_id: of the run it comes from.
        line: the theme.
        description: of it.
        firms: that give it the largest share of their call, first.
        sentences: of the topics nearest its centroid, each from another firm.
    """

    quarter: str
    run_id: str
    line: ThemeLine
    description: str
    firms: tuple[ThemeFirm, ...]
    sentences: tuple[ThemeSentence, ...]


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """A series over the linked quarters.

    Args:
        series_id: of it.
        name: of its latest theme.
        quarters: in time.
        n_sentences: in each of these.
        cosines: to the quarter before; None for the first.
    """

    series_id: str
    name: str
    quarters: tuple[str, ...]
    n_sentences: tuple[int, ...]
    cosines: tuple[float | None, ...]


def list_themes(store: ObjectStore, quarter: Quarter) -> list[ThemeLine]:
    """The published themes of a quarter, in order of size.

    Raises:
        OrchestratorError: the quarter is not published.
    """
    published = require_published(store, quarter)
    themes = read_published_table(store, published, "themes")
    return _lines(themes, _series_of(store, published))


def is_partial(store: ObjectStore, quarter: Quarter) -> bool:
    """Whether the published themes leave out batches that failed."""
    published = require_published(store, quarter)
    record = read_stage(store, published.layout, STAGES[-1])
    return record is not None and record.is_partial


def show_theme(
    store: ObjectStore,
    quarter: Quarter,
    wanted: str,
    *,
    n_firms: int = TOP_FIRMS,
    n_sentences: int = TYPICAL,
) -> ThemeView:
    """One theme.

    Args:
        store: where it is published.
        quarter: which.
        wanted: its id, its number (`7`), or words of its name or keywords.
        n_firms: listed at most.
        n_sentences: shown at most.

    Raises:
        ConfigError: none, or more than one, is meant; lists them.
        OrchestratorError: the quarter is not published.
    """
    published = require_published(store, quarter)
    themes = read_published_table(store, published, "themes")
    lines = _lines(themes, _series_of(store, published))
    line = _pick(lines, wanted, quarter)
    row = themes.filter(pc.equal(themes["theme_id"], line.theme_id)).to_pylist()[0]
    return ThemeView(
        quarter=str(quarter),
        run_id=published.run_id,
        line=line,
        description=row["description"],
        firms=_firms(store, published, line.theme_id, n_firms),
        sentences=_sentences(store, published, row, n_sentences),
    )


def list_series(store: ObjectStore) -> list[SeriesLine]:
    """Every series of the linked quarters: the longest first, then the largest.

    Raises:
        OrchestratorError: no quarter is linked.
    """
    sizes: dict[tuple[str, str], tuple[str, int]] = {}
    for quarter in linked_quarters(store):
        run = set(read_linked_table(store, quarter, "series")["run_id"].to_pylist())
        published = require_published(store, quarter)
        if run <= {published.run_id}:
            themes = read_published_table(store, published, "themes")
            for row in themes.select(["theme_id", "name", "n_sentences"]).to_pylist():
                sizes[str(quarter), row["theme_id"]] = row["name"], row["n_sentences"]
        else:
            _LOG.warning(
                "%s was published anew since it was linked, so what is said of its themes is not "
                "known; %s",
                *(quarter, mend_link(quarter)),
            )
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_linked(store, "series").to_pylist():
        rows.setdefault(row["series_id"], []).append(row)
    found = [_series_line(name, group, sizes) for name, group in rows.items()]
    return sorted(found, key=lambda s: (-len(s.quarters), -sum(s.n_sentences), s.series_id))


def _series_line(
    name: str, group: Sequence[Mapping[str, Any]], sizes: Mapping[tuple[str, str], tuple[str, int]]
) -> SeriesLine:
    ordered = sorted(group, key=lambda row: Quarter.parse(row["quarter"]))
    known = [sizes.get((row["quarter"], row["theme_id"]), ("", 0)) for row in ordered]
    return SeriesLine(
        series_id=name,
        name=next((title for title, _ in reversed(known) if title), ""),
        quarters=tuple(row["quarter"] for row in ordered),
        n_sentences=tuple(n for _, n in known),
        cosines=tuple(row["cosine"] for row in ordered),
    )


def _series_of(store: ObjectStore, published: Published) -> dict[str, str]:
    if published.quarter not in linked_quarters(store):
        return {}
    rows = read_linked_table(store, published.quarter, "series").to_pylist()
    return {r["theme_id"]: r["series_id"] for r in rows if r["run_id"] == published.run_id}


def _lines(themes: pa.Table, series: Mapping[str, str]) -> list[ThemeLine]:
    total = pc.sum(themes["n_sentences"]).as_py() or 1
    return [
        ThemeLine(
            theme_id=row["theme_id"],
            series_id=series.get(row["theme_id"], ""),
            name=row["name"],
            keywords=tuple(row["keywords"]),
            n_firms=row["n_firms"],
            n_topics=row["n_topics"],
            n_sentences=row["n_sentences"],
            share=row["n_sentences"] / total,
            cohesion=row["cohesion"],
            naming_method=row["naming_method"],
        )
        for row in themes.to_pylist()
    ]


def _pick(lines: Sequence[ThemeLine], wanted: str, quarter: Quarter) -> ThemeLine:
    text = wanted.strip().lower()
    exact = [line for line in lines if line.theme_id.lower() == text]
    if not exact and text.isdecimal():
        exact = [line for line in lines if int(line.theme_id.rpartition("_")[2]) == int(text)]
    found = exact or [
        line for line in lines if text and text in " ".join([line.name, *line.keywords]).lower()
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"no theme of {quarter} is {wanted!r}; `ftm themes --quarter {quarter}` lists them"
        )
    some = ", ".join(f"{line.theme_id} ({line.name})" for line in found[:5])
    raise ConfigError(f"{wanted!r} fits {len(found)} themes of {quarter}: {some}; name one id")


def _firms(
    store: ObjectStore, published: Published, theme_id: str, n: int
) -> tuple[ThemeFirm, ...]:
    panel = read_published_table(store, published, "panel")
    own = panel.filter(
        pc.and_(pc.equal(panel["theme_id"], theme_id), pc.greater(panel["n_sentences"], 0))
    )
    order = [("share_all", "descending"), ("firm_id", "ascending")]
    return tuple(
        ThemeFirm(
            row["firm_id"],
            row["firm_name"] or "(no name)",
            row["permno"],
            row["n_sentences"],
            row["share_all"],
        )
        for row in own.sort_by(order).slice(0, n).to_pylist()
    )


def _sentences(
    store: ObjectStore, published: Published, theme: Mapping[str, Any], n: int
) -> tuple[ThemeSentence, ...]:
    """The most typical sentence of each of the topics nearest the theme, one per firm."""
    ready = read_published_table(store, published, "themes_for_sentiment")
    ready = ready.filter(pc.equal(ready["theme_id"], theme["theme_id"]))
    topics = read_published_table(store, published, "topics")
    topics = topics.filter(pc.is_in(topics["topic_id"], ready["topic_id"].combine_chunks()))
    texts = {
        sentence["sentence_id"]: sentence
        for row in ready["sentences"].to_pylist()
        for sentence in row
    }
    centroid = np.array(theme["centroid"], np.float32)
    rows = topics.select(["firm_id", "firm_name", "sentence_ids", "centroid"]).to_pylist()
    near = [-_cosine(np.array(row["centroid"], np.float32), centroid) for row in rows]
    found: dict[str, ThemeSentence] = {}
    for i in np.argsort(near, kind="stable"):
        row = rows[int(i)]
        if row["firm_id"] not in found and len(found) < n:
            first = texts[row["sentence_ids"][0]]
            found[row["firm_id"]] = ThemeSentence(
                first["text"], row["firm_name"] or "(no name)", first["speaker_type"]
            )
    return tuple(found.values())


def _cosine(first: Any, second: Any) -> float:
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length else 0.0
