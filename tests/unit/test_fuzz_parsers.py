"""Whatever lies where ftm expects a document of its own: it is read, or refused in one line.

`make fuzz N=…` tries N times as many inputs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.analysis.status import read_status
from ftm.care.terraform_outputs import parse_outputs, settings_from
from ftm.cli.status_table import print_status
from ftm.core.errors import CorruptObjectError, FtmError, SetupError
from ftm.core.layout import RunLayout, assigned_pointer
from ftm.core.quarter import Quarter
from ftm.core.schemas import THEME_CONTRIBUTIONS
from ftm.core.settings import Settings
from ftm.orchestrate.stages import describe_stage
from ftm.orchestrate.usage import Usage, describe_end, read_usage
from ftm.reduce.labels import COLUMNS, members_of, read_labels
from ftm.reduce.link_quarters import link_quarters, read_series_ids
from ftm.reduce.package_stage import package_inputs
from ftm.storage.assigned import ASSIGNED_TABLES, read_assigned_table, require_assigned
from ftm.storage.checkpoint import decode_given_up, decode_session
from ftm.storage.lease import Writer, decode_document, lease_of
from ftm.storage.linked import link_record, read_linked_table
from ftm.storage.manifest import decode_manifest, encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_rows
from ftm.storage.published import read_published
from ftm.storage.run_records import (
    BatchLine,
    BatchOutcome,
    BatchProgress,
    JobClaim,
    RunSpec,
    StageOutcome,
    decode_batches,
    decode_job_claim,
    decode_outcome,
    decode_progress,
    decode_spec,
)
from ftm.storage.sealed import SEAL, encode_sealed
from ftm.storage.stage_records import STAGES, require_stage
from tests.support.damage import examples
from tests.support.fake_source import FakeSource
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import do_all
from tests.support.prefetch_quarter import LAYOUT, Killed, firms, killed_at, prefetch
from tests.support.published_quarter import assign_quarter, publish_quarter

KEY = "s3://bucket/document"
_N = 70

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "../x", "\ud800", "0" * 300, "2023-13-01", "9" * 5000, 10**400, -1, 0]),
)
VALUES = st.recursive(
    _SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """A valid document with one field, anywhere, of another value, gone, or with a stranger."""
    found = json.loads(json.dumps(valid))
    place = found
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return draw(VALUES) if place is found else found
        key = draw(st.sampled_from(keys))
        below = place[key]
        if isinstance(below, dict | list) and below and draw(st.booleans()):
            place = below
            continue
        how = draw(st.sampled_from(["other", "other", "gone", "stranger"]))
        if how == "other":
            place[key] = draw(VALUES)
        elif how == "gone":
            del place[key]
        elif isinstance(place, dict):
            place[draw(st.text(max_size=8))] = draw(VALUES)
        return found


def raw(valid: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, and a valid document with any bytes in the middle."""

    def spliced(parts: tuple[int, int, bytes]) -> bytes:
        start, end, middle = parts
        return valid[: start % (len(valid) + 1)] + middle + valid[end % (len(valid) + 1) :]

    place = st.integers(0, 10**6)
    junk = st.binary(max_size=40) | st.sampled_from([b"[" * 20_000, b'{"a":' * 20_000, b"\x1f\x8b"])
    return junk | st.tuples(place, place, junk).map(spliced)


def refused(parse: Callable[[bytes], object], data: bytes) -> object:
    """What is parsed, or None; an error is ftm's, in one line, and short."""
    try:
        return parse(data)
    except FtmError as error:
        text = str(error)
    assert len(text.splitlines()) == 1, text
    return None


def _as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _as_sealed(document: Any) -> bytes:
    """A document with the seal it needs to be looked into at all; anything else as JSON."""
    is_document = isinstance(document, dict) and SEAL not in document
    return encode_sealed(document) if is_document else _as_json(document)


