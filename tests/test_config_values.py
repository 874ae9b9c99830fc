"""Times, sizes, numbers and addresses: what they mean, and what is said when they cannot be read."""

from __future__ import annotations

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config import model
from reusedproxy.config.language import units
from reusedproxy.config.language.addresses import listen_addresses, server_address
from reusedproxy.config.language.report import Line, Wrong
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.sections.logs import log_target
from reusedproxy.net.resolver import Query, literal

TIMES = [
    ("0", 0.0),
    ("5000", 5.0),
    ("250000us", 0.25),
    ("1ms", 0.001),
    ("2000ms", 2.0),
    ("5s", 5.0),
    ("10m", 600.0),
    ("1h", 3600.0),
]
WRONG_TIMES = [
    ("", "needs a time"),
    ("x", "needs a time"),
    ("5x", "'x' in '5x' is no unit of time"),
    ("-1", "never negative"),
    ("1.5s", "whole numbers only"),
    ("1s[", "not '1s[': did you mean '1s'?"),
    ("1d1h", "needs a time"),
    ("infinite", "0 waits for ever"),
    ("2147483648", "too long"),
    ("25d", "too long"),
    ("1us", "too short: the shortest time is 1ms"),
    ("999us", "too short: the shortest time is 1ms"),
    ("9" * 5000 + "d", "too long"),
]
LISTEN = [
    ("*:80", ["*:80"]),
    (":80", ["*:80"]),
    ("0.0.0.0:80", ["*:80"]),
    ("192.0.2.1:80", ["192.0.2.1:80"]),
    ("localhost:80", ["localhost:80"]),
    ("[::1]:80", ["[::1]:80"]),
    ("::1:80", ["[::1]:80"]),
    (":::80", [":::80"]),
    ("[::]:80", [":::80"]),
    ("ipv6@:80", [":::80"]),
    ("ipv6@[2001:db8::1]:80", ["[2001:db8::1]:80"]),
    ("ipv4@192.0.2.1:80", ["192.0.2.1:80"]),
    ("stream+ipv4@192.0.2.1:80", ["192.0.2.1:80"]),
    ("stream+192.0.2.1:80", ["192.0.2.1:80"]),
    ("stream+:80", ["*:80"]),
    ("stream+fd@3", ["fd@3"]),
    ("stream+/run/x.sock", ["unix@/run/x.sock"]),
    ("stream+abns@x", ["abns@x"]),
    ("tcp4@192.0.2.1:80", ["192.0.2.1:80"]),
    ("tcp@192.0.2.1:80", ["192.0.2.1:80"]),
    (":80-83", ["*:80", "*:81", "*:82", "*:83"]),
    (":80,[::1]:81", ["*:80", "[::1]:81"]),
    ("/run/x.sock", ["unix@/run/x.sock"]),
    ("unix@x.sock", ["unix@x.sock"]),
    ("fd@3", ["fd@3"]),
    ("fd@web-1.socket", ["fd@web-1.socket"]),
    ("abns@x", ["abns@x"]),
    ("127.0.0.1:0", ["127.0.0.1:0"]),
]
WRONG_LISTEN = [
    ("80", "write ':80'"),
    ("192.0.2.1", "port is missing"),
    ("[::1]", "port is missing"),
    (":99999", "port 99999 does not exist"),
    (":x", "not a port"),
    (":80-70", "backwards"),
    (":1-65535", "4096"),
    ("1.2.3.4.5:80", "is not an address"),
    ("300.1.1.1:80", "is not an address"),
    ("[::1:80", "is not an address"),
    (":80,,:81", "missing"),
    ("fd@3x", "file descriptor"),
    ("unix@", "path"),
    ("/" + "x" * 107, "107 bytes"),
    ("ipv4@[::1]:80", "ipv4 of an IPv6 address"),
    ("abnsz@x", "does not do yet"),
    ("dgram+ipv4@:80", "does not do yet"),
    ("dgram+127.0.0.1:80", "is not an address"),
    ("abns@", "needs a name"),
    ("abns@" + "x" * 108, "107 bytes"),
    ("quic4@:443", "does not do yet"),
    ("ip4@:80", "did you mean 'ipv4'"),
]
SERVER = [
    ("192.0.2.1:80", ("tcp", "192.0.2.1", 80)),
    ("[2001:db8::1]:80", ("tcp", "2001:db8::1", 80)),
    ("2001:db8::1:80", ("tcp", "2001:db8::1", 80)),
    ("app.example.com:8443", ("tcp", "app.example.com", 8443)),
    ("ipv4@app:80", ("tcp", "app", 80)),
    ("stream+ipv6@app:80", ("tcp", "app", 80)),
    ("stream+unix@/run/app", ("unix", "/run/app", None)),
    ("stream+192.0.2.1:80", ("tcp", "192.0.2.1", 80)),
    ("stream+/run/app", ("unix", "/run/app", None)),
    ("/run/app.sock", ("unix", "/run/app.sock", None)),
    ("unix@/run/app.sock", ("unix", "/run/app.sock", None)),
    ("abns@app", ("abns", "app", None)),
]
#: With what is added to the client's port.
OF_CLIENT = [
    ("192.0.2.1", ("192.0.2.1", None, 0)),
    ("0.0.0.0:0", ("0.0.0.0", None, 0)),
    ("192.0.2.1:0", ("192.0.2.1", None, 0)),
    ("192.0.2.1:+8000", ("192.0.2.1", None, 8000)),
    ("192.0.2.1:-80", ("192.0.2.1", None, -80)),
    ("[2001:db8::1]", ("2001:db8::1", None, 0)),
    ("app", ("app", None, 0)),
    ("*:80", ("0.0.0.0", 80, None)),
    (":80", ("0.0.0.0", 80, None)),
    ("0.0.0.0", ("0.0.0.0", None, 0)),
    ("[::]:80", ("::", 80, None)),
    ("ipv6@*:80", ("::", 80, None)),
    ("_http._tcp.app", ("_http._tcp.app", None, None)),
]
WRONG_SERVER = [
    ("192.0.2.1", "write '192.0.2.1:80'"),
    ("[::1]", "no port"),
    (":80", "every address"),
    ("*:80", "every address"),
    ("0.0.0.0:80", "every address"),
    ("192.0.2.1:80-90", "one port"),
    ("192.0.2.1:0", "port 0"),
    ("fd@3", "does not do yet"),
]


