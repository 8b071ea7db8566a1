"""A model server that answers by script: verdicts like a small Qwen3Guard-Gen, and everything that goes wrong.

Real HTTP on a real socket, one thread for each connection. What was asked is in `requests`.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What was put to the guard: the last message, or the conversation inside the prompt."""
        if "messages" in self.body:
            return str(self.body["messages"][-1]["content"])
        return str(self.body["prompt"]).rpartition("USER: ")[2].partition("<END CONVERSATION>")[0]


@dataclass(frozen=True)
class Reply:
    """What the server does with a request.

    Attributes:
        body: JSON, or raw bytes.
        delay: Seconds before anything is sent.
        drip: Seconds between any two bytes of the body.
        hang: Never answer.
        drop: Close the connection without an answer.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    hang: bool = False
    drop: bool = False


Step = Callable[[Request], Reply]


class FaultServer:
    """Answers the n-th request with the n-th step, and all further ones with the last.

    Attributes:
        requests: What was asked, in order.
        connections: How many were opened.
        most_at_once: The greatest number of requests that were under way at the same time.
        abandoned: How many requests the client left before it had the whole answer.
    """

    def __init__(self, *steps: Step) -> None:
        self._steps = steps or (good,)
        self._lock = threading.Lock()
        self._at_once = 0
        self._closing = threading.Event()
        self.requests: list[Request] = []
        self.connections = 0
        self.most_at_once = 0
        self.abandoned = 0
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_until(self, condition: Callable[[FaultServer], bool], seconds: float = 5.0) -> bool:
        """Whether `condition` comes true in time."""
        end = time.monotonic() + seconds
        while not condition(self):
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer the request that `handler` has read the head of."""
        length = int(handler.headers.get("content-length", 0))
        request = Request(
            handler.path,
            {name.lower(): value for name, value in handler.headers.items()},
            json.loads(handler.rfile.read(length)),
        )
        with self._lock:
            step = self._steps[min(len(self.requests), len(self._steps) - 1)]
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = step(request)
        gone = self._gone(handler.connection, 60.0 if reply.hang else reply.delay)
        with self._lock:
            self._at_once -= 1
        try:
            if not gone and not reply.hang and not reply.drop:
                self._send(handler, reply)
        except OSError:
            gone = True
        with self._lock:
            self.abandoned += gone
        handler.close_connection = handler.close_connection or gone or reply.hang or reply.drop

    def _gone(self, connection: socket.socket, seconds: float) -> bool:
        """Whether the client closes the connection within `seconds`, which this waits."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._closing.is_set():
            readable, _, _ = select.select([connection], [], [], min(left, 0.02))
            if readable and not connection.recv(1, socket.MSG_PEEK):
                return True
        return False

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if not reply.drip:
            handler.wfile.write(body)
            return
        for place in range(len(body)):
            handler.wfile.write(body[place : place + 1])
            if self._gone(handler.connection, reply.drip):
                raise ConnectionResetError


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the script."""


def _handler_of(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with server._lock:
                server.connections += 1

        def do_POST(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep quiet."""

    return Handler


def severity_of(text: str) -> str:
    """The rule of the good server."""
    text = text.lower()
    return "Unsafe" if "bomb" in text else "Controversial" if "knife" in text else "Safe"


def verdict_text(severity: str, *, response: bool = False) -> str:
    """What a Qwen3Guard-Gen writes."""
    category = "None" if severity == "Safe" else "Violent"
    return f"Safety: {severity}\nCategories: {category}" + ("\nRefusal: No" if response else "")


def chat(text: str | None, *, finish_reason: str = "stop", logprobs: Any = None, **message: Any) -> Reply:
    """A chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
        "logprobs": logprobs,
    }
    return Reply({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def completion(text: str, *, finish_reason: str = "length", logprobs: Any = None) -> Reply:
    """A text completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": logprobs}
    return Reply({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})


def good(request: Request) -> Reply:
    """Judges what it is asked by `severity_of`; gives no logprobs."""
    if request.path == "/v1/chat/completions":
        response = request.body["messages"][-1]["role"] == "assistant"
        return chat(verdict_text(severity_of(request.text), response=response))
    if request.path == "/v1/completions":
        if request.body["prompt"].endswith("Safety:"):
            return completion(f" {severity_of(request.text)}")
        return completion(" Violent\nRefusal: No", finish_reason="stop")
    return status(404)(request)


def always(reply: Reply) -> Step:
    """The same reply to everything."""
    return lambda _: reply


def says(text: str | None, **choice: Any) -> Step:
    """A chat completion with this text."""
    return always(chat(text, **choice))


def status(code: int, **headers: str) -> Step:
    """An error that repeats the request, as the errors of many servers do."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Reply({"error": {"message": f"bad: {json.dumps(request.body)}"}}, code, names)


def refusing(*fields: str, code: int = 400) -> Step:
    """A good server that does not take these fields."""
    return lambda request: status(code)(request) if set(fields) & request.body.keys() else good(request)


def without(path: str, code: int = 404) -> Step:
    """A good server that does not have this path."""
    return lambda request: status(code)(request) if request.path == path else good(request)


def slow(seconds: float) -> Step:
    """A good server that takes its time."""
    return lambda request: Reply(good(request).body, delay=seconds)


hang: Step = always(Reply(hang=True))
drop: Step = always(Reply(drop=True))


def drip(request: Request) -> Reply:
    """A good verdict, one byte at a time: each read is quick, and the whole takes a minute."""
    return Reply(good(request).body, drip=0.2)
