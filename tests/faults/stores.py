"""What tests of drivers over object stores stand on: a driver, a proxy that makes trouble, and a store behind it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from tests.faults.proxy import BLACKHOLE, ChaosProxy, Head, Reply, Rule, Trouble
from txregistry import errors
from txregistry.objects.driver import ObjectDriver
from txregistry.testing.storage.case import MIB, patterned

SMALL = b"content"


def of(method: str, *parts: str) -> Callable[[Head], bool]:
    """Return what says whether a request is of that method, and has all of those in its target."""
    return lambda head: head.method == method and all(part in head.target for part in parts)


class StoreCase(TestCase):
    """A driver, a proxy, and a store behind it.

    :ivar proxy: what is between them, well at first.
    :ivar driver: asks the store through it.
    :ivar direct: asks the store itself.
    :cvar large: what is pushed.
    """

    large: bytes

    def port(self) -> int:
        """Return the store's."""
        raise NotImplementedError(f"{type(self).__name__}.port")

    def driver_by(self, port: int) -> ObjectDriver:
        """Return a driver that asks the store by that port, and waits for a second at most."""
        raise NotImplementedError(f"{type(self).__name__}.driver_by")

    def setUp(self) -> None:
        """Begin with a network that is well."""
        self.proxy = ChaosProxy(reactor, self.port(), http=True)
        self.proxy.listen()
        self.addCleanup(lambda: ensureDeferred(self.proxy.close()))
        self.root = f"/{uuid.uuid4().hex}"
        self.driver = self.driver_by(self.proxy.port)
        self.direct = self.driver_by(self.port())

    def rule(self, when: Callable[[Head], bool], times: int | None = None, **more: Any) -> None:
        """Let something happen to some requests."""
        self.proxy.rules.append(Rule(when, times=times, **more))

    async def push(self, path: str, content: bytes | None = None) -> None:
        """Append, and move it to where it belongs."""
        content = self.large if content is None else content
        writer = await self.driver.open_writer("/upload/data")
        try:
            for start in range(0, len(content), MIB):
                await writer.write([content[start : start + MIB]])
            await writer.sync()
            await self.driver.move("/upload/data", path)
        finally:
            await writer.close()

    async def unavailable(self, work: Any) -> str:
        """Fail unless it ends as passing trouble does; return the reason."""
        try:
            result = await work
        except errors.StorageUnavailable as error:
            return error.reason
        raise self.failureException(f"nothing was raised, but returned {str(result)[:100]}")


class ConditionalStoreFaults(StoreCase):
    """What a driver over a store that deletes on a condition makes of a network that fails.

    :cvar writes: the method by which objects are made.
    :cvar passing: answers of trouble that passes.
    :cvar busy: one of them.
    :cvar gone: the answer that there is no such container or bucket, and what is told of it.
    """

    large = patterned(3 * MIB + 12_345)
    writes: str
    passing: Sequence[Reply]
    busy: Reply
    gone: Reply
    gone_says: str

    def reads(self, path: str) -> Callable[[Head], bool]:
        """Return what says whether a request is for the content of a path."""
        raise NotImplementedError(f"{type(self).__name__}.reads")

    async def test_passing_trouble(self) -> None:
        """An answer of passing trouble, two times, is seen by no one."""
        for reply in self.passing:
            self.rule(of(self.writes), reply=reply, times=2)
            await self.driver.write("/file", SMALL)
            self.rule(self.reads("/file"), reply=reply, times=2)
            self.assertEqual(await self.driver.read("/file", 100), SMALL)
            self.rule(of("DELETE"), reply=reply, times=1)
            await self.driver.delete("/file")
            self.proxy.rules.clear()

    async def test_trouble_that_stays(self) -> None:
        """Trouble that stays is told after three tries."""
        self.rule(lambda head: True, reply=self.busy)
        self.assertEqual(await self.unavailable(self.driver.read("/file", 100)), "the store answers 503")
        self.assertEqual(len(self.proxy.seen), 3)

    async def test_push_through_trouble(self) -> None:
        """A push of which every third request fails, and loses its answer, is whole in the end."""
        number = 0

        def every_third(head: Head) -> bool:
            nonlocal number
            number += 1
            return number % 3 == 0

        for trouble in ({"reply": self.busy}, {"down": Trouble(reset=0)}):
            self.rule(every_third, **trouble)
            await self.push("/blobs/data")
            self.proxy.rules.clear()
            self.assertTrue(await self.direct.read("/blobs/data", 4 * MIB) == self.large)
            await self.direct.delete("/blobs/data")

    async def test_cut_and_stalled_reads(self) -> None:
        """A body that is cut off, reset or stalls is read on from where it was."""
        await self.push("/blobs/data")
        for trouble in (Trouble(cut=MIB), Trouble(reset=2 * MIB), Trouble(swallow=MIB)):
            self.rule(self.reads("/blobs/data"), down=trouble, times=1)
            self.assertTrue(await self.driver.read("/blobs/data", 4 * MIB) == self.large)

    async def test_read_on_over_a_touch(self) -> None:
        """What is touched while it is read is read on all the same; what is replaced is not."""
        await self.push("/blobs/data")
        for change, same in ((lambda: self.direct.touch(["/blobs/data"]), True), (self._replace, False)):
            self.rule(self.reads("/blobs/data"), down=Trouble(cut=MIB), times=1)
            reader = await self.driver.open_reader("/blobs/data")
            first = await reader.read(1000)
            await change()
            rest = self._rest(reader, first)
            if same:
                self.assertTrue(await rest == self.large)
            else:
                self.assertIn("replaced", await self.unavailable(rest))
            await reader.close()

    async def test_wrong_bytes(self) -> None:
        """Bytes that change on the way are never taken for the file, whichever way they went."""
        content = patterned(MIB)
        self.rule(of(self.writes, "file"), up=Trouble(corrupt=MIB // 2), times=1)
        with_fault = Deferred.fromCoroutine(self.driver.write("/file", content))
        try:
            await with_fault
        except errors.StorageError:
            await self.driver.write("/file", content)
        self.assertTrue(await self.direct.read("/file", MIB) == content)
        self.rule(self.reads("/file"), down=Trouble(corrupt=MIB // 2), times=1)
        self.assertTrue(await self.driver.read("/file", MIB) == content)

    async def test_silence(self) -> None:
        """A store that says nothing is not waited for for long."""
        self.rule(lambda head: True, down=BLACKHOLE)
        reason = await self.unavailable(self.driver.stat("/file"))
        self.assertIn("within 1 s", reason)

    async def test_lost_answer_to_a_discard(self) -> None:
        """A discard whose answer was lost tells that the file is gone."""
        await self.driver.write("/file", SMALL)
        later = (await self.driver.stat("/file")).modified + 1e6
        self.rule(of("DELETE"), down=Trouble(reset=0), times=1)
        self.assertIsNotNone(await self.driver.discard("/file", later))

    async def test_the_store_is_gone(self) -> None:
        """That the container or bucket is not there is a fault, and no file's absence."""
        self.rule(lambda head: True, reply=self.gone)
        for work in (self.driver.stat("/file"), self.driver.read("/file", 1), self.driver.delete("/file")):
            try:
                await work
            except errors.StorageFault as found:
                self.assertIn(self.gone_says, found.reason)
            else:
                self.fail("nothing was raised")

    async def _replace(self) -> None:
        await self.direct.write("/blobs/data", self.large[::-1])

    async def _rest(self, reader: Any, first: bytes) -> bytes:
        found = [first]
        while chunk := await reader.read(MIB):
            found.append(chunk)
        return b"".join(found)
