"""Looking through all that is stored."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import succeed

from tests.content.case import NAME
from tests.content.inspected import InspectionCase
from txregistry.content import layout
from txregistry.digest import Digest


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
        self.store(layout.blob_data(self.layer), b"")
        self.assertIn(("blob-damaged", str(self.layer)), self.findings(quick=True))

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
