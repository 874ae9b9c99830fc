"""Tells whether a form was sent by the page itself, or by another page in the browser of somebody who may change things
(cross-site request forgery).

Browsers say where a request comes from: by Sec-Fetch-Site where the connection is trusted, by Origin with every POST,
and before that by Referer. A client that says none of these is no browser, and has no password of somebody else's;
scripts that order by POST, as with HAProxy, go on to work.
"""

from __future__ import annotations

from reusedproxy.wire.heads import RequestHead

_OURS = (b"same-origin", b"none")


def is_from_own_page(head: RequestHead) -> bool:
    """Tells whether nothing says that another page has sent this request."""
    sites = head.values(b"Sec-Fetch-Site")
    if sites:
        return all(site in _OURS for site in sites)
    hosts = [host.lower() for host in head.values(b"Host")]
    for name in (b"Origin", b"Referer"):
        values = head.values(name)
        if values:
            return all(_authority(value) in hosts for value in values)
    return True


def _authority(url: bytes) -> bytes | None:
    """Returns host and port of a URL; None if it has none, such as the origin "null"."""
    scheme, colon, rest = url.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https"):
        return None
    return rest.partition(b"/")[0].lower()
