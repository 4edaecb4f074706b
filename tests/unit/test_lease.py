"""One writer at a time, on every kind of store."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import obstore
import pytest

from ftm.core.errors import CorruptObjectError, LeaseHeldError, LeaseLostError, StoreError
from ftm.storage import conditional_lease
from ftm.storage.conditional_lease import (
    FOLLOWED_AFTER,
    LEASE_LASTS,
    RENEW_EVERY_S,
    ConditionalLease,
)
from ftm.storage.file_lease import lock_path, who_locks
from ftm.storage.lease import LIVE_NONCES, LeasedObject, Writer, encode_document, process_is_alive
from ftm.storage.object_store import PROBE, ObjectStore, open_store
from ftm.storage.open_lease import open_leased, peek_leased
from ftm.storage.store_clock import age_in_store
from tests.support.lease_clock import lease_age
from tests.support.prefetch_quarter import Clock
from tests.support.s3_server import Bucket

KEY = "some/_checkpoint.json"


def writer(pid: int, *, host: str = "here", alive: bool = True) -> Writer:
    """A process of a host; `alive` is what it believes of the other processes there."""
    return Writer("ann", host, pid, f"nonce-{pid}", is_alive=lambda _: alive)


def lease(store: ObjectStore, who: Writer, **given: Any) -> LeasedObject:
    """The store's kind of lease."""
    defaults: dict[str, Any] = {"clock": Clock(), "say": lambda _: None}
    return open_leased(store, KEY, lock_name="the quarter", writer=who, **(defaults | given))


def conditional(store: ObjectStore, who: Writer, clock: Clock, **given: Any) -> ConditionalLease:
    """The lease of S3."""
    return ConditionalLease(
        store, KEY, lock_name="the quarter", writer=who, clock=clock, say=lambda _: None, **given
    )


def test_content_is_kept_from_holder_to_holder(store: ObjectStore) -> None:
    """What one wrote and released the next one reads."""
    first = lease(store, writer(1))
    assert first.acquire() == {}
    first.write({"n": 1})
    first.release()
    assert peek_leased(store, KEY) == {"n": 1}
    second = lease(store, writer(2))
    assert second.acquire() == {"n": 1}
    second.delete()
    assert not store.exists(KEY)
    assert lease(store, writer(3)).acquire() == {}


def test_a_living_holder_keeps_everybody_else_out(store: ObjectStore) -> None:
    """The message names it; once it gives up, the next one is in."""
    first = lease(store, writer(1))
    first.acquire()
    with pytest.raises(LeaseHeldError, match=r"ann on host here \(process 1\)"):
        lease(store, writer(2)).acquire()
    first.write({"still": "mine"})
    first.release()
    lease(store, writer(2)).acquire()


def test_a_dead_process_of_this_host_is_followed_at_once() -> None:
    """And the user is told."""
    store, said = open_store("memory://"), []
    lease(store, writer(1)).acquire()
    lease(store, writer(2, alive=False), say=said.append).acquire()
    assert said == [
        "the quarter: taking over from ann on host here (process 1): that process is gone"
    ]


def test_another_thread_of_the_process_is_alive_from_its_first_write() -> None:
    """Its lease is not taken for that of a dead process with our id while it returns."""
    store, refused = open_store("memory://"), []

    def meddle(moment: str, _key: str) -> None:
        if moment == "after put":
            store.hook = lambda _moment, _key: None
            with pytest.raises(LeaseHeldError):
                lease(store, replace(writer(1), nonce="another")).acquire()
            refused.append(moment)

    store.hook = meddle
    held = lease(store, writer(1))
    held.acquire()
    assert refused
    held.release()


def test_who_was_refused_does_not_count_as_alive() -> None:
    """A lease that was never taken is nobody's."""
    store = open_store("memory://")
    lease(store, writer(1)).acquire()
    with pytest.raises(LeaseHeldError):
        lease(store, replace(writer(2), nonce="refused")).acquire()
    assert "refused" not in LIVE_NONCES


def test_the_same_process_id_in_another_container_is_not_ours() -> None:
    """Containers may share a host name, and in each the program is process 1."""
    store, clock = open_store("memory://"), Clock()
    conditional(store, replace(writer(1), place="boot:1"), clock).acquire()
    LIVE_NONCES.clear()  # that process is not this one
    with pytest.raises(LeaseHeldError):
        conditional(store, replace(writer(1), nonce="other", place="boot:2"), clock).acquire()
    conditional(store, replace(writer(1), nonce="other", place="boot:1"), clock).acquire()


