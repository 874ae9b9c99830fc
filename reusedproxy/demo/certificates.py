"""Makes throw-away certificates: an authority in memory, and the server and client certificates that it signs.

Knows X.509 and PEM files. Must never be used on the path of a request, nor as a way to run an authority: keys are
written without a passphrase, serial numbers are random, nothing is ever revoked.

Every property that a verifier checks can be set to a wrong value (dates, names, usages, issuer), because showing that
wrong certificates are refused is half of its purpose.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH

#: A day back, so that a new certificate is valid for a peer whose clock is a little behind.
BACKDATE = timedelta(days=1)
#: Long enough that no warning of the end is due.
LIFE = timedelta(days=90)


@frozen
class Credential:
    """Holds a certificate, its private key, and the intermediate certificates between it and the root.

    @ivar certificate: the certificate itself. @ivar key: the private key that belongs to it. @ivar chain: intermediate
    certificates, the issuer of L{certificate} first; the root is not among them.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        """Returns the certificate and its intermediates, in the order that TLS sends them."""
        return b"".join(map(_certificate_pem, (self.certificate, *self.chain)))

    @property
    def key_pem(self) -> bytes:
        """Returns the private key in PKCS#8, without a passphrase."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def pem(self) -> bytes:
        """Returns certificate, intermediates and key in one text, as HAProxy's C{crt} expects them."""
        return self.certificate_pem + self.key_pem

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes L{pem} to C{path}, readable by its owner only, and replaces an existing file atomically.

        @return: the path.
        """
        return _write_private(Path(path), self.pem)


class Authority:
    """Acts as a certificate authority that lives in memory.

    @ivar credential: its own certificate and key.
    """

    def __init__(
        self,
        name: str = "reusedproxy throw-away CA",
        *,
        issuer: Authority | None = None,
        key: str = "ecdsa",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        authority: bool = True,
        path_length: int | None = None,
        permitted: Iterable[str] = (),
    ) -> None:
        """Makes the authority's key and certificate.

        @param name: the common name. @param issuer: the authority that signs this one, which is then an intermediate;
        by default it signs itself. @param key: C{"ecdsa"} (P-256), C{"rsa"} (2048 bits) or C{"weak"} (RSA, 1024 bits).
        @param not_before: start of validity; by default a day ago. @param not_after: end of validity; by default 90
        days after its start. @param authority: whether its certificate claims to be a CA. Without the claim a verifier
        must not accept it as one. @param path_length: how many intermediates there may be below it; by default any
        number. @param permitted: domains that must contain all names that it certifies; by default any.
        """
        private = _new_key(key)
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=authority, path_length=path_length if authority else None), True),
            (key_usage("key_cert_sign", "crl_sign") if authority else key_usage("digital_signature"), True),
        ]
        if domains := [x509.DNSName(domain) for domain in permitted]:
            extensions.append((x509.NameConstraints(domains, None), True))
        signer = (_subject(name), private) if issuer is None else issuer._signer
        certificate = _sign(_subject(name), private, signer, (not_before, not_after), extensions)
        self.credential: Credential = Credential(certificate, private, () if issuer is None else issuer._chain)
        #: The chain sent with a certificate issued here: empty for a root, which the verifier has already.
        self._chain: tuple[x509.Certificate, ...] = () if issuer is None else (certificate, *issuer._chain)

    @property
    def certificate_pem(self) -> bytes:
        """Returns this authority's certificate alone, which a verifier trusts."""
        return _certificate_pem(self.credential.certificate)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes L{certificate_pem} to C{path}, the C{ca-file} of a verifier. The key stays in memory.

        @return: the path.
        """
        return _write_private(Path(path), self.certificate_pem)

    def issue(
        self,
        name: str,
        *,
        hosts: Iterable[str] = (),
        client: bool = False,
        key: str = "rsa",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        usage: x509.KeyUsage | None = None,
        extended_usage: Sequence[x509.ObjectIdentifier] | None = None,
    ) -> Credential:
        """Makes a key and signs a certificate for it.

        @param name: the common name. Modern verifiers ignore it: give C{hosts} to a server.
        @param hosts: DNS names, IP addresses and URIs for the subject alternative names; none means no such extension.
        @param client: for a client rather than a server; decides the extended key usage.
        @param key: C{"rsa"} (2048 bits), C{"ecdsa"} (P-256) or C{"weak"} (RSA, 1024 bits).
        @param not_before: start of validity; by default a day ago. Tomorrow makes one that is not yet valid.
        @param not_after: end of validity; by default 90 days after its start. An hour ago makes an expired one.
        @param usage: another key usage than the one that TLS needs; see L{key_usage}.
        @param extended_usage: another extended key usage; an empty sequence leaves the extension out.
        """
        private = _new_key(key)
        if usage is None:
            # RFC 8446 4.4.2.2 asks for digitalSignature; keyEncipherment is for RSA key exchange of TLS 1.2 only.
            usage = key_usage("digital_signature", *(["key_encipherment"] if key == "rsa" else []))
        if extended_usage is None:
            extended_usage = [CLIENT_AUTH if client else SERVER_AUTH]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage, True),
        ]
        if extended_usage:
            extensions.append((x509.ExtendedKeyUsage(extended_usage), False))
        alternatives = [_general_name(host) for host in hosts]
        if alternatives:
            extensions.append((x509.SubjectAlternativeName(alternatives), False))
        certificate = _sign(_subject(name), private, self._signer, (not_before, not_after), extensions)
        return Credential(certificate, private, self._chain)

    @property
    def _signer(self) -> tuple[x509.Name, PrivateKey]:
        return self.credential.certificate.subject, self.credential.key


def key_usage(*allowed: str) -> x509.KeyUsage:
    """Returns a key usage extension that allows exactly the named usages (the argument names of L{x509.KeyUsage}).
    Raises ValueError for an unknown one."""
    unknown = set(allowed) - set(_USAGES)
    if unknown:
        raise ValueError(f"unknown key usage {sorted(unknown)}; known are {', '.join(_USAGES)}")
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _new_key(kind: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "weak":
        return rsa.generate_private_key(public_exponent=65537, key_size=1024)
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    raise ValueError(f"unknown kind of key {kind!r}: 'rsa', 'ecdsa' or 'weak'")


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    if "://" in host:
        return x509.UniformResourceIdentifier(host)
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _sign(
    subject: x509.Name,
    private: PrivateKey,
    signer: tuple[x509.Name, PrivateKey],
    validity: tuple[datetime | None, datetime | None],
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    issuer, issuer_key = signer
    start, end = _validity(*validity)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        # Both key identifiers: OpenSSL's strict mode (Python 3.13's default) refuses a chain without them.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _validity(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """Returns both dates; a missing one is chosen to suit the other (an end in the past gets an earlier start)."""
    if start is None:
        start = datetime.now(timezone.utc) - BACKDATE
        if end is not None and end <= start:
            start = end - BACKDATE
    return start, start + LIFE if end is None else end


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_private(path: Path, content: bytes) -> Path:
    """Writes the file with mode 0600 from its creation, and puts it in place by a rename.

    A file whose mode is narrowed by a later chmod could be opened by others in between. With the rename, a reload of
    certificates never reads an incomplete file.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    os.replace(draft, path)
    return path
