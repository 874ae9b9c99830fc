"""Reads the files of TLS: a certificate with its chain and key, and what is in any of them in PEM.

They are HAProxy's `crt` and `key`, on `bind` and on `server` lines; who is trusted is in `trusts`. An error message
names the file and says in plain words what is wrong with it. Each file is opened once, by us, and OpenSSL gets what was
in it: given a path, it would follow links that root does not follow, and might find another file there by then. It must
never know who shows the certificate, nor to whom.
"""

from __future__ import annotations

import os
import re
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)
from OpenSSL import SSL

from reusedproxy.net.files import MEBIBYTE, held_in_memory, read_file, why_unread
from reusedproxy.net.tls.der import elements
from reusedproxy.net.tls.tokens import TOKEN_KEY, KeyNotInToken, use_token_key
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.words import name_of

#: Most bytes of a file with a certificate, its chain and its key, or with DH parameters: some hundred certificates.
LARGEST_CERTIFICATE = MEBIBYTE
#: Most bytes of a file with CAs: Debian's 145 have 0.2 MB.
LARGEST_AUTHORITIES = 16 * MEBIBYTE

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
#: The lines around a block, as OpenSSL knows them.
_AROUND = re.compile(rb"-----(BEGIN|END) ([^\r\n]*)-----[ \t\r]*(?:\n|\Z)")
#: The line before a certificate, by any of the names that OpenSSL knows.
_OF_CERTIFICATE = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[ \t\r]*\n")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}\Z")
#: A byte order mark in UTF-8.
_MARK = b"\xef\xbb\xbf"
#: What is a block's name, and no secret.
_NAME = re.compile(rb"[A-Z0-9 .#]{0,40}\Z")


class TLSConfigurationError(Exception):
    """Says that a certificate, key or CA file cannot be used; the message names it and says why. Several are
    `args`."""

    def __str__(self) -> str:
        return "; ".join(self.args)


@frozen(eq=False)
class CertificateFile:
    """Holds what a `crt` was when it was read: the certificate that is shown to peers, and the whole file; and the file
    with its key, which may be the same. `chain` completes the file's, in PEM. Two readings are different certificates,
    whatever is in them."""

    path: str
    leaf: Certificate
    content: bytes
    key_path: str
    key: bytes
    chain: bytes = b""

    @property
    def has_dh_parameters(self) -> bool:
        return b"DH PARAMETERS" in pem_blocks(self.content)

    def use(self, context: SSL.Context) -> None:
        """Has connections of `context` show this certificate. Opens no file. Raises TLSConfigurationError."""
        what = f"crt {self.path}"
        try:
            with held_in_memory(chain_in(what, self.content) + self.chain) as held:
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
    content = content_of(what, path, LARGEST_CERTIFICATE)
    blocks = blocks_in(what, content)
    if not any(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"{what}: no usable certificate: there is none in it")
    alone = key_file is not None or not any(block.endswith((b"PRIVATE KEY", TOKEN_KEY)) for block in blocks)
    key = key_file or (_key_beside(path) if alone else path)
    first = _first_in(what, content)
    chain_in(what, content)
    private = content_of(f"crt {key}", key, LARGEST_CERTIFICATE) if alone else content
    return CertificateFile(path, first, content, key, private)


def certificate_in_place_of(path: str, content: bytes, key: bytes) -> CertificateFile:
    """Returns a certificate that is shown in place of the one in a file, from its content and that of its key, in PEM.

    Raises TLSConfigurationError."""
    what = f"crt {path}"
    first = _first_in(what, content)
    chain_in(what, content)
    return CertificateFile(path, first, content, path, key)


def chain_in(what: str, content: bytes) -> bytes:
    """Returns the blocks with certificates, for OpenSSL, which would ask on the terminal for the passphrase of one that
    is encrypted. Raises TLSConfigurationError."""
    blocks = blocks_in(what, content)
    found = [each[0] for each in _CERTIFICATE_BLOCK.finditer(content)]
    if len(found) < sum(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"{what}: no usable certificate: a block of one is encrypted, or not in base64")
    return b"\n".join((*found, b""))


