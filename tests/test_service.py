"""The server as a process: how it starts, how it refuses to, and how it ends."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from tests.processes import CHECKOUT, TXREGISTRY, RegistryServer
from tests.registry_client import Blob, RegistryClient, with_digest
from txregistry.web.body import BATCH

#: Seconds that threads may take to do what a test wants at once; they take a few.
PATIENCE = 120


@attrs.define
class ConfiguredServer(RegistryServer):
    """A server whose configuration a test adds to."""

    more: dict[str, Any] = attrs.field(factory=dict)

    def config(self) -> dict[str, Any]:
        """Return the configuration with what the test wants."""
        config = super().config()
        for section, keys in self.more.items():
            config[section] = {**config.get(section, {}), **keys} if isinstance(keys, dict) else keys
        return config


class ProcessCase(SynchronousTestCase):
    """What the tests of a process have in common.

    :cvar kind: makes a server.
    """

    kind: type[ConfiguredServer] = ConfiguredServer

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)

    def server(self, **more: dict[str, Any]) -> ConfiguredServer:
        """Return a server that is not started yet."""
        server = self.kind(TXREGISTRY, self.directory, os.path.join(self.directory, "data"), more=more)
        self.addCleanup(server.stop)
        return server

    def refused(self, *arguments: str, **environ: str) -> str:
        """Run ``twist registry``, which is expected not to start; return its one line."""
        done = subprocess.run(
            [sys.executable, "-m", "twisted", "registry", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **environ},
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        line, end, rest = done.stderr.partition("\n")
        self.assertEqual((end, rest), ("\n", ""))
        self.assertTrue(line.startswith("txregistry: "), line)
        return line

    def together(self, *work: Callable[[], Any], patience: float = PATIENCE) -> list[Any]:
        """Do all of *work* at once, each in a thread; return the results, or fail if any failed.

        :param patience: seconds that it may take.
        """
        results: list[Any] = [None] * len(work)
        failures: list[BaseException] = []
        ready = threading.Barrier(len(work))

        def guarded(number: int) -> None:
            try:
                ready.wait(PATIENCE)
                results[number] = work[number]()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(len(work))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(patience)
        self.assertEqual(failures, [])
        self.assertFalse(any(thread.is_alive() for thread in threads))
        return results

    def write_config(self, text: str) -> str:
        """Write a configuration file; return its path."""
        path = os.path.join(self.directory, "config.yml")
        with open(path, "w") as file:
            file.write(text)
        return path


class StartTests(ProcessCase):
    """A server that cannot serve says why in one line, and ends before a port is opened."""

    def test_L11_misspelt_key(self) -> None:
        """A misspelt key is named with the one that was meant."""
        path = self.write_config("version: 0.1\nstorage: inmemory\nhttp: {adr: ':5000'}\n")
        line = self.refused("--config", path)
        self.assertIn("http.adr", line)
        self.assertIn("addr", line)

    def test_key_of_distribution(self) -> None:
        """A key of Distribution's that is not built is named, not passed over."""
        path = self.write_config("version: 0.1\nstorage: inmemory\nproxy: {remoteurl: 'http://x'}\n")
        self.assertIn("proxy", self.refused("--config", path))

    def test_L11_port_in_use(self) -> None:
        """A port that is taken is one line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            addr = f"127.0.0.1:{taken.getsockname()[1]}"
            path = self.write_config(f"version: 0.1\nstorage: inmemory\nhttp: {{addr: '{addr}'}}\n")
            line = self.refused("--config", path)
        self.assertEqual(line, f"txregistry: http.addr: cannot listen on {addr}: Address already in use")

    def test_L11_unusable_root(self) -> None:
        """A storage root that cannot be written to is one line."""
        path = self.write_config("version: 0.1\nstorage: {filesystem: {rootdirectory: /dev/null/x}}\n")
        line = self.refused("--config", path)
        self.assertEqual(
            line,
            "txregistry: storage.filesystem.rootdirectory: cannot write below /dev/null/x: Not a directory",
        )

    def test_L11_no_configuration(self) -> None:
        """Without a configuration file the server says how to name one."""
        self.assertIn("REGISTRY_CONFIGURATION_PATH", self.refused(REGISTRY_CONFIGURATION_PATH=""))

    def test_L11_key_of_another_certificate(self) -> None:
        """A private key that is not the certificate's is one line."""
        certificate, _ = make_certificate(self.directory, "one")
        _, key = make_certificate(self.directory, "two")
        path = self.write_config(
            "version: 0.1\nstorage: inmemory\n"
            f"http: {{addr: '127.0.0.1:0', tls: {{certificate: {certificate}, key: {key}}}}}\n"
        )
        self.assertIn("http.tls.key", self.refused("--config", path))

    def test_kubernetes_variables(self) -> None:
        """What Kubernetes puts into the environment for a service called registry does no harm."""
        server = self.server()
        server.environ = {
            "REGISTRY_PORT": "tcp://10.0.0.1:5000",
            "REGISTRY_SERVICE_HOST": "10.0.0.1",
            "REGISTRY_PORT_5000_TCP_ADDR": "10.0.0.1",
        }
        server.start()
        self.assertEqual(RegistryClient(server.host).request("GET", "/v2/").status, 200)


