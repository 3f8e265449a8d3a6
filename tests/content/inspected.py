"""What the tests of inspections stand on."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable

from twisted.internet.defer import succeed

from tests.content.case import NAME, ContentCase, ToldDriver, image, in_thread
from txregistry import media
from txregistry.content.inspection import Finding, Inspection
from txregistry.content.links import Links
from txregistry.content.repair import Repair
from txregistry.content.tree import Tree
from txregistry.digest import Digest
from txregistry.reference import Tag
from txregistry.storage.memory import MemoryDriver
from txregistry.validation import Rules

RUN = "20260102T030405Z"


def nothing() -> Awaitable[object]:
    """Wait for nothing."""
    return succeed(None)


class InspectionCase(ContentCase):
    """A registry with an image of two blobs, and a manifest that refers to it."""

    #: Seconds by which the storage's clock is behind.
    ago = 0.0

    def setUp(self) -> None:
        """Push them."""
        super().setUp()
        self.driver = ToldDriver(lambda: time.time() - self.ago)
        self.registry = self.another()
        self.config, self.layer = self.push(b"{}"), self.push(b"a layer", algorithm="sha512")
        self.content = self.sized(image(self.config, self.layer))
        self.pushed = self.run_now(
            self.registry.manifests.put(NAME, Tag("1"), self.content, media.OCI_MANIFEST)
        ).digest
        referring = json.loads(self.sized(image(self.config)))
        referring["subject"] = {
            "mediaType": media.OCI_MANIFEST,
            "digest": str(self.pushed),
            "size": len(self.content),
        }
        content = json.dumps(referring).encode()
        self.referrer = Digest.of(content)
        self.run_now(self.registry.manifests.put(NAME, self.referrer, content, media.OCI_MANIFEST))
        #: Seconds from now that repairs take it to be.
        self.later = 3600.0

    def sized(self, content: bytes) -> bytes:
        """Return an image manifest with the sizes that its blobs have."""
        sizes = {str(self.config): 2, str(self.layer): 7}
        document = json.loads(content)
        for one in (document["config"], *document["layers"]):
            one["size"] = sizes[one["digest"]]
        return json.dumps(document).encode()

    def remove(self, path: str) -> None:
        """Remove a file past the registry."""
        self.run_now(MemoryDriver.delete(self.driver, path))

    def inspect(
        self, quick: bool = False, settle: Callable[[], Awaitable[object]] = nothing, repair: bool = False
    ) -> list[Finding]:
        """Return what is found."""
        found: list[Finding] = []
        tree, links = Tree(self.driver, nothing), Links(self.driver)
        repairs = Repair(
            links, tree, self.registry.manifests, in_thread, RUN, lambda: time.time() + self.later
        )
        mend = repairs.mend if repair else None
        before = time.time() - 3600
        inspection = Inspection(tree, links, Rules(), in_thread, found.append, settle, before, quick, mend)
        self.run_now(inspection.run())
        return found

    def findings(
        self, quick: bool = False, settle: Callable[[], Awaitable[object]] = nothing
    ) -> list[tuple[str, str]]:
        """Return what is found when nothing is mended: kinds, and what they are about."""
        before = self.tree()
        found = self.inspect(quick, settle)
        if settle is nothing:
            self.assertEqual(self.tree(), before)
        return sorted((finding.kind, finding.what) for finding in found)

    def mended(self, settle: Callable[[], Awaitable[object]] = nothing) -> list[tuple[str, str, bool]]:
        """Return what is found when it is mended: kinds, what they are about, and whether they are mended."""
        found = self.inspect(settle=settle, repair=True)
        return sorted((finding.kind, finding.what, finding.mended) for finding in found)
