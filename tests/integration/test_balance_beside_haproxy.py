"""Which server each request goes to, here and through the real HAProxy: the same sequence where an algorithm takes
turns, the same map of keys where it hashes, with weights, full servers, and one that goes and comes back."""

from __future__ import annotations

import csv
import io
import os
import random
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import TestCase

from tests.integration.beside import HOST, PATIENCE, HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, end_accepting, missing, temporary_directory, wait_for
from tests.ports import free_ports

#: Keys of each map; REUSEDPROXY_KEYS=10000 asks for more.
KEYS = int(os.environ.get("REUSEDPROXY_KEYS", "200"))
WEIGHTS = (3, 1, 5, 2, 1)
NAMES = [f"s{number}" for number in range(1, len(WEIGHTS) + 1)]


class Farm:
    """Several servers, each of which answers with its name; a request for /hold is answered when a test lets it go."""

    def __init__(self) -> None:
        self._listening = {name: socket.create_server((HOST, 0), backlog=256) for name in NAMES}
        self.ports = {name: each.getsockname()[1] for name, each in self._listening.items()}
        self.held: list[tuple[bytes, str, threading.Event]] = []
        for name, each in self._listening.items():
            threading.Thread(target=self._accept, args=(name, each), daemon=True).start()

    def stop(self) -> None:
        for name in [*self._listening]:
            self.fell(name)

    def fell(self, name: str) -> None:
        end_accepting(self._listening.pop(name))

    def rises(self, name: str) -> None:
        self._listening[name] = each = socket.create_server((HOST, self.ports[name]), backlog=256)
        threading.Thread(target=self._accept, args=(name, each), daemon=True).start()

    def _accept(self, name: str, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(name, connection), daemon=True).start()

    def _serve(self, name: str, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        piece = connection.recv(65536)
                    except OSError:
                        return
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                target = head.split(b" ")[1]
                if target.startswith(b"/hold"):
                    event = threading.Event()
                    self.held.append((target, name, event))
                    event.wait(PATIENCE)
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + name.encode())
                except OSError:
                    return


class Case:
    """A backend: its lines, and what stands on each server's."""

    def __init__(
        self,
        *lines: str,
        server: str = "",
        servers: Iterable[str] = (),
        weights: Sequence[int] = WEIGHTS,
    ) -> None:
        self.lines, self.server, self.weights = lines, server, weights
        self.servers = [*servers] or [""] * len(weights)

    def text(self, name: str, port: int, ports: dict[str, int]) -> str:
        lines = [f"frontend {name}", f"    bind {HOST}:{port}", f"    default_backend {name}", f"backend {name}"]
        lines += [f"    {line}" for line in self.lines]
        for each, weight, own in zip(NAMES, self.weights, self.servers, strict=False):
            lines.append(f"    server {each} {HOST}:{ports[each]} weight {weight} {self.server} {own}")
        return "\n".join(lines) + "\n"


