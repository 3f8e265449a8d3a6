"""The schema of ``log``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from txregistry.config.kinds import MailAddress, ServerAddress


class AccessLog(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log.accesslog``: one line for each request."""

    disabled: Annotated[bool, Meta(description="Write no access log.")] = False


class Smtp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log.hooks[].options.smtp``: the server that takes the mails."""

    addr: Annotated[ServerAddress, Meta(description="Where it listens, host:port.")] = ""
    username: Annotated[str, Meta(description="Who logs in to it; nobody when empty.")] = ""
    password: Annotated[str, Meta(description="What they log in with.")] = ""
    insecure: Annotated[
        bool,
        Meta(description="Send also where TLS is not offered, and to whom the certificate does not name."),
    ] = False


class MailOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log.hooks[].options``."""

    smtp: Annotated[Smtp, Meta(description="The server that takes the mails.")] = field(default_factory=Smtp)
    sender: Annotated[MailAddress, Meta(description="Whom the mails are from.")] = field(
        default="", name="from"
    )
    to: Annotated[list[MailAddress], Meta(description="Whom they are for.")] = field(default_factory=list)


class LogHook(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``log.hooks``."""

    type: Annotated[Literal["mail"], Meta(description="What becomes of the events: mails.")]
    disabled: Annotated[bool, Meta(description="Do nothing.")] = False
    levels: Annotated[
        list[Literal["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"]],
        Meta(description="The levels of the events that are sent; no other level is."),
    ] = field(default_factory=list)
    options: Annotated[
        MailOptions, Meta(description="How they are sent.", extra={"variable": "MAILOPTIONS"})
    ] = field(default_factory=MailOptions)


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``log``: what the registry says about itself."""

    level: Annotated[
        Literal["error", "warn", "info", "debug"],
        Meta(description="The least severe kind of event that is logged."),
    ] = "info"
    formatter: Annotated[
        Literal["text", "json", "logstash"], Meta(description="How a line of the log is written.")
    ] = "text"
    fields: Annotated[
        dict[str, str],
        Meta(description="Fields that every line of the log carries, each with its text as written."),
    ] = field(default_factory=dict)
    accesslog: Annotated[AccessLog, Meta(description="The access log.")] = field(default_factory=AccessLog)
    hooks: Annotated[list[LogHook], Meta(description="Where some events go as well.")] = field(
        default_factory=list
    )
