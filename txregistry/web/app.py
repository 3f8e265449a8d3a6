"""The routes, assembled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import field, frozen
from klein import Klein
from twisted.web.resource import IResource
from werkzeug.exceptions import MethodNotAllowed

from txregistry.access import CATALOG, DELETE, PULL, PUSH, Access
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.health.condition import Condition
from txregistry.interfaces import ITokenIssuing
from txregistry.reference import RepositoryName
from txregistry.waiting import InThread
from txregistry.web.announcer import Announcer
from txregistry.web.answers import answer
from txregistry.web.blobs import BlobRoutes
from txregistry.web.extensions import discover
from txregistry.web.guard import Guard
from txregistry.web.listings import ListingRoutes
from txregistry.web.locations import Locations
from txregistry.web.manifests import ManifestRoutes
from txregistry.web.manners import RepositoryWarning, add_warnings, answer_preflight, is_preflight
from txregistry.web.probes import LIVE, READY, ProbeRoutes
from txregistry.web.referrers import ReferrerRoutes
from txregistry.web.routing import Respond, Routing
from txregistry.web.states import UploadStates
from txregistry.web.tally import UploadTally
from txregistry.web.uploads import UploadRoutes, parse_upload_id

Answer = Callable[..., Awaitable[bytes | None]]

_PARAMETERS: Mapping[str, Callable[[str], object]] = {
    "name": RepositoryName.parse,
    "digest": Digest.parse,
    "upload_id": parse_upload_id,
    "reference": str,
}


@frozen
class Permissions:
    """What the operator lets clients do at all.

    :param write: anything but reading (not under ``storage.maintenance.readonly``).
    :param delete: removing what is stored (``storage.delete.enabled``).
    """

    write: bool = True
    delete: bool = False


class Scope(Enum):
    """What a route is about, and so who may use it."""

    #: What tells nothing of what is stored: for everyone.
    PUBLIC = "public"
    #: Where clients find out that they must log in.
    LOGIN = "login"
    #: All repositories.
    CATALOG = "catalog"
    #: One repository.
    REPOSITORY = "repository"
    #: One repository's uploads, which whoever may push may also end.
    UPLOADS = "uploads"


_ACTIONS = {"GET": (PULL,), "DELETE": (DELETE,)}
_PUSHING = (PULL, PUSH)


@frozen
class Route:
    """One kind of address, and what answers there.

    :param path: in Klein's notation, below ``http.prefix``.
    :param handler: what it is called in figures: as in Distribution where it has it.
    :param scope: what it is about.
    :param methods: by method, what answers it.
    :param removes: whether DELETE removes what is stored, and so needs the operator's leave.
    :param stores: whether other methods than GET change what is stored.
    """

    path: str
    handler: str
    scope: Scope
    methods: Mapping[str, Answer]
    removes: bool = field(default=False, kw_only=True)
    stores: bool = field(default=True, kw_only=True)

    def accesses(self, method: str, name: str) -> list[Access]:
        """Return what a request needs leave for; HEAD needs what GET does."""
        if self.scope is Scope.CATALOG:
            return [CATALOG]
        if self.scope is Scope.REPOSITORY:
            return Access.repository(name, *_ACTIONS.get(method, _PUSHING))
        if self.scope is Scope.UPLOADS:
            return Access.repository(name, *_PUSHING)
        return []

    def allowed(self, permissions: Permissions) -> list[str]:
        """Return the methods that are answered."""
        return [method for method in self.methods if self._allows(method, permissions)]

    def _allows(self, method: str, permissions: Permissions) -> bool:
        if method == "DELETE" and self.removes and not permissions.delete:
            return False
        return permissions.write or method == "GET" or not self.stores


async def _base(request: Any) -> bytes:
    return answer(request, 200, b"{}\n", {"Content-Type": "application/json"})


async def _root(request: Any) -> bytes:
    return answer(request, 200, headers={"Cache-Control": "no-cache"})


def routes(
    registry: Registry,
    locations: Locations,
    states: UploadStates,
    in_thread: InThread,
    guard: Guard,
    announcer: Announcer | None = None,
    condition: Condition | None = None,
    tally: UploadTally | None = None,
) -> list[Route]:
    """Return every route that there is."""
    blobs = BlobRoutes(registry, in_thread, announcer)
    tally = tally or UploadTally(registry.uploads, 0, lambda: 0.0)
    uploads = UploadRoutes(registry, locations, states, guard, announcer, tally)
    manifests = ManifestRoutes(registry, locations, announcer)
    listings = ListingRoutes(registry, locations, guard)
    referrers = ReferrerRoutes(registry, locations)
    probes = ProbeRoutes(condition or Condition())
    issuing = []
    if ITokenIssuing.providedBy(guard.backend):
        # Imported where it is used: with it comes PyJWT.
        from txregistry.auth.tokens import PATH
        from txregistry.web.tokens import TokenRoutes

        service: Any = guard.backend
        tokens = TokenRoutes(service, guard)
        issuing = [Route(PATH, "token", Scope.PUBLIC, {"GET": tokens.get, "POST": tokens.post}, stores=False)]
    return [
        *issuing,
        Route("/", "root", Scope.PUBLIC, {"GET": _root}),
        Route(LIVE, "livez", Scope.PUBLIC, {"GET": probes.live}),
        Route(READY, "readyz", Scope.PUBLIC, {"GET": probes.ready}),
        Route("/v2/", "base", Scope.LOGIN, {"GET": _base}),
        Route("/v2/_catalog", "catalog", Scope.CATALOG, {"GET": listings.catalog}),
        Route("/v2/_oci/ext/discover", "discover", Scope.LOGIN, {"GET": discover}),
        Route("/v2/<path:name>/tags/list", "tags", Scope.REPOSITORY, {"GET": listings.tags}),
        Route(
            "/v2/<path:name>/manifests/<reference>",
            "manifest",
            Scope.REPOSITORY,
            {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
            removes=True,
        ),
        Route(
            "/v2/<path:name>/blobs/<digest>",
            "blob",
            Scope.REPOSITORY,
            {"GET": blobs.get, "DELETE": blobs.delete},
            removes=True,
        ),
        Route("/v2/<path:name>/referrers/<digest>", "referrers", Scope.REPOSITORY, {"GET": referrers.get}),
        Route("/v2/<path:name>/blobs/uploads/", "blob_upload", Scope.UPLOADS, {"POST": uploads.post}),
        Route(
            "/v2/<path:name>/blobs/uploads/<upload_id>",
            "blob_upload_chunk",
            Scope.UPLOADS,
            {"GET": uploads.get, "PATCH": uploads.patch, "PUT": uploads.put, "DELETE": uploads.delete},
        ),
    ]


def make_resource(
    registry: Registry,
    states: UploadStates,
    in_thread: InThread,
    locations: Locations | None = None,
    permissions: Permissions | None = None,
    warnings: Sequence[RepositoryWarning] = (),
    guard: Guard | None = None,
    announcer: Announcer | None = None,
    condition: Condition | None = None,
    tally: UploadTally | None = None,
) -> IResource:
    """Return what answers all requests.

    :param in_thread: where work that would keep others waiting is done.
    :param warnings: what answers about repositories carry.
    :param guard: who may do what; everyone everything if not given.
    :param announcer: who is told of what is done; no one if not given.
    :param condition: whether the registry is well; always if not given.
    :param tally: how many uploads clients may have begun; any number if not given.
    """
    locations = locations or Locations()
    guard = guard or Guard.open(locations)
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    responds = {}
    for route in routes(registry, locations, states, in_thread, guard, announcer, condition, tally):
        respond = _respond(route, guard, permissions or Permissions(), warnings)
        responds[route.path] = respond
        app.route(route.path, endpoint=route.path)(respond)
    return Routing(app, responds)


def _respond(
    route: Route, guard: Guard, permissions: Permissions, warnings: Sequence[RepositoryWarning]
) -> Respond:
    """Return what answers at a route."""
    answered = route.allowed(permissions)
    allowed = [*answered, "HEAD"] if "GET" in answered else answered

    async def respond(request: Any, **texts: str) -> bytes | None:
        request.routed(route.handler, route.path)
        if is_preflight(request):
            return answer_preflight(request, allowed)
        request.variables = texts
        method = str(request.method, "ascii")
        known = "GET" if method == "HEAD" else method
        if route.scope is not Scope.PUBLIC and not guard.is_open:
            accesses = route.accesses(known, texts.get("name", ""))
            request.identity = await guard.admit(request, accesses, login=route.scope is Scope.LOGIN)
        if method not in allowed:
            raise MethodNotAllowed(allowed)
        if "name" in texts:
            add_warnings(request, texts["name"], warnings)
        values = {name: _PARAMETERS[name](text) for name, text in texts.items()}
        return await route.methods[known](request, **values)

    return respond
