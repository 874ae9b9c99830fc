"""Implements TLS towards servers.

A `ClientContext` holds what one server line says about TLS, and is made once: our certificate, the trusted CAs, the
name that must be in the server's certificate, and the session to resume. Handshakes are verified before a connection is
handed out, and errors are put in words. It knows files and OpenSSL; it must never know pools, requests or retries.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timezone
from hashlib import sha256
from math import inf
from socket import socket
from time import time

import service_identity.hazmat
from attrs import define, evolve
from cryptography import x509
from OpenSSL import SSL, crypto

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.tls.files import CertificateFile, TLSConfigurationError
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.net.tls.lasting import VERIFIED_FOR, ends_of, first_after
from reusedproxy.net.tls.names import is_address, is_for, why_not
from reusedproxy.net.tls.openssl import take_records_alone
from reusedproxy.net.tls.openssl_server import HOSTNAME_MISMATCH, name_refusals, resumes, untie
from reusedproxy.net.tls.parameters import set_parameters
from reusedproxy.net.tls.pins import pin_of_der
from reusedproxy.net.tls.spiffe import why_not_spiffe
from reusedproxy.net.tls.staples import SKEW, Judged, judge, may_demand
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.trusts import Trusted, Trusts
from reusedproxy.net.tls.words import (
    ACCEPTED,
    MISNAMED,
    MISTRUSTED,
    UNREADABLE,
    UNSEEN,
    VerifyFault,
    alert_words,
    certificate_words,
    names_in,
    received_alert,
    words_of,
)


@define
class Seen:
    """Records what one handshake has shown.

    `fault` is what OpenSSL found wrong with the server's certificate, `misnamed` what this module found wrong with its
    names, in words, `unpinned` with its key, and `unvouched` with the OCSP answer that came with it. `verified` says
    that its chain and its names are right, `named` that the names were checked and are right, `pinned` that a pinned
    key was seen in the chain. `alert` is the last alert:
    (whether we sent it, its number). `complete` says that the handshake is complete on our side. `accepted` says that
    the server has sent a TLS message since, a session ticket for instance, and so has accepted our part of the
    handshake.
    `vouched_until` is the time until which its CA vouches for the certificate by that answer; None: there is none.
    `good_until` is the time until which others may resume the connection's session (Unix time).
    """

    context: ClientContext
    fault: VerifyFault | None = None
    misnamed: str = ""
    unpinned: str = ""
    unvouched: str = ""
    verified: bool = False
    named: bool = False
    pinned: bool = False
    alert: tuple[bool, int] | None = None
    complete: bool = False
    accepted: bool = False
    vouched_until: float | None = None
    good_until: float = inf

    @property
    def refused(self) -> bool:
        """Tells whether the server has refused our certificate after the handshake was complete on our side.

        This can happen only in TLS 1.3. In TLS 1.2 the server's part of the handshake comes last, so no later alert of
        the server is about the certificate.
        """
        return self.alert in _REFUSALS and self.complete and not self.accepted


#: Seconds before the end of our certificate, at most, in which a server cannot keep a new one from others any more.
ENDING = 3600.0
#: What of a server line's settings is in the first message of a handshake.
_OFFERED = ("min_version", "max_version", "ciphers", "ciphersuites", "curves", "sigalgs", "alpn", "tickets")
#: What takes the place of nothing that a server line says.
NOBODY_ELSE = ClientIdentity()


class ClientContext:
    """Holds the TLS settings of one server line, made once and used for every connection to it.

    `session` is the newest session that a connection has left here. It belongs to this context alone, so it can never
    be offered under another name or with another certificate. Beyond `session_until` it is not offered: the server has
    to be verified again. `theirs_end` is the end of validity of the certificate
    that the server showed last, in Unix time; None while none was looked at.
    """

    #: Set by the code that made the context: its number among those of its server line, as reloads with other
    #: certificates or settings made them.
    generation = 1

    def __init__(
        self, settings: ServerTLS, trusts: Trusts | None = None, identity: ClientIdentity = NOBODY_ELSE
    ) -> None:
        """Reads all files and checks the names. Raises TLSConfigurationError.

        `trusts` may have read the CAs already for other contexts. What `identity` has takes the place of the settings,
        and is not read.
        """
        self.settings = settings
        #: The context of which this one is a copy under another name; None: it is none.
        self.origin: ClientContext | None = None
        self.session: SSL.Session | None = None
        self.session_until = inf
        self.theirs_end: float | None = None
        #: The name that the certificate must carry: HAProxy's `verifyhost` counts only without `sni`.
        self.name = identity.verified or settings.sni or settings.verifyhost
        self._verified = identity.verified
        self._sni = None if settings.sni is None else _wire_name(settings.sni)
        if self.name is not None and not is_address(self.name):
            _wire_name(self.name)
        trusts = trusts or Trusts()
        self._context = context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        signs = settings.crt is not None or "crt" in settings.by_request
        set_parameters(context, settings, client_signs=signs)
        if settings.alpn:
            context.set_alpn_protos([each.encode("ascii") for each in settings.alpn])
        #: Our certificate and the end of its validity (Unix time); None without one.
        self.ours: x509.Certificate | None = None
        self._shown: CertificateFile | None = None
        faults: list[str] = []
        if identity.ours is not None or (settings.crt is not None and trusts.shows(settings.crt)):
            try:
                self._shown = shown = identity.ours or trusts.certificate(settings.crt or "", settings.key)
                shown.use(context)
                self.ours = shown.leaf
            except TLSConfigurationError as error:
                faults += error.args
        self.ours_end = None if self.ours is None else self.ours.not_valid_after_utc.timestamp()
        named = () if settings.verify == "none" and settings.ca_file is None else (("ca-file", settings.ca_file),)
        try:
            if settings.verify == "required":
                self._trusted: Trusted = identity.trusted or trusts.of(
                    named, settings.crl_file, fetched=settings.crl_fetched
                )
            else:
                trusts.require(named, settings.crl_file, fetched=settings.crl_fetched)
        except TLSConfigurationError as error:
            faults += error.args
        if faults:
            raise TLSConfigurationError(*faults)
        if settings.verify == "required":
            self._trusted.give(context)
            context.set_verify(SSL.VERIFY_PEER, _note_certificate)
            self._kept = name_refusals(context, HOSTNAME_MISMATCH)
            if settings.ocsp != "none":
                context.set_ocsp_client_callback(_note_staple)
        elif settings.pins:
            context.set_verify(SSL.VERIFY_PEER, _note_key)
            self._kept = name_refusals(context, HOSTNAME_MISMATCH)
        context.set_info_callback(note_progress)
        untie(context)

    def named(self, sni: str) -> ClientContext:
        """Returns a copy for another name ("": none is sent).

        Raises TLSConfigurationError for what is not a host name.

        The copy has no session, because a session is never offered under another name.
        """
        other = copy(self)
        other.session = None
        other.origin = self.origin or self
        other.name = self._verified or sni or self.settings.verifyhost
        other._sni = None if not sni or is_address(sni) else _wire_name(sni)  # RFC 6066 section 3: no addresses
        return other

    def elsewhere(self) -> ClientContext:
        """Returns a copy for another address of the same server, without a session: who answers there has to show that
        it is that server."""
        other = copy(self)
        other.session = other.theirs_end = None
        return other

    def acting_as(self, identity: ClientIdentity) -> ClientContext:
        """Returns a context for another identity, with the other settings of this one. Opens no file. Raises
        TLSConfigurationError.

        It has no session, because one is never offered under another identity.
        """
        ours, trusted = identity.ours or self._shown, identity.trusted
        if trusted is None and self.settings.verify == "required":
            trusted = self._trusted
        settings = evolve(
            self.settings,
            crt=None if ours is None else ours.path,
            key=self.settings.key if identity.ours is None else None,
            ca_file=self.settings.ca_file if identity.trusted is None else identity.trusted.path,
            verifyhost=identity.verified or self.settings.verifyhost,
            by_request=(),
        )
        return ClientContext(settings, identity=ClientIdentity(ours, trusted, identity.verified))

    @property
    def refuses_nameless(self) -> bool:
        """Tells whether connections without SNI have to be refused.

        That is so where certificates are verified and, without SNI, nothing says which name they must carry.
        """
        return self.settings.verify == "required" and not (self.settings.verifyhost or self.settings.spiffe)

    def connection(self, connected: socket) -> SSL.Connection:
        """Returns a client connection over `connected`, ready for its handshake."""
        if self.settings.by_request:
            raise RuntimeError(f"{' and '.join(self.settings.by_request)}: no request has said which")
        connection = SSL.Connection(self._context, connected)
        connection.set_connect_state()
        take_records_alone(connection)
        seen = Seen(self)
        connection.set_app_data(seen)
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni)
        if self.settings.verify == "required" and self.settings.ocsp != "none":
            connection.request_ocsp()
        if self.session is not None and self.settings.resumes and time() < self.session_until:
            connection.set_session(self.session)
            seen.good_until = self.session_until
        return connection

    def remember(self, connection: SSL.Connection) -> None:
        """Stores the session of a connection whose handshake is verified, for later ones to resume."""
        session = connection.get_session()
        if session is not None:
            self.session, self.session_until = session, connection.get_app_data().good_until

    def verify(self, connection: SSL.Connection) -> str | None:
        """Returns what is wrong with the server's certificate after the handshake, in words, or None.

        OpenSSL has checked the chain by now, but for a resumed session it checks nothing, so the date of the server's
        own certificate is checked again here, and for how long the session may be resumed is found out when it begins.
        The names are checked here unless that was done during the handshake.
        """
        if self.settings.verify != "required":
            return self._verify_key(connection) if self.settings.pins else None
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return "the server showed no certificate"
        end = certificate.not_valid_after_utc
        self.theirs_end = end.timestamp()
        if not resumes(connection):
            now = time()
            ends = ends_of(connection.get_verified_chain() or ())
            vouched = connection.get_app_data().vouched_until
            ends += [] if vouched is None else [vouched + SKEW]
            connection.get_app_data().good_until = first_after(now, (now + VERIFIED_FOR, *ends, *self._trusted.ends))
        if end < datetime.now(timezone.utc):
            shown = certificate_words(certificate, dates=True)
            return f"the certificate has expired since the session began that is resumed ({shown})"
        seen: Seen = connection.get_app_data()
        if not seen.named:
            seen.misnamed = self.misnamed(certificate) or ""
        return seen.misnamed or None

    def _verify_key(self, connection: SSL.Connection) -> str | None:
        """Returns what is wrong with the key of a server that is verified by that alone, in words, or None."""
        seen: Seen = connection.get_app_data()
        if not resumes(connection):
            if not seen.pinned:
                return "the server showed no certificate, so none with a pinned key"
            seen.good_until = time() + VERIFIED_FOR
        return None

    def unpinned(self, certificate: crypto.X509) -> str:
        """Describes the server's own certificate, where no key of its chain is pinned (of `verify none`: not its
        own)."""
        pin = pin_of_der(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
        where = "in its chain" if self.settings.verify == "required" else "that the server has shown"
        return f"no key {where} is pinned; its own pin-sha256 is {pin} ({words_of(certificate)})"

    def misnamed(self, certificate: x509.Certificate) -> str | None:
        """Returns what is wrong with the names of a server's certificate, in words, or None. Where it has to have an ID
        (`verifyspiffe`) that is the only name that counts."""
        if self.settings.spiffe:
            return why_not_spiffe(certificate, self.settings.spiffe) or None
        if self.name is None or is_for(certificate, self.name):
            return None
        shown = certificate_words(certificate, names=False)
        found = names_in(certificate) or "no name at all"
        return f"the certificate is not for {self.name!r}, it is for {found} ({shown}){why_not(certificate, self.name)}"

    def judge_staple(self, connection: SSL.Connection, answer: bytes) -> Judged:
        """Judges the OCSP answer that came with a certificate whose chain is verified."""
        if not answer and self.settings.ocsp != "required":
            shown = connection.get_peer_certificate()
            if shown is None or not may_demand(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)):
                return Judged()  # as with most servers: to read the chain would take a tenth of the handshake's time
        try:
            chain = [each.to_cryptography() for each in connection.get_verified_chain() or ()]
        except UNREADABLE:
            chain = []
        if not chain:
            # OpenSSL alone can read it, so nobody can tell what an answer says of it.
            return Judged("a certificate of its chain cannot be read" if self.settings.ocsp == "required" else "")
        return judge(answer, chain, demanded=self.settings.ocsp == "required", now=time())

    def judgement(self, connection: SSL.Connection) -> str:
        """Returns, after a failed handshake, what was found of the server's certificate: `net.tls.words.UNSEEN`,
        ACCEPTED, MISNAMED or MISTRUSTED."""
        seen: Seen = connection.get_app_data()
        if seen.misnamed:
            return MISNAMED
        if seen.fault is not None or seen.unpinned or seen.unvouched:
            return MISTRUSTED
        return ACCEPTED if seen.verified else UNSEEN

    def is_ending(self, now: float) -> bool:
        """Tells whether our certificate has ended at this Unix time, or soon will: within an hour, or the last quarter
        of its life, whichever is shorter."""
        if self.ours is None or self.ours_end is None:
            return False
        life = self.ours_end - self.ours.not_valid_before_utc.timestamp()
        return self.ours_end - now <= min(ENDING, life / 4)

    def begins_as(self, other: ClientContext) -> bool:
        """Tells whether both begin a handshake alike: they offer the same, and ask for the same name."""
        ours, theirs = self.settings, other.settings
        return self._sni == other._sni and all(getattr(ours, each) == getattr(theirs, each) for each in _OFFERED)

    def shows_as(self, other: ClientContext) -> bool:
        """Tells whether both show the same certificate, or none."""
        ours, theirs = self._shown, other._shown
        if ours is None or theirs is None:
            return ours is theirs
        return (ours.content, ours.key) == (theirs.content, theirs.key)

    @property
    def shown_digest(self) -> str:
        """Returns what tells the certificate that is shown, with its chain, from others; "" without one."""
        return "" if self._shown is None else sha256(self._shown.content).hexdigest()

    def demands_as(self, other: ClientContext) -> bool:
        """Tells whether a server has to prove the same to both: by a chain from the same CAs, none of it revoked by the
        same lists, with the same name, key, and answer of OCSP."""
        ours, theirs = self.settings, other.settings
        if (ours.verify, ours.pins, ours.ocsp, ours.spiffe, self.name) != (
            theirs.verify,
            theirs.pins,
            theirs.ocsp,
            theirs.spiffe,
            other.name,
        ):
            return False
        return ours.verify != "required" or self._trusted.trusts_the_same(other._trusted)

    def explain(self, connection: SSL.Connection, error: SSL.Error) -> str:
        """Describes a failed handshake in words: OpenSSL's reason, what it means, the file concerned, and the alert."""
        seen: Seen = connection.get_app_data()
        reason = openssl_reason(error)
        if refused := seen.unpinned or seen.misnamed or seen.unvouched:
            return refused + alert_words(seen.alert)
        if seen.fault is not None:
            return f"certificate verify failed: {seen.fault}; {self._trusted.words}{alert_words(seen.alert)}"
        # OpenSSL still sends an alert to a peer that has gone, which nobody reads: it is not mentioned.
        sent = seen.alert is not None and seen.alert[0] and not isinstance(error, SSL.SysCallError)
        return self.meaning(reason) + (alert_words(seen.alert) if sent else "")

    def meaning(self, reason: str) -> str:
        """Returns OpenSSL's reason, what it means where more is known, and the alert that it tells of.

        In TLS 1.3 a server may refuse our certificate after the handshake looked complete to us (RFC 8446 section
        4.4.2), so this is called for ends of fresh connections, too.
        """
        received = received_alert(reason)
        return self._meaning(reason) + ("" if received is None else alert_words((False, received)))

    def _meaning(self, reason: str) -> str:
        settings = self.settings
        if any(word in reason for word in _CLIENT_CERTIFICATE_ALERTS):
            ours = f"crt {settings.crt}" if settings.crt else "and no crt is configured"
            return f"{reason}: the server refused our client certificate ({ours})"
        if "wrong version number" in reason or "http request" in reason:
            return f"{reason}: the server does not speak TLS on this port"
        if "protocol version" in reason or "unsupported protocol" in reason:
            return f"{reason}: offered are {self._versions} (ssl-min-ver, ssl-max-ver)"
        if "alert handshake failure" in reason:
            # Servers use this alert for both reasons; only newer ones have a separate one.
            ours = f"not take our client certificate (crt {settings.crt})"
            ours = ours if settings.crt else "demand a client certificate, and no crt is configured"
            return f"{reason}: the server has nothing in common with {self._offered}; or it may {ours}"
        if "no application protocol" in reason:
            return f"{reason}: offered by alpn are {', '.join(settings.alpn)}"
        return reason

    @property
    def _versions(self) -> str:
        return " to ".join(dict.fromkeys((self.settings.min_version, self.settings.max_version)))

    @property
    def _offered(self) -> str:
        settings = self.settings
        said = (("ciphers", settings.ciphers), ("ciphersuites", settings.ciphersuites), ("curves", settings.curves))
        return ", ".join([self._versions, *(f"{word} {value}" for word, value in said if value is not None)])


