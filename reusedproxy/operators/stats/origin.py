"""Tells whether a form was sent by the page itself, or by another page in the browser of somebody who may change things
(cross-site request forgery).

Browsers say where a request comes from: by Sec-Fetch-Site where the connection is trusted, by Origin with every POST,
and before that by Referer. A client that says none of these is no browser, and has no password of somebody else's;
scripts that order by POST, as with HAProxy, go on to work.

Nor is a name proof of where a page comes from: whoever has one may bind it to another address, of the browser's own
machine for instance, while his page is open (DNS rebinding), and all of it then has one origin. No password goes there,
and no certificate is for that name; where there is neither, the name must be one that strangers cannot have.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from reusedproxy.wire.heads import RequestHead

_OURS = (b"same-origin", b"none")


def is_from_own_page(head: RequestHead, names: Collection[str] | None = None) -> bool:
    """Tells whether nothing says that another page has sent this request. `names` are those of this machine, in small
    letters, which count where neither a password nor TLS tells who it is; None: any name will do."""
    hosts = [host.lower() for host in head.values(b"Host")]
    sites = head.values(b"Sec-Fetch-Site")
    if sites:
        # Browsers say it over TLS, and to their own machine by its address or as "localhost".
        is_ours = all(site in _OURS for site in sites)
    else:
        said = next(filter(None, (head.values(name) for name in (b"Origin", b"Referer"))), None)
        if said is None:
            return True
        is_ours = all(_authority(value) in hosts for value in said)
    return is_ours and (names is None or all(_is_nobody_elses(host, names) for host in hosts))


def _is_nobody_elses(authority: bytes, names: Collection[str]) -> bool:
    """Tells whether a host, with or without a port, is an address, a name of one word, as only the own network gives
    it, one below "localhost" (RFC 6761 section 6.3), or one of the names."""
    text = authority.decode("latin-1")
    host = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() else text
    host = host.removesuffix(".")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return "." not in host or host.endswith(".localhost") or host in names
    return True


def _authority(url: bytes) -> bytes | None:
    """Returns host and port of a URL; None if it has none, such as the origin "null"."""
    scheme, colon, rest = url.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https"):
        return None
    return rest.partition(b"/")[0].lower()
