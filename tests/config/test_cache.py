"""``storage.cache``."""

from __future__ import annotations

from twisted.internet.task import Clock

from tests.config.loading import SMALLEST, LoadingCase
from txregistry.cache.memory import MemoryCache
from txregistry.config.caches import cache
from txregistry.errors import ConfigError
from txregistry.interfaces import ICache


class CacheTests(LoadingCase):
    """What the section may hold."""

    def made(self, keys: str, **environ: str) -> ICache | None:
        """Return the cache that ``storage.cache`` makes."""
        text = f"version: 0.1\nstorage: {{inmemory: , cache: {keys}}}\n"
        return cache(self.config(text, environ), Clock())

    def test_none(self) -> None:
        """Without the section, and with an empty one, nothing is remembered."""
        for keys in ("", "{}", "{blobdescriptor: }", "{blobdescriptor: ''}", "{blobdescriptorsize: 5}"):
            self.assertIsNone(self.made(keys), keys)

    def test_names(self) -> None:
        """A cache is known by its old key as by its new one, which has the last word."""
        for keys in (
            "{blobdescriptor: inmemory}",
            "{layerinfo: inmemory}",
            "{blobdescriptor: inmemory, layerinfo: other}",
        ):
            found = self.made(keys)
            assert isinstance(found, MemoryCache)
            self.assertEqual(found.entries, 10000)

    def test_size(self) -> None:
        """The size bounds the entries; 0 and less, as for Distribution, bound nothing."""
        for size, entries in (("5", 5), ("0", 0), ("-1", 0)):
            found = self.made(f"{{blobdescriptor: inmemory, blobdescriptorsize: {size}}}")
            assert isinstance(found, MemoryCache)
            self.assertEqual(found.entries, entries)

    def test_variables(self) -> None:
        """Distribution's variables reach each key, whether or not the file has the section."""
        environ = {
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory",
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTORSIZE": "7",
            "REGISTRY_STORAGE_CACHE_LAYERINFO": "other",
        }
        for text in (SMALLEST, "version: 0.1\nstorage: {inmemory: , cache: {blobdescriptor: x}}\n"):
            found = cache(self.config(text, environ), Clock())
            assert isinstance(found, MemoryCache)
            self.assertEqual(found.entries, 7)

    def test_unknown(self) -> None:
        """A cache that is not installed is refused by the key that names it."""
        for key in ("blobdescriptor", "layerinfo"):
            error = self.assertRaises(ConfigError, self.made, f"{{{key}: nothere}}")
            self.assertEqual(error.where, f"storage.cache.{key}")
            self.assertIn("no cache named 'nothere'", error.problem)

    def test_misspelt(self) -> None:
        """A misspelt key, and a size that is no number, are refused by their names."""
        for keys, said in (
            ("{blobdescripter: inmemory}", "storage.cache.blobdescripter: unknown key; did you mean"),
            (
                "{blobdescriptorsize: many}",
                "storage.cache.blobdescriptorsize: found the string 'many', expected",
            ),
        ):
            self.assertIn(said, self.complaint(f"version: 0.1\nstorage: {{inmemory: , cache: {keys}}}\n"))
