"""Many clients at once, over real sockets: never a 5xx, and what was answered is true."""

from __future__ import annotations

import collections
import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from tests.processes import RegistryServer
from tests.registry_client import Answer, Blob, RegistryClient, sha256, with_digest
from tests.test_service import ProcessCase, image

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class ConcurrencyCase(ProcessCase):
    """A server, and clients in threads."""

    server_process: RegistryServer
    client: RegistryClient

    def setUp(self) -> None:
        super().setUp()
        self.server_process = self.server()
        self.server_process.start()
        self.client = RegistryClient(self.server_process.host, timeout=60)

    def tearDown(self) -> None:
        self.assertEqual(self.server_process.log(), "", "the server had something to complain of")

    def many(self, count: int, work: Callable[[int], Any]) -> list[Any]:
        """Do *work* in *count* threads, each with its number."""
        return self.together(*(partial(work, number) for number in range(count)))

    def while_going_on(self, work: Sequence[Callable[[], Any]], looking: Callable[[], Any]) -> None:
        """Do *work* in threads, and *looking* again and again until the last of it has ended."""
        left = len(work)
        lock = threading.Lock()

        def counted(one: Callable[[], Any]) -> None:
            nonlocal left
            try:
                one()
            finally:
                with lock:
                    left -= 1

        def look() -> None:
            while left:
                looking()
            looking()

        self.together(look, *(partial(counted, one) for one in work))

    def expect(self, statuses: Sequence[int], answer: Answer) -> Answer:
        """Fail unless an answer has one of those statuses."""
        self.assertIn(answer.status, statuses, answer.body)
        return answer

    def put_manifest(self, name: str, reference: str, manifest: dict[str, Any]) -> Answer:
        """Push a manifest, whatever comes of it."""
        content = json.dumps(manifest).encode()
        return self.client.request(
            "PUT", f"/v2/{name}/manifests/{reference}", content, {"Content-Type": MANIFEST}
        )

    def pages(self, path: str, key: str) -> list[str]:
        """Follow the links of a listing to its end; check each page, and return all of them together."""
        names: list[str] = []
        next_path: str | None = path
        while next_path is not None:
            answer = self.client.request("GET", next_path)
            self.assertEqual(answer.status, 200, answer.body)
            page = answer.json()[key]
            self.assertEqual(page, sorted(page))
            self.assertTrue(not names or not page or names[-1] < page[0], (names[-1:], page[:1]))
            names += page
            link = answer.headers["Link"]
            next_path = None if link is None else link.removeprefix("<").removesuffix('>; rel="next"')
        self.assertEqual(len(names), len(set(names)))
        return names


class PushTests(ConcurrencyCase):
    """The same thing from many sides."""

    def test_same_blob(self) -> None:
        """Twenty clients that push the same blob at once all succeed, and it is whole."""
        blob = Blob(7, 1 << 20)
        self.many(20, lambda number: self.client.push_blob("a", blob, chunked=bool(number % 2)))
        self.assertEqual(self.client.measure_blob("a", blob.digest), (blob.digest, blob.size))

    def test_same_tag(self) -> None:
        """A tag that twenty clients move at once points to one of their manifests, whole."""
        config = self.client.push_bytes("a", b"{}")

        def move(number: int) -> str:
            manifest = image(config, annotations={"number": str(number)})
            return self.client.push_manifest("a", "latest", manifest)

        pushed = self.many(20, move)
        self.assertEqual(len(set(pushed)), 20)
        answer = self.client.manifest("a", "latest")
        self.assertEqual(answer.status, 200)
        self.assertIn(answer.headers["Docker-Content-Digest"], pushed)
        self.assertEqual(sha256(answer.body), answer.headers["Docker-Content-Digest"])


