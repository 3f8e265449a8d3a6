"""Events of a real server reach a real receiver, whatever happens to either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.notify.receiver import Receiver
from tests.processes import CHECKOUT
from tests.registry_client import RegistryClient
from tests.test_service import ConfiguredServer, ProcessCase

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
#: How often the server is killed; TXREGISTRY_KILLS=50 for the long run.
KILLS = int(os.environ.get("TXREGISTRY_KILLS", "8"))


class AddedServer(ConfiguredServer):
    """A server whose configuration may have sections that the usual one has not."""

    def config(self) -> dict[str, Any]:
        """Return the configuration with what the test wants."""
        more, self.more = self.more, {}
        try:
            return {**super().config(), **more}
        finally:
            self.more = more


class DeliveryCase(ProcessCase):
    """A server and a receiver."""

    kind: type[ConfiguredServer] = AddedServer

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()
        self.receiver.start()
        self.addCleanup(self.receiver.stop)

    def notifying(self, outbox: dict[str, Any] | None = None, **endpoint: Any) -> ConfiguredServer:
        """Return a server with one endpoint, started."""
        keys = {"name": "hook", "url": self.receiver.url, "backoff": "50ms", "ignore": {"actions": ["pull"]}}
        section = {"endpoints": [{**keys, **endpoint}], "outbox": outbox or {}}
        server = self.server(notifications=section)
        server.start()
        return server

    def push(self, server: ConfiguredServer, repository: str, tag: str) -> None:
        """Push a manifest that needs nothing."""
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"tag": tag}}
        RegistryClient(server.host).push_manifest(repository, tag, document)

    def command(self, server: ConfiguredServer, *arguments: str) -> str:
        """Run ``txregistry events``."""
        return subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "events", *arguments, server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout


class DeliveryTests(DeliveryCase):
    """What is promised of events."""

    def test_dead_endpoint(self) -> None:
        """Events of the time in which no one listened arrive when someone does, in order in each repository."""
        server = self.notifying(threshold=2)
        self.receiver.stop()
        for number in range(5):
            for repository in ("a", "b"):
                self.push(server, repository, f"t{number}")
        self.receiver.start()
        events = self.receiver.wait(10)
        for repository in ("a", "b"):
            tags = [one["target"]["tag"] for one in events if one["target"]["repository"] == repository]
            self.assertEqual(tags, [f"t{number}" for number in range(5)])

    def test_kill(self) -> None:
        """After each of many kills, every push that was acknowledged is told of."""
        server = self.notifying(threshold=2)
        for number in range(KILLS):
            if number % 2:
                self.receiver.stop()
            self.push(server, "a", f"t{number}")
            server.kill()
            if number % 2:
                self.receiver.start()
            server.start()
        self.push(server, "a", "last")
        expected = {f"t{number}" for number in range(KILLS)} | {"last"}
        count = len(expected)
        while {one["target"]["tag"] for one in self.receiver.wait(count)} != expected:
            count += 1  # some came twice

    def test_poison(self) -> None:
        """An event that is refused holds up its repository alone; set aside, it is listed and can be sent again."""
        self.receiver.misbehave = lambda event: 400 if event["target"]["tag"] == "bad" else 200
        server = self.notifying({"maxtries": 3})
        self.push(server, "a", "bad")
        self.push(server, "a", "good")
        self.push(server, "b", "other")
        tags = [one["target"]["tag"] for one in self.receiver.wait(2)]
        self.assertEqual(tags, ["other", "good"])
        self.assertEqual([one["target"]["tag"] for one in self.receiver.tried].count("bad"), 3)
        server.stop()
        number, *_, what, problem = self.command(server, "list").rstrip("\n").split("\t")
        self.assertEqual((what, problem), ("a:bad", "the answer was 400"))
        server.start()
        self.receiver.misbehave = lambda event: 200
        self.assertEqual(self.command(server, "retry", "--event", number), "1 to be tried again\n")
        count = 3
        while self.receiver.wait(count)[-1]["target"]["tag"] != "bad":
            count += 1  # what was being delivered when the server was stopped came again
        server.stop()
        self.assertEqual(self.command(server, "list", "--all"), "")

    def test_drop(self) -> None:
        """What is dropped is never delivered, though a server runs; the rest is, and what comes afterwards."""
        server = self.notifying(threshold=1)
        self.receiver.stop()
        for tag in ("t0", "t1", "t2"):
            self.push(server, "a", tag)
        listed = [line.split("\t") for line in self.command(server, "list", "--all").splitlines()]
        self.assertEqual(
            [(fields[2], fields[6]) for fields in listed], [("waiting", f"a:t{n}") for n in range(3)]
        )
        self.assertEqual(self.command(server, "drop", "--event", listed[1][0]), "1 removed\n")
        self.assertEqual(self.command(server, "drop", "--event", listed[1][0]), "0 removed\n")
        self.receiver.start()
        self.assertEqual([one["target"]["tag"] for one in self.receiver.wait(2)], ["t0", "t2"])
        self.receiver.misbehave = lambda event: 503
        self.push(server, "a", "t3")
        self.assertEqual(self.command(server, "drop", "--endpoint", "other", "--all"), "0 removed\n")
        self.assertEqual(self.command(server, "drop", "--endpoint", "hook", "--all"), "1 removed\n")
        self.assertEqual(self.command(server, "list", "--all"), "")
        self.receiver.misbehave = lambda event: 200
        self.push(server, "a", "t4")
        self.assertEqual(self.receiver.wait(3)[-1]["target"]["tag"], "t4")

    def test_redirect(self) -> None:
        """A redirect is not followed: the event is kept until it is taken."""
        answers = iter([307, 301])
        self.receiver.misbehave = lambda event: next(answers, 200)
        server = self.notifying()
        self.push(server, "a", "t")
        self.receiver.wait(1)
        self.assertEqual(len(self.receiver.tried), 3)

    def test_bound(self) -> None:
        """Where there is no room the oldest events go, and the newest are delivered."""
        server = self.notifying({"maxbytes": 3000}, threshold=1, backoff="300ms")
        self.receiver.stop()
        for number in range(12):
            self.push(server, "a", f"t{number}")
        self.receiver.start()
        server.stop()
        server.start()
        self.push(server, "b", "last")
        while self.receiver.events[-1:] == [] or self.receiver.events[-1]["target"]["tag"] not in (
            "t11",
            "last",
        ):
            self.receiver.wait(len(self.receiver.events) + 1)
        tags = [one["target"]["tag"] for one in self.receiver.events]
        self.assertNotIn("t0", tags)

    def test_cloud_events(self) -> None:
        """An endpoint can have events in CloudEvents' form."""
        server = self.notifying(format="cloudevents")
        self.push(server, "a", "t")
        (event,) = self.receiver.wait(1)
        self.assertEqual(
            self.receiver.headers[0]["Content-Type"], "application/cloudevents+json; charset=utf-8"
        )
        self.assertEqual(
            (event["specversion"], event["type"], event["subject"]), ("1.0", "txregistry.push", "a:t")
        )
        self.assertEqual(json.loads(json.dumps(event["data"]))["target"]["tag"], "t")

    def test_two_servers(self) -> None:
        """A second server on the same outbox is refused in one line."""
        server = self.notifying()
        line = self.refused("--config", server.config_path)
        self.assertIn("notifications.outbox.path", line)
