"""Putting right what an inspection found."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

from twisted.internet.defer import succeed

from tests.content.case import NAME
from tests.content.inspected import RUN, InspectionCase
from txregistry import errors, media
from txregistry.content import layout
from txregistry.content.garbage import Collection, Rules, Tally, Time
from txregistry.content.tree import Tree
from txregistry.digest import Digest
from txregistry.interfaces import IFileReader
from txregistry.reference import Tag

ELSEWHERE = Digest.of(b"elsewhere")


class RepairTests(InspectionCase):
    def quarantined(self) -> dict[str, bytes]:
        """Return what is in quarantine, by where it was; fail unless each has its reason beside it."""

        async def walk(path: str) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for name in await Tree(self.driver, lambda: succeed(None)).names(path):
                below = f"{path}/{name}"
                if (await self.driver.stat(below)).is_directory:
                    found |= await walk(below)
                else:
                    found[below.removeprefix(layout.quarantine(RUN))] = await self.driver.read(below, 2**40)
            return found

        found = self.run_now(walk(layout.quarantine(RUN)))
        reasons = {path: json.loads(content) for path, content in found.items() if path.endswith(".why")}
        kept = {path: content for path, content in found.items() if path not in reasons}
        self.assertEqual({f"{path}.why" for path in kept}, set(reasons))
        for path, reason in reasons.items():
            self.assertEqual(reason["path"] + ".why", path)
            self.assertTrue(reason["kind"] and reason["problem"] and reason["time"])
        return kept

    def test_blob(self) -> None:
        """Damaged bytes go to quarantine; a client finds none, pushes them again, and all is well."""
        path, sound = layout.blob_data(self.layer), self.bytes_of(self.layer)
        self.damage_blob(self.layer)
        damaged = self.stored(path)
        self.assertEqual(
            self.mended(),
            [("blob-damaged", str(self.layer), True), ("manifest-incomplete", str(self.pushed), False)],
        )
        self.assertEqual(self.quarantined(), {path: damaged})
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, self.layer))
        self.assertEqual(self.push(sound, algorithm="sha512"), self.layer)
        self.assertEqual(self.bytes_of(self.layer), sound)
        self.assertEqual((self.findings(), self.quarantined()), ([], {path: damaged}))

    def test_manifest(self) -> None:
        """A damaged manifest goes to quarantine, and is mended by a push of the same."""
        self.damage_blob(self.pushed)
        self.assertIn(("blob-damaged", str(self.pushed), True), self.mended())
        self.raises(errors.ManifestUnknown, self.registry.manifests.find(NAME, Tag("1")))
        self.run_now(self.registry.manifests.put(NAME, Tag("1"), self.content, media.OCI_MANIFEST))
        self.assertEqual(self.findings(), [])

    def collect(self) -> Coroutine[Any, Any, Tally]:
        """Collect garbage a day from now."""
        clocks = Time(lambda: time.time() + 86400, time.monotonic)
        rules = Rules(age=3600, untagged=False, dry_run=False)
        return Collection(self.driver, rules, clocks, lambda: succeed(None), lambda _: None).run()

    def test_collection(self) -> None:
        """A damaged manifest, which keeps garbage from being collected, does so no more when it is in quarantine."""
        self.damage_blob(self.pushed)
        self.raises(errors.StorageFault, self.collect())
        self.mended()
        self.run_now(self.collect())
        self.assertIn(layout.blob_data(self.config), self.files())

    def test_blob_pushed_meanwhile(self) -> None:
        """Bytes that were pushed again before they were moved are there afterwards, and nothing is in quarantine."""
        path, sound, move = layout.blob_data(self.layer), self.bytes_of(self.layer), self.driver.move
        self.damage_blob(self.layer)

        async def late(source: str, target: str) -> None:
            if source == path:
                self.store(path, sound)
            await move(source, target)

        self.patch(self.driver, "move", late)
        self.mended()
        self.assertEqual((self.stored(path), self.quarantined()), (sound, {}))

    def test_blob_pushed_after(self) -> None:
        """A manifest whose blob is pushed again as soon as the damaged one is moved is whole in the same run."""
        path, sound = layout.blob_data(self.layer), self.bytes_of(self.layer)
        self.damage_blob(self.layer)

        def settle() -> Awaitable[object]:
            if path not in self.files():
                self.push(sound, algorithm="sha512")
            return succeed(None)

        self.assertEqual([kind for kind, _, _ in self.mended(settle)], ["blob-damaged"])

    def test_link(self) -> None:
        """A broken link is written again where the bytes it is named for are sound, and only there."""
        other = self.push(b"other")
        self.remove(layout.blob_data(other))
        links = [layout.layer_link(NAME, digest) for digest in (self.config, other)]
        revision = layout.revision_link(NAME, self.pushed)
        for link in (*links, revision):
            self.store(link, b"")
        mended = self.mended()
        for digest, done in ((self.config, True), (other, False), (self.pushed, True)):
            self.assertIn(("link-broken", str(digest), done), mended)
        self.assertEqual(
            [self.stored(link) for link in (*links, revision)],
            [str(self.config).encode(), b"", str(self.pushed).encode()],
        )
        self.remove(links[1])
        self.assertEqual((self.findings(), self.quarantined()), ([], {}))

    def test_link_of_damaged_bytes(self) -> None:
        """A broken link is not written again where the bytes it is named for are damaged."""
        link = layout.layer_link(NAME, self.config)
        self.store(link, b"")
        self.damage_blob(self.config)
        self.assertFalse(self.inspect(quick=True, repair=True)[0].mended)
        self.assertEqual(self.stored(link), b"")

    def test_history(self) -> None:
        """A broken link of a tag's history is written again."""
        link = layout.tag_history_link(NAME, "1", self.pushed)
        self.store(link, b"")
        self.assertEqual(self.mended(), [("link-broken", f"1@{self.pushed}", True)])
        self.assertEqual((self.stored(link), self.findings()), (str(self.pushed).encode(), []))

    def test_deleted_meanwhile(self) -> None:
        """A link that a client deletes while its bytes are read does not come back."""
        link, open_reader = layout.layer_link(NAME, self.config), self.driver.open_reader
        self.store(link, b"")

        async def delete(path: str, offset: int = 0) -> IFileReader:
            self.remove(link)
            return await open_reader(path, offset)

        self.patch(self.driver, "open_reader", delete)
        (broken, *_) = self.inspect(quick=True, repair=True)
        self.assertEqual((broken.kind, broken.mended), ("link-broken", False))
        self.assertNotIn(link, self.files())

    def test_unlisted_referrer(self) -> None:
        """A referrer that is not listed is."""
        entry = layout.referrer(NAME, self.pushed, self.referrer)
        content = self.stored(entry)
        self.remove(entry)
        self.assertEqual(self.mended(), [("referrer-missing", str(self.referrer), True)])
        self.assertEqual((self.stored(entry), self.findings()), (content, []))

    def test_stale_referrer(self) -> None:
        """An entry without its manifest goes to quarantine, unless it may be that of a push under way."""
        entry = layout.referrer(NAME, self.pushed, self.referrer)
        content = self.stored(entry)
        self.remove(layout.revision_link(NAME, self.referrer))
        self.later = 0
        self.assertEqual(self.mended(), [("referrer-stale", str(self.referrer), False)])
        self.assertEqual(self.stored(entry), content)
        self.later = 3600
        self.assertEqual(self.mended(), [("referrer-stale", str(self.referrer), True)])
        self.assertEqual((self.quarantined(), self.findings()), ({entry: content}, []))

    def test_dead_tag(self) -> None:
        """A broken tag that never pointed to what is still there goes to quarantine, with its history."""
        self.run_now(self.registry.tags.point(NAME, Tag("dead"), ELSEWHERE))
        link, history = layout.tag_link(NAME, "dead"), layout.tag_history_link(NAME, "dead", ELSEWHERE)
        self.store(link, b"\0\0")
        self.assertEqual(self.mended(), [("tag-broken", "dead", True)])
        self.assertEqual(self.quarantined(), {link: b"\0\0", history: str(ELSEWHERE).encode()})
        self.assertEqual((self.findings(), self.run_now(self.registry.tags.names(NAME))), ([], ["1"]))

    def test_broken_tag(self) -> None:
        """A broken tag that pointed to what is still there is left for someone to decide."""
        self.store(layout.tag_link(NAME, "1"), b"")
        before = self.tree()
        self.assertEqual(self.mended(), [("tag-broken", "1", False)])
        self.assertEqual((self.tree(), self.quarantined()), (before, {}))

    def test_written_meanwhile(self) -> None:
        """A tag that is pushed while it is being set aside stays, and nothing is in quarantine."""
        link, write = layout.tag_link(NAME, "dead"), self.driver.write
        self.store(link, b"")

        async def push(path: str, content: bytes, durable: bool = True) -> None:
            await write(path, content, durable)
            if path == layout.quarantine(RUN) + link:
                self.run_now(self.driver.touch([link]))
                self.store(link, str(self.pushed).encode())

        self.patch(self.driver, "write", push)
        self.assertEqual(self.mended(), [("tag-broken", "dead", False)])
        self.assertEqual((self.stored(link), self.quarantined()), (str(self.pushed).encode(), {}))

    def test_what_is_gone(self) -> None:
        """What is only missing is told, and nothing is made up for it or removed."""
        self.remove(layout.blob_data(self.pushed))
        self.remove(layout.layer_link(NAME, self.layer))
        before = self.tree()
        self.assertEqual({done for _, _, done in self.mended()}, {False})
        self.assertEqual((self.tree(), self.quarantined()), (before, {}))
