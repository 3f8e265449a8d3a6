"""Looking through all that is stored."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from twisted.internet.defer import succeed

from tests.content.case import NAME, ContentCase, image, in_thread
from txregistry import media
from txregistry.content import layout
from txregistry.content.inspection import Finding, Inspection
from txregistry.content.links import Links
from txregistry.content.tree import Tree
from txregistry.digest import Digest
from txregistry.reference import Tag
from txregistry.storage.memory import MemoryDriver
from txregistry.validation import Rules


def nothing() -> Awaitable[object]:
    return succeed(None)


class InspectionTests(ContentCase):
    def setUp(self) -> None:
        """Push an image of two blobs, and one that refers to it."""
        super().setUp()
        self.config, self.layer = self.push(b"{}"), self.push(b"a layer", algorithm="sha512")
        self.content = image(self.config, self.layer)
        self.pushed = self.run_now(
            self.registry.manifests.put(NAME, Tag("1"), self.content, media.OCI_MANIFEST)
        ).digest
        referring = json.loads(image(self.config))
        referring["subject"] = {"mediaType": media.OCI_MANIFEST, "digest": str(self.pushed), "size": 1}
        content = json.dumps(referring).encode()
        self.referrer = Digest.of(content)
        self.run_now(self.registry.manifests.put(NAME, self.referrer, content, media.OCI_MANIFEST))

    def remove(self, path: str) -> None:
        self.run_now(MemoryDriver.delete(self.driver, path))

    def findings(
        self, quick: bool = False, settle: Callable[[], Awaitable[object]] = nothing
    ) -> list[tuple[str, str]]:
        """Return what is found: kinds, and what they are about."""
        found: list[Finding] = []
        inspection = Inspection(
            Tree(self.driver, nothing), Links(self.driver), Rules(), in_thread, found.append, settle, quick
        )
        before = self.tree()
        self.run_now(inspection.run())
        if settle is nothing:
            self.assertEqual(self.tree(), before)
        return sorted((finding.kind, finding.what) for finding in found)

    def test_clean(self) -> None:
        """What was pushed is clean, and so are the strays that Distribution leaves behind."""
        for path in (
            f"{layout.layer_link(NAME, Digest.of(b'x'))}.0190.tmp",
            f"{layout.layer_link(NAME, Digest.of(b'y', 'sha512'))}",
            f"{layout.BLOBS}/sha256/ab/notes/data",
            f"{layout.repository(NAME)}/_private/file",
        ):
            self.store(path, str(Digest.of(b"collected")).encode())
        self.assertEqual((self.findings(), self.findings(quick=True)), ([], []))

    def test_damaged_blob(self) -> None:
        """A blob with a flipped bit is found, and so is the manifest that needs it."""
        self.damage_blob(self.layer)
        self.assertEqual(
            self.findings(), [("blob-damaged", str(self.layer)), ("manifest-incomplete", str(self.pushed))]
        )
        self.assertEqual(self.findings(quick=True), [])
        self.store(layout.blob_data(self.layer), b"")
        self.assertIn(("blob-damaged", str(self.layer)), self.findings(quick=True))

    def test_broken_links(self) -> None:
        """Links that are empty or lead elsewhere are found."""
        self.store(layout.layer_link(NAME, self.config), b"")
        self.assertIn(("link-broken", str(self.config)), self.findings())
        self.store(layout.revision_link(NAME, self.pushed), str(self.referrer).encode())
        self.assertIn(("link-broken", str(self.pushed)), self.findings())
        self.assertIn(("tag-dangling", "1"), self.findings())

    def test_mended(self) -> None:
        """A broken link is written again where the bytes it is named for are sound, and only there."""
        other = self.push(b"other")
        self.damage_blob(other)
        links = [layout.layer_link(NAME, digest) for digest in (self.config, other)]
        for link in links:
            self.store(link, b"")
        inspection = Inspection(
            Tree(self.driver, nothing),
            Links(self.driver),
            Rules(),
            in_thread,
            lambda _: None,
            nothing,
            repair=True,
        )
        self.run_now(inspection.run())
        self.assertEqual([self.stored(link) for link in links], [str(self.config).encode(), b""])

    def test_tags(self) -> None:
        """A tag without a link, or with one that leads to nothing, is found."""
        link = layout.tag_link(NAME, "1")
        self.store(link, b"")
        self.assertEqual(self.findings(), [("tag-broken", "1")])
        self.remove(link)
        self.assertEqual(self.findings(), [("tag-broken", "1")])
        self.store(link, str(Digest.of(b"nothing")).encode())
        self.assertEqual(self.findings(), [("tag-dangling", "1")])

    def test_manifests(self) -> None:
        """A manifest that is gone, and one that lacks a blob, are found."""
        self.remove(layout.blob_data(self.pushed))
        self.assertEqual(self.findings(), [("manifest-missing", str(self.pushed)), ("tag-dangling", "1")])
        self.store(layout.blob_data(self.pushed), self.content)
        self.remove(layout.layer_link(NAME, self.layer))
        self.assertEqual(self.findings(), [("manifest-incomplete", str(self.pushed))])

    def test_referrers(self) -> None:
        """A referrer that is not listed, and an entry without its manifest, are found."""
        entry = layout.referrer(NAME, self.pushed, self.referrer)
        content = self.stored(entry)
        self.remove(entry)
        self.assertEqual(self.findings(), [("referrer-missing", str(self.referrer))])
        self.store(entry, content)
        self.remove(layout.revision_link(NAME, self.referrer))
        self.assertEqual(self.findings(), [("referrer-stale", str(self.referrer))])

    def test_looked_at_again(self) -> None:
        """What is well when it is looked at again was no finding."""
        link = layout.tag_link(NAME, "1")
        content = self.stored(link)
        self.store(link, b"")

        def mend() -> Awaitable[object]:
            self.store(link, content)
            return succeed(None)

        self.assertEqual(self.findings(settle=mend), [])
