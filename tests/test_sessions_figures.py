"""Numbers that rules ask for of an exchange, its sections and its connections."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.figures import figure
from reusedproxy.clients.gate import Arrival
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.logs import NO_CAPTURES
from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.formats import needs_answer, read_format
from reusedproxy.net.tcp_info import tcp_info
from reusedproxy.rules.facts import Noted
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.process_fetches import MEASURED, OWN
from reusedproxy.sessions.course import number_of
from reusedproxy.sessions.figures import CLIENT_FIGURES, LOCAL_ADDRESSES, OWN_FIGURES
from tests.clientfakes import get
from tests.rulefakes import Seen, ruled

#: Of the words of time-outs, each another one; `tunnel` is not set.
TIMES = Timeouts(connect=4.0, server=7.0, queue=1.5, tarpit=0.25)


def tcp_pair(test: SynchronousTestCase) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    test.addCleanup(near.close)
    test.addCleanup(far.close)
    return near, far


def carried(**others: Any) -> Any:
    """A request that has a backend, and nothing of its own."""
    frontend = SimpleNamespace(settings=SimpleNamespace(timeouts=Timeouts(client=5.0)))
    backend = SimpleNamespace(settings=SimpleNamespace(timeouts=TIMES, retries=3))
    made = SimpleNamespace(
        client=SimpleNamespace(frontend=frontend),
        backend=backend,
        connection=None,
        own_timeouts=None,
        noted=None,
        most_retries=None,
    )
    for name, value in others.items():
        setattr(made, name, value)
    return made


def own(which: str, of: Any, unit: str = "") -> Any:
    return OWN_FIGURES[which](of, unit)


class TimeoutTests(SynchronousTestCase):
    def test_those_of_the_backend(self) -> None:
        """0 for one that waits for ever, as in HAProxy."""
        frontend: Any = SimpleNamespace(backends={"b": carried().backend})
        expected = {"connect": 4000, "server": 7000, "queue": 1500, "tarpit": 250, "tunnel": 0}
        for which, value in expected.items():
            self.assertEqual(figure(f"be_{which}_timeout", "b", frontend), value, which)
            self.assertIsNone(figure(f"be_{which}_timeout", "", frontend))
            self.assertEqual(own(f"cur_{which}_timeout", carried()), value, which)
        self.assertEqual(figure("be_max_retries", "b", frontend), 3)
        self.assertEqual((own("cur_client_timeout", carried()), own("cur_max_retries", carried())), (5000, 3))

    def test_those_that_rules_have_set(self) -> None:
        of = carried(own_timeouts={"server": 2.0, "client": 9.0}, most_retries=0)
        found = [own(f"cur_{which}_timeout", of) for which in ("server", "client", "connect")]
        self.assertEqual((found, own("cur_max_retries", of)), ([2000, 9000, 4000], 0))

    def test_before_there_is_a_backend(self) -> None:
        """The client's is known."""
        of = carried(backend=None)
        self.assertEqual(own("cur_client_timeout", of), 5000)
        self.assertEqual([own(which, of) for which in ("cur_server_timeout", "cur_max_retries")], [None, None])


