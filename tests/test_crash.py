"""What was acknowledged outlives the server: it is killed at random moments while clients push and delete."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs

from tests.processes import RegistryServer
from tests.registry_client import Answer, sha256, with_digest
from tests.test_service import ProcessCase

KILLS = 12
CLIENTS = 4
PIECE = 64 * 1024
LARGEST = 1536 * 1024
#: What a client may do at most between two kills, in steps: pieces sent, requests ended.
STEPS = 500
#: Requests in a row that may be interrupted before the test gives up.
PATIENCE = 60
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Interrupted(Exception):
    """The connection ended before the answer did."""


class Gone(Exception):
    """The upload is unknown to the registry: the client begins a new one."""


class Outages:
    """Kills a server at random moments, and tells its clients when it is back.

    :param server: a server that runs.
    :param rng: decides when.
    """

    def __init__(self, server: RegistryServer, rng: random.Random) -> None:
        self._server = server
        self._rng = rng
        self._lock = threading.Lock()
        self._left = 0
        self._now = threading.Event()
        self._up = threading.Event()
        self._up.set()
        self.over = False

    def step(self) -> None:
        """Count one more thing that a client did."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._now.set()

    def give_up(self) -> None:
        """Kill no more: a client has failed."""
        self.over = True
        self._now.set()

    def wait_until_up(self) -> None:
        """Return when the server runs."""
        if not self._up.wait(60):
            raise AssertionError("the server did not come back")

    def run(self, kills: int) -> None:
        """Kill the server and start it again, *kills* times."""
        for _ in range(kills):
            with self._lock:
                self._left = self._rng.randint(1, STEPS)
            if not self._now.wait(60):
                raise AssertionError("the clients do nothing")
            if self.over:
                break
            # A step ends with a request sent or answered; the moment to look for may be a little later.
            time.sleep(self._rng.uniform(0, 0.02))
            self._now.clear()
            self._up.clear()
            self._server.kill()
            self._server.start()
            self._up.set()
        self.over = True


@attrs.define
class Known:
    """What a client was told of its repository, and so what must be true whenever it looks.

    :param blobs: the content of each digest that was ever pushed; None once it was deleted.
    :param manifests: the same of manifests.
    :param tags: what each tag points to; None once it was deleted.
    :param doubtful: digests and tags of which a request has not been answered yet.
    """

    blobs: dict[str, bytes | None] = attrs.field(factory=dict)
    manifests: dict[str, bytes | None] = attrs.field(factory=dict)
    tags: dict[str, str | None] = attrs.field(factory=dict)
    doubtful: set[str] = attrs.field(factory=set)


