"""The purging of uploads."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from attrs import field, mutable
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from tests.config.loading import SMALLEST, LoadingCase
from tests.content.case import NAME, ContentCase, SlowDriver, pieces
from txregistry import errors
from txregistry.config.purging import UploadPurging
from txregistry.content import layout
from txregistry.content.uploads import Upload
from txregistry.purging import PurgingService
from txregistry.service import make_service
from txregistry.storage import filesystem
from txregistry.storage.memory import MemoryDriver

DAY = 24 * 3600.0


@mutable
class Times:
    """A clock that can be set, and the time that passes whatever it shows."""

    reactor: Clock = field(factory=Clock)
    shift: float = 0.0

    def now(self) -> float:
        """Return what the clock shows."""
        return time.time() + self.reactor.seconds() + self.shift


class PurgingCase(ContentCase):
    """A registry in memory, and what purges its uploads."""

    def setUp(self) -> None:
        """Make both; the first run begins half an hour after the start."""
        super().setUp()
        self.times = Times()

    def service(self, **settings: Any) -> PurgingService:
        """Return the service, started."""
        service = PurgingService(
            self.times.reactor,
            self.driver,
            UploadPurging(**settings),
            now=self.times.now,
            monotonic=self.times.reactor.seconds,
            fraction=lambda: 0.5,
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and let what is then due come to its end."""
        self.times.reactor.pump([seconds, *[0.0] * 100])

    def age(self, upload: Upload, days: float, *paths: str) -> None:
        """Make files of an upload look as if they had been written days ago; all that it has if none is named."""
        folder = layout.upload(upload.repository, upload.id)
        for path in paths or [path for path in self.tree() if path.startswith(folder)]:
            node = self.driver._node(path)
            node.modified = time.time() - days * DAY
        if not paths:
            self.driver._node(folder).modified = time.time() - days * DAY

    def there(self) -> set[str]:
        """Return the ids of the uploads of which anything is left."""
        return {path.split("/_uploads/")[1].split("/")[0] for path in self.tree() if "/_uploads/" in path}


