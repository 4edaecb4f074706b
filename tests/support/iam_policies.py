"""Evaluates IAM policy documents: small, and refuses what it does not know.

moto's own evaluator takes an Allow whose condition does not match for a Deny of everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

KNOWN = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def allows(
    documents: Iterable[dict[str, Any]],
    action: str,
    resource: str,
    context: dict[str, str] | None = None,
) -> bool:
    """Whether the documents together allow an action; an explicit Deny wins.

    Args:
        documents: all policies of one identity, or of a resource; principals are not looked at.
        action: such as `s3:GetObject`.
        resource: its ARN.
        context: condition keys of the request, such as `s3:prefix`.

    Raises:
        ValueError: an element or operator this evaluator does not know.
    """
    effects = {
        statement["Effect"]
        for statement in statements(documents)
        if _concerns(statement, action, resource, context or {})
    }
    return "Allow" in effects and "Deny" not in effects


def statements(documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every statement of the documents."""
    for document in documents:
        yield from document["Statement"]


def listed(value: str | list[str]) -> list[str]:
    """One or several, as a list."""
    return [value] if isinstance(value, str) else list(value)


def _concerns(
    statement: dict[str, Any], action: str, resource: str, context: dict[str, str]
) -> bool:
    if unknown := set(statement) - KNOWN:
        raise ValueError(f"cannot evaluate {sorted(unknown)}")
    # Actions are matched whatever their case, ARNs and keys are not.
    return (
        any(_like(a.lower(), action.lower()) for a in listed(statement["Action"]))
        and any(_like(r, resource) for r in listed(statement["Resource"]))
        and all(
            _holds(operator, key, listed(wanted), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, key: str, wanted: list[str], context: dict[str, str]) -> bool:
    if operator not in {"StringEquals", "StringLike", "Bool"}:
        raise ValueError(f"cannot evaluate {operator}")
    if key not in context:
        return False
    if operator == "StringLike":
        return any(_like(pattern, context[key]) for pattern in wanted)
    return context[key] in wanted


def _like(pattern: str, text: str) -> bool:
    # `[` has no meaning in IAM.
    return fnmatchcase(text, pattern.replace("[", "[[]"))
