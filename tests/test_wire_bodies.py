"""Where bodies end, what of them goes on, and that no cut changes either."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.bodies import (
    CHUNKS_AT_ONCE,
    LAST_CHUNK,
    BodyFault,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
    chunk,
)
from reusedproxy.wire.heads import Limits
from tests.wirecases import LEGAL_BODIES, MALFORMED_BODIES, cuts

Body = LengthBody | ChunkedBody | UntilCloseBody
NEXT = b"GET / HTTP/1.1\r\n"


def read(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """All that goes on, and all that lies beyond the end. What is held is fed again."""
    out, beyond = [], []
    for piece in pieces:
        while True:
            sent, left = body.feed(piece)
            out.append(sent)
            beyond.append(left)
            if not isinstance(body, ChunkedBody) or not body.held:
                break
            piece, body.held = body.held, b""
    return b"".join(out), b"".join(beyond)


@st.composite
def pieces_of(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    whole = draw(data)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return whole, [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]


EXTENSIONS = st.sampled_from([b"", b"", b"", b";a", b";a=b", b' ; a="b;\\"c"'])
TRAILERS = st.sampled_from([b"", b"", b"A: b\r\n", b"Host: b\r\nX: y\r\n"])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSIONS), max_size=6))
    chunks = [b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data, extension in parts]
    return b"".join(chunks) + b"0" + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"


class LengthBodyTests(SynchronousTestCase):
    def test_it_ends_at_its_length_however_it_is_cut(self) -> None:
        """What lies beyond the length belongs to the next message."""
        for pieces in cuts(b"hello" + NEXT):
            body = LengthBody(5)
            self.assertEqual(read(body, pieces), (b"hello", NEXT))
            self.assertTrue(body.complete)
            self.assertEqual(body.received, 5)

    def test_it_passes_the_object_on(self) -> None:
        """No byte is copied while the body does not end inside a piece."""
        body = LengthBody(10)
        for data in (b"hello", b"world"):
            self.assertFalse(body.complete)
            self.assertIs(body.feed(data)[0], data)
        self.assertTrue(body.complete)

    def test_no_length_is_complete_at_once(self) -> None:
        """A length of 0 has nothing to wait for."""
        body = LengthBody(0)
        self.assertTrue(body.complete)
        self.assertEqual(body.feed(NEXT), (b"", NEXT))


class UntilCloseBodyTests(SynchronousTestCase):
    def test_everything_is_body_until_the_end(self) -> None:
        """Only the connection's end completes it (RFC 9112 6.3 item 8)."""
        body = UntilCloseBody(framed=False)
        self.assertEqual(body.feed(NEXT), (NEXT, b""))
        self.assertFalse(body.complete)
        self.assertEqual(body.finish(), b"")
        self.assertTrue(body.complete)
        self.assertEqual(body.received, len(NEXT))

    def test_framed_it_goes_on_as_chunks(self) -> None:
        """So that the next hop knows its end without the connection's."""
        body = UntilCloseBody()
        sent = body.feed(NEXT)[0] + body.feed(b"x" * 26)[0] + body.finish()
        reader = ChunkedBody(framed=False)
        self.assertEqual(reader.feed(sent), (NEXT + b"x" * 26, b""))
        self.assertTrue(reader.complete)


