"""Run tests and end with a line that counts them: ``N passed, N failed``.

A test that is skipped, or that is expected to fail, counts as failed: it showed nothing.

Usage: ``python tests/run.py [NAME …]``; without names, all but ``tests.peers`` and
``tests.soak``, and the drivers' own, in as many processes as there are processors, each
module or package as one run of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner, TrialSuite

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = ["txregistry_sqlite", "txregistry_s3", "txregistry_azure", "txregistry_gcs"]
#: What takes longest is begun first.
LONG = [
    "tests.faults",
    "tests.workers",
    "txregistry_s3",
    "tests.web",
    "txregistry_azure",
    "txregistry_gcs",
    "tests.objects",
]
COUNTED = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)


def names() -> list[str]:
    """Return what is run when nothing is named."""
    found = []
    for entry in sorted(os.scandir(HERE), key=lambda entry: entry.name):
        is_package = os.path.exists(os.path.join(entry.path, "__init__.py"))
        is_module = entry.name.startswith("test_") and entry.name.endswith(".py")
        if (is_package and entry.name not in ("peers", "soak")) or is_module:
            found.append(f"tests.{entry.name.removesuffix('.py')}")
    return found + DRIVERS


def run_all() -> int:
    """Run everything; return the exit status."""
    wanted = sorted(names(), key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    passed = failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as processes:
        for output, status in processes.map(run_alone, wanted):
            print(output, flush=True)
            counted = COUNTED.findall(output)
            good, bad = map(int, counted[-1]) if counted else (0, 0)
            passed += good
            # What broke off without counting a failure has failed all the same.
            failed += bad or int(status != 0 or not counted)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run_alone(name: str) -> tuple[str, int]:
    """Run the tests of one name in a process of their own; return what it printed and its exit status."""
    done = subprocess.run(
        [sys.executable, __file__, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.stdout, done.returncode


def main(wanted: list[str]) -> int:
    """Run the tests of those names; return the exit status."""
    sys.path.insert(0, os.path.dirname(HERE))
    loader = TestLoader()
    suite = TrialSuite([loader.loadByName(name, recurse=True) for name in wanted])
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
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else run_all())
