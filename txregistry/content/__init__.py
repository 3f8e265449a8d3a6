"""The registry itself: blobs, uploads, manifests, tags and repositories on a storage driver."""
