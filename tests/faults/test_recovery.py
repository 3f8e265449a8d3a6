"""Damage, repetitions, leftovers, restarts and cut connections: what is found, what is answered, what mends it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import txregistry
from tests.faults.crashes import Crashes
from tests.faults.proxy import ThreadedProxy, Trouble
from tests.processes import CHECKOUT, RegistryServer
from tests.registry_client import Answer, RegistryClient, sha256, with_digest
from tests.test_service import ProcessCase

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONTENT = random.Random(1).randbytes(300_000)


class RecoveryCase(ProcessCase):
    """A server with an image in it."""

    def setUp(self) -> None:
        super().setUp()
        self.registry = self.server()
        self.registry.start()
        self.client = RegistryClient(self.registry.host, timeout=60)
        self.config = self.client.push_bytes("a", b"config")
        self.layer = self.client.push_bytes("a", CONTENT)
        self.manifest = self.tag()

    def tag(self) -> str:
        """Push the image's manifest."""
        kind = "application/vnd.oci.image.layer.v1.tar"
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": kind, "digest": self.config, "size": 6},
            "layers": [{"mediaType": kind, "digest": self.layer, "size": len(CONTENT)}],
        }
        return self.client.push_manifest("a", "v1", document)

    def path(self, digest: str) -> str:
        """Return where the bytes of a digest are."""
        encoded = digest.partition(":")[2]
        return f"{self.registry.data}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"

    def link(self, digest: str, kind: str) -> str:
        """Return where the repository's link to a digest is."""
        encoded = digest.partition(":")[2]
        return f"{self.registry.data}/docker/registry/v2/repositories/a/{kind}/sha256/{encoded}/link"

    def get(self, what: str) -> Answer:
        """Ask for something of the repository."""
        return self.client.request("GET", f"/v2/a/{what}", headers={"Accept": MANIFEST})

    def restart(self, end: Callable[[], None]) -> None:
        """End the server and start it again."""
        end()
        self.registry.start()


def flipped(content: bytes) -> bytes:
    """Return some bytes with one bit flipped."""
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def cut(content: bytes) -> bytes:
    """Return half of some bytes."""
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    """Return nothing."""
    return b""


class DamageTests(RecoveryCase):
    """Files whose bytes are not what they were."""

    def check(self) -> str:
        """Let the storage be checked; return what is said."""
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "fsck", self.registry.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    def each(self, path: str, *damages: Callable[[bytes], bytes]) -> Iterator[None]:
        """Damage a file in each way."""
        for damage in damages:
            with open(path, "rb") as file:
                content = file.read()
            with open(path, "wb") as file:
                file.write(damage(content))
            # A disk does not say what it does; who saw it written knows better than the disk.
            self.restart(self.registry.kill)
            yield

    def test_D07_manifest(self) -> None:
        """A damaged manifest is a failure, is found by a check, and is mended by pushing it again."""
        for _ in self.each(self.path(self.manifest), cut, emptied):
            for reference in ("v1", self.manifest):
                answer = self.get(f"manifests/{reference}")
                self.assertEqual((answer.status, answer.json()["errors"][0]["code"]), (500, "UNKNOWN"))
            self.assertIn(self.manifest.partition(":")[2], self.check())
            self.tag()
            self.assertEqual(self.get("manifests/v1").status, 200)

    def test_D07_blob(self) -> None:
        """A damaged blob is found by a check, is never given as if it were whole, and is mended by a push."""
        for _ in self.each(self.path(self.layer), flipped, cut):
            self.assertIn(self.layer.partition(":")[2], self.check())
            with contextlib.suppress(OSError):
                answer = self.get(f"blobs/{self.layer}")
                # Bytes are not looked at as they are sent: the client does, by the digest that it asked for.
                self.assertTrue(answer.status >= 400 or sha256(answer.body) != self.layer)
            self.client.push_bytes("a", CONTENT)
            self.assertEqual(self.get(f"blobs/{self.layer}").body, CONTENT)

    def test_D07_links(self) -> None:
        """A damaged link leads nowhere, is found by a check, and is mended by a push."""
        layer, revision = self.link(self.layer, "_layers"), self.link(self.manifest, "_manifests/revisions")
        for path, what, push, damage in (
            (layer, f"blobs/{self.layer}", lambda: self.client.push_bytes("a", CONTENT), emptied),
            (revision, f"manifests/{self.manifest}", self.tag, flipped),
        ):
            for _ in self.each(path, damage):
                self.assertIn(self.get(what).status, (404, 500))
                self.assertIn("link", self.check())
                push()
                self.assertEqual(self.get(what).status, 200)


