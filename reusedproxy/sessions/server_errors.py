"""Notes what has failed of a connection to a server: its number in HAProxy (`bc_err`; include/haproxy/connection-t.h,
CO_ER_*), and OpenSSL's error (`ssl_bc_err`). It must never know how a request goes on.
"""

from __future__ import annotations

from reusedproxy.backends.server import Server
from reusedproxy.net.dial import TLS_HANDSHAKE, DialFailure
from reusedproxy.net.tls.words import MISNAMED
from reusedproxy.rules.facts import TLS_FAILED, TLS_OTHER_HOST, TLS_OTHER_NAME, Noted


def note_failure(noted: Noted, failure: DialFailure, server: Server | None) -> None:
    """Notes a dial's failure in place of the one before."""
    noted.server_error = number_of(failure, server)
    noted.server_tls_error = failure.openssl


def number_of(failure: DialFailure, server: Server | None) -> int:
    """Returns the number of a dial's failure: 0 where no connection was made, or not in time. A certificate for another
    name has two: one where the name was asked for (SNI), one where `verifyhost` alone says it."""
    if failure.phase != TLS_HANDSHAKE or failure.timed_out:
        return 0
    if failure.certificate != MISNAMED:
        return TLS_FAILED
    settings = None if server is None else server.settings
    asks = settings is not None and (settings.sni is not None or (settings.tls is not None and bool(settings.tls.sni)))
    return TLS_OTHER_NAME if asks else TLS_OTHER_HOST
