"""Reloads: who waits goes over to what is new, what is new is tried once, and nothing of it waits for anybody else."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import MAINT, READY
from reusedproxy.build.assembly import Proxy
from reusedproxy.config import model
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.reloading import reload
from reusedproxy.daemon.reloading.former import take_pool_apart
from reusedproxy.daemon.reloading.succession import clear
from reusedproxy.daemon.reloading.trial import Refusal, ReloadTrial
from reusedproxy.net.listener import CLOSED, Listener
from reusedproxy.net.resolver import Answers, Query
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.words import ACCEPTED, MISNAMED, MISTRUSTED, UNSEEN
from reusedproxy.pool.named import Name
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, Client, FarServer, World
from tests.fakes import PoolBench
from tests.integration.peers import LOOPBACK
from tests.manholes import new_key
from tests.ports import free_port
from tests.services import HEAD
from tests.test_generations import GenerationTestCase


class QueueTests(SynchronousTestCase):
    """Requests that wait for a server with `maxconn 1` when a reload puts another backend in its place."""

    def setUp(self) -> None:
        self.world = World(self, maxconn=1, warm=1)
        self.clients = [self.world.client() for _ in range(3)]
        for number, client in enumerate(self.clients):
            client.send(GET.replace(b"/", b"/%d" % number, 1))
        self.assertEqual(len(self.world.backend.queue), 2)

    def successor(
        self, *, maxconn: int = 0, out: bool = False, settings: model.Backend | None = None
    ) -> tuple[Backend, FarServer]:
        world = self.world
        new = world._server(7, maxconn, PoolLimits(), Limits())
        world.servers.append(new)
        backend = Backend(settings or world.backend.settings, [new.server], world.clock.seconds, world._announce)
        if out:
            backend.set_state(new.server, MAINT)
        backend.start()
        if not out:
            world._warm(new, 2)
        self.later = backend
        return backend, new

    def check_rest(self) -> None:
        self.assertEqual((self.later.traffic.scur, len(self.later.queue)), (0, 0))
        self.later.stop("test over")
        self.world.check_rest()

    def finish(self, *servers: FarServer) -> None:
        for server in servers:
            server.answer()
        self.assertEqual([client.take() for client in self.clients], [OK] * 3)
        self.check_rest()

    def test_who_chooses_a_server_whose_successor_has_gone_since(self) -> None:
        """The pool of both is suspended: a server that the new backend has takes the request,
        without a failed attempt."""
        backend, new = self.successor()
        run_through(self.world.backend.handing_over(backend))
        self.world.server.answer()
        new.answer()
        new.answer()
        self.world.server.pool.suspend("server DOWN")
        self.clients.append(self.world.client())
        self.clients[-1].send(GET)
        self.assertEqual(self.world.server.server.served, 0)
        new.answer()
        self.assertEqual([client.take() for client in self.clients], [OK] * 4)
        self.assertEqual(self.world.flags()[-1], (200, "--"))
        self.assertEqual((self.world.backend.traffic.wretr, self.world.backend.traffic.econ), (0, 0))
        self.check_rest()

    def chooses_in_vain(self, backend: Backend) -> Client:
        """A client of the old backend, whose server's pool is suspended, as the new one has told it."""
        run_through(self.world.backend.handing_over(backend))
        self.world.server.answer()
        self.world.server.pool.suspend("server DOWN")
        client = self.world.client()
        client.send(GET)
        return client

    def test_who_chooses_a_server_when_the_successor_has_none_left(self) -> None:
        """It has 503 at once, and is counted once; nothing of it waits for the end of `timeout queue`."""
        backend, _ = self.successor(out=True)
        client = self.chooses_in_vain(backend)
        self.assertEqual(client.take()[:12], b"HTTP/1.1 503")
        self.assertEqual((self.world.flags()[-1], backend.traffic.econ), ((503, "SC"), 1))
        self.world.advance(9)
        self.assertEqual(backend.traffic.econ, 1 + 2)  # two have waited in vain

    def test_who_waits_at_the_successor_waits_as_long_as_is_said_there(self) -> None:
        settings = self.world.backend.settings
        settings = attrs.evolve(settings, timeouts=attrs.evolve(settings.timeouts, queue=2.0))
        backend, new = self.successor(settings=settings, maxconn=1)
        client = self.chooses_in_vain(backend)
        self.assertEqual(len(backend.queue), 2)
        self.world.advance(1.5)
        self.assertEqual(client.take(), b"")
        self.world.advance(0.6)
        self.assertEqual(client.take()[:12], b"HTTP/1.1 503")
        self.finish(new, new)

    def test_they_go_to_the_new_servers(self) -> None:
        """In the order of their coming; each is counted where it ends."""
        backend, new = self.successor()
        run_through(self.world.backend.handing_over(backend))
        self.assertEqual([len(each.queue) for each in (self.world.backend, backend)], [0, 0])
        asked = new.asked()
        self.assertEqual((b"GET /1" in asked, b"GET /2" in asked), (True, True))
        self.assertEqual((self.world.backend.traffic.scur, backend.traffic.scur), (1, 2))
        self.finish(self.world.server, new, new)
        self.assertEqual(backend.traffic.scur, 0)

    def test_they_wait_on_where_the_new_server_is_full_too(self) -> None:
        backend, new = self.successor(maxconn=1)
        run_through(self.world.backend.handing_over(backend))
        self.assertEqual(len(backend.queue), 1)
        self.assertIn(b"GET /1", new.asked())  # the first to come
        self.finish(self.world.server, new, new)

    def test_with_no_server_left_they_wait_as_long_as_timeout_queue(self) -> None:
        """8 s from when they began to wait; a request that comes now has 503 at once, as ever."""
        backend, _ = self.successor(out=True)
        self.world.advance(5)
        run_through(self.world.backend.handing_over(backend))
        self.world.advance(2.5)
        self.assertEqual([client.take() for client in self.clients], [b""] * 3)
        self.world.advance(0.6)
        self.assertEqual([client.take()[:12] for client in self.clients[1:]], [b"HTTP/1.1 503"] * 2)
        self.assertEqual(self.world.flags(), [(503, "sQ")] * 2)
        self.world.server.answer()
        self.check_rest()

    def test_a_server_that_comes_back_meanwhile_takes_them(self) -> None:
        backend, new = self.successor(out=True)
        run_through(self.world.backend.handing_over(backend))
        backend.set_state(new.server, READY)
        for _ in range(2):
            new.connect()
        self.finish(self.world.server, new, new)

    def test_who_has_to_choose_again_later_chooses_there(self) -> None:
        """Its server's pool is suspended, because the new file says `disabled`, and the old backend has no other."""
        backend, new = self.successor()
        old = self.world.backend
        run_through(old.handing_over(backend))
        for _ in range(2):
            new.answer()
        client = self.world.client()
        old.set_state(self.world.server.server, MAINT)
        client.send(GET)
        new.answer()
        self.assertEqual(client.take(), OK)
        self.world.server.answer()
        self.check_rest()

    def test_a_client_that_leaves_waits_nowhere(self) -> None:
        backend, _ = self.successor(out=True)
        run_through(self.world.backend.handing_over(backend))
        self.clients[1].wire.reset()
        self.assertEqual(len(backend.queue), 1)
        self.world.advance(9)
        self.world.server.answer()
        self.check_rest()


