"""First messages that nobody's TLS would send: nothing is raised that nobody expects, nothing waits beyond its time."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.hello import MOST, ClientHello, NotTLS, read_hello
from tests.handshakes import Shaker, client_tls
from tests.test_net_hello import hello, in_records
from tests.wire import Loop

KINDS = ("HTTP", "PROXY", "SSLv2", "bytes")
#: RFC 8701: values that must be ignored, as suites, extensions, groups, versions.
GREASE = [0x0A0A + 0x1010 * number for number in range(16)]


def vector(content: bytes, size: int, lie: int = 0) -> bytes:
    """With its length before it, which may be a lie."""
    length: int = max(0, min(len(content) + lie, 256**size - 1))
    return length.to_bytes(size, "big") + content


lies = st.sampled_from([0] * 12 + [-1, 1, 255, 65535])
numbers = st.lists(
    st.sampled_from([*GREASE, 0x1301, 0xC02B, 0x0304, 0x0303, 0x0403, 0x0804, 0x0000, 0xFFFF]), max_size=40
)
names = st.binary(max_size=300) | st.sampled_from([b"a.test", b"A.TEST", b"", b"\xff\xfe", b"a" * 300, b"a.test\0b"])


@st.composite
def extensions(draw: Any) -> bytes:
    kind = draw(st.sampled_from([0, 0, 13, 43, 10, 16, *GREASE]))
    if kind == 0:
        inner = vector(
            bytes((draw(st.sampled_from([0, 0, 0, 1])),)) + vector(draw(names), 2, draw(lies)), 2, draw(lies)
        )
    else:
        values = b"".join(each.to_bytes(2, "big") for each in draw(numbers))
        inner = vector(values, 1 if kind == 43 else 2, draw(lies))
    content = draw(st.sampled_from([inner] * 4 + [b"", inner[:1], inner[:-1]]))
    return bytes(kind.to_bytes(2, "big") + vector(content, 2, draw(lies)))


@st.composite
def messages(draw: Any) -> bytes:
    """The shape of a ClientHello, with lies in its lengths here and there; in records of some size, perhaps cut off."""
    suites = b"".join(each.to_bytes(2, "big") for each in draw(numbers))
    body = b"\x03\x03" + bytes(32) + vector(draw(st.binary(max_size=33)), 1, draw(lies)) + vector(suites, 2, draw(lies))
    body += vector(b"\0", 1, draw(lies))
    listed = b"".join(draw(st.lists(extensions(), max_size=8)))
    body += draw(st.sampled_from([vector(listed, 2, draw(lies)), b"", listed]))
    message = b"\x01" + vector(body, 3, draw(lies))
    whole = in_records(b"\x16\x03\x01\0\0" + message, draw(st.sampled_from([1, 7, 100, 16384])))
    return whole[: draw(st.sampled_from([None, None, None, -1, 5, 60]))]


@st.composite
def changed(draw: Any) -> bytes:
    """A real one, with pieces overwritten, taken out, doubled or put in."""
    data = WHOLE[draw(st.sampled_from(sorted(WHOLE)))]
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from([0, 1, 1, 2, 4, 60])))
        piece = draw(
            st.sampled_from([b"", data[begin:end] * 2, b"\xff" * (end - begin), b"\0" * (end - begin)])
            | st.binary(max_size=4)
        )
        data = data[:begin] + piece + data[end:]
    return data


WHOLE = {
    "1.2": hello(context=client_tls(version=SSL.TLS1_2_VERSION)),
    "1.3": hello(context=client_tls(version=SSL.TLS1_3_VERSION)),
    "no name": hello(None),
    "in pieces": in_records(hello(), 100),
}  # fmt: skip
anything = (
    messages() | changed() | st.binary(max_size=100) | st.binary(max_size=40).map(lambda tail: b"\x16\x03\x01" + tail)
)


def read(data: bytes) -> ClientHello | int | str:
    try:
        return read_hello(data)
    except NotTLS as error:
        return error.kind


class ReadingTests(SynchronousTestCase):
    """`read_hello` alone."""

    @settings(max_examples=600, deadline=None)
    @given(anything)
    def test_nothing_else_comes_out(self, data: bytes) -> None:
        """A message, a wish for more that is no more than there may be, or what came instead."""
        found = read(data)
        if isinstance(found, int):
            self.assertTrue(0 < found <= MOST - len(data))
        elif isinstance(found, str):
            self.assertIn(found, KINDS)
        else:
            self.assertEqual(found.server_name, found.server_name and found.server_name.lower())

    @settings(max_examples=300, deadline=None)
    @given(anything)
    def test_what_is_not_asked_for_yet_changes_nothing(self, data: bytes) -> None:
        """However it is cut, the same comes out; and nobody who waits for as much as was asked for waits in vain."""
        whole, least = read(data), 0
        for size in range(len(data) + 1):
            found = read(data[:size])
            if isinstance(found, int):
                least = max(least, size + found)
            else:
                # What it was instead can only be guessed at from its beginning.
                self.assertEqual(
                    found if isinstance(found, ClientHello) else type(found),
                    whole if isinstance(whole, ClientHello) else type(whole),
                )
                if isinstance(found, ClientHello) and found != ClientHello():
                    self.assertGreaterEqual(size, least)
                return
        self.assertIsInstance(whole, int)

    def test_looking_is_cheap_for_whoever_dribbles(self) -> None:
        """One-byte records up to the bound, one byte at a time: it is looked at so many times, not at each byte."""
        endless = in_records(b"\x16\x03\x01\0\0" + b"\x01\x00\x7f\xf0" + bytes(32 * 1024), 1)
        looks, size = 0, 0
        while size < MOST:
            found = read(endless[:size])
            assert isinstance(found, int)
            looks, size = looks + 1, size + found
        self.assertLess(looks, 100)
        self.assertEqual(read(endless[:MOST]), ClientHello())


class ShakingTests(SynchronousTestCase):
    """Through a real handshake, OpenSSL behind it."""

    def setUp(self) -> None:
        self.loop = Loop(self)
        self.shaker = Shaker(self, self.loop)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(anything, st.sampled_from([1, 50, 100_000]), st.sampled_from(["stay", "drop", "half"]), st.booleans())
    def test_each_ends_once_and_in_time(self, data: bytes, size: int, then: str, more: bool) -> None:
        """Whatever comes, in whatever pieces: told once, nothing left, no error of ours."""
        shaker, loop = self.shaker, self.loop
        before = len(shaker.transports) + len(shaker.failures)
        near, far = loop.pair(tcp=size == 1)
        handshake = shaker.begin(near, timeout=3.0)
        for begin in range(0, len(data) if size > 1 else min(len(data), 120), size):
            far.send(data[begin : begin + size])
            loop.pump()
        if more:
            far.send(b"GET / HTTP/1.1\r\n\r\n")
        if then != "stay" and not far.end:
            far.drop() if then == "drop" else far.half_close()
        loop.pump()
        loop.advance(3.1)
        self.assertEqual(handshake.state, "done")
        self.assertEqual(len(shaker.transports) + len(shaker.failures), before + 1)
        self.assertEqual((loop.poller.watching(), loop.deadlines.watching(), len(shaker.turns.waiting)), (0, 0, 0))
        failure = shaker.failures[-1]
        self.assertNotIn("internal error", failure.reason)
        self.assertTrue(failure.reason.isprintable(), failure.reason)
        self.assertLess(len(failure.reason), 1000)
        self.assertEqual(self.flushLoggedErrors(), [])
        loop.far.remove(far)
        far.socket.close()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changed())
    def test_we_read_what_openssl_reads(self, data: bytes) -> None:
        """If it takes the message, the name by which we have chosen is the one that it sees."""
        server = SSL.Connection(self.shaker.certificates.contexts[0]._context, None)
        server.set_accept_state()
        if data:  # pyOpenSSL takes no bytes at all for a failure
            server.bio_write(data)
        try:
            server.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            return
        if not _answer(server):
            return
        found = read(data)
        if isinstance(found, ClientHello):
            name = server.get_servername()
            self.assertEqual(found.server_name, name.decode("latin-1").lower() if name else None)


def _answer(server: SSL.Connection) -> bytes:
    try:
        return server.bio_read(65536)
    except SSL.WantReadError:
        return b""
