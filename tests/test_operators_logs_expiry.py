"""What ends soon is said once at 30, 7 and 1 days, and when it has ended: of files in use, and of what servers show."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Authority
from reusedproxy.operators.logs.expiry import DAY, EVERY, Expiry, days_left, due
from tests.integration.peers import LOOPBACK
from tests.test_net_tls_server import revocations
from tests.wire import scratch

HEAD = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
HOUR = 3600.0


class ExpiryTestCase(SynchronousTestCase):
    """A proxy that is assembled from files in a folder, on a day in May."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.clock = Clock()
        self.today = NOW.timestamp()
        self.said: list[tuple[str, str]] = []
        self.expiry = Expiry(self.clock, lambda level, text: self.said.append((level, text)), lambda: self.today)
        self.addCleanup(self.expiry.stop)
        self.authority = self.authority_of("test CA")

    def authority_of(self, name: str, days: float = 3650) -> Authority:
        return Authority(name, not_before=NOW - timedelta(days=400), not_after=NOW + timedelta(days=days))

    def write(self, path: str, days: float, authority: Authority | None = None) -> str:
        """A certificate that ends so many days after NOW; its common name is the file's."""
        begins, ends = NOW - timedelta(days=300), NOW + timedelta(days=days)
        made = (authority or self.authority).issue(path, key="ecdsa", not_before=begins, not_after=ends)
        return str(made.write(self.folder / path))

    def write_authorities(self, path: str, *authorities: Authority) -> str:
        (self.folder / path).write_bytes(b"".join(each.credential.certificate_pem for each in authorities))
        return str(self.folder / path)

    def proxy(self, *binds: str, servers: str = "") -> Proxy:
        lines = "".join(f" bind {LOOPBACK}:{number} ssl {bind}\n" for number, bind in enumerate(binds, 20000))
        path = self.folder / "proxy.cfg"
        path.write_text(f"{HEAD}frontend f\n bind {LOOPBACK}:1\n default_backend b\n{lines}backend b\n{servers}")
        return ProxyService(Clock(), [str(path)]).assemble(bind=False)

    def taken(self) -> list[tuple[str, str]]:
        said, self.said = self.said, []
        return said

    def wait(self, days: float) -> list[tuple[str, str]]:
        """What is said when so many days have passed, of which the reactor's clock, which stands still in a suspended
        machine, saw only seconds."""
        self.today += days * DAY
        self.clock.advance(EVERY)
        return self.taken()