@cache
def manifest_and_checkpoint() -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a prefetch that died while it wrote its second chunk, and of a whole one."""
    store = open_store("memory://")
    with killed_at(store, 30), pytest.raises(Killed):
        prefetch(store, FakeSource(firms(9)))
    checkpoint = json.loads(store.get(LAYOUT.checkpoint))
    del checkpoint["self_sha256"]
    prefetch(store, FakeSource(firms(9)))
    found = decode_manifest(store.get(LAYOUT.manifest), key=KEY)
    return found.model_dump(mode="json"), checkpoint


def _parse_manifest(data: bytes) -> object:
    found = decode_manifest(data, key=KEY)
    assert decode_manifest(encode_manifest(found), key=KEY) == found
    return found


def _parse_checkpoint(data: bytes) -> object:
    document = decode_document(data, key=KEY)
    if lease := lease_of(document, key=KEY):
        # As a process of the same machine asks: another one may be there or not.
        Writer("ann", lease.host, 1, "n", lease.place).knows_dead(lease)
    session = decode_session(document, key=KEY)
    return session and (session.durable(), session.n_attempted), decode_given_up(document, key=KEY)


@examples(_N)
@given(st.data())
def test_manifests(data: st.DataObject) -> None:
    """One field changed, or any bytes: read and written again alike, or refused."""
    valid, _ = manifest_and_checkpoint()
    assert refused(_parse_manifest, _as_json(valid)) is not None
    refused(_parse_manifest, _as_json(data.draw(changed(valid))))
    refused(_parse_manifest, data.draw(raw(_as_json(valid))))


@pytest.mark.parametrize("pid", [0, -1, 2**31, 10**30])
def test_a_lease_of_no_process_is_damage(pid: int) -> None:
    """The system refuses to be asked about such a process: no traceback, one line."""
    lease = {"owner": "a", "host": "h", "pid": pid, "nonce": "n", "expires": "2030-01-01T00:00:00Z"}
    assert refused(_parse_checkpoint, _as_sealed({"lease": lease | {"pid": 1}})) is not None
    assert refused(_parse_checkpoint, _as_sealed({"lease": lease})) is None


@examples(_N)
@given(st.data())
def test_checkpoints(data: st.DataObject) -> None:
    """Lease, session and a session that was given up."""
    _, valid = manifest_and_checkpoint()
    assert refused(_parse_checkpoint, _as_sealed(valid)) is not None
    refused(_parse_checkpoint, _as_sealed(data.draw(changed(valid))))
    refused(_parse_checkpoint, data.draw(raw(_as_sealed(valid))))


LINES = [
    BatchLine(batch_id=f"2023Q1_batch_000{n}", quarter="2023Q1", firm_ids=["1", "2"])
    for n in range(2)
]
SPEC = RunSpec(
    quarter="2023Q1",
    run_id="r",
    created_at="2023-04-03T12:00:00+00:00",
    manifest_sha256="0",
    batches_sha256="0",
    model={"seed": "42"},
    checkpoint_firms=50,
    ftm_version="0.1.0",
)
PROGRESS = BatchProgress(batch_id="b", parts={"k": "0"}, done=["1"], failed={"2": "no"})
CLAIM = JobClaim(job_id="a", claimed_at="2023-04-03T12:00:00+00:00")


def _parse_batches(data: bytes) -> object:
    return decode_batches(data, key=KEY)


def _parse_spec(data: bytes) -> object:
    return decode_spec(data, key=KEY).is_trial


def _parse_progress(data: bytes) -> object:
    return decode_progress(data, key=KEY)


def _parse_claim(data: bytes) -> object:
    return decode_job_claim(data, key=KEY).is_younger(60)


@examples(_N)
@given(st.data())
def test_batch_manifests(data: st.DataObject) -> None:
    """A line changed, or any bytes between the lines."""
    lines = [line.model_dump(mode="json") for line in LINES]
    assert refused(_parse_batches, b"\n".join(map(_as_json, lines))) is not None
    other = data.draw(changed(lines[0]))
    refused(_parse_batches, _as_json(other) + b"\n" + _as_json(lines[1]))
    refused(_parse_batches, data.draw(raw(b"\n".join(map(_as_json, lines)))))


@pytest.mark.parametrize(
    ("parse", "record"), [(_parse_spec, SPEC), (_parse_progress, PROGRESS), (_parse_claim, CLAIM)]
)
@examples(_N)
@given(data=st.data())
def test_run_records(
    parse: Callable[[bytes], object], record: RunSpec, data: st.DataObject
) -> None:
    """Specs, progress and claims."""
    valid = record.model_dump(mode="json")
    assert refused(parse, _as_sealed(valid)) is not None
    refused(parse, _as_sealed(data.draw(changed(valid))))
    refused(parse, data.draw(raw(_as_sealed(valid))))


@examples(_N)
@given(st.data())
def test_pointers(data: st.DataObject) -> None:
    """A pointer leads nowhere but to a run's folder."""
    store = open_store("memory://")
    quarter = Quarter(2016, 2)
    key = "processed/quarter=2016Q2/_current.json"
    valid = {"run_id": "run2016Q2", "panel.parquet": "0", "themes-abc.parquet": "1"}

    def parse(found: bytes) -> object:
        store.put(key, found)
        published = read_published(store, quarter)
        assert published is not None
        assert published.layout == RunLayout(quarter, published.run_id)
        assert "/" not in published.run_id
        return published.tables

    assert refused(parse, _as_sealed(valid)) is not None
    assert refused(parse, _as_sealed({"run_id": "../x"})) is None
    refused(parse, _as_sealed(data.draw(changed(valid))))
    refused(parse, data.draw(raw(_as_sealed(valid))))


