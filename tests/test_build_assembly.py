"""From a configuration to living objects: what is refused on the way, and that nothing but a refusal comes of it."""

from __future__ import annotations

import os
import socket
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.log_lines import unread_outputs
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.reloading.succession import hand_on_states
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Authority
from reusedproxy.operators.logs.targets import is_discarded
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import Name, NameRefused
from reusedproxy.wire.heads import Limits
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.ports import free_port
from tests.services import Reactor

HEAD = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"


class FaultTests(SynchronousTestCase):
    """Whatever is wrong with files, names and addresses is told with its line."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)

    def refused(self, text: str, *, bind: bool = False) -> str:
        file = self.directory / "proxy.cfg"
        file.write_text(HEAD + text)
        return str(self.assertRaises(Refused, ProxyService(Clock(), [str(file)]).assemble, bind=bind))

    def test_a_directory_of_authorities_that_may_not_be_read(self) -> None:
        """A daemon that has become an ordinary user meets it at a reload, where an exception would be nobody's."""
        denied = PermissionError(13, "Permission denied")
        text = f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n"
        text += f" server s {LOOPBACK}:1 ssl ca-file {self.directory} verifyhost s.test\n"
        with mock.patch("os.listdir", side_effect=denied), mock.patch("os.scandir", side_effect=denied):
            lines = self.refused(text)
        self.assertIn(f"proxy.cfg:10: server b/s: ca-file {self.directory}: cannot be read: Permission denied", lines)

    def test_both_files_of_a_server_that_are_missing_are_named(self) -> None:
        """And of relative names where they were looked for, and how that is changed."""
        text = f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n"
        lines = self.refused(f"{text} server s {LOOPBACK}:1 ssl verifyhost s.test ca-file ca.none crt /none/a.pem\n")
        crt, ca = lines.splitlines()
        self.assertTrue(crt.endswith("crt /none/a.pem: cannot be read: No such file or directory"), crt)
        self.assertIn(f"server b/s: ca-file ca.none: cannot be read: No such file or directory in {os.getcwd()}", ca)
        self.assertIn("'default-path config'", ca)

    def test_what_is_wrong_with_a_template_is_told_once(self) -> None:
        """And of the template, not of one of its servers."""
        text = f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n server-template t 9 name.invalid:1 ssl"
        with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-2, "Name or service not known")):
            said = self.refused(f"{text} verify none crt /none/a.pem\n").splitlines()
        lines = [each for each in said if "[ALERT]" in each]
        self.assertEqual(len(lines), 2, said)
        self.assertIn("server-template b/t: crt /none/a.pem: cannot be read", "".join(lines))

    def test_a_list_that_is_fetched_need_not_be_there_yet(self) -> None:
        """But one that is not fetched has to; and a file has one place where it comes from."""
        ca = Authority("a CA").write(self.directory / "ca.pem")
        text = f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n"
        tls = f"ssl verifyhost s.test ca-file {ca} crl-file {self.directory}/ca.crl"
        self.assertIn("ca.crl: cannot be read", self.refused(f"{text} server s {LOOPBACK}:1 {tls}\n"))
        file = self.directory / "proxy.cfg"
        file.write_text(f"{HEAD}{text} server s {LOOPBACK}:1 {tls} crl-url http://a/x\n")
        proxy = ProxyService(Clock(), [str(file)]).assemble(bind=False)
        self.addCleanup(proxy.logs.close)
        self.assertEqual(proxy.list_sources[f"{self.directory}/ca.crl"].ca_files, (str(ca),))
        self.assertEqual([*proxy.list_fetches], ["http://a/x"])
        (self.directory / "ca.crl").touch()  # as a loss of power may have left it
        ProxyService(Clock(), [str(file)]).assemble(bind=False).logs.close()
        self.assertIn("ca.crl: is empty", self.refused(f"{text} server s {LOOPBACK}:1 {tls}\n"))
        file.write_text(f"{HEAD}{text} server s {LOOPBACK}:1 {tls} crl-url http://a/x\n")
        second = f" server t {LOOPBACK}:1 {tls} crl-url"
        lines = self.refused(f"{file.read_text().removeprefix(HEAD)}{second} http://b/x\n")
        self.assertIn("proxy.cfg:11: server b/t: 'crl-file", lines)
        self.assertIn("is fetched for other servers with other 'crl-url' words", lines)

    def test_what_no_start_can_use_is_found_by_a_check(self) -> None:
        """The init script stops the old daemon when a check has found nothing wrong."""
        for line, why in (
            (f"unix@{self.directory}/a user nix", "there is no user 'nix'"),
            (f"unix@{self.directory}/a group nix", "there is no group 'nix'"),
            (f"unix@{self.directory}/a user nix group nix", "there is no user 'nix', and there is no group 'nix'"),
            (f"unix@{self.directory}/a user 99999999999", "'99999999999' is no number of a user"),
            (f"unix@{self.directory}/a user ²", "there is no user '²'"),
            (f"unix@{self.directory}/none/a", "No such file or directory"),
        ):
            text = f"frontend f\n bind {line}\n default_backend b\nbackend b\n server s {LOOPBACK}:1\n"
            for bind in (False, True):
                self.assertRegex(self.refused(text, bind=bind), f"proxy.cfg:7: cannot listen on [^ ]+: {why}")

    def test_each_file_of_a_line_that_cannot_be_used_is_named(self) -> None:
        """Not the first alone."""
        text = f"frontend f\n bind {LOOPBACK}:0 ssl crt /none/a.pem ca-file /none/b.pem crl-file /none/c.pem"
        text += f" verify required\n default_backend b\nbackend b\n server s {LOOPBACK}:1 ssl verifyhost s.test"
        said = self.refused(f"{text} crt /none/d.pem ca-file /none/e.pem crl-file /none/f.pem\n")
        for name in "abcdef":
            self.assertIn(f"/none/{name}.pem: cannot be read", said)

    def test_sockets_that_were_bound_are_closed_again_when_something_else_is_wrong(self) -> None:
        """So that the next attempt, in a reload for instance, finds its ports free."""
        port = free_port()
        text = f"frontend f\n bind {LOOPBACK}:{port}\n default_backend b\nbackend b\n"
        text += f" server s {LOOPBACK}:1 ssl verify none crt {self.directory}/none.pem\n"
        self.assertIn("none.pem: cannot be read", self.refused(text, bind=True))
        socket.create_server((LOOPBACK, port)).close()

    def test_a_socket_that_stays_and_cannot_have_its_new_mode_is_a_fault(self) -> None:
        """It would go on for those whom its line shuts out."""
        file = self.directory / "proxy.cfg"
        text = f"{HEAD}frontend f\n bind unix@{self.directory}/a mode {{}}\n default_backend b\nbackend b\n"
        file.write_text(text.format("666"))
        service = ProxyService(Reactor(), [str(file)])
        proxy = service.assemble(bind=True)
        self.addCleanup(proxy.listeners[0][1].close)
        file.write_text(text.format("600"))
        own = os.geteuid()
        self.patch(os, "geteuid", lambda: own + 1)
        error = self.assertRaises(Refused, service.assemble, bind=True)
        self.assertIn("the daemon is user", str(error))

    def test_an_ipv6_socket_of_the_process_before_that_shuts_out_ipv4_clients_is_told(self) -> None:
        """It goes on as it was bound, as at a reload."""
        file = self.directory / "proxy.cfg"
        file.write_text(f"{HEAD}frontend f\n bind [::]:0\n default_backend b\nbackend b\n server s {LOOPBACK}:1\n")
        for only in (0, 1):
            theirs = socket.socket(socket.AF_INET6)
            self.addCleanup(theirs.close)
            theirs.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            theirs.bind(("::", 0))
            service = ProxyService(Reactor(), [str(file)])
            given = mock.Mock(states="")
            given.take.return_value = theirs.dup(), None
            self.patch(service, "_takeover", given)
            proxy = service.assemble(bind=True)
            self.addCleanup(proxy.listeners[0][1].close)
            self.assertEqual("takes no IPv4 clients" in str(proxy.notices), bool(only))


