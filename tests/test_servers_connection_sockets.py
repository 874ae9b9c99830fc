"""A server connection over real sockets, where bytes may stand in the kernel that nobody has seen yet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import READ_SIZE, Transport
from reusedproxy.servers.connection import IDLE, RETIRING, UNTOUCHED, ServerConnection
from reusedproxy.wire.heads import Limits
from tests.fakes import PoolBench, RecordingExchange
from tests.test_servers_connection import GET
from tests.wire import Loop, Recorder

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
#: An answer that fills one read to the last byte: what stands behind it is not seen with it.
ANSWER = HEAD % (READ_SIZE - len(HEAD) - 3) + b"x" * (READ_SIZE - len(HEAD) - 3)


class TakenInTheSameBatchTests(SynchronousTestCase):
    """The next exchange takes the connection while the answer before it is still being handed out."""

    def setUp(self) -> None:
        self.assertEqual(len(ANSWER), READ_SIZE)
        self.loop = Loop(self)
        self.bench = PoolBench(min_conn=0)
        near, self.far = self.loop.pair(tcp=True)
        self.connection = ServerConnection(
            self.bench.pool, Transport(self.loop.poller, near, Recorder()), self.bench.clock.seconds(), Limits(), 1, 0.0
        )
        self.bench.pool.in_use.add(self.connection)
        self.connection.state = 1
        self.bench.pool.keeper.taken(self.connection)
        self.first, self.second = RecordingExchange(), RecordingExchange()
        self.connection.send(self.first, GET, True, None)
        self.loop.pump()
        self.first.on["whole"] = self.take

    def take(self) -> None:
        self.assertIs(self.bench.pool.acquire(), self.connection)
        self.connection.send(self.second, GET, True, None)

    def test_bytes_behind_the_answer_are_nobodys(self) -> None:
        """They stand in the kernel when the second takes it: the connection goes, unwritten, and the second elsewhere."""
        self.far.send(ANSWER + HEAD % 0)
        self.loop.pump()
        self.assertEqual(self.first.names, ["whole"])
        self.assertEqual(self.second.events, [("lost", UNTOUCHED, "not silent when taken", False)])
        self.assertEqual((self.connection.state, self.far.received), (RETIRING, GET))
        self.assertEqual(self.bench.pool.closed, {"not silent when taken": 1})

    def test_silence_behind_the_answer(self) -> None:
        """Then it serves the second."""
        self.far.send(ANSWER)
        self.loop.pump()
        self.assertEqual(self.far.received, GET + GET)
        self.far.send(HEAD % 0)
        self.loop.pump()
        self.assertEqual((self.second.names, self.connection.state), (["whole"], IDLE))
