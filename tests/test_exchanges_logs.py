"""What is noted of exchanges for their log, which lines are written, when, and at which level."""

from __future__ import annotations

import errno
import re
import struct
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.logs import Slot
from reusedproxy.config.model.values import Place
from reusedproxy.exchanges import compression, noting
from reusedproxy.net.passwords import Passwords
from reusedproxy.net.transport import OPEN
from reusedproxy.operators.logs.access import access_log
from tests.clientfakes import GET, OK, World, get, response
from tests.rulefakes import ruled
from tests.streamfakes import StreamWorld
from tests.test_exchanges_authentication import USERS, login
from tests.test_net_passwords import Loop, same


class LogCase(SynchronousTestCase):
    """A world whose frontend has these lines, and a log; each line stands behind its level."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        self.passwords: Passwords | None = None

    def target(self, most: str = "debug") -> Any:
        def sender_of_several(level: str) -> Any:
            return lambda lines: self.lines.extend(f"{level}: {line}" for line in lines)

        def with_data(level: str) -> Any:
            return lambda line, data: self.lines.append(f"{level}: {data} {line}")

        return SimpleNamespace(sender_of_several=sender_of_several, sender_with_data=with_data)

    def world(self, lines: str, backend: str = "", *, levels: bool = False) -> World:
        users = USERS if self.passwords is not None else ""
        world = ruled(self, lines, backend, users=users, passwords=self.passwords, warm=1)
        world.frontend.log = access_log(world.frontend, world.places, [self.target()], rules_set_levels=levels)
        return world

    def asked(self, world: World, request: bytes = GET, answer: bytes | None = OK) -> bytes:
        """One request of a new client. Returns what the server got."""
        client = world.client()
        client.send(request)
        got = world.server.asked()
        if answer is not None and got:
            world.server.answer(answer)
        client.wire.eof()
        return got


class Measured:
    """The socket of a server's connection, which tells nothing any more once that has ended."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire

    def getsockname(self) -> tuple[str, int]:
        self.look()
        return "192.0.2.77", 4711

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        self.look()
        return bytes(8) + struct.pack("=21I", *(1000 * number for number in range(21)))

    def look(self) -> None:
        if self.wire.state != OPEN:
            raise OSError(errno.EBADF, "closed")


class ConnectionTests(LogCase):
    """What is said of the connection to the server."""

    def test_it_is_known_although_it_has_ended_with_its_answer(self) -> None:
        """To rules and to the log, as in HAProxy: our own address, and what the kernel had measured when the connection
        was taken."""
        names = ("bc_src", "bc_src_port", "bc_rtt(us)", "bc_rttvar", "%bi")
        rules = "\n".join(f"http-response add-header X-Found %[{name}]" for name in names[:-1])
        rules += "\n http-after-response add-header X-Found %bi"
        shown = 'log-format "%bi:%bp %[bc_rtt]"'
        for lines, backend, logged in (
            (f"{shown}\n{rules}", "", ["info: 192.0.2.77:4711 15"]),
            ("log-format ok", rules, ["info: ok"]),
            (shown, "", ["info: 192.0.2.77:4711 15"]),
        ):
            for closing in ("Connection: close", "X: y"):
                with self.subTest(lines=lines, backend=backend, closing=closing):
                    self.lines.clear()
                    world = self.world(lines, backend)
                    (wire,) = world.server.wires
                    wire.socket = Measured(wire)
                    client = world.client()
                    client.send(GET)
                    wire.hung_up = True
                    world.server.answer(response(b"ok", closing))
                    found = re.findall(rb"X-Found: ([^\r]*)", client.take())
                    expected = [b"192.0.2.77", b"4711", b"15000", b"16", b"192.0.2.77"]
                    self.assertEqual(found, expected if rules in (lines + backend) else [])
                    client.wire.eof()
                    self.assertEqual(self.lines, logged)
                    world.check_rest()

    def test_whether_it_has_carried_a_request_before(self) -> None:
        """To rules and to the log; one that was opened ahead of requests has not."""
        world = self.world("log-format %[bc_reused]\nhttp-response set-header X-Reused %[bc_reused]")
        (wire,) = world.server.wires
        wire.socket = Measured(wire)
        for reused in (b"0", b"1"):
            client = world.client()
            client.send(GET)
            world.server.answer(response(b"ok"))
            self.assertIn(b"X-Reused: " + reused, client.take())
            client.wire.eof()
        self.assertEqual(self.lines, ["info: 0", "info: 1"])


