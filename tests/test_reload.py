"""SIGHUP: the configuration is read again by a server that runs."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import time
from typing import Any

from tests.auth.htpasswd_case import ALICE, BOB, write
from tests.notify.receiver import Receiver
from tests.processes import TXREGISTRY
from tests.registry_client import Blob, RegistryClient, with_digest
from tests.test_service import (
    PATIENCE,
    ConfiguredServer,
    ProcessCase,
    TlsServer,
    image,
    make_certificate,
)
from txregistry.testing.auth import basic


class ReloadCase(ProcessCase):
    """A real process."""

    def begin(self, **more: Any) -> None:
        """Start a server."""
        self.running: ConfiguredServer = self.server(**{"log": {"level": "info"}, **more})
        self.running.start()

    def reload(self, said: str, text: str | None = None, **more: object) -> None:
        """Change the file, send SIGHUP, and return when the log says what it must."""
        begin = len(self.running.log(1 << 20))
        self.running.more = {**self.running.more, **more}  # type: ignore[dict-item]
        with open(self.running.config_path, "w") as file:
            file.write(json.dumps(self.running.config()) if text is None else text)
        os.kill(self.running.pid, signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while said not in self.running.log(1 << 20)[begin:]:
            self.assertLess(time.monotonic(), deadline, self.running.log())
            time.sleep(0.02)


class ReloadTests(ReloadCase):
    """A server with nothing but its storage."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_L08_read_only(self) -> None:
        """The read-only switch takes effect; a connection that is open stays so, and a push under way is kept."""
        client = RegistryClient(self.running.host)
        blob = Blob(1, 1 << 20)
        upload = client.begin_upload("a")
        self.reload(
            "was read again",
            storage={"maintenance": {"readonly": {"enabled": True}}, "filesystem": {"rootdirectory": "/x"}},
        )
        self.assertEqual(client.request("POST", "/v2/a/blobs/uploads/").status, 405)
        self.assertIn("needs a restart: storage.filesystem.rootdirectory", self.running.log())
        self.running.more.pop("storage")
        self.reload("was read again")
        put = client.request("PUT", with_digest(upload, blob.digest), body=b"".join(blob.chunks()))
        self.assertEqual(put.status, 201)

    def test_purging(self) -> None:
        """A server that was started read-only purges uploads once it is not."""
        client = RegistryClient(self.running.host)
        client.begin_upload("a")
        path = f"{self.running.data}/docker/registry/v2/repositories/a/_uploads"
        os.utime(os.path.join(path, os.listdir(path)[0]), (0, 0))
        storage = self.running.config()["storage"]
        maintenance = {"uploadpurging": {"age": "1s", "interval": "1s"}, "readonly": {"enabled": True}}
        self.running.stop()
        self.running.more["storage"] = {**storage, "maintenance": maintenance}
        self.running.start()
        self.assertEqual(client.request("POST", "/v2/a/blobs/uploads/").status, 405)
        maintenance = {**maintenance, "readonly": {"enabled": False}}
        self.reload("purged upload", storage={**storage, "maintenance": maintenance})
        self.assertEqual(os.listdir(path), [])

    def test_A16_rules(self) -> None:
        """Rules of access take effect."""
        self.reload("was read again", access=[])
        self.assertIn(RegistryClient(self.running.host).request("GET", "/v2/a/tags/list").status, (401, 403))

    def test_cache(self) -> None:
        """That the cache is another takes a restart, which the log says."""
        self.reload("was read again", storage={"cache": {"blobdescriptor": "inmemory"}})
        self.assertIn("needs a restart: storage.cache.blobdescriptor", self.running.log())

    def test_L08_bad_file(self) -> None:
        """A file that cannot be used is refused whole, with the reason, and the old one stays."""
        self.reload("the old one stays: quux: unknown key", "version: 0.1\nstorage: inmemory\nquux: 1\n")
        self.assertEqual(RegistryClient(self.running.host).request("GET", "/v2/").status, 200)

    def test_L08_many(self) -> None:
        """Hundreds of signals are served together, and leave no descriptor open."""
        self.reload("was read again")
        descriptors = len(os.listdir(f"/proc/{self.running.pid}/fd"))
        for _ in range(300):
            os.kill(self.running.pid, signal.SIGHUP)
        self.reload("was read again")
        self.assertLessEqual(len(os.listdir(f"/proc/{self.running.pid}/fd")), descriptors + 2)

    def test_level(self) -> None:
        """The log's level takes effect."""
        self.reload("was read again", log={"level": "debug", "fields": {"mark": "new"}})
        self.reload("mark=new")

    def test_L08_under_way(self) -> None:
        """The body of a PATCH that is half sent, and a connection that is idle, live through it."""
        blob = Blob(1, 4 << 20)
        content = b"".join(blob.chunks())
        client = RegistryClient(self.running.host)
        upload = client.begin_upload("a")
        idle, sending = (http.client.HTTPConnection(self.running.host, timeout=PATIENCE) for _ in range(2))
        with contextlib.closing(idle), contextlib.closing(sending):
            idle.request("GET", "/v2/")
            idle.getresponse().read()
            sending.putrequest("PATCH", upload)
            sending.putheader("Content-Length", str(blob.size))
            sending.endheaders()
            for begin in range(0, blob.size, 1 << 20):
                sending.send(content[begin : begin + (1 << 20)])
                self.reload("was read again", warnings=[{"repositories": "*", "text": f"at {begin}"}])
            response = sending.getresponse()
            response.read()
            self.assertEqual(response.status, 202)
            location = response.headers["Location"].partition(self.running.host)[2]
            sock = idle.sock
            idle.request("PUT", with_digest(location, blob.digest), b"")
            response = idle.getresponse()
            response.read()
            self.assertEqual((response.status, idle.sock is sock), (201, True))
            self.assertIn("at ", response.headers["Warning"])
        self.assertEqual(client.measure_blob("a", blob.digest), (blob.digest, blob.size))


