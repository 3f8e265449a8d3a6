"""What goes wrong anywhere behind a request is that request's own, and no one learns what it was."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.auth.basic import BasicBackend, authorization
from tests.web.client import OCI_MANIFEST, Server
from tests.web.edge import INDEX, digest_of
from tests.web.sockets import PING, Answer, Wire, make_site, request
from txregistry.access import Access, Attempt, Decision, Identity
from txregistry.auth.rules import Everything
from txregistry.interfaces import IAccessPolicy, IAuthBackend
from txregistry.storage.memory import MemoryDriver
from txregistry.testing.storage.faults import FaultyDriver, Trouble, fail

SECRET = "/srv/registry/secret-Zx81"
BLOB = b"blob" * 40_000
CONFIG = b"{}"


def at_once(work: Callable[[], Any]) -> Any:
    """Run *work* here and now."""
    return succeed(work())


def manifest() -> bytes:
    """Return an image manifest of the two blobs."""

    def of(content: bytes, kind: str) -> dict[str, Any]:
        digest = digest_of(content).decode()
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(content)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": of(CONFIG, "config.v1+json"),
        "layers": [of(BLOB, "layer.v1.tar")],
    }
    return json.dumps(document).encode()


def requests(upload: bytes) -> dict[str, bytes]:
    """Return a request of each kind, by what it is; the upload is one that was begun."""
    blob, config, image = digest_of(BLOB), digest_of(CONFIG), digest_of(manifest())
    put = request(b"PUT /v2/a/manifests/new", b"Content-Type: " + OCI_MANIFEST.encode(), body=manifest())
    return {
        "base": PING,
        "catalog": request(b"GET /v2/_catalog"),
        "tags": request(b"GET /v2/a/tags/list"),
        "manifest by tag": request(b"GET /v2/a/manifests/latest"),
        "manifest by digest": request(b"GET /v2/a/manifests/" + image),
        "push of a manifest": put,
        "push of an index": request(
            b"PUT /v2/a/manifests/index", INDEX, body=b'{"schemaVersion":2,"manifests":[]}'
        ),
        "deletion of a tag": request(b"DELETE /v2/a/manifests/latest"),
        "deletion of a manifest": request(b"DELETE /v2/a/manifests/" + image),
        "small blob": request(b"GET /v2/a/blobs/" + config),
        "blob": request(b"GET /v2/a/blobs/" + blob),
        "part of a blob": request(b"GET /v2/a/blobs/" + blob, b"Range: bytes=5-100000"),
        "deletion of a blob": request(b"DELETE /v2/a/blobs/" + blob),
        "referrers": request(b"GET /v2/a/referrers/" + image),
        "beginning": request(b"POST /v2/a/blobs/uploads/", body=b""),
        "mount": request(b"POST /v2/b/blobs/uploads/?from=a&mount=" + blob, body=b""),
        "whole upload": request(b"POST /v2/a/blobs/uploads/?digest=" + digest_of(b"x"), body=b"x"),
        "status": request(b"GET " + upload),
        "part of an upload": request(b"PATCH " + upload, body=b"x" * 300_000),
        "end of an upload": request(b"PUT " + upload + b"&digest=" + digest_of(b"xy"), body=b"xy"),
        "cancelling": request(b"DELETE " + upload),
    }


class StorageTests(SynchronousTestCase):
    """The storage raises what it never should."""

    def filled(self) -> tuple[FaultyDriver, Wire, bytes]:
        """Return a driver with an image in it, a connection to its registry, and an upload's location."""
        driver = FaultyDriver(MemoryDriver())
        wire = Wire(make_site(driver, Clock(), at_once))
        for content in (BLOB, CONFIG):
            line = b"POST /v2/a/blobs/uploads/?digest=" + digest_of(content)
            self.assertEqual(wire.ask(request(line, body=content)).status, 201)
        kind = b"Content-Type: " + OCI_MANIFEST.encode()
        put = request(b"PUT /v2/a/manifests/latest", kind, body=manifest())
        self.assertEqual(wire.ask(put).status, 201)
        return driver, wire, wire.begin(b"a")

    def check(self, answer: Answer) -> None:
        """Check that a failure tells nothing."""
        self.assertNotIn(SECRET.encode(), answer.body)
        if answer.status == 500:
            (error,) = json.loads(answer.body)["errors"]
            self.assertEqual((error["code"], error.get("detail")), ("UNKNOWN", None))

    def test_L12_every_call(self) -> None:
        """Each call that any request makes of the storage fails once: 500 in JSON, or a cut answer, and no more."""
        for kind in requests(b""):
            for number in itertools.count(1):
                driver, wire, upload = self.filled()
                sent = requests(upload)[kind]
                driver.trouble = Trouble(number, fail(ZeroDivisionError(SECRET)))
                before = wire.transport.value()
                wire.send(sent)
                fired, driver.trouble = driver.trouble.fired, None
                # A blob that fails in its middle is cut off: the client sees that it is not whole.
                cut = wire.transport.disconnected
                if cut:
                    self.assertIn(kind, ("blob", "part of a blob"))
                    self.assertNotIn(SECRET.encode(), wire.transport.value()[len(before) :])
                    wire.hang_up()
                else:
                    (answer,) = wire.answers()
                    self.check(answer)
                    self.assertEqual(answer.status >= 500 or not fired, True, (kind, number, answer.status))
                    if answer.closes:
                        wire.wait(10)
                    else:
                        self.assertEqual(wire.ask(PING).status, 200)
                        wire.hang_up()
                self.assertLessEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
                self.assertEqual(self.flushLoggedErrors(), [])
                self.assertEqual((wire.clock.getDelayedCalls(), len(wire.site.channels)), ([], 0))
                again = wire.again()
                status = again.ask(requests(upload)[kind]).status
                self.assertIn(
                    status,
                    (200, 201, 202, 204, 206, 400, 404, 416),
                    (kind, number, status, driver.calls[-9:]),
                )
                if not fired:
                    break
            self.assertGreaterEqual(number, 1)


@implementer(IAuthBackend)
class BrokenBackend(BasicBackend):
    """Knows nobody, and says so badly."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        raise ZeroDivisionError(SECRET)


@implementer(IAccessPolicy)
class BrokenPolicy:
    """Decides nothing."""

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        raise ZeroDivisionError(SECRET)


class GuardTests(SynchronousTestCase):
    """Those who are to decide cannot."""

    def test_L12_guard(self) -> None:
        """Who cannot be asked whether a request is let in lets none in: it is 500, and nothing is looked up."""
        users = {"alice": Identity("alice")}
        for backend, policy in (
            (BrokenBackend(users), BrokenPolicy()),
            (BasicBackend(users), BrokenPolicy()),
        ):
            server = Server(backend=backend, policy=policy)
            for method, path in (
                ("GET", "/v2/a/tags/list"),
                ("POST", "/v2/a/blobs/uploads/"),
                ("DELETE", "/v2/a/manifests/x"),
            ):
                answer = server.request(method, path, headers={"Authorization": authorization("alice")})
                self.assertEqual((answer.status, answer.codes), (500, ["UNKNOWN"]))
                self.assertNotIn(SECRET.encode(), answer.body)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertFalse(isinstance(BrokenPolicy(), Everything))
