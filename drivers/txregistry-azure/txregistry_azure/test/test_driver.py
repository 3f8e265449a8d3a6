"""What is Azure's own: options, URLs for clients, pages that begin in the middle, blobs that others made."""

from __future__ import annotations

import urllib.request
import uuid

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry.errors import ConfigError
from txregistry_azure.driver import make
from txregistry_azure.options import Options
from txregistry_azure.test.servers import KEY, azurite
from txregistry_azure.test.test_contract import driver_on

GIVEN = {"accountname": "account1", "container": "registry"}


class TestOptions(SynchronousTestCase):
    """The section of the configuration."""

    def test_defaults(self) -> None:
        """What is not said is as in Distribution."""
        options = Options.of(GIVEN)
        self.assertEqual(options.service, "https://account1.blob.core.windows.net")
        self.assertEqual(options.kind, "default_credentials")
        self.assertEqual(Options.of({**GIVEN, "accountkey": "a2V5"}).kind, "shared_key")

    def test_connection_string(self) -> None:
        """A connection string says what no other key says."""
        text = "DefaultEndpointsProtocol=https;AccountName=other2;AccountKey=a2V5;EndpointSuffix=example.net"
        options = Options.of({"container": "registry", "connectionstring": text})
        self.assertEqual((options.service, options.accountkey), ("https://other2.blob.example.net", "a2V5"))

    def test_refusals(self) -> None:
        """What cannot be used is refused, and the key is named."""
        for key, more in (
            ("accountname", {"accountname": ""}),
            ("container", {"container": "No"}),
            ("acountkey", {"acountkey": "x"}),
            ("accountkey", {"accountkey": "not a key"}),
            ("accountkey", {"credentials": {"type": "shared_key"}}),
            ("credentials.type", {"credentials": {"type": "password"}}),
            (
                "credentials.secret",
                {"credentials": {"type": "client_secret", "clientid": "a", "tenantid": "b"}},
            ),
            ("serviceurl", {"serviceurl": "ftp://example"}),
            ("rootdirectory", {"rootdirectory": "/a/../b"}),
            ("max_retries", {"max_retries": "many"}),
            ("retry_delay", {"retry_delay": "soon"}),
            ("skipverify", {"skipverify": "perhaps"}),
        ):
            error = self.assertRaises(ConfigError, Options.of, {**GIVEN, **more})
            self.assertEqual(error.where, key)

    def test_secrets_are_not_shown(self) -> None:
        """What is secret does not stand in what is logged of options."""
        given = {**GIVEN, "accountkey": "a2V5a2V5", "credentials": {"secret": "hush"}}
        self.assertNotIn("a2V5a2V5", repr(Options.of(given)))
        self.assertNotIn("hush", repr(Options.of(given)))


class TestDriver(TestCase):
    """On Azurite."""

    async def test_preparing(self) -> None:
        """A container that is not there, and a key that is not the account's, are complaints at the start."""
        for key, more in (
            ("container", {"container": "nothing"}),
            ("container", {"accountkey": KEY[::-1].lstrip("=") + "=="}),
        ):
            driver = make(azurite().options("/x", **more), reactor)
            self.assertEqual(self.assertRaises(ConfigError, driver.prepare).where, key)
            await driver.close()

    async def test_redirect(self) -> None:
        """The URL for a client has the blob, without more, and no other one."""
        driver = driver_on(azurite(), f"/{uuid.uuid4().hex}")
        await driver.write("/a/blob", b"content")
        await driver.write("/a/blub", b"other")
        url = await driver.redirect("/a/blob", "GET")
        assert url is not None

        def fetch(url: str) -> bytes:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return bytes(answer.read())

        self.assertEqual(await deferToThread(fetch, url), b"content")
        with self.assertRaises(OSError):
            await deferToThread(fetch, url.replace("/blob", "/blub"))
        await driver.close()

    async def test_pages(self) -> None:
        """Pages are the whole listing in order, wherever they begin and however many are wanted."""
        root = f"/{uuid.uuid4().hex}"
        driver = driver_on(azurite(), root)
        names = sorted(
            {f"v{number}" for number in range(25)} | {"v1-rc", "v1.2", "v1_a", "V1", "a", "v1-rc.2"}
        )
        for name in names:
            await driver.write(f"/tags/{name}/link", b"")
        for after in ("", "V", "v1", "v1-rc", "v1-rc.1", "v19", "v3x", "zz"):
            expected = [name for name in names if name > after]
            for limit in (1, 4, 100):
                self.assertEqual(await driver.list_after("/tags", after, limit), expected[:limit])
        await driver.close()

    async def test_what_others_made(self) -> None:
        """Blobs of both types, as Distribution makes them, are files, and can be replaced and gone on with."""
        root = uuid.uuid4().hex
        driver = driver_on(azurite(), f"/{root}/")

        def make_them() -> None:
            with azurite().client as client:
                client.upload_blob(f"{root}/link", b"sha256:abc")
                blob = client.get_blob_client(f"{root}/upload/data")
                blob.create_append_blob()
                blob.append_block(b"first ")

        await deferToThread(make_them)
        self.assertEqual(await driver.read("/link", 100), b"sha256:abc")
        writer = await driver.open_writer("/upload/data")
        await writer.write([b"second"])
        await writer.close()
        await driver.move("/upload/data", "/blob")
        self.assertEqual(await driver.read("/blob", 100), b"first second")
        await driver.close()
