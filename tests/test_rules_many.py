"""How many values of a client's lists the rules for one request look at."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.rules import many
from reusedproxy.rules.many import FEW, MOST, REPLACED
from tests.clientfakes import OK
from tests.rulefakes import ruled

#: Different ones, whose list is shorter than the longest head.
VALUES = [b"%d.%d" % (each // 200, each % 200) for each in range(2000)]
#: Rules about the same with this between them are not asked together.
APART = "http-request set-method GET"


def request(values: list[bytes], more: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n%b\r\n" % (b",".join(values), more)


class ManyTests(SynchronousTestCase):
    def status(self, rule: str, times: int, values: list[bytes]) -> int:
        """What a client is told whose request has these values, and this rule so many times over."""
        world = ruled(self, f"\n {APART}\n ".join([rule] * times), warm=1)
        client = world.client()
        client.send(request(values))
        if world.server.asked():
            world.server.answer(OK)
        status = int(client.take().split()[1])
        world.check_rest()
        return status

    def test_a_request_whose_values_are_too_many_is_refused(self) -> None:
        """Where a rule that may refuse it has not looked at all of them, it is not let through."""
        for rule in (
            "http-request deny if { req.hdr(x) -m len 99 }",
            "http-request deny if { req.hdr(x) -m beg z }",
            "http-request deny if { hdr_ip(x) 10.0.0.0/8 }",
            "http-request deny if { req.hdr(x) -m str z } { path / }",
            "http-request deny if { hdr_val(x) gt 900000 }",
        ):
            most = MOST // len(VALUES)
            self.assertEqual([self.status(rule, times, VALUES) for times in (most, most + 1)], [200, 500], rule)

    def test_a_list_that_is_replaced_counts_for_more(self) -> None:
        rule = r"http-request replace-value X '(.*)[.](.*)' '\2.\1'"
        most = MOST // (REPLACED * len(VALUES))
        self.assertEqual([self.status(rule, times, VALUES) for times in (most, most + 1)], [200, 500])

    def test_equal_values_are_one(self) -> None:
        rule = "http-request deny if { hdr_ip(x) 10.0.0.0/8 }"
        self.assertEqual(self.status(rule, 50, [b"a"] * 4000), 200)
        self.assertEqual(self.status(rule, 2, [b"a"] * 4000 + [b"10.0.0.1"]), 403)

    def test_short_lists_are_not_counted(self) -> None:
        rule = "http-request deny if { req.hdr(x) -m len 99 }"
        self.assertEqual(self.status(rule, MOST // FEW + 10, VALUES[:FEW]), 200)

    def test_each_request_has_its_own_bound(self) -> None:
        """Also where no rule applies, and the guard alone has looked."""
        world = ruled(self, "http-request deny if { req.hdr(x) -m len 99 }", warm=1)
        client = world.client()
        for _ in range(MOST // len(VALUES) + 2):
            client.send(request(VALUES))
            world.server.asked()
            world.server.answer(OK)
            self.assertEqual(client.take(), OK)

    def test_the_guard_leaves_it_to_the_rules(self) -> None:
        """They say which of them could not be evaluated."""
        rules = "".join(f"http-request deny if {{ req.hdr(x{number}) -m str z }}\n" for number in range(2))
        world = ruled(self, rules, warm=1)
        self.assertIsNotNone(world.frontend.guard)
        self.patch(many, "MOST", 2000)
        client = world.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX0: %b\r\nX1: %b\r\n\r\n" % ((b",".join(VALUES[:1200]),) * 2))
        self.assertIn(b" 500 ", client.take())
        self.assertIn("t.cfg:9: a rule could not be evaluated", world.announced[-1][1])
