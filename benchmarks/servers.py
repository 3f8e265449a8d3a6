"""The servers that are compared: how each is started, and what its processes use."""

import http.client
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from benchmarks.wire import Connection
from tests.processes import TXREGISTRY, RegistryServer, registry_command

_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Certificate:
    """A certificate for 127.0.0.1 and its key, in files, and what a client needs to trust it."""

    certificate: str
    key: str

    def trusting(self) -> ssl.SSLContext:
        """Give what a client connects with."""
        return ssl.create_default_context(cafile=self.certificate)


def make_certificate(directory: str) -> Certificate:
    """Make a certificate that is its own authority, with a P-256 key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem"))
    for path, content in (
        (made.certificate, certificate.public_bytes(Encoding.PEM)),
        (made.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    ):
        with open(path, "wb") as file:
            file.write(content)
    return made


@attrs.define
class Server(RegistryServer):
    """
    A server of the comparison.

    :param path: the program's file, for one that is not found by its name.
    :param settings: what is added to the configuration, which is else the same for all.
    :param certificate: for TLS; None for plain HTTP.
    """

    path: str | None = attrs.field(default=None, kw_only=True)
    settings: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    certificate: Certificate | None = attrs.field(default=None, kw_only=True)

    def command(self) -> list[str]:
        """Spell the command line."""
        if self.path is not None:
            return [self.path, "serve", self.config_path]
        return registry_command(self.program, self.config_path)

    def config(self) -> dict[str, Any]:
        """Give the configuration."""
        config = super().config()
        if self.certificate is not None:
            config["http"]["tls"] = {"certificate": self.certificate.certificate, "key": self.certificate.key}
        return merged(config, self.settings if self.program == TXREGISTRY else {})

    def probe(self) -> http.client.HTTPConnection:
        """Give a connection that asks whether the server answers."""
        if self.certificate is None:
            return super().probe()
        context = self.certificate.trusting()
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)

    def connect(self) -> Connection:
        """Give a connection of a benchmark's client, to be closed by it."""
        return Connection(self.port, None if self.certificate is None else self.certificate.trusting())

    def cpu_seconds(self) -> float:
        """Read how long all its processes have computed so far, also those that ended."""
        return cpu_seconds_of(self.pid)

    def peak_memory(self) -> int:
        """
        Add up the highest resident size of each of its processes, in bytes.

        What they share counts for each, and they need not have been highest at once: an upper bound.
        """
        return sum(_highest(pid) for pid in _family(self.pid))


def cpu_seconds_of(pid: int) -> float:
    """Read how long a process and its descendants have computed so far, also those that ended."""
    return sum(_computed(one) for one in _family(pid))


def merged(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over a configuration, section by section."""
    result = dict(config)
    for key, value in settings.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for child in _children(pid):
        yield from _family(child)


def _children(pid: int) -> Sequence[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid:
            found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """Read the fields after the name in ``/proc/<pid>/stat``; none if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _computed(pid: int) -> float:
    # utime and stime, and those of children that were waited for.
    return sum(int(ticks) for ticks in _stat(pid)[11:15]) / _TICKS


def _highest(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
