"""A YAML document as a tree that remembers how each value was written, and where.

PyYAML's own loader turns ``0123`` to 83 and lets the second of two equal keys win.  Here a scalar keeps its
text beside its value, so that a string may be written without quotes, and equal keys are refused.
"""

from __future__ import annotations

import datetime
from typing import Any, TypeAlias

import yaml
from attrs import Factory, define

from txregistry.errors import ConfigError

Plain: TypeAlias = str | int | float | bool | None


@define
class Scalar:
    """One value.

    :param value: what YAML makes of it.
    :param text: the characters that were written, quotes and escapes undone.
    :param origin: where it was written: ``line 12``, or the name of an environment variable.
    """

    value: Plain
    text: str
    origin: str


@define
class Sequence:
    """A list, see :class:`Scalar`."""

    items: list[Node]
    origin: str


@define
class Mapping:
    """A mapping, see :class:`Scalar`.

    :param origins: where each of the keys was written.
    """

    entries: dict[str, Node]
    origin: str
    origins: dict[str, str] = Factory(dict)

    def set(self, key: str, node: Node, origin: str) -> None:
        """Give a key another value."""
        self.entries[key] = node
        self.origins[key] = origin


Node: TypeAlias = Scalar | Sequence | Mapping


_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    """SafeLoader, except that dates are text, as they are for Distribution."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(content: bytes | str, where: str, variable: str | None = None) -> Node:
    """Read one YAML document.

    :param where: what to call it in a complaint: the file, or the key that an environment variable sets.
    :param variable: the environment variable that it is the value of.
    :raises txregistry.errors.ConfigError: it is not YAML, or says something twice.
    """
    try:
        loader = _Loader(content)
        try:
            root = loader.get_single_node()
            if root is None:
                return Scalar(None, "", variable or "the file")
            return _Reading(loader, where, variable).node(root, (), ())
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if variable is not None:
            # The parser's words may quote the value, and that may be a secret.
            raise ConfigError(
                where, f"the value of {variable} is not valid YAML; put it in single quotes"
            ) from None
        raise ConfigError(where, f"not valid YAML: {_one_line(error)}") from None
    except RecursionError:
        raise ConfigError(where, "nested too deeply") from None


def plain(node: Node) -> Any:
    """Return the tree as dicts, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(entry) for key, entry in node.entries.items()}


def describe(node: Node, secret: bool = False) -> str:
    """Return words for what was found.

    :param secret: whether the value itself is to be kept out of them.
    """
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        return "a string" if secret else f"the string {_short(node.text)!r}"
    if isinstance(node.value, bool):
        return f"the boolean {node.text}"
    return "a number" if secret else f"the number {_short(node.text)}"


def is_empty(node: Node) -> bool:
    """Return whether it says nothing: null, ``""``, ``[]``, ``{}``, which is as if it were absent."""
    if isinstance(node, Scalar):
        return node.value is None or node.value == ""
    return not (node.items if isinstance(node, Sequence) else node.entries)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"byte {error.position}: {error.reason}"
    return " ".join(str(error).split())


@define
class _Reading:
    """One pass over what PyYAML composed."""

    loader: _Loader
    where: str
    variable: str | None

    def node(self, node: yaml.Node, path: tuple[str, ...], above: tuple[int, ...]) -> Node:
        if id(node) in above:
            raise ConfigError(self.place(path), f"an alias stands within what it names ({self.origin(node)})")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            raise ConfigError(self.place(path), f"the tag {node.tag} is not supported ({self.origin(node)})")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode):
            below = (*above, id(node))
            items = [self.node(item, (*path, str(n)), below) for n, item in enumerate(node.value)]
            return Sequence(items, self.origin(node))
        value = self.loader.construct_object(node)
        if isinstance(value, datetime.date | bytes) or node.tag == "tag:yaml.org,2002:str":
            value = node.value
        return Scalar(value, node.value, self.origin(node))

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...], above: tuple[int, ...]) -> Mapping:
        seen: dict[str, str] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(self.place(path), f"a key must be plain text ({self.origin(key)})")
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                first = f", first on {seen[key.value]}" if self.variable is None else ""
                raise ConfigError(
                    self.place((*path, key.value)), f"the key is there twice{first} ({self.origin(key)})"
                )
            seen[key.value] = self.origin(key)
        self.loader.flatten_mapping(node)
        result = Mapping({}, self.origin(node))
        for key, value in node.value:
            name = key.value
            result.set(name, self.node(value, (*path, name), above), self.origin(key))
        return result

    def origin(self, node: yaml.Node) -> str:
        return self.variable or f"line {node.start_mark.line + 1}"

    def place(self, path: tuple[str, ...]) -> str:
        prefix = () if self.variable is None else (self.where,)
        return ".".join((*prefix, *path)) or self.where
