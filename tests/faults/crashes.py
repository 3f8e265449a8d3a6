"""Clients that push, tag and delete while a server dies again and again, and what they find when it is back."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
import traceback
from collections.abc import Callable, Hashable
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs

from tests.faults.history import History, Operation
from tests.processes import RegistryServer
from tests.registry_client import Answer, RegistryClient, sha256, with_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORIES = ("crash/one", "crash/two")
TAGS = 6
#: Requests that may be answered between two crashes.
STEPS = 120
#: Names that are looked at after each crash; at the end it is all of them.
LOOKED_AT = 30
PATIENCE = 120


class Gone(Exception):
    """The connection ended before the answer did."""


@attrs.define
class Figures:
    """What happened.

    :ivar recovery: the longest that it took to be back, in seconds.
    """

    crashes: int = 0
    acknowledged: int = 0
    interrupted: int = 0
    refused: int = 0
    failed: int = 0
    recovery: float = 0
    checked: int = 0


class Crashes:
    """Lets clients work on a server, crashes it, and checks what is left.

    :param server: runs already.
    :param crash: ends the server as an accident would; it is started again by this class.
    :param rng: decides when, and what clients do.
    :param other: another server on the same storage, which clients use as well, and which does not crash.
    """

    def __init__(
        self,
        server: RegistryServer,
        crash: Callable[[], None],
        rng: random.Random,
        other: RegistryServer | None = None,
    ) -> None:
        self._server = server
        self._crash = crash
        self._rng = rng
        self._clients = [
            RegistryClient(each.host, timeout=60) for each in (server, other) if each is not None
        ]
        self._step = threading.Condition()
        self._steps = 0
        self._up = threading.Event()
        self._up.set()
        self._over = False
        self._failures: list[str] = []
        self._turns = itertools.count()
        self.history = History()
        self.figures = Figures()

    def run(self, crashes: int, clients: int) -> None:
        """Crash so often, under so many clients.

        :raises AssertionError: something was lost, or is there in part.
        """
        seeds = [self._rng.randrange(1 << 32) for _ in range(clients)]
        threads = [threading.Thread(target=self._work, args=(random.Random(seed),)) for seed in seeds]
        for thread in threads:
            thread.start()
        try:
            for _ in range(crashes):
                self._wait_for_steps(self._rng.randint(1, STEPS))
                time.sleep(self._rng.uniform(0, 0.03))
                self._up.clear()
                self._crash()
                began = time.monotonic()
                self._server.start()
                self.figures.recovery = max(self.figures.recovery, time.monotonic() - began)
                self.figures.crashes += 1
                self._up.set()
                self.look(LOOKED_AT)
        finally:
            self._over = True
            self._up.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert not self._failures, "\n".join(self._failures)
        self.look()

    @property
    def _client(self) -> RegistryClient:
        return self._clients[next(self._turns) % len(self._clients)]

    def look(self, at_most: int | None = None) -> None:
        """Fail unless what is found is what clients were told; of the last names, and some others."""
        names = self.history.names()
        if at_most is not None and len(names) > at_most:
            half = at_most // 2
            names = names[-half:] + self._rng.sample(names[:-half], half)
        for name in names:
            # Clients are at work: what is allowed when the answer comes or was when it was asked for.
            before = self.history.allowed(name)
            found = self._find(name)
            allowed = before + self.history.allowed(name)
            assert found in allowed, f"{name}: found {found!r}, which is none of {allowed!r}"
            self.figures.checked += 1
        for repository in REPOSITORIES:
            for tag in self._client.tags(repository):
                status = self._client.manifest(repository, tag).status
                deleted = None in self.history.allowed(("tag", repository, tag))
                assert status == 200 or (status == 404 and deleted), (repository, tag, status)

    def _find(self, name: Hashable) -> Any:
        assert isinstance(name, tuple)
        kind, repository, what = name
        if kind == "tag":
            answer = self._client.manifest(repository, what)
            assert answer.status in (200, 404), (name, answer)
            return sha256(answer.body) if answer.status == 200 else None
        path = f"/v2/{repository}/{kind}/{what}"
        answer = self._client.request("GET", path, headers={"Accept": MANIFEST})
        assert answer.status in (200, 404), (name, answer)
        assert answer.status == 404 or sha256(answer.body) == what, f"{name} has other bytes"
        return "there" if answer.status == 200 else None

    # What clients do.

    def _work(self, rng: random.Random) -> None:
        try:
            while not self._over:
                self._up.wait(PATIENCE)
                kind = rng.choices(["push", "tag", "untag", "remove"], [8, 6, 1, 1])[0]
                try:
                    getattr(self, f"_{kind}")(rng, rng.choice(REPOSITORIES))
                except Gone:
                    self.figures.interrupted += 1
                    # The one who crashes it may not be through yet.
                    time.sleep(0.02)
        except BaseException:
            self._failures.append(traceback.format_exc())

    def _push(self, rng: random.Random, repository: str) -> str:
        content = rng.randbytes(rng.choice([1, 100, 5000, 200_000, rng.randrange(1, 900_000)]))
        digest = sha256(content)
        operation = self.history.begin({("blobs", repository, digest): "there"})
        answer = self._send("POST", f"/v2/{repository}/blobs/uploads/")
        if answer.status == 202:
            location = self._location(answer)
            if len(content) > 1 and rng.random() < 0.5:
                half = rng.randrange(1, len(content))
                answer = self._send("PATCH", location, content[:half], {"Content-Range": f"0-{half - 1}"})
                location, content = self._location(answer), content[half:]
            answer = self._send("PUT", with_digest(location, digest), content)
        self._end(operation, answer)
        return digest

    def _tag(self, rng: random.Random, repository: str) -> None:
        config = self._push(rng, repository)
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": config,
                    "size": 1,
                },
                "layers": [],
            }
        ).encode()
        digest, tag = sha256(content), f"tag-{rng.randrange(TAGS)}"
        values = {("manifests", repository, digest): "there", ("tag", repository, tag): digest}
        operation = self.history.begin(values)
        path = f"/v2/{repository}/manifests/{tag}"
        self._end(operation, self._send("PUT", path, content, {"Content-Type": MANIFEST}))

    def _untag(self, rng: random.Random, repository: str) -> None:
        tag = f"tag-{rng.randrange(TAGS)}"
        operation = self.history.begin({("tag", repository, tag): None})
        self._end(operation, self._send("DELETE", f"/v2/{repository}/manifests/{tag}"))

    def _remove(self, rng: random.Random, repository: str) -> None:
        digest = self._push(rng, repository)
        operation = self.history.begin({("blobs", repository, digest): None})
        self._end(operation, self._send("DELETE", f"/v2/{repository}/blobs/{digest}"))

    def _end(self, operation: Operation, answer: Answer) -> None:
        if answer.status < 300:
            self.history.acknowledge(operation)
            self.figures.acknowledged += 1
        elif answer.status >= 500:
            self.history.fail(operation)
            self.figures.failed += 1
        else:
            self.history.refuse(operation)
            self.figures.refused += 1

    def _send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        try:
            answer = self._client.request(method, path, body, headers)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            raise Gone from None
        with self._step:
            self._steps += 1
            self._step.notify()
        return answer

    def _location(self, answer: Answer) -> str:
        if "Location" not in answer.headers:
            raise Gone
        parts = urlsplit(urljoin("http://x/", answer.headers["Location"]))
        return f"{parts.path}?{parts.query}"

    def _wait_for_steps(self, count: int) -> None:
        with self._step:
            goal = self._steps + count
            reached = self._step.wait_for(lambda: self._steps >= goal or bool(self._failures), PATIENCE)
        assert reached, "the clients do nothing"
        assert not self._failures, "\n".join(self._failures)