#: One that fails is enough, so it has the time of a busy machine: `inter` bounds it, too.
CHECKED = "check inter 1s downinter 200ms fall 1 rise 1"
IDS = ("id 7", "id 8", "id 1", "id 9", "id 10")
DISABLED = ("", "", "disabled", "", "")
CASES = {
    "static-rr": Case("balance static-rr", server=CHECKED),
    "leastconn": Case("balance leastconn", server=CHECKED),
    "first": Case("balance first", servers=["id 9", "", "id 2", "", ""], server="maxconn 2"),
    "static-full": Case("balance static-rr", server="maxconn 2"),
    "source": Case("balance source"),
    "source-avalanche": Case("balance source", "hash-type map-based sdbm avalanche"),
    "source-ring": Case("balance source", "hash-type consistent"),
    "uri": Case("balance uri", server=CHECKED),
    "uri-disabled": Case("balance uri", servers=DISABLED),
    "uri-even": Case("balance uri", weights=(4, 8, 4, 4, 4)),
    "uri-whole": Case("balance uri whole"),
    "uri-len": Case("balance uri len 6"),
    "uri-depth": Case("balance uri depth 2 whole"),
    "uri-path": Case("balance uri path-only"),
    "uri-djb2": Case("balance uri", "hash-type map-based djb2"),
    "uri-wt6": Case("balance uri", "hash-type map-based wt6"),
    "uri-crc32": Case("balance uri", "hash-type map-based crc32 avalanche"),
    "uri-ring": Case("balance uri", "hash-type consistent", server=CHECKED),
    "uri-ring-djb2": Case("balance uri", "hash-type consistent djb2"),
    "uri-ring-wt6": Case("balance uri whole", "hash-type consistent wt6 avalanche", servers=DISABLED),
    "uri-ring-ids": Case("balance uri", "hash-type consistent crc32", servers=["id 7", "", "id 100", "id 2", ""]),
    "uri-backups": Case(
        "balance uri", "option allbackups", servers=["disabled", "disabled", "backup", "backup", "backup"]
    ),
    "uri-backup": Case("balance uri", servers=["disabled", "disabled", "backup", "backup", "backup"]),
    "url-param": Case("balance url_param id"),
    "url-param-ring": Case("balance url_param id", "hash-type consistent", server=CHECKED),
    "hdr": Case("balance hdr(x-key)"),
    "hdr-domain": Case("balance hdr(Host) use_domain_only"),
    "hash": Case("balance hash path,lower"),
    "hash-length": Case("balance hash path,length", "hash-type consistent wt6"),
    "hash-address": Case("balance hash hdr_ip(x-address),ipmask(24)"),
    "bounded": Case("balance uri", "hash-type consistent", "hash-balance-factor 125"),
    **{
        f"retry-{algorithm.split(' ')[0]}": Case(
            f"balance {algorithm}", *more, "retries 2", "http-reuse never", servers=IDS
        )
        for algorithm, *more in (
            ("static-rr",),
            ("leastconn",),
            ("first",),
            ("uri",),
            ("hash path", "hash-type consistent"),
        )
    },
    "use-server": Case(
        "balance uri",
        "cookie S insert indirect",
        "use-server s4 if { path_beg /a }",
        "use-server s5 if { path_beg /a /img }",
        "use-server %[req.hdr(x-server)] if { req.hdr(x-server) -m found }",
        "use-server s2 unless { url_param(id) -m found }",
        server=CHECKED,
        servers=[f"cookie {name}" for name in NAMES],
    ),
    **{
        f"stays{most}": Case(
            "balance static-rr",
            "http-reuse never",
            "option prefer-last-server",
            f"max-keep-alive-queue {most}",
            server="maxconn 1",
            weights=(1, 1),
        )
        for most in (-1, 0, 1)
    },
    "random": Case("balance random"),
    "random-one": Case("balance random(1)"),
}  # fmt: skip


class Client:
    """A connection to a frontend, on which requests are sent one after the other."""

    def __init__(self, port: int, source: str = LOOPBACK) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE, source_address=(source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, target: str, fields: str = "") -> None:
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())

    def read(self) -> str:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 6:
            piece = self._socket.recv(65536)
            if not piece:
                return f"end after {data!r}"
            data += piece
        return data[end + 4 :].decode() if data.startswith(b"HTTP/1.1 200") else data[:12].decode()

    def ask(self, target: str, fields: str = "") -> str:
        self.send(target, fields)
        return self.read()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def client(port: int, source: str = LOOPBACK) -> Iterator[Client]:
    made = Client(port, source)
    try:
        yield made
    finally:
        made.close()


Ask = Callable[[int], list[str]]


def targets(seed: int = 1) -> list[str]:
    """Targets of several depths, with queries and parts that come again."""
    source = random.Random(seed)
    words = ["a", "img", "Static", "x-1", "news", "article", "%41", "long" * 20]
    made = []
    for number in range(KEYS):
        path = "/" + "/".join(source.choice(words) for _ in range(source.randrange(5)))
        query = source.choice(
            ["", f"?id={source.randrange(1000)}", f"?x=1&id={number}&y", "?id=", "?ids=3&id=7", "?id"]
        )
        made.append(f"{path}{number if source.random() < 0.8 else ''}{query}")
    return made


