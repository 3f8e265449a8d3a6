"""The page that says what is survived, and which test shows it."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.named import NAME, exists, page

#: How a row of a table begins.
_ROW = re.compile(r"^   \* - ([A-Z]-\d\d)$", re.MULTILINE)


class TableTests(SynchronousTestCase):
    """``docs/reliability.rst``."""

    def test_names(self) -> None:
        """Every test that the page names exists."""
        self.assertEqual([name for name in NAME.findall(page("reliability.rst")) if not exists(name)], [])

    def test_rows(self) -> None:
        """Every item has one row, which names a test, or says that it is not shown and why."""
        _, *parts = _ROW.split(page("reliability.rst"))
        rows = list(zip(parts[::2], parts[1::2], strict=True))
        self.assertEqual(sorted({item for item, _ in rows}), sorted(item for item, _ in rows))
        unshown = [item for item, row in rows if not NAME.search(row) and "*not shown*" not in row]
        self.assertEqual(unshown, [])
