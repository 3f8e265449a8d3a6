"""Where everything is stored: CNCF Distribution's layout, and nothing else knows it.

::

    blobs/<algorithm>/<hex[:2]>/<hex>/data                            the bytes of layers, configs, manifests
    repositories/<name>/_layers/<algorithm>/<hex>/link                this repository has this blob
    repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link   this repository has this manifest
    repositories/<name>/_manifests/tags/<tag>/current/link            what the tag points to
    repositories/<name>/_manifests/tags/<tag>/index/<algorithm>/<hex>/link   what it has ever pointed to
    repositories/<name>/_uploads/<id>/{startedat,data,hashstates/<algorithm>/<offset>}

and, which Distribution passes over because of the underscore::

    repositories/<name>/_referrers/<algorithm>/<hex>/<algorithm>-<hex>   a descriptor: the second has the first
                                                                         as its subject

A link is a file that holds a digest and nothing more, not even a newline.

Beside all that, where Distribution never looks::

    /_txregistry/collecting                     held by whoever collects garbage
    /_txregistry/quarantine/<run>/<path>        what ``txregistry fsck --repair`` took from <path>
    /_txregistry/quarantine/<run>/<path>.why    and why
"""

from __future__ import annotations

from txregistry.digest import Digest

_ROOT = "/docker/registry/v2"
REPOSITORIES = f"{_ROOT}/repositories"
BLOBS = f"{_ROOT}/blobs"
#: What a repository's own directories begin with; the others in its directory are those of other repositories.
OWN = "_"
#: The names of those that tell what a repository has.
LAYERS, MANIFESTS, REFERRERS, UPLOADS = "_layers", "_manifests", "_referrers", "_uploads"


def repository(name: str) -> str:
    """Return a repository's directory, in which there may be other repositories too."""
    return f"{REPOSITORIES}/{name}"


def blob_data(digest: Digest) -> str:
    """Return where the bytes of a blob or manifest are."""
    return f"{_ROOT}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def layer_link(name: str, digest: Digest) -> str:
    """Return what says that a repository has a blob."""
    return f"{REPOSITORIES}/{name}/_layers/{digest.algorithm}/{digest.hex}/link"


def layers(name: str, algorithm: str) -> str:
    """Return the directory of a repository's blobs of one digest algorithm."""
    return f"{REPOSITORIES}/{name}/{LAYERS}/{algorithm}"


def manifests(name: str) -> str:
    """Return the directory that makes a repository one: it is in the catalog if this exists."""
    return f"{REPOSITORIES}/{name}/_manifests"


def revisions(name: str, algorithm: str) -> str:
    """Return the directory of a repository's manifests of one digest algorithm."""
    return f"{manifests(name)}/revisions/{algorithm}"


def revision_link(name: str, digest: Digest) -> str:
    """Return what says that a repository has a manifest."""
    return f"{revisions(name, digest.algorithm)}/{digest.hex}/link"


def tags(name: str) -> str:
    """Return the directory of a repository's tags."""
    return f"{manifests(name)}/tags"


def tag(name: str, tag: str) -> str:
    """Return the directory of one tag, its history included."""
    return f"{tags(name)}/{tag}"


def tag_link(name: str, tag: str) -> str:
    """Return what says which manifest a tag points to."""
    return f"{tags(name)}/{tag}/current/link"


def tag_history(name: str, tag: str, algorithm: str) -> str:
    """Return the directory of what a tag has ever pointed to, of one digest algorithm."""
    return f"{tags(name)}/{tag}/index/{algorithm}"


def tag_history_link(name: str, tag: str, digest: Digest) -> str:
    """Return what says that a tag has pointed to a manifest."""
    return f"{tags(name)}/{tag}/index/{digest.algorithm}/{digest.hex}/link"


def subjects(name: str, algorithm: str) -> str:
    """Return the directory of the manifests that others refer to, of one digest algorithm."""
    return f"{REPOSITORIES}/{name}/{REFERRERS}/{algorithm}"


def referrers(name: str, subject: Digest) -> str:
    """Return the directory of what refers to a manifest."""
    return f"{REPOSITORIES}/{name}/_referrers/{subject.algorithm}/{subject.hex}"


def referrer(name: str, subject: Digest, digest: Digest) -> str:
    """Return where one referrer's descriptor is."""
    return f"{referrers(name, subject)}/{digest.algorithm}-{digest.hex}"


def uploads(name: str) -> str:
    """Return the directory of a repository's upload sessions."""
    return f"{REPOSITORIES}/{name}/{UPLOADS}"


def upload(name: str, upload_id: str) -> str:
    """Return the directory of an upload session."""
    return f"{REPOSITORIES}/{name}/_uploads/{upload_id}"


def upload_data(name: str, upload_id: str) -> str:
    """Return where the bytes of an upload are gathered."""
    return f"{upload(name, upload_id)}/data"


def upload_started(name: str, upload_id: str) -> str:
    """Return what says that an upload exists, and since when."""
    return f"{upload(name, upload_id)}/startedat"


def upload_hash_states(name: str, upload_id: str, algorithm: str) -> str:
    """Return the directory of an upload's hash states, each named by its offset."""
    return f"{upload(name, upload_id)}/hashstates/{algorithm}"


#: The file that whoever collects garbage holds: one does at a time.
COLLECTING = "/_txregistry/collecting"


def quarantine(run: str) -> str:
    """Return the directory of what one run of ``txregistry fsck --repair`` took away."""
    return f"/_txregistry/quarantine/{run}"