class RepetitionTests(RecoveryCase):
    """Requests that are sent again because their answer was lost."""

    def test_D08_twice(self) -> None:
        """Pushing twice is as good as once; deleting twice is 404."""
        for _ in range(2):
            self.assertEqual(self.client.push_bytes("a", CONTENT), self.layer)
            self.assertEqual(self.tag(), self.manifest)
        path = with_digest(self.client.begin_upload("a"), self.layer)
        self.client.expect(201, "PUT", path, CONTENT)
        # The session is over; the blob is there all the same.
        self.client.expect(404, "PUT", path, CONTENT)
        self.assertEqual(self.get(f"blobs/{self.layer}").status, 200)
        for path in (f"manifests/{self.manifest}", f"blobs/{self.layer}"):
            self.client.expect(202, "DELETE", f"/v2/a/{path}")
            self.client.expect(404, "DELETE", f"/v2/a/{path}")

    def test_D06_deleted(self) -> None:
        """A blob of two repositories that is deleted from one is gone there, whatever is cached or started again."""
        self.client.expect(201, "POST", f"/v2/b/blobs/uploads/?mount={self.layer}&from=a")
        self.client.expect(202, "DELETE", f"/v2/a/blobs/{self.layer}")
        for end in (lambda: None, self.registry.stop, self.registry.kill):
            if end in (self.registry.stop, self.registry.kill):
                self.restart(end)
            for _ in range(2):
                self.assertEqual(self.client.request("GET", f"/v2/b/blobs/{self.layer}").status, 200)
                self.assertEqual(self.get(f"blobs/{self.layer}").status, 404)
                self.assertEqual(self.client.request("HEAD", f"/v2/a/blobs/{self.layer}").status, 404)

    def test_U08_digest_twice(self) -> None:
        """A digest that is given twice is refused, and the session goes on."""
        location = self.client.begin_upload("a")
        twice = with_digest(with_digest(location, self.layer), self.layer)
        self.client.expect(400, "PUT", twice, CONTENT)
        self.client.expect(201, "PUT", with_digest(location, self.layer), CONTENT)


class LeftoverTests(RecoveryCase):
    """What lies about in the storage at the start."""

    def test_D09_leftovers(self) -> None:
        """Temporary files, half links, empty tags and strange files keep no one from starting, or from pulling."""
        root = f"{self.registry.data}/docker/registry/v2"
        left = {
            f"{self.registry.data}/_txregistry/new/left": b"half",
            f"{root}/repositories/a/_layers/sha256/{'1' * 64}/link": b"sha256:12",
            f"{root}/repositories/a/_manifests/tags/empty/current/link": b"",
            f"{root}/repositories/a/_manifests/revisions/sha256/{'2' * 64}/link.tmp": b"x",
            f"{root}/repositories/a/_uploads/strange": b"x",
            f"{root}/repositories/a/_uploads/{'3' * 8}-1111-4111-8111-111111111111/hashstates/sha256/9": b"x",
            f"{root}/blobs/sha256/11/{'1' * 64}/data.tmp": b"x",
            f"{root}/blobs/sha256/strange": b"x",
            f"{root}/strange": b"x",
        }
        self.registry.stop()
        for path, content in left.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        self.registry.start()
        self.assertEqual(self.get("manifests/v1").status, 200)
        self.assertEqual(self.get(f"blobs/{self.layer}").body, CONTENT)
        self.assertIn("v1", self.client.tags("a"))
        self.assertEqual(self.client.catalog(), ["a"])
        self.assertEqual(self.get("manifests/empty").status, 404)
        self.assertEqual(self.get(f"blobs/sha256:{'1' * 64}").status, 404)
        self.assertIn("tags/empty/current/link", self.registry.log())
        self.client.expect(202, "DELETE", "/v2/a/manifests/empty")
        self.assertEqual(self.client.tags("a"), ["v1"])

    def test_U09_states(self) -> None:
        """A state of an upload that is no state is never run or read whole: the bytes are hashed again."""
        marker = os.path.join(self.directory, "run")
        hostile = (
            pickle.dumps(_Hostile(marker)),
            json.dumps({"a": ["b" * 1000] * 3000}).encode(),
            None,
        )
        for number, state in enumerate(hostile):
            content = random.Random(number).randbytes(2 << 20)
            location = self.client.begin_upload("a")
            location = self.client._location(self.client.expect(202, "PATCH", location, content[: 3 << 19]))
            upload = re.findall(r"uploads/([0-9a-f-]{36})", location)[0]
            session = f"{self.registry.data}/docker/registry/v2/repositories/a/_uploads/{upload}"
            path = f"{session}/hashstates/sha256/{3 << 19}"
            os.unlink(path)
            if state is None:
                os.symlink("/etc/passwd", path)
            else:
                with open(path, "wb") as file:
                    file.write(state)
            self.client.expect(201, "PUT", with_digest(location, sha256(content)), content[3 << 19 :])
        self.assertFalse(os.path.exists(marker))

    def test_U09_no_pickle(self) -> None:
        """Nothing in the package can make objects or code of bytes that it reads."""
        package = os.path.dirname(txregistry.__file__)
        words = re.compile(r"\b(?:pickle|marshal|shelve|yaml\.load|yaml\.unsafe_load|eval|exec)\b\s*[.(]?")
        for parent, _, names in os.walk(package):
            for name in names:
                if name.endswith(".py"):
                    with open(os.path.join(parent, name)) as file:
                        code = re.sub(r'"""(?s:.)*?"""|#.*|"[^"\n]*"', "", file.read())
                    self.assertEqual(words.findall(code), [], os.path.join(parent, name))


