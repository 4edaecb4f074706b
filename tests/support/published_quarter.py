"""A small published quarter: six firms, four themes, all tables, everything counted from sentences.

    published = publish_quarter(store, Quarter(2016, 2))
    assign_quarter(store, Quarter(2016, 3), themes_from=Quarter(2016, 2))

What is odd on purpose: firm 1 has no Q&A, firm 2 no topic in a theme, firms 3 and 4 share their
PERMNO and day, firm 5 is too short for topics, firm 6 was planned and not run; one name, one fiscal
period and one PERMCO are missing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import DATASETS, FIRM_TOPICS
from ftm.storage.assigned import ASSIGNED_TABLES, Assigned, basis_of, point_to_assigned
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.published import Published, publish, put_table, require_published
from tests.support.runs import write_run
from tests.support.stored_quarter import store_quarter

Row = dict[str, Any]

N_THEMES = 4
N_LOCAL = 6
"""Topics of a firm; the last two of them belong to no theme."""

TITLE = 'Margins; "costs", cash and naïve forecasts'
NOT_RUN = 6


@dataclass(frozen=True)
class Sentence:
    """One sentence of a call, as the tables know it."""

    row: Row
    text: str

    def is_in(self, theme: str) -> bool:
        return bool(self.row["theme_id"] == theme)


def theme_ids(quarter: Quarter) -> list[str]:
    return [f"theme_{quarter}_{n:03d}" for n in range(N_THEMES)]


def publish_quarter(
    store: ObjectStore,
    quarter: Quarter,
    *,
    seed: int = 0,
    run_id: str | None = None,
    without: Sequence[str] = (),
) -> Published:
    """Prefetch, run manifest, all PROCESSED_TABLES but those left out, the pointer.

    Args:
        store: where to.
        quarter: which.
        seed: another one gives other sentences, topics and shares.
        run_id: None: one made of the quarter.
        without: tables that an older ftm did not write.
    """
    layout = RunLayout(quarter, run_id or f"run{quarter}")
    calls = [_call(quarter, n) for n in range(7)]
    said = {c["firm_id"]: _sentences(c, n, seed) for n, c in enumerate(calls) if n != NOT_RUN}
    _prefetch(store, layout, calls, said)
    tables = _tables(layout, calls, said)
    files = dict(
        put_table(store, layout, name, to_bytes(from_rows(rows, DATASETS[name]), DATASETS[name]))
        for name, rows in tables.items()
        if name not in without
    )
    return publish(store, layout, files)


def assign_quarter(store: ObjectStore, quarter: Quarter, *, themes_from: Quarter) -> Assigned:
    """The quarter's panel with the themes of another one: the same shares, other ids."""
    layout = RunLayout(quarter, f"run{quarter}")
    calls = [_call(quarter, n) for n in range(7)]
    said = {c["firm_id"]: _sentences(c, n, 0) for n, c in enumerate(calls) if n != NOT_RUN}
    names = dict(zip(theme_ids(quarter), theme_ids(themes_from), strict=True))
    origin = {"estimation": "frozen", "themes_from": str(themes_from)}
    tables = _tables(layout, calls, said)
    files = {}
    for table in ASSIGNED_TABLES:
        rows = [row | origin for row in tables[table]]
        if table == "panel":
            rows = [row | {"theme_id": names[row["theme_id"]]} for row in rows]
        data = to_bytes(from_rows(rows, DATASETS[table]), DATASETS[table])
        files[f"{table}.parquet"] = sha256(data).hexdigest()
        store.put(f"assigned/quarter={quarter}/themes={themes_from}/{table}.parquet", data)
    basis = basis_of(require_published(store, quarter), require_published(store, themes_from))
    assigned = Assigned(quarter, themes_from, layout.run_id, f"run{themes_from}", files, basis)
    point_to_assigned(store, assigned)
    return assigned


def _call(quarter: Quarter, number: int) -> Row:
    day = quarter.start + timedelta(days=20 + (3 if number == 4 else number))
    return {
        "firm_id": str(1000 + number),
        "firm_name": None if number == 2 else f"Firm {number}, Inc.",
        "gvkey": f"{number:06d}",
        "permno": 10_003 if number == 4 else 10_000 + number,
        "permco": None if number == 1 else 20_000 + number,
        "earnings_call_date": day,
        "call_date_et": day,
        "day0": day + timedelta(days=1),
        "fiscal_year": None if number == 0 else quarter.year,
        "fiscal_quarter": None if number == 0 else quarter.number,
        "transcript_id": str(quarter.year * 1000 + quarter.number * 100 + number),
        "linkprim": "C" if number == 4 else "P",
    }


