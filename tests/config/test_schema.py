from typing import Annotated, Any, get_args, get_origin

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txregistry.config import schema
from txregistry.config.decode import bare, is_section, keys
from txregistry.config.unbuilt import UNBUILT


class SchemaTests(SynchronousTestCase):
    def paths(self, kind: Any, above: str = "") -> dict[str, Any]:
        found = {}
        for key, below in keys(kind).items():
            found[above + key] = below
            if is_section(bare(below)):
                found |= self.paths(bare(below), f"{above}{key}.")
        return found

    def test_documented(self) -> None:
        """Every key says what it means."""
        for path, kind in self.paths(schema.Config).items():
            self.assertIs(get_origin(kind), Annotated, path)
            described = [
                part for part in get_args(kind)[1:] if isinstance(part, msgspec.Meta) and part.description
            ]
            self.assertEqual(len(described), 1, path)

    def test_built_or_not(self) -> None:
        """No key is both built and refused."""
        self.assertEqual(set(self.paths(schema.Config)) & set(UNBUILT), set())
