"""From the sections ``auth`` and ``access`` to who is let in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from txregistry.auth import rules
from txregistry.auth.anonymous import Anonymous
from txregistry.config.complaints import complaints
from txregistry.config.schema import Config
from txregistry.errors import ConfigError
from txregistry.interfaces import IAccessPolicy, IAccessPolicyMaker, IAuthBackend, IAuthBackendMaker
from txregistry.plugins import find

_NONE = "none"


def backend(config: Config, reactor: Any, policy: IAccessPolicy) -> IAuthBackend:
    """Return the auth backend that the configuration names, behind the registry's token service if it has one.

    :raises txregistry.errors.ConfigError: something is wrong with it.
    """
    known, service = _backend(config, reactor), config.tokenservice
    if service is None:
        return known
    # Imported where it is used, as in prepare(): with it come PyJWT and an HTTP client.
    from txregistry.auth import oidc
    from txregistry.auth.documents import Documents
    from txregistry.auth.token import TokenBackend
    from txregistry.auth.tokens import Terms, TokenService

    if isinstance(known, Anonymous | TokenBackend):
        raise ConfigError("tokenservice", "needs an auth backend that knows passwords, such as htpasswd")
    terms = Terms(service.service, service.issuer, int(service.lifetime), int(service.refreshlifetime))
    with complaints("tokenservice.oidc"):
        issuers = oidc.issuers(service.oidc or [])
    identity_tokens = oidc.IdentityTokens(issuers, reactor, Documents(reactor).fetch) if issuers else None
    return TokenService(known, policy, terms, time.time, identity_tokens)


def advice(config: Config) -> str | None:
    """Return what an operator should hear of who is let in; None if there is nothing."""
    listed = config.access if isinstance(config.access, list) else []
    everyone = any("anonymous" in (rule["who"], *rule["who"]) for rule in listed)
    if not everyone or config.tokenservice is not None:
        return None
    named = _named_backend(config)
    if named is None or named[0] == "token":
        return None
    return (
        "access lets everyone pull, but docker and skopeo do not pull without a login where there are only "
        "passwords; tokenservice makes that possible"
    )


def prepare(config: Config, backend: IAuthBackend) -> None:
    """Make a backend ready.  This blocks for a moment.

    :raises txregistry.errors.ConfigError: it cannot be used.
    """
    named = _named_backend(config)
    with complaints("auth" if named is None else f"auth.{named[0]}"):
        backend.prepare()
    if config.tokenservice is None:
        return
    from txregistry.auth.issuing import Signer
    from txregistry.auth.tokens import TokenService

    if isinstance(backend, TokenService):
        backend.use(Signer.keep(config.tokenservice.key, "tokenservice.key"))
        if backend.identity_tokens is not None:
            with complaints("tokenservice.oidc"):
                backend.identity_tokens.prepare()


def _backend(config: Config, reactor: Any) -> IAuthBackend:
    """Return the auth backend that the configuration names.

    :raises txregistry.errors.ConfigError: it names several, or one that is not installed, or an option of it is
        wrong; the complaint names the option's whole path.
    """
    named = _named_backend(config)
    if named is None:
        return Anonymous()
    name, options = named
    maker = find(IAuthBackendMaker, name, "auth backend", f"auth.{name}")
    with complaints(f"auth.{name}"):
        return maker.make(options, reactor)


def policy(config: Config, reactor: Any) -> IAccessPolicy:
    """Return the access policy that the configuration describes.

    Without ``access``, everyone who is logged in may do everything, and where there is no ``auth`` either,
    everyone.

    :raises txregistry.errors.ConfigError: a rule is wrong, or the policy that it names is not installed.
    """
    if config.access is None:
        named = _named_backend(config)
        return rules.Everything() if named is None else rules.Authenticated()
    if isinstance(config.access, list):
        for number, rule in enumerate(config.access):
            if not isinstance(rule, dict):
                found = _described(rule)
                raise ConfigError(
                    f"access.{number}", f"found {found}, expected who, repositories and actions"
                )
        with complaints("access"):
            return rules.make(config.access, config.groups)
    named = _named(config.access, "access", "a list of rules, or an access policy")
    if named is None:
        raise ConfigError("access", "found none, expected a list of rules, or an access policy's name")
    name, options = named
    maker = find(IAccessPolicyMaker, name, "access policy", f"access.{name}")
    with complaints(f"access.{name}"):
        return maker.make(options, reactor)


def _named_backend(config: Config) -> tuple[str, Mapping[str, Any]] | None:
    return _named(config.auth, "auth", "an auth backend")


def _named(value: Any, where: str, expected: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return the one plugin that a section names, and its options; None for ``none`` and for nothing."""
    section = {value: None} if isinstance(value, str) else {} if value is None else value
    if not isinstance(section, dict) or "" in section:
        raise ConfigError(
            where, f"found {_described(value)}, expected {expected}'s name and below it its keys"
        )
    if len(section) > 1:
        raise ConfigError(where, f"found {', '.join(section)}; expected one")
    for name, options in section.items():
        if name == _NONE:
            return None
        if isinstance(options, str) and options:
            # One value stands for the option of the plugin's own name.
            options = {name: options}
        if options is not None and not isinstance(options, dict):
            raise ConfigError(f"{where}.{name}", f"found {_described(options)}, expected its keys")
        return str(name), options or {}
    return None


def _described(value: Any) -> str:
    """Return words for what was found, which may hold secrets further in."""
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
