"""Generated firms that talk about business topics, for `stored_quarter.store_quarter`."""

from __future__ import annotations

import random
from datetime import date

from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence

QUARTER = Quarter(2023, 1)
CALL_DATE = date(2023, 2, 14)
_BUSINESS = {
    "pricing": "price increase offset inflation cost input margin surcharge list pass volume",
    "cloud": "cloud migration workload customer consumption platform data capacity region server",
    "supply": "supply chain freight port container supplier lead inventory shortage logistics",
    "people": "hiring talent wage employee retention office training headcount engineer turnover",
    "debt": "debt leverage covenant maturity refinance interest bond credit liquidity facility",
}
_GREETING = "Good morning, everyone, and thank you for joining us today."


def make_firm(
    number: int, *, n_sentences: int = 60, quarter: Quarter = QUARTER
) -> FirmTranscriptData:
    """Firm `number`: a greeting, then sentences from five business topics; always the same."""
    rng = random.Random(number)
    firm_id, transcript_id = f"{100000 + number}", f"{900000 + number}"
    texts = [(_GREETING, "good morning join today")]
    texts += [_sentence(rng) for _ in range(n_sentences - 1)]
    sentences = [
        TranscriptSentence(
            sentence_id=f"{firm_id}_{transcript_id}_{i:04d}",
            raw_text=raw,
            cleaned_text=cleaned,
            speaker_type="Executives",
            position=i,
        )
        for i, (raw, cleaned) in enumerate(texts[:n_sentences])
    ]
    metadata = {
        "permno": 10000 + number,
        "gvkey": f"{number:06d}",
        "transcript_id": transcript_id,
        "earnings_call_date": CALL_DATE,
        "quarter": str(quarter),
    }
    return FirmTranscriptData(firm_id, f"Firm {number} Inc.", sentences, metadata)


def make_firms(n: int, *, n_sentences: int = 60) -> list[FirmTranscriptData]:
    """The first n firms, sorted by firm_id."""
    return [make_firm(i, n_sentences=n_sentences) for i in range(n)]


def _sentence(rng: random.Random) -> tuple[str, str]:
    words = rng.choice(list(_BUSINESS.values())).split()
    chosen = rng.sample(words, 6)
    raw = f"We saw {chosen[0]} and {chosen[1]} with {' '.join(chosen[2:])} in unit {rng.random()}."
    return raw, " ".join(chosen)
