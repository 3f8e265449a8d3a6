"""SIGHUP: the configuration is read again by a server that runs."""

from __future__ import annotations

import json
import os
import signal
import time

from tests.registry_client import Blob, RegistryClient, with_digest
from tests.test_service import PATIENCE, ConfiguredServer, ProcessCase


class ReloadTests(ProcessCase):
    """A real process."""

    def setUp(self) -> None:
        super().setUp()
        self.running: ConfiguredServer = self.server(log={"level": "info"})
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

    def test_read_only(self) -> None:
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

    def test_rules(self) -> None:
        """Rules of access take effect."""
        self.reload("was read again", access=[])
        self.assertIn(RegistryClient(self.running.host).request("GET", "/v2/a/tags/list").status, (401, 403))

    def test_bad_file(self) -> None:
        """A file that cannot be used is refused whole, with the reason, and the old one stays."""
        self.reload("the old one stays: quux: unknown key", "version: 0.1\nstorage: inmemory\nquux: 1\n")
        self.assertEqual(RegistryClient(self.running.host).request("GET", "/v2/").status, 200)

    def test_many(self) -> None:
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
