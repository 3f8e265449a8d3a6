"""The page that says which test shows what."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.named import NAME, exists, page

#: Those of the spec's table "Endpoints".
ENDPOINTS = """
    end-1 end-2 end-3 end-4a end-4b end-4c end-5 end-6 end-7a end-7b end-8a end-8b end-9 end-10 end-11 end-12a
    end-12b end-13 end-14
"""


class TableTests(SynchronousTestCase):
    """``docs/conformance.rst``."""

    def test_names(self) -> None:
        """Every test that the page names exists."""
        named = NAME.findall(page("conformance.rst"))
        self.assertGreater(len(named), 50)
        self.assertEqual([name for name in named if not exists(name)], [])

    def test_endpoints(self) -> None:
        """Every endpoint of the spec has a row that names a test."""
        table = page("conformance.rst").partition("Endpoints\n---")[2].partition("\nSupport")[0]
        rows = [row for row in table.split("   * - ")[2:] if NAME.search(row)]
        self.assertEqual([row.partition("\n")[0] for row in rows], ENDPOINTS.split())
