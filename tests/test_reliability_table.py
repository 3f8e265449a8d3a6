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

    def test_past_weaknesses(self) -> None:
        """Each known weakness of registries, and of what this one stands on, has a row that names a test."""
        table = (
            page("reliability.rst")
            .partition("Past weaknesses of registries\n")[2]
            .partition("\nFigures\n")[0]
        )
        rows = table.split("   * - ")[2:]
        numbers = [number for row in rows for number in re.findall(r"CVE-\d{4}-\d+", row.partition("\n")[0])]
        self.assertEqual(sorted(set(numbers)), sorted(numbers))
        self.assertGreater(len(numbers), 40)
        unshown = [row for row in rows if not NAME.search(row)]
        self.assertEqual([row.partition("\n")[0] for row in unshown], ["CVE-2025-4374, CVE-2026-33540"])
