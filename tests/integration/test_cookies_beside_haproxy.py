"""Persistence cookies through reusedproxy and through HAProxy with the same configuration: where each request goes,
what the server gets, what the client gets, and what the log says of it.

Every mode meets every cookie of a client and every cookie of a server. Names of headers are compared without case, and
the dates that a proxy writes into its cookies as how long ago they are.
"""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest import TestCase

from attrs import frozen

from reusedproxy.wire.cookies import read_date, write_date
from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, accept_each, temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.ports import free_port, free_ports

#: The words after `cookie`, each for a backend of its own.
MODES = (
    "SRV",
    "SRV indirect",
    "SRV indirect preserve",
    "SRV rewrite",
    "SRV prefix",
    "SRV prefix indirect",
    "SRV prefix indirect preserve",
    "SRV insert",
    "SRV insert indirect",
    "SRV insert preserve",
    "SRV insert indirect nocache",
    "SRV insert indirect preserve nocache",
    "SRV insert indirect postonly",
    "SRV insert httponly secure domain .a.test domain b.test attr SameSite=None attr Priority=High",
    "SRV insert indirect maxidle 1m",
    "SRV insert indirect maxlife 1h",
    "SRV insert maxidle 1m maxlife 1h",
    "SRV rewrite maxidle 1m",
)


def dated(value: str, *ages: int) -> str:
    """A cookie's value with dates, which are written when it is sent."""
    return "|".join([value, *(f"<{age}>" for age in ages)])


