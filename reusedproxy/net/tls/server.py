"""Implements TLS towards clients: the contexts, the choice among them, and the record of a handshake.

`Certificates` are all that one `bind` line serves, each with a context. One is chosen by the client's first message
before OpenSSL sees it: an exact name before a wildcard, the type of key that the client accepts, a default at last.
This is as in HAProxy, but that an exact name's settings cannot be got round by way of a wildcard. It knows files
and OpenSSL; it must never know frontends or requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from math import inf
from socket import socket
from time import time
from typing import Any

from attrs import Factory, define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from reusedproxy.config.model.tls import ListEntry, TLSOffer
from reusedproxy.net.files import read_file, why_unread
from reusedproxy.net.tls import dh_groups
from reusedproxy.net.tls.files import LARGEST_CERTIFICATE, TLSConfigurationError, use_dh_parameters
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.lasting import VERIFIED_FOR, ends_of, first_after
from reusedproxy.net.tls.openssl import COMPLETE, shake, take_records_alone
from reusedproxy.net.tls.openssl_server import (
    acknowledge_names,
    alert_callback,
    ask_before_resuming,
    name_sessions,
    resumes,
    set_groups,
    tell_alerts,
    untie,
    verify_clients,
    verify_result,
)
from reusedproxy.net.tls.parameters import set_parameters
from reusedproxy.net.tls.transport import forget_errors
from reusedproxy.net.tls.trusts import Named, Trusted, Trusts
from reusedproxy.net.tls.words import VerifyFault
from reusedproxy.wire.hello_lists import HelloLists

#: OpenSSL requires a session ID context. Each SSL_CTX has a session store of its own anyway, so it can be the same in
#: all; a number is added, which changes when clients are to be verified again.
_SESSIONS_OF = b"reusedproxy %d"
_EXPIRED = 10
#: Clients' certificates with faults that one context remembers; forgotten are those that have not come for longest.
FAULTS = 1000
#: OpenSSL's SSL_MODE_NO_AUTO_CHAIN, which pyOpenSSL does not name. A client is shown what `crt` holds, as in HAProxy,
#: without what OpenSSL would add to it from `ca-file`, which is for clients' certificates.
_NO_AUTO_CHAIN = 0x8

#: Ciphers of TLS 1.2 unless `ciphers` sets others: Mozilla's "intermediate" list (version 5.7), of which current
#: clients, and many old ones, have at least one. OpenSSL's own list has more: RSA key exchange, by which whoever gets
#: the key can read what was recorded (RFC 9325 section 4.1: SHOULD NOT), and CBC. OpenSSL's would also have DHE, whose
#: handshakes cost the server much more than the client. HAProxy does not serve DHE by default either; as there, it is
#: served only where parameters are given.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
#: Groups for the key exchange unless `curves` sets others: Mozilla's again. With the first one, which OpenSSL has since
#: 3.5, what is recorded today stays secret even if a quantum computer can break the others some day.
HYBRID = "X25519MLKEM768"
GROUPS = "X25519:prime256v1:secp384r1"
#: Below TLS 1.3 OpenSSL uses the list of groups for two more things: the keys of clients' certificates, and whether DHE
#: is served.
FOR_THEIR_KEYS = ":secp521r1"
FOR_DHE = ":ffdhe2048:ffdhe3072"
DHE_CIPHERS = "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"


@frozen
class Certificate:
    """Describes one certificate to serve.

    With `names` None the certificate's own names count. Names may be wildcards and, with a `!`, exceptions to these.
    `bundle` is the path by which it and others of the same name were asked for. `default` says that it is for clients
    that ask for no name of ours. `admission` is a value of the settings that decide which clients are let in: where
    two are equal, they let in the same clients.
    """

    path: str
    offer: TLSOffer
    names: tuple[str, ...] | None = None
    bundle: str = ""
    default: bool = False
    admission: object = None
    #: The file of its key, if that is not where it is looked for without.
    key: str | None = None
    #: Where it stands in a `crt-list`.
    entry: ListEntry | None = None


@define
class Shown:
    """Records what one handshake has shown: the client's hello, faults of its certificate, the last alert.
    `lists` are those in the hello, where they are captured.

    `crt_fault` and `ca_fault` are the first fault of each kind, also one that was let pass. `refused` is the fault that
    ended the handshake. `alert` is (whether we sent it, its number). `over` says that the certificate has expired since
    the session began that was to be resumed.
    """

    hello: ClientHello
    crt_fault: VerifyFault | None = None
    ca_fault: VerifyFault | None = None
    refused: VerifyFault | None = None
    alert: tuple[bool, int] | None = None
    over: bool = False
    lists: HelloLists | None = None


class _Calls:
    """Holds the callbacks of OpenSSL for a `ServerContext`, called while handshakes take their steps.

    It must not refer to the `ServerContext`: the two would hold each other, and OpenSSL's 50 KiB with them, until the
    garbage collector came.
    """

    def __init__(self, offer: TLSOffer) -> None:
        self.offer = offer
        #: Record of the handshake whose step is being taken.
        self.shown: Shown | None = None
        self._protocols = [each.encode("ascii") for each in offer.alpn]

    def is_over(self, shown: crypto.X509) -> bool:
        """Tells, of a session to be resumed, whether the client's certificate has expired since it was verified."""
        if _EXPIRED in self.offer.ignored_crt_errors:
            return False
        if shown.to_cryptography().not_valid_after_utc >= datetime.now(timezone.utc):
            return False
        if self.shown is not None:
            self.shown.over = True
            self.shown.refused = VerifyFault.of(_EXPIRED, 0, shown)
        return True

    def note_alert(self, sent: bool, number: int) -> None:
        if self.shown is not None:
            self.shown.alert = (sent, number)

    def note_fault(self, error: int, depth: int, certificate: crypto.X509) -> bool:
        """Applies HAProxy's rule: a fault that is in neither list ends the handshake, with `verify optional`, too.

        Returns whether to go on.
        """
        shown = self.shown
        if shown is None:
            return False
        fault = VerifyFault.of(error, depth, certificate)
        if depth:
            shown.ca_fault = shown.ca_fault or fault
        else:
            shown.crt_fault = shown.crt_fault or fault
        if error in (self.offer.ignored_ca_errors if depth else self.offer.ignored_crt_errors):
            return True
        shown.refused = fault
        return False

    def select_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        """Returns the first of our protocols that the client offers.

        Without one the extension is not answered, as in HAProxy.
        """
        for ours in self._protocols:
            if ours in offered:
                return ours
        return SSL.NO_OVERLAPPING_PROTOCOLS


