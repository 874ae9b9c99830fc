"""Whole answers in files, as `errorfile` names them: what is taken, what is refused, and how it is sent."""

from __future__ import annotations

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from reusedproxy.wire.whole_answers import NOTHING, AnswerFault, read_whole_answer


class ReadTests(TestCase):
    def test_each_fault_is_named(self) -> None:
        """As HAProxy refuses them at start."""
        for data, why in (
            (b"hello", "it has no complete head"),
            (b"hello\n\nbody", "it has no head"),
            (b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n", "it has no complete head"),
            (b"HTTP/1.1 503 X\r\nContent-Length: 5\r\n\r\nok", "does not match the announced content-length (2 != 5)"),
            (b"HTTP/1.1 503 X\r\nContent-Length: 1\r\n\r\nok", "does not match the announced content-length (2 != 1)"),
            (b"HTTP/1.1 503 X\r\nContent-Length: x\r\n\r\nok", "its Content-Length 'x' is no number"),
            (b"HTTP/1.1 503 X\nContent-Length: 2\nContent-Length: 2\n\nok", "two Content-Length lines"),
            (b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunk-encoded payload not supported"),
            (b"HTTP/1.1 100 X\r\n\r\n", "invalid http status code for an error message (100)"),
            (b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", "invalid http status code for an error message (101)"),
            (b"HTTP/1.1 204 X\r\n\r\nok", "message payload not expected"),
            (b"HTTP/2 503 X\r\n\r\nok", "invalid http version (HTTP/2)"),
            (b"HTTP/1.1 503 X\r\nno header\r\n\r\nok", "'no header' is no header line"),
            (b"HTTP/1.1 503 X\r\nA: b\r\n c\r\n\r\nok", "the folded header line 'c'"),
            (b"HTTP/1.1 503 X\r\nA: b\0c\r\n\r\nok", "a control character in the header line"),
            (b"HTTP/1.1 503 X\0\r\n\r\nok", "a control character in its first line"),
        ):
            with self.assertRaises(AnswerFault, msg=data) as raised:
                read_whole_answer(data)
            self.assertIn(why, str(raised.exception), data)

    def test_what_is_sent(self) -> None:
        """The connection's own fields are ours; a body without a length ends with the connection."""
        for data, kept, closed in (
            (
                b"HTTP/1.1 503 X\r\nContent-Length: 2\r\nA:  b \r\n\r\nok",
                b"HTTP/1.1 503 X\r\ncontent-length: 2\r\na: b\r\n\r\nok",
                b"HTTP/1.1 503 X\r\ncontent-length: 2\r\na: b\r\nconnection: close\r\n\r\nok",
            ),
            (
                b"HTTP/1.0 503 X\nContent-Length: 2\nConnection: keep-alive\n\nok",
                b"HTTP/1.0 503 X\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
                b"HTTP/1.0 503 X\r\ncontent-length: 2\r\n\r\nok",
            ),
            (b"HTTP/1.1 503 X\r\n\r\nok", None, b"HTTP/1.1 503 X\r\nconnection: close\r\n\r\nok"),
            (b"HTTP/1.0 503 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", None, None),
            (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 503\r\ncontent-length: 0\r\n\r\n", None),
            (b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 X\r\n\r\n", None),
        ):
            answer = read_whole_answer(data)
            self.assertEqual(answer.ends, kept is None, data)
            if kept is not None:
                self.assertEqual(answer.written(b"GET", close=False), kept)
            if closed is not None:
                self.assertEqual(answer.written(b"GET", close=True), closed)
                self.assertEqual(answer.written(b"HEAD", close=True), closed[: closed.index(b"\r\n\r\n") + 4])

    def test_an_empty_file_is_no_answer(self) -> None:
        self.assertIs(read_whole_answer(b""), NOTHING)
        self.assertEqual(NOTHING.written(b"GET", close=True), b"")

    @given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 503 X\r\n" + tail))
    def test_whatever_it_holds_is_refused_or_one_message(self, data: bytes) -> None:
        """Never a head with a bare line end in it, or with two ends."""
        try:
            answer = read_whole_answer(data)
        except AnswerFault:
            return
        if answer.head:
            written = answer.written(b"HEAD", close=True)
            self.assertEqual(written.index(b"\r\n\r\n"), len(written) - 4)
            self.assertNotRegex(written.replace(b"\r\n", b""), rb"[\r\n\0]")
