"""The object store's behaviour, the same on memory, file and S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftm.core.errors import (
    ConfigError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from ftm.storage.object_store import ObjectStore, open_store


def test_gives_back_the_bytes_it_was_given(store: ObjectStore) -> None:
    """What was put is what is read, whole or by range, also after an overwrite."""
    store.put("a/b.bin", b"first")
    store.put("a/b.bin", bytes(range(256)))
    assert store.get("a/b.bin") == bytes(range(256))
    assert store.get_range("a/b.bin", 250, 6) == bytes(range(250, 256))
    assert store.get_range("a/b.bin", 3, 0) == b""


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """Zero bytes can be stored and read."""
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.head("empty") is not None


def test_gzip_encoded_bytes_come_back_as_they_were_put(store: ObjectStore) -> None:
    """ContentEncoding gzip is a header only: no client unpacks the object on the way."""
    import gzip

    data = gzip.compress(b"manifest", mtime=0)
    store.put("m", data, gzip_encoded=True)
    assert store.get("m") == data
    assert store.get_range("m", 1, 4) == data[1:5]


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    """Reading what is not there names its full URL; head says None, delete is fine."""
    for read in (store.get, store.get_versioned, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(ObjectNotFoundError, match=r"no/such.* does not exist"):
            read("no/such")
    assert store.head("no/such") is None
    assert not store.exists("no/such")
    store.delete("no/such")


@pytest.mark.parametrize(("start", "length"), [(3, 3), (5, 1), (100, 10)])
def test_a_range_past_the_end_is_an_error(store: ObjectStore, start: int, length: int) -> None:
    """A short answer is never handed out as if it were the range."""
    store.put("five", b"12345")
    with pytest.raises(StoreError, match="five"):
        store.get_range("five", start, length)


def test_put_if_absent_never_overwrites(store: ObjectStore) -> None:
    """Another object stays as it is; the very same bytes are success (an answer got lost)."""
    etag = store.put("once", b"mine", if_absent=True)
    assert store.put("once", b"mine", if_absent=True) == etag
    with pytest.raises(ObjectExistsError, match="once already exists"):
        store.put("once", b"theirs", if_absent=True)
    assert store.get("once") == b"mine"


def test_if_match_replaces_only_the_version_it_names(store: ObjectStore) -> None:
    """A stale etag changes nothing; repeating a put that did arrive is success."""
    if store.scheme == "file":
        pytest.skip("a file:// writer holds a lock; LocalStore has no conditional update")
    first = store.put("c", b"1")
    second = store.put("c", b"2", if_match=first)
    assert store.put("c", b"2", if_match=first) == second
    with pytest.raises(PreconditionFailedError, match="changed by another writer"):
        store.put("c", b"3", if_match=first)
    with pytest.raises(PreconditionFailedError):
        store.put("gone", b"3", if_match=first)
    assert store.get("c") == b"2"
    assert not store.exists("gone")
    data, etag = store.get_versioned("c")
    assert (data, etag) == (b"2", second)


def test_lists_below_a_folder_sorted(store: ObjectStore) -> None:
    """A listing has every key below the folder, sorted, and none of a folder with a longer name."""
    for key in ("q/b/2", "q/b/10", "q/a", "qq/x", "z"):
        store.put(key, key.encode())
    assert [info.key for info in store.list("q")] == ["q/a", "q/b/10", "q/b/2"]
    assert [info.size_bytes for info in store.list("q")] == [3, 6, 5]
    assert [info.key for info in store.list()] == ["q/a", "q/b/10", "q/b/2", "qq/x", "z"]
    assert list(store.list("nothing")) == []
    assert list(store.list_folders("")) == ["q", "qq"]
    assert list(store.list_folders("q")) == ["b"]
    assert list(store.list_folders("nothing")) == []


def test_lists_more_objects_than_fit_on_a_page(store: ObjectStore) -> None:
    """S3 lists 1,000 keys a page; none is lost."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:05d}", b""), range(1_005)))
    assert len(list(store.list("many"))) == 1_005