class _Hostile:
    def __init__(self, marker: str) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return open, (self._marker, "w")


class UploadTests(RecoveryCase):
    """Uploads that are cut off, and servers that end meanwhile."""

    def stored(self, location: str) -> tuple[str, int]:
        """Ask how much of an upload is stored; return where it goes on, too."""
        answer = self.client.expect(204, "GET", location)
        end = int(answer.headers["Range"].partition("-")[2])
        return self.client._location(answer), end + 1 if end else 0

    def finish(self, location: str, content: bytes) -> None:
        """Send the rest of a blob, and pull it."""
        location, stored = self.stored(location)
        self.client.expect(201, "PUT", with_digest(location, sha256(content)), content[stored:])
        self.assertEqual(self.get(f"blobs/{sha256(content)}").body, content)

    def test_U06_cut(self) -> None:
        """Wherever a connection is cut, what is stored is a beginning of the blob, and the upload goes on there."""
        content = random.Random(6).randbytes(4_000_000)
        with ThreadedProxy(self.registry.port).running() as proxy:
            for part in (0.01, 0.5, 0.99):
                for trouble in (
                    Trouble(cut=int(len(content) * part)),
                    Trouble(reset=int(len(content) * part)),
                ):
                    location = self.client.begin_upload("a")
                    proxy.up = trouble
                    with contextlib.suppress(OSError, Exception):
                        RegistryClient(proxy.host, timeout=60).request("PATCH", location, content)
                    proxy.up = Trouble()
                    # Until the server has noticed, the session is its writer's.
                    self.wait_until_free(location)
                    self.assertLess(self.stored(location)[1], len(content))
                    self.finish(location, content)
                    self.client.expect(202, "DELETE", f"/v2/a/blobs/{sha256(content)}")

    def wait_until_free(self, location: str) -> None:
        """Return when no one writes to an upload any more."""
        for _ in range(1000):
            answer = self.client.request("PATCH", location, b"", {"Content-Length": "0"})
            if answer.status != 409:
                return
        self.fail("it never is")

    def test_U07_restart(self) -> None:
        """An upload goes on after a server that was stopped, and after one that was killed; no byte is sent twice."""
        for number, end in enumerate((self.registry.stop, self.registry.kill)):
            content = random.Random(number).randbytes(3_000_000)
            location = self.client.begin_upload("a")
            location = self.client._location(self.client.expect(202, "PATCH", location, content[:2_000_000]))
            self.restart(end)
            self.assertEqual(self.stored(location)[1], 2_000_000)
            self.finish(location, content)


class TwoServersTests(ProcessCase):
    """Two servers on one directory."""

    def test_D10_two_servers(self) -> None:
        """Both serve what either was told, and one goes on while the other is killed."""
        servers = []
        for _ in range(2):
            server = RegistryServer("txregistry", self.directory, os.path.join(self.directory, "data"))
            self.addCleanup(server.stop)
            server.start()
            servers.append(server)
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        crashes = Crashes(servers[0], servers[0].kill, random.Random(seed), other=servers[1])
        try:
            crashes.run(4, clients=4)
        except AssertionError as failure:
            raise AssertionError(f"TXREGISTRY_SEED={seed}: {failure}") from failure
        self.assertEqual([server.log() for server in servers], ["", ""])
