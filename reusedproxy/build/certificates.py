"""Files of TLS, found and looked at: what a `bind` line serves, by which a file is known to be unchanged, what is not
valid yet.

It knows the configuration's values and the file system, and gives `net` plain values. It starts nothing; what is wrong is
one sentence that names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from attrs import frozen
from cryptography.x509 import Certificate as X509

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.tls import BindTLS, CertificateSource, ServerTLS, TLSOffer
from reusedproxy.config.tls.crt_list import read_crt_list
from reusedproxy.config.tls.words import overridden
from reusedproxy.net.files import unless_pipe
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.files import TLSConfigurationError, Trusts, keys_beside
from reusedproxy.net.tls.server import Certificate, Certificates

#: HAProxy reads these of a directory with the certificate that they belong to, not as one.
BESIDE = (".key", ".issuer", ".ocsp", ".sctl")
#: What ends the names of a bundle's files, in HAProxy's order: certificates of several kinds for the same names.
BUNDLE = (".dsa", ".ecdsa", ".rsa")

Stamps = tuple[tuple[str, int, int, int], ...]


@frozen
class Served:
    """What one `bind` line serves. Two that have the same `tls` and `stamps` are the same."""

    tls: BindTLS
    stamps: Stamps
    certificates: Certificates

    def warnings(self) -> Iterator[str]:
        """What an operator should hear of files that were read without a fault."""
        contexts = self.certificates.contexts
        for path, leaf in {each.crt: each.leaf for each in contexts}.items():
            yield from not_valid_yet(f"crt {path}", leaf)
        for end, what in ((".ocsp", "OCSP responses are"), (".sctl", "certificate timestamps are")):
            for path in dict.fromkeys(each.crt + end for each in contexts):
                if os.path.exists(path):
                    yield f"{path}: is not used, no {what} sent to clients yet"


def serve(tls: BindTLS, previous: Iterable[Served] = ()) -> Served:
    """Read all that `tls` names, or take over one of the `previous`, with the sessions that its clients may resume.

    Raises TLSConfigurationError.
    """
    return run_through(serving(tls, previous, Trusts()))


def serving(tls: BindTLS, previous: Iterable[Served], trusts: Trusts) -> Steps[Served]:
    """The same in steps; `trusts` may have read the CAs for others."""
    chosen = list(_written_out(tls))
    stamps = stamps_of(_files(tls, chosen))
    yield
    for each in previous:
        if (each.tls, each.stamps) == (tls, stamps):
            return each
    made = Certificates(tls.strict_sni)
    yield from made.loading(chosen, trusts)
    made.admission = _admission(each.offer for each in chosen)
    return Served(tls, stamps, made)


def _admission(offers: Iterable[TLSOffer]) -> object:
    """What is asked of clients, and by which CAs and lists they are judged."""
    said = set()
    for offer in offers:
        files = [path for path in (offer.ca_file, offer.ca_verify_file, offer.crl_file) if path is not None]
        ignored = (offer.ignored_ca_errors, offer.ignored_crt_errors)
        said.add((offer.verify, *ignored, stamps_of(files)))
    return frozenset(said)


def _written_out(tls: BindTLS) -> Iterator[Certificate]:
    for source in tls.sources:
        if source.kind == "crt-list":
            yield from _listed(tls, source)
        else:
            for path in _found(source.path):
                bundle = path if os.path.isdir(source.path) else source.path
                yield Certificate(path, tls.offer, bundle=bundle, default=source.kind == "default-crt")


def _listed(tls: BindTLS, source: CertificateSource) -> Iterator[Certificate]:
    what = f"crt-list {source.path}"
    try:
        with open(source.path, encoding="utf-8", opener=unless_pipe) as file:
            lines = read_crt_list(file.read())
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise TLSConfigurationError(f"{what}: is not a text file in UTF-8 (byte {error.start})") from None
    except Wrong as wrong:
        raise TLSConfigurationError(f"{what}: {wrong}") from None
    if not lines:
        raise TLSConfigurationError(f"{what}: names no certificate")
    for line in lines:
        offer = overridden(tls, line.words)
        if offer.verify != "none" and offer.ca_file is None and offer.ca_verify_file is None:
            raise TLSConfigurationError(f"{what}: line {line.number}: 'verify {offer.verify}' needs 'ca-file <file>'")
        if offer.min_version > offer.max_version:
            raise TLSConfigurationError(f"{what}: line {line.number}: {offer.min_version} is above {offer.max_version}")
        path = line.path if line.path.startswith("/") or not tls.crt_base else f"{tls.crt_base}/{line.path}"
        if os.path.isdir(path):
            raise TLSConfigurationError(f"{what}: line {line.number}: {path} is a directory: name its files")
        for each in _found(path):
            yield Certificate(each, offer, line.names, bundle=path)


def _found(path: str) -> list[str]:
    """The file; those of the directory, in the order of their names; or those of the bundle."""
    if os.path.isdir(path):
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise TLSConfigurationError(f"crt {path}: cannot be read: {error.strerror}") from None
        files = [each.path for each in entries if not each.name.startswith(".") and not each.name.endswith(BESIDE)]
        files = [each for each in files if os.path.isfile(each)]
        if not files:
            raise TLSConfigurationError(f"crt {path}: there is no certificate in this directory")
        return files
    if os.path.exists(path):
        return [path]
    # For a file that is not there at all its own name is the one to complain of.
    return [path + end for end in BUNDLE if os.path.exists(path + end)] or [path]


def _files(tls: BindTLS, certificates: Sequence[Certificate]) -> Iterator[str]:
    for each in tls.sources:
        yield each.path
    yield from (path for each in certificates for path in (each.path, *keys_beside(each.path)))
    offers = [tls.offer, *(each.offer for each in certificates)]
    yield from dict.fromkeys(
        path for each in offers for path in (each.ca_file, each.ca_verify_file, each.crl_file, each.dh_file) if path
    )


def stamps_of(paths: Iterable[str]) -> Stamps:
    """Name, time, size and inode of each file, and of those in a directory; one that is missing has none."""
    return run_through(_looking_at(paths))


def _looking_at(paths: Iterable[str]) -> Steps[Stamps]:
    stamps = {}
    for path in paths:
        found = _look_at(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            for name in _in(path):
                stamps[name] = _look_at(name)
                yield
        else:
            stamps[path] = found
            yield
    return tuple(
        (name, each.st_mtime_ns, each.st_size, each.st_ino) for name, each in stamps.items() if each is not None
    )


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _in(path: str) -> list[str]:
    """The files of a directory; none of one that may not be read, of which whoever uses it will tell."""
    try:
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]
    except OSError:
        return []


def server_stamps(tls: ServerTLS | None) -> Stamps:
    """Of all that a server line's TLS is made of."""
    return stamps_of(_server_files(tls)) if tls is not None else ()