def test_who_was_taken_for_dead_leaves_the_object_to_its_successor() -> None:
    """It finds another's nonce in place of its own, and writes no more."""
    store, clock = open_store("memory://"), Clock()
    first = conditional(store, writer(1), clock)
    first.acquire()
    second = conditional(store, writer(2, alive=False), clock)
    second.acquire()
    second.write({"by": "second"})
    with pytest.raises(LeaseLostError):
        first.write({"by": "first"})
    assert peek_leased(store, KEY) == {"by": "second"}


@pytest.mark.parametrize("expires", ["2030-01-01T00:00:00", "soon", ""])
def test_a_lease_that_says_no_time_is_damaged(expires: str) -> None:
    """Without a zone, or not a time at all: named with the way out."""
    store = open_store("memory://")
    record = {"owner": "a", "host": "h", "pid": 1, "nonce": "n", "expires": expires}
    store.put(KEY, json.dumps({"lease": record}).encode())
    with pytest.raises(CorruptObjectError, match="delete it"):
        conditional(store, writer(1), Clock()).acquire()


def test_a_look_at_the_holder_keeps_no_writer_out(tmp_path: Any) -> None:
    """Whoever asks for the lock while somebody looks tries again for a moment."""
    store = open_store(f"file://{tmp_path / 'store'}")
    lease(store, writer(1)).acquire()
    held = who_locks(tmp_path / "store", "the quarter")
    assert held == "ann on host here (process 1)"
    second = lease(store, writer(2))
    with lock_path(tmp_path / "store", "other").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        timer.start()
        open_leased(
            store, KEY, lock_name="other", writer=writer(3), clock=Clock(), say=print
        ).acquire()
        timer.join()
    with pytest.raises(LeaseHeldError):
        second.acquire()


def test_a_holder_elsewhere_is_followed_when_its_lease_ran_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can know whether a process of another host is dead."""
    store, clock, said = open_store("memory://"), Clock(), []
    monkeypatch.setattr(conditional_lease, "age_in_store", lease_age(clock))
    lease(store, writer(1, host="there"), clock=clock).acquire()
    clock.advance(minutes=5, seconds=4)
    with pytest.raises(LeaseHeldError, match="until 2024-03-01T12:05:05"):
        lease(store, writer(2, alive=False), clock=clock).acquire()
    clock.advance(seconds=1)
    lease(store, writer(2, alive=False), clock=clock, say=said.append).acquire()
    assert "its lease ran out" in said[0]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_follows_no_living_holder(hours: int) -> None:
    """The store's clock decides; the end of the lease is told in the asker's own time."""
    store, clock, wrong = open_store("memory://"), Clock(), Clock()
    wrong.advance(hours=hours)
    lease(store, writer(1, host="there"), clock=clock).acquire()
    with pytest.raises(LeaseHeldError, match=f"until 2024-03-01T{12 + hours}:0[45]:"):
        lease(store, writer(2), clock=wrong).acquire()
    assert not store.exists(PROBE)


def test_a_dead_holder_whose_clock_was_ahead_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lease says an hour more than the store has seen of it."""
    store, ahead = open_store("memory://"), Clock()
    ahead.advance(hours=1)
    lease(store, writer(1, host="there"), clock=ahead).acquire()
    monkeypatch.setattr(conditional_lease, "age_in_store", lambda *_: FOLLOWED_AFTER)
    lease(store, writer(2)).acquire()
    assert json.loads(store.get(KEY))["lease"]["pid"] == 2


def test_age_is_told_by_the_store(s3: Bucket) -> None:
    """From its own two times; what is not there has none, and the probe is removed."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    assert age_in_store(store, KEY) is None
    store.put(KEY, b"x")
    time.sleep(1.1)
    age = age_in_store(store, KEY)
    assert age is not None
    assert 1 <= age.total_seconds() < 60
    assert [info.key for info in store.list()] == [KEY]


def test_a_delete_whose_answer_got_lost_takes_nothing_from_the_next_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried again only while the object is still ours."""
    store, clock = open_store("memory://"), Clock()
    first, second = (conditional(store, writer(n), clock) for n in (1, 2))
    first.acquire()
    delete = obstore.delete

    def delete_and_lose_the_answer(backend: object, key: str) -> None:
        monkeypatch.setattr(obstore, "delete", delete)
        obstore.delete(backend, key)  # type: ignore[arg-type]
        second.acquire()
        second.write({"n": 2})
        raise obstore.exceptions.GenericError("HTTP error: the connection was reset")

    monkeypatch.setattr(obstore, "delete", delete_and_lose_the_answer)
    first.delete()
    assert peek_leased(store, KEY) == {"n": 2}
    second.delete()
    assert not store.exists(KEY)


