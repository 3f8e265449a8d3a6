"""Manifests that clients push."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors, media
from txregistry.digest import Digest
from txregistry.manifest import (
    SIZE_LIMIT,
    Manifest,
    Platform,
    Referrer,
    children_of,
    media_type_of,
    parse,
    referrer_of,
)

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
ARTIFACT = "application/vnd.example.thing.v1+json"
TYPES = (media.OCI_MANIFEST, media.OCI_INDEX, media.DOCKER_MANIFEST, media.DOCKER_LIST)


def digest_of(number: int) -> str:
    """Return a digest like no other number's."""
    return str(Digest.of(b"%d" % number))


def descriptor(number: int, media_type: str = LAYER_TYPE, **more: Any) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": digest_of(number), "size": number, **more}


def image(**changes: Any) -> dict[str, Any]:
    """Return an image manifest of two layers."""
    return {
        "schemaVersion": 2,
        "config": descriptor(0, CONFIG_TYPE),
        "layers": [descriptor(1), descriptor(2)],
        **changes,
    }


def index(**changes: Any) -> dict[str, Any]:
    """Return an index of two images."""
    children = [descriptor(3, media.OCI_MANIFEST), descriptor(4, media.OCI_MANIFEST)]
    return {"schemaVersion": 2, "manifests": children, **changes}


def encoded(document: object) -> bytes:
    """Return *document* as JSON."""
    return json.dumps(document).encode()


def image_with(raw: str) -> bytes:
    """Return an image manifest with *raw* JSON as the value of a field that means nothing."""
    return encoded(image())[:-1] + b', "extra": ' + raw.encode() + b"}"


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return *document* less one field."""
    return {name: value for name, value in document.items() if name != key}


def blobs_of(parsed: Manifest) -> list[str]:
    """Return the digests of a manifest's config and layers, in order."""
    config = [] if parsed.config is None else [parsed.config]
    return [found.digest for found in (*config, *parsed.layers)]


def children_in(parsed: Manifest) -> list[str]:
    """Return the digests of a manifest's manifests, in order."""
    return [child.digest for child in parsed.children]


class ManifestCase(SynchronousTestCase):
    """What the tests of manifests are written with."""

    def refused(self, document: object, content_type: str = media.OCI_MANIFEST) -> errors.ManifestInvalid:
        """Fail unless *document*, JSON or what becomes it, is refused; return the refusal."""
        content = document if isinstance(document, bytes) else encoded(document)
        return self.assertRaises(errors.ManifestInvalid, parse, content, content_type)

    def accepted(self, document: object, content_type: str = media.OCI_MANIFEST) -> Manifest:
        """Return *document*, checked; it is served as the type that it was pushed as."""
        content = document if isinstance(document, bytes) else encoded(document)
        parsed = parse(content, content_type)
        self.assertEqual(parsed.content, content)
        self.assertEqual(parsed.media_type, media.essence(content_type))
        self.assertEqual(media_type_of(content), parsed.media_type)
        return parsed


