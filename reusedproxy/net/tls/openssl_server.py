"""Calls functions of OpenSSL that pyOpenSSL does not offer, mostly for servers, through cryptography's binding.

Callbacks are given to OpenSSL directly. pyOpenSSL's own callback for certificates forgets an error that was let pass,
which then could not be reported, and makes Python objects of all certificates, valid ones too. This module uses private
names of pyOpenSSL; it must never know why a caller needs a function.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL, crypto

_library: Any = Binding().lib
_foreign: Any = Binding().ffi

#: Takes the error's number, the depth in the chain (0: the client's own certificate) and the certificate; returns
#: whether to go on.
OnVerifyFault = Callable[[int, int, crypto.X509], bool]
#: X509_V_ERR_HOSTNAME_MISMATCH.
HOSTNAME_MISMATCH = 62
#: The alert certificate_expired (RFC 8446 section 6), and SSL_TLSEXT_ERR_ALERT_FATAL.
CERTIFICATE_EXPIRED = 45
_ALERT_FATAL = 2
#: Takes whether the alert was sent by this side, and its number.
OnAlert = Callable[[bool, int], None]


def verify_clients(context: SSL.Context, demand: bool, on_fault: OnVerifyFault) -> object:
    """Asks clients for certificates; with `demand`, no handshake succeeds without one.

    The returned object must be kept as long as the context.
    """

    # A callback that raises counts as 0, which refuses; cffi prints the exception.
    @_foreign.callback("int (*)(int, X509_STORE_CTX *)")
    def verified(ok: int, store: Any) -> int:
        if ok:
            return 1
        certificate = _library.X509_STORE_CTX_get_current_cert(store)
        _library.X509_up_ref(certificate)
        shown: Any = crypto.X509._from_raw_x509_ptr(certificate)
        error, depth = _library.X509_STORE_CTX_get_error(store), _library.X509_STORE_CTX_get_error_depth(store)
        return int(on_fault(error, depth, shown))

    mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if demand else 0)
    _library.SSL_CTX_set_verify(_of(context), mode, verified)
    return verified


def untie(context: SSL.Context) -> None:
    """Takes the reference cycles out of a context whose callbacks are set: pyOpenSSL's helper of each refers to what is
    made of it, and that to the helper.

    A reload freezes what is alive, and the garbage collector never looks at that again; so a context whose successor
    came by another reload would have left its cycles behind. Where pyOpenSSL's private names have changed, they stay.
    """
    for kind in ("verify", "alpn_select", "ocsp"):
        helper, kept = getattr(context, f"_{kind}_helper", None), getattr(context, f"_{kind}_callback", None)
        if helper is not None and kept is not None and getattr(helper, "callback", None) is kept:
            del helper.callback


def name_refusals(context: SSL.Context, error: int) -> object:
    """Reports `error` for certificates that OpenSSL accepts and a callback set by `set_verify` refuses.

    pyOpenSSL sets no error there, and then the peer would be sent the alert internal_error (80). The returned object
    must be kept as long as the context.
    """
    called = getattr(getattr(context, "_verify_helper", None), "callback", None)
    if called is None:
        return None  # pyOpenSSL's private names have changed: the certificate is refused, but with the other alert

    @_foreign.callback("int (*)(int, X509_STORE_CTX *)")
    def named(ok: int, store: Any) -> int:
        if called(ok, store):
            return 1
        if ok:
            _library.X509_STORE_CTX_set_error(store, error)
        return 0

    handle = _of(context)
    _library.SSL_CTX_set_verify(handle, _library.SSL_CTX_get_verify_mode(handle), named)
    return named


def acknowledge_names(context: SSL.Context) -> object:
    """Answers clients that the server name which they ask for was understood (RFC 6066 section 3).

    The returned object must be kept as long as the context.
    """

    @_foreign.callback("int (*)(SSL *, int *, void *)")
    def acknowledged(connection: Any, alert: Any, argument: Any) -> int:
        return 0

    _library.SSL_CTX_set_tlsext_servername_callback(_of(context), acknowledged)
    return acknowledged


def ask_before_resuming(context: SSL.Context, is_over: Callable[[crypto.X509], bool]) -> object:
    """Refuses clients that resume a session with a certificate for which `is_over` returns True, and does what
    `acknowledge_names` does.

    The alert is certificate_expired. OpenSSL checks no certificate when a session is resumed. The callback for the
    server name is used, because OpenSSL calls it for each client, after the session has been found and before anything
    is answered, and it can choose an alert. The returned object must be kept as long as the context.
    """

    # A callback that raises refuses the client.
    @_foreign.callback("int (*)(SSL *, int *, void *)", error=_ALERT_FATAL)
    def asked(connection: Any, alert: Any, argument: Any) -> int:
        if not _library.SSL_session_reused(connection):
            return 0
        certificate = _library.SSL_get_peer_certificate(connection)
        if certificate == _foreign.NULL:
            return 0
        shown: Any = crypto.X509._from_raw_x509_ptr(certificate)
        if not is_over(shown):
            return 0
        alert[0] = CERTIFICATE_EXPIRED
        return _ALERT_FATAL

    _library.SSL_CTX_set_tlsext_servername_callback(_of(context), asked)
    return asked


def alert_callback(on_alert: OnAlert) -> object:
    """Returns a callback for `tell_alerts` that calls `on_alert` for each alert that is sent or received."""

    @_foreign.callback("void (*)(const SSL *, int, int)")
    def informed(connection: Any, where: int, value: int) -> None:
        if where & SSL.SSL_CB_ALERT:
            on_alert(bool(where & SSL.SSL_CB_WRITE), value & 0xFF)

    return informed


def tell_alerts(connection: SSL.Connection, callback: object) -> None:
    """Has OpenSSL call back for each alert, and for each step of the handshake, too, from now on.

    The callback must be kept as long as the connection.
    """
    handle: Any = connection
    _library.SSL_set_info_callback(handle._ssl, callback)


def set_groups(context: SSL.Context, names: str) -> bool:
    """Sets elliptic curves and other groups, a list separated by colons. Returns whether OpenSSL knows all of them."""
    known = bool(_library.SSL_CTX_set1_curves_list(_of(context), names.encode("ascii", "replace")) == 1)
    _library.ERR_clear_error()
    return known


def set_signature_algorithms(context: SSL.Context, names: str) -> bool:
    """Sets the signature algorithms of handshakes, a list separated by colons.

    Returns whether OpenSSL knows all of them.
    """
    known = bool(_library.SSL_CTX_set1_sigalgs_list(_of(context), names.encode("ascii", "replace")) == 1)
    _library.ERR_clear_error()
    return known


def store_of(context: SSL.Context) -> Any:
    """Returns OpenSSL's X509_STORE of a context, which lives as long as that."""
    return _library.SSL_CTX_get_cert_store(_of(context))


