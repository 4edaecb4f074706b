"""The evaluator that the tests of Terraform's policies rely on."""

from typing import Any

import pytest

from tests.support.iam_policies import allows

OBJECT = "arn:aws:s3:::bucket/prefetch/x"


def policy(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    """A document of one statement about reading prefetch/."""
    statement = {
        "Effect": effect,
        "Action": "s3:Get*",
        "Resource": "arn:aws:s3:::bucket/prefetch/*",
    }
    return {"Statement": [statement | elements]}


def test_what_no_statement_allows_is_denied() -> None:
    """Another action, another resource and no policy at all are denied."""
    assert allows([policy()], "s3:GetObject", OBJECT)
    assert not allows([policy()], "s3:PutObject", OBJECT)
    assert not allows([policy()], "s3:GetObject", "arn:aws:s3:::bucket/processed/x")
    assert not allows([], "s3:GetObject", OBJECT)


def test_deny_wins_over_allow() -> None:
    """In whichever order the documents come."""
    documents = [policy(), policy("Deny")]
    assert not allows(documents, "s3:GetObject", OBJECT)
    assert not allows(documents[::-1], "s3:GetObject", OBJECT)


@pytest.mark.parametrize(
    ("prefix", "allowed"), [("prefetch/", True), ("prefetch/a/b", True), ("runs/", False)]
)
def test_condition_is_compared_with_the_request(prefix: str, allowed: bool) -> None:
    """A prefix outside the condition's patterns is not allowed."""
    conditional = policy(Condition={"StringLike": {"s3:prefix": ["prefetch/*"]}})
    assert allows([conditional], "s3:GetObject", OBJECT, {"s3:prefix": prefix}) is allowed


def test_condition_on_a_missing_key_does_not_hold() -> None:
    """An Allow then says nothing, and neither does a Deny."""
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    assert not allows([policy(Condition=condition)], "s3:GetObject", OBJECT)
    assert allows([policy(), policy("Deny", Condition=condition)], "s3:GetObject", OBJECT)


@pytest.mark.parametrize(
    "elements", [{"NotAction": "s3:*"}, {"Condition": {"DateLessThan": {"aws:CurrentTime": "x"}}}]
)
def test_what_it_does_not_know_is_refused(elements: dict[str, Any]) -> None:
    """Rather than evaluated wrongly."""
    with pytest.raises(ValueError, match="cannot evaluate"):
        allows([policy(**elements)], "s3:GetObject", OBJECT)
