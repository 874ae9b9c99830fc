"""TLS in the statistics: certificates of listeners and servers with their ends, and how clients' handshakes went."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.service import ProxyService
from reusedproxy.net.slices import run_through
from reusedproxy.operators.metrics.families import of_frontends
from reusedproxy.operators.shell.commands import namespace
from reusedproxy.operators.stats.csv import pieces_of_csv
from reusedproxy.operators.stats.figures import ALL_COLUMNS, sections_of
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.operators.stats.page import Look, pieces_of_page
from reusedproxy.operators.stats.shown import SHOWN
from reusedproxy.operators.view.reading import Reader, server_view
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import Name
from tests.integration.peers import LOOPBACK
from tests.wire import certificates, scratch

HEAD = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
DAY = timedelta(days=1)


class DetailsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.ca_file = certificates().ca_file

    def write(self, path: str, days: float, *hosts: str) -> str:
        ends = self.now + days * DAY + timedelta(minutes=1)
        where = self.folder / path
        where.parent.mkdir(exist_ok=True)
        return str(certificates().authority.issue(path, hosts=hosts, key="ecdsa", not_after=ends).write(where))

    def proxy(self, *binds: str, servers: str = "") -> Proxy:
        """Listeners at ports from 20000."""
        lines = "".join(f" bind {LOOPBACK}:{number} {bind}\n" for number, bind in enumerate(binds, 20000))
        path = self.folder / "proxy.cfg"
        path.write_text(f"{HEAD}frontend web\n{lines} default_backend app\nbackend app\n{servers}")
        return ProxyService(Clock(), [str(path)]).assemble(bind=False)

    def page(self, proxy: Proxy) -> str:
        moment = run_through(Moments(Reader(proxy)).awaited(measures=True))
        return "".join(pieces_of_page(moment, Look("/s", 1, 1.0, self.now.timestamp())))

    def rows(self, proxy: Proxy) -> list[str]:
        """Of the tables about TLS, without the tags."""
        tables = "".join(re.findall(r"(?s)<table class='tls'>.*?</table>", self.page(proxy)))
        texts = [
            re.sub(r"<[^>]+>", " ", row)
            for row in re.findall(r"<tr>(.*?)</tr>|(<caption>.*?</caption>)", tables)
            for row in row
        ]
        return [" ".join(text.split()) for text in texts if text]


class ListenerTests(DetailsTestCase):
    """What clients are shown."""

    def test_each_certificate_has_its_names_file_and_end(self) -> None:
        """The one that ends first comes first; the same on several addresses stands once."""
        late, soon = self.write("late.pem", 300, "late.test"), self.write("soon.pem", 20, "a.test", "b.test")
        proxy = self.proxy("", f"ssl crt {late} crt {soon}", f"ssl crt {late} crt {soon}")
        first, second = self.rows(proxy)[2:]
        day = (self.now + 20 * DAY + timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M UTC")
        at = f"{LOOPBACK}:20001, {LOOPBACK}:20002"
        self.assertEqual(first, f"{at} {soon} soon.pem, a.test, b.test {day} 20 days")
        self.assertRegex(second, f"^{late} late.pem, late.test .* 300 days$")

    def test_it_is_coloured_when_the_end_is_near(self) -> None:
        for days, kind, words in (
            (31, "", "31 days"),
            (29, "warn", "29 days"),
            (6, "near", "6 days"),
            (-1, "over", "expired"),
        ):
            proxy = self.proxy(f"ssl crt {self.write('a.pem', days)}")
            self.assertIn(f"<td class='{kind}'>{words}</td>", self.page(proxy))

    def test_handshakes_are_counted(self) -> None:
        proxy = self.proxy(f"ssl crt {self.write('a.pem', 300)}")
        counted = proxy.frontends[0].handshakes.counts
        counted.completed, counted.resumed, counted.failed = 1234, 200, 3
        self.assertEqual(
            self.rows(proxy)[0],
            "TLS handshakes of clients: 1,234 completed, 200 of them resumed; 3 failed , 0 under way",
        )

    def test_of_many_those_are_shown_that_end_first(self) -> None:
        """A directory may hold thousands."""
        credential = certificates().server
        (self.folder / "d").mkdir()
        for number in range(SHOWN + 5):
            credential.write(self.folder / "d" / f"{number}.pem")
        self.write("d/zzz.pem", 1)
        rows = self.rows(self.proxy(f"ssl crt {self.folder}/d"))
        self.assertEqual(len(rows), 2 + SHOWN + 1)
        self.assertIn("zzz.pem", rows[2])
        self.assertEqual(rows[-1], "and 6 more, which end later")

    def test_what_comes_from_files_is_escaped(self) -> None:
        crt = self.write("a&b.pem", 300)
        proxy = self.proxy(f"ssl crt {crt}")
        self.patch(type(next(iter(proxy.served.values())).certificates.contexts[0]), "names", ["<b>"])
        page = self.page(proxy)
        self.assertIn("&lt;b&gt;", page)
        self.assertIn("a&amp;b.pem", page)

    def test_in_the_clear_there_is_nothing_to_show(self) -> None:
        self.assertEqual(self.rows(self.proxy("", servers=f" server s {LOOPBACK}:1\n")), [])

    def test_the_csv_stays_as_it_is(self) -> None:
        proxy = self.proxy(f"ssl crt {self.write('a.pem', 300)}")
        text = "".join(pieces_of_csv(sections_of(Reader(proxy).view())))
        self.assertEqual(text.splitlines()[0], "# " + ",".join(ALL_COLUMNS) + ",")

    def test_metrics_have_the_ends_by_file_and_the_handshakes_by_outcome(self) -> None:
        """Of frontends with TLS listeners; a file that several show counts once."""
        crt = self.write("a.pem", 300)
        proxy = self.proxy("", f"ssl crt {crt}", f"ssl crt {crt} strict-sni")
        counted = proxy.frontends[0].handshakes.counts
        counted.completed, counted.resumed, counted.failed = 10, 4, 3
        handshakes, ends = (
            {each.labels: each.value for each in family.samples}
            for family in of_frontends(Reader(proxy).view().frontends)
        )
        self.assertEqual(
            handshakes, {("web", "completed", "no"): 6, ("web", "completed", "yes"): 4, ("web", "failed", "no"): 3}
        )
        self.assertEqual(ends, {("web", crt): (self.now + 300 * DAY + timedelta(minutes=1)).timestamp()})
        self.assertEqual([family.samples for family in of_frontends(Reader(self.proxy("")).view().frontends)], [(), ()])

    def test_the_manhole_shows_them(self) -> None:
        proxy = self.proxy("", f"ssl crt {self.write('a.pem', 300)} crt {self.write('b.pem', 5)}")
        proxy.frontends[0].handshakes.counts.completed = 7
        output = io.StringIO()
        with redirect_stdout(output):
            namespace(SimpleNamespace(proxy=proxy), "x")["show"]()
        day = (self.now + 5 * DAY + timedelta(minutes=1)).strftime("%Y-%m-%d")
        self.assertEqual(
            output.getvalue().splitlines()[-1].split(),
            [f"{LOOPBACK}:20001", "web", "2", day, "5", "days", "7", "0", "0"],
        )


class ServerTests(DetailsTestCase):
    """What we show to servers, and they to us."""

    def test_both_ends_of_each_server(self) -> None:
        """One without a certificate, or in the clear, or not seen yet, has no date."""
        crt = self.write("client.pem", 20)
        line = f"{LOOPBACK}:1 ssl ca-file {self.ca_file} verifyhost s.test"
        proxy = self.proxy(
            "", servers=f" server one {line} crt {crt}\n server two {line}\n server clear {LOOPBACK}:1\n"
        )
        context = proxy.lines["app/one"].pool.context
        assert context is not None
        context.theirs_end = self.now.timestamp() + 5 * 86400
        _, one, two = self.rows(proxy)
        self.assertRegex(one, rf"^one {crt} \S+ \S+ UTC 20 days \S+ \S+ UTC 5 days$")
        self.assertEqual(two, "two none")
        self.assertIn("<td class='near'>5 days</td>", self.page(proxy))

    def test_of_a_server_with_many_names_the_first_end_counts(self) -> None:
        """Of those that were seen."""
        line = f"{LOOPBACK}:1 ssl ca-file {self.ca_file} sni req.hdr(host)"
        server = self.proxy("", servers=f" server s {line}\n").backends[0].servers[0]

        def end() -> float | None:
            tls = server_view(server).pool.tls
            assert tls is not None
            return tls.theirs_end

        self.assertIsNone(end())
        pool = server.pool
        assert isinstance(pool, ConstantPool)
        for name, seen in ((b"a.test", None), (b"b.test", 9e9), (b"c.test", 6e9)):
            context = pool.named(Name(name, name)).context
            assert context is not None
            context.theirs_end = seen
        self.assertEqual(end(), 6e9)
