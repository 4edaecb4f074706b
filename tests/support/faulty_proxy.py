"""An HTTP proxy in front of an S3 server that fails on purpose, by seed and share of requests.

    with FaultyProxy(server.url, rate=0.05, seed=1) as proxy:
        store = open_store(bucket.url, endpoint_url=proxy.url)

Which request fails, and how, follows from the seed, the request's method, key and number among its
like, not from which thread came first: the same seed gives the same faults. `script` decides
instead where a test wants one fault at one place.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from tests.support.accepting import Accepting

Fault = Literal["500", "503", "reset", "lost answer", "truncated", "stall", "stale"]
"""`lost answer`: the request is carried out, then the connection is reset; `truncated`: the right
Content-Length and fewer bytes, of a list a chunk cut in the middle; `stale`: a GET is answered with
what the object held before it was last written."""

FAULTS: tuple[Fault, ...] = ("500", "503", "reset", "lost answer", "truncated", "stale")
"""All but stalls, which cost a client's timeout each."""

Script = Callable[[str, str], Fault | None]
"""script(method, key) -> what to do to this request."""

_HASH = re.compile(r"[0-9a-f]{12,}")
"""Ids of runs and of versions of a table, which another version of ftm would have others of."""
_RESET = struct.pack("ii", 1, 0)
_ENDS = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Asked:
    """A request of a client; `key` has no bucket before it."""

    method: str
    target: str
    key: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")


