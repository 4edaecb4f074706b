"""Settings: precedence, refusals, secrets."""

from pathlib import Path

import pytest

from ftm.core.errors import ConfigError
from ftm.core.settings import Settings, variables
from ftm.wiring import get_cluster_workers, resolve_run_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ftm variable of the developer's shell, and a folder without ftm.toml."""
    for info in Settings.model_fields.values():
        for name in info.validation_alias.choices:  # type: ignore[union-attr]
            monkeypatch.delenv(str(name), raising=False)
    monkeypatch.chdir(tmp_path)


def test_flag_beats_environment_beats_toml_beats_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each source gives way to the one before it."""
    assert Settings.load().nlp == "rules"
    (tmp_path / "ftm.toml").write_text('nlp = "from_toml"\n')
    assert Settings.load().nlp == "from_toml"
    monkeypatch.setenv("FTM_NLP", "from_env")
    assert Settings.load().nlp == "from_env"
    assert Settings.load(nlp="from_flag").nlp == "from_flag"
    assert Settings.load(nlp=None).nlp == "from_env"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`FTM_STORE= ftm …` is the same as not setting it."""
    monkeypatch.setenv("FTM_STORE", "")
    monkeypatch.setenv("S3_BUCKET", "calls")
    assert Settings.load().store_url == "s3://calls"


def test_store_wins_over_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """FTM_STORE is the full word, S3_BUCKET the short one."""
    monkeypatch.setenv("FTM_STORE", "file:///tmp/calls")
    monkeypatch.setenv("S3_BUCKET", "calls")
    assert Settings.load().store_url == "file:///tmp/calls"


def test_no_store_says_what_to_set() -> None:
    """Without any store the error names the flag and the variable."""
    with pytest.raises(ConfigError, match=r"--store.*FTM_STORE"):
        _ = Settings.load().store_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHECKPOINT_INTERVAL", "0"),
        ("CHECKPOINT_INTERVAL", "many"),
        ("FTM_CLUSTERING", "k-means"),
        ("MAX_FAILURE_RATE", "1.5"),
        ("FTM_DTYPE", "float16"),
    ],
)
def test_a_bad_variable_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The message holds the variable and what it was set to."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name} '{value}'"):
        Settings.load()


