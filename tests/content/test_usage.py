"""How many bytes repositories take."""

from __future__ import annotations

from twisted.internet.defer import succeed

from tests.content.case import NAME, OTHER, ContentCase, image
from txregistry import media
from txregistry.content.links import Links
from txregistry.content.tree import Tree
from txregistry.content.usage import RepositoryUsage, Usage, measure
from txregistry.reference import Tag


class UsageTests(ContentCase):
    def measure(self) -> Usage:
        """Measure what is stored."""
        return self.run_now(measure(Tree(self.driver, lambda: succeed(None)), Links(self.driver)))

    def test_shared(self) -> None:
        """What two repositories have counts for both, once in the total, and is neither's own."""
        shared, single = self.push(b"x" * 1000), self.push(b"y" * 30)
        self.push(b"x" * 1000, OTHER)
        content = image(shared, single)
        self.run_now(self.registry.manifests.put(NAME, Tag("1"), content, media.OCI_MANIFEST))
        own = 30 + len(content)
        self.assertEqual(
            self.measure(),
            Usage(
                [
                    RepositoryUsage(NAME, 1, 2, 1000 + own, own),
                    RepositoryUsage(OTHER, 0, 1, 1000, 0),
                ],
                1000 + own,
            ),
        )

    def test_nothing(self) -> None:
        """What holds nothing but an upload takes nothing."""
        self.upload(b"upload")
        self.assertEqual(self.measure(), Usage([], 0))
