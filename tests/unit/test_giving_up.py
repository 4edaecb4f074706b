"""Giving up an unfinished session: what is published stays, byte for byte, whoever dies when."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ftm.cli.main import cli
from ftm.cli.prefetch import prefetch as prefetch_command
from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import ConfigError, LeaseHeldError
from ftm.prefetch.giving_up import GiveUpSummary, give_up_quarter
from ftm.prefetch.plan_file import read_plan
from ftm.prefetch.preprocess import preprocess_quarter
from ftm.storage.lease import decode_document, encode_document
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    START,
    Clock,
    Killed,
    dead_writer,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    stored_rows,
)

FIRMS = firms(6)
PUBLISHING = ("before put", LAYOUT.manifest)
Command = Callable[[ObjectStore], object]


def publish(store: ObjectStore) -> None:
    """All firms but two."""
    prefetch(store, FakeSource(FIRMS), FIRMS[:4], chunk=2)


def refresh(store: ObjectStore) -> None:
    """A new generation from WRDS."""
    prefetch(store, FakeSource(FIRMS, version="v2"), chunk=2, refresh=True)


def preprocess(store: ObjectStore) -> None:
    """A new generation from components."""
    text, names = FakePreprocessor("other"), {"clock": Clock(), "new_identity": dead_writer}
    preprocess_quarter(store, QUARTER, text, chunk_size=2, checkpoint_interval=1, **names)


def add_firms(store: ObjectStore) -> None:
    """The two firms that are missing, in the published generation."""
    prefetch(store, FakeSource(FIRMS), chunk=1, part=1)


SESSIONS: dict[str, Command] = {
    "refresh": refresh,
    "preprocess": preprocess,
    "prefetch": add_firms,
}


def give_up(store: ObjectStore) -> GiveUpSummary:
    """One `ftm prefetch --give-up`."""
    return give_up_quarter(store, QUARTER, clock=Clock(), new_identity=dead_writer)


def copy_of(objects: dict[str, bytes]) -> ObjectStore:
    """A store that holds these objects."""
    store = open_store("memory://")
    for key, data in objects.items():
        store.put(key, data)
    return store


def writes_of(command: Command, store: ObjectStore) -> list[tuple[str, str]]:
    """Every write event of a command that is not disturbed; the store keeps what it did."""
    with killed_at(store, None) as events:
        command(store)
    return events


def stop(store: ObjectStore, command: Command, nth: int) -> None:
    """Let a command die at its nth write event."""
    with killed_at(store, nth), pytest.raises(Killed):
        command(store)


def stop_before(store: ObjectStore, command: Command, last: tuple[str, str] = PUBLISHING) -> None:
    """Let a command die at this write event; unless told, when it has the most to lose."""

    def hook(moment: str, key: str) -> None:
        nonlocal is_dead
        is_dead |= (moment, key) == last
        if is_dead:
            raise Killed(f"{moment} {key}")

    is_dead = False
    before, store.hook = store.hook, hook
    with pytest.raises(Killed):
        command(store)
    store.hook = before


@pytest.mark.parametrize("kind", SESSIONS)
def test_what_is_published_is_all_that_stays(store: ObjectStore, kind: str) -> None:
    """Parts, chunks, plan and checkpoint of the session go; the summary says what it was."""
    publish(store)
    before = everything(store)
    stop_before(store, SESSIONS[kind])
    assert len(everything(store)) > len(before) + 2
    summary = give_up(store)
    assert everything(store) == before
    generation = 1 if kind == "prefetch" else 2
    n_tried = {"refresh": 6, "preprocess": 4, "prefetch": 2}[kind]
    assert (summary.kind, summary.generation) == (kind, generation)
    assert summary.n_attempted == n_tried
    assert summary.n_files == {"refresh": 7, "preprocess": 5, "prefetch": 4}[kind]


@pytest.mark.parametrize("kind", ["refresh", "preprocess"])
def test_a_generation_killed_at_any_write_can_be_given_up(memory: ObjectStore, kind: str) -> None:
    """It goes as a whole, also a chunk that was put and never named."""
    publish(memory)
    before, command = everything(memory), SESSIONS[kind]
    events = writes_of(command, memory)
    for nth in range(events.index(PUBLISHING) + 1):
        store = copy_of(before)
        stop(store, command, nth)
        give_up(store)
        assert everything(store) == before, f"{kind} killed at {events[nth]}"
    command(store)
    assert everything(store) == everything(memory)


def test_from_a_published_generation_goes_only_what_the_session_names(memory: ObjectStore) -> None:
    """A chunk put just before a kill stays, as any other file that nothing names."""
    publish(memory)
    before = everything(memory)
    events = writes_of(add_firms, memory)
    for nth in range(events.index(PUBLISHING) + 1):
        store = copy_of(before)
        stop(store, add_firms, nth)
        left = everything(store)
        named = json.dumps(json.loads(left.get(LAYOUT.checkpoint, b"{}")).get("session"))
        unnamed = {k for k in left if k.endswith("parquet") and k.rpartition("/")[2] not in named}
        give_up(store)
        expected = {k: v for k, v in left.items() if k in before or k in unnamed}
        assert everything(store) == {k: v for k, v in expected.items() if "_parts" not in k}
        add_firms(store)
        assert stored_rows(store) == stored_rows(memory)


def test_no_published_file_goes_whatever_a_checkpoint_names(memory: ObjectStore) -> None:
    """One that was put back from a backup may name chunks of the manifest, or of an older one."""
    publish(memory)
    stop_before(memory, add_firms)
    checkpoint = memory.get(LAYOUT.checkpoint)
    add_firms(memory)
    complete = everything(memory)
    fields = decode_document(checkpoint, key=LAYOUT.checkpoint)
    fields["session"]["failed"]["1009"] = "x"
    memory.put(LAYOUT.checkpoint, encode_document(fields))
    give_up(memory)
    assert everything(memory) == complete
    refresh(memory)
    refreshed = everything(memory)
    memory.put(LAYOUT.checkpoint, checkpoint)
    assert give_up(memory).generation == 1
    assert everything(memory) == refreshed


@pytest.mark.parametrize("kind", SESSIONS)
def test_who_is_killed_while_giving_up_finishes_by_a_rerun(memory: ObjectStore, kind: str) -> None:
    """Or by any other command that writes the quarter: nobody takes up what is half gone."""
    publish(memory)
    before, command = everything(memory), SESSIONS[kind]
    whole = copy_of(before)
    command(whole)
    stop_before(memory, command)
    unfinished = everything(memory)
    events = writes_of(give_up, memory)
    assert len(events) > 10
    for nth in range(len(events)):
        for then, expected in ((give_up, before), (command, everything(whole))):
            store = copy_of(unfinished)
            stop(store, give_up, nth)
            then(store)
            assert everything(store) == expected, f"{then.__name__} after {events[nth]}"


def test_preprocess_by_the_published_pipeline_only_cleans_up(memory: ObjectStore) -> None:
    """After a giving up that was killed; a generation that differs in nothing is not made."""
    publish(memory)
    before = everything(memory)
    stop_before(memory, preprocess)
    stop(memory, give_up, 6)
    names = {"clock": Clock(), "new_identity": dead_writer}
    preprocess_quarter(memory, QUARTER, FakePreprocessor(), **names)
    assert everything(memory) == before


def test_a_prefetch_with_nothing_to_add_publishes_nothing(memory: ObjectStore) -> None:
    """A checkpoint was in the way, so it took the lease; run ids hash the manifest as it stands."""
    publish(memory)
    add_firms(memory)
    before = everything(memory)
    stop_before(memory, refresh)
    stop(memory, give_up, 6)
    summary = prefetch(memory, FakeSource(FIRMS), clock=Clock(START + timedelta(hours=1)))
    assert (summary.n_firms, summary.n_new_firms) == (6, 0)
    assert everything(memory) == before


def test_without_anything_unfinished_nothing_is_written(store: ObjectStore) -> None:
    """Neither of a finished quarter, nor of one that there is nothing of."""
    for _ in range(2):
        with killed_at(store, 0):
            assert give_up(store) == GiveUpSummary(QUARTER)
        publish(store)


def test_a_refresh_that_was_published_is_not_given_up(memory: ObjectStore) -> None:
    """It died while cleaning up; that is all that is left to do."""
    publish(memory)
    stop_before(memory, refresh, ("before delete", LAYOUT.checkpoint))
    assert give_up(memory).kind is None
    assert manifest(memory).generation == 2
    assert not memory.exists(LAYOUT.checkpoint)
    assert memory.exists(LAYOUT.key("gen=0002/chunk_0002.parquet"))


@pytest.mark.parametrize("options", [PlanOptions(), PlanOptions(calls="first")])
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_a_first_prefetch_is_not_given_up(
    store: ObjectStore, options: PlanOptions, is_refreshed: bool
) -> None:
    """All would be lost: nothing is, and the command that the error names finishes it."""

    def first(store: ObjectStore, **given: object) -> None:
        prefetch(store, FakeSource(FIRMS), options=options, **given)

    stop(store, first, 20)
    if is_refreshed:
        stop(store, lambda store: first(store, refresh=True), 20)
    before = session_and_files(store)
    with pytest.raises(ConfigError, match="nothing of 2023Q1 is published yet") as caught:
        give_up(store)
    assert session_and_files(store) == before
    said = arguments_of(caught.value, "prefetch")
    assert (said["chunk_size"], said["calls"], said["refresh"]) == (None, None, is_refreshed)
    prefetch(store, FakeSource(FIRMS), chunk=None)
    assert manifest(store).complete
    assert manifest(store).chunk_size == 4
    assert read_plan(store, LAYOUT.key(manifest(store).plan.file)).options.calls == options.calls


def session_and_files(store: ObjectStore) -> dict[str, object]:
    """Everything, the checkpoint without its lease."""
    found: dict[str, object] = dict(everything(store))
    return found | {LAYOUT.checkpoint: json.loads(store.get(LAYOUT.checkpoint))["session"]}


def arguments_of(error: Exception, name: str) -> dict[str, object]:
    """The last command an error shows, as the command line parses it."""
    _, *arguments = shlex.split(re.findall(r"`ftm ([^`]+)`", str(error))[-1])
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return dict(command.make_context(name, arguments).params)


def test_errors_that_ask_to_finish_first_name_the_other_way_out(memory: ObjectStore) -> None:
    """A preprocess, a prefetch and another chunk size; the way out works."""
    publish(memory)
    before = everything(memory)
    for unfinished, refused in (
        (preprocess, add_firms),
        (add_firms, preprocess),
        (refresh, add_firms),
    ):
        stop_before(memory, unfinished)
        with pytest.raises(ConfigError, match="finish it") as caught:
            refused(memory)
        assert arguments_of(caught.value, "prefetch")["give_up"] is True
        give_up(memory)
        assert everything(memory) == before


def test_where_nothing_is_published_no_error_offers_to_give_up(memory: ObjectStore) -> None:
    """It would be refused."""
    with killed_at(memory, 20), suppress(Killed):
        prefetch(memory, FakeSource(FIRMS))
    with pytest.raises(ConfigError, match="--refresh, which drops the 4 firms") as caught:
        prefetch(memory, FakeSource(FIRMS), chunk=3)
    assert "--give-up" not in str(caught.value)


def test_nobody_gives_up_what_another_is_writing(store: ObjectStore) -> None:
    """The writer is named, and finishes undisturbed."""
    publish(store)
    refused = []

    def meddle(moment: str, key: str) -> None:
        if moment == "before put" and "chunk_part" in key:
            store.hook = lambda _moment, _key: None
            with pytest.raises(LeaseHeldError, match="ann on host elsewhere"):
                give_up(store)
            refused.append(key)
            store.hook = meddle

    store.hook = meddle
    source = FakeSource(FIRMS, version="v2")
    elsewhere = replace(dead_writer(), host="elsewhere")
    prefetch(store, source, refresh=True, new_identity=lambda: elsewhere)
    assert len(refused) == 3
    assert manifest(store).generation == 2


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    """In words, as JSON, and when there is nothing; none of them is a failure."""
    url = f"file://{tmp_path}"
    publish(open_store(url))
    before = everything(open_store(url))
    command = ["--quarter", QUARTER, "--store", url, "--give-up"]
    stop_before(open_store(url), refresh)
    done = CliRunner().invoke(prefetch_command, command)
    assert (done.exit_code, everything(open_store(url))) == (0, before)
    assert done.stdout == (
        "2023Q1: gave up an unfinished refresh (generation 2, 6 firms done, 7 files and its "
        "parts); what was published stays as it was\n"
    )
    again = CliRunner().invoke(prefetch_command, command)
    assert (again.exit_code, everything(open_store(url))) == (0, before)
    assert again.stdout == "2023Q1: nothing is unfinished, so there is nothing to give up\n"
    as_json = CliRunner().invoke(prefetch_command, [*command, "--json"])
    assert json.loads(as_json.stdout) == GiveUpSummary(QUARTER).to_dict()


def test_status_tells_how_to_finish_and_how_to_give_up(tmp_path: Path) -> None:
    """The command that finishes is that of the session; giving up is offered where it is done."""
    url = f"file://{tmp_path}"
    status = ["status", "--quarter", QUARTER, "--store", url]
    stop_before(open_store(url), publish)
    first = " ".join(CliRunner().invoke(cli, status).stdout.split())
    assert "go on with: `ftm prefetch --quarter 2023Q1 --firms 1000,1001,1002,1003`" in first
    assert "--give-up" not in first
    publish(open_store(url))
    stop_before(open_store(url), preprocess)
    later = " ".join(CliRunner().invoke(cli, status).stdout.split())
    assert "go on with: `ftm preprocess --quarter 2023Q1`" in later
    assert "or drop it: `ftm prefetch --quarter 2023Q1 --give-up`" in later


@pytest.mark.parametrize(
    "given", [["--refresh"], ["--firms", "1"], ["--dry-run"], ["--check-revisions"]]
)
def test_giving_up_takes_no_other_task(given: list[str]) -> None:
    """It would be ignored without a word."""
    done = CliRunner().invoke(prefetch_command, ["--quarter", QUARTER, "--give-up", *given])
    assert done.exit_code == 2
    assert f"without {given[0]}" in done.output