@pytest.mark.parametrize("source", ["flag", "environment"])
def test_a_bad_store_is_told_with_both_its_names(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Wherever it came from, and without the words of the library that checks it."""
    if source == "environment":
        monkeypatch.setenv("FTM_STORE", "ftp://x")
    with pytest.raises(ConfigError) as caught:
        Settings.load(store="ftp://x" if source == "flag" else None)
    assert str(caught.value) == (
        "store 'ftp://x' (--store or FTM_STORE) cannot be used: a store is s3://bucket[/prefix] or"
        " file:///folder"
    )


@pytest.mark.parametrize("key", ["wrds_password", "llm_api_key"])
def test_secrets_in_toml_are_refused(tmp_path: Path, key: str) -> None:
    """A password in ftm.toml is an error that does not repeat the password."""
    (tmp_path / "ftm.toml").write_text(f'{key} = "hunter2"\n')
    with pytest.raises(ConfigError, match=key) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_unknown_and_malformed_toml_are_errors(tmp_path: Path) -> None:
    """A typing mistake in ftm.toml is not silently ignored."""
    (tmp_path / "ftm.toml").write_text('stroe = "s3://x"\n')
    with pytest.raises(ConfigError, match="stroe"):
        Settings.load()
    (tmp_path / "ftm.toml").write_text("store = [\n")
    with pytest.raises(ConfigError, match=r"ftm\.toml"):
        Settings.load()


def test_variables_rebuild_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker started with `variables(settings)` sees what the orchestrator saw, secrets aside."""
    monkeypatch.setenv("WRDS_PASSWORD", "hunter2")
    original = Settings.load(store="s3://b/p", seed=7, allow_failures=False, max_failure_rate=0.5)
    passed = variables(original)
    assert "hunter2" not in str(passed)
    monkeypatch.delenv("WRDS_PASSWORD")
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == original.model_copy(update={"wrds_password": None})


def test_repr_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing settings never prints a password."""
    monkeypatch.setenv("WRDS_PASSWORD", "hunter2")
    assert "hunter2" not in repr(Settings.load())


def test_a_seed_is_no_negative_number() -> None:
    """It is refused here: some clusterings would fail on it, firm by firm."""
    with pytest.raises(ConfigError, match="FTM_SEED -1 cannot be used"):
        Settings.load(seed=-1)
    assert Settings.load(seed=0).seed == 0


@pytest.mark.parametrize(
    ("device", "cores", "expected"),
    [("cpu", 1, 1), ("cpu", 4, 1), ("cpu", 16, 4), ("cuda", 1, 1), ("cuda", 8, 7)],
)
def test_clustering_processes_follow_from_the_cores_of_the_worker(
    device: str, cores: int, expected: int
) -> None:
    """A quarter of its own cores beside a CPU, all but one beside a GPU, never none."""
    assert get_cluster_workers(Settings.load(device=device, worker_cores=cores)) == expected


@pytest.mark.parametrize("given", ["models/mine", "./models/mine", "~/models/mine"])
def test_a_run_gets_its_model_folder_as_a_full_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    """Workers start in another folder: a relative one would be another model, or none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    resolved = resolve_run_settings(Settings.load(embedding_model=given, device="cpu"))
    assert resolved.embedding_model == str(folder.resolve())


def test_a_run_keeps_a_model_name_that_is_no_folder() -> None:
    """A name of the hub, with or without a slash, is passed on as it is."""
    resolved = resolve_run_settings(Settings.load(embedding_model="org/model", device="cpu"))
    assert resolved.embedding_model == "org/model"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FTM_WRDS_HOST", "one.example,two.example"),
        ("FTM_WRDS_HOST", "caf\udce9.example"),
        ("FTM_WRDS_PORT", "0"),
        ("FTM_WRDS_PORT", "65536"),
        ("FTM_STORE", "file:///caf\udce9"),
        ("FTM_SEED", "4294967296"),
        ("FTM_POLL_S", "inf"),
        ("FTM_POLL_S", "1e300"),
        ("LLM_TIMEOUT_S", "inf"),
        ("LLM_PATIENCE_S", "nan"),
    ],
)
def test_a_value_that_would_fail_far_away_is_refused_here(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Endless waits, two hosts, bytes that are no text: the variable is named."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        Settings.load()


def test_a_nul_in_the_toml_is_refused(tmp_path: Path) -> None:
    """TOML can write one, no path and no server takes one."""
    (tmp_path / "ftm.toml").write_text('store = "file:///a\\u0000b"\n')
    with pytest.raises(ConfigError, match="NUL"):
        Settings.load()


@pytest.mark.parametrize("key", ["sk-plänt", "sk-plant 7", "“sk-plant”", "sk-\nplant", "sk-\udce9"])
def test_a_key_that_no_header_holds_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """It would look like a server that cannot be reached; the message has none of it."""
    monkeypatch.setenv("LLM_API_KEY", key)
    with pytest.raises(ConfigError, match="LLM_API_KEY cannot be used") as caught:
        Settings.load()
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(("given", "taken"), [("sk-plant\n", "sk-plant"), (" \n", None)])
def test_a_line_break_after_the_key_is_left_out(
    monkeypatch: pytest.MonkeyPatch, given: str, taken: str | None
) -> None:
    """As a file of the key has it."""
    monkeypatch.setenv("LLM_API_KEY", given)
    key = Settings.load().llm_api_key
    assert (key and key.get_secret_value()) == taken


SECRET = "pl4nted"
WITH_A_SECRET = [
    ("AWS_ENDPOINT_URL", "u:{}@host"),
    ("AWS_ENDPOINT_URL", "u:{}@host:9000"),
    ("AWS_ENDPOINT_URL", "http:/u:{}@host:9000"),
    ("AWS_ENDPOINT_URL", "http://u:{}@host:9000"),
    ("AWS_ENDPOINT_URL", "http://u%3A{}%40host:9000"),
    ("AWS_ENDPOINT_URL", "http://AKIA:{}"),
    ("AWS_ENDPOINT_URL", "http://host:9000?secret={}"),
    ("AWS_ENDPOINT_URL_S3", "u:{}@host:9000"),
    ("AWS_ENDPOINT", "http://u:{}@host:9000"),
    ("AWS_REGION", "u:{}@us-east-1"),
    ("FTM_STORE", "AKIA:{}@bucket"),
    ("FTM_STORE", "AKIA:{}"),
    ("FTM_STORE", "s3:/AKIA:{}@bucket"),
    ("FTM_STORE", "s3://AKIA:{}@bucket/prefix"),
    ("FTM_STORE", "s3://AKIA:a/{}@bucket"),
    ("FTM_STORE", "s3://AKIA:a@{}@bucket"),
    ("FTM_STORE", "s3://AKIA:{}"),
    ("FTM_STORE", "s3://b?secret={}"),
    ("FTM_STORE", "s3://b?secret=a@{}"),
    ("FTM_STORE", "s3://b/prefix#{}"),
    ("FTM_STORE", "file://u:{}@host/folder"),
    ("S3_BUCKET", "AKIA:{}@bucket"),
    ("S3_BUCKET", "AKIA:a/{}@bucket"),
    ("S3_BUCKET", "b?secret={}"),
    ("LLM_BASE_URL", "u:{}@host/v1"),
    ("LLM_BASE_URL", "http:/u:{}@host/v1"),
    ("LLM_BASE_URL", "http://u:a/{}@host/v1"),
    ("LLM_BASE_URL", "http://u:12/{}@host/v1"),
    ("LLM_BASE_URL", "http://u:a@{}@host/v1"),
    ("LLM_BASE_URL", "http://host/v1?api_key={}"),
    ("LLM_MODEL_NAME", "https://u:{}@host/model"),
    ("FTM_EMBEDDING_MODEL", "https://u:{}@host/model"),
    ("FTM_WRDS_HOST", "u:{}@host"),
    ("FTM_WRDS_HOST", "u:{}"),
    ("FTM_WRDS_HOST", "postgresql://u:{}@host/wrds"),
    ("FTM_WRDS_HOST", "host password={}"),
    ("FTM_WRDS_DBNAME", "host=h password={}"),
    ("FTM_WRDS_DBNAME", "postgresql://u:{}@host/wrds"),
    ("WRDS_USERNAME", "u:{}"),
    ("FTM_BATCH_QUEUE", "https://u:{}@host/queue"),
    ("FTM_BATCH_JOB_DEFINITION", "u:{}@host"),
    ("FTM_BATCH_STAGE_QUEUE", "u:{}@host"),
    ("FTM_BATCH_STAGE_JOB_DEFINITION", "u:{}@host"),
    ("FTM_WRDS_SSLMODE", "u:{}@host"),
    ("FTM_CLUSTERING", "u:{}@host"),
]


@pytest.mark.parametrize(("name", "value"), WITH_A_SECRET)
def test_a_value_with_a_password_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """However mistyped: the variable is named, the password is not."""
    monkeypatch.setenv(name, value.format(SECRET))
    with pytest.raises(ConfigError, match=rf"\b{name}\b.* cannot be used: ") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [f"AKIA:{SECRET}@bucket", f"s3://b?secret={SECRET}"])
