"""The test case that all tests with real programs share."""

import os
import shutil
import subprocess
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import DISTRIBUTION, TXREGISTRY, RegistryServer, find_program
from tests.registry_client import RegistryClient

SUBJECT = os.environ.get("REGISTRY_UNDER_TEST", TXREGISTRY)
"""Which registry is tested; with ``docker-registry`` the tests show that they are fair."""


def run_program(*command: str, timeout: float = 120.0, env: dict[str, str] | None = None) -> str:
    """
    Run a program to its end and give what it wrote on standard output.

    :param timeout: seconds until it must have ended.
    :param env: variables beside those of this process.
    :raises AssertionError: its exit status is not 0, or it took too long.
    """
    try:
        done = subprocess.run(
            [find_program(command[0]), *command[1:]],
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = f"{error.output!r}\n{error.stderr!r}"
        raise AssertionError(f"{' '.join(command)}: no end after {timeout} s\n{said}") from None
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done.stdout


class PeerCase(SynchronousTestCase):
    """A test that starts servers and runs programs, and leaves nothing behind."""

    def directory(self) -> str:
        """Make a directory that goes when the test ends."""
        path = tempfile.mkdtemp(prefix="txregistry-peers-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def registry(self, program: str = SUBJECT, data: str | None = None) -> RegistryServer:
        """
        Start a registry that stops when the test ends.

        :param data: its storage root; a new one when not given.
        """
        directory = self.directory()
        server = RegistryServer(program, directory, data or os.path.join(directory, "data"))
        self.addCleanup(self._stop, server)
        server.start()
        return server

    def distribution(self, data: str) -> RegistryServer:
        """Start CNCF Distribution over a storage root."""
        return self.registry(DISTRIBUTION, data)

    def _stop(self, server: RegistryServer) -> None:
        server.stop()
        self.assert_calm(server)

    def assert_calm(self, server: RegistryServer) -> None:
        """Fail when the server's log holds a traceback: no client, however rude, should cause one."""
        log = server.log(1 << 20)
        self.assertNotIn("Traceback (most recent call last)", log, f"the server's log:\n{log[-8000:]}")

    def assert_whole(self, client: RegistryClient, repository: str, reference: str) -> None:
        """Fail unless the registry gives an image's config and all its layers, each as its digest says."""
        manifest = client.manifest(repository, reference)
        self.assertEqual(manifest.status, 200, manifest.body)
        for descriptor in [manifest.json()["config"], *manifest.json()["layers"]]:
            expected = (descriptor["digest"], descriptor["size"])
            self.assertEqual(client.measure_blob(repository, descriptor["digest"]), expected)
