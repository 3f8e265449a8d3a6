"""The floors of the house (docs/architecture.rst): which module may know of which."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

import txregistry

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(txregistry.__file__)))

#: What is on which floor, a module or a package with all its modules.
FLOORS = {
    0: (
        "errors",
        "digest",
        "reference",
        "media",
        "manifest",
        "ranges",
        "validation",
        "globs",
        "headers",
        "protection",
        "paths",
        "access",
        "events",
    ),
    1: ("interfaces",),
    2: ("plugins", "waiting"),
    3: ("storage", "objects", "auth", "health", "notify", "cache", "telemetry"),
    4: ("content",),
    5: ("web",),
    6: (
        "config",
        "service",
        "core",
        "front",
        "workers",
        "listening",
        "records",
        "descriptors",
        "debug",
        "pages",
        "figures",
        "purging",
        "collecting",
        "pace",
        "rounds",
        "logs",
        "mails",
        "reload",
        "supervisor",
        "tls",
        "tap",
        "commands",
        "cli",
    ),
}
#: Shipped beside the stair.
BESIDE = ("testing",)
#: What values may be made with: no files, no network, no clock, no Twisted.
VALUE_LIBRARIES = frozenset(
    {
        "__future__",
        "abc",
        "attrs",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "ctypes",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "itertools",
        "json",
        "math",
        "msgspec",
        "operator",
        "re",
        "string",
        "struct",
        "typing",
        "urllib.parse",
    }
)
INPUT_AND_OUTPUT = frozenset({"open", "print", "input", "exec", "eval", "breakpoint"})
#: Parts of storage paths, which content/layout.py alone knows.
STORAGE_NAMES = ("docker/registry", "_manifests", "_layers", "_uploads", "hashstates", "startedat")


def floor_of(module: str) -> int | None:
    """Return the floor that a module of ours is on; None if it is on none."""
    part = module.split(".")[1]
    return next((floor for floor, parts in FLOORS.items() if part in parts), None)


def imports(source: str, module: str, package: bool = False) -> Iterator[str]:
    """Yield all that a module's source imports, wherever in it, by full dotted names.

    ``from a import b`` yields both ``a`` and ``a.b``, since *b* may be a module or not.
    """
    parts = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def wrong_imports(source: str, module: str) -> list[str]:
    """Return what a module of ours imports of ours and must not."""
    floor = floor_of(module)
    wrong = []
    for name in imports(source, module):
        if not name.startswith("txregistry."):
            continue
        target = floor_of(name)
        if name.split(".")[1] in BESIDE:
            wrong.append(name)
        elif target is None or floor is None:
            # The package's own ``__version__``, and names that are not modules.
            continue
        elif target > floor or (target == floor == 3 and name.split(".")[1] != module.split(".")[1]):
            wrong.append(name)
    return wrong


def wrong_in_a_value(source: str, module: str) -> list[str]:
    """Return what a module of values uses and must not."""
    wrong = []
    for name in imports(source, module):
        allowed = any(name == known or name.startswith(f"{known}.") for known in VALUE_LIBRARIES)
        if not allowed and name.split(".")[0] != "txregistry":
            wrong.append(name)
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in INPUT_AND_OUTPUT
        ):
            wrong.append(node.func.id)
    return wrong


def storage_names(source: str) -> list[str]:
    """Return the parts of storage paths that a source spells outside its docstrings."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in prose
        and any(name in node.value for name in STORAGE_NAMES)
    ]


