"""What storage drivers over object stores have in common.

A driver of one kind of store implements :class:`~txregistry.objects.store.IObjectStore`, a dozen operations on
single objects, and hands it to :class:`~txregistry.objects.driver.ObjectDriver`, which makes a storage driver of
it: files that are appended to, upload sessions that instances share, touching and discarding that are whole
against each other, pages of listings.  :class:`~txregistry.objects.transport.Transport` is the HTTP beneath.
"""