def test_a_delete_that_did_not_arrive_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still ours goes at the second try."""
    store = open_store("memory://")
    held = conditional(store, writer(1), Clock())
    held.acquire()
    delete = obstore.delete

    def refuse(_backend: object, _key: str) -> None:
        monkeypatch.setattr(obstore, "delete", delete)
        raise obstore.exceptions.GenericError("HTTP error: no route")

    monkeypatch.setattr(obstore, "delete", refuse)
    held.delete()
    assert not store.exists(KEY)


def test_who_slept_and_was_followed_writes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the object nor, after `ensure_held`, anything else."""
    store, clock = open_store("memory://"), Clock()
    monkeypatch.setattr(conditional_lease, "age_in_store", lease_age(clock))
    first, second = (conditional(store, writer(n, host=f"h{n}"), clock) for n in (1, 2))
    first.acquire()
    clock.advance(seconds=FOLLOWED_AFTER.total_seconds())
    with pytest.raises(LeaseLostError):
        first.ensure_held()
    second.acquire()
    second.write({"n": 2})
    for action in (first.ensure_held, first.renew, first.delete):
        with pytest.raises(LeaseLostError):
            action()
    first.release()
    assert peek_leased(store, KEY) == {"n": 2}


def test_a_clock_that_was_set_back_in_sleep_does_not_hold_a_lease() -> None:
    """The stopwatch runs on; it is started anew by every write, at its beginning."""
    store, clock, seconds = open_store("memory://"), Clock(), [1000.0]
    held = conditional(store, writer(1), clock, stopwatch_s=lambda: seconds[0])
    held.acquire()
    store.hook = lambda _moment, _key: seconds.__setitem__(0, seconds[0] + 1)
    for _ in range(2):
        held.write({"n": 1})
        began_s = seconds[0]
        seconds[0] += LEASE_LASTS.total_seconds() - 10
        held.ensure_held()
    clock.advance(hours=-1)
    seconds[0] = began_s + LEASE_LASTS.total_seconds() - 1
    with pytest.raises(LeaseLostError):
        held.ensure_held()


def test_the_stopwatch_of_a_lease_runs() -> None:
    """Forward, in seconds."""
    before, began = conditional_lease.stopwatch_s(), time.monotonic()
    time.sleep(0.05)
    took = time.monotonic() - began
    assert 0.04 < conditional_lease.stopwatch_s() - before < took + 0.05


def test_a_version_that_another_wrote_is_noticed_before_the_lease_runs_out() -> None:
    """If-Match tells, whatever the clocks say."""
    store, clock = open_store("memory://"), Clock()
    first = conditional(store, writer(1), clock)
    first.acquire()
    store.put(KEY, encode_document({"lease": None, "n": 9}))
    with pytest.raises(LeaseLostError):
        first.write({"n": 1})
    assert peek_leased(store, KEY) == {"n": 9}


def test_a_lease_is_renewed_while_its_holder_works() -> None:
    """The expiry in the store moves on without a write of content."""
    store, clock = open_store("memory://"), Clock()
    held = conditional(store, writer(1), clock, renew_every_s=0.01)
    held.acquire()
    held.write({"n": 1})
    before = json.loads(store.get(KEY))["lease"]["expires"]
    clock.advance(minutes=4)
    while json.loads(store.get(KEY))["lease"]["expires"] == before:
        time.sleep(0.01)
    assert peek_leased(store, KEY) == {"n": 1}
    clock.advance(minutes=4)
    held.ensure_held()
    held.release()


def expiry(store: ObjectStore) -> str:
    """Of the lease in the store."""
    return str(json.loads(store.get(KEY))["lease"]["expires"])


