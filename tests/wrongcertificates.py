"""Certificates with which something is wrong, made at run time, and the peers that show them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from OpenSSL import SSL

from reusedproxy.demo.certificates import CLIENT_AUTH, SERVER_AUTH, Authority, Credential
from tests.wire import certificates

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: As it stands in a certificate (RFC 4055 section 5): the last byte says which digest is signed.
_RSA_SIGNATURE = bytes.fromhex("06092a864886f70d0101")
_DIGESTS: dict[int, hashes.HashAlgorithm] = {4: hashes.MD5(), 5: hashes.SHA1()}

#: Makes what a "server" or a "client" shows.
Maker = Callable[[str], Credential]


def leaf(side: str, authority: Authority | None = None, **how: Any) -> Credential:
    """What would be in order, but for `how`."""
    authority = authority or certificates().authority
    how = {"hosts": ["server.test"] if side == "server" else [], "client": side == "client", "key": "ecdsa", **how}
    return authority.issue(f"the {side}", **how)


def swapped(side: str) -> Credential:
    """A client's certificate that a server shows, or the other way round."""
    return leaf(side, extended_usage=[CLIENT_AUTH if side == "server" else SERVER_AUTH])


def below(**how: Any) -> Maker:
    """Signed by an intermediate, which would be in order, but for `how`."""
    return lambda side: leaf(side, Authority("middle", issuer=certificates().authority, **how))


def below_two(side: str) -> Credential:
    """Two intermediates, and the first allows none below it."""
    first = Authority("first", issuer=certificates().authority, path_length=0)
    return leaf(side, Authority("second", issuer=first))


def without_intermediate(side: str) -> Credential:
    whole = below()(side)
    return Credential(whole.certificate, whole.key)


def alone(side: str) -> Credential:
    """Signed by itself, and no authority."""
    credential = leaf(side)
    subject = credential.certificate.subject
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(7)
    builder = builder.public_key(credential.key.public_key()).not_valid_before(datetime.now(timezone.utc) - DAY)
    builder = builder.not_valid_after(datetime.now(timezone.utc) + DAY)
    for extension in credential.certificate.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return Credential(builder.sign(credential.key, hashes.SHA256()), credential.key)


def names_of(credential: Credential) -> list[str]:
    try:
        extension = credential.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def signed_with(digest: int) -> Maker:
    """By a digest that nobody should sign with any more, and the library will not: done by hand."""

    def make(side: str) -> Credential:
        authority = Authority("RSA middle", issuer=certificates().authority, key="rsa")
        good, signer = leaf(side, authority), authority.credential.key
        assert isinstance(signer, rsa.RSAPrivateKey)
        content = good.certificate.tbs_certificate_bytes
        content = content.replace(_RSA_SIGNATURE + b"\x0b", _RSA_SIGNATURE + bytes((digest,)))
        signature = signer.sign(content, padding.PKCS1v15(), _DIGESTS[digest])
        algorithm = bytes.fromhex("300d") + _RSA_SIGNATURE + bytes((digest,)) + bytes.fromhex("0500")
        whole = content + algorithm + b"\x03" + _length(len(signature) + 1) + b"\0" + signature
        certificate = x509.load_der_x509_certificate(b"\x30" + _length(len(whole)) + whole)
        return Credential(certificate, good.key, good.chain)

    return make


def _length(size: int) -> bytes:
    return bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")


def unreadable_names(side: str) -> Credential:
    """OpenSSL takes a name that is no ASCII; Python's library does not."""
    good = leaf(side, hosts=["unreadable.test"])
    signer = certificates().authority.credential.key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    content = good.certificate.tbs_certificate_bytes.replace(b"unreadable.test", b"unr\xe9adable.test")
    signature = signer.sign(content, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    whole = content + algorithm + b"\x03" + _length(len(signature) + 1) + b"\0" + signature
    der = b"\x30" + _length(len(whole)) + whole
    return Credential(x509.load_der_x509_certificate(der), good.key)


def context_of(credential: Credential | None, side: str, version: int) -> SSL.Context:
    """A peer that looks at nothing itself and will show anything."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if side == "server" else SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_session_id(b"test")
    if credential is not None:
        context.use_certificate(credential.certificate)
        context.use_privatekey(credential.key)
        for intermediate in credential.chain:
            context.add_extra_chain_cert(intermediate)
    return context
