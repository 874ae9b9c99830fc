"""Finds the TLS files of a configuration: what a `bind` line serves, stamps that tell a changed file, dates in the
future.

Knows the configuration's values and the file system, and passes plain values to `net`. Starts nothing; each fault is
one sentence that names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from hashlib import sha256
from io import TextIOWrapper

from attrs import evolve, frozen
from cryptography.x509 import Certificate as X509

from reusedproxy.build.identity_sources import BESIDE, named_by, sources_of
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.report import Wrong, did_you_mean
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.tls import BindTLS, CertificateSource, ListEntry, ServerTLS, TLSOffer
from reusedproxy.config.tls.crt_list import options_in_order, read_crt_list
from reusedproxy.config.tls.words import not_offered, offered_protocols, overridden
from reusedproxy.net.files import LARGEST_TEXT, bounded, names_in, open_list, why_unread
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.files import SYSTEM_CA, CertificateName, TLSConfigurationError, Trusts, keys_beside
from reusedproxy.net.tls.openssl_server import paths_of_system
from reusedproxy.net.tls.server import Certificate, Certificates

#: Suffixes of a bundle's files, in HAProxy's order: certificates with several key types for the same names.
BUNDLE = (".dsa", ".ecdsa", ".rsa")

#: Servers that are looked at in one step.
SERVERS_AT_ONCE = 100

#: Of each file: name, mtime, ctime (which nobody can set), size and inode.
Stamps = tuple[tuple[str, int, int, int, int], ...]


@frozen
class Served:
    """Holds the certificates of one `bind` line. Two instances with the same `tls` and `stamps` are equivalent."""

    tls: BindTLS
    stamps: Stamps
    certificates: Certificates
    #: What was found in its files when they were loaded, without being a fault.
    warnings: tuple[str, ...] = ()


def serving(tls: BindTLS, previous: Iterable[Served], trusts: Trusts) -> Steps[Served]:
    """Loads all files that `tls` names, in steps, or takes over one of `previous`, with the sessions that its clients
    may resume. `trusts` has CAs that were read before. Raises TLSConfigurationError."""
    admissions: dict[TLSOffer, object] = {}
    idle: list[str] = []
    chosen = [_with_admission(each, admissions) for each in _written_out(tls, idle)]
    stamps = (*stamps_of(_files(tls, chosen)), *committed_stamps(((each.path, each.key) for each in chosen), trusts))
    yield
    for each in previous:
        if (each.tls, each.stamps) == (tls, stamps):
            return each
    made = Certificates(tls.strict_sni)
    yield from made.loading(chosen, trusts)
    return Served(tls, stamps, made, (*idle, *_warnings(made)))


def _warnings(certificates: Certificates) -> Iterator[str]:
    """Returns warnings about certificates that are not valid yet, and about files beside them that are not used."""
    contexts = certificates.contexts
    for path, leaf in {each.crt: each.leaf for each in contexts}.items():
        yield from not_valid_yet(f"crt {path}", leaf)
    for end, what in ((".ocsp", "OCSP responses are"), (".sctl", "certificate timestamps are")):
        for path in dict.fromkeys(each.crt + end for each in contexts):
            if os.path.exists(path):
                yield f"{path}: is not used, no {what} sent to clients yet"


def _with_admission(certificate: Certificate, known: dict[TLSOffer, object]) -> Certificate:
    """Returns the certificate with its `admission`; many have the same offer, so it is `known` from the first."""
    if certificate.offer not in known:
        known[certificate.offer] = _admission(certificate.offer)
    return evolve(certificate, admission=known[certificate.offer])


def _admission(offer: TLSOffer) -> object:
    """Returns a value that identifies what clients must show, and the CAs and revocation lists that verify it."""
    versions = (offer.min_version, offer.max_version)
    if offer.verify == "none":
        return versions
    files = [path for path in (offer.ca_file, offer.ca_verify_file, offer.crl_file) if path is not None]
    return (offer.verify, offer.ignored_ca_errors, offer.ignored_crt_errors, stamps_of(files), versions)


def _written_out(tls: BindTLS, idle: list[str]) -> Iterator[Certificate]:
    """Returns all certificates of the line; `idle` takes warnings about words that do nothing."""
    for source in tls.sources:
        if source.kind == "crt-list":
            yield from _listed(tls, source, idle)
        else:
            for path in _found(source.path):
                bundle = path if os.path.isdir(source.path) else source.path
                default = source.kind == "default-crt"
                yield Certificate(path, tls.offer, bundle=bundle, default=default, key=source.key)


def _listed(tls: BindTLS, source: CertificateSource, idle: list[str]) -> Iterator[Certificate]:
    what = f"crt-list {source.path}"
    try:
        descriptor, writers = open_list(source.path)
        with TextIOWrapper(bounded(descriptor, source.path, LARGEST_TEXT), encoding="utf-8") as file:
            lines = read_crt_list(file.read())
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {why_unread(source.path, error)}") from None
    except UnicodeDecodeError as error:
        raise TLSConfigurationError(f"{what}: is not a text file in UTF-8 (byte {error.start})") from None
    except Wrong as wrong:
        raise TLSConfigurationError(f"{what}: {wrong}") from None
    if not lines:
        raise TLSConfigurationError(f"{what}: names no certificate")
    ours = {*_files(evolve(tls, sources=()), ())}
    stored = {each.name: each for each in tls.stored}
    for line in lines:
        offer = overridden(tls, line.words)
        if "alpn" in line.words.said:
            offered = offered_protocols(offer.alpn, "alpn")
            if offered != offer.alpn:
                idle.append(f"{what}: line {line.number}: {not_offered(offer.alpn, offered)}")
                offer = evolve(offer, alpn=offered)
        if offer.verify != "none" and offer.ca_file is None and offer.ca_verify_file is None:
            raise TLSConfigurationError(f"{what}: line {line.number}: 'verify {offer.verify}' needs 'ca-file <file>'")
        if offer.verify == "none":
            for word in sorted(line.words.words & {"ca-file", "ca-verify-file", "crl-file"}):
                wanted = "'verify required' or 'verify optional'"
                idle.append(f"{what}: line {line.number}: '{word}' does nothing without {wanted}")
        if offer.min_version > offer.max_version:
            raise TLSConfigurationError(f"{what}: line {line.number}: {offer.min_version} is above {offer.max_version}")
        entry = ListEntry(source.path, line.number, options_in_order(line.words, offer))
        path = based_path(line.path, tls.crt_base)
        if (known := stored.get(line.path) or stored.get(path)) is not None:
            # The configuration has said its files, and not who can change the list.
            yield Certificate(known.path, offer, line.names, bundle=known.path, key=known.key, entry=entry)
            continue
        if path.startswith("@"):
            hint = did_you_mean(path, stored)
            raise TLSConfigurationError(f"{what}: line {line.number}: no 'crt-store' above has '{path}'{hint}")
        with nullcontext() if writers is None or path in ours else writers.acting():
            if os.path.isdir(path):
                raise TLSConfigurationError(f"{what}: line {line.number}: {path} is a directory: name its files")
            made = [Certificate(each, offer, line.names, bundle=path, entry=entry) for each in _found(path)]
        for each in _files(evolve(tls, sources=(), offer=offer), made):
            if writers is None or each in ours:
                continue
            # A key beside its certificate need not be there, and stands where who can read that can see it.
            absent = any(each in keys_beside(one.path) for one in made) and not os.path.lexists(each)
            looked_at = [] if absent else [each, *_in(each)]
            if trouble := next(filter(None, map(writers.trouble_with, looked_at)), ""):
                text = (
                    f"who can change this list cannot read {each} ({trouble}), so root does not either:"
                    f" chown root {source.path}"
                )
                raise TLSConfigurationError(f"{what}: line {line.number}: {text}")
        yield from made


def _found(path: str) -> list[str]:
    """Returns the file, the files of the directory in the order of their names, or those of the bundle. Raises
    TLSConfigurationError."""
    if os.path.isdir(path):
        try:
            names = names_in(path)
        except OSError as error:
            raise TLSConfigurationError(f"crt {path}: cannot be read: {why_unread(path, error)}") from None
        names = [each for each in names if not each.startswith(".") and not each.endswith(BESIDE)]
        files = [each for name in names if os.path.isfile(each := os.path.join(path, name))]
        if not files:
            raise TLSConfigurationError(f"crt {path}: there is no certificate in this directory")
        return files
    if os.path.exists(path):
        return [path]
    # If nothing exists, the name without suffix is the one to report.
    return [path + end for end in BUNDLE if os.path.exists(path + end)] or [path]


def _files(tls: BindTLS, certificates: Sequence[Certificate]) -> Iterator[str]:
    for each in tls.sources:
        yield each.path
    yield from (path for each in certificates for path in (each.path, *_keys(each.path, each.key)))
    offers = [tls.offer, *(each.offer for each in certificates)]
    yield from dict.fromkeys(
        path for each in offers for path in (each.ca_file, each.ca_verify_file, each.crl_file, each.dh_file) if path
    )


def _keys(path: str, key: str | None) -> list[str]:
    """Returns the files where the key of a certificate may be."""
    return keys_beside(path) if key is None else [key]


def stamps_of(paths: Iterable[str]) -> Stamps:
    """Returns the stamps of the files, and of those in directories; missing files are left out. For "@system-ca" they
    are those of the files and directories where OpenSSL finds the system's CAs."""
    return run_through(_looking_at(paths))


