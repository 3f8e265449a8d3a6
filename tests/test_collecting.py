"""Garbage collection while the server runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from tests.config.loading import SMALLEST, LoadingCase
from tests.content.case import NAME, ContentCase, SlowDriver, image
from tests.test_purging import DAY, Times
from txregistry.collecting import CollectingService
from txregistry.config.collecting import GarbageCollection
from txregistry.content import layout
from txregistry.content.garbage import Time
from txregistry.digest import Digest
from txregistry.media import OCI_MANIFEST
from txregistry.reference import Tag
from txregistry.service import make_service


class CollectingTests(ContentCase):
    """A registry in memory, and what collects its garbage once a day."""

    def setUp(self) -> None:
        """Make both, and a blob that no manifest needs."""
        super().setUp()
        self.times = Times()
        self.driver = self.slow = SlowDriver()  # type: ignore[assignment]
        self.slow._now = self.times.now
        self.registry = self.another()
        self.garbage = self.push(b"garbage")
        self.service = CollectingService(
            self.times.reactor,
            self.driver,
            GarbageCollection(enabled=True, rate=0),
            Time(self.times.now, self.times.reactor.seconds),
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and let what is then due come to its end."""
        self.times.reactor.pump([seconds, *[0.0] * 100])

    def there(self, digest: Digest) -> bool:
        """Say whether a blob is stored."""
        return layout.blob_data(digest) in self.files()

    def test_interval(self) -> None:
        """Garbage goes at the first collection after it has come of age, an interval after the start or later."""
        self.pass_time(DAY - 1)
        self.assertEqual(self.service.runs, 0)
        self.pass_time(1)
        self.pass_time(DAY)
        self.assertFalse(self.there(self.garbage))
        service = self.service
        self.assertEqual((service.runs, service.failures, service.removed["blob"]), (2, 0, 1))

    def test_paused(self) -> None:
        """While it is paused nothing is collected, and afterwards it goes on."""
        self.service.paused = True
        self.pass_time(DAY)
        self.pass_time(DAY)
        self.assertEqual((self.service.runs, self.there(self.garbage)), (0, True))
        self.service.paused = False
        self.pass_time(DAY)
        self.assertEqual((self.service.runs, self.there(self.garbage)), (1, False))

    def test_paused_midway(self) -> None:
        """A collection that is under way ends when it is paused, and the next one finds all as it should be."""
        content = image(self.push(b"config"))
        self.run_now(self.registry.manifests.put(NAME, Tag("one"), content, OCI_MANIFEST))
        self.pass_time(DAY)
        self.slow.slow = True
        self.pass_time(DAY)
        self.assertEqual((self.service.runs, len(self.slow.waiting)), (1, 1))
        self.service.paused = True
        self.slow.slow = False
        self.assertEqual((self.service.runs, self.service.failures), (2, 0))
        self.pass_time(DAY)
        self.assertEqual(self.service.runs, 2)
        self.service.paused = False
        self.pass_time(DAY)
        self.assertEqual((self.service.runs, self.service.failures), (3, 0))
        self.assertFalse(self.there(self.garbage))


class WiringTests(LoadingCase):
    def parts(self, text: str) -> list[Any]:
        """Return what runs beside the registry that collects."""
        service = make_service(self.config(text), Clock())
        return [part for part in service._parts if isinstance(part, CollectingService)]

    def test_off(self) -> None:
        """Nothing is collected where the configuration does not say so."""
        self.assertEqual(self.parts(SMALLEST), [])

    def test_read_only(self) -> None:
        """A server that is read-only from the start does not collect until that ends."""
        for read_only in (False, True):
            (part,) = self.parts(
                "version: 0.1\nstorage: {inmemory: , maintenance: {garbagecollection: {enabled: true}, "
                f"readonly: {{enabled: {str(read_only).lower()}}}}}}}\n"
            )
            self.assertEqual(part.paused, read_only)
