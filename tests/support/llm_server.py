"""A language-model server on a free port of 127.0.0.1, speaking the OpenAI protocol, scripted.

    with LLMServer() as server:
        server.script = lambda n, request: error(500) if n == 0 else None
        … server.url … server.chats

A script gets the number of the chat request and the request, and answers a Reply, or None for the
default answer, which is a function of the prompt alone.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, cast

MODEL = "test/model-8b"


@dataclass(frozen=True)
class ChatRequest:
    """A chat request as it came."""

    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def user(self) -> str:
        """What the user's message says."""
        return str(self.body["messages"][-1]["content"])

    @property
    def data(self) -> dict[str, Any]:
        """What stands in the fence."""
        block = self.user.partition("<transcript_data>\n")[2].partition("\n</transcript_data>")[0]
        found: dict[str, Any] = json.loads(block)
        return found


@dataclass(frozen=True)
class Reply:
    """What is sent after `wait_s`; `die` closes the connection instead, `drip_s` is per byte."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    die: bool = False
    drip_s: float = 0.0


Script = Callable[[int, ChatRequest], Reply | None]


def error(status: int, message: str = "scripted", *, code: str = "", **headers: str) -> Reply:
    """An error as OpenAI and vLLM word it; headers with `_` for `-`."""
    body = json.dumps({"error": {"message": message, "type": "scripted", "code": code or None}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, body.encode(), named)


def says(content: str | None, *, finish: str = "stop", wait_s: float = 0.0, **more: Any) -> Reply:
    """A chat answer with this content."""
    message = {"role": "assistant", "content": content, **more}
    body = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": MODEL,
        "system_fingerprint": "fp_scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return Reply(200, json.dumps(body).encode(), wait_s=wait_s)


DIE = Reply(die=True)


def default_answer(request: ChatRequest) -> str:
    """A name that is a function of what the item is, so that equal prompts get equal names."""
    word = hashlib.sha256(json.dumps(request.body["messages"]).encode()).hexdigest()[:8]
    is_theme = "topics" in request.data
    short, long = ("name", "description") if is_theme else ("label", "summary")
    return json.dumps({short: f"Matter {word}", long: f"Companies speak about matter {word} here."})


@dataclass
class LLMServer:
    """The server; a context manager that can be stopped and started again on its port."""

    script: Script | None = None
    key: str | None = None
    models: list[str] | None = field(default_factory=lambda: [MODEL])
    before_models: list[Reply] = field(default_factory=list)
    chats: list[ChatRequest] = field(default_factory=list)
    n_models_asked: int = 0
    n_at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Listen, on the port of the time before if there was one."""
        self._server = _Server(self._port, self)
        self._port = self._server.server_port
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection, as a killed process would."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def track(self, connection: socket.socket, *, is_open: bool) -> None:
        with self._lock:
            (self._open.add if is_open else self._open.discard)(connection)

    def list_models(self) -> Reply:
        with self._lock:
            self.n_models_asked += 1
            if self.before_models:
                return self.before_models.pop(0)
        if self.models is None:
            return error(404, "no such path")
        rows = [
            {"id": m, "object": "model", "created": 1700000000, "owned_by": "vllm", "root": f"/{m}"}
            for m in self.models
        ]
        return Reply(200, json.dumps({"object": "list", "data": rows}).encode())

    def chat(self, request: ChatRequest) -> Reply:
        with self._lock:
            number = len(self.chats)
            self.chats.append(request)
            self.n_at_once += 1
            self.most_at_once = max(self.most_at_once, self.n_at_once)
        try:
            reply = self.script(number, request) if self.script else None
            reply = reply or says(default_answer(request))
            time.sleep(reply.wait_s)
        finally:
            with self._lock:
                self.n_at_once -= 1
        return reply

    def allows(self, headers: Mapping[str, str]) -> bool:
        return self.key is None or headers.get("Authorization") == f"Bearer {self.key}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, owner: LLMServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def owner(self) -> LLMServer:
        return cast(_Server, self.server).owner

    def setup(self) -> None:
        super().setup()
        self.owner.track(self.connection, is_open=True)

    def finish(self) -> None:
        self.owner.track(self.connection, is_open=False)
        super().finish()

    def do_GET(self) -> None:
        if not self.owner.allows(self.headers):
            self._send(error(401, "wrong key", code="invalid_api_key"))
        elif self.path == "/v1/models":
            self._send(self.owner.list_models())
        else:
            self._send(error(404, "no such path"))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/chat/completions":
            self._send(error(404, "no such path"))
        elif not self.owner.allows(self.headers):
            self._send(error(401, "wrong key", code="invalid_api_key"))
        else:
            self._send(self.owner.chat(ChatRequest(json.loads(data), dict(self.headers))))

    def _send(self, reply: Reply) -> None:
        if reply.die:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        sent = {"Content-Type": "application/json", **reply.headers}
        for name, value in (*sent.items(), ("Content-Length", str(len(reply.body)))):
            self.send_header(name, value)
        self.end_headers()
        step = 1 if reply.drip_s else len(reply.body) or 1
        for start in range(0, len(reply.body), step):
            self.wfile.write(reply.body[start : start + step])
            self.wfile.flush()
            time.sleep(reply.drip_s)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
