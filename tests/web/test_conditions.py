"""Conditional requests for manifests (RFC 9110, 13)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.content.case import SlowDriver
from tests.web.client import OCI_MANIFEST, Answer, Server, image
from txregistry.content import layout
from txregistry.digest import Digest
from txregistry.storage.memory import MemoryDriver

ABSENT = Digest.of(b"never pushed")


class ConditionCase(SynchronousTestCase):
    """A repository with images that differ."""

    def setUp(self) -> None:
        self.server = Server()
        self.fill(self.server)

    def fill(self, server: Server) -> None:
        """Push what the images need."""
        config = server.push_blob("a", b"{}")
        self.contents = [image(config, annotations={"n": str(number)}) for number in range(12)]
        self.digests = [Digest.of(content) for content in self.contents]

    def target(self, tag: str = "1") -> str | None:
        """Return the digest that a tag leads to; None if there is no such tag."""
        return self.server.request("HEAD", f"/v2/a/manifests/{tag}").headers["Docker-Content-Digest"]

    def put(self, number: int, reference: object = "1", /, **conditions: str) -> int:
        """Push an image; return the answer's status."""
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        answer = self.server.request(
            "PUT",
            f"/v2/a/manifests/{reference}",
            self.contents[number],
            {"Content-Type": OCI_MANIFEST, **headers},
        )
        if answer.status != 201:
            self.assertEqual(answer.codes, ["UNSUPPORTED"])
        return answer.status

    def assert_not_stored(self, number: int) -> None:
        """Fail unless nothing is stored of an image."""
        path = f"/v2/a/manifests/{self.digests[number]}"
        self.assertEqual(self.server.request("GET", path).status, 404)


class ReadTests(ConditionCase):
    """``GET`` and ``HEAD`` of a manifest."""

    def get(self, name: str, value: str, method: str = "GET") -> Answer:
        """Ask for a tag under a condition."""
        return self.server.request(method, "/v2/a/manifests/1", headers={name: value})

    def test_known(self) -> None:
        """A client that has the content is told so, in whatever form it says it."""
        self.put(0)
        digest = self.digests[0]
        for value in (
            f'"{digest}"',
            f'W/"{digest}"',
            str(digest),
            f'"{ABSENT}", "{digest}"',
            f'"{digest}","x"',
            "*",
        ):
            for method in ("GET", "HEAD"):
                answer = self.get("If-None-Match", value, method)
                self.assertEqual((answer.status, answer.body), (304, b""), value)
                self.assertEqual(answer.headers["ETag"], f'"{digest}"')

    def test_not_known(self) -> None:
        """A client that has other content, or nothing, gets it."""
        self.put(0)
        for value in (f'"{ABSENT}"', "", '""', f'"{self.digests[0]}x"', '"*"', str(self.digests[0])[:-1]):
            answer = self.get("If-None-Match", value)
            self.assertEqual((answer.status, answer.body), (200, self.contents[0]), value)

    def test_wanted(self) -> None:
        """A client that wants this content and no other gets it, or 412."""
        self.put(0)
        for value in (f'"{self.digests[0]}"', "*", f'"{ABSENT}", "{self.digests[0]}"'):
            self.assertEqual(self.get("If-Match", value).body, self.contents[0])
        for value in (f'"{ABSENT}"', "", '"*"'):
            self.assertEqual(self.get("If-Match", value).status, 412, value)

    def test_unknown(self) -> None:
        """What is not there is 404, whatever the condition."""
        for name in ("If-Match", "If-None-Match"):
            for value in ("*", f'"{ABSENT}"'):
                self.assertEqual(self.get(name, value).status, 404)


