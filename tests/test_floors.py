"""What the registry stands on, and what it must not."""

from __future__ import annotations

import ast
import configparser
import glob
import importlib.util
import os
import re
from importlib.metadata import version

from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from tests.processes import CHECKOUT
from tests.web.client import Server

#: The oldest versions without a known weakness that matters here, and what the one before them does.
FLOORS = {
    # Dispatches a request that is hidden in a header's bare CR or LF.
    "Twisted": (26, 10, 0),
    # Lets a handshake go on whose SNI callback failed.
    "pyOpenSSL": (26, 0),
    # CVE-2026-26007.
    "cryptography": (46, 0, 5),
    # CVE-2026-48523 and CVE-2026-48524.
    "PyJWT": (2, 13),
}


def numbers(text: str) -> tuple[int, ...]:
    """Return a version's numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


class FloorTests(SynchronousTestCase):
    """``setup.cfg``, and what is installed."""

    def test_H01_floors(self) -> None:
        """No version with a known weakness is asked for or installed."""
        config = configparser.ConfigParser()
        config.read(os.path.join(CHECKOUT, "setup.cfg"))
        required = dict(
            re.findall(r"^([A-Za-z]+)(?:\[\w+\])? >= ([0-9.]+)", config["options"]["install_requires"], re.M)
        )
        for name, floor in FLOORS.items():
            self.assertGreaterEqual(numbers(required[name]), floor, name)
            self.assertGreaterEqual(numbers(version(name)), floor, name)

    def test_H16_no_http2(self) -> None:
        """HTTP/2, whose floods Twisted has few defences against, cannot be negotiated: its library is not there."""
        self.assertIsNone(importlib.util.find_spec("h2"))
        self.assertFalse(http.H2_ENABLED)
        self.assertNotIn(b"h2", Server().site.acceptableProtocols())

    def test_H09_no_forms(self) -> None:
        """No form is parsed in memory before a route is asked."""
        self.assertFalse(Server().site.requestFactory is http.Request)
        self.assertFalse(Server().site._parsePOSTFormSubmission)  # type: ignore[attr-defined]

    def test_U09_no_objects(self) -> None:
        """Nothing that is read can name code: no pickle, no marshal, no YAML of Python, no eval."""
        for path in glob.glob(os.path.join(CHECKOUT, "txregistry", "**", "*.py"), recursive=True):
            with open(path) as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = {alias.name.partition(".")[0] for alias in node.names}
                    names.add((getattr(node, "module", "") or "").partition(".")[0])
                    self.assertFalse(names & {"pickle", "marshal", "shelve", "dill"}, path)
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    self.assertNotIn(
                        called, {"eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"}, path
                    )

    def test_P06_plain_answers(self) -> None:
        """Whoever asks others over HTTP asks for no coding, and reads no more than it has a use for."""
        asking = {}
        for path in glob.glob(os.path.join(CHECKOUT, "txregistry", "**", "*.py"), recursive=True):
            with open(path) as file:
                source = file.read()
            if re.search(r"\bAgent\(|treq\.", source):
                asking[os.path.relpath(path, os.path.join(CHECKOUT, "txregistry"))] = source
        for name, source in asking.items():
            self.assertRegex(source, r"identity|HEAD", name)
            self.assertRegex(source, r"_LONGEST\w*|_Refusal|_ANSWER|limit", name)
        self.assertGreater(len(asking), 2)

    def test_P06_nothing_is_unpacked(self) -> None:
        """No layer, however it is packed, is unpacked: nothing that could do that is imported."""
        unpacking = {
            "zlib",
            "gzip",
            "bz2",
            "lzma",
            "tarfile",
            "zipfile",
            "zstandard",
            "shutil.unpack_archive",
        }
        for path in glob.glob(os.path.join(CHECKOUT, "txregistry", "**", "*.py"), recursive=True):
            with open(path) as file:
                tree = ast.parse(file.read())
            names = {
                alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
            }
            names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            self.assertFalse(names & unpacking, path)
