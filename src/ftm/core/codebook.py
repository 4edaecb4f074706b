"""What every column means: unit, definition, and when it is missing.

A column that several tables share is defined once, in COMMON; where it means something else, or may
be missing in one of them, `codebook_tables.SPECIFIC` says so. The first sentence of a definition is
the column's label in Stata, so it has at most 80 characters.
"""

from __future__ import annotations

from dataclasses import dataclass

NEVER = "never"
_NO_TOPICS = "for a call without topics (null, not 0)"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a column means.

    Args:
        text: what it is; the first sentence stands alone.
        unit: of a number; or what a value identifies or looks like.
        missing: when it is null.
    """

    text: str
    unit: str = "text"
    missing: str = NEVER

    @property
    def label(self) -> str:
        """The first sentence, without its full stop."""
        return self.text.partition(". ")[0].rstrip(".")


COMMON: dict[str, Definition] = {
    "call_id": Definition(
        "The call of a firm: firm_id, an underscore, Capital IQ's transcript id.",
        "identifier",
    ),
    "firm_id": Definition(
        "The firm: its Capital IQ company id. One call represents a firm in a quarter; "
        "`ftm attrition` counts the others.",
        "identifier",
    ),
    "firm_name": Definition(
        "The firm's name in Capital IQ.", missing="if Capital IQ gives the company no name"
    ),
    "gvkey": Definition(
        "Compustat gvkey valid on the date of the call. Six digits, leading zeros kept.",
        "identifier",
        "if WRDS gives none; a call that the plan keeps has one",
    ),
    "permno": Definition(
        "CRSP PERMNO by the CCM link valid on the date of the call. Where several links are "
        "valid: linkprim P before C, then linktype LC before LU, then the latest link date, then "
        "the lowest PERMNO.",
        "identifier",
    ),
    "permco": Definition(
        "CRSP PERMCO of the same CCM link.", "identifier", "if the link names no PERMCO"
    ),
    "primary_firm": Definition(
        "True for the one firm to keep where several share permno and call_date_et. Of those with "
        "sentences it is the one whose link has linkprim P before C, then linktype LC before "
        "LU, then the one with more sentences, then the lowest firm_id. True for every firm that "
        "shares with none, so that permno and call_date_et are unique among rows of one theme "
        "where it is true.",
        "true or false",
    ),
    "earnings_call_date": Definition(
        "Date of the call in UTC, as Capital IQ records it. An evening call in New York carries "
        "the next day's date: for returns use day0.",
        "date",
    ),
    "call_date_et": Definition(
        "Date of the call in New York. Where WRDS has no time of day (00:00:00), the UTC date as "
        "it stands.",
        "date",
    ),
    "day0": Definition(
        "First NYSE session that closes after the call starts: the first to react. A "
        "call that starts at or after the close belongs to the next session. Where the time of day "
        "is missing, the first session on or after the date of the call. Early closes and holidays "
        "are those of the NYSE calendar.",
        "date",
    ),
    "quarter": Definition(
        "Calendar quarter that the call's UTC date falls in. Not the fiscal quarter, nor the "
        "quarter that the call reports on.",
        "quarter, like 2016Q2",
    ),
    "fiscal_year": Definition(
        "Fiscal year the call reports on, as its headline says.",
        "year",
        "if the headline names no fiscal period",
    ),
    "fiscal_quarter": Definition(
        "Fiscal quarter the call reports on, as its headline says.",
        "1 to 4",
        "if the headline names no fiscal quarter",
    ),
    "theme_id": Definition(
        "The theme, largest first: theme_2016Q2_000 has the most topics. Unique across quarters, "
        "but the number means nothing in another quarter: use series_id to follow a theme.",
        "identifier",
    ),
    "series_id": Definition(
        "The series that carries the theme across quarters. It comes from `ftm link`; linking "
        "more quarters changes no id given before.",
        "identifier",
        "if the quarter was not linked when the table was written",
    ),
    "topic_id": Definition(
        "The firm's topic: `{firm_id}_{local_topic_id}`. Topics are estimated for each firm by "
        "itself; unique within a quarter.",
        "identifier",
    ),
    "local_topic_id": Definition("The topic's number within its firm, largest first.", "0, 1, …"),
    "sentence_id": Definition(
        "The sentence: `{firm_id}_{transcript_id}_{position}`.", "identifier"
    ),
    "keywords": Definition(
        "Words and two-word phrases that tell it from the others, best first. Lemmatised and in "
        "lower case.",
        "list",
    ),
    "centroid": Definition(
        "Mean embedding: its place among the meanings of sentences. As many numbers as the "
        "embedding model has dimensions; comparable only between runs of one model.",
        "numbers without unit",
    ),
    "naming_method": Definition(
        "Where the words come from: llm, keywords, or hand. llm is a language model, keywords the "
        "best keywords joined, hand a label from theme_labels.csv. No name changes which topics "
        "or sentences belong to what.",
        "llm, keywords or hand",
    ),
    "section": Definition(
        "Part of the call: presentation, qa or unknown. unknown where the transcript does not say.",
        "presentation, qa or unknown",
    ),
    "speaker_type": Definition(
        "Who speaks, in Capital IQ's words, like Executives or Analysts.",
        missing="if Capital IQ gives the speaker no type",
    ),
    "position": Definition(
        "Place of the sentence in the call, from 0. Counted after preprocessing, which leaves out "
        "the operator and sentences of one word or none.",
        "0, 1, …",
    ),
    "kind": Definition(
        "What the sentence is for, by rules. content, safe_harbor, greeting, procedural or "
        "non_gaap_notice; by default only content is clustered, and all count in denominators.",
        "a kind",
    ),
    "status": Definition(
        "What became of the firm: done, skipped or failed. done includes calls too short for "
        "topics; skipped: no sentence is left of the transcript; failed: an error, see `ftm "
        "status`.",
        "done, skipped or failed",
    ),
    "outlier_share": Definition(
        "Share of the call's sentences that were clustered and fit no topic. Denominator: all "
        "sentences of the call in the store.",
        "share, 0 to 1",
        _NO_TOPICS,
    ),
    "unthemed_share": Definition(
        "Share of the call's sentences in a topic that belongs to no theme. Topics of themes that "
        "were excluded by hand are among them. Denominator: all sentences of the call in the "
        "store.",
        "share, 0 to 1",
        _NO_TOPICS,
    ),
    "excluded_share": Definition(
        "Share of the call's sentences not clustered: greetings, procedure and the like. All kinds "
        "that the run does not keep (see kind). Denominator: all sentences of the call in the "
        "store.",
        "share, 0 to 1",
        _NO_TOPICS,
    ),
    "estimation": Definition(
        "in_sample, or frozen: the themes of an earlier quarter, unchanged. in_sample themes were "
        "estimated on all calls of their quarter, also those later than this one; frozen ones "
        "look at nothing after the end of themes_from. Use frozen for anything that predicts.",
        "in_sample or frozen",
    ),
    "themes_from": Definition(
        "Quarter whose calls the themes were estimated on. Equal to quarter when estimation is "
        "in_sample, earlier when it is frozen.",
        "quarter, like 2016Q2",
    ),
    "run_id": Definition(
        "The run whose topics the row counts: a hash of what determines them. The same run_id "
        "means the same topics and, until settings of themes are changed, the same themes. "
        "Themes merged or excluded by hand (`ftm label`) keep it: cite theme_labels.csv as well.",
        "identifier",
    ),
}
"""Column → what it means wherever no table says otherwise."""
