"""Implements the sample fetches about TLS (manual, section 7.3.4).

ssl_fc and ssl_c are about the client's side, ssl_bc and ssl_s about the server's. Each asks its side of the exchange
when it is evaluated. Without TLS most have nothing to fetch; without a certificate none of those about the certificate
has.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.rules.facts import Binary, Facts, Sample, TLSSide
from reusedproxy.rules.samples.certificates import Attribute, Certificate, NotThere, entry, one_line, rfc2253
from reusedproxy.rules.samples.hello_fetches import HELLO_FETCHES

Fetch = Callable[[Facts], Sample]
Side = Callable[[Facts], "TLSSide | None"]


def _client(facts: Facts) -> TLSSide | None:
    return facts.client_tls


def _server(facts: Facts) -> TLSSide | None:
    return facts.server_tls


def _told(side: Side, read: Callable[[TLSSide], Sample]) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        tls = side(facts)
        return None if tls is None else read(tls)

    return lambda: fetch


def _is(side: Side, read: Callable[[TLSSide], bool] = lambda tls: True) -> Callable[[], Fetch]:
    """Makes a fetch that is False also without TLS."""

    def fetch(facts: Facts) -> Sample:
        tls = side(facts)
        return tls is not None and read(tls)

    return lambda: fetch


def _of_certificate(side: Side, read: Callable[[Certificate], Sample]) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        tls = side(facts)
        der = None if tls is None else tls.certificate
        if der is None:
            return None
        try:
            return read(Certificate(der))
        except (NotThere, StopIteration, ValueError, IndexError):
            return None  # OpenSSL has accepted the certificate, but it lacks the field

    return lambda: fetch


def _dn(side: Side, attributes: Callable[[Certificate], list[Attribute]]) -> Callable[..., Fetch]:
    """Makes a fetch of a name, as a whole or one entry of it.

    The whole is in one line or in the form of RFC 2253. An entry is chosen by name and number.
    """

    def make(name: str = "", occurrence: str = "1", form: str = "") -> Fetch:
        def read(certificate: Certificate) -> Sample:
            found = attributes(certificate)
            if name:
                return entry(found, name, int(occurrence))
            return rfc2253(found) if form else one_line(found)

        return _of_certificate(side, read)()

    return make


def _chain_above(tls: TLSSide) -> Sample:
    """Returns the certificates that a client has shown above its own.

    These are all that OpenSSL's chain of a client has (SSL_get_peer_cert_chain(3)). `TLSSide.chain` puts the client's
    own certificate first, which is left out here.
    """
    return Binary(b"".join(tls.chain[1:])) or None


def _whole_chain(tls: TLSSide) -> Sample:
    """Returns the certificates that a server has shown, its own first."""
    return Binary(b"".join(tls.chain)) or None


def _about_certificate(prefix: str, side: Side, chain: Callable[[TLSSide], Sample]) -> dict[str, Callable[..., Fetch]]:
    return {
        f"{prefix}_der": _of_certificate(side, lambda certificate: Binary(certificate.der)),
        f"{prefix}_chain_der": _told(side, chain),
        f"{prefix}_s_dn": _dn(side, Certificate.subject),
        f"{prefix}_i_dn": _dn(side, Certificate.issuer),
        f"{prefix}_serial": _of_certificate(side, lambda certificate: Binary(certificate.serial())),
        f"{prefix}_sha1": _of_certificate(side, lambda certificate: Binary(certificate.sha1())),
        f"{prefix}_notbefore": _of_certificate(side, Certificate.not_before),
        f"{prefix}_notafter": _of_certificate(side, Certificate.not_after),
        f"{prefix}_version": _of_certificate(side, Certificate.version),
        f"{prefix}_sig_alg": _of_certificate(side, Certificate.signature_algorithm),
        f"{prefix}_key_alg": _of_certificate(side, Certificate.key_algorithm),
    }


def _about_connection(prefix: str, side: Side) -> dict[str, Callable[..., Fetch]]:
    return {
        prefix: _is(side),
        f"{prefix}_is_resumed": _is(side, lambda tls: tls.resumed),
        f"{prefix}_protocol": _told(side, lambda tls: tls.version.encode()),
        f"{prefix}_cipher": _told(side, lambda tls: tls.cipher.encode()),
        f"{prefix}_alpn": _told(side, lambda tls: tls.alpn or None),
        f"{prefix}_alg_keysize": _told(side, lambda tls: tls.cipher_bits),
        f"{prefix}_use_keysize": _told(side, lambda tls: tls.cipher_bits),
    }


TLS_FETCHES: dict[str, Callable[..., Fetch]] = {
    **HELLO_FETCHES,
    **_about_connection("ssl_fc", _client),
    **_about_connection("ssl_bc", _server),
    **_about_certificate("ssl_c", _client, _chain_above),
    **_about_certificate("ssl_s", _server, _whole_chain),
    "ssl_fc_sni": _told(_client, lambda tls: tls.sni),
    "ssl_fc_has_sni": _is(_client, lambda tls: tls.sni is not None),
    # True only for a certificate shown in this handshake: a resumed session shows none, though its certificate is
    # known.
    "ssl_fc_has_crt": _told(_client, lambda tls: tls.certificate is not None and not tls.resumed),
    "ssl_c_used": _told(_client, lambda tls: tls.certificate is not None),
    "ssl_c_verify": _told(_client, lambda tls: tls.verify_result),
    "ssl_c_err": _told(_client, lambda tls: tls.certificate_error),
    "ssl_c_ca_err": _told(_client, lambda tls: tls.authority_error[0]),
    "ssl_c_ca_err_depth": _told(_client, lambda tls: tls.authority_error[1]),
}
