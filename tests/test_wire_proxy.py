"""Every case of the wire through the whole proxy in memory: whole, cut in two at every byte, and one byte at a time.

What reaches the server and what the client gets must be what the tables say, however the bytes come.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import OPEN
from tests.clientfakes import OK, Client, Wire, World
from tests.wirecases import LegalRequest, LegalResponse, RefusedRequest, RefusedResponse, cuts
from tests.wirecases_requests import LEGAL_REQUESTS, REFUSED_REQUESTS
from tests.wirecases_responses import LEGAL_RESPONSES, REFUSED_RESPONSES, in_one_chunk
from tests.wireoracles import is_whole_request, is_whole_response

ONCE_MORE = b"GET /once-more HTTP/1.1\r\nHost: a\r\n\r\n"
#: The heads of late faults are all alike, and cut elsewhere; their bodies come later than this.
LATE_FROM = 35


def ask(method: str, version: str = "1.1") -> bytes:
    return f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode()


def feed(wire: Wire, pieces: list[bytes]) -> None:
    """As a peer sends: what comes after our end is read no more."""
    for piece in pieces:
        if wire.state == OPEN:
            wire.feed(piece)


class RequestTests(SynchronousTestCase):
    def test_names_are_keys(self) -> None:
        """Each case is in the tables once."""
        for tables in ((LEGAL_REQUESTS, REFUSED_REQUESTS), (LEGAL_RESPONSES, REFUSED_RESPONSES)):
            names = [case.name for table in tables for case in table]
            self.assertEqual(sorted(set(names)), sorted(names))

    def test_legal_requests_reach_the_server_however_they_come(self) -> None:
        """Each is one request of its own, ends where it ends, and leaves the client's connection as the table says."""
        for case in LEGAL_REQUESTS:
            for pieces in cuts(case.data):
                self.legal(case, pieces)

    def legal(self, case: LegalRequest, pieces: list[bytes]) -> None:
        world = World(self, warm=1)
        client = world.client()
        feed(client.wire, pieces)
        self.assertEqual(world.server.asked(), case.sent, (case.name, pieces))
        world.server.answer()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "), case.name)
        self.asks_again(world, client, case.persists, (case.name, pieces))
        world.check_rest()

    def asks_again(self, world: World, client: Client, persists: bool, about: object) -> None:
        """One more request: taken and answered on a connection that persists, else not even read."""
        feed(client.wire, [ONCE_MORE])
        self.assertEqual(world.server.asked(), ONCE_MORE if persists else b"", about)
        if persists:
            world.server.answer()
            self.assertEqual(client.take(), OK, about)
        self.assertEqual(client.wire.state == OPEN, persists, about)

    def test_legal_requests_in_a_row_are_kept_apart(self) -> None:
        """The next request, in the same packet, is read from where the case ends."""
        for case in LEGAL_REQUESTS:
            world = World(self, warm=1)
            client = world.client()
            client.send(case.data + ONCE_MORE)
            self.assertEqual(world.server.asked(), case.sent, case.name)
            world.server.answer()
            self.assertEqual(world.server.asked(), ONCE_MORE if case.persists else b"", case.name)
            if case.persists:
                world.server.answer()
            world.check_rest()

    def test_refused_requests_reach_no_server_however_they_come(self) -> None:
        """The answer has its status, the connection closes, one line is logged, and what follows is not read."""
        for case in REFUSED_REQUESTS:
            for pieces in cuts(case.data, LATE_FROM if case.late else 1):
                self.refused(case, pieces)

    def refused(self, case: RefusedRequest, pieces: list[bytes]) -> None:
        about = (case.name, pieces)
        world = World(self, warm=1)
        (server,) = world.server.wires
        client = world.client()
        feed(client.wire, pieces)
        feed(client.wire, [ONCE_MORE])
        asked = server.take()
        if case.late and len(pieces) > 1:
            self.assertFalse(is_whole_request(asked), about)
            self.assertEqual(server.state == OPEN, not asked, about)
        else:
            self.assertEqual(asked, b"", about)
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % case.status), (about, answer))
        self.assertTrue(is_whole_response(answer), about)
        self.assertIn(b"\r\nconnection: close\r\n", answer, about)
        self.assertNotEqual(client.wire.state, OPEN, about)
        self.assertEqual([status for status, _ in world.flags()], [case.status], about)
        client.wire.eof()
        world.check_rest()


