"""`ftm demo` as a user runs it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq
import pytest

from tests.support.forge import forge

FTM = [sys.executable, "-m", "ftm.cli.main", "demo"]
SECRETS = {
    name: f"plant-{name}-7f3a9c" for name in ("WRDS_PASSWORD", "LLM_API_KEY", "AWS_SESSION_TOKEN")
}
"""What the shell of a user may hold; the demo needs none of it."""


def outside_the_environment() -> dict[str, str]:
    """Variables of a shell in which nobody activated the environment or configured ftm."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("FTM_")}
    here = str(Path(sys.executable).parent)
    own |= SECRETS
    own["PATH"] = os.pathsep.join(p for p in own["PATH"].split(os.pathsep) if p != here)
    return own


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder without an ftm.toml."""
    return subprocess.run(
        [*FTM, "--folder", str(folder / "demo"), *arguments],
        capture_output=True, text=True, cwd=folder, env=outside_the_environment(), check=False,
    )  # fmt: skip


def run_forged(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same from a process that has imported what the command and its workers import."""
    process = forge().start_piped(
        *("ftm.cli.main", "demo", "--folder", str(folder / "demo"), *arguments),
        environment=outside_the_environment(),
        cwd=folder,
    )
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


def test_data_only_writes_the_tables_and_starts_nothing(tmp_path: Path) -> None:
    """Five tables, the truth and the expectations, and where they are."""
    done = run_demo(tmp_path, "--firms", "2", "--quarters", "2022Q4..2023Q1", "--data-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "demo" / "wrds").glob("*.parquet"))) == 5
    truth = pq.read_table(tmp_path / "demo" / "truth.parquet")
    assert set(truth["quarter"].to_pylist()) == {"2022Q4", "2023Q1"}
    assert f"{truth.num_rows:,} sentences" in done.stdout
    assert str(tmp_path / "demo" / "wrds") in done.stdout


def test_serve_prints_variables_that_work_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    """Whoever sets the variables reaches the tables; Ctrl-C ends it with exit code 0."""
    command = [*FTM, "--folder", str(tmp_path / "demo"), "--firms", "1", "--serve"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    exports: dict[str, str] = {}
    for line in process.stdout:
        if match := re.fullmatch(r"export (\w+)=(.*)\n", line):
            exports[match[1]] = shlex.split(match[2])[0]
        if "Ctrl-C" in line:
            break
    connection = psycopg2.connect(
        host=exports["FTM_WRDS_HOST"], port=exports["FTM_WRDS_PORT"],
        dbname=exports["FTM_WRDS_DBNAME"], user=exports["WRDS_USERNAME"],
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM crsp.ccmxpf_lnkhist")
        assert cursor.fetchone()[0] > 10
    connection.close()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "stopped\n")
    assert not Path(exports["FTM_WRDS_HOST"]).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--quarters", "2023q1"], 2, "2023q1"),
        (["--quarters", "1999Q1"], 2, "1999Q1"),
        (["--firms", "0"], 2, "--firms"),
        (["--firms", "30000", "--data-only"], 2, "30"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    """A known failure, or wrong usage, without a traceback and with nothing written."""
    done = run_demo(tmp_path, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("forge")
@pytest.mark.timeout(900)
def test_the_demo_runs_the_main_job_and_resumes(tmp_path: Path) -> None:
    """From synthetic calls to topics with the user's commands; planted topics come back."""
    arguments = ("--firms", "2", "--sentences", "120", "--workers", "1")
    done = run_forged(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    for command in ("prefetch", "attrition", "run-quarter", "show", "themes"):
        assert f"$ ftm {command} --quarter 2023Q1" in done.stdout
    assert "$ ftm link" not in done.stdout, "one quarter is no series"
    assert re.search(
        r"^2023Q1: (planted topics found again as themes|no themes)", done.stdout, re.M
    )
    recovered = re.search(r"adjusted Rand index of (\d\.\d+)", done.stdout)
    assert recovered is not None
    assert float(recovered[1]) > 0.3
    lines = done.stdout.partition("to go on:\n")[2]
    went_on = subprocess.run(
        ["bash", "-ec", lines],
        capture_output=True, text=True, cwd=tmp_path, env=outside_the_environment(), check=False,
    )  # fmt: skip
    assert went_on.returncode == 0, went_on.stderr
    assert "complete" in went_on.stdout
    again = run_forged(tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert recovered[0] in again.stdout
    files = [path.read_bytes() for path in (tmp_path / "demo").rglob("*") if path.is_file()]
    told = (done.stdout + done.stderr + again.stdout + again.stderr).encode()
    assert len(files) > 10
    for secret in SECRETS.values():
        assert not [each for each in (*files, told) if secret.encode() in each]
