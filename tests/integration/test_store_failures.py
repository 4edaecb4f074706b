"""What a store that fails, refuses or stutters looks like: one line, in seconds, nothing lost."""

from __future__ import annotations

import itertools
import logging
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from ftm import worker
from ftm.core.errors import (
    CorruptObjectError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreGaveUpError,
    StoreUnavailableError,
)
from ftm.mapping.stop_signal import StopSignal
from ftm.storage.checked import checked
from ftm.storage.object_store import BULK_BYTES, ObjectStore, open_store
from ftm.storage.retrying import Bounds, Retrier, RetryPolicy
from ftm.storage.store_errors import TransientStoreError
from tests.support.s3_server import Answer, Bucket, error

HASTY = RetryPolicy(first_contact_s=0.5, later_s=0.5, wait_s=0.01)
USES: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("k"),
    "range": lambda store: store.get_range("k", 0, 3),
    "put": lambda store: store.put("k", b"x"),
    "create": lambda store: store.put("k", b"x", if_absent=True),
    "match": lambda store: store.put("k", b"x", if_match='"abc"'),
    "list": lambda store: list(store.list()),
    "folders": lambda store: store.list_folders(),
    "delete": lambda store: store.delete("k"),
    "check": lambda store: store.check_writable(),
}
no_head = pytest.mark.parametrize("use", USES.values(), ids=USES.keys())


def hasty(bucket: Bucket) -> ObjectStore:
    """A store that gives up soon."""
    return open_store(bucket.url, endpoint_url=bucket.server.url, retry=HASTY)


@pytest.mark.parametrize("name", [name for name in USES if name != "delete"])
def test_a_bucket_that_does_not_exist_is_named(s3: Bucket, name: str) -> None:
    """Whatever is tried first, the message names the bucket and says how to make it."""
    store = open_store("s3://no-such-bucket/prefix", endpoint_url=s3.server.url, retry=HASTY)
    with pytest.raises(StoreUnavailableError, match="no bucket 'no-such-bucket'") as caught:
        USES[name](store)
    assert "\n" not in str(caught.value)


@no_head
def test_denied_access_is_not_retried(s3: Bucket, use: Callable[[ObjectStore], object]) -> None:
    """403 is one request and one line that says which rights are needed."""
    s3.server.script = lambda *_: error("403 Forbidden", "AccessDenied")
    with pytest.raises(StoreUnavailableError, match=r"access denied \(403\).*s3:PutObject") as got:
        use(hasty(s3))
    assert len(s3.server.traffic) == 1
    assert "\n" not in str(got.value)


def test_denied_head_is_an_error_not_absence(s3: Bucket) -> None:
    """A head that is refused must not be read as "there is none"."""
    s3.server.script = lambda *_: error("403 Forbidden", "AccessDenied")
    with pytest.raises(StoreUnavailableError, match="access denied"):
        hasty(s3).exists("k")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("400 Bad Request", "ExpiredToken", "does not accept the credentials.*aws sso login"),
        ("403 Forbidden", "InvalidAccessKeyId", "does not accept the credentials"),
        ("403 Forbidden", "SignatureDoesNotMatch", "does not accept the credentials"),
        ("301 Moved Permanently", "PermanentRedirect", "another region; set AWS_REGION"),
        ("400 Bad Request", "SomethingElse", "answers 400 SomethingElse"),
    ],
)
def test_a_refusal_says_what_to_do(s3: Bucket, status: str, code: str, expected: str) -> None:
    """Terminal answers are explained and not retried."""
    s3.server.script = lambda *_: error(status, code)
    with pytest.raises(StoreError, match=expected):
        hasty(s3).put("k", b"x")
    assert len(s3.server.traffic) == 1


