"""A server below systemd, or what looks like it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

from tests.processes import CHECKOUT, end_process
from tests.registry_client import RegistryClient
from tests.test_service import PATIENCE, ProcessCase


class SupervisorTests(ProcessCase):
    """A real process."""

    def listener(self) -> socket.socket:
        """Return a socket to hear what the server says."""
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(heard.close)
        heard.bind(os.path.join(self.directory, "n"))
        heard.settimeout(PATIENCE)
        return heard

    def test_notify(self) -> None:
        """The server says when it is ready, that it lives, when it reads its configuration, and when it stops."""
        heard = self.listener()
        server = self.server()
        server.environ = {"NOTIFY_SOCKET": os.path.join(self.directory, "n"), "WATCHDOG_USEC": "200000"}
        server.start()
        self.assertTrue(heard.recv(4096).startswith(b"READY=1\n"))
        self.assertEqual(heard.recv(4096), b"WATCHDOG=1")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        os.kill(server.pid, signal.SIGHUP)
        said = heard.recv(4096)
        while said == b"WATCHDOG=1":
            said = heard.recv(4096)
        reloading, microseconds, _ = said.split(b"\n")
        self.assertEqual(reloading, b"RELOADING=1")
        name, _, number = microseconds.partition(b"=")
        self.assertEqual((name, int(number) >= before), (b"MONOTONIC_USEC", True))
        said = heard.recv(4096)
        while said == b"WATCHDOG=1":
            said = heard.recv(4096)
        self.assertTrue(said.startswith(b"READY=1\n"))
        server.stop()
        said = heard.recv(4096)
        while said == b"WATCHDOG=1":
            said = heard.recv(4096)
        self.assertTrue(said.startswith(b"STOPPING=1\n"))

    def test_inherited_socket(self) -> None:
        """The server listens on the socket that it is given, and not on http.addr."""
        given = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(given.close)
        server = self.server()
        path = self.write_config(json.dumps(server.config()))
        # By Python: Debian's shell knows no descriptor above 9.
        hand_over = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                hand_over,
                str(given.fileno()),
                "-m",
                "twisted",
                "registry",
                "--config",
                path,
            ],
            cwd=CHECKOUT,
            pass_fds=[given.fileno()],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(end_process, process)
        # The connection waits in the socket until the server answers.
        host = f"127.0.0.1:{given.getsockname()[1]}"
        self.assertEqual(RegistryClient(host).request("GET", "/v2/").status, 200)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
