"""Finds the TLS files of a configuration: what a `bind` line serves, stamps that tell a changed file, dates in the
future.

Knows the configuration's values and the file system, and passes plain values to `net`. Starts nothing; each fault is
one sentence that names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone

from attrs import evolve, field, frozen
from cryptography.x509 import Certificate as X509

from reusedproxy.build.crt_lists import (
    BUNDLE,
    files_in,
    files_of,
    found_at,
    keys_of,
    listed,
    read_directory,
    read_list,
    trusted_files,
)
from reusedproxy.build.identity_sources import named_by, sources_of
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.tls import BindTLS, CertificateSource, ServerTLS, TLSOffer
from reusedproxy.config.tls.crt_list import list_name
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.files import TLSConfigurationError, keys_beside
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.net.tls.openssl_server import paths_of_system
from reusedproxy.net.tls.server import Certificate, Certificates, ServerContext
from reusedproxy.net.tls.trusts import SYSTEM_CA, Trusts

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
    #: What was made of each certificate, whose own files had these stamps.
    contexts: Mapping[tuple[Certificate, Stamps], ServerContext] = field(factory=dict, eq=False, repr=False)


def serving(tls: BindTLS, previous: Iterable[Served], trusts: Trusts) -> Steps[Served]:
    """Loads all files that `tls` names, in steps, or takes over one of `previous`, or what it has of certificates that
    have not changed: clients may resume their sessions of these. `trusts` has CAs that were read before. Raises
    TLSConfigurationError."""
    admissions: dict[TLSOffer, object] = {}
    idle: list[str] = []
    held = trusts.in_memory
    written = []
    for each in _written_out(tls, trusts, idle):
        written.append(each)
        yield
    chosen = [_with_admission(each, admissions, held) for each in _with_defaults(written, tls)]
    yield
    names = [(each.path, each.key) for each in chosen]
    on_disk = yield from _looking_at(files_of(tls, chosen))
    yield from trusts.finding_chains(names)
    stamps = (*on_disk, *trusts.stamps(names, [*_lists(tls), *trusted_files(tls, chosen)]))
    yield
    former = [*previous]
    for known in former:
        if (known.tls, known.stamps) == (tls, stamps):
            return known
    made = Certificates(tls.strict_sni)
    contexts = _Contexts(trusts, {key: context for each in former for key, context in each.contexts.items()})
    yield from made.loading(chosen, contexts.of)
    warnings = yield from _warnings(made)
    return Served(tls, stamps, made, (*idle, *warnings), contexts.made)


class _Contexts:
    """Makes the contexts of certificates, or finds those that were made of the same ones before."""

    def __init__(self, trusts: Trusts, former: Mapping[tuple[Certificate, Stamps], ServerContext]) -> None:
        self.made: dict[tuple[Certificate, Stamps], ServerContext] = {}
        self._trusts = trusts
        self._former = former
        self._looked_at: dict[str, Stamps] = {}

    def of(self, certificate: Certificate) -> ServerContext:
        """Returns the context of a certificate. Raises TLSConfigurationError."""
        key = certificate, self._stamps(certificate)
        context = self._former.get(key) or ServerContext(certificate, self._trusts)
        self.made[key] = context
        return context

    def _stamps(self, certificate: Certificate) -> Stamps:
        """Returns the stamps of the certificate's files, taken before these are read."""
        line = BindTLS(offer=certificate.offer)
        files = [*files_of(line, [certificate])]
        for path in files:
            if path not in self._looked_at:
                self._looked_at[path] = stamps_of([path])
        held = self._trusts.stamps([(certificate.path, certificate.key)], [*trusted_files(line, ())])
        return (*(each for path in files for each in self._looked_at[path]), *held)


def _warnings(certificates: Certificates) -> Steps[list[str]]:
    """Returns warnings about certificates that are not valid yet, and about files beside them that are not used."""
    leaves = {each.crt: each.leaf for each in certificates.contexts}
    found = [text for path, leaf in leaves.items() for text in not_valid_yet(f"crt {path}", leaf)]
    for end, what in ((".ocsp", "OCSP responses are"), (".sctl", "certificate timestamps are")):
        for path in leaves:
            if os.path.exists(path + end):
                found.append(f"{path + end}: is not used, no {what} sent to clients yet")
            yield
    return found


def _with_admission(certificate: Certificate, known: dict[TLSOffer, object], held: FilesInMemory) -> Certificate:
    """Returns the certificate with its `admission`; many have the same offer, so it is `known` from the first."""
    if certificate.offer not in known:
        known[certificate.offer] = _admission(certificate.offer, held)
    return evolve(certificate, admission=known[certificate.offer])


def _admission(offer: TLSOffer, held: FilesInMemory) -> object:
    """Returns a value that identifies what clients must show, and the CAs and revocation lists that verify it."""
    versions = (offer.min_version, offer.max_version)
    if offer.verify == "none":
        return versions
    # One file may have CAs and lists: what it is named for counts, too.
    files = [[] if path is None else [path] for path in (offer.ca_file, offer.ca_verify_file, offer.crl_file)]
    stamps = tuple((*stamps_of(each), *held.stamps((), each)) for each in files)
    return (offer.verify, offer.ignored_ca_errors, offer.ignored_crt_errors, stamps, versions)


