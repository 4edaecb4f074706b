"""What columns mean in one table: those it alone has, and those that mean something else there."""

from __future__ import annotations

from ftm.core.codebook import COMMON, Definition

_SHARE = "share, 0 to 1"
_NONE_THERE = "if the call has no sentence there"


def _share_there(where: str, what: str) -> Definition:
    return Definition(
        f"Share of the {what} that are in the theme. Numerator: sentences of the theme {where}; "
        f"denominator: all sentences of the call {where}, of every kind. 0 if there are some and "
        "none is in the theme.",
        _SHARE,
        _NONE_THERE,
    )


_PANEL = {
    "n_sentences": Definition(
        "Sentences of the call in the theme. 0 if none is: every call with topics has a row for "
        "every theme.",
        "sentences",
    ),
    "n_words": Definition("Words of the call's sentences in the theme, as spoken.", "words"),
    "share_all": Definition(
        "Share of all sentences of the call that are in the theme. Denominator: every sentence of "
        "the call in the store after preprocessing, of every kind, outliers and sentences outside "
        "themes included. Summed over the themes of a call, and with outlier_share, "
        "unthemed_share and excluded_share added once, it gives 1. 0 if the call says nothing on "
        "the theme.",
        _SHARE,
    ),
    "share_assigned": Definition(
        "Share of the call's themed sentences that are in the theme. Denominator: sentences of "
        "the call in any theme. Sums to 1 over the themes of a call; it does not fall when a call "
        "has more outliers or greetings, which share_all does.",
        _SHARE,
        "if no sentence of the call is in any theme",
    ),
    "share_presentation": _share_there("in the presentation", "presentation's sentences"),
    "share_qa": _share_there("in questions and answers", "Q&A's sentences"),
    "share_executive": _share_there("by executives", "executives' sentences"),
    "share_analyst": _share_there("by analysts", "analysts' sentences"),
}

_PANEL_CALLS = {
    "status": Definition(
        "What became of the call: done, skipped, failed or not_run. done includes calls too short "
        "for topics; skipped: no sentence is left of the transcript; failed: an error, see `ftm "
        "status`; not_run: the run does not hold the firm.",
        "done, skipped, failed or not_run",
    ),
    "n_sentences": Definition(
        "Sentences of the call in the store: the denominator of the shares of all. Counted after "
        "preprocessing, of every kind. 0 if the firm was skipped, failed or not run.",
        "sentences",
    ),
    "n_words": Definition(
        "Words of the call's sentences, as spoken. 0 if the firm was skipped, failed or not run.",
        "words",
    ),
    "n_presentation": Definition(
        "Sentences of the call in the presentation. With n_qa less than n_sentences where the "
        "transcript does not say which part a sentence is in.",
        "sentences",
    ),
    "n_qa": Definition("Sentences of the call in questions and answers.", "sentences"),
    "n_executive": Definition(
        "Sentences of the call by executives. Those whose speaker_type is Executives; other types "
        "than these and Analysts are in neither.",
        "sentences",
    ),
    "n_analyst": Definition(
        "Sentences of the call by analysts. Those whose speaker_type is Analysts.", "sentences"
    ),
    "n_topics": Definition(
        "Topics of the firm in the call. 0 if it is too short, was skipped, failed or not run.",
        "topics",
    ),
    "n_themes": Definition("Themes with at least one sentence of the call.", "themes"),
    "themed_share": Definition(
        "Share of the call's sentences that are in any theme. Adds to 1 with outlier_share, "
        "unthemed_share and excluded_share. Denominator: all sentences of the call in the store.",
        _SHARE,
        COMMON["outlier_share"].missing,
    ),
}

_FIRMS = {
    "n_sentences": Definition(
        "Sentences of the firm's call, after preprocessing. 0 if it was skipped or failed.",
        "sentences",
    ),
    "n_content": Definition("Of these, sentences of the kind content.", "sentences"),
    "n_topics": Definition("Topics of the firm. 0 if it has too few sentences.", "topics"),
    "n_outliers": Definition("Sentences that were clustered and fit no topic.", "sentences"),
    "detail": Definition(
        "Why the firm was skipped or failed.", missing="if the firm is done, so nearly always"
    ),
}

_SENTENCES = {
    "n_words": Definition("Words of the sentence, as spoken.", "words"),
    "topic_id": Definition(
        "The firm's topic that the sentence belongs to.",
        "identifier",
        "if the sentence is an outlier or was not clustered",
    ),
    "theme_id": Definition(
        "The theme that the sentence's topic belongs to.",
        "identifier",
        "if the sentence has no topic, or its topic belongs to no theme",
    ),
    "is_outlier": Definition(
        "True for a sentence that was clustered and fits no topic. False for members of a topic "
        "and for sentences that were not clustered.",
        "true or false",
    ),
    "probability": Definition(
        "How typical the sentence is of its topic; 0 for an outlier. With ward and leiden the "
        "cosine with the mean of the topic's other sentences, with umap-hdbscan HDBSCAN's "
        "membership strength: compare it within one run only.",
        "no unit",
        "if the sentence was not clustered",
    ),
}

_TOPICS = {
    "representation": Definition("The topic's best keywords, joined by commas.", "text"),
    "summary": Definition("The topic in words, as naming_method made them.", "text"),
    "n_sentences": Definition("Sentences in the topic.", "sentences"),
    "sentence_ids": Definition(
        "The topic's sentences, most typical first. Ids of table sentences.", "list of identifiers"
    ),
    "processing_timestamp": Definition(
        "Start of the run, the same in every row.", "date and time, UTC"
    ),
}

