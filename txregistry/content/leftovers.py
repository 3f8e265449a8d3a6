"""Uploads that nobody goes on with: finding them, and purging them."""

from __future__ import annotations

import re
from contextlib import aclosing

from attrs import frozen
from twisted.logger import Logger

from txregistry import errors
from txregistry.content import layout
from txregistry.content.tree import Folder, Tree
from txregistry.digest import ALGORITHMS
from txregistry.interfaces import FileInfo, IStorageDriver
from txregistry.reference import RepositoryName

_log = Logger()

#: What uploads are called, here and in Distribution.  What is called otherwise is none, and is left alone.
_UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@frozen
class Leftover:
    """An upload that nothing was written to for a long time.

    :param repository: the repository it belongs to.
    :param id: its name.
    :param size: bytes that were stored.
    :param modified: when something was last written to it, in seconds since the epoch.
    """

    repository: RepositoryName
    id: str
    size: int
    modified: float


@frozen
class Leftovers:
    """Finds and purges uploads by when they were last written to, never by when they began.

    :param tree: where they are.
    """

    tree: Tree

    @property
    def _driver(self) -> IStorageDriver:
        return self.tree.driver

    async def of(self, folder: Folder, before: float) -> list[Leftover]:
        """Return the uploads of a repository that nothing was written to since *before*."""
        if layout.UPLOADS not in folder.own:
            return []
        found = []
        for upload_id in await self.tree.names(layout.uploads(folder.name)):
            if _UPLOAD.fullmatch(upload_id):
                leftover = await self._look(folder.name, upload_id)
                if leftover is not None and leftover.modified < before:
                    found.append(leftover)
        return found

    async def purge(self, before: float, dry_run: bool = False) -> list[Leftover]:
        """Remove all uploads that nothing was written to since *before*, and return them.

        :param dry_run: remove nothing.
        """
        purged = []
        async with aclosing(self.tree.folders()) as folders:
            async for folder in folders:
                for leftover in await self.of(folder, before):
                    if dry_run or await self.remove(leftover, before):
                        purged.append(leftover)
        return purged

    async def remove(self, leftover: Leftover, before: float) -> bool:
        """Remove an upload, unless someone holds it or has written to it since *before*.

        :returns: whether it is gone by this.
        """
        name, upload_id = leftover.repository, leftover.id
        data = layout.upload_data(name, upload_id)
        had_data = await self._stat(data) is not None
        try:
            writer = await self._driver.open_writer(data)
        except (errors.FileBusy, errors.PathUnknown):
            return False
        try:
            # Opening may have made the file: it says something of when it was written only if it was there.
            newest = await self._newest(name, upload_id, data=had_data or writer.offset > 0)
            if newest is not None and newest >= before:
                return False
            # As Uploads.drop does it: from here on there is no such upload, and then its bytes go.
            await self._delete(layout.upload_started(name, upload_id))
            await writer.close()
            await self._delete(layout.upload(name, upload_id))
        finally:
            await writer.close()
        return True

    async def _look(self, name: RepositoryName, upload_id: str) -> Leftover | None:
        """Return an upload with when it was last written to; None if it has gone, or is a file."""
        folder = await self._stat(layout.upload(name, upload_id))
        if folder is None or not folder.is_directory:
            return None
        data = await self._stat(layout.upload_data(name, upload_id))
        newest = await self._newest(name, upload_id)
        # Of an empty folder, as a crash may leave it, nothing else tells the time.
        modified = folder.modified if newest is None else newest
        return Leftover(name, upload_id, data.size if data else 0, modified)

    async def _newest(self, name: RepositoryName, upload_id: str, data: bool = True) -> float | None:
        """Return when a file of an upload was last written; None if it has none."""
        paths = [layout.upload_started(name, upload_id)]
        if data:
            paths.append(layout.upload_data(name, upload_id))
        for algorithm in ALGORITHMS:
            states = layout.upload_hash_states(name, upload_id, algorithm)
            paths += [f"{states}/{offset}" for offset in await self.tree.names(states)]
        found = [await self._stat(path) for path in paths]
        return max((info.modified for info in found if info is not None), default=None)

    async def _stat(self, path: str) -> FileInfo | None:
        try:
            return await self._driver.stat(path)
        except (errors.PathUnknown, errors.PathInvalid):
            return None

    async def _delete(self, path: str) -> None:
        try:
            await self._driver.delete(path, durable=False)
        except errors.PathUnknown:
            return