class CertificateTests(ExpiryTestCase):
    """Ours, on both sides."""

    def test_it_is_said_at_each_threshold_and_when_it_is_over(self) -> None:
        """Once; with file, subject, date and what is left."""
        crt = self.write("a.pem", 100)
        self.expiry.begin(self.proxy(f"crt {crt}"))
        self.assertEqual(self.wait(69.9), [])
        about, on = f"bind {LOOPBACK}:20000: crt {crt}:", "on 09 Aug 2026 12:00 UTC (CN=a.pem)"
        self.assertEqual(self.wait(0.2), [("warning", f"{about} ends in 29 days, {on}")])
        self.assertEqual(self.wait(10), [])
        self.assertEqual(self.wait(13), [("warning", f"{about} ends in 6 days, {on}")])
        self.assertEqual(self.wait(5), [])
        self.assertEqual(self.wait(1), [("warning", f"{about} ends in 21 hours, {on}")])
        self.assertEqual(self.wait(0.5), [])
        self.assertEqual(self.wait(0.5), [("alert", f"{about} has expired, {on}")])
        self.assertEqual(self.wait(100), [])

    def test_at_the_start_only_the_strictest_is_said(self) -> None:
        for days, words in (
            (29, "ends in 29 days"),
            (3, "ends in 3 days"),
            (0.4, "ends in 9 hours"),
            (-9, "has expired"),
        ):
            self.expiry.begin(self.proxy(f"crt {self.write('a.pem', days)}"))
            ((level, text),) = self.taken()
            self.assertIn(f"a.pem: {words}, on", text)
            self.assertEqual(level, "alert" if days < 0 else "warning")

    def test_one_that_lasts_is_not_worth_a_word(self) -> None:
        self.expiry.begin(self.proxy(f"crt {self.write('a.pem', 31)}"))
        self.assertEqual(self.taken(), [])

    def test_a_file_that_many_use_is_said_once(self) -> None:
        """And each certificate of a server's line, which is our own there, like those of listeners."""
        front, client = self.write("front.pem", 5), self.write("client.pem", 6)
        server = f"{LOOPBACK}:1 ssl verify none crt {client}\n"
        check = f" server c {LOOPBACK}:1 check check-ssl verify none crt {self.write('check.pem', 4)}\n"
        servers = f" server one {server} server two {server}{check}"
        self.expiry.begin(self.proxy(f"crt {front}", f"crt {front} strict-sni", servers=servers))
        users = [text.partition(": ends in")[0] for _, text in self.taken()]
        self.assertEqual(
            users,
            [
                f"bind {LOOPBACK}:20000: crt {front}",
                f"server b/one: crt {client}",
                f"server b/c: crt {self.folder}/check.pem",
            ],
        )

    def test_a_reload_says_nothing_again_but_of_new_files(self) -> None:
        crt = self.write("a.pem", 5)
        self.expiry.begin(self.proxy(f"crt {crt}"))
        self.assertEqual(len(self.taken()), 1)
        self.expiry.begin(self.proxy(f"crt {crt}"))
        self.assertEqual(self.taken(), [])
        self.write("a.pem", 100)
        self.expiry.begin(self.proxy(f"crt {crt}"))
        self.assertEqual(self.taken(), [])
        self.assertEqual(len(self.wait(71)), 1)

    def test_a_clock_that_is_set_back_says_nothing_twice(self) -> None:
        self.expiry.begin(self.proxy(f"crt {self.write('a.pem', 5)}"))
        self.taken()
        self.assertEqual(self.wait(-30), [])
        self.assertEqual(self.wait(30), [])

    def test_no_timer_is_left(self) -> None:
        self.expiry.begin(self.proxy())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.expiry.look()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.expiry.stop()
        self.expiry.look()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_check_of_the_configuration_says_it_with_the_line(self) -> None:
        crt = self.write("a.pem", 5)
        (notice,) = due(self.proxy(f"crt {crt}"), self.today)
        self.assertEqual((notice.level, notice.place.line), ("warning", 9))
        self.assertIn(f"crt {crt}: ends in 5 days", notice.text)


