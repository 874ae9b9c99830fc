"""`accept-proxy`: another proxy connects, and says by the PROXY protocol for which client."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.pending import TIMEOUT, PendingClients
from reusedproxy.config import model
from reusedproxy.net import preface
from reusedproxy.net.binding import bind_socket
from reusedproxy.net.listener import Listener
from reusedproxy.net.tls.handshake import HandshakeFailure
from reusedproxy.operators.logs.handshakes import HandshakeLog
from reusedproxy.wire.proxy_protocol import write_v1, write_v2
from tests.clientfakes import GET, OK, PLACE, World
from tests.wire import Loop

WHO, WHERE = ("198.51.100.9", 4711), ("203.0.113.1", 443)


class PrefaceTests(SynchronousTestCase):
    """A frontend whose one listener accepts nothing else; the servers behind it are fakes."""

    def setUp(self) -> None:
        self.loop = loop = Loop(self)
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.1"), accept_proxy=True)
        forward = model.ForwardFor()
        self.world = world = World(self, frontend={"binds": (bind,), "forwardfor": forward}, warm=1)
        self.frontend = frontend = world.frontend
        frontend._poller = loop.poller
        frontend.handshakes = PendingClients(frontend, loop.poller)
        self.failures: list[HandshakeFailure] = []
        frontend.handshakes.log = lambda newcomer, failure, announcement: self.failures.append(failure)
        frontend.listeners.clear()
        self.listener = Listener(loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        frontend.listen(self.listener)

    def connect(self) -> Any:
        count = self.frontend.connections_total
        far = self.loop.connect(("127.0.0.1", self.listener.port))
        self.loop.until(lambda: self.frontend.connections_total > count)
        return far

    def end(self) -> None:
        self.frontend.stop()
        self.world.advance(1)
        self.loop.pump()
        self.assertEqual((self.listener.connections, self.frontend.handshakes.under_way), (0, {}))
        self.assertEqual(self.frontend.handshakes._announced, {})
        self.world.check_rest()

    def failed(self) -> str:
        self.loop.until(lambda: self.failures)
        return self.failures.pop().kind

    def test_the_client_is_who_the_header_says(self) -> None:
        """In every version and however it comes; what follows it is the first request."""
        for write in (write_v1, write_v2):
            header = write(WHO, WHERE)
            for cuts in ([], [1], [7, 20], list(range(1, len(header) + 5))):
                far = self.connect()
                data = header + GET
                for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    far.send(data[begin:end])
                    self.loop.pump()
                asked = self.world.server.asked()
                self.assertIn(b"x-forwarded-for: 198.51.100.9\r\n", asked.lower())
                (connection,) = self.frontend.connections
                assert isinstance(connection, ClientConnection)
                self.assertEqual((connection.address, connection.destination), (WHO, WHERE))
                assert connection.exchange is not None
                facts = connection.exchange
                self.assertEqual((facts.source, facts.destination), (WHO, WHERE))
                self.assertEqual(facts.connection_source[0], "127.0.0.1")
                self.assertEqual(facts.connection_destination, ("127.0.0.1", self.listener.port))
                self.world.server.answer()
                self.loop.until(lambda far=far: far.received)
                self.assertEqual(far.received, OK)
                far.send(GET)
                self.loop.pump()
                self.world.server.asked()
                self.world.server.answer()
                self.loop.until(lambda far=far: len(far.received) > len(OK))
                far.drop()
                self.loop.until(lambda: not self.frontend.connections)
        self.end()

    def test_who_speaks_for_itself(self) -> None:
        """LOCAL and UNKNOWN: a check of the other proxy's; the connection's own addresses count."""
        for header in (write_v1(None, None), write_v2(None, None)):
            far = self.connect()
            far.send(header + GET)
            self.loop.pump()
            (connection,) = self.frontend.connections
            assert isinstance(connection, ClientConnection) and connection.exchange is not None
            self.assertEqual(connection.address[0], "127.0.0.1")
            self.assertEqual(connection.exchange.destination, ("127.0.0.1", self.listener.port))
            self.world.server.asked()
            self.world.server.answer()
            self.loop.pump()
            far.drop()
            self.loop.until(lambda: not self.frontend.connections)
        self.end()

    def test_who_does_not_speak_it_is_closed(self) -> None:
        """Nothing of a request reaches anybody; the log has HAProxy's sentence, and ours with the reason."""
        for said, kind in (
            (GET, preface.INVALID),
            (b"\x16\x03\x01\x02\x00", preface.INVALID),
            (b"PROXY TCP4 nonsense\r\n" + GET, preface.INVALID),
        ):
            far = self.connect()
            far.send(said)
            self.assertEqual(self.failed(), kind, said)
            self.loop.until(lambda far=far: far.end)
        self.assertEqual(self.world.server.busy, [])
        self.assertIn("does not begin with a PROXY protocol header", str(self.world.announced))
        self.end()

    def test_who_leaves(self) -> None:
        """Without a word, or in the middle of it."""
        far = self.connect()
        far.drop()
        self.assertIn(self.failed(), (preface.EMPTY, preface.ABORTED))
        far = self.connect()
        far.send(b"PROXY TCP4 198.")
        self.loop.pump()
        far.drop()
        self.assertEqual(self.failed(), preface.TRUNCATED)
        self.end()

    def test_who_is_silent(self) -> None:
        """Has as long as for a handshake; many of them do not hold anybody up, nor us awake."""
        far = self.connect()
        far.send(b"PROXY TCP4 198.51.100.9 ")
        self.loop.pump()
        timeout = self.frontend.handshakes._timeout
        self.assertLessEqual(timeout, TIMEOUT)
        self.world.advance(timeout - 1)
        self.assertEqual(self.failures, [])
        self.world.advance(1.5)
        self.assertEqual(self.failed(), preface.TIMED_OUT)
        self.end()

    def test_the_line_in_the_log(self) -> None:
        """As HAProxy's."""
        lines: list[str] = []
        self.frontend.handshakes.log = HandshakeLog(self.frontend, lines.append, lambda: 0.0)
        far = self.connect()
        far.send(GET)
        self.loop.until(lambda: lines)
        self.assertRegex(lines[0], rf"^127\.0\.0\.1:\d+ \[01/Jan/1970:00:00:00\.000\] fe/1: {preface.INVALID}$")
        self.end()
