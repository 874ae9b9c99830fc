"""Sample fetches of what the log says of an exchange: each gives what its alias gives."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.samples.casts import to_text
from reusedproxy.rules.samples.compile import compiled
from tests.rulefakes import Seen
from tests.test_rules_log_lines import course
from tests.test_rules_samples import fetched

#: Beside each fetch the attribute of the course that the alias of the log shows.
SAME = {
    "fc.timer.handshake": "handshake_time",
    "fc.timer.total": "total_time",
    "bc.timer.connect": "connect_time",
    "req.timer.idle": "idle_time",
    "req.timer.tq": "whole_request_time",
    "req.timer.hdr": "request_time",
    "req.timer.queue": "queue_time",
    "res.timer.hdr": "response_time",
    "res.timer.data": "data_time",
    "txn.timer.total": "active_time",
    "txn.timer.user": "user_time",
    "bytes_in": "bytes_in",
    "bytes_out": "bytes_out",
    "txn.conn_retries": "retries",
    "txn.sess_term_state": "flags",
    "txn.id32": "number",
    "bc_be_queue": "backend_queue",
    "bc_srv_queue": "srv_queue",
    "act_conn": "process_clients",
    "so_id": "listener_number",
}


class Carried(Seen):
    """Facts of an exchange whose course is this one."""

    def __init__(self, at: Any) -> None:
        super().__init__(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.at = at

    @property
    def course(self) -> Any:
        return self.at


def asked(at: Any, text: str) -> Sample:
    return compiled(read_expression(text, "here"))(Carried(at))


class CourseTests(SynchronousTestCase):
    def test_each_is_what_the_log_shows(self) -> None:
        at = course()
        for name, attribute in SAME.items():
            self.assertEqual(to_text(asked(at, name)), str(getattr(at, attribute)).encode(), name)
        self.assertIs(asked(at, "txn.redispatched"), True)
        at.moved = ""
        self.assertIs(asked(at, "txn.redispatched"), False)

    def test_times_of_day_have_units(self) -> None:
        at = course()
        for text, value in (
            ("accept_date", 1795169568),
            ("accept_date(s)", 1795169568),
            ("accept_date(ms)", 1795169568042),
            ("request_date", 1795169569),
            ("request_date(us)", 1795169569500000),
        ):
            self.assertEqual(asked(at, text), value, text)
        with self.assertRaisesRegex(Wrong, "the unit of 'accept_date' is s, ms or us"):
            read_expression("accept_date(h)", "here")

    def test_an_address_of_the_server_is_one_or_nothing(self) -> None:
        for address, host, port in (
            (("192.0.2.1", 8443), b"192.0.2.1", 8443),
            (("2001:db8::1", 443), b"2001:db8::1", 443),
            (("unix", 0), None, 0),
            (None, None, None),
        ):
            at = course()
            at.server_address = address
            self.assertEqual((to_text(asked(at, "bc_dst")), asked(at, "bc_dst_port")), (host, port), address)

    def test_what_has_failed_of_the_connection_to_the_server(self) -> None:
        for error, name, text in (
            (None, None, None),
            (0, b"", b"Success"),
            (32, b"SSL_MISMATCH", b"Server presented an SSL certificate different from the configured one"),
            (33, b"SSL_MISMATCH_SNI", b"Server presented an SSL certificate different from the expected one"),
            (34, b"SSL_HANDSHAKE", b"SSL handshake failure"),
            (43, b"SSL_FATAL", b"SSL fatal error"),
        ):
            at = course()
            at.server_error = error
            found = [asked(at, each) for each in ("bc_err", "bc_err_name", "bc_err_str")]
            self.assertEqual(found, [error, name, text])

    def test_what_openssl_says_of_the_handshake_with_the_server(self) -> None:
        """Number and text, and no text where nothing is wrong."""
        refused = b"error:0A000086:SSL routines::certificate verify failed"
        for error, number, text in (
            (None, None, None),
            ((0, b""), 0, None),
            ((0x0A000086, refused), 0x0A000086, refused),
        ):
            at = course()
            at.server_tls_error = error
            self.assertEqual([asked(at, each) for each in ("ssl_bc_err", "ssl_bc_err_str")], [number, text])


class HeadTests(SynchronousTestCase):
    def of(self, text: str, *fields: bytes, target: bytes = b"/") -> Sample:
        host = target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0] or b"a"
        lines = b"".join(b"%b\r\n" % each for each in fields)
        head = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, host, lines)
        return compiled(read_expression(text, "here"))(Seen(head))

    def test_a_bearers_token(self) -> None:
        for field, token in (
            (b"Authorization: Bearer abc.def", b"abc.def"),
            (b"Authorization: bearer  abc", b"abc"),
            (b"Authorization: Bearer a,b", b"a"),
            (b'Authorization: Bearer "a,b",c', b'"a,b"'),
            (b'Authorization: Bearer "a\\",b', b'"a\\",b'),
            (b'Authorization: Bearer "a,b', b'"a,b'),
            (b"Authorization: Bearer", None),
            (b"Authorization: Bearer ", None),
            (b"Authorization: Basic YTpi", None),
            (b"Authorization: Bearerx y", None),
            (b"X-Token: Bearer abc", None),
        ):
            self.assertEqual(self.of("http_auth_bearer", field), token, field)
        self.assertEqual(self.of("http_auth_bearer(x-token)", b"X-Token: Bearer abc"), b"abc")

    def test_of_two_tokens_neither_is_the_one(self) -> None:
        """The server might read the other one."""
        fields = b"Authorization: Bearer a", b"Authorization: Bearer b"
        self.assertIsNone(self.of("http_auth_bearer", *fields))

    def test_names_of_cookies(self) -> None:
        for line, names in (
            (b"Cookie: a=1; b=2", b"a,b"),
            (b"Cookie: a=1;;b=; c", b"a,b"),
            (b'Cookie: $v=1; a="x;y=2"; c=1', b"a,c"),
            (b"Cookie: ", b""),
        ):
            self.assertEqual(self.of("req.cook_names", line), names, line)
        self.assertEqual(self.of("req.cook_names(:x)", b"Cookie: a=1; b=2", b"Cookie: c=3"), b"a:b:c")

    def test_the_authority_of_an_absolute_target(self) -> None:
        for target, host, port in (
            (b"http://192.0.2.1/", b"192.0.2.1", 80),
            (b"https://192.0.2.1/", b"192.0.2.1", 443),
            (b"http://[2001:db8::1]:8080?x", b"2001:db8::1", 8080),
            (b"http://a.test:81/", None, 81),
            (b"/", None, None),
        ):
            found = self.of("url_ip", target=target), self.of("url_port", target=target)
            self.assertEqual((to_text(found[0]), found[1]), (host, port), target)

    def test_one_process_with_one_thread(self) -> None:
        self.assertEqual([fetched(name) for name in ("nbproc", "proc", "thread", "quic_enabled")], [1, 1, 0, False])
