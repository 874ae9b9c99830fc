"""Legal messages, mutated, through the whole proxy in memory: how they are cut decides nothing, and whatever goes on is
to h11 and httptools exactly the messages that we took it for.
"""

from __future__ import annotations

from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import OPEN
from tests.clientfakes import OK, World
from tests.wirecases_requests import LEGAL_REQUESTS
from tests.wirecases_responses import LEGAL_RESPONSES, in_one_chunk
from tests.wireoracles import h11_request, h11_response, httptools_request, httptools_response, is_whole_request

SHORT = 400
REQUESTS = [case.data for case in LEGAL_REQUESTS if len(case.data) < SHORT]
RESPONSES = [(case.data, case.method) for case in LEGAL_RESPONSES if len(case.data) < SHORT]
JUNK = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"0",
    b"5",
    b"-",
]
LINES = [
    b"Host: b\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Transfer-Encoding: identity\r\n", b"Connection: keep-alive\r\n", b" folded\r\n",
    b"A : b\r\n", b"GET / HTTP/1.1\r\n", b"\r\n",
    b"0\r\n\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message after one to three changes to its bytes or lines."""
    data = draw(messages)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["insert", "delete", "replace", "repeat", "insert line", "delete line", "repeat line"])
        )
        if kind.endswith("line"):
            lines = data.split(b"\n")
            at = draw(st.integers(0, len(lines) - 1))
            if kind == "insert line":
                lines.insert(at, draw(st.sampled_from(LINES)).removesuffix(b"\n"))
            elif kind == "repeat line":
                lines.insert(at, lines[draw(st.integers(0, len(lines) - 1))])
            else:
                del lines[at]
            data = b"\n".join(lines)
        else:
            at = draw(st.integers(0, len(data)))
            junk = draw(st.one_of(st.sampled_from(JUNK), st.binary(min_size=1, max_size=2)))
            size = draw(st.integers(1, 3))
            new = {"insert": junk, "delete": b"", "replace": junk, "repeat": data[at : at + size] * 2}[kind]
            data = data[:at] + new + data[at + (0 if kind == "insert" else size) :]
    return data or b"\r"


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted(place for place in places if place < len(data)), len(data)]
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end]


CUTS = st.lists(st.integers(1, SHORT), max_size=6)


@frozen
class Course:
    """What became of a client's bytes: the whole requests that reached the server, and what the client got."""

    requests: list[bytes]
    answers: bytes
    open: bool


class RequestTests(SynchronousTestCase):
    def course(self, pieces: list[bytes]) -> Course:
        world = World(self, warm=1)
        client = world.client()
        requests = []
        for piece in pieces:
            if client.wire.state == OPEN:
                client.send(piece)
        while True:
            asked = world.server.asked()
            if is_whole_request(asked):
                requests.append(asked)
            if not world.server.busy or world.server.busy[0].owner.exchange.complete is False:
                break
            world.server.answer()
        course = Course(requests, client.take(), client.wire.state == OPEN)
        answered = course.answers.count(OK[:15])
        self.assertEqual(len(requests), answered, pieces)
        client.wire.reset()
        world.check_rest()
        return course

    @settings(max_examples=300, deadline=None)
    @given(mutated(st.sampled_from(REQUESTS)), CUTS)
    @example(b"GET / HTTP/0.1\r\r\nHost: a\r\n\r\n", [])  # the second CR is the first fault
    @example(b"GET /../a/./b HTTP/0.1\r\n\r\nHost: a", [])
    def test_no_cut_changes_what_becomes_of_a_request(self, data: bytes, places: list[int]) -> None:
        """The same requests, the same answers, the same end; a server gets no more requests than we counted."""
        whole = self.course([data])
        self.assertEqual(self.course(pieces_of(data, places)), whole)
        self.assertEqual(self.course([data[at : at + 1] for at in range(len(data))]), whole)

    @settings(max_examples=300, deadline=None)
    @given(mutated(st.sampled_from(REQUESTS)))
    def test_what_reaches_a_server_is_one_request_at_a_time(self, data: bytes) -> None:
        """To both oracles, with nothing behind it; but for methods that httptools has not heard of."""
        for asked in self.course([data]).requests:
            theirs = h11_request(asked)
            assert theirs is not None
            self.assertEqual((theirs.messages, theirs.left), (1, b""), asked)
            other = httptools_request(asked)
            if other is None:
                other = httptools_request(b"POST" + asked[len(theirs.start[0]) :])
            assert other is not None, asked
            self.assertEqual((other.messages, other.body), (1, theirs.body), asked)


@frozen
class Said:
    """What a client got of what a server said, and whether that server's connection may serve others."""

    data: bytes
    whole: bool
    reusable: bool


class ResponseTests(SynchronousTestCase):
    def said(self, pieces: list[bytes], method: str) -> Said:
        world = World(self, warm=1)
        client = world.client()
        client.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        (server,) = world.server.wires
        for piece in pieces:
            if server.state == OPEN:
                server.feed(piece)
        reusable = server.state == OPEN and server.owner.exchange is None
        server.eof()
        end = client.wire.end
        whole = world.flags()[0][1] == "--"
        said = Said(in_one_chunk(client.take()), whole, reusable)
        self.assertEqual(len(world.log), 1)
        if not whole and b"HTTP/1.1 502 " not in said.data:
            assert end is not None
            self.assertTrue(end[0] == "abort" or h11_response(said.data, method.encode()) is None, said.data)
        client.wire.reset()
        world.check_rest()
        return said

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(RESPONSES), st.data(), CUTS)
    def test_no_cut_changes_what_becomes_of_a_response(
        self, message: tuple[bytes, str], choice: st.DataObject, places: list[int]
    ) -> None:
        """The same bytes and the same fate of the server's connection; if it is cut off, it is in any pieces."""
        data, method = message
        data = choice.draw(mutated(st.just(data)))
        whole = self.said([data], method)
        for pieces in (pieces_of(data, places), [data[at : at + 1] for at in range(len(data))]):
            cut = self.said(pieces, method)
            if whole.whole or cut.whole:
                self.assertEqual(cut, whole)

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(RESPONSES), st.data())
    def test_what_reaches_a_client_is_one_response(self, message: tuple[bytes, str], choice: st.DataObject) -> None:
        """To both oracles, with nothing behind it. httptools cannot know HEAD, nor that a connection has ended."""
        data, method = message
        said = self.said([choice.draw(mutated(st.just(data)))], method)
        if not said.whole:
            return
        theirs = h11_response(said.data, method.encode())
        assert theirs is not None
        self.assertEqual(theirs.left, b"", said.data)
        if method == "HEAD":
            return
        other = httptools_response(said.data)
        assert other is not None, said.data
        self.assertEqual((other.start, other.body), (theirs.start, theirs.body))
        names = {name for name, _ in other.fields}
        if names & {b"content-length", b"transfer-encoding"} or theirs.start in ((b"204",), (b"304",)):
            self.assertEqual(other.messages, theirs.messages, said.data)
