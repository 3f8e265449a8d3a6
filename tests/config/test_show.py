import yaml

from tests.config.loading import SMALLEST, LoadingCase
from tests.config.test_load import FULL
from txregistry.config.masks import MASK
from txregistry.config.show import render


class RenderTests(LoadingCase):
    def test_defaults(self) -> None:
        """Every key is shown with its default."""
        self.assertEqual(
            render(self.config()),
            """\
version: '0.1'
loglevel: ''
log:
  level: info
  formatter: text
  fields: {}
  accesslog:
    disabled: false
  hooks: []
storage:
  inmemory: {}
  delete:
    enabled: false
  redirect:
    disable: false
  cache:
    blobdescriptor: ''
    layerinfo: ''
    blobdescriptorsize: 10000
  maintenance:
    readonly:
      enabled: false
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
    garbagecollection:
      enabled: false
      interval: 24h
      age: 24h
      deleteuntagged: false
      rate: 1000
http:
  addr: :5000
  net: tcp
  prefix: /
  host: ''
  relativeurls: false
  secret: '' # not set: each start makes a random one
  headers: {}
  draintimeout: 30s
  idletimeout: 1m
  limits:
    connections: 10000
    connectionsperclient: 4000
    uploadsperclient: 500
  trustedproxies: []
  workers: '1'
  tls: null
  debug:
    addr: ''
    prometheus:
      enabled: false
      path: /metrics
health:
  storagedriver:
    enabled: false
    interval: 10s
    threshold: 0
  file: []
  http: []
  tcp: []
auth: null
tokenservice: null
# access: not set
groups: {}
immutable: []
validation:
  disabled: false
  manifests:
    urls:
      allow: []
      deny: []
    indexes:
      platforms: all
      platformlist: []
notifications:
  events:
    includereferences: false
  endpoints: []
  outbox:
    path: ''
    maxbytes: 67108864
    maxtries: 10
redis: null
warnings: []
""",
        )

    def test_loadable(self) -> None:
        """What is shown is a configuration that means the same."""
        path = self.file("pem")
        tls = f"  tls: {{certificate: {path}, key: {path}, clientcas: [{path}], minimumtls: tls1.3}}\n"
        lists = "warnings: [{text: hi}]\nvalidation: {manifests: {indexes: {platformlist: [{os: linux}]}}}\n"
        for text in (SMALLEST, FULL.replace("  secret: 0123\n", "") + tls, SMALLEST + lists):
            config = self.config(text)
            self.assertEqual(self.config(render(config)), config)

    def test_secret(self) -> None:
        """The secret is not shown, nor is it said to be missing."""
        shown = render(self.config(SMALLEST + "http: {secret: hush}\n"))
        self.assertIn(f"  secret: '{MASK}'\n", shown)
        self.assertNotIn("hush", shown)

    def test_driver_options(self) -> None:
        """Options that look like secrets are masked, however deep; others are shown."""
        for key in (
            "accesskey",
            "access-key",
            "accountkey",
            "apikey",
            "auth_token",
            "connectionstring",
            "credentials",
            "key",
            "passphrase",
            "password",
            "Password",
            "privatekey",
            "secretkey",
            "sessiontoken",
        ):
            config = self.config(f"version: 0.1\nstorage: {{inmemory: {{{key}: hush, region: here}}}}\n")
            shown = yaml.safe_load(render(config))["storage"]["inmemory"]
            self.assertEqual(shown, {key: MASK, "region": "here"})
        config = self.config(
            "version: 0.1\nstorage: {inmemory: {credentials: {type: hush, list: [hush]}, a: [{token: hush}],"
            " keyfile: /key.json, password: '', secret: 123456}}\n"
        )
        shown = render(config)
        self.assertNotIn("hush", shown)
        self.assertNotIn("123456", shown)
        self.assertIn("keyfile: /key.json", shown)
        self.assertIn("password: ''", shown)

    def test_headers(self) -> None:
        """Headers that carry credentials are masked."""
        config = self.config(
            SMALLEST
            + "http: {headers: {Authorization: [hush], X-Api-Key: hush, Set-Cookie: [hush], X-A: [b]}}\n"
        )
        self.assertEqual(
            yaml.safe_load(render(config))["http"]["headers"],
            {"Authorization": [MASK], "X-Api-Key": [MASK], "Set-Cookie": [MASK], "X-A": ["b"]},
        )

    def test_log_fields(self) -> None:
        """Fields of the log that look like secrets are masked."""
        config = self.config(SMALLEST + "log: {fields: {token: hush, pod: a}}\n")
        self.assertEqual(yaml.safe_load(render(config))["log"]["fields"], {"token": MASK, "pod": "a"})

    def test_password_in_url(self) -> None:
        """A password within a URL is masked, and the URL still shown."""
        config = self.config(
            "version: 0.1\nstorage: {inmemory: {endpoint: 'https://me:hush@s3.example/x'}}\n"
        )
        self.assertIn(f"https://me:{MASK}@s3.example/x", render(config))

    def test_names_of_tls_files(self) -> None:
        """The names of key files are shown: they are no secrets."""
        path = self.file("pem")
        shown = render(self.config(SMALLEST + f"http: {{tls: {{certificate: {path}, key: {path}}}}}\n"))
        self.assertIn(f"    key: {path}\n", shown)

    def test_auth(self) -> None:
        """Of auth backends, options that look like secrets are masked; their own names make none."""
        for auth in (
            {"htpasswd": {"realm": "registry", "path": "/etc/htpasswd"}},
            {"token": {"realm": "https://a.example/token", "autoredirect": True, "jwks": "/etc/jwks"}},
        ):
            shown = yaml.safe_load(render(self.config(SMALLEST + yaml.safe_dump({"auth": auth}))))
            self.assertEqual(shown["auth"], auth)
        shown = render(self.config(SMALLEST + "auth: {ldap: {server: there, password: hush}}\n"))
        self.assertEqual(yaml.safe_load(shown)["auth"], {"ldap": {"server": "there", "password": MASK}})

    def test_checker(self) -> None:
        """A checker of Twisted's is masked, for it may be spelt with passwords in it."""
        for auth in ("{cred: 'memory:alice:hush'}", "{cred: {cred: 'memory:alice:hush', realm: here}}"):
            self.assertNotIn("hush", render(self.config(SMALLEST + f"auth: {auth}\n")))

    def test_driver_whose_name_looks_secret(self) -> None:
        """A driver's name does not make secrets of all its options."""
        config = self.config()
        storage = type(config.storage)(driver="tokens", options={"region": "here"})
        config = type(config)(version="0.1", storage=storage)
        self.assertIn("  tokens:\n    region: here\n", render(config))
