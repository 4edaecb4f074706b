"""`ftm verify` as a user types it, on a quarter read from a real PostgreSQL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from tests.support.cli import run_ftm
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import TinyWRDS

LAYOUT = PrefetchLayout(Quarter.parse("2023Q1"))
VERIFY = ("verify", "--quarter", "2023Q1")
TEXT = "Revenue grew by ten percent in the quarter. Margins were better than a year ago."


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Five firms with a call each."""
    tiny = TinyWRDS()
    for n in range(5):
        tiny.firm(100 + n).turn(100 + n, 0, TEXT.replace("ten", f"{n + 3}"))
    with tiny.vintage().served(postgres) as server:
        yield server


def variables(server: PostgresServer, folder: Path) -> dict[str, str]:
    """What points a command at the server and the store."""
    return {
        "FTM_WRDS_HOST": server.host,
        "FTM_WRDS_PORT": str(server.port),
        "FTM_WRDS_DBNAME": server.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": server.user,
        "WRDS_PASSWORD": server.password,
        "FTM_STORE": f"file://{folder}",
    }


@pytest.fixture(scope="module")
def stored(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quarter, prefetched in chunks of two firms; not to be changed."""
    folder = tmp_path_factory.mktemp("stored")
    done = run_ftm(
        *("prefetch", "--quarter", "2023Q1", "--chunk-size", "2", "--workers", "1"),
        **variables(server, folder),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(stored, tmp_path / "store"))


def damage(folder: Path, file: str) -> bytes:
    """Flip a bit of a file; what it held."""
    path = folder / LAYOUT.key(file)
    before = path.read_bytes()
    path.write_bytes(before[:30] + bytes([before[30] ^ 1]) + before[31:])
    return before


def test_a_quarter_in_order_is_one_line(server: PostgresServer, folder: Path) -> None:
    """With what was looked at, and exit code 0."""
    done = run_ftm(*VERIFY, **variables(server, folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2023Q1: in order; 8 objects, 0.0 MB (names, sizes and footers")


def test_damage_is_told_with_its_key_and_repaired_from_what_is_stored(
    server: PostgresServer, folder: Path
) -> None:
    """The command that is named repairs it, without WRDS: its password is wrong here."""
    before = damage(folder, "chunk_0001.parquet")
    settings = variables(server, folder) | {"WRDS_PASSWORD": "wrong", "PGPASSFILE": "/nowhere"}
    assert run_ftm(*VERIFY, **settings).returncode == 0
    told = run_ftm(*VERIFY, "--deep", **settings)
    assert told.returncode == 1
    assert f"x {LAYOUT.key('chunk_0001.parquet')}: its bytes are not those recorded" in told.stdout
    assert "`ftm verify --quarter 2023Q1 --deep --repair`" in told.stdout
    assert "2023Q1: 1 damaged; 8 objects" in told.stdout
    done = run_ftm(*VERIFY, "--deep", "--repair", **settings)
    assert done.returncode == 0, done.stderr
    assert "chunk_0001.parquet: made anew from the stored speaker turns, as it was" in done.stdout
    assert (folder / LAYOUT.key("chunk_0001.parquet")).read_bytes() == before


def test_damaged_turns_cost_one_login_and_their_firms_only(
    server: PostgresServer, folder: Path
) -> None:
    """Counted at the server, which also logs what was asked for."""
    before = damage(folder, "components_0000.parquet")
    n_logins = server.logins()
    done = run_ftm(*VERIFY, "--deep", "--repair", "--json", **variables(server, folder))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["repair"]["repaired"] == ["components_0000.parquet"]
    assert (answer["ok"], answer["repair"]["n_firms"], answer["repair"]["used_wrds"]) == (
        True,
        2,
        True,
    )
    assert server.logins() == n_logins + 1
    assert (folder / LAYOUT.key("components_0000.parquet")).read_bytes() == before


def test_what_cannot_be_made_as_it_was_stays_and_says_why(
    server: PostgresServer, folder: Path
) -> None:
    """WRDS has corrected a transcript since: exit 1, the fix, and the damaged file untouched."""
    damage(folder, "components_0002.parquet")
    there = (folder / LAYOUT.key("components_0002.parquet")).read_bytes()
    server.execute(
        "UPDATE ciq.ciqtranscriptcomponent SET componenttext = 'Corrected.' "
        "WHERE transcriptid = 104"
    )
    done = run_ftm(*VERIFY, "--deep", "--repair", **variables(server, folder))
    assert done.returncode == 1
    assert "WRDS has moved on since; ftm prefetch --quarter 2023Q1 --refresh" in done.stdout
    assert (folder / LAYOUT.key("components_0002.parquet")).read_bytes() == there


def test_a_quarter_that_is_not_there_is_one_line(server: PostgresServer, tmp_path: Path) -> None:
    """Not in order, not damaged: not prefetched."""
    (tmp_path / "empty").mkdir()
    done = run_ftm(*VERIFY, **variables(server, tmp_path / "empty"))
    assert done.returncode == 1
    assert done.stderr.startswith("ftm: 2023Q1 is not prefetched")
    assert done.stderr.count("\n") == 1
