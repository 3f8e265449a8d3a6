"""A server is killed again and again while clients write to the same repositories and tags."""

from __future__ import annotations

import os
import random

from tests.faults.crashes import Crashes
from tests.test_service import ProcessCase

KILLS = int(os.environ.get("REGISTRY_TEST_KILLS", "8"))


class KillTests(ProcessCase):
    """SIGKILL."""

    def test_D01_kill(self) -> None:
        """Whenever it is killed, it is soon back, with all that was acknowledged and nothing in part."""
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        server = self.server()
        server.start()
        crashes = Crashes(server, server.kill, random.Random(seed))
        try:
            crashes.run(KILLS, clients=4)
        except AssertionError as failure:
            raise AssertionError(f"TXREGISTRY_SEED={seed}: {failure}\n{server.log()}") from failure
        print(f"TXREGISTRY_SEED={seed} {crashes.figures}")
        self.assertEqual(server.log(), "")
