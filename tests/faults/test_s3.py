"""A bucket behind a network that fails in every way: right results or clear errors, and nothing left behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from txregistry_s3.driver import make_bucket
from txregistry_s3.options import Options
from txregistry_s3.store import S3Store
from txregistry_s3.test.servers import Server, moto, seaweed

from tests.faults.proxy import BLACKHOLE, Head, Reply, Rule, Trouble
from tests.faults.stores import SMALL, StoreCase, of
from txregistry import errors
from txregistry.objects.discards import Pace
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.writer import Sizes
from txregistry.testing.storage.case import MIB, patterned
from txregistry.waiting import in_thread

#: Seconds for which nothing may move.
PATIENCE = 1.0
#: Three segments of 5 MiB and a bit.
LARGE = patterned(15 * MIB + 12_345)


def error(status: int, code: str) -> Reply:
    """Return an answer of the store's that tells of an error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of a test</Message></Error>"
    return Reply(status, {"Content-Type": "application/xml"}, body.encode())


class FaultCase(StoreCase):
    """SeaweedFS, or another, behind the network."""

    large = LARGE

    def server(self) -> Server:
        """Return the store."""
        return seaweed()

    def port(self) -> int:
        """See :class:`tests.faults.stores.StoreCase`."""
        return self.server().port

    def driver_by(self, port: int, patience: float = PATIENCE) -> ObjectDriver:
        """Return a driver that asks the store by that port."""
        sizes = ("chunksize", "multipartcopychunksize", "multipartcopythresholdsize")
        chosen = Options.of(Server(port).options(self.root, **dict.fromkeys(sizes, 5 * MIB)))
        run = in_thread(reactor)
        store = S3Store(make_bucket(chosen, reactor, run, Retries(random.random, pause=0.05), patience), run)
        driver = ObjectDriver(store, reactor, run, Sizes(chosen.chunksize), Pace(), prunes=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(driver.close()))
        store.bucket.signers.prepare()
        return driver

    def count(self, when: Callable[[Head], bool]) -> int:
        """Return how many such requests there were."""
        return sum(when(head) for head in self.proxy.seen)

    async def content(self, path: str) -> bytes:
        """Return what the store really has."""
        reader = await self.direct.open_reader(path)
        found = []
        while chunk := await reader.read(MIB):
            found.append(chunk)
        await reader.close()
        return b"".join(found)

    async def pull(self, path: str) -> bytes:
        """Return what a reader gives."""
        reader = await self.driver.open_reader(path)
        try:
            found = []
            while chunk := await reader.read(MIB):
                found.append(chunk)
            return b"".join(found)
        finally:
            await reader.close()

    async def uploads(self) -> int:
        """Return how many multipart uploads there are that were neither completed nor aborted."""
        store: Any = self.direct._store
        answer = await store.bucket.ask("/", "GET", {"uploads": "", "prefix": self.root[1:]}, of_bucket=True)
        return int(answer.content.count(b"<UploadId>"))


class TestTrouble(FaultCase):
    """A store that says no for a while."""

    async def test_passing_trouble(self) -> None:
        """An answer of passing trouble, two times, is seen by no one."""
        for reply in (
            error(503, "SlowDown"),
            error(500, "InternalError"),
            error(503, "ServiceUnavailable"),
            error(429, "TooManyRequests"),
            error(400, "RequestTimeout"),
            error(409, "OperationAborted"),
            Reply(502),
            Reply(504, {}, b"<html>not XML"),
        ):
            self.rule(of("PUT"), reply=reply, times=2)
            await self.driver.write("/file", SMALL)
            self.rule(of("GET", "/file"), reply=reply, times=2)
            self.assertEqual(await self.driver.read("/file", 100), SMALL)
            self.rule(of("DELETE"), reply=reply, times=1)
            await self.driver.delete("/file")
            self.proxy.rules.clear()

    async def test_trouble_that_stays(self) -> None:
        """Trouble that stays is told after three tries."""
        await self.driver.write("/file", SMALL)
        self.rule(lambda head: True, reply=error(503, "SlowDown"))
        self.proxy.seen.clear()
        reason = await self.unavailable(self.driver.read("/file", 100))
        self.assertEqual(reason, "the store answers 503")
        self.assertEqual(len(self.proxy.seen), 3)
        self.proxy.rules.clear()
        self.assertEqual(await self.driver.read("/file", 100), SMALL)

    async def test_no_storm(self) -> None:
        """In an outage few more requests are sent than there are calls, and all of them are answered."""
        self.rule(lambda head: True, reply=error(503, "SlowDown"))
        calls = [Deferred.fromCoroutine(self.driver.read(f"/file{number}", 10)) for number in range(300)]
        results = await DeferredList(calls, consumeErrors=True)
        self.assertTrue(all(result.check(errors.StorageUnavailable) for _, result in results))
        self.assertLess(len(self.proxy.seen), 2 * len(calls))

    async def test_push_through_trouble(self) -> None:
        """A push of which every third request fails in one way or another is whole in the end."""
        number = 0

        def every_third(head: Head) -> bool:
            nonlocal number
            number += 1
            return number % 3 == 0

        self.rule(every_third, reply=error(503, "SlowDown"))
        await self.push("/blobs/data")
        self.proxy.rules.clear()
        self.assertTrue(await self.content("/blobs/data") == LARGE)
        self.assertEqual(await self.uploads(), 0)

    async def test_refused(self) -> None:
        """Where no connection can be made that is told at once; and afterwards all is well."""
        await self.proxy.refuse()
        self.proxy.reset()
        await self.unavailable(self.driver.write("/file", SMALL))
        self.proxy.listen()
        await self.driver.write("/file", SMALL)

    async def test_refusals_are_no_passing_trouble(self) -> None:
        """What the store will not do is not tried again, and told without the store's words."""
        self.rule(of("PUT"), reply=error(403, "AccessDenied"))
        self.proxy.seen.clear()
        with self.assertRaises(errors.StorageFault) as caught:
            await self.driver.write("/file", SMALL)
        self.assertEqual(caught.exception.reason, "the store answers 403 AccessDenied")
        self.assertEqual(self.count(of("PUT")), 1)
        self.proxy.rules[:] = [Rule(of("PUT"), reply=error(507, "InsufficientStorage"))]
        with self.assertRaises(errors.StorageFull):
            await self.driver.write("/file", SMALL)


