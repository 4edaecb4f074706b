"""What the commands that are killed talk to besides the store: a database, a language model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests.support.llm_server import LLMServer
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import TinyWRDS


def wrds_firms() -> TinyWRDS:
    """Five firms that a plan keeps, one of them without a speaker turn, and one that it drops."""
    made = TinyWRDS().vintage()
    for firm in (101, 102, 103, 104):
        made.firm(firm)
        for order in range(3):
            made.turn(firm, order, f"Revenue of firm {firm} grew by many orders. Margins held up.")
    for firm in (201, 202, 203):
        made.firm(firm, mostimportantdateutc=date(2023, 5, 4)).turn(firm, 1, "Orders grew a lot.")
    return made.firm(105).call(106, 106)


@dataclass(frozen=True)
class Services:
    """What commands talk to besides the store.

    Args:
        wrds: a database that serves `wrds_firms`.
        llm: names topics and themes; the same answer to the same question.
        folder: for files that commands read.
    """

    wrds: PostgresServer
    llm: LLMServer
    folder: Path

    @property
    def wrds_environment(self) -> dict[str, str]:
        """What points a command at the database."""
        return {
            "FTM_WRDS_HOST": self.wrds.host,
            "FTM_WRDS_PORT": str(self.wrds.port),
            "FTM_WRDS_DBNAME": self.wrds.dbname,
            "FTM_WRDS_SSLMODE": "disable",
            "WRDS_USERNAME": self.wrds.user,
            "WRDS_PASSWORD": self.wrds.password,
            "FTM_PREFETCH_CHECKPOINT": "1",
        }


@contextmanager
def served(postgres: PostgresServer, folder: Path) -> Iterator[Services]:
    """The services, on a running server."""
    folder.mkdir(parents=True, exist_ok=True)
    with wrds_firms().served(postgres) as wrds, LLMServer() as llm:
        yield Services(wrds, llm, folder)
