"""What a server imports is what it uses (docs/benchmarks.rst, "Start-up")."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: Prepares a server as `twist registry` does, starts it, and tells what is imported.
STARTED = """
import json, sys
from txregistry.tap import Options, makeService
options = Options()
options.parseOptions(["--config", sys.argv[1]])
service = makeService(options)
service.startService()
print(json.dumps(sorted(sys.modules)))
"""

#: With the section that needs each.
UNUSED = {
    "click": "the command line",
    "jwt": "auth.token or tokenservice",
    "opentelemetry": "traces",
    "prometheus_client": "http.debug.prometheus",
    "sqlite3": "notifications",
    "treq": "notifications",
    "twisted.mail": "log.hooks",
    "twisted.web.client": "health.http, notifications or tokenservice.oidc",
    "txredisapi": "redis",
    "txregistry.auth.passwords": "auth.htpasswd",
    "txregistry.collecting": "storage.maintenance.garbagecollection",
    "txregistry.tls": "http.tls",
}


class TestImports(SynchronousTestCase):
    """A server of its own process, with the filesystem and nothing else."""

    def imported(self, **sections: object) -> list[str]:
        """Return the modules that a server has imported when it listens."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "config.yml")
            config = {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": os.path.join(directory, "data")}},
                "http": {"addr": "127.0.0.1:0"},
                **sections,
            }
            with open(path, "w", encoding="utf-8") as file:
                json.dump(config, file)
            done = subprocess.run(
                [sys.executable, "-c", STARTED, path],
                cwd=CHECKOUT,
                capture_output=True,
                text=True,
                timeout=60,
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        names: list[str] = json.loads(done.stdout.splitlines()[-1])
        return names

    def test_what_is_not_used(self) -> None:
        """A registry of files alone imports no library of a section that its configuration has not."""
        imported = self.imported()
        self.assertIn("txregistry.storage.filesystem", imported)
        self.assertEqual([name for name in UNUSED if name in imported], [])

    def test_what_is_used(self) -> None:
        """What a section needs is imported where there is that section."""
        htpasswd = {"realm": "a", "path": os.path.join(tempfile.gettempdir(), f"txregistry-{os.getpid()}")}
        self.addCleanup(os.remove, htpasswd["path"])
        imported = self.imported(auth={"htpasswd": htpasswd})
        self.assertIn("txregistry.auth.passwords", imported)