class CaptureTests(LogCase):
    """Headers, cookies, and what rules capture."""

    def test_headers_of_both_directions(self) -> None:
        """The last of several, as far as its slot reaches, and before rules have changed it."""
        world = self.world(
            'log-format "%hr %hs %[capture.req.hdr(1)]"\n capture request header Host len 3\n'
            " capture request header X-A len 20\n capture response header Server len 5\n"
            " http-request set-header X-A changed\n http-response del-header Server"
        )
        self.asked(world, get("/", "X-A: 1", "x-a: 2, 3"), response(b"ok", "Server: abcdefgh"))
        self.assertEqual(self.lines, ["info: {a|2, 3} {abcde} 2, 3"])

    def test_blanks_are_looked_at_once(self) -> None:
        """However many stand within a value: once those behind each of them were looked at, too (16 KB: 3 s)."""
        head = b"GET / HTTP/1.1\r\nX: a" + b" " * 300_000 + b"b\r\n\r\n"
        (slot,) = noting._named([Slot(Place("t.cfg", 1), 9, "X")])
        self.assertEqual(slot[1].findall(head)[0][-2:], b" b")
        self.assertEqual(len(compression._ETAG.findall(head.replace(b"X", b"ETag"))), 1)

    def test_what_rules_capture(self) -> None:
        """Into a slot of its own, or into one that was declared, also from a backend and in responses."""
        world = self.world(
            'log-format "%hr %hs"\n declare capture request len 9\n http-request capture path len 4\n'
            " declare capture response len 2\n http-response capture res.hdr(x-b) id 0",
            backend="http-request capture be_name id 0\n http-request capture method id 7",
        )
        self.asked(world, get("/abcdef"), response(b"ok", "X-B: 123"))
        self.assertEqual(self.lines, ["info: {be|/abc} {12}"])

    def test_cookies(self) -> None:
        """The first that begins so, of the request and of the answer."""
        world = self.world('log-format "%CC %CS"\n capture cookie SI len 9')
        cookies = ("Set-Cookie: x=1", "Set-Cookie: SID = 123456789; path=/")
        self.asked(world, get("/", "Cookie: a=b; SID=abcdefgh; SIX=1"), response(b"ok", *cookies))
        self.asked(world)
        self.assertEqual(self.lines, ["info: SID=abcde SID=12345", "info: - -"])

    def test_what_would_order_a_terminal_about_is_written_in_digits(self) -> None:
        """Control characters beyond ASCII, too: U+009B begins an order as ESC does, U+0085 and U+2028 end lines."""
        world = self.world(
            'log-format "%CC %[var(txn.x)]"\n capture cookie S len 20\n http-request set-var(txn.x) req.hdr(x)'
        )
        odd = "\x9b2Jß\x85\u2028\u202e".encode().decode("latin-1")
        self.asked(world, get("/", f"Cookie: S={odd}", f"X: {odd}"))
        shown = "#C2#9B2Jß#C2#85#E2#80#A8#E2#80#AE"
        self.assertEqual(self.lines, [f"info: S={shown} {shown}"])

    def test_the_client_is_who_the_rules_say(self) -> None:
        """As in HAProxy: `set-src` counts for the log, whatever its format."""
        rules = "http-request set-src req.hdr(x-from)\n http-request set-src-port int(7)"
        for log in ("option httplog", 'log-format "%ci:%cp"'):
            self.asked(self.world(f"{log}\n {rules}"), get("/", "X-From: 203.0.113.9"))
            self.assertIn("203.0.113.9:7", self.lines[-1], log)
            self.assertNotIn("192.0.2.7", self.lines[-1], log)

    def test_what_was_captured_stays_while_a_password_is_checked(self) -> None:
        """By a rule behind a wait, too, before which it was captured: rules after it are run again, and no others."""
        loop = Loop()
        self.passwords = Passwords(loop, same)
        world = self.world(
            'log-format "%ST %hr %[var(txn.a)]"\n capture request header Host len 3\n http-request pause 1s\n'
            " http-request set-var(txn.a) path\n http-request capture path len 9\n"
            " http-request deny unless { http_auth(L) }"
        )
        client = world.client()
        client.send(get("/x", login("bob:hashed")))
        world.advance(1.1)
        self.assertEqual(world.server.asked(), b"")
        loop.run(1)
        self.assertIn(b"GET /x ", world.server.asked())
        world.server.answer(OK)
        self.assertEqual(self.lines, ["info: 200 {a|/x} /x"])

    def test_the_sections_own_table_is_asked(self) -> None:
        """As in its rules, and when the request is over: it is tracked no more, and can still be asked."""
        world = self.world(
            'log-format "%[src_http_req_cnt] %[sc_http_req_cnt(0)] %ID"\n unique-id-format "%[src_http_req_cnt]"\n'
            " stick-table type ip size 10 store http_req_cnt\n http-request track-sc0 src"
        )
        for _ in range(2):
            self.asked(world)
        self.assertEqual(self.lines, ["info: 1 1 1", "info: 2 2 2"])

    def test_a_frontend_without_any_of_that_notes_nothing(self) -> None:
        world = ruled(self, "option httplog", warm=1)
        self.assertIsNone(world.frontend.routing)
        self.asked(world)
        self.assertIsNone(world.log[0].noted)


