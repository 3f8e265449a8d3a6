"""The registry: one object that ties its parts to one storage."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from txregistry.content.blobs import Blobs
from txregistry.content.catalog import Catalog
from txregistry.content.links import InThread, Links
from txregistry.content.manifests import Manifests
from txregistry.content.tags import Tags
from txregistry.content.uploads import Uploads
from txregistry.interfaces import IStorageDriver


@frozen
class Registry:
    """All that is stored.

    :param driver: where it is stored.
    """

    driver: IStorageDriver
    blobs: Blobs
    uploads: Uploads
    manifests: Manifests
    tags: Tags
    catalog: Catalog

    @classmethod
    def on(cls, driver: IStorageDriver, in_thread: InThread) -> Self:
        """Return the registry that *driver* stores.

        :param in_thread: where work that would keep others waiting is done.
        """
        links = Links(driver)
        blobs = Blobs(driver, links)
        tags = Tags(links)
        return cls(
            driver=driver,
            blobs=blobs,
            uploads=Uploads(driver, links, in_thread),
            manifests=Manifests(links, blobs, tags, in_thread),
            tags=tags,
            catalog=Catalog(driver),
        )
