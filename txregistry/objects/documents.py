"""What stores say in XML."""

from __future__ import annotations

from xml.etree import ElementTree

from txregistry import errors


def document(path: str, content: bytes) -> ElementTree.Element:
    """Return an XML document, the names of its elements without namespaces.

    :raises txregistry.errors.StorageUnavailable: it is none, or one that defines entities.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise errors.StorageUnavailable(path, "the answer makes no sense")
    try:
        root = ElementTree.fromstring(content)  # nosec B314 # noqa: S314 (no entities, bounded in length)
    except ElementTree.ParseError as error:
        raise errors.StorageUnavailable(path, "the answer makes no sense") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
