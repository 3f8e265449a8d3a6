"""Tests that a page of the docs names, as ``module.Case.test_name`` or ``module.Case``."""

from __future__ import annotations

import ast
import os
import re

TESTS = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(os.path.dirname(TESTS), "docs")
#: How a page spells one.
NAME = re.compile(r"``((?:[a-z_0-9]+\.)*test_[a-z_0-9]+\.[A-Z]\w+(?:\.test_\w+)?)``")


def page(name: str) -> str:
    """Return the text of a page of the docs."""
    with open(os.path.join(DOCS, name), encoding="utf-8") as file:
        return file.read()


def exists(name: str) -> bool:
    """Say whether there is a test of that name below ``tests``."""
    module, kind, *method = re.split(r"\.(?=[A-Z])|(?<=[A-Za-z0-9])\.(?=test_\w+$)", name)
    path = os.path.join(TESTS, *module.split(".")) + ".py"
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind]
    members = {getattr(member, "name", "") for node in classes for member in node.body}
    return bool(classes) and members.issuperset(method)
