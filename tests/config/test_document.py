from tests.config.loading import SMALLEST, LoadingCase


class DocumentTests(LoadingCase):
    def test_not_yaml(self) -> None:
        """A file that is not YAML is refused with the place where it stops being so."""
        self.assertIn("not valid YAML: line 2, column 11: ", self.complaint("version: 0.1\nstorage: a: b\n"))

    def test_not_text(self) -> None:
        """A file that is not text is refused."""
        self.assertIn("not valid YAML: byte 0: ", self.complaint(b"\xff\x80abc"))
        self.assertIn("not valid YAML: ", self.complaint("version: 0.1\0"))

    def test_not_a_mapping(self) -> None:
        """A document of another shape is refused with what it is."""
        expected = "expected a mapping that begins with version: 0.1"
        self.assertIn(f": found nothing, {expected}", self.complaint(""))
        self.assertIn(f": found a list, {expected}", self.complaint("[1, 2]"))
        self.assertIn(f": found the string 'hello', {expected}", self.complaint("hello"))

    def test_two_documents(self) -> None:
        """A second document in the file is refused, not ignored."""
        self.assertIn(
            "not valid YAML: line 3, column 1: but found another document",
            self.complaint(SMALLEST + "---\nversion: 0.1\n"),
        )

    def test_key_twice(self) -> None:
        """Of two equal keys neither wins."""
        text = "version: 0.1\nstorage: inmemory\nhttp:\n  addr: :5000\n  net: tcp\n  addr: :5001\n"
        self.assertEqual(self.complaint(text), "http.addr: the key is there twice, first on line 4 (line 6)")

    def test_key_twice_in_driver_options(self) -> None:
        """Equal keys are refused also where the schema is the driver's."""
        text = "version: 0.1\nstorage: {filesystem: {rootdirectory: /a, rootdirectory: /b}}\n"
        self.assertEqual(
            self.complaint(text),
            "storage.filesystem.rootdirectory: the key is there twice, first on line 2 (line 2)",
        )

    def test_key_not_text(self) -> None:
        """A key that is a list or a mapping is refused."""
        self.assertEqual(
            self.complaint("version: 0.1\nstorage: inmemory\nhttp: {? [a] : b}\n"),
            "http: a key must be plain text (line 3)",
        )

    def test_alias_within_itself(self) -> None:
        """An alias to what it stands in is refused."""
        self.assertEqual(
            self.complaint("version: 0.1\nstorage: {inmemory: &a {b: *a}}\n"),
            "storage.inmemory.b: an alias stands within what it names (line 2)",
        )

    def test_deep(self) -> None:
        """A document nested without end is refused."""
        self.assertIn("nested too deeply", self.complaint("[" * 100000))

    def test_alias_and_merge(self) -> None:
        """Aliases and merge keys mean what YAML says, and a key beside a merge overrides it."""
        text = (
            "version: 0.1\n"
            "storage: inmemory\n"
            "log: {fields: &f {a: one, b: two}}\n"
            "http: {headers: {<<: *f, b: three}}\n"
        )
        self.assertEqual(self.config(text).http.headers, {"a": ["one"], "b": ["three"]})

    def test_tag_of_python(self) -> None:
        """No object but YAML's own can be made."""
        self.assertEqual(
            self.complaint("version: 0.1\nstorage: !!python/object/apply:os.getcwd []\n"),
            "storage: the tag tag:yaml.org,2002:python/object/apply:os.getcwd is not supported (line 2)",
        )
        self.assertIn(
            "not valid YAML: line 2, column 10: could not determine a constructor",
            self.complaint("version: 0.1\nstorage: !!python/name:os.getcwd ''\n"),
        )

    def test_date_is_text(self) -> None:
        """What looks like a date is the text that was written."""
        text = "version: 0.1\nstorage: {inmemory: {since: 2026-01-02}}\n"
        self.assertEqual(self.config(text).storage.options, {"since": "2026-01-02"})

    def test_key_that_is_a_number(self) -> None:
        """A key that looks like a number is its text."""
        text = "version: 0.1\nstorage: inmemory\nlog: {fields: {007: bond, true: x}}\n"
        self.assertEqual(self.config(text).log.fields, {"007": "bond", "true": "x"})