class ResponseTests(SynchronousTestCase):
    def test_legal_responses_reach_the_client_however_they_come(self) -> None:
        """Each goes on as the table says, and so do the connections: the server's to its pool, or away."""
        for case in LEGAL_RESPONSES:
            for pieces in cuts(case.data):
                self.legal(case, pieces)

    def legal(self, case: LegalResponse, pieces: list[bytes]) -> None:
        about = (case.name, pieces)
        world = World(self, warm=1)
        (server,) = world.server.wires
        client = world.client()
        client.send(ask(case.method))
        server.take()
        feed(server, pieces)
        if case.closes:
            server.eof()
        self.assertEqual(in_one_chunk(client.take()), case.passed, about)
        self.assertEqual(server.state == OPEN, case.reusable, about)
        self.assertEqual(len(world.server.pool.idle), int(case.reusable), about)
        self.assertEqual(client.wire.state == OPEN, case.persists, about)
        self.assertEqual([flags for _, flags in world.flags()], ["--"], about)
        world.check_rest()

    def test_clients_of_http_1_0_get_every_content(self) -> None:
        """No chunk, no 1xx, and HTTP/1.0's own ends of messages (RFC 9112 6.1, RFC 9110 15.2)."""
        for case in LEGAL_RESPONSES:
            for pieces in cuts(case.data)[:: max(1, len(case.data) // 3)]:
                world = World(self, warm=1)
                (server,) = world.server.wires
                client = world.client()
                client.send(ask(case.method, "1.0"))
                feed(server, pieces)
                if case.closes:
                    server.eof()
                answer = client.take()
                head, _, body = answer.partition(b"\r\n\r\n")
                self.assertNotIn(b"transfer-encoding", head.lower(), (case.name, pieces))
                self.assertIn(b"\r\nconnection: close", head, (case.name, pieces))
                self.assertNotEqual(head.split()[1][:1], b"1", (case.name, pieces))
                self.assertEqual(body, case.content, (case.name, pieces))
                self.assertNotEqual(client.wire.state, OPEN, (case.name, pieces))
                world.check_rest()

    def test_refused_responses_become_502_or_break_off_however_they_come(self) -> None:
        """The client never takes one for an answer, and nothing comes of that server's connection any more."""
        for case in REFUSED_RESPONSES:
            for pieces in cuts(case.data, LATE_FROM if case.late else 1):
                for version in ("1.1", "1.0") if case.late else ("1.1",):
                    self.refused(case, pieces, version)

    def refused(self, case: RefusedResponse, pieces: list[bytes], version: str) -> None:
        about = (case.name, version, pieces)
        world = World(self, warm=1)
        (server,) = world.server.wires
        client = world.client()
        client.send(ask(case.method, version))
        feed(server, pieces)
        if case.closes:
            server.eof()
        self.assertNotEqual(server.state, OPEN, about)
        self.assertEqual(len(world.server.pool.idle), 0, about)
        answer = client.take()
        final = answer[answer.find(b"HTTP/1.1 502 ") :] if b"HTTP/1.1 502 " in answer else answer
        if final.startswith(b"HTTP/1.1 502 "):
            self.assertTrue(is_whole_response(final, case.method.encode()), about)
            self.assertNotIn(b"hello", answer, about)
            self.assertEqual(client.wire.state == OPEN, version == "1.1", about)  # it may ask again
            client.wire.eof()
        else:
            self.assertTrue(case.late, (about, answer))
            # What only the connection's end completes must not seem complete: a reset tells so.
            end = client.wire.end
            assert end is not None
            self.assertTrue(end[0] == "abort" or not is_whole_response(answer, case.method.encode()), about)
        self.assertNotEqual(client.wire.state, OPEN, about)
        (line,) = world.flags()
        self.assertEqual(
            line, (502, "SH" if case.closes else "PH") if b"HTTP/1.1 502 " in answer else (200, line[1]), about
        )
        client.wire.eof()
        world.check_rest()
