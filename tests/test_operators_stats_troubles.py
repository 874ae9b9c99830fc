"""What the page says first: what is wrong, the worst before the rest; and what went through in the last minutes."""

from __future__ import annotations

import re
from itertools import product
from math import inf
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, MAINT, UP
from reusedproxy.measures.histogram import ANSWERS
from reusedproxy.operators.stats import graph as graphs
from reusedproxy.operators.stats import page as statspage
from reusedproxy.operators.stats.graph import graph
from reusedproxy.operators.stats.troubles import BAD, WARN, Place, troubles
from reusedproxy.operators.view.history import KEPT, History, Sample, Share, last
from reusedproxy.operators.view.values import (
    CertificateView,
    HandshakesView,
    ListenersView,
    ListView,
    NodesView,
    PoolTLS,
    ProxyView,
)
from tests.test_operators_stats import StatsCase

STYLE = Path(statspage.__file__).parent / "templates" / "style.css"
DAY = 86400.0


class TroubleTests(StatsCase):
    """Findings."""

    def setUp(self) -> None:
        super().setUp()
        for server in (self.one, self.two):
            self.app.server_changed(server, UP, "test")
        self.app.set_state(self.off, MAINT)
        # Its floor is not there yet.
        self.patch(type(self.one.pool), "below_floor", False)

    def view(self) -> ProxyView:
        return self.page._moments.reader.view()

    def found(self, view: ProxyView | None = None, dropped: int = 0, scope: tuple[str, ...] = ()) -> list[str]:
        return [each.text for each in troubles(view or self.view(), 1e9, dropped, scope)]

    def test_nothing_is_wrong_at_first(self) -> None:
        """A server that its operator has taken out is no trouble."""
        self.assertEqual(self.found(), [])

    def test_servers_that_are_down(self) -> None:
        self.app.server_changed(self.one, DOWN, "test")
        (trouble,) = troubles(self.view(), 1e9)
        self.assertEqual((trouble.kind, trouble.text), (BAD, "1 of 3 servers are DOWN"))
        self.assertEqual(trouble.places, (Place("app/one", "app"),))

    def test_backends_without_servers_come_first(self) -> None:
        for server in (self.one, self.two):
            self.app.server_changed(server, DOWN, "test")
        self.assertEqual(self.found(), ["1 backend has no server that takes requests", "2 of 3 servers are DOWN"])

    def test_lists_that_cannot_be_fetched(self) -> None:
        """It is bad once the one at hand is over; where some sections are shown only, it is not theirs."""
        made = [
            ListView("http://crl.test/over", {}, 8e8, 9e8, True),
            ListView("http://crl.test/never", {}, None, None, True),
            ListView("http://crl.test/holds", {}, 8e8, 2e9, True),
            ListView("http://crl.test/fine", {}, 8e8, 9e8),
        ]
        view = evolve(self.view(), lists=tuple(made))
        listed = "the list of revoked certificates at http://crl.test/"
        self.assertEqual(
            [(each.kind, each.text.removeprefix(listed)) for each in troubles(view, 1e9)],
            [
                (BAD, "over is out of date, so every certificate of its CA is refused"),
                (WARN, "never cannot be fetched (see the log)"),
                (WARN, "holds cannot be fetched (see the log)"),
            ],
        )
        self.assertEqual(self.found(view, scope=("app",)), [])

    def test_errors_of_now_and_of_lately(self) -> None:
        calm, failing = Sample(1.0, 100, 0), Sample(1.0, 100, 50)
        for samples, text in (
            ([calm] * 50 + [failing] * 10, "50.0% of all answers in the last 10 s were errors (5xx)"),
            ([calm] * 20 + [failing] * 20 + [calm] * 20, "16.7% of all answers in the last minute were errors (5xx)"),
            ([failing] * 10 + [calm] * 60, ""),
            ([calm] * 59 + [Sample(1.0, 1000, 1)], ""),
        ):
            self.assertEqual(self.found(evolve(self.view(), history=tuple(samples))), [text] if text else [])

    def test_the_backends_that_errors_come_from_are_named(self) -> None:
        """The one with the most first."""
        view = self.view()
        backend = view.backends[0]
        few, most = evolve(backend, name="few", errors_lately=3), evolve(backend, name="most", errors_lately=47)
        view = evolve(view, history=(Sample(1.0, 100, 50),) * 10, backends=(few, evolve(backend, name="well"), most))
        (found,) = [each for each in troubles(view, 1e9) if "5xx" in each.text]
        self.assertTrue(found.text.endswith("were errors (5xx), most of most"), found.text)
        self.assertEqual([each.text for each in found.places], ["most", "few"])

    def test_frontends_that_are_full(self) -> None:
        """By their own bound, or by that of the process."""
        view = self.view()
        web, *others = view.frontends
        full = evolve(view, frontends=(evolve(web, connections=5, maxconn=5), *others))
        self.assertEqual(self.found(full), ["1 frontend has as many clients as it may: others wait"])
        self.assertEqual(self.found(full, scope=("app",)), [])
        full = evolve(view, clients=view.maxconn)
        self.assertEqual(self.found(full), ["2 frontends have as many clients as they may: others wait"])

    def test_connections_that_cannot_be_spread(self) -> None:
        view = self.view()
        app, *others = [each for each in view.backends if each.name == "app"]
        nodes = NodesView("certificate", (("a", 4),), 0, "given up", 8)
        for state, texts in (
            ("given up", ["connections of 1 server cannot be spread over nodes (see the log)"]),
            ("blind", ["connections of 1 server cannot be spread over nodes (see the log)"]),
            ("moving", []),
        ):
            first, *rest = app.servers
            first = first._replace(pool=first.pool._replace(nodes=evolve(nodes, state=state)))
            shown = evolve(view, backends=(evolve(app, servers=(first, *rest)), *others))
            self.assertEqual(self.found(shown), texts, state)

    def test_pools_below_their_floor(self) -> None:
        """Of servers that are in service."""
        self.patch(type(self.one.pool), "below_floor", True)
        (trouble,) = troubles(self.view(), 1e9)
        self.assertEqual((trouble.kind, trouble.text), (WARN, "2 pools are below their floors"))
        self.assertEqual(trouble.places[0], Place("app/one (0 of 4)", "app"))

    def test_certificates_by_how_near_their_end_is(self) -> None:
        shown = tuple(
            CertificateView(f"{name}.pem", (), 1e9 + days * DAY)
            for name, days in (("over", -1), ("near", 3), ("soon", 20), ("late", 40))
        )
        tls = HandshakesView(0, 0, 0, 0, (ListenersView((":443",), shown),))
        view = self.view()
        view = evolve(view, frontends=(evolve(view.frontends[0], tls=tls), *view.frontends[1:]))
        self.assertEqual(
            [(each.kind, each.text, each.places) for each in troubles(view, 1e9)],
            [
                (BAD, "1 certificate has expired", (Place("over.pem", "web"),)),
                (BAD, "1 certificate expires within a week", (Place("near.pem (3 days)", "web"),)),
                (WARN, "1 certificate expires within a month", (Place("soon.pem (20 days)", "web"),)),
            ],
        )

    def test_an_svid_lives_for_hours(self) -> None:
        """Ours comes from an agent, which renews it: only its end is trouble."""
        view = self.view()
        app, *others = [each for each in view.backends if each.name == "app"]
        first, *rest = app.servers
        for crt, left, texts in (
            ("@spiffe", 3600.0, []),
            ("@spiffe", -1.0, ["1 certificate has expired"]),
            ("a.pem", 3600.0, ["1 certificate expires within a week"]),
        ):
            tls = PoolTLS(crt, 1e9 + left, None, 1, 0)
            server = first._replace(pool=first.pool._replace(tls=tls))
            shown = evolve(view, backends=(evolve(app, servers=(server, *rest)), *others))
            self.assertEqual(self.found(shown), texts, (crt, left))

    def test_the_rest(self) -> None:
        view = evolve(self.view(), standstills=2, longest_standstill=1.5)
        self.assertEqual(
            self.found(view, dropped=7),
            [
                "the event loop stood still 2 times, for 1.5 s at most (see the log)",
                "7 log lines were dropped since the start",
            ],
        )

    def test_only_what_may_be_seen_is_told(self) -> None:
        self.app.server_changed(self.one, DOWN, "test")
        view = evolve(self.view(), history=(Sample(1.0, 1, 1),))
        self.assertEqual(self.found(view, scope=("status",)), [])
        self.assertEqual(self.found(view, scope=("app",)), ["1 of 3 servers are DOWN"])

    def test_of_many_places_some_are_named(self) -> None:
        self.app.server_changed(self.one, DOWN, "test")
        (backend, *others) = self.view().backends
        view = evolve(self.view(), backends=(evolve(backend, servers=(backend.servers[0],) * 20), *others))
        (trouble,) = troubles(view, 1e9)
        self.assertEqual((len(trouble.places), trouble.more), (8, 12))


