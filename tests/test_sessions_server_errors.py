"""HAProxy's numbers for what fails of a connection to a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.logs import NO_CAPTURES
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.dial import TCP_CONNECT, TLS_HANDSHAKE, DialFailure
from reusedproxy.net.tls.words import ACCEPTED, MISNAMED, MISTRUSTED
from reusedproxy.rules.facts import Noted
from reusedproxy.sessions.server_errors import note_failure, number_of

ASKS = SimpleNamespace(sni=None, tls=ServerTLS(sni="a.example"))
ASKS_BY_REQUEST = SimpleNamespace(sni=object(), tls=ServerTLS())
ASKS_NOT = SimpleNamespace(sni=None, tls=ServerTLS(verifyhost="a.example"))


class NumberTests(SynchronousTestCase):
    def test_each_failure_has_its_number(self) -> None:
        """A time-out has none, as in HAProxy."""
        for failure, settings, number in (
            (DialFailure(TCP_CONNECT, "x"), ASKS, 0),
            (DialFailure(TLS_HANDSHAKE, "x"), ASKS, 34),
            (DialFailure(TLS_HANDSHAKE, "x", certificate=MISTRUSTED), ASKS, 34),
            (DialFailure(TLS_HANDSHAKE, "x", certificate=ACCEPTED), ASKS, 34),
            (DialFailure(TLS_HANDSHAKE, "x", certificate=MISNAMED), ASKS, 33),
            (DialFailure(TLS_HANDSHAKE, "x", certificate=MISNAMED), ASKS_BY_REQUEST, 33),
            (DialFailure(TLS_HANDSHAKE, "x", certificate=MISNAMED), ASKS_NOT, 32),
            (DialFailure(TLS_HANDSHAKE, "", timed_out=True, certificate=MISNAMED), ASKS, 0),
        ):
            server: Any = SimpleNamespace(settings=settings)
            self.assertEqual(number_of(failure, server), number, failure)
        self.assertEqual(number_of(DialFailure(TLS_HANDSHAKE, "x", certificate=MISNAMED), None), 32)

    def test_the_last_failure_counts(self) -> None:
        """Of one that OpenSSL says nothing of, nothing of the one before is left."""
        noted = Noted.of(NO_CAPTURES)
        note_failure(noted, DialFailure(TLS_HANDSHAKE, "x", openssl=(1, b"error")), None)
        self.assertEqual((noted.server_error, noted.server_tls_error), (34, (1, b"error")))
        note_failure(noted, DialFailure(TCP_CONNECT, "x"), None)
        self.assertEqual((noted.server_error, noted.server_tls_error), (0, None))
