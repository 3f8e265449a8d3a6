from tests.config.loading import SMALLEST, LoadingCase
from txregistry.config.load import load
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriverMaker
from txregistry.plugins import installed

INSTALLED = ", ".join(sorted(installed(IStorageDriverMaker)))

FULL = """
version: 0.1
log:
  level: debug
  formatter: json
  fields: {service: registry, release: 1.10, shard: 7}
  accesslog: {disabled: true}
storage:
  filesystem: {rootdirectory: /srv/registry, maxthreads: 50}
  delete: {enabled: true}
  maintenance: {readonly: {enabled: true}}
http:
  addr: 127.0.0.1:5001
  net: tcp
  prefix: /registry/
  host: https://registry.example.com
  relativeurls: true
  secret: 0123
  headers: {X-Content-Type-Options: [nosniff], X-One: two}
  draintimeout: 1m
  idletimeout: 1.5s
"""


class LoadTests(LoadingCase):
    def test_defaults(self) -> None:
        """What the file does not say has its documented default."""
        config = self.config()
        self.assertEqual(config.version, "0.1")
        self.assertEqual((config.log.level, config.log.formatter, config.log.fields), ("info", "text", {}))
        self.assertIs(config.log.accesslog.disabled, False)
        self.assertEqual((config.storage.driver, config.storage.options), ("inmemory", {}))
        self.assertIs(config.storage.delete.enabled, False)
        self.assertIs(config.storage.maintenance.readonly.enabled, False)
        http = config.http
        self.assertEqual((http.addr, http.net, http.prefix, http.host), (":5000", "tcp", "/", ""))
        self.assertEqual((http.relativeurls, http.secret, http.headers), (False, "", {}))
        self.assertEqual((http.draintimeout, http.idletimeout, http.tls), (30.0, 60.0, None))

    def test_loglevel(self) -> None:
        """The old name of log.level counts where the new one is not written, and is warned of."""
        for text, level in (
            ("", "error"),
            ("log: {level: debug}\n", "debug"),
            ("log: {level: info}\n", "info"),
        ):
            loaded = self.load(f"{SMALLEST}loglevel: error\n{text}")
            self.assertEqual((loaded.config.log.level, loaded.config.loglevel), (level, ""))
            self.assertIn("loglevel", loaded.warnings[0])

    def test_every_key(self) -> None:
        """What the file says is what the configuration holds, strings as they were written."""
        config = self.config(FULL)
        self.assertEqual((config.log.level, config.log.formatter), ("debug", "json"))
        self.assertEqual(config.log.fields, {"service": "registry", "release": "1.10", "shard": "7"})
        self.assertIs(config.log.accesslog.disabled, True)
        self.assertEqual(config.storage.driver, "filesystem")
        self.assertEqual(config.storage.options, {"rootdirectory": "/srv/registry", "maxthreads": 50})
        self.assertIs(config.storage.delete.enabled, True)
        self.assertIs(config.storage.maintenance.readonly.enabled, True)
        http = config.http
        self.assertEqual((http.addr, http.prefix), ("127.0.0.1:5001", "/registry/"))
        self.assertEqual((http.host, http.relativeurls), ("https://registry.example.com", True))
        self.assertEqual(http.secret, "0123")
        self.assertEqual(http.headers, {"X-Content-Type-Options": ["nosniff"], "X-One": ["two"]})
        self.assertEqual((http.draintimeout, http.idletimeout), (60.0, 1.5))

    def test_frozen(self) -> None:
        """A configuration does not change once it is loaded."""
        self.assertRaises(AttributeError, setattr, self.config().http, "addr", ":1")

    def test_empty_is_absent(self) -> None:
        """A key without a value, and a string that is empty, are as if they were not there."""
        text = (
            "version: 0.1\nlog:\nstorage:\n  inmemory:\n  delete:\n  maintenance: {readonly: {enabled: }}\n"
            "http: {addr: '', prefix: '', net: , draintimeout: '', headers: {X-A: }, tls: {}, auth: }\n"
        ).replace(", auth: ", "")
        self.assertEqual(self.config(text), self.config())

    def test_version(self) -> None:
        """Version 0.1 alone is read, written as a number or a string."""
        self.config("version: '0.1'\nstorage: inmemory\n")
        self.assertEqual(self.complaint("storage: inmemory\n"), "version: missing; expected 0.1")
        self.assertEqual(
            self.complaint("version: 0.2\nstorage: inmemory\n"),
            "version: found the number 0.2, expected 0.1 (line 1)",
        )

    def test_no_file_named(self) -> None:
        """Without a file and without the variable that names one, the complaint names the variable."""
        error = self.assertRaises(ConfigError, load, None, {})
        self.assertEqual(
            str(error), "REGISTRY_CONFIGURATION_PATH: not set, and no configuration file is named"
        )

    def test_file_from_environment(self) -> None:
        """REGISTRY_CONFIGURATION_PATH names the file, and is not warned of."""
        loaded = load(None, {"REGISTRY_CONFIGURATION_PATH": self.file(SMALLEST)})
        self.assertEqual((loaded.config.storage.driver, loaded.warnings), ("inmemory", ()))

    def test_argument_beats_environment(self) -> None:
        """A file that is named outright is taken rather than the variable's."""
        loaded = load(self.file(SMALLEST), {"REGISTRY_CONFIGURATION_PATH": "/nonexistent"})
        self.assertEqual(loaded.warnings, ())

    def test_unreadable_file(self) -> None:
        """A file that cannot be read is refused with the system's reason."""
        error = self.assertRaises(ConfigError, load, "no-such.yml", {})
        self.assertEqual(str(error), "no-such.yml: cannot be read: No such file or directory")
        error = self.assertRaises(ConfigError, load, ".", {})
        self.assertEqual(str(error), ".: cannot be read: Is a directory")
        error = self.assertRaises(ConfigError, load, "a\0b", {})
        self.assertEqual(str(error), r"'a\x00b': is not the name of a file")


