"""Prefetching a small fake quarter in a few words, and killing it at any write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK
from ftm.prefetch.base import PrefetchSummary
from ftm.prefetch.prefetcher import WRDSPrefetcher
from ftm.prefetch.preprocess import preprocess_quarter
from ftm.storage.lease import Writer
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from tests.support.fake_source import FakePreprocessor, FakeSource

QUARTER = "2023Q1"
LAYOUT = PrefetchLayout(Quarter.parse(QUARTER))
START = datetime(2024, 3, 1, 12, tzinfo=UTC)

_pids = count(1_000_000)


def firms(n: int) -> list[str]:
    return [f"{1000 + i}" for i in range(n)]


def dead_writer() -> Writer:
    """A process that every later one knows to be dead."""
    pid = next(_pids)
    return Writer("ann", "workstation", pid, f"nonce-{pid}", is_alive=lambda _pid: False)


@dataclass
class Clock:
    """Stands still unless told."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Lines:
    """A progress that remembers what it was told."""

    messages: list[str] = field(default_factory=list)
    n_firms: int = 0
    started: list[tuple[int, int]] = field(default_factory=list)

    def start(self, task: str, *, total: int, done: int = 0) -> None:  # noqa: ARG002
        self.started.append((total, done))

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:  # noqa: ARG002
        self.n_firms += firms

    def message(self, text: str) -> None:
        self.messages.append(text)

    def finish(self) -> None:
        pass


def prefetcher(
    store: ObjectStore,
    source: FakeSource,
    *,
    chunk: int | None = 4,
    part: int = 2,
    text: FakePreprocessor | None = None,
    **given: Any,
) -> WRDSPrefetcher:
    defaults: dict[str, Any] = {"clock": Clock(), "new_identity": dead_writer}
    return WRDSPrefetcher(
        source,
        store,
        text or FakePreprocessor(),
        chunk_size=chunk,
        checkpoint_interval=part,
        **(defaults | given),
    )


ASKED = ("limit", "refresh", "options", "accept_losses")


def prefetch(
    store: ObjectStore, source: FakeSource, firm_ids: list[str] | None = None, **given: Any
) -> PrefetchSummary:
    """One `prefetch_quarter` of a fresh prefetcher, as one command would do."""
    asked = {name: given.pop(name) for name in ASKED if name in given}
    with prefetcher(store, source, **given) as each:
        return each.prefetch_quarter(QUARTER, firm_ids, **asked)


def preprocess(store: ObjectStore, text: FakePreprocessor, **given: Any) -> PrefetchSummary:
    """One `ftm preprocess`."""
    return preprocess_quarter(
        store, QUARTER, text, clock=Clock(), new_identity=dead_writer, **given
    )


def stored_keys(store: ObjectStore) -> set[str]:
    """Keys of everything."""
    return set(everything(store))


def everything(store: ObjectStore) -> dict[str, bytes]:
    """Every object of the store."""
    return {info.key: store.get(info.key) for info in store.list()}


def manifest(store: ObjectStore) -> PrefetchManifest:
    return load_manifest(store, QUARTER)


def stored_rows(store: ObjectStore, column: str = "raw_text") -> dict[str, list[str]]:
    """Firm → its sentences, read from the chunks the manifest names."""
    found: dict[str, list[str]] = {}
    for file in manifest(store).chunks:
        table = from_bytes(store.get(LAYOUT.key(file)), CHUNK)
        for firm, text in zip(*(table[c].to_pylist() for c in ("firm_id", column)), strict=True):
            found.setdefault(firm, []).append(text)
    return found


class Killed(BaseException):
    """The process died."""


@contextmanager
def killed_at(store: ObjectStore, nth: int | None) -> Iterator[list[tuple[str, str]]]:
    """Die at the nth write event, counted from 0; a dead process writes nothing more."""
    events: list[tuple[str, str]] = []

    def hook(moment: str, key: str) -> None:
        if nth is not None and len(events) >= nth:
            raise Killed(f"{moment} {key}")
        events.append((moment, key))

    before, store.hook = store.hook, hook
    try:
        yield events
    finally:
        store.hook = before
