"""What is left of a configuration that reloads have replaced: nothing, as soon as its last client has gone."""

from __future__ import annotations

import gc
import os
from collections import Counter
from typing import Any

from reusedproxy.backends.server import MAINT
from reusedproxy.daemon.service import ProxyService
from reusedproxy.pool.named import Name
from tests.garbage import Census, garbage
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, ServiceTestCase

RELOADS = 5


#: What each generation has of its own, by the ends of the names of its kinds.
KINDS = ("Proxy", "Frontend", "Backend", "Server", "Line", "Pool", "Context", "FilesOfTLS", "LogTargets")


class GenerationTestCase(ServiceTestCase):
    """A service on a clock; its server is not there, and is not waited for."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[str] = []
        # None of it is left to the collector, which would hold the loop.
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.client = self.write("client.pem", client=True)
        self.ca_file = self.authority.write(self.folder / "ca.pem")
        self.config = str(self.folder / "proxy.cfg")

    def begin(self, server: str = "", bind: str = "", global_: str = "") -> None:
        self.server, self.bind, self.global_ = server, bind, global_
        self.configure()
        self.census = Census()
        self.service = ProxyService(self.reactor, [self.config])
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))
        self.service.assemble(bind=True)
        self.service.startService()
        self.addCleanup(self.stop)
        self.first = self.living()

    def configure(self, more: str = "") -> None:
        text = (
            f"global\n{self.global_}{HEAD}frontend f\n bind {LOOPBACK}:0{self.bind}\n default_backend b\n"
            "backend b\n"
            f" server s {LOOPBACK}:1 ssl verify required ca-file {self.ca_file} crt {self.client} {self.server}\n{more}"
        )
        self.text("proxy.cfg", text)

    def living(self) -> Counter[str]:
        """What lives of this test's generations."""
        more = self.census.more()
        return Counter({kind: count for kind, count in more.items() if kind.endswith(KINDS)})

    def touch(self, *paths: str) -> None:
        for path in paths:
            stamp = os.stat(path)
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000_000))

    def reload(self) -> None:
        before = self.service.proxy
        self.service.reload()
        self.reactor.pump([0.05] * 160)  # a server that is away is waited for until that is known
        self.assertIsNot(self.service.proxy, before)
        del before


