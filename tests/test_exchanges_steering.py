"""Actions that change how a request is carried: what is held back, cut off, put in another's place, or timed."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from itertools import product
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.expressions import is_address
from reusedproxy.net.slices import run_through
from reusedproxy.wire.addresses import address_text
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, get
from tests.rulefakes import DEFAULTS, ruled

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
WAIT = "http-request wait-for-body time 2s"


def faults(line: str, section: str = "listen l\n bind :80\n") -> list[str]:
    try:
        read_configuration([Source("t.cfg", f"{DEFAULTS}{section} {line}\n server s h:1\n")], {})
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


class HeldTests(SynchronousTestCase):
    """A request that waits while its rules are run."""

    def test_rules_behind_a_wait_see_the_body_and_those_before_it_are_run_once(self) -> None:
        rules = f"http-request add-header X-Before 1\n {WAIT}\n http-request set-header X-Body %[req.body]"
        world = ruled(self, rules, backend="http-request add-header X-Backend 1", warm=1)
        client = world.client()
        client.send(POST + b"ab")
        self.assertEqual(world.server.asked(), b"")
        client.send(b"cd")
        asked = world.server.asked()
        self.assertEqual(asked.count(b"X-Before"), 1)
        self.assertIn(b"X-Body: abcd\r\n", asked)
        self.assertEqual(asked.count(b"X-Backend"), 1)
        self.assertTrue(asked.endswith(b"\r\n\r\nabcd"))
        world.server.answer(OK)
        world.check_rest()

    def test_rules_see_the_content_however_the_client_frames_it(self) -> None:
        """As in HAProxy: neither sizes and extensions of chunks nor trailers, in whatever pieces they come."""
        chunked = b"Transfer-Encoding: chunked\r\n"
        forms = (
            b"Content-Length: 8\r\n\r\na=secret",
            b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\na=secret",
            chunked + b"\r\n3\r\na=s\r\n5\r\necret\r\n0\r\n\r\n",
            chunked + b"Trailer: X-T\r\n\r\n3;x=y\r\na=s\r\n05\r\necret\r\n0;z\r\nX-T: secret\r\n\r\n",
            chunked + b"Expect: 100-continue\r\n\r\n8\r\na=secret\r\n0\r\n\r\n",
        )
        show = "http-request set-header X-Body %[req.body]-%[req.body_len]-%[req.body_size]-%[req.body_param(a)]"
        for form, wait, size, stage in product(forms, (WAIT, f"{WAIT} at-least 8"), (1, 2, 7, 999), (0, 1, 2)):
            rules, sent = f"{wait}\n {show}", b"POST / HTTP/1.1\r\nHost: a\r\n" + form
            world = ruled(self, rules if stage != 1 else "", backend=rules if stage else "", warm=1)
            client = world.client()
            for at in range(0, len(sent), size):
                client.send(sent[at : at + size])
            self.assertEqual(world.server.asked().count(b"X-Body: a=secret-8-8-secret\r\n"), 1, (form, wait, size))
            world.server.answer(OK)
            world.check_rest()

    def test_rules_see_as_much_of_a_body_as_a_buffer_holds(self) -> None:
        """However small the pieces in which it comes; `tune.bufsize` is 64k."""
        content = b"x" * 40_000 + b"bad"
        for framing, pieces in (
            (b"Content-Length: %d" % len(content), [content[at : at + 1500] for at in range(0, len(content), 1500)]),
            (b"Transfer-Encoding: chunked", [b"9c43\r\n", content, b"\r\n0\r\n\r\n"]),
        ):
            rules = f"{WAIT}\n http-request deny if {{ req.body -m sub bad }} {{ req.body_len gt 40000 }}"
            world = ruled(self, rules, warm=1, limits=Limits(buffer=1 << 16))
            client = world.client()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
            for piece in pieces:
                client.send(piece)
            self.assertEqual((world.server.asked(), world.flags()), (b"", [(403, "PR")]))
            world.check_rest()

    def test_a_backend_may_hold_back_what_its_frontend_has_let_pass(self) -> None:
        world = ruled(self, "http-request set-var(txn.a) str(x)", backend=f"{WAIT}\n http-request set-header X-A "
                      "%[var(txn.a)]-%[req.body_len]", warm=1)  # fmt: skip
        client = world.client()
        client.send(POST)
        client.send(b"abcd")
        self.assertIn(b"X-A: x-4\r\n", world.server.asked())
        world.server.answer(OK)
        world.check_rest()

    def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(self) -> None:
        for rule in (WAIT, "http-request tarpit", "http-request pause 3s"):
            world = ruled(self, rule, warm=1)
            client = world.client()
            client.send(POST + b"a")
            client.wire.reset()
            world.advance(20)
            self.assertEqual(world.server.asked(), b"", rule)
            world.check_rest()

    def test_a_body_that_does_not_come_in_time_is_not_waited_for(self) -> None:
        world = ruled(self, WAIT, warm=1)
        client = world.client()
        client.send(POST + b"a")
        world.advance(2.1)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(world.flags(), [(408, "cR")])
        self.assertEqual(world.log[0].course.queue_time, -1)
        world.check_rest()

    def test_the_wait_for_a_body_belongs_to_the_time_of_the_request(self) -> None:
        """Not to that in the queue; as long as the body has not come, neither has the request."""
        for what, logged, errors, aborts in (
            ("rest", (200, "--", 500, 0), 0, 0),
            ("reset", (400, "CR", 500, -1), 0, 1),
            ("eof", (400, "CR", 500, -1), 0, 1),
            ("silence", (408, "cR", -1, -1), 1, 0),
        ):
            for rule, backend in ((WAIT, ""), ("", WAIT)):
                world = ruled(self, rule, backend=backend, warm=1)
                client = world.client()
                client.send(POST.replace(b"POST", b"PUT") + b"a")
                world.advance(0.5 - 1 / 32)
                if what == "rest":
                    client.send(b"bcd")
                    self.assertTrue(world.server.asked().endswith(b"abcd"))
                    world.server.answer(OK)
                elif what == "silence":
                    world.advance(2)
                else:
                    getattr(client.wire, what)()
                (ended,) = world.log
                times = ended.course.request_time, ended.course.queue_time
                self.assertEqual((ended.status, ended.flags, *times), logged)
                traffic = client.connection.frontend.traffic
                self.assertEqual((traffic.ereq, traffic.hrsp[ended.status // 100]), (errors, 1))
                if backend:
                    self.assertEqual(world.backend.traffic.cli_abrt, aborts)
                self.assertEqual(b"HTTP/1.1 400 " in client.take(), what == "eof")
                world.check_rest()

    def test_a_body_that_cannot_be_read_is_counted_as_a_request_that_cannot(self) -> None:
        """Whether rules wait for it or a server has its beginning; nothing is known of when it would have come."""
        for rule, time in ((WAIT, -1), ("", 0)):
            world = ruled(self, rule, warm=1)
            client = world.client()
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            client.send(b"zz\r\n")
            (ended,) = world.log
            self.assertEqual((ended.status, ended.flags[0], ended.course.request_time), (400, "P", time))
            self.assertEqual(client.connection.frontend.traffic.ereq, 1)
            world.check_rest()

    def test_as_much_as_is_held_is_enough(self) -> None:
        world = ruled(self, f"{WAIT}\n http-request set-header X-Len %[req.body_len]", warm=1)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"a" * 20000)
        self.assertIn(b"X-Len: 20000\r\n", world.server.asked())
        client.wire.reset()
        world.check_rest()

    def test_rules_see_as_much_of_a_body_in_small_chunks(self) -> None:
        """However it comes: what frames the chunks is not looked at, so it hides nothing."""
        rules = (
            f"{WAIT}\n http-request set-header X-Len %[req.body_len]\n http-request deny if {{ req.body -m sub bad }}"
        )
        body = b"1\r\nx\r\n" * 15000 + b"3\r\nbad\r\n"
        for sizes in ((len(body),), (1000,), (7,)):
            for tail, status in ((b"0\r\n\r\n", 403), (b"", 0)):
                world = ruled(self, rules, warm=1)
                client = world.client()
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                data = (body if tail else b"1\r\nx\r\n" * 17000) + tail
                for at in range(0, len(data), sizes[0]):
                    client.send(data[at : at + sizes[0]])
                if status:
                    self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
                else:
                    found = re.search(rb"X-Len: (\d+)\r\n", world.server.asked())
                    assert found is not None
                    self.assertGreaterEqual(int(found[1]), 16384)
                client.wire.reset()
                world.check_rest()

    def test_a_body_of_which_nearly_all_is_framing_is_refused(self) -> None:
        """Rather than let pass without a look at it."""
        chunk = b"0000000000000001\r\nx\r\n"
        for first in (b"", chunk * 8000):
            world = ruled(self, WAIT, warm=1)
            client = world.client()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + first)
            if not first:
                for _ in range(80):
                    client.send(chunk * 100)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))
            self.assertEqual(world.flags(), [(400, "PR")])
            self.assertEqual(world.server.asked(), b"")
            client.wire.reset()
            world.check_rest()

    def test_a_pause_goes_on_by_itself(self) -> None:
        world = ruled(self, "http-request pause 300ms\n http-request set-header X-A 1", warm=1)
        client = world.client()
        client.send(GET)
        self.assertEqual(world.server.asked(), b"")
        world.advance(0.4)
        self.assertIn(b"X-A: 1\r\n", world.server.asked())
        world.server.answer(OK)
        world.check_rest()

    def test_a_tarpit_answers_after_its_time(self) -> None:
        world = ruled(self, "http-request tarpit deny_status 429", warm=1)
        world.frontend.timeouts = evolve(world.frontend.timeouts, tarpit=5.0)
        client = world.client()
        client.send(GET)
        world.advance(0.5)
        client.take()
        self.assertEqual(world.flags(), [])
        world.advance(5)
        self.assertEqual(world.flags(), [(429, "PT")])
        world.check_rest()


class ContentTests(SynchronousTestCase):
    """`tcp-request content` in mode http: its rules come first, and see the request."""

    def test_they_come_before_all_others_and_once(self) -> None:
        rules = (
            "tcp-request inspect-delay 5s\n tcp-request content set-var(txn.a) path\n"
            " tcp-request content accept if HTTP { path /ok } { req.len gt 5 }\n"
            " tcp-request content reject if WAIT_END !{ path /wait }\n"
            f" {WAIT}\n http-request set-header X-A %[var(txn.a)]"
        )
        world = ruled(self, rules, backend="tcp-request content set-var(txn.b) str(b)\n http-request set-header X-B "
                      "%[var(txn.b)]", warm=1)  # fmt: skip
        client = world.client()
        client.send(POST.replace(b"POST /", b"POST /wait"))
        client.send(b"abcd")
        asked = world.server.asked()
        self.assertIn(b"X-A: /wait\r\n", asked)
        self.assertIn(b"X-B: b\r\n", asked)
        world.server.answer(OK)
        client.take()
        client.send(get("/ok"))
        self.assertTrue(world.server.asked())
        world.server.answer(OK)
        client.take()
        client.send(get("/other"))
        self.assertEqual((client.take(), client.gone), (b"", True))
        world.check_rest()


class CutTests(SynchronousTestCase):
    def test_a_rejected_client_hears_nothing_but_the_end(self) -> None:
        world = ruled(self, "http-request reject", warm=1)
        client = world.client()
        client.send(GET)
        self.assertEqual((client.take(), client.gone, world.flags()), (b"", True, [(-1, "PR")]))
        self.assertEqual(world.frontend.traffic.dreq, 1)
        world.check_rest()

    def test_a_client_that_is_dropped_silently_is_hidden_from_first(self) -> None:
        for rule in ("http-request silent-drop", "http-response silent-drop"):
            world = ruled(self, rule, warm=1)
            client = world.client()
            client.send(GET)
            if world.server.asked():
                world.server.answer(OK)
            self.assertEqual((client.take(), client.wire.hidden), (b"", True), rule)
            world.check_rest()

    def test_a_client_that_has_sent_more_does_not_hear_of_that_either(self) -> None:
        """Neither is our end shut, nor what it sends read to its end."""
        for rule, more in product(("http-request silent-drop", "http-response silent-drop"), (GET, b"x", b"")):
            world = ruled(self, rule, warm=1)
            client = world.client()
            client.send(GET + more)
            if world.server.asked():
                world.server.answer(OK)
            self.assertEqual((client.take(), client.wire.end and client.wire.end[0]), (b"", "abort"), (rule, more))
            world.check_rest()


class SettingTests(SynchronousTestCase):
    def test_retries_are_as_many_as_a_rule_says(self) -> None:
        for rules, tries in (("http-request set-retries 1", 2), ("http-request set-retries int(0)", 1)):
            world = ruled(self, rules)
            client = world.client()
            client.send(GET)
            for _ in range(tries):
                self.assertEqual(client.take(), b"")
                world.server.refuse()
                world.advance(2)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "), rules)
            world.check_rest()

    def test_without_late_retries_a_lost_answer_is_not_asked_for_again(self) -> None:
        world = ruled(self, "http-request disable-l7-retry", warm=2)
        client = world.client()
        client.send(GET)
        self.assertTrue(world.server.asked())
        world.server.eof()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "))
        world.check_rest()

    def test_a_method_that_would_change_where_messages_end_is_refused(self) -> None:
        for rule, request, status in (
            ("HEAD", GET, b"400"),
            ("GET", get("/", method="HEAD"), b"400"),
            ("%[req.hdr(x)]", get("/", "X: a b"), b"400"),
            ("CONNECT", GET, b"400"),
        ):
            world = ruled(self, f"http-request set-method {rule}", warm=1)
            client = world.client()
            client.send(request)
            self.assertEqual(client.take()[9:12], status, rule)
            world.check_rest()

    def test_rewrites_that_fail_are_left_out_where_that_is_allowed(self) -> None:
        rules = "http-request strict-mode off\n http-request set-method HEAD\n http-request set-header X-A 1"
        world = ruled(self, rules, backend="http-request set-method HEAD if { hdr(x) b }", warm=1)
        client = world.client()
        client.send(GET)
        self.assertIn(b"X-A: 1\r\n", world.server.asked())
        world.server.answer(OK)
        client.take()
        client.send(get("/", "X: b"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))
        world.check_rest()


class FaultTests(SynchronousTestCase):
    def test_each_wrong_line_says_why(self) -> None:
        for line, why in (
            ("http-request reject now", "'now' is too much"),
            ("http-request set-method 'a b'", "'a b' cannot be a method"),
            ("http-request set-src", "needs an expression for an address"),
            ("http-request set-src always_true", "'always_true' is not an address"),
            ("http-request set-dst-port meth(GET)", "is not a port and cannot become one"),
            ("http-request set-timeout sever 5s", "not 'sever': did you mean 'server'?"),
            ("http-request set-timeout server 0", "has to be longer than 0"),
            ("http-request set-mark 0x1ffffffff", "is no number up to 4294967295"),
            ("http-request set-tos 256", "is no number up to 255"),
            ("http-request normalize-uri path-strip-dots", "did you mean 'path-strip-dot'?"),
            ("http-request normalize-uri path-strip-dotdot strict", "'full' can follow 'path-strip-dotdot'"),
            ("http-request strict-mode maybe", "is one of 'on', 'off'"),
            ("http-request early-hint Connection close", "cannot stand in an answer that another one follows"),
            ("http-request wait-for-body", "needs 'time' and for how long"),
            ("http-request wait-for-body time 1s atleast 3", "did you mean 'at-least'?"),
            ("http-after-response silent-drop", "cannot be done there, only by 'http-request' and 'http-response'"),
            (
                "http-response set-timeout queue 5s",
                "'http-response set-timeout' is one of 'server', 'tunnel', 'client'",
            ),
            ("http-response tarpit", "cannot be done there, only by 'http-request'"),
        ):
            (said,) = faults(line)
            self.assertIn(why, said, line)

    def test_time_outs_of_servers_are_set_where_there_are_servers(self) -> None:
        line = "http-request set-timeout server 5s"
        (said,) = faults(f"{line}\n default_backend b\nbackend b", "frontend f\n bind :80\n")
        self.assertIn("'set-timeout server' cannot stand in frontend 'f'", said)
        self.assertEqual(faults(line), [])
        line = "http-response set-timeout tunnel 5s"
        (said,) = faults(f"{line}\n default_backend b\nbackend b", "frontend f\n bind :80\n")
        self.assertIn("'set-timeout tunnel' cannot stand in frontend 'f'", said)

    def test_an_answer_may_set_the_time_of_what_is_left_of_it(self) -> None:
        """A shorter one, or a longer one; an answer that has come as a whole needs none, nor does the next request."""
        part = b"HTTP/1.1 200 OK\r\nX-Wait: %b\r\nContent-Length: 3\r\n\r\na"
        for seconds, before in ((b"2", 1.5), (b"300", 200.0)):
            rules = "http-response set-timeout server res.hdr(x-wait),mul(1000)"
            world = ruled(self, "", backend=rules, warm=1)
            client = world.client()
            client.send(GET)
            world.server.asked()
            world.server.answer(part % seconds + b"bc")
            client.take()
            client.send(GET)
            world.server.answer(part % seconds)
            world.advance(before)
            world.server.answer(b"b")
            world.advance(before)
            self.assertEqual(client.wire.end, None)
            world.advance(1.0 if seconds == b"2" else 101)
            self.assertIsNotNone(client.wire.end)
            self.assertEqual(world.log[-1].flags, "sD")


class Zone:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.stopped = 0

    def look_up(self, section: str, name: str, prefer: str, told: Any, client: str) -> Any:
        self.asked.append((section, name, prefer, told))
        return self.stop

    def stop(self) -> None:
        self.stopped += 1


class ResolvingTests(SynchronousTestCase):
    RULES = "http-request do-resolve(txn.a,dns) req.hdr(host),host_only\n http-request set-header X-A <%[var(txn.a)]>"

    def asked(self) -> tuple[Any, Any, Zone]:
        text = f"resolvers dns\n nameserver n 192.0.2.53:53\n{DEFAULTS}frontend fe\n bind :80\n {self.RULES}\n"
        made = read_configuration([Source("t.cfg", f"{text} default_backend be\nbackend be\n server s1 h:1\n")], {})
        world = ruled(self, "http-request pause 1ms", warm=1)
        world.frontend.settings = evolve(world.frontend.settings, rules=made.frontends["fe"].rules)
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        zone = Zone()
        world.frontend.lookups = zone  # type: ignore[assignment]
        client = world.client()
        client.send(get("/"))
        self.assertEqual([each[:3] for each in zone.asked], [("dns", "a", "ipv6")])
        self.assertEqual(world.server.asked(), b"")
        return world, client, zone

    def test_rules_go_on_when_the_name_servers_have_answered(self) -> None:
        for address, said in (("192.0.2.1", b"<192.0.2.1>"), (None, b"<>")):
            world, _, zone = self.asked()
            zone.asked[0][3](address)
            self.assertIn(b"X-A: " + said, world.server.asked())
            world.server.answer(OK)
            world.check_rest()

    def test_no_address_is_written_with_its_zone(self) -> None:
        """What stands behind the % may be any bytes."""
        address = IPv6Address("2001:db8::5%a\r\nX-User: root")
        self.assertEqual(address_text(address), "2001:db8::5")
        world = ruled(self, "http-request set-var(txn.a) str(x)", warm=1)
        route = world.frontend.default_route
        assert route is not None
        route.original_to = "X-Original-To: "
        self.assertEqual(route.destined(("fe80::1%eth0", 80)), b"X-Original-To: fe80::1\r\n")
        self.assertFalse(is_address("::1%eth0"))

    def test_a_client_that_leaves_is_not_asked_for_any_more(self) -> None:
        world, client, zone = self.asked()
        client.wire.reset()
        self.assertEqual(zone.stopped, 1)
        zone.asked[0][3]("192.0.2.1")
        self.assertEqual(world.server.asked(), b"")
        world.check_rest()

    def test_each_wrong_line_says_why(self) -> None:
        for line, why in (
            ("do-resolve(txn.a,none) src", "there is no 'resolvers none'"),
            ("do-resolve(txn.a) src", "is followed by a variable and a 'resolvers' section"),
            ("do-resolve(txn.a,dns,ipv5) src", "is one of 'ipv4', 'ipv6'"),
            ("do-resolve(a,dns) src", "'a' is no variable"),
        ):
            (said,) = faults(f"http-request {line}")
            self.assertIn(why, said, line)
