"""Announcing and finding plugins."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap

from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Attribute
from zope.interface.verify import verifyObject

import twisted.plugins
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriverMaker
from txregistry.plugins import StorageDriverMaker, find, installed


class IUnheardOf(IPlugin):
    """An interface of which no plugin is installed."""

    name: str = Attribute("Its name.")


def make_pair(options: object, reactor: object) -> tuple[object, object]:
    """Stand in for a driver's factory."""
    return options, reactor


class TestFind(SynchronousTestCase):
    """``find`` returns the one plugin of a name, or says clearly why it cannot."""

    def announce(self, module: str, source: str) -> None:
        """Put a drop-in where Twisted looks, as another distribution's installation would."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, f"{module}.py"), "w") as file:
            file.write(textwrap.dedent(source))
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, directory])
        importlib.invalidate_caches()
        self.addCleanup(sys.modules.pop, f"twisted.plugins.{module}", None)

    def find(self, name: str) -> IStorageDriverMaker:
        """Find a storage driver."""
        return find(IStorageDriverMaker, name, "storage driver", "storage")

    def test_built_in(self) -> None:
        """The built-in drivers are found by the names that Distribution gives them."""
        for name in ("filesystem", "inmemory"):
            maker = self.find(name)
            self.assertEqual(maker.name, name)
            verifyObject(IStorageDriverMaker, maker)

    def test_announced_by_another_distribution(self) -> None:
        """A drop-in of another distribution is found like a built-in one."""
        self.announce(
            "txregistry_test_one_plugins",
            """
            from txregistry.plugins import StorageDriverMaker
            one = StorageDriverMaker("test-one", "no.such.module.make")
            """,
        )
        self.assertEqual(self.find("test-one"), StorageDriverMaker("test-one", "no.such.module.make"))

    def test_unknown_name(self) -> None:
        """A name that no plugin has is refused by a line that names the key, the kind and what is there."""
        error = self.assertRaises(ConfigError, self.find, "nonesuch")
        self.assertEqual(error.where, "storage")
        names = ", ".join(sorted(installed(IStorageDriverMaker)))
        self.assertLessEqual({"filesystem", "inmemory"}, set(names.split(", ")))
        self.assertEqual(error.problem, f"no storage driver named 'nonesuch'; installed: {names}")

    def test_none_installed(self) -> None:
        """Where no plugin of a kind is installed the refusal says so."""
        error = self.assertRaises(ConfigError, find, IUnheardOf, "any", "oracle", "oracles.any")
        self.assertEqual(str(error), "oracles.any: no oracle named 'any'; installed: none")

    def test_two_of_one_name(self) -> None:
        """Where two plugins have one name neither is taken; other names are not affected."""
        for number in (1, 2):
            self.announce(
                f"txregistry_test_twin{number}_plugins",
                f"""
                from txregistry.plugins import StorageDriverMaker
                twin = StorageDriverMaker("test-twin", "txregistry_twin{number}.make")
                """,
            )
        error = self.assertRaises(ConfigError, self.find, "test-twin")
        self.assertEqual(
            str(error), "storage: 2 installed distributions announce a storage driver named 'test-twin'"
        )
        self.assertEqual(self.find("filesystem").name, "filesystem")

    def test_broken_drop_in(self) -> None:
        """A drop-in that cannot be imported is logged; what it would have announced is missing, no more."""
        self.announce("txregistry_test_broken_plugins", "import no_such_module_at_all")
        error = self.assertRaises(ConfigError, self.find, "test-broken")
        self.assertIn("no storage driver named 'test-broken'", error.problem)
        self.assertEqual(self.find("filesystem").name, "filesystem")
        self.assertNotEqual(self.flushLoggedErrors(ImportError), [])


class TestMaker(SynchronousTestCase):
    """What a distribution announces."""

    def test_make(self) -> None:
        """A maker calls what its dotted name leads to, with the options and the reactor it was given."""
        maker = StorageDriverMaker("pair", f"{__name__}.make_pair")
        verifyObject(IStorageDriverMaker, maker)
        options, reactor = {"key": "value"}, object()
        made: object = maker.make(options, reactor)
        self.assertEqual(made, (options, reactor))

    def test_announcing_imports_nothing(self) -> None:
        """A maker can be made for a module that is not there: only ``make`` looks for it."""
        maker = StorageDriverMaker("absent", "txregistry_absent.driver.make")
        error = self.assertRaises(ConfigError, maker.make, {}, None)
        self.assertIn("txregistry_absent.driver.make cannot be imported", error.problem)

    def test_built_in_factories_exist(self) -> None:
        """Every dotted name that txregistry announces leads to something that can be called."""
        dropin = importlib.import_module("twisted.plugins.txregistry_plugins")
        makers = [value for value in vars(dropin).values() if isinstance(value, StorageDriverMaker)]
        self.assertEqual({maker.name for maker in makers}, {"filesystem", "inmemory"})
        for maker in makers:
            self.assertTrue(callable(namedAny(maker.factory)), maker)
