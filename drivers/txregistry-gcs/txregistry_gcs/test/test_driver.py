"""What is Cloud Storage's own: options, objects composed of many, URLs for clients, what Distribution leaves."""

from __future__ import annotations

import json
import urllib.request
import uuid

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry.errors import ConfigError, PathUnknown
from txregistry.waiting import in_thread
from txregistry_gcs.access import Access
from txregistry_gcs.options import SMALLEST_CHUNK, Options
from txregistry_gcs.test.bench import bench
from txregistry_gcs.test.test_contract import BUCKET, driver_on


class TestOptions(SynchronousTestCase):
    """The section of the configuration."""

    def test_defaults(self) -> None:
        """What is not said is as in Distribution."""
        options = Options.of({"bucket": "images"})
        self.assertEqual((options.chunksize, options.maxconcurrency), (16 * 1024 * 1024, 50))
        self.assertEqual(Options.of({"bucket": "images", "maxconcurrency": 3}).maxconcurrency, 25)

    def test_refusals(self) -> None:
        """What cannot be used is refused, and the key is named."""
        for key, more in (
            ("bucket", {"bucket": ""}),
            ("buckets", {"buckets": "images"}),
            ("chunksize", {"chunksize": 1024}),
            ("chunksize", {"chunksize": SMALLEST_CHUNK + 1}),
            ("chunksize", {"chunksize": "many"}),
            ("credentials", {"credentials": "a text"}),
            ("rootdirectory", {"rootdirectory": "/a/../b"}),
        ):
            error = self.assertRaises(ConfigError, Options.of, {"bucket": "images", **more})
            self.assertEqual(error.where, key)

    def test_url(self) -> None:
        """With a service account's key clients are given signed URLs of twenty minutes."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "client_email": "registry@example.iam.gserviceaccount.com",
            "private_key": pem.decode("ascii"),
            "token_uri": "http://127.0.0.1:9/token",
        }
        options = Options.of({"bucket": "images", "credentials": account})
        self.assertNotIn("PRIVATE KEY", repr(options))
        access = Access(options, False, in_thread(reactor), lambda: 0.0)
        # No token can be had from there; the key is known all the same.
        self.assertEqual(self.assertRaises(ConfigError, access.prepare).where, "credentials")
        url = access.url("docker/a blob", "GET") or ""
        self.assertTrue(url.startswith("https://storage.googleapis.com/images/docker/a%20blob?"), url)
        self.assertIn("X-Goog-Expires=1200&", url)
        self.assertIn("X-Goog-Signature=", url)


class TestDriver(TestCase):
    """On the bench."""

    def setUp(self) -> None:
        """Make a driver."""
        self.root = uuid.uuid4().hex
        self.driver = driver_on(bench(), f"/{self.root}")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.driver.close()))

    async def test_many_segments(self) -> None:
        """A file of more segments than can be composed at once is whole, and nothing is left of the way there."""
        content = bytes(range(256)) * (1024 * 35)
        writer = await self.driver.open_writer("/upload/data")
        for start in range(0, len(content), SMALLEST_CHUNK):
            await writer.write([content[start : start + SMALLEST_CHUNK]])
        await writer.sync()
        await self.driver.move("/upload/data", "/blob")
        await writer.close()
        self.assertTrue(await self.driver.read("/blob", len(content)) == content)
        with self.assertRaises(PathUnknown):
            await self.driver.stat("/_txregistry")
        with self.assertRaises(PathUnknown):
            await self.driver.stat("/upload")

    async def test_what_distribution_leaves(self) -> None:
        """What Distribution has of an upload that is under way is no file, as it is none there."""

        def upload() -> None:
            about = {"name": f"{self.root}/data", "contentType": "application/x-docker-upload-session"}
            about["md5Hash"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
            body = f"--x\r\n\r\n\r\n{json.dumps(about)}\r\n--x\r\n\r\n\r\n\r\n--x--\r\n".encode()
            body = body.replace(b"--x\r\n\r\n\r\n", b"--x\r\nA: b\r\n\r\n")
            url = f"http://127.0.0.1:{bench()}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
            headers = {"Content-Type": "multipart/related; boundary=x"}
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20).close()

        await deferToThread(upload)
        for call in (self.driver.stat, self.driver.open_reader):
            with self.assertRaises(PathUnknown):
                await call("/data")