class ApartTests(SynchronousTestCase):
    def test_a_pool_that_is_taken_apart_is_a_closed_one(self) -> None:
        """For a reload that is under way, which has it among the former pools of a server."""
        bench = PoolBench()
        bench.pool.close("reload")
        for _ in take_pool_apart(bench.pool):
            pass
        self.assertEqual(vars(bench.pool), {"state": "closed"})


class TrialTests(SynchronousTestCase):
    """The one connection by which a server without a floor is tried."""

    def trial(
        self,
        bench: PoolBench,
        before: str = "ca-file /ca sni str(s.test)",
        now: str = "ca-file /ca sni str(s.test)",
        *,
        same: bool = True,
        shown: bool = False,
        port: int = 1,
        says: str = "",
        ends: bool = False,
        more: Mapping[str, tuple[HTTPConnectionPool, HTTPConnectionPool]] | None = None,
    ) -> ReloadTrial:
        """`before` and `now` are what the server's line says of its certificate; not `same`: the contents of its CAs or
        lists have changed; not `shown`: our certificate has; `says` is what is wrong with the answer to a check on a
        new connection; `ends`: our certificate is about to; `more` are the pools
        of other servers, before and now."""

        def line_of(pool: HTTPConnectionPool, words: str, port: int = 1) -> SimpleNamespace:
            said = read_configuration([Source("x", f"{HEAD}backend b\n server s h:{port} ssl {words}\n")], {})
            (settings,) = said.backends["b"].servers
            return SimpleNamespace(
                server=SimpleNamespace(serving=True, settings=settings),
                pool=pool,
                context=context,
                checker=checker if says else None,
            )

        def try_on(connection: Any, told: Callable[[str], None]) -> None:
            bench.clock.callLater(0.1, told, says)

        checker = SimpleNamespace(last=SimpleNamespace(passed=True), asks_as=lambda before: True, try_on=try_on)

        context = SimpleNamespace(
            demands_as=lambda other: same and now.replace(" crt /new", "") == before,
            shows_as=lambda other: shown,
            is_ending=lambda now: ends,
            begins_as=lambda other: "ssl-" not in now,
        )

        old = SimpleNamespace(lines={"b/s": line_of(PoolBench().pool, before)})
        line = line_of(bench.pool, now, port)
        new = SimpleNamespace(
            lines={"b/s": line},
            bound=[],
            logs=SimpleNamespace(close=lambda: None),
            configuration=SimpleNamespace(global_=model.Global()),
        )
        for name, (pool_before, pool_now) in (more or {}).items():
            old.lines[name], new.lines[name] = line_of(pool_before, before), line_of(pool_now, now)
        self.ends: list[Refusal | None] = []
        made = ReloadTrial(old, new, bench.clock, self.ends.append)  # type: ignore[arg-type]
        made.start()
        return made

    def test_there_is_one_whatever_the_limits_say(self) -> None:
        """Under limits by which no idle connection is kept, each was followed by another: 510 in 5 s."""
        for limits in (
            {},
            {"max_conn": 0},
            {"purge_delay": 0.0},
            {"max_reuse": 0},
            {"max_age": 0.001},
            {"idle_timeout": 0.001},
            {"most": 1},
        ):
            with self.subTest(limits=limits):
                bench = PoolBench(resume=False, **limits)
                self.trial(bench)
                for _ in range(20):
                    bench.answer_all()
                    bench.pass_time(0.05)
                self.assertEqual(self.ends, [None])
                self.assertEqual(len(bench.dialer.dials), 1)
                self.assertEqual(bench.pool.counters.handshakes_on_request_path, 0)
                self.assertFalse(bench.pool.in_use)
                self.assertLessEqual(len(bench.pool.idle), bench.pool.limits.most_idle)
                bench.pool.close("over")

    def test_a_server_that_refuses_its_handshake_refuses_the_reload(self) -> None:
        bench = PoolBench(resume=False)
        self.trial(bench)
        bench.dialer.open[0].fail("alert unknown ca", "TLS handshake")
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: alert unknown ca")])

    def test_a_server_that_we_do_not_trust_any_more_does_not_hold_it_up(self) -> None:
        """Else a list that revokes its certificate would have no effect, and neither would anything else."""
        for floor in (0, 1):
            bench = PoolBench(resume=False, min_conn=floor)
            trial = self.trial(bench)
            bench.dialer.open[0].fail("certificate revoked", "TLS handshake", certificate=MISTRUSTED)
            bench.pass_time(0.1)
            self.assertEqual(self.ends, [None])
            self.assertEqual(trial.distrusted, {"b/s": "TLS handshake failed: certificate revoked"})
            bench.pool.close("over")

    def test_one_that_shows_nothing_does_not_hold_it_up_when_it_has_more_to_prove(self) -> None:
        """It may be the very server whose certificate is revoked, and break off each handshake before it shows it."""
        for words in ("ca-file /ca sni str(s.test)", "ca-file /ca sni str(s.test) crt /new"):
            bench = PoolBench(resume=False)
            trial = self.trial(bench, now=words, same=False)
            bench.dialer.open[0].fail("alert handshake failure", "TLS handshake")
            bench.pass_time(0.1)
            self.assertEqual((self.ends, [*trial.distrusted]), ([None], ["b/s"]))
            bench.pool.close("over")

    def test_one_that_is_accepted_and_does_not_take_our_certificate_refuses_the_reload(self) -> None:
        """Also when it has more to prove: it has proved it."""
        bench = PoolBench(resume=False)
        self.trial(bench, now="ca-file /ca sni str(s.test) crt /new", same=False)
        bench.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: alert unknown ca")])

    def test_one_that_is_shown_nothing_new_does_not_hold_it_up(self) -> None:
        """It may be in league with one that is revoked; whatever its own certificate is found to be."""
        for found, same in ((ACCEPTED, False), (ACCEPTED, True), (UNSEEN, True)):
            bench = PoolBench(resume=False)
            trial = self.trial(bench, same=same, shown=True)
            bench.dialer.open[0].fail("alert access denied", "TLS handshake", certificate=found)
            bench.pass_time(0.1)
            self.assertEqual((self.ends, trial.distrusted), ([None], {}))
            self.assertEqual(trial.failing, {"b/s": "TLS handshake failed: alert access denied"})
            bench.pool.close("over")

    def test_one_that_does_not_pass_its_check_refuses_it_if_that_may_be_our_certificate(self) -> None:
        for shown, ends in ((False, [Refusal("b/s", "it answers 400")]), (True, [None])):
            bench = PoolBench(resume=False)
            trial = self.trial(bench, shown=shown, says="it answers 400")
            bench.answer_all()
            bench.pass_time(1)
            self.assertEqual(self.ends, ends)
            self.assertEqual((trial.failing, trial.unwell), ({}, {} if ends[0] else {"b/s": "it answers 400"}))
            bench.pool.close("over")

    def test_one_at_another_address_refuses_the_reload(self) -> None:
        """It is another server, which has to take what we show."""
        bench = PoolBench(resume=False)
        self.trial(bench, shown=True, port=2)
        bench.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: alert unknown ca")])

    def test_our_certificate_is_renewed_before_it_ends_whoever_dislikes_the_new_one(self) -> None:
        """Else one server of many would cut us off from all."""
        for says in ("", "it answers 400"):
            bench = PoolBench(resume=False)
            trial = self.trial(bench, ends=True, says=says)
            if says:
                bench.answer_all()
            else:
                bench.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
            bench.pass_time(1)
            self.assertEqual((self.ends, [*trial.failing, *trial.unwell]), ([None], ["b/s"]))
            bench.pool.close("over")

    def pass_time(self, seconds: float, *benches: PoolBench) -> None:
        for _ in range(round(seconds / 0.05)):
            for each in benches:
                each.pass_time(0.05)

    def test_no_server_refuses_what_another_needs(self) -> None:
        """One that takes our certificate no more, as when its CA has changed, and takes the new one; until that is
        known, it is waited for. One that takes neither needs nothing."""
        for takes, ends in ((True, None), (False, Refusal("b/s", "TLS handshake failed: alert unknown ca"))):
            bench, before = PoolBench(resume=False), PoolBench(min_conn=1)
            now = PoolBench(resume=False, min_conn=1)
            before.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
            trial = self.trial(bench, more={"b/t": (before.pool, now.pool)})
            bench.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
            self.pass_time(0.5, bench, now)
            self.assertEqual(self.ends, [])
            if takes:
                now.dialer.open[0].succeed()
            else:
                now.dialer.open[0].fail("alert unknown ca", "TLS handshake", certificate=ACCEPTED)
            self.pass_time(2, bench, now)
            self.assertEqual((self.ends, [*trial.failing]), ([ends], ["b/s"] if takes else []))
            for each in (bench, before, now):
                each.pool.close("over")

    def test_one_that_does_not_take_how_we_begin_refuses_the_reload(self) -> None:
        bench = PoolBench(resume=False)
        self.trial(bench, now="ca-file /ca sni str(s.test) ssl-min-ver TLSv1.3", same=False)
        bench.dialer.open[0].fail("alert protocol version", "TLS handshake")
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: alert protocol version")])

    def test_one_that_is_revoked_does_not_hold_it_up_by_its_name(self) -> None:
        """Its chain counts first: whatever name it is asked for, it is not trusted."""
        bench = PoolBench(resume=False)
        trial = self.trial(bench, now="ca-file /ca sni str(t.test)", same=False)
        bench.dialer.open[0].fail("certificate revoked", "TLS handshake", certificate=MISTRUSTED)
        bench.pass_time(0.1)
        self.assertEqual((self.ends, [*trial.distrusted]), ([None], ["b/s"]))

    def test_a_name_that_its_certificate_does_not_have_refuses_the_reload(self) -> None:
        """When it is the name that has changed, which is a slip of the keyboard."""
        bench = PoolBench(resume=False)
        self.trial(bench, now="ca-file /ca sni str(t.test)")
        bench.dialer.open[0].fail("the certificate is not for 't.test'", "TLS handshake", certificate=MISNAMED)
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: the certificate is not for 't.test'")])

    def test_an_id_that_its_certificate_does_not_have_refuses_the_reload(self) -> None:
        bench = PoolBench(resume=False)
        ids = "ca-file /ca verifyspiffe spiffe://e/%s"
        self.trial(bench, before=ids % "a", now=ids % "b")
        bench.dialer.open[0].fail("the certificate is not for spiffe://e/b", "TLS handshake", certificate=MISNAMED)
        bench.pass_time(0.1)
        (refusal,) = self.ends
        assert refusal is not None
        self.assertEqual(refusal.name, "b/s")

    def test_one_that_was_not_verified_and_fails_now_does_not_hold_it_up(self) -> None:
        """It may be the very server because of which it is verified now."""
        for before in ("verify none", "verify none sni str(s.test)", "ca-file /ca no-sni-auto"):
            for why, found in (("the certificate is not for 't.test'", MISNAMED), ("alert handshake failure", UNSEEN)):
                bench = PoolBench(resume=False)
                trial = self.trial(bench, before=before, now="ca-file /ca sni str(t.test)")
                bench.dialer.open[0].fail(why, "TLS handshake", certificate=found)
                bench.pass_time(0.1)
                self.assertEqual(self.ends, [None], before)
                self.assertEqual([*trial.distrusted], ["b/s"], before)
                bench.pool.close("over")

    def test_one_whose_key_is_not_pinned_any_more_does_not_hold_it_up(self) -> None:
        """Its key may have been stolen. Neither does one that was not pinned before, whatever it fails of."""
        one, two = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        named = "ca-file /ca sni str(s.test)"
        for before, now, found in (
            (f"{named} pin-sha256 {one}", f"{named} pin-sha256 {two}", MISTRUSTED),
            (named, f"{named} pin-sha256 {two}", MISTRUSTED),
            (named, f"verify none no-sni-auto pin-sha256 {two}", UNSEEN),
        ):
            bench = PoolBench(resume=False)
            trial = self.trial(bench, before=before, now=now)
            bench.dialer.open[0].fail("no key in its chain is pinned", "TLS handshake", certificate=found)
            bench.pass_time(0.1)
            self.assertEqual(self.ends, [None], before)
            self.assertEqual([*trial.distrusted], ["b/s"], before)
            bench.pool.close("over")

    def test_a_pinned_server_that_does_not_take_our_new_certificate_refuses_the_reload(self) -> None:
        pinned = "verify none no-sni-auto pin-sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        bench = PoolBench(resume=False)
        self.trial(bench, before=pinned, now=f"{pinned} crt /new")
        bench.dialer.open[0].fail("alert unknown ca", "TLS handshake")
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [Refusal("b/s", "TLS handshake failed: alert unknown ca")])

    def test_one_whose_name_is_asked_for_no_more_is_still_verified(self) -> None:
        bench = PoolBench(resume=False)
        trial = self.trial(bench, now="ca-file /other no-sni-auto")
        bench.dialer.open[0].fail("unable to get local issuer certificate", "TLS handshake", certificate=MISTRUSTED)
        bench.pass_time(0.1)
        self.assertEqual((self.ends, [*trial.distrusted]), ([None], ["b/s"]))

    def test_a_server_that_is_away_is_not_waited_for(self) -> None:
        bench = PoolBench(resume=False)
        self.trial(bench)
        bench.dialer.open[0].fail("Connection refused")
        bench.pass_time(0.1)
        self.assertEqual(self.ends, [None])

    def test_one_that_does_not_answer_is_waited_for_5_seconds(self) -> None:
        bench = PoolBench(resume=False)
        self.trial(bench)
        bench.pass_time(4.9)
        self.assertEqual(self.ends, [])
        bench.pass_time(0.2)
        self.assertEqual((self.ends, bench.dialer.open), ([None], []))

    def test_when_it_is_broken_off_nothing_is_left(self) -> None:
        for answered in (False, True):
            bench = PoolBench(resume=False)
            trial = self.trial(bench)
            if answered:
                bench.answer_all()
            trial.close("stopped")
            bench.pass_time(10)
            self.assertEqual((self.ends, bench.dialer.open, bench.pool.standing), ([], [], 0))


class HeldResolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Query], Deferred[Answers]]] = []
        self.cancelled = 0

    def resolve(self, queries: Any) -> Deferred[Answers]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        deferred: Deferred[Answers] = Deferred(cancel)
        self.asked.append((sorted(queries), deferred))
        return deferred

    def answer(self, answer: Any = None) -> None:
        queries, deferred = self.asked[-1]
        deferred.callback(dict.fromkeys(queries, answer or [(socket.AF_INET, ("127.0.0.9", 0))]))


class ReloadTests(GenerationTestCase):
    """A reload while the name server takes its time."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver = HeldResolver()
        self.begin("sni str(s.test)")
        self.patch(self.service.reloads, "resolver", self.resolver)
        self.configure(" server t localhost:1 ssl verify none\n server u localhost:2 ssl verify none\n")

    def finish(self) -> None:
        self.reactor.pump([0.05] * 160)

    def test_a_name_is_asked_for_once_and_meanwhile_all_goes_on(self) -> None:
        before = self.proxy
        self.service.reload()
        self.finish()
        self.assertIs(self.proxy, before)
        ((queries, _),) = self.resolver.asked
        self.assertEqual([query.host for query in queries], ["localhost"])
        self.resolver.answer()
        self.finish()
        targets = [str(line.identity.target) for line in self.proxy.lines.values()]
        self.assertEqual(targets, ["127.0.0.1:1", "127.0.0.9:1", "127.0.0.9:2"])

    def test_a_name_that_has_no_address_refuses_the_reload(self) -> None:
        before = self.proxy
        self.service.reload()
        self.resolver.answer(TimeoutError(0, "no answer from the resolver within 15 s"))
        self.assertIn("could not resolve address 'localhost': no answer from the resolver within 15 s", self.said[-3])
        self.assertEqual(self.said[-1], "reload refused: everything stays as it was")
        self.assertIs(self.proxy, before)

    def test_what_is_asked_for_meanwhile_is_one_more(self) -> None:
        """However often, and with the file as it is then."""
        for _ in range(5):
            self.service.reload()
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.answer()
        self.finish()
        self.assertEqual(len(self.resolver.asked), 2)
        self.resolver.answer()
        self.finish()
        self.assertEqual(len(self.resolver.asked), 2)
        self.assertEqual(sum("reloaded:" in text for text in self.said), 2)

    def test_who_asked_is_told_what_became_of_it(self) -> None:
        """Of the one that begins after he has asked."""
        told: list[tuple[str, bool, tuple[str, str]]] = []

        def asks(name: str) -> bool:
            return self.service.reload_for(lambda taken, said: told.append((name, taken, said[-1])))

        self.service.reload()
        self.assertTrue(asks("one"))
        self.assertTrue(asks("two"))
        self.resolver.answer()
        self.finish()
        self.assertEqual(told, [])
        self.resolver.answer()
        self.finish()
        text = ("notice", "configuration reloaded: 3 of 3 pools kept as they are")
        self.assertEqual(told, [("one", True, text), ("two", True, text)])
        self.configure(" nonsense\n")
        self.assertTrue(asks("three"))  # it is over at once
        self.finish()
        name, taken, (level, why) = told[-1]
        self.assertEqual((name, taken, level, len(told)), ("three", False, "alert", 3))
        self.assertIn("nonsense", why)
        self.stop()
        self.assertFalse(asks("four"))

    def test_a_stop_breaks_it_off_at_once(self) -> None:
        self.service.reload()
        self.stop()
        self.assertEqual((self.resolver.cancelled, self.reactor.getDelayedCalls()), (1, []))

    def test_a_stop_while_what_is_new_is_tried_closes_its_sockets(self) -> None:
        self.touch(self.client)
        self.bind = f"\n bind {LOOPBACK}:0 name new"
        self.server = "sni str(s.test) pool-min-conn 1"
        self.configure()
        made: list[Any] = []
        self.patch(ReloadTrial, "start", lambda trial: made.append(trial))
        self.service.reload()
        (trial,) = made
        self.assertEqual(len(trial.new.bound), 1)
        self.stop()
        self.assertEqual([listener.state for listener in trial.new.bound], [CLOSED])
        self.assertEqual({line.pool.state for line in trial.new.lines.values()}, {"closed"})


class WarmStartTests(GenerationTestCase):
    """Listeners that still wait for the floors."""

    def test_a_bind_line_that_a_reload_takes_away_is_closed(self) -> None:
        """The kernel would go on to take clients for it."""
        self.begin("sni str(s.test) pool-min-conn 1", f"\n bind {LOOPBACK}:0 name gone", " pool-warm-start 60s\n")
        gone = [listener for _, listener in self.proxy.listeners]
        self.bind = ""
        self.configure()
        self.reload()
        kept = [listener for _, listener in self.proxy.listeners]
        self.assertEqual([listener.state == CLOSED for listener in gone], [listener not in kept for listener in gone])
        self.assertEqual([listener.state == CLOSED for listener in gone].count(True), 1)

    def test_a_stop_closes_them(self) -> None:
        self.begin("sni str(s.test) pool-min-conn 1", "", " pool-warm-start 60s\n")
        ((_, listener),) = self.proxy.listeners
        self.stop()
        self.assertEqual(listener.state, CLOSED)


class OverlapTests(GenerationTestCase):
    def test_a_section_is_added_at_an_address_that_another_listens_on(self) -> None:
        """As at a start, where both are told beforehand: at the same address, and at every one."""
        port = free_port()
        self.begin("sni str(s.test)", f"\n bind {LOOPBACK}:{port}")
        for number, host in enumerate((LOOPBACK, "*"), 2):
            self.configure(f"frontend g{number}\n bind {host}:{port}\n default_backend b\n")
            self.reload()
            at = [each for _, each in self.proxy.listeners if each.bind.address.port == port]
            self.assertEqual([each.port for each in at], [port] * 2, self.said)
            with socket.create_connection((LOOPBACK, port)):
                pass
            self.configure()
            self.reload()

    def test_our_own_listener_in_the_way_is_named(self) -> None:
        """Its port is not free before the new configuration serves."""
        self.begin("sni str(s.test)")
        ((_, listener),) = self.proxy.listeners
        self.configure(f"frontend g\n bind *:{listener.port}\n default_backend b\n")
        self.service.reload()
        self.reactor.pump([0.05] * 10)
        self.assertIn(
            f"Address already in use (we listen on {LOOPBACK}:0: what is listened on beside that", str(self.said)
        )


class AnnouncedTests(GenerationTestCase):
    def test_it_is_over_when_all_clients_are_served_by_what_is_new(self) -> None:
        """They are handed over one after the other; until then they are served as before, and nobody is told that it is
        over: neither the log nor who reads the status file."""
        self.begin("sni str(s.test)")
        held: Deferred[None] = Deferred()

        def clearing(*what: Any) -> Steps[None]:
            yield held
            yield from clear(*what)

        self.patch(reload, "clear", clearing)
        told: list[str] = []
        self.patch(self.service.supervision, "reloaded", lambda text, lost, warnings: told.append(text))
        before = self.proxy
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        self.assertIsNot(self.proxy, before)
        self.assertEqual((told, [text for text in self.said if "reloaded" in text]), ([], []))
        held.callback(None)
        self.reactor.pump([0.05])
        self.assertEqual(told, ["configuration reloaded: 1 of 1 pools kept as they are"])
        self.assertEqual(self.said[-1:], told)


class KeptListenerTests(GenerationTestCase):
    """A unix socket whose line changes while it is listened on."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.folder / "socket")
        self.begin("sni str(s.test)", f"\n bind {self.path} mode 600 backlog 5")
        ((_, _), (_, self.listener)) = self.proxy.listeners

    def changed(self, words: str) -> tuple[int, int, int]:
        self.bind = f"\n bind {self.path} {words}"
        self.configure()
        self.reload()
        self.assertIs(self.proxy.listeners[1][1], self.listener)
        found = os.stat(self.path)
        return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid

    def test_permissions_are_set(self) -> None:
        mask = os.umask(0)
        os.umask(mask)
        own = os.geteuid(), os.getegid()
        self.assertEqual(self.changed("mode 660"), (0o660, *own))
        self.assertEqual(self.changed(""), (0o777 & ~mask, *own))

    def test_its_owner_is_set(self) -> None:
        if os.geteuid():
            self.skipTest("only root gives sockets away")
        self.assertEqual(self.changed("mode 600 uid 12 gid 34"), (0o600, 12, 34))
        self.assertEqual(self.changed("mode 600"), (0o600, 0, os.getegid()))

    def test_one_whose_file_was_removed_is_bound_again(self) -> None:
        """Nobody could reach it; a reload is what an operator tries then."""
        os.unlink(self.path)
        self.configure()
        self.reload()
        self.assertTrue(stat.S_ISSOCK(os.stat(self.path).st_mode))
        self.assertEqual(self.listener.state, CLOSED)

    def test_an_owner_that_nobody_knows_refuses_the_reload(self) -> None:
        self.bind = f"\n bind {self.path} user nobody-of-this-name"
        self.configure()
        self.service.reload()
        self.assertIn("nobody-of-this-name", self.said[-2])
        self.assertEqual(self.said[-1], "reload refused: everything stays as it was")

    def test_a_listener_whose_options_cannot_be_set_serves_the_new_rules(self) -> None:
        """No file descriptor is left to ask the system for its own values: the old configuration has gone by then."""
        before = self.proxy

        def full(*args: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(Listener, "keep_alive", full)
        self.configure()
        self.reload()
        self.assertIsNot(self.proxy, before)
        text = f"Proxy f: TCP keep-alive of clients at unix@{self.path} stays as it was: Too many open files"
        self.assertIn(text, self.said)
        self.assertIs(self.proxy.listeners[0][0].listeners[0], self.proxy.listeners[0][1])

    def test_a_reload_that_ends_in_the_middle_says_what_serves(self) -> None:
        """And says so to who has ordered it."""
        for error, why in (
            (OSError(errno.EMFILE, "Too many open files"), "no file can be opened any more (Too many open files)"),
            (MemoryError(), "no memory is left"),
            (ValueError("a bug"), "an error in reusedproxy, of which the log tells"),
        ):
            told: list[tuple[bool, object]] = []

            def broken(proxy: Proxy, verb: str, error: Exception = error) -> None:
                raise error

            def tell(taken: bool, said: object, told: list[tuple[bool, object]] = told) -> None:
                told.append((taken, said))

            self.patch(self.service, "_accept", broken)
            self.configure()
            self.service.reloads.tell(tell)
            self.service.reload()
            self.reactor.pump([0.05] * 160)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            self.assertIn(f"reload broken off: {why}", self.said[-1])
            self.assertIn("the new configuration serves, but not all of it may: reload again", self.said[-1])
            self.assertNotIn("reload refused: everything stays as it was", self.said)
            ((taken, said),) = told
            self.assertEqual((taken, why in str(said)), (False, True))

    def test_the_kernels_queue_is_made_longer(self) -> None:
        self.changed("backlog 77")
        self.assertEqual(self.listener.backlog, 77)
        self.changed("")
        self.assertEqual(self.listener.backlog, 4096)


#: What a changed word of the `global` section comes to, on a service; None: it is for the start only.
#: A directory without files.
ISSUERS = "/sys"
GLOBAL: dict[str, Any] = {
    "maxconn": (" maxconn 77\n", lambda service: service.proxy.places.maxconn, 77),
    "logs": (" log 127.0.0.1:9 daemon\n", lambda service: len(service.proxy.logs._event_targets), 1),
    "log_host": (" log-send-hostname other\n", lambda service: service.proxy.logs._host, "other"),
    "log_tag": (" log-tag other\n", lambda service: service.proxy.logs._tag, "other"),
    "hard_stop_after": (
        " hard-stop-after 9s\n",
        lambda service: service.proxy.configuration.global_.hard_stop_after,
        9.0,
    ),
    "bufsize": (" tune.bufsize 32768\n", lambda service: service.proxy.frontends[0].limits.max_head, 31744),
    "maxrewrite": (" tune.maxrewrite 2048\n", lambda service: service.proxy.frontends[0].limits.max_head, 14336),
    "any_method_with_body": (
        " h1-accept-payload-with-any-method\n",
        lambda service: service.proxy.frontends[0].limits.any_method_with_body,
        True,
    ),
    "maxhdr": (" tune.http.maxhdr 55\n", lambda service: service.proxy.frontends[0].limits.max_headers, 54),
    "pool_connect_rate": (" pool-connect-rate 7\n", lambda service: service.proxy.budget.rate, 7.0),
    "ssl_watch": (" ssl-watch 3s\n", lambda service: service.reloads.watch._every, 3.0),
    "workload_api": None,  # a reload says that it needs a start: tests/test_daemon_workload.py
    "issuers": (
        f" issuers-chain-path {ISSUERS}\n",
        lambda service: getattr(service.proxy.configuration.global_.issuers, "value", None),
        ISSUERS,
    ),
    "stored_certificates": None,  # for the lines that name them: tests/test_build_certificates.py
    "spread_checks": (" spread-checks 5\n", lambda service: service.proxy.configuration.global_.spread_checks, 5),
    "variables": (" set-var proc.x int(7)\n", lambda service: service.proxy.variables.get("proc.x"), 7),
    "accepted_families": (
        " dns-accept-family ipv4\n",
        lambda service: service.proxy.configuration.global_.accepted_families,
        ("ipv4",),
    ),
    "spelling": (
        " h1-case-adjust x-a X-A\n",
        lambda service: service.proxy.configuration.global_.spelling,
        (("x-a", "X-A"),),
    ),
    "spelling_file": None,  # adds to it: tests/test_exchanges_spelling.py
    "state_file": None,  # what runs knows better: tests/test_backends_saved_states.py
    "state_base": None,
    "pool_warm_start": None,  # listeners that are open wait for nothing
    "stats_sockets": (f" stats socket {LOOPBACK}:0\n", lambda service: len(service.runtime.sockets), 1),
    "stats_timeout": (" stats timeout 3s\n", lambda service: service.runtime._settings.stats_timeout, 3.0),
    "stats_maxconn": (" stats maxconn 3\n", lambda service: service.runtime._settings.stats_maxconn, 3),
    "maxsslconn": (" maxsslconn 9\n", lambda service: service.proxy.places.maxsslconn, 9),
    "rates": (" maxconnrate 9\n", lambda service: [*service.proxy.places.rates], ["maxconnrate"]),
    "node": (" node n1\n", lambda service: service.proxy.configuration.global_.node, "n1"),
    "description": (
        " description the first\n",
        lambda service: service.proxy.configuration.global_.description,
        "the first",
    ),
    "environment": (
        " setenv COLOUR blue\n",
        lambda service: dict(service.proxy.configuration.global_.environment).get("COLOUR"),
        "blue",
    ),
    "manhole": None,  # a reload says that it needs a start: see test_the_manhole_is_said
    "user": None,  # the same: see test_whom_the_daemon_is_cannot_change
    "group": None,
    "chroot": None,
}
#: The same of a `bind` line, on its listener. The place is where it stands; the address tells which one it is.
BIND: dict[str, Any] = {
    "name": (" name n", lambda listener: listener.bind.name, "n"),
    "maxconn": (" maxconn 3", lambda listener: listener.bind.maxconn, 3),
    "backlog": (" backlog 9", lambda listener: listener.backlog, 9),
    "id": (" id 9", lambda listener: listener.bind.id, 9),
    "options": (
        " tcp-ut 3s",
        lambda listener: listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        3000,
    ),
    "accept_proxy": (" accept-proxy", lambda listener: listener.bind.accept_proxy, True),
    "tls": (" ssl crt {crt}", lambda listener: listener.certificates is not None, True),
    "mode": None,  # of unix sockets, as are the next two: KeptListenerTests
    "user": None,
    "group": None,
    "place": None,
    "address": None,
}


class SlowStartTests(GenerationTestCase):
    def test_who_starts_slowly_goes_on_in_the_new_proxy_alone(self) -> None:
        self.begin("sni str(s.test) slowstart 60s")
        (old,) = self.proxy.backends
        for state in ("MAINT", "READY"):
            old.set_state(old.servers[0], state)
            self.reactor.advance(1)
        (ramp,) = old.slow_starts.values()
        self.assertTrue(ramp.starting)
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        (new,) = self.proxy.backends
        self.assertIsNot(new, old)
        self.assertFalse(ramp.starting)
        self.assertEqual([each.starting for each in new.slow_starts.values()], [True])
        self.reactor.pump([1.0] * 70)
        self.assertEqual([each.starting for each in new.slow_starts.values()], [False])
        self.assertEqual(self.flushLoggedErrors(), [])


class WordTests(GenerationTestCase):
    """Each word is in force after a reload, or a line says that it is not:
    nothing of a file is passed over in silence."""

    def test_the_tables_have_every_word(self) -> None:
        """A new one has to say what becomes of it."""
        for table, kind in ((GLOBAL, model.Global), (BIND, model.Bind)):
            self.assertEqual(set(table), {field.name for field in attrs.fields(kind)})

    def test_what_the_global_section_says(self) -> None:
        self.begin("sni str(s.test)")
        for name, case in GLOBAL.items():
            if case is not None:
                text, read, expected = case
                self.assertNotEqual(read(self.service), expected, name)
                self.global_ = text
                self.configure()
                self.reload()
                self.assertEqual(read(self.service), expected, name)

    def test_the_manhole_is_said(self) -> None:
        self.begin("sni str(s.test)")
        keys = self.text("keys", "")
        self.global_ = f" manhole {self.folder}/manhole authorized-keys {keys} host-key {self.folder}/host\n"
        self.configure()
        self.reload()
        self.assertIn("reload: 'manhole' has changed; this takes effect at the next start only", self.said)

    def test_a_manhole_that_is_not_named_any_more_is_closed(self) -> None:
        """At once; only a start opens it again, which each reload says. A file of keys that cannot be read: refused."""
        keys = self.text("keys", new_key().public().toString("openssh").decode() + "\n")
        line = f" manhole {self.folder}/manhole authorized-keys {keys} host-key {self.folder}/host\n"
        self.begin("sni str(s.test)", global_=line)
        manhole = self.service.manhole
        assert manhole is not None
        self.global_ = line.replace(str(keys), f"{self.folder}/none")
        self.configure()
        self.service.reload()
        self.reactor.pump([0.5] * 10)
        self.assertIn("No such file", str(self.said))
        self.assertEqual((self.said[-1], manhole.state), ("reload refused: everything stays as it was", "open"))
        self.global_ = line
        self.configure()
        self.reload()
        self.assertNotIn("next start", str(self.said))
        self.global_ = ""
        self.configure()
        self.reload()
        self.assertEqual((manhole.state, self.service.manhole), ("closed", None))
        self.assertIn("Manhole is closed: there is no line 'manhole' any more", self.said)
        self.assertNotIn("next start", str(self.said))
        self.global_ = line
        self.configure()
        told: list[Sequence[str]] = []
        self.patch(self.service.supervision, "reloaded", lambda text, lost, warnings: told.append(warnings))
        for _ in range(2):
            self.said.clear()
            self.reload()
            text = "reload: 'manhole' has changed; this takes effect at the next start only"
            self.assertIn(text, self.said)
            self.assertEqual([*told.pop()], [text], "the script that has asked for it says so, too")

    def test_whom_the_daemon_is_cannot_change(self) -> None:
        """Which is said, and the reload goes on."""
        self.begin("sni str(s.test)")
        text = "reload: '{}' has changed; this takes effect at the next start only"
        for line, words in (
            (" user nobody\n", ["user"]),
            (" user nobody\n group nogroup\n", ["user", "group"]),
            (" user root\n chroot /x\n", ["user", "chroot"]),
            ("", []),  # as it began
        ):
            self.global_ = line
            self.configure()
            self.reload()
            self.assertEqual(
                [each for each in self.said if "next start" in each], [text.format(word) for word in words]
            )
            self.said.clear()
            self.reload()
            self.assertEqual(len([each for each in self.said if "next start" in each]), len(words))
            self.said.clear()

    def test_which_listeners_are_new_go_on_and_are_gone(self) -> None:
        """In the words that an operator looks for."""
        self.begin("sni str(s.test)")
        more = f"frontend g\n bind {self.folder}/g.sock\n default_backend b\n"
        for text, expected in (
            (more, ["f goes on at", "g listens on"]),
            ("", ["g listens no more on", "f goes on at"]),
        ):
            self.said.clear()
            self.configure(text)
            self.reload()
            said = [line.removeprefix("Proxy ").rpartition(" ")[0] for line in self.said if line.startswith("Proxy ")]
            self.assertEqual(said, expected)

    def test_what_a_bind_line_says(self) -> None:
        crt = self.write("front.pem")
        self.begin("sni str(s.test)")
        ((_, listener),) = self.proxy.listeners
        for name, case in BIND.items():
            if case is not None:
                text, read, expected = case
                self.assertNotEqual(read(listener), expected, name)
                self.bind = text.format(crt=crt)
                self.configure()
                self.reload()
                self.assertIs(self.proxy.listeners[0][1], listener)
                self.assertEqual(read(listener), expected, name)
                self.bind = ""
                self.configure()
                self.reload()
                self.assertNotEqual(read(listener), expected, name)

    def test_what_a_server_line_says(self) -> None:
        """A pool that goes on has nothing of the line before it: what it is made of makes it another one,
        or is set anew."""
        self.begin("sni str(s.test)")
        cases: list[tuple[str, Callable[[Any], object], object]] = [
            ("weight 7", lambda line: line.server.weight, 7),
            ("maxconn 7", lambda line: line.server.maxconn, 7),
            ("backup", lambda line: line.server.backup, True),
            ("disabled", lambda line: line.server.state, MAINT),
            ("maxqueue 7", lambda line: line.server.settings.maxqueue, 7),
            ("check inter 7s", lambda line: line.checker is not None and line.checker.settings.inter, 7.0),
            ("pool-min-conn 7", lambda line: line.pool.limits.min_conn, 7),
            ("pool-min-conn 7 pool-warm-up 7s", lambda line: line.server.settings.warm_up, 7.0),
            ("pool-min-conn 7 backup pool-standby-conn 6", lambda line: line.server.settings.standby, 6),
            ("pool-min-conn 7 pool-spread cert", lambda line: line.pool.upkeep.spread is not None, True),
            ("pool-max-conn 7", lambda line: line.pool.limits.max_conn, 7),
            ("pool-low-conn 7", lambda line: line.pool.limits.low_conn, 7),
            ("pool-purge-delay 7s", lambda line: line.pool.limits.purge_delay, 7.0),
            ("pool-idle-timeout 7s", lambda line: line.pool.limits.idle_timeout, 7.0),
            ("pool-max-age 7s", lambda line: line.pool.limits.max_age, 7.0),
            ("pool-connect-rate 7", lambda line: line.pool.limits.connect_rate, 7.0),
            ("pool-record 7s", lambda line: line.pool.recorder and line.pool.recorder.record.bound.seconds, 7.0),
            ("idle-ping 7s", lambda line: line.pool.limits.idle_ping, 7.0),
            ("tcp-ut 7s", lambda line: line.pool.dialer.options.options, ((socket.TCP_USER_TIMEOUT, 7000),)),
            ("\n srvtcpka-cnt 7", lambda line: line.pool.dialer.options.options, ((socket.TCP_KEEPCNT, 7),)),
            ("source 127.0.0.7", lambda line: line.pool.dialer.options.source.host, "127.0.0.7"),
            ("\n source 127.0.0.8", lambda line: line.pool.dialer.options.source.host, "127.0.0.8"),
            ("cc reno", lambda line: line.pool.dialer.options.congestion, "reno"),
            ("send-proxy-v2-ssl", lambda line: line.server.settings.proxy_options, {"ssl"}),
            ("max-reuse 7", lambda line: line.pool.limits.max_reuse, 7),
            ("ssl-max-ver TLSv1.2", lambda line: line.context.settings.max_version, "TLSv1.2"),
            ("no-ssl-reuse", lambda line: line.context.settings.resumes, False),
        ]
        for words, read, expected in cases:
            self.assertNotEqual(read(self.proxy.lines["b/s"]), expected, words)
            self.server = f"sni str(s.test) {words}"
            self.configure()
            self.reload()
            line = self.proxy.lines["b/s"]
            self.assertEqual(read(line), expected, words)
            self.assertEqual(line.pool.limits, line.identity.limits, words)

    def test_a_record_goes_on_with_its_pool(self) -> None:
        """The connections stay, whatever becomes of the record; a pool in its place goes on with the record."""
        self.begin("sni str(s.test) pool-record 1h")
        recorder = self.proxy.lines["b/s"].pool.recorder
        assert recorder is not None
        for words, kept, recorded in (
            ("pool-record 1h", True, True),
            ("pool-record 70k", True, True),
            ("pool-record 70k pool-min-conn 1", False, True),
            ("pool-min-conn 1", True, False),
            ("pool-min-conn 1 pool-record 1h", True, True),
        ):
            before = self.proxy.lines["b/s"].pool
            self.server = f"sni str(s.test) {words}"
            self.configure()
            self.reload()
            pool = self.proxy.lines["b/s"].pool
            self.assertEqual((pool is before, pool.recorder is not None), (kept, recorded), words)
            if "70k" in words:
                self.assertIs(pool.recorder, recorder, words)

    def test_what_idle_ping_asks_is_the_new_files(self) -> None:
        """Not before the reload is accepted."""
        self.begin("sni str(s.test) idle-ping 5s")
        pool = self.proxy.lines["b/s"].pool
        self.server += "\n option httpchk GET /alive HTTP/1.1"
        self.configure(f" server t {LOOPBACK}:1 ssl verify none crt {self.folder}/none.pem\n")
        self.service.reload()
        self.assertTrue(pool.ping_request.startswith(b"OPTIONS *"))
        self.configure()
        self.reload()
        self.assertIs(self.proxy.lines["b/s"].pool, pool)
        self.assertTrue(pool.ping_request.startswith(b"GET /alive"))

    def test_what_idle_ping_asks_is_the_same_for_all_names(self) -> None:
        self.begin("sni req.hdr(host) check-sni s.test idle-ping 5s")
        pool: Any = self.proxy.lines["b/s"].pool
        other = pool.named(Name(b"a.test", b"a.test"))
        self.server += "\n option httpchk GET /alive HTTP/1.1"
        self.configure()
        self.reload()
        self.assertTrue(other.ping_request.startswith(b"GET /alive"), other.ping_request)
