"""Questions to name servers and what becomes of the answers, with a server of twisted.names in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model import Place as Line
from reusedproxy.config.model.names import Holds, Resolvers
from reusedproxy.net.names.channels import Place, Stream
from reusedproxy.net.names.messages import NX, OTHER, REFUSED, VALID, Service, read_answer
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.names.section import Asked, Names, Section
from reusedproxy.net.names.watch import Watch
from reusedproxy.net.names.wire import AAAA, SRV, A, Malformed, read_message, write_question
from tests.garbage import garbage
from tests.nameserver import NX as NO_NAME
from tests.nameserver import REFUSED as NO_MIND
from tests.nameserver import SERVFAIL, SILENCE, MemoryNameServers

LINE = Line("t.cfg", 1)
ONE = (Place("ns1", "192.0.2.53", 53),)
TWO = (*ONE, Place("ns2", "192.0.2.54", 53))
NAME = "app.test"
NX_CODE = 3


def answer(number: int, records: list[Any], name: str = NAME, kind: int = A, **more: Any) -> bytes:
    message = dns.Message(id=number, answer=1, **more)
    message.addQuery(name.encode(), kind)
    for owner, payload in records:
        message.answers.append(dns.RRHeader(owner, payload.TYPE, payload=payload))
    return bytes(message.toStr())


class MessageTests(SynchronousTestCase):
    """Bytes to questions and answers."""

    def test_a_question_says_how_much_it_takes(self) -> None:
        """In the pseudo record of EDNS (RFC 6891)."""
        message = dns.Message()
        message.fromStr(write_question(7, NAME, A, 4096))
        self.assertEqual((message.id, message.recDes, message.queries), (7, 1, [dns.Query(NAME, A)]))
        (size,) = message.additional
        self.assertEqual((size.type, size.cls), (dns.OPT, 4096))

    def test_addresses_are_found_behind_aliases(self) -> None:
        """Whatever the order; those of other names are nobody's."""
        records = [
            ("b.test", dns.Record_A("192.0.2.1")),
            (NAME, dns.Record_CNAME("B.test")),
            ("c.test", dns.Record_A("192.0.2.9")),
            ("B.TEST", dns.Record_A("192.0.2.2")),
            ("b.test", dns.Record_A("192.0.2.1")),
        ]
        found = read_answer(answer(1, records), "APP.test.", A)
        assert found is not None
        self.assertEqual((found.status, found.addresses), (VALID, ("192.0.2.1", "192.0.2.2")))

    def test_aliases_in_a_circle_end(self) -> None:
        records = [(NAME, dns.Record_CNAME("b.test")), ("b.test", dns.Record_CNAME(NAME))]
        found = read_answer(answer(1, records), NAME, A)
        assert found is not None
        self.assertEqual(found.status, OTHER)

    def test_services_without_a_host_are_none(self) -> None:
        """RFC 2782: the root as a host says so. Names are compared in lower case. What is no name of a host is none, or
        it could write lines into the log."""
        records = [
            (NAME, dns.Record_SRV(0, 5, 80, b"evil\nFAKE\x1b.test")),
            (NAME, dns.Record_SRV(0, 5, 80, "A.test")),
            (NAME, dns.Record_SRV(0, 0, 0, b"")),
            (NAME, dns.Record_SRV(0, 5, 0, "no-port.test")),
            (NAME, dns.Record_SRV(1, 9, 80, "a.test")),
        ]
        found = read_answer(answer(1, records, kind=SRV), NAME, SRV)
        assert found is not None
        self.assertEqual([(each.host, each.port, each.weight) for each in found.services], [("a.test", 80, 5)])

    def test_what_answers_another_question_is_no_answer(self) -> None:
        records = [(NAME, dns.Record_A("192.0.2.1"))]
        for data in (
            answer(1, records, name="other.test"),
            answer(1, records, kind=AAAA),
            write_question(1, NAME, A, 512),
            b"",
        ):
            self.assertIsNone(read_answer(data, NAME, A))
        cut = read_answer(answer(1, records)[:-3], NAME, A)
        self.assertFalse(cut is not None and cut.status == VALID)

    def test_what_the_server_says_instead_of_an_answer(self) -> None:
        for code, status in ((dns.ENAME, NX), (dns.EREFUSED, REFUSED), (dns.ESERVER, OTHER), (dns.EFORMAT, OTHER)):
            found = read_answer(answer(1, [], rCode=code), NAME, A)
            assert found is not None
            self.assertEqual(found.status, status)
        found = read_answer(answer(1, []), NAME, A)
        assert found is not None
        self.assertEqual(found.status, OTHER)

    @given(st.binary(max_size=200), st.sampled_from((A, AAAA, SRV)))
    def test_no_bytes_break_the_reader(self, data: bytes, kind: int) -> None:
        for each in (data, answer(1, [(NAME, dns.Record_A("192.0.2.1"))])[:14] + data):
            read_answer(each, NAME, kind)

    @given(st.lists(st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,4}", fullmatch=True), max_size=8), st.data())
    def test_messages_are_read_as_twisted_writes_them(self, names: list[str], data: st.DataObject) -> None:
        """With names that lead to one another, in records of any kind."""
        records: list[tuple[str, Any]] = []
        expected = []
        for name in names:
            payload, text, port, weight = data.draw(
                st.sampled_from(
                    (
                        (dns.Record_A("192.0.2.1"), "192.0.2.1", 0, 0),
                        (dns.Record_AAAA("2001:db8::1"), "2001:db8::1", 0, 0),
                        (dns.Record_CNAME(name), name, 0, 0),
                        (dns.Record_SRV(3, 4, 5, "x." + name), "x." + name, 5, 4),
                        (dns.Record_MX(1, name), None, 0, 0),
                        (dns.Record_TXT(b"text"), None, 0, 0),
                    )
                )
            )
            records.append((name, payload))
            if text is not None:
                expected.append((name, payload.TYPE, text, port, weight))
        message = read_message(answer(9, records, trunc=1, rCode=dns.ENAME))
        self.assertEqual((message.number, message.is_answer, message.truncated, message.code), (9, True, True, NX_CODE))
        self.assertEqual(message.questions, ((NAME, A),))
        self.assertEqual([(e.name, e.kind, e.text, e.port, e.weight) for e in message.answers], expected)

    def test_a_message_is_as_long_as_tcp_lets_it_be(self) -> None:
        """Full of services, with all that they are reached by."""
        records = [(NAME, dns.Record_SRV(1, 1, port, f"host{port}.region.example.test")) for port in range(1, 1401)]
        data = answer(1, records, kind=SRV, maxSize=0)
        self.assertGreater(len(data), 30_000)
        found = read_answer(data, NAME, SRV)
        assert found is not None
        self.assertEqual(len(found.services), 1400)

    def test_what_a_message_takes_is_bounded(self) -> None:
        """A name server, or who is on the way to it, holds nobody up: thousands of names that lead through thousands of
        labels, or pointers, are no answer."""
        asked = b"\x03app\x04test\0" + bytes.fromhex("00010001")
        start = 12 + len(asked)
        record = bytes.fromhex("00100001000000000000")  # a TXT without text
        labels = b"\x01a" * 127
        # A text of pointers, each to the one before it, the first to the end of the question's name.
        text = start + 11
        chain = b"".join((0xC000 | (text + at - 2 if at else start - 5)).to_bytes(2, "big") for at in range(0, 8000, 2))
        chained = b"\0" + record[:8] + len(chain).to_bytes(2, "big") + chain
        last = (0xC000 | text + len(chain) - 2).to_bytes(2, "big")

        def message(records: int, rest: bytes) -> bytes:
            return bytes.fromhex(f"000184000001{records:04x}00000000") + asked + rest

        for within in (message(1, labels + b"\0" + record), message(3, chained + (last + record) * 2)):
            self.assertEqual(read_message(within).questions, ((NAME, A),))
        for what, unread in {
            "too long": message(1, b"\x01a" * 128 + b"\0" + record),
            "a label too long": message(1, b"\x40" + b"a" * 64 + b"\0" + record),
            "forward": message(1, (0xC000 | start + 2).to_bytes(2, "big") + record),
            "to itself": message(1, (0xC000 | start).to_bytes(2, "big") + record),
            "many long ones": message(
                3000, labels + b"\0" + record + ((0xC000 | start).to_bytes(2, "big") + record) * 2999
            ),
            "many pointers": message(100, chained + (last + record) * 99),
        }.items():
            try:
                read_message(unread)
            except Malformed:
                continue
            self.fail(f"{what}: was read")

    def test_names_that_cannot_be_asked_for(self) -> None:
        for name in ("a" * 64 + ".test", ".".join(["abc"] * 64), "a..test", "", ".", "ä.test"):
            with self.assertRaises(ValueError, msg=name):
                write_question(1, name, A, 512)
        self.assertEqual(len(write_question(1, ".".join(["abc"] * 63) + ".", A, 512)), 12 + 253 + 4 + 11)

    def test_what_has_come_of_a_truncated_message_counts(self) -> None:
        """Some name servers cut records in two."""
        whole = answer(1, [(NAME, dns.Record_A("192.0.2.1")), (NAME, dns.Record_A("192.0.2.2"))], trunc=1)
        found = read_answer(whole[:-3], NAME, A)
        assert found is not None
        self.assertEqual((found.truncated, found.addresses), (True, ("192.0.2.1",)))


class NamesTestCase(SynchronousTestCase):
    """A section with name servers in memory, on a clock."""

    def begin(
        self, places: tuple[Place, ...] = ONE, families: tuple[str, ...] = ("ipv4", "ipv6"), **words: Any
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.servers = MemoryNameServers(self.clock)
        self.names = Names(self.clock, self.servers.open)
        self.settings = Resolvers("dns", LINE, **words)
        self.section: Section = self.names.section(Asked(self.settings, places, families))
        self.zone = self.servers.zones["ns1"]
        self.seen: list[tuple[str, list[object]]] = []

    def follow(self, name: str = NAME, kind: int = A) -> Watch:
        watch = self.section.watch(name, kind)
        watch.follow(self.note)
        self.pass_time(0.01)
        return watch

    def note(self, watch: Watch) -> None:
        self.seen.append((watch.status, [*watch.found]))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.clock.advance(0.01)

    def tearDown(self) -> None:
        if hasattr(self, "names"):
            self.names.stop()
            self.pass_time(0.02)
            self.assertEqual(self.clock.getDelayedCalls(), [])


class LookupTests(NamesTestCase):
    """One name, asked for once."""

    def test_the_first_valid_answer_counts(self) -> None:
        """Whatever another name server says."""
        for other in (NO_NAME, SERVFAIL, NO_MIND, SILENCE):
            self.begin(TWO)
            self.servers.zones["ns2"].records[NAME] = [("A", "192.0.2.1")]
            self.zone.records[NAME] = other
            watch = self.follow()
            self.assertEqual(self.seen, [(VALID, ["192.0.2.1"])], other)
            self.assertEqual(watch.source, "dns/ns2")
            self.tearDown()

    def test_the_other_family_is_asked_for_where_one_has_nothing(self) -> None:
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        self.follow(kind=AAAA)
        self.assertEqual(self.zone.asked, [(NAME, AAAA), (NAME, A)])
        self.assertEqual(self.seen, [(VALID, ["192.0.2.1"])])

    def test_a_family_that_is_not_accepted_is_not_asked_for(self) -> None:
        """`dns-accept-family`."""
        self.begin(families=("ipv4",), retries=0)
        self.zone.records[NAME] = [("AAAA", "2001:db8::1")]
        self.follow(kind=AAAA)
        self.pass_time(1.1)
        self.assertEqual(self.zone.asked, [(NAME, A)])
        self.assertEqual(self.seen, [(OTHER, [])])

    def test_failures_are_repeated_before_they_count(self) -> None:
        """As in HAProxy: both families, `resolve_retries` times more, each `timeout retry` after the one before."""
        for word, status in ((NO_NAME, NX), (SERVFAIL, OTHER), (NO_MIND, REFUSED)):
            self.begin(retries=2, retry=0.5)
            self.zone.records[NAME] = word
            self.follow()
            self.pass_time(0.9)
            self.assertEqual((self.seen, len(self.zone.asked)), ([], 4))
            self.pass_time(0.3)
            self.assertEqual((self.seen, len(self.zone.asked)), ([(status, [])], 6), word)
            self.tearDown()

    def test_silence_is_repeated_before_it_counts(self) -> None:
        """With the same family: nothing was said about it."""
        self.begin(retries=2, retry=0.5)
        self.zone.records[NAME] = SILENCE
        self.follow()
        self.pass_time(1.4)
        self.assertEqual((self.seen, self.zone.asked), ([], [(NAME, A)] * 3))
        self.pass_time(0.2)
        self.assertEqual(self.seen, [("timeout", [])])

    def test_a_name_is_asked_for_again_and_again(self) -> None:
        self.begin(resolve=2.0)
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        watch = self.follow()
        self.zone.records[NAME] = [("A", "192.0.2.2")]
        self.pass_time(1.9)
        self.assertEqual(len(self.seen), 1)
        self.pass_time(0.2)
        self.assertEqual(self.seen[1:], [(VALID, ["192.0.2.2"])])
        watch.look_again()
        self.pass_time(0.02)
        self.assertEqual(len(self.seen), 3)

    def test_until_nobody_follows_it(self) -> None:
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        watch = self.follow()
        watch.leave(self.note)
        self.pass_time(3)
        self.assertEqual((len(self.zone.asked), self.section.watches), (1, {}))

    def test_sockets_rest_when_nobody_waits(self) -> None:
        """So the next question comes from another port."""
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        self.follow()
        self.assertEqual(self.servers.channels["ns1"].rests, 1)

    def test_what_was_not_asked_is_not_heard(self) -> None:
        """Another number, another server than the one that was asked, a second answer."""
        self.begin(TWO)
        for server in self.servers.channels.values():
            server.lost = True
        self.follow()
        message = self.servers.channels["ns1"].sent[0]
        number = int.from_bytes(message[:2], "big")
        forged = answer(number ^ 1, [(NAME, dns.Record_A("192.0.2.66"))])
        self.section._answered(ONE[0], forged, whole=False)
        self.section._answered(Place("ns3", "192.0.2.55", 53), answer(number, []), whole=False)
        self.assertEqual(self.seen, [])
        for _ in range(2):
            self.section._answered(ONE[0], answer(number, [], rCode=dns.ENAME), whole=False)
        self.assertEqual(self.seen, [])
        self.section._answered(TWO[1], answer(number, [(NAME, dns.Record_A("192.0.2.1"))]), whole=False)
        self.assertEqual(self.seen, [(VALID, ["192.0.2.1"])])

    def test_numbers_are_not_to_be_guessed(self) -> None:
        self.begin(retry=0.01, retries=50)
        self.zone.records[NAME] = SILENCE
        self.follow()
        self.pass_time(0.4)
        numbers = {message[:2] for message in self.servers.channels["ns1"].sent}
        self.assertGreater(len(numbers), 20)

    def test_a_cut_answer_is_asked_for_over_tcp(self) -> None:
        """RFC 7766; if that comes to nothing, the part counts."""
        for reachable, found in ((True, ["192.0.2.1"]), (False, ["192.0.2.7"])):
            self.begin()
            channel = self.servers.channels["ns1"]
            channel.lost = True
            self.zone.records[NAME] = [("A", "192.0.2.1")]
            if not reachable:
                self.zone.records[NAME] = SILENCE
            self.follow()
            number = int.from_bytes(channel.sent[0][:2], "big")
            cut = answer(number, [(NAME, dns.Record_A("192.0.2.7"))], trunc=1)
            self.section._answered(ONE[0], cut, whole=False)
            self.assertEqual(self.servers.channels["ns1/tcp"].sent, channel.sent)
            self.pass_time(1.1)
            self.assertEqual(self.seen[0], (VALID, found))
            self.tearDown()

    def test_a_thousand_names_are_asked_for_at_a_pace(self) -> None:
        """Questions for all at once would hold the loop."""
        self.begin(families=("ipv4",), resolve=10.0)
        for number in range(1000):
            self.section.watch(f"a{number}.test", A).follow(self.note)
        self.clock.advance(0)
        self.assertEqual(len(self.zone.asked), 10)
        self.pass_time(0.5)
        self.assertLess(len(self.zone.asked), 530)
        self.pass_time(0.6)
        self.assertEqual(len({*self.zone.asked}), 1000)

    def test_a_name_that_dns_cannot_have_comes_to_nothing(self) -> None:
        self.begin(retries=0)
        self.follow("a" * 64 + ".test")
        self.pass_time(1.1)
        self.assertEqual(self.seen, [("timeout", [])])


class CountingTests(NamesTestCase):
    """What is counted of each name server."""

    def test_answers_by_what_they_are(self) -> None:
        for said, word in (
            ([("A", "192.0.2.1")], "valid"),
            (NO_NAME, "nx"),
            (SERVFAIL, "other"),
            (NO_MIND, "refused"),
            (SILENCE, "timeout"),
        ):
            self.begin(TWO, families=("ipv4",), retries=0, retry=0.5, resolve=60.0)
            self.servers.zones["ns2"].records[NAME] = SILENCE
            self.zone.records[NAME] = said
            self.follow()
            self.pass_time(1.0)
            self.assertEqual(self.section.counts["ns1"], {"sent": 1, word: 1})
            # Where the other's answer is valid, nobody waits for this one's.
            self.assertEqual(self.section.counts["ns2"], {"sent": 1, **({} if word == "valid" else {"timeout": 1})})
            self.tearDown()

    def test_what_nobody_waits_for(self) -> None:
        self.begin()
        (place,) = ONE
        self.section._answered(place, b"\0\1 whatever", whole=False)
        self.section._answered(place, b"\0", whole=False)
        self.assertEqual(self.section.counts["ns1"], {"outdated": 1, "invalid": 1})


class OnceTests(NamesTestCase):
    """Names that rules ask for (`do-resolve`)."""

    def look_up(self, *names: str) -> list[str | None]:
        told: list[str | None] = []
        lookups = Lookups({"dns": lambda: self.section})
        for name in names:
            lookups.look_up("dns", name, "ipv4", told.append, "192.0.2.9")
            self.pass_time(0.02)
        return told

    def test_what_a_name_server_has_said_is_told(self) -> None:
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        self.assertEqual(self.look_up(NAME, "APP.test.", NAME), ["192.0.2.1"] * 3)
        self.assertEqual(self.zone.asked, [(NAME, A)])

    def test_an_address_is_no_name(self) -> None:
        """A client that writes one would get into networks that he cannot name, and put any bytes behind a zone's %."""
        self.begin()
        written = ("192.0.2.1", "0.0.0.0", "127.1", "0", "::1", "2001:db8::1", "::1%eth0", "::1%a\r\nX-User: root")
        self.assertEqual(self.look_up(*written), [None] * len(written))
        self.assertEqual(self.zone.asked, [])

    def test_a_client_and_a_network_have_a_share_of_the_names(self) -> None:
        """While they are asked for, since there is no such name; one that is known costs none."""
        self.begin()
        lookups = Lookups({"dns": lambda: self.section})
        told: list[str | None] = []

        def ask(client: str, count: int = 1, name: str = "") -> int:
            """How many of these names are refused at once."""
            told.clear()
            for each in range(count):
                lookups.look_up("dns", name or f"a{each}-{client.replace(':', '-')}.test", "ipv4", told.append, client)
            return len(told)

        self.assertEqual(ask("192.0.2.1", 103), 3)
        self.assertEqual(ask("192.0.2.1", name="a7-192.0.2.1.test"), 0)
        self.assertEqual(ask("2001:db8::1", 100), 0)
        self.assertEqual(ask("2001:db8::2"), 1)
        for each in range(2, 6):
            self.assertEqual(ask(f"192.0.2.{each}", 100), 0)
        self.assertEqual(ask("192.0.2.6"), 1)
        self.assertEqual(ask("198.51.100.1"), 0)
        self.pass_time(10)
        self.assertEqual((self.section.watches, self.section.shares), ({}, {}))
        self.assertEqual(ask("192.0.2.6"), 0)

    def test_nothing_of_who_has_waited_is_left_to_the_garbage_collector(self) -> None:
        """Whether there was an answer, or none, or who waits has left."""
        self.begin(retries=0)
        self.zone.records |= {NAME: [("A", "192.0.2.1")], "silent.test": SILENCE}
        lookups = Lookups({"dns": lambda: self.section})
        with garbage() as left:
            for name in (NAME, "none.test", "silent.test"):
                waiter = _Waiter()
                waiter.stop = lookups.look_up("dns", name, "ipv4", waiter.told, "192.0.2.9")
                self.pass_time(0.1)
                self.assertEqual(waiter.answered, name != "silent.test")
            waiter.stop()
            del waiter
        self.assertEqual(left, {})

    def test_a_section_whose_lines_have_changed_forgets_the_names_of_clients(self) -> None:
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        self.look_up(NAME)
        self.section = self.names.section(Asked(evolve(self.settings, retries=9), ONE, ("ipv4",)))
        self.assertEqual((len(self.section.watches), self.section.shares["192.0.2.9"]), (1, 1))
        self.assertEqual(self.look_up(NAME), ["192.0.2.1"])
        self.zone.records[NAME] = [("A", "192.0.2.2")]
        self.pass_time(1.1)
        self.assertEqual((self.section.watches, self.section.shares), ({}, {}))
        self.assertEqual(self.look_up(NAME), ["192.0.2.2"])


class _Waiter:
    """Knows how to stop what will call it, as a request does that is held back."""

    answered = False
    stop: Callable[[], None]

    def told(self, address: str | None) -> None:
        self.answered = True


class WatchTests(NamesTestCase):
    """What is remembered of a name."""

    def test_failures_keep_what_was_found_as_long_as_their_hold(self) -> None:
        """Each kind has its own, counted from the last valid answer."""
        for word, field in ((NO_NAME, "nx"), (SERVFAIL, "other"), (NO_MIND, "refused"), (SILENCE, "timeout")):
            self.begin(holds=Holds(**{field: 5.0}), retries=0, retry=0.1)
            self.zone.records[NAME] = [("A", "192.0.2.1")]
            watch = self.follow()
            self.zone.records[NAME] = word
            self.pass_time(4.5)
            self.assertEqual((watch.given_up, [*watch.found]), (False, ["192.0.2.1"]), word)
            self.pass_time(2.0)
            self.assertEqual((watch.given_up, [*watch.found]), (True, []), word)
            self.zone.records[NAME] = [("A", "192.0.2.1")]
            self.pass_time(1.5)
            self.assertEqual((watch.given_up, [*watch.found]), (False, ["192.0.2.1"]), word)
            self.tearDown()

    def test_what_answers_lack_is_kept_for_hold_obsolete(self) -> None:
        for obsolete, kept in ((0.0, 0.0), (5.0, 4.5)):
            self.begin(holds=Holds(obsolete=obsolete))
            self.zone.records[NAME] = [("A", "192.0.2.1"), ("A", "192.0.2.2")]
            watch = self.follow()
            self.zone.records[NAME] = [("A", "192.0.2.2"), ("A", "192.0.2.3")]
            self.pass_time(1.1)
            self.assertEqual("192.0.2.1" in watch.found, obsolete > 0)
            self.pass_time(kept)
            self.pass_time(2.0)
            self.assertEqual([*watch.found], ["192.0.2.2", "192.0.2.3"])
            self.tearDown()

    def test_a_services_weight_and_address_change(self) -> None:
        """It is the same all the same."""
        self.begin()
        self.zone.records[NAME] = [("SRV", "a.test", "80", "5"), ("A", "192.0.2.1", "of", "a.test")]
        watch = self.follow(kind=SRV)
        self.zone.records[NAME] = [("SRV", "a.test", "80", "9")]
        self.pass_time(1.1)
        (seen,) = watch.found.values()
        self.assertEqual((seen.weight, seen.addresses, [*watch.found]), (9, (), [Service("a.test", 80)]))

    def test_a_changed_section_knows_what_it_knew(self) -> None:
        """After a reload."""
        self.begin()
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        before = self.follow()
        changed = Asked(Resolvers("dns", LINE, retries=1), ONE, ("ipv4",))
        section = self.names.section(changed)
        self.assertIs(self.names.section(changed), section)
        before.leave(self.note)
        watch = section.watch(NAME, A)
        self.assertEqual((watch.status, [*watch.found]), (VALID, ["192.0.2.1"]))
        self.pass_time(2)
        self.assertEqual(self.section.watches, {})

    def test_nothing_of_a_changed_section_is_left_to_the_garbage_collector(self) -> None:
        """When nobody watches its names any more, even if somebody has asked for one later."""
        self.begin()
        asked: list[str] = []
        self.names = Names(self.clock, lambda place, answered: _Mute(place.name, answered, asked))
        with garbage() as left:
            self.section = before = self.names.section(Asked(Resolvers("dns", LINE, retries=2), ONE, ("ipv4",)))
            watch = self.follow()
            self.section = self.names.section(Asked(Resolvers("dns", LINE, retries=0), ONE, ("ipv4",)))
            for _ in range(2):
                self.assertEqual(asked.pop(), "ns1")
                watch.leave(self.note)
                self.pass_time(6)
                self.assertEqual(before.watches, {})
                watch = before.watch(NAME, A)
                watch.follow(self.note)
                self.pass_time(0.02)
            watch.leave(self.note)
            self.pass_time(6)
            self.section = self.names.section(Asked(Resolvers("dns", LINE, retries=1), ONE, ("ipv4",)))
            del before, watch
        self.assertEqual(left, {})


class _Mute:
    """A channel to a name server that says nothing."""

    def __init__(self, name: str, answered: Callable[[bytes], None], asked: list[str]) -> None:
        self._name, self._answered, self._asked = name, answered, asked

    def send(self, message: bytes) -> None:
        self._asked.append(self._name)

    def rest(self) -> None:
        """Has nothing open."""

    def close(self) -> None:
        """Has nothing open."""


class StreamTests(SynchronousTestCase):
    """A name server that is asked over TCP."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.heard: list[bytes] = []
        self.stream = Stream(self.reactor, Place("ns1", "192.0.2.53", 53, True), self.heard.append, 2.0)

    def connect(self) -> tuple[Any, StringTransport]:
        host, port, factory, timeout, _ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port, timeout), ("192.0.2.53", 53, 2.0))
        protocol: Any = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def test_messages_have_their_length_before_them(self) -> None:
        """Those that wait for the connection, and later ones; answers come in any parts."""
        self.stream.send(b"one")
        protocol, transport = self.connect()
        self.stream.send(b"two")
        self.assertEqual(transport.value(), b"\0\3one\0\3two")
        for byte in b"\0\5first\0\6second":
            protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.heard, [b"first", b"second"])
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_a_connection_that_rests_ends(self) -> None:
        """Unless somebody asks within five seconds."""
        self.stream.send(b"one")
        _, transport = self.connect()
        disconnected = self.reactor.connectors[-1]
        self.stream.rest()
        self.reactor.advance(4)
        self.stream.send(b"two")
        self.reactor.advance(4)
        self.assertEqual(transport.value(), b"\0\3one\0\3two")
        self.assertFalse(disconnected._disconnected)
        self.stream.rest()
        self.reactor.advance(5.1)
        self.assertTrue(disconnected._disconnected)
        self.stream.send(b"three")
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.stream.clientConnectionLost(disconnected, None)  # the first one's end, late
        self.assertEqual(self.connect()[1].value(), b"\0\5three")

    def test_what_is_lost_with_a_connection_is_asked_again_by_others(self) -> None:
        self.stream.send(b"one")
        self.stream.clientConnectionFailed(self.reactor.connectors[-1], None)
        self.stream.send(b"two")
        self.assertEqual(self.connect()[1].value(), b"\0\3two")
        self.stream.rest()
        self.stream.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
