"""An operator's rules for what manifests must have and may hold."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors, media
from txregistry.digest import Digest
from txregistry.manifest import Manifest, Platform, parse
from txregistry.validation import Rules

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
URL = "https://layers.example.com/x"
CONFIG, FIRST, SECOND = (Digest.of(b"%d" % number) for number in range(3))


def descriptor(digest: Digest, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": str(digest), "size": 1, **more}


def image(*layers: dict[str, Any], media_type: str = media.OCI_MANIFEST) -> Manifest:
    """Return an image of these layers."""
    config = descriptor(CONFIG, "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}
    return parse(json.dumps(document).encode(), media_type)


def index(*children: dict[str, Any]) -> Manifest:
    """Return an index of these manifests."""
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": children}
    return parse(json.dumps(document).encode(), media.OCI_INDEX)


def patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    """Return patterns as the configuration holds them."""
    return tuple(re.compile(text) for text in texts)


class TestUrls(SynchronousTestCase):
    """Layers that say where else they can be had."""

    def assert_allowed(self, rules: Rules, *urls: str, media_type: str = FOREIGN) -> None:
        """Fail unless an image may have a layer of any of these URLs."""
        for url in urls:
            list(rules.required_blobs(image(descriptor(FIRST, media_type, urls=[url]))))

    def assert_refused(self, rules: Rules, *urls: str, media_type: str = FOREIGN) -> None:
        """Fail unless an image with a layer of any of these URLs is refused."""
        for url in urls:
            manifest = image(descriptor(FIRST, media_type, urls=[url]))
            error = self.assertRaises(errors.ManifestInvalid, list, rules.required_blobs(manifest))
            self.assertEqual(error.detail, {"url": url[:200]})

    def test_none_by_default(self) -> None:
        """Unless the operator says otherwise no URL is allowed, for layers of any type."""
        for media_type in (LAYER, FOREIGN, NON_DISTRIBUTABLE, "a/b"):
            self.assert_refused(
                Rules(), URL, "http://127.0.0.1/", "file:///etc/passwd", "", media_type=media_type
            )

    def test_empty_list(self) -> None:
        """A layer with an empty list of URLs, or none, is an ordinary layer."""
        for more in ({"urls": []}, {"urls": None}, {}):
            found = list(Rules().required_blobs(image(descriptor(FIRST, FOREIGN, **more))))
            self.assertEqual(found, [CONFIG, FIRST])

    def test_allow(self) -> None:
        """A URL is allowed if any pattern matches anywhere in it, as in Distribution."""
        rules = Rules(allow=patterns(r"^https?://layers\.example\.com/", r"/public/"))
        self.assert_allowed(rules, URL, "http://layers.example.com/", "https://example.org/public/1")
        self.assert_refused(
            rules,
            "https://layers-example.com/",
            "https://example.org/?layers.example.com",
            "https://x@layers.example.com/",
        )

    def test_deny(self) -> None:
        """With patterns to deny alone, all else is allowed; what is both allowed and denied is refused."""
        rules = Rules(allow=None, deny=patterns(r"^https?://127\.", r"secret"))
        self.assert_allowed(rules, URL, "http://10.0.0.1/x")
        self.assert_refused(rules, "http://127.0.0.1/", "https://example.com/secret/1")
        rules = Rules(allow=patterns(r"example\.com"), deny=patterns(r"secret"))
        self.assert_allowed(rules, URL)
        self.assert_refused(rules, "https://example.com/secret/1", "https://example.org/")

    def test_web_addresses_only(self) -> None:
        """A URL is http or https, has a host and no fragment, whatever patterns say."""
        rules = Rules(allow=None)
        self.assert_allowed(rules, URL, "http://[::1]:80/x", "HTTPS://EXAMPLE.com/?a=b")
        self.assert_refused(
            rules,
            "",
            "x",
            "/x",
            "//example.com/x",
            "https:",
            "https:x",
            "https:///x",
            "ftp://example.com/x",
            "file:///etc/passwd",
            "gopher://example.com/",
            "javascript:alert(1)",
            "https://example.com/#x",
            "https://[::1/",
        )

    def test_no_way_around(self) -> None:
        """Blanks and control characters, which some programs drop, are no way around a pattern."""
        rules = Rules(allow=None, deny=patterns(r"^https?://127\."))
        self.assert_refused(
            rules,
            " http://127.0.0.1/",
            "\thttp://127.0.0.1/",
            "ht\ttp://127.0.0.1/",
            "\nhttp://127.0.0.1/",
            "http://127.0.0.1/\n",
            "http://\r127.0.0.1/",
            "\x00http://127.0.0.1/",
            "\x1fhttp://127.0.0.1/",
            "http://\x7f127.0.0.1/",
        )
        self.assert_refused(Rules(allow=patterns(r"^https://example\.com/x$")), "https://example.com/x\n")

    def test_every_url_counts(self) -> None:
        """One URL that is not allowed is enough, wherever it stands; a refusal does not echo all of it."""
        rules = Rules(allow=patterns(r"^https://"))
        bad = "http://" + "x" * 5000
        for layers in (
            [descriptor(FIRST, FOREIGN, urls=[URL, bad, URL])],
            [descriptor(FIRST), descriptor(SECOND, FOREIGN, urls=[bad])],
        ):
            error = self.assertRaises(
                errors.ManifestInvalid, list, rules.required_blobs(image(*layers, descriptor(FIRST)))
            )
            self.assertLess(len(str(error.detail)), 500)

    @given(st.text(max_size=30) | st.text(alphabet="htps:/.[]@#? \t1a", max_size=20).map("http://".__add__))
    def test_any_text(self, url: str) -> None:
        """Any text is allowed or refused, and what is allowed is a web address without blanks."""
        try:
            list(Rules(allow=None).required_blobs(image(descriptor(FIRST, FOREIGN, urls=[url]))))
        except errors.ManifestInvalid:
            return
        self.assertTrue(
            re.fullmatch(r"https?://[^\x00-\x20\x7f#/?][^\x00-\x20\x7f]*", url, re.IGNORECASE), url
        )


class TestBlobs(SynchronousTestCase):
    """The blobs that must be there."""

    def test_all(self) -> None:
        """An image's config and layers must be there, in order."""
        for media_type in (media.OCI_MANIFEST, media.DOCKER_MANIFEST):
            layers = [descriptor(FIRST), descriptor(SECOND, FOREIGN)]
            found = list(Rules().required_blobs(image(*layers, media_type=media_type)))
            self.assertEqual(found, [CONFIG, FIRST, SECOND])

    def test_foreign(self) -> None:
        """A layer that is not to be distributed need not be there if it can be had elsewhere."""
        rules = Rules(allow=None)
        for media_type in (FOREIGN, *sorted(media.FOREIGN_LAYERS)):
            layers = [descriptor(FIRST, media_type, urls=[URL]), descriptor(SECOND)]
            self.assertEqual(list(rules.required_blobs(image(*layers))), [CONFIG, SECOND])

    def test_ordinary_with_urls(self) -> None:
        """An ordinary layer must be there, whatever URLs it has."""
        for media_type in (LAYER, "a/b", media.BYTES):
            layers = [descriptor(FIRST, media_type, urls=[URL])]
            self.assertEqual(list(Rules(allow=None).required_blobs(image(*layers))), [CONFIG, FIRST])

    def test_listed_by_an_index(self) -> None:
        """What an index lists that is no manifest must be there as a blob, if it must be there at all."""
        cache = index(
            descriptor(FIRST),
            descriptor(SECOND, media.OCI_MANIFEST),
            descriptor(CONFIG, "application/vnd.buildkit.cacheconfig.v0"),
        )
        self.assertEqual(list(Rules().required_blobs(cache)), [FIRST, CONFIG])
        self.assertEqual(list(Rules().required_children(cache)), [SECOND])
        for rules in (Rules(children="none"), Rules(children="list")):
            self.assertEqual([*rules.required_blobs(cache), *rules.required_children(cache)], [])

    def test_index(self) -> None:
        """An index of manifests needs no blobs, and an image no manifests."""
        manifest = index(descriptor(FIRST, media.OCI_MANIFEST))
        self.assertEqual(list(Rules().required_blobs(manifest)), [])
        self.assertEqual(list(Rules().required_children(image(descriptor(FIRST)))), [])