class ScopeTests(SynchronousTestCase):
    def test_the_scope_of_an_address_is_a_number_or_the_name_of_an_interface(self) -> None:
        """What is neither is left to the look-up, which fails with a reason."""
        for scope, found in (("7", 7), ("lo", socket.if_nametoindex("lo")), ("²", None), ("9" * 5000, None)):
            expected = None if found is None else [(socket.AF_INET6, (f"fe80::1%{scope}", 0, 0, found))]
            query = Query(f"fe80::1%{scope}", socket.SOCK_STREAM, socket.AF_UNSPEC)
            self.assertEqual(literal(query), expected, scope[:10])


class UnitTests(SynchronousTestCase):
    """Times become float seconds, sizes bytes."""

    def test_times_become_seconds(self) -> None:
        """A bare number is milliseconds, as everywhere in HAProxy."""
        for text, seconds in TIMES:
            self.assertAlmostEqual(units.seconds(text, "'x'"), seconds)

    def test_any_number_of_leading_zeros_means_nothing(self) -> None:
        """Python's int() refuses more than 4300 digits."""
        zeros = "0" * 5000
        self.assertEqual(units.seconds(f"{zeros}5s", "'x'"), 5.0)
        self.assertEqual(units.seconds(zeros, "'x'"), 0.0)
        self.assertEqual(units.whole_seconds(f"{zeros}5", "'x'"), 5)
        self.assertEqual(units.size(f"{zeros}5k", "'x'"), 5120)

    def test_a_wrong_time_says_why(self) -> None:
        """Junk, unknown units, fractions, and times that overflow HAProxy's timers."""
        for text, why in WRONG_TIMES:
            self.assertIn(why, str(self.assertRaises(Wrong, units.seconds, text, "'x'")))

    def test_sizes_become_bytes(self) -> None:
        """k, m and g are powers of 1024."""
        for text, count in [("16384", 16384), ("16k", 16384), ("1m", 1 << 20), ("1G", 1 << 30)]:
            self.assertEqual(units.size(text, "'x'"), count)

    def test_a_wrong_size_says_why(self) -> None:
        """Junk, units of something else, and more than fits."""
        for text, why in [
            ("x", "size"),
            ("1t", "size"),
            ("-1", "size"),
            ("4g", "too large"),
            ("9" * 5000, "too large"),
        ]:
            self.assertIn(why, str(self.assertRaises(Wrong, units.size, text, "'x'")))

    @settings(deadline=None)
    @given(st.text(alphabet="0123456789usmhdkgx.-+ \n٣"))
    def test_any_text_is_a_number_or_a_fault(self, text: str) -> None:
        """No text makes a unit parser fail in any other way."""
        for parse in (units.seconds, units.size, units.integer, units.port):
            try:
                self.assertGreaterEqual(parse(text, "'x'"), 0)
            except Wrong as wrong:
                self.assertTrue(str(wrong))


