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
from OpenSSL import SSL

from reusedproxy.net.tls import openssl_reason

SYSTEM_CA = "@system-ca"


class TLSConfigurationError(Exception):
    """A certificate, key or CA file cannot be used; the message names it and says why."""


def use_certificate(context: SSL.Context, path: str) -> None:
    """HAProxy's `crt`: one PEM with certificate, chain and key; or the key in a file of that name plus `.key`."""
    blocks = _pem_blocks(path)
    if not blocks:
        raise TLSConfigurationError(f"crt {path}: is empty or no PEM file (it has no line that begins with -----BEGIN)")
    if not any(block.endswith(b"CERTIFICATE") for block in blocks):
        raise TLSConfigurationError(f"crt {path}: no usable certificate: there is none in it")
    key = path if any(block.endswith(b"PRIVATE KEY") for block in blocks) else path + ".key"
    if not os.path.exists(key):
        raise TLSConfigurationError(f"crt {path}: holds no private key, and there is no {key} beside it")
    try:
        context.use_certificate_chain_file(path)
    except SSL.Error as error:
        raise TLSConfigurationError(f"crt {path}: no usable certificate: {openssl_reason(error)}") from None
    try:
        # Not by OpenSSL's own reader, which would stop the daemon at a passphrase with a prompt on the terminal.
        with open(key, "rb") as file:
            private: Any = load_pem_private_key(file.read(), None)
        context.use_privatekey(private)
        context.check_privatekey()
    except OSError as error:
        raise TLSConfigurationError(f"crt {key}: cannot be read: {error.strerror}") from None
    except TypeError:
        reason = "the key is protected by a passphrase, which a daemon cannot be asked for"
        raise TLSConfigurationError(f"crt {key}: no usable private key: {reason}") from None
    except SSL.Error as error:
        raise TLSConfigurationError(f"crt {key}: no usable private key: {openssl_reason(error)}") from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's words run over several lines and name no more than this.
        raise TLSConfigurationError(f"crt {key}: no usable private key: it cannot be decoded") from None


def _pem_blocks(path: str) -> list[bytes]:
    """What a PEM file says it holds: CERTIFICATE, RSA PRIVATE KEY and so on, in order (RFC 7468)."""
    try:
        with open(path, "rb") as file:
            return re.findall(rb"^-----BEGIN ([A-Z0-9 ]+)-----", file.read(), re.M)
    except OSError as error:
        raise TLSConfigurationError(f"crt {path}: cannot be read: {error.strerror}") from None


def trust(context: SSL.Context, ca_file: str | None) -> None:
    """HAProxy's `ca-file`: a PEM file, a directory of them, or @system-ca."""
    if ca_file is None or ca_file == SYSTEM_CA:
        context.set_default_verify_paths()
        return
    try:
        files = _pem_files(ca_file)
        for file in files:
            open(file, "rb").close()
    except OSError as error:
        raise TLSConfigurationError(f"ca-file {ca_file}: cannot be read: {error.strerror}") from None
    if not files:
        raise TLSConfigurationError(f"ca-file {ca_file}: there is no .pem, .crt or .cer file in this directory")
    for file in files:
        try:
            context.load_verify_locations(file)
        except SSL.Error as error:
            raise TLSConfigurationError(f"ca-file {file}: no usable CA certificate: {openssl_reason(error)}") from None


def _pem_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [
        entry.path
        for entry in sorted(os.scandir(path), key=lambda e: e.name)
        if entry.name.endswith((".pem", ".crt", ".cer"))
    ]
