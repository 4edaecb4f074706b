"""Answers of language models in the store, by what was asked.

A rerun asks nothing again, and a crash loses what was in flight. The key is the hash of messages,
model and parameters: not of the server's address, key, or how many requests run at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ftm.core.errors import ObjectNotFoundError
from ftm.core.layout import cached_answer
from ftm.naming.prompts import PROMPT_VERSION
from ftm.naming.requests import AnswerFormat, Dialect
from ftm.storage.object_store import ObjectStore
from ftm.storage.sealed import decode_sealed, encode_sealed


class CachedAnswer(BaseModel):
    """An accepted answer and all that is known of it.

    Args:
        request_sha256: of the first request, the one a rerun would make: the key.
        prompt_sha256: of the messages that were answered; others than the first if it was too
            long or its answer could not be used.
        name: as accepted.
        description: as accepted.
        answer: as the server sent it.
        n_tries: requests until an answer was accepted, this one included.
        seed: of the one that was.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_sha256: str
    prompt_sha256: str
    name: str
    description: str
    answer: str
    model_asked: str
    model_answered: str | None
    revision: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    asked_at: datetime
    n_tries: int
    seed: int


class _Dialects(BaseModel):
    """The dialects in which a model's servers were asked."""

    dialects: list[tuple[AnswerFormat, bool]]


def request_sha256(fingerprint: Mapping[str, Any]) -> str:
    """Hash of a request: equal ones are asked once."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


class AnswerCache:
    """The answers of one model; synchronous, for threads.

    Args:
        store: where they are.
        model: which one is asked.
    """

    def __init__(self, store: ObjectStore, model: str) -> None:
        self._store = store
        identity = {"dialects_of": model, "prompt_version": PROMPT_VERSION}
        self._dialects_key = cached_answer(request_sha256(identity))

    def get(self, sha256: str) -> CachedAnswer | None:
        """An answer, or None if there is none or it is damaged: then it is asked again."""
        found = self._read(cached_answer(sha256))
        try:
            answer = None if found is None else CachedAnswer.model_validate(decode_sealed(found))
        except ValueError:
            return None
        return answer if answer is not None and answer.request_sha256 == sha256 else None

    def put(self, answer: CachedAnswer) -> None:
        """Keep an answer; one that is there is replaced."""
        data = encode_sealed(answer.model_dump(mode="json"))
        self._store.put(cached_answer(answer.request_sha256), data)

    def dialects(self) -> list[Dialect]:
        """In which dialects this model was asked before, other than the best one."""
        found = self._read(self._dialects_key)
        try:
            known = [] if found is None else _Dialects.model_validate_json(found).dialects
        except ValidationError:
            known = []
        return [Dialect(answer_format, no_thinking) for answer_format, no_thinking in known]

    def put_dialects(self, dialects: list[Dialect]) -> None:
        """Keep them, so that a rerun looks under the right keys without asking the server."""
        rows = [(one.answer_format, one.no_thinking) for one in dialects]
        self._store.put(self._dialects_key, _Dialects(dialects=rows).model_dump_json().encode())

    def _read(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except ObjectNotFoundError:
            return None