class ComplaintTests(LoadingCase):
    def http(self, text: str) -> str:
        return self.complaint(f"version: 0.1\nstorage: inmemory\nhttp: {{{text}}}\n")

    def test_misspelt_key(self) -> None:
        """A misspelt key is refused with the nearest that is known."""
        self.assertEqual(self.http("adr: x"), "http.adr: unknown key; did you mean http.addr? (line 3)")
        self.assertEqual(
            self.http("Secret: x"), "http.Secret: unknown key; did you mean http.secret? (line 3)"
        )
        self.assertEqual(
            self.complaint(SMALLEST + "htp: {}\n"), "htp: unknown key; did you mean http? (line 3)"
        )
        self.assertEqual(
            self.complaint(SMALLEST + "log: {accesslog: {enabled: true}}\n"),
            "log.accesslog.enabled: unknown key; did you mean log.accesslog.disabled? (line 3)",
        )

    def test_unknown_key(self) -> None:
        """A key that is like none is refused with those that are known."""
        self.assertEqual(
            self.complaint(SMALLEST + "quux: 1\n"),
            "quux: unknown key; known here: version, loglevel, log, storage, http, health, auth, tokenservice, "
            "access, groups, immutable, validation, notifications, redis, warnings (line 3)",
        )

    def test_unprintable_key(self) -> None:
        """A key cannot break the complaint's one line."""
        self.assertEqual(self.http(r'"a\nb": 1').partition(";")[0], r"http.'a\nb': unknown key")

    def test_boolean(self) -> None:
        """A string, a number or a list is no boolean."""
        self.assertEqual(
            self.http("relativeurls: 'yes'"),
            "http.relativeurls: found the string 'yes', expected true or false (line 3)",
        )
        self.assertEqual(
            self.http("relativeurls: 1"),
            "http.relativeurls: found the number 1, expected true or false (line 3)",
        )
        self.assertEqual(
            self.http("relativeurls: [true]"),
            "http.relativeurls: found a list, expected true or false (line 3)",
        )

    def test_choice(self) -> None:
        """A value that is not among the choices is refused with them."""
        self.assertEqual(
            self.complaint(SMALLEST + "log: {level: warning}\n"),
            "log.level: found the string 'warning', expected one of error, warn, info, debug (line 3)",
        )
        self.assertEqual(
            self.complaint(SMALLEST + "log: {formatter: xml}\n"),
            "log.formatter: found the string 'xml', expected one of text, json, logstash (line 3)",
        )
        self.assertEqual(
            self.http("net: udp"), "http.net: found the string 'udp', expected one of tcp, unix (line 3)"
        )

    def test_section(self) -> None:
        """A section must be a mapping."""
        self.assertEqual(
            self.complaint(SMALLEST + "http: 5000\n"),
            "http: found the number 5000, expected a mapping (line 3)",
        )
        self.assertEqual(
            self.complaint(SMALLEST + "log: {fields: [a]}\n"),
            "log.fields: found a list, expected a mapping (line 3)",
        )

    def test_string(self) -> None:
        """A mapping is no string."""
        self.assertEqual(self.http("host: {a: b}"), "http.host: found a mapping, expected a string (line 3)")

    def test_secret_is_not_shown(self) -> None:
        """A complaint about a secret does not show it."""
        self.assertEqual(self.http("secret: [hush]"), "http.secret: found a list, expected a string (line 3)")
        self.assertEqual(
            self.http(r'headers: {Authorization: "hush\n"}'),
            "http.headers.Authorization.0: found a string, expected printable ASCII characters on one line "
            "(line 3)",
        )

    def test_duration(self) -> None:
        """A duration without a unit is refused with the reason."""
        self.assertEqual(
            self.http("draintimeout: 30"),
            "http.draintimeout: found the number 30, expected a duration such as 30s, 1h30m or 500ms; "
            "a number needs a unit (Distribution would read it as nanoseconds) (line 3)",
        )
        self.assertEqual(
            self.http("idletimeout: -1s"),
            "http.idletimeout: found the string '-1s', expected a duration such as 30s, 1h30m or 500ms, "
            "not negative (line 3)",
        )

    def test_keys_of_distribution_2(self) -> None:
        """What only files of Distribution 2 have is passed over, with a line that says what becomes of it."""
        loaded = self.load(
            SMALLEST + "compatibility: {schema1: {enabled: true}}\nreporting: {bugsnag: {apikey: x}}\n"
        )
        self.assertEqual(loaded.config, self.config())
        self.assertEqual(
            loaded.warnings,
            (
                "compatibility: a key of Distribution 2 that has no effect here; "
                "manifests of schema 1 are not taken, nor made of others (line 3)",
                "reporting: a key of Distribution 2 that has no effect here; "
                "nothing is reported to Bugsnag or New Relic (line 4)",
            ),
        )

    def test_not_built_keys(self) -> None:
        """Each key of Distribution's that is not honoured is refused by its name."""
        said = "this key of Distribution's is not supported by this version of txregistry; remove it"
        for key, text in {
            "log.reportcaller": "true",
            "storage.tag": "{concurrencylimit: 8}",
            "middleware": "{storage: [{name: redirect}]}",
            "proxy": "{remoteurl: 'https://example.com'}",
            "policy": "{repository: {classes: [image]}}",
            "catalog": "{maxentries: 10}",
            "tags": "{maxtags: 10}",
            "http.tls.letsencrypt": "{email: a@example.com}",
            "http.http2": "{disabled: false}",
            "http.h2c": "{enabled: true}",
        }.items():
            *above, last = key.split(".")
            document = f"{last}: {text}"
            for part in reversed(above):
                inmemory = "inmemory: , " if part == "storage" else ""
                document = f"{part}: {{{inmemory}{document}}}"
            storage = "" if above[:1] == ["storage"] else "storage: inmemory\n"
            self.assertEqual(
                self.complaint(f"version: 0.1\n{storage}{document}\n").rpartition(" (")[0], f"{key}: {said}"
            )

    def test_not_built_keys_that_are_off(self) -> None:
        """A key that asks for nothing but what the registry does anyway is accepted."""
        text = """
            version: 0.1
            log: {reportcaller: false, hooks: []}
            storage:
              inmemory:
              cache: {}
            http: {http2: {disabled: true}, h2c: {enabled: false}, debug: }
            notifications:
        """
        self.assertEqual(self.config(text), self.config())


