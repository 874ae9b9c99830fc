"""Answers of each kind behind rules of each kind, whose frames are right whatever the rules say: a client that is not
ours (h11) reads them, and the answer to its next request behind them."""

from __future__ import annotations

from itertools import product

import h11
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.exchanges.serving import Made
from reusedproxy.net.transport import OPEN
from reusedproxy.wire.heads import RequestHead
from tests.clientfakes import World
from tests.faultwire import WHOLE, Answer, FaultWire, answers, settle
from tests.rulefakes import ruled, sections

CONTENT = b"some content"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5\r\nsome \r\n7\r\ncontent\r\n0\r\nX-Trailer: t\r\n\r\n"
#: What a server answers, in pieces, and then (True) ends.
SERVERS: dict[str, tuple[list[bytes], bool]] = {
    "length": ([b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 12\r\n\r\n" + CONTENT], False),
    "length in pieces": ([b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", b"\r\nsome", b" cont", b"ent"], False),
    "chunked": ([b"HTTP/1.1 200 OK\r\n" + CHUNKED], False),
    "chunked in pieces": ([b"HTTP/1.1 200 OK\r\n", CHUNKED[:33], CHUNKED[33:40], CHUNKED[40:]], False),
    "until close": ([b"HTTP/1.1 200 OK\r\nX-Own: 1\r\n\r\nsome ", b"content"], True),
    "1.0": ([b"HTTP/1.0 200 OK\r\n\r\nsome content"], True),
    "1.0 with length": ([b"HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\nsome content"], True),
    "empty": ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], False),
    "204": ([b"HTTP/1.1 204 No Content\r\n\r\n"], False),
    "304": ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n"], False),
    "behind 103": (
        [b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx"],
        False,
    ),
    "closing": ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\n\r\n" + CONTENT], True),
    "cut": ([b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nsome"], True),
    "wrong": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsome"], True),
    "none": ([], True),
}  # fmt: skip
#: What the proxy answers itself, by the rules that say so.
OWN = {
    "deny": "http-request deny if first",
    "return": 'http-request return status 200 content-type a/b string "some content" hdr X-Own 1 if first',
    "return 204": "http-request return status 204 hdr X-Own 1 if first",
    "return 304": "http-request return status 304 if first",
    "errorfile": "http-request return status 200 content-type a/b lf-string %[path] if first",
    "redirect": "http-request redirect location /else if first",
    "redirect and drop": "http-request redirect location /else drop-query if first",
    "auth": "http-request auth realm x if first",
    "tarpit": "http-request tarpit deny_status 429 if first",
    "service": "http-request use-service prometheus-exporter if first",
    "monitor": "monitor-uri /first",
    "monitor fails": "monitor-uri /first\n monitor fail if { path /first }",
    "bad": "http-request set-header Host %[req.hdr(none)] if first",
}
#: Rules for answers.
RULES = [
    "", "http-response del-header Connection", "http-response set-status 205", "http-response del-header X-Own",
    "http-response set-status 503 reason Later", "http-response deny", "http-response deny deny_status 502",
    "http-response return status 200 content-type a/b string other", "http-response return status 204",
    "http-response return status 304", "http-response return status 429 hdr X-Own 2", "http-response strict-mode off",
    "http-response redirect location /x", "http-response wait-for-body time 1s",
    "http-response wait-for-body time 1s\n http-response deny if { res.body -m sub content }",
    "http-response wait-for-body time 1s\n http-response set-header X-Body %[res.body_len]",
    "http-response pause 100", "http-response silent-drop if { status 404 }",
    "http-after-response del-header Content-Type", "http-after-response set-status 201",
    "http-after-response set-status 404",
]  # fmt: skip
OF_BACKENDS = [
    "tcp-response content close", "tcp-response content reject", "tcp-response content silent-drop",
    "tcp-response content accept", "tcp-response content close if { status 404 }", "http-response deny",
    "http-response wait-for-body time 1s at-least 3\n http-response return status 200 if { res.body_len ge 3 }",
]  # fmt: skip
#: What rules cannot say, since it is for those who write the message.
REFUSED = [
    *(f"http-{kind}response {edit}" for kind in ("", "after-") for edit in (
        "set-header Content-Length 3", "del-header Content-Length", "set-header Transfer-Encoding chunked",
        "del-header Transfer-Encoding", "set-header Connection close", "set-header Upgrade x", "set-status 204",
        "set-status 304", "set-status 101", "add-header content-length 3", "replace-header Content-Length .* 3",
    )),
    "http-request return status 200 hdr Content-Length 9", "http-response return status 200 hdr Connection close",
    "http-request deny deny_status 403 hdr Transfer-Encoding chunked",
]  # fmt: skip
AFTER = "acl first path_beg /first\n http-after-response set-header X-After yes\n"
#: By their names, how the first request is asked; a second one follows where the connection may go on.
FRAMES = {
    "1.1": ("GET", "HTTP/1.1\r\nHost: a\r\n"),
    "close": ("GET", "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"),
    "1.0": ("GET", "HTTP/1.0\r\n"),
    "1.0 kept": ("GET", "HTTP/1.0\r\nConnection: keep-alive\r\n"),
    "head": ("HEAD", "HTTP/1.1\r\nHost: a\r\n"),
    "post": ("POST", "HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"),
}
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


#: All that anybody sends.
BODIES = (CONTENT, b"x", b"", b"other", b"second", b"/first")


class Service:
    log_name = "<ONE>"

    def answer(self, head: RequestHead) -> Made:
        return Made(200, "text/plain", iter([b"some ", b"content"]))


class FramedTests(SynchronousTestCase):
    def got(
        self, rules: str, frame: str, pieces: list[bytes], ends: bool, pipelined: bool, backend: str = ""
    ) -> list[Answer]:
        """What a client makes of the answers to such a request and to the next one; and checks that no bytes of one
        are another's."""
        method, head = FRAMES[frame]
        world = ruled(self, f"timeout tarpit 1s\n {AFTER}{rules}", backend, warm=2, wire=FaultWire)
        world.frontend.services = {"prometheus-exporter": Service()}
        client = world.client()
        sent = f"{method} /first {head}\r\n".encode() + (b"form" if method == "POST" else b"")
        client.send(sent + (SECOND if pipelined else b""))
        self.served(world, pieces, ends)
        world.advance(2)
        settle(world)
        if not pipelined and client.wire.state == OPEN:
            client.send(SECOND)
        self.served(world, pieces, ends)
        world.advance(1)
        settle(world)
        received, end = client.take(), client.wire.far_end
        try:
            found = answers(received, end, [method, "GET", "GET"])
        except h11.RemoteProtocolError as error:
            self.fail(f"{error}: {received!r} for {frame}, {rules!r}")
        client.wire.reset()
        return found

    def served(self, world: World, pieces: list[bytes], ends: bool) -> None:
        """A server answers what it is asked, the second request always in the same way."""
        for _ in range(4):
            busy = world.server.busy
            if not busy:
                if not world.server.dialer.open:
                    return
                world.server.connect()
                continue
            wire = busy[0]
            if b"/second" in wire.take():
                wire.feed(b"HTTP/1.1 200 OK\r\nX-Second: 1\r\nContent-Length: 6\r\n\r\nsecond")
                return
            for piece in pieces:
                if wire.state == OPEN:
                    wire.feed(piece)
            if ends and wire.state == OPEN:
                wire.eof()
                settle(world)

    def check(self, found: list[Answer], rules: str, frame: str, what: str, pipelined: bool) -> None:
        about = (found, rules, frame, what, pipelined)
        drops = any(word in rules for word in ("content close", "content reject", "silent-drop"))
        if what != "cut" and not drops:
            self.assertTrue(all(each.how == WHOLE for each in found), about)
        self.assertLessEqual(0 if drops else 1, len(found), about)
        if frame in ("1.1", "head", "post") and not drops and what not in ("cut", "bad"):
            self.assertEqual(len(found), 2, about)
        for each in found:
            if each.how == WHOLE:
                self.assertEqual(each.header(b"x-after"), b"yes", about)
                self.assertLessEqual(len([name for name, _ in each.headers if name == b"content-length"]), 1, about)
                self.assertTrue(each.body in BODIES or each.body.startswith(b"<html>"), about)
        if found and found[0].how == WHOLE:
            self.assertIsNone(found[0].header(b"x-second"), about)
        if frame == "head" and found:
            self.assertEqual(found[0].body, b"", about)

    def test_what_frames_an_answer_is_not_for_rules_to_say(self) -> None:
        for line in REFUSED:
            with self.assertRaises(ConfigurationError, msg=line):
                sections(line)

    def test_answers_of_servers(self) -> None:
        for number, ((name, (pieces, ends)), frame, rules) in enumerate(product(SERVERS.items(), FRAMES, RULES)):
            pipelined = bool(number % 2)
            self.check(self.got(rules, frame, pieces, ends, pipelined), rules, frame, name, pipelined)
        for (name, (pieces, ends)), frame, rules in product(SERVERS.items(), FRAMES, OF_BACKENDS):
            self.check(self.got("", frame, pieces, ends, True, rules), rules, frame, name, True)

    def test_answers_of_the_proxy_s_own(self) -> None:
        never = [b"HTTP/1.1 500 Never\r\nContent-Length: 0\r\n\r\n"]
        for number, ((name, own), frame, rules) in enumerate(product(OWN.items(), FRAMES, RULES)):
            pipelined = bool(number % 2)
            self.check(self.got(f"{own}\n {rules}", frame, never, False, pipelined), rules, frame, name, pipelined)
