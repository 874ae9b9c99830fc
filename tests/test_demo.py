"""What the demonstration writes and prints."""

from __future__ import annotations

import shlex
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model import Configuration
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.demo.demonstration import CLIENT_NAME, FLOOR, SERVER_NAME, configuration, introduction, summary
from reusedproxy.pool.counters import Counters


class ConfigurationTests(SynchronousTestCase):
    def read(self, directory: str = "/tmp/demo") -> Configuration:
        text = configuration(Path(directory), 8080, 4433)
        return read_configuration([Source("demo.cfg", text)], {})

    def test_it_is_read_without_anything_to_remark(self) -> None:
        self.assertEqual(self.read().notices, ())

    def test_its_server_is_verified_by_ca_and_name_and_shown_our_certificate(self) -> None:
        (server,) = self.read().backends["servers"].servers
        tls = server.tls
        assert tls is not None
        self.assertEqual((server.host, server.port), ("127.0.0.1", 4433))
        self.assertEqual((tls.verify, tls.ca_file, tls.sni), ("required", "/tmp/demo/ca.pem", SERVER_NAME))
        self.assertEqual(tls.crt, "/tmp/demo/client.pem")

    def test_it_keeps_connections_ready_and_shows_statistics(self) -> None:
        read = self.read()
        self.assertEqual(read.backends["servers"].servers[0].pool.min_conn, FLOOR)
        frontend = read.frontends["demonstration"]
        assert frontend.stats is not None
        self.assertEqual(frontend.stats.uri, "/stats")
        self.assertEqual([str(bind.address) for bind in frontend.binds], ["127.0.0.1:8080"])

    def test_a_temporary_directory_may_have_any_name(self) -> None:
        for directory in ("/tmp/my files", "/tmp/it's", '/tmp/a"b#c', "/tmp/$HOME\\x"):
            (server,) = self.read(directory).backends["servers"].servers
            assert server.tls is not None
            self.assertEqual(server.tls.crt, f"{directory}/client.pem")

    def test_every_section_is_explained(self) -> None:
        text = configuration(Path("/tmp/demo"), 8080, 4433)
        self.assertGreater(sum("#" in line for line in text.splitlines()), 12)
        self.assertLessEqual(max(len(line) for line in text.splitlines() if "server embedded" not in line), 120)


class PrintedTests(SynchronousTestCase):
    def introduction(self, trouble: str = "") -> str:
        return introduction(8080, 4433, Path("/tmp/demo/reusedproxy.cfg"), 4, trouble)

    def test_two_lines_are_to_be_tried_a_request_and_the_statistics(self) -> None:
        lines = [shlex.split(line) for line in self.introduction().splitlines() if line.strip().startswith("curl ")]
        self.assertEqual(lines, [["curl", "http://127.0.0.1:8080/hello"], ["curl", "http://127.0.0.1:8080/stats;csv"]])

    def test_it_says_where_the_configuration_is(self) -> None:
        self.assertIn("/tmp/demo/reusedproxy.cfg\n", self.introduction())

    def test_it_does_not_hide_that_connections_fail(self) -> None:
        self.assertIn("Trouble: connect failed", self.introduction("connect failed"))
        self.assertNotIn("Trouble", self.introduction())

    def test_the_end_says_what_was_done(self) -> None:
        text = summary(Counters(handshakes=4, requests=10, reuses=9), Path("/tmp/demo"))
        for line in (
            "requests carried to the server:      10",
            "TLS handshakes on the request path:  0",
            "connections opened to the server:    4",
            "requests on a used connection:       9 (reuse ratio 90 %)",
            "Removed: /tmp/demo",
        ):
            self.assertIn(line, text)

    def test_nobody_need_have_asked(self) -> None:
        self.assertIn("(nobody asked)", summary(Counters(handshakes=4), Path("/tmp/demo")))

    def test_the_client_has_a_name_that_a_reader_recognizes(self) -> None:
        self.assertIn("reusedproxy", CLIENT_NAME)
