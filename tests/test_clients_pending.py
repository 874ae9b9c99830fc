"""Clients of a TLS listener, from accept to their last answer: counted, bounded, served, let go; and what is logged."""

from __future__ import annotations

from socket import socket
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.gate import REJECT, Gate
from reusedproxy.clients.pending import TIMEOUT, PendingClients
from reusedproxy.config import model
from reusedproxy.config.model.logs import LogSettings
from reusedproxy.config.rules.formats import read_format
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.binding import bind_socket
from reusedproxy.net.listener import Listener
from reusedproxy.net.tls.handshake import HandshakeFailure
from reusedproxy.net.tls.server import Certificate, Certificates
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.operators.logs.handshakes import HandshakeLog
from tests.clientfakes import GET, OK, PLACE, World, get
from tests.handshakes import TLSClient, client_tls, offer
from tests.test_clients_gate import gate as gate_of
from tests.test_net_hello import hello
from tests.test_operators_logs_targets import in_utc
from tests.wire import Loop, certificates, scratch


class TLSListenerTestCase(SynchronousTestCase):
    """A frontend with one TLS listener; the servers behind it are fakes."""

    def world(self, *, terms: model.TLSOffer | None = None, **settings: Any) -> World:
        self.loop = loop = Loop(self)
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.1"), tls=model.BindTLS())
        frontend = {"binds": (bind,), **settings.pop("frontend", {})}
        self.made = world = World(self, frontend=frontend, **{"warm": 1, **settings})
        self.terms = terms or model.TLSOffer()
        self.folder = scratch(self)
        world.frontend._poller = loop.poller
        world.frontend.handshakes = PendingClients(world.frontend, loop.poller)
        world.frontend.handshakes.log = lambda handshake, failure, announcement: self.failures.append(failure)
        world.frontend.handshakes.certificates[bind.address] = self.certificates()
        world.frontend.listeners.clear()
        self.failures: list[HandshakeFailure] = []
        self.listener = Listener(loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        world.frontend.listen(self.listener)
        return world

    def certificates(
        self, name: str = "server", *, admission: object = None, host: str = "server.test", strict: bool = False
    ) -> Certificates:
        """Two of them, for one name each; `admission` is that of the first one, whose name is `host`."""
        found = []
        for path, names, admits in (("a.pem", host, admission), ("b.pem", "other.test", "others")):
            credential = certificates().authority.issue(name, hosts=[names], key="ecdsa")
            path = str(credential.write(self.folder / path))
            found.append(Certificate(path, self.terms, default=path.endswith("a.pem"), admission=admits))
        return Certificates.load(found, strict)

    def raw(self) -> Any:
        """A client that has connected and says nothing of its own."""
        count = self.made.frontend.connections_total
        far = self.loop.connect(("127.0.0.1", self.listener.port))
        self.loop.until(lambda: self.made.frontend.connections_total > count)
        return far

    def connect(self, context: SSL.Context | None = None, session: SSL.Session | None = None) -> Any:
        """A client that is through its handshake."""
        client = TLSClient(context or client_tls(), "server.test", session)
        far = self.loop.connect(("127.0.0.1", self.listener.port), client)
        self.loop.until(lambda: far.handshaken or far.end)
        self.loop.until(lambda: not self.under_way)
        return far

    @property
    def under_way(self) -> int:
        return len(self.made.frontend.handshakes.under_way)

    def said(self) -> list[str]:
        return [text for _, text in self.made.announced if "TLS handshake" in text]

    def end(self) -> None:
        self.made.frontend.stop()
        self.made.advance(3)
        self.loop.pump()
        self.assertEqual(self.listener.connections, 0)
        self.made.check_rest()


class ServedTests(TLSListenerTestCase):
    """Requests over TLS."""

    def test_a_request_and_its_answer(self) -> None:
        """TLS 1.2 and 1.3; the client connection can tell what is spoken."""
        world = self.world()
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            client = self.connect(client_tls(version=version))
            (connection,) = world.frontend.connections
            assert isinstance(connection, ClientConnection) and isinstance(connection.transport, ServerTLSTransport)
            self.assertEqual((connection.transport.version, connection.transport.server_name), (name, "server.test"))
            client.send(GET)
            self.loop.until(lambda: world.server.busy)
            world.server.answer()
            self.loop.until(lambda client=client: client.received == OK)
            client.drop()
            self.loop.until(lambda: not world.frontend.connections)
        self.assertEqual(world.flags(), [(200, "--"), (200, "--")])
        self.end()

    def test_keep_alive_and_pipelining(self) -> None:
        """As over plain TCP, in any pieces."""
        world = self.world()
        client = self.connect()
        client.send(GET + get("/2"))
        for _ in range(2):
            self.loop.until(lambda: world.server.busy)
            world.server.answer()
            self.loop.pump()
        self.loop.until(lambda: client.received == OK + OK)
        client.split(get("/3"), 5)
        self.loop.until(lambda: world.server.busy)
        world.server.answer()
        self.loop.until(lambda: client.received == 3 * OK)
        client.drop()
        self.loop.until(lambda: not world.frontend.connections)
        self.end()

    def test_a_client_that_ends_its_side_gets_its_answer(self) -> None:
        """By close_notify, or by TCP alone; what was sent to a server is answered."""
        world = self.world()
        for end in ("close_notify", "truncate"):
            client = self.connect()
            client.send(GET)
            self.loop.until(lambda: world.server.busy)
            getattr(client, end)()
            self.loop.pump()
            world.server.answer()
            self.loop.until(lambda client=client: client.received)
            self.assertIn(b"200 OK", client.received)
            self.loop.until(lambda: not world.frontend.connections)
        self.end()

    def test_the_last_answer_ends_with_close_notify(self) -> None:
        """So that the client knows that all of it has come."""
        world = self.world()
        client = self.connect()
        client.send(get("/", "Connection: close"))
        self.loop.until(lambda: world.server.busy)
        world.server.answer()
        self.loop.until(lambda: client.end)
        self.assertEqual(client.end, "close_notify")
        self.end()

    def test_a_session_is_resumed(self) -> None:
        """And counted."""
        world = self.world()
        self.listener.traffic = traffic = Traffic()  # `option socket-stats`
        context = client_tls(version=SSL.TLS1_2_VERSION)
        first = self.connect(context)
        self.connect(context, first.tls.get_session())
        self.assertEqual((world.frontend.handshakes.counts.completed, world.frontend.handshakes.counts.resumed), (2, 1))
        self.raw().drop()
        self.loop.until(lambda: not self.under_way)
        self.assertEqual((traffic.ssl_sess, traffic.ssl_reused_sess, traffic.ssl_failed_handshake), (2, 1, 1))
        self.end()


class BoundTests(TLSListenerTestCase):
    """How many, and for how long."""

    def test_a_handshake_takes_a_place(self) -> None:
        """From the first moment, and gives it back when it fails."""
        world = self.world()
        client = self.raw()
        self.assertEqual((world.places.taken, self.listener.connections, len(world.frontend.connections)), (1, 1, 1))
        client.drop()
        self.loop.until(lambda: not self.under_way)
        self.assertEqual((world.places.taken, self.listener.connections, len(world.frontend.connections)), (0, 0, 0))
        self.end()

    def test_a_handshake_is_counted_when_it_begins(self) -> None:
        """It has cost its signature, whether or not the client goes on."""
        world = self.world()
        self.connect()
        for _ in range(2):
            self.raw().drop()
        self.loop.until(lambda: not self.under_way)
        counts = world.frontend.handshakes.counts
        self.assertEqual((counts.begun, counts.completed, counts.failed), (3, 1, 2))
        self.end()

    def test_maxconn_bounds_them_together(self) -> None:
        """Those under way and those that are served; the listener pauses, and goes on."""
        world = self.world(frontend={"maxconn": 2})
        served = self.connect()
        waiting = self.raw()
        self.assertEqual(self.listener.state, "paused")
        waiting.drop()
        self.loop.until(lambda: self.listener.state == "listening")
        served.drop()
        self.loop.until(lambda: not world.frontend.connections)
        self.end()

    def test_the_oldest_makes_room_when_half_of_all_are_under_way(self) -> None:
        """A crowd of half handshakes leaves room for those who mean it."""
        world = self.world(frontend={"maxconn": 8})
        crowd = [self.raw() for _ in range(6)]
        self.loop.pump()
        self.assertEqual(self.under_way, 4)
        self.assertEqual([bool(far.end) for far in crowd], [True, True, False, False, False, False])
        self.assertIn("too many handshakes are under way, and it was the oldest", self.said()[0])
        self.assertTrue(self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(client_tls())))
        self.loop.until(lambda: world.frontend.handshakes.counts.completed == 1)
        self.assertEqual(self.under_way, 3)
        self.end()

    def test_what_a_rule_for_connections_sets_outlives_the_handshake(self) -> None:
        """Behind a PROXY header, too; nothing is left of who breaks off."""
        speaks = TLSClient(client_tls(), "server.test")

        def announced(loop: Loop, connected: socket) -> Any:
            connected.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n")
            return speaks(loop, connected)

        for lines in ("", " tcp-request connection expect-proxy layer4\n"):
            world = self.world()
            world.frontend.gate = gate_of(f"{lines} tcp-request connection set-var(sess.a) src")
            world.frontend.judges_sessions = True
            client = self.loop.connect(("127.0.0.1", self.listener.port), announced if lines else speaks)
            self.loop.until(lambda client=client: client.handshaken)
            self.loop.until(lambda: not self.under_way)
            (connection,) = world.frontend.connections
            assert isinstance(connection, ClientConnection) and connection.session is not None
            self.assertEqual(str(connection.session.variables["sess.a"]), "127.0.0.1")
            client.drop()
            other = self.raw()
            other.drop()
            self.loop.until(lambda world=world: not world.frontend.connections)
            self.assertEqual(world.frontend.handshakes._notes, {})
            self.end()

    def held_back(self) -> Any:
        """A client that has connected, whom nobody has accepted yet."""
        client = TLSClient(client_tls(), "server.test")
        far = self.loop.connect(("127.0.0.1", self.listener.port), client)
        self.loop.pump()
        return far

    def test_clients_over_tls_have_a_limit_of_their_own(self) -> None:
        """`maxsslconn`: who comes beyond it waits, and is served when another has gone."""
        world = self.world()
        world.places.limit_tls(2)
        first, second = self.connect(), self.raw()
        self.assertEqual((world.places.over_tls, self.listener.state, self.listener.full), (2, "paused", True))
        third = self.held_back()
        self.assertEqual((world.frontend.clients, third.handshaken), (2, False))
        self.assertEqual(
            [text for level, text in world.announced if level == "alert"],
            ["Proxy fe accepts no more clients over TLS: the process reached its maxsslconn 2"],
        )
        for leaves in (second, first):  # one in its handshake, and one that is through
            leaves.drop()
            self.loop.until(lambda: world.frontend.clients == world.places.over_tls < 2 or third.handshaken)
        self.loop.until(lambda: third.handshaken and world.frontend.clients == 1)
        self.assertEqual((self.listener.state, world.places.over_tls), ("listening", 1))
        third.drop()
        self.loop.until(lambda: not world.frontend.connections)
        self.assertEqual(world.places.over_tls, 0)
        self.end()

    def test_only_listeners_with_tls_wait(self) -> None:
        """Plain clients do not count, and come in."""
        world = self.world()
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.2"))
        plain = Listener(self.loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        world.places.limit_tls(1)
        world.frontend.listen(plain)
        early = self.loop.connect(("127.0.0.2", plain.port))
        self.loop.until(lambda: world.frontend.clients == 1)
        self.assertEqual(self.listener.state, "listening")
        self.connect()
        self.assertEqual((self.listener.state, plain.state), ("paused", "listening"))
        late = self.loop.connect(("127.0.0.2", plain.port))
        self.loop.until(lambda: world.frontend.clients == 3)
        for client in (early, late):
            client.drop()
        self.loop.until(lambda: world.frontend.clients == 1)
        self.assertEqual(self.listener.state, "paused")
        self.end()

    def test_another_limit_counts_at_once(self) -> None:
        """As after a reload: a higher one, or none, lets in who waits; a lower one lets stay who is there. A listener
        that loses its TLS waits no more."""
        world = self.world()
        client = self.connect()
        world.places.limit_tls(1)
        waiting = self.held_back()
        self.assertEqual((self.listener.state, waiting.handshaken), ("paused", False))
        world.places.limit_tls(2)
        self.loop.until(lambda: waiting.handshaken)
        self.loop.until(lambda: not self.under_way)
        self.assertEqual(self.listener.state, "paused")
        world.places.limit_tls(1)
        self.assertEqual((world.frontend.clients, self.listener.state), (2, "paused"))
        client.drop()
        self.loop.until(lambda: world.frontend.clients == 1)
        self.assertEqual(self.listener.state, "paused")
        world.places.limit_tls(0)
        self.assertEqual(self.listener.state, "listening")
        world.places.limit_tls(1)
        world.frontend.handshakes.certificates.clear()
        world.frontend.listeners.clear()
        world.frontend.listen(self.listener)
        self.assertFalse(self.listener.full)
        self.end()

    def test_handshakes_take_half_of_the_places_over_tls(self) -> None:
        """So that half handshakes keep out nobody who means it."""
        world = self.world()
        world.places.limit_tls(4)
        crowd = [self.raw() for _ in range(6)]
        self.loop.pump()
        self.assertEqual((self.under_way, world.places.over_tls), (2, 2))
        self.assertEqual([bool(far.end) for far in crowd], [True] * 4 + [False] * 2)
        self.end()

    def test_its_time(self) -> None:
        """`client-hs`, or the shorter of those for a client and for a request's head, or ours."""
        for timeouts, expected in (
            (model.Timeouts(client=30.0, http_request=10.0), 10.0),
            (model.Timeouts(client=5.0, http_request=10.0), 5.0),
            (model.Timeouts(client=5.0, client_hs=20.0), 20.0),
            (model.Timeouts(), TIMEOUT),
        ):
            world = self.world(timeouts=timeouts)
            client = self.raw()
            world.advance(expected - 1)
            self.loop.pump()
            self.assertEqual((self.under_way, client.end), (1, ""))
            world.advance(1)
            self.loop.until(lambda client=client: client.end)
            self.assertEqual(self.failures[-1].kind, "Timeout during SSL handshake")
            self.end()

    def test_a_request_has_its_time_from_the_end_of_the_handshake(self) -> None:
        """A slow handshake leaves no less of it."""
        world = self.world(timeouts=model.Timeouts(client=30.0, client_hs=20.0, http_request=10.0))
        client = self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(client_tls()))
        client.stall()
        self.loop.until(lambda: self.under_way)
        world.advance(15)
        client.go_on()
        self.loop.until(lambda: client.handshaken and not self.under_way)
        world.advance(9)
        self.loop.pump()
        self.assertEqual(client.end, "")
        world.advance(1)
        self.loop.until(lambda: client.end)
        self.assertIn(b" 408 ", client.received)
        self.end()


