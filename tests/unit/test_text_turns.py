"""Turns are read together but stay apart: no rule reaches over a turn's end."""

from __future__ import annotations

import pytest

from ftm.core.records import SpeakerTurn
from ftm.text.pipelines import load_pipeline
from tests.support.calls import ANALYST, EXECUTIVE, firm, turn

RULES = load_pipeline("rules")


def cleaned(*turns: SpeakerTurn | str) -> list[str]:
    """The cleaned sentences of a firm with these turns."""
    return [sentence.cleaned_text for sentence in RULES.process(firm(*turns)).sentences]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Our segment margin was [indiscernible]", "Revenue growth accelerated strongly"),
        ("Our segment margin improved (laughter", "Revenue growth accelerated) strongly"),
        ("Our segment margin improved <b", "Revenue growth > accelerated strongly"),
        ("Our segment margin improved, you", "know growth accelerated strongly"),
        ("Our segment margin improved, kind", "of growth accelerated strongly"),
        ("Our segment margin rose in fiscal", "2023 growth accelerated strongly"),
        ("Our segment margin rose five", "percent growth accelerated strongly"),
        ("Our segment margin improved, Mr.", "Growth accelerated strongly"),
        ("Our segment margin met J.", "Growth accelerated strongly"),
    ],
)
def test_a_turn_is_cleaned_the_same_whatever_turn_follows(first: str, second: str) -> None:
    """Marks, phrases, entities and sentences end with the turn at the latest."""
    assert cleaned(first, second) == cleaned(first) + cleaned(second)


def test_a_mark_ends_with_its_turn_among_turns_of_other_lengths() -> None:
    """The words a mark covers are those of its own turn, wherever that stands."""
    assert cleaned(
        "Freight costs fell.",
        " (inaudible",
        "Pricing [ph] held up (crosstalk) across stores (pause",
        "Margins rose]",
    ) == ["freight cost fall", "pricing hold store pause", "margin rise"]


def test_a_name_ends_with_its_sentence() -> None:
    """Van Dyke is a person, a van at a turn's end before a dyke at the next one's start is not."""
    speaker = turn("Gross margins rose.", name="van Dyke")
    assert cleaned(speaker, "We ordered a fast electric van", "Dyke repairs cost us money") == [
        "gross margin rise", "order fast electric van", "dyke repair cost money",
    ]  # fmt: skip


def test_every_sentence_belongs_to_the_turn_that_says_it() -> None:
    """The first sentence of a turn is its own, not the last of the speaker before."""
    text = RULES.process(
        firm(
            turn("Margins improved in retail. Costs fell across stores.", kind=EXECUTIVE),
            turn("Will pricing pressure continue? Inventory looks heavy.", kind=ANALYST),
            turn("Thank you.", kind=EXECUTIVE),
            turn("Inventory turns improve. Prices hold up.", kind=EXECUTIVE),
        )
    )
    assert [(s.raw_text.split()[0], s.speaker_type, s.position) for s in text.sentences] == [
        ("Margins", EXECUTIVE, 0),
        ("Costs", EXECUTIVE, 1),
        ("Will", ANALYST, 2),
        ("Inventory", ANALYST, 3),
        ("Inventory", EXECUTIVE, 4),
        ("Prices", EXECUTIVE, 5),
    ]
    assert text.spans == {0: (0, 1), 1: (2, 3), 3: (4, 5)}


@pytest.mark.parametrize("kind", ["Operator", "operator", " OPERATOR "])
def test_an_operator_is_one_however_spelled(kind: str) -> None:
    """Nothing an operator says becomes a sentence."""
    text = RULES.process(firm(turn("Growth questions queue up.", kind=kind), "Margins rose again."))
    assert [sentence.raw_text for sentence in text.sentences] == ["Margins rose again."]
