"""Drawn rules and drawn requests through reusedproxy and through HAProxy:
who is let in, where to, and what the server gets.

An access rule is worth what its least usual request is worth: absolute targets, odd ports, empty paths, HTTP/1.0,
CONNECT, spellings of Host. We may refuse more than HAProxy, where `REASONS` say why, and never less.
"""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from random import Random
from unittest import TestCase

from attrs import frozen

from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, accept_each, temporary_directory
from tests.integration.test_beside_haproxy import why_not
from tests.ports import free_ports

RULE_SETS = 24
CONDITIONS = (
    "path_beg /", "path_beg /admin", "path -i /Admin", "path_end .php", "path_dir admin", "path_reg ^/a.*n$",
    "path_len 0", "url_beg http://", "url_beg /", "url_sub admin", "base_beg a.test/", "base -i A.TEST/admin",
    "hdr(host) a.test", "hdr(host) -i a.test", "hdr(host) -m beg a.test:", "hdr_dom(host) a.test",
    "hdr_end(host) :8080", "req.hdr_cnt(host) 0", "hdr(host),host_only a.test", "hdr(host),port_only 8080",
    "req.fhdr(host) -m len 6", "method CONNECT", "method OPTIONS", "req.ver 1.0", "query -m found", "query a=1",
    "hdr(x-role) admin", "hdr(x-role) -m found", "hdr_cnt(x-role) gt 1",
)  # fmt: skip
ACTIONS = (
    "http-request deny",
    "http-request allow",
    "http-request set-path /set",
    "http-request replace-path ^/admin(.*) /set?\\1",
    "http-request set-header X-Seen %[path]",
)
METHODS = (b"GET", b"GET", b"HEAD", b"OPTIONS", b"get", b"PROPFIND")
HOSTS = (
    b"a.test",
    b"A.Test",
    b"a.test:80",
    b"a.test:8080",
    b"a.test:",
    b"b.test",
    b"xa.test",
    b"a.test.",
    b"192.0.2.1",
)
PATHS = (
    b"",
    b"/",
    b"/admin",
    b"/ADMIN",
    b"/admin/x.php",
    b"//admin",
    b"/x/../admin",
    b"/%61dmin",
    b"/a?a=1",
    b"?a=1",
    b"/adm\x69n",
)
EXTRAS = (b"", b"", b"X-Role: admin\r\n", b"x-role: guest\r\nX-Role: admin\r\n", b"X-Role:\r\n")


@frozen
class Outcome:
    """`status` of the answer; `where` is the backend's letter and `line` the request line that reached it,
    if any did."""

    status: int
    where: bytes = b""
    line: bytes = b""
    host: bytes = b""


def draw_request(random: Random) -> bytes:
    """Returns one request, which asks for the connection to be closed."""
    method, host, path = random.choice(METHODS), random.choice(HOSTS), random.choice(PATHS)
    version = random.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"))
    form = random.randrange(4)
    named: bytes | None = host
    if form == 0:
        method, target = b"CONNECT", random.choice((host, b"a.test:8080", b"a.test:443", b"a.test:80"))
    elif form == 1:
        scheme = random.choice((b"http", b"HTTP", b"https"))
        target = scheme + b"://" + random.choice((host, host, b"a.test", b"a.test:80", b"a.test:443")) + path
        named = random.choice((host, host, b"a.test"))
    else:
        target = path if path.startswith(b"/") else b"/" + path
    if version == b"HTTP/1.0" and random.random() < 0.5:
        named = None
    fields = b"" if named is None else random.choice((b"Host: ", b"host:", b"HOST: \t")) + named + b"\r\n"
    return b"%b %b %b\r\n%b%bConnection: close\r\n\r\n" % (method, target, version, fields, random.choice(EXTRAS))


#: What runs of rules ask, and with what they compare it.
RUNS = {
    "path -m beg": ("/a", "/admin", "/x/", "/set", "//", "/ADMIN"),
    "path,lower -m end": (".php", "min", "x", "admin"),
    "hdr(host) -m str": ("a.test", "A.Test", "b.test", "a.test:80", "192.0.2.1"),
    "url -m sub": ("admin", "?a", "://", "%61", "b.test"),
    "hdr(x-role) -m str": ("admin", "guest", "other"),
    "req.fhdr(host),field(1,:) -m dom": ("test", "a", "b.test"),
}


