"""A server connection over real sockets, where bytes may stand in the kernel that nobody has seen yet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import READ_SIZE, Transport
from reusedproxy.pool.connection import IDLE, RETIRING, UNTOUCHED, ServerConnection
from reusedproxy.wire.heads import Limits
from tests.fakes import PoolBench, RecordingExchange
from tests.test_pool_connection import GET
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
        self.bench.pool.idle.append(self.connection)
        self.take_idle()
        self.first, self.second = RecordingExchange(), RecordingExchange()
        self.connection.send(self.first, GET, True, None)
        self.loop.pump()
        self.first.on["whole"] = self.take

    def take_idle(self) -> None:
        self.assertIs(self.bench.pool.acquire(), self.connection)

    def take(self) -> None:
        self.take_idle()
        self.connection.send(self.second, GET, True, None)

    def test_bytes_behind_the_answer_are_nobodys(self) -> None:
        """They stand in the kernel when the second takes it: the connection goes, unwritten,
        and the second elsewhere."""
        self.far.send(ANSWER + HEAD % 0)
        self.loop.pump()
        self.assertEqual(self.first.names, ["whole"])
        self.assertEqual(self.second.events, [("lost", UNTOUCHED, "not silent when taken", False)])
        self.assertEqual((self.connection.state, self.far.received), (RETIRING, GET))
        self.assertEqual(self.bench.pool.closed, {"not silent when taken": 1})

    def test_bytes_that_wait_for_their_turn_are_nobodys(self) -> None:
        """They came later, and their reading was put off because much had come before:
        the second does not take them for its own."""
        self.first.on.clear()
        self.far.send(ANSWER)
        self.loop.pump()
        self.loop.poller.take_bulk = lambda: False  # type: ignore[method-assign]
        self.far.send(HEAD % 0)
        self.loop.poller.doRead()
        self.take()
        self.assertEqual(self.second.events, [("lost", UNTOUCHED, "not silent when taken", False)])

    def test_silence_behind_the_answer(self) -> None:
        """Then it serves the second."""
        self.far.send(ANSWER)
        self.loop.pump()
        self.assertEqual(self.far.received, GET + GET)
        self.far.send(HEAD % 0)
        self.loop.pump()
        self.assertEqual((self.second.names, self.connection.state), (["whole"], IDLE))