class EarlyTests(LogCase):
    """`option logasap`."""

    def test_a_line_when_the_head_of_the_answer_has_come(self) -> None:
        world = self.world('log-format "%ST %B %Ta %OG"\n option logasap')
        client = world.client()
        client.send(GET)
        world.server.asked()
        world.advance(0.25)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        world.server.answer(head + b"ab")
        (line,) = self.lines
        self.assertRegex(line, rf"\Ainfo: 200 \+{len(head)} \+2\d\d txn_response\Z")
        client.wire.eof()
        self.assertEqual(len(self.lines), 1)

    def test_an_answer_of_our_own_when_it_is_over(self) -> None:
        world = self.world('log-format "%ST %B %OG"\n option logasap\n http-request return status 204')
        self.asked(world)
        (line,) = self.lines
        self.assertTrue(line.startswith("info: 204 +") and line.endswith(" txn_close"), line)

    def test_a_session_of_mode_tcp_when_it_is_connected(self) -> None:
        world = StreamWorld(
            self, 'listen l\n bind :1\n server s1 192.0.2.1:1\n option logasap\n log-format "%b/%s %Tc/%Tt %B %OG"\n'
        )
        log = access_log(world.frontend, world.places, [self.target()])
        world.frontend.stream_log = log
        client = world.client()
        world.clock.advance(0.5)
        server = world.connect("s1")
        self.assertEqual(self.lines, ["info: l/s1 500/+500 +0 txn_connect"])
        server.feed(b"12345")
        client.reset()
        self.assertEqual(len(self.lines), 1)


class LevelTests(LogCase):
    """`log-separate-errors`, `dontlog-normal`, `set-log-level`."""

    def test_errors_have_a_level_of_their_own(self) -> None:
        world = self.world('log-format "%ST %ts"\n option log-separate-errors')
        self.asked(world)
        self.asked(world, answer=response(b"no", status="503 No"))
        self.asked(world, b"GET /\r\n\r\n")
        self.assertEqual(self.lines, ["info: 200 --", "err: 503 --", "err: 400 PR"])

    def test_only_errors_are_logged(self) -> None:
        world = self.world('log-format "%ST"\n option dontlog-normal\n http-request redirect location / if { path /r }')
        for path in ("/", "/r"):
            self.asked(world, get(path))
        self.asked(world, answer=response(b"no", status="500 No"))
        self.assertEqual(self.lines, ["info: 500"])

    def test_rules_set_the_level(self) -> None:
        """A later one counts; silent is no line, and an error has its own level no more."""
        world = self.world(
            'log-format "%ST %HU"\n option log-separate-errors\n'
            " http-request set-log-level warning if { path_beg /w }\n"
            " http-request set-log-level silent if { path /ws }\n http-response set-log-level alert if { status 500 }",
            levels=True,
        )
        for path, status in (("/w", "200 OK"), ("/ws", "200 OK"), ("/", "500 No"), ("/w", "503 No"), ("/", "200 OK")):
            self.asked(world, get(path), response(b"x", status=status))
        said = ["warning: 200 /w", "alert: 500 /", "warning: 503 /w", "info: 200 /"]
        self.assertEqual(self.lines, said)

    def test_those_who_send_no_request_have_their_own_format(self) -> None:
        """Nothing is captured of them, and captures take no place."""
        world = self.world(
            'log-format "%ST %hr"\n error-log-format "bad %ST %hr %r %TR"\n capture request header Host len 9'
        )
        self.asked(world)
        self.asked(world, b"GET /\r\n\r\n")
        self.assertEqual(self.lines, ["info: 200 {a}", "info: bad 400 <BADREQ> -1"])

    def test_structured_data_go_with_the_line(self) -> None:
        world = self.world('log-format "%ST"\n log-format-sd "%{+E,+Q}o[id@1 path=%HU]"')
        self.asked(world, get("/a]b"))
        self.assertEqual(self.lines, ['info: [id@1 path="/a\\]b"] 200'])


class IdTests(LogCase):
    """`unique-id-format`."""

    def test_each_request_has_one_and_its_server_is_told(self) -> None:
        """Beside what the client has sent under that name."""
        world = self.world(
            'unique-id-format "%{+X}o %ci:%cp  %rt"\n unique-id-header X-Id\n log-format "%ID %{+Q}[unique-id]"\n'
            " http-request set-header X-Seen %ID"
        )
        for number in range(2):
            got = self.asked(world, get("/", "X-Id: mine"))
            self.assertIn(b"\r\nX-Id: mine\r\n", got)
            self.assertIn(b"\r\nX-Seen: C0000207:1267 000%d\r\nX-Id: C0000207:1267 000%d\r\n" % (number, number), got)
        said = [f'info: C0000207:1267 000{n} "C0000207:1267 000{n}"' for n in range(2)]
        self.assertEqual(self.lines, said)

    def test_in_its_own_format_it_is_empty(self) -> None:
        """As in HAProxy."""
        for own in ("%ID", "%[unique-id]"):
            self.lines.clear()
            world = self.world(f'unique-id-format "a {own} b"\n log-format "%ID"')
            self.asked(world)
            self.assertEqual((own, self.lines), (own, ["info: a b"]))

    def test_without_a_format_there_is_none(self) -> None:
        world = self.world('log-format "%ID [%{-M}[unique-id]]"')
        self.asked(world)
        self.assertEqual(self.lines, ["info: - []"])