def draw_run(random: Random) -> list[str]:
    """Returns rules that ask for the same, one behind the other, as files with many have them."""
    asked, action, word = random.choice(list(RUNS)), random.choice(ACTIONS), random.choice(("if", "if", "unless"))
    lines = []
    for _ in range(random.randrange(3, 9)):
        if random.random() < 0.2:
            action = random.choice(ACTIONS)
        patterns = " ".join(random.sample(RUNS[asked], random.randrange(1, 4)))
        more = random.choice(("", "", "", " {{ {} }}", " or {{ {} }}")).format(random.choice(CONDITIONS))
        lines.append(f"    {action} {word} {{ {asked}{random.choice(('', ' -i'))} {patterns} }}{more}\n")
    return lines


def draw_rules(random: Random) -> str:
    """Returns the rules of one frontend."""
    lines = draw_run(random) if random.random() < 0.5 else []
    for _ in range(random.randrange(1, 5)):
        conditions = random.sample(CONDITIONS, random.randrange(1, 3))
        text = random.choice((" ", " or ")).join(random.choice(("", "!")) + f"{{ {each} }}" for each in conditions)
        lines.append(f"    {random.choice(ACTIONS)} {random.choice(('if', 'unless'))} {text}\n")
    lines.append(f"    use_backend special if {{ {random.choice(CONDITIONS)} }}\n")
    return "".join(lines)


NO_PATH = (
    "9110 4.2.3, 9112 3.2.4: an absolute target without a path asks for / (OPTIONS for *), to rules, too; "
    "HAProxy 2.6 shows them no path"
)
ONLY_QUERY = "9110 4.2.1: an absolute URI may have a query and no path, which HAProxy refuses"
NO_HOST = "9112 3.2.2: an absolute target of HTTP/1.0 gets its Host, which rules see; HAProxy sends none"
TARGETS_HOST = "9112 3.2.2: Host is that of an absolute target, without a default port; HAProxy leaves it as it is"
EMPTY_PORT = "3986 6.2.3: an empty port is none; HAProxy shows rules the colon, and sends it on"
CONNECT_HOST = "9110 9.3.6: CONNECT without Host gets one, which rules see; HAProxy sends none"
CONNECT_PATH = "9110 9.3.6: CONNECT has no path that a rule could set; HAProxy makes it one"
REASONS = (NO_PATH, ONLY_QUERY, NO_HOST, TARGETS_HOST, EMPTY_PORT, CONNECT_HOST, CONNECT_PATH)


def reason_for(request: bytes, theirs: Outcome) -> str:
    """Why we may answer this otherwise than HAProxy, "" when there is no reason."""
    line, *fields = request.split(b"\r\n")
    _, target, version = line.split(b" ")
    _, absolute, rest = target.partition(b"://")
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    hosts = [field.partition(b":")[2].strip() for field in fields if field.lower().startswith(b"host:")]
    if absolute and authority == rest:
        return NO_PATH
    if absolute and rest[len(authority) :].startswith(b"?"):
        return ONLY_QUERY
    if absolute and not hosts and version == b"HTTP/1.0":
        return NO_HOST
    if absolute and hosts != [authority]:
        return TARGETS_HOST
    if hosts and hosts[0].endswith(b":"):
        return EMPTY_PORT
    if line.startswith(b"CONNECT") and not hosts and version == b"HTTP/1.0":
        return CONNECT_HOST
    return CONNECT_PATH if line.startswith(b"CONNECT") and b"CONNECT /" in theirs.line else ""