def test_a_store_given_as_flag_is_refused_alike(value: str) -> None:
    """Messages name both ways to give it."""
    with pytest.raises(ConfigError, match="--store or FTM_STORE") as caught:
        Settings.load(store=value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ['["{}"]', '{{ password = "{}" }}', "4711"])
@pytest.mark.parametrize("field", ["llm_base_url", "wrds_host", "store", "naming", "wrds_username"])
def test_what_is_no_text_is_not_shown(tmp_path: Path, field: str, value: str) -> None:
    """Only the variable that it should have been the text of."""
    (tmp_path / "ftm.toml").write_text(f"{field} = {value.format('4711')}\n")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        Settings.load()
    assert "4711" not in str(caught.value) or (field, value) == ("naming", "4711")


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:9000", "localhost", "http://", "http:/localhost:9000", "ftp://localhost"),
        *("http://local host", "http://localhost:port", "http://localhost:99999", "http://[::1"),
        *("http://höst:9000", "http://999.1.1.1", "http://[fe80::1%25eth0]:9000", "http://a<b"),
    ],
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_what_is_no_endpoint_is_refused_with_how_one_looks(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    """The S3 client would die of it, with a traceback of Rust's."""
    monkeypatch.setenv(name, url)
    with pytest.raises(
        ConfigError, match=rf"{name} .*cannot be used: it looks like http://localhost:9000"
    ):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("AWS_ENDPOINT_URL", f"http://{host}") for host in ("127.0.0.1:9", "[::1]:9", "minio_1")),
        ("AWS_ENDPOINT_URL", "https://bucket.vpce-0a.s3.us-east-1.vpce.amazonaws.com/"),
        ("AWS_REGION", "us-gov-west-1"),
        ("FTM_STORE", "s3://b/me@team/quarter=2023Q1"),
        ("FTM_STORE", "file:///home/me@team/what?"),
        ("S3_BUCKET", "b/prefix"),
        ("LLM_BASE_URL", "http://u:pw@gpu.local:8000/v1"),
        ("LLM_BASE_URL", "https://[::1]:8000/v1/"),
        ("LLM_MODEL_NAME", "@cf/meta/llama-3:8b"),
        ("FTM_WRDS_HOST", "/run/postgresql@16"),
        ("FTM_WRDS_HOST", "fe80::1"),
        ("FTM_BATCH_QUEUE", "arn:aws:batch:us-east-1:123456789012:job-queue/ftm-cpu"),
        ("FTM_BATCH_JOB_DEFINITION", "ftm-map-cpu:3"),
    ],
)
def test_what_has_no_password_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """`@`, `:` and `?` belong to paths, ports and addresses, too."""
    monkeypatch.setenv(name, value)
    assert value in Settings.load().model_dump().values()