class UploadTests(ConcurrencyCase):
    """One upload, and more than one who wants something of it."""

    def test_two_writers(self) -> None:
        """Of two clients that write to one upload one is told so; its bytes are the other's, in one piece."""
        outcomes = collections.Counter()
        contents = [bytes([number]) * 900_000 for number in (1, 2)]
        for number in range(20):
            path = self.client.begin_upload("a")
            ranged = {"Content-Range": "0-899999"} if number % 2 else {}
            answers = self.together(
                *(partial(self.client.request, "PATCH", path, content, ranged) for content in contents)
            )
            statuses = [answer.status for answer in answers]
            outcomes[tuple(sorted(statuses))] += 1
            self.assertEqual(statuses.count(202), 1, statuses)
            self.assertTrue(set(statuses) <= {202, 409, 416}, statuses)
            content = contents[statuses.index(202)]
            status = self.client.expect(204, "GET", path)
            self.assertEqual(status.headers["Range"], "0-899999")
            self.client.finish_upload(self.path(status), sha256(content))
            self.assertEqual(self.client.request("GET", f"/v2/a/blobs/{sha256(content)}").body, content)
        print(dict(outcomes))

    def test_two_closers(self) -> None:
        """Two clients that close one upload get one 201 between them, or two; the blob is whole."""
        for number in range(20):
            content = number.to_bytes(4, "big") * 50_000
            path = self.client.begin_upload("a")
            path = self.path(self.client.expect(202, "PATCH", path, content))
            closing = with_digest(path, sha256(content))
            answers = self.together(*[partial(self.client.request, "PUT", closing, b"")] * 2)
            statuses = [self.expect((201, 404, 409), answer).status for answer in answers]
            self.assertEqual(statuses.count(201), 1, statuses)
            self.assertEqual(self.client.request("GET", f"/v2/a/blobs/{sha256(content)}").body, content)

    def test_cancel_and_write(self) -> None:
        """An upload that is written to and cancelled at once is either gone, or has all that was written."""
        outcomes = collections.Counter()
        content = b"x" * 300_000
        for _ in range(40):
            path = self.client.begin_upload("a")
            written, cancelled = self.together(
                partial(self.client.request, "PATCH", path, content),
                partial(self.client.request, "DELETE", path),
            )
            self.expect((202, 404, 409), written)
            self.expect((204, 409), cancelled)
            outcomes[written.status, cancelled.status] += 1
            status = self.client.request("GET", path)
            if cancelled.status == 204:
                self.assertEqual(status.status, 404)
            else:
                self.assertEqual((written.status, status.status), (202, 204))
                self.assertEqual(status.headers["Range"], f"0-{len(content) - 1}")
                self.client.finish_upload(self.path(status), sha256(content))
        print(dict(outcomes))

    def test_status_while_closing(self) -> None:
        """While an upload becomes a blob its status is all of its bytes, or 404: never fewer than it had."""
        for number in range(20):
            content = number.to_bytes(4, "big") * 50_000
            path = self.path(self.client.expect(202, "PATCH", self.client.begin_upload("a"), content))
            closing = with_digest(path, sha256(content))

            def look(path: str = path, content: bytes = content) -> None:
                answer = self.expect((204, 404), self.client.request("GET", path))
                if answer.status == 204:
                    self.assertEqual(answer.headers["Range"], f"0-{len(content) - 1}")

            self.while_going_on([partial(self.client.expect, 201, "PUT", closing, b"")], look)

    def path(self, answer: Answer) -> str:
        """Return where an upload goes on."""
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"


