"""Which addresses may be dialled (`egress-net`)."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, DialFailure, Target
from reusedproxy.net.reach import Reach
from tests.fakes import Asker

PUBLIC = ("1.1.1.1", "8.8.8.8", "11.0.0.0", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2600::1")
NOT_PUBLIC = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1", "fc00::1", "fd00::1", "fec0::1"),
    *("ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1"),
)


class ReachTests(SynchronousTestCase):
    def test_public_addresses(self) -> None:
        reach = Reach(["public"])
        self.assertEqual([each for each in PUBLIC if reach.why_not(each)], [])
        self.assertEqual([each for each in NOT_PUBLIC if not reach.why_not(each)], [])

    def test_networks_that_are_allowed_and_no_others(self) -> None:
        reach = Reach(["10.1.0.0/16", "fd00:1::/32"])
        for address, allowed in (("10.1.2.3", True), ("10.2.0.1", False), ("fd00:1::5", True), ("8.8.8.8", False)):
            self.assertEqual(reach.why_not(address) == "", allowed, address)
        self.assertEqual(reach.why_not("10.2.0.1"), "10.2.0.1 is not of 10.1.0.0/16 or of fd00:1::/32 (egress-net)")

    def test_both(self) -> None:
        reach = Reach(["public", "10.1.0.0/16"])
        self.assertEqual((reach.why_not("10.1.2.3"), reach.why_not("8.8.8.8")), ("", ""))
        self.assertIn("is not public or of 10.1.0.0/16", reach.why_not("127.0.0.1"))

    def test_what_is_no_address_is_not_reached(self) -> None:
        for host in ("/run/socket", "localhost", "", "127.1", "0x7f000001"):
            self.assertTrue(Reach(["public"]).why_not(host), host)

    @given(st.integers(0, 2**32 - 1) | st.integers(0, 2**128 - 1))
    def test_python_thinks_no_worse_of_any(self, number: int) -> None:
        """What is public here is global to `ipaddress`, which knows of some networks only in newer versions."""
        address = ip_address(number)
        if not Reach(["public"]).why_not(str(address)):
            self.assertTrue(address.is_global and not address.is_multicast, address)


class DialTests(SynchronousTestCase):
    """Each dial is judged by the address that it goes to."""

    def test_no_socket_is_opened_to_others(self) -> None:
        clock = Clock()
        asker, deadlines = Failed(), Deadlines(clock)
        dialer = Dialer(None, deadlines, Target(2, ("8.8.8.8", 443)), None, 5.0, reach=Reach(["public"]))  # type: ignore[arg-type]
        for each in (dialer.elsewhere(Target(2, ("127.0.0.1", 443)), None), dialer.elsewhere(Target(1, "/s"), None)):
            for one in (each, each.saying(b"PROXY")):
                dial = one.dial(asker)
                self.assertIsNone(dial.socket)
        clock.advance(1)
        deadlines.stop()
        self.assertEqual(
            sorted(asker.failures),
            ["TCP connect failed: /s is not public (egress-net)"] * 2
            + ["TCP connect failed: 127.0.0.1 is not public (egress-net)"] * 2,
        )


class Failed(Asker):
    def dial_failed(self, dial: object, failure: DialFailure) -> None:
        self.failures.append(str(failure))

    def dial_ready(self, dial: object, transport: object) -> None:
        raise AssertionError("it was dialled")
