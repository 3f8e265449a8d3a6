"""The page that says which test shows what."""

from __future__ import annotations

import ast
import os
import re

from twisted.trial.unittest import SynchronousTestCase

TESTS = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(os.path.dirname(TESTS), "docs", "conformance.rst")
#: Those of the spec's table "Endpoints".
ENDPOINTS = """
    end-1 end-2 end-3 end-4a end-4b end-4c end-5 end-6 end-7a end-7b end-8a end-8b end-9 end-10 end-11 end-12a
    end-12b end-13 end-14
"""

_NAME = re.compile(r"``((?:[a-z_]+\.)*test_[a-z_0-9]+\.[A-Z]\w+(?:\.test_\w+)?)``")


class TableTests(SynchronousTestCase):
    """``docs/conformance.rst``."""

    def test_names(self) -> None:
        """Every test that the page names exists."""
        with open(PAGE, encoding="utf-8") as file:
            named = _NAME.findall(file.read())
        self.assertGreater(len(named), 50)
        self.assertEqual([name for name in named if not self.exists(name)], [])

    def test_endpoints(self) -> None:
        """Every endpoint of the spec has a row that names a test."""
        with open(PAGE, encoding="utf-8") as file:
            table = file.read().partition("Endpoints\n---")[2].partition("\nSupport")[0]
        rows = [row for row in table.split("   * - ")[2:] if _NAME.search(row)]
        self.assertEqual([row.partition("\n")[0] for row in rows], ENDPOINTS.split())

    def exists(self, name: str) -> bool:
        module, kind, *method = re.split(r"\.(?=[A-Z])|(?<=[A-Za-z])\.(?=test_\w+$)", name)
        path = os.path.join(TESTS, *module.split(".")) + ".py"
        if not os.path.exists(path):
            return False
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
        members = {getattr(member, "name", "") for node in classes for member in node.body}
        return bool(classes) and members.issuperset(method)