def share_store(context: SSL.Context, other: SSL.Context) -> None:
    """Makes `context` trust what `other` trusts, without a copy of the store."""
    store = store_of(other)
    _library.X509_STORE_up_ref(store)
    _library.SSL_CTX_set_cert_store(_of(context), store)


def paths_of_system() -> list[str]:
    """Returns the files and directories in which OpenSSL, and pyOpenSSL for it, looks for the system's CAs, and some
    that are not used if others are there."""
    paths: list[str] = []
    for word, default in (
        ("file", _library.X509_get_default_cert_file()),
        ("dir", _library.X509_get_default_cert_dir()),
    ):
        said = os.environ.get(f"SSL_CERT_{word.upper()}") or _foreign.string(default).decode()
        paths += said.split(os.pathsep) if word == "dir" else [said]
    # Where a wheel of cryptography's was built there are none; pyOpenSSL then loads those of common systems.
    usual = (getattr(SSL, f"_CERTIFICATE_{word}_LOCATIONS", ()) for word in ("FILE", "PATH"))
    return list(dict.fromkeys(path for each in (paths, *usual) for path in each if path))


@_foreign.callback("int (*)(char *, int, int, void *)")
def _no_passphrase(buffer: Any, size: int, writing: int, argument: Any) -> int:
    return 0


def answer_no_prompt(context: SSL.Context) -> None:
    """Answers with an empty passphrase, or PIN, where OpenSSL would ask for one on the terminal."""
    _library.SSL_CTX_set_default_passwd_cb(_of(context), _no_passphrase)


def resumes(connection: SSL.Connection) -> bool:
    """Tells whether the handshake resumed an earlier session."""
    handle: Any = connection
    return bool(_library.SSL_session_reused(handle._ssl))


def group_name(connection: SSL.Connection) -> str:
    """Returns OpenSSL's name of the group of the key exchange; "" without one, or where OpenSSL does not say it."""
    try:
        return connection.get_group_name() or ""
    except (AttributeError, NotImplementedError):
        return ""  # pyOpenSSL and OpenSSL have it since 25.1 and 3.2


def session_der(connection: SSL.Connection) -> bytes | None:
    """Returns the connection's session in ASN.1, as OpenSSL stores sessions (i2d_SSL_SESSION(3)); None without one."""
    handle: Any = connection
    session = _library.SSL_get_session(handle._ssl)
    if session == _foreign.NULL:
        return None
    size = _library.i2d_SSL_SESSION(session, _foreign.NULL)
    if size <= 0:
        return None
    buffer = _foreign.new("unsigned char[]", size)
    _library.i2d_SSL_SESSION(session, _foreign.new("unsigned char **", buffer))
    return bytes(_foreign.buffer(buffer, size))


def name_sessions(context: SSL.Context, name: bytes) -> None:
    """Sets the name of the sessions of new connections, at most 32 bytes. One of another name is not resumed; its
    client gets a full handshake."""
    _library.SSL_CTX_set_session_id_context(_of(context), name, len(name))


def verify_result(connection: SSL.Connection) -> int:
    """Returns the last X509_V_ERR of the peer's certificate; in a resumed session, that of the original handshake."""
    handle: Any = connection
    return int(_library.SSL_get_verify_result(handle._ssl))


def suite_names(numbers: tuple[int, ...]) -> list[str]:
    """Returns the names of those cipher suites that this OpenSSL knows."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    return [name for name in names_of_suites(connection, numbers) if name]


def names_of_suites(connection: SSL.Connection, numbers: tuple[int, ...]) -> list[str]:
    """Returns the name of each cipher suite; "" for one that this OpenSSL does not know."""
    names = []
    handle: Any = connection
    for number in numbers:
        cipher = _library.SSL_CIPHER_find(handle._ssl, number.to_bytes(2, "big"))
        known = cipher != _foreign.NULL
        names.append(_foreign.string(_library.SSL_CIPHER_get_name(cipher)).decode("ascii") if known else "")
    return names


def _of(context: SSL.Context) -> Any:
    handle: Any = context
    return handle._context
