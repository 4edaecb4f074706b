"""Kinds of sentences: examples in our own words, and labels of real sentences read by hand."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.schemas import KINDS
from ftm.text.kinds import classify_kinds
from ftm.text.pipelines import load_pipeline
from ftm.text.spacy_pipeline import SpacyTextPipeline
from tests.support.real_calls import real_calls_folder

DATA = Path(__file__).parents[1] / "data"
# kind: (precision, recall), a little below what was measured.
TUNED = {
    "content": (0.94, 0.98),
    "safe_harbor": (0.95, 0.95),
    "greeting": (0.95, 0.88),
    "procedural": (0.93, 0.80),
    "non_gaap_notice": (0.80, 0.75),
}
# Sentences around hand-overs, all of them content to the rules before. Of the half held out only
# 11 are procedural.
TALK = {"content": (0.95, 0.98), "procedural": (0.90, 0.60)}
FRESH = {"content": (0.85, 0.98), "procedural": (0.90, 0.60)}
TALK_HELD_OUT = {"content": (0.95, 0.98), "procedural": (0.90, 0.45)}
# 101 of these 300 are from two interpreted calls, in which hardly a handover is worded alike.
HELD_OUT = {
    "content": (0.90, 0.98),
    "safe_harbor": (0.80, 0.80),
    "greeting": (0.95, 0.85),
    "procedural": (0.90, 0.35),
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("safe_harbor", "Today's remarks include forward-looking statements about our plans."),
        ("safe_harbor", "Actual results could differ materially from what we expect."),
        ("safe_harbor", "We undertake no obligation to update these comments."),
        ("safe_harbor", "Please see the risk factors in our Form 10-K filed with the SEC."),
        ("safe_harbor", "Do not place undue reliance on what we say."),
        ("greeting", "Good morning everyone and thank you for joining us today."),
        ("greeting", "Thanks for taking my question."),
        ("greeting", "Congrats on a great quarter, guys."),
        ("greeting", "Thank you, operator."),
        ("greeting", "Great question, Ann."),
        ("procedural", "Your next question comes from the line of Ann Lee with Acme Securities."),
        ("procedural", "I'll now turn the call over to our CFO."),
        ("procedural", "Please go ahead."),
        ("procedural", "Can you hear me?"),
        ("procedural", "A replay will be available on our website this evening."),
        ("procedural", "Please turn to slide 5."),
        ("procedural", "This concludes today's conference call."),
        ("procedural", "I have two quick questions."),
        ("procedural", "Operator, we are ready for questions."),
        ("procedural", "After our prepared remarks, we will take your questions."),
        ("procedural", "Thank you, I'll jump back into the queue."),
        ("procedural", "Thanks, I'll get back in the queue."),
        ("procedural", "Understood, I'll pass it on."),
        ("greeting", "Great, thanks a lot."),
        ("non_gaap_notice", "A reconciliation to comparable GAAP measures is on our website."),
        ("non_gaap_notice", "During this call we will refer to non-GAAP financial measures."),
        ("content", "Thanks, the margin fell because freight costs rose in Europe."),
        ("content", "Good morning, sales grew 5% in the quarter on higher volumes."),
        ("content", "Non-GAAP operating income was $12 million."),
        ("content", "We are getting better at the reconciliation of inventory."),
        ("content", "Our risk management reduced credit losses in the portfolio."),
        ("content", "The telecom operator turned the network over to a tower company."),
        ("content", "Great demand drove prices higher."),
        ("content", "With that I will hand over to Jo, but we expect that supply will improve."),
        ("content", "Resin became dearer, and we will pass it on."),
        ("content", "The queue of trucks at the port came back in the spring."),
        ("content", "Question marks remain about the supply chain in Asia."),
        ("greeting", "[indiscernible], it's good to hear from you."),
        ("procedural", "I'll let Ann take the part on freight."),
        ("procedural", "Yes, [indiscernible], I will ask [indiscernible] to speak to that."),
        ("procedural", "With this update, I'd ask our CFO to go through the numbers."),
        ("procedural", "I'll take a stab at it, and maybe [indiscernible] can add on."),
        ("procedural", "On freight, I'm going to have Jo Smith answer that."),
        ("procedural", "Let me try to address both parts of the question."),
        ("procedural", "[indiscernible], sorry, let me clarify."),
        ("procedural", "Jo, anything you want to add?"),
        ("procedural", "[indiscernible], do you want to talk about the plant in Ohio."),
        ("procedural", "Well, I just want to add to what Ann and Jo said."),
        ("procedural", "So hopefully that helps."),
        ("procedural", "I hope that answers your question, Ann."),
        ("procedural", "I'm sorry, Ann, could you repeat that?"),
        ("procedural", "Let me make sure that I understand your question."),
        ("procedural", "[indiscernible], you cut out at the end of the question."),
        ("procedural", "Pardon me."),
        ("procedural", "Excuse me for interrupting."),
        ("procedural", "I don't have that number in front of me."),
        ("procedural", "We don't have anything to add to that."),
        ("procedural", "[indiscernible], our treasurer, will now discuss funding."),
        ("procedural", "I'm joined today by my colleague Ann Lee."),
        ("procedural", "Finally, a few comments on liquidity."),
        ("procedural", "Sure, Ann."),
        ("content", "I'll let Bob answer, but margins will be up."),
        ("content", "I'll let Bob answer, margins will be up."),
        ("content", "I'll let Bob answer and margins are up a lot."),
        ("content", "Let me start by saying that demand was strong in Asia."),
        ("content", "I'd like to add one more plant in Ohio."),
        ("content", "I'd like to have more share in Asia."),
        ("content", "We will let the leases expire and take the space back."),
        ("content", "We don't guide on that."),
        ("content", "Hopefully that helps margins."),
        ("content", "The agency will now review the data."),
        ("content", "Our customers want to add to their fleets."),
        ("content", "You cut out a layer of management."),
        ("content", "I will take that as a positive for the margin."),
        ("content", "Sorry, it was the third quarter."),
        ("content", "We couldn't get the parts."),
        ("content", "[indiscernible], demand is strong in Ohio."),
    ],
)  # fmt: skip
def test_kinds_of_typical_sentences(kind: str, text: str) -> None:
    """What opens, runs and closes a call is told from what is said about the business."""
    assert classify_kinds([text], ["Executives"]) == [kind]


def test_boilerplate_between_boilerplate_is_boilerplate() -> None:
    """A list of risks between two safe-harbour sentences carries no phrase of its own."""
    legal = "Actual results could differ materially from forward-looking statements."
    middle = "These include competition, weather and the loss of customers."
    speakers = ["Executives"] * 3
    assert classify_kinds([legal, middle, legal], speakers) == ["safe_harbor"] * 3
    assert classify_kinds([legal, middle, "Sales grew."], speakers)[1] == "content"


@pytest.mark.parametrize(
    ("text", "analyst"),
    [
        ("Do you want to talk about freight?", "content"),
        ("Could you repeat that?", "procedural"),
    ],
)
def test_an_analyst_asks_where_an_executive_hands_over(text: str, analyst: str) -> None:
    """What is a prompt to a colleague among executives is a question about the business."""
    assert classify_kinds([text, text], ["Executives", "Analysts"]) == ["procedural", analyst]


@given(st.lists(st.text()))
def test_every_sentence_gets_a_known_kind(texts: list[str]) -> None:
    """One kind a sentence, whatever the text; none for none."""
    kinds = classify_kinds(texts, ["Executives"] * len(texts))
    assert len(kinds) == len(texts)
    assert set(kinds) <= set(KINDS)


def test_lengths_must_agree() -> None:
    """A mismatch is told with both numbers."""
    with pytest.raises(ValueError, match="2 sentences but 1 speaker types"):
        classify_kinds(["a", "b"], ["Executives"])


@pytest.mark.real_calls
@pytest.mark.parametrize(
    ("file", "n", "floors"),
    [
        ("kinds_labels.jsonl", 800, {"all": TUNED}),
        ("kinds_heldout.jsonl", 300, {"all": HELD_OUT}),
        ("kinds_talk.jsonl", 300, {"all": TALK, "held_out": TALK_HELD_OUT}),
        ("kinds_fresh.jsonl", 90, {"all": FRESH}),
    ],
)
def test_precision_and_recall_on_real_sentences(
    file: str, n: int, floors: dict[str, dict[str, tuple[float, float]]]
) -> None:
    """Of sentences labelled by reading, few are taken for another kind.

    The rules were written and mended with the first file in view, never with the second; of the
    third with half of it. Labels marked ambiguous, where a reader could not decide, count for
    nothing.
    """
    labels = [json.loads(line) for line in (DATA / file).read_text().splitlines()]
    assert len(labels) == n
    sentences = _spoken({label["transcript_id"] for label in labels})
    found = [
        (label.get("half"), label["kind"], classify_kinds([text], [speaker])[0])
        for label in labels
        for text, speaker in [sentences.get(label["sha256"], ("", ""))]
        if text and not label.get("ambiguous")
    ]
    assert len(found) >= 0.9 * n
    for half, kinds in floors.items():
        pairs = [(label, kind) for of, label, kind in found if half in ("all", of)]
        assert_precision_and_recall(pairs, kinds)


def assert_precision_and_recall(
    pairs: list[tuple[str, str]], floors: dict[str, tuple[float, float]]
) -> None:
    """Of (label, found kind), each kind has at least this precision and recall."""
    right, labelled, found = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    for label, kind in pairs:
        labelled[label] += 1
        found[kind] += 1
        right[kind] += label == kind
    for kind, (precision, recall) in floors.items():
        assert right[kind] / found[kind] >= precision, kind
        assert right[kind] / labelled[kind] >= recall, kind


def _spoken(transcripts: set[int]) -> dict[str, tuple[str, str]]:
    """Hash of the sentence → (sentence, speaker type), for all sentences of these transcripts."""
    folder = real_calls_folder()
    wanted = [("transcriptid", "in", transcripts)]
    person = pq.read_table(folder / "ciq.wrds_transcript_person.parquet", filters=wanted)
    speakers = dict(
        zip(
            person["transcriptcomponentid"].to_pylist(),
            person["speakertypename"].to_pylist(),
            strict=True,
        )
    )
    pipeline = load_pipeline("rules")
    assert isinstance(pipeline, SpacyTextPipeline)
    found = {}
    turns = pq.read_table(folder / "ciq.ciqtranscriptcomponent.parquet", filters=wanted)
    for row in turns.to_pylist():
        for text in pipeline.split(row["componenttext"] or ""):
            name = hashlib.sha256(text.encode()).hexdigest()[:16]
            found[name] = (text, speakers[row["transcriptcomponentid"]])
    return found
