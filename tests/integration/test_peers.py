"""
The peers themselves: an integration test is worth as much as the server it is told to trust.
"""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from tests.ports import free_ports

from .peers import Nginx, OpensslServer, missing, run_curl, temporary_directory, wait_for


class PeerTestCase(SynchronousTestCase):
    needs: tuple[str, ...] = ()
    authority: Authority
    server: Credential

    @classmethod
    def setUpClass(cls) -> None:
        reason = missing(*cls.needs)
        if reason:
            raise SkipTest(reason)
        cls.authority = Authority()
        cls.server = cls.authority.issue("server", hosts=["localhost", "127.0.0.1"])

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.ca = str(self.authority.write(self.directory / "ca.pem"))
        self.client = str(self.authority.issue("client", client=True, key="ecdsa").write(self.directory / "client.pem"))


class NginxTests(PeerTestCase):
    needs = ("nginx", "curl")

    def start(self, **knobs: Any) -> Nginx:
        nginx = Nginx(self.directory / "nginx", self.authority, self.server, **knobs)
        self.addCleanup(nginx.stop)
        nginx.start()
        return nginx

    def url(self, nginx: Nginx, path: str = "/") -> str:
        return f"https://localhost:{nginx.port}{path}"

    def test_a_client_without_a_certificate_gets_400(self) -> None:
        nginx = self.start()
        answer = run_curl("--cacert", self.ca, self.url(nginx))
        self.assertEqual((0, 400), (answer.exit, answer.status))
        self.assertIn(b"No required SSL certificate was sent", answer.body)

    def test_a_client_with_a_certificate_gets_200_and_is_logged_as_verified(self) -> None:
        nginx = self.start()
        answer = run_curl("--cacert", self.ca, "--cert", self.client, self.url(nginx))
        self.assertEqual((0, 200, b"ok\n", 1), (answer.exit, answer.status, answer.body, answer.connections))
        (logged,) = wait_for(nginx.access_log, "a line in the access log")
        self.assertEqual(
            ("SUCCESS", 1, "GET / HTTP/1.1"), (logged.verified, logged.connection_requests, logged.request)
        )

    def test_a_client_of_another_authority_is_logged_as_failed(self) -> None:
        nginx = self.start()
        stranger = Authority().issue("client", client=True, key="ecdsa").write(self.directory / "stranger.pem")
        answer = run_curl("--cacert", self.ca, "--cert", str(stranger), self.url(nginx))
        self.assertEqual(400, answer.status)
        (logged,) = wait_for(nginx.access_log, "a line in the access log")
        self.assertTrue(logged.verified.startswith("FAILED"), logged)

    def test_counts_leave_out_those_who_count(self) -> None:
        nginx = self.start(debug=True)
        url = self.url(nginx)
        for _ in range(2):
            again = run_curl("--cacert", self.ca, "--cert", self.client, url, "-o", "/dev/null", url)
            self.assertEqual((200, 0), (again.status, again.connections))
        counts = wait_for(lambda: nginx.counts() if nginx.counts().active == 0 else None, "connections to end")
        self.assertEqual((2, 4, 0), (counts.accepted, counts.requests, nginx.established()))
        self.assertEqual(2, nginx.handshakes())

    def test_files_are_served(self) -> None:
        nginx = self.start()
        (nginx.documents / "some").write_bytes(b"x" * 100_000)
        answer = run_curl("--cacert", self.ca, "--cert", self.client, self.url(nginx, "/files/some"))
        self.assertEqual(100_000, len(answer.body))

    def test_a_restart_keeps_the_port_and_starts_counting_from_nothing(self) -> None:
        nginx = self.start()
        run_curl("--cacert", self.ca, self.url(nginx))
        port = nginx.port
        nginx.restart()
        self.assertEqual((port, 0), (nginx.port, nginx.counts().accepted))
        nginx.stop()
        self.assertEqual(7, run_curl("--cacert", self.ca, self.url(nginx)).exit)

    def test_a_port_taken_is_told_at_once(self) -> None:
        first = self.start()
        second = Nginx(self.directory / "second", self.authority, self.server, port=first.port)
        self.addCleanup(second.stop)
        self.assertIn("Address already in use", str(self.assertRaises(AssertionError, second.start)))


class OpensslServerTests(PeerTestCase):
    needs = ("openssl", "curl")

    def test_a_client_without_a_certificate_is_refused_in_the_handshake(self) -> None:
        server = OpensslServer(self.directory / "openssl", self.authority, self.server)
        self.addCleanup(server.stop)
        server.start()
        url = f"https://localhost:{server.port}/"
        refused = run_curl("--cacert", self.ca, url)
        self.assertEqual((True, 0), (refused.exit != 0, refused.status), refused)
        self.assertEqual(200, run_curl("--cacert", self.ca, "--cert", self.client, url).status)
        self.assertIn("peer did not return a certificate", server.output)


class WaitTests(SynchronousTestCase):
    def test_waiting_returns_the_answer(self) -> None:
        answers = iter([[], [], [1]])
        self.assertEqual([1], wait_for(lambda: next(answers), "something"))

    def test_waiting_in_vain_says_for_what(self) -> None:
        error = self.assertRaises(AssertionError, wait_for, lambda: 0, "a miracle", 0.01)
        self.assertIn("for a miracle; last seen: 0", str(error))

    def test_free_ports_differ(self) -> None:
        self.assertEqual(20, len(set(free_ports(20))))

    def test_a_missing_program_names_its_package(self) -> None:
        self.assertIn("apt-get install no-such-thing", missing("no-such-thing"))
