"""What is published: tables never overwritten, a pointer written last, hashes checked."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from ftm.core.errors import CorruptObjectError, LeaseLostError, OrchestratorError
from ftm.core.layout import RunLayout, current_pointer, sentiment_ready
from ftm.core.schemas import DATASETS, FIRMS, PROCESSED_TABLES, SENTIMENT_READY
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import to_bytes
from ftm.storage.published import (
    publish,
    put_table,
    read_published,
    read_published_table,
    require_published,
)
from ftm.storage.sealed import decode_sealed, encode_sealed
from tests.support.business_firms import QUARTER
from tests.support.planted_stages import objects

LAYOUT = RunLayout(QUARTER, "some-run")
ROOT = "processed/quarter=2023Q1/run=some-run"
EMPTY = to_bytes(FIRMS.empty_table(), FIRMS)


@pytest.fixture
def store() -> ObjectStore:
    """An empty one."""
    return open_store("memory://")


def put_all(store: ObjectStore) -> dict[str, str]:
    """Every table, empty; file → sha256."""
    return dict(
        put_table(store, LAYOUT, name, to_bytes(DATASETS[name].empty_table(), DATASETS[name]))
        for name in PROCESSED_TABLES
    )


def test_a_table_never_goes_over_another_version_of_it(store: ObjectStore) -> None:
    """The first has the plain name, a later one its hash; the same bytes go where they are."""
    first = put_table(store, LAYOUT, "panel", b"first")
    assert first == ("panel.parquet", sha256(b"first").hexdigest())
    digest = sha256(b"other").hexdigest()
    assert put_table(store, LAYOUT, "panel", b"other") == (f"panel-{digest[:12]}.parquet", digest)
    assert put_table(store, LAYOUT, "panel", b"first") == first
    assert put_table(store, LAYOUT, "panel", b"other")[1] == digest
    assert objects(store) == {
        f"{ROOT}/panel.parquet": b"first",
        f"{ROOT}/panel-{digest[:12]}.parquet": b"other",
    }


def test_a_table_that_is_raced_goes_beside_the_other(store: ObjectStore) -> None:
    """Another command puts its version between our look and our put, or a stale look hides it."""

    def race(_moment: str, key: str) -> None:
        store.hook = lambda _moment, _key: None
        store.put(key, b"theirs")

    store.hook = race
    file, _ = put_table(store, LAYOUT, "panel", b"ours")
    assert file != "panel.parquet"
    assert objects(store) == {f"{ROOT}/panel.parquet": b"theirs", f"{ROOT}/{file}": b"ours"}


def test_a_damaged_later_version_is_written_again(store: ObjectStore) -> None:
    """Its name says what it should hold."""
    put_table(store, LAYOUT, "panel", b"first")
    file, _ = put_table(store, LAYOUT, "panel", b"other")
    store.put(f"{ROOT}/{file}", b"broken")
    put_table(store, LAYOUT, "panel", b"other")
    assert store.get(f"{ROOT}/{file}") == b"other"


def test_a_damaged_first_version_is_left_and_the_right_one_lies_beside(store: ObjectStore) -> None:
    """Nobody can tell damage from another version, and readers follow the pointer."""
    put_table(store, LAYOUT, "panel", b"first")
    store.put(f"{ROOT}/panel.parquet", b"broken")
    file, digest = put_table(store, LAYOUT, "panel", b"first")
    assert file == f"panel-{digest[:12]}.parquet"
    assert store.get(f"{ROOT}/{file}") == b"first"


def test_the_pointer_is_written_last_and_names_every_table(store: ObjectStore) -> None:
    """Its copy for programs that follow no pointer comes before."""
    files = put_all(store)
    puts: list[str] = []
    store.hook = lambda moment, key: puts.append(key) if moment == "after put" else None
    published = publish(store, LAYOUT, files)
    assert puts == [sentiment_ready(QUARTER), current_pointer(QUARTER)]
    assert store.get(sentiment_ready(QUARTER)) == to_bytes(
        SENTIMENT_READY.empty_table(), SENTIMENT_READY
    )
    assert decode_sealed(store.get(current_pointer(QUARTER))) == {"run_id": "some-run", **files}
    assert require_published(store, QUARTER) == published
    assert published.tables == {name: f"{ROOT}/{name}.parquet" for name in PROCESSED_TABLES}
    for name in PROCESSED_TABLES:
        assert read_published_table(store, published, name).equals(DATASETS[name].empty_table())


def test_publishing_again_writes_nothing(store: ObjectStore) -> None:
    """Unless the pointer, or the copy, says something else."""
    files = put_all(store)
    publish(store, LAYOUT, files)
    before = objects(store)
    puts: list[str] = []
    store.hook = lambda moment, key: puts.append(key) if moment == "after put" else None
    publish(store, LAYOUT, files)
    assert puts == []
    store.put(sentiment_ready(QUARTER), b"old")
    publish(store, LAYOUT, files)
    assert puts == [sentiment_ready(QUARTER)] * 2
    assert objects(store) == before


def test_what_is_damaged_is_not_published(store: ObjectStore) -> None:
    """Neither copied nor pointed at; the message has the command that writes it again."""
    files = put_all(store)
    store.put(f"{ROOT}/themes_for_sentiment.parquet", b"broken")
    message = r"themes_for_sentiment\.parquet is not what was written; `ftm run-quarter .*package"
    with pytest.raises(CorruptObjectError, match=message):
        publish(store, LAYOUT, files)
    assert not store.exists(sentiment_ready(QUARTER))
    assert read_published(store, QUARTER) is None


def test_tables_of_one_run_may_be_of_several_versions(store: ObjectStore) -> None:
    """A table's name is told from its version."""
    put_table(store, LAYOUT, "firms", b"first")
    file, digest = put_table(store, LAYOUT, "firms", EMPTY)
    published = publish(store, LAYOUT, {file: digest})
    assert published.tables == {"firms": f"{ROOT}/{file}"}
    assert published.place_of("firms") == (f"{ROOT}/{file}", digest)
    assert read_published_table(store, published, "firms").num_rows == 0


