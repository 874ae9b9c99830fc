"""Lines of files of states: what is read, what is refused, and what becomes of it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.saved_states import COLUMNS, SavedState, Unreadable, Unusable, rows, saved_state
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY
from reusedproxy.daemon.service import ProxyService
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_generations import GenerationTestCase

LINE = "3 b 1 s 127.0.0.1 2 0 10 10 77 6 3 4 6 0 0 0 - 81 - 0 0 - - 0"


def with_(**changes: str) -> str:
    names = COLUMNS.split()
    words = LINE.split()
    for name, value in changes.items():
        words[names.index(name)] = value
    return " ".join(words)


class ReadingTests(SynchronousTestCase):
    def test_a_line_has_the_columns_of_2_6_or_those_of_before(self) -> None:
        for count in (20, 25):
            (words,) = rows("1\n# comment\n\n" + " ".join(LINE.split()[:count]) + "\n")
            self.assertEqual(saved_state(words), SavedState("127.0.0.1", 2, 0, 10, 10, 77, "L4OK", 4, 6, 0, "", 81))

    def test_what_cannot_be_a_file_of_states_is_not_used_at_all(self) -> None:
        for text in ("", "\n", "2\n", "x\n", f"1\n{LINE}", f"1\n{LINE}\n3 b\n", f"1\n{LINE} 1\n", "1 \n 1 2\n"):
            with self.assertRaises(Unreadable, msg=text):
                [*rows(text)]

    def test_a_value_that_cannot_be_leaves_out_its_server(self) -> None:
        for name, value in (
            ("srv_op_state", "4"),
            ("srv_op_state", "-1"),
            ("srv_op_state", "x"),
            ("srv_op_state", "٣"),
            ("srv_admin_state", "9"),
            ("srv_admin_state", "128"),
            ("srv_uweight", "257"),
            ("srv_iweight", "+1"),
            ("srv_time_since_last_change", "9" * 30),
            ("srv_check_result", "5"),
            ("srv_check_state", "32"),
            ("srv_port", "65536"),
            ("bk_f_forced_id", "2"),
        ):
            with self.assertRaises(Unusable, msg=(name, value)) as raised:
                saved_state(with_(**{name: value}).split())
            self.assertIn(f"invalid {name} value '{value}'", str(raised.exception))

    def test_what_is_inherited_is_found_out_anew(self) -> None:
        self.assertEqual(saved_state(with_(srv_admin_state="51").split()).administrative, 51)


class ApplyingTests(GenerationTestCase):
    """What `tests/integration/test_states_beside_haproxy.py` cannot show."""

    def begin_with(self, server: str, *lines: str) -> None:
        self.text("states", "1\n" + "".join(f"{line}\n" for line in lines))
        self.begin("", global_=f" server-state-file {self.folder}/states\n")
        self.stop()
        text = (
            f"global\n{self.global_}{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\n"
            f"backend b\n load-server-state-from-file global\n server s {LOOPBACK}:81 weight 10 {server}\n"
        )
        self.text("proxy.cfg", text)
        self.service = ProxyService(self.reactor, [self.config])
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))
        self.service.assemble(bind=True)
        self.service.startService()

    def test_checks_at_an_address_in_another_spelling_keep_its_port(self) -> None:
        """Else they would judge another service."""
        for addr, saved, port in (
            ("[0:0:0:0:0:0:0:1]:82", "::1", 82),
            ("127.0.0.9:82", "127.0.0.9", 82),
            ("127.0.0.9:82", "-", 82),
            ("127.0.0.9:82", "127.0.0.8", None),
        ):
            self.begin_with(f"check inter 60s addr {addr}", with_(srv_check_addr=saved, srv_check_port="0"))
            check: Any = self.proxy.backends[0].servers[0].check
            self.assertEqual(check.addr_port, port, (addr, saved))
            self.service.stopService()

    def test_who_is_not_checked_is_not_down(self) -> None:
        """Nobody could ever find it up again."""
        self.begin_with("", with_(srv_op_state="0"))
        self.assertTrue(self.proxy.backends[0].servers[0].usable)

    def test_who_is_down_gets_nothing_from_the_first_moment_on(self) -> None:
        self.begin_with("check inter 60s", with_(srv_op_state="0"))
        backend = self.proxy.backends[0]
        self.assertEqual((backend.servers[0].state, backend.usable), (DOWN, False))
        self.assertEqual(backend.checkers[0].judge.health, 0)

    def test_who_starts_slowly_goes_on(self) -> None:
        self.begin_with(
            "check inter 60s rise 3 slowstart 100s", with_(srv_op_state="1", srv_time_since_last_change="50")
        )
        server = self.proxy.backends[0].servers[0]
        self.assertEqual((server.usable, server.throttle), (True, 9))

    def test_a_reload_knows_better_than_the_file(self) -> None:
        self.begin_with("", with_(srv_admin_state="8"))
        (server,) = self.proxy.backends[0].servers
        self.assertEqual(server.admin, DRAIN)
        self.proxy.backends[0].set_state(server, READY)
        text = (self.folder / "proxy.cfg").read_text()
        self.text("states", "1\n" + with_(srv_admin_state="1") + "\n" + with_(srv_admin_state="1", srv_name="t") + "\n")
        self.text("proxy.cfg", text + f" server t {LOOPBACK}:82 weight 10\n")
        self.service.reload()
        self.reactor.pump([0.05] * 20)
        self.assertEqual([each.admin for each in self.proxy.backends[0].servers], [READY, MAINT])

    def test_checks_that_were_stopped_stay_stopped(self) -> None:
        self.begin_with("check inter 60s", with_(srv_check_state="2"))
        self.assertTrue(self.proxy.backends[0].checkers[0].paused)
