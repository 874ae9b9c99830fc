"""Keys in PKCS #11 tokens, as far as that goes without a token; tests/integration/test_tokens.py has one."""

from __future__ import annotations

from base64 import encodebytes

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.files import TLSConfigurationError, read_certificate
from tests.wire import certificates, scratch


def uri_block(uri: str) -> bytes:
    """The PEM block of a key's URI: a sequence of a VisibleString and a UTF8String."""
    said, named = b"PKCS#11 Provider URI v1.0", uri.encode()
    inner = b"\x1a%c%b\x0c%c%b" % (len(said), said, len(named), named)
    encoded = encodebytes(b"\x30%c%b" % (len(inner), inner))
    return b"-----BEGIN PKCS#11 PROVIDER URI-----\n%b-----END PKCS#11 PROVIDER URI-----\n" % encoded


class TokenTests(SynchronousTestCase):
    def fault(self, key: bytes, beside: bool = False) -> str:
        folder = scratch(self)
        path = folder / "client.pem"
        content = certificates().client.certificate_pem
        path.write_bytes(content if beside else content + key)
        if beside:
            (folder / "client.pem.key").write_bytes(key)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        error = self.assertRaises(TLSConfigurationError, lambda: read_certificate(str(path)).use(context))
        return str(error).replace(str(folder), "")

    def test_a_token_that_nobody_knows(self) -> None:
        """Without a provider the message says where one is to be named; nobody is asked for a PIN."""
        for beside, file in ((False, "/client.pem"), (True, "/client.pem.key")):
            said = self.fault(uri_block("pkcs11:object=client;type=private"), beside)
            self.assertIn(f"crt {file}: no usable private key: OpenSSL cannot get it from its token", said)
            self.assertIn("in the file that OPENSSL_CONF names", said)

    def test_a_damaged_block(self) -> None:
        block = uri_block("pkcs11:object=client;type=private").replace(b"M", b"!")
        self.assertIn("the block with its URI is not in base64", self.fault(block, beside=True))
        self.assertIn("is cut off", self.fault(b"-----BEGIN PKCS#11 PROVIDER URI-----\n"))
