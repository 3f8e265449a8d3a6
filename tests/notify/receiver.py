"""A receiver of webhooks, over a real socket, that can be made to fail."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 60


class _Server(ThreadingHTTPServer):
    """Says nothing of connections that break: the tests break them."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class Receiver:
    """Takes events, or does what *misbehave* says.

    :ivar events: what was taken, in order.
    :ivar tried: what was sent, taken or not.
    :ivar misbehave: returns the status to answer with for an event.
    :ivar keeps: whether connections are kept for the next event.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.tried: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.misbehave = lambda event: 200
        self.keeps = True
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/events"

    def start(self) -> None:
        """Listen; the second time where it did the first time."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver._take(body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if not receiver.keeps:
                    self.send_header("Connection", "close")
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def wait(self, count: int, tried: bool = False) -> list[Any]:
        """Return the first *count* events, when there are so many."""
        with self._changed:
            listed = self.tried if tried else self.events
            assert self._changed.wait_for(lambda: len(listed) >= count, PATIENCE), (len(listed), count)
            return listed[:count]

    def _take(self, body: bytes, headers: dict[str, str]) -> int:
        document = json.loads(body)
        event = document["events"][0] if "events" in document else document
        with self._changed:
            status = self.misbehave(event)
            self.tried.append(event)
            self.headers.append(headers)
            if status < 300:
                self.events.append(event)
            self._changed.notify_all()
        return status
