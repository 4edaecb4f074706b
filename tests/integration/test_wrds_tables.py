"""The loader gives a database the types, NULLs and layouts of WRDS."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ftm.demo.wrds_tables import COMPONENT, DETAIL, LINK, TABLES, WRDSLayout, load_tables
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import TinyWRDS

TYPES = (
    "SELECT column_name, data_type FROM information_schema.columns"
    " WHERE table_schema = %s AND table_name = %s"
)


def test_ids_have_the_types_of_wrds(postgres: PostgresServer) -> None:
    """Ids of wrds_* and CRSP tables are doubles, those of the raw table integers."""
    with TinyWRDS().served(postgres) as server:
        detail = dict(server.execute(TYPES, *DETAIL.split(".")))
        component = dict(server.execute(TYPES, *COMPONENT.split(".")))
        history = dict(server.execute(TYPES, "crsp", "ccmxpf_lnkhist"))
        table = dict(server.execute(TYPES, *LINK.split(".")))
    assert {detail[c] for c in ("companyid", "keydevid", "transcriptid")} == {"double precision"}
    assert component["transcriptid"] == "integer"
    assert history["lpermno"] == table["lpermno"] == "double precision"
    assert "usedflag" in table
    assert "usedflag" not in history


def test_null_empty_and_odd_texts_survive(postgres: PostgresServer) -> None:
    """NULL stays NULL, the empty string stays empty, quotes, commas and newlines stay."""
    texts = [None, "", 'He said "yes",\nthen \\N.', "\u00a0", "\\."]
    tiny = TinyWRDS()
    for order, text in enumerate(texts):
        tiny.turn(1, order, text)
    query = "SELECT componenttext FROM ciq.ciqtranscriptcomponent ORDER BY componentorder"
    with tiny.served(postgres) as server:
        assert [text for (text,) in server.execute(query)] == texts


def test_loading_twice_appends(postgres: PostgresServer) -> None:
    """A second load adds rows, so that quarters can be loaded one by one."""
    rows = {LINK: pa.table({"gvkey": ["000001"], "lpermno": [10001]})}
    with postgres.database() as server:
        for _ in range(2):
            connection = server.connect()
            load_tables(connection, rows, layout=WRDSLayout(link_tables=("crsp_q_ccm.lnk",)))
            connection.close()
        assert server.execute("SELECT gvkey, lpermno FROM crsp_q_ccm.lnk") == [
            ("000001", 10001.0)
        ] * 2  # fmt: skip


@pytest.mark.parametrize(
    "rows", [{"ciq.nonsense": pa.table({"a": [1]})}, {LINK: pa.table({"permno": [1]})}]
)
def test_unknown_tables_and_columns_are_refused(
    postgres: PostgresServer, rows: dict[str, pa.Table]
) -> None:
    """A misspelt table or column is named, and nothing is left behind."""
    with postgres.database() as server:
        connection = server.connect()
        with pytest.raises(ValueError, match=r"nonsense|permno"):
            load_tables(connection, rows)
        connection.close()
        assert server.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'ciq'") == []
    assert len(TABLES) == 5