class PurgingTests(PurgingCase):
    def test_idle(self) -> None:
        """Of two uploads that began long ago, the one that is still written to stays, the other goes."""
        idle, active = self.upload(b"idle"), self.upload(b"active")
        self.age(idle, 8)
        self.age(active, 30)
        self.age(active, 6, layout.upload_data(NAME, active.id))
        service = self.service()
        self.pass_time(1800)
        self.assertEqual(self.there(), {active.id})
        self.assertEqual((service.runs, service.failures, service.purged, service.purged_bytes), (1, 0, 1, 4))

    def test_resumed(self) -> None:
        """An upload that is gone on with after a week's rest can be finished."""
        upload = self.upload(b"one")
        self.age(upload, 6.9)
        self.service()
        self.pass_time(1800)

        async def resume() -> None:
            session = await self.registry.uploads.open(NAME, upload.id)
            try:
                await session.append(pieces(b"two"))
            finally:
                await session.close()

        self.run_now(resume())
        self.pass_time(DAY)
        self.assertEqual(self.there(), {upload.id})

    def test_held(self) -> None:
        """An upload that a writer holds is left alone, however old it looks."""
        upload = self.upload(b"held")
        session = self.run_now(self.registry.uploads.open(NAME, upload.id))
        self.age(upload, 30)
        service = self.service()
        self.pass_time(1800)
        self.assertEqual((self.there(), service.purged), ({upload.id}, 0))
        self.run_now(session.close())
        self.pass_time(DAY)
        self.assertEqual((self.there(), service.purged), (set(), 1))

    def test_stray(self) -> None:
        """What a crash left of an upload is purged too: bytes without a beginning, and an empty folder."""
        stray, empty = self.upload(b"stray"), self.upload()
        for upload in (stray, empty):
            self.age(upload, 8)
            self.run_now(MemoryDriver.delete(self.driver, layout.upload_started(NAME, upload.id)))
        self.run_now(MemoryDriver.delete(self.driver, layout.upload_data(NAME, empty.id)))
        states = f"{layout.upload(NAME, empty.id)}/hashstates"
        if states in self.tree():
            self.run_now(MemoryDriver.delete(self.driver, states))
        self.assertEqual(self.there(), {stray.id, empty.id})
        self.service()
        self.pass_time(1800)
        self.assertEqual(self.there(), set())

    def test_foreign(self) -> None:
        """What is not called as an upload is is left alone."""
        path = f"{layout.uploads(NAME)}/notes/file"
        self.store(path, b"")
        self.driver._file(path).modified = 0
        self.service()
        self.pass_time(1800)
        self.assertIn(path, self.files())

    def test_dry_run(self) -> None:
        """A dry run tells what would go, and nothing goes."""
        upload = self.upload(b"idle")
        self.age(upload, 8)
        before = self.files()
        service = self.service(dryrun=True)
        with capturedLogs() as told:
            self.pass_time(1800)
        self.assertEqual([(event["what"], event["upload"]) for event in told], [("would purge", upload.id)])
        self.assertEqual((self.files(), service.purged), (before, 0))

    def test_clock_set(self) -> None:
        """When the clock is set forward, uploads that look old by that alone stay, and the next run goes on."""
        upload = self.upload(b"active")
        self.service()
        self.times.shift = 30 * DAY
        self.pass_time(1800)
        self.assertEqual(self.there(), {upload.id})
        self.pass_time(DAY)
        self.assertEqual(self.there(), set())

    def test_again(self) -> None:
        """A run that fails is told of and counted, and the next one comes all the same."""
        upload = self.upload(b"idle")
        self.age(upload, 8)
        fault = errors.StorageFault("/", "broken")
        self.driver.failing[("delete", "startedat")] = fault
        service = self.service(interval=60.0)
        with capturedLogs() as told:
            self.pass_time(30)
        self.assertEqual([event["log_level"] for event in told], [LogLevel.error])
        self.driver.failing.clear()
        self.pass_time(60)
        self.assertEqual((self.there(), service.runs, service.failures), (set(), 2, 1))

    def test_stop(self) -> None:
        """A run ends when the server does, letting go of what it held, and none begins afterwards."""
        self.driver = slow = SlowDriver()  # type: ignore[assignment]
        self.registry = self.another()
        upload = self.upload(b"idle")
        self.age(upload, 8)
        service = self.service()
        slow.slow = True
        self.pass_time(1800)
        self.assertEqual((service.runs, len(slow.waiting)), (0, 1))
        self.successResultOf(service.stopService())
        slow.slow = False
        self.pass_time(2 * DAY)
        self.assertEqual((service.runs, self.there()), (1, {upload.id}))
        self.run_now(self.run_now(self.registry.uploads.open(NAME, upload.id)).close())

    def test_paused(self) -> None:
        """A run ends when it is paused, letting go of what it held; none begins before that is over."""
        self.driver = slow = SlowDriver()  # type: ignore[assignment]
        self.registry = self.another()
        upload = self.upload(b"idle")
        self.age(upload, 8)
        service = self.service()
        slow.slow = True
        self.pass_time(1800)
        self.assertEqual((service.runs, len(slow.waiting)), (0, 1))
        service.paused = True
        slow.slow = False
        self.assertEqual((service.runs, service.failures), (1, 0))
        self.run_now(self.run_now(self.registry.uploads.open(NAME, upload.id)).close())
        self.pass_time(DAY)
        self.assertEqual((service.runs, self.there()), (1, {upload.id}))
        service.paused = False
        self.pass_time(DAY)
        self.assertEqual((service.runs, self.there()), (2, set()))


class TidyingTests(TestCase):
    async def test_files_of_the_driver(self) -> None:
        """A server that runs for a year removes what others that were killed left, without a restart."""
        from twisted.internet import reactor

        root = tempfile.mkdtemp()
        driver = filesystem.make({"rootdirectory": root}, reactor)
        driver.prepare()
        self.addCleanup(driver.close)
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        left = [os.path.join(root, "_txregistry", name) for name in ("new/file", "trash/folder/file")]
        for path in left:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w"):
                pass
        await driver.tidy()
        self.assertEqual([os.path.exists(path) for path in left], [True, True])
        self.patch(filesystem, "_LEFT_AFTER", -1)
        await driver.tidy()
        self.assertEqual([os.path.exists(path) for path in left], [False, False])


class WiringTests(LoadingCase):
    def parts(self, text: str) -> list[Any]:
        """Return what runs beside the registry that purges."""
        service = make_service(self.config(text), Clock())
        return [part for part in service._parts if isinstance(part, PurgingService)]

    def test_default(self) -> None:
        """A configuration that says nothing of it has uploads purged after a week, not while it is read-only."""
        (part,) = self.parts(SMALLEST)
        self.assertEqual(part._settings, UploadPurging())
        self.assertEqual((part._settings.age, part._settings.interval), (7 * DAY, DAY))
        self.assertFalse(part.paused)
        text = "version: 0.1\nstorage: {{inmemory: , maintenance: {{{}}}}}\n"
        (part,) = self.parts(text.format("readonly: {enabled: true}"))
        self.assertTrue(part.paused)
        self.assertEqual(self.parts(text.format("uploadpurging: {enabled: false}")), [])