class Server:
    """Answers each request with its own head, behind the letter of a backend."""

    def __init__(self, letter: bytes) -> None:
        self.letter = letter
        self.listening = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port = self.listening.getsockname()[1]
        accept_each(self.listening, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            data = b""
            try:
                while b"\r\n\r\n" not in data:
                    if not (piece := connection.recv(65536)):
                        return
                    data += piece
                said = self.letter + b" " + data
                # In the head, where the answer to HEAD has it, too; a refusal, so that CONNECT makes no tunnel.
                seen = said.replace(b"\r\n", b"|")
                connection.sendall(
                    b"HTTP/1.1 299 No\r\nX-Got: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % seen
                )
            except OSError:
                pass


class AccessBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)
        self.usual, self.special = Server(b"U"), Server(b"S")
        for server in (self.usual, self.special):
            self.addCleanup(server.listening.close)

    def start(self, make: type[Daemon], name: str, rules: list[str]) -> tuple[Daemon, list[int]]:
        ports = free_ports(len(rules))
        text = f"backend servers\n    server s {LOOPBACK}:{self.usual.port}\n"
        text += f"backend special\n    server s {LOOPBACK}:{self.special.port}\n"
        for number, (lines, port) in enumerate(zip(rules, ports, strict=True)):
            text += f"frontend f{number}\n    bind {LOOPBACK}:{port}\n{lines}    default_backend servers\n"
        daemon = make(temporary_directory(self) / name, text)
        self.addCleanup(daemon.stop)
        daemon.start()
        return daemon, ports

    def ask(self, port: int, request: bytes) -> Outcome:
        data = b""
        with socket.create_connection((LOOPBACK, port), timeout=15) as client:
            client.sendall(request)
            try:
                while piece := client.recv(65536):
                    data += piece
            except ConnectionResetError:
                pass
        head = data.partition(b"\r\n\r\n")[0]
        got = [line[7:] for line in head.split(b"\r\n") if line.lower().startswith(b"x-got: ")]
        if not got:
            return Outcome(int(head[9:12] or 0))
        where, _, seen = got[0].partition(b" ")
        line, *fields = seen.split(b"|")
        hosts = [each.partition(b":")[2].strip() for each in fields if each.lower().startswith(b"host:")]
        return Outcome(int(head[9:12]), where, line.rpartition(b" ")[0], b",".join(hosts))

    def test_drawn_requests_are_let_in_denied_and_sent_as_by_haproxy(self) -> None:
        """Each of the differences has its reason, and none lets in what HAProxy keeps out."""
        random = Random(20261128)
        rules = [draw_rules(random) for _ in range(RULE_SETS)]
        requests = [(random.randrange(RULE_SETS), draw_request(random)) for _ in range(1200)]
        _, ours = self.start(Daemon, "ours", rules)
        _, theirs = self.start(HAProxy, "theirs", rules)
        with ThreadPoolExecutor(8) as threads:
            mine = list(threads.map(lambda each: self.ask(ours[each[0]], each[1]), requests))
            other = list(threads.map(lambda each: self.ask(theirs[each[0]], each[1]), requests))
        unexpected, reasons = [], set()
        for (number, request), one, two in zip(requests, mine, other, strict=True):
            if one != two:
                reason = reason_for(request, two)
                reasons.add(reason)
                if not reason:
                    unexpected.append((rules[number], request, one, two))
        self.assertEqual(unexpected[:3], [], f"{len(unexpected)} in all: rules, request, ours, HAProxy's")
        self.assertGreater(len(reasons), 4, "what is drawn has become too tame")
        self.assertGreater(sum(one.status == 403 for one in mine), 100, "too few are denied")
        self.assertGreater(sum(one.status == 299 for one in mine), 300, "too few are let in")

    def test_what_connection_names_might_as_well_not_have_been_sent(self) -> None:
        """RFC 9110 7.6.1: to the rules, and to the server. HAProxy looks at it and passes it on."""
        random = Random(20261129)
        rules = [draw_rules(random) + "    http-request set-header X-Seen %[req.hdr_cnt(x-role)]\n" for _ in range(8)]
        drawn = [(random.randrange(8), draw_request(random)) for _ in range(300)]
        _, ours = self.start(Daemon, "ours", rules)
        _, theirs = self.start(HAProxy, "theirs", rules)
        wrong, differing = [], 0
        for number, request in drawn:
            bare = re.sub(rb"\r\n(?i:x-role):[^\r]*", b"", request)
            named = request.replace(b"\r\nConnection: close", b"\r\nConnection: close, X-ROLE")
            one, two = self.ask(ours[number], named), self.ask(theirs[number], bare)
            differing += one != self.ask(theirs[number], named)
            if one != two and not reason_for(request, two):
                wrong.append((rules[number], named, one, two))
        self.assertEqual(wrong[:3], [], f"{len(wrong)} in all: rules, request, ours, HAProxy's without the field")
        self.assertGreater(differing, 10, "what is drawn has become too tame")
