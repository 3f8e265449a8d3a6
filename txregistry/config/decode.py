"""From the tree of a document to the schema's values, with a complaint that names what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Mapping_
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from txregistry.config.document import Mapping, Node, Scalar, Sequence, describe, is_empty, plain
from txregistry.config.masks import is_secret
from txregistry.config.unbuilt import COMPLAINT, UNBUILT
from txregistry.errors import ConfigError

Path = tuple[str, ...]
StructT = TypeVar("StructT", bound=msgspec.Struct)
NONE: Mapping_[Any, Any] = MappingProxyType({})


def dotted(path: Path) -> str:
    """Return a key's path as complaints write it."""
    return ".".join(part if part and part.isprintable() else repr(part) for part in path)


@cache
def keys(kind: type[msgspec.Struct]) -> Mapping_[str, Any]:
    """Return the keys of a section, and the type of each with its annotations."""
    kinds = get_type_hints(kind, include_extras=True)
    return {field.encode_name: kinds[field.name] for field in msgspec.structs.fields(kind)}


def bare(kind: Any) -> Any:
    """Return a type without its annotations, and without ``None`` beside it."""
    kind = _unannotated(kind)
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
        return bare(kind)
    return kind


def is_section(kind: Any) -> bool:
    """Return whether a type is one of the schema's sections."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def variable_part(kind: Any) -> str | None:
    """Return what Distribution's variables call a key whose name in the file is another; None for the same.

    The schema says so by ``Meta(extra={"variable": "MAILOPTIONS"})``.
    """
    if get_origin(kind) is Annotated:
        for annotation in kind.__metadata__:
            if isinstance(annotation, msgspec.Meta) and annotation.extra:
                name: str | None = annotation.extra.get("variable")
                return name
    return None


def rest_key(kind: Any) -> str | None:
    """Return the key of a section that stands for all keys of a plugin's beside its own; None where there is none.

    The schema says so by ``Meta(extra={"rest": True})``.
    """
    for key, entry in keys(kind).items():
        if get_origin(entry) is Annotated:
            for annotation in entry.__metadata__:
                if isinstance(annotation, msgspec.Meta) and annotation.extra and "rest" in annotation.extra:
                    return key
    return None


def unbuilt_keys(path: Path) -> list[str]:
    """Return the keys of Distribution's directly below a path that are not built yet."""
    above = dotted(path)
    return [key.rpartition(".")[2] for key in UNBUILT if key.rpartition(".")[0] == above]


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that a misspelt one was perhaps meant for."""
    matches = difflib.get_close_matches(key.lower(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def section(
    kind: type[StructT], node: Node, path: Path, decoders: Mapping_[Any, Callable[[Node, Path], Any]] = NONE
) -> StructT:
    """Decode one section.

    :param kind: its part of the schema.
    :param path: where it stands.
    :param decoders: for types directly below it that are written otherwise than their schema says.
    :raises txregistry.errors.ConfigError: a key is unknown, missing, refused, or its value wrong.
    """
    entries = entries_of(node, path)
    known, rest = dict(keys(kind)), rest_key(kind)
    if rest is None:
        refuse_unknown(entries, known, path)
    else:
        del known[rest]
    found: dict[str, Any] = {}
    for key, entry in entries.entries.items():
        if key not in known:
            continue  # a plugin's, or one that is not built and says just that
        decoder = decoders.get(bare(known[key]))
        if decoder is not None:
            found[key] = decoder(entry, (*path, key))
        elif not _is_absent(entry, known[key]):
            found[key] = value(known[key], entry, (*path, key))
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.required and field.encode_name not in found:
            reason = f"expected {_expected(known[field.encode_name])}"
            if path and found:
                reason = f"{dotted((*path, next(iter(found))))} needs it"
            raise ConfigError(
                dotted((*path, field.encode_name)), f"missing; {reason}{_origin(node) if path else ''}"
            )
    if rest is not None:
        others = {key: plain(entry) for key, entry in entries.entries.items() if key not in known}
        found[rest] = {key: other for key, other in others.items() if other is not None}
    return kind(**{field.name: found[field.encode_name] for field in fields if field.encode_name in found})


def entries_of(node: Node, path: Path) -> Mapping:
    """Return a section's keys, none for an empty one."""
    if isinstance(node, Scalar) and node.value is None:
        return Mapping({}, node.origin)
    if not isinstance(node, Mapping):
        raise mismatch(node, path, "a mapping")
    return node