#: What a client sends: the lines of its head.
CLIENTS = (
    (),
    ("Cookie: SRV=s1",),
    ("Cookie: SRV=s2",),
    ("Cookie: SRV=weightless",),
    ("Cookie: SRV=backup",),
    ("Cookie: SRV=down",),
    ("Cookie: SRV=maint",),
    ("Cookie: SRV=shared",),
    ("Cookie: SRV=nobody",),
    ("Cookie: SRV=",),
    ("Cookie: SRV",),
    ("Cookie: srv=s1",),
    ("Cookie: XSRV=s1; SRVX=s1",),
    ("Cookie:",),
    ("Cookie: ;",),
    ("Cookie: ;SRV=s2;a=1",),
    ("Cookie: SRV=s2;",),
    ("Cookie: a=1; SRV=s2",),
    ("Cookie: a=1;SRV=s2;b=2",),
    ("Cookie: a=1 ; SRV=s2 ; b=2",),
    ("Cookie: a=1 ;  SRV=s2 ",),
    ("Cookie: SRV=s2 ,b=2",),
    ("Cookie: SRV = s2 ; b = 2;c =3; d= 4",),
    ("Cookie: a = 1",),
    ('Cookie: a="1; SRV=s1"; SRV=s2',),
    ('Cookie: SRV="s2"',),
    ('Cookie: SRV=s2; b="open; c=1',),
    ('Cookie: b="a\\"; SRV=s1"; SRV=s2; c=\\"; d=1',),
    ("Cookie: SRV=s2; SRV=s1",),
    ("Cookie: SRV=nobody; SRV=s2",),
    ("Cookie: SRV=down; SRV=s2; a=1",),
    ("Cookie: SRV=s2; a=1; SRV=down; b=2; SRV=nobody",),
    ("Cookie: SRV=s2", "Cookie: a=1", "Cookie: SRV=s1"),
    ("Cookie: a=1", "X-Other: x", "COOKIE: SRV=s2; b=1"),
    ("Cookie: $Version=1; SRV=s2; $Path=/; a=1; $Domain=b",),
    ("Cookie: $Version=1; SRV=s2; $Path=/",),
    ("Cookie: $Version=1; $SRV=s2",),
    ("Cookie: $Version = 1",),
    ("Cookie: $SRV",),
    ("Cookie: a=1; $Path=/; SRV=s2",),
    ("Cookie: SRV=s2~own",),
    ("Cookie: SRV=s2~",),
    ("Cookie: SRV=s2~a~b; x=1",),
    ("Cookie: SRV=~own",),
    ("Cookie: SRV=nobody~own; b=1",),
    ("Cookie: SRV=down~own",),
    ("Cookie: SRV=s1~x; SRV=s2~y",),
    (f"Cookie: {dated('SRV=s2', 10)}",),
    (f"Cookie: {dated('SRV=s2', 500)}",),
    (f"Cookie: {dated('SRV=s2', 10, 500)}",),
    (f"Cookie: {dated('SRV=s2', 10, 5000)}",),
    (f"Cookie: {dated('SRV=s2', 500, 500)}",),
    (f"Cookie: {dated('SRV=s2', 500, 5000)}",),
    (f"Cookie: {dated('SRV=s2', -600)}",),
    (f"Cookie: {dated('SRV=s2', -90000)}",),
    (f"Cookie: {dated('SRV=s2', 10, -90000)}",),
    (f"Cookie: {dated('SRV=down', 10)}",),
    (f"Cookie: {dated('SRV=nobody', 10, 500)}",),
    (f"Cookie: {dated('SRV=s2', 500)}; {dated('SRV=s1', 10)}",),
    (f"Cookie: {dated('SRV=s1', 10, 500)}; SRV=s2",),
    ("Cookie: SRV=s2|",),
    ("Cookie: SRV=s2|abc",),
    ("Cookie: SRV=s2|!!!!!|AAAAB",),
    ("Cookie: SRV=s2|AAAAA|AAAAA",),
    ("Cookie: SRV=s2|/////|/////",),
    ("Cookie: SRV=|AAAAB",),
)
#: What the server adds to its answer.
SERVERS = (
    (),
    ("Set-Cookie: SRV=own",),
    ("Set-Cookie: SRV=own; Path=/; Expires=Thu, 01-Jan-2037 00:00:01 GMT", "Set-Cookie: other=1; Path=/"),
    ("Set-Cookie: other = 1 ; Path=/x", "set-cookie: SRV = own ; Secure", "Cache-Control: public, max-age=60"),
    ("Set-Cookie: SRV=", "Set-Cookie: SRV=two,three; HttpOnly", "Cache-Control: private"),
    ("Set-Cookie: SRV; Path=/", "Set-Cookie: srv=own", 'Set-Cookie: SRV="a;b"; Path=/', "Pragma: no-cache"),
)
#: Lines of backends, whose requests have one of `PERSISTS` in X-Persist.
OTHERS = {
    "usual": "    cookie SRV insert indirect\n",
    "persist": "    cookie SRV insert indirect\n    option persist\n",
    "redispatch": "    cookie SRV insert indirect\n    option redispatch\n",
    "redispatch-1": "    cookie SRV prefix\n    option redispatch 1\n",
    "both": "    cookie SRV insert indirect\n    option persist\n    option redispatch\n",
    "rules": (
        "    cookie SRV insert indirect\n    acl forced req.hdr(X-Persist) force\n"
        "    force-persist if forced\n    ignore-persist unless !{ req.hdr(X-Persist) ignore }\n"
    ),
    "rules-redispatch": (
        "    cookie SRV insert indirect\n    option redispatch\n    ignore-persist if { req.hdr(X-Persist) ignore }\n"
        "    force-persist if { req.hdr(X-Persist) -m found }\n"
    ),
    "prefix": "    cookie SRV prefix\n    ignore-persist if { req.hdr(X-Persist) ignore }\n",
    "rewrite": "    cookie SRV rewrite\n    ignore-persist if { req.hdr(X-Persist) ignore }\n",
    "passive": "    cookie SRV indirect\n    ignore-persist if { req.hdr(X-Persist) ignore }\n",
}
PERSISTS = ("", "force", "ignore")
NAMED = (
    "",
    "s1",
    "s2",
    "down",
    "maint",
    "liar",
    "backup",
    "shared",
    "nobody",
    "nothing",
    "s2~own",
    "liar~own",
    "down~own",
)
#: Statuses and header lines of a server: whether `nocache` has to hide them from caches.
CACHING = (
    (),
    ("Last-Modified: Thu, 01 Jan 1970 00:00:01 GMT",),
    ('ETag: "1"',),
    ("Expires: 0",),
    ("Cache-Control: max-age=60",),
    ("Cache-Control: max-age=0",),
    ("Cache-Control: s-maxage=0", 'ETag: "1"'),
    ("Cache-Control: public",),
    ("Cache-Control: public", 'ETag: "1"'),
    ("Cache-Control: private, public", 'ETag: "1"'),
    ("Cache-Control: PUBLIC, x=1 , No-Store", 'ETag: "1"'),
    ('Cache-Control: private="x, y"', 'ETag: "1"'),
    ('Cache-Control: no-cache="set-cookie"', 'ETag: "1"'),
    ("Cache-Control: no-cache", "Cache-Control: public", 'ETag: "1"'),
    ("Pragma: no-cache", 'ETag: "1"'),
    ("Pragma: No-Cache", "Cache-Control: public, max-age=1"),
    ("Pragma: x, no-cache", 'ETag: "1"'),
)