@no_head
def test_a_refused_connection_is_said_in_seconds(
    s3: Bucket, use: Callable[[ObjectStore], object]
) -> None:
    """A wrong endpoint is tried a few times, then the message names it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = open_store(s3.url, endpoint_url=endpoint, retry=HASTY)
    with pytest.raises(StoreUnavailableError, match=f"{endpoint}.*AWS_ENDPOINT_URL"):
        use(store)


def test_a_host_that_does_not_exist_is_named(s3: Bucket) -> None:
    """A misspelt endpoint is in the message."""
    store = open_store(s3.url, endpoint_url="http://no.such.host.invalid", retry=HASTY)
    with pytest.raises(StoreUnavailableError, match=r"http://no\.such\.host\.invalid"):
        store.get("k")


def test_no_credentials_are_said_at_once(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening s3:// without credentials says where they can come from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreUnavailableError, match=r"no AWS credentials.*aws configure"):
        open_store(s3.url, endpoint_url=s3.server.url)


def test_an_unknown_profile_is_said_at_once(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE with a name that no file has is one line, too."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreUnavailableError, match="nobody"):
        open_store(s3.url, endpoint_url=s3.server.url)


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error", "429 Too Many"])
def test_transient_errors_are_retried_and_said(
    s3: Bucket, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two stutters, then success: three requests, one warning, and a line when it is over."""
    left = [status, status]
    s3.server.script = lambda _m, _p, ask: error(left.pop(), "SlowDown") if left else ask()
    with caplog.at_level(logging.WARNING, logger="ftm"):
        hasty(s3).put("k", b"x")
    assert [request.status for request in s3.server.traffic[:2]] == [int(status[:3])] * 2
    assert len(s3.server.traffic) == 3
    told, over = [r.getMessage() for r in caplog.records if r.name == "ftm.storage.object_store"]
    assert re.search(r"answers \d+ .*; trying again for up to \d+ s$", told)
    assert re.fullmatch(rf"write {s3.url}/k: answered at try 3, after \d+\.\d s", over)