def refuse_unknown(entries: Mapping, known: Iterable[str], path: Path) -> None:
    """Complain of a key that is not among the known ones, or not built yet."""
    known = list(known)
    unbuilt = unbuilt_keys(path)
    for key, entry in entries.entries.items():
        where = (*path, key)
        origin = f" ({entries.origins[key]})"
        if key in unbuilt:
            if not is_empty(entry) and not UNBUILT[dotted(where)](plain(entry)):
                raise ConfigError(dotted(where), f"{COMPLAINT}{origin}")
        elif key not in known:
            near = nearest(key, [*known, *unbuilt])
            hint = f"did you mean {dotted((*path, near))}?" if near else f"known here: {', '.join(known)}"
            raise ConfigError(dotted(where), f"unknown key; {hint}{origin}")


def mismatch(node: Node, path: Path, expected: str) -> ConfigError:
    """Return the complaint that a value is not what was expected."""
    found = describe(node, secret=is_secret(path))
    return ConfigError(dotted(path), f"found {found}, expected {expected}{_origin(node)}")


def value(kind: Any, node: Node, path: Path) -> Any:
    """Decode one value of any type of the schema."""
    check = _check(kind)
    kind = bare(kind)
    if is_section(kind):
        return section(kind, node, path)
    origin = get_origin(kind)
    if origin is dict:
        return _dict(kind, node, path)
    if origin is list:
        (item,) = get_args(kind)
        # One value stands for a list of one.
        items = node.items if isinstance(node, Sequence) else [node]
        return [value(item, entry, (*path, str(n))) for n, entry in enumerate(items)]
    if kind is Any:
        return plain(node)
    if not isinstance(node, Scalar) or node.value is None:
        raise mismatch(node, path, _expected(kind))
    if kind is bool:
        if isinstance(node.value, bool):
            return node.value
    elif kind is int:
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return node.value
    elif origin is Literal:
        if node.text in get_args(kind):
            return node.text
    else:
        # As for Distribution, whatever is written where a string belongs is that string.
        try:
            return node.text if check is None else check(node.text)
        except ValueError as error:
            raise mismatch(node, path, str(error)) from None
    raise mismatch(node, path, _expected(kind))


def _dict(kind: Any, node: Node, path: Path) -> dict[str, Any]:
    key_kind, kind = get_args(kind)
    check = _check(key_kind)
    result: dict[str, Any] = {}
    entries = entries_of(node, path)
    for key, entry in entries.entries.items():
        if isinstance(entry, Scalar) and entry.value is None and kind is not Any:
            continue
        where = (*path, key)
        if check is not None:
            try:
                check(key)
            except ValueError as error:
                raise ConfigError(dotted(where), f"expected {error} ({entries.origins[key]})") from None
        result[key] = value(kind, entry, where)
    return result


def _is_absent(node: Node, kind: Any) -> bool:
    """Return whether a value is as if it were not there: null, or ``""`` where a string belongs.

    An optional section is also absent when all that stands in it is.
    """
    if isinstance(node, Scalar):
        text = bare(kind) in (str, float) or get_origin(bare(kind)) is Literal
        return node.value is None or (text and node.value == "")
    if isinstance(node, Mapping) and get_origin(_unannotated(kind)) in (Union, UnionType):
        known = keys(bare(kind))
        return all(key in known and is_empty(entry) for key, entry in node.entries.items())
    return False


def _unannotated(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _check(kind: Any) -> Callable[[str], Any] | None:
    if get_origin(kind) is Annotated:
        for annotation in kind.__metadata__:
            if isinstance(annotation, msgspec.Meta) and annotation.extra and "parse" in annotation.extra:
                check: Callable[[str], Any] = annotation.extra["parse"]
                return check
    return None


def _expected(kind: Any) -> str:
    kind = bare(kind)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if is_section(kind):
        return "a mapping"
    return {bool: "true or false", int: "a whole number"}.get(kind, "a string")


def _origin(node: Node) -> str:
    return f" ({node.origin})"
