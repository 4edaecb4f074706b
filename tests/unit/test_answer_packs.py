"""Answers of a language model, thousands to an object."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import LLMUnavailableError
from ftm.core.layout import answer_packs, cached_answer
from ftm.naming.base import Name
from ftm.naming.cache import AnswerCache, CachedAnswer, request_sha256
from ftm.naming.llm import LLMNamer
from ftm.naming.packs import MIN_ANSWERS, PACK_ANSWERS, AnswerPacks
from ftm.naming.prompts import build_prompt
from ftm.naming.requests import Dialect, LLMOptions, family, fingerprint
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.naming import FAST, topic

OPTIONS = LLMOptions(base_url="http://127.0.0.1:1/v1", model="m", patience_s=0.1)
ITEMS = [topic(n) for n in range(MIN_ANSWERS)]
PACKS = answer_packs(request_sha256(family(OPTIONS)))


def answer(key: str, name: str = "Order backlog") -> CachedAnswer:
    """An answer under a key."""
    return CachedAnswer(
        request_sha256=key,
        prompt_sha256="p",
        name=name,
        description="Managers speak about the order backlog.",
        answer="as it came\nin two lines",
        model_asked="m",
        model_answered="m",
        revision=None,
        prompt_tokens=1,
        completion_tokens=1,
        latency_s=0.1,
        asked_at=datetime(2024, 1, 1, tzinfo=UTC),
        n_tries=1,
        seed=42,
    )


def name_everything(store: ObjectStore, options: LLMOptions = OPTIONS) -> list[Name]:
    """Names of all items where no server is."""
    with LLMNamer(store, options, waits=FAST) as namer:
        return namer.name_all(ITEMS, done=lambda _: None)


@given(st.data())
def test_a_stored_answer_with_another_letter_is_asked_again(data: st.DataObject) -> None:
    """It would be a topic's name: whatever byte is another one, there is no answer or the same."""
    store = open_store("memory://")
    cache = AnswerCache(store, OPTIONS.model)
    right = answer("k")
    cache.put(right)
    whole = store.get(cached_answer("k"))
    at = data.draw(st.integers(0, len(whole) - 1) | st.just(whole.index(b"backlog")))
    changed = bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))])
    store.put(cached_answer("k"), whole[:at] + changed + whole[at + 1 :])
    assert cache.get("k") in (None, right)


def keys_of(store: ObjectStore, prefix: str) -> list[str]:
    """What lies below."""
    return [info.key for info in store.list(prefix)]


@pytest.fixture
def answered() -> ObjectStore:
    """A store with an answer to every item, each by itself."""
    store = open_store("memory://")
    cache = AnswerCache(store, OPTIONS.model)
    for number, item in enumerate(ITEMS):
        prompt = build_prompt(item, budget_tokens=OPTIONS.prompt_tokens)
        key = request_sha256(fingerprint(prompt, OPTIONS, Dialect()))
        cache.put(answer(key, f"Matter {number}"))
    return store


def test_a_rerun_reads_packs_and_gets_the_same_names(answered: ObjectStore) -> None:
    """The first rerun reads each answer and packs them; the next needs the pack alone."""
    first = name_everything(answered)
    assert [name.name for name in first][:2] == ["Matter 0", "Matter 1"]
    singles = [key for key in keys_of(answered, "cache/llm") if not key.startswith(PACKS)]
    assert (len(keys_of(answered, PACKS)), len(singles)) == (1, MIN_ANSWERS)
    for key in singles:
        answered.delete(key)
    assert name_everything(answered) == first
    assert len(keys_of(answered, PACKS)) == 1


def test_a_damaged_pack_is_passed_over(answered: ObjectStore) -> None:
    """Answers are then read one by one, and packed again."""
    first = name_everything(answered)
    (pack,) = keys_of(answered, PACKS)
    for damage in (answered.get(pack)[:-9], b"no pack"):
        answered.put(pack, damage)
        assert name_everything(answered) == first
    for info in list(answered.list("cache/llm")):
        if not info.key.startswith(PACKS):
            answered.delete(info.key)
    answered.put(pack, b"no pack")
    with pytest.raises(LLMUnavailableError):
        name_everything(answered)


def test_packs_belong_to_one_way_of_asking(answered: ObjectStore) -> None:
    """Another model, seed or limit finds nothing in them."""
    name_everything(answered)
    others = [
        LLMOptions(base_url=OPTIONS.base_url, model="other", patience_s=0.1),
        LLMOptions(base_url=OPTIONS.base_url, model="m", patience_s=0.1, seed=7),
        LLMOptions(base_url=OPTIONS.base_url, model="m", patience_s=0.1, max_tokens=9),
    ]
    for other in others:
        assert answer_packs(request_sha256(family(other))) != PACKS
        with pytest.raises(LLMUnavailableError):
            name_everything(answered, other)


def test_many_answers_are_several_packs_and_few_are_none() -> None:
    """Each answer is in one pack; equal ones make the same object again."""
    store = open_store("memory://")
    many = [answer(f"{n:064x}") for n in range(PACK_ANSWERS + 1)]
    packs = AnswerPacks(store, "f")
    packs.add(many[: MIN_ANSWERS - 1])
    assert keys_of(store, "") == []
    packs.add([*many, *many])
    written = keys_of(store, "")
    assert len(written) == 2
    packs.add([*many, answer("f" * 64)])
    AnswerPacks(store, "f").add(reversed(many))
    assert keys_of(store, "") == written
    again = AnswerPacks(store, "f")
    again.load()
    assert [again.get(one.request_sha256) for one in many] == many
    assert again.get("none") is None
    assert not any(store.exists(cached_answer(one.request_sha256)) for one in many)
