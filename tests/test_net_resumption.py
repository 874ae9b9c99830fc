"""Clients that come again with a session: resumed by ticket or by our memory, under the same name's rules only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from OpenSSL import SSL

from reusedproxy.net.tls.handshake import CRT_NOT_TRUSTED
from tests.handshakes import Shaker, client_tls, offer, side_of
from tests.test_net_handshake import HandshakeTestCase
from tests.wire import Recorder, certificates

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
HOUR = timedelta(hours=1)


class ResumptionTests(HandshakeTestCase):
    """Sessions: by ticket, by the server's memory, or not at all."""

    def setUp(self) -> None:
        super().setUp()
        # pyOpenSSL takes a session back only in the context that it came from.
        self.clients = {version: client_tls(certificates().client, version=version) for version in (TLS12, TLS13)}

    def again(self, version: int, session: SSL.Session | None, name: str = "server.test") -> tuple[bool, SSL.Session]:
        """One more handshake with `session`: whether it was resumed, and what it leaves."""
        self.loop.pump()
        far = self.shaker.client(self.clients[version], name=name, session=session)
        self.assertTrue(far.handshaken, self.shaker.failures)
        transport, peer = self.shaker.transport, Recorder()
        transport.owner = peer
        transport.resume_reading()
        transport.write(b"an answer, with which the ticket is read")
        self.loop.pump()
        self.assertEqual(transport.resumed, far.resumed)
        left = far.tls.get_session()
        assert left is not None
        transport.close("over")
        self.loop.pump()
        return far.resumed, left

    def resumed(self, version: int, meanwhile: Callable[[], object] = lambda: None, name: str = "server.test") -> bool:
        fresh, session = self.again(version, None)
        self.assertFalse(fresh)
        meanwhile()
        return self.again(version, session, name)[0]

    def test_by_ticket_and_by_memory(self) -> None:
        """`no-tls-tickets` leaves the server to remember; without its memory nothing is resumed."""
        for version in (TLS12, TLS13):
            for fields, expected in (
                ({}, True),
                ({"tickets": False}, True),
                ({"cache": False}, True),
                ({"tickets": False, "cache": False}, False),
            ):
                self.shaker.offer(**fields)
                self.assertEqual(self.resumed(version), expected, (version, fields))
                self.shaker.terms = offer()

    def test_new_contexts_know_no_old_sessions(self) -> None:
        """After a reload with new files the handshake is simply a full one."""
        for version in (TLS12, TLS13):
            self.assertFalse(self.resumed(version, lambda: self.shaker.offer()))

    def test_not_under_another_name(self) -> None:
        """Whose terms may be others: a certificate that one name demands must not be got round by way of another."""
        authority = certificates().authority
        free = authority.issue("free", hosts=["free.test"], key="ecdsa")
        guarded = authority.issue("guarded", hosts=["guarded.test"], key="ecdsa")
        self.shaker = Shaker(self, self.loop, offer(), free, guarded)
        for version in (TLS12, TLS13):
            _, session = self.again(version, None, "free.test")
            self.assertEqual(self.again(version, session, "guarded.test")[0], False)
            self.assertEqual(self.again(version, session, "free.test")[0], True)

    def test_a_client_certificate_is_known_again(self) -> None:
        """It was verified in the first handshake, and what was let pass there is still known."""
        expired = certificates().authority.issue(
            "late", client=True, key="ecdsa", not_after=datetime.now(timezone.utc) - HOUR
        )
        self.shaker.offer(**{"verify": "required", "ca_file": certificates().ca_file})
        for version in (TLS12, TLS13):
            self.assertTrue(self.resumed(version))
            certificate = side_of(self.shaker.transport).certificate
            assert certificate is not None
        self.shaker.offer(ignored_crt_errors=frozenset({10}))
        for version in (TLS12, TLS13):
            session, client = None, client_tls(expired, version=version)
            for _ in range(2):
                far = self.shaker.client(client, session=session)
                transport = self.shaker.transport
                transport.write(b"x")
                self.loop.pump()
                session = far.tls.get_session()
            self.assertEqual((transport.resumed, side_of(transport).verify_result), (True, 10))

    def test_one_that_has_expired_meanwhile(self) -> None:
        """OpenSSL looks at nothing of a resumed session; we look at the date."""
        soon = datetime.now(timezone.utc) + timedelta(seconds=1)
        brief = certificates().authority.issue("brief", client=True, key="ecdsa", not_after=soon)
        self.shaker.offer(**{"verify": "required", "ca_file": certificates().ca_file})
        sessions = []
        for version in (TLS12, TLS13):
            client = client_tls(brief, version=version)
            for name in ("server.test", None):
                far = self.shaker.client(client, name)
                self.shaker.transport.write(b"x")
                self.loop.pump()
                sessions.append((client, name, far.tls.get_session()))
        late = soon + HOUR

        class Late(datetime):
            @classmethod
            def now(cls, tz: object = None) -> Any:
                return late

        self.patch(__import__("reusedproxy.net.tls.server", fromlist=["datetime"]), "datetime", Late)
        for client, name, session in sessions:
            far = self.shaker.client(client, name, session)
            self.assertIn("alert certificate expired sent", self.shaker.failure)
            self.failed(
                CRT_NOT_TRUSTED,
                "has expired since the session began that it resumes: certificate has expired (certificate 0",
            )
            self.assertIn("certificate expired", far.failure)

    def test_one_that_may_be_expired(self) -> None:
        """`crt-ignore-err` says so, for resumed sessions, too."""
        expired = certificates().authority.issue(
            "late", client=True, key="ecdsa", not_after=datetime.now(timezone.utc) - HOUR
        )
        self.shaker.offer(verify="required", ca_file=certificates().ca_file, ignored_crt_errors=frozenset({10}))
        for version in (TLS12, TLS13):
            client = client_tls(expired, version=version)
            far = self.shaker.client(client)
            self.shaker.transport.write(b"x")
            self.loop.pump()
            self.shaker.client(client, session=far.tls.get_session())
            self.assertTrue(self.shaker.transport.resumed)