def check_host_name(name: str) -> None:
    """Raises TLSConfigurationError for a name that no certificate could carry."""
    _wire_name(name)


def try_certificate(ours: CertificateFile, settings: ServerTLS) -> None:
    """Checks that a certificate could be shown with these settings. Raises TLSConfigurationError."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    set_parameters(context, settings, client_signs=True)
    ours.use(context)


#: Received alerts by which a server refuses a client certificate: those of RFC 8446 section 6.2, and decrypt_error,
#: which section 4.4.3 demands where our signature with the certificate's key is wrong, and which OpenSSL also sends
#: where its issuer's signature is. Nothing but a handshake can cause these. handshake_failure is not among them: it
#: says that there are no common parameters, which is settled by then, so a server that sends it so late may mean
#: anything.
_REFUSALS = frozenset((False, number) for number in (42, 43, 44, 45, 46, 48, 49, 51, 116))
#: The same alerts in OpenSSL's words.
_CLIENT_CERTIFICATE_ALERTS = (
    "alert unknown ca",
    "alert bad certificate",
    "alert certificate required",
    "alert certificate expired",
    "alert certificate revoked",
    "alert certificate unknown",
    "alert unsupported certificate",
    "alert access denied",
    "alert decrypt error",
)


# Callbacks of OpenSSL. Copies of a context for other names share one OpenSSL context, so the callbacks find the right
# one through the connection.


def _note_certificate(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """Notes the result for each certificate of the chain, the server's own last.

    Name and pins are checked here, so that a server with another name is told by an alert and is not shown our
    certificate. OpenSSL calls this for a certificate without a fault only when those above it are verified.
    """
    seen: Seen = connection.get_app_data()
    if not ok:
        seen.fault = seen.fault or VerifyFault.of(error, depth, certificate)
        return False
    if seen.context.settings.pins and not seen.pinned:
        seen.pinned = _is_pinned(certificate, seen.context.settings)
        if not seen.pinned and depth == 0:
            seen.unpinned = seen.context.unpinned(certificate)
            return False
    if depth == 0 and (seen.context.name is not None or seen.context.settings.spiffe):
        try:
            seen.misnamed = seen.context.misnamed(certificate.to_cryptography()) or ""
        except ValueError:
            seen.misnamed = "the server's certificate cannot be read"
        seen.named = not seen.misnamed
    seen.verified = depth == 0 and not seen.misnamed
    return not seen.misnamed


def _note_staple(connection: SSL.Connection, answer: bytes, nothing: object) -> bool:
    """Notes what a stapled OCSP answer says, b"" for none; OpenSSL sends the alert bad_certificate_status_response.

    OpenSSL calls this for sessions of TLS 1.3 that are resumed, too, in which no server staples. These last no longer
    than the answer of the handshake that they began with.
    """
    seen: Seen = connection.get_app_data()
    if not resumes(connection):
        judged = seen.context.judge_staple(connection, answer)
        seen.unvouched, seen.vouched_until = judged.fault, judged.until
    return not seen.unvouched


def _note_key(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """Looks at the key of the server's own certificate alone: with `verify none` nothing proves that its issuers, which
    anybody can send along, have signed it."""
    seen: Seen = connection.get_app_data()
    if depth == 0 and not seen.pinned:
        seen.pinned = _is_pinned(certificate, seen.context.settings)
        seen.unpinned = "" if seen.pinned else seen.context.unpinned(certificate)
        seen.verified = seen.pinned
    return not seen.unpinned


def _is_pinned(certificate: crypto.X509, settings: ServerTLS) -> bool:
    return pin_of_der(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)) in settings.pins


def note_progress(connection: SSL.Connection, where: int, value: int) -> None:
    """Notes alerts, and how far the handshake is."""
    if where & SSL.SSL_CB_ALERT:
        connection.get_app_data().alert = bool(where & SSL.SSL_CB_WRITE), value & 0xFF
    elif where & SSL.SSL_CB_HANDSHAKE_DONE:
        connection.get_app_data().complete = True
    elif where & SSL.SSL_CB_LOOP:
        seen: Seen = connection.get_app_data()
        seen.accepted = seen.complete


def _wire_name(name: str) -> bytes:
    """Returns a host name as it goes over the wire.

    Raises TLSConfigurationError for one that no certificate could carry.
    """
    try:
        if not is_address(name):
            service_identity.hazmat.DNS_ID(name)
        return name.encode("idna")
    except (ValueError, ImportError):
        raise TLSConfigurationError(f"{name!r} is not a host name") from None
