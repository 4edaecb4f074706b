"""Leases that grow old by a clock of the test instead of the store's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from ftm.storage.conditional_lease import LEASE_LASTS
from ftm.storage.lease import LEASE_FIELD
from ftm.storage.object_store import ObjectStore


def lease_age(clock: Callable[[], datetime]) -> Callable[[ObjectStore, str], timedelta]:
    """What `age_in_store` would say if the holder's clock, this one and the store's agreed."""

    def age(store: ObjectStore, key: str) -> timedelta:
        expires = json.loads(store.get(key))[LEASE_FIELD]["expires"]
        return clock() - (datetime.fromisoformat(expires) - LEASE_LASTS)

    return age
