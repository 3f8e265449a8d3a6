"""Listings of large directories."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from txregistry.storage.listings import Listings, is_local


class ListingsTests(SynchronousTestCase):
    """A listing is kept only as long as it is true."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.names = sorted(f"tag-{number}" for number in range(1500))
        for name in self.names:
            self.make(name)

    def make(self, name: str) -> None:
        with open(os.path.join(self.directory, name), "w"):
            pass

    def age(self, seconds: float) -> None:
        """Make the directory look as if nothing had happened in it for a while."""
        when = time.time() - seconds
        os.utime(self.directory, (when, when))

    def test_kept(self) -> None:
        """A large directory that was quiet is listed once; the list that is handed out is the caller's own."""
        self.age(60)
        listings = Listings(keep=True)
        listings.names(self.directory).clear()
        self.patch(os, "listdir", self.fail)
        self.assertEqual(listings.names(self.directory), self.names)

    def test_changed(self) -> None:
        """A name that comes or goes is seen at once."""
        self.age(60)
        listings = Listings(keep=True)
        self.assertEqual(listings.names(self.directory), self.names)
        self.make("a")
        self.assertEqual(listings.names(self.directory), ["a", *self.names])
        os.unlink(os.path.join(self.directory, "a"))
        self.assertEqual(listings.names(self.directory), self.names)

    def test_busy(self) -> None:
        """A directory that has just changed is not trusted: its next change may carry the same time."""
        self.age(0)
        listings = Listings(keep=True)
        self.assertEqual(listings.names(self.directory), self.names)
        modified = os.stat(self.directory).st_mtime_ns
        self.make("a")
        os.utime(self.directory, ns=(modified, modified))
        self.assertEqual(listings.names(self.directory), ["a", *self.names])

    def test_network(self) -> None:
        """Where times cannot be trusted, nothing is kept."""
        self.age(60)
        modified = os.stat(self.directory).st_mtime_ns
        listings = Listings(keep=False)
        listings.names(self.directory)
        self.make("a")
        os.utime(self.directory, ns=(modified, modified))
        self.assertEqual(listings.names(self.directory)[0], "a")

    def test_order(self) -> None:
        """Names are in the order of their bytes, those that are not ASCII too."""
        for name in ("\u00e9", "\uffff", "\U0001f600", "Z"):
            self.make(name)
        found = Listings(keep=True).names(self.directory)
        self.assertEqual(found, sorted(found, key=os.fsencode))

    def test_local(self) -> None:
        """A temporary directory is known to be on this machine, and what is not there is not."""
        self.assertTrue(is_local(self.directory))
        self.assertFalse(is_local(self.directory + "/nowhere"))