class TestKinds(ManifestCase):
    """The manifests that there are."""

    def test_image(self) -> None:
        """An image refers to its config and layers, in order, as blobs."""
        for media_type in (media.OCI_MANIFEST, media.DOCKER_MANIFEST):
            parsed = self.accepted(image(mediaType=media_type), media_type)
            self.assertEqual(blobs_of(parsed), [digest_of(n) for n in range(3)])
            self.assertEqual(parsed.children, ())
            self.assertIsNone(parsed.subject)

    def test_index(self) -> None:
        """An index refers to its manifests, in order, as manifests."""
        for media_type in (media.OCI_INDEX, media.DOCKER_LIST):
            parsed = self.accepted(index(mediaType=media_type), media_type)
            self.assertEqual(children_in(parsed), [digest_of(3), digest_of(4)])
            self.assertEqual(blobs_of(parsed), [])
            self.assertIsNone(parsed.subject)

    def test_media_type_may_be_missing_from_oci(self) -> None:
        """An OCI document need not say its type; it is told by its shape when it is served."""
        self.accepted(image(), media.OCI_MANIFEST)
        self.accepted(index(), media.OCI_INDEX)
        self.accepted(index(manifests=[]), media.OCI_INDEX)

    def test_null_is_missing(self) -> None:
        """A field that is null counts as missing, when a document is pushed and when it is served."""
        self.accepted(image(manifests=None, mediaType=None), media.OCI_MANIFEST)
        self.accepted(index(config=None, layers=None, mediaType=None), media.OCI_INDEX)
        self.refused(image(config=None))
        self.assertEqual(len(blobs_of(self.accepted(image(layers=None)))), 1)
        self.assertIsNone(self.accepted(image(subject=None)).subject)
        self.refused(index(manifests=None), media.OCI_INDEX)

    def test_media_type_must_be_there_elsewhere(self) -> None:
        """A document that could not be served as the type it was pushed as is refused."""
        self.refused(image(), media.DOCKER_MANIFEST)
        self.refused(index(), media.DOCKER_LIST)
        self.refused({"config": descriptor(0)}, ARTIFACT)

    def test_artifact(self) -> None:
        """Any other JSON type is taken if the document says it; its blobs and manifests are known."""
        parsed = self.accepted({"mediaType": ARTIFACT, "layers": [descriptor(1)]}, ARTIFACT)
        self.assertEqual(blobs_of(parsed), [digest_of(1)])
        parsed = self.accepted({"mediaType": ARTIFACT, "manifests": [descriptor(3)]}, ARTIFACT)
        self.assertEqual(children_in(parsed), [digest_of(3)])

    def test_subject_need_not_be_there(self) -> None:
        """What an artifact is about is its subject, not a reference that must be there first."""
        parsed = self.accepted(image(subject=descriptor(9, media.OCI_MANIFEST), artifactType="a/b"))
        self.assertNotIn(digest_of(9), [*blobs_of(parsed), *children_in(parsed)])
        self.assertEqual(str(parsed.subject), digest_of(9))
        parsed = self.accepted(index(subject=descriptor(9, media.OCI_MANIFEST)), media.OCI_INDEX)
        self.assertEqual(children_in(parsed), [digest_of(3), digest_of(4)])
        self.assertEqual(str(parsed.subject), digest_of(9))

    def test_sha512_subject(self) -> None:
        """A subject may be named by its sha512."""
        digest = Digest.of(b"", "sha512")
        parsed = self.accepted(image(subject=descriptor(9, digest=str(digest))))
        self.assertEqual(parsed.subject, digest)

    def test_sha512(self) -> None:
        """A reference may be a sha512 digest."""
        digest = Digest.of(b"", "sha512")
        parsed = self.accepted(image(layers=[descriptor(1, digest=str(digest))]))
        self.assertEqual(blobs_of(parsed)[1], str(digest))

    def test_repeated_reference(self) -> None:
        """The same layer may be named more than once, as images do."""
        self.assertEqual(len(blobs_of(self.accepted(image(layers=[descriptor(1)] * 3)))), 4)

    def test_no_layers(self) -> None:
        """An image may have no layers at all."""
        self.assertEqual(len(blobs_of(self.accepted(image(layers=[])))), 1)
        self.assertEqual(len(blobs_of(self.accepted(without(image(), "layers")))), 1)

    def test_no_manifests(self) -> None:
        """An index may list nothing; it need not even have the list if it says what it is."""
        self.assertEqual(children_in(self.accepted(index(manifests=[]), media.OCI_INDEX)), [])
        named = without(index(mediaType=media.OCI_INDEX), "manifests")
        self.assertEqual(children_in(self.accepted(named, media.OCI_INDEX)), [])

    def test_details(self) -> None:
        """What the rules look at is kept: a layer's type and URLs, and a manifest's platform."""
        url = "https://example.com/x"
        parsed = self.accepted(image(layers=[descriptor(1, urls=[url]), descriptor(2, urls=[])]))
        self.assertEqual([layer.urls for layer in parsed.layers], [[url], []])
        self.assertEqual([layer.media_type for layer in parsed.layers], [LAYER_TYPE] * 2)
        platform = {"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1"}
        children = [descriptor(3, platform=platform), descriptor(4)]
        parsed = self.accepted(index(manifests=children), media.OCI_INDEX)
        self.assertEqual([child.platform for child in parsed.children], [Platform("arm64", "linux"), None])


