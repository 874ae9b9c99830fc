"""The files that TLS is made of: a certificate with its chain and key, and the CAs that are trusted.

HAProxy's `crt` and `ca-file`, for both sides. Whatever is wrong with one is said with its name and in plain words. It must
never know who shows the certificate, nor to whom.
"""

from __future__ import annotations

import os
import re
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    load_pem_x509_certificates,
    load_pem_x509_crl,
)
from OpenSSL import SSL, crypto

from reusedproxy.net.tls import openssl_reason
from reusedproxy.net.tls_words import name_of, subjects_of

SYSTEM_CA = "@system-ca"


class TLSConfigurationError(Exception):
    """A certificate, key or CA file cannot be used; the message names it and says why."""


def use_certificate(context: SSL.Context, path: str) -> None:
    """HAProxy's `crt`: one PEM with certificate, chain and key; or the key in a file of that name plus `.key`."""
    blocks = _blocks_in("crt", path)
    if not any(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"crt {path}: no usable certificate: there is none in it")
    key = path if any(block.endswith(b"PRIVATE KEY") for block in blocks) else _key_beside(path)
    try:
        context.use_certificate_chain_file(path)
    except SSL.Error as error:
        reason = openssl_reason(error)
        if "key too small" in reason:
            key_size = getattr(certificates_in(f"crt {path}", path)[0].public_key(), "key_size", "few")
            reason += f" (it has {key_size} bits)"
        raise TLSConfigurationError(f"crt {path}: no usable certificate: {reason}") from None
    private = _private_key(key)
    try:
        context.use_privatekey(private)
        context.check_privatekey()
    except SSL.Error:
        # OpenSSL says "key values mismatch", or for keys of different kinds "no certificate assigned".
        first = name_of(certificates_in(f"crt {path}", path)[0].subject)
        reason = f"it does not belong to the first certificate, which is {first}"
        raise TLSConfigurationError(f"crt {key}: no usable private key: {reason}") from None


def _private_key(path: str) -> Any:
    blocks = _blocks_in("crt", path)
    try:
        # Not by OpenSSL's own reader, which would stop the daemon at a passphrase with a prompt on the terminal.
        return load_pem_private_key(_content(f"crt {path}", path), None)
    except TypeError:
        reason = "the key is protected by a passphrase, which a daemon cannot be asked for (openssl pkey takes it off)"
    except (ValueError, UnsupportedAlgorithm):
        # The library's words run over several lines and name no more than this.
        reason = "it cannot be decoded"
        if b"OPENSSH PRIVATE KEY" in blocks:
            reason = "it has OpenSSH's format (ssh-keygen -p -m PEM changes it)"
    raise TLSConfigurationError(f"crt {path}: no usable private key: {reason}")


def keys_beside(path: str) -> list[str]:
    """Where its key may be, if it is not in the file itself; HAProxy has the second with `ssl-load-extra-del-ext` only."""
    return [path + ".key", *([path.removesuffix(".crt") + ".key"] if path.endswith(".crt") else [])]


def _key_beside(path: str) -> str:
    candidates = keys_beside(path)
    for key in candidates:
        if os.path.exists(key):
            return key
    raise TLSConfigurationError(
        f"crt {path}: holds no private key, and there is no {' or '.join(candidates)} beside it"
    )


def pem_blocks(word: str, path: str) -> list[bytes]:
    """What a PEM file says it holds: CERTIFICATE, RSA PRIVATE KEY and so on, in order (RFC 7468)."""
    return re.findall(rb"^-----BEGIN ([A-Z0-9 ]+)-----", _content(f"{word} {path}", path), re.M)


def _blocks_in(word: str, path: str) -> list[bytes]:
    """The same; there is at least one, and all are whole."""
    blocks = pem_blocks(word, path)
    content = _content(f"{word} {path}", path)
    if content.startswith(b"\xef\xbb\xbf"):
        raise TLSConfigurationError(f"{word} {path}: begins with a byte order mark (UTF-8), as no PEM file does")
    if len(blocks) > len(re.findall(rb"^-----END ", content, re.M)):
        raise TLSConfigurationError(f"{word} {path}: is cut off: a line -----BEGIN has no -----END")
    if blocks:
        return blocks
    if not content.strip():
        reason = "is empty"
    elif content[:1] == b"\x30":  # what any certificate or key begins with in ASN.1: a sequence
        reason = "is no PEM file but a binary one, DER or PKCS #12 (openssl x509, pkey or pkcs12 changes it)"
    else:
        reason = "is no PEM file (it has no line that begins with -----BEGIN)"
    raise TLSConfigurationError(f"{word} {path}: {reason}")


