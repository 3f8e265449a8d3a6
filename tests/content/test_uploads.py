"""Upload sessions."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from tests.content.case import CONTENT, NAME, OTHER, ContentCase, Pieces, SlowDriver, in_thread, pieces
from txregistry import errors
from txregistry.content import layout, uploads
from txregistry.content.registry import Registry
from txregistry.content.uploads import Uploads
from txregistry.digest import Digest, Digester

HALF = len(CONTENT) // 2
ABSENT = "00000000-0000-4000-8000-000000000000"


class UploadCase(ContentCase):
    """What the tests of uploads are written with."""

    async def send(
        self, upload_id: str, content: bytes, digest: Digest | None = None, registry: Registry | None = None
    ) -> int:
        """Append *content* as one request does, and commit if there is a *digest*; return the offset."""
        uploads = (registry or self.registry).uploads
        session = await uploads.open(NAME, upload_id, digest.algorithm if digest else "sha256")
        try:
            await session.append(pieces(content))
            if digest is not None:
                await session.commit(digest)
        finally:
            await session.close()
        return session.offset

    def state_path(self, upload_id: str, offset: int, algorithm: str = "sha256") -> str:
        """Return where Distribution keeps a hash state."""
        return f"{layout.upload(NAME, upload_id)}/hashstates/{algorithm}/{offset}"

    def data(self, upload_id: str) -> bytes:
        """Return what an upload has stored."""
        return self.stored(layout.upload_data(NAME, upload_id))

    def assert_gone(self, upload_id: str) -> None:
        """Fail unless no one can find an upload, and nothing of it is stored."""
        self.raises(errors.BlobUploadUnknown, self.registry.uploads.find(NAME, upload_id))
        self.assertEqual([path for path in self.tree() if upload_id in path], [])

    def assert_no_blob(self, content: bytes = CONTENT) -> None:
        """Fail if *content* is a blob."""
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, Digest.of(content)))


class TestBegin(UploadCase):
    """A new session."""

    def test_begin(self) -> None:
        """A new session is empty, is found by its id, and says when it began."""
        uploads = Uploads(
            self.driver,
            self.registry.uploads.links,
            in_thread,
            now=lambda: datetime(2026, 11, 23, 21, 53, 26, 999_999, UTC),
        )
        upload = self.run_now(uploads.begin(NAME))
        self.assertEqual((upload.repository, upload.size), (NAME, 0))
        self.assertEqual(str(uuid.UUID(upload.id)), upload.id)
        self.assertEqual(upload.started, "2026-11-23T21:53:26Z")
        self.assertEqual(self.stored(layout.upload_started(NAME, upload.id)), b"2026-11-23T21:53:26Z")
        self.assertEqual(self.run_now(self.another().uploads.find(NAME, upload.id)), upload)

    def test_ids_differ(self) -> None:
        """No two sessions have one id."""
        ids = {self.run_now(self.registry.uploads.begin(NAME)).id for _ in range(50)}
        self.assertEqual(len(ids), 50)

    def test_is_no_repository(self) -> None:
        """Uploads alone make no repository that anyone could list."""
        self.upload(CONTENT)
        self.assertEqual(self.run_now(self.registry.catalog.names(10)), [])
        self.raises(errors.NameUnknown, self.registry.tags.names(NAME))


class TestCommit(UploadCase):
    """From bytes to a blob."""

    def test_committed(self) -> None:
        """Committed bytes are a blob of the repository, and nothing is left of the session."""
        for algorithm in ("sha256", "sha512"):
            upload = self.upload()
            digest = Digest.of(CONTENT, algorithm)
            self.run_now(self.send(upload.id, CONTENT, digest))
            self.assertEqual(self.bytes_of(digest), CONTENT)
            self.assertEqual(self.stored(layout.layer_link(NAME, digest)), str(digest).encode())
            self.assert_gone(upload.id)

    def test_order(self) -> None:
        """The bytes are durable before they are a blob, and a blob before the repository has it."""
        upload = self.upload()
        digest = Digest.of(CONTENT)
        self.driver.calls.clear()
        self.run_now(self.send(upload.id, CONTENT, digest))
        self.assertEqual(
            self.driver.calls,
            [
                ("sync", layout.upload_data(NAME, upload.id)),
                ("delete", layout.upload_started(NAME, upload.id)),
                ("move", layout.blob_data(digest)),
                ("write", layout.layer_link(NAME, digest)),
                ("delete", layout.upload(NAME, upload.id)),
            ],
        )

    def test_killed(self) -> None:
        """A session that was killed while it became a blob is unknown, never one of fewer bytes than it had."""

        class Killed(Exception):
            pass

        async def commit(upload_id: str, rest: bytes) -> None:
            session = await self.registry.uploads.open(NAME, upload_id)
            try:
                await session.append(pieces(rest))
                await session.commit(Digest.of(CONTENT))
            finally:
                # The kernel lets go of what a killed process held, and does nothing else for it.
                await session._writer.close()

        for begun in (b"", CONTENT[:HALF], CONTENT):
            for step in (("move", "blobs"), ("write", "_layers")):
                upload = self.upload(begun)
                self.driver.failing = {step: Killed()}
                self.raises(Killed, commit(upload.id, CONTENT[len(begun) :]))
                self.driver.failing = {}
                uploads = self.another().uploads
                self.raises(errors.BlobUploadUnknown, uploads.find(NAME, upload.id))
                self.raises(errors.BlobUploadUnknown, uploads.open(NAME, upload.id))
                self.push(CONTENT)
                self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)
                self.run_now(self.registry.blobs.delete(NAME, Digest.of(CONTENT)))

    def test_nothing_is_read_again(self) -> None:
        """Bytes that were hashed as they came are not read again to be committed."""
        self.push(CONTENT)
        self.assertEqual(self.driver.opened, [])

    def test_empty(self) -> None:
        """An upload of nothing is the empty blob, and no other."""
        self.assertEqual(self.bytes_of(self.push(b"")), b"")
        upload = self.upload()
        self.raises(errors.DigestInvalid, self.send(upload.id, b"", Digest.of(b"x")))

    def test_empty_chunks(self) -> None:
        """Chunks of no bytes are no end of the body."""
        upload = self.upload()

        async def send() -> None:
            session = await self.registry.uploads.open(NAME, upload.id)
            await session.append(Pieces([[b""], [b"a", b""], [b"", b"b"]]))
            await session.commit(Digest.of(b"ab"))
            await session.close()

        self.run_now(send())
        self.assertEqual(self.bytes_of(Digest.of(b"ab")), b"ab")

    def test_wrong_digest(self) -> None:
        """Bytes of another digest are refused, and they and their session are gone."""
        for algorithm in ("sha256", "sha512"):
            for begun in (b"", CONTENT[:HALF]):
                upload = self.upload(begun)
                wrong = Digest.of(b"other", algorithm)
                error = self.raises(errors.DigestInvalid, self.send(upload.id, CONTENT[len(begun) :], wrong))
                self.assertEqual(error.detail, {"digest": str(wrong)})
                self.assert_gone(upload.id)
                self.assertEqual(self.files(), set())

    def test_blob_returned(self) -> None:
        """What a commit returns is what is found afterwards."""
        upload = self.upload(CONTENT)

        async def commit() -> object:
            session = await self.registry.uploads.open(NAME, upload.id)
            blob = await session.commit(Digest.of(CONTENT))
            await session.close()
            return blob

        blob = self.run_now(commit())
        self.assertEqual(blob, self.run_now(self.registry.blobs.find(NAME, Digest.of(CONTENT))))


class TestResume(UploadCase):
    """A session that goes on in a later request, perhaps of another process."""

    def setUp(self) -> None:
        """Make every session one that is worth keeping."""
        super().setUp()
        self.patch(uploads, "WORTH_KEEPING", 1)

    def test_small(self) -> None:
        """Of a few bytes neither syncs nor hashes are made before there is a blob; they are hashed again."""
        self.patch(uploads, "WORTH_KEEPING", HALF + 1)
        upload = self.upload(CONTENT[:HALF])
        self.assertEqual(self.driver.calls[1:], [])
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT)))
        self.assertIn(("sync", layout.upload_data(NAME, upload.id)), self.driver.calls)
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_state_is_taken_up(self) -> None:
        """A later request goes on with the hash where it was, and reads nothing again."""
        upload = self.upload(CONTENT[:HALF])
        self.assertEqual(upload.size, HALF)
        registry = self.another()

        async def go_on() -> None:
            session = await registry.uploads.open(NAME, upload.id)
            assert session.digester is not None
            self.assertEqual((session.offset, session.digester.offset), (HALF, HALF))
            self.assertEqual(session.upload, upload)
            await session.append(pieces(CONTENT[HALF:]))
            await session.commit(Digest.of(CONTENT))
            await session.close()

        self.run_now(go_on())
        self.assertEqual(self.driver.opened, [])
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_state_is_distributions(self) -> None:
        """The hash is kept where Distribution looks for it, as it writes it."""
        upload = self.upload(CONTENT[:HALF])
        digester = Digester()
        digester.update(CONTENT[:HALF])
        self.assertEqual(self.stored(self.state_path(upload.id, HALF)), digester.state())

    def test_bytes_are_synced_first(self) -> None:
        """What a request acknowledges is durable, and before its hash is saved."""
        upload = self.upload()
        self.driver.calls.clear()
        self.run_now(self.send(upload.id, CONTENT))
        self.assertEqual(
            self.driver.calls,
            [
                ("sync", layout.upload_data(NAME, upload.id)),
                ("write", self.state_path(upload.id, len(CONTENT))),
            ],
        )

    def test_without_a_state(self) -> None:
        """Where the hash was not saved the bytes are read again, and the blob is the same."""
        upload = self.upload(CONTENT[:HALF])
        self.run_now(self.driver.delete(f"{layout.upload(NAME, upload.id)}/hashstates"))
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT)))
        self.assertEqual(self.driver.opened, [layout.upload_data(NAME, upload.id)])
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_without_a_state_for_long(self) -> None:
        """A session whose hash is unknown takes any number of requests more."""
        upload = self.upload(CONTENT[:HALF])
        self.run_now(self.driver.delete(f"{layout.upload(NAME, upload.id)}/hashstates"))
        self.assertEqual(self.run_now(self.send(upload.id, CONTENT[HALF:-1])), len(CONTENT) - 1)
        self.run_now(self.send(upload.id, CONTENT[-1:], Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_damaged_state(self) -> None:
        """A hash that was damaged, or is none, neither fails a right blob nor passes a wrong one."""
        good, other = Digester(), Digester("sha512")
        good.update(CONTENT[:HALF])
        other.update(CONTENT[:HALF])
        elsewhere = Digester()
        elsewhere.update(CONTENT[: HALF - 64])
        state = good.state()
        flipped = state[:20] + bytes([state[20] ^ 1]) + state[21:]
        pickled = b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix."
        for bad in (b"", state[:-1], flipped, other.state(), elsewhere.state(), pickled, b"{" * 100_000):
            for content, accepted in ((CONTENT, True), (CONTENT[:-1] + b"?", False)):
                upload = self.upload(CONTENT[:HALF])
                self.store(self.state_path(upload.id, HALF), bad)
                sending = self.send(upload.id, content[HALF:], Digest.of(CONTENT))
                if accepted:
                    self.run_now(sending)
                    self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)
                    self.run_now(self.registry.blobs.delete(NAME, Digest.of(CONTENT)))
                else:
                    self.raises(errors.DigestInvalid, sending)
                    self.assert_no_blob()
                self.assert_gone(upload.id)

    def test_state_of_another_offset(self) -> None:
        """A hash of fewer bytes than are stored is not gone on from."""
        upload = self.upload(CONTENT[:HALF])
        earlier = Digester()
        earlier.update(CONTENT[: HALF - 64])
        self.store(self.state_path(upload.id, HALF), earlier.state())
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.assertIsNone(session.digester)
        self.run_now(session.close())

    def test_directory_for_a_state(self) -> None:
        """What else may lie where a hash belongs is passed over."""
        upload = self.upload()
        self.store(layout.upload_data(NAME, upload.id), CONTENT[:HALF])
        self.store(self.state_path(upload.id, HALF) + "/below", b"")
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_state_cannot_be_saved(self) -> None:
        """Bytes that are stored are kept where only their hash could not be saved."""
        upload = self.upload()
        self.driver.failing["write", "hashstates"] = errors.StorageFull("/x")
        self.assertEqual(self.run_now(self.send(upload.id, CONTENT[:HALF])), HALF)
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_bytes_changed_meanwhile(self) -> None:
        """Bytes that grew behind the registry's back are what is hashed."""
        upload = self.upload(CONTENT[:HALF])
        self.store(layout.upload_data(NAME, upload.id), CONTENT[: HALF + 7])
        self.assertEqual(self.run_now(self.registry.uploads.find(NAME, upload.id)).size, HALF + 7)
        self.run_now(self.send(upload.id, CONTENT[HALF + 7 :], Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_another_algorithm_at_the_end(self) -> None:
        """A session hashed by sha256 can be committed by sha512: its bytes are read again."""
        upload = self.upload(CONTENT[:HALF])
        digest = Digest.of(CONTENT, "sha512")
        self.run_now(self.send(upload.id, CONTENT[HALF:], digest))
        self.assertEqual(self.bytes_of(digest), CONTENT)
        self.assertEqual(self.driver.opened, [layout.upload_data(NAME, upload.id)])

    def test_opened_for_another_algorithm(self) -> None:
        """A session that was opened for one algorithm can be committed by the other."""
        upload = self.upload()
        digest = Digest.of(CONTENT, "sha512")

        async def send() -> None:
            session = await self.registry.uploads.open(NAME, upload.id, "sha256")
            await session.append(pieces(CONTENT))
            await session.commit(digest)
            await session.close()

        self.run_now(send())
        self.assertEqual(self.bytes_of(digest), CONTENT)

    def test_unknown_algorithm(self) -> None:
        """A session that is opened for an algorithm that is not known is let go of, and stays."""
        upload = self.upload()
        self.raises(errors.DigestInvalid, self.registry.uploads.open(NAME, upload.id, "md5"))
        self.run_now(self.send(upload.id, CONTENT, Digest.of(CONTENT)))

    @given(
        st.lists(st.binary(max_size=200), max_size=5),
        st.sampled_from(["sha256", "sha512"]),
        st.lists(st.sampled_from(["keep", "lose", "damage"]), min_size=5, max_size=5),
    )
    def test_any_requests(self, parts: list[bytes], algorithm: str, fates: list[str]) -> None:
        """However a blob is cut into requests, and whatever becomes of the saved hashes, it is the same."""
        content = b"".join(parts)
        digest = Digest.of(content, algorithm)
        upload = self.upload()
        for part, fate in zip(parts, fates, strict=False):
            offset = self.run_now(self.send(upload.id, part, registry=self.another()))
            if fate == "lose":
                self.store(self.state_path(upload.id, offset), b"")
                self.run_now(self.driver.delete(self.state_path(upload.id, offset)))
            elif fate == "damage":
                self.store(self.state_path(upload.id, offset), b"sha\x03" + bytes(104))
            self.store(self.state_path(upload.id, offset + 1), b"")
        self.run_now(self.send(upload.id, b"", digest))
        self.assertEqual(self.bytes_of(digest), content)
        self.assert_gone(upload.id)


class TestAlone(UploadCase):
    """One writer at a time."""

    def test_busy(self) -> None:
        """A second writer is told so, with the bytes there are, and the first goes on."""
        upload = self.upload(CONTENT[:HALF])
        registry = self.another()
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        for attempt in (registry.uploads.open(NAME, upload.id), registry.uploads.cancel(NAME, upload.id)):
            error = self.raises(errors.UploadBusy, attempt)
            self.assertEqual((error.size, error.detail), (HALF, {"offset": HALF}))
        self.assertEqual(self.run_now(registry.uploads.find(NAME, upload.id)), upload)
        self.run_now(session.append(pieces(CONTENT[HALF:])))
        self.run_now(session.commit(Digest.of(CONTENT)))
        self.run_now(session.close())
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_free_again(self) -> None:
        """A session that was closed, more than once even, can be opened again."""
        upload = self.upload(CONTENT)
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.run_now(session.close())
        again = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.run_now(session.close())
        self.raises(errors.UploadBusy, self.registry.uploads.open(NAME, upload.id))
        self.run_now(again.close())
        self.assertEqual(self.data(upload.id), CONTENT)

    def test_looking_changes_nothing(self) -> None:
        """A session that is opened and closed without a byte is as it was."""
        upload = self.upload(CONTENT)
        before = self.tree()
        self.driver.calls.clear()
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.run_now(session.close())
        self.assertEqual(self.tree(), before)
        self.assertEqual(self.driver.calls, [])


class TestCancel(UploadCase):
    """Sessions that are given up, and ids that no session has."""

    def test_cancelled(self) -> None:
        """A cancelled session is gone with its bytes."""
        upload = self.upload(CONTENT)
        self.run_now(self.registry.uploads.cancel(NAME, upload.id))
        self.assert_gone(upload.id)
        self.assertEqual(self.files(), set())
        self.raises(errors.BlobUploadUnknown, self.registry.uploads.cancel(NAME, upload.id))

    def test_unknown(self) -> None:
        """An id that no session has is refused, and trying it leaves no trace."""
        self.upload(CONTENT)
        before = self.tree()
        uploads = self.registry.uploads
        for attempt in (uploads.find(NAME, ABSENT), uploads.open(NAME, ABSENT), uploads.cancel(NAME, ABSENT)):
            error = self.raises(errors.BlobUploadUnknown, attempt)
            self.assertEqual(error.detail, {"id": ABSENT})
            self.assertEqual(self.tree(), before)

    def test_of_another_repository(self) -> None:
        """A session belongs to its repository: under another name it is unknown, and stays as it is."""
        upload = self.upload(CONTENT)
        before = self.files()
        uploads = self.registry.uploads
        for attempt in (
            uploads.find(OTHER, upload.id),
            uploads.open(OTHER, upload.id),
            uploads.cancel(OTHER, upload.id),
        ):
            self.raises(errors.BlobUploadUnknown, attempt)
        self.assertEqual(self.files(), before)

    def test_committed(self) -> None:
        """A session that was committed is unknown to whoever comes after."""
        upload = self.upload()
        self.run_now(self.send(upload.id, CONTENT, Digest.of(CONTENT)))
        self.raises(errors.BlobUploadUnknown, self.registry.uploads.open(NAME, upload.id))
        self.assert_gone(upload.id)


class TestTogether(ContentCase):
    """Requests for one session at once."""

    @given(st.randoms(use_true_random=False))
    def test_cancel_and_open(self, random: Any) -> None:
        """However an opening and a cancellation meet, one is refused, and what was opened is whole."""
        driver = SlowDriver()
        uploads = Registry.on(driver, in_thread).uploads
        upload = self.run_now(uploads.begin(NAME))
        driver.slow = True
        cancelling = Deferred.fromCoroutine(uploads.cancel(NAME, upload.id))
        for _ in range(random.randrange(4)):
            if driver.waiting:
                driver.waiting.pop(0).callback(None)
        opening = Deferred.fromCoroutine(uploads.open(NAME, upload.id))
        driver.finish(random)
        self.successResultOf(cancelling)
        self.failureResultOf(opening, errors.UploadBusy, errors.BlobUploadUnknown)
        self.raises(errors.BlobUploadUnknown, uploads.find(NAME, upload.id))


class TestTrouble(UploadCase):
    """Storage that fails, and clients that vanish."""

    def test_full(self) -> None:
        """Where there is no more room the session is gone, and its bytes make room again."""
        for begun in (b"", CONTENT[:HALF]):
            self.driver.room = 2**63
            upload = self.upload(begun)
            self.driver.room = 2500
            self.raises(errors.StorageFull, self.send(upload.id, CONTENT[len(begun) :], Digest.of(CONTENT)))
            self.assert_gone(upload.id)
            self.assert_no_blob()
            self.assertEqual(self.files(), set())

    def test_client_vanishes(self) -> None:
        """Bytes that arrived before the client vanished are kept, and a later request goes on from there."""
        upload = self.upload()

        async def vanish() -> None:
            session = await self.registry.uploads.open(NAME, upload.id)
            try:
                await session.append(pieces(CONTENT[:HALF], failure=errors.ClientGone()))
            finally:
                await session.close()

        self.raises(errors.ClientGone, vanish())
        self.assertEqual(self.run_now(self.registry.uploads.find(NAME, upload.id)).size, HALF)
        self.assertEqual(self.data(upload.id), CONTENT[:HALF])
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT), self.another()))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)
        self.assertEqual(self.driver.opened, [])

    def test_cancelled_request(self) -> None:
        """A request that is cancelled while it waits for more keeps what has come, and lets go."""
        upload = self.upload()
        more: Deferred[list[bytes]] = Deferred()

        class Waiting(Pieces):
            async def read(self) -> list[bytes]:
                return list(await super().read()) if self.batches else await more

        async def send() -> None:
            session = await self.registry.uploads.open(NAME, upload.id)
            try:
                await session.append(Waiting([[CONTENT[:HALF]]]))
            finally:
                await session.close()

        sending = Deferred.fromCoroutine(send())
        self.assertNoResult(sending)
        self.raises(errors.UploadBusy, self.registry.uploads.open(NAME, upload.id))
        sending.cancel()
        self.failureResultOf(sending, CancelledError)
        self.run_now(self.send(upload.id, CONTENT[HALF:], Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)

    def test_sync_fails_at_close(self) -> None:
        """Bytes of which no one knows whether they are durable are not acknowledged, and are gone."""
        self.patch(uploads, "WORTH_KEEPING", 1)
        upload = self.upload()
        self.driver.failing["sync", "data"] = errors.StorageFault("/x", "I/O error")
        self.raises(errors.StorageFault, self.send(upload.id, CONTENT))
        self.driver.failing.clear()
        self.assert_gone(upload.id)

    def test_trouble_at_commit(self) -> None:
        """A blob that cannot be made durable, moved or linked is not there, and its session is gone."""
        for step in (("sync", "data"), ("move", "blobs"), ("write", "_layers")):
            upload = self.upload()
            self.driver.failing[step] = errors.StorageUnavailable("/x")
            self.raises(errors.StorageUnavailable, self.send(upload.id, CONTENT, Digest.of(CONTENT)))
            self.driver.failing.clear()
            self.assert_gone(upload.id)
            self.assert_no_blob()

    def test_leftovers_do_not_fail_a_commit(self) -> None:
        """A blob that is stored is acknowledged, even if what is left of its session cannot be removed."""
        upload = self.upload()
        self.driver.failing["delete", "_uploads"] = errors.StorageFault("/x")
        self.run_now(self.send(upload.id, CONTENT, Digest.of(CONTENT)))
        self.assertEqual(self.bytes_of(Digest.of(CONTENT)), CONTENT)
