"""What rules of mode tcp see of a request: all that some server may see in the same bytes."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.heads import Limits, RequestFault, read_request
from reusedproxy.wire.loose_heads import Ambiguous, NotHTTP, is_whole, read_as_request, read_loose_request

#: Heads for the path /a with a field X of the value 1, which HAProxy 2.6 reads, or nginx does.
SPELLINGS = (
    b"GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.1\nHost: h\nX: 1\n\n",
    b"GET /a HTTP/1.1\nHost: h\r\nX: 1\n\r\n",
    b"\r\n\n\r\nGET /a HTTP/1.1\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.0\r\nX: 1\r\n\r\n",
    b"GET  /a\tHTTP/1.1 \r\nX: 1\r\n\r\n",
    b"GET /a HTTP/01.1\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/2.0\r\nX: 1\r\n\r\n",
    b"GET /a RTSP/1.0\r\nX: 1\r\n\r\n",
    b"GET /a HTTP1.1\r\nX: 1\r\n\r\n",
    b"GET http://h/a x\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX:\r\n 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a b\r\nhost:A B\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nA: \x00\x01\xff\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX: 1\r\nConnection: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nExpect: x\r\nX: 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\n" + b"B: 1\r\n" * 99 + b"X: 1\r\n\r\n",
)
#: What servers read differently, or one leaves out and another does not.
AMBIGUOUS = (
    b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://b@a HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\n\r\n",
    b"GET /a# HTTP/1.0\r\n",
    b"GET /a\r\n",
    b"GET /a \n",
    b"GET http:/a\r\n",
    b"POST /a\r\nX: 1\r\n\r\n",
    b"OPTIONS *\r\n",
    b"SETUP /a\r\n",
    b" GET  /a\t\r\n",
    b"nSCAN /tmp/x y z\n",
    b"GET /a b HTTP/1.1\r\n",
    b"GET /a b c d\r\n",
    b"GET /a HTTP/1.1\rX: 1\r\n",
    b" GET /a HTTP/1.1\r\n",
    b"SET KEY 1\r\nGET KEY\r\n\r\n",
    b"GET key\r\nno field\r\n\r\n",
    b"GET\x0b/a\x0cHTTP/1.1\r\n",
    b"GET\r/a HTTP/1.1\r\n",
    b"GET\xa0/a\x85HTTP/1.1\r\n",
    b"G@T /a HTTP/1.1\r\n",
    b"GET /a HTTP/1.1\r\nno field\r\n\r\n",
    b"GET /a HTTP/1.1\r\n: none\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX : 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\n X: 1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX: 1\rY: 2\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX: 1\r\r\n\r\n",
    b"GET /a HTTP/1.1\r\n" + b"B: 1\r\n" * 101 + b"\r\n",
)
OTHERS = (
    b"\x16\x03\x01",
    b"SSH-2.0-x\r\n",
    b"SSH-2.0-x Debian-1\r\n",
    b"GET\r\n",
    b"GET /a\x00 HTTP/1.1\r\n",
    b"0032git-upload-pack /a.git\x00host=h",
    b"set key v",
    b"SET key val",
    b"POST key\r\n",
    b"get /foo/bar\r\n",
    b"nSCAN /tmp/x\n",
    b"PASS /x/y\r\n",
    b"EHLO a.example\r\n",
    b"USER a 0 * :b\r\n",
    b"@ a\x01",
    b'{"method":"login"',
    b"<stream:stream ",
    b"\x1f\x8b",
)


class LooseHeadTests(SynchronousTestCase):
    """Spellings that mode http refuses, or answers in its own name."""

    def test_what_a_server_may_read(self) -> None:
        """Whoever sends it must not pass the rules by that."""
        for sent in SPELLINGS:
            head = read_loose_request(sent + b"more")
            assert head is not None, sent
            self.assertEqual((head.method, head.target[-2:], head.values(b"x")), (b"GET", b"/a", [b"1"]), sent)

    def test_what_haproxy_takes_for_a_request(self) -> None:
        """Three words, the last of which may be a version; and GET of HTTP/0.9."""
        for line, method, target, minor in (
            (b"GET adm X", b"GET", b"adm", 1),
            (b"GET @/adm ICE/1.0", b"GET", b"@/adm", 1),
            (b"GET :/adm HTTP/1.0", b"GET", b":/adm", 0),
            (b"INVITE sip:a@b SIP/2.0", b"INVITE", b"sip:a@b", 1),
            (b"SOURCE pw ICE/1.0", b"SOURCE", b"pw", 1),
            (b"get key 0", b"get", b"key", 1),
            (b"GET adm", b"GET", b"adm", 0),
        ):
            head = read_loose_request(line + b"\r\nX: 1\r\n\r\n")
            assert head is not None, line
            self.assertEqual((head.method, head.target, head.minor), (method, target, minor))
            self.assertEqual(head.values(b"x"), [b"1"])
            for size in range(len(line) + 2):
                self.assertIsNone(read_loose_request((line + b"\r\n")[:size]), line[:size])

    def test_http_0_9_is_one_line(self) -> None:
        """And the fields behind it, where all of them have come."""
        for sent, values, whole in (
            (b"GET adm\r\n", [], False),
            (b"\r\nGET adm\n", [], False),
            (b"GET adm\r\nX: 1\r\n", [], False),
            (b"GET adm\r\nX: 1\r\n\r\n", [b"1"], True),
            (b"GET adm\r\n\r\n", [], True),
        ):
            head = read_loose_request(sent)
            assert head is not None, sent
            self.assertEqual((head.method, head.target, head.minor, head.values(b"x")), (b"GET", b"adm", 0, values))
            self.assertEqual(is_whole(sent), whole, sent)
        # One that says a version has fields, as any other.
        for line in (b"GET /a HTTP/0.9\r\n", b"POST adm HTTP/0.9\r\n", b"GET adm HTTP/0.9\r\nX: 1\r\n"):
            self.assertIsNone(read_loose_request(line))
            self.assertIsNotNone(read_loose_request(line + b"\r\n"))

    def test_what_servers_may_read_differently_is_said(self) -> None:
        """Such a request can be neither let in nor kept out by what it says."""
        for sent in AMBIGUOUS:
            self.assertRaises(Ambiguous, read_loose_request, sent)

    def test_the_host(self) -> None:
        """That of an absolute target, too."""
        for sent, hosts in (
            (b"GET http://a HTTP/1.1\r\n\r\n", [b"a"]),
            (b"GET http://a:80/ HTTP/1.1\r\nHost: A:\r\nhost: a\r\n\r\n", [b"A", b"a"]),
            (b"GET http://u@A:80?x HTTP/1.1\r\nHost: a:80\r\n\r\n", [b"a"]),
            (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", [b"a"]),
            (b"CONNECT a:443 HTTP/1.0\r\n\r\n", [b"a"]),
            (b"GET / HTTP/1.1\r\n\r\n", []),
        ):
            head = read_loose_request(sent)
            assert head is not None
            self.assertEqual(head.values(b"Host"), hosts)

    def test_an_absolute_target_has_a_path(self) -> None:
        for target, read in (
            (b"http://a", b"http://a/"),
            (b"HTTP://u@a:80?x", b"HTTP://a/?x"),
            (b"http://a/b", b"http://a/b"),
        ):
            head = read_loose_request(b"GET %b HTTP/1.1\r\n\r\n" % target)
            assert head is not None
            self.assertEqual(head.target, read)

    def test_other_things_are_none(self) -> None:
        """From the first byte that shows it."""
        for data in OTHERS:
            self.assertRaises(NotHTTP, read_loose_request, data)

    def test_each_is_incomplete_until_its_end(self) -> None:
        """And never anything else."""
        for sent in SPELLINGS:
            for size in range(min(len(sent), 200)):
                self.assertIsNone(read_loose_request(sent[:size]), sent[:size])
        for sent in AMBIGUOUS:
            for size in range(sent.lstrip(b"\r\n").index(b"\n")):
                self.assertIsNone(read_loose_request(sent[:size]), sent[:size])

    @given(
        st.lists(st.sampled_from([b"GET ", b"/a", b" HTTP/1.1", b"\r\n", b"Host: h", b"X: 1", b"\r\n\r\n", b"\x00"]))
    )
    def test_what_mode_http_takes_is_read_alike(self, pieces: list[bytes]) -> None:
        """Wherever that reads a head at all."""
        data = b"".join(pieces)
        end = data.find(b"\r\n\r\n") + 4
        try:
            strict = read_request(data[:end], Limits())
        except RequestFault:
            return
        loose = read_loose_request(data)
        assert loose is not None
        self.assertEqual((loose.method, loose.target, loose.fields()), (strict.method, strict.target, strict.fields()))

    def test_what_may_go_on_as_it_is_or_as_a_request(self) -> None:
        """Rules see what is the same in both; of a connection's own fields what either server gets."""
        for fields, seen in (
            (b"Connection: close, x\r\nKeep-Alive: 1\r\nProxy-Connection: a\r\nTE: gzip\r\n", []),
            (b"Connection: keep-alive, TE\r\nTE: trailers\r\n", [(b"te", b"trailers"), (b"connection", b"te")]),
            (b"TE: trailers\r\n", [(b"te", b"trailers")]),
            (
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n",
                [(b"upgrade", b"websocket"), (b"te", b"trailers"), (b"connection", b"upgrade")],
            ),
            (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n", None),
            (b"Connection: x\r\nX: 1\r\n", None),
            (b"Upgrade: websocket\r\n", None),
            (b"Content-Length: 0\r\nContent-Length: 0\r\n", None),
        ):
            data = b"GET / HTTP/1.1\r\n%bHost: a\r\n\r\n" % fields
            loose = read_loose_request(data)
            assert loose is not None
            if seen is None:
                self.assertRaises(Ambiguous, read_as_request, data, loose, Limits(), False)
            else:
                head = read_as_request(data, loose, Limits(), False)
                self.assertEqual(head.fields(), [(b"Host", b"a"), *seen], fields)

    def test_nothing_takes_long(self) -> None:
        """It is looked at with each byte that comes."""
        blanks = b" " * 16000
        for data in (
            b"GET /" + blanks,
            b"GET / H" + blanks + b"x",
            b"G" + blanks + b"\x00",
            b"GET / HTTP/1.1" + blanks + b"\n",
        ):
            began = process_time()
            try:
                read_loose_request(data)
            except NotHTTP:
                pass
            self.assertLess(process_time() - began, 0.1)
