"""A server that is killed in the middle of pushes tells of every one that it acknowledged."""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import sys
import threading
import traceback

from tests.notify.test_delivery import OCI_INDEX, DeliveryCase
from tests.processes import CHECKOUT
from tests.registry_client import RegistryClient
from tests.test_crash import Outages

#: How often; TXREGISTRY_KILLS=50 for the long run.
KILLS = int(os.environ.get("TXREGISTRY_KILLS", "4"))
CLIENTS = 4


class Pusher:
    """Pushes one manifest after the other to a repository of its own, each until that is acknowledged.

    :param outages: says when the server is back.
    :param host: where it is.
    :param repository: what no one else pushes to.
    """

    def __init__(self, outages: Outages, host: str, repository: str) -> None:
        self._outages = outages
        self._client = RegistryClient(host, timeout=60)
        self.repository = repository
        self.acknowledged: list[str] = []
        self.interrupted = 0

    def run(self) -> None:
        """Push until the outages are over."""
        while not self._outages.over:
            tag = f"t{len(self.acknowledged)}"
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [],
                "annotations": {"tag": tag},
            }
            try:
                self._client.push_manifest(self.repository, tag, document)
            except (OSError, http.client.HTTPException):
                self.interrupted += 1
                self._outages.wait_until_up()
            else:
                self.acknowledged.append(tag)
            # As many steps as make a kill come after some dozens of pushes of all.
            for _ in range(5):
                self._outages.step()


class KillTests(DeliveryCase):
    """SIGKILL, while several push and a receiver that fails now and then is told."""

    def test_kills(self) -> None:
        """However often the server is killed, what it acknowledged is told of, in order in each repository."""
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"TXREGISTRY_SEED={seed}")
        rng = random.Random(seed)
        self.receiver.misbehave = lambda event: rng.choice([200, 200, 200, 503])
        server = self.notifying(threshold=2)
        outages = Outages(server, rng)
        pushers = [Pusher(outages, server.host, f"kills/{number}") for number in range(CLIENTS)]
        failures: list[str] = []

        def guarded(pusher: Pusher) -> None:
            try:
                pusher.run()
            except BaseException:
                failures.append(traceback.format_exc())
                outages.give_up()

        threads = [threading.Thread(target=guarded, args=(pusher,)) for pusher in pushers]
        for thread in threads:
            thread.start()
        try:
            outages.run(KILLS)
        finally:
            outages.over = True
            for thread in threads:
                thread.join(60)
        self.assertEqual(failures, [], f"TXREGISTRY_SEED={seed}:\n" + "\n".join(failures) + server.log())
        self.receiver.misbehave = lambda event: 200
        expected = {(one.repository, tag) for one in pushers for tag in one.acknowledged}
        count = len(expected)
        while not expected <= {told(event) for event in self.receiver.wait(count)}:
            count += 1  # some came twice
        for pusher in pushers:
            first = dict.fromkeys(
                tag for name, tag in map(told, self.receiver.events) if name == pusher.repository
            )
            self.assertEqual(list(first)[: len(pusher.acknowledged)], pusher.acknowledged)
        print([(len(one.acknowledged), one.interrupted) for one in pushers])
        server.stop()
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "fsck", "--quick", server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def told(event: dict[str, dict[str, str]]) -> tuple[str, str]:
    """Return the repository and the tag that an event is of."""
    return event["target"]["repository"], event["target"]["tag"]