def _first_in(what: str, content: bytes) -> Certificate:
    """Returns the certificate that is shown to peers, which is known to be readable, as its public key is."""
    first = readable_certificates_in(what, content)[0]
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
    blocks = blocks_in(what, content)
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
    """Returns where the lines are that begin with these words. As OpenSSL does, it passes over a byte order mark, which
    is there where files were joined."""
    at = content.find(words)
    while at >= 0:
        start = at - len(_MARK) if content.startswith(_MARK, max(0, at - len(_MARK))) else at
        if start == 0 or content[start - 1] == 0x0A:
            yield at
        at = content.find(words, at + len(words))


def _unpaired(content: bytes) -> bytes | None:
    """Returns the label of the first block that does not end with its own, before another begins (RFC 7468 section 3);
    None: there is none."""
    label = None
    for at in _lines(content, b"-----"):
        found = _AROUND.match(content, at)
        if found is None or (label is None and found[1] == b"END"):
            continue  # which is text between blocks
        if label is not None and found.groups() != (b"END", label):
            return label
        label = None if found[1] == b"END" else found[2]
    return label


def blocks_in(what: str, content: bytes) -> list[bytes]:
    """Returns the labels as `pem_blocks` does, at least one.

    Raises TLSConfigurationError if there is none or a block is cut off; `what` begins the message.
    """
    blocks = pem_blocks(content)
    if content.startswith(_MARK):
        raise TLSConfigurationError(f"{what}: begins with a byte order mark (UTF-8), as no PEM file does")
    if len(blocks) > sum(1 for _ in _lines(content, _ENDS)):
        raise TLSConfigurationError(f"{what}: is cut off: a line -----BEGIN has no -----END")
    if (label := _unpaired(content)) is not None:
        if _NAME.match(label):
            begin, end = (f"-----{word} {label.decode()}-----" for word in ("BEGIN", "END"))
            raise TLSConfigurationError(f"{what}: a block {begin} does not end with {end}")
        # Not quoted: where its line ends are lost, the whole of a key stands between the dashes.
        raise TLSConfigurationError(f"{what}: more than the name of a block stands in a line -----BEGIN")
    if blocks:
        return blocks
    if not content.strip():
        reason = "is empty"
    elif content[:1] == b"\x30":  # the first byte of any certificate or key in DER: an ASN.1 sequence
        reason = "is no PEM file but a binary one, DER or PKCS #12 (openssl x509, pkey or pkcs12 changes it)"
    else:
        reason = "is no PEM file (it has no line that begins with -----BEGIN)"
    raise TLSConfigurationError(f"{what}: {reason}")


def readable_certificates_in(what: str, content: bytes) -> list[Certificate]:
    """Returns the certificates of a PEM file, in order, at least one.

    Raises TLSConfigurationError; `what` begins the message.
    """
    try:
        return _read(_decoded(content))
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
        return _read(_decoded(content))
    except (ValueError, InvalidVersion):
        return []


def _decoded(content: bytes) -> list[Certificate]:
    """Returns the certificates in PEM, at least one. Raises ValueError.

    Like OpenSSL, and unlike cryptography's own reader, it passes over blocks of any other label, be it empty, and takes
    the older labels and those that say what they are trusted for (openssl-verification-options(1)).
    """
    found, end = [], 0
    for start in _lines(content, _BEGINS):
        begins = _OF_CERTIFICATE.match(content, start)
        if start < end or begins is None:
            continue
        end = content.find(_ENDS + begins[1] + b"-----", begins.end())
        if end < 0:
            raise ValueError("a certificate is cut off")
        text = content[begins.end() : end].translate(None, b" \t\r\n")
        if _BASE64.match(text) is None:
            raise ValueError("a block of one is encrypted, or not in base64")
        der = a2b_base64(text)
        # Behind one that says what it is trusted for stands just that.
        first = next(elements(der), None)
        found.append(load_der_x509_certificate(der if first is None else der[: first.end]))
    if not found:
        raise ValueError("there is none in it")
    return found


def content_of(what: str, path: str, most: int) -> bytes:
    """Reads a file of at most so many bytes. Raises TLSConfigurationError; `what` begins the message."""
    with naming(what, path):
        return read_file(path, most)


@contextmanager
def naming(what: str, path: str) -> Iterator[None]:
    """Has the message of an OSError name the file: raises TLSConfigurationError."""
    try:
        yield
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {why_unread(path, error)}") from None
