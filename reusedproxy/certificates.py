"""Files of TLS, found and looked at: what a `bind` line serves, by which a file is known to be unchanged, what is out of date.

It knows the configuration's values and the file system, and gives `net` plain values. It starts nothing; what is wrong is
one sentence that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from attrs import frozen
from cryptography.x509 import Certificate as X509
from cryptography.x509 import load_pem_x509_certificates, load_pem_x509_crl

from reusedproxy.config.bind_tls import overridden
from reusedproxy.config.crt_list import read_crt_list
from reusedproxy.config.model import BindTLS, CertificateSource, Configuration, ServerTLS, TLSOffer
from reusedproxy.config.report import Wrong
from reusedproxy.net.tls_files import TLSConfigurationError, keys_beside
from reusedproxy.net.tls_server import Certificate, Certificates

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
        offers = [each.offer for each in contexts if each.offer.verify != "none"]
        yield from out_of_date(
            (each.crt for each in contexts), (each.ca_file for each in offers), (each.crl_file for each in offers)
        )
        for end, what in ((".ocsp", "OCSP responses are"), (".sctl", "certificate timestamps are")):
            for path in dict.fromkeys(each.crt + end for each in contexts):
                if os.path.exists(path):
                    yield f"{path}: is not used, no {what} sent to clients yet"


def serve(tls: BindTLS, previous: Iterable[Served] = ()) -> Served:
    """Read all that `tls` names, or take over one of the `previous`, with the sessions that its clients may resume.

    Raises TLSConfigurationError.
    """
    chosen = list(_written_out(tls))
    stamps = stamps_of(_files(tls, chosen))
    for each in previous:
        if (each.tls, each.stamps) == (tls, stamps):
            return each
    made = Certificates.load(chosen, tls.strict_sni)
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
        with open(source.path, encoding="utf-8") as file:
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
    stamps = {}
    for path in paths:
        for name in _in(path):
            try:
                found = os.stat(name)
            except OSError:
                continue
            stamps[name] = (name, found.st_mtime_ns, found.st_size, found.st_ino)
    return tuple(stamps.values())


def _in(path: str) -> list[str]:
    """The file, or those of the directory; none of one that may not be read, of which whoever uses it will tell."""
    if not os.path.isdir(path):
        return [path]
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


def all_stamps(configuration: Configuration) -> Stamps:
    """Of all files that TLS is made of, of listeners and servers; also of those that are missing, once they are there."""
    frontends = [each for each in configuration.frontends.values() if not each.disabled]
    backends = [each for each in configuration.backends.values() if not each.disabled]
    servers = [server for backend in backends for server in backend.servers]
    # Many lines say the same: each file is looked at once.
    offered = dict.fromkeys(bind.tls for frontend in frontends for bind in frontend.binds if bind.tls is not None)
    asked = dict.fromkeys(tls for server in servers for tls in (server.tls, server.check_tls) if tls is not None)
    files = [path for tls in offered for path in _files(tls, list(_sought(tls)))]
    files += [path for tls in asked for path in _server_files(tls)]
    return stamps_of(dict.fromkeys(files))


def _sought(tls: BindTLS) -> Iterator[Certificate]:
    """Under all names that a certificate may have. Those in a directory are found with it."""
    for source in tls.sources:
        bundles = [(source.path, tls.offer)]
        if source.kind == "crt-list":
            try:
                bundles = [(each.bundle, each.offer) for each in _listed(tls, source)]
            except TLSConfigurationError:
                bundles = []  # whoever is to serve it says why; the list itself is looked at
        for path, offer in bundles:
            yield from (Certificate(path + end, offer) for end in ("", *BUNDLE))


def out_of_date(
    crts: Iterable[str], ca_files: Iterable[str | None], crl_files: Iterable[str | None] = ()
) -> Iterator[str]:
    """What cannot work today because of its dates, though OpenSSL loads it without a word.

    Warnings only: peers that do not look at our certificate's dates exist, and a clock may be wrong.
    """
    now = datetime.now(timezone.utc)
    for crt in dict.fromkeys(crts):
        ours = certificates_of(crt)[:1]  # the others are its chain
        if ours and ours[0].not_valid_after_utc < now:
            yield f"crt {crt}: has expired, on {ours[0].not_valid_after_utc:%d %b %Y %H:%M} UTC"
        elif ours and ours[0].not_valid_before_utc > now:
            yield f"crt {crt}: is not valid yet, before {ours[0].not_valid_before_utc:%d %b %Y %H:%M} UTC"
    for path in dict.fromkeys(ca_files):
        trusted = certificates_of(path) if path is not None and os.path.isfile(path) else []
        if trusted and all(each.not_valid_after_utc < now for each in trusted):
            last = max(each.not_valid_after_utc for each in trusted)
            yield f"ca-file {path}: every CA in it has expired, the last on {last:%d %b %Y %H:%M} UTC"
    for path in dict.fromkeys(crl_files):
        if path is not None and (until := _next_list(path)) is not None and until < now:
            yield f"crl-file {path}: is out of date since {until:%d %b %Y %H:%M} UTC, so every certificate is refused"


def server_out_of_date(tls: ServerTLS) -> Iterator[str]:
    """The same of a server line."""
    verifies = tls.verify == "required"
    ours = [tls.crt] if tls.crt is not None else []
    return out_of_date(ours, [tls.ca_file] if verifies else [], [tls.crl_file] if verifies else [])


def certificates_of(path: str) -> list[X509]:
    """Those of a PEM file that OpenSSL has accepted already; none, if this library is more particular."""
    try:
        with open(path, "rb") as file:
            return load_pem_x509_certificates(file.read())
    except (OSError, ValueError):
        return []


def _next_list(path: str) -> datetime | None:
    """When a newer list should have been there, of the first in the file."""
    try:
        with open(path, "rb") as file:
            return load_pem_x509_crl(file.read()).next_update_utc
    except (OSError, ValueError):
        return None