class DeleteTests(ConcurrencyCase):
    """Deletions against whatever needs what they delete."""

    def test_manifest_and_push(self) -> None:
        """A manifest that is pushed, tagged and deleted at once is there whole or not at all, as its tags are."""
        config = self.client.push_bytes("a", b"{}")
        manifest = image(config)
        digest = self.client.push_manifest("a", "first", manifest)

        def push(tag: str) -> None:
            for _ in range(15):
                self.expect((201,), self.put_manifest("a", tag, manifest))

        def delete() -> None:
            for _ in range(15):
                self.expect((202, 404), self.client.request("DELETE", f"/v2/a/manifests/{digest}"))

        def delete_tag() -> None:
            for _ in range(15):
                self.expect((202, 404), self.client.request("DELETE", "/v2/a/manifests/one"))

        def look() -> None:
            for tag in ("one", "two", digest):
                answer = self.expect((200, 404), self.client.manifest("a", tag))
                if answer.status == 200:
                    self.assertEqual(sha256(answer.body), digest)

        self.while_going_on([partial(push, "one"), partial(push, "two"), delete, delete_tag], look)
        tags = self.client.tags("a")
        self.assertTrue(set(tags) <= {"one", "two"}, tags)
        for tag in ("one", "two"):
            answer = self.client.manifest("a", tag)
            self.assertEqual(answer.status, 200 if tag in tags else 404)
        if tags:
            self.assertEqual(self.client.manifest("a", digest).status, 200)

    def test_mount_and_delete(self) -> None:
        """A blob that was mounted can be read where it was mounted, even if its source deleted it meanwhile."""
        outcomes = collections.Counter()
        for number in range(30):
            content = f"mounted {number}".encode()
            digest = self.client.push_bytes("source", content)
            mounted, _ = self.together(
                partial(self.client.request, "POST", f"/v2/target/blobs/uploads/?mount={digest}&from=source"),
                partial(self.client.expect, 202, "DELETE", f"/v2/source/blobs/{digest}"),
            )
            self.expect((201, 202), mounted)
            outcomes[mounted.status] += 1
            answer = self.client.request("GET", f"/v2/target/blobs/{digest}")
            if mounted.status == 201:
                self.assertEqual((answer.status, answer.body), (200, content))
            else:
                self.assertEqual(answer.status, 404)
            self.assertEqual(self.client.request("GET", f"/v2/source/blobs/{digest}").status, 404)
        print(dict(outcomes))

    def test_push_and_blob_delete(self) -> None:
        """A manifest is accepted only if each of its blobs was there at some moment while it was pushed.

        More cannot be promised: a blob can be deleted right after it was looked for, as it can be right after
        the answer.  So: a push that begins after a deletion was answered is refused, and one that was answered
        before the deletion began is accepted.
        """
        outcomes = collections.Counter()
        config = self.client.push_bytes("a", b"{}")
        for number in range(25):
            layer = self.client.push_bytes("a", f"layer {number}".encode())
            descriptor = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 9}
            pushes: list[tuple[float, float, int]] = []

            def push(number: int = number, descriptor: Any = descriptor, pushes: Any = pushes) -> None:
                for again in range(4):
                    note = {"number": f"{number} {again}"}
                    begun = time.monotonic()
                    answer = self.put_manifest("a", "t", image(config, layers=[descriptor], annotations=note))
                    pushes.append((begun, time.monotonic(), self.expect((201, 400), answer).status))
                    if answer.status == 400:
                        codes = {error["code"] for error in answer.json()["errors"]}
                        self.assertEqual(codes, {"MANIFEST_BLOB_UNKNOWN"})

            def delete(layer: str = layer) -> tuple[float, float]:
                begun = time.monotonic()
                self.client.expect(202, "DELETE", f"/v2/a/blobs/{layer}")
                return begun, time.monotonic()

            _, (begun, ended) = self.together(push, delete)
            for push_begun, push_ended, status in pushes:
                if push_begun > ended:
                    self.assertEqual(status, 400, "accepted without a blob")
                if push_ended < begun:
                    self.assertEqual(status, 201)
                outcomes[status] += 1
        print(dict(outcomes))


class ListingTests(ConcurrencyCase):
    """Lists that are read page by page while what they list changes."""

    def test_tags_while_pushing(self) -> None:
        """Pages of tags are sorted and repeat nothing, and have every tag that was there all the time."""
        config = self.client.push_bytes("a", b"{}")
        for number in range(30):
            self.client.push_manifest("a", f"kept-{number:02}", image(config))
        kept = {f"kept-{number:02}" for number in range(30)}

        def push(number: int) -> None:
            layer = self.client.push_bytes("a", f"image {number}".encode())
            descriptor = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 9}
            for tag in (f"a-{number}", f"kept-{number:02}-more", f"z-{number}"):
                self.client.push_manifest("a", tag, image(config, layers=[descriptor]))
            self.client.expect(202, "DELETE", f"/v2/a/manifests/a-{number}")

        def look() -> None:
            self.assertTrue(kept <= set(self.pages("/v2/a/tags/list?n=7", "tags")))

        self.while_going_on([partial(push, number) for number in range(20)], look)
        more = {tag for number in range(20) for tag in (f"kept-{number:02}-more", f"z-{number}")}
        tags = self.pages("/v2/a/tags/list?n=7", "tags")
        self.assertEqual(tags, sorted(kept | more))
        for tag in tags:
            self.assertEqual(self.client.manifest("a", tag).status, 200, tag)

    def test_catalog_while_pushing(self) -> None:
        """Pages of the catalog are sorted and repeat nothing, and have every repository that was there."""

        def make(name: str) -> None:
            self.client.push_manifest(name, "1", image(self.client.push_bytes(name, b"{}")))

        kept = {f"kept{number}/below" for number in range(10)} | {f"kept{number}" for number in range(10)}
        for name in sorted(kept):
            make(name)

        def push(number: int) -> None:
            for name in (f"a{number}", f"kept{number}-x", f"kept{number}/below/more", f"z/{number}"):
                make(name)

        def look() -> None:
            self.assertTrue(kept <= set(self.pages("/v2/_catalog?n=3", "repositories")))

        self.while_going_on([partial(push, number) for number in range(10)], look)
        names = self.pages("/v2/_catalog?n=3", "repositories")
        self.assertEqual(len(names), 60)
        self.assertTrue(kept <= set(names))
