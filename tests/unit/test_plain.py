"""What a terminal gets of names and texts from outside, and what messages show of URLs."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.text import Text

from ftm.cli.console import PlainConsole
from ftm.cli.tables import make_table
from ftm.core.plain import one_line, plain
from ftm.core.urls import shown, without_login, without_user


def test_plain_keeps_all_that_can_be_read() -> None:
    """Only what a terminal obeys goes."""
    assert plain("naïve 漢字 \n\t[b] \U0001f469") == "naïve 漢字 \n\t[b] \U0001f469"
    assert plain("\x1b[31mred\x9b0m\u202eabc\ud800") == "[31mred0mabc\N{REPLACEMENT CHARACTER}"
    assert one_line("a\x1e b\n\u2028c\x1b") == "a b c"


def test_a_console_shows_cells_as_they_are() -> None:
    """As texts or as plain strings; columns stay in line."""
    out = StringIO()
    console = PlainConsole(out)
    table = make_table("name", "n")
    table.add_row("[/b] :smile:\x1b[2J", "1")
    table.add_row(Text("\u202eabc[red]"), "2")
    console.print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[1].split() == ["[/b]", ":smile:[2J", "1"]
    assert lines[2].split() == ["abc[red]", "2"]
    assert lines[1].index("1") == lines[2].index("2")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pw@host:9000/x", "http://host:9000/x"),
        ("s3://AKIA:a/b+c@bucket/prefix", "s3://bucket/prefix"),
        ("http://host:9000/v1@x", "http://host:9000/v1@x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("failed: https://u:p@proxy, twice", "failed: https://proxy, twice"),
        ("http://u:a@b@host/x", "http://host/x"),
    ],
)
def test_messages_show_urls_without_user_and_password(url: str, shown: str) -> None:
    """A secret key with a slash is a password, a port is none."""
    assert without_user(url) == shown


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ftp://x", "ftp://x"),
        ("gpu:8000", "gpu:8000"),
        ("http://gpu:8000/v1", "http://gpu:8000/v1"),
        ("arn:aws:batch:us-east-1:1:job-queue/q", "arn:aws:batch:us-east-1:1:job-queue/q"),
        ("u:pw@host:80", "…@host:80"),
        ("http://u:p@w@host", "…@host"),
        ("u%3Apw%40host", "…@host"),
        ("AKIA:pw", "AKIA:…"),
        ("s3://b?secret=pw", "s3://b…"),
        ("s3://b?secret=p@w", "…"),
        ("host password=pw", "host password…"),
    ],
)
def test_of_a_refused_value_nothing_is_shown_that_may_be_secret(value: str, told: str) -> None:
    """What is left still tells which value is meant."""
    assert shown(value) == told


def test_of_other_libraries_words_no_login_is_shown() -> None:
    """They quote what they could not read, which need not be a URL."""
    text = 'cannot reach "http:/u:pw@proxy:9" nor u:p@w@host; ann@example.org, https://a:9/b'
    told = 'cannot reach "…@proxy:9" nor …@host; ann@example.org, https://a:9/b'
    assert without_login(text) == told