class TestContentType(ManifestCase):
    """The type that the client's request names."""

    def test_differs(self) -> None:
        """A document of one type pushed as another is refused."""
        for inside in TYPES:
            for outside in TYPES:
                make = index if inside in media.INDEXES else image
                if inside == outside:
                    self.accepted(make(mediaType=inside), outside)
                else:
                    self.refused(make(mediaType=inside), outside)

    def test_no_manifest(self) -> None:
        """What is not a manifest's type is refused."""
        for content_type in (
            "",
            ";",
            "application/json",
            "text/plain",
            "application/octet-stream",
            "application/+json",
            "application/x+json\n",
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "text/x+json",
            "application/" + "x" * 200 + "+json",
            "application/vnd.\u212aelvin+json\x00",
        ):
            essence = media.essence(content_type)
            self.refused(image(mediaType=essence), content_type)

    def test_parameters(self) -> None:
        """Parameters, blanks and capitals of a Content-Type change nothing."""
        self.accepted(image(), "Application/VND.oci.image.manifest.v1+JSON ; charset=utf-8")

    def test_media_type_is_exact(self) -> None:
        """The type inside a document is compared letter by letter: other clients read it so."""
        self.refused(image(mediaType=media.OCI_MANIFEST.upper()))
        self.refused(image(mediaType=media.OCI_MANIFEST + "; charset=utf-8"))
        self.refused(image(mediaType=""))


class TestTwoReadings(ManifestCase):
    """A document must not mean one thing here and another to a client (CVE-2021-41190)."""

    def test_image_and_index(self) -> None:
        """What is both an image and an index is refused, even if one half is empty."""
        for more in ({"manifests": []}, {"manifests": [descriptor(3)]}):
            self.refused(image(**more))
            self.refused(image(mediaType=media.DOCKER_MANIFEST, **more), media.DOCKER_MANIFEST)
        for more in ({"layers": []}, {"layers": [descriptor(1)]}, {"config": descriptor(0)}):
            self.refused(index(**more), media.OCI_INDEX)
            self.refused(index(mediaType=media.DOCKER_LIST, **more), media.DOCKER_LIST)

    def test_duplicate_keys(self) -> None:
        """A key that appears twice in any object is refused, equal values or not."""
        whole = encoded(image(mediaType=media.OCI_MANIFEST))
        self.refused(whole[:-1] + b', "schemaVersion": 2}')
        self.refused(whole[:-1] + b', "layers": []}')
        self.refused(whole[:-1] + b', "l\\u0061yers": []}')
        self.refused(whole.replace(b'"size": 1', b'"size": 1, "size": 9'))
        self.refused(image_with('{"deep": [{"a": 1, "a": 1}]}'))

    def test_case(self) -> None:
        """A key that Go's decoder would take for a known one is refused, at the top and in descriptors."""
        for key in ("Layers", "LAYERS", "layer\u017f", "mediatype", "Config", "manife\u017fts", "SUBJECT"):
            self.refused(image(**{key: []}))
        for key in ("Digest", "DIGEST", "Size", "\u017fize", "MediaType", "Urls"):
            twisted = descriptor(1, **{key: digest_of(7)})
            self.refused(image(layers=[descriptor(0), twisted]))
            self.refused(image(config=twisted))
            self.refused(image(subject=twisted))
            self.refused(index(manifests=[twisted]), media.OCI_INDEX)

    def test_annotations_are_free(self) -> None:
        """Annotations may have any keys, those that differ in case only as well."""
        self.accepted(image(annotations={"Digest": "1", "digest": "2", "": "", "\u017f": "3"}))
        self.accepted(image(layers=[descriptor(1, annotations={"Size": "1"})]))

    def test_unknown_fields(self) -> None:
        """Fields that no one has thought of yet are kept."""
        self.accepted(image(future={"layers": [1, 2.5, None, True]}, _x=[]))