def committed_stamps(names: Iterable[CertificateName], trusts: Trusts) -> Stamps:
    """Returns, beside the stamps of the files, those of the certificates that were committed in their place."""
    found = {name: each for name in names if (each := trusts.committed.get(name)) is not None}
    return tuple(
        (path, int.from_bytes(sha256(each.content + b"\0" + each.key).digest(), "big"), 0, len(each.content), 0)
        for (path, _), each in found.items()
    )


def _looking_at(paths: Iterable[str]) -> Steps[Stamps]:
    stamps = {}
    for path in _without_aliases(paths):
        found = _look_at(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            for name in _in(path):
                stamps[name] = _look_at(name)
                yield
        else:
            stamps[path] = found
            yield
    return tuple(
        (name, each.st_mtime_ns, each.st_ctime_ns, each.st_size, each.st_ino)
        for name, each in stamps.items()
        if each is not None
    )


def _without_aliases(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path == SYSTEM_CA:
            yield from paths_of_system()
        else:
            yield path


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _in(path: str) -> list[str]:
    """Returns the files of a directory, without hidden ones, which are not used; none for an unreadable one, which is
    reported where it is used."""
    try:
        return [os.path.join(path, name) for name in names_in(path) if not name.startswith(".")]
    except OSError:
        return []


def server_stamps(tls: ServerTLS | None, known: dict[str, Stamps], trusts: Trusts) -> Stamps:
    """Returns the stamps of all TLS files of a server line. `known` has those that one reading of the configuration has
    looked at already: a thousand servers may trust the same directory, which has 300 files where it is the system's."""
    stamps: dict[tuple[str, int, int, int, int], None] = {}
    for path in _server_files(tls) if tls is not None else ():
        if path not in known:
            known[path] = stamps_of([path])
        stamps.update(dict.fromkeys(known[path]))
    committed = committed_stamps([(tls.crt, tls.key)], trusts) if tls is not None and tls.crt is not None else ()
    return (*stamps, *committed)


def _server_files(tls: ServerTLS) -> list[str]:
    ours = [tls.crt, *_keys(tls.crt, tls.key)] if tls.crt is not None else []
    return [*ours, *(path for path in (tls.ca_file, tls.crl_file) if path is not None)]


class FilesOfTLS:
    """Lists all TLS files of a configuration, of listeners and servers; missing ones count as soon as they appear.

    Each file is looked at once, however many lines name it: 10 ms for 1000 certificates.
    """

    def __init__(self, configuration: Configuration) -> None:
        #: Whose files are not listed yet.
        self._configuration: Configuration | None = configuration
        self._offered: dict[BindTLS, None] = {}
        self._of_servers: list[str] = []
        self._chosen: dict[IdentityRule, None] = {}
        #: What their files and folders name, with the stamps of these at that time.
        self._sources: dict[IdentityRule, tuple[Stamps, list[str]]] = {}
        #: Parsed lists with their stamps at that time: parsing a list of a thousand lines takes 60 ms.
        self._lists: dict[tuple[BindTLS, str], tuple[Stamps, list[Certificate]]] = {}

    def stamps(self) -> Stamps:
        """Returns the files' current stamps."""
        return run_through(self.look())

    def look(self) -> Steps[Stamps]:
        """Returns the files' current stamps, in steps."""
        if self._configuration is not None:
            yield from self._list(self._configuration)
            self._configuration = None
        paths: dict[str, None] = {}
        for tls in self._offered:
            paths.update(dict.fromkeys(_files(tls, list(self._sought(tls)))))
            yield
        for rule in self._chosen:
            paths.update(dict.fromkeys((yield from self._named(rule))))
        return (yield from _looking_at({**paths, **dict.fromkeys(self._of_servers)}))

    def _list(self, configuration: Configuration) -> Steps[None]:
        """Finds what names files in the configuration: 10 ms for 2,000 servers with TLS."""
        frontends = [each for each in configuration.frontends.values() if not each.disabled]
        backends = [each for each in configuration.backends.values() if not each.disabled]
        servers = [server for backend in backends for server in backend.servers]
        self._offered = dict.fromkeys(each.tls for frontend in frontends for each in frontend.binds if each.tls)
        asked: dict[ServerTLS, None] = {}
        for number, server in enumerate(servers, 1):
            asked.update(dict.fromkeys(tls for tls in (server.tls, server.check_tls) if tls))
            if not number % SERVERS_AT_ONCE:
                yield
        self._of_servers = [path for tls in asked for path in _server_files(tls)]
        self._chosen = dict.fromkeys(server.identities for server in servers if server.identities)

    def _named(self, rule: IdentityRule) -> Steps[list[str]]:
        """Returns the files among which requests choose by this rule, and those that name them."""
        named = named_by(rule)
        stamps = stamps_of(named)
        before, files = self._sources.get(rule, (None, []))
        if stamps != before:
            found = yield from sources_of(rule, None)
            files = [*named, *found.authorities]
            files += (path for crt in found.crts for path in (crt, *keys_beside(crt)))
            self._sources[rule] = stamps, files
        return files

    def _sought(self, tls: BindTLS) -> Iterator[Certificate]:
        """Returns the certificates under every name that they may have: their own or, if it does not exist, the
        bundle's as well.

        Files in a directory are found through the directory.
        """
        for source in tls.sources:
            named = [Certificate(source.path, tls.offer, bundle=source.path, key=source.key)]
            if source.kind == "crt-list":
                named = self._read(tls, source)
            for each in named:
                ends = ("",) if os.path.exists(each.bundle) else ("", *BUNDLE)
                yield from (evolve(each, path=each.bundle + end) for end in ends)

    def _read(self, tls: BindTLS, source: CertificateSource) -> list[Certificate]:
        stamps = stamps_of([source.path])
        before, named = self._lists.get((tls, source.path), (None, []))
        if stamps != before:
            try:
                named = list(_listed(tls, source, []))
            except TLSConfigurationError:
                named = []  # the fault is reported where the list is loaded; its stamp is still watched
            self._lists[tls, source.path] = stamps, named
        return named


def not_valid_yet(what: str, certificate: X509) -> Iterator[str]:
    """Warns of a certificate that is not valid yet, which OpenSSL loads silently.

    It is only a warning: some peers do not check these dates, and the clock may be wrong. (Certificates that end soon
    or have expired are watched by `operators.logs.expiry`.)
    """
    if certificate.not_valid_before_utc > datetime.now(timezone.utc):
        yield f"{what}: is not valid yet, before {certificate.not_valid_before_utc:%d %b %Y %H:%M} UTC"
