"""The registry: one object that ties its parts to one storage."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from txregistry.content.blobs import Blobs
from txregistry.content.catalog import Catalog
from txregistry.content.facts import Facts
from txregistry.content.links import Links
from txregistry.content.locks import Locks
from txregistry.content.manifests import Manifests
from txregistry.content.referrers import Referrers
from txregistry.content.tags import Tags
from txregistry.content.uploads import Uploads
from txregistry.interfaces import IRedirects, IStorageDriver
from txregistry.protection import TagProtection
from txregistry.validation import Rules
from txregistry.waiting import InThread


@frozen
class Registry:
    """All that is stored.

    :param driver: where it is stored.
    :param redirects: what tells where clients can have blobs from instead of here; None for nowhere.
    """

    driver: IStorageDriver
    blobs: Blobs
    uploads: Uploads
    manifests: Manifests
    referrers: Referrers
    tags: Tags
    catalog: Catalog
    redirects: IRedirects | None = None

    @classmethod
    def on(
        cls,
        driver: IStorageDriver,
        in_thread: InThread,
        rules: Rules | None = None,
        protection: TagProtection | None = None,
        facts: Facts | None = None,
        locks: Locks | None = None,
    ) -> Self:
        """Return the registry that *driver* stores.

        :param in_thread: where work that would keep others waiting is done.
        :param rules: what manifests must have; Distribution's defaults if not given.
        :param protection: which tags must stay as they are; none if not given.
        :param facts: what is remembered; nothing if not given.
        :param locks: who may change a repository; one of this process at a time if not given.
        """
        facts = facts or Facts()
        links = Links(driver)
        blobs = Blobs(links, facts)
        tags = Tags(links)
        referrers = Referrers(links, tags)
        return cls(
            driver=driver,
            blobs=blobs,
            uploads=Uploads(driver, links, in_thread),
            manifests=Manifests(
                links,
                blobs,
                tags,
                referrers,
                rules or Rules(),
                protection or TagProtection(),
                in_thread,
                facts,
                locks or Locks(),
            ),
            referrers=referrers,
            tags=tags,
            catalog=Catalog(driver),
        )