class AuthorityTests(ExpiryTestCase):
    """Those by which others are judged."""

    def begin(self, ca_file: str, words: str = "verify required") -> list[str]:
        self.expiry.begin(self.proxy(f"crt {self.write('a.pem', 400)} {words} ca-file {ca_file}"))
        return [text.partition(f"{ca_file}: ")[2] for _, text in self.taken()]

    def test_one_of_several_ends(self) -> None:
        """One that has ended long since, or has a successor of the same name, is not worth a word."""
        ca_file = self.write_authorities(
            "ca.pem",
            self.authority_of("lasts"),
            self.authority_of("over", -5),
            self.authority_of("same", 5),
            self.authority_of("same", 500),
            self.authority_of("soon", 6),
        )
        self.assertEqual(self.begin(ca_file), ["a CA in it ends in 6 days, on 07 May 2026 12:00 UTC (CN=soon)"])
        self.wait(5.5)
        ((level, text),) = self.wait(1)
        self.assertEqual(level, "alert")
        self.assertIn("ca.pem: a CA in it has expired, on 07 May", text)

    def test_all_have_ended(self) -> None:
        ca_file = self.write_authorities("ca.pem", self.authority_of("a", -5), self.authority_of("b", -4))
        self.assertEqual(self.begin(ca_file), ["every CA in it has expired, the last on 27 Apr 2026 12:00 UTC"])

    def test_a_directory(self) -> None:
        (self.folder / "cas").mkdir()
        self.write_authorities("cas/one.pem", self.authority_of("soon", 6))
        self.assertIn("a CA in it ends in 6 days", self.begin(f"{self.folder}/cas")[0])

    def test_where_nobody_is_judged_by_it(self) -> None:
        """And the system's are looked after by others."""
        ca_file = self.write_authorities("ca.pem", self.authority_of("soon", 6))
        self.assertEqual(self.begin(ca_file, "verify none"), [])
        server = f" server s {LOOPBACK}:1 ssl verify none ca-file {ca_file}\n"
        self.expiry.begin(self.proxy(servers=server + f" server t {LOOPBACK}:1 ssl ca-file @system-ca verifyhost t\n"))
        self.assertEqual(self.taken(), [])

    def test_servers_are_judged_by_them(self) -> None:
        ca_file = self.write_authorities("ca.pem", self.authority_of("soon", 6))
        self.expiry.begin(self.proxy(servers=f" server s {LOOPBACK}:1 ssl ca-file {ca_file} verifyhost s.test\n"))
        ((_, text),) = self.taken()
        self.assertIn(f"server b/s: ca-file {ca_file}: a CA in it ends in 6 days", text)

    def test_a_list_of_revoked_certificates(self) -> None:
        """A tenth of its life before the next one is due: lists of a day are renewed each day."""
        self.today = datetime.now(timezone.utc).timestamp()  # lists are made today
        authority = Authority("lists")
        crl_file = self.folder / "crl"
        crl_file.write_bytes(revocations(authority, until=timedelta(days=10)))
        ca_file = self.write_authorities("ca.pem", authority)
        crt = str(
            authority.issue("a", key="ecdsa", not_after=datetime.now(timezone.utc) + timedelta(days=400)).write(
                self.folder / "a.pem"
            )
        )
        self.expiry.begin(self.proxy(f"crt {crt} verify required ca-file {ca_file} crl-file {crl_file}"))
        self.assertEqual(self.wait(8.5), [])
        ((level, text),) = self.wait(1)
        self.assertEqual(level, "warning")
        self.assertRegex(
            text, "crl: a newer list is due in 1[12] hours, on .* UTC; from then on every certificate is ref"
        )
        ((level, text),) = self.wait(1)
        self.assertEqual(level, "alert")
        self.assertRegex(text, "crl: is out of date since .* UTC, so every certificate is refused$")


class ShownTests(ExpiryTestCase):
    """What servers have shown us."""

    def setUp(self) -> None:
        super().setUp()
        servers = f" server s {LOOPBACK}:1 ssl ca-file @system-ca sni str(s.test)\n"
        proxy = self.proxy(servers=servers)
        self.context: Any = proxy.lines["b/s"].pool.context
        self.expiry.begin(proxy)

    def shows(self, days: float) -> None:
        self.context.theirs_end = self.today + days * DAY

    def test_it_is_said_at_the_same_thresholds(self) -> None:
        """Naming the server; first when it has been seen."""
        self.assertEqual(self.wait(0), [])
        self.shows(29.5)
        about, on = "server b/s: the certificate that it shows for s.test:", "on 31 May 2026 00:00 UTC"
        self.assertEqual(self.wait(0), [("warning", f"{about} ends in 29 days, {on}")])
        self.assertEqual(self.wait(0), [])
        self.assertEqual(self.wait(23), [("warning", f"{about} ends in 6 days, {on}")])
        self.assertEqual(self.wait(7), [("alert", f"{about} has expired, {on}")])

    def test_two_that_take_turns_are_said_once_each(self) -> None:
        said = []
        for days in (5, 6, 5, 6):
            self.shows(days)
            said += self.wait(0)
        self.assertEqual(len(said), 2)

    def test_the_same_under_many_names_is_said_once(self) -> None:
        proxy: Any = self.expiry._proxy
        (server,) = proxy.backends[0].servers
        self.shows(5)
        others = [SimpleNamespace(theirs_end=self.context.theirs_end, name=f"{number}.test") for number in range(3)]
        family = [SimpleNamespace(context=each) for each in (self.context, *others)]
        server.pool = SimpleNamespace(family=family)
        self.assertEqual(len(self.wait(0)), 1)


class WordTests(SynchronousTestCase):
    def test_what_is_left(self) -> None:
        table = {
            30 * DAY - 1: "29 days", 2 * DAY: "2 days", 2 * DAY - 1: "1 day", DAY - 1: "23 hours",
            2 * HOUR - 1: "1 hour", HOUR - 1: "less than an hour",
        }  # fmt: skip
        self.assertEqual({seconds: days_left(seconds) for seconds in table}, table)