class NameTests(SynchronousTestCase):
    """Which of a server's pools keeps the floor: requests have to find what stands there."""

    def test_the_floor_is_in_the_pool_of_the_name_that_is_known(self) -> None:
        """`check-sni`, or what `pool-conn-name` always is; where no name is known no request goes to the first pool."""
        file = temporary_directory(self) / "proxy.cfg"
        for words, requests_name, own in (
            ("check-sni a.test pool-min-conn 2", Name(b"a.test", b"a.test"), b"a.test"),
            ("check-sni a.test pool-conn-name str(all) pool-min-conn 2", Name(b"all", b"b.test"), b"all"),
            ("check-sni a.test pool-conn-name str(All),lower pool-min-conn 2", Name(b"all", b"b.test"), b"all"),
            ("pool-conn-name str(all)", Name(b"all", b"b.test"), None),
            ("check-sni a.test pool-conn-name req.hdr(x)", Name(b"a.test", b"a.test"), None),
            ("check-sni a.test send-proxy", Name(b"a.test", b"a.test", b"PROXY"), None),
            ("", Name(b"", b""), b""),
        ):
            server = f" server s {LOOPBACK}:1 ssl verify none sni req.hdr(host) {words}\n"
            file.write_text(f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n{server}")
            pool = ProxyService(Clock(), [str(file)]).assemble(bind=False).lines["b/s"].pool
            assert isinstance(pool, ConstantPool)
            self.assertEqual(pool.names.own, own, words)
            self.assertEqual(pool.named(requests_name) is pool, own is not None, words)
            pool.close("over")

    def test_a_server_whose_name_is_unknown_is_not_connected_to(self) -> None:
        """Where verification is required and `sni` finds nothing in the request, nobody would be verified."""
        directory = temporary_directory(self)
        authority = Authority()
        authority.write(directory / "ca.pem")
        for words, key, refused in (
            ("", b"", True),
            ("sni-auto", b"", True),
            ("sni req.hdr(host)", b"", True),
            ("sni req.hdr(host) check-sni a.test", b"", True),
            ("sni req.hdr(host) pool-conn-name req.hdr(x)", b"x", True),
            ("pool-conn-name req.hdr(x)", b"", True),
            ("sni req.hdr(host) verifyhost a.test", b"", False),
            ("sni req.hdr(host) verifyhost a.test send-proxy", b"", False),
            ("sni req.hdr(host) send-proxy", b"", True),
            ("no-sni-auto pool-conn-name req.hdr(x)", b"x", False),
            ("verify none", b"", False),
        ):
            server = f" server s {LOOPBACK}:1 ssl ca-file {directory}/ca.pem {words}\n"
            file = directory / "proxy.cfg"
            file.write_text(f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n{server}")
            pool = ProxyService(Clock(), [str(file)]).assemble(bind=False).lines["b/s"].pool
            assert isinstance(pool, ConstantPool)
            if refused:
                fault = self.assertRaises(NameRefused, pool.named, Name(key, b""))
                self.assertIn("finds no name in this request, so no certificate could be verified", str(fault))
            else:
                pool.named(Name(key, b""))
            pool.named(Name(key or b"b.test", b"b.test"))
            pool.close("over")


class NoticeTests(SynchronousTestCase):
    """What an operator should hear though all is well enough to start."""

    def test_sockets_that_no_connection_to_a_server_can_have_are_told(self) -> None:
        """HAProxy says nothing; each connection fails there, too."""
        lines = (
            "a [::1]:1 source 127.0.0.1",
            "b 127.0.0.1:1 source ::1",
            "c unix@/x cc reno source 127.0.0.1",
            "d 127.0.0.1:1 cc reno source 127.0.0.1",
            "e [::1]:1 source *:2000",
        )
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(f"{HEAD}listen b\n bind {LOOPBACK}:0\n" + "".join(f" server {line}\n" for line in lines))
        notices = ProxyService(Clock(), [str(file)]).assemble(bind=False).notices
        families = "one address is of IPv4, the other one of IPv6"
        self.assertEqual(
            [(each.level, each.text) for each in notices if "server b/" in each.text],
            [
                (
                    "warning",
                    f"server b/a: 'source 127.0.0.1': no connection can come from there to [::1]:1: {families}",
                ),
                ("warning", f"server b/b: 'source ::1': no connection can come from there to 127.0.0.1:1: {families}"),
                ("notice", "server b/c: 'source' does nothing where the server is a unix socket"),
                ("notice", "server b/c: 'cc' does nothing where the server is a unix socket"),
            ],
        )

    def test_a_log_socket_that_is_not_there_is_said_once_at_the_start(self) -> None:
        """Not by --check, which is run elsewhere, too."""
        directory = temporary_directory(self)
        file, path = directory / "proxy.cfg", directory / "log"
        file.write_text(f"global\n log {path} local0\n{HEAD} log global\nfrontend f\n bind {LOOPBACK}:0\n")

        def heard(*, bind: bool) -> list[str]:
            proxy = ProxyService(Clock(), [str(file)]).assemble(bind=bind)
            for _, listener in proxy.listeners:
                listener.close()
            return [f"{notice.place.line}: {notice.text}" for notice in proxy.notices if "'log" in notice.text]

        said = f"2: 'log {path}': there is no such socket; until that has changed, 1 MB of its lines waits"
        said += " and the rest is lost"
        self.assertEqual((heard(bind=True), heard(bind=False)), ([said], []))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            self.assertEqual(heard(bind=True), [])
        self.assertIn("nobody listens there", *heard(bind=True))
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(path))
            server.listen()
            self.assertIn("takes streams", *heard(bind=True))
        path.unlink()
        path.touch()
        self.assertIn("it is no socket", *heard(bind=False))

    def test_an_output_that_nobody_reads_is_said_once(self) -> None:
        """In the background standard output is /dev/null."""
        text = f"global\n log stdout format raw local0\n{HEAD} log global\nfrontend f\n bind :1\n log stdout local1\n"
        configuration = read_configuration([Source("t.cfg", text)], {})
        self.assertEqual([*unread_outputs(configuration, lambda descriptor: descriptor == 2)], [])
        (said,) = unread_outputs(configuration, lambda descriptor: descriptor == 1)
        self.assertEqual(said.place.line, 2)
        self.assertIn("'log stdout': nobody reads what this process writes there", said.text)

    def test_what_is_written_to_dev_null_is_lost(self) -> None:
        null, (read, write) = os.open(os.devnull, os.O_WRONLY), os.pipe()
        found = [is_discarded(each) for each in (null, write, 1 << 20)]
        for each in (null, read, write):
            os.close(each)
        self.assertEqual(found, [True, False, True])


class LimitTests(SynchronousTestCase):
    """What the `tune` words of HAProxy come to."""

    def limits(self, text: str) -> Limits:
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(f"global\n{text}{HEAD}frontend f\n bind {LOOPBACK}:0\n")
        (frontend,) = ProxyService(Clock(), [str(file)]).assemble(bind=False).frontends
        return frontend.limits

    def test_a_head_has_what_bufsize_leaves_and_maxhdr_lines_with_its_first(self) -> None:
        """HAProxy's manual; its defaults are those of the wire alone."""
        said = " tune.bufsize 8192\n tune.maxrewrite 2048\n tune.http.maxhdr 20\n"
        self.assertEqual(self.limits(said), Limits(max_head=6144, max_headers=19))
        self.assertEqual(self.limits(" tune.bufsize 65536\n"), Limits(max_head=64512, buffer=65536))
        self.assertEqual(self.limits(""), Limits())


class SuccessionTests(SynchronousTestCase):
    """What a reload hands on from server to server."""

    TEXT = f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n"

    def setUp(self) -> None:
        self.file = temporary_directory(self) / "proxy.cfg"
        self.service = ProxyService(Clock(), [str(self.file)])
        self.said: list[str] = []
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))

    def assemble(self, *servers: str) -> Proxy:
        """By these lines, in place of what was there before."""
        self.file.write_text(self.TEXT + "".join(f" server {server}\n" for server in servers))
        return self.service.assemble(bind=False)

    def states(self, proxy: Proxy) -> list[str]:
        return [line.server.state for line in proxy.lines.values()]

    def test_orders_and_what_checks_found_go_on(self) -> None:
        """Also where the address is another one: it is the server that has the name."""
        old = self.assemble(
            "a 192.0.2.1:1", "c 192.0.2.1:1 check", "d 192.0.2.1:1 disabled", "e 192.0.2.1:1 check fall 1"
        ).lines
        backend = self.service.proxy.backends[0]  # type: ignore[union-attr]
        backend.set_state(old["b/a"].server, DRAIN)
        backend.set_state(old["b/d"].server, READY)
        backend.server_changed(old["b/c"].server, DOWN, "x")
        new = self.assemble(
            "a 192.0.2.1:2", "c 192.0.2.1:1 check", "d 192.0.2.1:1 disabled", "e 192.0.2.1:1 check fall 1"
        )
        self.assertEqual(self.states(new), [DRAIN, DOWN, UP, UP])
        self.assertEqual([new.lines[name].checker.health for name in ("b/c", "b/e")], [0, 2])  # type: ignore[union-attr]

    def test_a_word_of_the_file_that_has_changed_counts_more(self) -> None:
        old = self.assemble("a 192.0.2.1:1", "c 192.0.2.1:1 disabled")
        for line in old.lines.values():
            old.backends[0].set_state(line.server, DRAIN)
        self.assertEqual(self.states(self.assemble("a 192.0.2.1:1 disabled", "c 192.0.2.1:1")), [MAINT, UP])

    def test_an_order_that_comes_while_the_new_one_is_tried_counts_too(self) -> None:
        """And the log says which stand."""
        old = self.assemble("a 192.0.2.1:1", "c 192.0.2.1:1 check", "d 192.0.2.1:1 disabled")
        new = self.assemble("a 192.0.2.1:1", "c 192.0.2.1:1 check", "d 192.0.2.1:1 disabled")
        old.backends[0].set_state(old.lines["b/a"].server, MAINT)
        old.backends[0].server_changed(old.lines["b/c"].server, DOWN, "x")
        self.said.clear()
        hand_on_states(old, new, self.service.announce)
        self.assertEqual(self.states(new), [MAINT, DOWN, MAINT])
        self.assertEqual(new.lines["b/c"].checker.health, 0)  # type: ignore[union-attr]
        self.assertFalse(new.backends[0].usable)
        self.assertEqual(self.said, ["Server b/a stays MAINT, as was ordered before the reload"])

    def test_weights_and_limits_that_were_ordered_go_on(self) -> None:
        """As long as the file says what it said."""
        text = ("a 192.0.2.1:1 weight 10", "c 192.0.2.1:1 weight 10 maxconn 9")
        old = self.assemble(*text)
        for name, backend in (("b/a", old.backends[0]), ("b/c", old.backends[0])):
            backend.set_weight(old.lines[name].server, 3)
            backend.set_maxconn(old.lines[name].server, 7)
        self.said.clear()
        new = self.assemble("a 192.0.2.1:1 weight 10", "c 192.0.2.1:1 weight 5 maxconn 8")
        hand_on_states(old, new, self.service.announce)
        servers = [line.server for line in new.lines.values()]
        self.assertEqual([(each.weight, each.limit) for each in servers], [(3, 7), (5, 8)])
        kept = "Server b/a keeps {}, as was ordered before the reload"
        self.assertEqual(self.said, [kept.format("weight 3"), kept.format("maxconn 7")])

    def test_a_limit_of_a_frontend_that_was_ordered_goes_on(self) -> None:
        """As long as the file says what it said, however often it is read."""
        old, found = self.assemble("a 192.0.2.1:1"), []
        old.frontends[0].set_maxconn(5)
        for said in ("", "", " maxconn 9\n", " maxconn 9\n"):
            self.said.clear()
            self.TEXT = f"{HEAD}frontend f\n bind {LOOPBACK}:0\n{said} default_backend b\nbackend b\n"
            new = self.assemble("a 192.0.2.1:1")
            hand_on_states(old, new, self.service.announce)
            found.append((new.frontends[0].maxconn, len(self.said)))
            old = new
        self.assertEqual(found, [(5, 1), (5, 1), (9, 0), (9, 0)])


