"""What is told of each kind of request, in Distribution's envelope."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.notify.test_service import AtOnce
from tests.web.client import OCI_MANIFEST, Server, descriptor, image
from txregistry.events import Event, Source, envelope
from txregistry.interfaces import INotifier
from txregistry.notify.courier import Endpoint
from txregistry.notify.service import Notifications, Place
from txregistry.web.announcer import Announcer
from txregistry.web.locations import Locations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BYTES = "application/octet-stream"


@implementer(INotifier)
@define
class Envelopes:
    """Takes events as they are sent."""

    sent: list[bytes] = field(factory=list)

    def prepare(self) -> None:
        """See the interface."""

    async def close(self) -> None:
        """See the interface."""

    async def notify(self, event: Event) -> None:
        """See the interface."""
        self.sent.append(envelope(event))


class EventCase(SynchronousTestCase):
    """A registry in memory, and one who is told."""

    references = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_767_323_045.5)
        self.envelopes = Envelopes()
        place = Place(os.path.abspath(self.mktemp()), 1 << 20)
        service = Notifications([Endpoint("a", self.envelopes)], place, AtOnce, self.clock, lambda: 0.0)
        service.startService()
        self.addCleanup(lambda: self.successResultOf(service.stopService()))
        announcer = Announcer(
            service, Locations(), Source(addr="hub:5000", instance_id="one"), self.references, lambda count: 0
        )
        self.server = Server(clock=self.clock, announcer=announcer)

    def told(self) -> list[dict[str, Any]]:
        """Return the events that were sent since this was asked last."""
        self.clock.pump([0.1] * 20)
        sent, self.envelopes.sent[:] = list(self.envelopes.sent), []
        found = []
        for content in sent:
            (event,) = json.loads(content)["events"]
            found.append(event)
        return found

    def expect(self, action: str, method: str, *targets: dict[str, Any]) -> None:
        """Fail unless these things were told of, and nothing else."""
        events = self.told()
        self.assertEqual([event["target"] for event in events], list(targets))
        for event in events:
            self.assertEqual((event["action"], event["request"]["method"]), (action, method))
            self.assertEqual(event["source"], {"addr": "hub:5000", "instanceID": "one"})
            self.assertEqual(event["request"]["host"], "registry.example")

    def blob(self, name: str, content: bytes, **more: Any) -> dict[str, Any]:
        """Return the target that a blob is."""
        digest = str(self.digests[content])
        return {
            "mediaType": BYTES,
            "digest": digest,
            "size": len(content),
            "length": len(content),
            "repository": name,
            "url": f"http://registry.example/v2/{name}/blobs/{digest}",
            **more,
        }


class ActionTests(EventCase):
    """Each action."""

    def setUp(self) -> None:
        super().setUp()
        self.digests = {b"{}": self.server.push_blob("a/b", b"{}")}
        self.config = self.digests[b"{}"]
        self.content = image(self.config)
        self.manifest = json.loads(self.content)

    def manifest_target(self, digest: str, **more: Any) -> dict[str, Any]:
        """Return the target that the manifest is."""
        return {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(self.content),
            "length": len(self.content),
            "repository": "a/b",
            "url": f"http://registry.example/v2/a/b/manifests/{digest}",
            **more,
        }

    def test_envelope(self) -> None:
        """An envelope is, to the byte, what Distribution writes."""
        self.clock.pump([0.1] * 20)
        (sent,) = self.envelopes.sent
        event = json.loads(sent)["events"][0]
        digest = self.config
        self.assertEqual(
            sent.decode(),
            f"""{{
   "events": [
      {{
         "id": "{event["id"]}",
         "timestamp": "2026-01-02T03:04:05.500000Z",
         "action": "push",
         "target": {{
            "mediaType": "application/octet-stream",
            "digest": "{digest}",
            "size": 2,
            "length": 2,
            "repository": "a/b",
            "url": "http://registry.example/v2/a/b/blobs/{digest}"
         }},
         "request": {{
            "id": "{event["request"]["id"]}",
            "addr": "{event["request"]["addr"]}",
            "host": "registry.example",
            "method": "PUT",
            "useragent": ""
         }},
         "actor": {{}},
         "source": {{
            "addr": "hub:5000",
            "instanceID": "one"
         }}
      }}
   ]
}}""",
        )

    def test_blobs(self) -> None:
        """Blobs are pushed, mounted, pulled and deleted."""
        self.expect("push", "PUT", self.blob("a/b", b"{}"))
        digest = self.config
        answer = self.server.request("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=a/b")
        self.assertEqual(answer.status, 201)
        self.expect("mount", "POST", self.blob("c", b"{}", fromRepository="a/b"))
        for method in ("GET", "HEAD"):
            self.assertEqual(self.server.request(method, f"/v2/c/blobs/{digest}").status, 200)
            self.expect("pull", method, self.blob("c", b"{}"))
        self.assertEqual(self.server.request("DELETE", f"/v2/c/blobs/{digest}").status, 202)
        self.expect(
            "delete", "DELETE", {"mediaType": "", "digest": str(digest), "size": 0, "repository": "c"}
        )

    def test_manifests(self) -> None:
        """Manifests are pushed, pulled and deleted, with the tag that the client named."""
        self.told()
        answer = self.server.put_manifest("a/b", "one", self.content)
        digest = answer.headers["Docker-Content-Digest"]
        self.expect("push", "PUT", self.manifest_target(digest, tag="one"))
        for method in ("GET", "HEAD"):
            self.server.request(method, "/v2/a/b/manifests/one")
            self.expect("pull", method, self.manifest_target(digest, tag="one"))
            self.server.request(method, f"/v2/a/b/manifests/{digest}")
            self.expect("pull", method, self.manifest_target(digest))
        self.server.put_manifest("a/b", f"{digest}?tag=two&tag=three", self.content)
        self.expect("push", "PUT", *(self.manifest_target(digest, tag=tag) for tag in ("two", "three")))
        gone = {"mediaType": "", "digest": "", "size": 0, "repository": "a/b"}
        self.server.request("DELETE", "/v2/a/b/manifests/one")
        self.expect("delete", "DELETE", {**gone, "tag": "one"})
        self.server.request("DELETE", f"/v2/a/b/manifests/{digest}")
        events = self.told()
        self.assertEqual(events[0]["target"], {**gone, "digest": digest})
        self.assertEqual({event["target"]["tag"] for event in events[1:]}, {"two", "three"})

    def test_failures(self) -> None:
        """Nothing is told of what was not done."""
        self.told()
        digest = self.config
        for method, path, body in (
            ("GET", "/v2/a/b/manifests/none", b""),
            ("GET", f"/v2/none/blobs/{digest}", b""),
            ("PUT", "/v2/a/b/manifests/one", b"{}"),
            ("DELETE", "/v2/a/b/manifests/none", b""),
            ("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=none", b""),
        ):
            self.assertNotIn(
                self.server.request(method, path, body, {"Content-Type": OCI_MANIFEST}).status, (200, 201)
            )
        self.assertEqual(self.told(), [])

    def test_references(self) -> None:
        """Without ``includereferences`` what a manifest names is not told."""
        self.told()
        self.server.put_manifest("a/b", "one", self.content)
        (event,) = self.told()
        self.assertNotIn("references", event["target"])


class ReferenceTests(EventCase):
    """``notifications.events.includereferences``."""

    references = True

    def test_image(self) -> None:
        """An image's config and layers are told, in that order, when it is pushed and when it is pulled."""
        config, layer = (self.server.push_blob("a", content) for content in (b"{}", b"layer"))
        content = image(config, layer)
        self.told()
        self.server.put_manifest("a", "one", content)
        self.server.request("GET", "/v2/a/manifests/one")
        document = json.loads(content)
        for event in self.told():
            self.assertEqual(event["target"]["references"], [document["config"], *document["layers"]])

    def test_index(self) -> None:
        """The manifests of an index are told with their platforms."""
        child = self.server.push_image("a", "child")
        digest = self.server.request("HEAD", "/v2/a/manifests/child").headers["Docker-Content-Digest"]
        platform = {"architecture": "arm64", "os": "linux", "variant": "v8"}
        listed = {**descriptor(digest, OCI_MANIFEST, len(child)), "platform": platform}
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}).encode()
        self.told()
        self.server.put_manifest("a", "one", content, OCI_INDEX)
        (event,) = self.told()
        self.assertEqual(event["target"]["references"], [listed])