class StopCase(ProcessCase):
    """What the tests of a server that is told to stop have in common."""

    def begin_put(self, server: RegistryServer, blob: Blob, upload: str) -> http.client.HTTPConnection:
        """Send the first half of a blob; return when the server has stored all that it does not gather yet.

        A server that is told to stop before that resets the connection, if it has not accepted it, or stores less.
        """
        path = with_digest(upload, blob.digest)
        connection = http.client.HTTPConnection(server.host, timeout=60)
        self.addCleanup(connection.close)
        connection.putrequest("PUT", path)
        connection.putheader("Content-Length", str(blob.size))
        connection.endheaders()
        connection.send(b"".join(blob.chunks())[: blob.size // 2])
        folder = os.path.join(server.data, "docker/registry/v2/repositories/a/_uploads")
        data = os.path.join(folder, urlsplit(upload).path.rpartition("/")[2], "data")
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(data) or os.path.getsize(data) <= blob.size // 2 - BATCH:
            self.assertLess(time.monotonic(), deadline, "the server stores nothing")
            time.sleep(0.01)
        return connection

    def wait_until_closed(self, server: RegistryServer) -> None:
        """Return when nobody listens any more."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                # It was closing at this very moment.
                continue


class StopTests(StopCase):
    """SIGTERM ends the server, and not what it is doing."""

    def test_L07_drain(self) -> None:
        """A request under way is answered after SIGTERM, while new connections are refused."""
        server = self.server()
        server.start()
        blob = Blob(1, 3 << 20)
        connection = self.begin_put(server, blob, RegistryClient(server.host).begin_upload("a"))
        os.kill(server.pid, signal.SIGTERM)
        self.wait_until_closed(server)
        connection.send(b"".join(blob.chunks())[blob.size // 2 :])
        response = connection.getresponse()
        self.assertEqual((response.status, response.getheader("Connection")), (201, "close"))
        server.stop()
        server.start()
        self.assertEqual(RegistryClient(server.host).measure_blob("a", blob.digest), (blob.digest, blob.size))

    def test_L07_drain_timeout(self) -> None:
        """A request that does not end within the drain time is cut, and what it sent can be resumed."""
        server = self.server()
        drain = {**server.config()["http"], "draintimeout": "500ms"}
        server.more = {"http": drain}
        server.start()
        client, blob = RegistryClient(server.host), Blob(2, 3 << 20)
        path = client.begin_upload("a")
        connection = self.begin_put(server, blob, path)
        os.kill(server.pid, signal.SIGTERM)
        with self.assertRaises((http.client.HTTPException, OSError)):
            connection.getresponse()
        server.stop()
        server.start()
        stored = int(client.expect(204, "GET", path).headers["Range"].removeprefix("0-")) + 1
        self.assertTrue(blob.size // 2 - BATCH < stored <= blob.size // 2, stored)

    def test_L07_idle_connections(self) -> None:
        """A client that keeps its connection open without asking for anything does not hold the server."""
        server = self.server()
        server.start()
        with contextlib.closing(http.client.HTTPConnection(server.host, timeout=60)) as connection:
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            os.kill(server.pid, signal.SIGTERM)
            self.assertEqual(connection.sock.recv(1), b"")
        server.stop()

    def test_killed_upload_is_resumed(self) -> None:
        """After kill -9 an upload goes on from what was acknowledged, in a new process."""
        server = self.server()
        server.start()
        client = RegistryClient(server.host)
        content = b"".join(Blob(3, 2 << 20).chunks())
        half = len(content) // 2
        path = client.begin_upload("a")
        answer = client.expect(202, "PATCH", path, content[:half])
        server.kill()
        server.start()
        location = answer.headers["Location"].partition(server.host)[2]
        self.assertEqual(client.expect(204, "GET", location).headers["Range"], f"0-{half - 1}")
        answer = client.expect(202, "PATCH", location, content[half:])
        client.finish_upload(answer.headers["Location"].partition(server.host)[2], Blob(3, 2 << 20).digest)
        self.assertEqual(client.measure_blob("a", Blob(3, 2 << 20).digest)[1], len(content))


class ListenTests(ProcessCase):
    """Where the server can be reached."""

    def test_unix_socket(self) -> None:
        """A registry listens on a Unix socket, in place of one that a dead process left."""
        path = os.path.join(self.directory, "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        server = UnixServer(TXREGISTRY, self.directory, os.path.join(self.directory, "data"), path=path)
        self.addCleanup(server.stop)
        server.start()
        self.assertIn(b"200 OK", server.ask())

    def test_all_interfaces(self) -> None:
        """An address without a host means every interface, of IPv4 at least."""
        server = self.server()
        server.more = {"http": {"addr": f":{server.port}"}}
        server.start()

    def test_H16_tls(self) -> None:
        """Over TLS a blob comes back whole, by HTTP/1.1 and no older TLS than the configuration says."""
        certificate, key = make_certificate(self.directory, "server")
        server = TlsServer(
            TXREGISTRY,
            self.directory,
            os.path.join(self.directory, "data"),
            more={"http": {"tls": {"certificate": certificate, "key": key, "minimumtls": "tls1.3"}}},
            authority=certificate,
        )
        server.more["http"]["addr"] = server.host
        server.more["http"]["secret"] = "s"
        self.addCleanup(server.stop)
        server.start()
        context = ssl.create_default_context(cafile=certificate)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with contextlib.closing(http.client.HTTPSConnection(server.host, timeout=60, context=context)) as one:
            content = os.urandom(3_000_000)
            digest = push_bytes(one, content)
            self.assertEqual(one.sock.selected_alpn_protocol(), "http/1.1")
            one.request("GET", f"/v2/a/blobs/{digest}")
            response = one.getresponse()
            self.assertTrue(response.read() == content)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with contextlib.closing(http.client.HTTPSConnection(server.host, timeout=60, context=context)) as one:
            self.assertRaises(ssl.SSLError, one.request, "GET", "/v2/")

    def test_client_certificates(self) -> None:
        """With ``clientcas`` only a client with a certificate of theirs is served, and rules can tell them apart."""
        certificate, key = make_certificate(self.directory, "server")
        client_certificate, client_key = make_certificate(self.directory, "client")
        tls = {"certificate": certificate, "key": key, "clientcas": [client_certificate]}
        server = TlsServer(
            TXREGISTRY,
            self.directory,
            os.path.join(self.directory, "data"),
            more={
                "http": {"tls": tls},
                "access": [{"who": "claim:subject=CN=client", "repositories": "team/*", "actions": "pull"}],
            },
            authority=certificate,
            identity=(client_certificate, client_key),
        )
        self.addCleanup(server.stop)
        server.start()
        with contextlib.closing(server.connection(60)) as known:
            for path, status in (("/v2/team/app/tags/list", 404), ("/v2/other/tags/list", 403)):
                known.request("GET", path)
                answer = known.getresponse()
                answer.read()
                self.assertEqual(answer.status, status)
        stranger = ssl.create_default_context(cafile=certificate)
        with contextlib.closing(
            http.client.HTTPSConnection(server.host, timeout=60, context=stranger)
        ) as one:

            def ask() -> None:
                one.request("GET", "/v2/")
                one.getresponse()

            self.assertRaises((ssl.SSLError, OSError), ask)


class LogTests(ProcessCase):
    """What the server writes."""

    def test_access_log(self) -> None:
        """Each answer is one line with its request id, status, size and client, as JSON if that is wanted."""
        server = self.server(log={"level": "info", "formatter": "json", "accesslog": {"disabled": False}})
        server.start()
        answer = RegistryClient(server.host).request("GET", "/v2/a/tags/list?n=1%0a")
        server.stop()
        lines = [json.loads(line) for line in server.log().splitlines()]
        (line,) = [line for line in lines if line.get("http.request.id") == answer.headers["X-Request-Id"]]
        self.assertEqual(line["http.response.status"], answer.status)
        self.assertEqual(line["http.response.written"], len(answer.body))
        self.assertEqual(line["http.request.method"], "GET")
        self.assertEqual(line["vars.name"], "a")
        self.assertTrue(line["http.request.remoteaddr"].startswith("127.0.0.1:"))
        self.assertFalse([line for line in lines if line["level"] in ("error", "critical")])

    def test_failure(self) -> None:
        """A request that fails leaves one traceback with its id in the log, and none in its answer."""
        server = self.server()
        server.start()
        client = RegistryClient(server.host)
        config = client.push_bytes("a", b"{}")
        digest = client.push_manifest("a", "latest", image(config))
        encoded = digest.partition(":")[2]
        with open(
            f"{server.data}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data", "ab"
        ) as file:
            file.write(b" ")
        answer = client.manifest("a", "latest")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"Traceback", answer.body)
        self.assertNotIn(server.data.encode(), answer.body)
        server.stop()
        self.assertEqual(server.log().count("Traceback"), 1)
        self.assertIn(answer.headers["X-Request-Id"], server.log())


class RebuildTests(ProcessCase):
    """``txregistry referrers rebuild``."""

    def test_lost_index(self) -> None:
        """An index of referrers that was lost is made again from the manifests, while the server runs."""
        server = self.server()
        server.start()
        client = RegistryClient(server.host)
        config = client.push_bytes("team/app", b"{}")
        subject = client.push_manifest("team/app", "1", image(config))
        about = {"mediaType": image(config)["mediaType"], "digest": subject, "size": 1}
        referrer = client.push_manifest("team/app", "2", image(config, subject=about))
        url = f"/v2/team/app/referrers/{subject}"
        listed = client.expect(200, "GET", url).json()
        self.assertEqual([one["digest"] for one in listed["manifests"]], [referrer])
        shutil.rmtree(f"{server.data}/docker/registry/v2/repositories/team/app/_referrers")
        self.assertEqual(client.expect(200, "GET", url).json()["manifests"], [])
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "referrers", "rebuild", server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        self.assertEqual(done.stdout, "team/app: 1\n")
        self.assertEqual(client.expect(200, "GET", url).json(), listed)


@attrs.define
class UnixServer(ConfiguredServer):
    """A server on a Unix socket."""

    path: str = ""

    def config(self) -> dict[str, Any]:
        """Return the configuration with the socket in it."""
        self.more = {"http": {"net": "unix", "addr": self.path}}
        return super().config()

    def ask(self) -> bytes:
        """Return the first line of an answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(self.path)
            client.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
            return client.recv(1000).partition(b"\r\n")[0]

    def _answers(self) -> bool:
        try:
            return b"200" in self.ask()
        except OSError:
            return False


@attrs.define
class TlsServer(ConfiguredServer):
    """A server that speaks TLS."""

    authority: str = ""
    identity: tuple[str, str] | None = None

    def connection(self, timeout: float) -> http.client.HTTPSConnection:
        """Return a connection that believes the authority; it is not opened yet."""
        context = ssl.create_default_context(cafile=self.authority)
        if self.identity is not None:
            context.load_cert_chain(*self.identity)
        return http.client.HTTPSConnection(self.host, timeout=timeout, context=context)

    def _answers(self) -> bool:
        with contextlib.closing(self.connection(5)) as connection:
            try:
                connection.request("GET", "/v2/")
                return connection.getresponse().status == 200
            except OSError:
                return False


def image(config: str, **more: Any) -> dict[str, Any]:
    """Return the manifest of an image without layers."""
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [],
        **more,
    }


def push_bytes(connection: http.client.HTTPConnection, content: bytes) -> str:
    """Push a blob over an open connection; return its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    connection.request("POST", f"/v2/a/blobs/uploads/?digest={digest}", content)
    response = connection.getresponse()
    response.read()
    assert response.status == 201, response.status
    return digest


def make_certificate(directory: str, name: str) -> tuple[str, str]:
    """Write a certificate for 127.0.0.1 that signed itself, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key")
    with open(paths[0], "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open(paths[1], "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return paths
