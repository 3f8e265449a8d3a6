from tests.config.loading import SMALLEST, LoadingCase

FILE = "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv, maxthreads: 30}}\n"


class OverrideTests(LoadingCase):
    def test_scalars(self) -> None:
        """A variable sets the key that its name spells, also one that the file lacks."""
        config = self.config(
            FILE,
            {
                "REGISTRY_LOG_LEVEL": "debug",
                "REGISTRY_LOG_FORMATTER": "json",
                "REGISTRY_LOG_ACCESSLOG_DISABLED": "true",
                "REGISTRY_STORAGE_DELETE_ENABLED": "true",
                "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true",
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/data",
                "REGISTRY_HTTP_ADDR": ":5001",
                "REGISTRY_HTTP_RELATIVEURLS": "true",
                "REGISTRY_HTTP_DRAINTIMEOUT": "1m",
                "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true",
                "REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH": "/figures",
            },
        )
        self.assertEqual((config.log.level, config.log.formatter), ("debug", "json"))
        self.assertIs(config.log.accesslog.disabled, True)
        self.assertIs(config.storage.delete.enabled, True)
        self.assertIs(config.storage.maintenance.readonly.enabled, True)
        self.assertEqual(config.storage.options, {"rootdirectory": "/data", "maxthreads": 30})
        self.assertEqual((config.http.addr, config.http.relativeurls), (":5001", True))
        self.assertEqual(config.http.draintimeout, 60.0)
        prometheus = config.http.debug.prometheus
        self.assertEqual((prometheus.enabled, prometheus.path), (True, "/figures"))

    def test_name_of_distribution(self) -> None:
        """A key whose name in Distribution's variables is another than in its file has both."""
        for name in ("MAILOPTIONS", "OPTIONS"):
            config = self.config(
                FILE,
                {
                    "REGISTRY_LOG_HOOKS_0_TYPE": "mail",
                    f"REGISTRY_LOG_HOOKS_0_{name}_SMTP_ADDR": "mail.example.com:25",
                    f"REGISTRY_LOG_HOOKS_0_{name}_FROM": "a@example.com",
                },
            )
            options = config.log.hooks[0].options
            self.assertEqual((options.smtp.addr, options.sender), ("mail.example.com:25", "a@example.com"))

    def test_string_as_written(self) -> None:
        """A string that looks like a number or a boolean is what was written."""
        for secret in ("12345", "0123", "1e3", "true", "0x10", "1_000", "2026-01-02", "'quoted: yes'"):
            config = self.config(FILE, {"REGISTRY_HTTP_SECRET": secret})
            self.assertEqual(config.http.secret, secret.strip("'"))
        self.assertEqual(self.config(FILE, {"REGISTRY_LOG_FIELDS_POD": "007"}).log.fields, {"pod": "007"})

    def test_value_is_yaml(self) -> None:
        """A driver's option has the type that YAML gives it."""
        config = self.config(FILE, {"REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS": "100"})
        self.assertEqual(config.storage.options["maxthreads"], 100)

    def test_empty_value(self) -> None:
        """An empty variable takes what the file says away."""
        text = SMALLEST + "http: {addr: ':1', headers: {X-A: [one]}}\n"
        config = self.config(text, {"REGISTRY_HTTP_ADDR": "", "REGISTRY_HTTP_HEADERS_X-A": ""})
        self.assertEqual(config, self.config())

    def test_section(self) -> None:
        """A whole section can be given as YAML, and replaces the file's."""
        config = self.config(FILE, {"REGISTRY_STORAGE": "inmemory"})
        self.assertEqual((config.storage.driver, config.storage.options), ("inmemory", {}))
        config = self.config(FILE, {"REGISTRY_STORAGE": "{filesystem: {rootdirectory: /b}}"})
        self.assertEqual(config.storage.options, {"rootdirectory": "/b"})
        path = self.file("pem")
        config = self.config(FILE, {"REGISTRY_HTTP_TLS": f"{{certificate: {path}, key: {path}}}"})
        self.assertIsNotNone(config.http.tls)

    def test_notifications(self) -> None:
        """Endpoints are set by variables, with the notifier's own keys, events by Distribution's name."""
        found = self.config(
            FILE,
            {
                "REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES": "true",
                "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME": "a",
                "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "http://a.example/",
                "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_IGNORE_ACTIONS": "[pull]",
            },
        ).notifications
        self.assertIs(found.events.includereferences, True)
        (endpoint,) = found.endpoints
        self.assertEqual((endpoint.name, endpoint.ignore.actions), ("a", ["pull"]))
        self.assertEqual(endpoint.options, {"url": "http://a.example/"})

    def test_less_specific_first(self) -> None:
        """A variable of a whole section comes before those of keys in it."""
        config = self.config(
            FILE,
            {
                "REGISTRY_STORAGE_INMEMORY_A": "1",
                "REGISTRY_STORAGE": "inmemory",
                "REGISTRY_STORAGE_DELETE_ENABLED": "true",
            },
        )
        self.assertEqual(config.storage.options, {"a": 1})
        self.assertIs(config.storage.delete.enabled, True)

    def test_driver_named_alone(self) -> None:
        """Keys can be added where the file has nothing but the driver's name."""
        config = self.config(SMALLEST, {"REGISTRY_STORAGE_DELETE_ENABLED": "true"})
        self.assertEqual((config.storage.driver, config.storage.delete.enabled), ("inmemory", True))

    def test_storage_from_environment_alone(self) -> None:
        """A file without storage can have it from the environment."""
        config = self.config("version: 0.1\n", {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/data"})
        self.assertEqual(config.storage.driver, "filesystem")
        self.assertEqual(config.storage.options, {"rootdirectory": "/data"})

    def test_map_keys(self) -> None:
        """A key of a map is found whatever its case, and made in lower case if it is not there."""
        text = SMALLEST + "http: {headers: {X-Some: [one]}}\n"
        config = self.config(
            text, {"REGISTRY_HTTP_HEADERS_X-SOME": "[two]", "REGISTRY_HTTP_HEADERS_X-A": "[three]"}
        )
        self.assertEqual(config.http.headers, {"X-Some": ["two"], "x-a": ["three"]})

    def test_options_keys(self) -> None:
        """A driver's own keys follow the rule of maps, however deep."""
        text = "version: 0.1\nstorage: {filesystem: {Root: {Deep: 1}}}\n"
        config = self.config(
            text,
            {"REGISTRY_STORAGE_FILESYSTEM_ROOT_DEEP": "2", "REGISTRY_STORAGE_FILESYSTEM_NEW_DEEP": "3"},
        )
        self.assertEqual(config.storage.options, {"Root": {"Deep": 2}, "new": {"deep": 3}})

    def test_lists(self) -> None:
        """A number names an item of a list; the one after the last is added."""
        text = SMALLEST + "http: {headers: {X-A: [one, two], X-B: one}}\n"
        config = self.config(
            text,
            {
                "REGISTRY_HTTP_HEADERS_X-A_0": "zero",
                "REGISTRY_HTTP_HEADERS_X-A_2": "three",
                "REGISTRY_HTTP_HEADERS_X-B_1": "two",
            },
        )
        self.assertEqual(config.http.headers, {"X-A": ["zero", "two", "three"], "X-B": ["one", "two"]})

    def test_list_that_is_not_there(self) -> None:
        """A list can be made item by item, also past the tenth."""
        path = self.file("pem")
        environ = {f"REGISTRY_HTTP_TLS_CLIENTCAS_{n}": path for n in range(12)}
        environ |= {"REGISTRY_HTTP_TLS_CERTIFICATE": path, "REGISTRY_HTTP_TLS_KEY": path}
        tls = self.config(FILE, environ).http.tls
        assert tls is not None
        self.assertEqual(tls.clientcas, [path] * 12)

    def test_list_in_options(self) -> None:
        """A list among a driver's options is reached like any other."""
        text = "version: 0.1\nstorage: {inmemory: {a: [{b: 1}]}}\n"
        config = self.config(
            text, {"REGISTRY_STORAGE_INMEMORY_A_0_B": "2", "REGISTRY_STORAGE_INMEMORY_A_1": "3"}
        )
        self.assertEqual(config.storage.options, {"a": [{"b": 2}, 3]})

    def test_list_with_a_gap(self) -> None:
        """An item beyond the end of a list is refused."""
        self.assertEqual(
            self.complaint(FILE, {"REGISTRY_HTTP_TLS_CLIENTCAS_1": "a"}),
            "http.tls.clientcas: REGISTRY_HTTP_TLS_CLIENTCAS_1 sets item 1, but the list has 0 "
            "(the first is item 0)",
        )


class ComplaintTests(LoadingCase):
    def test_names_the_variable(self) -> None:
        """A wrong value of a variable is refused with the key's path and the variable's name."""
        for variable, value, line in (
            (
                "REGISTRY_HTTP_RELATIVEURLS",
                "maybe",
                "http.relativeurls: found the string 'maybe', expected true or false",
            ),
            ("REGISTRY_HTTP_ADDR", "5000", "http.addr: found '5000', expected an address such as :5000"),
            (
                "REGISTRY_HTTP_DRAINTIMEOUT",
                "30",
                "http.draintimeout: found the number 30, expected a duration",
            ),
            ("REGISTRY_LOG_LEVEL", "trace", "log.level: found the string 'trace', expected one of error"),
            ("REGISTRY_HTTP", "{adr: x}", "http.adr: unknown key; did you mean http.addr?"),
            ("REGISTRY_HTTP_TLS_KEY", "x", "http.tls.key: found the string 'x', expected a readable file"),
            ("REGISTRY_STORAGE", "swift", "storage.swift: no storage driver named 'swift'"),
            ("REGISTRY_HTTP_HEADERS_X A", "x", "http.headers.x a: expected the name of a header"),
            ("REGISTRY_HTTP", "{net: tcp, net: tcp}", "http.net: the key is there twice"),
        ):
            complaint = self.complaint(FILE, {variable: value})
            self.assertTrue(complaint.startswith(line), complaint)
            self.assertTrue(complaint.endswith(f" ({variable})"), complaint)

    def test_not_yaml(self) -> None:
        """A value that is not YAML is refused with advice, and without showing it."""
        for value in ("@hush", "a: b: hush", "*hush", "[hush", "%hush"):
            self.assertEqual(
                self.complaint(FILE, {"REGISTRY_HTTP_SECRET": value}),
                "http.secret: the value of REGISTRY_HTTP_SECRET is not valid YAML; put it in single quotes",
            )

    def test_not_text(self) -> None:
        """A value that is not UTF-8 is refused."""
        self.assertIn("is not valid YAML", self.complaint(FILE, {"REGISTRY_HTTP_HOST": "a\udcff"}))

    def test_second_driver(self) -> None:
        """A key of another driver than the file's is a second driver, as it is for Distribution."""
        self.assertEqual(
            self.complaint(FILE, {"REGISTRY_STORAGE_S3_BUCKET": "images"}),
            "storage: found 2 storage drivers, filesystem (line 2), s3 (REGISTRY_STORAGE_S3_BUCKET); "
            "expected one",
        )

    def test_not_built_key(self) -> None:
        """A variable of a key that is not built is refused by the key's name."""
        for variable, key in (
            ("REGISTRY_LOG_REPORTCALLER", "log.reportcaller"),
            ("REGISTRY_STORAGE_TAG_CONCURRENCYLIMIT", "storage.tag"),
            ("REGISTRY_HTTP_HTTP2_DISABLED", "http.http2"),
            ("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL", "http.tls.letsencrypt"),
            ("REGISTRY_PROXY_REMOTEURL", "proxy"),
        ):
            self.assertEqual(
                self.complaint(FILE, {variable: "0"}),
                f"{key}: this key of Distribution's is not supported by this version of txregistry; "
                f"remove it ({variable})",
            )

    def test_health(self) -> None:
        """The lists of health have other names in variables than in the file, as for Distribution."""
        environ = {
            "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true",
            "REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/down",
            "REGISTRY_HEALTH_HTTPCHECKERS_0_URI": "http://a.example/x",
            "REGISTRY_HEALTH_HTTPCHECKERS_0_STATUSCODE": "204",
            "REGISTRY_HEALTH_TCPCHECKERS_0_ADDR": "b.example:6379",
            "REGISTRY_HEALTH_TCPCHECKERS_0_THRESHOLD": "3",
        }
        health = self.config(FILE, environ).health
        self.assertTrue(health.storagedriver.enabled)
        self.assertEqual([one.file for one in health.file], ["/down"])
        self.assertEqual([(one.uri, one.statuscode) for one in health.http], [("http://a.example/x", 204)])
        self.assertEqual([(one.addr, one.threshold) for one in health.tcp], [("b.example:6379", 3)])

    def test_not_built_key_that_is_off(self) -> None:
        """A variable that only switches off what is not built is accepted."""
        environ = {
            "REGISTRY_HTTP_H2C_ENABLED": "false",
            "REGISTRY_HTTP_HTTP2_DISABLED": "true",
        }
        self.assertEqual(self.config(FILE, environ), self.config(FILE))

    def test_below_a_scalar(self) -> None:
        """A variable cannot set a key below what is not a mapping."""
        self.assertEqual(
            self.complaint(SMALLEST + "http: 5\n", {"REGISTRY_HTTP_ADDR": ":1"}),
            "http: REGISTRY_HTTP_ADDR sets a key below it, but it is the number 5 (line 3)",
        )
        self.assertEqual(
            self.complaint(
                SMALLEST + "http: {headers: {X-A: {a: b}}}\n", {"REGISTRY_HTTP_HEADERS_X-A_0": "one"}
            ),
            "http.headers.X-A: REGISTRY_HTTP_HEADERS_X-A_0 sets a key below it, but it is a mapping (line 3)",
        )
        self.assertEqual(
            self.complaint(FILE, {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY_X": "1"}),
            "storage.filesystem.rootdirectory: REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY_X sets a key below "
            "it, but it is the string '/srv' (line 2)",
        )


class WarningTests(LoadingCase):
    def warnings(self, environ: dict[str, str]) -> tuple[str, ...]:
        loaded = self.load(FILE, environ)
        self.assertEqual(loaded.config, self.config(FILE))
        return loaded.warnings

    def test_no_key(self) -> None:
        """A variable that names no key changes nothing but is warned of."""
        for variable in (
            "REGISTRY_",
            "REGISTRY_FOO",
            "REGISTRY_FOO_BAR",
            "REGISTRY_HTTP_",
            "REGISTRY_STORAGE_",
            "REGISTRY_HTTP_ADDR_FOO",
            "REGISTRY_HTTP_HEADERS_X-A_ONE",
            "REGISTRY_HTTP_HEADERS_X-A_9999999",
        ):
            self.assertEqual(
                self.warnings({variable: "x"}), (f"{variable}: names no key of the configuration; ignored",)
            )

    def test_misspelt(self) -> None:
        """A misspelt variable is warned of with the nearest that names a key."""
        for variable, meant in (
            ("REGISTRY_HTPT_ADDR", "REGISTRY_HTTP"),
            ("REGISTRY_HTTP_ADR", "REGISTRY_HTTP_ADDR"),
            ("REGISTRY_http_addr", "REGISTRY_HTTP"),
            ("REGISTRY_STORAGE_DELETE_ENABLE", "REGISTRY_STORAGE_DELETE_ENABLED"),
            ("REGISTRY_HTTP_TLS_CLIENTCA", "REGISTRY_HTTP_TLS_CLIENTCAS"),
        ):
            self.assertEqual(
                self.warnings({variable: "x"}),
                (f"{variable}: names no key of the configuration; ignored; did you mean {meant}?",),
            )

    def test_version(self) -> None:
        """The version cannot be overridden, since images set REGISTRY_VERSION for purposes of their own."""
        self.assertEqual(
            self.warnings({"REGISTRY_VERSION": "2.8.3"}),
            ("REGISTRY_VERSION: the version of the format cannot be overridden; ignored",),
        )

    def test_kubernetes(self) -> None:
        """What Kubernetes sets for a service named registry, or registry-auth, does no harm."""
        environ = {
            "REGISTRY_AUTH_PORT": "tcp://10.0.0.2:80",
            "REGISTRY_AUTH_SERVICE_HOST": "10.0.0.2",
            "REGISTRY_PORT": "tcp://10.0.0.1:5000",
            "REGISTRY_PORT_5000_TCP": "tcp://10.0.0.1:5000",
            "REGISTRY_PORT_5000_TCP_ADDR": "10.0.0.1",
            "REGISTRY_PORT_5000_TCP_PORT": "5000",
            "REGISTRY_PORT_5000_TCP_PROTO": "tcp",
            "REGISTRY_SERVICE_HOST": "10.0.0.1",
            "REGISTRY_SERVICE_PORT": "5000",
            "REGISTRY_SERVICE_PORT_HTTPS": "5000",
            "REGISTRY_STORAGE_PORT": "tcp://10.0.0.3:9000",
        }
        (warning,) = self.warnings(environ)
        names, _, rest = warning.rpartition(": ")
        self.assertEqual(sorted(names.split(", ")), sorted(environ))
        self.assertEqual(rest, "set by Kubernetes for a service; ignored")

    def test_other_variables(self) -> None:
        """Variables of other names are none of the registry's business."""
        self.assertEqual(self.warnings({"PATH": "/bin", "MY_REGISTRY_HTTP_ADDR": "x", "REGISTRYX": "y"}), ())


class SecretFileTests(LoadingCase):
    """``REGISTRY_…_FILE``: secrets as container platforms hand them over."""

    def test_secret(self) -> None:
        """A secret is what its file holds, less a newline at the end, and is text whatever it looks like."""
        for content, secret in (("hush\n", "hush"), ("0123", "0123"), ("{a: b}\n\n", "{a: b}\n")):
            path = self.file(content)
            config = self.config(FILE, {"REGISTRY_HTTP_SECRET_FILE": path})
            self.assertEqual(config.http.secret, secret)

    def test_unreadable(self) -> None:
        """A file that cannot be read is refused by the key's and the variable's name, and what it is not shown."""
        self.assertEqual(
            self.complaint(FILE, {"REGISTRY_HTTP_SECRET_FILE": "/nowhere"}),
            "http.secret: REGISTRY_HTTP_SECRET_FILE names a file that cannot be read: No such file or directory",
        )

    def test_other_keys(self) -> None:
        """A key that is no secret is not read from a file."""
        loaded = self.load(FILE, {"REGISTRY_HTTP_ADDR_FILE": self.file(":9")})
        self.assertEqual(loaded.config, self.config(FILE))
        self.assertEqual(len(loaded.warnings), 1)
