import subprocess
import sys

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from txregistry import __version__
from txregistry.cli import main

TEXT = "version: 0.1\nstorage: inmemory\n"


class CommandCase(SynchronousTestCase):
    """Runs the command."""

    def file(self, text: str = TEXT) -> str:
        path: str = self.mktemp()
        with open(path, "w") as file:
            file.write(text)
        return path

    def run_command(self, *arguments: str, environ: dict[str, str | None] | None = None) -> Result:
        clean: dict[str, str | None] = {"REGISTRY_CONFIGURATION_PATH": None}
        return CliRunner().invoke(main, arguments, env=clean | (environ or {}))


class CheckTests(CommandCase):
    def test_good(self) -> None:
        """A good configuration is shown with its defaults, and the status is 0."""
        result = self.run_command("config", "check", self.file())
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertIn("storage:\n  inmemory: {}\n", result.stdout)
        self.assertIn("  addr: :5000\n", result.stdout)

    def test_environment(self) -> None:
        """The environment is applied, and names the file when the command does not."""
        result = self.run_command(
            "config",
            "check",
            environ={"REGISTRY_CONFIGURATION_PATH": self.file(), "REGISTRY_HTTP_ADDR": ":5001"},
        )
        self.assertEqual(result.exit_code, 0)
        self.assertIn("  addr: :5001\n", result.stdout)

    def test_warnings(self) -> None:
        """Warnings go to standard error, a line each, and do not change the status."""
        result = self.run_command("config", "check", self.file(), environ={"REGISTRY_HTTP_ADR": ":5001"})
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(
            result.stderr,
            "txregistry: warning: REGISTRY_HTTP_ADR: names no key of the configuration; ignored; "
            "did you mean REGISTRY_HTTP_ADDR?\n",
        )

    def test_bad(self) -> None:
        """What is wrong is one line on standard error, nothing on standard output, and the status is 1."""
        result = self.run_command("config", "check", self.file(TEXT + "http: {adr: x}\n"))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr, "txregistry: http.adr: unknown key; did you mean http.addr? (line 3)\n"
        )

    def test_bad_driver_option(self) -> None:
        """The storage driver's own keys are checked as well."""
        result = self.run_command(
            "config", "check", self.file("version: 0.1\nstorage: {filesystem: {rootdirectry: /data}}\n")
        )
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertTrue(result.stderr.startswith("txregistry: storage.filesystem.rootdirectry: "))
        self.assertEqual(result.stderr.count("\n"), 1)

    def test_no_file(self) -> None:
        """Without any file the complaint names the variable that could have named one."""
        result = self.run_command("config", "check")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr,
            "txregistry: REGISTRY_CONFIGURATION_PATH: not set, and no configuration file is named\n",
        )


class VersionTests(CommandCase):
    def test_version(self) -> None:
        """The version is that of the package."""
        self.assertEqual(self.run_command("--version").stdout, f"txregistry, version {__version__}\n")

    def test_help(self) -> None:
        """Every command is listed with what it does."""
        text = self.run_command("--help").stdout
        self.assertIn("serve", text)
        self.assertIn("config", text)


class ServeTests(CommandCase):
    def test_same_as_twist(self) -> None:
        """The registry is run just as twist runs it: a file that is not there ends both the same way."""
        ours = self.process("-c", "from txregistry.cli import main; main()", "serve", "no-such.yml")
        theirs = self.process("-m", "twisted", "registry", "--config", "no-such.yml")
        self.assertNotEqual(ours.returncode, 0)
        self.assertEqual(ours.returncode, theirs.returncode)
        self.assertEqual(ours.stderr.splitlines()[-1:], theirs.stderr.splitlines()[-1:])

    def process(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)