def until(condition: Callable[[], bool]) -> None:
    """Look again and again."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_store_that_fails_once_does_not_end_the_renewals() -> None:
    """It may be back long before the lease runs out; there is time for three of them."""
    assert LEASE_LASTS.total_seconds() > 3 * RENEW_EVERY_S
    store, clock, failed = open_store("memory://"), Clock(), []

    def fail_once(moment: str, key: str) -> None:
        if (moment, key) == ("before put", KEY) and not failed:
            failed.append(key)
            raise StoreError("out of reach")

    held = conditional(store, writer(1), clock, renew_every_s=0.01)
    held.acquire()
    store.hook = fail_once
    until(lambda: bool(failed))
    before = expiry(store)
    clock.advance(minutes=1)
    until(lambda: expiry(store) != before)
    held.release()


def test_a_renewal_that_finds_another_holder_stops_all_writing() -> None:
    """Though the lease would not have run out for minutes."""
    store, clock = open_store("memory://"), Clock()
    held = conditional(store, writer(1), clock, renew_every_s=0.01)
    held.acquire()
    store.put(KEY, encode_document({"lease": None, "n": 9}))
    until(lambda: not held.is_held())
    with pytest.raises(LeaseLostError):
        held.write({"n": 1})
    assert peek_leased(store, KEY) == {"n": 9}


def test_no_renewal_takes_up_a_lease_that_was_given_up() -> None:
    """One that waited for its turn meanwhile finds that it is over."""
    store = open_store("memory://")
    held = conditional(store, writer(1), Clock(), renew_every_s=0.01)
    held.acquire()
    with held._guard:
        time.sleep(0.05)
        held.release()
    given_up = store.get(KEY)
    time.sleep(0.05)
    assert store.get(KEY) == given_up


def test_a_killed_process_that_nobody_waited_for_is_dead() -> None:
    """Its id is still taken, as in a container without an init, or of a notebook's `Popen`."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_is_alive(process.pid)
    process.kill()
    until(lambda: not process_is_alive(process.pid))
    assert process.returncode is None
    process.communicate()


def test_a_put_whose_answer_got_lost_is_ours() -> None:
    """Its etag was never learnt; the nonce tells, and the next write and the release go on."""
    store, clock = open_store("memory://"), Clock()
    held = conditional(store, writer(1), clock)
    held.acquire()

    def interrupt(moment: str, _key: str) -> None:
        if moment == "after put":
            store.hook = lambda _moment, _key: None
            raise KeyboardInterrupt

    for n in (1, 2):
        store.hook = interrupt
        with pytest.raises(KeyboardInterrupt):
            held.write({"n": n})
    held.write({"n": 3})
    assert peek_leased(store, KEY) == {"n": 3}
    store.hook = interrupt
    with pytest.raises(KeyboardInterrupt):
        held.write({"n": 4})
    held.release()
    assert json.loads(store.get(KEY))["lease"] is None


def test_releasing_never_fails_for_a_store_out_of_reach() -> None:
    """The lease then runs out by itself, and the first error is the one that is shown."""
    store = open_store("memory://")
    held = lease(store, writer(1))
    held.acquire()

    def out_of_reach(_moment: str, _key: str) -> None:
        raise StoreError("out of reach")

    before = store.get(KEY)
    store.hook = out_of_reach
    held.release()
    assert store.get(KEY) == before


def test_damaged_content_is_named_with_the_way_out(store: ObjectStore) -> None:
    """And no lock is left behind."""
    store.put(KEY, b"{not json")
    for _ in range(2):
        with pytest.raises(
            CorruptObjectError, match=r"delete it.*what is published stays.*reads anew"
        ):
            lease(store, writer(1)).acquire()
    store.delete(KEY)
    lease(store, writer(1)).acquire()


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path: Any) -> None:
    """A real process, killed with SIGKILL while it holds the lock of a folder."""
    code = f"""
import time
from tests.unit.test_lease import *
held = lease(open_store("file://{tmp_path}"), Writer.current())
held.acquire(); held.write({{"n": 1}}); print("held", flush=True); time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        store, said = open_store(f"file://{tmp_path}"), []
        with pytest.raises(LeaseHeldError, match=f"process {process.pid}"):
            lease(store, writer(2)).acquire()
        process.kill()
        process.wait()
    assert lease(store, writer(2), say=said.append).acquire() == {"n": 1}
    assert f"process {process.pid}" in said[0]
    assert not process_is_alive(process.pid)
