"""Run tests and end with a line that counts them: ``N passed, N failed``.

A test that is skipped, or that is expected to fail, counts as failed: it showed nothing.

Usage: ``python tests/run.py [NAME …]``; without names, all but ``tests.peers`` and
``tests.soak``, and the drivers' own.
"""

from __future__ import annotations

import os
import sys

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner, TrialSuite

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = ["txregistry_sqlite", "txregistry_s3", "txregistry_azure"]


def names() -> list[str]:
    """Return what is run when nothing is named."""
    found = []
    for entry in sorted(os.scandir(HERE), key=lambda entry: entry.name):
        is_package = os.path.exists(os.path.join(entry.path, "__init__.py"))
        is_module = entry.name.startswith("test_") and entry.name.endswith(".py")
        if (is_package and entry.name not in ("peers", "soak")) or is_module:
            found.append(f"tests.{entry.name.removesuffix('.py')}")
    return found + DRIVERS


def main(wanted: list[str]) -> int:
    """Run the tests of those names; return the exit status."""
    sys.path.insert(0, os.path.dirname(HERE))
    loader = TestLoader()
    suite = TrialSuite([loader.loadByName(name, recurse=True) for name in wanted or names()])
    runner = TrialRunner(TreeReporter, workingDirectory="_trial_temp", realTimeErrors=False)
    result = runner.run(suite)
    unproven = [*result.skips, *result.expectedFailures, *result.unexpectedSuccesses]
    failed = len(result.failures) + len(result.errors) + len(unproven)
    for test, *_ in unproven:
        print(f"not shown: {test.id()}")
    if not result.testsRun:
        print("no test was run")
        failed += 1
    print(f"{result.successes} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
