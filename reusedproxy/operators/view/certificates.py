"""Lists the certificates that listeners and servers show, under the names that the configuration has for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.tls import StoredCertificate
from reusedproxy.config.model.values import Place
from reusedproxy.config.tls.crt_list import list_name
from reusedproxy.net.tls.in_memory import CertificateName
from reusedproxy.net.tls.server import Certificates, ServerContext
from reusedproxy.operators.view.proxy import Proxy


@frozen
class CertificateInUse:
    """Names a certificate: `name` is that of a `crt-store`, if it has one, or else the path of its file. `key_path` is
    the file of its key where one is said; `uses` are the `bind` and `server` lines that show it."""

    name: str
    path: str
    key_path: str | None
    uses: int = 1


def names_of(stored: Iterable[StoredCertificate]) -> dict[CertificateName, str]:
    """Returns the names that `crt-store` sections give to certificates."""
    return {(each.path, each.key): each.name for each in stored}


def certificates_in_use(proxy: Proxy, stored: Iterable[StoredCertificate]) -> dict[str, CertificateInUse]:
    """Returns the certificates in use by their names, in the order of these."""
    names = names_of(stored)
    found: dict[str, CertificateInUse] = {}
    for path, key in _shown(proxy):
        name = names.get((path, key), path)
        known = found.get(name)
        found[name] = CertificateInUse(name, path, key) if known is None else evolve(known, uses=known.uses + 1)
    return dict(sorted(found.items()))


@frozen
class ListedCertificate:
    """Shows a line of a `crt-list`, or a file of a directory (line 0): the certificate's name as in `CertificateInUse`,
    options, and names it is for. `bind_lines` are those without `strict-sni` where it is for clients that ask for none
    of the names."""

    name: str
    line: int
    options: str
    names: tuple[str, ...]
    file: CertificateName
    bind_lines: tuple[Place, ...] = ()


def crt_lists(proxy: Proxy, stored: Iterable[StoredCertificate]) -> dict[str, list[ListedCertificate]]:
    """Returns the lines of each `crt-list` and directory in use, in their order, by its path."""
    aliases = names_of(stored)
    found: dict[str, dict[tuple[int, str], ListedCertificate]] = {}
    for bind, certificates in _served(proxy):
        stand_in = [] if certificates.strict else certificates.defaults
        for context in certificates.contexts:
            entry, file = context.entry, (context.crt, context.key)
            if entry is not None:
                name = aliases.get(file, context.crt)
                lines = found.setdefault(entry.list, {})
                known = lines.get((entry.line, name))
                places = () if known is None else known.bind_lines
                if any(each is context for each in stand_in):
                    places = (*places, bind.place)
                # One that stands in with the TLS versions of the `bind` line has no names.
                names = context.names_there or (() if known is None else known.names)
                lines[entry.line, name] = ListedCertificate(name, entry.line, entry.options, names, file, places)
    return {path: [*lines.values()] for path, lines in found.items()}


def binds_of(proxy: Proxy, path: str) -> list[Bind]:
    """Returns the `bind` lines that show the certificates of a `crt-list` or directory."""
    binds = [bind for frontend in proxy.frontends for bind in frontend.settings.binds]
    return [
        each for each in binds if each.tls is not None and path in {list_name(one.path) for one in each.tls.sources}
    ]


def _shown(proxy: Proxy) -> Iterator[tuple[str, str | None]]:
    """Returns the file of each certificate, and that of its key where it is said, once for each line that shows it."""
    for context in _contexts(proxy):
        yield context.crt, context.key
    for backend in proxy.backends:
        for server in backend.servers:
            asked = (server.settings.tls, server.settings.check_tls)
            yield from {(tls.crt, tls.key) for tls in asked if tls is not None and tls.crt is not None}
            yield from ((path, None) for word, path in server.chosen_files if word == "crt")


def _contexts(proxy: Proxy) -> Iterator[ServerContext]:
    for _, certificates in _served(proxy):
        yield from certificates.contexts


def _served(proxy: Proxy) -> Iterator[tuple[Bind, Certificates]]:
    for frontend in proxy.frontends:
        for bind in frontend.settings.binds:
            certificates = frontend.handshakes.certificates.get(bind.address)
            if certificates is not None:
                yield bind, certificates