def _sentences(call: Row, number: int, seed: int) -> list[Sentence]:
    rng = random.Random(f"{seed}-{call['transcript_id']}")
    n = 5 if number == 5 else rng.randrange(24, 40)
    quarter = Quarter.containing(call["call_date_et"])
    found = []
    for position in range(n):
        is_qa = number != 1 and position >= n * 0.6
        kind = rng.choices(["content", "greeting", "safe_harbor"], [8, 1, 1])[0]
        local = rng.randrange(-1, N_LOCAL) if kind == "content" and number != 5 else None
        if number == 2 and local is not None and 0 <= local < N_THEMES:
            local = N_LOCAL - 1
        has_topic = local is not None and local >= 0
        themed = has_topic and local is not None and local < N_THEMES
        text = f"Sentence {position} of firm {number} says revenue{rng.randrange(99)} grew."
        found.append(
            Sentence(
                {
                    "sentence_id": f"{call['firm_id']}_{call['transcript_id']}_{position:04d}",
                    "firm_id": call["firm_id"],
                    "call_id": call["transcript_id"],
                    "position": position,
                    "section": "qa" if is_qa else "presentation",
                    "speaker_type": "Analysts" if is_qa and position % 2 else "Executives",
                    "n_words": len(text.split()),
                    "kind": kind,
                    "topic_id": f"{call['firm_id']}_{local}" if has_topic else None,
                    "theme_id": theme_ids(quarter)[local or 0] if themed else None,
                    "is_outlier": local == -1,
                    "probability": None if local is None else 0.0 if local < 0 else 0.5,
                },
                text,
            )
        )
    return found


def _prefetch(
    store: ObjectStore, layout: RunLayout, calls: list[Row], said: dict[str, list[Sentence]]
) -> None:
    firms = [
        FirmTranscriptData(
            c["firm_id"],
            c["firm_name"],
            [
                TranscriptSentence(
                    s.row["sentence_id"],
                    s.text,
                    s.text.lower(),
                    s.row["speaker_type"],
                    s.row["position"],
                )
                for s in said[c["firm_id"]]
            ],
            {**c, "quarter": str(layout.quarter), "link_date": None, "n_components": 1},
        )
        for c in calls
        if c["firm_id"] in said
    ]
    manifest = store_quarter(
        store,
        firms,
        quarter=layout.quarter,
        firms_per_chunk=3,
        calls=[_plan_row(c) for c in calls],
    )
    write_run(store, manifest, [], run_id=layout.run_id)


def _plan_row(call: Row) -> Row:
    moment = datetime.combine(call["call_date_et"], datetime.min.time(), UTC)
    more = {"keydevid": int(call["transcript_id"]), "call_ts_utc": moment, "time_missing": False}
    return {**call, **more, "n_versions": 1, "n_calls_in_quarter": 1, "kept": True, "reason": None}


def _tables(
    layout: RunLayout, calls: list[Row], said: dict[str, list[Sentence]]
) -> dict[str, list[Row]]:
    quarter = str(layout.quarter)
    topics = [row for c in calls for row in _topics(c, said.get(c["firm_id"], []), quarter)]
    heads = [_call_fields(c, quarter) for c in calls]
    origin = {"estimation": "in_sample", "themes_from": quarter, "run_id": layout.run_id}
    rest = [_rest(said.get(c["firm_id"], [])) for c in calls]
    return {
        "firms": [_firm(c, said[c["firm_id"]]) for c in calls if c["firm_id"] in said],
        "sentences": [s.row for c in calls for s in said.get(c["firm_id"], [])],
        "topics": [{k: t[k] for k in FIRM_TOPICS.names} for t in topics],
        "themes": [_theme(theme, topics, quarter) for theme in theme_ids(layout.quarter)],
        "theme_contributions": topics,
        "panel": [
            head | _panel(said[head["firm_id"]], theme) | shares | origin
            for head, shares in zip(heads, rest, strict=True)
            if shares["outlier_share"] is not None
            for theme in theme_ids(layout.quarter)
        ],
        "panel_calls": [
            head | _counts(said.get(head["firm_id"], [])) | shares | origin
            for head, shares in zip(heads, rest, strict=True)
        ],
        "themes_for_sentiment": _sentiment(topics, said),
        "naming_audit": [],
    }


def _call_fields(call: Row, quarter: str) -> Row:
    return {
        "call_id": call["transcript_id"],
        "primary_firm": call["linkprim"] == "P",
        "quarter": quarter,
        **{k: v for k, v in call.items() if k not in ("transcript_id", "linkprim")},
    }


def _firm(call: Row, said: list[Sentence]) -> Row:
    return {
        "firm_id": call["firm_id"],
        "firm_name": call["firm_name"],
        "permno": call["permno"],
        "gvkey": call["gvkey"],
        "earnings_call_date": call["earnings_call_date"],
        "n_sentences": len(said),
        "n_content": sum(s.row["kind"] == "content" for s in said),
        "n_topics": len({s.row["topic_id"] for s in said} - {None}),
        "n_outliers": sum(s.row["is_outlier"] for s in said),
        "status": "done",
        "detail": None,
    }