class Client:
    """Pushes and deletes in a repository of its own, each time until it is told how that ended.

    :param outages: says when the server is back.
    :param host: where it is.
    :param repository: what no one else writes to.
    :param rng: decides what is done.
    """

    def __init__(self, outages: Outages, host: str, repository: str, rng: random.Random) -> None:
        self._outages = outages
        self._host = host
        self._repository = repository
        self._rng = rng
        self.known = Known()
        self.counts: dict[str, int] = {}

    def run(self) -> None:
        """Work until the outages are over."""
        while not self._outages.over:
            work = self._rng.choices(
                [self._push, self._tag, self._delete_blob, self._delete_manifest, self._delete_tag],
                [10, 6, 1, 1, 2],
            )[0]
            work()

    # What a client does.

    def _push(self) -> None:
        size = self._rng.choice([0, 1, 2, 1000, PIECE, self._rng.randint(2, LARGEST), LARGEST])
        # Few seeds for small blobs: the same content comes again, and from several repositories.
        seed = self._rng.randrange(3 if size < PIECE else 1 << 30)
        content = random.Random(f"{seed}:{size}").randbytes(size)
        algorithm = self._rng.choice(["sha256", "sha256", "sha512"])
        digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
        self.known.doubtful.add(digest)
        for _ in range(PATIENCE):
            try:
                if self._rng.random() < 0.2:
                    self._single_post(content, digest)
                else:
                    self._upload(content, digest)
                break
            except Interrupted:
                self._count("interrupted")
                self._look_after_outage()
            except Gone:
                self._count("gone")
                # Its PUT may have come through, or not: what is there is right in any case.
                answer = self._persist("GET", f"blobs/{digest}")
                assert answer.status in (200, 404), answer
                assert answer.status == 404 or answer.body == content, f"{digest} has other bytes"
        else:
            raise AssertionError("an upload never came to an end")
        assert self._persist("GET", f"blobs/{digest}").body == content, f"{digest} has other bytes"
        self.known.blobs[digest] = content
        self.known.doubtful.discard(digest)
        self._count("pushed")

    def _single_post(self, content: bytes, digest: str) -> None:
        answer = self._send("POST", with_digest(self._path("blobs/uploads/"), digest), content)
        assert answer.status == 201, answer

    def _upload(self, content: bytes, digest: str) -> None:
        algorithm = digest.partition(":")[0]
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        answer = self._send("POST", self._path(f"blobs/uploads/{query}"), b"")
        assert answer.status == 202, answer
        location, acknowledged, closing = self._location(answer), 0, False
        offset, unsure = 0, False
        for _ in range(PATIENCE):
            last, end = (
                self._rng.random() < 0.3,
                self._rng.randint(min(offset + 2, len(content)), len(content)),
            )
            if last or offset == len(content):
                method, path, end = "PUT", with_digest(location, digest), len(content)
            else:
                method, path = "PATCH", location
            try:
                answer = self._send(method, path, content[offset:end], offset, ranged=unsure)
            except Interrupted:
                self._count("interrupted")
                closing = closing or method == "PUT"
                self._look_after_outage()
                location, offset = self._resume(location, acknowledged, closing, content)
                # "0-0" is said of an upload of one byte and of one without any: its range keeps a chunk apart.
                unsure = offset == 0
                continue
            if answer.status == 404 and closing:
                raise Gone
            if answer.status == 416 and unsure:
                assert answer.headers["Range"] == "0-0", answer.headers["Range"]
                location, offset, unsure = self._location(answer), 1, False
                continue
            if answer.status == 201:
                assert method == "PUT", answer
                return
            assert (method, answer.status) == ("PATCH", 202), (method, offset, end, answer)
            assert answer.headers["Range"] == f"0-{end - 1}", (answer.headers["Range"], end)
            location, acknowledged, offset = self._location(answer), end, end
            self._count("chunks")
        raise AssertionError("an upload never came to an end")

    def _resume(self, location: str, acknowledged: int, closing: bool, content: bytes) -> tuple[str, int]:
        answer = self._persist("GET", location)
        if answer.status == 404:
            assert closing, "an upload that was not being closed is gone"
            raise Gone
        assert answer.status == 204, answer
        found = re.fullmatch(r"0-(\d+)", answer.headers["Range"])
        assert found is not None, answer.headers["Range"]
        stored = int(found[1]) + 1
        if stored == 1 and acknowledged == 0:
            stored = 0
        assert stored >= acknowledged, f"{acknowledged} bytes were acknowledged, {stored} are stored"
        assert stored <= len(content), "more is stored than was sent"
        self._count("resumed" if stored else "resumed at 0")
        return self._location(answer), stored

    def _tag(self) -> None:
        there = [digest for digest, content in self.known.blobs.items() if content is not None]
        if not there:
            return
        config = self._rng.choice(there)
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": config,
                    "size": len(self.known.blobs[config] or b""),
                },
                "layers": [],
                "annotations": {"number": str(self._rng.randrange(1000))},
            }
        ).encode()
        digest, tag = sha256(content), f"tag-{self._rng.randrange(12)}"
        self.known.doubtful |= {digest, tag}
        answer = self._persist("PUT", f"manifests/{tag}", content, {"Content-Type": MANIFEST})
        assert answer.status == 201, answer
        self.known.manifests[digest] = content
        self.known.tags[tag] = digest
        self.known.doubtful -= {digest, tag}
        self._count("tagged")

    def _delete_blob(self) -> None:
        self._delete("blobs", self.known.blobs)

    def _delete_tag(self) -> None:
        self._delete("manifests", self.known.tags)

    def _delete_manifest(self) -> None:
        deleted = self._delete("manifests", self.known.manifests)
        for tag, digest in self.known.tags.items():
            if digest == deleted and digest is not None:
                self.known.tags[tag] = None
                self.known.doubtful.discard(tag)

    def _delete(self, kind: str, known: dict[str, Any]) -> str | None:
        there = [name for name, value in known.items() if value is not None]
        if not there:
            return None
        name = self._rng.choice(there)
        pointing = {tag for tag, digest in self.known.tags.items() if digest == name}
        self.known.doubtful |= {name, *pointing}
        tries: list[int] = []
        answer = self._persist("DELETE", f"{kind}/{name}", tries=tries)
        # The deletion that was interrupted may have been done.
        assert answer.status == 202 or (answer.status == 404 and len(tries) > 1), answer
        known[name] = None
        self.known.doubtful.discard(name)
        self._count("deleted")
        return name

    # What must be true.

    def look(self, at_most: int | None = None) -> None:
        """Compare what is there with what this client was told.

        :param at_most: how many blobs and manifests are looked at; all of them if not given.
        """
        known = self.known
        for kind, contents in ("blobs", known.blobs), ("manifests", known.manifests):
            names = [name for name in contents if name not in known.doubtful]
            for name in names if at_most is None else self._rng.sample(names, min(at_most, len(names))):
                answer = self._send("GET", self._path(f"{kind}/{name}"))
                content = contents[name]
                if content is None:
                    assert answer.status == 404, f"{name} was deleted: {answer.status}"
                else:
                    assert (answer.status, answer.body == content) == (200, True), f"{name}: {answer}"
        answer = self._send("GET", self._path("tags/list"))
        listed = answer.json()["tags"] if answer.status == 200 else []
        told = {tag for tag, digest in known.tags.items() if digest is not None}
        assert set(listed) - known.doubtful == told - known.doubtful, (listed, told, known.doubtful)
        for tag in listed:
            answer = self._send("GET", self._path(f"manifests/{tag}"))
            assert answer.status == 200, f"{tag} is listed, and is {answer.status}"
            if tag not in known.doubtful:
                assert answer.headers["Docker-Content-Digest"] == known.tags[tag], tag

    def _look_after_outage(self) -> None:
        for _ in range(PATIENCE):
            self._outages.wait_until_up()
            with contextlib.suppress(Interrupted):
                return self.look(at_most=5)
        raise AssertionError("the server is never up for long enough")

    # Requests.

    def _path(self, below: str) -> str:
        return f"/v2/{self._repository}/{below}"

    def _location(self, answer: Answer) -> str:
        parts = urlsplit(urljoin(f"http://{self._host}/", answer.headers["Location"]))
        return f"{parts.path}?{parts.query}"

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _persist(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        tries: list[int] | None = None,
    ) -> Answer:
        """Send a request until it is answered."""
        path = path if path.startswith("/") else self._path(path)
        for number in range(PATIENCE):
            if tries is not None:
                tries.append(number)
            try:
                return self._send(method, path, body, headers=headers)
            except Interrupted:
                self._count("interrupted")
                self._look_after_outage()
        raise AssertionError(f"{method} {path} is never answered")

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        offset: int | None = None,
        headers: dict[str, str] | None = None,
        ranged: bool = False,
    ) -> Answer:
        """Send a request piece by piece, its body in one of the forms that there are.

        :param offset: where the body belongs in an upload.
        :param ranged: whether to say so in any case.
        """
        with contextlib.closing(http.client.HTTPConnection(self._host, timeout=60)) as connection:
            try:
                connection.putrequest(method, path)
                for name, value in (headers or {}).items():
                    connection.putheader(name, value)
                chunked = offset is not None and bool(body) and self._rng.random() < 0.4
                if body and offset is not None and (ranged or self._rng.random() < 0.6):
                    connection.putheader("Content-Range", f"{offset}-{offset + len(body) - 1}")
                if chunked:
                    connection.putheader("Transfer-Encoding", "chunked")
                elif body is not None:
                    connection.putheader("Content-Length", str(len(body)))
                connection.endheaders()
                for piece in self._pieces(body or b""):
                    connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    self._outages.step()
                if chunked:
                    connection.send(b"0\r\n\r\n")
                self._outages.step()
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                raise Interrupted from None
        self._outages.step()
        assert answer.status < 500, f"{method} {path}: {answer}"
        return answer

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(body):
            size = self._rng.randint(1, PIECE)
            yield body[start : start + size]
            start += size


