"""Bytes moved over HTTP to read one firm, or all, of a 200-firm chunk; counted by the server.

    python -m benchmarks.read_one_firm [--firms 200] [--sentences 400]

Fails if one firm moves more than 12 % of the chunk, or all firms move any byte twice.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.support.s3_server import CREDENTIALS, S3Server
from tests.support.stored_quarter import QUARTER, firm, store_quarter

from benchmarks._report import Line, report
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.storage.object_store import open_store

CHUNK = "chunk_0000.parquet"
MAGIC_BYTES = 4


def measure(n_firms: int, n_sentences: int) -> dict[str, float]:
    """Shares of the chunk's bytes, the manifest (read once per connector) beside them."""
    with S3Server() as server:
        store = open_store(server.new_bucket().url, endpoint_url=server.url)
        firms = [firm(number, n_sentences=n_sentences) for number in range(n_firms)]
        entry = store_quarter(store, firms, firms_per_chunk=n_firms).chunks[CHUNK]

        def moved(wanted: list[str] | None) -> int:
            server.reset()
            for _ in S3TranscriptConnector(store, QUARTER).iter_firms(wanted):
                pass
            return server.sent_bytes(CHUNK)

        one = [moved([firms[n].firm_id]) for n in (0, n_firms // 2, n_firms - 1)]
        return {
            "chunk_bytes": entry.bytes,
            "footer_share": round(entry.footer.bytes / entry.bytes, 4),
            "one_firm_worst_share": round(max(one) / entry.bytes, 4),
            "all_firms_bytes_moved_twice": moved(None) - (entry.bytes - MAGIC_BYTES),
            "manifest_bytes": server.sent_bytes("manifest.json"),
        }


def main() -> int:
    """Measure and print; 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=400)
    arguments = parser.parse_args()
    os.environ.update(CREDENTIALS)
    figures = measure(arguments.firms, arguments.sentences)
    n = arguments.firms
    sizes = (
        f"chunk {figures['chunk_bytes'] / 2**20:.1f} MiB, footer {figures['footer_share']:.1%}, "
        f"manifest {figures['manifest_bytes'] / 2**10:.0f} KiB once"
    )
    twice = figures["all_firms_bytes_moved_twice"]
    return report(
        [
            Line(f"one firm of {n}, share of the chunk moved", figures["one_firm_worst_share"],
                 ("<=", 0.12), sizes, ".1%"),
            Line(f"all {n} firms, bytes moved twice", twice, ("<=", 0), form=".0f"),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