class TestJson(ManifestCase):
    """JSON is read more strictly than Python reads it."""

    def test_encodings(self) -> None:
        """JSON is UTF-8 without a byte order mark."""
        text = json.dumps(image(annotations={"name": "caf\xe9"}), ensure_ascii=False)
        self.accepted(text.encode())
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "latin-1"):
            self.refused(text.encode(encoding))
        self.refused(encoded(image()) + b"\xff")
        self.refused(image_with('"') + b'\xed\xa0\x80"}')

    def test_no_numbers(self) -> None:
        """NaN, infinities and numbers that are too large to be one are refused wherever they are."""
        for raw in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "[{}, [1E+999]]", "9" * 5000):
            self.refused(image_with(raw))
        self.accepted(image_with("-1.5e-7"))

    def test_surrogates(self) -> None:
        """An escape that is half a character is refused in values and in keys; a whole pair is not."""
        for raw in (r'"\ud800"', r'"\udfff"', r'"\uDC00\uD800"', r'{"\ud800": 1}', r'["x\uD83Dx"]'):
            self.refused(image_with(raw))
        self.accepted(image_with(r'"\ud83d\ude00"'))
        self.accepted(image_with(r'"\\ud800"'))

    def test_depth(self) -> None:
        """A document that nests too deeply is refused, whatever its strings hold."""
        for depth in (300, 1000, 20_000, 100_000):
            self.refused(b"[" * depth + b"]" * depth)
            self.refused(b"[" * depth)
            self.refused(image_with('{"a":' * depth + "1" + "}" * depth))
            closers = json.dumps("]" * depth)
            self.refused(image_with("[" + closers + "," + "[" * depth + "]" * depth + "]"))
        self.accepted(image_with("[" * 150 + "]" * 150))

    def test_brackets_in_strings(self) -> None:
        """Brackets in strings are no depth."""
        for text in ("[" * 5000, '"' + "{" * 5000, "\\" + "[" * 5000, '\\"' + "{" * 5000):
            self.accepted(image(annotations={"text": text}))

    def test_many_objects(self) -> None:
        """A document of more than a million tiny objects is refused before it is read."""
        many = (SIZE_LIMIT - 1000) // 3
        self.refused(image_with("[" + "{}," * many + "{}]"))
        self.refused(image_with("[" + "[]," * many + "[]]"))

    def test_as_many_as_fit(self) -> None:
        """An index of as many descriptors as the size limit lets through is accepted."""
        small = {"mediaType": "a/b", "digest": digest_of(3), "size": 1, "platform": {}}
        count = (SIZE_LIMIT - 200) // (len(encoded(small)) + 2)
        content = encoded(index(manifests=[small] * count))
        self.assertLessEqual(len(content), SIZE_LIMIT)
        self.assertEqual(len(self.accepted(content, media.OCI_INDEX).children), count)

    def test_unterminated(self) -> None:
        """A string that never ends is refused without delay, however many quotes it escapes."""
        self.refused(b"[" * 250 + b'"' + b'\\"' * 1_000_000)
        self.refused(b"[" * 150 + b"[" * 100 + b'"\\')

    def test_not_json(self) -> None:
        """What is not JSON, or more than JSON, is refused."""
        whole = encoded(image())
        for content in (
            b"",
            b" ",
            b"\0",
            whole[:-1],
            whole + b"x",
            whole + b"\0",
            whole + whole,
            b"\x0b" + whole,
            whole[:-1] + b",}",
            whole.replace(b'"', b"'"),
            b"// comment\n" + whole,
            image_with('"a\tb"'),
            image_with("01"),
            image_with("+1"),
            image_with(".5"),
            image_with(r'"\x41"'),
        ):
            self.refused(content)

    def test_no_object(self) -> None:
        """JSON that is not an object is refused."""
        for document in (None, True, 1, 1.5, "", "text", [], [image()]):
            self.refused(document)

    def test_bytes_are_kept(self) -> None:
        """Odd spacing, the order of keys and a newline at the end are part of the content."""
        text = "\n\t " + json.dumps(dict(reversed(image().items())), indent=5) + " \r\n"
        self.accepted(text.encode())