@dataclass(frozen=True)
class Reply:
    """An answer of the server."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass
class FaultyProxy(Accepting):
    """A context manager; `url` is the endpoint for clients.

    Args:
        upstream: the server's URL.
        rate: share of requests that fail.
        seed: another one, other faults.
        kinds: of faults.
        stall_s: how long a stalled request is left without an answer.
        script: decides instead.
    """

    upstream: str
    rate: float = 0.0
    seed: int = 0
    kinds: tuple[Fault, ...] = FAULTS
    stall_s: float = 30.0
    script: Script | None = None
    faults: Counter[str] = field(default_factory=Counter)
    n_requests: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._now: dict[str, Reply | None] = {}
        self._before: dict[str, Reply | None] = {}
        self._stopped = threading.Event()
        self.listen()
        self.url = f"http://127.0.0.1:{self.port}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        super().__exit__(kind, error, trace)

    @property
    def n_faults(self) -> int:
        return self.faults.total()

    def serve(self, client: socket.socket) -> None:
        where = urlsplit(self.upstream)
        upstream = HTTPConnection(where.hostname or "", where.port, timeout=60)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = client.makefile("rb")
        try:
            while (asked := _read_request(client, stream)) is not None:
                if not self._answer(client, upstream, asked):
                    return
        except (OSError, HTTPException):
            pass
        finally:
            upstream.close()
            stream.close()
            client.close()

    def _answer(self, client: socket.socket, upstream: HTTPConnection, asked: Asked) -> bool:
        """Answer, or fail; whether the connection goes on."""
        fault = self._choose(asked)
        if fault in ("500", "503"):
            _send(client, _error(fault), method=asked.method)
            return True
        if fault == "stall":
            self._stopped.wait(self.stall_s)
        if fault in ("reset", "stall"):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        reply = self._stale(asked) if fault == "stale" else self._ask(upstream, asked)
        if fault == "truncated" and len(reply.body) < 2:
            fault = "lost answer"
            with self._lock:
                self.faults.subtract(["truncated"])
                self.faults[fault] += 1
        if fault == "lost answer":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        if fault == "truncated":
            _send_half(client, reply, chunked=not asked.key)
            return False
        _send(client, reply, method=asked.method)
        return True

    def _choose(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.n_requests += 1
            like = (asked.method, _HASH.sub("", asked.key or asked.target.partition("?")[2]))
            self._numbers[like] += 1
            number = self._numbers[like]
        if self.script:
            fault = self.script(asked.method, asked.key)
        else:
            rng = random.Random(f"{self.seed} {like} {number}")
            fault = rng.choice(self.kinds) if rng.random() < self.rate else None
        if fault == "stale" and (asked.method != "GET" or asked.key not in self._before):
            return None
        if fault is not None:
            with self._lock:
                self.faults[fault] += 1
        return fault

    def _ask(self, upstream: HTTPConnection, asked: Asked) -> Reply:
        upstream.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers:
            if name.lower() not in ("expect", "connection"):
                upstream.putheader(name, value)
        upstream.endheaders(asked.body or None)
        answer: HTTPResponse = upstream.getresponse()
        reply = Reply(answer.status, answer.reason, tuple(answer.getheaders()), answer.read())
        if asked.key and 200 <= reply.status < 300 and asked.method in ("PUT", "DELETE"):
            self._remember(asked, reply)
        return reply

    def _remember(self, asked: Asked, reply: Reply) -> None:
        kept = [(k, v) for k, v in reply.headers if k.lower() in ("etag", "date")]
        kept += [(k, v) for k, v in asked.headers if k.lower() == "content-encoding"]
        kept.append(("Last-Modified", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())))
        with self._lock:
            self._before[asked.key] = self._now.get(asked.key)
            new = Reply(200, "OK", tuple(kept), asked.body)
            self._now[asked.key] = new if asked.method == "PUT" else None

    def _stale(self, asked: Asked) -> Reply:
        with self._lock:
            old = self._before[asked.key]
        if old is None:
            return _error("404")
        wanted = asked.header("range")
        if not wanted:
            return old
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = len(old.body)
        start = int(first) if first else size - int(last)
        end = min(int(last) + 1 if first and last else size, size)
        if start >= size:
            return _error("416")
        which = (("Content-Range", f"bytes {start}-{end - 1}/{size}"),)
        return Reply(206, "Partial Content", old.headers + which, old.body[start:end])


_WORDS = {
    "500": ("Internal Server Error", "InternalError"),
    "503": ("Slow Down", "SlowDown"),
    "404": ("Not Found", "NoSuchKey"),
    "416": ("Requested Range Not Satisfiable", "InvalidRange"),
}


def _error(status: str) -> Reply:
    reason, code = _WORDS[status]
    body = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
    return Reply(int(status), reason, (("Content-Type", "application/xml"),), body)


def _read_request(client: socket.socket, stream: Any) -> Asked | None:
    """The next request of a connection; None at its end."""
    first = stream.readline(65536)
    if not first.strip():
        return None
    method, target, _ = first.decode("latin-1").split(" ", 2)
    headers = []
    while line := stream.readline(65536).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    given = {name.lower(): value for name, value in headers}
    if "100-continue" in given.get("expect", ""):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = stream.read(int(given.get("content-length", 0)))
    _, _, key = unquote(urlsplit(target).path).lstrip("/").partition("/")
    return Asked(method, target, key, tuple(headers), body)


def _head(reply: Reply, *more: tuple[str, str]) -> bytes:
    kept = [(k, v) for k, v in reply.headers if k.lower() not in _ENDS]
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
    lines += [f"{name}: {value}" for name, value in (*kept, *more)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _send(client: socket.socket, reply: Reply, *, method: str) -> None:
    given = {k.lower(): v for k, v in reply.headers}
    is_head = method == "HEAD"
    length = given.get("content-length", "0") if is_head else str(len(reply.body))
    body = b"" if is_head else reply.body
    client.sendall(_head(reply, ("Content-Length", length)) + body)


def _send_half(client: socket.socket, reply: Reply, *, chunked: bool) -> None:
    half = reply.body[: len(reply.body) // 2]
    if chunked:
        announced = f"{len(reply.body):x}\r\n".encode()
        client.sendall(_head(reply, ("Transfer-Encoding", "chunked")) + announced + half)
    else:
        client.sendall(_head(reply, ("Content-Length", str(len(reply.body)))) + half)
