"""A test case that writes configuration files and loads them."""

from twisted.trial.unittest import SynchronousTestCase

from txregistry.config.load import Loaded, load
from txregistry.config.schema import Config
from txregistry.errors import ConfigError

SMALLEST = "version: 0.1\nstorage: inmemory\n"


class LoadingCase(SynchronousTestCase):
    """Loads what a test writes."""

    def file(self, text: str | bytes) -> str:
        """Write a file and return its name."""
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, text: str | bytes = SMALLEST, environ: dict[str, str] | None = None) -> Loaded:
        """Load a file of that text."""
        return load(self.file(text), environ or {})

    def config(self, text: str | bytes = SMALLEST, environ: dict[str, str] | None = None) -> Config:
        """Load a file of that text without a warning."""
        loaded = self.load(text, environ)
        self.assertEqual(loaded.warnings, ())
        return loaded.config

    def complaint(self, text: str | bytes = SMALLEST, environ: dict[str, str] | None = None) -> str:
        """Return the one line that refuses a file of that text."""
        error = self.assertRaises(ConfigError, self.load, text, environ)
        line = str(error)
        self.assertTrue(line.isprintable(), line)
        return line
