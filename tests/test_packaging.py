"""What is installed is what should be, and it leaves Twisted as it was.

The class at the end builds both wheels from a copy of the checkout and installs them in an environment of
its own; pip must be able to reach a package index.
"""

from __future__ import annotations

import ast
import configparser
import functools
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

import attrs
from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DISTRIBUTIONS = [CHECKOUT, *sorted(glob.glob(os.path.join(CHECKOUT, "drivers", "*")))]


def drop_ins(distribution: str) -> list[str]:
    """Return the Python files that a distribution puts into ``twisted/plugins``."""
    return sorted(glob.glob(os.path.join(distribution, "twisted", "plugins", "**", "*.py"), recursive=True))


def metadata(distribution: str) -> configparser.ConfigParser:
    """Return the ``setup.cfg`` of a distribution."""
    parser = configparser.ConfigParser()
    with open(os.path.join(distribution, "setup.cfg")) as file:
        parser.read_file(file)
    return parser


class TestDistributions(SynchronousTestCase):
    """What holds for txregistry itself and for each distribution below ``drivers``."""

    def test_no_package_marker(self) -> None:
        """None has an ``__init__.py`` below ``twisted``: it would replace Twisted's own."""
        for distribution in DISTRIBUTIONS:
            found = glob.glob(os.path.join(distribution, "twisted", "**", "__init__.py"), recursive=True)
            self.assertEqual(found, [])

    def test_name_of_the_drop_in(self) -> None:
        """Each has one drop-in, named for it, so that no other distribution's file can replace it."""
        for distribution in DISTRIBUTIONS:
            name = metadata(distribution)["metadata"]["name"].replace("-", "_")
            found = [os.path.basename(path) for path in drop_ins(distribution)]
            self.assertEqual(found, [f"{name}_plugins.py"])

    def test_drop_in_imports_little(self) -> None:
        """A drop-in, which every Twisted program may import, imports nothing but the makers."""
        for path in [path for distribution in DISTRIBUTIONS for path in drop_ins(distribution)]:
            with open(path) as file:
                tree = ast.parse(file.read())
            modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            self.assertLessEqual(modules, {"twisted.application.service", "txregistry.plugins"}, path)
            self.assertEqual([node for node in ast.walk(tree) if isinstance(node, ast.Import)], [], path)

    def test_plugins_are_packaged(self) -> None:
        """``setup.cfg`` finds namespace packages, of which ``twisted.plugins`` is one, and no tests."""
        for distribution in DISTRIBUTIONS:
            parser = metadata(distribution)
            self.assertEqual(parser["options"]["packages"], "find_namespace:")
            self.assertEqual(parser["options"]["package_dir"].split(), ["=", "."])
            include = parser["options.packages.find"]["include"].split()
            package = parser["metadata"]["name"].replace("-", "_")
            self.assertEqual(include, [package, f"{package}.*", "twisted.plugins"])
            self.assertEqual(dict(parser["options.package_data"]), {package: "py.typed"})


