"""Answers in the store once more, thousands to an object: a rerun of a quarter has 75,000.

The answers themselves stay where they are; a pack only spares reading each by itself, and may be
deleted. Its name is the hash of its bytes: equal packs are one, and a damaged one is passed over.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from ftm.core.errors import ObjectNotFoundError
from ftm.core.layout import answer_pack, answer_packs
from ftm.naming.cache import CachedAnswer
from ftm.storage.object_store import ObjectStore

PACK_ANSWERS = 5000
"""In one pack: some 500 kB."""
MIN_ANSWERS = 500
"""Fewer are read one by one within a second or two."""


class AnswerPacks:
    """The packs of one way of asking; synchronous, for threads.

    Args:
        store: where they are.
        family: hash of all that the answers share: model and parameters.
    """

    def __init__(self, store: ObjectStore, family: str) -> None:
        self._store = store
        self._family = family
        self._found: dict[str, CachedAnswer] = {}

    def load(self) -> None:
        """Read every pack."""
        for info in self._store.list(answer_packs(self._family)):
            self._found.update((one.request_sha256, one) for one in self._read(info.key))

    def get(self, sha256: str) -> CachedAnswer | None:
        """An answer of a pack that was read."""
        return self._found.get(sha256)

    def add(self, answers: Iterable[CachedAnswer]) -> None:
        """Pack answers that are in no pack yet, if they are many."""
        loose = {one.request_sha256: one for one in answers}
        keys = sorted(loose.keys() - self._found.keys())
        if len(keys) < MIN_ANSWERS:
            return
        for start in range(0, len(keys), PACK_ANSWERS):
            packed = [loose[key] for key in keys[start : start + PACK_ANSWERS]]
            lines = "\n".join(one.model_dump_json() for one in packed)
            data = gzip.compress(lines.encode(), mtime=0)
            name = hashlib.sha256(data).hexdigest()
            self._store.put(answer_pack(self._family, name), data)
            self._found.update((one.request_sha256, one) for one in packed)

    def _read(self, key: str) -> list[CachedAnswer]:
        """The answers of a pack; none of one that is damaged or gone."""
        try:
            data = self._store.get(key)
        except ObjectNotFoundError:
            return []
        if key != answer_pack(self._family, hashlib.sha256(data).hexdigest()):
            return []
        try:
            lines = gzip.decompress(data).splitlines()
            return [CachedAnswer.model_validate_json(line) for line in lines]
        except ValidationError:  # of a version of ftm that keeps something else
            return []
