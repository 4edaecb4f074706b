"""SQL over published results."""

import stat
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import ftm
from ftm.analysis.sql import ask
from ftm.analysis.sql_views import StoreViews
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FtmError,
    OrchestratorError,
    QueryError,
    SchemaError,
)
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import PANEL
from ftm.storage.footers import read_footer
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import to_bytes
from ftm.storage.published import publish, put_table, read_published
from tests.support.linked_quarters import link_quarters
from tests.support.published_quarter import assign_quarter, publish_quarter
from tests.support.s3_server import Bucket

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


def fill(store: ObjectStore) -> ObjectStore:
    """2016Q2 and 2016Q3, linked and assigned."""
    for quarter in (Q2, Q3):
        publish_quarter(store, quarter)
    link_quarters(store, [Q2, Q3])
    assign_quarter(store, Q3, themes_from=Q2)
    return store


@pytest.fixture(scope="module")
def filled() -> ObjectStore:
    """Two quarters that no test changes."""
    return fill(open_store("memory://"))


def damage(store: ObjectStore, key: str) -> None:
    """Change one byte in the middle of an object."""
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))


def test_tables_span_quarters_on_every_store(store: ObjectStore) -> None:
    """Folders and S3 give what the loaders give, each table over all published quarters."""
    fill(store)
    found = ftm.sql(
        "select quarter, count(*) as n, sum(n_sentences) as s from panel group by 1 order by 1",
        store,
    )
    panel = ftm.load_panel([Q2, Q3], store)
    assert found["quarter"].tolist() == ["2016Q2", "2016Q3"]
    assert found["n"].tolist() == panel.groupby("quarter").size().tolist()
    assert found["s"].tolist() == panel.groupby("quarter")["n_sentences"].sum().tolist()
    spoken = ftm.sql("select count(*) n, count(distinct quarter) q from transcripts", store)
    sentences = ftm.sql("select count(*) n, count(distinct quarter) q from sentences", store)
    assert spoken.to_dict() == sentences.to_dict()
    assert spoken["q"].tolist() == [2]


def test_only_what_is_named_is_read(s3: Bucket) -> None:
    """A query for themes fetches the files of themes and of no other table."""
    store = fill(open_store(s3.url, endpoint_url=s3.server.url))
    s3.server.traffic.clear()
    ftm.sql("select count(*) from themes where n_firms > (select max(1) from THEMES)", store)
    files = [r.path for r in s3.server.traffic if r.path.endswith(".parquet")]
    assert [path.rpartition("/")[2] for path in files] == ["themes.parquet"] * 2


@pytest.mark.parametrize(
    ("query", "quarters"),
    [
        ("select sum(n_sentences) from panel where quarter = '2016Q3'", ["2016Q3"]),
        ("select count(*) from firms where quarter in ('2016Q3', '2017Q1')", ["2016Q3"]),
        ("select count(*) from panel where quarter < '2016Q3' and share_all > 0", ["2016Q2"]),
        ("select count(*) from transcripts where quarter >= '2016Q3'", ["2016Q3"]),
        ("select count(*) from theme_links where quarter_to = '2016Q2'", ["2016Q2"]),
        ("select count(*) from panel_calls where quarter = '2015Q1'", []),
        ("from themes where quarter = '2016Q2' or n_firms > 1", ["2016Q2", "2016Q3"]),
        ("from panel a join panel b using (quarter) where quarter = '2016Q2'", ["2016Q2"]),
        ("select count(*) from query_table('panel') where quarter = '2016Q2'", ["2016Q2"]),
    ],
)
def test_only_quarters_that_may_have_rows_are_fetched(
    query: str, quarters: list[str], s3: Bucket
) -> None:
    """A condition on the quarter leaves files unread, each of the others is fetched once."""
    store = fill(open_store(s3.url, endpoint_url=s3.server.url))
    s3.server.traffic.clear()
    ftm.sql(query, store)
    files = [r.path for r in s3.server.traffic if r.path.endswith(".parquet")]
    assert sorted({path.partition("quarter=")[2][:6] for path in files}) == quarters
    assert len(files) == len(set(files))


def test_a_condition_on_the_quarter_changes_no_row(filled: ObjectStore) -> None:
    """Left out is only what has no such row: the same as of all rows, in every view."""
    for name, view in StoreViews(filled).all.items():
        column = view.quarter_column
        query = f"select {column} as q, count(*) n from {name} group by 1 order by 1"
        for row in ftm.sql(query, filled).itertuples():
            only = f"select count(*) n from {name} where {column} = '{row.q}'"
            assert ftm.sql(only, filled)["n"].tolist() == [row.n], name