class TestConnections(FaultCase):
    """Connections that break."""

    async def test_answers_that_are_cut(self) -> None:
        """A body that ends early, or is reset, is read on from where it ended, of the same version."""
        await self.direct.write("/file", LARGE)
        for trouble in (Trouble(cut=len(LARGE) // 2), Trouble(reset=len(LARGE) // 2), Trouble(cut=100)):
            self.proxy.seen.clear()
            self.rule(of("GET", "/file"), down=trouble, times=1)
            self.assertTrue(await self.pull("/file") == LARGE)
            again = [head for head in self.proxy.seen if "range" in head.headers]
            self.assertEqual(len(again), 0 if trouble.cut == 100 else 1)
            for head in again:
                self.assertIn("if-match", head.headers)

    async def test_answers_that_stall(self) -> None:
        """A body that comes no further is given up and read on."""
        await self.direct.write("/file", LARGE)
        self.rule(of("GET", "/file"), down=Trouble(swallow=len(LARGE) // 2), times=1)
        self.assertTrue(await self.pull("/file") == LARGE)

    async def test_replaced_while_it_is_read(self) -> None:
        """Of a file that was replaced while its body was cut off no mixture is read."""
        await self.direct.write("/file", LARGE)
        self.rule(of("GET", "/file"), down=Trouble(cut=4 * MIB), times=1)
        reader = await self.driver.open_reader("/file")
        first = await reader.read(1000)
        await self.direct.write("/file", bytes(len(LARGE)))
        found = [first]

        async def rest() -> None:
            while chunk := await reader.read(MIB):
                found.append(chunk)

        reason = await self.unavailable(rest())
        self.assertEqual(reason, "it was replaced while it was read")
        self.assertTrue(LARGE.startswith(b"".join(found)))
        await reader.close()

    async def test_requests_that_break(self) -> None:
        """A segment whose connection is cut, reset or swallowed on the way is sent again, whole."""
        for trouble in (Trouble(cut=2 * MIB), Trouble(reset=3 * MIB), Trouble(swallow=MIB)):
            self.rule(of("PUT", "~"), up=trouble, times=2)
            await self.push("/blobs/data")
            self.assertTrue(await self.content("/blobs/data") == LARGE)
            self.proxy.rules.clear()

    async def test_black_hole(self) -> None:
        """A store that says nothing at all is given up within some times of what is waited for one answer."""
        await self.driver.write("/file", SMALL)
        self.proxy.up = BLACKHOLE
        began = time.monotonic()
        for work in (
            self.driver.read("/file", 10),
            self.driver.write("/file", LARGE),
            self.driver.list("/a"),
        ):
            await self.unavailable(work)
        self.assertLess(time.monotonic() - began, 60)
        self.proxy.up = Trouble()
        self.proxy.reset()
        self.assertEqual(await self.driver.read("/file", 10), SMALL)

    async def test_slow_is_not_stalled(self) -> None:
        """What goes slowly but goes is not given up."""
        self.driver = self.driver_by(self.proxy.port, patience=4)
        self.proxy.up = Trouble(rate=3 * MIB)
        await self.driver.write("/file", LARGE)
        self.proxy.up, self.proxy.down = Trouble(), Trouble(rate=4 * MIB)
        self.assertTrue(await self.pull("/file") == LARGE)
        self.assertEqual(self.count(of("PUT", "/file")), 1)

    async def test_lost_answers(self) -> None:
        """A change that was made, whose answer is lost, is not taken for another's when it is made again."""
        for number, when in enumerate((of("PUT", "/upload/data"), of("POST", "uploadId"), of("DELETE"))):
            self.rule(when, down=Trouble(reset=0), times=1)
            await self.push(f"/blobs/{number}")
            self.assertTrue(await self.content(f"/blobs/{number}") == LARGE, number)
            self.proxy.rules.clear()
        self.assertEqual(await self.uploads(), 0)


class TestWrongBytes(FaultCase):
    """Bytes that are others when they arrive."""

    async def test_wrong_on_the_way_there(self) -> None:
        """A byte that changed on its way to the store is found, and the bytes are sent again."""
        self.rule(of("PUT", "~"), up=Trouble(corrupt=2 * MIB), times=2)
        await self.push("/blobs/data")
        self.assertTrue(await self.content("/blobs/data") == LARGE)

    async def test_wrong_on_the_way_back(self) -> None:
        """A byte of a small file that changed on its way back is found; if it does again, that is told."""
        content = bytes(range(256)) * 40
        await self.driver.write("/file", content)
        self.rule(of("GET", "/file"), down=Trouble(corrupt=5000), times=1)
        self.assertEqual(await self.driver.read("/file", 20_000), content)
        self.rule(of("GET", "/file"), down=Trouble(corrupt=5000))
        with self.assertRaises(errors.StorageFault):
            await self.driver.read("/file", 20_000)

    async def test_listings_that_make_no_sense(self) -> None:
        """An answer that is no listing is asked for again, and never taken for an empty one."""
        await self.driver.write("/a/file", SMALL)
        for reply in (
            Reply(200, {}, b"<html>"),
            Reply(200),
            error(200, "InternalError"),
            Reply(200, {}, b"<!DOCTYPE x [<!ENTITY y 'z'>]><ListBucketResult/>"),
        ):
            self.rule(of("GET", "list-type"), reply=reply, times=1)
            self.assertEqual(await self.driver.list("/a"), ["file"])
            self.rule(of("GET", "list-type"), reply=reply)
            await self.unavailable(self.driver.list("/a"))
            self.proxy.rules.clear()


class TestMultipart(FaultCase):
    """Objects that the store puts together."""

    async def test_error_with_status_200(self) -> None:
        """An error with a status of 200 is one: tried again, and told if it stays; nothing is left then."""
        self.rule(of("POST", "uploadId"), reply=error(200, "InternalError"), times=2)
        await self.push("/blobs/one")
        self.assertTrue(await self.content("/blobs/one") == LARGE)
        self.rule(of("POST", "uploadId"), reply=error(200, "InternalError"))
        await self.unavailable(self.push("/blobs/two"))
        with self.assertRaises(errors.PathUnknown):
            await self.content("/blobs/two")
        self.assertEqual(await self.uploads(), 0)

    async def test_parts_that_fail(self) -> None:
        """A part that cannot be copied ends the move, and what was begun is gone; the file is where it was."""
        self.rule(of("PUT", "partNumber=3"), reply=error(200, "InternalError"))
        await self.unavailable(self.push("/blobs/data"))
        self.assertEqual(await self.uploads(), 0)
        self.assertTrue(await self.content("/upload/data") == LARGE)
        self.proxy.rules.clear()
        await self.driver.move("/upload/data", "/blobs/data")
        self.assertTrue(await self.content("/blobs/data") == LARGE)

    async def test_cancelled(self) -> None:
        """When whoever waited is gone, what was begun is aborted all the same."""
        await self.direct.write("/file", LARGE)
        self.rule(of("PUT", "partNumber=2"), down=BLACKHOLE)
        moving = Deferred.fromCoroutine(self.driver.move("/file", "/blobs/data"))
        while not self.count(of("PUT", "partNumber=2")):
            await _soon()
        moving.addErrback(lambda failure: None)
        moving.cancel()
        while not self.count(of("DELETE", "uploadId")):
            await _soon()
        await moving
        self.assertEqual(await self.uploads(), 0)
        self.assertTrue(await self.content("/file") == LARGE)

    async def test_deletions_that_fail(self) -> None:
        """One of many deletions that the store did not do is told."""
        await self.driver.write("/a/one", SMALL)
        await self.driver.write("/a/two", SMALL)
        body = b"<DeleteResult><Error><Key>a/one</Key><Code>InternalError</Code></Error></DeleteResult>"
        self.rule(of("POST", "delete"), reply=Reply(200, {}, body))
        await self.unavailable(self.driver.delete("/a"))


class TestLeftBehind(FaultCase):
    """What a process that was killed has left."""

    async def test_tidying(self) -> None:
        """What a killed process has begun and not ended is removed by tidying when it is old, and not before."""
        store: Any = self.direct._store
        await store.bucket.ask("/blobs/data", "POST", {"uploads": ""})
        self.assertEqual(await self.uploads(), 1)
        await self.direct.tidy()
        self.assertEqual(await self.uploads(), 1)
        await store.tidy(time.time() + 3600)
        self.assertEqual(await self.uploads(), 0)


class TestMultipartOnMoto(TestMultipart):
    """The same, on another store."""

    def server(self) -> Server:
        """See :meth:`FaultCase.server`."""
        return moto()


async def _soon() -> None:
    waiting: Deferred[None] = Deferred()
    reactor.callLater(0.02, waiting.callback, None)  # type: ignore[attr-defined]
    await waiting
