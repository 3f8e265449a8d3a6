"""The part of Cloud Storage's JSON API that the driver uses, with the conditions that no emulator keeps.

It does what Google's reference says: each object has a generation, which a new content changes, and a metageneration,
which new metadata change; a request whose conditions do not hold changes nothing and is answered with 412.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import define

_OBJECTS = "/storage/v1/b/registry/o"
_REWRITE = re.compile(r"(.*)/rewriteTo/b/registry/o/(.*)")


@define
class Stored:
    """An object."""

    content: bytes
    kind: str
    generation: int
    metageneration: int = 1
    updated: float = 0.0
    composed: bool = False

    def about(self, key: str) -> dict[str, Any]:
        """Return the resource."""
        found = {
            "name": key,
            "size": str(len(self.content)),
            "contentType": self.kind,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "updated": datetime.fromtimestamp(self.updated, UTC).isoformat(timespec="milliseconds"),
        }
        # What was composed has no MD5.
        return found if self.composed else {**found, "md5Hash": md5_of(self.content)}


class Failed(Exception):
    """A request gets another answer than it wanted."""


def md5_of(content: bytes) -> str:
    """Return an MD5 as the API spells it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


class Objects:
    """A bucket."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._stored: dict[str, Stored] = {}
        self._count = 1000

    def put(self, key: str, content: bytes, kind: str, query: dict[str, str], composed: bool = False) -> Any:
        """Make an object."""
        self._require(key, query)
        self._count += 1
        self._stored[key] = Stored(content, kind, self._count, 1, time.time(), composed)
        return self._stored[key].about(key)

    def find(self, key: str, query: dict[str, str]) -> Stored:
        """Return an object that is as the conditions want it."""
        if key not in self._stored:
            raise Failed(404)
        self._require(key, query)
        return self._stored[key]

    def touch(self, key: str, query: dict[str, str]) -> Any:
        """Change metadata."""
        found = self.find(key, query)
        found.metageneration, found.updated = found.metageneration + 1, time.time()
        return found.about(key)

    def delete(self, key: str, query: dict[str, str]) -> Any:
        """Remove an object."""
        self.find(key, query)
        del self._stored[key]
        return {}

    def listing(self, query: dict[str, str]) -> Any:
        """Return a page, which begins after the token."""
        prefix, limit = query.get("prefix", ""), int(query.get("maxResults", 1000))
        entries: dict[str, Any] = {}
        for key in sorted(self._stored):
            if not key.startswith(prefix) or key < query.get("startOffset", ""):
                continue
            below, slash, _ = key[len(prefix) :].partition("/")
            folder = bool(slash) and query.get("delimiter") == "/"
            name = prefix + below + "/" if folder else key
            entries[name] = None if folder else self._stored[key].about(key)
        names = [name for name in entries if name > query.get("pageToken", "")]
        page: dict[str, Any] = {
            "prefixes": [name for name in names[:limit] if entries[name] is None],
            "items": [entries[name] for name in names[:limit] if entries[name] is not None],
        }
        return page | ({"nextPageToken": names[limit - 1]} if len(names) > limit else {})

    def _require(self, key: str, query: dict[str, str]) -> None:
        found = self._stored.get(key)
        generation = 0 if found is None else found.generation
        metageneration = 0 if found is None else found.metageneration
        if (
            int(query.get("ifGenerationMatch", generation)) != generation
            or int(query.get("ifMetagenerationMatch", metageneration)) != metageneration
        ):
            raise Failed(412)


class Requests(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects: Objects

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def answer(self) -> None:
        """Answer one."""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.objects.lock:
                found = self._found(parts.path, query, body)
        except Failed as error:
            self._send(error.args[0], {}, b"{}")
            return
        if isinstance(found, Stored):
            self._send_content(found)
        else:
            self._send(200, {"Content-Type": "application/json"}, json.dumps(found).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def _found(self, place: str, query: dict[str, str], body: bytes) -> Any:
        objects = self.objects
        if place == f"/upload{_OBJECTS}":
            return self._upload(query, body)
        if place == _OBJECTS:
            return objects.listing(query)
        if not place.startswith(f"{_OBJECTS}/"):
            raise Failed(404)
        name = place[len(_OBJECTS) + 1 :]
        if self.command == "POST":
            if rewrite := _REWRITE.fullmatch(name):
                source = objects.find(unquote(rewrite[1]), {})
                return {
                    "done": True,
                    "resource": objects.put(
                        unquote(rewrite[2]), source.content, source.kind, {}, source.composed
                    ),
                }
            wanted = json.loads(body)
            if len(wanted["sourceObjects"]) > 32:
                raise Failed(400)
            content = b"".join(objects.find(one["name"], {}).content for one in wanted["sourceObjects"])
            key = unquote(name.removesuffix("/compose"))
            return objects.put(key, content, wanted["destination"]["contentType"], query, composed=True)
        key = unquote(name)
        if self.command == "PATCH":
            return objects.touch(key, query)
        if self.command == "DELETE":
            return objects.delete(key, query)
        found = objects.find(key, query)
        return found if query.get("alt") == "media" else found.about(key)

    def _upload(self, query: dict[str, str], body: bytes) -> Any:
        boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].encode()
        _, about, rest = body.split(boundary + b"\r\n", 2)
        wanted = json.loads(about.partition(b"\r\n\r\n")[2])
        content = rest.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n" + boundary + b"--\r\n")
        if wanted["md5Hash"] != md5_of(content):
            raise Failed(400)
        return self.objects.put(wanted["name"], content, wanted["contentType"], query)

    def _send_content(self, found: Stored) -> None:
        headers = {
            "Content-Type": found.kind,
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": str(found.metageneration),
            "Last-Modified": self.date_time_string(int(found.updated)),
        }
        if not found.composed:
            headers["X-Goog-Hash"] = f"md5={md5_of(found.content)}"
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(200, headers, found.content)
            return
        start, size = int(wanted.removeprefix("bytes=").removesuffix("-")), len(found.content)
        if start >= size:
            self._send(416, {}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._send(206, headers, found.content[start:])

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        # Whoever asked may be gone.
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(content)


@functools.cache
def bench() -> int:
    """Return the port on 127.0.0.1 of a bucket, which is a process of its own, started if need be."""
    process = subprocess.Popen(
        [sys.executable, "-m", "txregistry_gcs.test.bench"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )

    def stop() -> None:
        process.kill()
        process.wait()

    atexit.register(stop)
    assert process.stdout is not None
    with process.stdout:
        return int(process.stdout.readline())


def main() -> None:
    """Serve a bucket, and say on which port."""
    ours = type("OurRequests", (Requests,), {"objects": Objects()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), ours)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
