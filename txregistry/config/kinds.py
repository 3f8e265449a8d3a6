"""Kinds of values that keys of the configuration have: what is written in the file, and what is made of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from txregistry.config import values
from txregistry.config.durations import parse_duration, parse_interval

Duration = Annotated[float, Meta(extra={"parse": parse_duration})]
Interval = Annotated[float, Meta(extra={"parse": parse_interval})]
ReadableFile = Annotated[str, Meta(extra={"parse": values.readable})]
HeaderName = Annotated[str, Meta(extra={"parse": values.header_name})]
HeaderValue = Annotated[str, Meta(extra={"parse": values.header_value})]
Network = Annotated[str, Meta(extra={"parse": values.network})]
OptionalAddress = Annotated[str, Meta(extra={"parse": values.optional_address})]
PagePath = Annotated[str, Meta(extra={"parse": values.page_path})]
CheckedAddress = Annotated[str, Meta(extra={"parse": values.checked_address})]
CheckedUri = Annotated[str, Meta(extra={"parse": values.checked_uri})]
Prefix = Annotated[str, Meta(extra={"parse": values.prefix})]
CipherSuite = Annotated[str, Meta(extra={"parse": values.cipher_suite})]
TagPattern = Annotated[str, Meta(extra={"parse": values.tag_pattern})]
Pattern = Annotated[str, Meta(extra={"parse": values.pattern})]
WarningText = Annotated[str, Meta(extra={"parse": values.warning_text})]
OptionalPath = Annotated[str, Meta(extra={"parse": values.optional_path})]
BaseUrl = Annotated[str, Meta(extra={"parse": values.base_url})]
ServerAddress = Annotated[str, Meta(extra={"parse": values.server_address})]
WorkerCount = Annotated[str, Meta(extra={"parse": values.worker_count})]
MailAddress = Annotated[str, Meta(extra={"parse": values.mail_address})]