def unsealed(data: bytes) -> dict[str, Any]:
    """A document without the hash of itself: what is changed in it is not noticed by that."""
    fields = json.loads(data)
    fields.pop(SEAL, None)
    return dict(fields)


def _never_a_bug(
    data: st.DataObject, store: ObjectStore, key: str, work: Callable[[], object]
) -> None:
    """A record of a store changed: work is done, or refuses in one line; then it is put back."""
    before = store.get(key)
    valid = unsealed(before)
    try:
        for found in (_as_sealed(data.draw(changed(valid))), data.draw(raw(_as_sealed(valid)))):
            store.put(key, found)
            refused(lambda _: work(), found)
    finally:
        store.put(key, before)


FIRST, SECOND = Quarter(2016, 2), Quarter(2016, 3)


@cache
def linked_store() -> ObjectStore:
    """Two published quarters, linked."""
    store = open_store("memory://")
    for quarter in (FIRST, SECOND):
        do_all(plant_run(store, ((0, 1), (0, 1), (1, 0)), quarter=quarter, run_id=f"r{quarter}"))
    link_quarters(store, [FIRST, SECOND])
    return store


@examples(_N)
@given(st.data())
def test_link_records(data: st.DataObject) -> None:
    """Of series: whoever reads them, and a command that links once more."""
    store = linked_store()

    def work() -> None:
        read_series_ids(store, SECOND, f"r{SECOND}")
        read_linked_table(store, SECOND, "theme_links")
        link_quarters(store, [FIRST, SECOND])

    _never_a_bug(data, store, link_record(SECOND), work)


def test_a_link_record_that_names_no_table_is_damage() -> None:
    """It is named, with the command that writes it again."""
    store, key = linked_store(), link_record(SECOND)
    before = store.get(key)
    valid = unsealed(before)
    del valid["series.parquet"]
    store.put(key, _as_sealed(valid))
    try:
        with pytest.raises(CorruptObjectError, match=rf"{key} is damaged, it does not name series"):
            read_series_ids(store, SECOND, f"r{SECOND}")
    finally:
        store.put(key, before)


@cache
def assigned_store() -> ObjectStore:
    """Two published quarters, the second one scored with the themes of the first."""
    store = open_store("memory://")
    for quarter in (FIRST, SECOND):
        publish_quarter(store, quarter)
    assign_quarter(store, SECOND, themes_from=FIRST)
    return store