class TestFields(ManifestCase):
    """Each field is what the spec says it is, of its type exactly."""

    def test_sizes(self) -> None:
        """A size is a whole number from 0 to 2**63 - 1, and is spelt as one."""
        whole = json.dumps(image())
        for raw in (
            "true",
            "false",
            "null",
            "-1",
            "1.0",
            "1e2",
            str(2**63),
            str(2**64 + 1),
            "9" * 4000,
            "9" * 5000,
            '"1"',
            "[]",
            "{}",
        ):
            self.refused(whole.replace('"size": 2', f'"size": {raw}').encode())
        self.accepted(whole.replace('"size": 2', f'"size": {2**63 - 1}').encode())
        self.refused(whole.replace(', "size": 2', "").encode())

    def test_schema_version(self) -> None:
        """The schema version is the number 2."""
        for version in (1, 3, 0, -2, 2**70, 2.0, "2", True, None, [2]):
            self.refused(image(schemaVersion=version))
            self.refused(index(schemaVersion=version), media.OCI_INDEX)
        self.refused(without(image(), "schemaVersion"))

    def test_shapes(self) -> None:
        """A field of another shape is refused: a config that is a list, layers that are an object."""
        for changes in (
            {"config": []},
            {"config": [descriptor(0)]},
            {"config": digest_of(0)},
            {"config": {}},
            {"config": 1},
            {"layers": {}},
            {"layers": descriptor(1)},
            {"layers": "x"},
            {"layers": [None]},
            {"layers": [[descriptor(1)]]},
            {"layers": [digest_of(1)]},
            {"layers": [{}]},
            {"subject": []},
            {"subject": "x"},
            {"subject": {}},
            {"subject": without(descriptor(9), "digest")},
            {"artifactType": 1},
            {"annotations": []},
            {"annotations": {"a": 1}},
            {"layers": [descriptor(1, urls="https://example.com/x")]},
            {"layers": [descriptor(1, urls=[1])]},
            {"mediaType": 1},
            {"mediaType": [media.OCI_MANIFEST]},
        ):
            self.refused(image(**changes))
        for manifests in ({}, "x", [1], [None], descriptor(3), True, [descriptor(3, platform="linux")]):
            self.refused(index(manifests=manifests), media.OCI_INDEX)

    def test_missing(self) -> None:
        """An image without config is refused, and an index with neither manifests nor its type."""
        self.refused(without(image(), "config"))
        self.refused(without(image(mediaType=media.OCI_MANIFEST), "config"))
        self.refused(without(index(), "manifests"), media.OCI_INDEX)
        self.refused(index())
        self.refused(image(), media.OCI_INDEX)
        for key in ("mediaType", "digest", "size"):
            self.refused(image(config=without(descriptor(0), key)))

    def test_digests(self) -> None:
        """A reference that is no digest is refused as such."""
        for text in ("", "sha256:", digest_of(1).upper(), digest_of(1) + "\n", "md5:" + "0" * 32, "../x"):
            for document, content_type in (
                (image(config=descriptor(0, digest=text)), media.OCI_MANIFEST),
                (image(layers=[descriptor(1), descriptor(1, digest=text)]), media.OCI_MANIFEST),
                (index(manifests=[descriptor(3, digest=text)]), media.OCI_INDEX),
                (image(subject=descriptor(9, digest=text)), media.OCI_MANIFEST),
                (index(subject=descriptor(9, digest=text)), media.OCI_INDEX),
            ):
                self.assertRaises(errors.DigestInvalid, parse, encoded(document), content_type)

    def test_detail_is_short(self) -> None:
        """A refusal does not echo a document of any length back."""
        for document in (image(schemaVersion="x" * 100_000), image(**{"L" * 100_000: 1, "LAYERS": 1})):
            self.assertLess(len(str(self.refused(document).detail)), 500)
        self.assertLess(len(str(self.refused(image(), "x" * 100_000).detail)), 500)


class TestStored(ManifestCase):
    """The type of what is stored, perhaps by another registry."""

    def test_unreadable(self) -> None:
        """What is not a manifest's JSON is an error of our own."""
        for content in (b"", b"\xff", b"{", b"[]", b"1", b'{"mediaType": 1}', b"[" * 100_000):
            self.assertRaises(errors.ManifestInvalid, media_type_of, content)

    @given(st.binary(max_size=60) | st.text(alphabet='{}[]":,mediaType1n\\', max_size=60).map(str.encode))
    def test_any_bytes(self, content: bytes) -> None:
        """Any bytes have a type or are an error of our own; they list nothing and refer to nothing."""
        self.assertEqual(children_of(content), [])
        self.assertIsNone(referrer_of(content, Digest.of(content)))
        try:
            self.assertIsInstance(media_type_of(content), str)
        except errors.ManifestInvalid:
            self.assertNotEqual(content, b"{}")


