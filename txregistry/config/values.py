"""The grammar of single values.

Each check takes the text and returns the value; a :exc:`ValueError` of it says what was expected.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from attrs import frozen

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_MAIL_ADDRESS = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_PREFIX = re.compile(r"/(?:(?!\.\.?/)[A-Za-z0-9._~-]+/)*")
_PAGE_PATH = re.compile(r"/(?:(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+/?)+")
_URL = re.compile(r"[\x21-\x7e]+")

# These say where a message ends; an operator's value would break the connection for every client.
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})

# sun_path holds 108 bytes, the last of them NUL (unix(7)).
_LONGEST_SOCKET_PATH = 107

#: Of processes: as many as there are processors.
AUTO = "auto"
_MOST_WORKERS = 64

_ADDRESS = "an address such as :5000, 127.0.0.1:5000, [::1]:5000 or localhost:5000"


@frozen
class Address:
    """Where to listen.

    :param host: an address or a host name; empty for every interface.
    :param port: 0 to 65535; 0 lets the system choose.
    """

    host: str
    port: int


def address(text: str) -> Address:
    """Read ``host:port`` as Go writes it, an IPv6 address being in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(_ADDRESS)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(_ADDRESS) from None
        return Address(host, int(port))
    if not host or _is_ipv4(host):
        return Address(host, int(port))
    # A name whose last label is a number would be a misspelt IPv4 address.
    if not _HOST_NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
        raise ValueError(_ADDRESS)
    return Address(host, int(port))


def optional_address(text: str) -> str:
    """Check ``host:port``, if there is one."""
    if text:
        address(text)
    return text


def server_address(text: str) -> str:
    """Check the ``host:port`` of a server, if there is one."""
    expected = "a server's address such as mail.example.com:587"
    try:
        known = not text or (address(text).host and address(text).port)
    except ValueError:
        raise ValueError(expected) from None
    if not known:
        raise ValueError(expected)
    return text


def checked_address(text: str) -> str:
    """Check ``host:port`` of another server."""
    address(text)
    return text


def checked_uri(text: str) -> str:
    """Check the URL of another server."""
    expected = "a URL such as https://example.com/health"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(expected) from None
    if not _URL.fullmatch(text) or parts.scheme not in ("http", "https") or not host:
        raise ValueError(expected)
    return text


def network(text: str) -> str:
    """Check an address, a network, or the word that stands for whoever connects to a Unix socket."""
    if text != "unix":
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise ValueError("an address or a network such as 10.0.0.0/8 or ::1, or unix") from None
    return text


def mail_address(text: str) -> str:
    """Check a mail address without a display name, if there is one."""
    if text and not _MAIL_ADDRESS.fullmatch(text):
        raise ValueError("a mail address such as ops@example.com")
    return text


def optional_path(text: str) -> str:
    """Check the absolute path of a file, if there is one."""
    if text and (not os.path.isabs(text) or "\0" in text or text.endswith("/")):
        raise ValueError("the absolute path of a file")
    return text


def socket_path(text: str) -> str:
    """Check the path of a Unix socket."""
    expected = "the path of a socket such as /run/txregistry.sock, since http.net is unix"
    if not text or "\0" in text or text.endswith("/"):
        raise ValueError(expected)
    if len(os.fsencode(text)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"{expected}, of at most {_LONGEST_SOCKET_PATH} bytes")
    try:
        address(text)
    except ValueError:
        return text
    raise ValueError(expected)


def worker_count(text: str) -> str:
    """Check a number of processes, or ``auto``."""
    if text != AUTO and not (text.isascii() and text.isdecimal() and 1 <= int(text[:4]) <= _MOST_WORKERS):
        raise ValueError(f"a number from 1 to {_MOST_WORKERS}, or {AUTO}")
    return text


def prefix(text: str) -> str:
    """Check a path that begins and ends with a slash."""
    if not _PREFIX.fullmatch(text):
        raise ValueError("a path that begins and ends with a slash, such as / or /registry/")
    return text


def page_path(text: str) -> str:
    """Check the path of a page of the debug server; Distribution takes nothing for the usual one."""
    if text and not _PAGE_PATH.fullmatch(text):
        raise ValueError("a path such as /metrics: letters, digits and ._~-/ after a slash")
    return text or "/metrics"


def base_url(text: str) -> str:
    """Check an absolute URL to which paths can be joined."""
    expected = "an absolute URL such as https://registry.example.com"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(expected) from None
    if not _URL.fullmatch(text) or parts.scheme not in ("http", "https") or not host:
        raise ValueError(expected)
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(f"{expected}, without user, query or fragment")
    if parts.path and not parts.path.endswith("/"):
        raise ValueError(f"{expected}; a path in it must end with a slash")
    return text


def header_name(text: str) -> str:
    """Check the name of a response header (RFC 9110, 5.1)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("the name of a header: letters, digits and hyphens")
    if text.lower() in _FRAMING:
        raise ValueError("another header: the server alone sets this one")
    return text


def header_value(text: str) -> str:
    """Check the value of a response header (RFC 9110, 5.5, but ASCII only)."""
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("printable ASCII characters on one line")
    return text


def pattern(text: str) -> str:
    """Check a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    return text


def tag_pattern(text: str) -> str:
    """Check a pattern of repositories and tags."""
    if ":" not in text:
        raise ValueError("a pattern of repository:tag, such as prod/**:v*")
    return text


def warning_text(text: str) -> str:
    """Check what is to stand in a ``Warning`` header: with what is around it, 4096 bytes hold it."""
    if not re.fullmatch(r"[\x20-\x7e]{1,2000}", text):
        raise ValueError("a line of at most 2000 printable ASCII characters")
    return text


#: Cipher suites by their IANA names, with OpenSSL's; those of TLS 1.3 are always offered.
CIPHER_SUITES = {
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}


def cipher_suite(text: str) -> str:
    """Check the name of a cipher suite."""
    if text not in CIPHER_SUITES:
        raise ValueError(f"one of {', '.join(CIPHER_SUITES)}")
    return text


def readable(text: str) -> str:
    """Check that a file can be read."""
    try:
        with open(text, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"a readable file: {error.strerror}") from None
    except ValueError:
        raise ValueError("a readable file") from None
    return text


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
