from tests.config.loading import SMALLEST, LoadingCase
from txregistry.config.purging import UploadPurging


class PurgingTests(LoadingCase):
    def purging(self, text: str, **environ: str) -> UploadPurging:
        """Return the section that a file and variables make."""
        document = f"version: 0.1\nstorage: {{inmemory: , maintenance: {{uploadpurging: {text}}}}}\n"
        return self.config(document, environ).storage.maintenance.uploadpurging

    def test_distribution(self) -> None:
        """Distribution's section means the same here, and what it leaves out is the default."""
        whole = "{enabled: true, age: 168h, interval: 24h, dryrun: false}"
        self.assertEqual(self.purging(whole), UploadPurging())
        self.assertEqual(self.purging("{age: 2h}"), UploadPurging(age=7200.0))
        self.assertEqual(self.purging(""), UploadPurging())
        self.assertEqual(self.config(SMALLEST).storage.maintenance.uploadpurging, UploadPurging())

    def test_variables(self) -> None:
        """Each key has its variable."""
        prefix = "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_"
        found = self.purging(
            "",
            **{
                f"{prefix}ENABLED": "false",
                f"{prefix}AGE": "1h",
                f"{prefix}INTERVAL": "5m",
                f"{prefix}DRYRUN": "true",
            },
        )
        self.assertEqual(found, UploadPurging(enabled=False, age=3600.0, interval=300.0, dryrun=True))

    def test_interval(self) -> None:
        """An interval of nothing is refused."""
        self.assertEqual(
            self.complaint(
                "version: 0.1\nstorage: {inmemory: , maintenance: {uploadpurging: {interval: 0}}}\n"
            ),
            "storage.maintenance.uploadpurging.interval: found the number 0, expected a duration of at least 1s "
            "(line 2)",
        )
