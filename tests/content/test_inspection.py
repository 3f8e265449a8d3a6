"""Looking through all that is stored."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from twisted.internet.defer import succeed

from tests.content.case import NAME, image
from tests.content.inspected import InspectionCase
from txregistry import media
from txregistry.content import layout
from txregistry.digest import Digest
from txregistry.reference import Tag


class InspectionTests(InspectionCase):
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

    def test_size(self) -> None:
        """Without reading blobs, one is found that is empty, or has another size than a manifest says."""
        for content in (b"", b"a laye", b"a layer and more"):
            self.store(layout.blob_data(self.layer), content)
            self.driver.opened.clear()
            self.assertEqual(
                self.findings(quick=True),
                [("blob-damaged", str(self.layer)), ("manifest-incomplete", str(self.pushed))],
            )
            self.assertEqual(set(self.driver.opened), {layout.blob_data(self.layer)})

    def test_size_once(self) -> None:
        """A blob of another size than two manifests say is one finding, and each of them lacks it."""
        content = self.sized(image(self.config, self.layer, note="another"))
        other = self.run_now(self.registry.manifests.put(NAME, Tag("2"), content, media.OCI_MANIFEST)).digest
        self.store(layout.blob_data(self.layer), b"more than there was")
        incomplete = sorted(("manifest-incomplete", str(digest)) for digest in (self.pushed, other))
        self.assertEqual(self.findings(quick=True), [("blob-damaged", str(self.layer)), *incomplete])

    def test_wrong_size(self) -> None:
        """A manifest that was pushed with a wrong size does not make a sound blob a finding."""
        content = image(self.config, self.layer)
        self.run_now(self.registry.manifests.put(NAME, Tag("2"), content, media.OCI_MANIFEST))
        self.assertEqual((self.findings(), self.findings(quick=True)), ([], []))

    def test_newline(self) -> None:
        """A link with a newline at its end is none, and stays as it is, for Distribution reads it so too."""
        links = {
            link: self.stored(link) + b"\n"
            for link in (
                layout.layer_link(NAME, self.config),
                layout.revision_link(NAME, self.pushed),
                layout.tag_link(NAME, "1"),
                layout.tag_history_link(NAME, "1", self.pushed),
            )
        }
        for link, content in links.items():
            self.store(link, content)
        self.assertEqual((self.findings(), self.inspect(repair=True)), ([], []))
        self.assertEqual({link: self.stored(link) for link in links}, links)

    def test_first_schema(self) -> None:
        """A manifest of Docker's first schema lacks a layer that is gone, not what its history only mentions."""
        gone = self.push(b"gone")
        history = json.dumps({"config": {"Image": str(Digest.of(b"an image elsewhere"))}})
        content = json.dumps(
            {
                "schemaVersion": 1,
                "fsLayers": [{"blobSum": str(self.config)}, {"blobSum": str(gone)}],
                "history": [{"v1Compatibility": history}],
            }
        ).encode()
        digest = Digest.of(content)
        self.store(layout.blob_data(digest), content)
        self.store(layout.revision_link(NAME, digest), str(digest).encode())
        self.assertEqual(self.findings(), [])
        self.remove(layout.blob_data(gone))
        self.assertEqual(self.findings(), [("manifest-incomplete", str(digest))])

    def test_leftovers(self) -> None:
        """An upload that nobody goes on with is told of as no fault, and one that is under way is not."""
        self.upload(b"under way")
        self.assertEqual(self.inspect(), [])
        self.ago = 7200
        left = self.upload(b"left over")
        (found,) = self.inspect(repair=True)
        self.assertEqual((found.kind, found.repository, found.what), ("upload-left", NAME, left.id))
        self.assertEqual((found.is_fault, found.mended), (False, False))
        self.assertIn("9 bytes", found.problem)

    def test_broken_links(self) -> None:
        """Links that are empty or lead elsewhere are found."""
        self.store(layout.layer_link(NAME, self.config), b"")
        self.assertIn(("link-broken", str(self.config)), self.findings())
        self.store(layout.revision_link(NAME, self.pushed), str(self.referrer).encode())
        self.assertIn(("link-broken", str(self.pushed)), self.findings())
        self.assertIn(("tag-dangling", "1"), self.findings())

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