@examples(_N)
@given(st.data())
def test_assigned_pointers(data: st.DataObject) -> None:
    """Of a quarter scored with an earlier one's themes."""
    store = assigned_store()

    def read() -> object:
        assigned = require_assigned(store, SECOND, FIRST)
        return [read_assigned_table(store, assigned, table) for table in ASSIGNED_TABLES]

    _never_a_bug(data, store, assigned_pointer(SECOND, FIRST), read)


@cache
def packaged_run() -> Planted:
    """A run with all its stages done, and the record of how its jobs ended."""
    planted = plant_run(open_store("memory://"), ((0, 1), (0, 1), (1, 0), (0,), ()), batch_size=3)
    do_all(planted)
    ended = BatchOutcome(batch_id="2023Q1_batch_0000", state="FAILED", exit_code=1, seconds=2.5)
    record = StageOutcome(name="j", batches=[ended])
    planted.store.put(planted.layout.outcome("map", 1), record.encode())
    return planted


@pytest.mark.parametrize("stage", STAGES[1:])
@examples(_N)
@given(data=st.data())
def test_stage_records(stage: str, data: st.DataObject) -> None:
    """What shows a run, what goes on from it, and what puts a stage in words."""
    planted = packaged_run()
    store, layout = planted.store, planted.layout
    run, key = planted.run, layout.stage_record(stage)

    def work() -> None:
        found = require_stage(store, layout, stage)
        describe_stage(found, key=key)
        print_status(read_status(store, layout.quarter))
        package_inputs(store, run, {})

    _never_a_bug(data, store, key, work)


def test_a_package_record_without_its_figures_is_damage() -> None:
    """It is named, with what to do, wherever they are shown."""
    planted = packaged_run()
    key = planted.layout.stage_record("package")
    before = planted.store.get(key)
    planted.store.put(key, _as_sealed({**unsealed(before), "facts": {}}))
    try:
        status = read_status(planted.store, planted.layout.quarter)
    finally:
        planted.store.put(key, before)
    (told,) = status.unreadable.values()
    assert f"{key} is damaged, fact n_calls: Field required; delete it" in told


@examples(_N)
@given(st.data())
def test_outcomes(data: st.DataObject) -> None:
    """Of an attempt's jobs."""
    planted = packaged_run()
    key = planted.layout.outcome("map", 1)

    def read() -> None:
        found = decode_outcome(planted.store.get(key), key=key).batches
        describe_end(found, usage_of(planted))
        print_status(read_status(planted.store, planted.layout.quarter))

    _never_a_bug(data, planted.store, key, read)


def usage_of(planted: Planted) -> Usage:
    """Hours of the run's jobs."""
    return read_usage(planted.store, planted.layout, 2.0)


OUTPUTS = {
    name: {"value": value}
    for name, value in {
        "store_url": "s3://b",
        "aws_region": "us-east-1",
        "cpu_queue": "q",
        "cpu_job_definition": "d:1",
        "stage_job_definition": "e:1",
    }.items()
}


@examples(_N)
@given(st.data())
def test_outputs_of_terraform(data: st.DataObject) -> None:
    """One output changed, or any bytes."""

    def parse(found: bytes) -> object:
        values = settings_from(parse_outputs(found, where="outputs.json"))
        assert all(isinstance(value, str) for value in values.values())
        return values

    assert refused(parse, _as_json(OUTPUTS)) is not None
    refused(parse, _as_json(data.draw(changed(OUTPUTS))))
    refused(parse, data.draw(raw(_as_json(OUTPUTS))))


def test_deeply_nested_outputs_are_no_outputs() -> None:
    """The same line as for what is no JSON at all."""
    with pytest.raises(SetupError, match=r"outputs.json holds no JSON \(nested too deeply\)"):
        parse_outputs(b"[" * 100_000, where="outputs.json")