class TestChildren(SynchronousTestCase):
    """The manifests of an index that must be there."""

    def setUp(self) -> None:
        """Make an index for many platforms."""
        platforms = (
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["x"]},
            {"architecture": "amd64", "os": "windows", "os.version": "10.0.17763.1"},
            {"architecture": "unknown", "os": "unknown"},
            {},
            None,
        )
        self.children = [Digest.of(b"child %d" % number) for number in range(len(platforms))]
        self.index = index(
            *(
                descriptor(child, media.OCI_MANIFEST, **({} if platform is None else {"platform": platform}))
                for child, platform in zip(self.children, platforms, strict=True)
            )
        )

    def required(self, rules: Rules) -> list[Digest]:
        """Return what must be there."""
        return list(rules.required_children(self.index))

    def test_all(self) -> None:
        """All must be there unless the operator says otherwise."""
        self.assertEqual(self.required(Rules()), self.children)
        listed = frozenset({Platform("amd64", "linux")})
        self.assertEqual(self.required(Rules(children="all", platforms=listed)), self.children)

    def test_none(self) -> None:
        """None need be there if the operator says so, whatever the list."""
        self.assertEqual(self.required(Rules(children="none")), [])
        listed = frozenset({Platform("amd64", "linux")})
        self.assertEqual(self.required(Rules(children="none", platforms=listed)), [])

    def test_list(self) -> None:
        """Those for a listed platform must be there: architecture and system count, and nothing else."""
        for platforms, expected in (
            ([], []),
            ([("amd64", "linux")], [0]),
            ([("arm64", "linux")], [1]),
            ([("amd64", "windows"), ("arm64", "linux")], [1, 2]),
            ([("amd64", "darwin"), ("AMD64", "linux"), ("linux", "amd64")], []),
        ):
            rules = Rules(children="list", platforms=frozenset(Platform(*each) for each in platforms))
            self.assertEqual(self.required(rules), [self.children[number] for number in expected])
