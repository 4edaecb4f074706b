"""Recognisable credentials in every place they may come from, searched for wherever ftm writes."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr

from ftm.cli import main as cli_main
from ftm.cli.main import COMMANDS
from ftm.core.errors import AWSUnavailableError, LLMRefusedError
from ftm.jobs.aws_calls import AWSClient, Patience
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import open_store
from tests.support.batch import Cluster
from tests.support.batch_jobs import Ended, now_ms
from tests.support.cli import ftm_environment, run_ftm
from tests.support.forge import forge
from tests.support.hostile import NAMES, OBEYED, hostile_wrds
from tests.support.llm_server import MODEL, ChatRequest, LLMServer, Reply, error
from tests.support.naming import namer, topic
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, do_all, do_reduce
from tests.support.postgres import PostgresServer
from tests.support.quarters import write_quarter
from tests.support.runs import worker_environment
from tests.support.s3_server import Bucket

pytestmark = pytest.mark.slow

QUARTER = "2023Q1"
PLANTED = {
    name: f"plant-{name}-7f3a9c"
    for name in ("wrds", "pgpass", "manager", "aws", "token", "llm", "proxy", "llmurl", "store")
}
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "prefetch": ("--quarter", "2022Q1"),
    "preprocess": ("--quarter", QUARTER, "--workers", "1"),
    "attrition": ("--quarter", QUARTER),
    "run-quarter": ("--quarter", QUARTER, "--naming", "llm"),
    "run": ("--quarters", "2022Q1..2022Q2"),
    "watch": ("--quarter", QUARTER),
    "cancel": ("--quarter", QUARTER),
    "logs": ("--quarter", QUARTER, "--batch", "0"),
    "status": ("--quarter", QUARTER),
    "show": ("--quarter", QUARTER, "--firm", "100000"),
    "quarters": (),
    "sql": ("select * from firms",),
    "export": ("--quarter", QUARTER, "--csv", "panel.csv"),
    "codebook": (),
    "themes": ("--quarter", QUARTER, "--labels", "labels.csv"),
    "theme": ("theme_2023Q1_000", "--quarter", QUARTER),
    "label": ("labels.csv", "--quarter", QUARTER),
    "link": ("--quarters", QUARTER),
    "series": (),
    "assign": ("--themes", QUARTER, "--quarter", "2023Q2"),
    "verify": ("--quarter", QUARTER),
    "clean": ("--quarter", QUARTER),
    "doctor": ("--wrds",),
    "config": ("--help",),
    "demo": ("--quarters", "no-quarter"),
}


ENDS = {
    **dict.fromkeys(("prefetch", "run", "assign", "doctor"), 1),
    **dict.fromkeys(("watch", "cancel", "demo"), 2),
}
"""Exit codes other than 0 with a store in a folder: Batch needs S3, and one argument is bad."""


def leaks(text: str | bytes) -> list[str]:
    """Names of the credentials in it."""
    data = text.encode(errors="replace") if isinstance(text, str) else text
    return [name for name, secret in PLANTED.items() if secret.encode() in data]


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Hostile calls, read by a user whose password is recognisable."""
    with hostile_wrds().served(postgres) as server:
        server.execute(f"alter user {server.user} password '{PLANTED['wrds']}'")
        try:
            yield server
        finally:
            # By the socket, which asks for no password: other tests log in with the old one.
            _restore(server)


def _restore(server: PostgresServer) -> None:
    import psycopg2

    with (
        psycopg2.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=PLANTED["wrds"],
            dbname=server.dbname,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"alter user {server.user} password %s", (server.password,))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Everything planted; nothing that is named answers."""
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"*:*:*:someone:{PLANTED['pgpass']}\n")
    pgpass.chmod(0o600)
    return {
        "PGPASSFILE": str(pgpass),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": PLANTED["aws"],
        "AWS_SESSION_TOKEN": PLANTED["token"],
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "LLM_API_KEY": PLANTED["llm"],
        "LLM_BASE_URL": f"http://user:{PLANTED['llmurl']}@127.0.0.1:9/v1",
        "LLM_PATIENCE_S": "0",
        "HTTPS_PROXY": f"http://user:{PLANTED['proxy']}@127.0.0.1:9",
        "https_proxy": f"http://user:{PLANTED['proxy']}@127.0.0.1:9",
        "FTM_WRDS_HOST": "127.0.0.1",
        "FTM_WRDS_PORT": "9",
        "FTM_WRDS_SSLMODE": "disable",
        "FTM_EMBEDDING_MODEL": "noop",
        "FTM_CLUSTERING": "noop",
    }


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A published quarter on disk."""
    url = f"file://{tmp_path_factory.mktemp('published')}"
    do_all(plant_run(open_store(url), FIRMS))
    return url


