"""Sets versions, ciphers and curves of a TLS context, for clients and for servers.

Errors are given in OpenSSL's words.
"""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL

from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.openssl_server import set_groups, set_signature_algorithms
from reusedproxy.net.tls.transport import openssl_reason

VERSIONS = {
    "TLSv1.0": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}


class Parameters(Protocol):
    """Defines the settings that the configuration may have; None leaves OpenSSL's default."""

    @property
    def min_version(self) -> str: ...

    @property
    def max_version(self) -> str: ...

    @property
    def ciphers(self) -> str | None: ...

    @property
    def ciphersuites(self) -> str | None: ...

    @property
    def curves(self) -> str | None: ...

    @property
    def sigalgs(self) -> str | None: ...

    @property
    def client_sigalgs(self) -> str | None: ...

    @property
    def tickets(self) -> bool: ...


def set_parameters(context: SSL.Context, said: Parameters, *, client_signs: bool) -> None:
    """Applies the settings to a context. `client_signs` tells that the client may show a certificate. Raises
    TLSConfigurationError for a value that OpenSSL does not know, and for algorithms of clients that are others than
    `sigalgs`: OpenSSL takes these for both sides, and its binding has no call for those of clients alone."""
    context.set_min_proto_version(VERSIONS[said.min_version])
    context.set_max_proto_version(VERSIONS[said.max_version])
    if not said.tickets:
        context.set_options(SSL.OP_NO_TICKET)
    try:
        if said.ciphers is not None:
            context.set_cipher_list(said.ciphers.encode("ascii", "replace"))
    except SSL.Error as error:
        raise TLSConfigurationError(f"ciphers {said.ciphers}: {openssl_reason(error)}") from None
    try:
        if said.ciphersuites is not None:
            context.set_tls13_ciphersuites(said.ciphersuites.encode("ascii", "replace"))
    except SSL.Error as error:
        raise TLSConfigurationError(f"ciphersuites {said.ciphersuites}: {openssl_reason(error)}") from None
    if said.curves is not None and not set_groups(context, said.curves):
        raise TLSConfigurationError(f"curves {said.curves}: OpenSSL does not know one of them")
    if said.sigalgs is not None and not set_signature_algorithms(context, said.sigalgs):
        raise TLSConfigurationError(f"sigalgs {said.sigalgs}: OpenSSL does not know one of them")
    theirs = said.client_sigalgs
    if theirs is None or theirs == said.sigalgs:
        return
    if not set_signature_algorithms(SSL.Context(SSL.TLS_METHOD), theirs):
        raise TLSConfigurationError(f"client-sigalgs {theirs}: OpenSSL does not know one of them")
    if client_signs:
        raise TLSConfigurationError(
            f"client-sigalgs {theirs}: reusedproxy has no algorithms for clients alone: take it out, or write the same"
            " list behind 'sigalgs', which counts for both sides"
        )