def test_only_columns_that_are_named_are_decoded(filled: ObjectStore) -> None:
    """The scan has the query's columns and conditions: a panel of years is not unpacked whole."""
    query = "explain select share_all from panel where quarter = '2016Q2'"
    plan = ftm.sql(query, filled)["explain_value"][0]
    assert "Projections: share_all" in plan
    assert "Filters: \"quarter\" = '2016Q2'" in plan


def test_every_view_has_the_rows_that_its_footers_say(filled: ObjectStore) -> None:
    """`--tables` counts without reading, and right; every view can be scanned."""
    views = StoreViews(filled)
    for name in views.all:
        (n,) = ftm.sql(f"select count(*) as n from {name}", filled)["n"]
        assert views.count(name) == n
        assert (n == 0) == (name == "naming_audit")


def test_tables_without_a_quarter_get_one(filled: ObjectStore) -> None:
    """firms, sentences and calls carry the quarter first; joins by it are one to one."""
    frame = ftm.sql("select * from firms", filled)
    assert list(frame)[:2] == ["quarter", "firm_id"]
    joined = ftm.sql(
        "select p.firm_id, f.n_sentences = p.n_sentences as same from panel_calls p join firms f "
        "using (quarter, firm_id) join calls c using (quarter, firm_id) where c.kept",
        filled,
    )
    assert len(joined) == len(frame)
    assert joined["same"].all()


def test_transcripts_can_be_scanned_twice_in_a_query(filled: ObjectStore) -> None:
    """A stream begins anew for each scan: a self join is not silently empty."""
    query = "select count(*) n from transcripts a join transcripts b using (sentence_id)"
    assert (
        ftm.sql(query, filled)["n"].tolist()
        == ftm.sql("select count(*) n from transcripts", filled)["n"].tolist()
    )
    some = ftm.sql("select raw_text from transcripts limit 1", filled)
    assert some["raw_text"][0].startswith("Sentence 0 of firm 0")


def test_tables_that_are_not_named_outright_are_right_too(filled: ObjectStore) -> None:
    """Pivots and `query_table('panel')` hide the name from DuckDB's parser, not from us."""
    n = len(ftm.load_panel([Q2, Q3], filled))
    assert ftm.sql("select count(*) n from query_table('panel')", filled)["n"].tolist() == [n]
    wide = ftm.sql("pivot panel on theme_id using sum(share_all) group by quarter", filled)
    assert wide.shape == (2, 1 + 8)


def test_a_name_of_its_own_hides_a_table_that_is_not_there(memory: ObjectStore) -> None:
    """A CTE, a column or an alias may be called series although no quarter is linked."""
    publish_quarter(memory, Q2)
    query = "with series as (from themes select name as calls_of) select count(*) n from series"
    assert ftm.sql(query, memory)["n"].tolist() == [4]
    wide = ftm.sql(
        "pivot (select quarter as series, theme_id from panel) on theme_id using count(*)", memory
    )
    assert wide["series"].tolist() == ["2016Q2"]


def test_types_are_those_of_the_loaders(filled: ObjectStore) -> None:
    """Integers that may be missing, dates, lists; sums are integers, names come once."""
    frame = ftm.sql("select * from panel where quarter = '2016Q2'", filled)
    wanted = ftm.load_panel(Q2, filled)
    order = ["firm_id", "theme_id"]
    pd.testing.assert_frame_equal(
        frame.sort_values(order, ignore_index=True), wanted.sort_values(order, ignore_index=True)
    )
    both = ftm.sql("select a.quarter, b.quarter, 1.5 as x, sum(1) as s from themes a join themes b "
                   "using (theme_id) group by all", filled)  # fmt: skip
    assert list(both) == ["quarter", "quarter_1", "x", "s"]
    assert (both["x"].dtype, both["s"].dtype) == (float, pd.Int64Dtype())
    assert ftm.sql("select keywords[1] as k from themes limit 1", filled)["k"][0] == "word0"