@frozen
class Outcome:
    """`got` are the Cookie lines that reached `server`; `told` the lines about cookies and caches that the client got;
    `letters` are the log's termination state."""

    status: int
    server: str
    got: tuple[str, ...]
    told: tuple[str, ...]
    letters: str = ""


class Server:
    """Answers with the lines that a request brings in X-Reply, and says who it is and what cookies it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: The first lines of requests, in the order in which they came.
        self.seen: list[bytes] = []
        self.listening = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port: int = self.listening.getsockname()[1]
        accept_each(self.listening, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                while True:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        if not (piece := connection.recv(65536)):
                            return
                        data += piece
                    line, *lines = data.split(b"\r\n")[:-2]
                    self.seen.append(line)
                    got = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"cookie:")]
                    reply = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"x-reply:")]
                    status = [line[10:] for line in lines if line.lower().startswith(b"x-status: ")] or [b"200 OK"]
                    head = [
                        b"HTTP/1.1 " + status[0],
                        *filter(None, b"".join(reply).split(b"#")),
                        b"X-Server: " + self.name.encode(),
                    ]
                    body = b"\n".join(b"<%b>" % each for each in got)
                    if waits := re.search(rb"\r\n(?i:x-wait): ([0-9])\r", data):
                        time.sleep(int(waits[1]))  # long enough for the others to come
                    head.append(b"Content-Length: %d" % len(body))
                    connection.sendall(b"\r\n".join([*head, b"", b"" if data.startswith(b"HEAD") else body]))
            except OSError:
                pass


class CookiesBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)
        self.servers = {name: Server(name) for name in ("s1", "s2", "weightless", "backup", "shared", "maint")}
        for server in self.servers.values():
            self.addCleanup(server.listening.close)
        self.closed = free_port()

    def backend(self, name: str, lines: str) -> str:
        port = {name: server.port for name, server in self.servers.items()}
        return (
            f"backend {name}\n{lines}"
            f"    server s1 {LOOPBACK}:{port['s1']} cookie s1\n"
            f"    server s2 {LOOPBACK}:{port['s2']} cookie s2\n"
            f"    server gone {LOOPBACK}:{self.closed} cookie shared check inter 100ms fall 1\n"
            f"    server weightless {LOOPBACK}:{port['weightless']} cookie weightless weight 0\n"
            f"    server down {LOOPBACK}:{self.closed} cookie down check inter 100ms fall 1\n"
            f"    server maint {LOOPBACK}:{port['maint']} cookie maint disabled\n"
            f"    server backup {LOOPBACK}:{port['backup']} cookie backup backup\n"
            f"    server shared {LOOPBACK}:{port['shared']} cookie shared backup\n"
        )

    def lonely(self, name: str, lines: str) -> str:
        """A backend in which all requests without a binding have one server to go to."""
        port = {name: server.port for name, server in self.servers.items()}
        return (
            f"backend {name}\n{lines}    retries 1\n"
            f"    server s1 {LOOPBACK}:{port['s1']} cookie s1\n"
            f"    server s2 {LOOPBACK}:{port['s2']} cookie s2 weight 0\n"
            f"    server down {LOOPBACK}:{self.closed} cookie down check inter 100ms fall 1\n"
            f"    server gone {LOOPBACK}:{self.closed} cookie shared check inter 100ms fall 1\n"
            f"    server maint {LOOPBACK}:{port['maint']} cookie maint disabled\n"
            f"    server liar {LOOPBACK}:{self.closed} cookie liar weight 0\n"
            f"    server nothing {LOOPBACK}:{self.closed} cookie nothing disabled\n"
            f"    server backup {LOOPBACK}:{port['backup']} cookie backup backup\n"
            f"    server shared {LOOPBACK}:{port['shared']} cookie shared backup\n"
        )

    def compare(
        self,
        backends: dict[str, str],
        requests: list[tuple[str, bytes]],
        at_once: int = 1,
        apart: float = 0.0,
        more: str = "",
        ports: dict[str, int] | None = None,
    ) -> None:
        """Sends these requests, each to one of the backends, through both proxies, `at_once` at a time, the
        next after `apart` seconds."""
        ports = {**dict(zip(backends, free_ports(len(backends)), strict=True)), **(ports or {})}
        lines_of_all = "backend servers\n" + more
        for name, lines in backends.items():
            lines_of_all += (
                f"frontend f-{name}\n    bind {LOOPBACK}:{ports[name]}\n    default_backend {name}\n" + lines
            )
        checked = [
            f"Server {name}/{server} is DOWN"
            for name in backends
            for server in re.findall(r"server (\S+) .* check", backends[name])
        ]
        sides = []
        for side, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(temporary_directory(self) / side, lines_of_all)
            self.addCleanup(daemon.stop)
            daemon.start()
            wait_for(partial(_all_in, checked, daemon), "the servers to be found down", 30)
            with ThreadPoolExecutor(at_once) as threads:
                asking = []
                for name, text in requests:
                    asking.append(threads.submit(self.ask, ports[name], text))
                    time.sleep(apart)
                found = [each.result() for each in asking]
            letters = wait_for(partial(_letters, daemon, len(requests)), "the log to have all lines")
            daemon.stop()
            sides.append([Outcome(*each, letters[number]) for number, each in enumerate(found)])
        differing = [
            f"{name}: {said.decode()}\n   ours {ours}\n theirs {theirs}"
            for (name, said), ours, theirs in zip(requests, *sides, strict=True)
            if ours != theirs
        ]
        self.assertEqual(len(differing), 0, "\n".join([f"{len(differing)} differ:", *differing[:12]]))

    def ask(self, port: int, request: bytes) -> tuple[int, str, tuple[str, ...], tuple[str, ...]]:
        now = int(time.time()) // 4 * 4  # as exact as dates in cookies are
        data = ask_whole(port, re.sub(rb"(?<=\|)<(-?\d+)>", lambda age: write_date(now - int(age[1])), request))
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode().split("\r\n")[1:] if line]
        fields = [(name.lower(), value.strip()) for name, _, value in lines]
        told = tuple(
            f"{name}: {_undated(value, now)}"
            for name, value in fields
            if name in ("set-cookie", "cache-control", "x-rule", "x-after", "x-seen")
        )
        server = dict(fields).get("x-server", "")
        got = tuple(_undated(each, now) for each in body.decode().split("\n")) if server else ()
        return int(head[9:12]), server, got, told


def ask_whole(port: int, request: bytes) -> bytes:
    """Returns all that comes back until the connection ends."""
    data = b""
    with socket.create_connection((LOOPBACK, port), timeout=10) as client:
        client.sendall(request)
        while piece := client.recv(65536):
            data += piece
    return data


def _all_in(texts: list[str], daemon: Daemon) -> bool:
    return all(text in daemon.output for text in texts)


def _letters(daemon: Daemon, count: int) -> dict[int, str] | None:
    """The letters of each request in the log, by its number, when all of them are there."""
    ends = re.compile(r"(?m)^.*? (\S{4}) \d+/\d+/\d+/\d+/\+?\d+ \d+/\d+ \"[A-Z]+ /[a-z]*(\d+) ")
    found = {int(number): said for said, number in ends.findall(daemon.output)}
    return found if len(found) == count else None


def _undated(value: str, now: int) -> str:
    """A cookie's value with its dates as their ages; those that a proxy has just written are as good as one."""

    def age(found: re.Match[str]) -> str:
        seconds = now - read_date(found[1].encode())
        if abs(seconds) > 10**8:  # of a client that has made it up
            return found[0]
        return f"|<{'now' if -10 < seconds < 10 else seconds}>"

    return re.sub(r"\|([A-Za-z0-9+/]{5})(?=[|;>]|$)", age, value)


