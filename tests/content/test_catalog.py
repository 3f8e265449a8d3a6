"""The catalog of repositories."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests.content.case import NAME, ContentCase
from txregistry.content import layout
from txregistry.reference import RepositoryName

#: Names of few letters, so that many are a part or a beginning of others.
repository_names = st.from_regex(
    r"[ab0]{1,2}([._-][ab]){0,1}(/[ab0]{1,2}([._-][ab]){0,1}){0,2}", fullmatch=True
)


class TestCatalog(ContentCase):
    """Which repositories there are."""

    def fill(self, repositories: list[str], others: list[str]) -> None:
        """Make repositories, and folders that hold blobs and uploads but no manifest."""
        for name in repositories:
            self.store(f"{layout.manifests(RepositoryName.parse(name))}/revisions/x", b"")
        for name in others:
            self.store(f"{layout.REPOSITORIES}/{name}/_layers/x", b"")

    def names(self, limit: int, last: str = "") -> list[str]:
        """Return a page of the catalog."""
        return self.run_now(self.registry.catalog.names(limit, last))

    def test_empty(self) -> None:
        """A registry that holds nothing has an empty catalog."""
        self.assertEqual(self.names(10), [])

    def test_order(self) -> None:
        """Names are in byte order, in which a slash comes between a dot and the digits."""
        repositories = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "aa", "b/c"]
        self.fill(repositories[::-1], [])
        self.assertEqual(repositories, sorted(repositories))
        self.assertEqual(self.names(100), repositories)

    def test_only_repositories(self) -> None:
        """What holds no manifests is no repository, but those below it are."""
        self.push(b"blob", NAME)
        self.fill(["b/c/d"], ["b", "b/c", "e"])
        self.assertEqual(self.names(10), ["b/c/d"])

    def test_limit(self) -> None:
        """A page holds no more than was asked for."""
        self.fill(["a", "a/b", "c"], [])
        self.assertEqual(
            [self.names(n) for n in range(5)], [[], ["a"], ["a", "a/b"], *[["a", "a/b", "c"]] * 2]
        )

    def test_last_need_not_exist(self) -> None:
        """A page begins after any text whatever."""
        self.fill(["a", "a/b", "a/c", "b"], [])
        for last, after in (
            ("a/", ["a/b", "a/c", "b"]),
            ("a/bb", ["a/c", "b"]),
            ("a/b/x/y", ["a/c", "b"]),
            ("a0", ["b"]),
            ("a/b/", ["a/c", "b"]),
            ("../x", ["a", "a/b", "a/c", "b"]),
            ("b\xff", []),
            ("\x00", ["a", "a/b", "a/c", "b"]),
        ):
            self.assertEqual(self.names(10, last), after, last)

    def test_page_does_not_walk_all(self) -> None:
        """A page looks no further than it reaches: what is before and after it is passed over."""
        self.fill([f"{letter}/{number}" for letter in "abc" for number in range(3)], [])
        self.driver.listed.clear()
        self.assertEqual(self.names(2, "b/0"), ["b/1", "b/2"])
        looked = [path.removeprefix(layout.REPOSITORIES) for path in self.driver.listed]
        self.assertEqual({path.split("/")[1] for path in looked if path}, {"b"})

    @given(
        st.lists(repository_names, max_size=10),
        st.lists(repository_names, max_size=4),
        repository_names | st.text(alphabet="ab0/.-_", max_size=6),
        st.integers(1, 4),
    )
    @example(["a", "a/b", "a-b", "a-b/a", "a0"], [], "a/", 1)
    def test_listed(self, repositories: list[str], others: list[str], last: str, n: int) -> None:
        """The catalog is the sorted names; pages by ``last`` neither lose nor repeat one."""
        self.setUp()
        self.fill(repositories, others)
        everything = sorted(set(repositories))
        self.assertEqual(self.names(100), everything)
        self.assertEqual(self.names(n, last), [name for name in everything if name > last][:n])
        paged: list[str] = []
        while page := self.names(n, paged[-1] if paged else ""):
            self.assertLessEqual(len(page), n)
            paged += page
        self.assertEqual(paged, everything)
