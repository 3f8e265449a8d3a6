"""Every parser, and the HTTP edge as a whole, under Atheris, which looks for bytes that lead to code not seen yet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.parsers import PARSERS
from tests.processes import CHECKOUT
from tests.soak.length import MINUTES


class AtherisTests(SynchronousTestCase):
    """All of them share the time of one long test."""

    def fuzz(self, name: str) -> None:
        """Fuzz one parser."""
        seconds = max(5, round(MINUTES * 60 / len(PARSERS)))
        with tempfile.TemporaryDirectory(prefix="txregistry-fuzz-") as directory:
            corpus = os.path.join(directory, "corpus")
            os.mkdir(corpus)
            for number, seed in enumerate(PARSERS[name].seeds):
                with open(os.path.join(corpus, str(number)), "wb") as file:
                    file.write(seed)
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.soak.fuzzing", name, f"-max_total_time={seconds}"),
                    *("-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={directory}/"),
                    *("-print_final_stats=1", corpus),
                ],
                cwd=CHECKOUT,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + 120,
                check=False,
            )
        said = done.stdout + done.stderr
        runs = re.search(r"stat::number_of_executed_units: *(\d+)", said)
        print(f"\n    {name}: {runs[1] if runs else '?'} inputs in {seconds} s ", end="", flush=True)
        self.assertEqual(done.returncode, 0, said[-4000:])


def _add_tests() -> None:
    for name in PARSERS:

        def test(self: AtherisTests, name: str = name) -> None:
            self.fuzz(name)

        test.__doc__ = f"No bytes lead the parser of {name} to what it must not do."
        setattr(AtherisTests, f"test_H11_{name}", test)


_add_tests()