class _Faults:
    """Keeps the faults of clients' certificates that were let pass, because a resumed session has only the number of
    the last of them. Otherwise a rule about `ssl_c_err` would let in, at the second connection, whom it had refused at
    the first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[VerifyFault | None, VerifyFault | None]] = OrderedDict()

    def keep(self, connection: SSL.Connection, crt: VerifyFault | None, ca: VerifyFault | None) -> None:
        if (key := _shown_by(connection)) is not None:
            self._known[key] = crt, ca
            self._known.move_to_end(key)
            if len(self._known) > FAULTS:
                self._known.popitem(last=False)

    def of(self, connection: SSL.Connection) -> tuple[VerifyFault | None, VerifyFault | None]:
        """Returns the faults of the certificate and of those above it. Where they have been forgotten, the last one
        counts for both."""
        key = _shown_by(connection)
        found = self._known.get(key) if key is not None else None
        error = verify_result(connection)
        return found or (VerifyFault(error, 0, "of a resumed session"), VerifyFault(error, 1, "of a resumed session"))


def _shown_by(connection: SSL.Connection) -> bytes | None:
    """Returns the digest of the peer's certificate."""
    shown = connection.get_peer_certificate()
    return None if shown is None else shown.digest("sha256")


@frozen
class Kept:
    """Holds what lasts as long as the last connection of a context: the file of its certificate, and its callbacks."""

    crt: str
    callbacks: list[object]


