"""Makes the certificates of a `crt-list`, or of a directory, from the file or from what has taken its place in memory.

Knows the configuration's values and the file system. Loads no certificate; each fault is one sentence that names the
list and its line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from io import TextIOWrapper

from attrs import evolve

from reusedproxy.build.identity_sources import BESIDE
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.haproxy_words import BIND_WITHOUT_EFFECT
from reusedproxy.config.language.report import Wrong, did_you_mean
from reusedproxy.config.model.tls import BindTLS, CertificateSource, ListEntry, TLSOffer
from reusedproxy.config.tls.crt_list import CrtList, CrtListLine, list_name, options_in_order, read_crt_list
from reusedproxy.config.tls.words import TLSWords, not_offered, offered_protocols, overridden
from reusedproxy.net.files import LARGEST_TEXT, Writers, bounded, names_in, open_list, why_unread
from reusedproxy.net.tls.files import TLSConfigurationError, keys_beside
from reusedproxy.net.tls.server import Certificate

#: Suffixes of a bundle's files, in HAProxy's order: certificates with several key types for the same names.
BUNDLE = (".dsa", ".ecdsa", ".rsa")


def listed(tls: BindTLS, source: CertificateSource, held: CrtList, idle: list[str]) -> Iterator[Certificate]:
    """Returns the certificates of a list; `idle` takes warnings about words that do nothing. Raises
    TLSConfigurationError."""
    for line in held.lines:
        offer = _offer(tls, f"crt-list {source.path}", line, idle) if line.number else tls.offer
        entry = ListEntry(list_name(source.path), line.number, options_in_order(line.words, offer))
        yield Certificate(line.path, offer, line.names, bundle=line.bundle, key=line.key, entry=entry)


def _offer(tls: BindTLS, what: str, line: CrtListLine, idle: list[str]) -> TLSOffer:
    """Returns the settings of a line. Raises TLSConfigurationError."""
    offer = overridden(tls, line.words)
    where = f"{what}: line {line.number}"
    if "alpn" in line.words.said:
        offered = offered_protocols(offer.alpn, "alpn")
        if offered != offer.alpn:
            idle.append(f"{where}: {not_offered(offer.alpn, offered)}")
            offer = evolve(offer, alpn=offered)
    if offer.verify != "none" and offer.ca_file is None and offer.ca_verify_file is None:
        raise TLSConfigurationError(f"{where}: 'verify {offer.verify}' needs 'ca-file <file>'")
    if offer.verify == "none":
        for word in sorted(line.words.words & {"ca-file", "ca-verify-file", "crl-file"}):
            idle.append(f"{where}: '{word}' does nothing without 'verify required' or 'verify optional'")
    for word in sorted(line.words.words & BIND_WITHOUT_EFFECT):
        idle.append(f"{where}: '{word}' is without effect in reusedproxy")
    if offer.min_version > offer.max_version:
        raise TLSConfigurationError(f"{where}: {offer.min_version} is above {offer.max_version}")
    return offer


def read_directory(path: str) -> CrtList:
    """Returns the certificates of a directory, in the order of their names. Raises TLSConfigurationError."""
    files = found_at(path)
    lines = (CrtListLine(0, each, TLSWords(), bundle=each) for each in files)
    return CrtList((*lines,), found=frozenset(files_in(path)))


def read_list(tls: BindTLS, source: CertificateSource) -> CrtList:
    """Returns the certificates of a `crt-list`. Raises TLSConfigurationError."""
    what = f"crt-list {source.path}"
    try:
        descriptor, writers = open_list(source.path)
        with TextIOWrapper(bounded(descriptor, source.path, LARGEST_TEXT), encoding="utf-8") as file:
            text = file.read()
        lines = read_crt_list(text)
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {why_unread(source.path, error)}") from None
    except UnicodeDecodeError as error:
        raise TLSConfigurationError(f"{what}: is not a text file in UTF-8 (byte {error.start})") from None
    except Wrong as wrong:
        raise TLSConfigurationError(f"{what}: {wrong}") from None
    if not lines:
        raise TLSConfigurationError(f"{what}: names no certificate")
    ours = frozenset(files_of(evolve(tls, sources=()), ()))
    found = (each for line in lines for each in _resolved(tls, source, line, writers, ours))
    return CrtList((*found,), text.count("\n"))


def _resolved(
    tls: BindTLS, source: CertificateSource, line: CrtListLine, writers: Writers | None, ours: frozenset[str]
) -> Iterator[CrtListLine]:
    """Returns a line for each certificate of a line of a file. Raises TLSConfigurationError."""
    what = f"crt-list {source.path}: line {line.number}"
    stored = {each.name: each for each in tls.stored}
    path = based_path(line.path, tls.crt_base)
    if (known := stored.get(line.path) or stored.get(path)) is not None:
        # The configuration has said its files, and not who can change the list.
        yield evolve(line, path=known.path, key=known.key, bundle=known.path)
        return
    if path.startswith("@"):
        raise TLSConfigurationError(f"{what}: no 'crt-store' above has '{path}'{did_you_mean(path, stored)}")
    with nullcontext() if writers is None or path in ours else writers.acting():
        if os.path.isdir(path):
            raise TLSConfigurationError(f"{what}: {path} is a directory: name its files")
        files = found_at(path)
    if writers is not None:
        offer = overridden(tls, line.words)
        made = [Certificate(each, offer) for each in files]
        for each in files_of(evolve(tls, sources=(), offer=offer), made):
            if each not in ours:
                _demand_readable(what, source, each, files, writers)
    yield from (evolve(line, path=each, bundle=path) for each in files)


def _demand_readable(what: str, source: CertificateSource, path: str, files: Sequence[str], writers: Writers) -> None:
    """Raises TLSConfigurationError where those who can change the list cannot read a file that it names."""
    # A key beside its certificate need not be there, and stands where who can read that can see it.
    if any(path in keys_beside(each) for each in files) and not os.path.lexists(path):
        return
    if trouble := next(filter(None, map(writers.trouble_with, [path, *files_in(path)])), ""):
        text = (
            f"who can change this list cannot read {path} ({trouble}), so root does not either:"
            f" chown root {source.path}"
        )
        raise TLSConfigurationError(f"{what}: {text}")


def found_at(path: str) -> list[str]:
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


def files_of(tls: BindTLS, certificates: Sequence[Certificate]) -> Iterator[str]:
    """Returns the files that a `bind` line and these certificates of its own name."""
    for each in tls.sources:
        yield each.path
    yield from (path for each in certificates for path in (each.path, *keys_of(each.path, each.key)))
    yield from trusted_files(tls, certificates)
    offers = [tls.offer, *(each.offer for each in certificates)]
    yield from dict.fromkeys(each.dh_file for each in offers if each.dh_file)


def trusted_files(tls: BindTLS, certificates: Sequence[Certificate]) -> Iterator[str]:
    """Returns those of them that have CAs or lists of revoked certificates."""
    offers = [tls.offer, *(each.offer for each in certificates)]
    yield from dict.fromkeys(
        path for each in offers for path in (each.ca_file, each.ca_verify_file, each.crl_file) if path
    )


def keys_of(path: str, key: str | None) -> list[str]:
    """Returns the files where the key of a certificate may be."""
    return keys_beside(path) if key is None else [key]


def files_in(path: str) -> list[str]:
    """Returns the files of a directory, without hidden ones, which are not used; none for an unreadable one, which is
    reported where it is used."""
    try:
        return [os.path.join(path, name) for name in names_in(path) if not name.startswith(".")]
    except OSError:
        return []
