"""A service in memory whose runtime API is asked by clients in memory, a piece of an answer at a time; and one order or
question for each of its commands.

    client = world.client(case)              # who has said the command, of which nothing is done yet
    while client.step(): ...                 # one piece of work, of the answer or of what is under way
    client.said                              # what has come
    case.holds(View(world.service))          # whether the order is in force in what serves

Servers and other clients of the proxy are sockets on the loopback interface.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from attrs import evolve, frozen

from reusedproxy.backends.server import DRAIN, MAINT, READY
from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.forgotten import as_told, back_again
from reusedproxy.daemon.replacing.since import obey
from reusedproxy.daemon.replacing.standing import stand
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Authority
from reusedproxy.net import slices
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Target
from reusedproxy.operators.logs.orders import Orderer
from reusedproxy.operators.runtime import authorities, crt_lists, entries, events, maps, pools, servers, session, tables
from reusedproxy.operators.runtime import sessions as shown_sessions
from reusedproxy.operators.runtime.commands import COMMANDS, UNLISTED, run
from reusedproxy.operators.runtime.proxy import ADMIN, BUSY, NOBODY, Context, Refusal
from reusedproxy.operators.runtime.session import GONE, Session
from reusedproxy.pool.kept import DRAINED
from reusedproxy.rules import entries as rule_entries
from reusedproxy.rules import maps as rule_maps
from tests.clientfakes import Wire
from tests.garbage import Ends, LiveReactor
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, ServiceTestCase
from tests.test_net_tls_server import revocations

#: How much is done in one piece, so that there are several of them.
FEW = (
    (session, "PIECES_AT_ONCE", 1),
    (authorities, "AT_ONCE", 1),
    (crt_lists, "LINES_AT_ONCE", 1),
    (entries, "ENTRIES_AT_ONCE", 2),
    (maps, "ENTRIES_AT_ONCE", 2),
    (events, "AT_ONCE", 1),
    (pools, "CONNECTIONS_AT_ONCE", 1),
    (servers, "_AT_ONCE", 1),
    (shown_sessions, "SESSIONS_AT_ONCE", 1),
    (shown_sessions, "DETAILED_AT_ONCE", 1),
    (tables, "ROWS_AT_ONCE", 2),
    (rule_maps, "_STEP", 2),
    (rule_entries, "_STEP", 2),
    (slices, "SLICE", 0.0),
)
EVERY = (*COMMANDS, *UNLISTED)
WHO = Orderer("the test", "somebody")
ORDER = f"Order {WHO}: "
#: Turns of everything after which what has not ended hangs.
MANY = 400
#: The number of another process.
PID = 4711
W = TypeVar("W", bound="World")


@frozen
class Case:
    """A command with its arguments. `before` are orders without which it could not be done. Of one that changes
    something, `holds` tells whether that is in force in what serves. Of one that lists something, `rows` finds what
    each row is about."""

    line: str
    payload: str = ""
    before: tuple[tuple[str, str], ...] = ()
    holds: Callable[[View], bool] | None = None
    rows: str = ""
    #: It ends only when its client says something, or leaves.
    endless: bool = False
    #: What it changes goes to another process by a way of its own: tables, listeners.
    shared: bool = False


class View:
    """What a service serves, as an operator and a test see it."""

    def __init__(self, service: ProxyService) -> None:
        self.context = Context(service, ADMIN, 10.0)

    @property
    def proxy(self) -> Proxy:
        return cast(Proxy, self.context.proxy)

    def tell(self, line: str) -> str:
        try:
            return "".join(run(self.context, line.split()))
        except Refusal as refusal:
            return refusal.written

    def frontend(self, name: str) -> Any:
        return self.context.frontend(name)

    def backend(self) -> Any:
        return self.context.backend("b")

    def line(self, name: str) -> Any:
        """Of a server of that backend; None: there is none."""
        return self.proxy.lines.get(f"b/{name}")

    def server(self, name: str = "s0") -> Any:
        return self.proxy.lines[f"b/{name}"].server


class Client:
    """One session of the runtime API, whose client has sent a command."""

    def __init__(self, world: World, text: str) -> None:
        self.world = world
        self.wire = Wire()
        self.context = Context(world.service, ADMIN, 10.0, orderer=WHO)
        wire: Any = self.wire
        self.refused: list[str] = []
        #: Its first line has been looked at; it has ended.
        self.begun = self.gone = False
        self.session = Session(self, wire, world.deadlines, self.context)
        self.wire.reads = 1 << 20
        self.wire.incoming = text.encode()

    def session_gone(self, session: Session) -> None:
        self.gone = True

    def hand_over(self, channel: socket.socket) -> None:
        channel.close()

    def session_refused(self, session: Session, why: str) -> bool:
        self.refused.append(why)
        return True

    @property
    def said(self) -> str:
        return self.wire.written.decode()

    @property
    def is_done(self) -> bool:
        """Tells whether nothing is left to be done of what was said."""
        ours: Any = self.session
        idle = ours._answer is None and not ours._commands and not self.wire.turns and not self.wire.incoming
        return self.session.state == GONE or (self.begun and idle)

    def step(self) -> bool:
        """Does a piece of its work, or lets some time pass where it waits. Returns False where nothing is left."""
        if self.is_done:
            return False
        if not self.begun:
            self.begun = True
            self.wire.pump()
        elif self.wire.turns:
            self.wire.turns.popleft().take_turn()
        else:
            self.world.turn()
        return True

    def run(self, most: int = MANY) -> bool:
        """Goes on to its end. Returns False if it does not come."""
        return any(not self.step() for _ in range(most))

    # What happens to it.

    def stop_reading(self) -> None:
        """Takes nothing more, for longer than a session may be idle."""
        self.wire.stall()
        for _ in range(150):
            self.step()
            self.world.turn(0.1)

    def leave(self) -> None:
        if not self.gone:
            self.wire.reset()

    def end_sending(self) -> None:
        if not self.gone:
            self.wire.eof()

    def lose_its_line(self) -> None:
        """As when a reload takes the socket out."""
        self.session.end("its stats socket is gone")


@contextmanager
def made(kind: type[W]) -> Iterator[W]:
    """A world of its own within a test, which may make hundreds, one after the other."""
    world = kind("fail")
    world.setUp()
    try:
        yield world
    finally:
        while world._cleanups:
            function, arguments, words = world._cleanups.pop()
            function(*arguments, **words)


class Heir:
    """Another process that takes the place of the service, as far as orders go to it: its side of the channel, and the
    proxy that it has. `told` is what both logs tell of orders."""

    def __init__(self, world: World) -> None:
        """Gets the sockets, and what is ordered until then."""
        self.world = world
        self.told: list[str] = []
        ours, self._theirs = socket.socketpair()
        world.addCleanup(self._theirs.close)
        self._theirs.setblocking(False)
        self._read = b""
        world.service._hand_over(ours)
        said = self._wait_for("end")
        self.service = ProxyService(world.reactor, [str(world.folder / "proxy.cfg")])
        self.service._takeover = SimpleNamespace(  # type: ignore[assignment]
            states=said["states"], standing=said["standing"], tables=(), take=lambda bind, at=None: None
        )
        proxy = self.service.assemble(bind=False)
        self.told += [text for text, _ in stand(proxy, said["standing"])]
        self._say({"needs": 1.0, "pid": PID, "orders": True})

    def take_place(self) -> None:
        """Accepts in place of the service, which leaves."""
        self._say({"ready": True})
        self._obey(self._wait_for("ordered")["ordered"])
        self._wait_for("go")
        self._say({"taken": [], "pid": PID})
        counts = self._wait_for("deleted")
        self._obey(counts["ordered"])
        proxy = cast(Proxy, self.service.proxy)
        told = (*as_told(counts["forgotten"]), *back_again(counts["deleted"], proxy, counts["in_place"]))
        self.told += [text for _, text, _ in told]

    def _obey(self, said: object) -> None:
        self.told += [text for _, text, _ in obey(cast(Proxy, self.service.proxy), said)]

    def _say(self, said: dict[str, object]) -> None:
        self._theirs.sendall(json.dumps(said).encode() + b"\n")
        self.world.turn()

    def _wait_for(self, word: str) -> dict[str, Any]:
        """The next message with this word; others are not listened to."""
        for _ in range(MANY):
            while b"\n" in self._read:
                line, _, self._read = self._read.partition(b"\n")
                said: dict[str, Any] = json.loads(line)
                if word in said:
                    return said
            self.world.turn()
            with contextlib.suppress(BlockingIOError):
                self._read += self._theirs.recv(1 << 16)
        raise AssertionError(f"nothing is said of {word}")


class World(ServiceTestCase):
    """The whole service on a clock."""

    def setUp(self) -> None:
        super().setUp()
        for module, name, value in FEW:
            self.patch(module, name, value)
        self.reactor: LiveReactor = LiveReactor()
        self.ends = Ends(self)
        self.server = self.ends.server()
        self.port = self.server.target.address[1]
        self.crt = self.write("front.pem")
        self.other = self.write("other.pem")
        self.ca = str(self.authority.write(self.folder / "ca.pem"))
        self.crl = self.text("crl.pem", revocations(self.authority).decode())
        self.list = self.text("list", f"{self.crt}\n{self.other}\n")
        self.acl = self.text("l.acl", "".join(f"/{number}\n" for number in range(6)))
        self.map = self.text("m.map", "".join(f"/{number} {number}\n" for number in range(6)))
        self.deadlines = Deadlines(self.reactor)
        self.start_with(self.configure())
        self.context = Context(self.service, ADMIN, 10.0)
        self.clients = [self.ends.connect((LOOPBACK, self.port_of("f")), None) for _ in range(3)]
        self.ends.pump()

    def port_of(self, name: str) -> int:
        (port,) = {each.socket.getsockname()[1] for owner, each in self.proxy.listeners if owner.name == name}
        return int(port)

    def configure(self, servers: str = "s0 s1 s2 s3 s4", rows: int = 100, ring: str = "lines") -> str:
        said = "".join(
            f" server {name} {LOOPBACK}:{self.port} weight 10 pool-record 64k pool-min-conn 1 check inter 1h"
            f" agent-check agent-port {self.port} agent-inter 1h{' disabled' if name == 's4' else ''}\n"
            for name in servers.split()
        )
        return self.text(
            "proxy.cfg",
            f"global\n stats socket {self.folder}/admin.sock level admin expose-fd listeners\n setenv COLOUR blue\n"
            f" log ring@{ring} format raw local0\n maxconn 100\n"
            f"resolvers r\n nameserver n {LOOPBACK}:1\n{HEAD} timeout queue 1m\n"
            f"frontend f\n bind {LOOPBACK}:0\n http-request deny if {{ path -f {self.acl} }}\n"
            f" http-request set-header m %[path,map({self.map})]\n http-request track-sc0 path table t\n"
            " default_backend b\n"
            f"frontend g\n bind {LOOPBACK}:0 ssl crt-list {self.list} ca-file {self.ca} crl-file {self.crl}"
            f" verify optional\n default_backend b\n"
            f"backend b\n balance roundrobin\n cookie S insert dynamic\n dynamic-cookie-key k\n{said}"
            f"backend t\n stick-table type string len 40 size {rows} expire 1h store gpc0\n"
            f"ring {ring}\n description what happens\n size 2000\n",
        )

    def stop(self) -> None:
        if self.service.state != "stopped":
            self.service.stopService()
        self.ends._end()
        self.pass_time(1.0)
        self.assertEqual(self.service.state, "stopped")

    # What happens.

    def reload(self) -> None:
        """Reads the file again, and lets so much time pass that nothing is left of the proxy before."""
        self.service.reload()
        self.end_reload()
        self.pass_time(2.5)

    def begin_reload(self) -> None:
        self.service.reload()
        self.turn()

    def end_reload(self) -> None:
        for _ in range(10 * MANY):
            if not self.service.reloads.under_way:
                return
            self.turn()
        self.fail("a reload hangs")

    def read_other_file(self) -> None:
        """In which some servers are others, a table is larger, and the ring has another name."""
        self.configure("s0 s1 s5", rows=200, ring="other")
        self.reload()

    def delete_server(self) -> None:
        """As another client orders it."""
        self.tell("disable server b/s1")
        self.pass_time(0.5)
        for each in [each for each in self.ends.far if each not in (self.server, *self.clients)]:
            self.ends.forget(each)  # type: ignore[arg-type]
        self.pass_time(0.5)
        self.tell("del server b/s1")
        self.pass_time(2.5)

    def give_other_orders(self, client: Client) -> None:
        """Others change what the order is about; where they come behind it, it goes on meanwhile."""
        files = (f"abort ssl cert {self.crt}", f"abort ssl ca-file {self.ca}", f"abort ssl crl-file {self.crl}")
        for line in (f"clear map {self.map}", f"clear acl {self.acl}", "clear table t", *files):
            other = Client(self, f"{line}\n")
            other.context.orderer = NOBODY
            for _ in range(MANY):
                client.step()
                if not other.step():
                    break
            else:
                self.fail(f"{line} hangs")

    def stop_process(self) -> None:
        self.service.stopService()

    def turn(self, seconds: float = 0.002) -> None:
        """Lets a little time pass for everything but the clients of the runtime API."""
        self.reactor.advance(seconds)
        self.ends.pump()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.turn(0.1)

    def tell(self, line: str, payload: str = "") -> str:
        """The whole answer to somebody else, or the refusal."""
        self.context.payload = payload or None
        said = ""
        try:
            for piece in run(self.context, line.split()):
                if piece is BUSY:
                    self.pass_time(1.0)
                else:
                    said += piece
        except Refusal as refusal:
            said += refusal.written
        return said

    def client(self, case: Case) -> Client:
        """Somebody whose `before` is done, and who has said the command, of which nothing is done."""
        for line, payload in case.before:
            self.tell(line, payload)
        end = f" <<\n{case.payload}\n" if case.payload else "\n"
        return Client(self, f"{case.line}{end}")

    def cases(self) -> dict[str, tuple[Case, ...]]:
        """One or more for each command, by its words."""
        made = [*self._of_sessions(), *self._of_servers(), *self._of_lists(), *self._of_files(), *self._of_the_rest()]
        found: dict[str, tuple[Case, ...]] = {}
        for name, case in made:
            line = f"{name} {case.line}".rstrip()
            found[name] = (*found.get(name, ()), evolve(case, line=line))
        return found

    def _of_sessions(self) -> Iterator[tuple[str, Case]]:
        """What a client orders of its own session, and what is the same whatever happens."""
        for line in ("help", "operator", "user", "prompt", "quit", "echo a", "set timeout cli 10", "expert-mode on"):
            name = next(" ".join(each.words) for each in EVERY if line.startswith(" ".join(each.words)))
            yield name, Case(line.removeprefix(name).strip())
        yield "experimental-mode", Case("on")
        yield "set severity-output", Case("none")
        yield "hand over", Case("")
        for what in ("cli level", "cli sockets", "env", "schema json", "version", "startup-logs", "activity", "info"):
            yield f"show {what}", Case("")
        yield "wait", Case("50ms")
        yield "wait", Case("10s srv-removable b/s4")
        yield "wait", Case("1s srv-removable b/s0")

    def _of_servers(self) -> Iterator[tuple[str, Case]]:
        place = f"{LOOPBACK}:{self.port}"
        yield "add server", Case(f"b/new {place}", holds=lambda view: view.line("new") is not None)
        yield "del server", Case("b/s4", holds=lambda view: view.line("s4") is None)
        yield (
            "del server",
            Case("b/new", before=((f"add server b/new {place}", ""),), holds=lambda view: view.line("new") is None),
        )
        yield "get weight", Case("b/s0")
        for word, state in (("disable", MAINT), ("enable", READY)):
            before = () if word == "disable" else (("disable server b/s0", ""),)
            yield f"{word} server", Case("b/s0", before=before, holds=partial(_has, "server", "admin", state))
            for kind, checks in (("agent", "agent"), ("health", "checker")):
                paused = word == "disable"
                yield (
                    f"{word} {kind}",
                    Case(
                        "b/s0",
                        before=() if paused else ((f"disable {kind} b/s0", ""),),
                        holds=lambda view, checks=checks, paused=paused: (  # type: ignore[misc]
                            getattr(view.line("s0"), checks).paused is paused
                        ),
                    ),
                )
            makes = word == "enable"
            yield (
                f"{word} dynamic-cookie backend",
                Case(
                    "b",
                    before=(("disable dynamic-cookie backend b", ""),) if makes else (),
                    holds=partial(_has, "backend", "makes_cookies", makes),
                ),
            )
            yield (
                f"{word} frontend",
                Case(
                    "f",
                    before=(("disable frontend f", ""),) if makes else (),
                    holds=lambda view, makes=makes: view.frontend("f").disabled is not makes,  # type: ignore[misc]
                    shared=makes,
                ),
            )
        yield "shutdown frontend", Case("g", holds=lambda view: bool(view.frontend("g").shut))
        yield "set dynamic-cookie-key backend", Case("b other", holds=partial(_has, "backend", "cookie_key", "other"))
        yield "set weight", Case("b/s0 3", holds=partial(_has, "server", "weight", 3))
        yield "set maxconn server", Case("b/s0 3", holds=partial(_has, "server", "limit", 3))
        yield "set maxconn frontend", Case("f 3", holds=lambda view: view.frontend("f").settings.maxconn == 3)
        yield "set maxconn global", Case("3", holds=lambda view: view.proxy.places.maxconn == 3)
        yield (
            "set rate-limit",
            Case("sessions global 7", holds=lambda view: _most(view, "maxsessrate") == 7),
        )
        for words, attribute, value in (
            ("state drain", "admin", DRAIN),
            ("weight 3", "weight", 3),
            ("addr 127.0.0.2", "ordered", Target(socket.AF_INET, ("127.0.0.2", self.port))),
        ):
            yield "set server", Case(f"b/s0 {words}", holds=partial(_has, "server", attribute, value))
        yield "set server", Case("b/s0 check-port 9", holds=lambda view: view.server().check.port == 9)
        yield "set server", Case("b/s0 agent-send x", holds=lambda view: view.server().agent.send == "x")
        drained = ("drain pool b", "")
        yield "drain pool", Case("b", holds=lambda view: _pools(view) == {DRAINED})
        yield "rewarm pool", Case("b", before=(drained,), holds=lambda view: DRAINED not in _pools(view))
        yield "explain pool", Case("b/s0")
        for what, rows in (
            ("backend", r"^\w+$"),
            ("servers conn", r"^(b/\w+)"),
            ("servers state", r"^\d+ (b \d+ \w+)"),
            ("pool", r"^(b/\w+)"),
            ("pool connections", r"^(b/\w+#\d+)"),
            ("errors", ""),
            ("resolvers", r"nameserver (\w+)"),
            ("stat", r"^(\w+,\w+),"),
        ):
            yield f"show {what}", Case("", rows=rows)
        yield "show pool", Case("b/s0", rows=r"^(b/\w+)")
        yield "show pool connections", Case("b", rows=r"^(b/\w+#\d+)")
        yield "show stat", Case("typed", rows=r"^(\w\.\d+\.\d+\.0\.)")
        yield "show stat", Case("json")
        yield "show pool record", Case("b/s0")
        yield "what-if", Case("b/s0 floor=3")
        yield "show sess", Case("", rows=r"^(0x\w+):")
        yield "show sess", Case("all", rows=r"^(0x\w+):")
        yield "shutdown session", Case("0x1")
        yield "shutdown sessions server", Case("b/s0", holds=lambda view: True)
        yield "clear counters", Case("", holds=lambda view: True)
        yield "reload", Case("", holds=lambda view: True)

    def _of_lists(self) -> Iterator[tuple[str, Case]]:
        for kind, path, shown in (("acl", self.acl, ""), ("map", self.map, " v")):
            has = partial(_shows, f"show {kind} {path}")
            version = ((f"prepare {kind} {path}", ""),)
            prepared = (*version, *((f"add {kind} @1 {path} /v{number}{shown}", "") for number in range(5)))
            yield f"add {kind}", Case(f"{path} /new{shown}", holds=partial(has, f"/new{shown}"))
            yield (
                f"add {kind}",
                Case(f"@1 {path} /new{shown}", before=version, holds=partial(_shows, f"show {kind} @1 {path}", "/new")),
            )
            yield f"clear {kind}", Case(path, holds=partial(has, "", absent="/0"))
            yield (
                f"clear {kind}",
                Case(f"@1 {path}", before=prepared, holds=partial(_shows, f"show {kind} @1 {path}", "", absent="/v0")),
            )
            yield f"commit {kind}", Case(f"@1 {path}", before=prepared, holds=partial(has, "/v4", absent="/0"))
            yield f"del {kind}", Case(f"{path} /3", holds=partial(has, "", absent="/3"))
            yield f"get {kind}", Case(f"{path} /3")
            yield f"prepare {kind}", Case(path, holds=partial(_shows, f"show {kind}", f"'{path}'", has="next_ver=1"))
            yield f"show {kind}", Case("", rows=r"^\d+ \(([^)]+)\)")
            yield f"show {kind}", Case(path, rows=r"^0x\w+ (/\d)")
        many = "".join(f"/n{number} n\n" for number in range(9))
        yield "add map", Case(self.map, payload=many, holds=partial(_shows, f"show map {self.map}", "/n8 n"))
        yield "set map", Case(f"{self.map} /3 other", holds=partial(_shows, f"show map {self.map}", "/3 other"))
        filled = tuple((f"set table t key /k{number} data.gpc0 {number}", "") for number in range(9))
        yield "clear table", Case("t", before=filled, holds=partial(_shows, "show table t", "used:0"), shared=True)
        yield (
            "clear table",
            Case("t data.gpc0 gt 3", before=filled, shared=True, holds=partial(_shows, "show table t", "used:4")),
        )
        yield (
            "clear table",
            Case("t key /k3", before=filled, shared=True, holds=partial(_shows, "show table t", "", absent="/k3")),
        )
        yield (
            "set table",
            Case("t key /new data.gpc0 3", shared=True, holds=partial(_shows, "show table t", "key=/new")),
        )
        yield "show table", Case("", rows=r"table: (\w+)")
        yield "show table", Case("t", before=filled, rows=r"key=(\S+)")
        yield "set var", Case("proc.v str(new)", holds=partial(_shows, "get var proc.v", "<new>"))
        yield "get var", Case("proc.v", before=(("set var proc.v str(new)", ""),))

    def _of_files(self) -> Iterator[tuple[str, Case]]:
        pem = self.authority.issue("new.test", key="ecdsa").pem.decode()
        cas = Authority("another CA").credential.certificate_pem.decode() + Path(self.ca).read_text()
        crl = revocations(self.authority).decode()
        for kind, used, payload, mark in (
            ("cert", self.crt, pem, "new.test"),
            ("ca-file", self.ca, cas, "Certificate #2"),
            ("crl-file", self.crl, crl, "Revocation"),
        ):
            show, new = f"show ssl {kind}", f"{self.folder}/new.{kind}"
            begun, made = (f"set ssl {kind} {used}", payload), (f"new ssl {kind} {new}", "")
            yield (
                f"abort ssl {kind}",
                Case(used, before=(begun,), holds=partial(_shows, show, "", absent="# transaction")),
            )
            yield f"set ssl {kind}", Case(used, payload=payload, holds=partial(_shows, show, f"*{used}"))
            yield f"commit ssl {kind}", Case(used, before=(begun,), holds=partial(_shows, f"{show} {used}", mark))
            yield (
                f"commit ssl {kind}",
                Case(
                    new,
                    before=(made, (f"set ssl {kind} {new}", payload)),
                    holds=partial(_shows, f"{show} {new}", "Unused"),
                ),
            )
            yield f"new ssl {kind}", Case(new, holds=partial(_shows, show, new))
            yield f"del ssl {kind}", Case(new, before=(made,), holds=partial(_shows, show, "", absent=new))
            yield f"show ssl {kind}", Case("", rows=r"^(/\S+)")
            yield f"show ssl {kind}", Case(used)
        yield "add ssl ca-file", Case(self.ca, payload=cas, holds=partial(_shows, "show ssl ca-file", f"*{self.ca}"))
        made_new = ((f"new ssl cert {self.folder}/n.pem", ""), (f"set ssl cert {self.folder}/n.pem", pem))
        known = (*made_new, (f"commit ssl cert {self.folder}/n.pem", ""))
        listed = partial(_shows, f"show ssl crt-list {self.list}")
        yield (
            "add ssl crt-list",
            Case(f"{self.list} {self.folder}/n.pem", before=known, holds=partial(listed, f"{self.folder}/n.pem")),
        )
        yield "del ssl crt-list", Case(f"{self.list} {self.other}", holds=partial(listed, "", absent=self.other))
        yield "show ssl crt-list", Case("", rows=r"^(/\S+)")
        yield "show ssl crt-list", Case(self.list, rows=r"^(/\S+)")

    def _of_the_rest(self) -> Iterator[tuple[str, Case]]:
        yield "show events", Case("", rows=r"^ +(\w+) ")
        yield "show events", Case("lines")
        yield "show events", Case("lines -w", endless=True)


def _most(view: View, word: str) -> int:
    rate = view.proxy.places.rates.get(word)
    return 0 if rate is None else rate.limit


def _has(what: str, attribute: str, value: object, view: View) -> bool:
    return bool(getattr(getattr(view, what)(), attribute) == value)


def _pools(view: View) -> set[str]:
    return {view.server(name).pool.order.state for name in ("s0", "s1") if view.line(name) is not None}


def _shows(line: str, mark: str, view: View, absent: str = "", has: str = "") -> bool:
    """Tells whether an answer has one text, and not another; `has`: in the line that has the first."""
    said = view.tell(line)
    if has:
        return any(mark in each and has in each for each in said.splitlines())
    return mark in said and not (absent and absent in said)