class StopTests(TLSListenerTestCase):
    """Stopping and reloading."""

    def test_a_handshake_under_way_has_a_moment(self) -> None:
        """And a request that comes in it is answered."""
        world = self.world()
        slow = self.raw()
        near = self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(client_tls()))
        near.stall()
        self.loop.until(lambda: self.under_way == 2)
        world.frontend.stop()
        near.go_on()
        near.send(GET)
        self.loop.until(lambda: world.server.busy)
        world.server.answer()
        self.loop.until(lambda: near.end)
        self.assertIn(b"connection: close", near.received)
        world.advance(1.1)
        self.loop.until(lambda: slow.end)
        self.end()

    def test_all_are_ended_at_last(self) -> None:
        """Those under way, too."""
        world = self.world()
        clients = [self.connect(), self.raw()]
        world.frontend.abort("proxy stopped")
        self.loop.until(lambda: all(client.end for client in clients))
        self.end()

    def test_new_handshakes_have_the_new_certificate(self) -> None:
        """After a reload; a connection that stands goes on."""
        world = self.world()
        before = self.connect()
        world.frontend.handshakes.certificates[self.listener.bind.address] = self.certificates("new server")
        world.frontend.listen(self.listener)
        after = self.connect()
        self.assertEqual((before.shown, after.shown), ("CN=server", "CN=new server"))
        for client in (before, after):
            client.send(GET)
            self.loop.until(lambda: world.server.busy)
            world.server.answer()
            self.loop.until(lambda client=client: client.received == OK)
            client.drop()
        self.loop.until(lambda: not world.frontend.connections)
        self.end()

    def reloaded(
        self, world: World, certificates: Certificates, gate: Gate | None = None, guide: Any = None
    ) -> Frontend:
        """Another frontend in the place of the world's."""
        old = world.frontend
        world.frontend = successor = Frontend(
            old.settings, world.backend, self.loop.poller, world.deadlines, world.places, old.limits, world._announce
        )
        successor.gate, successor.guide = gate, guide
        successor.handshakes.certificates[self.listener.bind.address] = certificates
        old.stop({self.listener: successor})
        successor.listen(self.listener)
        return successor

    def test_a_client_whose_handshake_ends_after_a_reload(self) -> None:
        """It goes on with the new frontend if it would be let in there; else it is asked nothing."""
        reject = Gate([(lambda arrival: True, REJECT, PLACE)])
        for change, gate, let_in in (("nothing", None, True), ("admission", None, False), ("gate", reject, False)):
            world = self.world()
            old, address = world.frontend, self.listener.bind.address
            client = self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(client_tls(), "server.test"))
            client.stall()
            self.loop.until(lambda: self.under_way == 1)
            shown = old.handshakes.certificates[address]
            if change == "admission":
                shown = self.certificates("renewed", admission="others")
            successor = self.reloaded(world, shown, gate)
            world.advance(5)  # as long as it may take in any case
            client.go_on()
            if let_in:
                self.loop.until(lambda successor=successor: len(successor.connections) == 1)
                world.advance(5)
                client.send(GET)
                self.loop.until(lambda world=world: world.server.busy)
                world.server.answer()
                self.loop.until(lambda client=client: client.received == OK)
                client.drop()
            else:
                client.send(GET)
                self.loop.until(lambda client=client: client.end)
                self.assertEqual((client.received, world.server.busy), (b"", []), change)
            self.loop.until(lambda: not self.listener.connections)
            self.assertEqual((len(old.connections), len(successor.connections)), (0, 0), change)
            self.end()

    def test_a_stream_whose_handshake_ends_after_a_reload(self) -> None:
        """It begins in the new frontend, or not at all: it may last for days."""
        reject = Gate([(lambda arrival: True, REJECT, PLACE)])
        does = Gate([], deeds=("track-sc0",))
        for change, gate, let_in in (
            ("nothing", None, True), ("admission", None, False), ("gate", reject, False), ("deeds", does, False),
        ):  # fmt: skip
            led: list[Any] = []
            world = self.world()
            old, address = world.frontend, self.listener.bind.address
            guide: Any = SimpleNamespace(looks=False, read_as="bytes", lead=led.append)
            old.guide = guide
            client = self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(client_tls(), "server.test"))
            client.stall()
            self.loop.until(lambda: self.under_way == 1)
            shown = old.handshakes.certificates[address]
            if change == "admission":
                shown = self.certificates("renewed", admission="others")
            successor = self.reloaded(world, shown, gate, guide)
            world.advance(5)  # as long as it may take in any case
            client.go_on()
            if let_in:
                self.loop.until(lambda led=led: led)
                self.assertEqual((len(old.connections), len(successor.connections)), (0, 1))
                led[0].client.abort("test over")
            else:
                self.loop.until(lambda client=client: client.end)
                self.assertEqual(led, [], change)
            self.loop.until(lambda: not self.listener.connections)
            self.assertEqual((len(old.connections), len(successor.connections)), (0, 0), change)
            self.end()

    def test_with_httpclose_a_client_has_its_time_too(self) -> None:
        """Its handshake is no sign that the frontend stops."""
        world = self.world(frontend={"connection_mode": "close"})
        client = self.connect()
        world.advance(5)
        client.send(GET)
        self.loop.until(lambda: world.server.busy)
        world.server.answer()
        self.loop.until(lambda: client.end)
        self.assertIn(b"connection: close", client.received)
        self.end()

    def test_idle_clients_at_a_reload(self) -> None:
        """They go on where nothing has changed; with another certificate for one answer more, which tells them to come
        again; and not at all where others are let in than before under their name, whatever holds under others."""
        for change, goes_on, last in (
            ("nothing", True, False),
            ("certificate", True, True),
            ("admission", False, True),
            ("name", True, True),
            ("name, strict", False, True),
        ):
            world = self.world()
            old, address = world.frontend, self.listener.bind.address
            client = self.connect()
            client.send(GET)
            self.loop.until(lambda world=world: world.server.busy)
            world.server.answer()
            self.loop.until(lambda client=client: client.received == OK)
            shown = old.handshakes.certificates[address]
            if change != "nothing":
                shown = self.certificates(
                    "renewed",
                    admission="others" if change == "admission" else None,
                    host="renamed.test" if "name" in change else "server.test",
                    strict="strict" in change,
                )
            successor = self.reloaded(world, shown)
            self.loop.pump()
            self.assertEqual((len(old.connections), len(successor.connections)), (0, int(goes_on)), change)
            if goes_on:
                client.send(GET)
                self.loop.until(lambda world=world: world.server.busy)
                world.server.answer()
                self.loop.until(lambda client=client: len(client.received) > len(OK))
                self.assertEqual(b"connection: close" in client.received, last, change)
                client.drop()
            self.loop.until(lambda world=world: not self.listener.connections)
            self.end()


