"""Lists the certificates that listeners and servers show, under the names that the configuration has for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from reusedproxy.config.model.tls import StoredCertificate
from reusedproxy.net.tls.server import ServerContext
from reusedproxy.operators.view.proxy import Proxy


@frozen
class CertificateInUse:
    """Names a certificate: `name` is that of a `crt-store`, if it has one, or else the path of its file. `key_path` is
    the file of its key where one is said; `uses` are the `bind` and `server` lines that show it."""

    name: str
    path: str
    key_path: str | None
    uses: int = 1


def certificates_in_use(proxy: Proxy, stored: Iterable[StoredCertificate]) -> dict[str, CertificateInUse]:
    """Returns the certificates in use by their names, in the order of these."""
    names = {(each.path, each.key): each.name for each in stored}
    found: dict[str, CertificateInUse] = {}
    for path, key in _shown(proxy):
        name = names.get((path, key), path)
        known = found.get(name)
        found[name] = CertificateInUse(name, path, key) if known is None else evolve(known, uses=known.uses + 1)
    return dict(sorted(found.items()))


@frozen
class ListedCertificate:
    """Shows a line of a `crt-list`: the certificate's name as in `CertificateInUse`, options, and names it is for."""

    name: str
    line: int
    options: str
    names: tuple[str, ...]


def crt_lists(proxy: Proxy, stored: Iterable[StoredCertificate]) -> dict[str, list[ListedCertificate]]:
    """Returns the lines of each `crt-list` in use, in their order, by its path, in the order of these."""
    aliases = {(each.path, each.key): each.name for each in stored}
    found: dict[str, dict[tuple[int, str], ListedCertificate]] = {}
    for context in _contexts(proxy):
        entry = context.entry
        if entry is not None:
            name = aliases.get((context.crt, context.key), context.crt)
            lines = found.setdefault(entry.list, {})
            lines[entry.line, name] = ListedCertificate(name, entry.line, entry.options, context.names_there or ())
    return {path: [*lines.values()] for path, lines in sorted(found.items())}


def _shown(proxy: Proxy) -> Iterator[tuple[str, str | None]]:
    """Returns the file of each certificate, and that of its key where it is said, once for each line that shows it."""
    for context in _contexts(proxy):
        yield context.crt, context.key
    for backend in proxy.backends:
        for server in backend.servers:
            asked = (server.settings.tls, server.settings.check_tls)
            yield from {(tls.crt, tls.key) for tls in asked if tls is not None and tls.crt is not None}
            if server.settings.identities is not None:
                chosen = (each.context for each in server.pool.family)
                yield from {(each.settings.crt, None) for each in chosen if each is not None and each.settings.crt}


def _contexts(proxy: Proxy) -> Iterator[ServerContext]:
    for frontend in proxy.frontends:
        for bind in frontend.settings.binds:
            certificates = frontend.handshakes.certificates.get(bind.address)
            yield from certificates.contexts if certificates is not None else ()