class WriteTests(ConditionCase):
    """``PUT`` of a manifest."""

    def test_compare_and_set(self) -> None:
        """A tag is moved only if it leads where the client thinks; else 412, and nothing is stored."""
        self.put(0)
        self.assertEqual(self.put(1, If_Match=f'"{self.digests[0]}"'), 201)
        self.assertEqual(self.target(), str(self.digests[1]))
        self.assertEqual(self.put(2, If_Match=f'"{self.digests[0]}"'), 412)
        self.assertEqual(self.target(), str(self.digests[1]))
        self.assert_not_stored(2)

    def test_etag_of_an_answer(self) -> None:
        """What a GET or HEAD gives as ETag is what If-Match takes."""
        self.put(0)
        for number, method in ((1, "GET"), (2, "HEAD")):
            tag = self.server.request(method, "/v2/a/manifests/1").headers["ETag"]
            self.assertEqual(self.put(number, If_Match=tag), 201)
            self.assertEqual(self.target(), str(self.digests[number]))

    def test_forms(self) -> None:
        """Lists, bare digests and an asterisk are understood; an asterisk in quotation marks is none."""
        self.put(0)
        current = self.digests[0]
        for value in (f'"{ABSENT}", "{current}"', f'"{current}",', str(current), "*", " * "):
            self.assertEqual(self.put(0, If_Match=value), 201, value)
        for value in ('"*"', "", '""', f'"{ABSENT}"', f'"{current}x"', str(current)[:-1], "sha256"):
            self.assertEqual(self.put(1, If_Match=value), 412, value)
        self.assertEqual(self.target(), str(current))

    def test_several_lines(self) -> None:
        """A list may be spread over several lines of the header."""
        self.put(0)
        for name, status in (("If-Match", 201), ("If-None-Match", 412)):
            channel, transport = self.server.connect()
            lines = "".join(f'{name}: "{digest}"\r\n' for digest in (ABSENT, self.digests[0], ABSENT))
            channel.dataReceived(
                f"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n{lines}"
                f"Content-Length: {len(self.contents[0])}\r\n\r\n".encode()
                + self.contents[0]
            )
            self.assertIn(f" {status} ".encode(), transport.value().splitlines()[0])

    def test_nothing_there(self) -> None:
        """Where there is no such tag If-Match does not hold, even with an asterisk."""
        for value in ("*", f'"{self.digests[0]}"', f'"{ABSENT}"'):
            self.assertEqual(self.put(0, If_Match=value), 412)
            self.assertIsNone(self.target())
        self.assert_not_stored(0)

    def test_creation(self) -> None:
        """With If-None-Match and an asterisk a tag is made, and never moved."""
        self.assertEqual(self.put(0, If_None_Match="*"), 201)
        for number in (0, 1):
            self.assertEqual(self.put(number, If_None_Match="*"), 412)
        self.assertEqual(self.target(), str(self.digests[0]))
        self.assert_not_stored(1)
        self.assertEqual(self.put(1, "2", If_None_Match="*"), 201)

    def test_unless(self) -> None:
        """With If-None-Match and a digest a tag is moved from anywhere but there."""
        self.put(0)
        self.assertEqual(self.put(1, If_None_Match=f'"{self.digests[0]}"'), 412)
        self.assertEqual(self.put(1, If_None_Match=f'"{ABSENT}"'), 201)
        self.assertEqual(self.target(), str(self.digests[1]))
        self.assertEqual(self.put(2, "new", If_None_Match=f'"{ABSENT}"'), 201)

    def test_both(self) -> None:
        """Where both conditions are given both must hold."""
        self.put(0)
        here = f'"{self.digests[0]}"'
        self.assertEqual(self.put(1, If_Match=here, If_None_Match="*"), 412)
        self.assertEqual(self.put(1, If_Match=here, If_None_Match=f'"{ABSENT}"'), 201)

    def test_after_deletion(self) -> None:
        """A tag that was deleted, alone or with its manifest, can be created again and not be moved."""
        for deleted in ("1", str(self.digests[0])):
            self.assertEqual(self.put(0, If_None_Match="*"), 201)
            self.assertEqual(self.server.request("DELETE", f"/v2/a/manifests/{deleted}").status, 202)
            self.assertEqual(self.put(1, If_Match=f'"{self.digests[0]}"'), 412)

    def test_by_digest(self) -> None:
        """A manifest that is pushed by digest is what is compared: it is there or not."""
        digest = self.digests[0]
        self.assertEqual(self.put(0, digest, If_Match="*"), 412)
        self.assertEqual(self.put(0, digest, If_None_Match="*"), 201)
        self.assertEqual(self.put(0, digest, If_None_Match="*"), 412)
        self.assertEqual(self.put(0, digest, If_None_Match=f'"{digest}"'), 412)
        self.assertEqual(self.put(0, digest, If_Match=f'"{digest}"'), 201)

    def test_with_tags(self) -> None:
        """When the condition does not hold none of the tags of a push by digest is made."""
        self.put(0)
        self.assertEqual(self.put(0, f"{self.digests[0]}?tag=1&tag=2", If_None_Match="*"), 412)
        self.assertEqual(self.server.request("GET", "/v2/a/tags/list").json()["tags"], ["1"])

    def test_refused_anyway(self) -> None:
        """A condition that holds does not let through what is refused without it."""
        path = "/v2/a/manifests/1"
        for condition in ({"If-None-Match": "*"}, {}):
            headers = {"Content-Type": OCI_MANIFEST, **condition}
            answer = self.server.request("PUT", path, image(ABSENT), headers)
            self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_BLOB_UNKNOWN"]))

    def test_damaged(self) -> None:
        """A tag that cannot be pulled counts as absent, so that a client can create it anew."""
        driver = self.server.driver
        assert isinstance(driver, MemoryDriver)
        for path in (layout.tag_link("a", "1"), layout.revision_link("a", self.digests[0])):
            self.put(0)
            self.successResultOf(Deferred.fromCoroutine(driver.write(path, b"")))
            self.assertIsNone(self.target())
            self.assertEqual(self.put(0, If_Match="*"), 412)
            self.assertEqual(self.put(0, If_None_Match="*"), 201)
            self.assertEqual(self.target(), str(self.digests[0]))