class AddressTests(SynchronousTestCase):
    """Addresses are read as HAProxy reads them, without asking a resolver."""

    def test_listen_addresses_are_written_out(self) -> None:
        """Lists and ranges become one address each."""
        for text, expected in LISTEN:
            self.assertEqual([str(address) for address in listen_addresses(text)], expected, text)

    def test_a_wrong_listen_address_says_why(self) -> None:
        """With what to write instead, where that is clear."""
        for text, why in WRONG_LISTEN:
            self.assertIn(why, str(self.assertRaises(Wrong, listen_addresses, text)), text)

    def test_server_addresses_are_kind_host_and_port(self) -> None:
        """Names stay names."""
        for text, (kind, host, port) in SERVER:
            address = server_address(text, "server 'a'")
            self.assertEqual((address.kind, address.host, address.port), (kind, host, port), text)

    def test_a_server_may_be_where_its_clients_have_connected_to(self) -> None:
        """In its address, its port, or both."""
        for text, (host, port, mapped) in OF_CLIENT:
            address = server_address(text, "server 'a'", of_client=True)
            self.assertEqual((address.host, address.port, address.mapped), (host, port, mapped), text)

    def test_a_wrong_server_address_says_why(self) -> None:
        """What HAProxy would do and we do not is said as that."""
        for text, why in WRONG_SERVER:
            with self.assertRaises(Wrong, msg=text) as raised:
                server_address(text, "server 'a'")
            self.assertIn(why, str(raised.exception), text)

    def test_every_address_is_none_to_connect_to(self) -> None:
        """Where there is no client whose connection had one: for logs, and for checks."""
        for text in ("0.0.0.0:514", "*:514", "[::]:514"):
            with self.assertRaises(Wrong) as raised:
                server_address(text, "'log'")
            self.assertIn(f"'{text}' is every address, and nobody's: write one", str(raised.exception))

    @settings(deadline=None)
    @given(st.text(alphabet="0123456789abcdefx:.,-[]@*/ipvunfs"))
    def test_any_text_is_an_address_or_a_fault(self, text: str) -> None:
        """No text makes an address parser fail in any other way."""
        for parse in (listen_addresses, server_address):
            try:
                parse(text, "'x'")
            except Wrong as wrong:
                self.assertTrue(str(wrong))


