"""Parses the value of `crl-url`: where lists of revoked certificates are fetched. It must never know a network."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.tls import ListURL

_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?\Z|[0-9A-Fa-f:.]+\Z")
#: What may stand in the target of a request (RFC 3986 section 3.3 and 3.4); a comma is %2C, since it separates URLs.
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+;=:@%/?-]*\Z")


def read_urls(argument: str, what: str) -> tuple[ListURL, ...]:
    """Parses URLs with commas between them. Raises Wrong."""
    return tuple(dict.fromkeys(_url(each, what) for each in argument.split(",")))


def _url(text: str, what: str) -> ListURL:
    try:
        parts = urlsplit(text)
        port = parts.port or 80
    except ValueError as error:
        raise Wrong(f"{what}: '{text}' is no URL: {error}") from None
    if parts.scheme != "http":
        raise Wrong(
            f"{what}: '{text}' is not fetched: it needs 'http://'; a list is signed by its CA, and so needs no TLS"
        )
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    host = parts.hostname or ""
    if parts.username is not None or "#" in text or not _HOST.match(host) or not _TARGET.match(target):
        raise Wrong(f"{what}: '{text}' is no URL of a list: it is http://HOST/PATH, or http://HOST:PORT/PATH")
    return ListURL(text, host, port, target)
