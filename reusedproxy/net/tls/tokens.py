"""Finds private keys that are in a PKCS #11 token, such as an HSM or a smart card: the PEM file has only their URI.

OpenSSL does the rest, if it was told of a provider that knows tokens (docs/decisions/16-keys-in-tokens.md). The key
never leaves the token: each signature is made there, while the event loop waits. It must never know certificates.
"""

from __future__ import annotations

import re

from OpenSSL import SSL

from reusedproxy.net.files import held_in_memory
from reusedproxy.net.tls.openssl_server import answer_no_prompt

#: The label of the block with a URI (RFC 7512), as the provider of the pkcs11-provider project defines it.
TOKEN_KEY = b"PKCS#11 PROVIDER URI"
_BLOCK = re.compile(rb"^-----BEGIN %b-----\s[A-Za-z0-9+/=\s]+-----END %b-----[ \t\r]*$" % (TOKEN_KEY, TOKEN_KEY), re.M)


class KeyNotInToken(Exception):
    """Says why a key cannot be used."""


def use_token_key(context: SSL.Context, content: bytes) -> None:
    """Has `context` sign with the key to which a PEM file leads. Raises KeyNotInToken, and SSL.Error where it is not
    that of the certificate."""
    block = _BLOCK.search(content)
    if block is None:
        raise KeyNotInToken("the block with its URI is not in base64")
    answer_no_prompt(context)  # without a PIN in its configuration the provider would ask for one on the terminal
    try:
        with held_in_memory(block[0] + b"\n") as held:
            context.use_privatekey_file(held)
    except SSL.Error as error:
        if any("mismatch" in str(each) for each in error.args[0]):
            raise
        raise KeyNotInToken(
            "OpenSSL cannot get it from its token: is a provider for PKCS #11 in the file that OPENSSL_CONF names, with"
            " the module and the PIN of the token, and is the key there?"
        ) from None
    except OSError as error:
        raise KeyNotInToken(str(error.strerror)) from None