class TestReferrer(ManifestCase):
    """What a list of referrers says of a manifest."""

    def referrer(self, document: dict[str, Any], algorithm: str = "sha256") -> Referrer:
        """Return what is said of a manifest whose subject is :func:`digest_of` 9."""
        content = encoded(document)
        found = referrer_of(content, Digest.of(content, algorithm))
        assert found is not None
        self.assertEqual(str(found[0]), digest_of(9))
        self.assertEqual(found[1].digest, str(Digest.of(content, algorithm)))
        self.assertEqual(found[1].size, len(content))
        return found[1]

    def test_no_subject(self) -> None:
        """A manifest without a subject, or with none that can be read, refers to nothing."""
        for changes in ({}, {"subject": None}, {"subject": descriptor(9, digest="sha256:x")}, {"subject": 1}):
            content = encoded(image(**changes))
            self.assertIsNone(referrer_of(content, Digest.of(content)))

    def test_image(self) -> None:
        """An image's artifact type is what it says, else the type of its config."""
        subject = descriptor(9, media.OCI_MANIFEST)
        found = self.referrer(image(subject=subject, artifactType="a/b", mediaType=media.OCI_MANIFEST))
        self.assertEqual((found.media_type, found.artifact_type), (media.OCI_MANIFEST, "a/b"))
        for more in ({}, {"artifactType": ""}, {"artifactType": None}):
            found = self.referrer(image(subject=subject, **more))
            self.assertEqual((found.media_type, found.artifact_type), (media.OCI_MANIFEST, CONFIG_TYPE))

    def test_index(self) -> None:
        """An index's artifact type is what it says, else it has none."""
        subject = descriptor(9, media.OCI_MANIFEST)
        found = self.referrer(index(subject=subject, artifactType="a/b"))
        self.assertEqual((found.media_type, found.artifact_type), (media.OCI_INDEX, "a/b"))
        for more in ({}, {"artifactType": ""}, {"artifactType": None}):
            self.assertIsNone(self.referrer(index(subject=subject, **more)).artifact_type)

    def test_annotations(self) -> None:
        """Annotations are the manifest's own, all of them, and not those of what it holds."""
        notes = {"a": "1", "": "", "caf\xe9": "\U0001f600\n"}
        subject = descriptor(9, media.OCI_MANIFEST, annotations={"subject": "s"})
        config = descriptor(0, CONFIG_TYPE, annotations={"config": "c"})
        found = self.referrer(image(subject=subject, config=config, annotations=notes), "sha512")
        self.assertEqual(found.annotations, notes)
        self.assertIsNone(self.referrer(image(subject=subject, config=config)).annotations)

    def test_children(self) -> None:
        """A stored index lists what can be read of it."""
        listed = [descriptor(3), descriptor(4, digest="sha256:x"), descriptor(5)]
        content = encoded(index(manifests=listed))
        self.assertEqual([str(child) for child in children_of(content)], [digest_of(3), digest_of(5)])
        for other in (encoded(image()), b"", b"{", b'{"manifests": 1}', encoded(index(manifests=None))):
            self.assertEqual(children_of(other), [])


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
digests = st.builds(digest_of, st.integers(0, 50)) | st.binary(max_size=2).map(
    lambda content: str(Digest.of(content, "sha512"))
)
descriptors = st.fixed_dictionaries(
    {"mediaType": st.sampled_from(TYPES) | st.text(max_size=10), "digest": digests},
    optional={"annotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)},
).flatmap(lambda found: st.integers(0, 2**63 - 1).map(lambda size: {**found, "size": size}))
lists = st.lists(descriptors, max_size=4)
images = st.fixed_dictionaries(
    {"schemaVersion": st.just(2), "config": descriptors, "layers": lists},
    optional={
        "subject": descriptors,
        "manifests": st.none(),
        "artifactType": st.text(max_size=5),
        "annotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    },
)
indexes = st.fixed_dictionaries(
    {"schemaVersion": st.just(2), "manifests": lists},
    optional={
        "subject": descriptors,
        "layers": st.none(),
        "config": st.none(),
        "artifactType": st.text(max_size=5),
    },
)
wild = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.just(2) | junk,
        "mediaType": st.sampled_from((*TYPES, ARTIFACT)) | junk,
        "config": descriptors | junk,
        "layers": lists | junk,
        "manifests": lists | junk,
        "subject": descriptors | junk,
        "artifactType": st.text(max_size=5) | junk,
        "annotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2) | junk,
        "extra": junk,
    },
)


