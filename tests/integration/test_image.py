"""The map stage in containers of the image that FTM_TEST_IMAGE names (`make images` builds one)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.core.version import VERSION
from ftm.storage.object_store import ObjectStore, open_store
from tests.integration.test_worker import start_worker
from tests.support.business_firms import QUARTER, make_firms
from tests.support.containers import Container, find_engine
from tests.support.quarters import write_quarter
from tests.support.runs import make_lines, read_progress, worker_environment, write_run, written
from tests.support.s3_server import Bucket, S3Server

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("FTM_TEST_IMAGE", "")
ENGINE = find_engine(IMAGE) if IMAGE else None
BATCH = "2023Q1_batch_0000"
FIRMS = make_firms(9, n_sentences=45)
IDS = [firm.firm_id for firm in FIRMS]
RUN_MAP = ("python", "-m", "ftm.worker", "map")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not IMAGE, reason="FTM_TEST_IMAGE names no image; `make images` builds one"),
    pytest.mark.skipif(
        bool(IMAGE) and ENGINE is None,
        reason=f"no docker, podman or buildah that works has the image {IMAGE}",
    ),
]


def container(command: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Container:
    """One command in the image under test."""
    assert ENGINE is not None
    return Container(ENGINE, IMAGE, command, environment or {})


def output(*command: str) -> str:
    """What a command prints in the image."""
    with container(command) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def place_run(bucket: Bucket, *, part_firms: int = 4) -> tuple[ObjectStore, RunLayout]:
    """A prefetched quarter and a planned run of it, with the default models on a CPU."""
    store = open_store(bucket.url, endpoint_url=bucket.server.url)
    manifest = write_quarter(store, FIRMS, firms_per_chunk=5)
    lines = make_lines(IDS, batch_size=50, quarter=QUARTER)
    settings = Settings.load(device="cpu")
    return store, write_run(store, manifest, lines, part_firms=part_firms, settings=settings)


def environment_of(bucket: Bucket, layout: RunLayout) -> dict[str, str]:
    """What a job is told; one thread, so that sums are added up in one order everywhere."""
    told = worker_environment(bucket.url, layout, BATCH, model={"FTM_DEVICE": "cpu"})
    return {**told, **bucket.environment, "OMP_NUM_THREADS": "1"}


def map_in_image(bucket: Bucket, layout: RunLayout) -> str:
    """Run the job to its end in a container; the log."""
    with container(RUN_MAP, environment_of(bucket, layout)) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return err


def test_the_image_writes_what_a_local_worker_writes(s3_server: S3Server, tmp_path: Path) -> None:
    """Parts and progress of the same run are the same bytes; the first line has the version."""
    here, there = s3_server.new_bucket(), s3_server.new_bucket()
    local, layout = place_run(here)
    process = start_worker(environment_of(here, layout), tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    remote, layout = place_run(there)
    log = map_in_image(there, layout)
    assert f"ftm {VERSION}: map, run {layout.run_id}, {BATCH}" in log.splitlines()[0]
    assert read_progress(remote, layout, BATCH).done == IDS
    wanted = written(local, layout)
    assert sum("/firm-topics/" in key for key in wanted) == 3
    assert written(remote, layout) == wanted


def test_sigterm_reaches_the_worker_and_what_is_done_is_saved(s3_server: S3Server) -> None:
    """Told to stop after a part: exit 143, the part listed; the next job completes the batch."""
    bucket = s3_server.new_bucket()
    store, layout = place_run(bucket, part_firms=2)
    job = container(RUN_MAP, environment_of(bucket, layout))
    with job as process:
        while not store.exists(layout.firm_topics_part(BATCH, 0)) and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()[1]
        job.signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert f"INFO batch {BATCH}: " in err, "the worker's own last line: it was not just killed"
    stopped = read_progress(store, layout, BATCH)
    assert not stopped.complete
    assert stopped.done[:2] == IDS[:2]
    map_in_image(bucket, layout)
    assert read_progress(store, layout, BATCH).done == IDS


def test_a_job_is_not_root_and_changes_neither_code_nor_libraries() -> None:
    """The user is a number other than 0 and may write to its home and /tmp only."""
    code = """
import ftm, json, os, torch
tried = [os.path.dirname(ftm.__file__), os.path.dirname(torch.__file__), "/opt/ftm", "/etc"]
print(json.dumps([os.getuid(), os.getgid(), [p for p in tried if os.access(p, os.W_OK)]]))
"""
    assert json.loads(output("python", "-c", code)) == [10001, 10001, []]


def test_the_image_has_the_pinned_libraries_and_no_others() -> None:
    """Versions are those of constraints.txt; spaCy, wrds and development tools are absent."""
    found = {
        item["name"].lower().replace("_", "-"): item["version"].partition("+")[0]
        for item in json.loads(output("python", "-m", "pip", "list", "--format", "json"))
    }
    assert set(found) & {"spacy", "wrds", "sqlalchemy", "psycopg2-binary", "bertopic"} == set()
    assert set(found) & {"moto", "pytest", "mypy", "ruff"} == set()
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {
        name.lower().replace("_", "-"): version
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    assert {n: v for n, v in found.items() if n in pinned} == {
        n: v for n, v in pinned.items() if n in found
    }
    assert {"torch", "sentence-transformers", "umap-learn", "obstore"} <= set(found)


def test_the_image_holds_code_and_nothing_else_of_the_repository() -> None:
    """No tests, docs, git folder or pip configuration; code and libraries have their bytecode."""
    code = """
import json, os, pathlib, sys
import botocore, click, numpy, pyarrow
here = sorted(p.name for p in pathlib.Path("/opt/ftm").iterdir())
src = pathlib.Path("/opt/ftm/src")
tag = sys.implementation.cache_tag
bare = [
    p.name
    for p in src.rglob("*.py")
    if not (p.parent / "__pycache__" / f"{p.stem}.{tag}.pyc").exists()
]
bare += [m.__name__ for m in (botocore, click, numpy, pyarrow) if not os.path.exists(m.__cached__)]
other = sorted(p.name for p in src.iterdir())
conf = pathlib.Path("/etc/pip.conf")
print(json.dumps([here, other, bare, conf.read_text() if conf.exists() else ""]))
"""
    here, other, bare, pip_conf = json.loads(output("python", "-c", code))
    assert set(here) <= {
        "check_code.py", "check_libraries.py", "constraints.txt", "pyproject.toml",
        "requirements.py", "requirements.txt", "src",
    }  # fmt: skip
    assert (other, bare) == (["ftm"], [])
    assert not pip_conf


def test_the_label_names_the_code() -> None:
    """Version and git revision can be read without running the image."""
    assert ENGINE is not None
    look = [ENGINE, "inspect", "--type", "image", IMAGE]
    text = subprocess.run(look, capture_output=True, text=True, check=True).stdout
    assert f'"org.opencontainers.image.version": "{VERSION}"' in text
    assert '"org.opencontainers.image.revision": "' in text
    assert '"org.opencontainers.image.revision": ""' not in text
