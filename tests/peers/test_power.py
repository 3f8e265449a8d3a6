"""The power of the disk goes, again and again, while clients write; ``REGISTRY_TEST_POWER_CUTS`` says how often."""

from __future__ import annotations

import hashlib
import os
import random

from tests.faults.crashes import Crashes
from tests.peers.case import SUBJECT, PeerCase
from tests.peers.disks import Ext4
from tests.processes import RegistryServer

CUTS = int(os.environ.get("REGISTRY_TEST_POWER_CUTS", "8"))


class PowerCutTests(PeerCase):
    """ext4, as most machines have it."""

    def test_D02_power_cut(self) -> None:
        """After each cut all that was acknowledged is there, and no file under a final name is in part."""
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        disk = Ext4(self.addCleanup, 1024)
        server = RegistryServer(SUBJECT, self.directory(), f"{disk.path}/data")
        self.addCleanup(server.stop)
        server.start()

        def cut() -> None:
            disk.cut_power()
            server.kill()
            disk.unmount()
            disk.mount()
            self.assert_whole_files(f"{disk.path}/data")

        crashes = Crashes(server, cut, random.Random(seed))
        try:
            crashes.run(CUTS, clients=4)
        except AssertionError as failure:
            raise AssertionError(f"TXREGISTRY_SEED={seed} {crashes.figures}: {failure}") from failure
        print(f"TXREGISTRY_SEED={seed} {crashes.figures}")
        server.stop()

    def assert_whole_files(self, data: str) -> None:
        """Fail unless each blob has the digest that it is named by, and each link is one."""
        root = f"{data}/docker/registry/v2"
        for parent, _, names in os.walk(root):
            for name in names:
                path = os.path.join(parent, name)
                if "/_uploads/" in path:
                    continue
                with open(path, "rb") as file:
                    if name == "data":
                        found = hashlib.file_digest(file, "sha256").hexdigest()
                        self.assertEqual(found, os.path.basename(parent), path)
                    elif name == "link":
                        self.assertRegex(file.read().decode(), r"\Asha256:[0-9a-f]{64}\Z", path)