def test_changed_and_lost_tables_are_told(store: ObjectStore) -> None:
    """With the key and the command that writes them again."""
    published = publish(store, LAYOUT, put_all(store))
    mend = "`ftm run-quarter --quarter 2023Q1 --from package` writes it again"
    store.put(f"{ROOT}/panel.parquet", store.get(f"{ROOT}/panel.parquet") + b" ")
    with pytest.raises(CorruptObjectError, match=rf"{ROOT}/panel\.parquet is not what .*{mend}"):
        read_published_table(store, published, "panel")
    store.delete(f"{ROOT}/themes.parquet")
    with pytest.raises(CorruptObjectError, match=rf"{ROOT}/themes\.parquet is gone; {mend}"):
        read_published_table(store, published, "themes")


def test_a_pointer_of_an_older_version_names_its_tables_only(store: ObjectStore) -> None:
    """Of a run that was published before there were themes."""
    file, digest = put_table(store, LAYOUT, "firms", EMPTY)
    store.put(current_pointer(QUARTER), encode_sealed({"run_id": "some-run", file: digest}))
    published = require_published(store, QUARTER)
    assert read_published_table(store, published, "firms").num_rows == 0
    message = (
        "run some-run of 2023Q1 was published without panel; run `ftm run-quarter --quarter 2023Q1`"
    )
    with pytest.raises(OrchestratorError, match=message):
        read_published_table(store, published, "panel")


def test_nothing_published_is_an_error_that_says_what_to_run(store: ObjectStore) -> None:
    """And None for those who only ask."""
    assert read_published(store, QUARTER) is None
    with pytest.raises(OrchestratorError, match=r"2023Q1 is not published in memory://; run `ftm"):
        require_published(store, QUARTER)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"3", b"null", b'"x"', b"\xff"])
def test_a_damaged_pointer_is_an_error(store: ObjectStore, data: bytes) -> None:
    """It names no run; nothing is guessed."""
    store.put(current_pointer(QUARTER), data)
    with pytest.raises(CorruptObjectError, match=r"_current\.json is damaged, it names no run"):
        read_published(store, QUARTER)


def test_a_pointer_that_lost_a_table_is_damage(store: ObjectStore) -> None:
    """A changed byte must not make a table seem never published, nor a lost seal."""
    publish(store, LAYOUT, put_all(store))
    key = current_pointer(QUARTER)
    sealed = store.get(key)
    store.put(key, sealed.replace(b"panel.parquet", b"panel.parqueu"))
    with pytest.raises(CorruptObjectError, match=r"_current\.json is damaged"):
        read_published(store, QUARTER)
    store.put(key, json.dumps(decode_sealed(sealed)).encode())
    with pytest.raises(CorruptObjectError, match=r"_current\.json is damaged"):
        read_published(store, QUARTER)


@pytest.mark.parametrize("asleep_at", [sentiment_ready(QUARTER), current_pointer(QUARTER)])
def test_who_slept_while_publishing_does_not_publish_over_a_follower(asleep_at: str) -> None:
    """Even at the very put of the pointer, when the lease had just been looked at."""
    store = open_store("memory://")
    data = to_bytes(SENTIMENT_READY.empty_table(), SENTIMENT_READY)
    ours, theirs = (
        dict([put_table(store, LAYOUT, "themes_for_sentiment", data + more)])
        for more in (b"", b"more")
    )
    awake = []

    def check() -> None:
        if awake:
            raise LeaseLostError("lost")

    def be_followed(when: str, key: str) -> None:
        if (when, key) == ("before put", asleep_at) and not awake:
            awake.append(key)
            store.hook = lambda _moment, _key: None
            publish(store, LAYOUT, theirs)

    store.hook = be_followed
    with pytest.raises(LeaseLostError):
        publish(store, LAYOUT, ours, check=check)
    published = require_published(store, QUARTER)
    assert published.files == theirs
    assert store.get(sentiment_ready(QUARTER)) == data + b"more"


@pytest.mark.parametrize("moment", ["before put", "after put"])
def test_of_two_runs_published_at_once_pointer_and_copy_are_of_one(
    store: ObjectStore, moment: str
) -> None:
    """Whoever writes the pointer last looks at the copy again."""
    other = RunLayout(QUARTER, "other-run")
    data = to_bytes(SENTIMENT_READY.empty_table(), SENTIMENT_READY)
    ours, theirs = (
        {file: digest}
        for layout, more in ((LAYOUT, b""), (other, b"more"))
        for file, digest in [put_table(store, layout, "themes_for_sentiment", data + more)]
    )

    def publish_the_other(when: str, key: str) -> None:
        if (when, key) == (moment, current_pointer(QUARTER)):
            store.hook = lambda _moment, _key: None
            publish(store, other, theirs)

    store.hook = publish_the_other
    publish(store, LAYOUT, ours)
    current = require_published(store, QUARTER)
    assert current.run_id == ("some-run" if moment == "before put" else "other-run")
    key, _ = current.place_of("themes_for_sentiment")
    assert store.get(sentiment_ready(QUARTER)) == store.get(key)