class KernelTests(SynchronousTestCase):
    def test_what_is_measured(self) -> None:
        """Times in both units; what is not acknowledged is counted in segments."""
        near, far = tcp_pair(self)
        of = carried()
        of.client.transport = SimpleNamespace(socket=near)
        of.connection = SimpleNamespace(transport=SimpleNamespace(socket=far))
        for name in ("fc_rtt", "bc_rtt", "fc_rttvar", "bc_rttvar"):
            for _ in range(1000):  # an acknowledgement may be under way, with which the kernel measures once more
                before, *coarse, fine = (own(name, of, unit) for unit in ("us", "ms", "", "us"))
                if before == fine:
                    break
            assert fine is not None
            self.assertTrue(0 < fine < 60_000_000, fine)
            self.assertEqual(coarse, [fine // 1000] * 2)
        self.assertGreaterEqual(own("fc_reordering", of) or 0, 3)
        self.assertEqual([own(f"fc_{what}", of) for what in ("sacked", "lost", "retrans")], [0, 0, 0])
        self.assertIn(own("fc_unacked", of), (0, 1))

    def test_of_a_connection_that_has_been_given_back(self) -> None:
        """As it was noted for the log."""
        near, _ = tcp_pair(self)
        of = carried(noted=Noted.of(NO_CAPTURES))
        self.assertIsNone(own("bc_rtt", of, "us"))
        of.noted.server_socket = near
        self.assertIsInstance(own("bc_rtt", of, "us"), int)
        self.assertTrue(needs_answer(read_format("%[bc_rtt]", "here")))

    def test_where_nothing_is_measured(self) -> None:
        """A socket that is closed, one that is not of TCP, and a request without a server."""
        near, _ = tcp_pair(self)
        near.close()
        unix, other = socket.socketpair()
        self.addCleanup(unix.close)
        self.addCleanup(other.close)
        self.assertEqual((tcp_info(near, "rtt"), tcp_info(unix, "rtt"), own("bc_rtt", carried())), (None, None, None))

    def test_of_a_client_that_has_just_come(self) -> None:
        """`tcp-request connection` can ask."""
        near, _ = tcp_pair(self)
        nobody: Any = None
        arrival = Arrival(near, ("127.0.0.1", 1), nobody, nobody)
        for which in CLIENT_FIGURES:
            self.assertIsInstance(arrival.figure(which, ""), int)


class FetchTests(SynchronousTestCase):
    def test_each_asks_for_its_figure(self) -> None:
        """With the unit, where it takes one."""
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        asked = []
        facts.figure = lambda which, name: asked.append((which, name))  # type: ignore[method-assign]
        for name in (*OWN, *MEASURED):
            compiled(read_expression(name, "here"), "response")(facts)
        compiled(read_expression("fc_rtt(us)", "here"))(facts)
        self.assertEqual(asked, [*((name, "") for name in (*OWN, *MEASURED)), ("fc_rtt", "us")])
        self.assertRaises(Wrong, read_expression, "fc_rtt(s)", "here")

    def test_in_rules(self) -> None:
        """Of the frontend and its process, and what a rule has set for the request."""
        said = "%[fe_defbe] %[stopping] %[fe_client_timeout] %[cur_client_timeout]"
        world = ruled(
            self,
            "http-request set-timeout client 3s\n http-request return status 200 content-type text/plain"
            f' lf-string "{said}"',
        )
        client = world.client()
        client.send(get("/"))
        timeout = round((world.frontend.settings.timeouts.client or 0) * 1000)
        self.assertEqual(client.take().partition(b"\r\n\r\n")[2], f"be 0 {timeout} 3000".encode())
        self.assertIs(world.frontend.figure("stopping", ""), False)
        world.frontend.process_began = world.deadlines.now() - 7.9
        self.assertEqual(world.frontend.figure("uptime", ""), 7)
        world.frontend.stop()
        self.assertIs(world.frontend.figure("stopping", ""), True)


class OutcomeTests(SynchronousTestCase):
    """What `when` asks, the numbers of sections, our own end of the server's connection, and the last rule."""

    def test_what_has_become_of_it(self) -> None:
        of = carried(flags="--", redispatched=False, retries=0, status=200, connected=0.0, applet="")
        asked = ("error", "forwarded", "toapplet")
        for changed, values in (
            ({}, [False, False, False]),
            ({"connected": 1.0}, [False, True, False]),
            ({"applet": "<STATS>"}, [False, False, True]),
            ({"status": 503}, [True, False, False]),
            ({"flags": "SC"}, [True, False, False]),
            ({"flags": "LR", "retries": 1}, [False, False, False]),
            ({"retries": 1}, [True, False, False]),
            ({"redispatched": True}, [True, False, False]),
        ):
            made = carried(**{**vars(of), **changed})
            self.assertEqual([own(each, made) for each in asked], values, changed)

    def test_numbers_of_listeners(self) -> None:
        """Those that their lines say; others get what is free."""
        listeners = [SimpleNamespace(bind=SimpleNamespace(id=number)) for number in (0, 2, 0, 9, 0)]
        self.assertEqual([number_of(each, listeners) for each in listeners], [1, 2, 3, 9, 4])
        self.assertEqual(number_of(SimpleNamespace(bind=SimpleNamespace(id=0)), listeners), 0)

    def test_numbers_of_sections(self) -> None:
        of = carried(server=None, backend=None)
        of.client.frontend.settings = SimpleNamespace(id=3)
        self.assertEqual([own(each, of) for each in ("be_id", "srv_id")], [3, None])
        of.backend = SimpleNamespace(settings=SimpleNamespace(id=5))
        of.server = SimpleNamespace(settings=SimpleNamespace(id=7))
        self.assertEqual([own(each, of) for each in ("be_id", "srv_id")], [5, 7])

    def test_our_end_of_the_servers_connection(self) -> None:
        near, _ = tcp_pair(self)
        host, port = near.getsockname()
        of = carried(connected=1.0)
        of.connection = SimpleNamespace(transport=SimpleNamespace(socket=near))
        self.assertEqual([str(own("bc_src", of)), own("bc_src_port", of), own("bc_nb_streams", of)], [host, port, 1])
        of = carried(noted=Noted.of(NO_CAPTURES), connected=0.0)
        self.assertEqual([own(each, of) for each in ("bc_src", "bc_src_port", "bc_nb_streams")], [None] * 3)
        self.assertEqual([own("bc_reused", each) for each in (carried(), of)], [False, False])
        of.noted.reused = True
        self.assertIs(own("bc_reused", of), True)
        of.noted.source = ("unix", 0)
        self.assertEqual([own(each, of) for each in ("bc_src", "bc_src_port")], [None, None])

    def test_whether_an_address_is_ours(self) -> None:
        of = carried(source=("127.0.0.1", 1), destination=("::1", 1), connection_source=("192.0.2.1", 1))
        of.connection_destination, of.client.transport = ("unix", 0), SimpleNamespace(socket=socket.socket())
        self.addCleanup(of.client.transport.socket.close)
        asked = ("src_is_local", "dst_is_local", "fc_src_is_local", "fc_dst_is_local")
        self.assertEqual([own(each, of) for each in asked], [True, True, False, True])
        of.destination = "", 0  # its socket is closed
        self.assertIsNone(own("dst_is_local", of))

    def test_whether_a_link_local_address_is_ours_is_asked_of_its_interface(self) -> None:
        """Without one the kernel knows none: a rule that keeps this machine out let it in over fe80::/10. One that no
        end of the connection has names no interface."""
        tried: list[tuple[object, ...]] = []

        class Trial(socket.socket):
            def bind(self, address: Any) -> None:
                tried.append(address)
                if address[3] != 7:
                    raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(socket, "socket", Trial)
        ends = {"getpeername": lambda: ("fe80::1", 1, 0, 7), "getsockname": lambda: ("fe80::2", 1, 0, 7)}
        connection = SimpleNamespace(**ends)
        of = carried(source=("fe80::3", 1), destination=("fe80::2", 1), connection_source=("fe80::1", 1))
        of.connection_destination, of.client.transport = ("fe80::2", 1), SimpleNamespace(socket=connection)
        self.assertEqual([own(each, of) for each in LOCAL_ADDRESSES], [False, True, True, True])
        arrival = Arrival(connection, ("fe80::1", 1), of.client, of.client)  # type: ignore[arg-type]
        self.assertEqual([arrival.figure(each, "") for each in LOCAL_ADDRESSES], [True] * 4)
        self.assertEqual(tried[0], ("fe80::3", 0, 0, 0))

    def test_what_was_noted_of_rules_and_compression(self) -> None:
        of = carried(noted=None)
        asked = ("last_rule_file", "last_rule_line", "last_entity", "res.comp", "res.comp_algo")
        self.assertEqual([own(each, of) for each in asked], [None, None, None, False, None])
        of.noted = Noted.of(NO_CAPTURES)
        self.assertEqual([own(each, of) for each in asked], [None, None, None, False, None])
        of.noted.last_rule, of.noted.compression = Place("a.cfg", 7), "gzip"
        self.assertEqual([own(each, of) for each in asked], [b"a.cfg", 7, b"a.cfg:7", True, b"gzip"])
