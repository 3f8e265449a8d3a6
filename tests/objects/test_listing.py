"""Listings over object stores, page by page."""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.objects.memory_store import MemoryStore
from txregistry import errors
from txregistry.objects.listing import names, names_after


class TestPages(SynchronousTestCase):
    """What a page has in it, whatever order the store has."""

    def setUp(self) -> None:
        """Make a store, and count what is asked of it."""
        self.asked: list[str] = []

        async def step(name: str, path: str) -> None:
            if name == "page":
                self.asked.append(path)

        self.store = MemoryStore(step=step)

    def fill(self, *found: str) -> None:
        """Make folders of those names."""
        for name in found:
            self.successResultOf(
                Deferred.fromCoroutine(self.store.put(f"/tags/{name}/current/link", [b"digest"]))
            )

    def page(self, after: str, limit: int) -> list[str]:
        """Return a page."""
        return self.successResultOf(Deferred.fromCoroutine(names_after(self.store, "/tags", after, limit)))

    def pages(self, limit: int) -> list[list[str]]:
        """Return all pages."""
        found: list[list[str]] = []
        while page := self.page(found[-1][-1] if found else "", limit):
            found.append(page)
        return found

    def test_a_name_that_another_begins_with(self) -> None:
        """A name that a sibling begins with has its place, though a store lists it after that (#4891, #4903)."""
        self.fill("v1", "v1-rc", "v1.0", "v1.0-rc.1", "v10", "v1_x")
        for limit in range(1, 8):
            found = [name for page in self.pages(limit) for name in page]
            self.assertEqual(found, ["v1", "v1-rc", "v1.0", "v1.0-rc.1", "v10", "v1_x"], limit)

    def test_any_names(self) -> None:
        """Pages of any length, laid together, are all names in byte order, each once."""
        chance = random.Random(7)
        for _ in range(60):
            found = {
                "".join(chance.choice("ab-._1") for _ in range(chance.randint(1, 5))).replace("..", "a")
                for _ in range(40)
            } - {".", ".."}
            self.store.objects.clear()
            self.fill(*found)
            limit = chance.randint(1, 12)
            pages = self.pages(limit)
            self.assertEqual([name for page in pages for name in page], sorted(found))
            self.assertTrue(all(len(page) == limit for page in pages[:-1]))

    def test_after_what_is_not_there(self) -> None:
        """A page begins after any text, also one that is no name."""
        self.fill("a", "b", "c")
        self.assertEqual(self.page("aa", 5), ["b", "c"])
        self.assertEqual(self.page("zz", 5), [])

    def test_a_page_costs_a_page(self) -> None:
        """Of a thousand names a page of ten is asked for with as many listings as one of twenty names."""
        self.fill(*(f"build-{number:04d}" for number in range(1000)))
        self.asked.clear()
        self.assertEqual(self.page("build-0500", 10)[0], "build-0501")
        self.assertLessEqual(len(self.asked), 2)

    def test_nothing(self) -> None:
        """Where there is no folder a page has no names, and a whole listing is PathUnknown."""
        self.assertEqual(self.page("", 5), [])
        self.failureResultOf(Deferred.fromCoroutine(names(self.store, "/tags")), errors.PathUnknown)
