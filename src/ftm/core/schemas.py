"""The pyarrow schema of every dataset, enforced on write and on read."""

from __future__ import annotations

import pyarrow as pa

MANIFEST_VERSION = 1
"""Version of the prefetch format. Readers refuse a higher one."""

_TS = pa.timestamp("us", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """A schema whose fields are nullable unless the third element is False."""
    return pa.schema([pa.field(f[0], f[1], f[2] if len(f) > 2 else True) for f in fields])


_S, _I32, _I64, _F32, _D = pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.date32()

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
"""One row per firm of a run; status is done, skipped or failed."""

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
}