class RaceTests(ConditionCase):
    """Many writers at once, over a storage that answers in any order."""

    def race(self, conditions: Sequence[tuple[str, str]], seed: int) -> list[int]:
        """Push an image on each condition at once, all to one tag; return the statuses."""
        driver = self.server.driver
        assert isinstance(driver, SlowDriver)
        driver.slow = True
        transports = []
        for content, (name, value) in zip(self.contents[1:], conditions, strict=False):
            channel, transport = self.server.connect()
            head = f"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
            head += f"{name}: {value}\r\nContent-Length: {len(content)}\r\n\r\n"
            channel.dataReceived(head.encode() + content)
            transports.append(transport)
        self.assertEqual([transport.value() for transport in transports], [b""] * len(conditions))
        driver.finish(random.Random(seed))
        return [int(transport.value().split()[1]) for transport in transports]

    def test_one_wins(self) -> None:
        """Of any number of writers that found the same, exactly one moves the tag, or creates it."""
        for seed in range(12):
            for condition in ("If-Match", "If-None-Match"):
                self.server = Server(driver=SlowDriver())
                self.fill(self.server)
                value = "*"
                if condition == "If-Match":
                    self.put(0)
                    value = f'"{self.digests[0]}"'
                statuses = self.race([(condition, value)] * 10, seed)
                self.assertEqual(sorted(statuses), [201] + [412] * 9)
                winner = self.digests[1 + statuses.index(201)]
                self.assertEqual(self.target(), str(winner))
                for number, status in enumerate(statuses, 1):
                    if status == 412:
                        self.assert_not_stored(number)

    def test_chain(self) -> None:
        """Each of the writers that won found what the one before it left."""
        for seed in range(12):
            self.server = Server(driver=SlowDriver())
            self.fill(self.server)
            self.put(0)
            chain = [("If-Match", f'"{digest}"') for digest in self.digests[:10]]
            statuses = self.race(chain, seed)
            wins = statuses.count(201)
            self.assertEqual(statuses, [201] * wins + [412] * (10 - wins))
            self.assertGreater(wins, 0)
            self.assertEqual(self.target(), str(self.digests[wins]))
