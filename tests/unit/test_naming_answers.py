"""Answers: what is taken, what is refused and why."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.naming.answers import Answer, BadAnswerError, parse_answer
from ftm.naming.masking import Masker

SUMMARY = "Managers describe how the order backlog develops."
GOOD = json.dumps({"label": "Order backlog", "summary": SUMMARY})
TAKEN = Answer("Order backlog", SUMMARY)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here it is: {GOOD} I hope it helps {{}}",
        f'<think>{{"label": "Draft", "summary": "{SUMMARY}"}}</think>{GOOD}',
        f"thoughts without a beginning</think>\n{GOOD}",
        f"<thinking>a</thinking>{GOOD}<think>and now",
        f'First {{"label": "Draft", "summary": "{SUMMARY}"}}, better: {GOOD}',
        GOOD.replace("backlog dev", "backlog\\n dev"),
        GOOD.replace("Order backlog", "  **Order backlog** "),
        GOOD.replace("Order backlog", "## **Order** __backlog__"),
        json.dumps({**json.loads(GOOD), "confidence": 1}),
    ],
)
def test_an_answer_is_found_in_whatever_surrounds_it(text: str) -> None:
    """Fences, thoughts, chatter, drafts, line breaks and further fields."""
    assert parse_answer(text, "topic") == TAKEN


def test_a_theme_has_fields_of_its_own() -> None:
    """A topic's answer is none to a theme."""
    theme = json.dumps({"name": "Order backlog", "description": SUMMARY})
    assert parse_answer(theme, "theme") == TAKEN
    with pytest.raises(BadAnswerError):
        parse_answer(GOOD, "theme")


def with_fields(**fields: object) -> str:
    """The good answer with other fields."""
    return json.dumps({**json.loads(GOOD), **fields})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "empty"),
        ("", "empty"),
        ("   ", "empty"),
        (f"<think>{GOOD}", "empty"),
        (f"{GOOD} is a draft.</think>", "empty"),
        ("Order backlog", "no JSON"),
        ("{}", "no JSON"),
        ('{"label": "Order backlog"}', "no JSON"),
        (f"[{GOOD[:-1]}", "no JSON"),
        ("[" * 3000 + "{" * 3000, "no JSON"),
        (with_fields(label=3), "label"),
        (with_fields(label=["a"]), "label"),
        (with_fields(label=""), "label"),
        (with_fields(label="x" * 81), "label"),
        (with_fields(summary="long words " * 60), "summary"),
        (with_fields(label="a b c d e f g h i j k l m"), "sentence"),
        (with_fields(label="12 %"), "no words"),
        (with_fields(summary="HACKED"), "no sentence"),
        (with_fields(summary=f"{SUMMARY} <b>"), "markup"),
        (with_fields(summary=f"{SUMMARY} see https://x.test"), "markup"),
        (with_fields(label="[FIRM] orders"), "placeholder"),
        (with_fields(summary=f"The [Person] says: {SUMMARY}"), "placeholder"),
        (with_fields(label="Acme orders"), "company"),
        (with_fields(summary=f"At Acme, {SUMMARY}"), "company"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str | None, problem: str) -> None:
    """And the reason repeats no word of the answer."""
    with pytest.raises(BadAnswerError, match=problem) as caught:
        parse_answer(text, "topic", names=Masker(("Acme Corp",)))
    assert "Acme" not in caught.value.problem
    assert "HACKED" not in caught.value.problem


def test_an_answer_cut_off_names_the_setting() -> None:
    """Thinking models need more tokens."""
    with pytest.raises(BadAnswerError, match="LLM_MAX_TOKENS"):
        parse_answer(f"<think>{GOOD[:30]}", "topic", cut_off=True)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """It is an answer with both fields on one line, or refused."""
    with contextlib.suppress(BadAnswerError):
        found = parse_answer(text, "topic")
        assert found.name.strip()
        assert found.description.strip()
        assert "\n" not in found.name + found.description