class PageTests(StatsCase):
    """Where it stands."""

    def test_what_is_wrong_is_red_and_above_all_figures(self) -> None:
        self.app.server_changed(self.one, DOWN, "test")
        self.app.server_changed(self.two, DOWN, "test")
        body = self.ask()[2]
        self.assertIn("<section class='verdict bad' role='status'>", body)
        self.assertLess(body.index("2 of 3 servers are DOWN"), body.index("class='facts'"))
        self.assertIn("<a href='#app'>app/one</a>, <a href='#app'>app/two</a>", body)
        self.assertIn("<title>2 things are wrong: reusedproxy statistics</title>", body)

    def test_what_is_well_is_said(self) -> None:
        self.patch(type(self.one.pool), "below_floor", False)
        self.assertIn("<h2>All is well: 2 servers in service</h2>", self.ask()[2])

    def test_sections_and_servers_with_trouble_come_first(self) -> None:
        self.patch(type(self.one.pool), "below_floor", False)
        self.app.server_changed(self.two, DOWN, "test")
        body = self.ask()[2]
        names = re.findall(r"<h2 id='(\w+)'|<tr class='server'><th>(\w+)", body)
        self.assertEqual(["".join(each) for each in names], ["app", "two", "one", "off", "web", "status"])

    def test_the_state_stands_beside_the_name(self) -> None:
        self.assertRegex(self.ask()[2], r"<th>off</th><td class='left'><i class='maint'>MAINT</i>")

    def test_how_long_answers_took_in_the_last_minute(self) -> None:
        rates = self.proxy.rates
        assert rates is not None
        rates.history.samples.append(Sample(1.0, 0, 0))
        self.assertNotIn("time to the answer, last minute", self.ask()[2])
        counts = tuple({0.01: 98, 0.5: 2}.get(bound, 0) for bound in (*ANSWERS, inf))
        rates.history.samples.append(Sample(1.0, 100, 0, counts))
        self.assertIn("<span>time to the answer, last minute</span><b>p50 7.55 ms</b> p99 375 ms", self.ask()[2])

    def test_the_picture_is_drawn_without_a_script(self) -> None:
        rates = self.proxy.rates
        assert rates is not None
        rates.history.samples.extend([Sample(1.0, 10, 5)] * 7)
        body = self.ask()[2]
        self.assertIn("<svg viewBox='0 0 120 100'", body)
        self.assertIn(
            "<div class='bad'><span>errors (5xx), last 10 s</span><b>50.0%</b> 50.0% in the last minute", body
        )
        self.assertNotIn("<script", body)
        self.assertNotIn("http:", body.replace("'/", ""))


