"""What ``deploy`` says of containers agrees with the tree and with the registry."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.processes import CHECKOUT
from txregistry.config.load import load
from txregistry.config.schema import Config

#: Where Distribution's image has its configuration and its data.
CONFIG = "/etc/distribution/config.yml"
DATA = "/var/lib/registry"


def read(*path: str) -> str:
    """Return the text of a file of the checkout."""
    with open(os.path.join(CHECKOUT, *path)) as file:
        return file.read()


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with what follows it on its lines."""
    text = re.sub(r"^#.*\n", "", read("deploy", "Dockerfile"), flags=re.MULTILINE).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def starts_with(environ: dict[str, str]) -> Config:
    """Return what the image's configuration means in an environment."""
    return load(os.path.join(CHECKOUT, "deploy", "config.yml"), environ).config


class TestDockerfile(SynchronousTestCase):
    """``deploy/Dockerfile``."""

    def last(self, word: str) -> str:
        """Return what the last instruction of a kind says."""
        return [rest for found, rest in instructions() if found == word][-1]

    def test_copied_files(self) -> None:
        """All that is copied into the image is in the tree, and ``.dockerignore`` lets it through."""
        listed = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
        copies = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
        copied = {source for sources in copies for source in sources if not sources[0].startswith("--from=")}
        self.assertEqual(copied, listed)
        for path in copied:
            self.assertTrue(os.path.exists(os.path.join(CHECKOUT, path)), path)

    def test_everything_that_an_installation_needs(self) -> None:
        """What ``setup.cfg`` packages or reads is copied."""
        wanted = {"setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "txregistry", "twisted"}
        copied = " ".join(rest for word, rest in instructions() if word == "COPY").split()
        self.assertLessEqual(wanted, set(copied))

    def test_unprivileged(self) -> None:
        """The cache of Twisted's plugins is written after the last installation, before root is left."""
        steps = instructions()
        installed = max(n for n, (_, rest) in enumerate(steps) if "--from=build" in rest or '["pip"' in rest)
        warmed = max(n for n, (_, rest) in enumerate(steps) if "getPlugins" in rest)
        user = min(n for n, (word, _) in enumerate(steps) if word == "USER")
        self.assertTrue(installed < warmed < user, steps)
        self.assertNotIn(self.last("USER"), ("root", "0"))

    def test_paths(self) -> None:
        """The command reads the file that is copied, and the data are in the volume: Distribution's paths."""
        self.assertEqual(json.loads(self.last("CMD")), ["serve", CONFIG])
        self.assertIn(("COPY", f"deploy/config.yml {CONFIG}"), instructions())
        self.assertEqual(json.loads(self.last("VOLUME")), [DATA])
        self.assertEqual(starts_with({}).storage.options, {"rootdirectory": DATA})

    def test_port(self) -> None:
        """The port that is exposed, and asked whether the server is well, is the one that it listens on."""
        port = self.last("EXPOSE")
        self.assertEqual(starts_with({}).http.addr, f":{port}")
        self.assertIn(f"http://127.0.0.1:{port}/livez", self.last("HEALTHCHECK"))

    def test_no_shell(self) -> None:
        """Nothing is run by a shell, which would keep signals from the server."""
        for word, rest in instructions():
            if word in ("RUN", "ENTRYPOINT", "CMD"):
                self.assertIsInstance(json.loads(rest), list)


class TestCompose(SynchronousTestCase):
    """``deploy/compose.yml``."""

    def setUp(self) -> None:
        self.compose: dict[str, Any] = yaml.safe_load(read("deploy", "compose.yml"))
        self.registry = self.compose["services"]["registry"]

    def test_build(self) -> None:
        """It builds the Dockerfile from the top of the checkout."""
        build = self.registry["build"]
        context = os.path.normpath(os.path.join(CHECKOUT, "deploy", build["context"]))
        self.assertEqual(context, CHECKOUT)
        self.assertTrue(os.path.exists(os.path.join(context, build["dockerfile"])))

    def test_variables(self) -> None:
        """The registry understands the variables, each of them, and they mean what they should."""
        loaded = load(os.path.join(CHECKOUT, "deploy", "config.yml"), self.registry["environment"])
        self.assertEqual(list(loaded.warnings), [])
        self.assertTrue(loaded.config.http.secret)
        self.assertTrue(loaded.config.storage.delete.enabled)
        self.assertEqual(loaded.config.storage.cache.blobdescriptor, "redis")
        assert loaded.config.redis is not None
        (address,) = loaded.config.redis.addrs
        host, _, port = address.partition(":")
        self.assertIn(host, self.compose["services"])
        self.assertEqual(port, "6379")
        self.assertIn(host, self.registry["depends_on"])

    def test_data(self) -> None:
        """The data are in a volume that outlives the container, which may write nowhere else."""
        (mount,) = self.registry["volumes"]
        name, _, path = mount.partition(":")
        self.assertEqual((path, list(self.compose["volumes"])), (DATA, [name]))
        self.assertTrue(self.registry["read_only"])

    def test_time_to_end(self) -> None:
        """Requests under way may end before the container is killed."""
        grace = int(self.registry["stop_grace_period"].removesuffix("s"))
        self.assertGreater(grace, starts_with(self.registry["environment"]).http.draintimeout)
