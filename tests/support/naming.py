"""Topics and themes to name, and namers that wait milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ftm.naming.base import Name, NamingItem
from ftm.naming.llm import LLMNamer
from ftm.naming.patience import Waits
from ftm.naming.requests import LLMOptions
from ftm.storage.object_store import ObjectStore
from tests.support.llm_server import MODEL, LLMServer

FAST = Waits(initial_s=0.01, max_s=0.02, first_contact_s=0.2)


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    """A language-model server."""
    with LLMServer() as server:
        yield server


def topic(number: int = 0, *sentences: str, **more: Any) -> NamingItem:
    """A topic of Acme's."""
    said = sentences or (f"Acme's backlog grew in region {number}.", "John Smith sees demand.")
    fields: dict[str, Any] = {"masked_names": ("Acme Corp", "John Smith"), **more}
    return NamingItem("topic", f"F{number:03d}_0", ("backlog", "demand"), said, **fields)


def theme(number: int = 0) -> NamingItem:
    """A theme of Acme's and Bolt's topics."""
    return NamingItem(
        "theme",
        f"theme_2023Q1_{number:03d}",
        ("backlog", "order", "demand", "book", "bill"),
        (f"Orders at Bolt rose by {number} percent.",),
        ("Acme Corp", "Bolt Inc", "John Smith"),
        ("backlog, orders", "demand in regions"),
        ("Acme Corp", "Bolt Inc"),
    )


def options(server: LLMServer, **changes: Any) -> LLMOptions:
    """Options for a server, with little patience."""
    given = {"model": MODEL, "timeout_s": 5.0, "patience_s": 0.3, **changes}
    return LLMOptions(base_url=server.url, **given)


def namer(server: LLMServer, store: ObjectStore, **changes: Any) -> LLMNamer:
    """A namer for a server."""
    return LLMNamer(store, options(server, **changes), waits=FAST)


def name_all(
    server: LLMServer, store: ObjectStore, items: list[NamingItem], **changes: Any
) -> list[Name]:
    """Names from a namer of their own."""
    with namer(server, store, **changes) as one:
        return one.name_all(items, done=lambda _: None)