@attrs.frozen
class Environment:
    """A virtual environment, used from a directory that holds nothing to import."""

    root: str

    @property
    def packages(self) -> str:
        """Where installed packages are."""
        return self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()

    def run(self, *arguments: str) -> str:
        """Run the environment's Python and return what it printed; fail when it fails."""
        python = os.path.join(self.root, "bin", "python")
        aside = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        environment = {name: value for name, value in os.environ.items() if name not in aside}
        directory = os.path.join(self.root, "empty")
        os.makedirs(directory, exist_ok=True)
        done = subprocess.run(
            [python, *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise AssertionError(f"python {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def pip(self, *arguments: str) -> str:
        """Run pip."""
        return self.run("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


@attrs.frozen
class Built:
    """Both wheels, and an environment in which they are installed."""

    folder: tempfile.TemporaryDirectory[str]
    environment: Environment
    wheels: dict[str, str]


@functools.cache
def built() -> Built:
    """Build and install once for all tests of this module; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="txregistry-packaging-")
    source = os.path.join(folder.name, "source")
    os.makedirs(source)
    litter = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist", "dropin.cache")
    for name in ("twisted", "txregistry", "drivers", "tests", "docs"):
        shutil.copytree(os.path.join(CHECKOUT, name), os.path.join(source, name), ignore=litter)
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(os.path.join(CHECKOUT, name), source)
    driver = os.path.join(source, "drivers", "txregistry-sqlite")
    for distribution in (source, driver):  # as a run from the checkout leaves behind
        with open(os.path.join(distribution, "twisted", "plugins", "dropin.cache"), "wb") as file:
            file.write(b"stray")

    environment = Environment(os.path.join(folder.name, "environment"))
    subprocess.run([sys.executable, "-m", "venv", environment.root], check=True, stdout=subprocess.DEVNULL)
    output = os.path.join(folder.name, "wheels")
    environment.pip("wheel", "--no-deps", "--wheel-dir", output, source, driver)
    wheels = {name.partition("-")[0]: os.path.join(output, name) for name in os.listdir(output)}
    environment.pip("install", *wheels.values())
    return Built(folder, environment, wheels)


class TestInstalled(SynchronousTestCase):
    """txregistry and one driver distribution, installed from wheels in a fresh environment."""

    def setUp(self) -> None:
        """Build, the first time."""
        self.environment = built().environment

    def contents(self, wheel: str) -> set[str]:
        """Return the files of a wheel, less those that describe it."""
        with zipfile.ZipFile(built().wheels[wheel]) as archive:
            return {name for name in archive.namelist() if ".dist-info/" not in name}

    def modules(self, distribution: str, package: str) -> set[str]:
        """Return the files of a package in the checkout, and the drop-in."""
        paths = glob.glob(os.path.join(distribution, package, "**", "*.py"), recursive=True)
        paths += [*drop_ins(distribution), os.path.join(distribution, package, "py.typed")]
        return {os.path.relpath(path, distribution) for path in paths}

    def test_wheel(self) -> None:
        """txregistry's wheel holds its package and its drop-in; no tests, documents or driver."""
        self.assertEqual(self.contents("txregistry"), self.modules(CHECKOUT, "txregistry"))

    def test_wheel_of_a_driver(self) -> None:
        """A driver's wheel holds its package, its tests among it, and its drop-in."""
        distribution = os.path.join(CHECKOUT, "drivers", "txregistry-sqlite")
        self.assertEqual(self.contents("txregistry_sqlite"), self.modules(distribution, "txregistry_sqlite"))

    def test_driver_is_found_unimported(self) -> None:
        """An installed driver is found by its name, and none of it is imported for that."""
        code = (
            "import sys; from txregistry.interfaces import IStorageDriverMaker;"
            "from txregistry.plugins import installed; print(*sorted(installed(IStorageDriverMaker)));"
            "print(*[name for name in sys.modules if name.startswith(('txregistry_', 'sqlite3'))])"
        )
        self.assertEqual(self.environment.run("-c", code).splitlines(), ["filesystem inmemory sqlite", ""])

    def test_driver_keeps_its_contract(self) -> None:
        """The driver's own tests, the storage contract among them, pass where it is installed."""
        output = self.environment.run("-m", "twisted.trial", "txregistry_sqlite")
        self.assertIn("PASSED", output)
        self.assertIn("TestContract", output)

    def test_twist_knows_the_command(self) -> None:
        """``twist`` offers the registry."""
        self.assertIn("registry", self.environment.run("-m", "twisted", "--help"))

    def test_uninstalling_leaves_twisted_whole(self) -> None:
        """When both are uninstalled again Twisted is as if they had never been there."""
        code = "import twisted.plugins; print(twisted.plugins.__file__)"
        before = self.environment.run("-c", code)
        self.environment.pip("uninstall", "--yes", "txregistry-sqlite", "txregistry")
        try:
            self.assertEqual(self.environment.run("-c", code), before)
            self.assertNotIn("registry", self.environment.run("-m", "twisted", "--help"))
            left = glob.glob(os.path.join(self.environment.packages, "**", "*txregistry*"), recursive=True)
            self.assertEqual(left, [])
            record = "import importlib.metadata as m; print(*m.distribution('Twisted').files, sep='\\n')"
            missing = [
                name
                for name in self.environment.run("-c", record).splitlines()
                if not os.path.exists(os.path.join(self.environment.packages, name))
            ]
            self.assertEqual(missing, [])
        finally:
            self.environment.pip("install", "--no-deps", *built().wheels.values())