def _with_defaults(written: list[Certificate], tls: BindTLS) -> list[Certificate]:
    """Returns the certificates, with those for clients that ask for no name of ours marked: the first one, and the
    others of its bundle. As in HAProxy, such clients have the TLS versions of the `bind` line, whatever a line of a
    list says for its own names."""
    if not written or tls.strict_sni or any(each.default for each in written):
        return written
    bundle, ours = written[0].bundle, (tls.offer.min_version, tls.offer.max_version)
    first = [each for each in written if each is written[0] or (bundle and each.bundle == bundle)]
    if all((each.offer.min_version, each.offer.max_version) == ours for each in first):
        return written
    others = [
        evolve(each, offer=evolve(each.offer, min_version=ours[0], max_version=ours[1]), names=(), default=True)
        for each in first
    ]
    return [*others, *written]  # before those of lines for any name ("*")


def _written_out(tls: BindTLS, trusts: Trusts, idle: list[str]) -> Iterator[Certificate]:
    """Returns all certificates of the line; `idle` takes warnings about words that do nothing. Notes the lists in
    `trusts`."""
    for source in tls.sources:
        name = list_name(source.path)
        held = trusts.in_memory.lists.get(name)
        if source.kind == "crt-list":
            trusts.lists[name] = held or read_list(tls, source)
        elif source.kind == "crt" and (held is not None or os.path.isdir(source.path)):
            trusts.lists[name] = held or read_directory(source.path)
        else:
            default = source.kind == "default-crt"
            for path in found_at(source.path):
                yield Certificate(path, tls.offer, bundle=source.path, default=default, key=source.key)
            continue
        yield from listed(tls, source, trusts.lists[name], idle)


def _lists(tls: BindTLS) -> list[str]:
    return [list_name(each.path) for each in tls.sources]


def stamps_of(paths: Iterable[str]) -> Stamps:
    """Returns the stamps of the files, and of those in directories; missing files are left out. For "@system-ca" they
    are those of the files and directories where OpenSSL finds the system's CAs."""
    return run_through(_looking_at(paths))


def without_changed(held: FilesInMemory, changed: Iterable[str]) -> FilesInMemory:
    """Returns what is held in memory without what stands in the place of files that have `changed`: these count again.

    A directory of certificates has changed where it has more files than it had when it was read, or fewer."""
    names = frozenset(changed)
    above = names | {os.path.dirname(each) for each in names}
    lists = {
        path: each
        for path, each in held.lists.items()
        if path not in names
        and not any(
            os.path.lexists(one) != (one in (each.found or ())) for one in names if os.path.dirname(one) == path
        )
    }
    return FilesInMemory(
        {name: each for name, each in held.certificates.items() if not names & {name[0], *keys_of(*name)}},
        {path: each for path, each in held.authorities.items() if path not in above},
        {path: each for path, each in held.revocations.items() if path not in names},
        lists,
    )


def _looking_at(paths: Iterable[str]) -> Steps[Stamps]:
    stamps = {}
    for path in _without_aliases(paths):
        found = _look_at(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            for name in files_in(path):
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


def server_stamps(tls: ServerTLS | None, known: dict[str, Stamps], trusts: Trusts) -> Stamps:
    """Returns the stamps of all TLS files of a server line. `known` has those that one reading of the configuration has
    looked at already: a thousand servers may trust the same directory, which has 300 files where it is the system's."""
    if tls is None:
        return ()
    stamps: dict[tuple[str, int, int, int, int], None] = {}
    for path in _server_files(tls):
        if path not in known:
            known[path] = stamps_of([path])
        stamps.update(dict.fromkeys(known[path]))
    names = [(tls.crt, tls.key)] if tls.crt is not None else []
    return (*stamps, *trusts.stamps(names, _trusted_by(tls)))


def _server_files(tls: ServerTLS) -> list[str]:
    ours = [tls.crt, *keys_of(tls.crt, tls.key)] if tls.crt is not None else []
    return [*ours, *_trusted_by(tls)]


def _trusted_by(tls: ServerTLS) -> list[str]:
    return [path for path in (tls.ca_file, tls.crl_file) if path is not None]


class FilesOfTLS:
    """Lists all TLS files of a configuration, of listeners and servers; missing ones count as soon as they appear.

    Each file is looked at once, however many lines name it: 10 ms for 1000 certificates.
    """

    def __init__(self, configuration: Configuration) -> None:
        #: Whose files are not listed yet.
        self._configuration: Configuration | None = configuration
        self._offered: dict[BindTLS, None] = {}
        self._of_servers: list[str] = []
        self._lists_of_servers: list[str | None] = []
        self._beside_of_servers: list[str] = []
        #: Those that were found by the last look and have lists of revoked certificates, and those with CAs that are
        #: asked with them: these may have lists, too.
        self.crl_files: list[str] = []
        self.beside_lists: list[str] = []
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
        lists, beside = dict.fromkeys(self._lists_of_servers), dict.fromkeys(self._beside_of_servers)
        for tls in self._offered:
            sought = []
            for each in self._sought(tls):
                sought.append(each)
                yield
            paths.update(dict.fromkeys(files_of(tls, sought)))
            offers = [tls.offer, *(one.offer for one in sought)]
            lists.update(dict.fromkeys(each.crl_file for each in offers))
            with_lists = [each for each in offers if each.crl_file is not None]
            beside.update((path, None) for each in with_lists for path in (each.ca_file, each.ca_verify_file) if path)
            yield
        self.crl_files = [path for path in lists if path is not None]
        self.beside_lists = [*beside]
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
        self._lists_of_servers = [tls.crl_file for tls in asked]
        self._beside_of_servers = [tls.ca_file for tls in asked if tls.crl_file is not None and tls.ca_file is not None]
        if configuration.global_.issuers is not None:
            self._of_servers.append(configuration.global_.issuers.value)
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
                named = list(listed(tls, source, read_list(tls, source), []))
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