def test_series_links_and_frozen_panels_are_tables(filled: ObjectStore) -> None:
    """What `ftm link` and `ftm assign` write can be joined to the panel."""
    joined = ftm.sql(
        "select s.series_id, count(distinct p.quarter) n from panel p join series s "
        "using (quarter, theme_id, run_id) group by 1 order by 2 desc, 1",
        filled,
    )
    assert joined["n"].tolist() == [2, 2, 2, 1, 1]
    frozen = ftm.sql("select distinct estimation, themes_from from panel_assigned", filled)
    assert frozen.to_numpy().tolist() == [["frozen", "2016Q2"]]
    assert ftm.sql("select count(*) n from theme_links", filled)["n"].tolist() == [3]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select share_al from panel", 'Binder Error: .*Candidate bindings: .*"share_all"'),
        ("select * from pannel", "name pannel does not exist! `ftm sql --tables` lists"),
        ("selct 1", 'syntax error at or near "selct"'),
        ("select cast(firm_name as int) from firms", "Could not convert string 'Firm 0, Inc.'"),
        ("select error('x') from panel", "Invalid Input Error: x"),
        ("select 10::hugeint ^ 30 :: hugeint, 99999999999999999999 from firms", "."),
        ("select 1; select 2", "one SELECT at a time: 2 statements"),
        ("-- nothing", "one SELECT at a time: 0 statements"),
        ("select * from panel where quarter = ?", "parameter"),
        ("create table x as select 1", "SQL only reads here: SELECT, not CREATE"),
        ("set threads = 1", "SELECT, not SET"),
        ("set enable_external_access = true", "SELECT, not SET"),
        ("install httpfs", "SELECT, not LOAD"),
        ("attach 'x.db'", "SELECT, not ATTACH"),
        ("select '\udcff'", "the query is not UTF-8 text"),
    ],
)
def test_errors_are_one_line(query: str, words: str, filled: ObjectStore) -> None:
    """What DuckDB says, without the query and its caret; and what else is no SELECT."""
    with pytest.raises(QueryError, match=words) as caught:
        ftm.sql(query, filled)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "copy panel to '{}/x.csv'",
        "copy (select 1) to '{}/x.parquet' (format parquet)",
        "export database '{}/x'",
        "select * from read_csv('{}/secret.csv')",
        "select * from '{}/secret.csv'",
        "select * from read_text('{}/secret.csv')",
        "select * from glob('{}/*')",
        "select * from parquet_scan('{}/secret.csv')",
        "explain analyze select * from read_csv('{}/secret.csv')",
        "explain analyze copy (select 1) to '{}/x.csv'",
        "select * from query('from read_text(''{}/secret.csv'')')",
    ],
)
def test_no_file_is_read_or_written(query: str, filled: ObjectStore, tmp_path: Path) -> None:
    """SQL sees the store's tables, and nothing of the machine it runs on."""
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    with pytest.raises(QueryError) as caught:
        ftm.sql(query.format(tmp_path), filled)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize("change", ["set memory_limit = '1GB'", "reset threads"])
def test_a_query_changes_no_setting(change: str, filled: ObjectStore) -> None:
    """EXPLAIN ANALYZE carries out what it explains, and is no SET."""
    with pytest.raises(QueryError, match="configuration has been locked"):
        ftm.sql(f"explain analyze {change}", filled)