class SaidTests(TLSListenerTestCase):
    """What an operator reads."""

    def test_each_reason_is_said_once_in_a_while(self) -> None:
        """Whatever the client made of it; the others are counted."""
        self.world()
        for path in (b"/1", b"/2", b"/3"):
            client = self.raw()
            client.send(b"GET " + path + b" HTTP/1.1\r\n\r\n")
            self.loop.until(lambda client=client: client.end)
        (said,) = self.said()
        self.assertIn("Proxy fe: TLS handshake with 127.0.0.1:", said)
        self.assertIn(
            " at bind 127.0.0.1:0 failed: a plain HTTP request came (GET /1): the client must say https", said
        )
        self.made.clock.advance(11)
        self.raw().drop()
        self.loop.until(lambda: not self.under_way)
        self.assertIn("(3 failed handshakes since the last line)", self.said()[1])
        self.assertEqual((len(self.failures), self.made.frontend.handshakes.counts.failed), (4, 4))
        self.end()

    def test_a_refused_client_certificate(self) -> None:
        """The whole sentence."""
        self.world(terms=offer(verify="required"))
        stranger = certificates().stranger.issue("visitor", client=True, key="ecdsa")
        self.connect(client_tls(stranger, version=SSL.TLS1_2_VERSION)).drop()
        self.loop.until(lambda: self.failures)
        (said,) = self.said()
        self.assertTrue(
            said.endswith(
                "failed: client certificate refused: unable to get local issuer certificate"
                " (certificate 0 of the chain, CN=visitor, issued by CN=unknown CA);"
                f" trusted are those of ca-file {certificates().ca_file} (CN=test CA);"
                " alert unknown ca sent"
            ),
            said,
        )
        self.end()

    def line(self, *, name: str = "", dontlognull: bool = False, data: bytes = b"", errors: str = "") -> list[str]:
        """The access log's, of one client that says `data` and goes; `errors` is its `error-log-format`."""
        made = read_format(errors, "", of_log=True) if errors else None
        world = self.world(frontend={"dontlognull": dontlognull, "log": LogSettings(errors=made)})
        lines: list[str] = []
        self.listener.bind = model.Bind(PLACE, self.listener.bind.address, name=name)
        world.frontend.handshakes.log = HandshakeLog(world.frontend, lines.append, lambda: 86400.25)
        in_utc(self)
        client = self.raw()
        if data:
            client.send(data)
            self.loop.pump()
        self.port = client.socket.getsockname()[1] if not client.end else 0
        if not client.end:
            client.drop()
        self.loop.until(lambda: not self.under_way)
        self.end()
        return lines

    def test_the_line_of_the_access_log(self) -> None:
        """HAProxy's: the bind by its name, or by its number."""
        date = "[02/Jan/1970:00:00:00.250]"
        self.assertEqual(self.line(), [f"127.0.0.1:{self.port} {date} fe/1: Connection closed during SSL handshake"])
        (line,) = self.line(name="front", data=b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(line.endswith(f" {date} fe/front: SSL handshake failure"), line)

    def test_a_format_of_its_own(self) -> None:
        """`error-log-format`: what HAProxy shows where there was no request, and its number and words of the fault."""
        text = "%ci %f %b %s %ST %ts %tsc %TR %Th %B %r %hr %ac %t %[fc_err] %[fc_err_str] %[src] %[ssl_fc_err] %sslv|"
        (line,) = self.line(data=b"GET / HTTP/1.1\r\n\r\n", errors=text)
        said = "127.0.0.1 fe fe <NOSRV> 0 PR PR-- -1 -1 0 <BADREQ> 0 02/Jan/1970:00:00:00.250 34 SSL handshake failure"
        self.assertEqual(line, f"{said} 127.0.0.1 - -|")
        (line,) = self.line(errors="%[fc_err] %[fc_err_str] %[fe_conn(fe)] %[src_conn_cnt(none)] %[src,map(/none)]")
        self.assertEqual(line, "24 Connection closed during SSL handshake 0 - -")

    def test_by_whom_it_was_announced(self) -> None:
        """A client of which a PROXY protocol header has spoken, and whose handshake fails."""
        made = read_format("%ci %fi:%fp %[src] %[dst] %[fc_src]", "", of_log=True)
        world = self.world(frontend={"log": LogSettings(errors=made)})
        world.frontend.gate = gate_of(" tcp-request connection expect-proxy layer4")
        lines: list[str] = []
        world.frontend.handshakes.log = HandshakeLog(world.frontend, lines.append, lambda: 0.0)
        self.raw().send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 443\r\nGET / HTTP/1.1\r\n\r\n")
        self.loop.until(lambda: lines)
        self.assertEqual(lines, ["192.0.2.7 192.0.2.8:443 192.0.2.7 192.0.2.8 127.0.0.1"])
        self.end()

    def test_what_was_wrong_with_its_certificate(self) -> None:
        """As HAProxy's manual shows it in its own `error-log-format`; of the handshake itself little is known."""
        text = (
            "%[fc_err] %[ssl_c_err] %[ssl_c_ca_err] %[ssl_c_verify] %[ssl_fc] %[ssl_fc_err] %[ssl_c_s_dn] %sslv %sslc"
        )
        made = read_format(text, "", of_log=True)
        stranger = certificates().stranger.issue("visitor", client=True, key="ecdsa")
        for client, said in (
            (client_tls(stranger, version=SSL.TLS1_2_VERSION), "31 20 0 20 1 - - - -"),
            (None, "24 0 0 0 1 - - - -"),
        ):
            world = self.world(terms=offer(verify="required"), frontend={"log": LogSettings(errors=made)})
            lines: list[str] = []
            world.frontend.handshakes.log = HandshakeLog(world.frontend, lines.append, lambda: 86400.25)
            (self.raw() if client is None else self.connect(client)).drop()
            self.loop.until(lambda: not self.under_way)
            self.assertEqual(lines, [said])
            self.end()

    def test_dontlognull(self) -> None:
        """Leaves out who went without a word, or in the middle, and not who was refused."""
        self.assertEqual(self.line(dontlognull=True), [])
        self.assertEqual(self.line(dontlognull=True, data=hello()[:50]), [])
        self.assertEqual(len(self.line(dontlognull=True, data=b"GET / HTTP/1.1\r\n\r\n")), 1)
