"""Objects of which something is known are looked for again before they are called gone."""

from __future__ import annotations

import pytest

from ftm.core.errors import ObjectNotFoundError
from ftm.storage.checked import MissingObjectError, get_listed
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.retrying import RetryPolicy

KEY = "progress/batch.json"


class AnswersFromBefore(ObjectStore):
    """Says of the first so many reads that there is nothing."""

    n_stale = 0

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        if self.n_stale:
            self.n_stale -= 1
            raise ObjectNotFoundError(key)
        return super().get(key)


@pytest.fixture
def store() -> AnswersFromBefore:
    """One that is taken for S3."""
    made = open_store("memory://", retry=RetryPolicy(wait_s=0.001))
    made.__class__, made.scheme = AnswersFromBefore, "s3"
    assert isinstance(made, AnswersFromBefore)
    return made


def test_what_was_listed_is_looked_for_again(store: AnswersFromBefore) -> None:
    """Twice more, on S3; a folder tells the truth at once."""
    store.put(KEY, b"x")
    store.n_stale = 2
    assert get_listed(store, KEY) == b"x"
    store.n_stale, store.scheme = 1, "file"
    with pytest.raises(MissingObjectError):
        get_listed(store, KEY)


def test_what_was_listed_and_stays_away_is_told_with_a_way_out(store: AnswersFromBefore) -> None:
    """One line that names it."""
    with pytest.raises(MissingObjectError, match=r"batch\.json was listed and is gone; run the"):
        get_listed(store, KEY)
