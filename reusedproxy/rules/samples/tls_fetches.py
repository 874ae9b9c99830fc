"""Implements the sample fetches about TLS (manual, section 7.3.4).

ssl_fc and ssl_c are about the client's side, ssl_bc and ssl_s about the server's. Each asks its side of the exchange
when it is evaluated. Without TLS most have nothing to fetch; without a certificate none of those about the certificate
has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from reusedproxy.rules.facts import Binary, Facts, Sample, TLSSide
from reusedproxy.rules.samples.alternative_names import alternative_names, policies
from reusedproxy.rules.samples.certificates import Attribute, Certificate, NotThere, entry, one_line, parts, rfc2253
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


def _comes_over_tls(facts: Facts) -> Sample:
    """Also before the handshake: the `bind` line says so."""
    return facts.client_tls is not None or facts.awaits_tls


def _peers(tls: TLSSide) -> bytes | None:
    return tls.certificate


def _own(tls: TLSSide) -> bytes | None:
    return tls.own_certificate


def _own_name(tls: TLSSide) -> Sample:
    return None if tls.own_name is None else tls.own_name.encode("utf-8", "surrogateescape")


def _root(tls: TLSSide) -> bytes | None:
    return tls.root


def _of_certificate(
    side: Side, read: Callable[[Certificate], Sample], which: Callable[[TLSSide], bytes | None] = _peers
) -> Callable[[], Fetch]:
    def fetch(facts: Facts) -> Sample:
        tls = side(facts)
        der = None if tls is None else which(tls)
        if der is None:
            return None
        try:
            return read(Certificate(der))
        except (NotThere, StopIteration, ValueError, IndexError):
            return None  # OpenSSL has accepted the certificate, but it lacks the field

    return lambda: fetch


def _dn(
    side: Side,
    attributes: Callable[[Certificate], list[Attribute]],
    which: Callable[[TLSSide], bytes | None] = _peers,
) -> Callable[..., Fetch]:
    """Makes a fetch of a name, as a whole or one entry of it.

    The whole is in one line or in the form of RFC 2253. An entry is chosen by name and number.
    """

    def make(name: str = "", occurrence: str = "1", form: str = "") -> Fetch:
        def read(certificate: Certificate) -> Sample:
            found = attributes(certificate)
            if name:
                return entry(found, name, int(occurrence))
            return rfc2253(found) if form else one_line(found)

        return _of_certificate(side, read, which)()

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


def _about_certificate(
    prefix: str, side: Side, which: Callable[[TLSSide], bytes | None] = _peers
) -> dict[str, Callable[..., Fetch]]:
    return {
        f"{prefix}_der": _of_certificate(side, lambda certificate: Binary(certificate.der), which),
        f"{prefix}_s_dn": _dn(side, Certificate.subject, which),
        f"{prefix}_i_dn": _dn(side, Certificate.issuer, which),
        f"{prefix}_serial": _of_certificate(side, lambda certificate: Binary(certificate.serial()), which),
        f"{prefix}_sha1": _of_certificate(side, lambda certificate: Binary(certificate.sha1()), which),
        f"{prefix}_notbefore": _of_certificate(side, Certificate.not_before, which),
        f"{prefix}_notafter": _of_certificate(side, Certificate.not_after, which),
        f"{prefix}_version": _of_certificate(side, Certificate.version, which),
        f"{prefix}_sig_alg": _of_certificate(side, Certificate.signature_algorithm, which),
        f"{prefix}_key_alg": _of_certificate(side, Certificate.key_algorithm, which),
    }


def _policies(wanted: str = "") -> Fetch:
    return _of_certificate(_client, partial(policies, wanted=wanted))()


def _session_id(tls: TLSSide) -> Sample:
    """Returns the fourth field of a session, behind two numbers and the cipher (OpenSSL's ssl/ssl_asn1.c)."""
    if tls.session is None:
        return None
    fields = parts(next(parts(tls.session)).content)
    return Binary([next(fields) for _ in range(4)][3].content) or None


def _binary(read: Callable[[TLSSide], bytes | None]) -> Callable[[TLSSide], Sample]:
    return lambda tls: Binary(read(tls) or b"") or None


def _about_connection(prefix: str, side: Side) -> dict[str, Callable[..., Fetch]]:
    return {
        prefix: _is(side),
        f"{prefix}_is_resumed": _is(side, lambda tls: tls.resumed),
        f"{prefix}_protocol": _told(side, lambda tls: tls.version.encode()),
        f"{prefix}_cipher": _told(side, lambda tls: tls.cipher.encode()),
        f"{prefix}_alpn": _told(side, lambda tls: tls.alpn or None),
        f"{prefix}_alg_keysize": _told(side, lambda tls: tls.cipher_bits),
        f"{prefix}_use_keysize": _told(side, lambda tls: tls.cipher_bits),
        f"{prefix}_curve": _told(side, lambda tls: tls.group.upper().encode() or None),
        f"{prefix}_session_id": _told(side, _session_id),
        f"{prefix}_unique_id": _told(side, _binary(lambda tls: tls.first_finished)),
        f"{prefix}_session_key": _told(side, _binary(lambda tls: tls.master_key)),
        f"{prefix}_client_random": _told(side, _binary(lambda tls: tls.client_random)),
        f"{prefix}_server_random": _told(side, _binary(lambda tls: tls.server_random)),
        # As in HAProxy where no line has `npn`.
        f"{prefix}_npn": _told(side, lambda tls: None),
    }


TLS_FETCHES: dict[str, Callable[..., Fetch]] = {
    **HELLO_FETCHES,
    **_about_connection("ssl_fc", _client),
    "ssl_fc": lambda: _comes_over_tls,
    **_about_connection("ssl_bc", _server),
    **_about_certificate("ssl_c", _client),
    "ssl_c_chain_der": _told(_client, _chain_above),
    "ssl_c_r_dn": _dn(_client, Certificate.subject, _root),
    "ssl_c_san": _of_certificate(_client, alternative_names),
    "ssl_c_policies": _policies,
    **_about_certificate("ssl_s", _server),
    "ssl_s_chain_der": _told(_server, _whole_chain),
    **_about_certificate("ssl_f", _client, _own),
    # A connection that OpenSSL has given up comes to no rule, only to the log.
    "ssl_fc_err": _told(_client, lambda tls: tls.handshake_error),
    "ssl_fc_err_str": _told(_client, lambda tls: None),
    "ssl_fc_crtname": _told(_client, _own_name),
    "ssl_bc_sni": _told(_server, lambda tls: tls.sni),
    # Early data is never taken.
    "ssl_fc_early_rcvd": _told(_client, lambda tls: False),
    "ssl_fc_has_early": _told(_client, lambda tls: False),
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