class TestProperties(ManifestCase):
    """What holds of every document."""

    @given(images, st.sampled_from(sorted(media.IMAGE_MANIFESTS)), st.booleans())
    def test_images(self, document: dict[str, Any], media_type: str, named: bool) -> None:
        """Every well-formed image is accepted, and refers to what it names, in order."""
        if named or media_type == media.DOCKER_MANIFEST:
            document = {**document, "mediaType": media_type}
        parsed = self.accepted(document, media_type)
        named_blobs = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
        self.assertEqual(blobs_of(parsed), named_blobs)
        self.assertEqual(parsed.children, ())
        self._check_subject(parsed, document)

    @given(indexes, st.sampled_from(sorted(media.INDEXES)), st.booleans())
    def test_indexes(self, document: dict[str, Any], media_type: str, named: bool) -> None:
        """Every well-formed index is accepted, and refers to what it names, in order."""
        if named or media_type == media.DOCKER_LIST:
            document = {**document, "mediaType": media_type}
        parsed = self.accepted(document, media_type)
        self.assertEqual(children_in(parsed), [m["digest"] for m in document["manifests"]])
        self.assertEqual(blobs_of(parsed), [])
        self._check_subject(parsed, document)

    @given(wild, st.sampled_from((*TYPES, ARTIFACT)))
    def test_wild(self, document: dict[str, Any], media_type: str) -> None:
        """Every document is accepted, and served as it was pushed, or refused by an error of our own."""
        self._check(encoded(document), media_type)

    @given(images | indexes, st.data(), st.sampled_from(TYPES))
    def test_damaged(self, document: dict[str, Any], data: st.DataObject, media_type: str) -> None:
        """A document with some of its bytes replaced is accepted as what it now is, or refused."""
        content = encoded({**document, "mediaType": media_type})
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 20, len(content))))
        self._check(content[:start] + data.draw(st.binary(max_size=8)) + content[stop:], media_type)

    @given(st.binary(max_size=100), st.text(max_size=40) | st.sampled_from(TYPES))
    def test_noise(self, content: bytes, content_type: str) -> None:
        """Bytes of any kind under a type of any kind are refused by an error of our own."""
        assume(not content.strip().startswith(b"{"))
        self.refused(content, content_type)

    def _check(self, content: bytes, media_type: str) -> None:
        try:
            parsed = self.accepted(content, media_type)
        except (errors.ManifestInvalid, errors.DigestInvalid):
            return
        document = json.loads(content.decode("utf-8"))
        config = [document["config"]] if document.get("config") else []
        blobs = [found["digest"] for found in (*config, *(document.get("layers") or ()))]
        self.assertEqual(blobs_of(parsed), blobs)
        children = [found["digest"] for found in document.get("manifests") or ()]
        self.assertEqual(children_in(parsed), children)
        self._check_subject(parsed, document)
        if media_type in TYPES:
            self.assertEqual(document["schemaVersion"], 2)
            self.assertEqual(media_type in media.INDEXES, not blobs)
            if media_type in media.INDEXES:
                self.assertTrue(document.get("manifests") is not None or document["mediaType"] == media_type)

    def _check_subject(self, parsed: Manifest, document: dict[str, Any]) -> None:
        """Fail unless what a list of referrers will say of a manifest is what the manifest says of itself."""
        found = referrer_of(parsed.content, Digest.of(parsed.content))
        if not document.get("subject"):
            self.assertEqual((parsed.subject, found), (None, None))
            return
        assert found is not None
        self.assertEqual(str(parsed.subject), document["subject"]["digest"])
        self.assertEqual(found[0], parsed.subject)
        config = document.get("config") or {}
        expected = document.get("artifactType") or config.get("mediaType")
        self.assertEqual(found[1].artifact_type, expected)
        self.assertEqual(found[1].annotations, document.get("annotations") or None)