class EventTests(SynchronousTestCase):
    """Where an operator reads what happens to servers, as by HAProxy's send_log():
    at the `log` lines of their backend."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.sockets: dict[str, socket.socket] = {}
        for name in ("global", "own", "front"):
            self.sockets[name] = listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(listening.close)
            listening.bind(self.path(name))
            listening.setblocking(False)

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def received(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, listening in self.sockets.items():
            while True:
                try:
                    line = listening.recv(4096).decode()
                except BlockingIOError:
                    break
                found.setdefault(name, []).append(line.rstrip("\n"))
        return found

    def service(self, backend: str, frontend: str = "", defaults: str = "") -> ProxyService:
        file = self.directory / "proxy.cfg"
        file.write_text(
            f"global\n log {self.path('global')} format raw local0\n{HEAD}{defaults}"
            f"frontend f\n{frontend} bind {LOOPBACK}:0\n default_backend b\n"
            f"backend b\n{backend} server s 192.0.2.1:1 check\n"
        )
        service = ProxyService(Clock(), [str(file)])
        self.patch(service, "_log", mock.Mock())  # Twisted's log would keep it in its history
        service.assemble(bind=False)
        return service

    def told(self, backend: str, frontend: str = "", defaults: str = "") -> set[str]:
        """Who hears of a server that goes down, each of them once."""
        service = self.service(backend, frontend, defaults)
        assert service.proxy is not None
        (found,) = service.proxy.backends
        found.server_changed(found.servers[0], DOWN, "x")
        received = self.received()
        for lines in received.values():
            self.assertEqual(
                [line.partition(",")[0] for line in lines], ["Server b/s is DOWN", "backend b has no server available!"]
            )
        return set(received)

    def log(self, name: str) -> str:
        return f" log {self.path(name)} format raw local0\n"

    def test_events_of_a_server_go_where_its_backend_says(self) -> None:
        self.assertEqual(self.told(self.log("own")), {"own"})
        self.assertEqual(self.told(" log global\n" + self.log("own")), {"global", "own"})
        self.assertEqual(self.told("", defaults=" log global\n"), {"global"})
        self.assertEqual(self.told("", defaults=self.log("own")), {"own"})

    def test_a_target_that_is_named_twice_hears_once(self) -> None:
        self.assertEqual(self.told(" log global\n" + self.log("global")), {"global"})

    def test_a_backend_that_says_nothing_of_logs_is_told_of_in_the_global_ones(self) -> None:
        self.assertEqual(self.told("", frontend=self.log("front")), {"global"})
        self.assertEqual(self.told(" no log\n", defaults=" log global\n"), set())

    def test_trouble_of_a_pool_goes_there_too(self) -> None:
        service = self.service(self.log("own"))
        assert service.proxy is not None
        service.proxy.lines["b/s"].pool.invalid.note("", "a reason", b"")
        self.assertEqual(list(self.received()), ["own"])

    def test_events_of_a_frontend_and_of_the_daemon(self) -> None:
        service = self.service(self.log("own"), frontend=self.log("front"))
        assert service.proxy is not None
        service.proxy.frontends[0].announce("alert", "of the frontend")
        service.announce("notice", "of the daemon")
        self.assertEqual(self.received(), {"front": ["of the frontend"], "global": ["of the daemon"]})


class FullconnTests(SynchronousTestCase):
    """`fullconn` unset is a tenth of the clients that may come, rounded up, as in HAProxy."""

    def test_each_frontend_that_leads_there_counts(self) -> None:
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(
            f"global\n maxconn 1000\n{HEAD}frontend f\n bind {LOOPBACK}:0\n maxconn 101\n default_backend b\n"
            f"frontend g\n bind {LOOPBACK}:0\n use_backend b\n default_backend c\n"
            "backend b\n server s 192.0.2.1:1\nbackend c\n fullconn 7\n server s 192.0.2.1:1\n"
            "backend d\n server s 192.0.2.1:1\n"
        )
        proxy = ProxyService(Clock(), [str(file)]).assemble(bind=False)
        self.assertEqual({each.name: each.fullconn for each in proxy.backends}, {"b": 111, "c": 7, "d": 0})
