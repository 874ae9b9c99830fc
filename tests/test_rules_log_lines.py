"""Log-format strings as lines of the log: HAProxy 2.6's results, and for JSON those of 3.x's source."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.logs import Captures, Slot
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.formats import STANDARD, needs_http, read_format
from reusedproxy.config.rules.samples import ALIASES
from reusedproxy.rules.facts import Noted
from reusedproxy.rules.samples.lines import line_of
from tests.rulefakes import Seen
from tests.test_operators_logs_targets import in_utc

HEAD = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"
SLOT = Slot(Place("x", 1), 20)


def course(head: bytes = HEAD, **others: Any) -> Any:
    """What a line can show."""
    facts: Any = Seen(head)
    facts.noted = Noted.of(Captures((SLOT, SLOT), (SLOT,)))
    facts.noted.request = [b'a "b" {c|d}', None]
    facts.noted.cookies = [b"SID=\xe9\x07x", None]
    facts.unique_id = b"7F000001:0"
    values: dict[str, Any] = {
        "facts": facts,
        "frontend_name": "f",
        "backend_label": "b",
        "server_label": "s",
        "client_host": "127.0.0.1",
        "client_port": 36304,
        "frontend_label": "f~",
        "destination": ("2001:db8::1", 80),
        "server_source": None,
        "server_address": ("unix", 0),
        "listener_number": 3,
        "accepted_at": 1795169568.0425,
        "requested_at": 1795169569.5,
        "plus": "",
        "status": 200,
        "bytes_out": 52,
        "flags": "--",
        "termination": "--NI",
        "retries": 2,
        "moved": "+",
        "number": 300,
        "lines": 17,
        "pid": 4242,
        "host_name": "machine",
        "origin": "txn_close",
    }
    times = ("handshake", "idle", "request", "whole_request", "queue", "connect", "response", "data", "active", "total")
    values |= {f"{name}_time": number for number, name in enumerate(times, 1)}
    values |= {"user_time": 11, "bytes_in": 12, "process_clients": 13, "frontend_clients": 14, "backend_requests": 15}
    values |= {"server_requests": 16, "srv_queue": 17, "backend_queue": 18}
    return SimpleNamespace(**{**values, **others})


def line(text: str, said: Any = None, captured: bool = True) -> str:
    return line_of(read_format(text, "here", of_log=True), lambda name: captured)(said or course())


class LineTests(SynchronousTestCase):
    """What each item shows."""

    def setUp(self) -> None:
        in_utc(self)

    def test_aliases_and_flags(self) -> None:
        for text, value in (
            ("%ci:%cp %fi:%fp", "127.0.0.1:36304 2001:db8::1:80"),
            ("%{+X}ci %{+X}cp %{+X}fi", "7F000001 8DD0 20010DB8000000000000000000000001"),
            ("%bi:%bp %si:%sp", "-:- unix:3"),
            ('%{+Q}bi %{+Q}si "%{-M}bi"', '"" "unix" ""'),
            ("%f %ft %b %s %{+Q}ft", 'f f~ b s "f~"'),
            ("%ST %B %U %rc %sq %bq", "200 52 12 +2 17 18"),
            ("%ac/%fc/%bc/%sc", "13/14/15/16"),
            ("%Th/%Ti/%TR/%Tq/%Tw/%Tc/%Tr/%Td/%Ta/%Tt/%Tu", "1/2/3/4/5/6/7/8/9/10/11"),
            ("%ts %tsc %{+Q}tsc", "-- --NI --NI"),
            ("%t|%tr", "20/Nov/2026:10:12:48.042|20/Nov/2026:10:12:49.500"),
            ("%T|%Tl|%trg|%trl", "|".join(f"20/Nov/2026:10:12:4{n} +0000" for n in (8, 8, 9, 9))),
            ("%Ts %ms %rt %lc %pid", "1795169568 042 300 17 4242"),
            ("%{+X}o%Ts %ms %rt %lc %pid", "6B001D20 2A 012C 0011 1092"),
            ("%H %ID %OG %sslv %sslc", "machine 7F000001:0 txn_close - -"),
            ("%CC %CS %{+Q}CS", 'SID=\\xe9#07x - ""'),
            ("%hr %hs", "{a #22b#22 #7Bc#7Cd#7D|} {}"),
            ("%hrl %{+Q}hrl %hsl", 'a #22b#22 #7Bc#7Cd#7D - "a #22b#22 #7Bc#7Cd#7D" "" -'),
            ("%r|%{+Q}r", 'GET /a?b=c HTTP/1.1|"GET /a?b=c HTTP/1.1"'),
            ("%HM %HU %HP %HPO %HQ %HV", "GET /a?b=c /a /a ?b=c HTTP/1.1"),
            ("%[src] %[var(txn.none)] %{+Q}[var(txn.none)] %{+Q}[str(x)]", '127.0.0.1 - "" "x"'),
            ("%{+E}[str('a\"b]c')] %[str(100%)]%%", 'a\\"b\\]c 100%%'),
            ("%[str(a%0ab%7f%c3%a9%ff),url_dec]", "a#0Ab#7F\u00e9\\xff"),
            ("%{+Q}o%f %{-Q}b %ST", '"f" b 200'),
        ):
            self.assertEqual(line(text), value, text)

    def test_every_alias_shows_something(self) -> None:
        for alias in ALIASES:
            for flags in ("", "{+Q,+X,+E}", "{+json}"):
                self.assertTrue(line(f"%{flags}{alias}"), alias)

    def test_blanks_separate_items_once(self) -> None:
        """And none of them begins a line, or stands for what is not there; HAProxy writes one behind the last item."""
        self.assertEqual(line("  a   %f %%  b  "), "a f % b ")
        self.assertEqual(line("a %hr %hs b", captured=False), "a b")
        self.assertEqual(line(" %hr %hs b", captured=False), "b")

    def test_a_client_without_a_request_is_bad_in_each_part_of_it(self) -> None:
        said = course()
        said.facts.head = None
        bad = "<BADREQ>"
        self.assertEqual(line("%r %HM %HU %HP %HPO %HQ %HV", said), " ".join([bad] * 7))

    def test_what_is_not_over_has_a_plus(self) -> None:
        """`option logasap`; JSON has numbers as they are."""
        said = course(plus="+")
        self.assertEqual(line("%Ta/%Tt/%Tu %B %Tw", said), "+9/+10/+11 +52 5")
        self.assertEqual(line("%{+json}o%(size)B %(time)Ta", said), '{"size": 52, "time": 9}')

    def test_json(self) -> None:
        """Named items only; numbers, true and false keep their type, unless another one is said."""
        for text, value in (
            (
                "%{+json}o %(client)ci %cp %(status)ST text %(line)r",
                '{"client": "127.0.0.1", "status": 200, "line": "GET /a?b=c HTTP/1.1"}',
            ),
            ("%{+json}o %(a)[int(3)] %(b)[bool(true)] %(c)[str('x\"y')]", '{"a": 3, "b": true, "c": "x\\"y"}'),
            ("%{+json}o %(a:str)[int(3)] %(b:bool)ST %(c:sint)[str(7)]", '{"a": "3", "b": true, "c": 7}'),
            ("%{+json}o %(none)[var(txn.x)] %(when)t", '{"none": "", "when": "20/Nov/2026:10:12:48.042"}'),
            ("%{+json}o %(req)hr", '{"req": "{a #22b#22 #7Bc#7Cd#7D|}"}'),
            ("%{+json}o %(list)hrl", '{"list": ["a #22b#22 #7Bc#7Cd#7D", ""]}'),
            ('{"s":%{+json}f,"n":%{+json}ST}', '{"s":"f","n":200}'),
        ):
            self.assertEqual(line(text), value, text)

    def test_what_is_wrong_with_a_format(self) -> None:
        for text, why in (
            ("%{+json}o %f", "writes items that have a name"),
            ("%(a b)f", "'%(' begins a name of letters, digits"),
            ("%(a:number)f", "the type of 'a' is one of str, sint, bool, not 'number'"),
            ("%{+cbor}o%(a)f", "'%{+cbor}' is a HAProxy flag that reusedproxy does not do yet: write '%{+json}o'"),
            ("%Ea", "'%Ea' is a HAProxy alias that reusedproxy does not do yet"),
            ("%{+Z}f", "unknown flag '+Z'"),
        ):
            with self.assertRaises(Wrong) as raised:
                read_format(text, "here", of_log=True)
            self.assertIn(why, str(raised.exception), text)

    def test_what_is_about_requests(self) -> None:
        self.assertEqual(needs_http(read_format("%ci %b %tr", "here")), "%tr")
        self.assertEqual(needs_http(read_format(STANDARD["tcplog"], "here")), "")
