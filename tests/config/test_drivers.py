from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.config.loading import LoadingCase
from txregistry.config.complaints import complaints
from txregistry.config.drivers import make
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriver


class MakeTests(LoadingCase):
    def test_make(self) -> None:
        """The driver that the configuration names is made with its options."""
        verifyObject(IStorageDriver, make(self.config().storage, Clock()))

    def test_wrong_option(self) -> None:
        """A complaint of the driver's about an option names the whole path."""
        config = self.config("version: 0.1\nstorage: {filesystem: {rootdirectry: /data}}\n")
        error = self.assertRaises(ConfigError, make, config.storage, Clock())
        self.assertEqual(error.where, "storage.filesystem.rootdirectry")

    def test_not_installed(self) -> None:
        """A driver that is not installed is a complaint, not a traceback."""
        storage = type(self.config().storage)(driver="swift")
        error = self.assertRaises(ConfigError, make, storage, Clock())
        self.assertEqual(error.where, "storage.swift")

    def test_driver_as_a_whole(self) -> None:
        """A complaint about no option in particular names the driver's section."""
        with self.assertRaises(ConfigError) as caught, complaints("storage.inmemory"):
            raise ConfigError("", "wrong")
        self.assertEqual(str(caught.exception), "storage.inmemory: wrong")
