"""Blobs of repositories, and the links to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.content.case import CONTENT, NAME, OTHER, ContentCase
from txregistry import errors
from txregistry.content import layout
from txregistry.content.links import concurrently
from txregistry.digest import Digest

ABSENT = Digest.of(b"no such blob")


class TestFind(ContentCase):
    """Which blobs a repository has."""

    def test_found(self) -> None:
        """A blob that was pushed is found by its digest, with its size and its bytes."""
        digest = self.push(CONTENT)
        blob = self.run_now(self.registry.blobs.find(NAME, digest))
        self.assertEqual((blob.digest, blob.size), (digest, len(CONTENT)))
        self.assertEqual(self.bytes_of(digest), CONTENT)
        self.assertTrue(self.run_now(self.registry.blobs.places(NAME, digest)))

    def test_unknown(self) -> None:
        """A blob that no one pushed is unknown, and so it is in a repository that is not there."""
        self.push(CONTENT)
        for name in (NAME, OTHER):
            error = self.raises(errors.BlobUnknown, self.registry.blobs.find(name, ABSENT))
            self.assertEqual(error.detail, {"digest": str(ABSENT)})
            self.assertFalse(self.run_now(self.registry.blobs.places(name, ABSENT)))

    def test_of_another_repository(self) -> None:
        """A blob of one repository is not one of another, though its bytes are there."""
        digest = self.push(CONTENT)
        self.raises(errors.BlobUnknown, self.registry.blobs.find(OTHER, digest))

    def test_bytes_are_gone(self) -> None:
        """A link whose bytes were swept away is no blob."""
        digest = self.push(CONTENT)
        self.run_now(self.driver.delete(layout.blob_data(digest)))
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, digest))

    def test_other_algorithm(self) -> None:
        """A sha512 digest that Distribution linked to the sha256 of the same bytes finds them."""
        digest, wanted = self.push(CONTENT), Digest.of(CONTENT, "sha512")
        self.store(layout.layer_link(NAME, wanted), str(digest).encode())
        blob = self.run_now(self.registry.blobs.find(NAME, wanted))
        self.assertEqual((blob.digest, blob.path), (wanted, layout.blob_data(digest)))

    def test_link_elsewhere(self) -> None:
        """A link to another blob than its name says is none: neither is served nor mounted."""
        digest, other = self.push(b"one"), self.push(b"two")
        link = layout.layer_link(NAME, digest)
        self.store(link, str(other).encode())
        blobs = self.registry.blobs
        self.assertFalse(self.complains(link, blobs.places(NAME, digest)))
        self.raises(errors.BlobUnknown, blobs.find(NAME, digest))
        self.raises(errors.BlobUnknown, blobs.delete(NAME, digest))
        before = self.tree()
        self.assertFalse(self.complains(link, blobs.mount(NAME, OTHER, digest)))
        self.assertEqual(self.tree(), before)
        self.assertFalse(self.run_now(blobs.places(OTHER, digest)))

    def test_damaged_link(self) -> None:
        """A link that holds no digest is none, and the log tells of it."""
        digest = self.push(CONTENT)
        link = layout.layer_link(NAME, digest)
        for content in (b"", b"sha256:", str(digest).encode()[:-1], b"\xff"):
            self.store(link, content)
            self.assertFalse(self.complains(link, self.registry.blobs.places(NAME, digest)))
            self.assertFalse(self.complains(link, self.registry.blobs.mount(NAME, OTHER, digest)))
            self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, digest))
        self.assertFalse(self.run_now(self.registry.blobs.places(OTHER, digest)))

    def test_push_repairs(self) -> None:
        """Pushing a blob again mends its bytes and its link, whatever is wrong with them."""
        digest, other = self.push(CONTENT), self.push(b"other")
        for link in (b"", str(digest).encode()[:-1], str(other).encode(), b"\xff"):
            self.damage_blob(digest)
            self.store(layout.layer_link(NAME, digest), link)
            self.push(CONTENT)
            self.assertEqual(self.bytes_of(digest), CONTENT)

    def test_mount_repairs(self) -> None:
        """Mounting a blob from elsewhere mends its link."""
        digest, other = self.push(CONTENT), self.push(b"other")
        for source in (OTHER, None):
            for link in (b"", str(other).encode()):
                self.push(CONTENT, OTHER)
                self.store(layout.layer_link(NAME, digest), link)
                self.assertTrue(self.run_now(self.registry.blobs.mount(source, NAME, digest)))
                self.assertEqual(self.bytes_of(digest), CONTENT)


class TestMount(ContentCase):
    """Blobs that one repository has of another."""

    def test_mounted(self) -> None:
        """A mounted blob is one of both repositories, and its bytes are stored once."""
        digest = self.push(CONTENT)
        before = self.files()
        self.assertTrue(self.run_now(self.registry.blobs.mount(NAME, OTHER, digest)))
        self.assertEqual(self.bytes_of(digest, OTHER), CONTENT)
        self.assertEqual(self.files() - before, {layout.layer_link(OTHER, digest)})

    def test_absent(self) -> None:
        """What the source does not have is not mounted, even if the bytes are there; nothing is stored."""
        digest = self.push(CONTENT)
        dangling = self.push(b"swept")
        self.run_now(self.driver.delete(layout.blob_data(dangling)))
        before = self.tree()
        self.assertFalse(self.run_now(self.registry.blobs.mount(NAME, OTHER, ABSENT)))
        self.assertFalse(self.run_now(self.registry.blobs.mount(OTHER, NAME, digest)))
        self.assertFalse(self.run_now(self.registry.blobs.mount(NAME, OTHER, dangling)))
        self.assertEqual(self.tree(), before)

    def test_from_anywhere(self) -> None:
        """A blob can be mounted without naming a repository that has it, as long as its bytes are there."""
        digest, wide = self.push(CONTENT), self.push(CONTENT, algorithm="sha512")
        for wanted in (digest, wide):
            self.assertTrue(self.run_now(self.registry.blobs.mount(None, OTHER, wanted)))
            self.assertEqual(self.bytes_of(wanted, OTHER), CONTENT)
        before = self.tree()
        self.assertFalse(self.run_now(self.registry.blobs.mount(None, OTHER, ABSENT)))
        self.assertEqual(self.tree(), before)

    def test_other_algorithm(self) -> None:
        """A blob that is linked to another algorithm's digest can be read where it is mounted."""
        wanted = Digest.of(CONTENT, "sha512")
        self.store(layout.layer_link(NAME, wanted), str(self.push(CONTENT)).encode())
        self.assertTrue(self.run_now(self.registry.blobs.mount(NAME, OTHER, wanted)))
        self.assertEqual(self.bytes_of(wanted, OTHER), CONTENT)


