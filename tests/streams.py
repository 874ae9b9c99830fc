"""What every transport does, over whatever it runs: asked of plain sockets in test_net_transport, of TLS in
test_net_tls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED, HIGH_WATER, Transport
from tests.wire import Far, Loop, Recorder

if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    Base = object

MB = 1024 * 1024


class Streams(Base):
    """The means: `open` makes a transport, over a socket pair, or over loopback TCP where resets count."""

    #: How the far end sees our orderly end.
    OUR_END = "eof"

    def setUp(self) -> None:
        self.loop = Loop(self)
        self.owner = Recorder()

    def connect(self, tcp: bool, buffers: int | None) -> tuple[Transport, Far]:
        raise NotImplementedError

    def open(self, *, tcp: bool = False, buffers: int | None = None, reading: bool = True) -> tuple[Transport, Far]:
        transport, far = self.connect(tcp, buffers)
        if reading:
            transport.resume_reading()
        self.loop.pump()
        return transport, far

    def blocked(self, **how: bool) -> tuple[Transport, Far]:
        """A transport whose far end has stopped to read, with more unsent than HIGH_WATER."""
        transport, far = self.open(buffers=4096, **how)
        far.stall()
        transport.write(b"a" * MB)
        self.assertGreater(transport.unsent, HIGH_WATER)
        return transport, far

    def gone(self, transport: Transport, reason: str) -> None:
        """It has ended for good: said once and last, the socket closed, nothing watched or unsent."""
        losses = [event for event in self.owner.events if event.startswith("lost")]
        self.assertEqual(losses, [f"lost: {reason}"])
        self.assertEqual(self.owner.lost, reason)
        self.assertEqual((transport.state, transport.unsent, transport.socket.fileno()), (CLOSED, 0, -1))
        self.assertEqual(self.loop.poller.watching(), 0)
