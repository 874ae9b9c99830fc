"""Stick tables in the runtime API: how keys are shown, and which an operator may write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tables import StickTable, Stored
from reusedproxy.config.model.values import Place
from reusedproxy.operators.runtime.proxy import ADMIN, USER, Refusal
from reusedproxy.operators.runtime.tables import clear_table, set_table, show_table
from reusedproxy.tables.table import Table


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        clock.advance(1000)
        self.tables = {
            kind: Table(StickTable(kind, Place("t.cfg", 1), kind, 9, stored=(Stored("gpt0"),)), clock.seconds)
            for kind in ("string", "ip", "ipv6")
        }
        self.context: Any = SimpleNamespace(proxy=SimpleNamespace(tables=self.tables), level=ADMIN)

    def test_bytes_of_texts_are_shown_as_haproxy_shows_them(self) -> None:
        table = self.tables["string"]
        for key, shown in ((b"\xe9\x01z", r"\xE9\x01z"), (b"a =\\", r"a\ \=\\"), (b"\t\r\n\x1b\x7f", r"\t\r\n\e\x7F")):
            row = table.obtain(key)
            self.assertIn(f"key={shown} use=0 ", "".join(show_table(self.context, ["string"])), key)
            table.remove(row)

    def test_rows_are_shown_to_operators_only(self) -> None:
        """Also one by one: its key may be a client's address, or cookie."""
        set_table(self.context, ["ip", "key", "192.0.2.1", "data.gpt0", "7"])
        self.context.level = USER
        for words in (["ip", "key", "192.0.2.1"], ["ip", "key", "192.0.2.2"], ["ip", "key", "x"]):
            with self.assertRaisesRegex(Refusal, "Permission denied"):
                "".join(show_table(self.context, words))
        with self.assertRaisesRegex(Refusal, "Key value expected"):
            "".join(show_table(self.context, ["ip", "key"]))
        self.assertNotIn("192", "".join(show_table(self.context, ["ip"])))

    def test_an_address_that_is_written_is_nothing_else(self) -> None:
        """A network, of which one address would be meant, or what a header may have behind an address."""
        for kind, key in (
            *(("ip", f"192.0.2.0{rest}") for rest in ("/24", ":80", "x", " ", ".", "\n")),
            *(("ip", key) for key in ("192.00.2.0", "::ffff:192.0.2.0", "192.0.2", "192.0.2.256", "3221225984", "")),
            *(("ipv6", key) for key in ("2001:db8::/32", "2001:db8::1%eth0", "[2001:db8::1]", "192.0.2.1")),
        ):
            for words in ([kind, "key", key, "data.gpt0", "1"], [kind, "key", key]):
                with self.assertRaises(Refusal, msg=key) as raised:
                    set_table(self.context, words)
                self.assertEqual(str(raised.exception), "Invalid key")
            for command in (show_table, clear_table):
                with self.assertRaises(Refusal, msg=key):
                    "".join(command(self.context, [kind, "key", key]))
        for kind, key in (("ip", "192.0.2.0"), ("ipv6", "2001:db8::1"), ("ipv6", "::ffff:192.0.2.1")):
            set_table(self.context, [kind, "key", key, "data.gpt0", "7"])
            self.assertIn(f" key={key} use=0 ", "".join(show_table(self.context, [kind, "key", key])))
            "".join(clear_table(self.context, [kind, "key", key]))
            self.assertEqual(len(self.tables[kind]), 0)