class FileTests(ReloadCase):
    """Files that the configuration names, and that change while it does not."""

    def status(self, user: str) -> int:
        """Return what a user is answered."""
        credentials = {"Authorization": basic(user, f"{user}'s")}
        return RegistryClient(self.running.host).request("GET", "/v2/", headers=credentials).status

    def test_A16_htpasswd(self) -> None:
        """Users who were added to an htpasswd file are let in at once, those who were removed are not."""
        path = os.path.join(self.directory, "htpasswd")
        write(path, ALICE)
        self.begin()
        self.reload("the configuration was read again", auth={"htpasswd": {"realm": "x", "path": path}})
        self.assertEqual((self.status("alice"), self.status("bob")), (200, 401))
        for line, known, other in ((BOB, "bob", "alice"), (ALICE, "alice", "bob")):
            write(path, line)
            self.reload("the configuration was read again")
            self.assertEqual((self.status(known), self.status(other)), (200, 401))

    def test_L09_certificate(self) -> None:
        """New connections get the new certificate at once, and those that there are go on."""
        old, new = (make_certificate(self.directory, name) for name in ("old", "new"))
        paths = [os.path.join(self.directory, name) for name in ("certificate", "key")]
        for source, target in zip(old, paths, strict=True):
            shutil.copy(source, target)
        self.running = TlsServer(
            TXREGISTRY,
            self.directory,
            os.path.join(self.directory, "data"),
            more={
                "log": {"level": "info"},
                "http": {"tls": {"certificate": paths[0], "key": paths[1]}},
            },
            authority=old[0],
        )
        self.addCleanup(self.running.stop)
        self.running.start()
        with contextlib.closing(self.running.connection(PATIENCE)) as before:
            before.request("GET", "/v2/")
            before.getresponse().read()
            sock = before.sock
            for source, target in zip(new, paths, strict=True):
                shutil.copy(source, target)
            self.reload("was read again")
            context = ssl.create_default_context(cafile=new[0])
            with contextlib.closing(
                http.client.HTTPSConnection(self.running.host, timeout=PATIENCE, context=context)
            ) as after:
                for connection in (after, before):
                    connection.request("GET", "/v2/")
                    response = connection.getresponse()
                    response.read()
                    self.assertEqual(response.status, 200)
            self.assertIs(before.sock, sock)


class EndpointTests(ReloadCase):
    """Receivers of events."""

    def test_endpoints(self) -> None:
        """A new receiver gets the next event, the old one gets none any more, and what waited is not lost."""
        first, second = Receiver(), Receiver()
        for receiver in (first, second):
            receiver.start()
            self.addCleanup(receiver.stop)

        def endpoint(name: str, receiver: Receiver) -> dict[str, Any]:
            return {"name": name, "url": receiver.url, "backoff": "50ms", "threshold": 1}

        def push(tag: str) -> None:
            client.push_manifest("a", tag, image(config, annotations={"tag": tag}))

        self.begin(notifications={"endpoints": [endpoint("first", first)]})
        client = RegistryClient(self.running.host)
        config = client.push_bytes("a", b"{}")
        push("one")
        first.wait(2)
        first.stop()
        push("two")
        self.reload("was read again", notifications={"endpoints": [endpoint("second", second)]})
        push("three")
        self.assertEqual([event["target"].get("tag") for event in second.wait(1)], ["three"])
        first.start()
        both = [endpoint("first", first), endpoint("second", second)]
        self.reload("was read again", notifications={"endpoints": both})
        self.assertEqual(first.wait(3)[-1]["target"]["tag"], "two")
        push("four")
        for receiver, count in ((first, 4), (second, 2)):
            self.assertEqual(receiver.wait(count)[-1]["target"]["tag"], "four")
        self.assertIn("which is no endpoint any more", self.running.log(1 << 20))