class HistoryTests(SynchronousTestCase):
    def test_seconds_are_the_differences_of_totals(self) -> None:
        history = History()
        history.begin(100, 10)
        history.note(1.0, 130, 15)
        history.note(1.5, 130, 15)
        self.assertEqual([*history.samples], [Sample(1.0, 30, 5), Sample(1.5, 0, 0)])

    def test_counters_that_begin_anew(self) -> None:
        history = History()
        history.begin(100, 10)
        history.note(1.0, 7, 1)
        self.assertEqual([*history.samples], [Sample(1.0, 7, 1)])

    def test_ten_minutes_are_kept(self) -> None:
        history = History()
        for number in range(KEPT + 50):
            history.note(1.0, number, 0)
        self.assertEqual(len(history.samples), KEPT)

    def test_rates_and_shares(self) -> None:
        samples = [Sample(1.0, 10, 1)] * 5 + [Sample(2.0, 10, 0)] * 5
        self.assertEqual(last(samples, 10), Share(5.0, 0.0))
        self.assertEqual(last(samples, 15), Share(100 / 15, 0.05))
        self.assertEqual(last(samples, 60), Share(100 / 15, 0.05))
        self.assertEqual(last([], 10), Share(0.0, 0.0))

    def test_the_newest_is_at_the_right(self) -> None:
        drawn = graph([Sample(1.0, 5, 0)] * 5 + [Sample(1.0, 10, 10)] * 5)
        self.assertEqual(drawn.most, 10.0)
        self.assertTrue(drawn.requests.endswith("V100H118V50H119V0H120V100Z"), drawn.requests[-40:])
        self.assertTrue(drawn.errors.endswith("V100H119V0H120V100Z"))
        self.assertEqual(graph([]).requests, "")
        self.assertEqual(graphs.WIDTH, 120)


