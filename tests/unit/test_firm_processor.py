"""One firm from sentences to rows."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ftm.core.errors import SchemaError, TopicModelError
from ftm.core.schemas import KINDS
from ftm.mapping.firm_processor import FirmProcessor
from ftm.mapping.firm_rows import build_rows
from ftm.topics.base import InlinePool, Topic, TopicModelResult
from ftm.topics.noop import NoOpTopicModel
from ftm.wiring import get_firm_processor
from tests.support.business_firms import make_firm
from tests.support.models import ScriptedEmbedder
from tests.support.runs import noop_settings

START = datetime(2023, 4, 3, 12, tzinfo=UTC)


def processor(embedder: ScriptedEmbedder | None = None, **options: object) -> FirmProcessor:
    """A processor on the no-op model: topics are runs of twenty sentences."""
    return FirmProcessor(
        embedder or ScriptedEmbedder(),
        InlinePool(NoOpTopicModel()),
        timestamp=START,
        **options,  # type: ignore[arg-type]
    )


def test_every_sentence_gets_a_row_that_says_what_became_of_it() -> None:
    """Clustered, outlier and not clustered are told apart; order is that of the call."""
    firm = make_firm(1, n_sentences=50)
    rows = processor().process(firm).sentences.to_pylist()
    assert [r["sentence_id"] for r in rows] == [s.sentence_id for s in firm.sentences]
    assert rows[0] == {
        "sentence_id": firm.sentences[0].sentence_id,
        "firm_id": firm.firm_id,
        "local_topic_id": None,
        "probability": None,
        "kind": "greeting",
    }
    assert [r["local_topic_id"] for r in rows[1:]] == [0] * 20 + [1] * 20 + [-1] * 9
    assert {r["kind"] for r in rows[1:]} == {"content"}


def test_waiting_is_not_called_clustering() -> None:
    """The clock counts what this process does, and calls the rest of it by its name."""
    given = processor()
    given.finish(given.start(make_firm(1, n_sentences=50)))
    assert given.clock.seconds.keys() == {"kinds", "embed", "wait", "rows"}


def test_topic_rows_carry_the_firm_and_point_at_its_sentences() -> None:
    """A topic's row has its identifiers, its own sentences and the run's start."""
    firm = make_firm(7, n_sentences=50)
    first, second = processor().process(firm).topics.to_pylist()
    assert (first["topic_id"], second["topic_id"]) == (f"{firm.firm_id}_0", f"{firm.firm_id}_1")
    assert (first["permno"], first["gvkey"], first["quarter"]) == (10007, "000007", "2023Q1")
    assert first["naming_method"] == "keywords"
    assert first["summary"] == first["representation"]
    assert first["n_sentences"] == 20
    assert set(first["sentence_ids"]) == {s.sentence_id for s in firm.sentences[1:21]}
    assert first["processing_timestamp"] == START
    assert len(first["centroid"]) == 8


def test_a_firm_is_embedded_in_one_call_of_its_content_only() -> None:
    """The greeting is not embedded, and nothing is embedded twice."""
    firm = make_firm(1)
    embedder = ScriptedEmbedder()
    processor(embedder).process(firm)
    assert embedder.calls == [[s.raw_text for s in firm.sentences[1:]]]


def test_a_transcribers_marks_are_not_embedded() -> None:
    """Sentences with `[indiscernible]` for a name are embedded by what was said."""
    firm = make_firm(1)
    marked = [
        replace(s, raw_text=f"[indiscernible], {s.raw_text} (laughter)") for s in firm.sentences
    ]
    embedder = ScriptedEmbedder()
    processor(embedder).process(replace(firm, sentences=marked))
    assert embedder.calls == [[s.raw_text for s in firm.sentences[1:]]]


def test_embed_text_chooses_what_is_embedded() -> None:
    """`cleaned` embeds the lemmas; keywords come from the cleaned text either way."""
    firm = make_firm(1)
    embedder = ScriptedEmbedder()
    cleaned = processor(embedder, embed_text="cleaned").process(firm).topics
    assert embedder.calls == [[s.cleaned_text for s in firm.sentences[1:]]]
    assert cleaned["keywords"] == processor().process(firm).topics["keywords"]


def test_keep_kinds_chooses_what_is_clustered() -> None:
    """With every kind kept, the greeting is clustered too and still says what it is."""
    firm = make_firm(1, n_sentences=40)
    sentences = processor(keep_kinds=frozenset(KINDS)).process(firm).sentences
    assert sentences["local_topic_id"].to_pylist() == [0] * 20 + [1] * 20
    assert sentences["kind"][0].as_py() == "greeting"


@pytest.mark.parametrize("embed_text", ["raw", "cleaned"])
def test_the_setting_embed_text_reaches_the_firms(embed_text: str) -> None:
    """The processor a worker gets embeds the text that FTM_EMBED_TEXT names."""
    firm = make_firm(1)
    wired = get_firm_processor(noop_settings(embed_text=embed_text), timestamp=START)
    centroids = wired.process(firm).topics["centroid"]
    assert centroids == processor(embed_text=embed_text).process(firm).topics["centroid"]
    other = "raw" if embed_text == "cleaned" else "cleaned"
    assert centroids != processor(embed_text=other).process(firm).topics["centroid"]


@pytest.mark.parametrize(
    ("keep_kinds", "clustered"), [("content", 39), ("greeting", 1), ("content, greeting", 40)]
)
def test_the_setting_keep_kinds_reaches_the_firms(keep_kinds: str, clustered: int) -> None:
    """The processor a worker gets clusters the kinds that FTM_KEEP_KINDS names."""
    wired = get_firm_processor(noop_settings(keep_kinds=keep_kinds), timestamp=START)
    assert len(wired.start(make_firm(1, n_sentences=40)).clustered) == clustered


@pytest.mark.parametrize("n_sentences", [0, 1, 2, 19])
def test_too_few_sentences_give_zero_topics(n_sentences: int) -> None:
    """A small firm is done with no topics, and its sentences count as not clustered."""
    rows = processor().process(make_firm(1, n_sentences=n_sentences))
    assert rows.topics.num_rows == 0
    assert rows.sentences["local_topic_id"].to_pylist() == [None] * n_sentences


def test_a_firm_depends_on_no_other_firm() -> None:
    """The same firm gives the same rows, whatever was processed before it."""
    shared = processor()
    shared.process(make_firm(2))
    assert shared.process(make_firm(1)) == processor().process(make_firm(1))


def test_missing_identifiers_are_that_firms_error() -> None:
    """A null where the schema wants a value names the firm and the column."""
    firm = make_firm(1)
    broken = replace(firm, metadata={**firm.metadata, "permno": None})
    with pytest.raises(SchemaError, match=r"firm 100001\b.*permno"):
        processor().process(broken)


def test_a_topics_sentence_ids_stay_most_typical_first() -> None:
    """The row keeps the model's order, not that of the call, and indexes the clustered ones."""
    firm = make_firm(1, n_sentences=5)
    topic = Topic(0, (), "", (2, 0, 3, 1), np.zeros(8, np.float32))
    rows = build_rows(
        firm,
        kinds=["greeting", *["content"] * 4],
        clustered=range(1, 5),
        result=TopicModelResult(np.zeros(4, np.int32), np.ones(4, np.float32), (topic,)),
        timestamp=START,
    )
    wanted = [firm.sentences[i].sentence_id for i in (3, 1, 4, 2)]
    assert rows.topics["sentence_ids"].to_pylist() == [wanted]


def test_a_result_that_does_not_fit_is_refused() -> None:
    """Assignments for another number of sentences never become rows."""
    result = TopicModelResult(np.zeros(3, np.int32), np.zeros(3, np.float32), ())
    with pytest.raises(TopicModelError, match="for 4 sentences"):
        build_rows(
            make_firm(1, n_sentences=4),
            kinds=["content"] * 4,
            clustered=range(4),
            result=result,
            timestamp=START,
        )
