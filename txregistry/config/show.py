"""Showing what a configuration means: every key with its value, secrets masked."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import yaml

from txregistry.config.decode import bare, is_section, keys, rest_key
from txregistry.config.durations import format_duration
from txregistry.config.masks import masked
from txregistry.config.schema import Config, Storage

# The key without a value would be refused: it looks like rules that someone meant to write.
_NO_RULES = "# access: not set\n"
_UNSET = "  secret: ''\n"
_UNSET_WITH_NOTE = "  secret: '' # not set: each start makes a random one\n"


def render(config: Config) -> str:
    """Return the YAML of a file that means the same, except that secrets are masked."""
    blocks = []
    for name, value in _section(config, ()).items():
        if name == "access" and value is None:
            blocks.append(_NO_RULES)
            continue
        text = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=1000)
        if name == "http":
            text = text.replace(_UNSET, _UNSET_WITH_NOTE, 1)
        blocks.append(text)
    return "".join(blocks)


def _section(value: msgspec.Struct, path: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    kinds = keys(type(value))
    for attribute in msgspec.structs.fields(type(value)):
        key, kind = attribute.encode_name, kinds[attribute.encode_name]
        if isinstance(value, Storage) and key in ("driver", "options"):
            if key == "options":
                where = (*path, value.driver)
                result[value.driver] = masked(value.options, where)
            continue
        entry = getattr(value, attribute.name)
        where = (*path, key)
        if key == rest_key(type(value)):
            result |= masked(entry, path)
        elif isinstance(entry, msgspec.Struct):
            result[key] = _section(entry, where)
        elif isinstance(entry, list) and is_section(get_args(bare(kind))[0]):
            result[key] = [_section(item, (*where, str(n))) for n, item in enumerate(entry)]
        elif bare(kind) is float:
            result[key] = format_duration(entry)
        elif is_section(bare(kind)):
            result[key] = None
        else:
            result[key] = masked(entry, where)
    return result
