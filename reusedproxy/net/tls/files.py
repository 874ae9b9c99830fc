"""Reads the files of TLS: a certificate with its chain and key, and the CAs that are trusted.

They are HAProxy's `crt` and `ca-file`, on `bind` and on `server` lines. An error message names the file and says in
plain words what is wrong with it. Each file is opened once, by us, and OpenSSL gets what was in it: given a path, it
would follow links that root does not follow, and might find another file there by then. It must never know who shows
the certificate, nor to whom.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
    load_pem_x509_certificates,
)
from OpenSSL import SSL, crypto

from reusedproxy.config.tls.crt_list import CrtList
from reusedproxy.net.files import MEBIBYTE, held_in_memory, names_in, open_bounded, read_file, why_unread
from reusedproxy.net.slices import Steps
from reusedproxy.net.threads import Worker
from reusedproxy.net.tls.crl import Span
from reusedproxy.net.tls.in_memory import CertificateInMemory, CertificateName, FilesInMemory
from reusedproxy.net.tls.openssl_server import share_store
from reusedproxy.net.tls.revoked import SMALL, ListUnreadable, RevokedLists, read_lists
from reusedproxy.net.tls.svid import SPIFFE, SVID
from reusedproxy.net.tls.tokens import TOKEN_KEY, KeyNotInToken, use_token_key
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.words import name_of, subjects_of

SYSTEM_CA = "@system-ca"

#: Most bytes of a file with a certificate, its chain and its key, or with DH parameters: some hundred certificates.
LARGEST_CERTIFICATE = MEBIBYTE
#: Most bytes of a file with CAs (Debian's 145 have 0.2 MB), and of one with revocation lists (those of large CAs have
#: tens of megabytes).
LARGEST_AUTHORITIES = 16 * MEBIBYTE
LARGEST_REVOCATIONS = 128 * MEBIBYTE

#: A certificate in PEM, without headers, such as encrypted ones have.
_CERTIFICATE_BLOCK = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]*CERTIFICATE)-----\s[A-Za-z0-9+/=\s]+-----END \1-----[ \t\r]*$", re.M
)
#: DH parameters in PEM, without headers. (The other label is for X9.42.)
_DH_BLOCK = re.compile(
    rb"^-----BEGIN (X9\.42 |)DH PARAMETERS-----\s[A-Za-z0-9+/=\s]+-----END \1DH PARAMETERS-----[ \t\r]*$", re.M
)
#: The line before a block in PEM; expressions that look for its beginning by themselves take 12 ms a megabyte.
_BEGINS, _ENDS = b"-----BEGIN ", b"-----END "
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 #]+)-----")

#: Keywords of the configuration, each with its path; None: the system's own CAs.
Named = tuple[tuple[str, "str | None"], ...]


class TLSConfigurationError(Exception):
    """Says that a certificate, key or CA file cannot be used; the message names it and says why. Several are
    `args`."""

    def __str__(self) -> str:
        return "; ".join(self.args)


@frozen(eq=False)
class CertificateFile:
    """Holds what a `crt` was when it was read: the certificate that is shown to peers, and the whole file; and the file
    with its key, which may be the same. Two readings are different certificates, whatever is in them."""

    path: str
    leaf: Certificate
    content: bytes
    key_path: str
    key: bytes

    @property
    def has_dh_parameters(self) -> bool:
        return b"DH PARAMETERS" in pem_blocks(self.content)

    def use(self, context: SSL.Context) -> None:
        """Has connections of `context` show this certificate. Opens no file. Raises TLSConfigurationError."""
        what = f"crt {self.path}"
        try:
            with held_in_memory(_chain_in(what, self.content, _blocks_in(what, self.content))) as held:
                context.use_certificate_chain_file(held)
        except SSL.Error as error:
            reason = openssl_reason(error)
            if "key too small" in reason:
                reason += f" (it has {getattr(self.leaf.public_key(), 'key_size', 'few')} bits)"
            raise TLSConfigurationError(f"{what}: no usable certificate: {reason}") from None
        except OSError as error:
            raise TLSConfigurationError(f"{what}: no usable certificate: {error.strerror}") from None
        try:
            _use_key(context, f"crt {self.key_path}", self.key)
            context.check_privatekey()
        except SSL.Error:
            # OpenSSL says "key values mismatch", or for keys of different kinds "no certificate assigned".
            reason = f"it does not belong to the first certificate, which is {name_of(self.leaf.subject)}"
            raise TLSConfigurationError(f"crt {self.key_path}: no usable private key: {reason}") from None


def read_certificate(path: str, key_file: str | None = None) -> CertificateFile:
    """Reads HAProxy's `crt`: one PEM file with certificate, chain and key. Raises TLSConfigurationError; whether the
    key belongs to the certificate is found out by `use`.

    The key is that of `key_file`, if there is one. Without, and if the file has no key, it is read from a file beside
    it, see `keys_beside`.
    """
    what = f"crt {path}"
    content = _content(what, path, LARGEST_CERTIFICATE)
    blocks = _blocks_in(what, content)
    if not any(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"{what}: no usable certificate: there is none in it")
    alone = key_file is not None or not any(block.endswith((b"PRIVATE KEY", TOKEN_KEY)) for block in blocks)
    key = key_file or (_key_beside(path) if alone else path)
    first = _first_in(what, content)
    _chain_in(what, content, blocks)
    private = _content(f"crt {key}", key, LARGEST_CERTIFICATE) if alone else content
    return CertificateFile(path, first, content, key, private)


def certificate_in_place_of(path: str, content: bytes, key: bytes) -> CertificateFile:
    """Returns a certificate that is shown in place of the one in a file, from its content and that of its key, in PEM.

    Raises TLSConfigurationError."""
    what = f"crt {path}"
    first = _first_in(what, content)
    _chain_in(what, content, _blocks_in(what, content))
    return CertificateFile(path, first, content, path, key)


def _chain_in(what: str, content: bytes, blocks: Sequence[bytes]) -> bytes:
    """Returns the blocks with certificates, for OpenSSL, which would ask on the terminal for the passphrase of one that
    is encrypted. Raises TLSConfigurationError."""
    found = [each[0] for each in _CERTIFICATE_BLOCK.finditer(content)]
    if len(found) < sum(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"{what}: no usable certificate: a block of one is encrypted, or not in base64")
    return b"\n".join((*found, b""))


def _first_in(what: str, content: bytes) -> Certificate:
    """Returns the certificate that is shown to peers, which is known to be readable, as its public key is."""
    first = _certificates_in(what, content)[0]
    # Names that cannot be read are reported as such; OpenSSL shows the certificate all the same.
    with suppress(ValueError):
        try:
            _ = first.extensions
        except (DuplicateExtension, UnsupportedGeneralNameType) as error:
            raise TLSConfigurationError(f"{what}: no usable certificate: {error}") from None
    try:
        first.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = f"the public key of the first one, which is {name_of(first.subject)}, cannot be read"
        raise TLSConfigurationError(f"{what}: no usable certificate: {reason} ({error})") from None
    return first


def _use_key(context: SSL.Context, what: str, content: bytes) -> None:
    """Has `context` sign with the key in a PEM file, or with one in a token to which it leads. Raises
    TLSConfigurationError, and SSL.Error where it is not that of the certificate."""
    if TOKEN_KEY not in pem_blocks(content):
        context.use_privatekey(_private_key(what, content))
        return
    try:
        use_token_key(context, content)
    except KeyNotInToken as error:
        raise TLSConfigurationError(f"{what}: no usable private key: {error}") from None


def _private_key(what: str, content: bytes) -> Any:
    blocks = _blocks_in(what, content)
    try:
        # OpenSSL's own reader is not used: at a passphrase it would stop the daemon with a prompt on the terminal. The
        # check whether the primes of an RSA key are primes is skipped, as OpenSSL does: it takes 35 ms for a key of
        # 2048 bits and 250 ms for 4096. `CertificateFile.use` checks that the key belongs to its certificate.
        return load_pem_private_key(content, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        reason = "the key is protected by a passphrase, which a daemon cannot be asked for (openssl pkey takes it off)"
    except (ValueError, UnsupportedAlgorithm):
        # The library's message runs over several lines and says no more than this.
        reason = "it cannot be decoded"
        if b"OPENSSH PRIVATE KEY" in blocks:
            reason = "it has OpenSSH's format (ssh-keygen -p -m PEM changes it)"
    raise TLSConfigurationError(f"{what}: no usable private key: {reason}")


def use_dh_parameters(context: SSL.Context, what: str, content: bytes) -> None:
    """Loads the first parameters for DHE in a PEM file. Raises TLSConfigurationError; `what` begins the message."""
    # Nothing else gets to OpenSSL, which would ask on the terminal for the passphrase of a block that is encrypted.
    block = _DH_BLOCK.search(content)
    if block is None:
        raise TLSConfigurationError(f"{what}: no usable DH parameters: there is no block of them in base64")
    try:
        with held_in_memory(block[0]) as held:
            context.load_tmp_dh(held)
    except SSL.Error as error:
        raise TLSConfigurationError(f"{what}: no usable DH parameters: {openssl_reason(error)}") from None
    except OSError as error:
        raise TLSConfigurationError(f"{what}: no usable DH parameters: {error.strerror}") from None


def keys_beside(path: str) -> list[str]:
    """Returns the files where the key may be if the `crt` file has none.

    HAProxy has the second one with `ssl-load-extra-del-ext` only.
    """
    return [path + ".key", *([path.removesuffix(".crt") + ".key"] if path.endswith(".crt") else [])]


def _key_beside(path: str) -> str:
    candidates = keys_beside(path)
    for key in candidates:
        if os.path.exists(key):
            return key
    raise TLSConfigurationError(
        f"crt {path}: holds no private key, and there is no {' or '.join(candidates)} beside it"
    )


def pem_blocks(content: bytes) -> list[bytes]:
    """Returns the labels of the blocks in a PEM file, in order: CERTIFICATE, RSA PRIVATE KEY and so on (RFC 7468)."""
    found = (_LABEL.match(content, at) for at in _lines(content, _BEGINS))
    return [each[1] for each in found if each is not None]


def _lines(content: bytes, words: bytes) -> Iterator[int]:
    """Returns where the lines are that begin with these words."""
    at = content.find(words)
    while at >= 0:
        if at == 0 or content[at - 1] == 0x0A:
            yield at
        at = content.find(words, at + len(words))


def _blocks_in(what: str, content: bytes) -> list[bytes]:
    """Returns the labels as `pem_blocks` does, at least one.

    Raises TLSConfigurationError if there is none or a block is cut off; `what` begins the message.
    """
    blocks = pem_blocks(content)
    if content.startswith(b"\xef\xbb\xbf"):
        raise TLSConfigurationError(f"{what}: begins with a byte order mark (UTF-8), as no PEM file does")
    if len(blocks) > sum(1 for _ in _lines(content, _ENDS)):
        raise TLSConfigurationError(f"{what}: is cut off: a line -----BEGIN has no -----END")
    if blocks:
        return blocks
    if not content.strip():
        reason = "is empty"
    elif content[:1] == b"\x30":  # the first byte of any certificate or key in DER: an ASN.1 sequence
        reason = "is no PEM file but a binary one, DER or PKCS #12 (openssl x509, pkey or pkcs12 changes it)"
    else:
        reason = "is no PEM file (it has no line that begins with -----BEGIN)"
    raise TLSConfigurationError(f"{what}: {reason}")


def _certificates_in(what: str, content: bytes) -> list[Certificate]:
    """Returns the certificates of a PEM file, in order, at least one.

    Raises TLSConfigurationError; `what` begins the message.
    """
    try:
        return _read(load_pem_x509_certificates(content))
    except (ValueError, InvalidVersion) as error:
        raise TLSConfigurationError(f"{what}: no usable certificate: {error}") from None


def _read(certificates: list[Certificate]) -> list[Certificate]:
    """Returns the certificates after reading all fields that are used later: the library decodes names only then.

    Raises ValueError.
    """
    for each in certificates:
        try:
            _ = each.subject, each.issuer, each.not_valid_before_utc, each.not_valid_after_utc
        except KeyError as error:  # of cryptography before 48
            raise ValueError(f"a name in it has a value of the unknown type {error}") from None
    return certificates


def certificates_of(path: str) -> list[Certificate]:
    """Returns the certificates of a PEM file that OpenSSL has accepted already; none if it cannot be read any more."""
    try:
        return certificates_in(read_file(path, LARGEST_AUTHORITIES))
    except OSError:
        return []


def certificates_in(content: bytes) -> list[Certificate]:
    """Returns the certificates in PEM; none if cryptography is stricter than OpenSSL, which has accepted them."""
    try:
        return _read(load_pem_x509_certificates(content))
    except (ValueError, InvalidVersion):
        return []


def revoked_in(what: str, content: bytes, digest: bytes | None = None, worker: Worker | None = None) -> RevokedLists:
    """Returns the lists of HAProxy's `crl-file`, at least one; for the rest see `read_lists`.

    Raises TLSConfigurationError; `what` begins the message.
    """
    _blocks_in(what, content)
    try:
        found = read_lists(content, digest, worker)
    except ListUnreadable:
        raise TLSConfigurationError(f"{what}: cannot be decoded") from None
    if not found.spans:
        raise TLSConfigurationError(f"{what}: holds no list (no line says -----BEGIN X509 CRL-----)")
    return found


#: A keyword, and the files that its path stands for, each with its content; None: the system's own CAs.
Authorities = tuple[str, "tuple[tuple[str, bytes], ...] | None"]
#: The name of a file of lists, and what is revoked by it; None: it has not been fetched yet.
Revoked = tuple[str, "RevokedLists | None"]


class Trust:
    """Holds the OpenSSL store of some CA files, shared by all contexts that name the same files."""

    def __init__(self, authorities: Sequence[Authorities], revoked: Revoked | None) -> None:
        """Loads the files. Raises TLSConfigurationError.

        There are no lists while none have been fetched: then everything is refused, since nobody knows what is revoked.
        """
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._lists = None if revoked is None else revoked[1]
        #: When each list of what is revoked says that the next one is due (Unix time): from then on it does not count.
        self.ends = [] if self._lists is None else [end for _, end in self._lists.spans if end is not None]
        for word, files in authorities:
            if files is None:
                self._context.set_default_verify_paths()
            for path, content in files or ():
                _trust(self._context, f"{word} {path}", content)
        if revoked is not None:
            _demand_lists(self._context)
            _revoke(self._context, *revoked)

    @property
    def takes_long(self) -> bool:
        """Tells whether `prepare` does."""
        return self._lists is not None and self._lists.is_large

    def prepare(self) -> None:
        """Does what would hold up the first handshake."""
        if self._lists is not None:
            self._lists.sort(self._context)

    def give(self, context: SSL.Context) -> None:
        """Makes `context` trust what is in the store."""
        share_store(context, self._context)
        if self._lists is not None:
            self._lists.outlive(context)


def _trust(context: SSL.Context, what: str, content: bytes) -> None:
    """Makes `context` trust the CAs of a PEM file. Raises TLSConfigurationError."""
    if not any(block.endswith((b"CERTIFICATE", b"CRL")) for block in _blocks_in(what, content)):
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
        #: What was read last, by the paths that configurations have named: the contents of the file, or of a
        #: directory's. Those of the previous reading stay: who has not changed is not made anew.
        self.authorities: dict[str, tuple[bytes, ...]] = {} if previous is None else {**previous.authorities}
        self.revocations: dict[str, bytes] = {} if previous is None else {**previous.revocations}
        #: From when to when the lists in these are valid.
        self.spans: dict[str, tuple[Span, ...]] = {} if previous is None else {**previous.spans}
        #: The lists by their files, or what is wrong with one; and those in use, by the digests of their contents.
        self._lists: dict[str, RevokedLists | TLSConfigurationError] = {}
        self._known_lists: WeakValueDictionary[bytes, RevokedLists] = (
            WeakValueDictionary() if previous is None else previous._known_lists
        )
        self.worker: Worker = Worker("revocation lists") if previous is None else previous.worker
        #: Stores that are new in this reading and whose use would begin slowly.
        self._slow: list[Trust] = []
        #: The lines of `crt-list` files and directories, by `build.crt_lists.list_name`.
        self.lists: dict[str, CrtList] = {}
        self.in_memory = FilesInMemory() if in_memory is None else in_memory
        #: The certificates in use, as long as some context shows them.
        self._certificates: WeakValueDictionary[CertificateName, CertificateFile] = WeakValueDictionary(
            {} if previous is None else previous._certificates
        )

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
            found = certificate_in_place_of(path, held.content, held.key)
        else:
            found = read_certificate(path, key_file)
        self._certificates[path, key_file] = found
        return found

    def of(self, named: Named, crl_file: str | None = None, *, fetched: bool = False) -> Trusted:
        """Returns what makes a context trust `named`: paths (None: the system's CAs) with their keywords.

        Raises TLSConfigurationError. A `crl_file` that is `fetched` may not be there yet.
        """
        asked = named, crl_file
        if asked not in self._by_name:
            authorities = [(word, self._files_of(word, path)) for word, path in named]
            revoked = None if crl_file is None else self._revoked(crl_file, fetched)
            # OpenSSL reads the system's, so they are read again at each reading.
            digests = tuple(
                self if files is None else tuple(_digest(each) for _, each in files) for _, files in authorities
            )
            key = digests, None if revoked is None else b"" if revoked[1] is None else revoked[1].digest
            trust = self._by_content.get(key)
            if trust is None:
                trust = self._by_content[key] = Trust(authorities, revoked)
                if trust.takes_long:
                    self._slow.append(trust)
            self._by_name[asked] = Trusted(trust, named, authorities, revoked)
        return self._by_name[asked]

    def know(self, lists: RevokedLists) -> None:
        """Has `of` take these lists, as long as somebody keeps them, for a file that has the same content."""
        self._known_lists[lists.digest] = lists

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
            for authority in _certificates_in(f"ca-file {path}", content):
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

    def reading(self, crl_files: Iterable[str], reactor: Any) -> Steps[None]:
        """Reads those lists in a thread, in steps, that would hold up the event loop, for `of`."""
        for path in crl_files:
            if path in self._lists:
                continue
            try:
                found = yield from self._reading(path, reactor)
            except TLSConfigurationError as error:
                self._lists[path] = error
            else:
                if found is not None:
                    self._lists[path] = found

    def preparing(self, reactor: Any | None) -> Steps[None]:
        """Prepares the stores that are new in this reading for their first use: in a thread, in steps, where a
        `reactor` serves clients meanwhile."""
        for trust in self._slow:
            if reactor is None:
                trust.prepare()
            else:
                yield self.worker.do(reactor, trust.prepare)
        self._slow.clear()

    def _reading(self, path: str, reactor: Any) -> Steps[RevokedLists | None]:
        """Reads large lists in a thread; None: they are small. Raises TLSConfigurationError."""
        what, content = f"crl-file {path}", self.in_memory.revocations.get(path)
        if content is None and _size_of(path) > SMALL:
            # Not in the thread: whoever opens a file as another user makes all threads that user.
            with _naming(what, path):
                file = open_bounded(path, LARGEST_REVOCATIONS)
            content = yield self.worker.do(reactor, partial(_rest, what, path, file))
        if content is None or len(content) <= SMALL:
            return None
        digest = yield self.worker.do(reactor, partial(_digest, content))
        found = self._known_lists.get(digest)
        if found is None:
            found = yield self.worker.do(reactor, partial(revoked_in, what, content, digest, self.worker))
            self._known_lists[digest] = found
        return found

    def _revoked(self, crl_file: str, fetched: bool) -> Revoked:
        """Returns what is revoked by a file. Raises TLSConfigurationError."""
        found = self._lists.get(crl_file)
        if isinstance(found, TLSConfigurationError):
            raise TLSConfigurationError(*found.args)
        held = self.in_memory.revocations.get(crl_file)
        if found is None and held is None and fetched and _size_of(crl_file) == 0:
            self.revocations[crl_file], self.spans[crl_file] = b"", ()
            return crl_file, None
        if found is None:
            content = held if held is not None else self._content("crl-file", crl_file, LARGEST_REVOCATIONS)
            digest = _digest(content)
            found = self._known_lists.get(digest) or self._read(f"crl-file {crl_file}", content, digest)
            self._lists[crl_file] = self._known_lists[digest] = found
        self.revocations[crl_file], self.spans[crl_file] = found.content, found.spans
        return crl_file, found

    def _read(self, what: str, content: bytes, digest: bytes) -> RevokedLists:
        """Reads lists, large ones in the thread that will free them: where it did that with memory of another thread,
        glibc would lock this one out of its own for 0.3 s. Raises TLSConfigurationError."""
        read = partial(revoked_in, what, content, digest, self.worker)
        return read() if len(content) <= SMALL else self.worker.wait_for(read)

    def _content(self, word: str, path: str, most: int) -> bytes:
        """Returns what is in a file, which is read once: what is looked at is what is trusted."""
        if path not in self._contents:
            self._contents[path] = _content(f"{word} {path}", path, most)
        return self._contents[path]


def _size_of(path: str) -> int:
    """Returns the size of a file: 0 if there is none, or an empty one, as a machine that lost its power may have left
    it; -1 where that cannot be said."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
    except OSError:
        return -1


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()


def _revoke(context: SSL.Context, crl_file: str, lists: RevokedLists | None) -> None:
    """Has `context` refuse what these lists revoke. Raises TLSConfigurationError."""
    if lists is None:
        return
    try:
        lists.add_to(context)
    except ListUnreadable:
        raise TLSConfigurationError(f"crl-file {crl_file}: OpenSSL does not take a list in it") from None


def _demand_lists(context: SSL.Context) -> None:
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _content(what: str, path: str, most: int) -> bytes:
    """Reads a file of at most so many bytes. Raises TLSConfigurationError; `what` begins the message."""
    with _naming(what, path):
        return read_file(path, most)


def _rest(what: str, path: str, file: BinaryIO) -> bytes:
    """Reads an open file, and closes it. Raises TLSConfigurationError."""
    with _naming(what, path), file:
        return file.read()


@contextmanager
def _naming(what: str, path: str) -> Iterator[None]:
    """Has the message of an OSError name the file: raises TLSConfigurationError."""
    try:
        yield
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {why_unread(path, error)}") from None


def _files_of(word: str, path: str) -> list[str]:
    """Returns the file, or the files of the directory. Raises TLSConfigurationError."""
    with _naming(f"{word} {path}", path):
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