class ServerContext:
    """Holds one certificate with its key and settings, made once and used for all handshakes that it is chosen for."""

    def __init__(self, certificate: Certificate, trusts: Trusts) -> None:
        """Reads all files. `trusts` may have read the CAs already for other contexts. Raises TLSConfigurationError."""
        self.crt = certificate.path
        #: Where it stands in a `crt-list`, and the names that it has there.
        self.entry, self.names_there = certificate.entry, certificate.names
        self.admission = certificate.admission
        #: Tells this context from all others, also to who does not keep it.
        self.token = object()
        self.offer = offer = certificate.offer
        self._trusted: Trusted | None = None
        self._faults = _Faults()
        self._calls = calls = _Calls(offer)
        #: Whether DHE is served: there are parameters for it.
        self._does_dhe = False
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        # A client that ends TCP without close_notify has ended its side, as without TLS: HTTP has lengths of its own,
        # and an answer can still be sent.
        options = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_IGNORE_UNEXPECTED_EOF
        options |= 0 if offer.client_prefers else SSL.OP_CIPHER_SERVER_PREFERENCE
        context.set_options(options)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
        #: The ciphers of TLS 1.2.
        self.ciphers = offer.ciphers or CIPHERS
        context.set_cipher_list(CIPHERS.encode("ascii"))
        set_parameters(context, offer, client_signs=offer.verify != "none")
        self.key = certificate.key
        try:
            self.shown = ours = trusts.certificate(self.crt, self.key)
            ours.use(context)
        except TLSConfigurationError as error:
            raise TLSConfigurationError(*error.args, *self._not_to_be_trusted(trusts)) from None
        self.leaf = ours.leaf
        if offer.dh_file:
            self._set_dh(offer.dh_file, _read_dh_file(offer.dh_file))
        elif ours.has_dh_parameters:
            self._set_dh(self.crt, ours.content)
        elif offer.dh_size is not None:
            self._set_dh_group(offer.dh_size)
        if offer.curves is None:
            self._set_groups()
        context.set_session_id(_SESSIONS_OF % 0)
        #: How often the sessions have had to begin anew, and when they have to next (Unix time).
        self._generation = 0
        self._good_until = inf
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER if offer.cache else SSL.SESS_CACHE_OFF)
        context.set_timeout(int(offer.lifetime))
        if offer.alpn:
            context.set_alpn_select_callback(calls.select_protocol)
            untie(context)
        # Connections outlive their listener's certificates after a reload, and OpenSSL calls back as long as they live.
        # So the callbacks are kept in the context's app data, which pyOpenSSL keeps as long as the last connection.
        self._on_alert = alert_callback(calls.note_alert)
        kept = [self._on_alert]
        context.set_app_data(Kept(self.crt, kept))
        if offer.verify == "none":
            kept.append(acknowledge_names(context))
            trusts.require(self._authorities, offer.crl_file)
        else:
            kept.append(ask_before_resuming(context, calls.is_over))
            self._trust(trusts)
            kept.append(verify_clients(context, offer.verify == "required", calls.note_fault))
            self._begin_sessions(time())

    @property
    def trusted(self) -> str:
        """Returns in words the CAs that must have signed clients' certificates; "" if none are asked for."""
        return "" if self._trusted is None else self._trusted.words

    @property
    def kind(self) -> str:
        """Returns the type of its key: "rsa", "ecdsa" or ""."""
        key = self.leaf.public_key()
        return "rsa" if isinstance(key, RSAPublicKey) else "ecdsa" if isinstance(key, EllipticCurvePublicKey) else ""

    @property
    def names(self) -> list[str]:
        """Returns the certificate's names.

        As in HAProxy, these are common names and DNS alternative names, whichever there are.
        """
        names = [str(each.value) for each in self.leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        try:
            alternatives = self.leaf.extensions.get_extension_for_class(SubjectAlternativeName).value
            names += alternatives.get_values_for_type(DNSName)
        except (ExtensionNotFound, ValueError):
            pass  # none, or none that can be read: OpenSSL shows the certificate all the same
        return names

    def connection(self, accepted: socket) -> SSL.Connection:
        """Returns a server connection over `accepted`, ready for its handshake."""
        if self._good_until < inf and (now := time()) >= self._good_until:
            self._generation += 1
            name_sessions(self._context, _SESSIONS_OF % self._generation)
            self._begin_sessions(now)
        connection = SSL.Connection(self._context, accepted)
        connection.set_accept_state()
        take_records_alone(connection)
        if self._trusted is not None:
            self.tell_alerts(connection)
        return connection

    def step(self, connection: SSL.Connection, shown: Shown) -> int:
        """Takes one step of a handshake, records in `shown` what happens, and returns and raises what
        `net.tls.openssl.shake` does."""
        self._calls.shown = shown
        try:
            waits_for = shake(connection)
        finally:
            self._calls.shown = None
        if self._trusted is not None and waits_for == COMPLETE:
            self._look_at_session(connection, shown)
        return waits_for

    def tell_alerts(self, connection: SSL.Connection) -> None:
        """Has `step` record alerts from now on."""
        tell_alerts(connection, self._on_alert)

    def refuse_again(self, first: bytes, shown: Shown) -> None:
        """Records the alert with which OpenSSL refuses a client's `first` message, by having it do so in memory.

        It would tell of the alert itself, but only in a callback for all that happens in a handshake: 14 times before
        its answer to a first message, 15 µs of a client's 430.
        """
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        self.tell_alerts(connection)
        connection.bio_write(first)
        with suppress(SSL.Error):
            self.step(connection, shown)
        forget_errors()

    def _look_at_session(self, connection: SSL.Connection, shown: Shown) -> None:
        """Has sessions end with the first authority that has signed a client's certificate; at its own end, that is
        refused as it is resumed. Faults that were let pass are known again where the session is resumed."""
        if resumes(connection):
            if verify_result(connection):
                shown.crt_fault, shown.ca_fault = self._faults.of(connection)
        elif shown.crt_fault is not None or shown.ca_fault is not None:
            self._faults.keep(connection, shown.crt_fault, shown.ca_fault)
        else:
            signers = (connection.get_verified_chain() or [])[1:]
            self._good_until = min(self._good_until, first_after(time(), ends_of(signers)))

    def _begin_sessions(self, now: float) -> None:
        assert self._trusted is not None
        longest = max(self.offer.lifetime, VERIFIED_FOR)
        self._good_until = first_after(now, (now + longest, *self._trusted.ends))

    # Its construction.

    def _set_groups(self) -> None:
        groups = GROUPS
        if self.offer.verify != "none":
            groups += FOR_THEIR_KEYS
        if self._does_dhe:
            groups += FOR_DHE
        # OpenSSL refuses the whole list for one group that it does not know.
        if not set_groups(self._context, f"{HYBRID}:{groups}"):
            set_groups(self._context, groups)

    def _set_dh(self, what: str, content: bytes) -> None:
        self._does_dhe = True
        use_dh_parameters(self._context, what, content)
        if self.offer.ciphers is None:
            self.ciphers += ":" + DHE_CIPHERS
            self._context.set_cipher_list(self.ciphers.encode("ascii"))

    def _set_dh_group(self, most: int) -> None:
        """Serves DHE with a group as large as the certificate's key, as in HAProxy.

        The group is no larger than the first one of at least `most` bits.
        """
        key = self.leaf.public_key()
        size = dh_groups.size_for(min(most, key.key_size) if isinstance(key, RSAPublicKey) else most)
        self._set_dh("RFC 7919", dh_groups.parameters(size))

    def _trust(self, trusts: Trusts) -> None:
        offer, context = self.offer, self._context
        self._trusted = self._trusted_by(trusts)
        self._trusted.give(context)
        if offer.ca_names and offer.ca_file is not None:
            trusts.name_authorities(context, offer.ca_file)

    def _trusted_by(self, trusts: Trusts) -> Trusted:
        return trusts.of(self._authorities, self.offer.crl_file)

    @property
    def _authorities(self) -> Named:
        """Returns what has the CAs, with the keywords."""
        said = (("ca-file", self.offer.ca_file), ("ca-verify-file", self.offer.ca_verify_file))
        return tuple((word, path) for word, path in said if path is not None)

    def _not_to_be_trusted(self, trusts: Trusts) -> Sequence[str]:
        """Returns what is wrong with the files of CAs, where that of the certificate is wrong already."""
        try:
            trusts.require(self._authorities, self.offer.crl_file)
        except TLSConfigurationError as error:
            return error.args
        return ()


def _read_dh_file(path: str) -> bytes:
    try:
        return read_file(path, LARGEST_CERTIFICATE)
    except OSError as error:
        raise TLSConfigurationError(f"{path}: cannot be read: {why_unread(path, error)}") from None


@frozen
class _Entry:
    """Files one context under a name; `exceptions` are names that it must not be chosen for."""

    context: ServerContext
    kind: str
    exceptions: frozenset[str] = frozenset()


@define
class Certificates:
    """Holds all certificates of one `bind` line and chooses among them.

    `contexts` are in the order in which they were loaded; with `strict` there may be none. `defaults` are those of them
    that stand in for names that none has, without having been listed under the name "*".
    """

    strict: bool = False
    contexts: list[ServerContext] = Factory(list)
    defaults: list[ServerContext] = Factory(list)
    #: It depends on the client's name which is chosen.
    by_name: bool = False
    #: How many bytes of the lists in a client's hello are kept.
    capture: int = 0
    _exact: dict[str, list[_Entry]] = field(factory=dict, alias="exact")
    _wild: dict[str, list[_Entry]] = field(factory=dict, alias="wild")
    _nameless: list[_Entry] = field(factory=list, alias="nameless")

    @classmethod
    def load(cls, certificates: Sequence[Certificate], strict: bool) -> Certificates:
        """Loads all certificates at once. Raises TLSConfigurationError."""
        made, trusts = cls(strict), Trusts()
        for _ in made.loading(certificates, lambda each: ServerContext(each, trusts)):
            pass
        return made

    def loading(
        self, certificates: Sequence[Certificate], context_of: Callable[[Certificate], ServerContext]
    ) -> Iterator[None]:
        """Loads the certificates in steps, one for each. Raises TLSConfigurationError where `context_of` does, which
        makes the context of a certificate."""
        # Where no certificate is marked as the default, it is the first one, with the others of its bundle.
        marked = any(each.default for each in certificates)
        bundle = None if marked or not certificates else certificates[0].bundle
        self.by_name = self.strict
        for certificate in certificates:
            context = context_of(certificate)
            self.capture = certificate.offer.capture
            self.contexts.append(context)
            self.by_name = self.strict or len(self.contexts) > 1
            names = context.names if certificate.names is None else certificate.names
            exceptions = frozenset(name[1:].lower() for name in names if name.startswith("!"))
            entry = _Entry(context, context.kind, exceptions)
            if certificate.default or (bundle is not None and certificate.bundle == bundle):
                self.defaults.append(context)
                self._nameless.append(entry)
            self._file(entry, (name.lower() for name in names if not name.startswith("!")))
            yield

    def _file(self, entry: _Entry, names: Iterable[str]) -> None:
        for name in names:
            if name == "*":
                self._nameless.append(entry)
            elif name.startswith("*"):
                self._wild.setdefault(name[1:], []).append(entry)
            elif name:
                self._exact.setdefault(name, []).append(entry)

    def choose(self, hello: ClientHello) -> ServerContext | None:
        """Returns the context of the certificate to show to a client.

        Returns None with `strict-sni` for a client that asks for none of the names.
        """
        if not self.by_name:
            return self.contexts[0]
        found: dict[str, _Entry] = {}
        name = hello.server_name
        if name is not None:
            exact = self._exact.get(name, ())
            for entry in exact:
                found.setdefault(entry.kind, entry)
            _, dot, domain = name.partition(".")
            for entry in self._wild.get(dot + domain, ()) if dot else ():
                # A client says which types of key it accepts, and may do so to be let in without a certificate.
                alike = not exact or any(entry.context.offer == each.context.offer for each in exact)
                if alike and name not in entry.exceptions:
                    found.setdefault(entry.kind, entry)
        if not found:
            if self.strict:
                return None
            for entry in self._nameless:
                # The first one decides what they must show, whatever type of key they accept.
                if entry.context.offer == self._nameless[0].context.offer:
                    found.setdefault(entry.kind, entry)
        for kind, taken in (("ecdsa", hello.ecdsa), ("rsa", hello.rsa), ("", True), ("ecdsa", True), ("rsa", True)):
            if taken and kind in found:
                return found[kind].context
        return None