class CrashTests(ProcessCase):
    """SIGKILL, again and again."""

    def test_kills(self) -> None:
        """However often the server is killed, what it acknowledged is there, and uploads end in right blobs."""
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"TXREGISTRY_SEED={seed}")
        server = self.server()
        server.start()
        outages = Outages(server, random.Random(f"{seed} outages"))
        clients = [
            Client(outages, server.host, f"crash/client-{number}", random.Random(f"{seed} {number}"))
            for number in range(CLIENTS)
        ]
        failures: list[str] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException:
                failures.append(traceback.format_exc())
                outages.give_up()

        threads = [threading.Thread(target=guarded, args=(client.run,)) for client in clients]
        for thread in threads:
            thread.start()
        guarded(lambda: outages.run(KILLS))
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [], f"TXREGISTRY_SEED={seed}:\n" + "\n".join(failures) + server.log())
        for client in clients:
            client.look()
        print([client.counts for client in clients])
        self.assertEqual(server.log(), "")
        server.stop()
        self.assert_whole(server.data)

    def assert_whole(self, data: str) -> None:
        """Check that every file under a final name is what its name says, and every link leads to one."""
        root = f"{data}/docker/registry/v2"
        stored = set()
        for path in files(f"{root}/blobs"):
            algorithm, _, encoded, name = os.path.relpath(path, f"{root}/blobs").split("/")
            self.assertEqual(name, "data", path)
            with open(path, "rb") as file:
                self.assertEqual(hashlib.file_digest(file, algorithm).hexdigest(), encoded, path)
            stored.add(f"{algorithm}:{encoded}")
        self.assertTrue(stored)
        for path in files(f"{root}/repositories"):
            if os.path.basename(path) == "link":
                with open(path) as file:
                    self.assertIn(file.read(), stored, path)


def files(directory: str) -> Iterator[str]:
    """Return the paths of all files below a directory."""
    for parent, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(parent, name)
