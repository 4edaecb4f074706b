"""A whole quarter at full size: prefetched into S3, read back, and as much of it mapped as asked.

    python -m benchmarks.load [--firms 5000] [--sentences 500] [--map-minutes 0]

5,000 firms with about 400 sentences each that are kept, of 500 spoken, are 2 million: about a real
quarter. The embedded PostgreSQL,
the S3 server (moto, in memory, in this process, which also counts the calls) and the commands share
the machine, so times say what a laptop takes, memory what a worker needs. The map stage runs the
default models on one batch after another until the minutes are over; what the whole would take is
that rate times the firms that are left. Not one of `make bench`: the map stage takes what it is
given, the rest some minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile

from tests.support.s3_server import CREDENTIALS, Bucket, S3Server

from benchmarks._command import calls_of, run
from benchmarks._report import Line, report
from benchmarks._synthetic_wrds import QUARTER, synthetic_wrds
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.quarter import Quarter
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import list_runs

PREFETCH_GB = 2.0
READ_GB = 1.5


def prefetch(bucket: Bucket, n_firms: int, n_sentences: int) -> list[Line]:
    """One login, all firms, into the bucket."""
    with synthetic_wrds(n_firms, n_sentences=n_sentences) as wrds:
        bucket.server.traffic.clear()
        done = run(
            *("-m", "ftm.cli.main", "prefetch", "--quarter", QUARTER),
            environment={**bucket.environment, **wrds.environment()},
        )
    calls = calls_of(bucket.server)
    store = open_store(bucket.url, endpoint_url=bucket.server.url)
    manifest, objects = load_manifest(store, QUARTER), list(store.list("prefetch"))
    size_gb = sum(info.size_bytes for info in objects) / 1e9
    what = f"{manifest.n_firms:,} firms, {manifest.n_sentences:,} sentences"
    return [
        Line(f"prefetch of {what}: seconds", done.seconds, form=",.0f",
             detail=f"{done.processor_s:,.0f} s of processor; "
             f"{manifest.n_sentences / done.seconds:,.0f} sentences a second"),
        Line("prefetch: largest process, GB", done.peak_gb, ("<=", PREFETCH_GB)),
        Line("prefetch: objects in the end", len(objects), form=",.0f",
             detail=f"{size_gb:.2f} GB; {calls}"),
    ]  # fmt: skip


def read_back(bucket: Bucket) -> list[Line]:
    """Every firm once, through the connector, 50 at a time as workers do; in a fresh process."""
    done = run("-m", "benchmarks.load", "--read", environment=bucket.environment)
    calls = calls_of(bucket.server)
    return [
        Line("reading every firm back: seconds", done.seconds, form=",.0f", detail=calls),
        Line("reading: largest process, GB", done.peak_gb, ("<=", READ_GB)),
    ]


def read_all() -> None:
    """What `read_back` times."""
    store = open_store(os.environ["FTM_STORE"], endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    connector = S3TranscriptConnector(store, QUARTER)
    firms, n = connector.get_available_firm_ids(), 0
    for start in range(0, len(firms), 50):
        found = connector.fetch_transcripts(firms[start : start + 50], None, None)
        n += sum(len(found[firm].sentences) for firm in firms[start : start + 50])
    assert n == load_manifest(store, QUARTER).n_sentences


def map_some(bucket: Bucket, minutes: float) -> list[Line]:
    """The map stage until the time is over; the same command would go on."""
    with tempfile.TemporaryDirectory() as home:
        done = run(
            *("-m", "ftm.cli.main", "run-quarter", "--quarter", QUARTER, "--backend", "local"),
            *("--to", "map", "--device", "cpu"),
            environment={**bucket.environment, "HOME": home},
            minutes=minutes,
        )
    calls = calls_of(bucket.server)
    store = open_store(bucket.url, endpoint_url=bucket.server.url)
    n_done, n_left = firms_mapped(store)
    rate = n_done / done.seconds
    left = "" if not n_left else f"; the other {n_left:,} would take {n_left / rate / 3600:.1f} h"
    return [
        Line(f"map, {minutes:.0f} minutes: firms", n_done, form=",.0f",
             detail=f"{3600 * rate:,.0f} an hour{left}; {calls}"),
    ]  # fmt: skip


def told(lines: list[Line]) -> list[Line]:
    """The same, said at once: an hour's figures are not lost with what comes after."""
    for line in lines:
        print(f"{line.what}: {line.value:{line.form}}; {line.detail}", file=sys.stderr, flush=True)
    return lines


def firms_mapped(store: ObjectStore) -> tuple[int, int]:
    """Firms whose topics are durable, and firms that are left."""
    (found,) = list_runs(store, Quarter.parse(QUARTER))
    n_done = sum(len(record.done) + len(record.kept) for record in found.progress.values())
    return n_done, found.n_firms - n_done


def main() -> int:
    """Measure and print; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=5000)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--map-minutes", type=float, default=0.0)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read_all()
        return 0
    os.environ.update(CREDENTIALS)
    with S3Server() as server:
        bucket = server.new_bucket()
        lines = told(prefetch(bucket, asked.firms, asked.sentences))
        lines += told(read_back(bucket))
        if asked.map_minutes:
            lines += told(map_some(bucket, asked.map_minutes))
    lines.append(
        Line("this process, with the S3 server, GB",
             resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    )  # fmt: skip
    return report(lines)


if __name__ == "__main__":
    sys.exit(main())
