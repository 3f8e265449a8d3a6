"""A registry as a child process: started, measured, killed and started again over the same data.

Tests with real programs and the benchmarks share it. Both servers, txregistry and CNCF Distribution, are
given the same configuration, because reading it is one of the promises.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import attrs

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of the checkout: ``python -m twisted`` finds the plugin from here without an installation."""

TXREGISTRY = "txregistry"
DISTRIBUTION = "docker-registry"

PATIENCE = 20.0
"""Seconds between asking a process to end and killing it, and until one that was killed is gone."""


def find_program(name: str) -> str:
    """
    Say where a program is, or fail: a missing program is a failed test, never a skipped one.

    :param name: its name, as a shell would look it up.
    :raises AssertionError: it is not installed.
    """
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if path is None:
        raise AssertionError(f"{name} is not installed; `make peers` installs what these tests need")
    return path


def free_port() -> int:
    """Pick a TCP port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def end_process(process: "subprocess.Popen[bytes]") -> bool:
    """
    Ask a child process to stop, and kill it when it does not; return whether it ended by itself.

    :param process: a process of our own; it may have ended already.
    """
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)
        return False
    return True


def registry_command(program: str, config_path: str) -> list[str]:
    """Spell the command line that serves a configuration file."""
    if program == TXREGISTRY:
        return [sys.executable, "-m", "twisted", "registry", "--config", config_path]
    return [find_program(DISTRIBUTION), "serve", config_path]


@attrs.define
class RegistryServer:
    """
    A registry on a loopback port, with its data, configuration and log below one directory.

    :param program: ``txregistry`` or ``docker-registry``.
    :param directory: where the configuration and the log go.
    :param data: the storage root; several servers may share one.
    :param environ: variables beside those of this process.
    """

    program: str
    directory: str
    data: str
    port: int = attrs.field(factory=free_port)
    environ: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    _process: "subprocess.Popen[bytes] | None" = attrs.field(default=None, init=False)

    @property
    def host(self) -> str:
        """``127.0.0.1:port``: what stands before a repository's name."""
        return f"127.0.0.1:{self.port}"

    @property
    def config_path(self) -> str:
        """Where the configuration is written."""
        return os.path.join(self.directory, f"{self.program}-{self.port}.yml")

    @property
    def log_path(self) -> str:
        """Where standard output and standard error go."""
        return os.path.join(self.directory, f"{self.program}-{self.port}.log")

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def command(self) -> list[str]:
        """Spell the command line."""
        return registry_command(self.program, self.config_path)

    def config(self) -> dict[str, Any]:
        """Give the configuration: filesystem, deletes allowed, quiet logs."""
        return {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": self.data}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": "a secret that outlives a restart"},
        }

    def write_config(self) -> None:
        """Write the configuration to its file."""
        with open(self.config_path, "w") as config_file:
            json.dump(self.config(), config_file)  # JSON is YAML

    def start(self, patience: float = 30.0) -> None:
        """
        Start the server and wait until it answers.

        :param patience: seconds until ``GET /v2/`` must have been answered.
        :raises AssertionError: it ended, or did not answer in time.
        """
        assert self._process is None, "the server runs already"
        self.write_config()
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=CHECKOUT,
                env=os.environ | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + patience
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                status = self._process.poll()
                end_process(self._process)
                self._process = None
                raise AssertionError(f"{self.program} did not start (exit status {status}):\n{self.log()}")
            time.sleep(0.05)

    def probe(self) -> http.client.HTTPConnection:
        """Give a connection that asks whether the server answers, to be closed by who asks."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def _answers(self) -> bool:
        with contextlib.closing(self.probe()) as connection:
            try:
                connection.request("GET", "/v2/")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def stop(self) -> None:
        """
        Stop the server as an operator would; nothing happens when it does not run.

        :raises AssertionError: it did not end when it was asked to, and had to be killed.
        """
        if self._process is not None:
            process, self._process = self._process, None
            if not end_process(process):
                raise AssertionError(f"{self.program} did not stop within {PATIENCE} s:\n{self.log()}")

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL, no farewell."""
        assert self._process is not None, "the server was not started"
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None

    def log(self, size: int = 8000) -> str:
        """
        Read the end of the log.

        :param size: bytes, at most.
        """
        with open(self.log_path, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log_path) - size))
            return log.read().decode(errors="replace")

    def peak_memory(self) -> int:
        """Read the highest resident size that the process ever had, in bytes."""
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM: has the server ended?")

    def cpu_seconds(self) -> float:
        """Read how long the process has computed so far, in user and system mode together."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