def _server_files(tls: ServerTLS) -> list[str]:
    ours = [tls.crt, *keys_beside(tls.crt)] if tls.crt is not None else []
    return [*ours, *(path for path in (tls.ca_file, tls.crl_file) if path is not None)]


class FilesOfTLS:
    """All files that a configuration's TLS is made of, of listeners and servers; also those that are missing, once they are
    there. Each is looked at once, however many lines name it: 10 ms for 1000 certificates."""

    def __init__(self, configuration: Configuration) -> None:
        frontends = [each for each in configuration.frontends.values() if not each.disabled]
        backends = [each for each in configuration.backends.values() if not each.disabled]
        servers = [server for backend in backends for server in backend.servers]
        self._offered = dict.fromkeys(each.tls for frontend in frontends for each in frontend.binds if each.tls)
        asked = dict.fromkeys(tls for server in servers for tls in (server.tls, server.check_tls) if tls)
        self._of_servers = [path for tls in asked for path in _server_files(tls)]
        #: What lists have said, with the stamps that they had then: of a thousand lines it takes 60 ms to read them.
        self._lists: dict[tuple[BindTLS, str], tuple[Stamps, list[Certificate]]] = {}

    def stamps(self) -> Stamps:
        """As they are now."""
        return run_through(self.look())

    def look(self) -> Steps[Stamps]:
        """The same in steps."""
        paths: dict[str, None] = {}
        for tls in self._offered:
            paths.update(dict.fromkeys(_files(tls, list(self._sought(tls)))))
            yield
        return (yield from _looking_at({**paths, **dict.fromkeys(self._of_servers)}))

    def _sought(self, tls: BindTLS) -> Iterator[Certificate]:
        """Each by its own name or, without, by all that it may have as a bundle; those in a directory are found with it."""
        for source in tls.sources:
            named = [Certificate(source.path, tls.offer, bundle=source.path)]
            if source.kind == "crt-list":
                named = self._read(tls, source)
            for each in named:
                ends = ("",) if os.path.exists(each.bundle) else ("", *BUNDLE)
                yield from (Certificate(each.bundle + end, each.offer) for end in ends)

    def _read(self, tls: BindTLS, source: CertificateSource) -> list[Certificate]:
        stamps = stamps_of([source.path])
        before, named = self._lists.get((tls, source.path), (None, []))
        if stamps != before:
            try:
                named = list(_listed(tls, source))
            except TLSConfigurationError:
                named = []  # whoever is to serve it says why; the list itself is looked at
            self._lists[tls, source.path] = stamps, named
        return named


def not_valid_yet(what: str, certificate: X509) -> Iterator[str]:
    """OpenSSL loads it without a word. (What ends one day, or has ended, `operators.expiry` looks at all the time.)

    A warning only: peers that do not look at our certificate's dates exist, and a clock may be wrong.
    """
    if certificate.not_valid_before_utc > datetime.now(timezone.utc):
        yield f"{what}: is not valid yet, before {certificate.not_valid_before_utc:%d %b %Y %H:%M} UTC"