def _topics(call: Row, said: list[Sentence], quarter: str) -> list[Row]:
    rows = []
    for topic in sorted({s.row["topic_id"] for s in said} - {None}):
        members = [s.row for s in said if s.row["topic_id"] == topic]
        local = int(topic.rpartition("_")[2])
        rows.append(
            {
                **{k: call[k] for k in ("firm_id", "firm_name", "permno", "gvkey")},
                "earnings_call_date": call["earnings_call_date"],
                "quarter": quarter,
                "topic_id": topic,
                "theme_id": members[0]["theme_id"],
                "local_topic_id": local,
                "representation": f"word{local}, revenue",
                "summary": f"On word{local}.",
                "naming_method": "keywords",
                "keywords": [f"word{local}", "revenue"],
                "n_sentences": len(members),
                "sentence_ids": [m["sentence_id"] for m in members],
                "centroid": [float(local == n) for n in range(N_LOCAL)],
                "processing_timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            }
        )
    return rows


def _theme(theme: str, topics: list[Row], quarter: str) -> Row:
    members = [t for t in topics if t["theme_id"] == theme]
    number = int(theme.rpartition("_")[2])
    return {
        "theme_id": theme,
        "name": TITLE if number == 0 else f"Word{number}",
        "description": "",
        "keywords": [f"word{number}", "revenue"],
        "n_topics": len(members),
        "n_firms": len({t["firm_id"] for t in members}),
        "centroid": [float(number == n) for n in range(N_LOCAL)],
        "quarter": quarter,
        "naming_method": "keywords",
        "n_sentences": sum(t["n_sentences"] for t in members),
        "cohesion": 1.0,
    }


def _share(said: list[Sentence], theme: str, **where: str) -> float | None:
    there = [s for s in said if all(s.row[k] == v for k, v in where.items())]
    return sum(s.is_in(theme) for s in there) / len(there) if there else None


def _panel(said: list[Sentence], theme: str) -> Row:
    themed = [s for s in said if s.row["theme_id"]]
    return {
        "theme_id": theme,
        "series_id": None,
        "n_sentences": sum(s.is_in(theme) for s in said),
        "n_words": sum(s.row["n_words"] for s in said if s.is_in(theme)),
        "share_all": _share(said, theme),
        "share_assigned": _share(themed, theme),
        "share_presentation": _share(said, theme, section="presentation"),
        "share_qa": _share(said, theme, section="qa"),
        "share_executive": _share(said, theme, speaker_type="Executives"),
        "share_analyst": _share(said, theme, speaker_type="Analysts"),
    }


def _rest(said: list[Sentence]) -> Row:
    n = len(said)
    if not any(s.row["topic_id"] for s in said):
        return dict.fromkeys(("outlier_share", "unthemed_share", "excluded_share"))
    return {
        "outlier_share": sum(s.row["is_outlier"] for s in said) / n,
        "unthemed_share": sum(bool(s.row["topic_id"]) and not s.row["theme_id"] for s in said) / n,
        "excluded_share": sum(s.row["probability"] is None for s in said) / n,
    }


def _counts(said: list[Sentence]) -> Row:
    topics = {s.row["topic_id"] for s in said} - {None}
    return {
        "status": "done" if said else "not_run",
        "n_sentences": len(said),
        "n_words": sum(s.row["n_words"] for s in said),
        "n_presentation": sum(s.row["section"] == "presentation" for s in said),
        "n_qa": sum(s.row["section"] == "qa" for s in said),
        "n_executive": sum(s.row["speaker_type"] == "Executives" for s in said),
        "n_analyst": sum(s.row["speaker_type"] == "Analysts" for s in said),
        "n_topics": len(topics),
        "n_themes": len({s.row["theme_id"] for s in said} - {None}),
        "themed_share": sum(bool(s.row["theme_id"]) for s in said) / len(said) if topics else None,
    }


def _sentiment(topics: list[Row], said: dict[str, list[Sentence]]) -> list[Row]:
    rows = []
    for topic in sorted(
        (t for t in topics if t["theme_id"]), key=lambda t: (t["theme_id"], t["topic_id"])
    ):
        members = [s for s in said[topic["firm_id"]] if s.row["topic_id"] == topic["topic_id"]]
        number = int(topic["theme_id"].rpartition("_")[2])
        rows.append(
            {
                **topic,
                "theme_name": TITLE if number == 0 else f"Word{number}",
                "theme_description": "",
                "theme_keywords": [f"word{number}", "revenue"],
                "link_date": date(2001, 1, 2),
                "topic_summary": topic["summary"],
                "sentences": [
                    {
                        "sentence_id": s.row["sentence_id"],
                        "text": s.text,
                        "speaker_type": s.row["speaker_type"],
                        "position": s.row["position"],
                    }
                    for s in members
                ],
            }
        )
    return rows