class TestDelete(ContentCase):
    """Blobs that are taken away."""

    def test_deleted(self) -> None:
        """A deleted blob is unknown to its repository, and another keeps it."""
        digest = self.push(CONTENT)
        self.run_now(self.registry.blobs.mount(NAME, OTHER, digest))
        self.run_now(self.registry.blobs.delete(NAME, digest))
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, digest))
        self.assertEqual(self.bytes_of(digest, OTHER), CONTENT)
        self.raises(errors.BlobUnknown, self.registry.blobs.delete(NAME, digest))

    def test_unknown(self) -> None:
        """Deleting what is not there is refused and changes nothing."""
        self.push(CONTENT)
        before = self.tree()
        self.raises(errors.BlobUnknown, self.registry.blobs.delete(NAME, ABSENT))
        self.assertEqual(self.tree(), before)

    def test_pushed_again(self) -> None:
        """A blob that was deleted can be pushed again."""
        digest = self.push(CONTENT)
        self.run_now(self.registry.blobs.delete(NAME, digest))
        self.push(CONTENT)
        self.assertEqual(self.bytes_of(digest), CONTENT)


class TestLinks(ContentCase):
    """The files by which one thing points to another."""

    PATH = "/docker/link"

    def test_format(self) -> None:
        """A link is the digest and nothing more, so that Distribution can read it."""
        digest = self.push(CONTENT)
        self.assertEqual(self.stored(layout.layer_link(NAME, digest)), str(digest).encode())

    def test_newline(self) -> None:
        """A newline that someone's editor left at the end does no harm."""
        self.store(self.PATH, f"{ABSENT}\n".encode())
        self.assertEqual(self.run_now(self.registry.manifests.links.read(self.PATH)), ABSENT)

    def test_absent(self) -> None:
        """Where there is no link there is no digest, and nothing to delete."""
        links = self.registry.manifests.links
        self.assertIsNone(self.run_now(links.read(self.PATH)))
        self.assertFalse(self.run_now(links.delete(self.PATH)))

    def test_damaged(self) -> None:
        """A link that holds no digest counts as none, and the log names it; far too long, it is a fault."""
        text = str(ABSENT).encode()
        for content in (
            b"",
            b"\n",
            text[:-1],
            text + b"0",
            text * 2,
            b"\xff" + text,
            b"x" * 1000,
            b" " + text,
        ):
            self.store(self.PATH, content)
            self.assertIsNone(self.complains(self.PATH, self.registry.manifests.links.read(self.PATH)))
        self.store(self.PATH, b"x" * 5000)
        error = self.raises(errors.StorageFault, self.registry.manifests.links.read(self.PATH))
        self.assertEqual(error.path, self.PATH)

    @given(st.binary(max_size=100) | st.from_regex(rb"sha(256|512):[0-9a-f]{64}\n*", fullmatch=True))
    def test_any_content(self, content: bytes) -> None:
        """A link of any content holds a digest, which is what it spells, or counts as none."""
        self.store(self.PATH, content)
        with capturedLogs() as told:
            digest = self.run_now(self.registry.manifests.links.read(self.PATH))
        if digest is None:
            self.assertEqual([event["path"] for event in told], [self.PATH])
        else:
            self.assertEqual(told, [])
            self.assertEqual(str(digest).encode(), content.rstrip(b"\n"))


class TestConcurrently(ContentCase):
    """Work on many things at once."""

    def test_in_order(self) -> None:
        """Results come in the order of the items, however many and in whatever order they are ready."""
        waiting: list[Deferred[None]] = []
        most = 0

        async def work(item: int) -> int:
            nonlocal most
            waiting.append(Deferred())
            most = max(most, len(waiting))
            await waiting[-1]
            return item * 2

        result = Deferred.fromCoroutine(concurrently(work, range(100)))
        while waiting:
            waiting.pop().callback(None)
        self.assertEqual(self.successResultOf(result), [item * 2 for item in range(100)])
        self.assertTrue(1 < most < 50, most)

    def test_nothing(self) -> None:
        """No items, no results."""

        async def work(item: int) -> int:
            return item

        self.assertEqual(self.run_now(concurrently(work, [])), [])

    def test_failure(self) -> None:
        """The exception of the first that fails is raised as it is."""
        failure = errors.StorageUnavailable("/x")

        async def work(item: int) -> int:
            if item == 3:
                raise failure
            return item

        self.assertIs(self.raises(errors.StorageUnavailable, concurrently(work, range(40))), failure)