def test_a_store_that_stumbles_for_long_is_told_once_a_minute(
    s3: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty requests, each answered at the second try: two lines; the rest is for debugging."""
    store, odd = hasty(s3), itertools.cycle([True, False])
    s3.server.script = lambda _m, _p, ask: (
        error("503 Slow Down", "SlowDown") if next(odd) else ask()
    )
    with caplog.at_level(logging.DEBUG, logger="ftm"):
        for _ in range(50):
            store.put("k", b"x")
    assert len(s3.server.traffic) == 100
    ours = [r for r in caplog.records if r.name == "ftm.storage.object_store"]
    assert [r.levelname for r in ours].count("WARNING") == 2
    assert [r.levelname for r in ours].count("DEBUG") == 50


def test_the_next_line_says_how_many_there_were() -> None:
    """What a minute without a line kept to itself is in the next one."""
    log, now = logging.getLogger("a.test"), [0.0]
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    retrier = Retrier(TransientStoreError, log=log, clock=lambda: now[0])
    bounds = Bounds(limit_s=5, attempts=3, wait_s=0.001)
    for second in (0, 1, 2, 70):
        now[0] = second
        fails = [True]

        def once(fails: list[bool] = fails) -> None:
            if fails and fails.pop():
                raise TransientStoreError("busy")

        retrier.call(once, bounds, what="it", give_up=lambda error, _tried: error)
    assert [line for line in lines if "answered" not in line] == [
        "busy; trying again for up to 5 s",
        "busy; trying again for up to 5 s (since the last such line, 2 more requests were)",
    ]


def test_retries_are_bounded_in_number(s3: Bucket) -> None:
    """However short the waits; the line says how often it was tried, and what to do."""
    few = RetryPolicy(first_contact_s=60, later_s=60, wait_s=0.001, attempts=4)
    store = open_store(s3.url, endpoint_url=s3.server.url, retry=few)
    s3.server.script = lambda *_: error("503 Slow Down", "SlowDown")
    with pytest.raises(StoreUnavailableError, match=r"503 SlowDown; tried 4 times in \d s: run"):
        store.put("k", b"x", if_absent=True)
    assert len(s3.server.traffic) == 4


def test_a_store_that_answered_once_is_told_from_one_that_never_did(s3: Bucket) -> None:
    """The first may be out of one host's reach, the second is wrong for every worker."""
    few = RetryPolicy(first_contact_s=60, later_s=60, wait_s=0.001, attempts=2)
    store = open_store(s3.url, endpoint_url=s3.server.url, retry=few)
    s3.server.script = lambda *_: Answer("503 Busy", [], b"<html>busy</html>")
    with pytest.raises(StoreUnavailableError) as never:
        store.get("k")
    assert not isinstance(never.value, StoreGaveUpError)
    s3.server.script = None
    other = open_store(s3.url, endpoint_url=s3.server.url, retry=few)
    other.put("k", b"x")
    s3.server.script = lambda *_: Answer("503 Busy", [], b"<html>busy</html>")
    for _ in range(2):
        with pytest.raises(StoreGaveUpError):
            other.get("k")


@pytest.mark.parametrize(
    ("error_kind", "code"), [(StoreUnavailableError, 2), (StoreGaveUpError, 1)]
)
def test_a_worker_out_of_reach_of_its_store_speaks_for_itself_only(
    error_kind: type[StoreError], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2 the batches that have not begun are not started."""

    def fail(_settings: object, _stop: object) -> None:
        raise error_kind("out of reach")

    monkeypatch.setattr(worker, "map_batch", fail)
    monkeypatch.setattr(worker, "_log_to_stderr", lambda: None)
    monkeypatch.setattr(StopSignal, "listen", lambda _self: None)
    assert worker.main(["map"]) == code


@pytest.mark.parametrize(("code", "n_requests"), [("SlowDown", 4), ("", 1)])
def test_a_store_that_is_busy_at_first_contact_is_there(
    s3: Bucket, code: str, n_requests: int
) -> None:
    """It is borne as long as later; a page of some server on the way is no answer of a store."""
    impatient = RetryPolicy(first_contact_s=1e-6, later_s=60, wait_s=0.001, attempts=4)
    store = open_store(s3.url, endpoint_url=s3.server.url, retry=impatient)
    s3.server.script = lambda *_: (
        error("503 Slow Down", code) if code else Answer("503 Busy", [], b"<html>busy</html>")
    )
    with pytest.raises(StoreUnavailableError, match=f"tried {n_requests} time"):
        store.get("k")
    assert len(s3.server.traffic) == n_requests


def test_after_a_store_was_given_up_the_next_request_does_not_wait_as_long(s3: Bucket) -> None:
    """A lease that is given up on the way out must not double the wait."""
    impatient = RetryPolicy(first_contact_s=1e-6, later_s=60, wait_s=0.001, attempts=4)
    store = open_store(s3.url, endpoint_url=s3.server.url, retry=impatient)
    store.put("k", b"x")
    s3.server.script = lambda *_: error("503 Slow Down", "SlowDown")
    for n_requests in (4, 1):
        s3.server.traffic.clear()
        with pytest.raises(StoreUnavailableError):
            store.get("k")
        assert len(s3.server.traffic) == n_requests
    s3.server.script = None
    store.get("k")


def test_a_body_that_came_too_slowly_is_sent_again(s3: Bucket) -> None:
    """S3 answers 400 RequestTimeout to it, which is no fault of the request."""
    left = ["400 Bad Request"]
    s3.server.script = lambda _m, _p, ask: error(left.pop(), "RequestTimeout") if left else ask()
    hasty(s3).put("k", b"x")
    assert [r.status for r in s3.server.traffic] == [400, 200]


def test_a_clock_that_is_off_is_told(s3: Bucket) -> None:
    """It is no matter of rights, though S3 answers 403."""
    s3.server.script = lambda *_: error("403 Forbidden", "RequestTimeTooSkewed")
    with pytest.raises(StoreUnavailableError, match="set this machine's clock"):
        hasty(s3).put("k", b"x")


def test_a_slow_line_is_no_stalled_one(s3: Bucket) -> None:
    """A large put goes on sending for longer than a request may stay without an answer."""
    policy = RetryPolicy(first_contact_s=5, later_s=5, wait_s=0.01, attempts=2, stall_s=0.3)

    def slowly(_method: str, _path: str, ask: Callable[[], Answer]) -> Answer:
        time.sleep(1.0)
        return ask()

    store = open_store(s3.url, endpoint_url=s3.server.url, retry=policy)
    s3.server.script = slowly
    store.put("large", bytes(BULK_BYTES + 1), if_absent=True)
    assert len(s3.server.traffic) == 1
    with pytest.raises(StoreUnavailableError, match="tried 2 times"):
        store.put("small", b"x")


def test_a_store_that_contradicts_itself_is_asked_again(s3: Bucket) -> None:
    """It has the object, says so, and then answers as if it had not: ours is known as ours."""
    lost, unseen = [True], [True]

    def script(method: str, _path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if method == "PUT" and lost:
            lost.pop()
            return error("503 Slow Down", "SlowDown")
        if method == "GET" and unseen:
            unseen.pop()
            return error("404 Not Found", "NoSuchKey")
        return answer

    s3.server.script = script
    hasty(s3).put("k", b"mine", if_absent=True)
    assert not lost
    assert not unseen


def test_what_is_on_record_is_looked_for_again(
    s3: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer from before is refused, not told as damage; damage is told after three looks."""
    store = hasty(s3)
    store.put("k", b"new")
    digest = sha256(b"new").hexdigest()
    old = [Answer("200 OK", [("ETag", '"a"'), ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")],
                  b"old"), error("404 Not Found", "NoSuchKey")]  # fmt: skip
    s3.server.script = lambda _m, _p, ask: old.pop() if old else ask()
    assert checked(store, "k", digest) == b"new"
    assert not old
    s3.server.script = None
    caplog.clear()
    with pytest.raises(CorruptObjectError, match="k is not what was written"):
        checked(store, "k", sha256(b"other").hexdigest())
    # Not by requests: a client asks once more by itself where a kept connection was just closed.
    assert len([text for text in caplog.messages if text.endswith("; looking again")]) == 2


def test_retries_end(s3: Bucket) -> None:
    """A store that only ever says "slow down" is given up, with its last answer."""
    s3.server.script = lambda *_: error("503 Slow Down", "SlowDown")
    with pytest.raises(StoreUnavailableError, match="answers 503 SlowDown"):
        hasty(s3).get("k")
    assert 2 < len(s3.server.traffic) <= HASTY.attempts


def test_a_short_answer_is_fetched_again(s3: Bucket) -> None:
    """Half of a range is never handed out; the whole comes with the next request."""
    store = hasty(s3)
    store.put("k", b"0123456789")
    cut = [True]

    def halve(method: str, _path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if method == "GET" and cut:
            cut.clear()
            answer.body = answer.body[: len(answer.body) // 2]
        return answer

    s3.server.script = halve
    assert store.get_range("k", 2, 6) == b"234567"


def losing_the_first_put(bucket: Bucket) -> None:
    """From now on the first put arrives, but its answer says 503."""
    lost = [True]

    def script(method: str, _path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        return error("503 Slow Down", "SlowDown") if method == "PUT" and lost.pop() else answer

    lost.insert(0, False)
    bucket.server.script = lambda m, p, ask: script(m, p, ask) if lost else ask()


def test_a_put_if_absent_whose_answer_got_lost_is_success(s3: Bucket) -> None:
    """The retry finds our own object; that is not a conflict."""
    store = hasty(s3)
    losing_the_first_put(s3)
    store.put("k", b"mine", if_absent=True)
    assert store.get("k") == b"mine"
    assert [r.status for r in s3.server.traffic if r.method == "PUT"] == [503, 412]


def test_an_if_match_put_whose_answer_got_lost_is_success(s3: Bucket) -> None:
    """The retry finds its own bytes there and returns their etag."""
    store = hasty(s3)
    etag = store.put("k", b"one")
    losing_the_first_put(s3)
    new = store.put("k", b"two", if_match=etag)
    assert store.get_versioned("k") == (b"two", new)


def test_another_writers_object_stays_a_conflict(s3: Bucket) -> None:
    """Losing an answer must not hide that somebody else was first."""
    store = hasty(s3)
    etag = store.put("k", b"one")
    store.put("k", b"theirs")
    with pytest.raises(ObjectExistsError):
        store.put("k", b"mine", if_absent=True)
    with pytest.raises(PreconditionFailedError):
        store.put("k", b"mine", if_match=etag)
    assert store.get("k") == b"theirs"


def test_a_large_object_is_one_conditional_request(s3: Bucket) -> None:
    """Over 5 MB too: a multipart upload could not be conditional."""
    store = hasty(s3)
    data = os.urandom(6 * 2**20)
    store.put("big", data, if_absent=True)
    store.put("big2", data)
    # A client may send one again over a connection that was just closed; never as parts.
    assert {(r.method, r.query) for r in s3.server.traffic} == {("PUT", "")}
    assert store.get("big2") == data


def test_keys_lie_below_the_prefix(s3: Bucket) -> None:
    """s3://bucket/prefix is a store of its own inside the bucket."""
    inner = open_store(f"{s3.url}/some/prefix", endpoint_url=s3.server.url)
    inner.put("a/k", b"x")
    assert [i.key for i in inner.list()] == ["a/k"]
    assert list(inner.list_folders()) == ["a"]
    assert [i.key for i in hasty(s3).list()] == ["some/prefix/a/k"]


def test_a_manifest_has_its_header_on_s3(s3: Bucket) -> None:
    """gzip_encoded sets ContentEncoding, so that browsers and Athena unpack it."""
    import boto3

    hasty(s3).put("m", b"\x1f\x8b", gzip_encoded=True)
    client = boto3.client("s3", endpoint_url=s3.server.url)
    assert client.head_object(Bucket=s3.name, Key="m")["ContentEncoding"] == "gzip"


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """file:///…/x where x is a file."""
    (tmp_path / "x").write_text("a file")
    for url in (f"file://{tmp_path}/x", f"file://{tmp_path}/x/y"):
        with pytest.raises(StoreUnavailableError, match="cannot make the folder"):
            open_store(url)


def test_a_folder_with_odd_characters_is_used_as_written(tmp_path: Path) -> None:
    """Spaces, #, ? and %20 in a file:// URL; percent codes are decoded."""
    store = open_store(f"file://{tmp_path}/a b#c?d%20e")
    store.put("k", b"x")
    assert (tmp_path / "a b#c?d e" / "k").read_bytes() == b"x"


def test_a_file_in_the_way_of_a_folder_is_said(tmp_path: Path) -> None:
    """A key below an object cannot be written on file://."""
    store = open_store(f"file://{tmp_path}")
    store.put("a", b"x")
    with pytest.raises(StoreUnavailableError, match="a file is in the way"):
        store.put("a/b", b"x")


def test_a_store_whose_folder_went_away_is_not_an_empty_store(tmp_path: Path) -> None:
    """An unplugged disk is unavailable, not "no such object"."""
    store = open_store(f"file://{tmp_path}/gone")
    (tmp_path / "gone").rmdir()
    for use in (lambda: store.get("k"), lambda: store.exists("k"), lambda: store.put("k", b"")):
        with pytest.raises(StoreUnavailableError, match="the folder is gone"):
            use()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_said(tmp_path: Path) -> None:
    """After chmod a-w: the message says to choose another folder."""
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreUnavailableError, match="no permission"):
            open_store(f"file://{tmp_path}").check_writable()
        with pytest.raises(StoreUnavailableError, match="cannot make the folder"):
            open_store(f"file://{tmp_path}/below")
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """What was written stays, no half object appears, and after making room it goes on."""
    store = open_store(f"file://{small_disk}")
    store.put("first", b"a" * 100_000)
    with pytest.raises(StoreUnavailableError, match=r"disk is full.*nothing.*lost"):
        store.put("folder/second", b"b" * 300_000)
    assert [i.key for i in store.list()] == ["first"]
    assert store.get("first") == b"a" * 100_000
    store.delete("first")
    store.put("folder/second", b"b" * 100_000)


def test_a_read_only_file_system_is_said(small_disk: Path) -> None:
    """Reading works, writing says that the file system is read-only."""
    store = open_store(f"file://{small_disk}")
    store.put("k", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreUnavailableError, match="read-only"):
        store.check_writable()
    assert store.get("k") == b"x"


def test_a_half_written_object_is_none(tmp_path: Path) -> None:
    """What a killed file:// put leaves behind is neither listed nor read nor in the way."""
    store = open_store(f"file://{tmp_path}")
    (tmp_path / "k#1").write_bytes(b"half")
    assert list(store.list()) == []
    with pytest.raises(ObjectNotFoundError):
        store.get("k")
    store.put("k", b"whole")
    assert store.get("k") == b"whole"
