"""Names masked in a whole call because somebody is introduced by them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftm.core.records import FirmTurns
from ftm.text.pipelines import load_pipeline
from tests.support.calls import OPERATOR, firm, turn

RULES = load_pipeline("rules")


def words(*turns: str) -> set[str]:
    """The words of the cleaned text of Acme Corp.'s call, the first turn the operator's."""
    operator = turn(turns[0], kind=OPERATOR, name="Operator")
    sentences = RULES.process(firm(operator, *turns[1:])).sentences
    return {word for sentence in sentences for word in sentence.cleaned_text.split()}


@pytest.mark.parametrize(
    "handing",
    [
        "turn the call over to",
        "turn it back over to",
        "hand over to",
        "hand this second question over now to",
        "Turning things over to",
        "hand you over to",
        "pass the floor back over to",
    ],
)
def test_who_is_given_the_word_is_a_person(handing: str) -> None:
    """An unusual given name too, and the full name's surname."""
    said = words("", f"Now {handing} Korhan Bilsel.", "Korhan and Bilsel expect Korhan's margins.")
    assert {"expect", "margin"} <= said
    assert not said & {"korhan", "bilsel"}


@pytest.mark.parametrize("name", ["Snowflake", "Ozempic", "Netflix", "Walmart", "Zara Home"])
@pytest.mark.parametrize(
    "moving",
    [
        "We shifted production over to",
        "Patients easily transition over to",
        "The business has moved over to",
        "The licence was handed over to",
    ],
)
def test_what_something_moves_over_to_is_no_person(moving: str, name: str) -> None:
    """A company or product keeps its name in the whole call."""
    first = name.split()[0]
    assert first.lower() in words("", f"{moving} {name}.", f"The {first} segment margin improved.")


def test_the_firm_itself_is_no_person() -> None:
    """The operator turns the call over to it."""
    said = words("I turn the call over to Acme.", "The Acme brand grew strongly.")
    assert said == {"acme", "brand", "grow", "strongly"}


def test_a_firm_named_like_a_person_hides_no_person() -> None:
    """A known given name counts though the firm has it too."""
    call = firm("I hand over to Jamie.", "Jamie expects margins to grow.")
    named = FirmTurns(replace(call.call, firm_name="Jamie Oliver Foods"), call.turns)
    assert [s.cleaned_text for s in RULES.process(named).sentences] == ["expect margin grow"]


def test_words_before_a_request_are_no_names() -> None:
    """'Sorry, could you repeat that?' introduces nobody."""
    asked = "Sorry, could you repeat that? Firstly, can you say more? Oriol, can you?"
    said = words("", asked, "Sorry margins fell and Firstly grew. Oriol agrees with growth.")
    assert {"sorry", "firstly"} <= said
    assert "oriol" not in said


def test_two_letters_are_a_name_unless_they_are_a_word() -> None:
    """Xu is masked, the ad business of a call with a Ms. Ad is not."""
    said = firm(
        turn("The Ad business and Xu expect growth.", name="Jane Ad"),
        turn("Prices rose for stores.", name="Bo Xu"),
    )
    assert RULES.process(said).sentences[0].cleaned_text == "ad business expect growth"