class LogTargetTests(SynchronousTestCase):
    """`log` lines say where, how, and from which level on."""

    def target(self, text: str) -> LogTarget:
        return log_target(Line(Place("t.cfg", 1), ("log", *text.split())))

    def test_targets_of_every_kind(self) -> None:
        """Standard streams, syslog over UDP, and a syslog socket."""
        table = [
            ("stdout format raw local0", ("stdout", "", 514, "", "raw", "local0", "debug", 1024)),
            ("stderr format short daemon info", ("stderr", "", 514, "", "short", "daemon", "info", 1024)),
            ("fd@1 format raw local0", ("stdout", "", 514, "", "raw", "local0", "debug", 1024)),
            ("/dev/log local1 notice", ("unix", "", 514, "/dev/log", "", "local1", "notice", 1024)),
            ("192.0.2.1 len 4096 local0", ("udp", "192.0.2.1", 514, "", "", "local0", "debug", 4096)),
            ("[::1]:515 format rfc5424 user", ("udp", "::1", 515, "", "rfc5424", "user", "debug", 1024)),
            ("logs.example.com:514 local7", ("udp", "logs.example.com", 514, "", "", "local7", "debug", 1024)),
            ("udp6@[::1]:515 format iso user", ("udp", "::1", 515, "", "iso", "user", "debug", 1024)),
            ("tcp@192.0.2.1 format timed user", ("tcp", "192.0.2.1", 514, "", "timed", "user", "debug", 1024)),
            ("uxst@/run/log format local user", ("stream", "", 514, "/run/log", "local", "user", "debug", 1024)),
            ("uxdg@/run/log format priority user", ("unix", "", 514, "/run/log", "priority", "user", "debug", 1024)),
            ("ring@r user", ("ring", "r", 514, "", "", "user", "debug", 1024)),
        ]
        for text, expected in table:
            t = self.target(text)
            found = (t.kind, t.host, t.port, t.path, t.format, t.facility, t.level, t.length)
            self.assertEqual(found, expected, text)

    def test_a_sample(self) -> None:
        found = self.target("stdout sample 8-11,2-3,5:11 local0")
        self.assertEqual((found.sample, found.period), (((2, 3), (5, 5), (8, 11)), 11))

    def test_a_wrong_log_line_says_why(self) -> None:
        """Each part has its own message."""
        table = [
            ("stdout", "needs a target and a facility"),
            ("stdout format raw", "needs a facility"),
            ("stdout raw local0", "write 'format raw'"),
            ("stdout local9", "did you mean"),
            ("stdout local0 loud", "the level is one of"),
            ("stdout format row local0", "did you mean 'raw'"),
            ("fd@7 local0", "'fd@' is a HAProxy log target that reusedproxy does not do yet"),
            ("stdout sample 1 local0", "'1' has no size: write 1:2 for every second line"),
            ("stdout sample 2-2:3 local0", "'2-2' is no range of lines such as 2-3"),
            ("stdout sample 1-3,3:4 local0", "ranges of '1-3,3' overlap"),
            ("stdout sample 1-3:2 local0", "out of range"),
            ("stdout len 1 local0", "out of range"),
            ("stdout local0 info loud", "the second level is one of"),
            ("stdout local0 info notice x", "two levels at most"),
        ]
        for text, why in table:
            self.assertIn(why, str(self.assertRaises(Wrong, self.target, text)), text)


class RingTests(SynchronousTestCase):
    """`ring` sections."""

    def read(self, ring: str, log: str = "log ring@r local0") -> LogTarget:
        text = f"global\n {log}\nring r\n{ring}\n"
        (target,) = read_configuration([Source("t.cfg", text)], {}).global_.logs
        return target

    def test_what_a_ring_says(self) -> None:
        found = self.read(
            " description x\n format rfc5424\n maxlen 2000\n size 65536\n timeout connect 2s\n timeout server 9s\n"
            " server s tcp@192.0.2.1:6514 log-proto octet-count check inter 5s"
        )
        self.assertEqual((found.kind, found.host, found.port), ("tcp", "192.0.2.1", 6514))
        self.assertEqual((found.format, found.length, found.kept), ("rfc5424", 2000, 65536))
        self.assertEqual((found.octets, found.connect, found.level), (True, 2.0, "debug"))

    def test_the_least_that_a_ring_says(self) -> None:
        found = self.read(" server s /run/log", "log ring@r format iso local0 info")
        self.assertEqual((found.kind, found.path, found.format, found.length), ("stream", "/run/log", "raw", 1024))
        self.assertEqual((found.kept, found.octets, found.level), (16384, False, "info"))

    def test_one_without_a_server_is_there_to_be_looked_at(self) -> None:
        found = self.read(" description of  requests\n size 5000")
        self.assertEqual((found.kind, found.ring, found.about, found.kept), ("ring", "r", "of requests", 5000))

    def test_what_is_wrong(self) -> None:
        for ring, log, why in (
            (" server s h:1", "log ring@q local0", "there is no ring 'q'"),
            (" server s h:1\n server t h:2", "log ring@r local0", "a ring has one server"),
            (" server s h:1 ssl", "log ring@r local0", "'ssl' is a HAProxy word of the server of a ring"),
            (" backing-file /x\n server s h:1", "log ring@r local0", "'backing-file' is a HAProxy keyword"),
            (" sise 9\n server s h:1", "log ring@r local0", "unknown keyword 'sise' in section 'ring': did you mean"),
            (" server s h:1\nring r", "log ring@r local0", "ring 'r' stands already at t.cfg:3"),
        ):
            with self.assertRaises(ConfigurationError, msg=ring) as raised:
                self.read(ring, log)
            self.assertEqual(len(raised.exception.faults), 1, raised.exception)
            self.assertIn(why, str(raised.exception))


