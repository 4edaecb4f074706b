"""The plan of an unfinished session is damaged: what is advised leads on, and never in a circle."""

from __future__ import annotations

import pytest

from ftm.core.errors import CorruptObjectError
from ftm.prefetch.giving_up import give_up_quarter
from ftm.prefetch.sessions import GIVE_UP
from ftm.storage.checkpoint import decode_session
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import peek_leased
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Clock,
    Killed,
    dead_writer,
    firms,
    killed_at,
    manifest,
    prefetch,
    preprocess,
)

PLAN = LAYOUT.key(LAYOUT.plan_file(2))
SOURCE = FakeSource(firms(5), version="v2")


@pytest.fixture
def store() -> ObjectStore:
    """A published quarter."""
    store = open_store("memory://")
    prefetch(store, FakeSource(firms(5)))
    return store


def killed_refresh(store: ObjectStore, *, has_tried: bool) -> None:
    """A refresh killed right after its plan was put, or when it had tried firms."""
    for boundary in range(60):
        with pytest.raises(Killed), killed_at(store, boundary):
            prefetch(store, SOURCE, refresh=True)
        session = decode_session(peek_leased(store, LAYOUT.checkpoint), key="")
        if store.exists(PLAN) and session and bool(session.n_attempted) == has_tried:
            return
    raise AssertionError("no such boundary")


@pytest.mark.parametrize("data", [b"broken", b""])
def test_a_plan_that_nothing_follows_yet_is_made_anew(store: ObjectStore, data: bytes) -> None:
    """Nobody has to do anything: no firm was tried."""
    killed_refresh(store, has_tried=False)
    store.put(PLAN, data)
    assert prefetch(store, SOURCE, refresh=True).generation == 2
    assert manifest(store).n_firms == 5


@pytest.mark.parametrize("data", [b"broken", None])
def test_what_is_advised_for_an_unfinished_refresh_works(
    store: ObjectStore, data: bytes | None
) -> None:
    """To refresh again would only take it up again, and stop at the same plan."""
    killed_refresh(store, has_tried=True)
    store.delete(PLAN)
    if data is not None:
        store.put(PLAN, data)
    for _ in range(2):
        with pytest.raises(CorruptObjectError) as caught:
            prefetch(store, SOURCE, refresh=True)
    assert f"delete {store.name(LAYOUT.checkpoint)} and run the command again" in str(caught.value)
    assert "--refresh" not in str(caught.value)
    store.delete(LAYOUT.checkpoint)
    assert prefetch(store, SOURCE, refresh=True).generation == 3


def test_a_damaged_copy_of_the_plan_is_said_and_given_up(store: ObjectStore) -> None:
    """Of an unfinished preprocess: `already exists` would help nobody."""
    other = FakePreprocessor("other")
    with pytest.raises(Killed), killed_at(store, 12):
        preprocess(store, other)
    assert store.exists(PLAN)
    store.put(PLAN, b"broken")
    with pytest.raises(CorruptObjectError, match=GIVE_UP.format(QUARTER)):
        preprocess(store, other)
    give_up_quarter(store, QUARTER, clock=Clock(), new_identity=dead_writer)
    assert preprocess(store, other).generation == 2
