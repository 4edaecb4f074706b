"""One forge, one database and one language model for all that is killed here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.harness import Lab
from tests.chaos.kills import Scenario
from tests.chaos.scenarios import PRELOAD, all_scenarios
from tests.chaos.services import served
from tests.support.forge import Forge
from tests.support.postgres import PostgresServer
from tests.support.s3_server import S3Server


@pytest.fixture(scope="session")
def chaos_forge() -> Iterator[Forge]:
    """Of all processes here but those with the real models."""
    with Forge(*PRELOAD) as made:
        yield made


@pytest.fixture(scope="session")
def scenarios(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Scenario]]:
    """All of them, by name."""
    with served(postgres, tmp_path_factory.mktemp("files")) as services:
        yield all_scenarios(services)


@pytest.fixture(scope="session")
def lab(chaos_forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Stores in folders."""
    return Lab(tmp_path_factory.mktemp("lab"), chaos_forge)


@pytest.fixture(scope="session")
def s3_lab(
    chaos_forge: Forge, tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server
) -> Lab:
    """Stores in buckets, where a lease is an object that outlives its holder."""
    return Lab(tmp_path_factory.mktemp("s3-lab"), chaos_forge, new_bucket=s3_server.new_bucket)