def test_deleting_leaves_nothing(store: ObjectStore) -> None:
    """The last object takes its empty folders with it."""
    store.put("a/b/c", b"1")
    store.delete("a/b/c")
    assert list(store.list()) == []
    assert store.folder is None or list(store.folder.iterdir()) == []


def test_a_writable_store_is_left_as_it_was(store: ObjectStore) -> None:
    """The probe of check_writable leaves no trace and needs no hook."""
    moments: list[tuple[str, str]] = []
    store.hook = lambda moment, key: moments.append((moment, key))
    store.check_writable()
    assert list(store.list()) == []
    assert moments == []


def test_the_hook_sees_every_write(store: ObjectStore) -> None:
    """A failpoint is called before and after each put and delete, repeated puts included."""
    moments: list[tuple[str, str]] = []
    store.hook = lambda moment, key: moments.append((moment, key))
    store.put("k", b"1")
    store.put("k", b"1", if_absent=True)
    store.delete("k")
    writes = [("before put", "k"), ("after put", "k")]
    assert moments == [*writes, *writes, ("before delete", "k"), ("after delete", "k")]


def test_a_hook_that_raises_before_a_put_prevents_it(store: ObjectStore) -> None:
    """A kill before the put leaves nothing, a kill after it leaves the object."""

    def die(moment: str, key: str) -> None:
        if moment.startswith(key):
            raise KeyboardInterrupt

    store.hook = die
    with pytest.raises(KeyboardInterrupt):
        store.put("before", b"1")
    with pytest.raises(KeyboardInterrupt):
        store.put("after", b"1")
    assert not store.exists("before")
    assert store.get("after") == b"1"


KEYS = ["", "/", "../x", "a/../x", "a/./x", "/a", "a/", "a//b", "..", "a\\..\\b", "a\nb", "a\0b"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_leave_the_root_are_refused(store: ObjectStore, key: str) -> None:
    """Neither read nor written nor deleted, on any store."""
    for use in (store.get, store.head, store.delete, lambda key: store.put(key, b"x")):
        with pytest.raises(StoreError, match="not a key"):
            use(key)


_PART = st.text(alphabet="abcXYZ019 =._-%+~é#&'", min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(parts=st.lists(_PART, min_size=1, max_size=4), data=st.binary(max_size=200))
def test_any_key_round_trips(store: ObjectStore, parts: list[str], data: bytes) -> None:
    """Whatever characters a key has, it is read and listed as it was written."""
    key = "k/" + "/".join(parts)
    if store.scheme == "file" and key.rpartition("#")[2].isdigit():
        return
    store.put(key, data)
    assert store.get(key) == data
    assert key in [info.key for info in store.list("k")]
    store.delete(key)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "store",
        "",
        "/tmp/store",
        "s3://",
        "s3:///prefix",
        "s3://a",
        "s3://bucket/a/../b",
        "s3://bucket//x",
        "s3://bucket/a?b",
        "file://relative/folder",
        "file://",
    ],
)
def test_a_url_that_is_no_store_is_refused(url: str) -> None:
    """Before anything is opened, quoting what was given and saying what is expected."""
    with pytest.raises(ConfigError, match=r"s3://|file:///"):
        open_store(url)


def test_a_bucket_of_aws_itself_is_opened_without_an_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every other test names one; obstore refuses an endpoint that is None."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    for region in (None, "eu-west-1"):
        assert open_store("s3://some-bucket/prefix", region=region).scheme == "s3"


@pytest.mark.parametrize(
    "url", ["s3://AKIAX:planted/x@bucket", "s3://user:planted@bucket", "gs://user:planted@bucket"]
)
def test_a_store_url_with_a_password_is_refused_without_showing_it(url: str) -> None:
    """Keys come from boto3's places; a message may be pasted anywhere."""
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert "planted" not in str(refused.value)
