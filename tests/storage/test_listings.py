"""Listings of large directories."""

from __future__ import annotations

import os
import random
import shutil

from twisted.trial.unittest import SynchronousTestCase

from txregistry.storage.listings import Listings, is_local
from txregistry.storage.watches import NAMES, Watches


class ListingsTests(SynchronousTestCase):
    """A listing is kept only as long as it is true.

    :ivar anew: whether a listing was made since one was kept.
    """

    anew = False

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.names = sorted(f"tag-{number}" for number in range(1500))
        for name in self.names:
            self.make(name)

    def path(self, name: str) -> str:
        """Return where something in the directory is."""
        return os.path.join(self.directory, name)

    def make(self, name: str) -> None:
        """Make a file in the directory."""
        with open(self.path(name), "w"):
            pass

    def listings(self) -> Listings:
        """Return listings that have listed the directory twice, and keep it."""
        listings = Listings(Watches(NAMES))
        self.addCleanup(listings.close)
        for _ in range(2):
            self.assertEqual(listings.names(self.directory), self.names)
        self.patch(os, "listdir", self.listed)
        return listings

    def listed(self, directory: str) -> list[str]:
        """Stand for a listing that is made anew."""
        self.anew = True
        return [entry.name for entry in os.scandir(directory)]

    def test_kept(self) -> None:
        """A large directory is listed twice and no more; the list that is handed out is the caller's own."""
        listings = self.listings()
        listings.names(self.directory).clear()
        self.assertEqual(listings.names(self.directory), self.names)
        self.assertFalse(self.anew)

    def test_changed(self) -> None:
        """Names that come and go are seen at once, without a listing."""
        listings = self.listings()
        truth = set(self.names)
        source = random.Random(3)
        for number in range(500):
            name, other = source.choice(self.names), f"new-{source.randrange(50)}"
            match number % 4:
                case 0 if name in truth:
                    os.unlink(self.path(name))
                    truth.discard(name)
                case 1:
                    self.make(other)
                    truth.add(other)
                case 2 if name in truth:
                    os.rename(self.path(name), self.path(other))
                    truth.discard(name)
                    truth.add(other)
                case 3:
                    os.mkdir(self.path(f"directory-{number}"))
                    truth.add(f"directory-{number}")
            if number % 3:
                self.assertEqual(listings.names(self.directory), sorted(truth))
        self.assertFalse(self.anew)

    def test_replaced(self) -> None:
        """Another directory of the same name is another one, also where one above it was moved."""
        listings = self.listings()
        os.rename(self.directory, f"{self.directory}-away")
        os.mkdir(self.directory)
        self.make("a")
        self.assertEqual(listings.names(self.directory), ["a"])
        shutil.rmtree(self.directory)
        self.assertRaises(OSError, listings.names, self.directory)

    def test_overflow(self) -> None:
        """When more has happened than could be noted, the directory is listed again."""
        listings = self.listings()
        with open("/proc/sys/fs/inotify/max_queued_events") as file:
            limit = int(file.read())
        for number in range(limit // 2 + 10):
            self.make(f"x{number % 2}")
            os.unlink(self.path(f"x{number % 2}"))
        self.make("a")
        self.assertEqual(listings.names(self.directory), ["a", *self.names])

    def test_many(self) -> None:
        """No more than some directories are kept."""
        listings = self.listings()
        directories = [f"{self.directory}-{number}" for number in range(70)]
        for directory in directories:
            os.mkdir(directory)
            for number in range(1000):
                os.mkdir(os.path.join(directory, str(number)))
            for _ in range(2):
                self.assertEqual(len(listings.names(directory)), 1000)
        self.anew = False
        listings.names(directories[0])
        self.assertTrue(self.anew)
        self.anew = False
        listings.names(directories[-1])
        self.assertFalse(self.anew)

    def test_pages(self) -> None:
        """A part is what comes after a name, which need not be there."""
        for listings in (Listings(), self.listings()):
            self.assertEqual(listings.after(self.directory, "", 2), self.names[:2])
            self.assertEqual(listings.after(self.directory, self.names[7], 3), self.names[8:11])
            self.assertEqual(listings.after(self.directory, self.names[7] + "!", 1), self.names[8:9])
            self.assertEqual(listings.after(self.directory, "z", 5), [])

    def test_nothing_kept(self) -> None:
        """Where one is not told of changes, nothing is kept."""
        listings = Listings()
        for _ in range(3):
            listings.names(self.directory)
        self.make("a")
        self.assertEqual(listings.names(self.directory)[0], "a")

    def test_order(self) -> None:
        """Names are in the order of their bytes, those that are not ASCII too."""
        for name in ("\u00e9", "\uffff", "\U0001f600", "Z"):
            self.make(name)
        found = Listings().names(self.directory)
        self.assertEqual(found, sorted(found, key=os.fsencode))

    def test_local(self) -> None:
        """A temporary directory is known to be on this machine, and what is not there is not."""
        self.assertTrue(is_local(self.directory))
        self.assertFalse(is_local(self.directory + "/nowhere"))
