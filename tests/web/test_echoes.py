"""What clients send comes back as what it is, or not at all."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import OCI_MANIFEST, Server
from tests.web.edge import digest_of, push
from tests.web.sockets import Wire, at_once, make_site, request
from txregistry.storage.memory import MemoryDriver
from txregistry.web.locations import Locations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
HTML = "<script>alert(1)</script>"
#: Line ends, as they come in addresses and as they come to be when someone decodes twice.
BREAKS = (
    "%0d%0aX-Evil:%20y",
    "%0aX-Evil:%20y",
    "%0dX-Evil:%20y",
    "%250d%250aX-Evil:%20y",
    "%c2%85X-Evil:%20y",
)
BREAKS += ("%e5%98%8a%e5%98%8dX-Evil:%20y", "%00X-Evil:%20y", "\\r\\nX-Evil: y")


class EchoTests(SynchronousTestCase):
    """Everything that an answer repeats."""

    def setUp(self) -> None:
        self.wire = Wire(make_site(MemoryDriver(), Clock(), at_once, access_log=True))
        self.logged: list[str] = []
        self.fields: list[Any] = []

        def observe(event: Any) -> None:
            self.logged.append(formatEvent(event))
            self.fields.append(event.get("fields", {}))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def targets(self, text: str) -> list[str]:
        """Return addresses that have a text in every place."""
        digest = "sha256:" + "0" * 64
        return [
            f"/{text}",
            f"/v2/{text}/tags/list",
            f"/v2/a/{text}/tags/list",
            f"/v2/a/manifests/{text}",
            f"/v2/a/blobs/{text}",
            f"/v2/a/blobs/sha256:{text}",
            f"/v2/a/blobs/uploads/{text}",
            f"/v2/a/referrers/{text}",
            f"/v2/a/referrers/{digest}?artifactType={text}",
            f"/v2/_catalog?n=1&last={text}",
            f"/v2/a/tags/list?n=1&last={text}",
            f"/v2/_catalog?n={text}",
            f"/v2/a/blobs/uploads/?digest={text}",
            f"/v2/a/blobs/uploads/?mount={text}&from={text}",
            f"/v2/a/blobs/uploads/?digest-algorithm={text}",
        ]

    def test_H12_line_ends(self) -> None:
        """No address ends a line of an answer's head or of the log, whatever method it comes with."""
        blob = push(self.wire, b"x").decode()
        for text in BREAKS:
            for target in self.targets(text.replace(" ", "%20")):
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                    self.wire = self.wire.again()
                    body = None if method == "GET" else b""
                    answer = self.wire.ask(request(f"{method} {target}".encode(), body=body))
                    names = [name.lower() for name, _ in answer.headers]
                    self.assertNotIn("x-evil", names, (method, target))
                    for _, value in answer.headers:
                        self.assertTrue(value.isprintable() and value.isascii(), answer)
        self.assertEqual(self.wire.again().ask(request(b"GET " + blob.encode())).status, 200)
        for line in self.logged:
            self.assertEqual(len(line.splitlines()), 1, line)
        self.assertGreater(len(self.logged), 500)

    def test_H12_links(self) -> None:
        """The links of lists and the challenges lead where they should, and are encoded, whatever was asked."""
        server = Server()
        for tag in ("a", "b", "c"):
            server.push_image("team/app", tag)
        links = 0
        for text in ("%3e", "%22", "%0d%0aX", "%26n=9", "%3bx", "a%20b"):
            for path in ("/v2/team/app/tags/list", "/v2/_catalog"):
                answer = server.request("GET", f"{path}?n=1&last={text}")
                link = answer.headers.get("Link", "")
                self.assertLessEqual(link.count("<"), 1, link)
                self.assertLessEqual(link.count(">"), 1, link)
                self.assertTrue(link.isprintable() and link.isascii(), link)
                links += bool(link)
                if link:
                    self.assertRegex(link, r'^</v2/[a-z/_]+\?[A-Za-z0-9=&%._~-]+>; rel="next"$')

        self.assertGreater(links, 5)

    def test_H13_hosts(self) -> None:
        """A host, and what proxies say, is put into a location only if it is one."""
        evil = (
            "evil.example/x",
            "evil.example#",
            "a b",
            "a,b",
            "<b>",
            'a"b',
            "a:b:c",
            "user@evil.example",
            "",
        )
        for host in evil:
            for header in ("X-Forwarded-Host", "Forwarded"):
                value = f'host="{host}"' if header == "Forwarded" else host
                server = Server(locations=Locations())
                location = server.request(
                    "POST", "/v2/a/blobs/uploads/", headers={header: value, "X-Forwarded-Proto": "javascript"}
                ).headers["Location"]
                where = location.partition("?")[0]
                self.assertRegex(where, r"^http://(registry\.example|a)/v2/a/blobs/uploads/[0-9a-f-]+$")

    def test_H14_html(self) -> None:
        """HTML in an address comes back as JSON or not at all, and no browser is let guess what an answer is."""
        for target in self.targets(HTML.replace("<", "%3C").replace(">", "%3E").replace("/", "")):
            for method in ("GET", "HEAD", "PUT"):
                wire = self.wire.again()
                wire.send(request(f"{method} {target}".encode(), body=None if method != "PUT" else b""))
                answer = wire.head() if method == "HEAD" else wire.answers()[0]
                self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
                self.assertIn(answer.header("Content-Type"), (None, "application/json", OCI_INDEX), target)
        for target in (f"/v2/{HTML}/tags/list", f"/{HTML}", f"/v2/a/manifests/{HTML}"):
            answer = self.wire.again().ask(request(f"GET {target}".encode()))
            self.assertEqual(answer.header("Content-Type"), "application/json")

    def test_H14_content(self) -> None:
        """A blob of HTML is bytes, and what a client says it is counts for nothing."""
        server = Server()
        content = f"<html>{HTML}".encode()
        digest = digest_of(content).decode()
        server.request(
            "POST", f"/v2/a/blobs/uploads/?digest={digest}", content, {"Content-Type": "text/html"}
        )
        for method in ("GET", "HEAD"):
            answer = server.request(method, f"/v2/a/blobs/{digest}", headers={"Accept": "text/html"})
            self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        answer = server.request(
            "PUT", "/v2/a/manifests/x", content, {"Content-Type": f"{OCI_MANIFEST}; charset={HTML}"}
        )
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def test_H15_ranges(self) -> None:
        """A thousand ranges, overlapping or of digits of other scripts, are the whole, or one range, or 416."""
        wire = Wire(make_site(MemoryDriver(), Clock(), at_once))
        content = bytes(range(256)) * 400
        blob = push(wire, content)
        digits = "bytes=٠-٩".encode().decode("latin-1")
        for text, statuses in (
            ("bytes=" + ",".join(["0-"] * 1000), (200,)),
            ("bytes=" + ",".join(f"{number}-{number + 9}" for number in range(1000)), (200,)),
            ("bytes=" + ",".join(f"{number}-" for number in range(1000)), (200,)),
            ("bytes=-1000000", (206,)),
            ("bytes=-0", (416,)),
            ("bytes=102400-", (416,)),
            ("bytes=0-" + "9" * 4000, (206, 200)),
            ("bytes=5-2", (200,)),
            ("bytes=1_0-2_0", (200,)),
            ("bytes=+1-+2", (200,)),
            ("bytes=0x0-0x9", (200,)),
            ("lines=0-1", (200,)),
            ("bytes 0-1", (200,)),
        ):
            answer = wire.again().ask(request(b"GET " + blob, b"Range: " + text.encode()))
            self.assertIn(answer.status, statuses, text[:40])
            if answer.status != 416:
                self.assertTrue(content.endswith(answer.body) or content.startswith(answer.body))
        self.assertEqual(
            wire.again().ask(request(b"GET " + blob, b"Range: " + digits.encode("latin-1"))).status, 400
        )