class ContrastTests(SynchronousTestCase):
    """Everybody can read it: 4.5 at least between text and what is behind it (WCAG 2.2, 1.4.3), light and dark."""

    #: What stands behind text that has no background of its own.
    SURFACES = ("page", "card", "head", "front", "sum")

    def setUp(self) -> None:
        text = STYLE.read_text()
        light, dark = re.findall(r":root\{(.*?)\}", text, re.DOTALL)
        self.colours = {"light": dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6})", light))}
        self.colours["dark"] = self.colours["light"] | dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6})", dark))
        self.rules = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r":root\{.*?\}", "", text, flags=re.DOTALL))

    def pairs(self) -> set[tuple[str, str]]:
        """Text and background, of each rule that has either."""
        found: set[tuple[str, str]] = set()
        for _, body in self.rules:
            inks = re.findall(r"(?<![\w-])color:var\(--([\w-]+)\)", body)
            behind = re.findall(r"background:var\(--([\w-]+)\)", body)
            if inks or behind:
                found |= {*product(inks or ["text"], behind or self.SURFACES)}
        return found

    def test_no_colour_stands_outside_the_table(self) -> None:
        for selector, body in self.rules:
            self.assertEqual(re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", body), [], selector)

    def test_every_text_can_be_read(self) -> None:
        pairs = self.pairs()
        self.assertGreater(len(pairs), 25)
        for mode, colours in self.colours.items():
            low = [
                (mode, ink, behind, round(contrast(colours[ink], colours[behind]), 2))
                for ink, behind in sorted(pairs)
                if contrast(colours[ink], colours[behind]) < 4.5
            ]
            self.assertEqual(low, [])

    def test_the_picture_can_be_seen(self) -> None:
        """3 at least (1.4.11), of the errors before the requests, too."""
        for mode, colours in self.colours.items():
            for part in ("graph-bad",):
                self.assertGreaterEqual(contrast(colours[part], colours["card"]), 3.0, (mode, part))

    def test_the_measure_itself(self) -> None:
        self.assertEqual(contrast("#000000", "#ffffff"), 21.0)
        self.assertAlmostEqual(contrast("#777777", "#ffffff"), 4.48, 2)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, by WCAG's formula."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