def store_leaks(url: str) -> dict[str, list[str]]:
    """Every file below a folder that holds a credential."""
    files = [path for path in Path(url.removeprefix("file://")).rglob("*") if path.is_file()]
    assert files
    return {str(path): found for path in files if (found := leaks(path.read_bytes()))}


def test_every_command_is_tried() -> None:
    """A new command must be searched as well."""
    assert ARGUMENTS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.exhaustive), "url"])
def test_no_command_shows_a_credential_when_all_fails(
    kind: str,
    environment: dict[str, str],
    published: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Output, and every log record of every library at DEBUG: WRDS, S3, LLM, proxy out of reach."""
    stores = {
        "file": published,
        "s3": "s3://some-bucket/prefix",
        "url": f"s3://AKIAIOSFODNN7EXAMPLE:{PLANTED['store']}/x@bucket",
    }
    given = {**environment, "FTM_STORE": stores[kind]}
    if kind != "file":
        given["WRDS_PASSWORD"], given["WRDS_USERNAME"] = PLANTED["wrds"], "someone"
    if kind == "url":
        given["AWS_ENDPOINT_URL"] = f"http://user:{PLANTED['store']}@127.0.0.1:9"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    # Each would wait six seconds for a bucket; all go through the same store.
    commands = list(ARGUMENTS) if kind == "file" else ["status", "doctor"]
    with Told() as told:
        for command in commands:
            monkeypatch.setattr("sys.argv", ["ftm", command, *ARGUMENTS[command]])
            with pytest.raises(SystemExit) as ended:
                cli_main.main()
            out, err = capfd.readouterr()
            assert not leaks(out + err), f"{command}: {out} {err}"
            assert not told.leaking, command
            assert kind != "file" or ended.value.code == ENDS.get(command, 0), (command, err)
    assert kind == "url" or logging.DEBUG in told.levels
    assert not store_leaks(published)


SECRET = PLANTED["store"]
MISTYPED = {
    "AWS_ENDPOINT_URL": [f"u:{SECRET}@127.0.0.1:9", f"http:/u:{SECRET}@127.0.0.1:9"],
    "AWS_ENDPOINT_URL_S3": [f"u:{SECRET}@127.0.0.1:9"],
    "AWS_REGION": [f"u:{SECRET}@us-east-1"],
    "FTM_STORE": [
        *(f"AKIA:{SECRET}@bucket", f"s3:/AKIA:{SECRET}@bucket", f"s3://b?secret={SECRET}"),
        f"s3://AKIA:{SECRET}",
    ],
    "S3_BUCKET": [f"AKIA:{SECRET}@bucket", f"b?secret={SECRET}"],
    "LLM_BASE_URL": [f"u:{SECRET}@127.0.0.1:9/v1", f"http://u:a@{SECRET}@127.0.0.1:9/v1"],
    "LLM_MODEL_NAME": [f"https://u:{SECRET}@127.0.0.1:9/model"],
    "FTM_WRDS_HOST": [f"u:{SECRET}@127.0.0.1", f"postgresql://u:{SECRET}@127.0.0.1/wrds"],
    "FTM_WRDS_DBNAME": [f"host=127.0.0.1 password={SECRET}"],
    "WRDS_USERNAME": [f"u:{SECRET}"],
    "FTM_BATCH_QUEUE": [f"https://u:{SECRET}@127.0.0.1:9/queue"],
    "FTM_BATCH_JOB_DEFINITION": [f"u:{SECRET}@127.0.0.1"],
}
OF_QUARTER = ("--quarter", QUARTER)
ASKED = [
    ("status", *OF_QUARTER),
    ("doctor",),
    ("prefetch", *OF_QUARTER),
    ("run-quarter", *OF_QUARTER, "--naming", "llm"),
]


def refusals(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *commands: tuple[str, ...]
) -> list[str]:
    """The line in which each command says what it cannot use; none shows a credential."""
    lines = []
    with Told() as told:
        for command in commands:
            monkeypatch.setattr("sys.argv", ["ftm", *command])
            with pytest.raises(SystemExit) as ended:
                cli_main.main()
            out, err = capfd.readouterr()
            assert not leaks(out + err), f"{command}: {out} {err}"
            assert not told.leaking, command
            assert ended.value.code in (1, 2), (command, out, err)
            (line,) = [each for each in (out + err).splitlines() if "cannot be used" in each]
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MISTYPED.items() for value in values]
)
def test_a_mistyped_setting_with_a_password_is_refused_unseen(
    name: str,
    value: str,
    environment: dict[str, str],
    published: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Before anything is asked, by its variable; every library at DEBUG."""
    given = {**environment, "FTM_STORE": published, name: value}
    for variable, text in given.items():
        monkeypatch.setenv(variable, text)
    monkeypatch.chdir(tmp_path)
    for line in refusals(monkeypatch, capfd, *ASKED):
        assert name in line


def test_a_mistyped_store_flag_is_refused_unseen(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """As the variable is, by every kind of command."""
    for variable, text in environment.items():
        monkeypatch.setenv(variable, text)
    monkeypatch.chdir(tmp_path)
    for value in MISTYPED["FTM_STORE"]:
        for line in refusals(monkeypatch, capfd, *((*each, "--store", value) for each in ASKED)):
            assert "--store" in line


def test_a_list_in_the_settings_file_is_refused_unseen(
    environment: dict[str, str],
    published: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A value that is no text is not shown."""
    del environment["LLM_BASE_URL"]
    for variable, text in {**environment, "FTM_STORE": published}.items():
        monkeypatch.setenv(variable, text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ftm.toml").write_text(f'llm_base_url = ["{SECRET}"]\n')
    for line in refusals(monkeypatch, capfd, *ASKED):
        assert "LLM_BASE_URL" in line


@pytest.mark.parametrize("scheme", ["", "http:/", "http://", "odd://"])
def test_a_mistyped_proxy_is_not_shown(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's library quotes it where it is no URL (at DEBUG also in its own log)."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"{scheme}user:{PLANTED['proxy']}@127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "planted")
    client = AWSClient("sts", region="us-east-1", patience=Patience(limit_s=0.1, attempts=1))
    with pytest.raises(AWSUnavailableError, match="proxy") as caught:
        client.call("get_caller_identity")
    assert not leaks(str(caught.value)), caught.value


def test_commands_on_aws_show_no_credential(
    environment: dict[str, str],
    s3: Bucket,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Jobs that are submitted, watched, read the log of and cancelled; all libraries at DEBUG."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    write_quarter(store, 2, n_sentences=3)
    cluster.service.runner = lambda _job: Ended(1, lines=[(now_ms(), "no luck")])
    given = {
        **environment,
        **cluster.variables,
        "FTM_STORE": s3.url,
        "AWS_SECRET_ACCESS_KEY": PLANTED["aws"],
        "AWS_SESSION_TOKEN": PLANTED["token"],
        "WRDS_USERNAME": "someone",
        "WRDS_PASSWORD": PLANTED["wrds"],
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    of_quarter = ("--quarter", QUARTER)
    commands = {
        ("run-quarter", *of_quarter, "--backend", "batch", "--to", "map"): 1,
        ("watch", *of_quarter): 1,
        ("logs", *of_quarter, "--batch", "0"): 0,
        ("cancel", *of_quarter): 1,
        ("status", *of_quarter): 0,
        ("verify", *of_quarter, "--deep"): 0,
        ("clean", *of_quarter, "--yes"): 0,
        ("doctor",): 1,
    }
    with Told() as told:
        for command, code in commands.items():
            monkeypatch.setattr("sys.argv", ["ftm", *command])
            with pytest.raises(SystemExit) as ended:
                cli_main.main()
            out, err = capfd.readouterr()
            assert not leaks(out + err), f"{command}: {out} {err}"
            assert not told.leaking, command
            assert ended.value.code == code, (command, err)
    assert all(not leaks(json.dumps(job.request)) for job in cluster.service.jobs.values())
    assert not [info.key for info in store.list() if leaks(store.get(info.key))]


def authorization(request: ChatRequest) -> str:
    """What a request was allowed by."""
    return {name.lower(): value for name, value in request.headers.items()}["authorization"]


def test_a_key_that_the_language_model_repeats_is_told_nowhere(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A server that quotes it in its refusal, then one that takes it: output and store."""
    url = f"file://{tmp_path / 'store'}"
    planted = plant_run(open_store(url), FIRMS)
    do_reduce(planted.store, planted.run)
    given = {**environment, **worker_environment(url, planted.layout, 0)}
    del given["LLM_PATIENCE_S"]
    given |= {"FTM_NAMING": "llm", "LLM_MODEL_NAME": MODEL, "LLM_MAX_CONCURRENT": "1"}

    def quote(number: int, request: ChatRequest) -> Reply | None:
        said = f"Incorrect API key provided: {authorization(request)}"
        return error(401, said, code="invalid_api_key") if number == 0 else None

    codes = []
    with LLMServer(script=quote) as llm:
        for _ in range(2):
            process = forge().start_piped(
                *("ftm.worker", "name"),
                environment=ftm_environment(**{**given, "LLM_BASE_URL": llm.url}),
                cwd=tmp_path,
            )
            said = "".join(process.communicate())
            codes.append(process.returncode)
            assert not leaks(said), said
    assert (codes[0] != 0, codes[1]) == (True, 0)
    assert {authorization(chat) for chat in llm.chats} == {f"Bearer {PLANTED['llm']}"}
    assert not store_leaks(url)


class Told(logging.Handler):
    """Reads what every library logs at DEBUG; ftm itself lets nothing below WARNING through."""

    def __init__(self) -> None:
        super().__init__()
        self.leaking: list[str] = []
        self.levels: set[int] = set()

    def __enter__(self) -> Told:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        # It tells of every hook, thousands of times.
        logging.getLogger("botocore.hooks").setLevel(logging.INFO)
        return self

    def __exit__(self, *_error: object) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger().setLevel(self._level)
        logging.getLogger("botocore.hooks").setLevel(logging.NOTSET)

    def emit(self, record: logging.LogRecord) -> None:
        """Note who logs a credential, in a traceback too."""
        self.levels.add(record.levelno)
        found = leaks(self.format(record))
        # At DEBUG botocore shows the headers it signs; no secret key, but the session's token.
        if found and not (found == ["token"] and record.name.startswith("botocore.")):
            self.leaking.append(f"{record.name}: {found}")


class Sampler:
    """Arguments of all processes, and what lies open in the temporary folder, while one runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arguments: set[bytes] = set()
        self.open_to_others: set[str] = set()
        self.leaking: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.arguments.add(path.read_bytes())
                except OSError:
                    continue
            for path in self.folder.iterdir():
                self._look(path)

    def _look(self, path: Path) -> None:
        try:
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                self.open_to_others.add(path.name)
            for file in path.rglob("*") if path.is_dir() else [path]:
                if file.is_file() and leaks(file.read_bytes()):
                    self.leaking.add(str(file))
        except OSError:
            return


def test_runs_that_succeed_leave_no_credential_anywhere(
    wrds: PostgresServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """Arguments of processes, temporary files, worker logs, every object of the store.

    The calls are hostile: none is lost, and no terminal obeys what is told of them.
    """
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    store = f"file://{tmp_path / 'store'}"
    given = {
        **environment,
        "FTM_STORE": store,
        "TMPDIR": str(temporary),
        "FTM_WRDS_HOST": wrds.host,
        "FTM_WRDS_PORT": str(wrds.port),
        "FTM_WRDS_DBNAME": wrds.dbname,
        "WRDS_USERNAME": wrds.user,
        "WRDS_PASSWORD": PLANTED["wrds"],
    }
    del given["LLM_BASE_URL"]
    with Sampler(temporary) as seen:
        for command in ("prefetch", "run-quarter"):
            done = run_ftm(command, "--quarter", QUARTER, cwd=tmp_path, **given)
            assert done.returncode == 0, done.stderr
            assert not leaks(done.stdout + done.stderr), command
            assert not OBEYED.search(done.stdout + done.stderr), command
    assert len(load_manifest(open_store(store), QUARTER).firm_to_chunk) == len(NAMES)
    assert any(b"ftm" in arguments for arguments in seen.arguments)
    assert not [found for arguments in seen.arguments if (found := leaks(arguments))]
    assert not seen.open_to_others
    assert not seen.leaking
    assert not list(temporary.iterdir())
    assert not store_leaks(store)


@pytest.mark.parametrize("source", ["environment", "pgpass", "manager"])
def test_a_refused_login_shows_no_password(
    source: str,
    wrds: PostgresServer,
    environment: dict[str, str],
    s3: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """A wrong password from each place it may come from, every library at DEBUG."""
    given = {
        **environment,
        **s3.environment,
        "AWS_SECRET_ACCESS_KEY": PLANTED["aws"],
        "FTM_STORE": f"file://{tmp_path / 'store'}",
        "FTM_WRDS_PORT": str(wrds.port),
        "FTM_WRDS_DBNAME": wrds.dbname,
    }
    secret = {"environment": "llm", "pgpass": "pgpass", "manager": "manager"}[source]
    if source == "environment":
        given |= {"WRDS_USERNAME": wrds.user, "WRDS_PASSWORD": PLANTED[secret]}
    if source == "manager":
        Path(given["PGPASSFILE"]).unlink()
        client = boto3.client("secretsmanager", "us-east-1", endpoint_url=s3.server.url)
        login = {"username": wrds.user, "password": PLANTED[secret]}
        client.create_secret(Name="wrds-credentials", SecretString=json.dumps(login))
        # moto's state is the process's: the next test must not find it.
        gone = {"SecretId": "wrds-credentials", "ForceDeleteWithoutRecovery": True}
        request.addfinalizer(lambda: client.delete_secret(**gone))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["ftm", "prefetch", "--quarter", QUARTER])
    with Told() as told, pytest.raises(SystemExit) as ended:
        cli_main.main()
    assert ended.value.code == 1
    out, err = capfd.readouterr()
    assert "refused the login" in err
    assert not leaks(out + err)
    assert not told.leaking


@pytest.mark.parametrize("asked", ["models", "chat"])
def test_a_language_model_server_that_echoes_the_key(asked: str) -> None:
    """In its message, its code, its headers: neither the error nor any library's log has it."""
    key = PLANTED["llm"]
    told_back = error(
        401, f"Incorrect API key provided: Bearer {key}", code=key, WWW_Authenticate=f"Bearer {key}"
    )
    with LLMServer() as server:
        if asked == "models":
            server.before_models = [told_back]
        server.script = lambda _n, _request: told_back
        with (
            Told() as told,
            namer(server, open_store("memory://"), api_key=SecretStr(key)) as each,
            pytest.raises(LLMRefusedError, match="LLM_API_KEY") as caught,
        ):
            each.name_all([topic()], done=lambda _: None)
    assert not leaks("".join(traceback.format_exception(caught.value)))
    assert not told.leaking


def test_ctrl_c_while_wrds_is_asked(
    wrds: PostgresServer,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """At once, with exit code 130 and one line, every library at DEBUG, and no credential."""
    given = {
        **environment,
        "FTM_STORE": f"file://{tmp_path / 'store'}",
        "FTM_WRDS_PORT": str(wrds.port),
        "FTM_WRDS_DBNAME": wrds.dbname,
        "WRDS_USERNAME": wrds.user,
        "WRDS_PASSWORD": PLANTED["wrds"],
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["ftm", "prefetch", "--quarter", QUARTER])
    at_login = wrds.logins(wrds.user) + 2
    with replace(wrds, password=PLANTED["wrds"]).connect() as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE ciq.wrds_transcript_detail IN ACCESS EXCLUSIVE MODE")

        def interrupt() -> None:
            while wrds.logins(wrds.user) < at_login:
                time.sleep(0.05)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with Told() as told, pytest.raises(SystemExit) as ended:
            cli_main.main()
    other.close()
    out, err = capfd.readouterr()
    assert ended.value.code == 130, err
    assert err.splitlines()[-1] == "ftm: stopped; run the same command again to resume"
    assert "Traceback" not in err
    assert not leaks(out + err)
    assert not told.leaking
