"""The pyarrow schema of every dataset, enforced on write and on read."""

from __future__ import annotations

import pyarrow as pa

MANIFEST_VERSION = 1
"""Version of the prefetch format. Readers refuse a higher one."""

_TS = pa.timestamp("us", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """A schema whose fields are nullable unless the third element is False."""
    return pa.schema([pa.field(f[0], f[1], f[2] if len(f) > 2 else True) for f in fields])


_S, _I32, _I64, _D = pa.string(), pa.int32(), pa.int64(), pa.date32()
_F32, _F64 = pa.float32(), pa.float64()

CHUNK = _schema(
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("permno", _I64, False),
    ("gvkey", _S),
    ("transcript_id", _S, False),
    ("earnings_call_date", _D, False),
    ("sentence_id", _S, False),
    ("raw_text", _S, False),
    ("cleaned_text", _S, False),
    ("speaker_type", _S),
    ("position", _I32, False),
    ("quarter", _S, False),
)
"""Sentences of ~200 firms, sorted by firm_id then position. Exactly these 12 columns."""

CALLS = _schema(
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("keydevid", _I64, False),
    ("transcript_id", _S),
    ("headline", _S),
    ("fiscal_year", _I32),
    ("fiscal_quarter", _I32),
    ("call_ts_utc", _TS, False),
    ("time_missing", pa.bool_(), False),
    ("earnings_call_date", _D, False),
    ("call_date_et", _D, False),
    ("day0", _D, False),
    ("collection_type", _S),
    ("presentation_type", _S),
    ("created_ts_utc", _TS),
    ("n_versions", _I32, False),
    ("n_calls_in_quarter", _I32, False),
    ("gvkey", _S),
    ("permno", _I64),
    ("permco", _I64),
    ("liid", _S),
    ("linktype", _S),
    ("linkprim", _S),
    ("link_date", _D),
    ("link_end_date", _D),
    ("kept", pa.bool_(), False),
    ("reason", _S),
)
"""The plan: one row per call considered, sorted by firm_id, call_ts_utc, keydevid.

`kept` rows have reason null; the others one of PLAN_REASONS."""

COMPONENTS = _schema(
    ("firm_id", _S, False),
    ("transcript_id", _S, False),
    ("component_order", _I32, False),
    ("component_type", _S),
    ("section", _S, False),
    ("person_id", _S),
    ("speaker_name", _S),
    ("speaker_type", _S),
    ("raw_text", _S),
    ("first_position", _I32),
    ("last_position", _I32),
)
"""Speaker turns as delivered, sorted by firm_id then component_order; positions are those of the
turn's sentences in the chunk, null if none survived."""

FIRM_TOPICS = _schema(
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("quarter", _S, False),
    ("permno", _I64, False),
    ("gvkey", _S),
    ("earnings_call_date", _D, False),
    ("topic_id", _S, False),
    ("local_topic_id", _I32, False),
    ("representation", _S, False),
    ("summary", _S, False),
    ("naming_method", _S, False),
    ("keywords", pa.list_(_S), False),
    ("n_sentences", _I32, False),
    ("sentence_ids", pa.list_(_S), False),
    ("centroid", pa.list_(_F32), False),
    ("processing_timestamp", _TS, False),
)
"""One row per firm topic, sorted by firm (order of the batch) then local_topic_id;
sentence_ids most typical first; centroid is the mean sentence embedding."""

FIRM_SENTENCES = _schema(
    ("sentence_id", _S, False),
    ("firm_id", _S, False),
    ("local_topic_id", _I32),
    ("probability", _F32),
    ("kind", _S, False),
)
"""One row per sentence of the chunk: local_topic_id -1 = outlier, null = not clustered."""

FIRMS = _schema(
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("permno", _I64, False),
    ("gvkey", _S),
    ("earnings_call_date", _D, False),
    ("n_sentences", _I32, False),
    ("n_content", _I32, False),
    ("n_topics", _I32, False),
    ("n_outliers", _I32, False),
    ("status", _S, False),
    ("detail", _S),
)
"""One row per firm of a run; status is done, skipped, failed or, where its batch is not complete,
not_run."""

THEMES = _schema(
    ("theme_id", _S, False),
    ("name", _S, False),
    ("description", _S, False),
    ("keywords", pa.list_(_S), False),
    ("n_topics", _I32, False),
    ("n_firms", _I32, False),
    ("centroid", pa.list_(_F32), False),
    ("quarter", _S, False),
    ("naming_method", _S, False),
    ("n_sentences", _I32, False),
    ("cohesion", _F32, False),
)
"""One row per theme, largest first but for merges by hand; naming_method is llm,
keywords or hand; cohesion is the mean cosine of its topics' centroids to its own."""

THEME_CONTRIBUTIONS = _schema(
    ("theme_id", _S),
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("permno", _I64, False),
    ("gvkey", _S),
    ("earnings_call_date", _D, False),
    ("topic_id", _S, False),
    ("n_sentences", _I32, False),
    ("quarter", _S, False),
)
"""One row per firm topic, sorted by firm_id then topic; theme_id null: outside every theme."""

SENTENCES = _schema(
    ("sentence_id", _S, False),
    ("firm_id", _S, False),
    ("call_id", _S, False),
    ("position", _I32, False),
    ("section", _S, False),
    ("speaker_type", _S),
    ("n_words", _I32, False),
    ("kind", _S, False),
    ("topic_id", _S),
    ("theme_id", _S),
    ("is_outlier", pa.bool_(), False),
    ("probability", _F32),
)
"""One row per sentence of the firms done, sorted by firm_id then position; no text."""

_CALL_FIELDS = (
    ("call_id", _S, False),
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("gvkey", _S),
    ("permno", _I64, False),
    ("permco", _I64),
    ("primary_firm", pa.bool_(), False),
    ("earnings_call_date", _D, False),
    ("call_date_et", _D, False),
    ("day0", _D, False),
    ("quarter", _S, False),
    ("fiscal_year", _I32),
    ("fiscal_quarter", _I32),
)
_REST_FIELDS = (
    ("outlier_share", _F64),
    ("unthemed_share", _F64),
    ("excluded_share", _F64),
)
_ORIGIN_FIELDS = (
    ("estimation", _S, False),
    ("themes_from", _S, False),
    ("run_id", _S, False),
)

PANEL = _schema(
    *_CALL_FIELDS,
    ("theme_id", _S, False),
    ("series_id", _S),
    ("n_sentences", _I32, False),
    ("n_words", _I32, False),
    ("share_all", _F64, False),
    ("share_assigned", _F64),
    ("share_presentation", _F64),
    ("share_qa", _F64),
    ("share_executive", _F64),
    ("share_analyst", _F64),
    *_REST_FIELDS,
    *_ORIGIN_FIELDS,
)
"""One row per call with topics and theme, zeros included; sorted by firm_id then theme_id."""

PANEL_CALLS = _schema(
    *_CALL_FIELDS,
    ("status", _S, False),
    ("n_sentences", _I32, False),
    ("n_words", _I32, False),
    ("n_presentation", _I32, False),
    ("n_qa", _I32, False),
    ("n_executive", _I32, False),
    ("n_analyst", _I32, False),
    ("n_topics", _I32, False),
    ("n_themes", _I32, False),
    ("themed_share", _F64),
    *_REST_FIELDS,
    *_ORIGIN_FIELDS,
)
"""One row per call the plan keeps, sorted by firm_id; shares are null without topics. Status is
that of FIRMS, or not_run for a firm the run does not hold."""

_SENTENCE = pa.struct(
    [
        pa.field("sentence_id", _S, nullable=False),
        pa.field("text", _S, nullable=False),
        pa.field("speaker_type", _S),
        pa.field("position", _I32, nullable=False),
    ]
)

SENTIMENT_READY = _schema(
    ("theme_id", _S, False),
    ("theme_name", _S, False),
    ("theme_description", _S, False),
    ("theme_keywords", pa.list_(_S), False),
    ("firm_id", _S, False),
    ("firm_name", _S),
    ("permno", _I64, False),
    ("gvkey", _S),
    ("earnings_call_date", _D, False),
    ("link_date", _D),
    ("topic_id", _S, False),
    ("topic_summary", _S, False),
    ("sentences", pa.list_(_SENTENCE), False),
    ("n_sentences", _I32, False),
    ("quarter", _S, False),
)
"""One row per theme, firm and topic, sorted by theme_id, firm_id, topic; sentences in order of
position, with the text as spoken; n_sentences is their number."""

TOPIC_NAMES = _schema(
    ("topic_id", _S, False),
    ("summary", _S, False),
    ("naming_method", _S, False),
)
"""What stage name says of every firm topic."""

THEME_NAMES = _schema(
    ("theme_id", _S, False),
    ("name", _S, False),
    ("description", _S, False),
    ("naming_method", _S, False),
)
"""What stage name says of every theme."""

NAMING_AUDIT = _schema(
    ("item_kind", _S, False),
    ("item_id", _S, False),
    ("prompt_sha256", _S, False),
    ("request_sha256", _S, False),
    ("model_asked", _S, False),
    ("model_answered", _S),
    ("revision", _S),
    ("answer", _S, False),
    ("prompt_tokens", _I32),
    ("completion_tokens", _I32),
    ("latency_s", _F64),
    ("asked_at", _TS, False),
)
"""One row per answer of a language model that a name rests on; item_kind is topic or theme,
request_sha256 the answer's key in the cache, latency_s that of the first time it was asked."""

THEME_LINKS = _schema(
    ("quarter_from", _S, False),
    ("theme_from", _S, False),
    ("quarter_to", _S, False),
    ("theme_to", _S, False),
    ("cosine", _F32, False),
    ("is_match", pa.bool_(), False),
)
"""Every pair of themes of two neighbouring quarters above the threshold, nearest first; is_match
is the one-to-one assignment, of those above the series threshold, that carries a series on."""

SERIES = _schema(
    ("series_id", _S, False),
    ("quarter", _S, False),
    ("theme_id", _S, False),
    ("run_id", _S, False),
    ("cosine", _F32),
    ("n_from", _I32, False),
)
"""One row per theme of a linked quarter: its series, the cosine to the series' theme one quarter
earlier (null: it begins here), and to how many earlier themes it has an edge (2: a merge)."""

PLAN_REASONS = {
    "other_call": "another call of the firm in the quarter represents it",
    "not_yet_known": "no version of the transcript is known, or was at the as-of date",
    "preliminary_only": "no Final version of the transcript exists",
    "no_gvkey": "the company has no row in wrds_gvkey",
    "gvkey_dates": "no gvkey is valid on the call date",
    "no_link": "the gvkey has no CCM link with a PERMNO",
    "link_type": "CCM links exist, but of no accepted linktype and linkprim",
    "link_dates": "no accepted CCM link is valid on the call date",
    "link_not_yet_published": "the call is later than the vintage of the link table",
}
"""Why the plan does not keep a call, in the order in which a waterfall applies them."""

SKIP_REASONS = {
    "no_components": "the transcript has no component",
    "no_text": "every component is empty",
    "operator_only": "only the operator speaks",
    "no_sentences": "no sentence is left after filtering",
}
"""Why a planned firm ends without sentences, recorded in the manifest's `skipped`."""

KINDS = ("content", "safe_harbor", "greeting", "procedural", "non_gaap_notice")
"""What a sentence is for. Only content is clustered by default."""

DATASETS: dict[str, pa.Schema] = {
    "chunk": CHUNK,
    "calls": CALLS,
    "components": COMPONENTS,
    "firm-topics": FIRM_TOPICS,
    "firm-sentences": FIRM_SENTENCES,
    "firms": FIRMS,
    "themes": THEMES,
    "theme_contributions": THEME_CONTRIBUTIONS,
    "topics": FIRM_TOPICS,
    "sentences": SENTENCES,
    "panel": PANEL,
    "panel_calls": PANEL_CALLS,
    "themes_for_sentiment": SENTIMENT_READY,
    "naming_audit": NAMING_AUDIT,
    "topic_names": TOPIC_NAMES,
    "theme_names": THEME_NAMES,
    "theme_links": THEME_LINKS,
    "series": SERIES,
}

PROCESSED_TABLES = (
    *("firms", "sentences", "topics", "themes", "theme_contributions"),
    *("panel", "panel_calls", "themes_for_sentiment", "naming_audit"),
)
"""What a published run consists of."""