class StorageTests(LoadingCase):
    def storage(self, text: str) -> str:
        return self.complaint(f"version: 0.1\nstorage: {text}\n")

    def test_name_alone(self) -> None:
        """A driver's name alone stands for the section."""
        self.assertEqual(self.config("version: 0.1\nstorage: {inmemory: {}}\n"), self.config())

    def test_no_driver(self) -> None:
        """A storage section without a driver is refused with those that are installed."""
        said = f"no storage driver is named; expected one of {INSTALLED}"
        self.assertIn(said, self.storage("{delete: {enabled: true}}"))
        self.assertIn(said, self.storage(""))
        self.assertEqual(self.complaint("version: 0.1\n"), f"storage: {said} (nothing in the file)")

    def test_two_drivers(self) -> None:
        """Two drivers are refused, both named with their places."""
        self.assertEqual(
            self.storage("\n  inmemory:\n  filesystem: {rootdirectory: /x}"),
            "storage: found 2 storage drivers, inmemory (line 3), filesystem (line 4); expected one",
        )

    def test_unknown_driver(self) -> None:
        """A driver that is not installed is refused with those that are, and the nearest."""
        self.assertEqual(
            self.storage("{filesytem: {rootdirectory: /x}}"),
            f"storage.filesytem: no storage driver named 'filesytem'; installed: {INSTALLED}; "
            "did you mean filesystem? (line 2)",
        )
        self.assertEqual(
            self.storage("swift"),
            f"storage.swift: no storage driver named 'swift'; installed: {INSTALLED} (line 2)",
        )

    def test_misspelt_reserved_key(self) -> None:
        """A misspelt key beside the driver is not taken for a second driver."""
        self.assertEqual(
            self.storage("{inmemory: , delte: {enabled: true}}"),
            "storage.delte: unknown key; did you mean storage.delete? (line 2)",
        )

    def test_options_not_a_mapping(self) -> None:
        """A driver's options must be a mapping."""
        self.assertEqual(
            self.storage("{filesystem: /var/lib}"),
            "storage.filesystem: found the string '/var/lib', expected a mapping of the driver's options "
            "(line 2)",
        )

    def test_section_not_a_mapping(self) -> None:
        """The storage section is a name or a mapping."""
        self.assertEqual(self.storage("[a]"), "storage: found a list, expected a mapping (line 2)")

    def test_below_reserved_keys(self) -> None:
        """Keys below the reserved ones are checked like all others."""
        self.assertEqual(
            self.storage("{inmemory: , delete: {enable: true}}"),
            "storage.delete.enable: unknown key; did you mean storage.delete.enabled? (line 2)",
        )
        self.assertEqual(
            self.storage("{inmemory: , maintenance: {readonly: true}}"),
            "storage.maintenance.readonly: found the boolean true, expected a mapping (line 2)",
        )


class AccessTests(LoadingCase):
    """Rules, and what looks like rules."""

    def test_nothing(self) -> None:
        """Rules that are written and hold nothing are refused: no rules at all would let everyone in."""
        complaint = self.complaint(SMALLEST + "access:\n")
        self.assertEqual(
            complaint,
            "access: found nothing, expected rules, or [] which lets no one do anything, or no access at all "
            "(line 3)",
        )

    def test_tag_pattern(self) -> None:
        """A pattern of tags without a repository would protect nothing, and is refused."""
        self.assertEqual(
            self.complaint(SMALLEST + "immutable: [v*]\n"),
            "immutable.0: found the string 'v*', expected a pattern of repository:tag, such as prod/**:v* (line 3)",
        )