def certificates_in(what: str, path: str) -> list[Certificate]:
    """Those of a PEM file, in order, at least one; `what` begins the message if there is none."""
    try:
        found = load_pem_x509_certificates(_content(what, path))
    except ValueError as error:
        raise TLSConfigurationError(f"{what}: no usable certificate: {error}") from None
    return found


def certificates_of(path: str) -> list[Certificate]:
    """Those of a PEM file that OpenSSL has accepted already; none, if this library is more particular."""
    try:
        with open(path, "rb") as file:
            return load_pem_x509_certificates(file.read())
    except (OSError, ValueError):
        return []


def authorities_of(ca_file: str) -> list[Certificate]:
    """The same of a `ca-file`, which may be a directory; none of the system's."""
    try:
        files = _pem_files(ca_file) if ca_file != SYSTEM_CA else []
    except OSError:
        return []
    return [each for file in files for each in certificates_of(file)]


def revocations_of(crl_file: str) -> list[CertificateRevocationList]:
    """The same of a `crl-file`."""
    try:
        with open(crl_file, "rb") as file:
            return [load_pem_x509_crl(block) for block in _lists_in(file.read())]
    except (OSError, ValueError):
        return []


def _lists_in(content: bytes) -> list[bytes]:
    return re.findall(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", content, re.S)


def trust(context: SSL.Context, ca_file: str | None, word: str = "ca-file") -> str:
    """HAProxy's `ca-file`: a PEM file, a directory of them, or @system-ca. What is trusted comes back in words."""
    if ca_file is None or ca_file == SYSTEM_CA:
        context.set_default_verify_paths()
        return f"{word} {SYSTEM_CA}"
    trusted: list[Certificate] = []
    for file in _files_of(word, ca_file):
        blocks = _blocks_in(word, file)
        if not any(block.endswith((b"CERTIFICATE", b"CRL")) for block in blocks):
            raise TLSConfigurationError(f"{word} {file}: no usable CA certificate: there is none in it")
        try:
            context.load_verify_locations(file)
        except SSL.Error as error:
            raise TLSConfigurationError(f"{word} {file}: no usable CA certificate: {openssl_reason(error)}") from None
        try:
            trusted += certificates_in(word, file)
        except TLSConfigurationError:
            return f"{word} {ca_file}"  # OpenSSL is content with it, and that is what counts
    return f"{word} {ca_file} ({subjects_of(trusted)})"


def name_authorities(context: SSL.Context, ca_file: str) -> None:
    """Tell clients whose certificates are taken; not of the system's CAs, which are too many."""
    if ca_file == SYSTEM_CA:
        return
    for file in _files_of("ca-file", ca_file):
        for authority in certificates_in(f"ca-file {file}", file):
            context.add_client_ca(authority)


def revoke(context: SSL.Context, crl_file: str) -> None:
    """HAProxy's `crl-file`: lists in PEM, of which there must be one for every CA of a client's chain."""
    what = f"crl-file {crl_file}"
    _blocks_in("crl-file", crl_file)
    blocks = _lists_in(_content(what, crl_file))
    if not blocks:
        raise TLSConfigurationError(f"{what}: holds no list (no line says -----BEGIN X509 CRL-----)")
    store = context.get_cert_store()
    assert store is not None
    try:
        for block in blocks:
            store.add_crl(load_pem_x509_crl(block))
    except (ValueError, crypto.Error):
        raise TLSConfigurationError(f"{what}: cannot be decoded") from None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _content(what: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSConfigurationError(f"{what}: cannot be read: {error.strerror}") from None


def _files_of(word: str, path: str) -> list[str]:
    """The file, or those of the directory; all of them can be read."""
    try:
        files = _pem_files(path)
        for file in files:
            open(file, "rb").close()
    except OSError as error:
        raise TLSConfigurationError(f"{word} {path}: cannot be read: {error.strerror}") from None
    if not files:
        raise TLSConfigurationError(f"{word} {path}: there is no .pem, .crt or .cer file in this directory")
    return files


def _pem_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [
        entry.path
        for entry in sorted(os.scandir(path), key=lambda e: e.name)
        if entry.name.endswith((".pem", ".crt", ".cer"))
    ]