@examples(4 * _N)
@given(st.text(max_size=20) | st.from_regex(r"\d{3,5}[Qq][0-5](\.\.\d{4}Q[1-4])?", fullmatch=True))
def test_quarters(text: str) -> None:
    """A quarter or a range is read, and is what was written, or it is refused."""
    one = refused(lambda _: Quarter.parse(text), b"")
    assert one is None or str(one) == text
    span = refused(lambda _: Quarter.parse_range(text), b"")
    if isinstance(span, list):
        assert text in (str(span[0]), f"{span[0]}..{span[-1]}")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where `ftm.toml` is read, and no variable of this shell is."""
    known = {str(c) for f in Settings.model_fields.values() for c in f.validation_alias.choices}  # type: ignore[union-attr]
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for variable in known:
            patch.delenv(variable, raising=False)
        patch.chdir(name)
        yield Path(name)


TOML = b'store = "file:///tmp/x"\nseed = 42\nallow_failures = true\nmax_failure_rate = 0.5\n'


@examples(_N)
@given(st.data())
def test_settings_files(folder: Path, data: st.DataObject) -> None:
    """Any bytes in ftm.toml, and any value under a known key."""
    field = data.draw(st.sampled_from(sorted(Settings.model_fields)))
    value = json.dumps(data.draw(VALUES)) if data.draw(st.booleans()) else "[" * 3000

    def parse(text: bytes) -> object:
        (folder / "ftm.toml").write_bytes(text)
        return Settings.load()

    try:
        assert refused(parse, TOML) is not None
        refused(parse, f"{field} = {value}".encode(errors="surrogatepass"))
        refused(parse, data.draw(raw(TOML)))
    finally:
        (folder / "ftm.toml").unlink()


@examples(_N)
@given(
    st.sampled_from(sorted(Settings.model_fields)),
    st.text(max_size=30).filter(lambda t: "\0" not in t)
    | st.sampled_from(["1e999", "nan", "-1", "9" * 5000, "s3://", "file://", "[" * 2000, "true"]),
)
def test_settings_from_the_environment(folder: Path, field: str, value: str) -> None:
    """Any text in any variable."""
    variable = str(Settings.model_fields[field].validation_alias.choices[0])  # type: ignore[union-attr]
    try:
        os.environ[variable] = value
    except UnicodeEncodeError:
        return
    try:
        found = refused(lambda _: Settings.load(), b"")
    finally:
        del os.environ[variable]
    if isinstance(found, Settings):
        numbers = [getattr(found, f) for f in Settings.model_fields]
        assert not any(isinstance(n, float) and math.isnan(n) for n in numbers)


@cache
def labels_file() -> tuple[bytes, Any]:
    """A valid file, and what it is for."""
    topics = [{"theme_id": f"theme_{n}", "topic_id": f"t{n}"} for n in range(3)]
    given_ = dict.fromkeys(THEME_CONTRIBUTIONS.names)
    rows = [{**given_, **_filled(), **topic} for topic in topics]
    table = from_rows(rows, THEME_CONTRIBUTIONS)
    members = members_of(table)
    lines = [",".join(COLUMNS)]
    lines += [f"{t},{m},1,2,words,A,B,name {t},,," for t, m in members.items()]
    return "\n".join(lines).encode("utf-8-sig"), table


def _filled() -> dict[str, Any]:
    return {"firm_id": "1", "quarter": "2016Q2", "n_sentences": 1}


@examples(2 * _N)
@given(st.data())
def test_labels_files(data: st.DataObject) -> None:
    """What a spreadsheet may make of one, and any bytes."""
    valid, table = labels_file()

    def parse(found: bytes) -> object:
        return read_labels(found, table, name="labels.csv")

    assert refused(parse, valid) is not None
    refused(parse, data.draw(raw(valid)))
    odd = st.sampled_from(['"', '""', "\0", "x" * 200_000, "\r"])
    cell = data.draw(st.text(max_size=10) | odd)
    cells = valid.decode().split(",")
    cells[data.draw(st.integers(0, len(cells) - 1))] = cell
    refused(parse, ",".join(cells).encode(errors="surrogatepass"))
