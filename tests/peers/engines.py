"""Docker engines of our own: each with its data, its sockets and its containerd in one directory."""

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time

import attrs

from tests.peers.case import run_program
from tests.processes import end_process, find_program


@attrs.define
class DockerEngine:
    """
    A docker daemon that shares nothing with the machine's own.

    :param directory: an empty directory of its own; a short path, because sockets are made in it.
    """

    directory: str
    _process: "subprocess.Popen[bytes] | None" = attrs.field(default=None, init=False)

    @property
    def _host(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    @property
    def _env(self) -> dict[str, str]:
        return {
            "DOCKER_CONFIG": f"{self.directory}/client",
            "DOCKER_BUILDKIT": "0",
            "DOCKER_HOST": self._host,
        }

    @property
    def containerd_socket(self) -> str:
        """The socket of this engine's containerd."""
        return f"{self.directory}/exec/containerd/containerd.sock"

    def start(self, patience: float = 60.0) -> None:
        """
        Start the daemon and wait until it answers.

        :param patience: seconds.
        :raises AssertionError: it ended or did not answer; root is needed.
        """
        with open(f"{self.directory}/log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    find_program("dockerd"),
                    "--iptables=false",
                    "--bridge=none",
                    "--storage-driver=vfs",
                    f"--data-root={self.directory}/data",
                    f"--exec-root={self.directory}/exec",
                    f"--host={self._host}",
                    f"--pidfile={self.directory}/pid",
                    "--insecure-registry=127.0.0.0/8",
                ],
                env=os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + patience
        while True:
            try:
                self.docker("version", timeout=10)
                return
            except AssertionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    with open(f"{self.directory}/log", errors="replace") as text:
                        raise AssertionError(
                            f"dockerd did not start (root?):\n{text.read()[-3000:]}"
                        ) from None
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the daemon and its containerd."""
        if self._process is not None:
            end_process(self._process)
            self._process = None

    def kill(self) -> None:
        """End the daemon and its containerd as a power cut would; what lies in /run is gone too."""
        assert self._process is not None, "the engine was not started"
        self._process.kill()
        self._process.wait(20)
        self._process = None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"{self.directory}/exec/containerd/containerd.pid") as file:
                pid = int(file.read())
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(f"{self.directory}/exec", ignore_errors=True)

    def remove(self) -> None:
        """Stop the daemon and remove its directory, together with what a killed daemon left mounted there."""
        self.stop()
        with open("/proc/self/mounts") as file:
            mounted = [line.split()[1] for line in file]
        for path in reversed(mounted):
            if path.startswith(f"{self.directory}/"):
                run_program("umount", path)
        shutil.rmtree(self.directory, ignore_errors=True)

    def docker(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run the docker client against this engine; the answer is its standard output."""
        return run_program("docker", *arguments, timeout=timeout, env=self._env)

    def begin(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start the docker client without waiting for it."""
        return subprocess.Popen(
            [find_program("docker"), *arguments],
            env=os.environ | self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def image_id(self, reference: str) -> str:
        """Say the id of an image that this engine has."""
        return self.docker("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def ctr(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run containerd's own client against this engine's containerd."""
        return run_program("ctr", "--address", self.containerd_socket, *arguments, timeout=timeout)


@functools.cache
def engine(name: str) -> DockerEngine:
    """
    Start an engine with an empty data root, once in a test run; it ends with the run.

    :param name: engines of different names are different engines.
    """
    started = DockerEngine(tempfile.mkdtemp(prefix=f"txr-{name}-"))
    atexit.register(started.remove)
    started.start()
    return started
