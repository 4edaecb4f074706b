"""Fixtures: an S3 server, a bucket, a small disk, a store of each kind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftm.storage.object_store import ObjectStore, open_store
from tests.support.s3_server import CREDENTIALS, Bucket, S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the session; credentials are in the environment while it runs."""
    with pytest.MonkeyPatch.context() as patch, S3Server() as server:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[Bucket]:
    """An empty bucket: `.url`, `.server.url`, `.environment` for child processes."""
    yield s3_server.new_bucket()
    s3_server.reset()


@pytest.fixture
def memory() -> ObjectStore:
    """An empty store."""
    return open_store("memory://")


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'store'}")
    bucket: Bucket = request.getfixturevalue("s3")
    return open_store(bucket.url, endpoint_url=bucket.server.url)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB of its own, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def resize_disk(folder: Path, size: str) -> None:
    """Give a small disk another size, like `8m`."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