_THEMES = {
    "name": Definition("The theme's name, by naming_method.", "text"),
    "description": Definition("What the theme is about, in a sentence or two.", "text"),
    "n_topics": Definition("Firm topics in the theme.", "topics"),
    "n_firms": Definition(
        "Firms with a topic in the theme. As found at least 3: of two firms one has half of the "
        "topics, and by default none may have more than 40 %.",
        "firms",
    ),
    "n_sentences": Definition("Sentences in the theme, of all firms.", "sentences"),
    "cohesion": Definition(
        "How alike its topics are: mean cosine of their centroids to the theme's.",
        "cosine, -1 to 1",
    ),
}

_CONTRIBUTIONS = {
    "theme_id": Definition(
        "The theme that the topic belongs to.", "identifier", "if the topic belongs to no theme"
    ),
    "n_sentences": Definition("Sentences in the topic.", "sentences"),
}

_SENTIMENT = {
    "theme_name": Definition("The theme's name.", "text"),
    "theme_description": Definition("What the theme is about.", "text"),
    "theme_keywords": Definition("The theme's keywords, best first.", "list"),
    "link_date": Definition(
        "First day of the CCM link that gave the PERMNO.",
        "date",
        "if the CCM link table leaves the start of the link open",
    ),
    "topic_summary": Definition("The firm's topic in words.", "text"),
    "sentences": Definition(
        "The topic's sentences as spoken, in the order of the call. Each has sentence_id, text, "
        "speaker_type and position. Licensed text: keep it out of a replication package.",
        "list of records",
    ),
    "n_sentences": Definition("Sentences in the topic: as many as sentences holds.", "sentences"),
}

_AUDIT = {
    "item_kind": Definition("What was named: topic or theme.", "topic or theme"),
    "item_id": Definition("The topic_id or theme_id that was named.", "identifier"),
    "prompt_sha256": Definition("Hash of the prompt.", "sha256"),
    "request_sha256": Definition(
        "Hash of prompt, model and parameters: the answer's key in the cache.", "sha256"
    ),
    "model_asked": Definition("The model that was asked for.", "text"),
    "model_answered": Definition(
        "The model that answered, as the server states it.", "text", "if the server does not say"
    ),
    "revision": Definition(
        "The model's revision, as the server states it.", "text", "if the server does not say"
    ),
    "answer": Definition("The raw answer.", "text"),
    "prompt_tokens": Definition("Length of the prompt.", "tokens", "if the server does not say"),
    "completion_tokens": Definition(
        "Length of the answer.", "tokens", "if the server does not say"
    ),
    "latency_s": Definition(
        "How long the answer took, the first time it was asked for.",
        "seconds",
        "if it is not on record",
    ),
    "asked_at": Definition("When it was asked for first.", "date and time, UTC"),
}

_SERIES = {
    "theme_id": Definition("The theme of the quarter that is in the series.", "identifier"),
    "series_id": Definition(
        "The series. Its id is that of the theme it begins with, and never changes.", "identifier"
    ),
    "quarter": Definition("Quarter of the theme.", "quarter, like 2016Q2"),
    "run_id": Definition("The quarter's run whose themes were linked.", "identifier"),
    "cosine": Definition(
        "Cosine of the theme's centroid with the series' theme one quarter earlier.",
        "cosine, -1 to 1",
        "if the series begins with this theme",
    ),
    "n_from": Definition(
        "Themes one quarter earlier that are linked to it. 0: it is new; 2 or more: they merged.",
        "themes",
    ),
}

_LINKS = {
    "quarter_from": Definition("The earlier quarter.", "quarter, like 2016Q2"),
    "theme_from": Definition("The theme of the earlier quarter.", "identifier"),
    "quarter_to": Definition("The quarter after it.", "quarter, like 2016Q2"),
    "theme_to": Definition("The theme of the later quarter.", "identifier"),
    "cosine": Definition("Cosine of the two themes' centroids.", "cosine, -1 to 1"),
    "is_match": Definition(
        "True for the pair that carries the series on. At most one for each theme on either side; "
        "the others are akin but not near enough, or show splits and merges.",
        "true or false",
    ),
}

SPECIFIC: dict[str, dict[str, Definition]] = {
    "firms": _FIRMS,
    "sentences": _SENTENCES,
    "topics": _TOPICS,
    "themes": _THEMES,
    "theme_contributions": _CONTRIBUTIONS,
    "panel": _PANEL,
    "panel_calls": _PANEL_CALLS,
    "themes_for_sentiment": _SENTIMENT,
    "naming_audit": _AUDIT,
    "series": _SERIES,
    "theme_links": _LINKS,
}
"""Table → column → what it means there."""

TABLES: dict[str, str] = {
    "panel": "One row per call with topics and theme, zeros included: the table for regressions.",
    "panel_calls": "One row per call that the plan keeps, also those without topics, which the "
    "panel leaves out.",
    "themes": "One row per theme of the quarter, largest first.",
    "theme_contributions": "One row per firm topic, with the theme it belongs to.",
    "themes_for_sentiment": "One row per theme, firm and topic, with the sentences as spoken.",
    "topics": "One row per firm topic, with its name.",
    "sentences": "One row per sentence of the firms that are done; no text.",
    "firms": "One row per firm of the run.",
    "naming_audit": "One row per answer of a language model that a name rests on.",
    "series": "One row per theme of a linked quarter, with the series it continues or begins.",
    "theme_links": "One row per pair of themes of neighbouring quarters that are near enough.",
}
"""Table → what a row is; in the order in which a reader needs them."""


def define(table: str, column: str) -> Definition:
    """What a column of a table means.

    Raises:
        KeyError: neither the table nor COMMON defines it.
    """
    return SPECIFIC[table].get(column) or COMMON[column]