class NumberTests(SynchronousTestCase):
    """`id` of sections and listeners."""

    def read(self, *heads: str) -> model.Configuration:
        text = "".join(f"{head}\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n" for head in heads)
        return read_configuration([Source("t.cfg", text)], {})

    def test_sections_that_say_none_get_what_is_free(self) -> None:
        said = self.read(
            "frontend a\n bind :1\n default_backend b", "backend b\n id 1\n server s h:1", "backend c\n server s h:1"
        )
        numbers = [said.frontends["a"].id, said.backends["b"].id, said.backends["c"].id]
        self.assertEqual(numbers, [2, 1, 3])
        both = self.read("listen l\n bind :1\n id 7\n server s h:1")
        self.assertEqual([both.frontends["l"].id, both.backends["l"].id], [7, 7])

    def test_the_runtime_api_takes_one_in_its_place(self) -> None:
        """As in HAProxy, whichever of its lines comes first."""

        def numbers(text: str) -> list[int]:
            backend = "backend {}\n mode http\n timeout server 1s\n timeout connect 1s\n server s h:1\n"
            text = text.replace("A", backend.format("a")).replace("B", backend.format("b"))
            read = read_configuration([Source("t.cfg", text)], {}).backends
            return [read["a"].id, read["b"].id]

        self.assertEqual(numbers("global\n maxconn 9\nAB"), [1, 2])
        for line in ("stats socket /s", "stats timeout 9s", "stats maxconn 9"):
            self.assertEqual(numbers(f"global\n {line}\n stats socket /t\nAB"), [2, 3])
            self.assertEqual(numbers(f"Aglobal\n {line}\nBglobal\n {line}\n"), [1, 3])
            self.assertEqual(numbers(f"AB\nglobal\n {line}\n"), [1, 2])
            said = f"global\n {line}\nAB".replace("A", "A id 1\n")
            self.assertEqual(numbers(said), [1, 3])

    def test_what_cannot_be_a_number_is_refused(self) -> None:
        for heads, why in (
            (("backend a\n id 5", "backend b\n id 5"), "backend 'b' has the id 5, which backend 'a' has (t.cfg:1)"),
            (("backend a\n id 0",), "'id'"),
            (("frontend a\n bind :1-3 id 5",), "'id' is the number of one listener, and this line has 3"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                self.read(*heads)
            self.assertIn(why, str(raised.exception))


class StatusTests(SynchronousTestCase):
    """`http-err-codes`, `http-fail-codes`."""

    def judged(self, *lines: str) -> tuple[list[int], list[int]]:
        """The errors and the failures of a table, whose section stands before those of these lines."""
        text = "backend t\n stick-table type ip size 9 store http_err_cnt\n"
        text += "".join(f"global\n {line}\n" for line in lines)
        judged = read_configuration([Source("t.cfg", text)], {}).tables["t"].judged
        return sorted(judged.errors), sorted(judged.failures)

    def test_words_add_take_out_and_replace(self) -> None:
        errors, failures = [*range(400, 500)], [500, 502, 503, 504, *range(506, 600)]
        for lines, found in (
            ((), (errors, failures)),
            (("http-err-codes 400,402-404,490",), ([400, 402, 403, 404, 490], failures)),
            (("http-err-codes 400-404 -402 +500",), ([400, 401, 403, 404, 500], failures)),
            (("http-err-codes 401", "http-err-codes +302,403-404"), ([302, 401, 403, 404], failures)),
            (("http-err-codes -400-498", "http-fail-codes 599"), ([499], [599])),
            (("http-fail-codes -500-599",), (errors, [])),
        ):
            self.assertEqual(self.judged(*lines), found, lines)

    def test_what_is_no_range_is_refused(self) -> None:
        for said, why in (
            ("", "needs ranges of statuses"),
            ("x", "'x' is no list of statuses"),
            ("400,", "is no list"),
            ("+", "is no list"),
            ("400-", "is no list"),
            ("400--499", "is no list"),
            ("499-400", "the smaller one of a range first"),
            ("99", "from 100 to 599"),
            ("+400-600", "from 100 to 599"),
        ):
            for word in ("http-err-codes", "http-fail-codes"):
                with self.assertRaises(ConfigurationError) as raised:
                    read_configuration([Source("t.cfg", f"global\n {word} {said}\n")], {})
                (fault,) = raised.exception.faults
                self.assertIn(why, fault.text)