def mapped(asked: Iterable[str], fields: Callable[[str], str] = lambda target: "") -> Ask:
    def ask(port: int) -> list[str]:
        with client(port) as connection:
            return [connection.ask(target, fields(target)) for target in asked]

    return ask


def by_source(port: int) -> list[str]:
    found = []
    for number in range(min(KEYS, 2000)):
        with client(port, f"127.{number % 7}.{number % 251}.{1 + number % 241}") as connection:
            found.append(connection.ask("/"))
    return found


#: The longest last: HAProxy 2.6 looks at the byte behind a name, which is one of the name before.
HOSTS = ("x.y", "b.io", "example", "10.0.0.1", "example.com", "www.example.com", "a.b.c.example.org:8080")


class BalanceTests(TestCase):
    """Both proxies, before the same servers."""

    def setUp(self) -> None:
        if why := missing("haproxy"):
            self.skipTest(why)
        directory = temporary_directory(self)
        self.farm = Farm()
        self.addCleanup(self.farm.stop)
        self.proxies: list[tuple[Daemon, dict[str, int]]] = []
        for make, name in ((Daemon, "ours"), (HAProxy, "haproxy")):
            self._start(make, directory / name)

    def _start(self, make: Callable[[Path, str], Daemon], directory: Path) -> None:
        ports = dict(zip(CASES, free_ports(len(CASES), HOST), strict=True))
        text = "backend servers\ndefaults\n    mode http\n    timeout connect 2s\n    timeout client 10s\n"
        text += "    timeout server 10s\n    timeout queue 9s\n    option redispatch\n"
        text += ".if defined(REUSEDPROXY)\n    no option pool-prefer-warm\n.endif\n"
        text += "".join(case.text(name, ports[name], self.farm.ports) for name, case in CASES.items())
        proxy = make(directory, text)
        self.addCleanup(proxy.stop)
        proxy.start()
        self.proxies.append((proxy, ports))

    def of_both(self, name: str, ask: Ask) -> list[str]:
        """What both say, which has to be the same."""
        with ThreadPoolExecutor(2) as threads:
            ours, theirs = threads.map(lambda each: ask(each[1][name]), self.proxies)
        differing = [number for number, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
        sample = [(number, ours[number], theirs[number]) for number in differing[:5]]
        self.assertEqual(sample, [], f"{name}: {len(differing)} of {len(ours)} differ")
        return ours

    def wait_for_status(self, backends: Iterable[str], server: str, status: str) -> None:
        def said(proxy: Daemon) -> bool:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{proxy.stats_port}/;csv", timeout=20) as page:
                rows = list(csv.DictReader(io.TextIOWrapper(page)))
            found = [row["status"] for row in rows if row["# pxname"] in backends and row["svname"] == server]
            return len(found) == len([*backends]) and all(each.startswith(status) for each in found)

        for proxy, _ in self.proxies:
            wait_for(lambda proxy=proxy: said(proxy), f"{server} to be {status}")  # type: ignore[misc]

    def test_keys_are_mapped_to_the_same_servers(self) -> None:
        asked = targets()
        for name in CASES:
            if name.startswith(("uri", "url-param", "hash")) and name not in ("hash-address", "uri-path"):
                found = self.of_both(name, mapped(asked))
                if name == "uri-backup":
                    self.assertEqual(set(found), {"s3"})
                elif name == "uri":
                    self.assertEqual(set(found), set(NAMES))
        absolute = [f"http://a{target}" for target in asked[:50]]
        for name in ("uri", "uri-depth", "uri-path"):
            self.of_both(name, mapped([*asked, *absolute]))

    def test_headers_and_expressions_are_mapped_to_the_same_servers(self) -> None:
        keys = iter(range(10**9))
        made = {target: next(keys) for target in targets(2)}

        def key(target: str) -> str:
            number = made[target]
            value = ("", f"{number}", f"{number}, other", f' "a,{number}" , b', f"  {number * 7}")[number % 5]
            return f"X-Key: {value}\r\n" if number % 11 else ""

        self.of_both("hdr", mapped(made, key))
        self.of_both("hash-address", mapped(made, lambda target: f"X-Address: 10.{made[target] % 99}.7.9\r\n"))

        def hosts(port: int) -> list[str]:
            found = []
            for host in [*HOSTS, *(f"h{number}.domain{number % 97}.test" for number in range(KEYS))]:
                with client(port) as connection:
                    connection._socket.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    found.append(connection.read())
            return found

        self.of_both("hdr-domain", hosts)

    def test_clients_addresses_are_mapped_to_the_same_servers(self) -> None:
        for name in ("source", "source-avalanche", "source-ring"):
            self.assertEqual(len(set(self.of_both(name, by_source))), len(NAMES), name)

    def test_one_that_goes_and_comes_back_changes_the_same(self) -> None:
        """Sequences go on where they were, and the keys of the others keep their servers."""
        asked = targets(3)[:400]
        names = ("static-rr", "leastconn", "uri", "uri-ring")
        turns = "url-param-ring"  # nothing to hash, so node by node

        def all_of_them() -> dict[str, list[str]]:
            return {name: self.of_both(name, mapped(asked)) for name in names}

        before = all_of_them()
        self.farm.fell("s3")
        self.wait_for_status([*names, turns], "s3", "DOWN")
        without = all_of_them()
        self.assertNotIn("s3", {server for each in without.values() for server in each})
        moved = [one for one, other in zip(before["uri-ring"], without["uri-ring"], strict=True) if one != other]
        self.assertEqual(set(moved), {"s3"})
        self.of_both(turns, mapped(["/"] * 50))
        self.farm.rises("s3")
        self.wait_for_status(names, "s3", "UP")
        after = all_of_them()
        for name in ("uri", "uri-ring"):
            self.assertEqual(after[name], before[name])

    def test_retries_go_where_haproxys_go(self) -> None:
        """One server refuses, and nobody checks it: all but hashes go to another one at once; those try once more, and
        then the next on the ring. With a map HAProxy has no other one to go to; we do."""
        asked = targets()[:60]
        keys = {name: asked[self.of_both(name, mapped(asked)).index("s3")] for name in ("retry-uri", "retry-hash")}
        self.farm.fell("s3")
        for name in ("retry-static-rr", "retry-leastconn", "retry-first"):
            self.assertNotIn("s3", self.of_both(name, mapped(["/"] * 10)), name)
        self.of_both("retry-hash", mapped([keys["retry-hash"]]))
        with ThreadPoolExecutor(2) as threads:
            found = [*threads.map(lambda each: mapped([keys["retry-uri"]])(each[1]["retry-uri"]), self.proxies)]
        self.assertEqual((found[0], found[1]), (["s1"], ["HTTP/1.1 503"]))

    def test_rules_name_the_same_servers(self) -> None:
        """Before cookies; a server that is down is passed over, and a name of none ends the search."""
        asked = dict(zip(targets(9), range(10**9), strict=False))

        def fields(target: str) -> str:
            number = asked[target]
            named = f"X-Server: {('s1', 's3', 's9', '')[number % 4]}\r\n" if number % 3 == 0 else ""
            return named + ("Cookie: S=s3\r\n" if number % 5 == 0 else "")

        found = self.of_both("use-server", mapped(asked, fields))
        self.assertEqual(set(found), set(NAMES))
        self.farm.fell("s4")
        self.wait_for_status(["use-server"], "s4", "DOWN")
        self.assertNotIn("s4", self.of_both("use-server", mapped(asked, fields)))

    def test_turns_where_there_is_nothing_to_hash_are_the_same(self) -> None:
        for name in ("url-param", "url-param-ring", "hdr"):
            self.of_both(name, mapped(["/"] * 200))

    def held(self, name: str, steps: Sequence[str | int]) -> list[str]:
        """Where requests go that stay: each step is a target to ask for, or the number of one that is let go."""

        def ask(port: int) -> list[str]:
            mark = f"/hold{port}".encode()
            clients: list[Client] = []

            def mine() -> list[tuple[bytes, str, threading.Event]]:
                return [each for each in self.farm.held if each[0].startswith(mark)]

            found: list[str] = []
            try:
                for step in steps:
                    count = len(mine())
                    if isinstance(step, str):
                        made = Client(port)
                        clients.append(made)
                        made.send(mark.decode() + step)
                        wait_for(lambda count=count: len(mine()) > count, "the request")  # type: ignore[misc]
                        found.append(mine()[-1][1])
                    else:
                        mine()[step][2].set()
                        clients[step].read()
            finally:
                for _, _, event in mine():
                    event.set()
                for each in clients:
                    each.close()
            return found

        return self.of_both(name, ask)

    def test_requests_that_stay_are_spread_the_same(self) -> None:
        for name in ("leastconn", "static-rr"):
            source, asked = random.Random(5), 0
            steps: list[str | int] = []
            open_ones: list[int] = []
            for _ in range(80):
                if open_ones and source.random() < 0.4:
                    steps.append(open_ones.pop(source.randrange(len(open_ones))))
                else:
                    steps.append("")
                    open_ones.append(asked)
                    asked += 1
            self.held(name, steps)

    def test_full_servers_are_passed_over_the_same(self) -> None:
        steps: list[str | int] = [*[""] * 7, 3, "", 0, 1, "", "", *[""] * 3, 5, "", 2, 4, "", ""]
        self.assertEqual(self.held("first", steps)[:4], ["s3", "s3", "s2", "s2"])
        self.held("static-full", steps)

    def test_full_servers_of_clients_with_connections_of_their_own_are_waited_for_the_same(self) -> None:
        def ask(port: int) -> list[str]:
            """Two clients have been at the first server, which a third one fills; both ask again."""
            with client(port) as one, client(port) as other, client(port) as filler, client(port) as last:
                found = [each.ask("/") for each in (one, last, other)]
                held = len(self.farm.held)
                with client(port) as another:
                    found.append(another.ask("/"))
                filler.send(f"/hold?{port}")
                wait_for(lambda: any(each[0].endswith(b"?%d" % port) for each in self.farm.held[held:]), "the request")
                for each in (one, other):
                    each.send("/")
                    found.append(last.ask("/"))  # at the other server; now the proxy has read the one before, too
                next(each for each in self.farm.held[held:] if each[0].endswith(b"?%d" % port))[2].set()
                return [*found, filler.read(), one.read(), other.read()]

        for most, expected in ((-1, ["s1", "s1"]), (1, ["s1", "s2"]), (0, ["s2", "s2"])):
            self.assertEqual(self.of_both(f"stays{most}", ask)[-2:], expected, most)

    def test_bounded_loads_are_the_same(self) -> None:
        source = random.Random(7)
        steps: list[str | int] = [f"/{source.randrange(6)}" for _ in range(40)]
        # The ports differ, and with them the hashes: so all that can be the same is how many each gets.
        with ThreadPoolExecutor(2) as threads:
            counts = [*threads.map(lambda each: self._bounded(each[1]["bounded"], steps), self.proxies)]
        self.assertEqual(counts[0], counts[1])

    def _bounded(self, port: int, steps: Sequence[str | int]) -> list[str]:
        found: list[str] = []
        clients = []
        before = len([each for each in self.farm.held if each[0].endswith(f"?{port}".encode())])
        try:
            for number, step in enumerate(steps):
                made = Client(port)
                clients.append(made)
                made.send(f"/hold{step}?{port}")

                def mine(number: int = number) -> list[str]:
                    return [each[1] for each in self.farm.held if each[0].endswith(f"?{port}".encode())]

                wait_for(lambda number=number, mine=mine: len(mine()) > before + number, "the request")  # type: ignore[misc]
                found.append(mine()[-1])
        finally:
            for target, _, event in self.farm.held:
                if target.endswith(f"?{port}".encode()):
                    event.set()
            for each in clients:
                each.close()
        return found

    def test_chance_follows_the_weights(self) -> None:
        """Four standard deviations for one draw; HAProxy's own shares lie farther off, as its ring's do."""
        asked = [f"/{number}" for number in range(4000)]
        port = self.proxies[0][1]["random-one"]
        found = Counter(mapped(asked)(port))
        for name, weight in zip(NAMES, WEIGHTS, strict=True):
            share = weight / sum(WEIGHTS)
            self.assertAlmostEqual(found[name], 4000 * share, delta=4 * (4000 * share * (1 - share)) ** 0.5)
