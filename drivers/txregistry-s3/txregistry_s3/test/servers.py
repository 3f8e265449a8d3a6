"""Two stores to test against, each started once for all tests: moto's, and SeaweedFS."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from attrs import frozen

ACCESS_KEY, SECRET_KEY, BUCKET = "AKIDTEST", "a-secret-of-tests", "registry"
_PATIENCE = 60.0


@frozen
class Server:
    """A store that runs, with a bucket in it.

    :param port: where, on 127.0.0.1.
    """

    port: int

    def options(self, root: str = "", **more: Any) -> dict[str, Any]:
        """Return a section ``storage.s3`` that leads here."""
        return {
            "regionendpoint": f"http://127.0.0.1:{self.port}",
            "forcepathstyle": True,
            "region": "us-east-1",
            "bucket": BUCKET,
            "accesskey": ACCESS_KEY,
            "secretkey": SECRET_KEY,
            "rootdirectory": root,
            **more,
        }


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@functools.cache
def moto() -> Server:
    """Return moto's S3, started if need be."""
    (port,) = free_ports(1)
    _run([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], lambda: _answers(port, "/moto-api/"))
    _make_bucket(port)
    return Server(port)


@functools.cache
def seaweed() -> Server:
    """Return SeaweedFS, started if need be."""
    directory = tempfile.mkdtemp(prefix="txregistry-weed-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    ports = free_ports(9)
    _run(seaweed_command(directory, ports), lambda: _answers(ports[0], "/healthz"))
    _make_bucket(ports[0])
    return Server(ports[0])


def seaweed_command(directory: str, ports: list[int]) -> list[str]:
    """Return what starts SeaweedFS.

    :param directory: where its files are.
    :param ports: nine that are free; the first one is for S3.
    """
    config = os.path.join(directory, "s3.json")
    with open(config, "w", encoding="ascii") as file:
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        json.dump({"identities": [{"name": "test", "credentials": keys, "actions": actions}]}, file)
    names = (
        "s3.port",
        "s3.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
    )
    return [
        _program("weed"),
        "server",
        "-ip=127.0.0.1",
        f"-dir={directory}",
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory}/s3.sock",
        f"-filer.localSocket={directory}/filer.sock",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=50",
        f"-debug.port={ports[8]}",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=False)),
    ]


def _program(name: str) -> str:
    path = os.path.join(sysconfig.get_path("scripts"), name)
    if not os.path.exists(path):
        raise RuntimeError(f"{name} is missing; install txregistry-s3[test]")
    return path


def _run(command: list[str], ready: Callable[[], bool]) -> None:
    log = tempfile.NamedTemporaryFile(prefix="txregistry-store-", suffix=".log", delete=False)  # noqa: SIM115
    atexit.register(os.unlink, log.name)
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop() -> None:
        process.kill()
        process.wait()

    atexit.register(stop)
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log.name, encoding="utf-8", errors="replace") as file:
                print(file.read(), file=sys.stderr)
            raise RuntimeError(f"{command[0]} did not start")
        time.sleep(0.1)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _make_bucket(port: int) -> None:
    from botocore.credentials import Credentials

    from txregistry_s3.options import Options
    from txregistry_s3.signing import Address, Signing

    options = Options.of(Server(port).options())
    keys = Credentials(ACCESS_KEY, SECRET_KEY)
    made = Signing(Address.of(options), True, "tests").request(keys, "PUT", "", {}, {})
    request = urllib.request.Request(made.url, method="PUT", headers=dict(made.headers))
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            urllib.request.urlopen(request, timeout=20).close()
            return
        except OSError:
            # Of SeaweedFS, the gateway is there before what is behind it.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