class ForgottenTests(GenerationTestCase):
    """Generations, the present one included, after some reloads."""

    def assert_living(self, generations: int = 1) -> None:
        """So many generations live, each as large as the first."""
        self.assertEqual(self.living(), Counter({kind: count * generations for kind, count in self.first.items()}))

    def test_files_that_are_renewed_each_time(self) -> None:
        """For each kind of pool: one for all, one for each name, one for each client."""
        for words in (
            "sni str(s.test)",
            "sni req.hdr(host) check-sni s.test",
            "sni str(s.test) pool-conn-name req.hdr(x)",
            "sni str(s.test) send-proxy",
            "sni str(s.test) check",
        ):
            with self.subTest(words=words):
                self.begin(words)
                for _ in range(RELOADS):
                    self.touch(self.client)
                    self.reload()
                self.assert_living()
                self.stop()

    def test_names_that_were_asked_for(self) -> None:
        """Pools of names belong to their server's."""
        self.begin("sni req.hdr(host) check-sni s.test")
        for _ in range(RELOADS):
            pool: Any = self.proxy.lines["b/s"].pool
            pool.named(Name(b"a.test", b"a.test"))
            self.assertEqual((self.living() - self.first)["reusedproxy.pool.pool.HTTPConnectionPool"], 1)
            del pool
            self.touch(self.client)
            self.reload()
        self.assert_living()

    def test_nothing_has_changed(self) -> None:
        """The pool and the certificates go on; all else is new."""
        crt = self.write("front.pem")
        self.begin("sni req.hdr(host) check-sni s.test", f" ssl crt {crt}")
        for _ in range(RELOADS):
            self.reload()
        self.assert_living()

    def test_what_listeners_show_is_renewed(self) -> None:
        crt = self.write("front.pem")
        self.begin("sni str(s.test)", f" ssl crt {crt}", " ssl-watch 1s\n")
        for _ in range(RELOADS):
            self.touch(crt)
            self.reactor.pump([1.0] * 4)
        self.assertIn("files of TLS", self.said[-1])
        self.assert_living()

    def test_a_page_of_statistics_and_logs_on_both_sides(self) -> None:
        self.begin("sni str(s.test)", "\n log stdout format raw daemon\n option httplog\n stats enable")
        for _ in range(RELOADS):
            self.reload()
        self.assert_living()

    def test_rules_about_answers(self) -> None:
        """They are compiled anew at each reload; requests go on with those behind a rule that holds the answer back."""
        self.begin("sni str(s.test)")
        rules = (
            " http-response pause 1s\n http-response set-header a %[src]\n http-after-response set-header b c\n"
            " http-response wait-for-body time 1s if { status 200 }\n"
        )
        with garbage() as left:
            for _ in range(2):
                self.configure(rules)
                self.touch(self.client)
                self.reload()
        self.assertEqual(left, {})

    def test_sessions_of_mode_tcp_and_a_monitor(self) -> None:
        """What leads and logs them, and what answers it, know their frontend."""
        self.begin()
        self.configure(
            f"frontend t\n mode tcp\n bind {LOOPBACK}:0\n option tcplog\n log {LOOPBACK}:9 local0\n"
            " tcp-request inspect-delay 1s\n tcp-request content accept if HTTP\n default_backend tb\n"
            f"frontend m\n bind {LOOPBACK}:0\n monitor-uri /m\n"
            f"backend tb\n mode tcp\n server s {LOOPBACK}:1 ssl verify none sni ssl_fc_sni\n"
        )
        self.reload()
        self.first = self.living()
        for _ in range(RELOADS):
            self.touch(self.client)
            self.reload()
        self.assert_living()

    def test_reloads_that_are_refused(self) -> None:
        """By the configuration, and by files; what had been made of it goes at once."""
        self.begin("sni req.hdr(host) check-sni s.test")
        for more in ("nonsense\n", f" server t {LOOPBACK}:1 ssl verify none crt {self.folder}/none.pem\n"):
            for _ in range(RELOADS):
                self.configure(more)
                self.service.reload()
                self.assertEqual(self.said[-1], "reload refused: everything stays as it was")
            self.reactor.pump([0.5] * 8)
        self.assert_living()

    def test_a_start_that_waits_for_its_floor_is_reloaded(self) -> None:
        self.begin("sni str(s.test) pool-min-conn 1", "", " pool-warm-start 60s\n")
        for _ in range(RELOADS):
            self.touch(self.client)
            self.reload()
        self.reactor.advance(1)
        self.assert_living()

    def test_a_client_that_stays_keeps_its_own_generation_only(self) -> None:
        self.begin("sni req.hdr(host) check-sni s.test")
        staying: Any = _Staying()
        self.proxy.frontends[0].connections.add(staying)
        first = self.proxy.frontends[0]
        for _ in range(RELOADS):
            self.touch(self.client)
            self.reload()
        self.assert_living(2)
        self.assertEqual([each.frontends for each in self.proxy.before], [[first]])
        first.connections.discard(staying)
        del first
        self.reactor.advance(1.5)
        self.assert_living()

    def test_clients_of_several_generations_that_go_together(self) -> None:
        """Their proxies have used the same pool, which goes once."""
        self.begin("sni str(s.test)")
        clients = []
        for _ in range(3):
            staying: Any = _Staying()
            self.proxy.frontends[0].connections.add(staying)
            clients.append((self.proxy.frontends[0], staying))
            self.reload()
        self.touch(self.client)
        self.reload()
        while clients:
            frontend, staying = clients.pop()
            frontend.connections.discard(staying)
        del frontend
        self.reactor.pump([1.5] * 3)
        self.assert_living()

    def test_nobody_is_sent_to_a_server_whose_pool_has_been_emptied(self) -> None:
        """Clients of the generation before may choose a server until they have gone over."""
        self.begin("sni str(s.test)")
        (old,) = self.proxy.backends[0].servers
        pool, states = old.pool, []
        backlog = pool.holdings.backlog
        go_on = backlog.go_on

        def seen() -> None:
            states.append(old.state)
            go_on()

        backlog.go_on = seen  # type: ignore[method-assign]
        self.server += " disabled"
        self.configure()
        self.reload()
        del backlog.go_on
        self.assertEqual(set(states), {MAINT})
        self.assertIs(self.proxy.backends[0].servers[0].pool, pool)

    def test_reloads_that_follow_each_other_within_a_second(self) -> None:
        """Each would put off the look by its own second."""
        self.begin("sni str(s.test)")
        for _ in range(40):
            self.service.reload()
            self.reactor.advance(0.1)
        self.assertEqual(self.living() - Counter({kind: count * 12 for kind, count in self.first.items()}), {})

    def test_one_look_a_second_for_clients_that_stay(self) -> None:
        """However many reloads there were; and none when the last has gone."""
        self.begin("sni str(s.test)")
        idle = len(self.reactor.getDelayedCalls())
        staying: Any = _Staying()
        first = self.proxy.frontends[0]
        first.connections.add(staying)
        for _ in range(10):
            self.reload()
        self.assertEqual(len(self.reactor.getDelayedCalls()), idle + 1)
        first.connections.discard(staying)
        self.reactor.advance(1.5)
        self.assertEqual(len(self.reactor.getDelayedCalls()), idle)


class _Staying:
    """A client in the middle of a long download."""

    listener = None

    def finish(self) -> None:
        """It will, but not now."""

    def abort(self, reason: str) -> None:
        """Told at the end of all."""