class TestHouse(SynchronousTestCase):
    """The house as it stands."""

    def sources(self, beside: bool = False) -> dict[str, str]:
        """Return the source of every module of the package, by its dotted name."""
        found = {}
        for directory, _, names in os.walk(os.path.join(ROOT, "txregistry")):
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(directory, name)
                    module = os.path.relpath(path, ROOT).removesuffix(".py").replace(os.sep, ".")
                    with open(path, encoding="utf-8") as file:
                        found[module] = file.read()
        found.pop("txregistry.__init__")
        self.assertIn("txregistry.content.layout", found)
        return {
            module: source for module, source in found.items() if beside or module.split(".")[1] not in BESIDE
        }

    def test_every_module_has_a_floor(self) -> None:
        """A module is on a floor of the house, so that the rules below hold for it."""
        homeless = [module for module in self.sources() if floor_of(module) is None]
        self.assertEqual(homeless, [], "say in FLOORS where it belongs")

    def test_downstairs_only(self) -> None:
        """A module imports from its own floor or from floors beneath; what plugs in knows no sibling."""
        for module, source in self.sources().items():
            self.assertEqual(wrong_imports(source, module), [], module)

    def test_testing_is_beside(self) -> None:
        """Nothing inside imports txregistry.testing, which itself stands on the values and seams alone."""
        for module, source in self.sources(beside=True).items():
            if module.split(".")[1] in BESIDE:
                ours = {name for name in imports(source, module) if name.startswith("txregistry.")}
                above = {name for name in ours if (floor_of(name) or 0) > 1}
                self.assertEqual(above, set(), module)
            else:
                self.assertEqual(
                    [n for n in imports(source, module) if "txregistry.testing" in n], [], module
                )

    def test_no_circle(self) -> None:
        """No two modules import each other, not even by way of others."""
        sources = self.sources(beside=True)
        leads = {
            module: {name for name in imports(source, module) if name in sources}
            for module, source in sources.items()
        }
        while leads:
            free = [module for module, targets in leads.items() if not targets & leads.keys()]
            self.assertNotEqual(free, [], f"in a circle: {sorted(leads)}")
            for module in free:
                del leads[module]

    def test_reactor(self) -> None:
        """Only tap.py imports the reactor."""
        knowing = {
            module
            for module, source in self.sources(beside=True).items()
            if "twisted.internet.reactor" in imports(source, module)
        }
        self.assertEqual(knowing, {"txregistry.tap"})

    def test_values(self) -> None:
        """Values know neither Twisted nor files, network or clock."""
        values = {module: source for module, source in self.sources().items() if floor_of(module) == 0}
        self.assertIn("txregistry.digest", values)
        for module, source in values.items():
            self.assertEqual(wrong_in_a_value(source, module), [], module)

    def test_layout(self) -> None:
        """Only content/layout.py knows where things are stored."""
        knowing = {module for module, source in self.sources().items() if storage_names(source)}
        self.assertEqual(knowing, {"txregistry.content.layout"})

    def test_length(self) -> None:
        """No file grows past about 400 lines: that is when it wants a second noun."""
        long = {module for module, source in self.sources(beside=True).items() if source.count("\n") > 440}
        self.assertEqual(long, set())


class TestRules(SynchronousTestCase):
    """The rules find what breaks them."""

    def test_imports(self) -> None:
        """Every form of import is found, inside functions and conditions too."""
        source = """
import os.path as p, sys
from txregistry import errors
from . import blobs
from ..web.body import Body
def f():
    if True:
        from twisted.internet import reactor
"""
        found = set(imports(source, "txregistry.content.tags"))
        self.assertLessEqual(
            {
                "os.path",
                "sys",
                "txregistry.errors",
                "txregistry.content.blobs",
                "txregistry.web.body",
                "twisted.internet.reactor",
            },
            found,
        )
        self.assertIn("txregistry.web.site", imports("from . import site", "txregistry.web.__init__"))

    def test_upstairs(self) -> None:
        """An import from a floor above, from a sibling or from beside is found."""
        for source, module in (
            ("from txregistry.content.blobs import Blob", "txregistry.storage.memory"),
            ("from txregistry import interfaces", "txregistry.digest"),
            ("def f():\n import txregistry.config.load", "txregistry.web.app"),
            ("from ..auth import token", "txregistry.storage.memory"),
            ("from txregistry.testing.storage import case", "txregistry.cli"),
        ):
            self.assertNotEqual(wrong_imports(source, module), [], source)
        for source, module in (
            ("from txregistry.storage.files import read_all", "txregistry.storage.filesystem"),
            ("from txregistry import __version__, errors", "txregistry.service"),
            ("from txregistry.digest import Digest", "txregistry.reference"),
        ):
            self.assertEqual(wrong_imports(source, module), [], source)

    def test_values(self) -> None:
        """Twisted, files, clocks and output in a value are found."""
        for source in (
            "from twisted.logger import Logger",
            "import time",
            "from datetime import datetime",
            "import os",
            "import urllib.request",
            "def f():\n return open('x')",
            "print(1)",
        ):
            self.assertNotEqual(wrong_in_a_value(source, "txregistry.media"), [], source)
        for library in VALUE_LIBRARIES - {"attrs", "msgspec"}:
            self.assertIn(library.split(".")[0], sys.stdlib_module_names)

    def test_storage_names(self) -> None:
        """A storage path in code is found; one in a docstring is prose."""
        self.assertNotEqual(storage_names("x = f'/docker/registry/v2/{y}'"), [])
        self.assertEqual(storage_names('"""Of _manifests."""\ndef f():\n    """Of _layers."""\n'), [])
