"""Makes OpenSSL's stores of the CAs that are trusted, and of what they have revoked: HAProxy's `ca-file`, `crl-file`.

A store is shared by all contexts whose files have the same contents, whatever their names, and by all readings of the
configuration as long as it is in use. It must never know who trusts, nor whom.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from OpenSSL import SSL, crypto

from reusedproxy.config.tls.crt_list import CrtList
from reusedproxy.net.files import held_in_memory, names_in
from reusedproxy.net.slices import Steps
from reusedproxy.net.tls.crl import Span
from reusedproxy.net.tls.crl_files import CRLFiles, Revoked
from reusedproxy.net.tls.files import (
    LARGEST_AUTHORITIES,
    LARGEST_CERTIFICATE,
    CertificateFile,
    TLSConfigurationError,
    blocks_in,
    certificate_in_place_of,
    certificates_in,
    content_of,
    naming,
    read_certificate,
    readable_certificates_in,
)
from reusedproxy.net.tls.in_memory import CertificateInMemory, CertificateName, FilesInMemory, Stamp
from reusedproxy.net.tls.issuers import NO_ISSUERS, Chain
from reusedproxy.net.tls.openssl_server import share_store
from reusedproxy.net.tls.revoked import ListUnreadable, RevokedLists, has_large_lists, without_lists
from reusedproxy.net.tls.svid import SPIFFE, SVID
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.words import subjects_of

SYSTEM_CA = "@system-ca"

#: Keywords of the configuration, each with its path; None: the system's own CAs.
Named = tuple[tuple[str, "str | None"], ...]
#: A keyword, and the files that its path stands for, each with its content; None: the system's own CAs.
Authorities = tuple[str, "tuple[tuple[str, bytes], ...] | None"]


class Trust:
    """Holds the OpenSSL store of some CA files, shared by all contexts that name the same files."""

    def __init__(
        self,
        authorities: Sequence[Authorities],
        revoked: Revoked | None,
        within: Callable[[str, str, bytes], RevokedLists] | None = None,
    ) -> None:
        """Loads the files. Raises TLSConfigurationError.

        There are no lists while none have been fetched: then everything is refused, since nobody knows what is revoked.
        Large lists among the CAs come from `within` (None: they are not asked). Without a `crl-file` nobody asks for
        any.
        """
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._lists = None if revoked is None else revoked[1]
        #: Those among the CAs, if they are large.
        self._within: list[RevokedLists] = []
        #: When each list of what is revoked says that the next one is due (Unix time): from then on it does not count.
        self.ends = [] if self._lists is None else [end for _, end in self._lists.spans if end is not None]
        for word, files in authorities:
            if files is None:
                self._context.set_default_verify_paths()
            for path, content in files or ():
                what = f"{word} {path}"
                if not has_large_lists(content):
                    _trust(self._context, what, content)
                    continue
                if (others := without_lists(content)).strip():
                    _trust(self._context, what, others)
                if revoked is not None and within is not None:
                    self._within.append(within(what, path, content))
                    _revoke(self._context, what, self._within[-1])
        if revoked is not None:
            _demand_lists(self._context)
            _revoke(self._context, f"crl-file {revoked[0]}", revoked[1])

    @property
    def _all_lists(self) -> list[RevokedLists]:
        return [*self._within, *([] if self._lists is None else [self._lists])]

    @property
    def takes_long(self) -> bool:
        """Tells whether `prepare` does."""
        return any(each.is_large for each in self._all_lists)

    def prepare(self) -> None:
        """Does what would hold up the first handshake."""
        for each in self._all_lists:
            each.sort(self._context)

    def give(self, context: SSL.Context) -> None:
        """Makes `context` trust what is in the store."""
        share_store(context, self._context)
        for each in self._all_lists:
            each.outlive(context)


def _trust(context: SSL.Context, what: str, content: bytes) -> None:
    """Makes `context` trust the CAs of a PEM file. Raises TLSConfigurationError."""
    if not any(block.endswith((b"CERTIFICATE", b"CRL")) for block in blocks_in(what, content)):
        raise TLSConfigurationError(f"{what}: no usable CA certificate: there is none in it")
    try:
        with held_in_memory(content) as held:
            context.load_verify_locations(held)
    except SSL.Error as error:
        raise TLSConfigurationError(f"{what}: no usable CA certificate: {openssl_reason(error)}") from None
    except OSError as error:
        raise TLSConfigurationError(f"{what}: no usable CA certificate: {error.strerror}") from None


class Trusted:
    """Joins a `Trust` with the names under which it was asked for, and what was read of these."""

    def __init__(self, trust: Trust, named: Named, authorities: Sequence[Authorities], revoked: Revoked | None) -> None:
        self._trust = trust
        self._named = named
        self._authorities = authorities
        self._crl_file = None if revoked is None else revoked[0]
        self._is_fetched = revoked is None or revoked[1] is not None

    def give(self, context: SSL.Context) -> None:
        """Makes `context` trust what is in the store."""
        self._trust.give(context)

    @property
    def ends(self) -> list[float]:
        """Returns when the lists of what is revoked end (Unix time)."""
        return self._trust.ends

    @property
    def path(self) -> str:
        """Returns the first of the paths under which it was asked for."""
        return self._named[0][1] or SYSTEM_CA

    def trusts_the_same(self, other: Trusted) -> bool:
        """Tells whether both were asked for under the same names, and their files have the same contents."""
        return self._trust is other._trust and (self._named, self._crl_file) == (other._named, other._crl_file)

    @cached_property
    def words(self) -> str:
        """Returns the trusted CAs in words, for the message of a failed handshake.

        To list the names of 145 CAs takes 5 ms.
        """
        trusted = zip(self._named, self._authorities, strict=True)
        each = ", ".join(f"{word} {path or SYSTEM_CA}{_subjects(files)}" for (word, path), (_, files) in trusted)
        revoked = f"; revoked are those of crl-file {self._crl_file}" if self._crl_file is not None else ""
        return f"trusted are those of {each}{revoked}{'' if self._is_fetched else ', which has not been fetched yet'}"


def _subjects(files: Sequence[tuple[str, bytes]] | None) -> str:
    """Returns the subjects of the CAs in parentheses; "" for the system's, and where cryptography is stricter than
    OpenSSL and cannot read a file."""
    found = dict.fromkeys(each for _, content in files or () for each in certificates_in(content))
    return f" ({subjects_of([*found])})" if found else ""


class Trusts:
    """Keeps one `Trust` for each set of file contents, whatever the files' names.

    To load 145 CAs takes 7 ms and 0.6 MB. There is one `Trusts` for each reading of the configuration. A store of the
    `previous` one that is still in use, and whose files have not changed, is used again.
    """

    def __init__(
        self, previous: Trusts | None = None, in_memory: FilesInMemory | None = None, svid: SVID | None = None
    ) -> None:
        """Takes what the `previous` reading has read, what is held in memory in place of files, and what "@spiffe"
        stands for; None: no agent has been asked."""
        self._svid = svid
        self._by_content: WeakValueDictionary[object, Trust] = (
            WeakValueDictionary() if previous is None else previous._by_content
        )
        self._by_name: dict[tuple[Named, str | None], Trusted] = {}
        self._contents: dict[str, bytes] = {}
        #: The digests of those that were made ahead in a thread.
        self._digests: dict[str, bytes] = {}
        #: What was read last, by the paths that configurations have named: the contents of the file, or of a
        #: directory's. Those of the previous reading stay: who has not changed is not made anew.
        self.authorities: dict[str, tuple[bytes, ...]] = {} if previous is None else {**previous.authorities}
        self.crl_files: CRLFiles = CRLFiles(None if previous is None else previous.crl_files)
        #: Stores that are new in this reading and whose use would begin slowly.
        self._slow: list[Trust] = []
        #: The lines of `crt-list` files and directories, by `build.crt_lists.list_name`.
        self.lists: dict[str, CrtList] = {}
        self.in_memory = FilesInMemory() if in_memory is None else in_memory
        #: What completes the chains of certificates that it reads.
        self.issuers = NO_ISSUERS
        #: What that is for each, as far as it was asked.
        self._chains: dict[CertificateName, Chain | None] = {}
        #: The certificates in use, as long as some context shows them.
        self._certificates: WeakValueDictionary[CertificateName, CertificateFile] = WeakValueDictionary(
            {} if previous is None else previous._certificates
        )

    @property
    def revocations(self) -> dict[str, bytes]:
        """Returns what was read last of each `crl-file`, by its path."""
        return self.crl_files.contents

    @property
    def spans(self) -> dict[str, tuple[Span, ...]]:
        """Returns from when to when the lists in these are valid."""
        return self.crl_files.spans

    @property
    def certificates(self) -> dict[CertificateName, CertificateInMemory]:
        """Returns the contents of the certificates that were read, from files or from memory."""
        return {name: CertificateInMemory(each.content, each.key) for name, each in self._certificates.items()}

    def certificate(self, path: str, key_file: str | None = None) -> CertificateFile:
        """Returns the certificate that is held in memory, or else reads the file (`read_certificate`); or that of the
        SVID.

        Raises TLSConfigurationError."""
        held = self.in_memory.certificates.get((path, key_file))
        if path == SPIFFE:
            svid = self._asked("crt")
            found = certificate_in_place_of(SPIFFE, svid.chain, svid.key)
        elif held is not None:
            found = self.issuers.completed(certificate_in_place_of(path, held.content, held.key))
        else:
            found = self.issuers.completed(read_certificate(path, key_file))
        self._certificates[path, key_file] = found
        return found

    def stamps(self, names: Collection[CertificateName], paths: Collection[str]) -> tuple[Stamp, ...]:
        """Returns the stamps of what is in memory of certificates and of other files, and of what completes the chains
        of the former."""
        chains = {name: self._chain_of(name) for name in names} if self.issuers.chains else {}
        above = ((path, each.digest, 0, len(each.content), 0) for (path, _), each in chains.items() if each is not None)
        return (*self.in_memory.stamps(names, paths), *above)

    def finding_chains(self, names: Iterable[CertificateName]) -> Steps[None]:
        """Finds what completes the chains of many certificates, in steps, ahead of `stamps`: their files are read."""
        for name in names if self.issuers.chains else ():
            self._chain_of(name)
            yield

    def _chain_of(self, name: CertificateName) -> Chain | None:
        if name not in self._chains:
            held, content = self.in_memory.certificates.get(name), b""
            if held is not None:
                content = held.content
            elif name[0] != SPIFFE:
                with suppress(TLSConfigurationError):  # which is said when it is to be shown
                    content = content_of(f"crt {name[0]}", name[0], LARGEST_CERTIFICATE)
            self._chains[name] = self.issuers.chain_for(content)
        return self._chains[name]

    def of(self, named: Named, crl_file: str | None = None, *, fetched: bool = False) -> Trusted:
        """Returns what makes a context trust `named`: paths (None: the system's CAs) with their keywords.

        Raises TLSConfigurationError, with all that is wrong. A `crl_file` that is `fetched` may not be there yet.
        """
        asked = named, crl_file
        if asked not in self._by_name:
            authorities, revoked = self._read(named, crl_file, fetched)
            # OpenSSL reads the system's, so they are read again at each reading.
            digests = tuple(
                self if files is None else tuple(self._digest_of(path, each) for path, each in files)
                for _, files in authorities
            )
            key = digests, None if revoked is None else b"" if revoked[1] is None else revoked[1].digest
            trust = self._by_content.get(key)
            if trust is None:
                trust = self._by_content[key] = Trust(authorities, revoked, self._within)
                if trust.takes_long:
                    self._slow.append(trust)
            self._by_name[asked] = Trusted(trust, named, authorities, revoked)
        return self._by_name[asked]

    def require(self, named: Named, crl_file: str | None = None, *, fetched: bool = False) -> None:
        """Reads files that count for nothing, because nobody is verified. As in HAProxy, what is wrong with them is an
        error all the same, but for a directory without CAs, and certificates where lists should be: who adds `verify
        required` later relies on them. Raises TLSConfigurationError, with all that is wrong."""
        named = tuple((word, path) for word, path in named if path is None or not _has_none(path))
        if crl_file is not None and crl_file not in self.in_memory.revocations and _has_no_list(crl_file):
            crl_file = None
        if named:
            self.of(named, crl_file, fetched=fetched)
        else:
            self._read(named, crl_file, fetched)

    def _read(
        self, named: Named, crl_file: str | None, fetched: bool
    ) -> tuple[list[tuple[str, tuple[tuple[str, bytes], ...] | None]], Revoked | None]:
        faults: list[str] = []
        authorities, revoked = [], None
        for word, path in named:
            try:
                authorities.append((word, self._files_of(word, path)))
            except TLSConfigurationError as error:
                faults += error.args
        try:
            revoked = None if crl_file is None else self._revoked(crl_file, fetched)
        except TLSConfigurationError as error:
            faults += error.args
        if faults:
            raise TLSConfigurationError(*faults)
        return authorities, revoked

    def shows(self, crt: str) -> bool:
        """Tells whether there is a certificate: there is none where the agent is not asked (`--check`)."""
        return crt != SPIFFE or self._svid is None or bool(self._svid.chain)

    def _asked(self, word: str) -> SVID:
        if self._svid is None:
            text = "no agent is asked: 'spiffe-workload-api' takes effect at the next start only"
            raise TLSConfigurationError(f"{word} {SPIFFE}: {text}")
        return self._svid

    @property
    def svid_stamps(self) -> dict[str, tuple[tuple[str, int, int, int, int], ...]]:
        """Returns the stamps of what is no file, by its name."""
        return {} if self._svid is None else {SPIFFE: self._svid.stamps}

    def name_authorities(self, context: SSL.Context, ca_file: str) -> None:
        """Tells clients the CAs whose certificates are accepted; not the system's CAs, which are too many."""
        for path, content in self._files_of("ca-file", ca_file) or ():
            for authority in readable_certificates_in(f"ca-file {path}", content):
                context.add_client_ca(authority)

    def _files_of(self, word: str, path: str | None) -> tuple[tuple[str, bytes], ...] | None:
        """Returns what is held in memory, the file, or the files of the directory, with their contents; None for the
        system's CAs. Raises TLSConfigurationError."""
        held = None if path is None else self.in_memory.authorities.get(path)
        if path is not None and held is not None:
            self.authorities[path] = (held,)
            return ((path, held),)
        if path is None or path == SYSTEM_CA:
            return None
        if path == SPIFFE:
            bundle = self._asked(word).bundle
            self.authorities[path] = (bundle,)
            return ((SPIFFE, bundle),) if bundle else ()
        found = tuple((file, self._content(word, file, LARGEST_AUTHORITIES)) for file in _files_of(word, path))
        self.authorities[path] = tuple(content for _, content in found)
        return found

    def reading(self, crl_files: Iterable[str], reactor: Any, beside: Iterable[str] = ()) -> Steps[None]:
        """Reads those lists of revoked certificates ahead of `of`, in steps, that would hold up the event loop: of
        these files, and of those with CAs `beside` them."""
        yield from self.crl_files.reading(crl_files, self.in_memory.revocations, reactor)
        for path in beside:
            try:
                files = self._files_of("ca-file", path) or ()
                for file, content in files:
                    if has_large_lists(content):
                        digest = yield from self.crl_files.reading_within(f"ca-file {file}", content, reactor)
                        self._digests[file] = digest
            except TLSConfigurationError:
                pass  # `of` says so

    def preparing(self, reactor: Any | None) -> Steps[None]:
        """Prepares the stores that are new in this reading for their first use: in a thread, in steps, where a
        `reactor` serves clients meanwhile."""
        for trust in self._slow:
            if reactor is None:
                trust.prepare()
            else:
                yield self.crl_files.worker.do(reactor, trust.prepare)
        self._slow.clear()

    def _revoked(self, crl_file: str, fetched: bool) -> Revoked:
        return self.crl_files.of(crl_file, self.in_memory.revocations.get(crl_file), fetched=fetched)

    def _within(self, what: str, path: str, content: bytes) -> RevokedLists:
        return self.crl_files.within(what, content, self._digest_of(path, content))

    def _digest_of(self, path: str, content: bytes) -> bytes:
        return self._digests.get(path) or _digest(content)

    def _content(self, word: str, path: str, most: int) -> bytes:
        """Returns what is in a file, which is read once: what is looked at is what is trusted."""
        if path not in self._contents:
            self._contents[path] = content_of(f"{word} {path}", path, most)
        return self._contents[path]


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()


def _revoke(context: SSL.Context, what: str, lists: RevokedLists | None) -> None:
    """Has `context` refuse what these lists revoke. Raises TLSConfigurationError, whose message begins with `what`."""
    if lists is None:
        return
    try:
        lists.add_to(context)
    except ListUnreadable:
        raise TLSConfigurationError(f"{what}: OpenSSL does not take a list in it") from None


def _demand_lists(context: SSL.Context) -> None:
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _has_none(path: str) -> bool:
    """Tells whether this is a directory without certificates."""
    try:
        return os.path.isdir(path) and not _pem_files(path)
    except OSError:
        return False


def _has_no_list(path: str) -> bool:
    """Tells whether there are certificates, or other files, in place of lists of revocations."""
    if os.path.isdir(path):
        return True
    try:
        text = content_of(f"crl-file {path}", path, LARGEST_AUTHORITIES)
    except TLSConfigurationError:
        return False  # which is said when it is read as a list
    return b"-----BEGIN CERTIFICATE-----" in text and b"-----BEGIN X509 CRL-----" not in text


def _files_of(word: str, path: str) -> list[str]:
    """Returns the file, or the files of the directory. Raises TLSConfigurationError."""
    with naming(f"{word} {path}", path):
        files = _pem_files(path)
    if not files:
        raise TLSConfigurationError(f"{word} {path}: there is no .pem, .crt or .cer file in this directory")
    return files


def _pem_files(path: str) -> list[str]:
    """Returns the file, or the files of the directory whose names say that they hold certificates. As in HAProxy, those
    that begin with a dot are not among them: so an authority is put out of use."""
    if not os.path.isdir(path):
        return [path]
    names = [each for each in names_in(path) if each.endswith((".pem", ".crt", ".cer")) and not each.startswith(".")]
    return [each for name in names if not os.path.isdir(each := os.path.join(path, name))]
