"""Lists the files of TLS that listeners and servers use, and the certificates that servers show: what may end, and
what is read again.

It is apart from `reading`, since a daemon without statistics looks at these, too, and loads nothing of statistics.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from cryptography.x509 import Certificate

from reusedproxy.backends.server import Server
from reusedproxy.config.model.values import Place
from reusedproxy.operators.view.proxy import Proxy


@frozen
class FileInUse:
    """A file whose contents may expire. `user` is the line that uses it, at `place`; `word` is the keyword before its
    name. `certificate` is its first certificate if it has been loaded."""

    place: Place
    user: str
    word: str
    path: str
    certificate: Certificate | None = None


@frozen
class ShownCertificate:
    """The certificate that a server has shown last, under the name `name` ("": there is just one), and its end (Unix
    time)."""

    place: Place
    server: str
    name: str
    end: float


def files_in_use(proxy: Proxy) -> Iterator[FileInUse]:
    """Returns the files of all listeners and servers, in the order of the configuration; one that several use comes as
    often."""
    for frontend in proxy.frontends:
        for bind in frontend.settings.binds:
            shown = frontend.handshakes.certificates.get(bind.address)
            for context in shown.contexts if shown is not None else ():
                user, offer = f"bind {bind.address}", context.offer
                yield FileInUse(bind.place, user, "crt", context.crt, context.leaf)
                if offer.verify != "none":
                    files = (("ca-file", offer.ca_file), ("ca-verify-file", offer.ca_verify_file))
                    for word, path in (*files, ("crl-file", offer.crl_file)):
                        if path is not None:
                            yield FileInUse(bind.place, user, word, path)
    for backend in proxy.backends:
        for server in backend.servers:
            yield from _files_of(server)


def has_files_of_its_own(proxy: Proxy, server: Server) -> bool:
    """Tells whether a server, which may have been taken out, names a file of TLS that no other server does."""
    own = {(each.word, each.path) for each in _files_of(server)}
    others = (each for backend in proxy.backends for each in backend.servers if each is not server)
    while own and (other := next(others, None)) is not None:
        own.difference_update((each.word, each.path) for each in _files_of(other))
    return bool(own)


def chosen_files(proxy: Proxy) -> Iterator[tuple[str, str]]:
    """Returns the files among which requests choose, each behind the word that names it, once for each server."""
    for backend in proxy.backends:
        for server in backend.servers:
            yield from server.chosen_files


def _files_of(server: Server) -> Iterator[FileInUse]:
    for tls in (server.settings.tls, server.settings.check_tls):
        if tls is not None:
            trusted = (("ca-file", tls.ca_file), ("crl-file", tls.crl_file)) if tls.verify == "required" else ()
            context = server.pool.context
            ours = context.ours if context is not None and context.settings.crt == tls.crt else None
            for word, path in (("crt", tls.crt), *trusted):
                if path is not None:
                    certificate = ours if word == "crt" else None
                    yield FileInUse(server.settings.place, f"server {server.full_name}", word, path, certificate)
    if server.settings.identities is not None:
        yield from _files_of_identities(server)


def _files_of_identities(server: Server) -> Iterator[FileInUse]:
    """Returns the certificates of the identities that have a pool."""
    contexts = (each.context for each in server.pool.family)
    shown = {each.settings.crt: each.ours for each in contexts if each is not None and each.ours is not None}
    for path, certificate in shown.items():
        if path is not None:
            yield FileInUse(server.settings.place, f"server {server.full_name}", "crt", path, certificate)


def shown_by_servers(proxy: Proxy, until: float) -> Iterator[ShownCertificate]:
    """Returns the certificates that servers have shown last, if they were looked at and end by `until` (Unix time)."""
    for backend in proxy.backends:
        for server in backend.servers:
            for pool in server.pool.family:
                context = pool.context
                if context is not None and (end := context.theirs_end) is not None and end <= until:
                    yield ShownCertificate(server.settings.place, server.full_name, context.name or "", end)
