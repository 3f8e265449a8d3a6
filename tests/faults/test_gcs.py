"""A bucket of Cloud Storage behind a network that fails: right results or clear errors, and never a wrong blob."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase
from txregistry_gcs.driver import make_bucket
from txregistry_gcs.options import Options
from txregistry_gcs.store import GCSStore
from txregistry_gcs.test.bench import bench

from tests.faults.proxy import BLACKHOLE, ChaosProxy, Head, Reply, Rule, Trouble
from txregistry import errors
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.writer import Sizes
from txregistry.testing.storage.case import MIB, patterned
from txregistry.waiting import in_thread

SMALL = b"content"
LARGE = patterned(3 * MIB + 12_345)


def error(status: int, message: str) -> Reply:
    """Return an answer of the store's that tells of an error."""
    body = f'{{"error": {{"code": {status}, "message": "{message}"}}}}'.encode()
    return Reply(status, {"Content-Type": "application/json"}, body)


def of(method: str, *parts: str) -> Callable[[Head], bool]:
    """Return what says whether a request is of that method, and has all of those in its target."""
    return lambda head: head.method == method and all(part in head.target for part in parts)


class TestFaults(TestCase):
    """A driver, a proxy, and a bench behind it."""

    def setUp(self) -> None:
        """Begin with a network that is well."""
        self.proxy = ChaosProxy(reactor, bench(), http=True)
        self.proxy.listen()
        self.addCleanup(lambda: ensureDeferred(self.proxy.close()))
        self.root = f"/{uuid.uuid4().hex}"
        self.driver = self.driver_by(self.proxy.port)
        self.direct = self.driver_by(bench())

    def driver_by(self, port: int) -> ObjectDriver:
        """Return a driver that asks the store by that port, and waits for a second at most."""
        run = in_thread(reactor)
        retries = Retries(random.random, pause=0.05)
        options = Options.of({"bucket": "registry", "rootdirectory": self.root})
        bucket = make_bucket(options, reactor, run, f"http://127.0.0.1:{port}", retries, patience=1.0)
        driver = ObjectDriver(GCSStore(bucket, run), reactor, run, Sizes(MIB, 2))
        self.addCleanup(lambda: Deferred.fromCoroutine(driver.close()))
        return driver

    def rule(self, when: Callable[[Head], bool], times: int | None = None, **more: Any) -> None:
        """Let something happen to some requests."""
        self.proxy.rules.append(Rule(when, times=times, **more))

    async def push(self, path: str) -> None:
        """Append, and move it to where it belongs."""
        writer = await self.driver.open_writer("/upload/data")
        try:
            for start in range(0, len(LARGE), MIB):
                await writer.write([LARGE[start : start + MIB]])
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

    async def test_passing_trouble(self) -> None:
        """An answer of passing trouble, two times, is seen by no one."""
        for reply in (
            error(503, "backendError"),
            error(429, "rateLimitExceeded"),
            error(403, "userRateLimitExceeded"),
            error(401, "Invalid Credentials"),
            Reply(502, {}, b"<html>not XML"),
        ):
            self.rule(of("POST"), reply=reply, times=2)
            await self.driver.write("/file", SMALL)
            self.rule(of("GET", "file?alt=media"), reply=reply, times=2)
            self.assertEqual(await self.driver.read("/file", 100), SMALL)
            self.rule(of("DELETE"), reply=reply, times=1)
            await self.driver.delete("/file")
            self.proxy.rules.clear()

    async def test_trouble_that_stays(self) -> None:
        """Trouble that stays is told after three tries."""
        self.rule(lambda head: True, reply=error(503, "backendError"))
        self.assertEqual(await self.unavailable(self.driver.read("/file", 100)), "the store answers 503")
        self.assertEqual(len(self.proxy.seen), 3)

    async def test_push_through_trouble(self) -> None:
        """A push of which every third request fails, and loses its answer, is whole in the end."""
        number = 0

        def every_third(head: Head) -> bool:
            nonlocal number
            number += 1
            return number % 3 == 0

        for trouble in ({"reply": error(503, "backendError")}, {"down": Trouble(reset=0)}):
            self.rule(every_third, **trouble)
            await self.push("/blobs/data")
            self.proxy.rules.clear()
            self.assertTrue(await self.direct.read("/blobs/data", 4 * MIB) == LARGE)
            await self.direct.delete("/blobs/data")

    async def test_cut_and_stalled_reads(self) -> None:
        """A body that is cut off, reset or stalls is read on from where it was."""
        await self.push("/blobs/data")
        for trouble in (Trouble(cut=MIB), Trouble(reset=2 * MIB), Trouble(swallow=MIB)):
            self.rule(of("GET", "data?alt=media"), down=trouble, times=1)
            self.assertTrue(await self.driver.read("/blobs/data", 4 * MIB) == LARGE)

    async def test_read_on_over_a_touch(self) -> None:
        """What is touched while it is read is read on all the same; what is replaced is not."""
        await self.push("/blobs/data")
        for change, same in ((lambda: self.direct.touch(["/blobs/data"]), True), (self._replace, False)):
            self.rule(of("GET", "data?alt=media"), down=Trouble(cut=MIB), times=1)
            reader = await self.driver.open_reader("/blobs/data")
            first = await reader.read(1000)
            await change()
            rest = self._rest(reader, first)
            if same:
                self.assertTrue(await rest == LARGE)
            else:
                self.assertIn("replaced", await self.unavailable(rest))
            await reader.close()

    async def test_wrong_bytes(self) -> None:
        """Bytes that change on the way are never taken for the file, whichever way they went."""
        content = patterned(MIB)
        self.rule(of("POST", "file"), up=Trouble(corrupt=MIB // 2), times=1)
        with_fault = Deferred.fromCoroutine(self.driver.write("/file", content))
        try:
            await with_fault
        except errors.StorageError:
            await self.driver.write("/file", content)
        self.assertTrue(await self.direct.read("/file", MIB) == content)
        self.rule(of("GET", "file?alt=media"), down=Trouble(corrupt=MIB // 2), times=1)
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

    async def test_the_bucket_is_gone(self) -> None:
        """That the bucket is not there is a fault, and no file's absence."""
        self.rule(lambda head: True, reply=error(404, "The specified bucket does not exist."))
        for work in (self.driver.stat("/file"), self.driver.read("/file", 1), self.driver.delete("/file")):
            try:
                await work
            except errors.StorageFault as found:
                self.assertIn("404", found.reason)
            else:
                self.fail("nothing was raised")

    async def _replace(self) -> None:
        await self.direct.write("/blobs/data", LARGE[::-1])

    async def _rest(self, reader: Any, first: bytes) -> bytes:
        found = [first]
        while chunk := await reader.read(MIB):
            found.append(chunk)
        return b"".join(found)