class ModeTests(CookiesBesideHAProxyTests):
    def test_each_mode_with_each_cookie_of_a_client_and_of_a_server(self) -> None:
        """Who gets the request, with which cookies, and what comes back."""
        names = [f"mode{number}" for number in range(len(MODES))]
        backends = {name: self.backend(name, f"    cookie {mode}\n") for name, mode in zip(names, MODES, strict=True)}
        cases = [(name, client, server) for name in names for client in CLIENTS for server in SERVERS]
        self.compare(backends, [(name, asked(n, client, server)) for n, (name, client, server) in enumerate(cases)])

    def test_what_is_out_of_reach(self) -> None:
        """A cookie's server that is down, in maintenance, or refuses, by each option and rule."""
        backends = {name: self.lonely(name, lines) for name, lines in OTHERS.items()}
        cases = [(name, persist, named) for name in OTHERS for persist in PERSISTS for named in NAMED]
        requests = []
        for number, (name, persist, named) in enumerate(cases):
            lines = [f"Cookie: a=1; SRV={named}"] * bool(named) + [f"X-Persist: {persist}"] * bool(persist)
            requests.append((name, asked(number, tuple(lines), SERVERS[1])))
        self.compare(backends, requests, at_once=16)

    def test_what_caches_may_keep(self) -> None:
        """`nocache` and `postonly` look at the method, the status and the answer's lines."""
        backends = {
            name: self.lonely(name, f"    cookie SRV insert {words}\n")
            for name, words in (("nocache", "nocache"), ("postonly", "postonly indirect"))
        }
        cases = [
            (name, method, status, lines)
            for name in backends
            for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS")
            for status in ("200 OK", "404 No", "302 Found", "500 No")
            for lines in CACHING
        ]
        requests = [
            (name, asked(number, (f"X-Status: {status}",), lines, method))
            for number, (name, method, status, lines) in enumerate(cases)
        ]
        self.compare(backends, requests, at_once=8)

    def test_a_full_server(self) -> None:
        """Others wait there; those whom `maxqueue` keeps from it go elsewhere where they may, or are refused."""
        port = {name: server.port for name, server in self.servers.items()}
        backends = {
            name: (
                f"backend {name}\n    cookie SRV insert indirect\n{lines}"
                f"    server s1 {LOOPBACK}:{port['s1']} cookie s1\n"
                f"    server s2 {LOOPBACK}:{port['s2']} cookie s2 maxconn 1 maxqueue 1 weight 0\n"
            )
            for name, lines in (
                ("kept", ""),
                ("redispatched", "    option redispatch\n"),
                ("persistent", "    option redispatch\n    option persist\n"),
                ("forced", "    option redispatch\n    force-persist if { path_beg / }\n"),
            )
        }
        slow = ("Cookie: SRV=s2", "X-Wait: 1")
        requests = [(name, asked(number, slow, ())) for number, name in enumerate([*backends] * 3)]
        self.compare(backends, requests, at_once=len(requests), apart=0.05)

    def test_rules_about_cookies(self) -> None:
        """Those for requests see the client's cookie, those for responses the server's, and those behind them what the
        client gets; an answer of the proxy's own has none."""
        lines = (
            "    http-request deny if { path_beg /deny }\n"
            "    http-request return status 200 if { path_beg /own }\n"
            "    http-request redirect location /x if { path_beg /redirect }\n"
            "    http-request set-header X-Reply %[req.hdr(X-Reply)]#X-Seen:%[req.cook(SRV)]\n"
            "    http-response set-header X-Rule %[res.hdr_cnt(set-cookie)]\n"
            "    http-response deny if { res.hdr(X-Deny) -m found }\n"
            "    http-after-response set-header X-After %[res.hdr_cnt(set-cookie)]\n"
        )
        port = free_port()
        backends = {
            "insert": self.lonely("insert", "    cookie SRV insert indirect\n" + lines),
            "passive": self.lonely("passive", "    cookie SRV\n" + lines),
            "rewrite": self.lonely("rewrite", "    cookie SRV rewrite\n" + lines),
            "none": self.lonely("none", lines),
        }
        server = f"    server s1 {LOOPBACK}:{self.servers['s1'].port} cookie s1\n"
        listen = f"listen whole\n    bind {LOOPBACK}:{port}\n    cookie SRV insert\n{lines}{server}"
        paths = ("/", "/deny", "/own", "/redirect")
        requests = [
            (name, asked(0, client, server, path=path))
            for name in (*backends, "whole")
            for path in paths
            for client in ((), ("Cookie: SRV=s2; b=1",), ("Cookie: SRV=nobody",))
            for server in ((), ("Set-Cookie: SRV=own",), ("X-Deny: 1", "Set-Cookie: a=b"))
        ]
        requests += [
            (name, b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n") for name in ("insert", "whole")
        ][:0]
        numbered = [(name, text.replace(b"0 HTTP", b"%d HTTP" % n, 1)) for n, (name, text) in enumerate(requests)]
        self.compare(backends, numbered, more=listen, ports={"whole": port})

    def test_servers_without_cookies_and_dynamic_ones(self) -> None:
        """A client is told to forget its cookie where its server has none; one that is made of key, address and port is
        the same in both."""
        one, two = self.servers["s1"].port, self.servers["s2"].port
        plain = f"    server s1 {LOOPBACK}:{one}\n"
        backends = {
            "plain": f"backend plain\n    cookie SRV insert domain .a.test httponly\n{plain}",
            "plain-prefix": f"backend plain-prefix\n    cookie SRV prefix\n{plain}",
            "plain-rewrite": f"backend plain-rewrite\n    cookie SRV rewrite\n{plain}",
            "no-key": f"backend no-key\n    cookie SRV insert dynamic\n{plain}",
            "dynamic": (
                f"backend dynamic\n    cookie SRV insert dynamic\n    dynamic-cookie-key secret\n{plain}"
                f"    server s2 {LOOPBACK}:{two}\n    server own {LOOPBACK}:{two} cookie own\n"
            ),
            "long": (
                f"backend long\n    dynamic-cookie-key {'a-long-secret-' * 5}\n    cookie SRV insert dynamic\n{plain}"
            ),
        }
        cases = [(name, named) for name in backends for named in ("", "x", "s1", "own")]
        requests = [
            (name, asked(number, (f"Cookie: SRV={named}",) if named else (), SERVERS[1]))
            for number, (name, named) in enumerate(cases)
        ]
        self.compare(backends, requests)


def asked(number: int, client: tuple[str, ...], server: tuple[str, ...], method: str = "GET", path: str = "/") -> bytes:
    """Returns a request, whose number the log will show, for an answer with these lines of a server."""
    lines = [f"{method} {path}{number} HTTP/1.1", "Host: a", "Connection: close", *client]
    if server:
        lines.append("X-Reply: " + "#".join(server))
    if method in ("POST", "PUT"):
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode()
