"""The removal of whole repositories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import succeed

from tests.content.case import NAME, ContentCase, image, pieces
from txregistry import errors, media
from txregistry.content import layout, removal
from txregistry.content.tree import Tree
from txregistry.digest import Digest
from txregistry.reference import RepositoryName, Tag

BELOW = RepositoryName(f"{NAME}/below")
BESIDE = RepositoryName(f"{NAME}-beside")


def nothing() -> Awaitable[object]:
    return succeed(None)


class RemovalTests(ContentCase):
    def image(self, name: RepositoryName, tag: str) -> Digest:
        """Push an image."""
        content = image(self.push(b"{}", name))
        return self.run_now(self.registry.manifests.put(name, Tag(tag), content, media.OCI_MANIFEST)).digest

    def remove(self, settle: Callable[[], Awaitable[object]] = nothing) -> None:
        """Remove the repository."""
        self.run_now(removal.remove(Tree(self.driver, nothing), NAME, settle))

    def own(self, name: RepositoryName = NAME) -> list[str]:
        """Return what there is of a repository."""
        return self.run_now(removal.own(Tree(self.driver, nothing), name))

    def test_whole(self) -> None:
        """All that is a repository's own goes; bytes, and repositories below and beside it, stay."""
        for name in (BELOW, BESIDE):
            self.image(name, "1")
            self.upload(name=name)
        others = self.tree()
        self.image(NAME, "1")
        self.upload()
        self.store(layout.referrer(NAME, Digest.of(b"x"), Digest.of(b"y")), b"{}")
        self.push(b"a blob that no manifest names")
        self.remove()
        self.assertEqual(self.own(), [])
        self.assertEqual(self.run_now(self.registry.catalog.names(9, "")), [str(BESIDE), str(BELOW)])
        left = self.tree()
        self.assertEqual({path: left.get(path) for path in others}, others)
        self.assertIn(layout.blob_data(Digest.of(b"a blob that no manifest names")), left)
        self.image(NAME, "1")

    def test_order(self) -> None:
        """The manifests go first, so that no client meets one whose blobs are gone."""
        self.image(NAME, "1")
        self.upload()
        self.driver.calls.clear()
        self.remove()
        deleted = [path.rpartition("/")[2] for kind, path in self.driver.calls if kind == "delete"]
        self.assertEqual(deleted, ["_manifests", "_layers", "_uploads"])

    def test_stopped(self) -> None:
        """A removal that was stopped half-way is ended by the next."""
        self.image(NAME, "1")
        self.driver.failing["delete", "_layers"] = errors.StorageFault("", "stopped")
        self.raises(errors.StorageFault, removal.remove(Tree(self.driver, nothing), NAME, nothing))
        self.assertEqual(self.run_now(self.registry.catalog.names(9, "")), [])
        self.driver.failing.clear()
        self.assertEqual(self.own(), ["_layers", "_uploads"])
        self.remove()
        self.assertEqual(self.own(), [])

    def test_pushed_meanwhile(self) -> None:
        """A manifest that is acknowledged before the blobs go does not stay without them."""
        self.image(NAME, "1")
        delete, pushed = self.driver.delete, []

        async def push_and_delete(path: str, durable: bool = True) -> None:
            if path.endswith("_layers") and not pushed:
                pushed.append(self.image(NAME, "2"))
            await delete(path, durable)

        self.patch(self.driver, "delete", push_and_delete)
        self.remove()
        self.assertEqual((len(pushed), self.own()), (1, []))

    def test_tagged_meanwhile(self) -> None:
        """A tag that comes last of a push that was under way goes as well."""
        digest, late = self.image(NAME, "1"), ["2"]

        def settle() -> Awaitable[object]:
            if late:
                self.run_now(self.registry.tags.point(NAME, Tag(late.pop()), digest))
            return succeed(None)

        self.remove(settle)
        self.assertEqual((late, self.own()), ([], []))

    def test_upload_under_way(self) -> None:
        """An upload that a client goes on with afterwards is unknown, and leaves nothing behind."""
        upload = self.upload(b"a beginning")
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.remove()
        self.run_now(session.append(pieces(b", an end")))
        self.raises(errors.BlobUploadUnknown, session.commit(Digest.of(b"a beginning, an end")))
        self.run_now(session.close())
        self.raises(errors.BlobUploadUnknown, self.registry.uploads.open(NAME, upload.id))
        self.assertEqual(self.files(), set())