def test_what_does_not_fit_into_memory_goes_to_a_folder_of_its_own(
    filled: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to `.tmp` where the user stands; the folder is private, and gone afterwards."""
    monkeypatch.chdir(tmp_path)
    with ask(StoreViews(filled), "select current_setting('temp_directory') as folder") as answer:
        (batch,) = answer.batches()
        folder = Path(batch.to_pylist()[0]["folder"])
        assert folder.is_absolute()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_variables_of_python_are_no_tables(filled: ObjectStore) -> None:
    """DuckDB would read any frame in sight by its name."""
    frame = pa.table({"a": [1]})
    with pytest.raises(QueryError, match="Table with name frame does not exist"):
        ftm.sql("select * from frame", filled)
    assert frame.num_rows == 1


def test_columns_are_described_without_reading(memory: ObjectStore) -> None:
    """DESCRIBE and SHOW TABLES need no file, not even a published quarter."""
    described = ftm.sql("describe panel", memory)
    assert described["column_name"].tolist() == PANEL.names
    assert "transcripts" in ftm.sql("show tables", memory)["name"].tolist()


def test_quarters_can_be_chosen(filled: ObjectStore) -> None:
    """Only these are read; one that is not published is an error, not a gap."""
    for table in ("panel", "transcripts", "series", "calls", "panel_assigned"):
        query = f"select distinct quarter from {table}"
        assert ftm.sql(query, filled, quarters="2016Q3")["quarter"].tolist() == ["2016Q3"]
    with pytest.raises(OrchestratorError, match="2016Q4 is not published"):
        ftm.sql("select * from panel", filled, quarters="2016Q3..2016Q4")
    with pytest.raises(ConfigError, match="not a quarter"):
        ftm.sql("select * from panel", filled, quarters="2016")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("panel", r"no quarter is published .*`ftm run-quarter`"),
        ("series", r"no quarter .* is linked; run `ftm link"),
        ("panel_assigned", r"no quarter .* themes; run `ftm assign"),
        ("calls", r"no quarter is prefetched .*`ftm prefetch"),
        ("transcripts", r"no quarter is prefetched .*`ftm prefetch"),
    ],
)
def test_tables_that_are_not_there_yet_say_what_makes_them(
    table: str, words: str, memory: ObjectStore
) -> None:
    """An empty answer would be a lie."""
    with pytest.raises(OrchestratorError, match=words):
        ftm.sql(f"select count(*) from {table}", memory)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("panel", "processed/quarter=2016Q2/run=run2016Q2/panel.parquet"),
        ("series", "series/quarter=2016Q2/series.parquet"),
        ("panel_assigned", "assigned/quarter=2016Q3/themes=2016Q2/panel.parquet"),
        ("calls", "prefetch/transcripts/quarter=2016Q2/calls.parquet"),
        ("transcripts", "prefetch/transcripts/quarter=2016Q2/chunk_0001.parquet"),
    ],
)
def test_other_bytes_than_were_written_are_refused(
    table: str, key: str, memory: ObjectStore
) -> None:
    """Every file is hashed before it is scanned, also in the middle of a stream; or it is gone."""
    fill(memory)
    damage(memory, key)
    query = f"select count(distinct quarter) from {table}"
    with pytest.raises(CorruptObjectError, match=rf"^memory://{key} is not what was written; "):
        ftm.sql(query, memory)
    memory.delete(key)
    with pytest.raises(CorruptObjectError, match=rf"^memory://{key} is gone; "):
        ftm.sql(query, memory)


def test_a_quarter_of_an_older_ftm_is_said(
    memory: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the table: the others' rows and a warning. With other columns: an error."""
    publish_quarter(memory, Q2, without=["panel"])
    with pytest.raises(OrchestratorError, match="no quarter was published with panel"):
        ftm.sql("select * from panel", memory)
    publish_quarter(memory, Q3)
    caplog.clear()
    found = ftm.sql("select distinct quarter from panel", memory)
    assert found["quarter"].tolist() == ["2016Q3"]
    assert "2016Q2 was published without panel, its rows are missing" in caplog.text

    older = ftm.load_panel(Q3, memory).drop(columns="share_qa")
    schema = pa.schema([field for field in PANEL if field.name != "share_qa"])
    layout = RunLayout(Q2, "older")
    data = to_bytes(pa.Table.from_pandas(older, schema, preserve_index=False), schema)
    publish(memory, layout, dict([put_table(memory, layout, "panel", data)]))
    with pytest.raises(SchemaError, match="written by another version of ftm"):
        ftm.sql("select count(*) from panel", memory)


def test_what_is_published_next_is_what_is_read_next(memory: ObjectStore) -> None:
    """Views follow the pointer, also to a table that lies beside the first."""
    first = publish_quarter(memory, Q2)
    second = publish_quarter(memory, Q2, seed=1)
    assert first.files != second.files
    assert read_published(memory, Q2) == second
    shares = ftm.sql("select sum(share_all) s from panel", memory)["s"][0]
    assert shares == pytest.approx(ftm.load_panel(Q2, memory)["share_all"].sum())


def test_footers_longer_than_the_first_read_are_found(memory: ObjectStore) -> None:
    """64 kB hold nearly every footer; a longer one takes one request more."""
    table = pa.table({"a": [1, 2]})
    data = to_bytes(table, table.schema, metadata={"long": "x" * 100_000})
    memory.put("a.parquet", data)
    assert read_footer(memory, "a.parquet").num_rows == 2
    for bad in (b"", b"PAR1", b"x" * 100, b"x" * 92 + b"\xff\xff\xff\x7fPAR1"):
        memory.put("a.parquet", bad)
        with pytest.raises(CorruptObjectError, match="footer cannot be read"):
            read_footer(memory, "a.parquet")
    with pytest.raises(FtmError):
        read_footer(memory, "b.parquet")
