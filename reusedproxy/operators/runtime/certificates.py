"""Shows the certificates of listeners and servers, and replaces them in memory: `show|new|set|commit|abort|del ssl
cert`. Texts are HAProxy's.

What is common to all files of TLS is in `transactions`. It must never know how a certificate gets into use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from reusedproxy.net.tls.files import TLSConfigurationError, certificate_in_place_of, certificates_in
from reusedproxy.net.tls.in_memory import CertificateInMemory, FilesInMemory
from reusedproxy.operators.runtime.authorities import described, one_line, unescaped
from reusedproxy.operators.runtime.proxy import Context, Refusal, Transaction
from reusedproxy.operators.runtime.transactions import Kind, Known
from reusedproxy.operators.view.certificates import certificates_in_use, names_of

#: In HAProxy the names of files that belong to a certificate, beside that of its key; they are not used here.
_NOT_SENT = (".ocsp", ".issuer", ".sctl")
_KEY = re.compile(rb"^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\s.*?^-----END \1-----", re.M | re.S)


class _Certificates(Kind[CertificateInMemory]):
    """Does the orders about certificates, each with its chain and key."""

    word, noun, payload = "cert", "certificate", "a certificate"
    created = "New empty certificate store '{}'!\n"
    changed = "Transaction {} for certificate {}!\n"

    def known(self, context: Context) -> Mapping[str, Known[CertificateInMemory]]:
        stored = context.proxy.configuration.global_.stored_certificates
        trusts, names = context.proxy.trusts, names_of(stored)
        held = {names.get(key, key[0]): (key, each) for key, each in trusts.in_memory.certificates.items()}
        found = {name: Known(name, key, each) for name, (key, each) in held.items()}
        shown = trusts.certificates
        for each in certificates_in_use(context.proxy, stored).values():
            key = (each.path, each.key_path)
            found[each.name] = Known(each.name, key, shown.get(key, CertificateInMemory()), each.uses)
        return dict(sorted(found.items()))

    def added(self, name: str) -> Known[CertificateInMemory]:
        return Known(name, (name, None), CertificateInMemory())

    def put(self, files: FilesInMemory, key: Any, content: CertificateInMemory | None) -> FilesInMemory:
        return files.with_certificate(key, content)

    def names(self, said: str) -> list[str]:
        """The key of a.crt may stand in a.key."""
        name = next((said.removesuffix(each) for each in (".key", *_NOT_SENT) if said.endswith(each)), said)
        return [name] if said == name else [name, f"{name}.crt"]

    def loaded(self, said: str, payload: bytes, before: CertificateInMemory, adds: bool) -> CertificateInMemory:
        if said.endswith(_NOT_SENT):
            raise Refusal("No OCSP responses, issuers of them or timestamps are sent to clients.")
        name, key = said.removesuffix(".key"), _key_in(payload)
        if said != name:
            if key is None:
                raise Refusal(f"unable to load private key from file '{name}'.\nCan't load the payload")
            return CertificateInMemory(before.content, key)
        try:
            certificate_in_place_of(name, payload, b"")
        except TLSConfigurationError:
            raise Refusal(f"unable to load certificate from file '{name}'.\nCan't load the payload") from None
        return CertificateInMemory(payload, key or b"")

    def demand_whole(self, transaction: Transaction) -> None:
        content = transaction.content
        if not content.content or not content.key:
            raise Refusal("The transaction must contain at least a certificate and a private key!")
        if not _belongs(content.key, certificates_in(content.content)[0]):
            raise Refusal(f"inconsistencies between private key and certificate loaded '{transaction.name}'.")


CERTIFICATES = _Certificates()


def show_ssl_cert(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl cert [[*]<certfile>]`."""
    transaction, known = CERTIFICATES.ongoing(context), CERTIFICATES.known(context)
    if not words:
        if transaction is not None:
            yield f"# transaction\n*{transaction.name}\n"
        yield "# filename\n" + "".join(f"{name}\n" for name in known)
        return
    name, is_set = unescaped(words[0])
    if is_set and transaction is not None and transaction.name == name:
        content, status = transaction.content, "Uncommitted" if transaction.content else "Empty"
    elif not is_set and name in known:
        content, status = known[name].content, known[name].status
    else:
        raise Refusal("Can't display the certificate: Not found or the certificate is a bundle!")
    yield f"Filename: {'*' if is_set else ''}{name}\nStatus: {status}\n"
    shown = certificates_in(content.content)
    if not shown:
        return
    yield described(shown[0])
    for each in shown[1:]:
        yield f"Chain Subject: {one_line(each.subject)}\nChain Issuer: {one_line(each.issuer)}\n"
    yield "OCSP Response Key: \n"


def _key_in(content: bytes) -> bytes | None:
    """Returns the first private key, in PEM; None if there is none that can be read without a passphrase."""
    found = _KEY.search(content)
    if found is None:
        return None
    try:
        load_pem_private_key(found[0], None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
    return found[0] + b"\n"


def _belongs(key: bytes, certificate: x509.Certificate) -> bool:
    try:
        private = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        halves = (private.public_key(), certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return halves[0].public_bytes(*form) == halves[1].public_bytes(*form)
