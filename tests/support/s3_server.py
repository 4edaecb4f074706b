"""A real S3 server over HTTP (moto) that counts what it moves and can be told to misbehave.

    with S3Server() as server:
        bucket = server.new_bucket()
        store = open_store(bucket.url, endpoint_url=server.url)

`server.traffic` holds every request with its response's size; `server.script` may answer in moto's
place or change an answer's body. Not for production: no authentication.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; `received` and `sent` are body bytes.

    `query` is decoded by nobody, `key_id` is the access key that signed it.
    """

    method: str
    path: str
    received: int
    sent: int
    status: int
    query: str = ""
    key_id: str = ""


@dataclass
class Answer:
    """What the server is about to send; a script may change it."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


Script = Callable[[str, str, Callable[[], Answer]], Answer]
"""script(method, path, ask_moto) -> the answer to send."""

Route = Callable[[bytes], Answer]
"""route(body) -> the answer to a request that moto is not asked."""


def error(status: str, code: str) -> Answer:
    """An S3 error answer, such as error("403 Forbidden", "AccessDenied")."""
    body = f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of its own."""

    name: str
    server: S3Server

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to use this bucket as its store."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.server.url, "FTM_STORE": self.url}


@dataclass
class S3Server:
    """moto's server on a free port of 127.0.0.1; a context manager."""

    traffic: list[Request] = field(default_factory=list)
    script: Script | None = None
    routes: dict[str, Route] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()
        self._numbers = itertools.count()
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def new_bucket(self) -> Bucket:
        """A fresh bucket; its name is unique on this server."""
        import boto3

        bucket = Bucket(f"ftm-test-{next(self._numbers):04d}", self)
        boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        ).create_bucket(Bucket=bucket.name)
        self.reset()
        return bucket

    def reset(self) -> None:
        """Forget traffic and script; routes stay."""
        self.traffic.clear()
        self.script = None

    def sent_bytes(self, ending: str = "") -> int:
        """Body bytes sent in answer to GETs of objects whose path ends so."""
        return sum(r.sent for r in self.traffic if r.method == "GET" and r.path.endswith(ending))

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]

        def ask_moto() -> Answer:
            if route := self.routes.get(path):
                length = int(environ.get("CONTENT_LENGTH") or 0)
                return route(environ["wsgi.input"].read(length))
            return _ask(self._moto, environ)

        answer = self.script(method, path, ask_moto) if self.script else ask_moto()
        # A HEAD's Content-Length is the object's, not that of the empty body.
        lengths = [] if method == "HEAD" else [("Content-Length", str(len(answer.body)))]
        kept = [(k, v) for k, v in answer.headers if method == "HEAD" or k != "Content-Length"]
        start_response(answer.status, kept + lengths)
        received = int(environ.get("CONTENT_LENGTH") or 0)
        with self._lock:
            status = int(answer.status.partition(" ")[0])
            self.traffic.append(
                Request(
                    method,
                    path,
                    received,
                    len(answer.body),
                    status,
                    environ.get("QUERY_STRING", ""),
                    _signed_by(environ.get("HTTP_AUTHORIZATION", "")),
                )
            )
        return [answer.body]


def _signed_by(authorization: str) -> str:
    """`AWS4-HMAC-SHA256 Credential=KEY/20230401/…`."""
    return authorization.partition("Credential=")[2].partition("/")[0]


def _ask(app: Any, environ: dict[str, Any]) -> Answer:
    captured: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _exc: Any = None) -> None:
        captured[:] = [status, headers]

    body = b"".join(app(environ, start))
    return Answer(captured[0], list(captured[1]), body)


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args: Any) -> None:
        """Say nothing."""
