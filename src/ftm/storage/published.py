"""What is published of a quarter: one pointer, written after everything it points at.

A table is written once and never over another: where a run's table comes out differently later
(other names, labels by hand, series), the new one lies beside the first under a name of its own,
and the pointer moves. So a reader who follows it finds tables that belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FtmError,
    ObjectExistsError,
    ObjectNotFoundError,
    OrchestratorError,
    PreconditionFailedError,
)
from ftm.core.layout import PROCESSED_ROOT, RunLayout, current_pointer, sentiment_ready
from ftm.core.quarter import Quarter
from ftm.storage.checked import checked, checked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.sealed import decode_sealed, encode_sealed

SENTIMENT = "themes_for_sentiment"
_VERSION_CHARACTERS = 12
_END = ".parquet"
_POINTER_TRIES = 10
_RUN_ID = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Published:
    """The tables of a quarter that loaders read.

    Args:
        quarter: which.
        run_id: whose they are.
        files: file in the run's processed folder → sha256.
    """

    quarter: Quarter
    run_id: str
    files: Mapping[str, str]

    @property
    def layout(self) -> RunLayout:
        """Keys of the run."""
        return RunLayout(self.quarter, self.run_id)

    @property
    def tables(self) -> dict[str, str]:
        """Table, like `panel` → its key in the store."""
        return {_table_of(file): f"{self.layout.processed_root}/{file}" for file in self.files}

    @property
    def mend(self) -> str:
        """What makes its tables anew."""
        return f"`ftm run-quarter --quarter {self.quarter} --from package` writes it again"

    def place_of(self, table: str) -> tuple[str, str]:
        """Key and sha256 of a table's file.

        Raises:
            OrchestratorError: the run was published without this table.
        """
        for file, sha in self.files.items():
            if _table_of(file) == table:
                return f"{self.layout.processed_root}/{file}", sha
        raise OrchestratorError(
            f"run {self.run_id} of {self.quarter} was published without {table}; run "
            f"`ftm run-quarter --quarter {self.quarter}` again"
        )


def _table_of(file: str) -> str:
    return file.removesuffix(_END).partition("-")[0]


def read_published(store: ObjectStore, quarter: Quarter) -> Published | None:
    """What the quarter's pointer says; None while nothing is published.

    Raises:
        CorruptObjectError: the pointer names no run.
    """
    key = current_pointer(quarter)
    try:
        found = decode_sealed(store.get(key))
        files = {k: str(v) for k, v in found.items() if k.endswith(_END)}
        return Published(quarter, run_named(found["run_id"]), files)
    except ObjectNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise CorruptObjectError(
            f"{store.name(key)} is damaged, it names no run; the `ftm run-quarter` command of the "
            "run that is to be read publishes it again",
            key=key,
        ) from error


def run_named(run_id: object) -> str:
    """A run id that a pointer holds.

    Raises:
        ValueError: it cannot be one: it would lead to other folders.
    """
    if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id):
        return run_id
    raise ValueError(f"no run id: {run_id!r}")


def require_published(store: ObjectStore, quarter: Quarter) -> Published:
    """What is published of a quarter.

    Raises:
        OrchestratorError: nothing is.
        CorruptObjectError: the pointer names no run.
    """
    found = read_published(store, quarter)
    if found is None:
        raise OrchestratorError(
            f"{quarter} is not published in {store.url}; run `ftm run-quarter --quarter {quarter}`"
        )
    return found


def published_quarters(store: ObjectStore) -> list[Quarter]:
    """Quarters with a pointer, in time."""
    found = []
    for folder in store.list_folders(PROCESSED_ROOT):
        try:
            quarter = Quarter.parse(folder.removeprefix("quarter="))
        except ConfigError:
            continue
        if store.exists(current_pointer(quarter)):
            found.append(quarter)
    return sorted(found)


def read_published_table(store: ObjectStore, published: Published, table: str) -> pa.Table:
    """A table of what is published, its hash checked.

    Raises:
        OrchestratorError: it is not among the tables.
        CorruptObjectError: it is gone or has other bytes.
    """
    key, wanted = published.place_of(table)
    return checked_table(store, key, wanted, dataset=table, mend=published.mend)


def put_table(store: ObjectStore, layout: RunLayout, table: str, data: bytes) -> tuple[str, str]:
    """Write a table of a run, unless it lies there; never over another version of it.

    Returns:
        Its file in the run's processed folder, and its sha256.
    """
    digest = sha256(data).hexdigest()
    key = layout.processed(table)
    try:
        # Not by a look beforehand: another command may put its version after it.
        store.put(key, data, if_absent=True)
    except ObjectExistsError:
        key = layout.processed(table, digest[:_VERSION_CHARACTERS])
        # The name holds the hash: what lies there is this, or damaged.
        store.put(key, data)
    return key.rpartition("/")[2], digest


def publish(
    store: ObjectStore,
    layout: RunLayout,
    files: Mapping[str, str],
    *,
    check: Callable[[], None] = lambda: None,
) -> Published:
    """Point the quarter at these tables, all of them written; last of all.

    Args:
        store: where the run is.
        layout: the run's keys.
        files: file in the run's processed folder → sha256.
        check: called right before the pointer is put, as the copy may take minutes; raises where
            it must not be.

    Raises:
        OrchestratorError: others published all the time.
        FtmError: as `check` raises.
    """
    published = Published(layout.quarter, layout.run_id, dict(files))
    _copy_sentiment(store, published)
    try:
        _put_pointer(store, published, check)
    except FtmError:
        if (current := read_published(store, layout.quarter)) is not None:
            _copy_sentiment(store, current)
        raise
    # Another run may have been published meanwhile: its pointer, our copy, or the other way round.
    if read_published(store, layout.quarter) == published:
        _copy_sentiment(store, published)
    return published


def _put_pointer(store: ObjectStore, published: Published, check: Callable[[], None]) -> None:
    """Put it over the very version that was there when it was seen that it may be put."""
    key = current_pointer(published.quarter)
    pointer = encode_sealed({"run_id": published.run_id, **published.files})
    for _ in range(_POINTER_TRIES):
        etag: str | None
        try:
            found, etag = store.get_versioned(key)
        except ObjectNotFoundError:
            found, etag = b"", None
        check()
        if found == pointer:
            return
        try:
            store.put(key, pointer, if_absent=etag is None, if_match=etag)
        except (ObjectExistsError, ObjectNotFoundError, PreconditionFailedError):
            continue
        return
    raise OrchestratorError(
        f"{store.name(key)} is written by others all the time; nothing is published, run the same "
        "command again"
    )


def _copy_sentiment(store: ObjectStore, published: Published) -> None:
    """For programs that follow no pointer; ftm itself reads the run's own."""
    if SENTIMENT in published.tables:
        data = checked(store, *published.place_of(SENTIMENT), mend=published.mend)
        _put_if_other(store, sentiment_ready(published.quarter), data)


def _put_if_other(store: ObjectStore, key: str, data: bytes) -> None:
    try:
        if store.get(key) == data:
            return
    except ObjectNotFoundError:
        pass
    store.put(key, data)