class ChunkedBodyTests(SynchronousTestCase):
    def test_it_goes_on_framed_however_it_is_cut(self) -> None:
        """Extensions and forbidden trailers are dropped, all else goes on, and the next message is left."""
        for case in LEGAL_BODIES:
            for pieces in cuts(case.data + NEXT):
                body = ChunkedBody()
                self.assertEqual(read(body, pieces), (case.goes_on, NEXT), case.name)
                self.assertTrue(body.complete)
                self.assertEqual(body.received, len(case.payload))

    def test_it_goes_on_as_payload_however_it_is_cut(self) -> None:
        """For an HTTP/1.0 peer nothing but the payload goes on."""
        for case in LEGAL_BODIES:
            for pieces in cuts(case.data + NEXT):
                self.assertEqual(read(ChunkedBody(framed=False), pieces), (case.payload, NEXT), case.name)

    def test_malformed_bodies_are_refused_however_they_are_cut(self) -> None:
        """A fault is a fault in any pieces, at latest when the connection ends."""
        for case in MALFORMED_BODIES:
            for pieces in cuts(case.data):
                for framed in (True, False):
                    self.assertRaises(BodyFault, self._read_to_end, ChunkedBody(framed=framed), pieces, case.name)

    def _read_to_end(self, body: ChunkedBody, pieces: list[bytes], told: str) -> None:
        read(body, pieces)
        if not body.complete:
            self.fail(f"still waiting: {told}")

    def test_every_early_end_is_a_fault(self) -> None:
        """Nothing but the last byte completes a body."""
        for case in LEGAL_BODIES:
            for end in range(len(case.data)):
                body = ChunkedBody()
                body.feed(case.data[:end])
                self.assertFalse(body.complete)

    def test_what_must_come_at_least_is_never_more_than_what_comes(self) -> None:
        """Or a client that ends its side behind all of its body would be taken for gone; and some is missing until
        the last byte has come."""
        for case in LEGAL_BODIES:
            for end in range(len(case.data) + 1):
                for begin in (0, end // 2, max(end - 1, 0)):
                    body = ChunkedBody()
                    body.feed(case.data[:begin])
                    body.feed(case.data[begin:end])
                    self.check_least(body, case.data[end:])

    def test_what_is_held_has_not_come_yet(self) -> None:
        body = ChunkedBody()
        body.feed(b"1\r\nx\r\n" * (CHUNKS_AT_ONCE + 1) + LAST_CHUNK)
        self.check_least(body, body.held)

    def check_least(self, body: ChunkedBody, coming: bytes) -> None:
        self.assertTrue(min(len(coming), 1) <= body.least <= len(coming), (coming, body.least))

    def test_a_chunk_that_has_begun_must_come_whole(self) -> None:
        """With its end, and the last chunk behind it."""
        body = ChunkedBody()
        for data, least in (
            (b"", 5),
            (b"9c40\r\n", 40_007),
            (bytes(40_000), 6),
            (b"\r\n", 5),
            (b"0\r\n", 2),
            (b"\r\n", 0),
        ):
            body.feed(data)
            self.assertEqual(body.least, least, data)

    def test_canonical_pieces_pass_as_the_same_object(self) -> None:
        """A stream that needs no change is not copied."""
        for data in (
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n1",
            b"5\r\nhello\r\n",
            b"ff\r\nhello",
            b"0\r\nA: b\r\n\r\n",
        ):
            sent, left = ChunkedBody().feed(data)
            if data.endswith(b"1"):  # half a line waits
                self.assertEqual((sent, left), (data[:-1], b""))
            else:
                self.assertIs(sent, data)

    def test_a_big_chunk_streams(self) -> None:
        """Each piece of a chunk goes on as it comes, the same object, in both forms."""
        for framed in (True, False):
            body = ChunkedBody(framed=framed)
            body.feed(b"7fffffffffffffff\r\n")
            piece = b"x" * 65536
            for _ in range(3):
                self.assertIs(body.feed(piece)[0], piece)
            self.assertEqual(body.received, 3 * 65536)

    def test_small_chunks_are_read_so_many_at_a_time(self) -> None:
        """One turn has a bound in chunks, whatever they look like; what is behind is held,
        and nothing is lost or doubled."""
        for piece, payload in (
            (b"1\r\nx\r\n", b"x"),
            (b"1;a=b\r\nx\r\n", b"x"),
            (b"00a\r\n0123456789\r\n", b"0123456789"),
        ):
            for framed in (True, False):
                body, turns, out = ChunkedBody(framed=framed), 0, b""
                data = piece * 5000 + LAST_CHUNK + NEXT
                while True:
                    sent, beyond = body.feed(data)
                    turns, out = turns + 1, out + sent
                    self.assertLessEqual(len(data) - len(body.held) - len(beyond), CHUNKS_AT_ONCE * len(piece))
                    if body.complete:
                        break
                    data, body.held = body.held, b""
                self.assertGreaterEqual(turns, 5000 // CHUNKS_AT_ONCE + 1)
                self.assertEqual((body.received, beyond), (5000 * len(payload), NEXT))
                reader = ChunkedBody(framed=False)
                self.assertEqual(read(reader, [out])[0] if framed else out, payload * 5000)

    def test_a_fault_behind_small_chunks(self) -> None:
        """It is found when its turn comes, by whatever way the chunks before were read."""
        for fault in (b"g\r\n", b"1\r\nxy\r\n", b"1\nx\r\n", b"ffffffffffffffff\r\n", b"1 \r\nx\r\n"):
            for count in (1, 2, CHUNKS_AT_ONCE - 1, CHUNKS_AT_ONCE, CHUNKS_AT_ONCE + 1):
                with self.assertRaises(BodyFault):
                    read(ChunkedBody(), [b"1\r\nx\r\n" * count + fault + b"more"])

    def test_malformed_lines_are_not_waited_for(self) -> None:
        """What cannot become a size or an end raises before its line ends."""
        for data in (b"g", b"-", b" ", b"\n", b"5\n", b"5x", b"1" * 17, b"1\r\nab", b"1\r\na\rb", b"0\r\n\n", b"5;a\n"):
            self.assertRaises(BodyFault, ChunkedBody().feed, data)

    def test_limits_are_its_own(self) -> None:
        """Trailers obey the limits that the heads obey."""
        limits = Limits(max_head=20, max_headers=2)
        ChunkedBody(limits).feed(b"0\r\nA: b\r\nC: d\r\n\r\n")
        self.assertRaises(BodyFault, ChunkedBody(limits).feed, b"0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n")
        self.assertRaises(BodyFault, ChunkedBody(limits).feed, b"0\r\nA: bbbbbbbbbbbbbbbbbbbbbb\r\n\r\n")

    def test_own_chunks_are_chunks(self) -> None:
        """What we encode we read back; no data is no chunk, since that would end the body."""
        self.assertEqual(chunk(b""), b"")
        self.assertEqual(chunk(b"x" * 26), b"1a\r\n" + b"x" * 26 + b"\r\n")
        self.assertEqual(read(ChunkedBody(framed=False), [chunk(b"ab") + chunk(b"c") + LAST_CHUNK]), (b"abc", b""))


class AnyBodyTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(pieces_of(chunked_bodies().map(lambda body: body + NEXT)))
    def test_no_cut_changes_a_chunked_body(self, cut: tuple[bytes, list[bytes]]) -> None:
        """Any pieces give the same stream, the same rest and the same count as the whole."""
        whole, pieces = cut
        for framed in (True, False):
            one, other = ChunkedBody(framed=framed), ChunkedBody(framed=framed)
            self.assertEqual(read(one, [whole]), read(other, pieces))
            self.assertEqual((one.complete, one.received), (other.complete, other.received))

    @settings(max_examples=300, deadline=None)
    @given(chunked_bodies())
    def test_a_framed_body_reads_the_same_again(self, wire: bytes) -> None:
        """The next hop gets the same payload, and finds nothing more to drop."""
        framed, _ = ChunkedBody().feed(wire)
        self.assertEqual(ChunkedBody().feed(framed), (framed, b""))
        self.assertEqual(ChunkedBody(framed=False).feed(framed), ChunkedBody(framed=False).feed(wire))

    @settings(max_examples=500, deadline=None)
    @given(chunked_bodies(), st.data())
    def test_corrupted_bodies_raise_only_body_faults(self, wire: bytes, data: st.DataObject) -> None:
        """A changed, lost or added byte gives a fault or another legal body; cuts agree on which."""
        at = data.draw(st.integers(0, len(wire)))
        junk = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"0", b";", b" ", b"\x00", b"\xff", b"0\r\n\r\n"])
        )
        changed = wire[:at] + junk + wire[at + data.draw(st.integers(0, 3)) :]
        outcomes = set()
        for pieces in ([changed], [changed[i : i + 1] for i in range(len(changed))]):
            outcomes.add(self.outcome_of(ChunkedBody, pieces))
        self.assertEqual(len(outcomes), 1, changed)

    def outcome_of(self, make: Callable[[], Body], pieces: list[bytes]) -> tuple[bytes, bytes, bool] | None:
        body = make()
        try:
            out, left = read(body, pieces)
        except BodyFault:
            return None
        return out, left, body.complete
