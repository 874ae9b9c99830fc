"""Clients that come again with a session: resumed by ticket or by our memory, under the same name's rules only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from time import time
from typing import Any

from OpenSSL import SSL

from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.handshake import CRT_NOT_TRUSTED
from reusedproxy.net.tls.server import ServerContext
from tests.handshakes import Shaker, client_tls, offer, side_of
from tests.test_net_handshake import HandshakeTestCase
from tests.test_net_tls_server import revocations
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

    def lasts(self, version: int, seconds: float) -> None:
        """A client's sessions are resumed for so long, each the one before; then it is verified again, and so on."""
        now = time()
        server = sys.modules[ServerContext.__module__]
        resumed, session = self.again(version, None)
        self.assertFalse(resumed)
        for at, expected in ((0.5, True), (0.95, True), (1.05, False), (1.1, True)):
            self.patch(server, "time", lambda: now + at * seconds)  # noqa: B023
            resumed, session = self.again(version, session)
            self.assertEqual(resumed, expected, at)
        self.patch(server, "time", time)

    def test_a_client_is_verified_again_after_a_while(self) -> None:
        """In TLS 1.3 each session leaves another, whose time begins anew. Who need not be verified is not."""
        for version in (TLS12, TLS13):
            self.shaker.terms = offer()
            self.shaker.offer(**{"verify": "optional", "ca_file": certificates().ca_file})
            self.lasts(version, 3600)
            self.shaker.offer(lifetime=7200)
            self.lasts(version, 7200)
            self.shaker.terms = offer()
            self.shaker.offer()
            _, session = self.again(version, None)
            self.patch(sys.modules[ServerContext.__module__], "time", lambda: time() + 9999)
            self.assertTrue(self.again(version, session)[0])
            self.patch(sys.modules[ServerContext.__module__], "time", time)

    def test_what_vouches_for_a_client_has_ended_meanwhile(self) -> None:
        """An authority between, or a list of what it has revoked; OpenSSL looks at nothing of a resumed session."""
        soon = datetime.now(timezone.utc) + timedelta(minutes=10)
        between = Authority("between", issuer=certificates().authority, not_after=soon)
        brief = between.issue("client", client=True, key="ecdsa")
        crl = self.shaker.folder / "crl.pem"
        crl.write_bytes(revocations(certificates().authority, until=timedelta(minutes=10)))
        for credential, fields in ((brief, {}), (certificates().client, {"crl_file": str(crl)})):
            for version in (TLS12, TLS13):
                self.shaker.terms = offer()
                self.shaker.offer(**{"verify": "required", "ca_file": certificates().ca_file, **fields})
                self.clients[version] = client_tls(credential, version=version)
                self.lasts(version, 600)

    def test_faults_that_were_let_pass_are_known_again(self) -> None:
        """A rule that refuses whoever has one must not let him in when he comes again."""
        authority, past = certificates().authority, datetime.now(timezone.utc) - HOUR
        between = Authority("between", issuer=authority, not_after=past)
        for credential, crt, ca in (
            (authority.issue("late", client=True, key="ecdsa", not_after=past), 10, (0, 0)),
            (Authority("stranger").issue("strange", client=True, key="ecdsa"), 20, (0, 0)),
            (between.issue("below", client=True, key="ecdsa"), 0, (10, 1)),
        ):
            for version in (TLS12, TLS13):
                self.shaker.terms = offer()
                every = frozenset(range(1, 60))
                self.shaker.offer(
                    **{"verify": "optional", "ca_file": certificates().ca_file},
                    ignored_crt_errors=every,
                    ignored_ca_errors=every,
                )
                self.clients[version] = client_tls(credential, version=version)
                session, found = None, []
                for _ in range(3):
                    resumed, session = self.again(version, session)
                    side = side_of(self.shaker.transport)
                    found.append((resumed, side.certificate_error, side.authority_error))
                self.assertEqual(found, [(False, crt, ca), (True, crt, ca), (True, crt, ca)])
                for each in self.shaker.certificates.contexts:
                    each._faults._known.clear()
                self.again(version, session)
                side = side_of(self.shaker.transport)
                last = side.verify_result
                self.assertEqual((side.certificate_error, side.authority_error), (last, (last, 1)))
                self.assertNotEqual(last, 0)

    def test_as_many_faults_are_kept_as_may_be(self) -> None:
        self.patch(sys.modules[ServerContext.__module__], "FAULTS", 2)
        every = frozenset(range(1, 60))
        self.shaker.offer(**{"verify": "optional", "ca_file": certificates().ca_file}, ignored_crt_errors=every)
        for name in "abc":
            self.shaker.client(client_tls(Authority(name).issue(name, client=True, key="ecdsa")))
        (context,) = self.shaker.certificates.contexts
        self.assertEqual(len(context._faults._known), 2)

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
