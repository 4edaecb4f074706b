"""A lease whose object goes while somebody asks for it."""

from __future__ import annotations

import pytest

from ftm.core.errors import LeaseHeldError, ObjectNotFoundError
from ftm.storage.object_store import PROBE, open_store
from tests.support.s3_server import Bucket
from tests.unit.test_lease import KEY, lease, writer


def test_a_holder_that_ends_while_it_is_asked_for_is_followed(s3: Bucket) -> None:
    """Its object is gone by then: nobody is taken over from, and nothing was refused."""
    store, said = open_store(s3.url, endpoint_url=s3.server.url), []
    first = lease(store, writer(1, host="there"))
    first.acquire()

    def end(moment: str, key: str) -> None:
        if (moment, key) == ("after put", PROBE):
            store.hook = lambda _moment, _key: None
            first.delete()

    store.hook = end
    second = lease(store, writer(2), say=said.append)
    assert second.acquire() == {}
    second.ensure_held()
    assert said == []


def test_who_is_too_late_with_a_lease_it_follows_is_told_so() -> None:
    """AWS answers 404 to If-Match where the object is gone (moto 412): no answer for a user."""
    store = open_store("memory://")
    lease(store, writer(1)).acquire()

    def refuse(moment: str, key: str) -> None:
        if (moment, key) == ("before put", KEY):
            raise ObjectNotFoundError(f"{key} does not exist")

    store.hook = refuse
    with pytest.raises(LeaseHeldError, match="a writer that was faster"):
        lease(store, writer(2, alive=False)).acquire()
