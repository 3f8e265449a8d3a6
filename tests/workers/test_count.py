"""How many workers there are."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import LoadingCase
from txregistry.config.drivers import make
from txregistry.errors import ConfigError
from txregistry.workers.count import count, processors


class CountTests(LoadingCase):
    """What a configuration says."""

    def count(self, workers: str, storage: str = "{filesystem: {rootdirectory: /nowhere}}") -> int:
        """Return the number."""
        config = self.config(f"version: 0.1\nstorage: {storage}\nhttp: {{workers: {workers}}}\n")
        return count(config, make(config.storage, Clock()))

    def test_numbers(self) -> None:
        """A number is that many, and auto as many as there are processors."""
        self.assertEqual([self.count(one) for one in ("1", "2", "'3'", "64")], [1, 2, 3, 64])
        self.assertEqual(self.count("auto"), processors())

    def test_memory(self) -> None:
        """Storage of one process alone has one."""
        self.assertEqual([self.count(one, "inmemory") for one in ("1", "auto")], [1, 1])
        error = self.assertRaises(ConfigError, self.count, "2", "inmemory")
        self.assertEqual(error.where, "http.workers")

    def test_wrong(self) -> None:
        """Anything else is refused, and what is expected is said."""
        for wrong in ("0", "-1", "65", "two", "1.5", "1e1", "'٣'", "99999999999"):
            error = self.assertRaises(ConfigError, self.count, wrong)
            self.assertIn("expected a number from 1 to 64, or auto", str(error))


class ProcessorTests(SynchronousTestCase):
    """What a container may use."""

    def processors(self, quota: str) -> int:
        """Return the number with a quota."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(quota)
        return processors(path)

    def test_quota(self) -> None:
        """A quota bounds the number, which is never less than 1; without one it is that of the affinity."""
        usable = len(os.sched_getaffinity(0))
        self.assertEqual(self.processors("max 100000\n"), usable)
        self.assertEqual(self.processors("100000 100000\n"), 1)
        self.assertEqual(self.processors("50000 100000\n"), 1)
        self.assertEqual(self.processors("99900000 100000\n"), usable)
        self.assertEqual(processors("/nowhere"), usable)
